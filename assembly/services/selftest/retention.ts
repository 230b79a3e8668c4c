// SPDX-License-Identifier: Apache-2.0
// Phase retention of the ladder: what metricsd keeps on /state is there, byte for byte, and comes back by RANGE; windows of 10 s and 60 s
// hold exactly what fell into them; and a restart of statefsd loses nothing that was acknowledged.
// Invariant: the bytes that a record must hold are written here from docs/format/retention.md, not taken from what came back; values are
// below 64, so that each takes one byte. Limits: waits are guest time; the recipe's raw interval of one second.
import {
  M_SELFTEST_METRICS_HISTORY_AFTER_RESTART_OK, M_SELFTEST_METRICS_RETENTION_OK, M_SELFTEST_METRICS_ROLLUPS_OK,
} from "../../gen/markers";
import { SVC_SELFTEST_ID } from "../../gen/services";
import { Writer } from "../../lib/bounded/writer";
import {
  MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_LEVEL_10S, MT_LEVEL_60S, MT_LEVEL_RAW, MT_OK, MT_OP_COUNTER_INC, MT_OP_GAUGE_SET,
  MT_OP_HIST_OBSERVE, MT_RETENTION_READY, MT_STAT_RAW_WRITTEN, MT_STAT_RETENTION, MT_STAT_RETENTION_WHY, MT_STAT_SAMPLES_DROPPED,
  MT_STAT_WRITES_LOST, MT_UNIT_NONE, MT_UNIT_NS,
} from "../../lib/wire/metricsd";
import {
  BUDGET_NS, SECOND_NS, askRange, beginKeys, checkBuckets, checkPoint, clockNow, disk, list, points, readListed, recordHolds, recordStart,
  settle, statNow, statThen, waitUntil,
} from "./history";
import { check, checkEqual, proof, proven } from "./lib";
import { sendUpdate } from "./metrics";
import { beginExchange } from "./records";
import { RESTART_LOOKS, killed } from "./traps";

const MINUTE_NS: u64 = 60 * SECOND_NS;
const KEYS_MOST: u32 = 256;
const bytes: usize = memory.data(256);
const expected: Writer = changetype<Writer>(memory.data(16, 4));

export function update(op: u8, series: string, value: i64, labels: string = ""): void {
  checkEqual(sendUpdate(op, series, <u64>value, labels), MT_OK, series);
}

/** Begins the bytes of an entry: its head; numbers and texts follow. */
function entry(kind: u8, unit: u8, nameLen: u32, labelsLen: u32, buckets: u32): Writer {
  expected.reset(bytes, 256).putU8(kind).putU8(unit).putU8(<u8>nameLen).putU8(<u8>labelsLen).putU32(buckets);
  return expected.putU64(SVC_SELFTEST_ID);
}
/** Five numbers below 128: count, sum, min, max, last (a gauge's folded). */
function numbers(count: u8, sum: u8, least: u8, most: u8, last: u8): Writer {
  return expected.putU8(count).putU8(sum).putU8(least).putU8(most).putU8(last);
}

/** The record of the raw interval at start_ns, read through statefsd: its length in `record`, 0 when there is none. */
function findRecord(start_ns: u64): u32 {
  beginKeys("wal/");
  for (let n: u32 = 0; n < KEYS_MOST && list.next(disk, BUDGET_NS); n++) {
    const length = readListed();
    if (length != 0 && recordStart() == start_ns) return length;
  }
  checkEqual(list.outcome, 0, "list");
  return 0;
}

