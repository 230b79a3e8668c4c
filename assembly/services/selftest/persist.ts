// SPDX-License-Identifier: Apache-2.0
// Two boots on one disk. The first turns the raw log over, lets roll-ups expire, has a window made again, and leaves a note of what was
// acknowledged below /state/test/; the second finds all of it, goes on counting, and finishes the window that the first had begun.
// Invariant: keys are counted and named exactly, before and after; what the second boot expects is in the first one's note.
// Limits: the recipe `retention` (markers/profiles/persist-first.toml); waits are guest time.
import {
  M_SELFTEST_METRICS_HISTORY_GC_OK, M_SELFTEST_METRICS_HISTORY_LEFT_OK, M_SELFTEST_METRICS_HISTORY_RESTORED_OK,
  M_SELFTEST_METRICS_HISTORY_SPANS_BOOTS_OK, M_SELFTEST_METRICS_ROLLUP_MADE_AGAIN_OK, M_SELFTEST_METRICS_WAL_ROTATES_OK,
} from "../../gen/markers";
import { METRICSD_SERIES_MAX } from "../../gen/limits";
import { SVC_SELFTEST_ID } from "../../gen/services";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";
import { MT, Reader, beginRequest, lookupQuery, reply } from "../../lib/nexus-ipc/index";
import { stateDel, stateGet, statePut } from "../../lib/nexus-state/index";
import {
  MT_CURSOR_END, MT_LEVEL_10S, MT_LEVEL_RAW, MT_OK, MT_OP_COUNTER_INC, MT_OP_GAUGE_SET, MT_OP_HIST_OBSERVE, MT_OP_SNAPSHOT,
  MT_RETENTION_READY, MT_STAT_RETENTION, MT_STAT_RETENTION_OFFSET_NS, MT_STAT_RETENTION_WHY, MT_STAT_SAMPLES_DROPPED, MT_STAT_SEGMENT,
  MT_STAT_SEGMENTS_DROPPED, MT_STAT_SEGMENT_RECORDS, MT_STAT_SERIES_RESTORED, MT_UNIT_RESTORED, putSnapshot,
} from "../../lib/wire/metricsd";
import {
  BUDGET_NS, SECOND_NS, askRange, beginKeys, checkPoint, clockNow, countKeys, disk, forgetMetricsd, list, points, readListed, record,
  recordSegment, settle, statNow, statThen, toMetricsd, waitUntil,
} from "./history";
import { keysFirstBoot, keysSecondBoot } from "./keys";
import { check, checkDone, checkEqual, proof, proven, waitNs } from "./lib";
import { ask } from "./records";
import { RESTART_LOOKS, killed } from "./traps";

const INTERVAL_NS: u64 = 100_000_000;
const WINDOW_NS: u64 = 10 * SECOND_NS;
const SLOTS: u32 = 3;
const RECORDS: u32 = 4;
const KEPT_10S: u64 = 12;
const KEYS_MOST: u32 = 64;
const key: usize = memory.data(96);
const copy: usize = memory.data(8192, 8);
const note: usize = memory.data(32, 8);
const name: usize = memory.data(48);

function updateNow(op: u8, series: string, value: i64): void {
  const handle = toMetricsd();
  beginRequest(MT, op).putU8(<u8>series.length).putU16(0).putU64(<u64>value).putText(series);
  checkEqual(ask(handle), MT_OK, series);
}

/** Start of the next raw interval, with the clock in it. */
function nextInterval(): u64 {
  const start_ns = (clockNow() / INTERVAL_NS + 1) * INTERVAL_NS;
  waitUntil(start_ns);
  return start_ns;
}

/** Keys of the raw log whose record belongs to the segment; every key's slot and record number are ones that the recipe knows. */
function recordsOf(segment: u32): u32 {
  const prefix = copyLiteral(copy, "/state/observability/metricsd/wal/seg_");
  let found: u32 = 0;
  beginKeys("wal/");
  for (let n: u32 = 0; n < KEYS_MOST && list.next(disk, BUDGET_NS); n++) {
    check(list.keyBytes == prefix + 7 && <u32>load<u8>(list.key + prefix, 1) - 48 < SLOTS, "a slot");
    check(<u32>load<u8>(list.key + prefix, 6) - 48 < RECORDS, "a record number");
    if (readListed() != 0 && recordSegment() == segment) found++;
  }
  checkEqual(list.outcome, 0, "list");
  return found;
}

