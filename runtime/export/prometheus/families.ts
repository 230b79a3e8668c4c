// SPDX-License-Identifier: Apache-2.0
// From a scrape to Prometheus families: names, labels, target_info.
// Invariant: no two samples of a family have the same labels: the first stands, a later one is counted as a duplicate; a family has one
// type: a metric that comes with another is dropped and counted. Numbers are doubles: integers above 2^53 lose their lowest bits.
import type { Attributes, Metric, Resource, Value } from '../otlp/model.js';
import { labelName, metricName, prometheusType, type Translation } from './names.js';

export interface Sample { readonly suffix: string; readonly labels: Readonly<Record<string, string>>; readonly value: number }
export interface Family {
  readonly name: string; readonly help: string; readonly type: 'counter' | 'gauge' | 'histogram'; readonly samples: Sample[];
}
export interface Built { readonly families: Family[]; readonly duplicates: number; readonly conflicts: number }

export interface LabelOptions {
  readonly translation: Translation;
  /** resource attributes that become labels of every sample; the others are in target_info alone */
  readonly promote: readonly string[];
}

/**
 * What tells two entities or producers apart, and where the values come from: always promoted, so that replayed data is labelled in
 * every sample. No `job` and no `instance`: those are the scraper's own labels of its one target.
 */
export const PROMOTED: readonly string[] = [
  'hw.id', 'hw.type', 'hw.gpu.index', 'hw.gpu.mig.instance_id', 'hw.gpu.mig.compute_instance_id', 'hw.switch.index', 'vigil.source',
  'vigil.producer',
];

/** The label of `vigil.source`, wherever values are shown. */
export const SOURCE_LABEL = 'source';

/** Labels; different values of names that collide after escaping are joined with `;` in the order of their original names. */
function labelsOf(pairs: Iterable<readonly [string, Value]>, escape: boolean): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [key, value] of [...pairs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const name = key === 'vigil.source' ? SOURCE_LABEL : escape ? labelName(key) : key;
    const text = String(value);
    labels[name] = labels[name] === undefined || labels[name] === text ? text : `${labels[name]};${text}`;
  }
  return labels;
}

class Builder {
  readonly families = new Map<string, Family>();
  private readonly seen = new Set<string>();
  duplicates = 0;
  conflicts = 0;

  family(name: string, help: string, type: Family['type']): Family | null {
    const found = this.families.get(name);
    if (found === undefined) {
      const made: Family = { name, help, type, samples: [] };
      this.families.set(name, made);
      return made;
    }
    if (found.type === type) return found;
    this.conflicts++;
    return null;
  }

  add(family: Family, suffix: string, labels: Record<string, string>, value: number): void {
    const key = `${family.name}${suffix}\n${JSON.stringify(Object.entries(labels).sort())}`;
    if (this.seen.has(key)) {
      // A resource may go on in the next part of a scrape: its target_info is the same sample, not another with its labels.
      if (family.name !== 'target_info') this.duplicates++;
      return;
    }
    this.seen.add(key);
    family.samples.push({ suffix, labels, value });
  }
}

function addMetric(builder: Builder, metric: Metric, common: (attributes: Attributes) => Record<string, string>, how: Translation): void {
  const type = prometheusType(metric);
  // A delta cannot be shown without summing it here: the guest sends cumulative sums, anything else is dropped and counted.
  if (metric.temporality === 1) {
    builder.conflicts++;
    return;
  }
  const family = builder.family(metricName(metric, how), metric.description, type);
  if (family === null) return;
  for (const { attributes, value } of metric.points) builder.add(family, '', common(attributes), Number(value));
  for (const { attributes, bounds, buckets, count, sum } of metric.histograms) {
    const labels = common(attributes);
    let total = 0n;
    for (const [i, bound] of bounds.entries()) {
      total += buckets[i] ?? 0n;
      builder.add(family, '_bucket', { ...labels, le: String(bound) }, Number(total));
    }
    builder.add(family, '_bucket', { ...labels, le: '+Inf' }, Number(count));
    builder.add(family, '_sum', labels, sum);
    builder.add(family, '_count', labels, Number(count));
  }
}

/** Families of all resources, in the order of their names. */
export function buildFamilies(resources: readonly Resource[], options: LabelOptions): Built {
  const builder = new Builder();
  const promote = new Set([...PROMOTED, ...options.promote]);
  const escape = options.translation.startsWith('Underscore');
  for (const resource of resources) {
    const promoted = [...resource.attributes].filter(([key]) => promote.has(key));
    for (const scope of resource.scopes) {
      const about: [string, Value][] = [['otel_scope_name', scope.name], ['otel_scope_version', scope.version]];
      const common = (attributes: Attributes): Record<string, string> =>
        labelsOf([...attributes, ...promoted.filter(([key]) => !attributes.has(key)), ...about], escape);
      for (const metric of scope.metrics) addMetric(builder, metric, common, options.translation);
    }
    if (resource.attributes.size === 0) continue;
    const info = builder.family('target_info', 'Attributes of the resource', 'gauge');
    if (info !== null) builder.add(info, '', labelsOf(resource.attributes, escape), 1);
  }
  const families = [...builder.families.values()].filter(({ samples }) => samples.length > 0).sort((a, b) => (a.name < b.name ? -1 : 1));
  return { families, duplicates: builder.duplicates, conflicts: builder.conflicts };
}
