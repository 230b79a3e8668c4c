// SPDX-License-Identifier: Apache-2.0
// Owns: every family that a scrape of Vigil can hold, with its labels, as the tables of abi say; what dashboards, alerts and pages may name.
// Invariant: names come from the exporter's own translation. Limits: the default translation; scrape labels are Prometheus' own.
import { attributesOf, prometheusName, type Instrument } from '../../scripts/docs/metric-tables.js';
import { gpuMetrics } from '../../runtime/export/gpu-metrics.js';
import { PROMOTED, SOURCE_LABEL } from '../../runtime/export/prometheus/families.js';
import { labelName } from '../../runtime/export/prometheus/names.js';
import { selfMetrics } from '../../runtime/export/self-metrics.js';

export interface KnownFamily { readonly otel: string; readonly instrument: Instrument; readonly unit: string; readonly labels: ReadonlySet<string> }

/** What Prometheus adds to every sample. */
const SCRAPE_LABELS = ['instance', 'job'];
const SCOPE_LABELS = ['otel_scope_name', 'otel_scope_version'];
/** Attributes of a GPU's resource that only target_info has. */
const INFO_LABELS = ['hw.vendor', 'hw.name', 'hw.model', 'hw.driver_version', 'hw.gpu.pci.bdf', 'host.name', ...['name', 'version', 'instance.id'].map((key) => `service.${key}`)].map(labelName);
const PROMOTED_LABELS = PROMOTED.map((key) => (key === 'vigil.source' ? SOURCE_LABEL : labelName(key)));

const labels = (attributes: readonly string[], more: readonly string[]): Set<string> =>
  new Set([...attributes.map(labelName), ...more, ...SCRAPE_LABELS]);

/** Families by Prometheus name. */
export function knownFamilies(): Map<string, KnownFamily> {
  const out = new Map<string, KnownFamily>([
    ['up', { otel: 'up', instrument: 'gauge', unit: '1', labels: new Set(SCRAPE_LABELS) }],
    ['target_info', { otel: 'target_info', instrument: 'gauge', unit: '1', labels: labels([], [...INFO_LABELS, ...PROMOTED_LABELS]) }],
  ]);
  for (const metric of gpuMetrics) {
    const own = labels(attributesOf(metric.name), [...PROMOTED_LABELS, ...SCOPE_LABELS]);
    out.set(prometheusName(metric), { otel: metric.name, instrument: metric.instrument, unit: metric.unit, labels: own });
  }
  for (const { name, instrument, unit, attributes } of selfMetrics) {
    const own = labels(attributes.map((key) => (key === 'vigil.source' ? SOURCE_LABEL : key)), [...SCOPE_LABELS, SOURCE_LABEL, 'vigil_producer']);
    const family = prometheusName({ name, unit, instrument });
    for (const suffix of instrument === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']) {
      out.set(family + suffix, { otel: name, instrument, unit, labels: suffix === '_bucket' ? new Set([...own, 'le']) : own });
    }
  }
  return out;
}
