// SPDX-License-Identifier: Apache-2.0
// Before metricsd is ready, or later where statefsd was away then:
// what /state holds becomes the registry's series, the open windows and the retention clock.
//
// Invariant: the disk is only read here, and everything or nothing is taken over: a failure to read leaves retention unavailable, because
// whoever writes without knowing what is there writes over it. A record that is malformed or no longer belongs to its segment is counted
// and skipped. Windows that ended but did not reach /state are made again from raw records, with the same bytes; those that are there are
// read, not made again.
// Limits: limits.metricsd retention_keys_max keys; only windows of the last two minutes are made again.
import {
  METRICSD_RETENTION_CALL_BUDGET_NS, METRICSD_RETENTION_KEYS_MAX, METRICSD_RETENTION_RECORD_BYTES_MAX, METRICSD_RETENTION_SEGMENTS_MAX,
} from "../../../gen/limits";
import { MUT_METRICSD_REMAKES_HALF, mutant } from "../../../gen/mutants";
import { StateList, STATE_REFUSED, stateGet, stateStatus } from "../../../lib/nexus-state/index";
import { MT_KIND_GAUGE, MT_KIND_HISTOGRAM } from "../../../lib/wire/metricsd";
import { SF_INTEGRITY, SF_NOT_FOUND } from "../../../lib/wire/statefsd";
import { isName } from "../labels";
import { boundCount } from "../limits";
import { ORIGIN_HERE, ORIGIN_UNCLAIMED, histogramOf, resolved, restore, restoreValue, seriesAt, seriesUsed } from "../registry";
import { boundsDigest } from "./builder";
import { closeWindow } from "./close";
import { RECORD_HEAD_BYTES, RECORD_LAST, RecordHead, entry, entryRow, entryTotals, headOf, readEntry } from "./entry";
import { state } from "./jobs";
import { keyPart, keyRecord, keySlot, keyWindow, levelPrefix, parseRawKey, parseRollupKey, rawKey, rollupKey } from "./keys";
import { BUCKETS, LEVELS, dropPoints, mergePoint, pointCount } from "./points";
import { recoverSegment } from "./segments";
import { findWindow, noteWindow, widthOf, windowRoom } from "./windows";

/** One record of the raw log, and one of a roll-up: a window is finished while a raw record waits. */
const raw: usize = memory.data(METRICSD_RETENTION_RECORD_BYTES_MAX, 8);
const rollup: usize = memory.data(METRICSD_RETENTION_RECORD_BYTES_MAX, 8);
const list: StateList = changetype<StateList>(memory.data(24, 4));
const prefixCopy: usize = memory.data(64);
/** By slot: first and last record there, and the segment's number plus 1 (0: none). */
const slotFirst: usize = memory.data(METRICSD_RETENTION_SEGMENTS_MAX * 4, 4);
const slotLast: usize = memory.data(METRICSD_RETENTION_SEGMENTS_MAX * 4, 4);
const slotSegment: usize = memory.data(METRICSD_RETENTION_SEGMENTS_MAX * 4, 4);

/** More keys than retention_keys_max, in place of an error of nexus-state. */
const STATE_KEYS: i32 = -190;

let recordsRead: u64 = 0;
let recordsBad: u64 = 0;
let seriesRestored: u64 = 0;
let entriesRefused: u64 = 0;
let failure: i32 = 0;
let touched: bool = false;
let end_ns: u64 = 0;
let bounds: u32 = 0;
/** The 10 s window that is finished next, and whether /state holds it whole. */
let next: u64 = 0;
let nextWhole: bool = false;
/** From here on the raw log is complete. */
let rawFrom_ns: u64 = 0;

