// SPDX-License-Identifier: Apache-2.0
// Owns: one boot of the guest: its QEMU, its console, its end.
// Invariant: every console line is told once, in order; `exited` settles once, with QEMU's last words. A line that begins with PANIC, and
// the kernel's halt line, are told as such. Limits: the console kept is the Transcript's; lines are LineSplitter's.
import { readFileSync } from 'node:fs';
import { LineSplitter, splitPrefix } from '../../scripts/gate/line-splitter.js';
import { QemuProcess, type QemuExit } from './qemu-process.js';
import { Transcript } from './transcript.js';

/** The line that init-lite prints when every service answered (markers/10-bring-up.toml). */
export const READY_LINE = 'init: ready';
const PANIC = /^PANIC /;
const HALT = /^kernel: halt /;

export type GuestEvent =
  | { readonly kind: 'line'; readonly text: string }
  | { readonly kind: 'ready' }
  | { readonly kind: 'panic'; readonly line: string }
  | { readonly kind: 'halt'; readonly line: string };

export interface GuestOptions {
  readonly qemuPath: string; readonly argv: string[]; readonly stderrPath: string; readonly transcriptBytes: number;
  readonly say: (event: GuestEvent) => void;
  /** every byte of the console, as it comes */
  readonly raw?: (bytes: Buffer) => void;
}

export class Guest {
  readonly transcript: Transcript;
  readonly exited: Promise<QemuExit & { readonly said: string }>;
  private readonly qemu: QemuProcess;
  private readonly splitter = new LineSplitter();

  /** Starts QEMU. @throws when it cannot be started at all */
  constructor(private readonly options: GuestOptions) {
    this.transcript = new Transcript(options.transcriptBytes);
    this.qemu = new QemuProcess(options.qemuPath, options.argv, options.stderrPath, (bytes) => { this.data(bytes); });
    this.exited = this.qemu.exited.then((exit) => {
      const rest = this.splitter.flush();
      if (rest !== null) this.line(splitPrefix(rest).text);
      return { ...exit, said: this.lastWords() };
    });
  }

  get pid(): number {
    return this.qemu.pid;
  }

  /** SIGTERM, then SIGKILL after `graceMs`; resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.qemu.term();
    const killer = setTimeout(() => { this.qemu.kill(); }, graceMs);
    await this.exited;
    clearTimeout(killer);
  }

  kill(): void {
    this.qemu.kill();
  }

  private data(bytes: Buffer): void {
    this.transcript.push(bytes);
    this.options.raw?.(bytes);
    for (const raw of this.splitter.push(bytes)) this.line(splitPrefix(raw).text);
  }

  private line(text: string): void {
    const { say } = this.options;
    say({ kind: 'line', text });
    if (text === READY_LINE) say({ kind: 'ready' });
    else if (PANIC.test(text)) say({ kind: 'panic', line: text });
    else if (HALT.test(text)) say({ kind: 'halt', line: text });
  }

  /** The last line that QEMU wrote to its stderr; '' when there is none. */
  private lastWords(): string {
    try {
      return readFileSync(this.options.stderrPath, 'utf8').trim().split('\n').at(-1) ?? '';
    } catch {
      return ''; // it was never written: QEMU did not start
    }
  }
}
