// SPDX-License-Identifier: Apache-2.0
// The producer's series and what waits to be sent: one pending value a counter or gauge, a bounded ring of observations.
//
// Invariant: an update is a few stores; it never sends, waits or allocates. A series stands in the dirty queue at most once, so
// that queue cannot overflow; an observation that finds the ring full is lost and counted.
// Limits: limits.metrics_client. Names and labels are not copied: a literal lives as long as the module, bytes are the caller's
// to keep unchanged.
import { METRICS_CLIENT_OBSERVATIONS_MAX, METRICS_CLIENT_SERIES_MAX } from "../../gen/limits";
import { SeriesHandle } from "../nexus-ipc/types";
import { NO_SERIES } from "./types";

export const STATE_NEW: u8 = 0;
export const STATE_ASKED: u8 = 1;
export const STATE_HELD: u8 = 2;
/** metricsd refused the series for good (invalid_args): its updates are lost and counted. */
export const STATE_REFUSED: u8 = 3;

/** One series of this producer, 40 bytes. */
@unmanaged
export class Series {
  /** Counter: increments not sent yet. Gauge: the last value, as its 64 bits. */
  pending: u64;
  name: usize;
  nameLen: u32;
  labels: usize;
  labelsLen: u32;
  /** Valid in STATE_HELD. */
  handle: SeriesHandle;
  kind: u8;
  unit: u8;
  state: u8;
  dirty: u8;
  /** Bytes a character of the name: 1, or 2 for a literal; and the same for the labels. */
  nameWide: u8;
  labelsWide: u8;
  pad: u16;
}
const SERIES_BYTES: u32 = 40;

const series: usize = memory.data(METRICS_CLIENT_SERIES_MAX * 40, 8);
const dirtyQueue: usize = memory.data(METRICS_CLIENT_SERIES_MAX * 2, 2);
const observations: usize = memory.data(METRICS_CLIENT_OBSERVATIONS_MAX * 16, 8);
let seriesCount: u32 = 0;
let dirtyHead: u32 = 0;
let dirtyCount: u32 = 0;
let observationHead: u32 = 0;
let observationCount: u32 = 0;
let lost: u64 = 0;

/** Updates, observations and spans of this producer that will never reach metricsd. */
export function metricsLost(): u64 {
  return lost;
}
export function countLost(n: u32): void {
  lost += n;
}

@inline export function seriesAt(index: u32): Series {
  return changetype<Series>(series + <usize>index * SERIES_BYTES);
}
export function seriesUsed(): u32 {
  return seriesCount;
}
export function dirtyWaiting(): u32 {
  return dirtyCount;
}
export function observationsWaiting(): u32 {
  return observationCount;
}

/** A new series, or NO_SERIES (counted as lost) when the table is full. */
export function addSeries(
  kind: u8, unit: u8, name: usize, nameLen: u32, nameWide: u8, labels: usize, labelsLen: u32, labelsWide: u8,
): u32 {
  if (seriesCount == METRICS_CLIENT_SERIES_MAX) {
    lost += 1;
    return NO_SERIES;
  }
  const index = seriesCount;
  seriesCount += 1;
  const s = seriesAt(index);
  s.kind = kind;
  s.unit = unit;
  s.name = name;
  s.nameLen = nameLen;
  s.nameWide = nameWide;
  s.labels = labels;
  s.labelsLen = labelsLen;
  s.labelsWide = labelsWide;
  return index;
}

/** Puts the series into the dirty queue unless it stands there. */
export function markDirty(s: Series, index: u32): void {
  if (s.dirty) return;
  s.dirty = 1;
  let at = dirtyHead + dirtyCount;
  if (at >= METRICS_CLIENT_SERIES_MAX) at -= METRICS_CLIENT_SERIES_MAX;
  store<u16>(dirtyQueue + (at << 1), <u16>index);
  dirtyCount += 1;
}

/** Takes the oldest dirty series; call only when dirtyWaiting() is not 0. */
export function takeDirty(): u32 {
  const index = <u32>load<u16>(dirtyQueue + (dirtyHead << 1));
  dirtyHead += 1;
  if (dirtyHead == METRICS_CLIENT_SERIES_MAX) dirtyHead = 0;
  dirtyCount -= 1;
  seriesAt(index).dirty = 0;
  return index;
}

/** Adds to a counter. */
export function addPending(index: u32, n: u64): void {
  if (index >= seriesCount) {
    lost += 1;
    return;
  }
  const s = seriesAt(index);
  if (s.state == STATE_REFUSED) {
    lost += 1;
    return;
  }
  const sum = s.pending + n;
  s.pending = sum < n ? u64.MAX_VALUE : sum;
  markDirty(s, index);
}

/** Sets a gauge. */
export function setPending(index: u32, value: i64): void {
  if (index >= seriesCount) {
    lost += 1;
    return;
  }
  const s = seriesAt(index);
  if (s.state == STATE_REFUSED) {
    lost += 1;
    return;
  }
  s.pending = <u64>value;
  markDirty(s, index);
}

/** Queues one observation of a histogram; false (and counted) when the ring is full or the series refused. */
export function addObservation(index: u32, value: u64): bool {
  const refused = index >= seriesCount || seriesAt(index).state == STATE_REFUSED;
  if (refused || observationCount == METRICS_CLIENT_OBSERVATIONS_MAX || value > <u64>i64.MAX_VALUE) {
    lost += 1;
    return false;
  }
  let at = observationHead + observationCount;
  if (at >= METRICS_CLIENT_OBSERVATIONS_MAX) at -= METRICS_CLIENT_OBSERVATIONS_MAX;
  store<u32>(observations + (at << 4), index);
  store<u64>(observations + (at << 4), value, 8);
  observationCount += 1;
  return true;
}

/** Series index of the oldest observation. */
export function observationSeries(): u32 {
  return load<u32>(observations + (observationHead << 4));
}
/** Takes the oldest observation's value; call only when observationsWaiting() is not 0. */
export function takeObservation(): u64 {
  const value = load<u64>(observations + (observationHead << 4), 8);
  observationHead += 1;
  if (observationHead == METRICS_CLIENT_OBSERVATIONS_MAX) observationHead = 0;
  observationCount -= 1;
  return value;
}

/** Every handle is void (metricsd was restarted): all series register again. */
export function forgetHandles(): void {
  for (let i: u32 = 0; i < seriesCount; i++) {
    const s = seriesAt(i);
    if (s.state != STATE_REFUSED) s.state = STATE_NEW;
  }
}