export function recoveredRecords(): u64 {
  return recordsRead;
}
/** Records that were malformed, stale or rotten. */
export function recoveredBad(): u64 {
  return recordsBad;
}
export function recoveredSeries(): u64 {
  return seriesRestored;
}
/** Entries that were not taken over: a cap, other bounds, no label set of ours, or a series in use before a late start. */
export function recoveredRefused(): u64 {
  return entriesRefused;
}
/** Why recovery failed: a status of statefsd (positive) or an error of nexus-state (negative). */
export function recoverFailure(): i32 {
  return failure;
}
/** End of the newest window on /state, on the retention clock. */
export function recoveredEnd_ns(): u64 {
  return end_ns;
}

/** Whether anything of /state was seen: from then on recovery is whole or not at all in this life of metricsd. */
export function recoverTouched(): bool {
  return touched;
}

/** Notes why a call failed; false. */
function failed(outcome: i32): bool {
  failure = outcome == STATE_REFUSED ? <i32>stateStatus() : outcome;
  return false;
}

/** Reads a record to `to`: its length, 0 when it is not there or rotten (counted), or a negative failure that ends recovery. */
function read(keyAt: usize, keyLen: u32, to: usize): i32 {
  const length = stateGet(state, keyAt, keyLen, to, METRICSD_RETENTION_RECORD_BYTES_MAX, METRICSD_RETENTION_CALL_BUDGET_NS);
  if (length >= 0) {
    recordsRead += 1;
    return length;
  }
  if (length == STATE_REFUSED && stateStatus() == SF_NOT_FOUND) return 0;
  if (length == STATE_REFUSED && stateStatus() == SF_INTEGRITY) {
    recordsBad += 1;
    return 0;
  }
  failed(length);
  return length;
}

function readHead(at: usize, length: i32, level: u32): RecordHead | null {
  if (length <= 0) return null;
  const head = headOf(at, <u32>length);
  if (head !== null && <u32>head.level == level) return head;
  recordsBad += 1;
  return null;
}

/** Takes a prefix apart from the key buffer, which parsing writes over. */
function beginList(level: u32): void {
  const prefix = levelPrefix(level);
  memory.copy(prefixCopy, prefix.base, prefix.length);
  list.begin(prefixCopy, prefix.length);
}

function listRaw(): bool {
  beginList(0);
  failure = 0;
  for (let n: u32 = 0; n < METRICSD_RETENTION_KEYS_MAX; n++) {
    if (!list.next(state, METRICSD_RETENTION_CALL_BUDGET_NS)) return list.outcome == 0 || failed(list.outcome);
    touched = true;
    if (!parseRawKey(list.key, list.keyBytes) || keySlot >= METRICSD_RETENTION_SEGMENTS_MAX) {
      recordsBad += 1;
      continue;
    }
    const at = keySlot << 2;
    if (load<u32>(slotSegment + at) == 0) store<u32>(slotFirst + at, keyRecord);
    store<u32>(slotSegment + at, 1);
    store<u32>(slotLast + at, keyRecord);
  }
  failure = STATE_KEYS;
  return false;
}

function listWindows(level: u32): bool {
  beginList(level);
  touched = true;
  for (let n: u32 = 0; n < METRICSD_RETENTION_KEYS_MAX; n++) {
    if (!list.next(state, METRICSD_RETENTION_CALL_BUDGET_NS)) return list.outcome == 0 || failed(list.outcome);
    if (!parseRollupKey(level, list.key, list.keyBytes) || !windowRoom(level)) {
      recordsBad += 1;
      continue;
    }
    // Parts are listed in order: one that is missing leaves the window unwhole.
    const w = findWindow(level, keyWindow);
    noteWindow(level, keyWindow, keyPart + 1, w === null ? keyPart == 0 : w.whole != 0 && keyPart == <u32>w.parts);
    end_ns = max(end_ns, (keyWindow + 1) * widthOf(level));
  }
  failure = STATE_KEYS;
  return false;
}