function provesRotation(): void {
  proof("metrics wal rotates");
  statNow(MT_STAT_RETENTION);
  checkEqual(statThen(MT_STAT_RETENTION_WHY), 0, "why there is no retention");
  if (!checkEqual(statThen(MT_STAT_RETENTION), MT_RETENTION_READY, "state")) return;
  // Three slots of four records: after twenty intervals the first slot is used for the second time at least.
  for (let n: u32 = 0; n < 20; n++) {
    nextInterval();
    updateNow(MT_OP_COUNTER_INC, "selftest.wal", 1);
  }
  waitNs(10 * INTERVAL_NS);
  settle();
  const segment = <u32>statNow(MT_STAT_SEGMENT);
  const last = <u32>statThen(MT_STAT_SEGMENT_RECORDS);
  check(segment > SLOTS, "the log did not come round");
  check(last <= RECORDS, "a segment is too long");
  checkEqual(statThen(MT_STAT_SEGMENTS_DROPPED), segment - 1, "segments dropped");
  checkEqual(countKeys("wal/"), RECORDS + last, "keys of the raw log");
  checkEqual(recordsOf(segment - 1), RECORDS, "records of the segment before");
  checkEqual(recordsOf(segment), last, "records of the last segment");
  checkEqual(statNow(MT_STAT_SAMPLES_DROPPED), 0, "samples dropped");
  proven(M_SELFTEST_METRICS_WAL_ROTATES_OK);
}

/** Decimal digits of a window's number in its key. */
function windowKey(window: u64): u32 {
  let length = copyLiteral(key, "/state/observability/metricsd/rollup/10s/w_0000000000.000");
  for (let i: u32 = 0; i < 10; i++) {
    store<u8>(key + length - 5 - i, <u8>(48 + window % 10));
    window /= 10;
  }
  return length;
}

/** Windows of 10 s on /state with a number up to and including `window`; the first of their keys must be `first`'s. */
function windowsUpTo(window: u64, first: u64): u32 {
  let found: u32 = 0;
  beginKeys("rollup/10s/");
  for (let n: u32 = 0; n < KEYS_MOST && list.next(disk, BUDGET_NS); n++) {
    const length = windowKey(window);
    if (memory.compare(list.key, key, length) > 0) break;
    if (found == 0) {
      windowKey(first);
      checkEqual(memory.compare(list.key, key, length), 0, "the oldest window");
    }
    found++;
  }
  checkEqual(list.outcome, 0, "list");
  return found;
}

function provesExpiry(): void {
  proof("metrics history gc");
  const window = clockNow() / WINDOW_NS + 1;
  waitUntil(window * WINDOW_NS);
  updateNow(MT_OP_COUNTER_INC, "selftest.expires", 1);
  waitUntil((window + 1) * WINDOW_NS);
  updateNow(MT_OP_COUNTER_INC, "selftest.expires", 1);
  waitUntil((window + 2) * WINDOW_NS);
  waitNs(2 * INTERVAL_NS);
  settle();
  check(windowsUpTo(window + 1, 0) >= 2, "windows before");
  const length = windowKey(window);
  check(stateGet(disk, key, length, copy, 8192, BUDGET_NS) > 0, "the window is on /state");
  // It is kept as long as it is one of the twelve before the open one, and not a window longer.
  waitUntil((window + KEPT_10S) * WINDOW_NS);
  waitNs(20 * INTERVAL_NS);
  settle();
  checkEqual(windowsUpTo(window + 1, window), 2, "windows when it is the oldest");
  waitUntil((window + KEPT_10S + 1) * WINDOW_NS);
  waitNs(20 * INTERVAL_NS);
  settle();
  checkEqual(windowsUpTo(window + 1, window + 1), 1, "windows after its time");
  proven(M_SELFTEST_METRICS_HISTORY_GC_OK);
}

