// SPDX-License-Identifier: Apache-2.0
// The store's life and its calls: open, stage, commit, read, list, fail.
// Invariant: S_OK of storeCommit means that FLUSH completed behind every staged record. After any failed write or FLUSH the store answers
// S_FAILED to all but storeOpen, because memory and disk may differ; only what is read back from the disk counts.
import { STATEFS_COMPACT_SLACK_BYTES, STATEFS_KEY_BYTES_MAX, STATEFS_VALUE_BYTES_MAX } from "../../gen/limits";
import { compact, forgetRead, readRecord } from "./compact";
import { Disk } from "./disk";
import { entriesReset, entryAt, entryCount, entryFind } from "./entries";
import { FAULT_NO_EPOCH_BUMP, FAULT_NO_FLUSH, FAULT_REWRITES_SECTOR, FAULT_TRUSTS_VALUES } from "./faults";
import { OP_DEL, OP_PUT, RECORD_AT_SEQUENCE, SECTOR_BYTES } from "./format";
import { keysCompare, keysEqual, NO_ENTRY } from "./keys";
import { orderAfter, orderFrom, orderNext } from "./order";
import { recordValue } from "./record";
import { recover } from "./recover";
import { BAD_NONE, Report, report } from "./report";
import { checkBuffers, groupBuffer, PHASE_CLOSED, PHASE_FAILED, PHASE_OPEN, state } from "./state";
import {
  stageAbort, stageBegin, stagedBytes, stagedSectors, stageEnd, stageIsOpen, stageRecord, stageRefuse, stageReset, stageSeal,
} from "./stage";
import {
  S_BAD_CALL, S_BLANK, S_CLOSED, S_FAILED, S_INTEGRITY, S_INVALID_KEY, S_IO, S_KEY_TOO_LONG, S_NOT_FOUND, S_OK, S_READ_ONLY,
  S_VALUE_TOO_LARGE,
} from "./status";
import { superblockRead, superblockWrite } from "./superblock";

const PLACES_PER_SECTOR: u32 = SECTOR_BYTES / 8;
/** Epochs are 32 bits and never repeat: with none left the store only reads. */
const EPOCH_MAX: u32 = 0xfffffff0;
/** Bytes of a list entry before its key. */
export const LIST_HEAD_BYTES: u32 = 5;

/** Recovers the store on `disk`: formats a blank one (unless readOnly), and every open for writing raises the epoch on the disk.
 *  S_OK, S_IO, S_FOREIGN, S_NEWER, S_SHRUNK, S_TOO_SMALL, S_KEYS_LIMIT (the index is too small for what is stored), S_BLANK. */
export function storeOpen(disk: Disk, readOnly: bool): i32 {
  checkBuffers();
  storeClose();
  state.disk = disk;
  state.readOnly = readOnly ? 1 : 0;
  const status = open(disk, readOnly);
  if (status == S_OK) state.phase = PHASE_OPEN;
  else entriesReset();
  refresh();
  return status;
}

function open(disk: Disk, readOnly: bool): i32 {
  let status = superblockRead(disk);
  const blank = status == S_BLANK && !readOnly;
  if (blank) status = superblockWrite();
  if (status != S_OK) return status;
  status = recover();
  if (status != S_OK || readOnly || blank) return status;
  if (state.epoch >= EPOCH_MAX) return S_FAILED;
  if (!FAULT_NO_EPOCH_BUMP) {
    state.epoch++;
    state.mountSequence = state.nextSequence;
  }
  if (superblockWrite() != S_OK) return S_IO;
  const clean = FAULT_TRUSTS_VALUES || report.badKind == BAD_NONE;
  return clean && state.tailDirty == 0 ? S_OK : compact();
}

/** Forgets the disk; what is staged is gone. */
export function storeClose(): void {
  state.phase = PHASE_CLOSED;
  state.liveBytes = 0;
  state.nextSequence = 0;
  state.regionSectors = 0;
  state.tail = 0;
  state.active = 0;
  entriesReset();
  stageReset();
  forgetRead();
  report.recordsKept = 0;
  report.recordsDropped = 0;
  report.bytesDropped = 0;
  report.badKind = BAD_NONE;
  report.badSector = 0;
  report.badByte = 0;
  report.groupsBehind = 0;
  report.durable = 0;
  report.lostKeys = 0;
}

