// SPDX-License-Identifier: Apache-2.0
// How the proofs look at metricsd's retention: its words in STATS, its points by RANGE, its keys and records on /state.
//
// Invariant: a series of points is compared whole (every field of every point, and that there are no more), and what is on /state is read
// through statefsd, not through metricsd. Limits: one page of RANGE after another, PAGES_MAX; POINTS_MAX points a question.
import { KERNEL_WAIT_MAX_NS, METRICSD_RETENTION_RECORD_BYTES_MAX, METRICSD_RETENTION_SEGMENT_RECORDS_MAX } from "../../gen/limits";
import { SLOT_METRICSD } from "../../gen/slots";
import { SVC_SELFTEST_ID } from "../../gen/services";
import { copyLiteral } from "../../lib/bounded/text";
import { MT, Route, beginRequest, reply } from "../../lib/nexus-ipc/index";
import { StateList, stateGet, stateSync } from "../../lib/nexus-state/index";
import {
  MT_OK, MT_OP_RANGE, MT_OP_STATS, MT_RANGE_END, MT_RANGE_UNREADABLE, MT_STATS, MT_STAT_RETENTION_NS, MT_STAT_WRITES_WAITING,
  putRangeByName,
} from "../../lib/wire/metricsd";
import { check, checkEqual, waitNs } from "./lib";
import { ask } from "./records";

export const SECOND_NS: u64 = 1_000_000_000;
export const BUDGET_NS: u64 = 2_000_000_000;
const PAGES_MAX: u32 = 32;
const SETTLE_LOOKS: u32 = 200;
const BUCKETS_MAX: u32 = 8;
/** The proofs' way to statefsd. */
export const disk: Route = changetype<Route>(memory.data(8, 4));
export const list: StateList = changetype<StateList>(memory.data(24, 4));
/** A record of /state. */
export const record: usize = memory.data(METRICSD_RETENTION_RECORD_BYTES_MAX, 8);
const words: usize = memory.data(MT_STATS * 8, 8);
const name: usize = memory.data(64);
const prefix: usize = memory.data(64);

/** A point of RANGE, 8 fields and buckets. */
@unmanaged
export class Seen {
  start_ns: u64;
  width_ns: u64;
  count: u64;
  sum: u64;
  min: u64;
  max: u64;
  last: u64;
  flags: u32;
  buckets: u32;
  /** Address of bucket 0 behind this head. */
  @inline get row(): usize {
    return changetype<usize>(this) + 64;
  }
}
const POINTS_MAX: u32 = 32;
const SEEN_BYTES: u32 = 128;
const seen: usize = memory.data(32 * 128, 8);
/** Points of the last range. */
export let points: u32 = 0;
/** Retention clock of the last page. */
export let clock_ns: u64 = 0;

export function seenAt(index: u32): Seen {
  return changetype<Seen>(seen + index * SEEN_BYTES);
}

const metricsd: Route = changetype<Route>(memory.data(8, 4));
/** A handle to metricsd by name: it may have been restarted. To be taken before a request is begun. */
export function toMetricsd(): u32 {
  const handle = metricsd.resolve("metricsd");
  return handle < 0 ? SLOT_METRICSD : <u32>handle;
}
/** metricsd was restarted: the next use resolves again. */
export function forgetMetricsd(): void {
  metricsd.drop();
}

/** One word of STATS now, or the maximum with a failed check. */
export function statNow(word: u32): u64 {
  const handle = toMetricsd();
  beginRequest(MT, MT_OP_STATS);
  if (!checkEqual(ask(handle), MT_OK, "stats")) return u64.MAX_VALUE;
  const at = reply.body.takeBytes(MT_STATS * 8);
  if (!check(reply.body.finished, "stats length")) return u64.MAX_VALUE;
  memory.copy(words, at, MT_STATS * 8);
  return load<u64>(words + (word << 3));
}
/** A word of the STATS that statNow read last. */
export function statThen(word: u32): u64 {
  return load<u64>(words + (word << 3));
}
/** The retention clock now. */
export function clockNow(): u64 {
  return statNow(MT_STAT_RETENTION_NS);
}

/** Waits until the retention clock is at `time_ns`, and a millisecond more. */
export function waitUntil(time_ns: u64): void {
  const now_ns = clockNow();
  let left_ns = now_ns < time_ns ? time_ns - now_ns + 1_000_000 : 0;
  // A wait is at most the kernel's: the loop runs once for each of these in the time that is left.
  while (left_ns != 0) {
    const part_ns = min<u64>(left_ns, KERNEL_WAIT_MAX_NS / 2);
    waitNs(part_ns);
    left_ns -= part_ns;
  }
}

/** Waits until nothing of metricsd is on its way to /state, then has statefsd make everything durable. */
export function settle(): void {
  for (let n: u32 = 0; n < SETTLE_LOOKS && statNow(MT_STAT_WRITES_WAITING) != 0; n++) waitNs(5_000_000);
  checkEqual(statThen(MT_STAT_WRITES_WAITING), 0, "records that wait");
  const length = copyLiteral(prefix, "/state/observability/");
  checkEqual(stateSync(disk, prefix, length, BUDGET_NS), 0, "sync");
}