/** A 10 s window is taken off the disk; a new metricsd makes it again from raw records, byte for byte. */
function provesMadeAgain(): void {
  proof("metrics rollup made again");
  const window = clockNow() / WINDOW_NS + 1;
  waitUntil((window + 1) * WINDOW_NS - 5 * INTERVAL_NS);
  for (let n: i64 = 0; n < 3; n++) {
    updateNow(MT_OP_COUNTER_INC, "selftest.again", 3 + n);
    updateNow(MT_OP_GAUGE_SET, "selftest.again", 1 - n);
    updateNow(MT_OP_HIST_OBSERVE, "selftest.again", 1_000_000 << n);
    nextInterval();
  }
  waitUntil((window + 1) * WINDOW_NS);
  waitNs(2 * INTERVAL_NS);
  settle();
  const length = windowKey(window);
  const before = stateGet(disk, key, length, copy, 8192, BUDGET_NS);
  if (!check(before > 0, "the window is on /state")) return;
  checkEqual(stateDel(disk, key, length, BUDGET_NS), 0, "delete");
  if (!killed("metricsd", RESTART_LOOKS)) return;
  forgetMetricsd();
  waitNs(2 * INTERVAL_NS);
  settle();
  windowKey(window);
  const after = stateGet(disk, key, length, record, 7680, BUDGET_NS);
  if (checkEqual(after, before, "length of the window made again")) checkEqual(memory.compare(record, copy, before), 0, "its bytes");
  updateNow(MT_OP_COUNTER_INC, "selftest.again", 1);
  const now_ns = clockNow();
  if (askRange(MT_LEVEL_RAW, "selftest.again", now_ns - now_ns % INTERVAL_NS, now_ns + 1)) {
    checkPoint(points - 1, now_ns - now_ns % INTERVAL_NS, 1, 1, 1, 1, 13, "the counter goes on");
  }
  proven(M_SELFTEST_METRICS_ROLLUP_MADE_AGAIN_OK);
}

/** What the second boot will look for: written early in a 10 s window, so that the power goes off inside it. */
function provesLeft(): void {
  proof("metrics history left");
  const window_ns = (clockNow() / WINDOW_NS + 1) * WINDOW_NS;
  waitUntil(window_ns);
  updateNow(MT_OP_COUNTER_INC, "selftest.persist", 7);
  updateNow(MT_OP_GAUGE_SET, "selftest.persist.level", -4);
  updateNow(MT_OP_HIST_OBSERVE, "selftest.persist.spread", 50);
  waitUntil(window_ns + INTERVAL_NS);
  settle();
  if (askRange(MT_LEVEL_RAW, "selftest.persist", window_ns, window_ns + INTERVAL_NS)) checkPoint(0, window_ns, 1, 7, 7, 7, 7, "the point");
  store<u64>(note, window_ns);
  store<u64>(note, clockNow(), 8);
  store<u64>(note, 7, 16);
  const length = copyLiteral(key, "/state/test/persist");
  checkEqual(statePut(disk, key, length, note, 24, BUDGET_NS), 0, "the note");
  proven(M_SELFTEST_METRICS_HISTORY_LEFT_OK);
}

/** Profile persist-first. */
export function persist_first(): void {
  provesRotation();
  provesExpiry();
  provesMadeAgain();
  provesLeft();
  keysFirstBoot();
}

/** A series of the registry, found by SNAPSHOT. */
let foundValue: i64 = 0;
let foundCount: u64 = 0;
let foundUnit: u8 = 0;

