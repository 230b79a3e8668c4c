// SPDX-License-Identifier: Apache-2.0
// Recovery: reads the active region from its start and keeps the longest valid prefix of whole commits. The first record that is not the
// next one ends it; nothing behind is ever applied. What is seen there is only counted, for the report.
// Invariant: each step goes forward, and reads end lookahead_sectors_max behind the end, so the time is linear in the journal, which
// compaction keeps linear in what is live. Limit: a commit fits into the window, group_bytes_max.
import { STATEFS_GROUP_BYTES_MAX, STATEFS_KEYS_BYTES_MAX, STATEFS_KEYS_MAX, STATEFS_LOOKAHEAD_SECTORS_MAX } from "../../gen/limits";
import { entryCount, entryFind } from "./entries";
import { FAULT_KEEPS_HALF_COMMIT, FAULT_NO_SEQUENCE_CHECK, FAULT_TRUSTS_VALUES } from "./faults";
import {
  FLAG_FIRST, FLAG_LAST, FLAG_MORE, OP_DEL, RECORD_AT_EPOCH, RECORD_AT_FLAGS, RECORD_AT_MAGIC, RECORD_AT_OP, RECORD_AT_PLACE,
  RECORD_AT_SEQUENCE, RECORD_HEAD_BYTES, RECORD_MAGIC, SECTOR_BYTES, sectorsOf,
} from "./format";
import { arenaLive, CHUNK_HEAD_BYTES, NO_ENTRY } from "./keys";
import { applyAll } from "./live";
import { bodyFault, headFault, recordKey, recordKeyLength, recordLength, recordUnmask } from "./record";
import { BAD_EPOCH, BAD_GROUP, BAD_HOLE, BAD_LENGTH, BAD_MAGIC, BAD_NONE, BAD_SEQUENCE, report } from "./report";
import { groupBuffer, state } from "./state";
import { S_IO, S_KEYS_LIMIT, S_OK } from "./status";

const WINDOW_SECTORS: u32 = STATEFS_GROUP_BYTES_MAX / SECTOR_BYTES;
const AHEAD_SECTORS: u32 = 128;
const PLACES_PER_SECTOR: u32 = SECTOR_BYTES / 8;
/** Beside the BAD_*: the end of the journal, and a disk that did not answer. */
const END: u32 = 100;
const ERROR: u32 = 101;

// Positions are bytes from the start of the region.
let windowFirst: u32 = 0;
let windowSectors: u32 = 0;
/** Start of the commit that is being read: kept in the window. */
let commitAt: u32 = 0;
let lastEpoch: u32 = 0;

@inline function pointer(at: u32): usize { return groupBuffer + (at - windowFirst * SECTOR_BYTES); }

/** Reads on until the window reaches `end`. ERROR, BAD_LENGTH when the commit would not fit, or BAD_NONE. */
function ensure(end: u32): u32 {
  const endSector = sectorsOf(end);
  if (endSector <= windowFirst + windowSectors) return BAD_NONE;
  if (endSector - windowFirst > WINDOW_SECTORS) {
    const keep = min(commitAt / SECTOR_BYTES, windowFirst + windowSectors);
    if (endSector - keep > WINDOW_SECTORS) return BAD_LENGTH;
    const held = windowFirst + windowSectors - keep;
    memory.copy(groupBuffer, groupBuffer + (keep - windowFirst) * SECTOR_BYTES, held * SECTOR_BYTES);
    windowFirst = keep;
    windowSectors = held;
  }
  const next = windowFirst + windowSectors;
  const count = min(max(endSector - next, AHEAD_SECTORS), min(state.regionSectors - next, WINDOW_SECTORS - windowSectors));
  if (state.disk.read(state.regionFirst + next, count, pointer(next * SECTOR_BYTES)) != S_OK) return ERROR;
  windowSectors += count;
  return BAD_NONE;
}

function isZeroSector(at: usize): bool {
  for (let i: u32 = 0; i < SECTOR_BYTES; i += 8) if (load<u64>(at + i) != 0) return false;
  return true;
}
@inline function placeOf(at: u32): u32 { return state.regionFirst * PLACES_PER_SECTOR + at / 8; }

/** An epoch that a record with this sequence number may have: that of this mount's records, or an earlier one before them. */
function epochHolds(epoch: u32, sequence: u64): bool {
  if (epoch < lastEpoch) return false;
  return sequence >= state.mountSequence ? epoch == state.epoch : epoch < state.epoch;
}

/** Why the record at `at` is not the next one; BAD_NONE when it is. `boundary`: a group begins here. */
function check(at: u32, boundary: bool): u32 {
  const regionBytes = state.regionSectors * SECTOR_BYTES;
  if (at == regionBytes) return END;
  if (regionBytes - at < RECORD_HEAD_BYTES) return BAD_LENGTH;
  let fault = ensure(at + (boundary ? SECTOR_BYTES : RECORD_HEAD_BYTES));
  if (fault != BAD_NONE) return fault;
  let record = pointer(at);
  if (boundary && load<u32>(record, RECORD_AT_MAGIC) != RECORD_MAGIC) return isZeroSector(record) ? END : BAD_MAGIC;
  fault = headFault(record);
  if (fault != BAD_NONE) return fault;
  const bytes = recordLength(record);
  if (bytes > regionBytes - at) return BAD_LENGTH;
  fault = ensure(at + bytes);
  if (fault != BAD_NONE) return fault;
  record = pointer(at);
  fault = bodyFault(record, placeOf(at));
  if (fault != BAD_NONE) return fault;
  const sequence = load<u64>(record, RECORD_AT_SEQUENCE);
  if (!FAULT_NO_SEQUENCE_CHECK && sequence != state.nextSequence) return BAD_SEQUENCE;
  if (!epochHolds(load<u32>(record, RECORD_AT_EPOCH), sequence)) return BAD_EPOCH;
  return ((load<u8>(record, RECORD_AT_FLAGS) & FLAG_FIRST) != 0) == boundary ? BAD_NONE : BAD_GROUP;
}

