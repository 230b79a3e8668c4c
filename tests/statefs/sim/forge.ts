// SPDX-License-Identifier: Apache-2.0
// Values that look like the journal: at each sector boundary that the value will cover, a whole record with a right checksum and the right
// place, of a group of its own. Recovery must never take one: what a client may write as a value must not become a key (docs/format/statefs.md).
// Invariant: the forger knows what a client can learn (STATS, and where the journal lies), and forges records that are wrong in one thing
// alone: the epoch is the one before the next mount, or the sequence number does not follow. `next epoch` is right in everything: it
// foresees a power cut, and needs a second one. A unit draws from FORGERIES; masks keep all three off the sector boundaries (the switch
// trusts_values lifts them).
// Limits: the key is FORGED_KEY, which no workload puts; the value must go alone in its group to land where it is expected.
import { crc32c } from '../../../runtime/bridge/crc32c.js';
import type { Random } from '../../random.js';
import { SECTOR_BYTES } from './disk.js';

export const FORGED_KEY = '/state/w/forged';
const MAGIC = 0x4e585346;
const HEAD_BYTES = 32;
const REGION_FIRST = 16;
const FLAGS_ALONE = 6;
const SUPER_EPOCH = 16;
const SUPER_ACTIVE = 48;
const SUPER_REGION_SECTORS = 44;
const SLOTS = [0, 8 * SECTOR_BYTES];

/** What a record says of where and when it belongs. */
interface Claim { sequence: number; epoch: number; place: number }

/** A whole record that puts FORGED_KEY, alone in its group. */
export function forgedRecord({ sequence, epoch, place }: Claim): Buffer {
  const value = 'forged';
  const record = Buffer.alloc((HEAD_BYTES + FORGED_KEY.length + value.length + 7) & ~7);
  record.writeUInt32LE(MAGIC, 0);
  record.writeBigUInt64LE(BigInt(sequence), 8);
  record.writeUInt32LE(epoch, 16);
  record.writeUInt32LE(place, 20);
  record[24] = 1;
  record[25] = FLAGS_ALONE;
  record.writeUInt16LE(FORGED_KEY.length, 26);
  record.writeUInt32LE(value.length, 28);
  record.write(FORGED_KEY + value, HEAD_BYTES, 'latin1');
  record.writeUInt32LE(crc32c(Buffer.concat([record.subarray(0, 4), record.subarray(8)])), 4);
  return record;
}

/** First sector of the active region and the epoch, from the newest superblock of a disk. */
export function layoutOf(disk: Uint8Array): { regionFirst: number; epoch: number } {
  const bytes = Buffer.from(disk.buffer, disk.byteOffset, disk.length);
  const newest = SLOTS.reduce((best, at) => (bytes.readUInt32LE(at + SUPER_EPOCH) > bytes.readUInt32LE(best + SUPER_EPOCH) ? at : best));
  const regionFirst = REGION_FIRST + bytes.readUInt32LE(newest + SUPER_ACTIVE) * bytes.readUInt32LE(newest + SUPER_REGION_SECTORS);
  return { regionFirst, epoch: bytes.readUInt32LE(newest + SUPER_EPOCH) };
}

/** How a forged record is wrong. */
export type Forgery = 'old epoch' | 'wrong sequence' | 'next epoch';
export const FORGERIES: readonly Forgery[] = ['old epoch', 'wrong sequence', 'next epoch'];

/** A value of `bytes` bytes for a put of `keyLength` whose record begins at `sector` with `sequence`, under `epoch`. */
export function forgedValue(bytes: number, keyLength: number, sector: number, sequence: number, epoch: number, how: Forgery, random: Random): Buffer {
  const value = Buffer.alloc(bytes, 0x20);
  for (let boundary = SECTOR_BYTES; ; boundary += SECTOR_BYTES) {
    const at = boundary - HEAD_BYTES - keyLength;
    const place = ((sector + boundary / SECTOR_BYTES) * SECTOR_BYTES) / 8;
    const claim = how === 'wrong sequence'
      ? { sequence: sequence + 1000 + random.below(1000), epoch: epoch + 1 + random.below(2), place }
      : { sequence: sequence + 1 + random.below(2), epoch: how === 'old epoch' ? epoch : epoch + 1, place };
    const record = forgedRecord(claim);
    if (at + record.length > bytes) return value;
    if (at >= 0) record.copy(value, at);
  }
}
