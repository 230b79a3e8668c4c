// SPDX-License-Identifier: Apache-2.0
// The disk image of docs/format/statefs.md read and written by hand, for tests that damage or forge it: no code of the engine.
import { SECTOR } from './engine.js';

const POLYNOMIAL = 0x82f63b78;
/** CRC-32C, bit by bit. */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed >>> 0;
  for (const byte of bytes) {
    crc = (crc ^ byte) >>> 0;
    for (let bit = 0; bit < 8; bit++) crc = ((crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1) >>> 0;
  }
  return ~crc >>> 0;
}

export const SUPER_SECTORS = [0, 8] as const;
export const REGION_FIRST = 16;
const HEAD = 32;

export interface Super { epoch: number; baseEpoch: number; baseSequence: bigint; mountSequence: bigint; diskSectors: number; regionSectors: number; active: number }
export interface Rec {
  /** byte of the disk */
  at: number; bytes: number;
  sequence: bigint; epoch: number; place: number; op: number; flags: number; key: string; value: string;
}

export function readSuper(data: Buffer, slot: 0 | 1): Super {
  const at = SUPER_SECTORS[slot] * SECTOR;
  return {
    epoch: data.readUInt32LE(at + 16), baseEpoch: data.readUInt32LE(at + 20), baseSequence: data.readBigUInt64LE(at + 24),
    mountSequence: data.readBigUInt64LE(at + 32), diskSectors: data.readUInt32LE(at + 40), regionSectors: data.readUInt32LE(at + 44),
    active: data.readUInt32LE(at + 48),
  };
}
/** Recomputes a superblock's CRC after a change. */
export function sealSuper(data: Buffer, slot: 0 | 1): void {
  const at = SUPER_SECTORS[slot] * SECTOR;
  data.writeUInt32LE(crc32c(Buffer.concat([data.subarray(at, at + 12), data.subarray(at + 16, at + SECTOR)])), at + 12);
}

/** Byte at which the active region begins, by the newest superblock. */
export function regionAt(data: Buffer): number {
  const [a, b] = [readSuper(data, 0), readSuper(data, 1)];
  const newest = a.epoch >= b.epoch ? a : b;
  return (REGION_FIRST + newest.active * newest.regionSectors) * SECTOR;
}

/** The records of the active region in order, up to the first place where there is none. */
export function records(data: Buffer): Rec[] {
  const found: Rec[] = [];
  for (let at = regionAt(data); at + HEAD <= data.length && data.readUInt32LE(at) === 0x4e585346; ) {
    const keyLength = data.readUInt16LE(at + 26);
    const valueLength = data.readUIntLE(at + 28, 3);
    const bytes = (HEAD + keyLength + valueLength + 7) & ~7;
    const flags = data[at + 25]!;
    found.push({
      at, bytes, flags, sequence: data.readBigUInt64LE(at + 8), epoch: data.readUInt32LE(at + 16), place: data.readUInt32LE(at + 20), op: data[at + 24]!,
      key: data.toString('latin1', at + HEAD, at + HEAD + keyLength),
      value: data.toString('latin1', at + HEAD + keyLength, at + HEAD + keyLength + valueLength),
    });
    at += bytes;
    if ((flags & 4) !== 0) at = Math.ceil(at / SECTOR) * SECTOR;
  }
  return found;
}

/** Recomputes a record's CRC after a change of its head or body. */
export function sealRecord(data: Buffer, at: number, bytes: number): void {
  data.writeUInt32LE(crc32c(Buffer.concat([data.subarray(at, at + 4), data.subarray(at + 8, at + bytes)])), at + 4);
}
/** Writes a record by hand: the fields of `rec`, whatever they are, with a CRC that holds. Returns its length. */
export function forge(data: Buffer, rec: Omit<Rec, 'bytes' | 'place'> & { place?: number }): number {
  const bytes = (HEAD + rec.key.length + rec.value.length + 7) & ~7;
  data.fill(0, rec.at, rec.at + bytes);
  data.writeUInt32LE(0x4e585346, rec.at);
  data.writeBigUInt64LE(rec.sequence, rec.at + 8);
  data.writeUInt32LE(rec.epoch, rec.at + 16);
  data.writeUInt32LE(rec.place ?? rec.at / 8, rec.at + 20);
  data[rec.at + 24] = rec.op;
  data[rec.at + 25] = rec.flags;
  data.writeUInt16LE(rec.key.length, rec.at + 26);
  data.writeUInt32LE(rec.value.length, rec.at + 28);
  data.write(rec.key + rec.value, rec.at + HEAD, 'latin1');
  sealRecord(data, rec.at, bytes);
  return bytes;
}