/** The report, brought up to date: what open found stays, the rest is as of now. */
export function storeReport(): Report {
  refresh();
  return report;
}
function refresh(): void {
  report.sequence = state.nextSequence;
  if (stagedBytes() == 0 && state.nextSequence != 0) report.durable = state.nextSequence - 1;
  report.epoch = state.epoch;
  report.liveKeys = entryCount();
  report.liveBytes = state.liveBytes;
  report.journalBytes = state.regionSectors == 0 ? 0 : (state.tail - state.regionFirst) * SECTOR_BYTES;
  report.capacityBytes = state.capacity;
  report.active = state.active;
  report.regionSectors = state.regionSectors;
}

function phaseStatus(): i32 { return state.phase == PHASE_OPEN ? S_OK : state.phase == PHASE_FAILED ? S_FAILED : S_CLOSED; }
function writableStatus(): i32 {
  const status = phaseStatus();
  return status == S_OK && state.readOnly != 0 ? S_READ_ONLY : status;
}
function keyStatus(keyLength: u32): i32 {
  return keyLength == 0 ? S_INVALID_KEY : keyLength > STATEFS_KEY_BYTES_MAX ? S_KEY_TOO_LONG : S_OK;
}

/** Stages one put. S_OK, S_INVALID_KEY, S_KEY_TOO_LONG, S_VALUE_TOO_LARGE, S_NO_SPACE, S_KEYS_LIMIT, S_GROUP_FULL, S_READ_ONLY. */
export function storePut(key: usize, keyLength: u32, value: usize, valueLength: u32): i32 {
  let status = writableStatus();
  if (status == S_OK) status = keyStatus(keyLength);
  if (status == S_OK && valueLength > STATEFS_VALUE_BYTES_MAX) status = S_VALUE_TOO_LARGE;
  return status != S_OK ? stageRefuse(status) : stageRecord(OP_PUT, key, keyLength, value, valueLength);
}
/** Stages one deletion. S_NOT_FOUND outside of a commit; inside, deleting what is not there is S_OK. */
export function storeDel(key: usize, keyLength: u32): i32 {
  let status = writableStatus();
  if (status == S_OK) status = keyStatus(keyLength);
  return status != S_OK ? stageRefuse(status) : stageRecord(OP_DEL, key, keyLength, 0, 0);
}
/** Starts an atomic commit: what follows becomes visible at storeEnd. S_OK or S_BAD_CALL. */
export function storeBegin(): i32 {
  const status = writableStatus();
  return status == S_OK ? stageBegin() : status;
}
/** Ends it: S_OK, or the first error of its puts and dels (then nothing of it is there). S_TXN_LIMIT: it never fits. */
export function storeEnd(): i32 {
  const status = writableStatus();
  return status == S_OK ? stageEnd() : status;
}
/** Drops it. */
export function storeAbort(): void { stageAbort(); }
/** Bytes staged. */
export function storeStagedBytes(): u32 { return stagedBytes(); }
/** Sequence number of the record staged last; durable once report.durable has reached it. */
export function storeSequence(): u64 { return state.nextSequence - 1; }

/** Makes everything staged durable: S_OK, or S_IO (the store has failed). S_OK with nothing staged. */
export function storeCommit(): i32 {
  let status = writableStatus();
  if (status != S_OK) return status;
  if (stageIsOpen()) return S_BAD_CALL;
  if (stagedBytes() == 0) return S_OK;
  status = mustCompact() ? compact() : append();
  forgetRead();
  if (status == S_OK) stageReset();
  else state.phase = PHASE_FAILED;
  refresh();
  return status;
}

/** The group has no room behind the journal, or garbage exceeds what is live by compact_slack_bytes. */
function mustCompact(): bool {
  const end = state.tail + stagedSectors();
  if (state.tailDirty != 0 || end + 1 > state.regionEnd) return true;
  const journal = <u64>(end - state.regionFirst) * SECTOR_BYTES;
  return journal > 2 * <u64>state.liveBytes + STATEFS_COMPACT_SLACK_BYTES;
}

/** Only for FAULT_REWRITES_SECTOR: the last sector that was written. */
const lastSector: usize = FAULT_REWRITES_SECTOR ? memory.data(512, 16) : 0;