/** The segment of a slot: the younger of its first and its last record's, in case the other is a leftover. */
function identify(slot: u32): bool {
  const at = slot << 2;
  if (load<u32>(slotSegment + at) == 0) return true;
  store<u32>(slotSegment + at, 0);
  for (let n: u32 = 0; n < 2; n++) {
    const key = rawKey(slot, load<u32>((n == 0 ? slotFirst : slotLast) + at));
    const length = read(key.base, key.length, raw);
    if (length < 0) return false;
    const head = readHead(raw, length, 0);
    if (head === null) continue;
    store<u32>(slotSegment + at, max(load<u32>(slotSegment + at), head.segment + 1));
    end_ns = max(end_ns, head.start_ns + head.width_ns);
  }
  return true;
}

/** Takes one entry's series over: its index in `resolved`. `live`: the entry is the newest state seen so far. */
function takeSeries(head: RecordHead, live: bool): bool {
  const histogram = entry.kind == MT_KIND_HISTOGRAM;
  const fits = !histogram || (head.bounds == bounds && entry.buckets == boundCount(entry.unit) + 1);
  if (!fits || !isName(entry.name, <u32>entry.nameLen)
      || !restore(entry.sender, entry.kind, entry.unit, entry.name, <u32>entry.nameLen, entry.labels, <u32>entry.labelsLen)) {
    entriesRefused += 1;
    return false;
  }
  if (!live) return true;
  const s = seriesAt(resolved);
  if (s.origin == ORIGIN_HERE) {
    // In use since before the history could be read (a late start): it keeps what it counted in this boot.
    entriesRefused += 1;
    return true;
  }
  if (s.segment == 0) seriesRestored += 1;
  s.segment = head.segment + 1;
  restoreValue(resolved, entry.last, entry.totalCount, entry.totalSum, entryTotals, entry.buckets);
  return true;
}

function mergeEntry(level: u32): void {
  const s = seriesAt(resolved);
  mergePoint(level, resolved, s.kind == MT_KIND_GAUGE, histogramOf(s), entry.point, entryRow);
}

/** Walks the entries of a record; raw ones set the series' state. `into`: the level that takes the points, 0 for none. */
function takeRecord(head: RecordHead, length: u32, into: u32): void {
  let at = changetype<usize>(head) + RECORD_HEAD_BYTES;
  const stop = changetype<usize>(head) + length;
  for (let n: u32 = 0; n < <u32>head.entries; n++) {
    at = readEntry(at, stop);
    if (at == 0) {
      recordsBad += 1;
      return;
    }
    if (takeSeries(head, head.level == 0) && into != 0) mergeEntry(into);
  }
  if (at != stop) recordsBad += 1;
}

/** Whether /state holds every part of a window. */
function isWhole(level: u32, number: u64): bool {
  const w = findWindow(level, number);
  if (w === null || !w.whole) return false;
  const key = rollupKey(level, number, <u32>w.parts - 1);
  const head = readHead(rollup, read(key.base, key.length, rollup), level);
  return head !== null && (head.flags & RECORD_LAST) != 0;
}

/** Merges a 10 s window of /state into the open 60 s window. */
function loadWindow(number: u64): bool {
  const w = findWindow(1, number);
  for (let part: u32 = 0; w !== null && part < <u32>w.parts; part++) {
    const key = rollupKey(1, number, part);
    const length = read(key.base, key.length, rollup);
    if (length < 0) return false;
    const head = readHead(rollup, length, 1);
    if (head !== null) takeRecord(head, <u32>length, 2);
  }
  return true;
}

function enter(window: u64): void {
  next = window;
  nextWhole = isWhole(1, window);
}

/** Finishes 10 s windows up to (not including) this one, and the 60 s windows that end with them. */
function finishUntil(window: u64): bool {
  const perMinute = widthOf(2) / widthOf(1);
  // Points lie in the windows of two minutes at most; the gap behind them is stepped over at once.
  while (next < window) {
    if (nextWhole) {
      if (!loadWindow(next)) return false;
    } else {
      // Without the raw records of its beginning a window cannot be made again as it was.
      closeWindow(1, next * widthOf(1), next * widthOf(1) >= rawFrom_ns);
    }
    const ended = next + 1;
    if (ended % perMinute == 0 && pointCount(2) != 0) {
      const minute = ended / perMinute - 1;
      closeWindow(2, minute * widthOf(2), !isWhole(2, minute));
    }
    const empty = pointCount(1) + pointCount(2) == 0 && ended * widthOf(1) >= end_ns;
    enter(empty ? window : ended);
    if (failure != 0) return false;
  }
  return true;
}

