// SPDX-License-Identifier: Apache-2.0
// Owns: the one connection to the running guest's control port (QEMU serves a single one), for everybody who asks: the heartbeat, and the
// clients of the relay.
// Invariant: one question at a time, a heartbeat before all that wait; a question that got no answer rejects and the connection is made
// anew; while there is no guest every question rejects at once. Limits: `waitMs` for an answer; the callers bound how many wait.
import { ControlClient } from '../bridge/control.js';

interface Asked { readonly type: number; readonly payload: Buffer; resolve(payload: Buffer): void; reject(error: Error): void }

export class ControlLine {
  private readonly queue: Asked[] = [];
  private busy = false;
  private client: ControlClient | null = null;
  private open = false;

  constructor(private readonly socketPath: string, private readonly waitMs: number) {}

  /** A guest is there, or not any more. */
  setOpen(open: boolean): void {
    this.open = open;
    this.client?.close();
    this.client = null;
    if (!open) for (const { reject } of this.queue.splice(0)) reject(new Error('no guest is running'));
  }

  /** Asks. @param first before whatever waits */
  ask(type: number, payload: Buffer, first = false): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (!this.open) {
        reject(new Error('no guest is running'));
        return;
      }
      this.queue[first ? 'unshift' : 'push']({ type, payload, resolve, reject });
      void this.work();
    });
  }

  private async work(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) {
      try {
        next.resolve(await this.exchange(next));
      } catch (error) {
        this.client?.close();
        this.client = null;
        next.reject(error as Error);
      }
    }
    this.busy = false;
  }

  private async exchange({ type, payload }: Asked): Promise<Buffer> {
    if (this.client === null || this.client.closed) {
      const client = await ControlClient.open(this.socketPath, this.waitMs);
      if (!this.open) {
        client.close();
        throw new Error('no guest is running');
      }
      this.client = client;
    }
    return this.client.exchange(type, payload);
  }
}
