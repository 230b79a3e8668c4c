// SPDX-License-Identifier: Apache-2.0
// Points: what happened to a series inside one window (count, sum, min, max, last, and a histogram's buckets), at three levels.
//
// Invariant: level 0 is fed by updates alone, level n + 1 by merging level n when its window ends, so every window of a level is the
// merge of the windows below it, in time order. A level's point exists while its bit is set; without the bit its bytes mean nothing.
// Counter and histogram values are unsigned, a gauge's are signed; sums stop at the ends of their range instead of wrapping.
// Limits: limits.metricsd series_max points and histograms_max bucket rows a level.
import { METRICSD_BUCKETS_MAX, METRICSD_HISTOGRAMS_MAX, METRICSD_SERIES_MAX } from "../../../gen/limits";
import { MUT_METRICSD_ROLLUP_LOSES_MIN, mutant } from "../../../gen/mutants";

/** Raw intervals, 10 s windows, 60 s windows. */
export const LEVELS: u32 = 3;
/** Buckets of a histogram with the overflow bucket. */
export const BUCKETS: u32 = METRICSD_BUCKETS_MAX + 1;
/** For a series that is no histogram. */
export const NO_BUCKETS: u32 = 0xffffffff;
export const POINT_BYTES: u32 = 40;

/** One point. For a gauge, sum, min, max and last are i64 as their 64 bits. */
@unmanaged
export class Point {
  /** Updates in the window; 0: none, only `last` means something. */
  count: u64;
  /** Sum of increments (counter), of set values (gauge), of observations (histogram). */
  sum: u64;
  min: u64;
  max: u64;
  /** Counter: its value at the end of the window. Gauge: the last value set. Histogram: the last observation. */
  last: u64;
}

const BITMAP_BYTES: u32 = METRICSD_SERIES_MAX >> 3;
const points: usize = memory.data(3 * METRICSD_SERIES_MAX * 40, 8);
const buckets: usize = memory.data(3 * METRICSD_HISTOGRAMS_MAX * (METRICSD_BUCKETS_MAX + 1) * 8, 8);
const bitmaps: usize = memory.data(3 * (METRICSD_SERIES_MAX >> 3), 8);
const counts: usize = memory.data(12, 4);
let feeding: bool = false;
let loud: bool = false;

/** Whether updates feed level 0: only while there is a place to keep the points. */
@inline export function pointsFed(): bool {
  return feeding;
}
export function feedPoints(on: bool): void {
  feeding = on;
}

@inline export function pointAt(level: u32, index: u32): Point {
  return changetype<Point>(points + <usize>(level * METRICSD_SERIES_MAX + index) * POINT_BYTES);
}
/** The bucket row of a histogram (its number in the registry) at a level. */
@inline export function bucketsAt(level: u32, histogram: u32): usize {
  return buckets + <usize>(level * METRICSD_HISTOGRAMS_MAX + histogram) * (BUCKETS * 8);
}
@inline function wordOf(level: u32, index: u32): usize {
  return bitmaps + level * BITMAP_BYTES + (index >> 3);
}
@inline export function hasPoint(level: u32, index: u32): bool {
  return (load<u8>(wordOf(level, index)) & (1 << <u8>(index & 7))) != 0;
}
/** Series with a point at the level. */
export function pointCount(level: u32): u32 {
  return load<u32>(counts + (level << 2));
}
/** Whether level 0 holds an update that asks for a record. What does not ask waits for one that does. */
@inline export function pointsAsk(): bool {
  return loud;
}
/** Level 0 was written. */
export function pointsAnswered(): void {
  loud = false;
}

/** Makes an empty point; a histogram's row is cleared. */
function open(level: u32, index: u32, histogram: u32): void {
  const at = wordOf(level, index);
  store<u8>(at, load<u8>(at) | (1 << <u8>(index & 7)));
  store<u32>(counts + (level << 2), pointCount(level) + 1);
  memory.fill(changetype<usize>(pointAt(level, index)), 0, POINT_BYTES);
  if (histogram != NO_BUCKETS) memory.fill(bucketsAt(level, histogram), 0, BUCKETS * 8);
}