/** Fills the index from the region that `state` names, sets tail, tailDirty and nextSequence, and reports. S_OK, S_IO or S_KEYS_LIMIT. */
export function recover(): i32 {
  windowFirst = 0;
  windowSectors = 0;
  commitAt = 0;
  lastEpoch = state.baseEpoch;
  state.nextSequence = state.baseSequence;
  let at: u32 = 0;
  let boundary = true;
  let commitBoundary = true;
  let commitSequence = state.nextSequence;
  let pending: u32 = 0;
  let pendingKeyBytes: u32 = 0;
  let fault: u32 = 0;
  for (;;) {
    fault = check(at, boundary);
    if (fault == ERROR) return S_IO;
    if (fault != BAD_NONE) break;
    const record = pointer(at);
    recordUnmask(record);
    const flags = load<u8>(record, RECORD_AT_FLAGS);
    lastEpoch = load<u32>(record, RECORD_AT_EPOCH);
    state.nextSequence = load<u64>(record, RECORD_AT_SEQUENCE) + 1;
    pending++;
    pendingKeyBytes += CHUNK_HEAD_BYTES + recordKeyLength(record);
    const end = at + recordLength(record);
    boundary = (flags & FLAG_LAST) != 0;
    at = boundary ? sectorsOf(end) * SECTOR_BYTES : end;
    if (!FAULT_KEEPS_HALF_COMMIT && (flags & FLAG_MORE) != 0) continue;
    if (!roomFor(pending, pendingKeyBytes) && !roomExactly(pointer(commitAt), pointer(end))) return S_KEYS_LIMIT;
    applyAll(pointer(commitAt), pointer(end));
    report.recordsKept += pending;
    commitAt = at;
    commitBoundary = boundary;
    commitSequence = state.nextSequence;
    pending = 0;
    pendingKeyBytes = 0;
  }
  const expected = state.nextSequence;
  state.nextSequence = commitSequence;
  state.tail = state.regionFirst + sectorsOf(commitAt);
  state.tailDirty = commitBoundary ? 0 : 1;
  report.recordsDropped = pending;
  if (fault == END) fault = pending != 0 ? BAD_GROUP : BAD_NONE;
  const seen = lookAhead(at / SECTOR_BYTES + 1, expected);
  if (seen == ERROR) return S_IO;
  if (fault == BAD_NONE && report.groupsBehind != 0) fault = BAD_HOLE;
  if (fault == BAD_NONE && seen != 0) fault = BAD_EPOCH;
  if (fault == BAD_NONE) return S_OK;
  report.badKind = fault;
  report.badSector = state.regionFirst + at / SECTOR_BYTES;
  report.badByte = at % SECTOR_BYTES;
  report.bytesDropped = max(seen * SECTOR_BYTES, sectorsOf(at + 1) * SECTOR_BYTES) - commitAt;
  return S_OK;
}

/** As if every record of the commit put a new key: true for all but a nearly full index. */
function roomFor(records: u32, keyBytes: u32): bool {
  return entryCount() + records <= STATEFS_KEYS_MAX && arenaLive() + keyBytes <= STATEFS_KEYS_BYTES_MAX;
}

/** Counted as staging counts: puts of keys that are not there before the commit. */
function roomExactly(at: usize, end: usize): bool {
  let records: u32 = 0;
  let keyBytes: u32 = 0;
  for (; at < end; at += recordLength(at)) {
    if (load<u8>(at, RECORD_AT_OP) == OP_DEL || entryFind(recordKey(at), recordKeyLength(at)) != NO_ENTRY) continue;
    records++;
    keyBytes += CHUNK_HEAD_BYTES + recordKeyLength(at);
  }
  return roomFor(records, keyBytes);
}

/** Counts heads of groups that this journal wrote after the place where it now ends: each was begun after the one before was flushed, so
 *  what is missing had been acknowledged. Heads of an epoch that has not been are not counted (an epoch is on the disk before a record
 *  has it), but nothing may be appended before them. Returns the end of the last one seen (sectors of the region; 0: none), or ERROR. */
function lookAhead(first: u32, expected: u64): u32 {
  if (first >= state.regionSectors) return 0;
  const count = min(STATEFS_LOOKAHEAD_SECTORS_MAX, state.regionSectors - first);
  let seen: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const held = i % AHEAD_SECTORS;
    if (held == 0 && state.disk.read(state.regionFirst + first + i, min(count - i, AHEAD_SECTORS), groupBuffer) != S_OK) return ERROR;
    const record = groupBuffer + held * SECTOR_BYTES;
    if (headFault(record) != BAD_NONE || (load<u8>(record, RECORD_AT_FLAGS) & FLAG_FIRST) == 0) continue;
    const sequence = load<u64>(record, RECORD_AT_SEQUENCE);
    if (load<u32>(record, RECORD_AT_PLACE) != placeOf((first + i) * SECTOR_BYTES)) continue;
    if (!FAULT_TRUSTS_VALUES && load<u32>(record, RECORD_AT_EPOCH) > state.epoch) {
      seen = first + i + 1;
      continue;
    }
    if (sequence <= expected || !epochHolds(load<u32>(record, RECORD_AT_EPOCH), sequence)) continue;
    report.groupsBehind++;
    seen = first + i + sectorsOf(recordLength(record));
  }
  return seen;
}
