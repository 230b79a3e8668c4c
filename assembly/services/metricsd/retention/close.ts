// SPDX-License-Identifier: Apache-2.0
// The end of a window: its points become records, and merge into the window above.
//
// Invariant: series are written in the order of order.ts, so the same points give the same bytes under the same key, however often and in
// whichever boot; a raw record names every series of its interval, and besides them those whose last record is in the segment that goes
// next (carried: their state without a point), so the newest state of each series in use is always on /state.
// Limits: those of builder.ts; one pass over the series a window.
import { MUT_METRICSD_CARRY_NOTHING, MUT_METRICSD_ROLLUP_LEAKS, mutant } from "../../../gen/mutants";
import { MT_KIND_GAUGE } from "../../../lib/wire/metricsd";
import { ORIGIN_CLAIMED, ORIGIN_UNCLAIMED, Series, histogramOf, seriesAt } from "../registry";
import { addSample, beginWindow, countDropped, endWindow, partsBuilt } from "./builder";
import { jobsSettled, nextJob, rawJobsLost } from "./jobs";
import { orderedSeries, seriesInOrder } from "./order";
import {
  NO_BUCKETS, bucketsAt, dropPoint, dropPoints, hasPoint, mergePoint, pointAt, pointCount, pointsAnswered, pointsAsk,
} from "./points";
import { roomForRecord, segmentNow, segmentToDrop } from "./segments";
import { findWindow, noteWindow, widthOf, windowRoom } from "./windows";

/** Number of the segment for which everything was carried, plus 1; and the ordinal before which those records are settled. */
let carriedFor: u32 = 0;
let carriedBefore: u64 = 0;
/** rawJobsLost when the series were last written whole. */
let lostSeen: u64 = 0;
/** Recovery: series of the segment being dropped are carried whether in use or not. */
let carryUnclaimed: bool = false;

export function carryAllOnce(): void {
  carryUnclaimed = true;
}

/** Whether a record was lost since the series were last written whole: the next interval writes all of them. */
export function owesWhole(): bool {
  return rawJobsLost() != lostSeen;
}

/** Whether the segment that goes next may go: its series were carried, and that is settled. */
export function mayDropSegment(): bool {
  const going = segmentToDrop();
  if (going === null || carriedFor != going.number + 1 || owesWhole()) return false;
  return jobsSettled(carriedBefore);
}

function mustCarry(s: Series, oldest: u32, whole: bool): bool {
  if (mutant(MUT_METRICSD_CARRY_NOTHING)) return false;
  if (s.origin == ORIGIN_UNCLAIMED) return carryUnclaimed && s.segment != 0 && s.segment <= oldest;
  if (s.updates == 0 && s.origin != ORIGIN_CLAIMED) return false;
  return whole || s.segment <= oldest;
}

@inline function rowAt(level: u32, histogram: u32): usize {
  return histogram == NO_BUCKETS ? 0 : bucketsAt(level, histogram);
}

/** Ends the raw interval that began at start_ns: one record or more, and a merge into the 10 s window. */
export function closeRaw(start_ns: u64, interval_ns: u64): void {
  // The segment is opened first: opening it decides which one goes, and so what is carried.
  const writable = roomForRecord(start_ns);
  const going = segmentToDrop();
  const whole = owesWhole();
  const carrying = going !== null && carriedFor != going.number + 1;
  if (!pointsAsk() && !(writable && (whole || carrying))) return;
  const lost = rawJobsLost();
  // Series.segment is a segment's number plus 1; 0, for a series that no record names, is carried too.
  const oldest: u32 = going !== null ? going.number + 1 : 0;
  beginWindow(0, start_ns, interval_ns);
  for (let n: u32 = 0; n < orderedSeries(); n++) {
    const index = seriesInOrder(n);
    const s = seriesAt(index);
    const histogram = histogramOf(s);
    const row = rowAt(0, histogram);
    if (!hasPoint(0, index)) {
      if ((whole || carrying) && mustCarry(s, oldest, whole) && addSample(s, null, 0)) s.segment = segmentNow() + 1;
      continue;
    }
    const p = pointAt(0, index);
    if (addSample(s, p, row)) s.segment = segmentNow() + 1;
    mergePoint(1, index, s.kind == MT_KIND_GAUGE, histogram, p, row);
    dropPoint(0, index);
  }
  pointsAnswered();
  if (!endWindow()) return;
  lostSeen = lost;
  if (going === null || !carrying) return;
  carriedFor = going.number + 1;
  carriedBefore = nextJob();
  carryUnclaimed = false;
}

/** Ends a window of level 1 or 2 that began at start_ns. `write`: false when it is on /state already, whole. */
export function closeWindow(level: u32, start_ns: u64, write: bool): void {
  if (pointCount(level) == 0) return;
  const number = start_ns / widthOf(level);
  // A window that the ring cannot name could never be deleted: it is not written, and counted.
  const room = windowRoom(level) || findWindow(level, number) !== null;
  if (write && !room) countDropped(pointCount(level));
  if (write) beginWindow(level, start_ns, widthOf(level));
  for (let n: u32 = 0; n < orderedSeries(); n++) {
    const index = seriesInOrder(n);
    if (!hasPoint(level, index)) continue;
    const s = seriesAt(index);
    const histogram = histogramOf(s);
    const row = rowAt(level, histogram);
    const p = pointAt(level, index);
    if (write && room) addSample(s, p, row);
    if (level == 1) mergePoint(2, index, s.kind == MT_KIND_GAUGE, histogram, p, row);
  }
  if (!(mutant(MUT_METRICSD_ROLLUP_LEAKS) && level == 1)) dropPoints(level);
  if (!write) return;
  if (!room) return;
  const whole = endWindow();
  if (partsBuilt() != 0) noteWindow(level, number, partsBuilt(), whole);
}