/** Reads one segment in the order of its records. */
function replay(slot: u32, number: u32): bool {
  const at = slot << 2;
  const from = load<u32>(slotFirst + at);
  const last = load<u32>(slotLast + at);
  let first_ns: u64 = u64.MAX_VALUE;
  let last_ns: u64 = 0;
  for (let n = from; n <= last; n++) {
    const key = rawKey(slot, n);
    const length = read(key.base, key.length, raw);
    if (length < 0) return false;
    const head = readHead(raw, length, 0);
    if (head === null) continue;
    if (head.segment != number) {
      recordsBad += 1;
      continue;
    }
    if (first_ns == u64.MAX_VALUE) first_ns = head.start_ns;
    last_ns = head.start_ns;
    if (rawFrom_ns == u64.MAX_VALUE) rawFrom_ns = number == 0 && from == 0 ? 0 : head.start_ns;
    const window = head.start_ns / widthOf(1);
    if (window > next && !finishUntil(window)) return false;
    const remake = window == next && !nextWhole && !(mutant(MUT_METRICSD_REMAKES_HALF) && n == last);
    takeRecord(head, <u32>length, remake ? 1 : 0);
  }
  if (first_ns != u64.MAX_VALUE) recoverSegment(number, slot, from, last + 1, first_ns, last_ns);
  return true;
}

/** Restored values are forgotten: after a failure nobody knows whether they are the newest. */
function forget(): void {
  memory.fill(entryTotals, 0, BUCKETS * 8);
  for (let i: u32 = 0; i < seriesUsed(); i++) {
    const s = seriesAt(i);
    if (s.origin == ORIGIN_UNCLAIMED) restoreValue(i, 0, 0, 0, entryTotals, BUCKETS);
  }
  for (let level: u32 = 0; level < LEVELS; level++) dropPoints(level);
}

/** Reads everything. False: recoverFailure says why, and nothing may be written. */
export function recover(): bool {
  if (readAll()) return true;
  forget();
  return false;
}

function readAll(): bool {
  bounds = boundsDigest();
  if (!listRaw() || !listWindows(1) || !listWindows(2)) return false;
  for (let slot: u32 = 0; slot < METRICSD_RETENTION_SEGMENTS_MAX; slot++) if (!identify(slot)) return false;
  const minute = widthOf(2);
  const last = end_ns == 0 ? 0 : (end_ns - 1) / minute;
  rawFrom_ns = u64.MAX_VALUE;
  enter((last == 0 ? 0 : last - 1) * (minute / widthOf(1)));
  let done: u32 = 0;
  for (let n: u32 = 0; n < METRICSD_RETENTION_SEGMENTS_MAX; n++) {
    // The slot with the smallest number not done yet.
    let slot: u32 = METRICSD_RETENTION_SEGMENTS_MAX;
    let least: u32 = u32.MAX_VALUE;
    for (let i: u32 = 0; i < METRICSD_RETENTION_SEGMENTS_MAX; i++) {
      const number = load<u32>(slotSegment + (i << 2));
      if (number <= done || number >= least) continue;
      least = number;
      slot = i;
    }
    if (slot == METRICSD_RETENTION_SEGMENTS_MAX) break;
    if (!replay(slot, least - 1)) return false;
    done = least;
  }
  return true;
}

/** Finishes the windows that ended before `now_ns` of the retention clock. */
export function recoverWindows(now_ns: u64): bool {
  if (finishUntil(now_ns / widthOf(1))) return true;
  forget();
  return false;
}
