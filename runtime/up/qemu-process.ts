// SPDX-License-Identifier: Apache-2.0
// Owns: one QEMU process without a terminal: start, signals, end. (The gate's, scripts/gate/machine.ts, has a pseudo-terminal of its own.)
// Invariant: only the process that this object started is signalled; its output is told to the last byte before `exited` settles; when this
// process dies, however it dies, QEMU is killed: a shell waits for the end of a pipe that only this process holds.
// Limits: a session of its own, so that a terminal's Ctrl-C is for this process to handle; stderr goes to a file.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';

/** `signal` 0: none. */
export interface QemuExit { readonly status: number; readonly signal: number }

const UNKNOWN_SIGNAL = 255;
/** Reads until the pipe closes, then kills the process that it was given. */
const WATCH = 'read -r _; kill -9 "$0"';

export class QemuProcess {
  readonly exited: Promise<QemuExit>;
  private readonly child: ChildProcess;
  private readonly watch: ChildProcess | null;
  private gone = false;

  /** Starts it. @throws when there is no process */
  constructor(path: string, argv: readonly string[], stderrPath: string, onData: (bytes: Buffer) => void) {
    const stderr = openSync(stderrPath, 'w', 0o600);
    try {
      this.child = spawn(path, argv, { stdio: ['ignore', 'pipe', stderr], detached: true });
    } finally {
      closeSync(stderr);
    }
    const { child } = this;
    child.stdout!.on('data', onData);
    this.exited = new Promise((resolve) => {
      child.on('error', () => {
        // Without a process there is no end to wait for; a signal that could not be sent shows in what follows.
        if (child.pid === undefined) this.ended({ status: 127, signal: 0 }, resolve);
      });
      child.on('close', (code, signal) => {
        this.ended({ status: code ?? 0, signal: signal === null ? 0 : (constants.signals[signal] ?? UNKNOWN_SIGNAL) }, resolve);
      });
    });
    this.watch = child.pid === undefined ? null
      : spawn('/bin/sh', ['-c', WATCH, String(child.pid)], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    this.watch?.on('error', () => undefined);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  term(): void {
    if (!this.gone) this.child.kill('SIGTERM');
  }
  kill(): void {
    if (!this.gone) this.child.kill('SIGKILL');
  }

  private ended(exit: QemuExit, resolve: (exit: QemuExit) => void): void {
    if (this.gone) return;
    this.gone = true;
    // Killed, so that it never comes to its own kill; and only told when it is gone, so that nothing is left behind.
    const { watch } = this;
    if (watch === null || watch.pid === undefined || watch.exitCode !== null || watch.signalCode !== null) {
      resolve(exit);
      return;
    }
    watch.once('exit', () => { resolve(exit); });
    watch.kill('SIGKILL');
  }
}
