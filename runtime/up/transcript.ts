// SPDX-License-Identifier: Apache-2.0
// Owns: the console of one boot, in memory: its first and its newest bytes. Invariant: what does not fit in between is counted and the
// text says so; nothing else is lost. Limits: `max` bytes in all, half for each end.

export class Transcript {
  private readonly head: Buffer[] = [];
  private headBytes = 0;
  private tail: Buffer = Buffer.alloc(0);
  private dropped = 0;
  private readonly half: number;

  constructor(max: number) {
    this.half = Math.floor(max / 2);
  }

  push(bytes: Buffer): void {
    const room = Math.min(this.half - this.headBytes, bytes.length);
    if (room > 0) {
      this.head.push(Buffer.from(bytes.subarray(0, room)));
      this.headBytes += room;
    }
    if (room === bytes.length) return;
    const all = Buffer.concat([this.tail, bytes.subarray(room)]);
    const over = Math.max(0, all.length - this.half);
    this.dropped += over;
    // A copy, so that the bytes before it can go.
    this.tail = Buffer.from(all.subarray(over));
  }

  get empty(): boolean {
    return this.headBytes === 0;
  }
  /** Bytes that were left out. */
  get droppedBytes(): number {
    return this.dropped;
  }

  /** What is kept, with a line where something is missing. */
  bytes(): Buffer {
    const gap = this.dropped === 0 ? [] : [Buffer.from(`\n[${this.dropped} bytes left out]\n`)];
    return Buffer.concat([...this.head, ...gap, this.tail]);
  }
}
