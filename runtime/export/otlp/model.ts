// SPDX-License-Identifier: Apache-2.0
// A metrics request as plain values: what Prometheus, the table and the page are made from.
// Invariant: a request that does not decode, or that breaks a bound, is refused whole with a named reason; values are never guessed.
// Limits: MODEL_LIMITS.
import { messageType } from './schema.js';

export type Value = string | boolean | number | bigint;
export type Attributes = ReadonlyMap<string, Value>;

/** One number at one time. Times are Unix nanoseconds; `startNs` 0: none. */
export interface Point {
  readonly attributes: Attributes; readonly startNs: bigint; readonly timeNs: bigint; readonly value: number | bigint;
}
export interface Histogram {
  readonly attributes: Attributes; readonly startNs: bigint; readonly timeNs: bigint; readonly count: bigint; readonly sum: number;
  readonly bounds: readonly number[]; readonly buckets: readonly bigint[];
}
export interface Metric {
  readonly name: string; readonly description: string; readonly unit: string;
  readonly kind: 'gauge' | 'sum' | 'histogram'; readonly monotonic: boolean;
  /** 1 delta, 2 cumulative, 0 for a gauge */
  readonly temporality: number; readonly points: readonly Point[]; readonly histograms: readonly Histogram[];
}
export interface Scope {
  readonly name: string; readonly version: string; readonly attributes: Attributes; readonly metrics: readonly Metric[];
}
export interface Resource { readonly attributes: Attributes; readonly scopes: readonly Scope[] }

/** What one request may hold: above the guest's own caps, below what hurts the host. */
export const MODEL_LIMITS = { requestBytes: 4 << 20, resources: 512, points: 16_384, attributes: 64, textBytes: 1024 } as const;

/** A request that was refused; `reason` is fixed text for a counter's label. */
export class ModelError extends Error {
  constructor(readonly reason: 'too_large' | 'malformed' | 'over_limit', message: string) { super(message); }
}

interface Raw { [name: string]: unknown }
const list = (value: unknown): Raw[] => (value === undefined ? [] : (value as Raw[]));
const text = (value: unknown): string => {
  const read = value === undefined ? '' : String(value);
  if (Buffer.byteLength(read) > MODEL_LIMITS.textBytes) throw new ModelError('over_limit', `a text of ${Buffer.byteLength(read)} bytes`);
  return read;
};
const whole = (value: unknown): bigint => (value === undefined ? 0n : BigInt(String(value)));

function attributesOf(rows: Raw[]): Attributes {
  if (rows.length > MODEL_LIMITS.attributes) throw new ModelError('over_limit', `${rows.length} attributes`);
  return new Map(rows.map((row) => [text(row.key), valueOf((row.value ?? {}) as Raw)]));
}

function valueOf(value: Raw): Value {
  if (value.stringValue !== undefined) return text(value.stringValue);
  if (value.boolValue !== undefined) return value.boolValue as boolean;
  if (value.intValue !== undefined) return whole(value.intValue);
  if (value.doubleValue !== undefined) return Number(value.doubleValue);
  return '';
}

function pointsOf(rows: Raw[]): Point[] {
  // Flag bit 0: no recorded value.
  return rows.filter((row) => (Number(row.flags ?? 0) & 1) === 0).map((row) => ({
    attributes: attributesOf(list(row.attributes)), startNs: whole(row.startTimeUnixNano), timeNs: whole(row.timeUnixNano),
    value: row.asInt === undefined ? Number(row.asDouble ?? 0) : whole(row.asInt),
  }));
}

function histogramsOf(rows: Raw[]): Histogram[] {
  return rows.map((row) => ({
    attributes: attributesOf(list(row.attributes)), startNs: whole(row.startTimeUnixNano), timeNs: whole(row.timeUnixNano),
    count: whole(row.count), sum: Number(row.sum ?? 0), bounds: list(row.explicitBounds).map(Number),
    buckets: list(row.bucketCounts).map(whole),
  }));
}

function metricOf(raw: Raw): Metric {
  const kind = raw.histogram !== undefined ? 'histogram' : raw.sum !== undefined ? 'sum' : 'gauge';
  const data = (raw[kind] ?? {}) as Raw;
  const rows = list(data.dataPoints);
  return {
    name: text(raw.name), description: text(raw.description), unit: text(raw.unit), kind, monotonic: data.isMonotonic === true,
    temporality: Number(data.aggregationTemporality ?? 0),
    points: kind === 'histogram' ? [] : pointsOf(rows), histograms: kind === 'histogram' ? histogramsOf(rows) : [],
  };
}

/** Decodes an ExportMetricsServiceRequest. @throws ModelError */
export function decodeMetrics(bytes: Uint8Array): Resource[] {
  if (bytes.length > MODEL_LIMITS.requestBytes) throw new ModelError('too_large', `${bytes.length} bytes`);
  const type = messageType('ExportMetricsServiceRequest');
  let raw: Raw;
  try {
    raw = type.toObject(type.decode(bytes), { longs: String }) as Raw;
  } catch (error) {
    throw new ModelError('malformed', (error as Error).message);
  }
  const rows = list(raw.resourceMetrics);
  if (rows.length > MODEL_LIMITS.resources) throw new ModelError('over_limit', `${rows.length} resources`);
  const resources = rows.map((row): Resource => ({
    attributes: attributesOf(list((row.resource as Raw | undefined)?.attributes)),
    scopes: list(row.scopeMetrics).map((scope) => {
      const about = (scope.scope ?? {}) as Raw;
      return {
        name: text(about.name), version: text(about.version), attributes: attributesOf(list(about.attributes)),
        metrics: list(scope.metrics).map(metricOf),
      };
    }),
  }));
  const points = pointCount(resources);
  if (points > MODEL_LIMITS.points) throw new ModelError('over_limit', `${points} points`);
  return resources;
}

/** Data points in a request, histograms counted once each. */
export function pointCount(resources: readonly Resource[]): number {
  const metrics = resources.flatMap(({ scopes }) => scopes.flatMap((scope) => scope.metrics));
  return metrics.reduce((sum, { points, histograms }) => sum + points.length + histograms.length, 0);
}