function provesRetention(): void {
  proof("metrics retention");
  beginExchange();
  statNow(MT_STAT_RETENTION);
  checkEqual(statThen(MT_STAT_RETENTION_WHY), 0, "why there is no retention");
  checkEqual(statThen(MT_STAT_RETENTION), MT_RETENTION_READY, "state");
  const written = statThen(MT_STAT_RAW_WRITTEN);
  const start_ns = (clockNow() / SECOND_NS + 1) * SECOND_NS;
  waitUntil(start_ns);
  update(MT_OP_COUNTER_INC, "selftest.kept", 3, "b=2\na=1");
  update(MT_OP_COUNTER_INC, "selftest.kept", 4, "a=1\nb=2");
  update(MT_OP_GAUGE_SET, "selftest.level", 5);
  update(MT_OP_GAUGE_SET, "selftest.level", -2);
  update(MT_OP_HIST_OBSERVE, "selftest.spread", 50);
  update(MT_OP_HIST_OBSERVE, "selftest.spread", 7);
  waitUntil(start_ns + SECOND_NS);
  settle();
  check(statNow(MT_STAT_RAW_WRITTEN) > written, "nothing was acknowledged");
  const length = findRecord(start_ns);
  if (check(length != 0, "no record of the interval on /state")) {
    entry(MT_KIND_COUNTER, MT_UNIT_NONE, 13, 7, 0);
    numbers(2, 7, 3, 4, 7).putText("selftest.kepta=1\nb=2");
    check(recordHolds(length, bytes, expected.length), "the counter's bytes");
    entry(MT_KIND_GAUGE, MT_UNIT_NONE, 14, 0, 0);
    numbers(2, 6, 3, 10, 3).putText("selftest.level");
    check(recordHolds(length, bytes, expected.length), "the gauge's bytes");
    entry(MT_KIND_HISTOGRAM, MT_UNIT_NS, 15, 0, 5);
    numbers(2, 57, 7, 50, 7).putU8(2).putU8(57).putU8(2).putU8(2).putU64(0).putText("selftest.spread");
    check(recordHolds(length, bytes, expected.length), "the histogram's bytes");
  }
  if (askRange(MT_LEVEL_RAW, "selftest.kept", start_ns, start_ns + SECOND_NS)) {
    checkEqual(points, 1, "points of the counter");
    checkPoint(0, start_ns, 2, 7, 3, 4, 7, "the counter's point");
  }
  if (askRange(MT_LEVEL_RAW, "selftest.level", start_ns, start_ns + SECOND_NS)) {
    checkPoint(0, start_ns, 2, 3, -2, 5, -2, "the gauge's point");
  }
  if (askRange(MT_LEVEL_RAW, "selftest.spread", start_ns, start_ns + SECOND_NS)) {
    checkPoint(0, start_ns, 2, 57, 7, 50, 7, "the histogram's point");
    checkBuckets(0, 2, 0, 0, 0, 0, "the histogram's buckets");
  }
  checkEqual(statNow(MT_STAT_SAMPLES_DROPPED), 0, "samples dropped");
  proven(M_SELFTEST_METRICS_RETENTION_OK);
}

