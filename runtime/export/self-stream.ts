// SPDX-License-Identifier: Apache-2.0
// Owns: what the image's own series look like outside: metricsd counts in whole numbers, so it has nanoseconds where the world has seconds,
// a label `unit` where it has no unit of its own, and no descriptions.
// Invariant: the same names, units and values for the collector and for /metrics; a series is neither lost nor added.
// Limits: numbers become doubles where they are scaled.
import type { Attributes, Histogram, Metric, Point, Resource } from './otlp/model.js';
import { selfMetrics } from './self-metrics.js';

const UNIT_LABEL = 'unit';
const NS_PER_S = 1e9;
const rows = new Map(selfMetrics.map((row) => [row.name, row]));

const without = (attributes: Attributes): Attributes => new Map([...attributes].filter(([key]) => key !== UNIT_LABEL));
const unitOf = ({ attributes }: { attributes: Attributes }): string => String(attributes.get(UNIT_LABEL) ?? '');

/** The metric once for each unit that its points name. */
function byUnit(metric: Metric): Metric[] {
  const units = new Set([...metric.points, ...metric.histograms].map(unitOf));
  return [...units].map((unit) => {
    const of = <T extends Point | Histogram>(list: readonly T[]): T[] =>
      list.filter((row) => unitOf(row) === unit).map((row) => ({ ...row, attributes: without(row.attributes) }));
    return { ...metric, unit: unit || metric.unit, points: of(metric.points), histograms: of(metric.histograms) };
  });
}

function inSeconds(metric: Metric): Metric {
  if (metric.unit !== 'ns') return metric;
  return {
    ...metric, unit: 's',
    points: metric.points.map((point) => ({ ...point, value: Number(point.value) / NS_PER_S })),
    histograms: metric.histograms.map((row) => ({ ...row, sum: row.sum / NS_PER_S, bounds: row.bounds.map((bound) => bound / NS_PER_S) })),
  };
}

/** Words and unit of its row in abi/self-metrics.toml, where it has one; else who counts it. */
function described(metric: Metric, producer: string): Metric {
  const row = rows.get(metric.name);
  const description = metric.description || row?.brief || `${metric.name}, as ${producer === '' ? 'the image' : producer} counts it`;
  return { ...metric, description, unit: metric.unit || (row?.unit ?? '') };
}

/** A resource of the self stream as it is exported. */
export function worded(resource: Resource): Resource {
  const producer = String(resource.attributes.get('vigil.producer') ?? '');
  const metricsOf = (metrics: readonly Metric[]): Metric[] =>
    metrics.flatMap(byUnit).map((metric) => described(inSeconds(metric), producer));
  return { ...resource, scopes: resource.scopes.map((scope) => ({ ...scope, metrics: metricsOf(scope.metrics) })) };
}
