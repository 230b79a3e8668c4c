// SPDX-License-Identifier: Apache-2.0
// Starting and ending one QEMU of ours on a terminal of its own.
// Invariant: only the process that this object started is signalled. If this process dies, the terminal hangs up and QEMU ends with it.
import { spawn, type IPty } from 'node-pty';

/** How long QEMU may take to end after SIGTERM before SIGKILL. */
const TERM_GRACE_MS = 2000;

export interface Exit {
  status: number;
  /** the signal that ended it, 0 for none */
  signal: number;
  /** true when the signal was ours */
  ours: boolean;
}

/** One running QEMU. */
export class Qemu {
  readonly exited: Promise<Exit>;
  private readonly pty: IPty;
  private ours = false;
  private gone = false;
  private killer: NodeJS.Timeout | null = null;

  /** Starts QEMU on a terminal of its own; its stderr goes to a file, so that it never mixes with the guest's console. */
  constructor(path: string, argv: string[], stderrPath: string, onData: (bytes: Buffer) => void) {
    const script = 'exec 2>"$0"; exec "$@"';
    this.pty = spawn('/bin/sh', ['-c', script, stderrPath, path, ...argv], {
      name: 'dumb',
      cols: 240,
      rows: 50,
      encoding: null,
      env: process.env as Record<string, string>,
    });
    // With encoding null the data are Buffers, whatever the type says.
    this.pty.onData((data) => onData(data as unknown as Buffer));
    this.exited = new Promise((resolve) => {
      this.pty.onExit(({ exitCode, signal }) => {
        this.gone = true;
        if (this.killer !== null) clearTimeout(this.killer);
        resolve({ status: exitCode, signal: signal ?? 0, ours: this.ours });
      });
    });
  }

  get pid(): number {
    return this.pty.pid;
  }

  /** Ends it: SIGTERM, then SIGKILL after TERM_GRACE_MS. Does nothing when it is gone. */
  stop(): void {
    if (this.gone || this.ours) return;
    this.ours = true;
    this.signal('SIGTERM');
    this.killer = setTimeout(() => this.signal('SIGKILL'), TERM_GRACE_MS);
  }

  /** Ends it at once, as a power cut would: nothing of QEMU runs on. */
  kill(): void {
    if (this.gone) return;
    this.ours = true;
    this.signal('SIGKILL');
  }

  private signal(name: NodeJS.Signals): void {
    if (this.gone) return;
    try {
      process.kill(this.pty.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
