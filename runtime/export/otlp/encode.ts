// SPDX-License-Identifier: Apache-2.0
// From plain values back to a request: for what the host adds to (enrich.ts) or makes itself (its own series).
// Invariant: decodeMetrics(encodeMetrics(x)) is x: whole numbers stay whole, times stay exact.
// Limits: what model.ts holds: no exemplars, no array or map attributes, no histogram minimum and maximum.
import { messageType } from './schema.js';
import type { Attributes, Histogram, Metric, Point, Resource, Value } from './model.js';

const whole = (value: bigint): { low: number; high: number; unsigned: boolean } =>
  ({ low: Number(BigInt.asIntN(32, value)), high: Number(BigInt.asIntN(32, value >> 32n)), unsigned: false });

function valueOf(value: Value): object {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  return typeof value === 'bigint' ? { intValue: whole(value) } : { doubleValue: value };
}
const attributesOf = (attributes: Attributes): object[] => [...attributes].map(([key, value]) => ({ key, value: valueOf(value) }));
const times = ({ startNs, timeNs }: { startNs: bigint; timeNs: bigint }): object =>
  ({ ...(startNs === 0n ? {} : { startTimeUnixNano: whole(startNs) }), timeUnixNano: whole(timeNs) });

const pointOf = (point: Point): object => ({
  attributes: attributesOf(point.attributes), ...times(point),
  ...(typeof point.value === 'bigint' ? { asInt: whole(point.value) } : { asDouble: point.value }),
});
const histogramOf = (row: Histogram): object => ({
  attributes: attributesOf(row.attributes), ...times(row), count: whole(row.count), sum: row.sum, explicitBounds: row.bounds,
  bucketCounts: row.buckets.map(whole),
});

function metricOf({ name, description, unit, kind, monotonic, temporality, points, histograms }: Metric): object {
  const about = { name, description, unit };
  if (kind === 'gauge') return { ...about, gauge: { dataPoints: points.map(pointOf) } };
  const sum = { aggregationTemporality: temporality };
  if (kind === 'histogram') return { ...about, histogram: { ...sum, dataPoints: histograms.map(histogramOf) } };
  return { ...about, sum: { ...sum, dataPoints: points.map(pointOf), isMonotonic: monotonic } };
}

/** An ExportMetricsServiceRequest of these resources. */
export function encodeMetrics(resources: readonly Resource[]): Uint8Array {
  const type = messageType('ExportMetricsServiceRequest');
  return type.encode({
    resourceMetrics: resources.map(({ attributes, scopes }) => ({
      resource: { attributes: attributesOf(attributes) },
      scopeMetrics: scopes.map((scope) => ({
        scope: { name: scope.name, version: scope.version, attributes: attributesOf(scope.attributes) },
        metrics: scope.metrics.map(metricOf),
      })),
    })),
  } as never).finish();
}
