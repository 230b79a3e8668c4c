// SPDX-License-Identifier: Apache-2.0
// The staged group: records as they will lie on the disk, in memory until storeCommit writes them with one FLUSH. Single puts and dels are
// in the index at once; those between begin and end only at end, so that abort has nothing to undo there.
// Invariant: whatever is refused changes nothing. A record is sealed when the next one is staged or the group is written: the flags of the
// last one are not known before. Limits: limits.statefs; a group leaves room for the empty sector behind it.
import { STATEFS_GROUP_BYTES_MAX, STATEFS_KEYS_BYTES_MAX, STATEFS_KEYS_MAX } from "../../gen/limits";
import { entryAt, entryCount, entryFind } from "./entries";
import { FLAG_FIRST, FLAG_LAST, FLAG_MORE, OP_PUT, RECORD_AT_FLAGS, recordBytes, SECTOR_BYTES, sectorsOf } from "./format";
import { arenaLive, CHUNK_HEAD_BYTES, NO_ENTRY } from "./keys";
import { apply, applyOver, entryBytes } from "./live";
import {
  recordImitates, recordKey, recordKeyLength, recordLength, recordMask, recordSeal, recordWrite,
} from "./record";
import { groupBuffer, state } from "./state";
import { S_BAD_CALL, S_GROUP_FULL, S_KEYS_LIMIT, S_NO_SPACE, S_NOT_FOUND, S_OK, S_TXN_LIMIT } from "./status";

export const GROUP_BYTES: u32 = STATEFS_GROUP_BYTES_MAX - SECTOR_BYTES;
const PLACES_PER_SECTOR: u32 = SECTOR_BYTES / 8;
let length: u32 = 0;
let lastAt: u32 = 0;
let lastFlags: u8 = 0;
let open: bool = false;
/** Some record of the group may have to be masked. */
let imitated: bool = false;
// Of the open atomic commit: where it began, what it would add, its first error.
let beganLength: u32 = 0;
let beganLastAt: u32 = 0;
let beganLastFlags: u8 = 0;
let beganSequence: u64 = 0;
let addedKeys: u32 = 0;
let addedKeyBytes: u32 = 0;
let addedBytes: u32 = 0;
let refused: i32 = S_OK;
// Of each of its records the entry that its key had when it was staged. Nothing else changes the index meanwhile, so an entry is still that
// key's at the end, unless a del of this commit freed it; a key that had none may have got one from an earlier record.
const RECORDS: u32 = 6541;
const knownOf: usize = memory.data(13082, 8);
let records: u32 = 0;
let dels: bool = false;

export function stageReset(): void {
  length = 0;
  open = false;
  imitated = false;
}
export function stagedBytes(): u32 { return length; }
export function stageIsOpen(): bool { return open; }

/** Ends the chances of the open commit, if there is one: storeEnd will answer `status`. Returns it. */
export function stageRefuse(status: i32): i32 {
  if (open && refused == S_OK) refused = status;
  return status;
}

/** Stages a put or a del. The caller has checked the lengths. */
export function stageRecord(op: u8, key: usize, keyLength: u32, value: usize, valueLength: u32): i32 {
  if (open && refused != S_OK) return refused;
  const known = entryFind(key, keyLength);
  if (op != OP_PUT && known == NO_ENTRY && !open) return S_NOT_FOUND;
  const bytes = recordBytes(keyLength, valueLength);
  const status = admit(op, known, keyLength, bytes);
  if (status != S_OK) return stageRefuse(status);
  const at = groupBuffer + length;
  const place = state.tail * PLACES_PER_SECTOR + length / 8;
  recordWrite(at, op, state.nextSequence, state.epoch, place, key, keyLength, value, valueLength);
  if (recordImitates(at)) imitated = true;
  if (length != 0) recordSeal(groupBuffer + lastAt, lastFlags);
  state.nextSequence++;
  lastAt = length;
  lastFlags = (length == 0 ? FLAG_FIRST : 0) | (open ? FLAG_MORE : 0);
  length += bytes;
  if (!open) {
    apply(at, known);
    return S_OK;
  }
  assert(records < RECORDS);
  store<u16>(knownOf + (records << 1), <u16>known);
  records++;
  if (op != OP_PUT) dels = true;
  return S_OK;
}

