// SPDX-License-Identifier: Apache-2.0
// One record: written by the stager and by compaction, checked by recovery and by every read. What is asserted when it is written is what
// is demanded when it is read.
// Invariant: a sealed record has no fault at its own place, and one at every other (tests/statefs/corruption.test.ts).
import { STATEFS_KEY_BYTES_MAX, STATEFS_VALUE_BYTES_MAX } from "../../gen/limits";
import { crc32cWide } from "./crc";
import { FAULT_NO_CRC_CHECK, FAULT_TRUSTS_VALUES } from "./faults";
import {
  FLAG_FIRST, FLAG_LAST, FLAG_MORE, OP_DEL, OP_LOST, OP_PUT, RECORD_AT_CRC, RECORD_AT_EPOCH, RECORD_AT_FLAGS, RECORD_AT_KEY_LENGTH,
  RECORD_AT_MAGIC, RECORD_AT_MASK, RECORD_AT_OP, RECORD_AT_PLACE, RECORD_AT_SEQUENCE, RECORD_AT_VALUE_LENGTH, RECORD_HEAD_BYTES,
  RECORD_MAGIC, recordBytes, SECTOR_BYTES, VALUE_LENGTH_BITS,
} from "./format";
import { BAD_CRC, BAD_GROUP, BAD_LENGTH, BAD_MAGIC, BAD_NONE, BAD_PLACE } from "./report";

const magicBytes: usize = memory.data<u32>([0x4e585346]);
const magicCrc: u32 = crc32cWide(magicBytes, 4);

@inline export function recordKey(at: usize): usize { return at + RECORD_HEAD_BYTES; }
@inline export function recordKeyLength(at: usize): u32 { return <u32>load<u16>(at, RECORD_AT_KEY_LENGTH); }
@inline export function recordValueLength(at: usize): u32 { return load<u32>(at, RECORD_AT_VALUE_LENGTH) & VALUE_LENGTH_BITS; }
@inline export function recordValue(at: usize): usize { return at + RECORD_HEAD_BYTES + recordKeyLength(at); }
@inline export function recordLength(at: usize): u32 { return recordBytes(recordKeyLength(at), recordValueLength(at)); }

/** Writes a record, its flags 0 and its CRC missing; the caller owns recordBytes at `at`. Returns its length. */
export function recordWrite(
  at: usize, op: u8, sequence: u64, epoch: u32, place: u32, key: usize, keyLength: u32, value: usize, valueLength: u32,
): u32 {
  const bytes = recordBytes(keyLength, valueLength);
  store<u64>(at + bytes - 8, 0);
  store<u32>(at, RECORD_MAGIC, RECORD_AT_MAGIC);
  store<u8>(at, op, RECORD_AT_OP);
  store<u8>(at, 0, RECORD_AT_FLAGS);
  store<u16>(at, <u16>keyLength, RECORD_AT_KEY_LENGTH);
  store<u32>(at, valueLength, RECORD_AT_VALUE_LENGTH);
  // In a BATCH the value follows its key.
  if (value == key + keyLength) {
    memory.copy(at + RECORD_HEAD_BYTES, key, keyLength + valueLength);
  } else {
    memory.copy(at + RECORD_HEAD_BYTES, key, keyLength);
    memory.copy(at + RECORD_HEAD_BYTES + keyLength, value, valueLength);
  }
  recordMove(at, sequence, epoch, place);
  return bytes;
}
/** Gives a record another place in the journal; seal it again. */
export function recordMove(at: usize, sequence: u64, epoch: u32, place: u32): void {
  store<u64>(at, sequence, RECORD_AT_SEQUENCE);
  store<u32>(at, epoch, RECORD_AT_EPOCH);
  store<u32>(at, place, RECORD_AT_PLACE);
}

