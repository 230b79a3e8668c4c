// SPDX-License-Identifier: Apache-2.0
// A terminal for tests: runs one of our scripts on a pseudo-terminal and keeps its screen as a terminal emulator draws it.
// Invariant: the process it started is gone when close() resolves. Limits: every wait has its own limit and says what it saw.
import { spawn, type IPty } from 'node-pty';
import xterm from '@xterm/headless';
import { ROOT } from '../../scripts/lib/paths.js';

const POLL_MS = 50;
const KILL_AFTER_MS = 5_000;

export class TestTerminal {
  readonly exited: Promise<number>;
  private readonly emulator;
  private readonly pty: IPty;
  private gone = false;
  /** everything the program wrote */
  raw = '';

  constructor(args: string[], columns: number, rows: number, env: Record<string, string> = {}) {
    this.emulator = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true });
    const { NODE_TEST_CONTEXT: _nested, ...outer } = process.env;
    this.pty = spawn(process.execPath, args, {
      name: 'xterm-256color', cols: columns, rows, cwd: ROOT, env: { ...outer, ...env } as Record<string, string>,
    });
    this.pty.onData((data) => {
      this.raw += data;
      this.emulator.write(data);
    });
    this.exited = new Promise((resolve) => {
      this.pty.onExit(({ exitCode }) => {
        this.gone = true;
        resolve(exitCode);
      });
    });
  }

  /** The screen as lines without trailing blanks. */
  screen(): string {
    const buffer = this.emulator.buffer.active;
    const line = (row: number): string => buffer.getLine(buffer.baseY + row)?.translateToString(true) ?? '';
    return Array.from({ length: this.emulator.rows }, (_, row) => line(row)).join('\n');
  }

  /** True while the program shows its own screen instead of the terminal's. */
  get onOwnScreen(): boolean {
    return this.emulator.buffer.active.type === 'alternate';
  }

  press(keys: string): void {
    this.pty.write(keys);
  }

  resize(columns: number, rows: number): void {
    this.emulator.resize(columns, rows);
    this.pty.resize(columns, rows);
  }

  /** Waits until the screen matches. @throws with the screen when it does not within `limitMs` or the program ends. */
  async until(pattern: RegExp, limitMs: number): Promise<string> {
    const deadline = Date.now() + limitMs;
    for (;;) {
      const screen = this.screen();
      if (pattern.test(screen)) return screen;
      if (Date.now() > deadline) throw new Error(`no ${pattern} within ${limitMs} ms; the screen was:\n${screen}`);
      if (this.gone) throw new Error(`ended without ${pattern}; the screen was:\n${screen}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async close(): Promise<void> {
    if (this.gone) return;
    this.pty.kill('SIGTERM');
    const killer = setTimeout(() => this.pty.kill('SIGKILL'), KILL_AFTER_MS);
    await this.exited;
    clearTimeout(killer);
  }
}
