// SPDX-License-Identifier: Apache-2.0
// Owns: OTLP metrics: a metric's head, gauges, sums, histograms and their points.
// Invariant: sums and histograms are cumulative; a gauge has no start time. Order of calls: openResourceEntry, openResource .. close,
// openScopeEntry, then for each metric openMetric, openGauge | openSum | openHistogram, points, closeGauge | closeSum | closeHistogram,
// close of the metric; then the scope's entry, then the resource's. Limits: those of PbWriter.
// Source: opentelemetry-proto 1.x, metrics/v1/metrics.proto.
import { PbWriter } from "./pb";

const METRIC_NAME: u32 = 1;
const METRIC_DESCRIPTION: u32 = 2;
const METRIC_UNIT: u32 = 3;
const METRIC_GAUGE: u32 = 5;
const METRIC_SUM: u32 = 7;
const METRIC_HISTOGRAM: u32 = 9;
const DATA_POINT: u32 = 1;
const TEMPORALITY: u32 = 2;
const MONOTONIC: u32 = 3;
const CUMULATIVE: u64 = 2;
const POINT_START: u32 = 2;
const POINT_TIME: u32 = 3;
const POINT_DOUBLE: u32 = 4;
const POINT_INT: u32 = 6;
const HISTOGRAM_COUNT: u32 = 4;
const HISTOGRAM_SUM: u32 = 5;
const HISTOGRAM_BUCKETS: u32 = 6;
const HISTOGRAM_BOUNDS: u32 = 7;

/** A metric of a scope: name, description and unit are bytes; an empty description is left out. */
export function openMetric(w: PbWriter, name: usize, nameBytes: u32, about: string, unit: string): u32 {
  const start = w.open(2);
  w.ascii(METRIC_NAME, name, nameBytes);
  if (about.length != 0) w.literal(METRIC_DESCRIPTION, about);
  w.literal(METRIC_UNIT, unit);
  return start;
}
export function openGauge(w: PbWriter): u32 {
  return w.open(METRIC_GAUGE);
}
export function closeGauge(w: PbWriter, start: u32): void {
  w.close(start);
}
export function openSum(w: PbWriter): u32 {
  return w.open(METRIC_SUM);
}
export function closeSum(w: PbWriter, start: u32, monotonic: bool): void {
  w.uint(TEMPORALITY, CUMULATIVE);
  w.bool(MONOTONIC, monotonic);
  w.close(start);
}
export function openHistogram(w: PbWriter): u32 {
  return w.open(METRIC_HISTOGRAM);
}
export function closeHistogram(w: PbWriter, start: u32): void {
  w.uint(TEMPORALITY, CUMULATIVE);
  w.close(start);
}

/** A point; `startNs` 0: none (a gauge's). Then attributes, pointInt, pointDouble or histogramPoint, close. Times: ns since 1970. */
export function openPoint(w: PbWriter, startNs: u64, timeNs: u64): u32 {
  const start = w.open(DATA_POINT);
  if (startNs != 0) w.fixed64(POINT_START, startNs);
  w.fixed64(POINT_TIME, timeNs);
  return start;
}
export function pointInt(w: PbWriter, value: i64): void {
  w.fixed64(POINT_INT, <u64>value);
}
export function pointDouble(w: PbWriter, value: f64): void {
  w.double(POINT_DOUBLE, value);
}
/** A histogram's counts: `buckets` has bounds + 1 numbers (u64 each), `bounds` upper limits (f64 each, ascending). */
export function histogramPoint(w: PbWriter, count: u64, sum: f64, buckets: usize, bounds: usize, boundCount: u32): void {
  w.fixed64(HISTOGRAM_COUNT, count);
  w.double(HISTOGRAM_SUM, sum);
  const counts = w.open(HISTOGRAM_BUCKETS);
  w.putBytes(buckets, (boundCount + 1) << 3);
  w.close(counts);
  if (boundCount == 0) return;
  const limits = w.open(HISTOGRAM_BOUNDS);
  w.putBytes(bounds, boundCount << 3);
  w.close(limits);
}