function append(): i32 {
  stageSeal();
  const sectors = stagedSectors();
  if (FAULT_REWRITES_SECTOR && state.tail > state.regionFirst) {
    if (load<u64>(lastSector) != 0 && state.disk.write(state.tail - 1, 1, lastSector) != S_OK) return S_IO;
  }
  if (state.disk.write(state.tail, sectors + 1, groupBuffer) != S_OK) return S_IO;
  if (!FAULT_NO_FLUSH && state.disk.flush() != S_OK) return S_IO;
  if (FAULT_REWRITES_SECTOR) memory.copy(lastSector, groupBuffer + (sectors - 1) * SECTOR_BYTES, SECTOR_BYTES);
  state.tail += sectors;
  return S_OK;
}

/** Length of the value of a key (staged ones included), S_NOT_FOUND, or S_INTEGRITY when it is known to be lost. */
export function storeFind(key: usize, keyLength: u32): i32 {
  const status = phaseStatus();
  if (status != S_OK) return status;
  const index = entryFind(key, keyLength);
  if (index == NO_ENTRY) return S_NOT_FOUND;
  return entryAt(index).lost != 0 ? S_INTEGRITY : <i32>entryAt(index).valueLength;
}

/** Copies at most `cap` bytes of a value from `offset` on: their number (0 at and behind the end), S_NOT_FOUND, S_INTEGRITY, S_IO.
 *  A read from offset 0 always reads the disk; later pieces may come from the copy that was verified then. */
export function storeRead(key: usize, keyLength: u32, offset: u32, to: usize, cap: u32): i32 {
  const found = storeFind(key, keyLength);
  if (found < 0) return found;
  const index = entryFind(key, keyLength);
  const entry = entryAt(index);
  const ahead = entry.place - state.tail * PLACES_PER_SECTOR;
  let at = <i32>(groupBuffer + ahead * 8);
  if (entry.place < state.tail * PLACES_PER_SECTOR) at = readRecord(index, 0, offset == 0);
  if (at < 0) return at;
  const bytes = offset < <u32>found ? min(<u32>found - offset, cap) : 0;
  memory.copy(to, recordValue(<usize>at) + offset, bytes);
  foundSequence = load<u64>(<usize>at, RECORD_AT_SEQUENCE);
  return <i32>bytes;
}

let foundSequence: u64 = 0;
/** Sequence number of the record that the last successful storeRead copied from: pieces with the same one are of the same value. A
 *  compaction gives every record a new one. */
export function storeFoundSequence(): u64 { return foundSequence; }

/** How many entries the last storeList wrote, and whether more follow. */
export let listCount: u32 = 0;
export let listMore: bool = false;
/** Writes the keys that start with `prefix`, in byte order, after the key `after` (afterLength 0: from the first): for each key_length u8,
 *  value_length u32 (0xffffffff: lost), key. At most `cap` bytes and `countMax` entries. Bytes written, or an error. */
export function storeList(prefix: usize, prefixLength: u32, after: usize, afterLength: u32, to: usize, cap: u32, countMax: u32): i32 {
  listCount = 0;
  listMore = false;
  const status = phaseStatus();
  if (status != S_OK) return status;
  const fromPrefix = afterLength == 0 || keysCompare(after, afterLength, prefix, prefixLength) < 0;
  let index = fromPrefix ? orderFrom(prefix, prefixLength) : orderAfter(after, afterLength);
  let written: u32 = 0;
  while (index != NO_ENTRY) {
    const entry = entryAt(index);
    const keyLength = <u32>entry.keyLength;
    if (keyLength < prefixLength || !keysEqual(entry.key, prefix, prefixLength)) break;
    if (listCount == countMax || written + LIST_HEAD_BYTES + keyLength > cap) {
      listMore = true;
      break;
    }
    const at = to + written;
    store<u8>(at, <u8>keyLength);
    store<u32>(at + 1, entry.lost != 0 ? 0xffffffff : entry.valueLength);
    memory.copy(at + LIST_HEAD_BYTES, entry.key, keyLength);
    written += LIST_HEAD_BYTES + keyLength;
    listCount++;
    index = orderNext();
  }
  return <i32>written;
}
