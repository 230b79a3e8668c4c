// SPDX-License-Identifier: Apache-2.0
// A disk with a volatile write cache: writes are visible at once, durable only after flush(). At a power cut each sector of the cache has
// its own fate: written, not written, or torn inside its 512 bytes; writes to one sector may land in another order than they came.
// Invariant: bytes that a finished flush() covered survive every cut; bytes that were never written never appear.
// Limits: PENDING_BYTES_MAX in the cache; beyond it the oldest write goes to the medium by itself, as a real drive does (counted).

export const SECTOR_BYTES = 512;
export const PENDING_BYTES_MAX = 8 * 1024 * 1024;

/** How a cut treats what was not flushed. `mixed`: every fate, sector by sector. */
export const CUT_MODES = ['drop', 'keep', 'prefix', 'reorder', 'tear', 'mixed'] as const;
export type CutMode = (typeof CUT_MODES)[number];

/** What a cut did to the cached sectors. */
export interface CutReport {
  mode: CutMode;
  writes: number;
  sectors: number;
  kept: number;
  dropped: number;
  torn: number;
}

interface Pending {
  offset: number;
  data: Buffer;
}

type Fate = 'keep' | 'drop' | 'tear';
/** An integer in [0, end). */
export type Below = (end: number) => number;

export class VolatileDisk {
  private pending: Pending[] = [];
  private pendingBytes = 0;
  /** writes that the cache let go to the medium unasked, being full */
  spilled = 0;

  /** @param medium what is durable; a whole number of sectors; changed in place */
  constructor(readonly medium: Buffer) {
    if (medium.length === 0 || medium.length % SECTOR_BYTES !== 0) throw new Error(`a disk of ${medium.length} bytes`);
  }

  get bytes(): number {
    return this.medium.length;
  }

  get pendingWrites(): number {
    return this.pending.length;
  }

  read(offset: number, length: number): Buffer {
    const out = Buffer.from(this.medium.subarray(offset, offset + length));
    for (const write of this.pending) {
      const from = Math.max(offset, write.offset);
      const to = Math.min(offset + length, write.offset + write.data.length);
      if (from < to) write.data.copy(out, from - offset, from - write.offset, to - write.offset);
    }
    return out;
  }

  write(offset: number, data: Buffer): void {
    this.pending.push({ offset, data: Buffer.from(data) });
    this.pendingBytes += data.length;
    while (this.pendingBytes > PENDING_BYTES_MAX) {
      const oldest = this.pending.shift()!;
      this.pendingBytes -= oldest.data.length;
      oldest.data.copy(this.medium, oldest.offset);
      this.spilled++;
    }
  }

  /** Everything written so far becomes durable. */
  flush(): void {
    for (const write of this.pending) write.data.copy(this.medium, write.offset);
    this.clear();
  }

  /** The power goes: the medium is what survived, the cache is empty. The same `below` and mode give the same survivors. */
  cut(mode: CutMode, below: Below): CutReport {
    const writes = this.pending;
    const report: CutReport = { mode, writes: writes.length, sectors: 0, kept: 0, dropped: 0, torn: 0 };
    const sectors = writes.flatMap(({ offset, data }) =>
      Array.from({ length: data.length / SECTOR_BYTES }, (_, n) => ({
        offset: offset + n * SECTOR_BYTES, data: data.subarray(n * SECTOR_BYTES, (n + 1) * SECTOR_BYTES),
      })),
    );
    const whole = mode === 'prefix' ? below(sectors.length + 1) : 0;
    const fateOf = (index: number): Fate => {
      if (mode === 'drop') return 'drop';
      if (mode === 'keep') return 'keep';
      if (mode === 'prefix') return index < whole ? 'keep' : index === whole && below(2) === 0 ? 'tear' : 'drop';
      if (mode === 'reorder') return below(2) === 0 ? 'keep' : 'drop';
      if (mode === 'tear') return below(2) === 0 ? 'tear' : 'keep';
      return (['keep', 'drop', 'tear'] as const)[below(3)]!;
    };
    const order = sectors.map((_, index) => index);
    if (mode === 'reorder' || mode === 'mixed') shuffle(order, below);
    for (const index of order) {
      const { offset, data } = sectors[index]!;
      report.sectors++;
      const fate = fateOf(index);
      if (fate === 'keep') {
        report.kept++;
        data.copy(this.medium, offset);
      } else if (fate === 'tear') {
        report.torn++;
        this.tear(offset, data, below);
      } else report.dropped++;
    }
    this.clear();
    return report;
  }

  /** Part of one sector lands: its beginning, its end, or a piece of the middle. */
  private tear(offset: number, data: Buffer, below: Below): void {
    const at = 1 + below(SECTOR_BYTES - 1);
    const shape = below(3);
    if (shape === 0) data.copy(this.medium, offset, 0, at);
    else if (shape === 1) data.copy(this.medium, offset + at, at);
    else {
      const end = at + 1 + below(SECTOR_BYTES - at);
      data.copy(this.medium, offset + at, at, end);
    }
  }

  private clear(): void {
    this.pending = [];
    this.pendingBytes = 0;
  }
}

function shuffle(list: number[], below: Below): void {
  for (let n = list.length - 1; n > 0; n--) {
    const other = below(n + 1);
    [list[n], list[other]] = [list[other]!, list[n]!];
  }
}