/** The limits of index, disk and group. Inside a commit the sums are those of its records, which is exact unless it names a key twice. */
function admit(op: u8, known: u32, keyLength: u32, bytes: u32): i32 {
  const began = open ? beganLength : 0;
  const keys = open ? addedKeys : 0;
  const keyBytes = open ? addedKeyBytes : 0;
  const grown = open ? addedBytes : 0;
  let growth: u32 = 0;
  let newKeyBytes: u32 = 0;
  if (op == OP_PUT) {
    if (known == NO_ENTRY) {
      newKeyBytes = CHUNK_HEAD_BYTES + keyLength;
      growth = bytes;
      if (entryCount() + keys >= STATEFS_KEYS_MAX) return S_KEYS_LIMIT;
      if (arenaLive() + keyBytes + newKeyBytes > STATEFS_KEYS_BYTES_MAX) return S_KEYS_LIMIT;
    } else {
      const old = entryBytes(entryAt(known));
      growth = bytes > old ? bytes - old : 0;
    }
    if (growth != 0 && state.liveBytes + grown + growth > state.capacity) return S_NO_SPACE;
  }
  if (open && length - began + bytes > GROUP_BYTES) return S_TXN_LIMIT;
  if (length + bytes > GROUP_BYTES) return S_GROUP_FULL;
  if (open) {
    addedKeys = keys + (newKeyBytes != 0 ? 1 : 0);
    addedKeyBytes = keyBytes + newKeyBytes;
    addedBytes = grown + growth;
  }
  return S_OK;
}

export function stageBegin(): i32 {
  if (open) return S_BAD_CALL;
  open = true;
  beganLength = length;
  beganLastAt = lastAt;
  beganLastFlags = lastFlags;
  beganSequence = state.nextSequence;
  records = 0;
  dels = false;
  addedKeys = 0;
  addedKeyBytes = 0;
  addedBytes = 0;
  refused = S_OK;
  return S_OK;
}
export function stageEnd(): i32 {
  if (!open) return S_BAD_CALL;
  if (refused != S_OK) {
    stageAbort();
    return refused;
  }
  open = false;
  if (length == beganLength) return S_OK;
  lastFlags &= ~FLAG_MORE;
  applyRecords(groupBuffer + beganLength);
  return S_OK;
}
function applyRecords(at: usize): void {
  for (let i: u32 = 0; i < records; i++) {
    const known = <u32>load<u16>(knownOf + (i << 1));
    if (!dels && known != NO_ENTRY) applyOver(at, known);
    else apply(at, entryFind(recordKey(at), recordKeyLength(at)));
    at += recordLength(at);
  }
  assert(at == groupBuffer + length);
}
export function stageAbort(): void {
  if (!open) return;
  open = false;
  length = beganLength;
  lastAt = beganLastAt;
  lastFlags = beganLastFlags;
  state.nextSequence = beganSequence;
}

/** Sectors of the group, without the empty one behind it. */
export function stagedSectors(): u32 { return sectorsOf(length); }

/** Seals the group, with its empty sector behind it: now it may be written from groupBuffer. */
export function stageSeal(): void {
  const all = (sectorsOf(length) + 1) * SECTOR_BYTES;
  memory.fill(groupBuffer + length, 0, all - length);
  recordSeal(groupBuffer + lastAt, lastFlags | FLAG_LAST);
  if (!imitated) return;
  for (let at = groupBuffer; at < groupBuffer + length; at += recordLength(at)) {
    recordMask(at);
    recordSeal(at, load<u8>(at, RECORD_AT_FLAGS));
  }
}