/** Asks for own points of a series in [from_ns, to_ns): all of them, into seenAt. */
export function askRange(level: u8, series: string, from_ns: u64, to_ns: u64): bool {
  const length = copyLiteral(name, series);
  let cursor: u64 = 0;
  points = 0;
  const handle = toMetricsd();
  for (let n: u32 = 0; n < PAGES_MAX; n++) {
    putRangeByName(beginRequest(MT, MT_OP_RANGE), level, from_ns, to_ns, cursor, SVC_SELFTEST_ID, 0, name, length, 0, 0, true);
    if (!checkEqual(ask(handle), MT_OK, "range")) return false;
    const next = reply.body.takeU64();
    clock_ns = reply.body.takeU64();
    reply.body.takeU64();
    const count = <u32>reply.body.takeU16();
    if (!checkEqual(reply.body.takeU16() & MT_RANGE_UNREADABLE, 0, "unreadable records")) return false;
    for (let i: u32 = 0; i < count; i++) if (!takePoint()) return check(false, "a malformed point");
    if (!check(reply.body.finished, "range length")) return false;
    if (next == MT_RANGE_END) return true;
    if (!check(next != cursor, "range goes on")) return false;
    cursor = next;
  }
  return check(false, "range without end");
}

function takePoint(): bool {
  if (points == POINTS_MAX) return false;
  const p = seenAt(points);
  p.start_ns = reply.body.takeU64();
  p.width_ns = reply.body.takeU64();
  if (reply.body.takeU64() != SVC_SELFTEST_ID) return false;
  reply.body.takeU16();
  p.buckets = <u32>reply.body.takeU8();
  p.flags = <u32>reply.body.takeU8();
  const labels = <u32>reply.body.takeU16();
  reply.body.takeU16();
  p.count = reply.body.takeU64();
  p.sum = reply.body.takeU64();
  p.min = reply.body.takeU64();
  p.max = reply.body.takeU64();
  p.last = reply.body.takeU64();
  if (p.buckets > BUCKETS_MAX) return false;
  for (let i: u32 = 0; i < p.buckets; i++) store<u64>(p.row + (i << 3), reply.body.takeU64());
  reply.body.takeBytes(labels);
  points++;
  return reply.body.ok;
}

/** The point at `index` is exactly this. */
export function checkPoint(index: u32, start_ns: u64, count: u64, sum: i64, least: i64, most: i64, last: i64, detail: string): void {
  if (!check(index < points, detail)) return;
  const p = seenAt(index);
  checkEqual(p.start_ns, start_ns, detail);
  checkEqual(p.count, count, detail);
  checkEqual(p.sum, sum, detail);
  checkEqual(p.min, least, detail);
  checkEqual(p.max, most, detail);
  checkEqual(p.last, last, detail);
}

/** The point's buckets are exactly these five. */
export function checkBuckets(index: u32, b0: u64, b1: u64, b2: u64, b3: u64, b4: u64, detail: string): void {
  if (!check(index < points, detail)) return;
  const row = seenAt(index).row;
  checkEqual(seenAt(index).buckets, 5, detail);
  checkEqual(load<u64>(row), b0, detail);
  checkEqual(load<u64>(row, 8), b1, detail);
  checkEqual(load<u64>(row, 16), b2, detail);
  checkEqual(load<u64>(row, 24), b3, detail);
  checkEqual(load<u64>(row, 32), b4, detail);
}

/** Begins a walk over the keys of retention below `folder` ("" for all). */
export function beginKeys(folder: string): void {
  let length = copyLiteral(prefix, "/state/observability/metricsd/");
  length += copyLiteral(prefix + length, folder);
  list.begin(prefix, length);
}
/** Keys below the folder. */
export function countKeys(folder: string): u32 {
  let found: u32 = 0;
  beginKeys(folder);
  while (found < METRICSD_RETENTION_SEGMENT_RECORDS_MAX && list.next(disk, BUDGET_NS)) found++;
  checkEqual(list.outcome, 0, folder);
  return found;
}

/** Reads the value of the key that the walk stands at into `record`: its length. */
export function readListed(): u32 {
  const length = stateGet(disk, list.key, list.keyBytes, record, METRICSD_RETENTION_RECORD_BYTES_MAX, BUDGET_NS);
  return length < 0 ? 0 : <u32>length;
}
/** Start of the window of the record in `record`, and the segment it says it belongs to. */
@inline export function recordStart(): u64 {
  return load<u64>(record, 8);
}
@inline export function recordSegment(): u32 {
  return load<u32>(record, 24);
}
/** Whether the record of `length` bytes holds these bytes. */
export function recordHolds(length: u32, bytes: usize, count: u32): bool {
  for (let at: u32 = 0; at + count <= length; at++) if (memory.compare(record + at, bytes, count) == 0) return true;
  return false;
}