/** Where the first sector begins that the record goes on into behind its head: bytes from `at`, a multiple of 8. */
@inline function firstBoundary(at: usize): u32 {
  const next: u32 = (<u32>0 - (load<u32>(at, RECORD_AT_PLACE) << 3)) & (SECTOR_BYTES - 1);
  return next < RECORD_HEAD_BYTES ? next + SECTOR_BYTES : next;
}
/** Key or value of a plain record would begin a sector as a record does. */
export function recordImitates(at: usize): bool {
  const bytes = recordLength(at);
  for (let i = firstBoundary(at); i < bytes; i += SECTOR_BYTES) if (load<u32>(at + i) == RECORD_MAGIC) return true;
  return false;
}
/** XORs `mask` into the first byte of each sector that the record goes on into, and records or forgets that it is there. */
export function recordToggle(at: usize, mask: u8): void {
  const bytes = recordLength(at);
  for (let i = firstBoundary(at); i < bytes; i += SECTOR_BYTES) store<u8>(at + i, load<u8>(at + i) ^ mask);
  store<u8>(at, load<u8>(at, RECORD_AT_MASK) ^ mask, RECORD_AT_MASK);
}
/** Masks a plain record when it must be, so that no sector begins with the magic but where a record begins: what a client may write as a
 *  value is never a record. At most 129 sectors, so at least one of 256 masks does. Seal it afterwards. */
export function recordMask(at: usize): void {
  if (FAULT_TRUSTS_VALUES || !recordImitates(at)) return;
  const bytes = recordLength(at);
  const first = firstBoundary(at);
  for (let mask: u32 = 1; mask < 256; mask++) {
    let i = first;
    while (i < bytes && (load<u32>(at + i) ^ mask) != RECORD_MAGIC) i += SECTOR_BYTES;
    if (i < bytes) continue;
    recordToggle(at, <u8>mask);
    return;
  }
  assert(false);
}
/** Undoes it in memory; returns the mask that it had. What was masked must be masked again before its CRC is checked again. */
export function recordUnmask(at: usize): u8 {
  const mask = load<u8>(at, RECORD_AT_MASK);
  if (mask != 0) recordToggle(at, mask);
  return mask;
}
/** Sets the flags and the CRC: nothing may change after it. */
export function recordSeal(at: usize, flags: u8): void {
  store<u8>(at, flags, RECORD_AT_FLAGS);
  assert(headFault(at) == BAD_NONE);
  store<u32>(at, crcOf(at), RECORD_AT_CRC);
}

function crcOf(at: usize): u32 {
  return crc32cWide(at + RECORD_AT_SEQUENCE, recordLength(at) - <u32>RECORD_AT_SEQUENCE, magicCrc);
}

/** What a head of RECORD_HEAD_BYTES shows without its body: BAD_NONE, BAD_MAGIC, BAD_LENGTH or BAD_GROUP. */
export function headFault(at: usize): u32 {
  if (load<u32>(at, RECORD_AT_MAGIC) != RECORD_MAGIC) return BAD_MAGIC;
  const op = load<u8>(at, RECORD_AT_OP);
  const keyLength = recordKeyLength(at);
  const valueLength = recordValueLength(at);
  if (op != OP_PUT && op != OP_DEL && op != OP_LOST) return BAD_LENGTH;
  if (keyLength == 0 || keyLength > STATEFS_KEY_BYTES_MAX || valueLength > STATEFS_VALUE_BYTES_MAX) return BAD_LENGTH;
  if (op != OP_PUT && valueLength != 0) return BAD_LENGTH;
  const flags = load<u8>(at, RECORD_AT_FLAGS);
  if (flags > (FLAG_MORE | FLAG_FIRST | FLAG_LAST) || (flags & (FLAG_MORE | FLAG_LAST)) == (FLAG_MORE | FLAG_LAST)) return BAD_GROUP;
  return BAD_NONE;
}
/** What the whole record shows, its head being sound: BAD_NONE, BAD_CRC, or BAD_PLACE when it is one that belongs elsewhere. */
export function bodyFault(at: usize, place: u32): u32 {
  if (!FAULT_NO_CRC_CHECK && load<u32>(at, RECORD_AT_CRC) != crcOf(at)) return BAD_CRC;
  return load<u32>(at, RECORD_AT_PLACE) == place ? BAD_NONE : BAD_PLACE;
}
