// SPDX-License-Identifier: Apache-2.0
// Compaction: copies every live record, staged ones too, into the other region under a new epoch, flushes, and then lets the superblock
// name that region. So it is also how a group is committed that the active region has no room for: the switch is the commit.
// Invariant: the active region is not touched, so a crash at any step leaves one whole journal. Time and space: linear in what is live.
import { STATEFS_COPY_BYTES_MAX, STATEFS_READ_SECTORS_MAX } from "../../gen/limits";
import { entryAt, entryOldest } from "./entries";
import { FAULT_COMPACTION_UNFLUSHED } from "./faults";
import { FLAG_FIRST, FLAG_LAST, OP_LOST, OP_PUT, RECORD_AT_OP, SECTOR_BYTES, sectorsOf } from "./format";
import { keysEqual, NO_ENTRY } from "./keys";
import { entryBytes } from "./live";
import {
  bodyFault, headFault, recordKey, recordKeyLength, recordMask, recordMove, recordSeal, recordToggle, recordUnmask, recordValueLength,
  recordWrite,
} from "./record";
import { BAD_NONE, report } from "./report";
import { copyBuffer, groupBuffer, readBuffer, state } from "./state";
import { S_INTEGRITY, S_IO, S_OK } from "./status";
import { superblockWrite } from "./superblock";

const PLACES_PER_SECTOR: u32 = SECTOR_BYTES / 8;
/** The last sector of the buffer is for the empty sector behind the last group. */
const COPY_BYTES: u32 = STATEFS_COPY_BYTES_MAX - SECTOR_BYTES;
/** Sectors in readBuffer; none at NO_SECTOR. */
const NO_SECTOR: u32 = 0xffffffff;
let heldFirst: u32 = NO_SECTOR;
let heldSectors: u32 = 0;
/** Place of the record in readBuffer that was checked last. */
let checkedPlace: u32 = 0;
/** The record in readBuffer that was unmasked there, 0: none, and its mask. */
let unmaskedAt: usize = 0;
let unmaskedWith: u8 = 0;
let copied: u32 = 0;
let copiedLast: u32 = 0;
let target: u32 = 0;

/** Forgets what readBuffer holds. */
export function forgetRead(): void { heldFirst = NO_SECTOR; }

/** Brings a record into readBuffer, with `ahead` sectors more than it needs, and checks it: its address, S_IO or S_INTEGRITY. */
export function readRecord(index: u32, ahead: u32, reread: bool): i32 {
  const entry = entryAt(index);
  const first = entry.place / PLACES_PER_SECTOR;
  const byte = entry.place % PLACES_PER_SECTOR * 8;
  const end = first + sectorsOf(byte + entryBytes(entry));
  const held = !reread && heldFirst != NO_SECTOR && first >= heldFirst && end <= heldFirst + heldSectors;
  if (!held) {
    heldFirst = NO_SECTOR;
    unmaskedAt = 0;
    heldSectors = min(max(end - first, ahead), state.tail - first);
    if (state.disk.read(first, heldSectors, readBuffer) != S_OK) return S_IO;
    heldFirst = first;
  }
  const at = readBuffer + (first - heldFirst) * SECTOR_BYTES + byte;
  if (held && checkedPlace == entry.place) return <i32>at;
  checkedPlace = 0;
  if (unmaskedAt != 0) recordToggle(unmaskedAt, unmaskedWith);
  unmaskedAt = 0;
  if (headFault(at) != BAD_NONE || load<u8>(at, RECORD_AT_OP) != OP_PUT) return S_INTEGRITY;
  if (recordKeyLength(at) != <u32>entry.keyLength || recordValueLength(at) != entry.valueLength) return S_INTEGRITY;
  if (bodyFault(at, entry.place) != BAD_NONE) return S_INTEGRITY;
  unmaskedWith = recordUnmask(at);
  if (unmaskedWith != 0) unmaskedAt = at;
  if (!keysEqual(recordKey(at), entry.key, <u32>entry.keyLength)) return S_INTEGRITY;
  checkedPlace = entry.place;
  return <i32>at;
}

@inline function stagedAt(place: u32): usize { return groupBuffer + (place - state.tail * PLACES_PER_SECTOR) * 8; }

/** S_OK, or S_IO: then the index and the disk no longer agree, and the caller lets the store fail. */
export function compact(): i32 {
  const newest = 1 - state.active;
  const first = state.nextSequence;
  const epoch = state.epoch + 1;
  const start = newest == 0 ? state.regionFirst - state.regionSectors : state.regionEnd;
  target = start;
  copied = 0;
  copiedLast = 0;
  let live: u32 = 0;
  for (let index = entryOldest(); index != NO_ENTRY; index = <u32>entryAt(index).after) {
    if (copied + entryBytes(entryAt(index)) > COPY_BYTES && writeCopied(start, false) != S_OK) return S_IO;
    const bytes = copyOne(index, epoch);
    if (bytes == 0) return S_IO;
    live += bytes;
  }
  if (writeCopied(start, true) != S_OK) return S_IO;
  if (!FAULT_COMPACTION_UNFLUSHED && state.disk.flush() != S_OK) return S_IO;
  state.active = newest;
  state.epoch = epoch;
  state.baseEpoch = epoch;
  state.baseSequence = first;
  state.mountSequence = first;
  if (superblockWrite() != S_OK) return S_IO;
  state.liveBytes = live;
  state.tail = target;
  state.tailDirty = 0;
  forgetRead();
  report.compactions++;
  return S_OK;
}

/** Copies one record behind those in copyBuffer: its length there, 0 on an I/O error. */
function copyOne(index: u32, epoch: u32): u32 {
  const entry = entryAt(index);
  const to = copyBuffer + copied;
  const place = target * PLACES_PER_SECTOR + copied / 8;
  let bytes = entryBytes(entry);
  let found: i32 = S_INTEGRITY;
  if (entry.lost == 0) {
    const staged = entry.place >= state.tail * PLACES_PER_SECTOR;
    found = staged ? <i32>stagedAt(entry.place) : readRecord(index, STATEFS_READ_SECTORS_MAX, false);
    if (found == S_IO) return 0;
  }
  if (copied != 0) recordSeal(copyBuffer + copiedLast, copiedLast == 0 ? FLAG_FIRST : 0);
  if (found >= 0) {
    memory.copy(to, <usize>found, bytes);
    recordMove(to, state.nextSequence, epoch, place);
  } else {
    if (entry.lost == 0) report.lostKeys++;
    entry.lost = 1;
    entry.valueLength = 0;
    bytes = recordWrite(to, OP_LOST, state.nextSequence, epoch, place, entry.key, <u32>entry.keyLength, 0, 0);
  }
  recordMask(to);
  state.nextSequence++;
  entry.place = place;
  copiedLast = copied;
  copied += bytes;
  return bytes;
}

/** Writes copyBuffer as one group; the last one with an empty sector behind it. */
function writeCopied(start: u32, last: bool): i32 {
  const sectors = sectorsOf(copied);
  const all = sectors + (last ? 1 : 0);
  // Cannot be passed: liveBytes stays an eighth of the region below its size, and padding takes less than that.
  if (target - start + all > state.regionSectors) return S_IO;
  if (copied != 0) recordSeal(copyBuffer + copiedLast, (copiedLast == 0 ? FLAG_FIRST : 0) | FLAG_LAST);
  memory.fill(copyBuffer + copied, 0, all * SECTOR_BYTES - copied);
  if (all != 0 && state.disk.write(target, all, copyBuffer) != S_OK) return S_IO;
  target += sectors;
  copied = 0;
  copiedLast = 0;
  return S_OK;
}