function findSeries(handle: u32, series: string): bool {
  let page: u32 = 0;
  for (let turn: u32 = 0; turn < METRICSD_SERIES_MAX; turn++) {
    putSnapshot(beginRequest(MT, MT_OP_SNAPSHOT), page, 0);
    if (!checkEqual(ask(handle), MT_OK, "snapshot")) return false;
    const body: Reader = reply.body;
    page = body.takeU32();
    body.takeU32();
    const count = <u32>body.takeU16();
    for (let n: u32 = 0; n < count; n++) {
      body.takeU32();
      body.takeU8();
      const unit = body.takeU8();
      const buckets = <u32>body.takeU8();
      const nameLen = <u32>body.takeU8();
      const labelsLen = <u32>body.takeU16();
      const sender = body.takeU64();
      const value = body.takeI64();
      const updates = body.takeU64();
      body.takeBytes(buckets * 16);
      const text = body.takeBytes(nameLen);
      body.takeBytes(labelsLen);
      if (!check(body.ok, "a malformed snapshot")) return false;
      if (sender != SVC_SELFTEST_ID || !equalsLiteral(text, nameLen, series)) continue;
      foundValue = value;
      foundCount = updates;
      foundUnit = unit;
      return true;
    }
    if (page == MT_CURSOR_END) break;
  }
  return check(false, series);
}

function provesRestored(): void {
  proof("metrics history restored");
  const length = copyLiteral(key, "/state/test/persist");
  if (!checkEqual(stateGet(disk, key, length, note, 32, BUDGET_NS), 24, "the note of the first boot")) return;
  statNow(MT_STAT_RETENTION);
  checkEqual(statThen(MT_STAT_RETENTION_WHY), 0, "why there is no retention");
  checkEqual(statThen(MT_STAT_RETENTION), MT_RETENTION_READY, "state");
  check(statThen(MT_STAT_SERIES_RESTORED) >= 3, "series restored");
  const handle = lookupQuery("metricsd");
  if (!checkDone(handle, "query route")) return;
  if (findSeries(<u32>handle, "selftest.persist")) {
    checkEqual(foundValue, load<u64>(note, 16), "the counter");
    checkEqual(foundUnit, MT_UNIT_RESTORED, "marked as restored");
  }
  if (findSeries(<u32>handle, "selftest.persist.level")) checkEqual(foundValue, -4, "the gauge");
  if (findSeries(<u32>handle, "selftest.persist.spread")) {
    checkEqual(foundValue, 50, "the histogram's sum");
    checkEqual(foundCount, 1, "the histogram's count");
  }
  updateNow(MT_OP_HIST_OBSERVE, "selftest.persist.spread", 6);
  if (findSeries(<u32>handle, "selftest.persist.spread")) {
    checkEqual(foundCount, 2, "the histogram goes on");
    checkEqual(foundUnit & MT_UNIT_RESTORED, 0, "no longer only restored");
  }
  proven(M_SELFTEST_METRICS_HISTORY_RESTORED_OK);
}

function provesSpans(): void {
  proof("metrics history spans boots");
  const then_ns = load<u64>(note);
  const window_ns = then_ns - then_ns % WINDOW_NS;
  check(statNow(MT_STAT_RETENTION_OFFSET_NS) != 0, "the retention clock goes on");
  const start_ns = nextInterval();
  check(start_ns > load<u64>(note, 8) && start_ns < window_ns + WINDOW_NS - INTERVAL_NS, "the window of the first boot is still open");
  updateNow(MT_OP_COUNTER_INC, "selftest.persist", 5);
  waitUntil(start_ns + INTERVAL_NS);
  settle();
  if (askRange(MT_LEVEL_RAW, "selftest.persist", then_ns, start_ns + INTERVAL_NS) && checkEqual(points, 2, "points on both sides")) {
    checkPoint(0, then_ns, 1, 7, 7, 7, 7, "the first boot's");
    checkPoint(1, start_ns, 1, 5, 5, 5, 12, "this boot's");
  }
  waitUntil(window_ns + WINDOW_NS);
  waitNs(2 * INTERVAL_NS);
  settle();
  if (askRange(MT_LEVEL_10S, "selftest.persist", window_ns, window_ns + WINDOW_NS) && checkEqual(points, 1, "the window of both")) {
    checkPoint(0, window_ns, 2, 12, 5, 7, 12, "what both boots put into it");
  }
  proven(M_SELFTEST_METRICS_HISTORY_SPANS_BOOTS_OK);
}

/** Profile persist-second, on the disk that persist-first left. */
export function persist_second(): void {
  provesRestored();
  provesSpans();
  keysSecondBoot();
}