/** Values at known times around the border of two 10 s windows of one minute; 10 s and 60 s hold exactly these. */
function provesRollups(): void {
  proof("metrics rollups");
  const now_ns = clockNow();
  let start_ns = (now_ns / (10 * SECOND_NS) + 1) * 10 * SECOND_NS;
  if (start_ns % MINUTE_NS == 50 * SECOND_NS) start_ns += 10 * SECOND_NS;
  const second_ns = start_ns + 10 * SECOND_NS;
  waitUntil(start_ns);
  update(MT_OP_GAUGE_SET, "selftest.rolled", 7);
  update(MT_OP_HIST_OBSERVE, "selftest.rolled", 900_000);
  waitUntil(start_ns + 3 * SECOND_NS);
  update(MT_OP_GAUGE_SET, "selftest.rolled", -3);
  update(MT_OP_HIST_OBSERVE, "selftest.rolled", 6_000_000);
  // The last and the first interval of two neighbours.
  waitUntil(second_ns - SECOND_NS);
  update(MT_OP_COUNTER_INC, "selftest.rolled", 5);
  waitUntil(second_ns);
  update(MT_OP_COUNTER_INC, "selftest.rolled", 2);
  update(MT_OP_GAUGE_SET, "selftest.rolled", 4);
  update(MT_OP_HIST_OBSERVE, "selftest.rolled", 200_000_000);
  const minute_ns = start_ns - start_ns % MINUTE_NS;
  waitUntil(minute_ns + MINUTE_NS);
  settle();
  // One name, three kinds: RANGE answers in the order of kinds within a window.
  if (askRange(MT_LEVEL_10S, "selftest.rolled", minute_ns, minute_ns + MINUTE_NS) && checkEqual(points, 6, "10 s points")) {
    checkPoint(0, start_ns, 1, 5, 5, 5, 5, "counter, first window");
    checkPoint(1, start_ns, 2, 4, -3, 7, -3, "gauge, first window");
    checkPoint(2, start_ns, 2, 6_900_000, 900_000, 6_000_000, 6_000_000, "histogram, first window");
    checkBuckets(2, 1, 0, 1, 0, 0, "buckets, first window");
    checkPoint(3, second_ns, 1, 2, 2, 2, 7, "counter, second window");
    checkPoint(4, second_ns, 1, 4, 4, 4, 4, "gauge, second window");
    checkPoint(5, second_ns, 1, 200_000_000, 200_000_000, 200_000_000, 200_000_000, "histogram, second window");
    checkBuckets(5, 0, 0, 0, 0, 1, "buckets, second window");
  }
  if (askRange(MT_LEVEL_60S, "selftest.rolled", minute_ns, minute_ns + MINUTE_NS) && checkEqual(points, 3, "60 s points")) {
    checkPoint(0, minute_ns, 2, 7, 2, 5, 7, "counter, minute");
    checkPoint(1, minute_ns, 3, 8, -3, 7, 4, "gauge, minute");
    checkPoint(2, minute_ns, 3, 206_900_000, 900_000, 200_000_000, 200_000_000, "histogram, minute");
    checkBuckets(2, 1, 0, 1, 0, 1, "buckets, minute");
  }
  proven(M_SELFTEST_METRICS_ROLLUPS_OK);
}

/** statefsd ends and comes back: what it acknowledged is there, and the next records are written. */
function provesRestart(): void {
  proof("metrics history after a restart");
  const lost = statNow(MT_STAT_WRITES_LOST);
  const dropped = statThen(MT_STAT_SAMPLES_DROPPED);
  const start_ns = (clockNow() / SECOND_NS + 1) * SECOND_NS;
  waitUntil(start_ns);
  update(MT_OP_COUNTER_INC, "selftest.survivor", 11);
  waitUntil(start_ns + SECOND_NS);
  settle();
  if (!killed("statefsd", RESTART_LOOKS)) return;
  const later_ns = (clockNow() / SECOND_NS + 1) * SECOND_NS;
  waitUntil(later_ns);
  update(MT_OP_COUNTER_INC, "selftest.survivor", 6);
  waitUntil(later_ns + SECOND_NS);
  settle();
  if (askRange(MT_LEVEL_RAW, "selftest.survivor", start_ns, later_ns + SECOND_NS) && checkEqual(points, 2, "points on both sides")) {
    checkPoint(0, start_ns, 1, 11, 11, 11, 11, "before the restart");
    checkPoint(1, later_ns, 1, 6, 6, 6, 17, "after the restart");
  }
  check(findRecord(start_ns) != 0 && findRecord(later_ns) != 0, "a record is not on /state");
  checkEqual(statNow(MT_STAT_WRITES_LOST), lost, "frames given up");
  checkEqual(statThen(MT_STAT_SAMPLES_DROPPED), dropped, "samples dropped");
  proven(M_SELFTEST_METRICS_HISTORY_AFTER_RESTART_OK);
}

/** In the order of markers/67-retention.toml. */
export function retention_proofs(): void {
  provesRetention();
  provesRollups();
  provesRestart();
}
