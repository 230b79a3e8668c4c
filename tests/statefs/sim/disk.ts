// SPDX-License-Identifier: Apache-2.0
// Owns: a disk with a volatile write cache. What the guest reads is what it wrote; what survives a power cut is what a FLUSH covered,
// and of the rest, sector by sector, whatever a seeded choice says: old, new, torn inside its 512 bytes, an earlier unflushed version.
// Invariant: `medium` changes only by a flush; bytes that a flush covered never change at a cut (rot is asked for apart from that).
// Limits: whole sectors of 512 bytes; the log, when kept, grows with the writes: drop it with `forget`.
import { Random } from '../../random.js';

export const SECTOR_BYTES = 512;

/** One thing that reached the disk, in order. A write is one sector. */
export type DiskOp = { kind: 'write'; sector: number; bytes: Uint8Array } | { kind: 'flush' };

/** How unflushed sectors come out of a cut. `kept`: all of them; `lost`: none; `prefix`: those before a point, and perhaps one torn at
 *  it; `mixed`: each by its own throw of old, new or torn, so also reordered; `late`: mostly the latest; `torn`: each is torn. */
export const CUTS = ['lost', 'kept', 'prefix', 'mixed', 'late', 'torn'] as const;
export type Cut = (typeof CUTS)[number];

export class SimDisk {
  /** What a power cut leaves for certain, except where unflushed sectors come through. */
  readonly medium: Uint8Array;
  /** What the guest reads. */
  readonly current: Uint8Array;
  /** Unflushed writes in order. */
  pending: { sector: number; bytes: Uint8Array }[] = [];
  /** Everything that reached the disk, when `recording`. */
  log: DiskOp[] = [];
  /** Length of the log after each request: where a cut may fall. */
  marks: number[] = [];
  recording = false;
  writes = 0;
  flushes = 0;
  reads = 0;

  /** A blank disk of that many sectors, or one that holds `image` (whole sectors; copied). */
  constructor(from: number | Uint8Array) {
    this.medium = typeof from === 'number' ? new Uint8Array(from * SECTOR_BYTES) : from.slice();
    if (this.medium.length % SECTOR_BYTES !== 0) throw new Error('a disk holds whole sectors');
    this.current = this.medium.slice();
  }

  get sectors(): number {
    return this.medium.length / SECTOR_BYTES;
  }

  /** The disk of another run: everything of before is forgotten. */
  load(image: Uint8Array): void {
    this.medium.set(image);
    this.current.set(image);
    this.forget();
  }
  /** Drops the log and what is unflushed; `current` stays as it is and is what `medium` holds from now on. */
  forget(): void {
    if (this.pending.length > 0) this.medium.set(this.current);
    this.pending = [];
    this.log = [];
    this.marks = [];
  }

  /** Bytes of whole sectors as the guest sees them; a view, not a copy. */
  read(sector: number, count: number): Uint8Array {
    this.reads++;
    return this.current.subarray(sector * SECTOR_BYTES, (sector + count) * SECTOR_BYTES);
  }
  /** Takes whole sectors into the cache. */
  write(sector: number, bytes: Uint8Array): void {
    this.writes++;
    this.current.set(bytes, sector * SECTOR_BYTES);
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      const one = { sector: sector + at / SECTOR_BYTES, bytes: bytes.slice(at, at + SECTOR_BYTES) };
      this.pending.push(one);
      if (this.recording) this.log.push({ kind: 'write', ...one });
    }
    if (this.recording) this.marks.push(this.log.length);
  }
  /** Everything written so far is on the medium. */
  flush(): void {
    this.flushes++;
    for (const { sector, bytes } of this.pending) this.medium.set(bytes, sector * SECTOR_BYTES);
    this.pending = [];
    if (!this.recording) return;
    this.log.push({ kind: 'flush' });
    this.marks.push(this.log.length);
  }

  /** The bytes after a power cut now; the disk itself goes on unchanged. Seeded by `random`. */
  cut(random: Random, how: Cut = random.pick(CUTS)): Uint8Array {
    const left = this.medium.slice();
    applyCut(left, this.pending, random, how);
    return left;
  }
}

/** Puts onto `image` (the flushed bytes) what a cut of kind `how` lets through of `pending`. */
export function applyCut(
  image: Uint8Array, pending: readonly { sector: number; bytes: Uint8Array }[], random: Random, how: Cut,
): void {
  const put = ({ sector, bytes }: { sector: number; bytes: Uint8Array }): void => image.set(bytes, sector * SECTOR_BYTES);
  const last = how === 'prefix' ? random.below(pending.length + 1) : pending.length;
  for (let i = 0; i < last; i++) {
    const one = pending[i]!;
    if (how === 'kept' || how === 'prefix') put(one);
    else if (how === 'torn') tear(image, one.sector, one.bytes, random);
    else if (how === 'late' && random.chance(i * 2 < last ? 20 : 80)) put(one);
    else if (how === 'mixed') {
      const fate = random.below(5);
      if (fate < 2) put(one);
      else if (fate === 2) tear(image, one.sector, one.bytes, random);
    }
  }
  const cutAt = pending[last];
  if (how === 'prefix' && cutAt !== undefined && random.chance(50)) tear(image, cutAt.sector, cutAt.bytes, random);
}

/** A sector of which only a part arrived: the front, the back, or pieces of 8 bytes here and there. */
function tear(image: Uint8Array, sector: number, bytes: Uint8Array, random: Random): void {
  const base = sector * SECTOR_BYTES;
  const at = random.below(SECTOR_BYTES + 1);
  const kind = random.below(3);
  if (kind === 0) image.set(bytes.subarray(0, at), base);
  else if (kind === 1) image.set(bytes.subarray(at), base + at);
  else {
    for (let piece = 0; piece < SECTOR_BYTES; piece += 8) {
      if (random.chance(50)) image.set(bytes.subarray(piece, piece + 8), base + piece);
    }
  }
}