/** Forgets the point. */
export function dropPoint(level: u32, index: u32): void {
  if (!hasPoint(level, index)) return;
  const at = wordOf(level, index);
  store<u8>(at, load<u8>(at) & ~(1 << <u8>(index & 7)));
  store<u32>(counts + (level << 2), pointCount(level) - 1);
}
/** Forgets every point of a level. */
export function dropPoints(level: u32): void {
  memory.fill(bitmaps + level * BITMAP_BYTES, 0, BITMAP_BYTES);
  store<u32>(counts + (level << 2), 0);
}

/** Notes one update of a series at level 0; `last` is what Point.last says; `asks`: it is worth a record of its own. */
export function feedPoint(index: u32, signed: bool, histogram: u32, bucket: u32, value: u64, last: u64, asks: bool): void {
  if (asks) loud = true;
  const fresh = !hasPoint(0, index);
  if (fresh) open(0, index, histogram);
  const p = pointAt(0, index);
  addPoint(p, fresh, signed, 1, value, value, value, last);
  if (histogram == NO_BUCKETS) return;
  const at = bucketsAt(0, histogram) + (bucket << 3);
  store<u64>(at, load<u64>(at) + 1);
}

/** Adds to a point; `fresh`: it holds nothing yet. */
function addPoint(p: Point, fresh: bool, signed: bool, count: u64, sum: u64, least: u64, most: u64, last: u64): void {
  p.last = last;
  if (fresh || p.count == 0) {
    p.count = count;
    p.sum = sum;
    p.min = least;
    p.max = most;
    return;
  }
  p.count += count;
  if (signed) {
    p.sum = <u64>addSigned(<i64>p.sum, <i64>sum);
    if (<i64>least < <i64>p.min && !mutant(MUT_METRICSD_ROLLUP_LOSES_MIN)) p.min = least;
    if (<i64>most > <i64>p.max) p.max = most;
  } else {
    const total = p.sum + sum;
    p.sum = total < sum ? u64.MAX_VALUE : total;
    if (least < p.min && !mutant(MUT_METRICSD_ROLLUP_LOSES_MIN)) p.min = least;
    if (most > p.max) p.max = most;
  }
}

function addSigned(a: i64, b: i64): i64 {
  if (b > 0 && a > i64.MAX_VALUE - b) return i64.MAX_VALUE;
  if (b < 0 && a < i64.MIN_VALUE - b) return i64.MIN_VALUE;
  return a + b;
}

/** Merges a point that is later in time (and a bucket row, 0 for none) into the level. A count of 0 changes nothing. */
export function mergePoint(level: u32, index: u32, signed: bool, histogram: u32, from: Point, row: usize): void {
  if (from.count == 0) return;
  const fresh = !hasPoint(level, index);
  if (fresh) open(level, index, histogram);
  addPoint(pointAt(level, index), fresh, signed, from.count, from.sum, from.min, from.max, from.last);
  if (histogram == NO_BUCKETS || row == 0) return;
  const to = bucketsAt(level, histogram);
  for (let i: u32 = 0; i < BUCKETS; i++) {
    const at = to + (i << 3);
    store<u64>(at, load<u64>(at) + load<u64>(row + (i << 3)));
  }
}

const peeked: Point = changetype<Point>(memory.data(40, 8));
/** The buckets of the point that peekPoint made. */
export const peekedRow: usize = memory.data((METRICSD_BUCKETS_MAX + 1) * 8, 8);

/** What a window that is still open holds so far: its own point and those below it, in time order. Null: nothing. */
export function peekPoint(level: u32, index: u32, signed: bool, histogram: u32): Point | null {
  let fresh = true;
  memory.fill(peekedRow, 0, BUCKETS * 8);
  for (let n: u32 = 0; n <= level; n++) {
    const from = level - n;
    if (!hasPoint(from, index)) continue;
    const p = pointAt(from, index);
    addPoint(peeked, fresh, signed, p.count, p.sum, p.min, p.max, p.last);
    fresh = false;
    if (histogram == NO_BUCKETS) continue;
    const row = bucketsAt(from, histogram);
    for (let i: u32 = 0; i < BUCKETS; i++) {
      const at = peekedRow + (i << 3);
      store<u64>(at, load<u64>(at) + load<u64>(row + (i << 3)));
    }
  }
  return fresh ? null : peeked;
}
