// SPDX-License-Identifier: Apache-2.0
// Families as a page, by prom-client: Prometheus text 0.0.4 or OpenMetrics 1.0.0, chosen by the Accept header.
// Invariant: the same samples in both; a family comes once, whoever made it: the first stands.
import { Registry, type OpenMetricsContentType, type PrometheusContentType } from 'prom-client';
import type { Family } from './families.js';

export type Format = 'text' | 'openmetrics';
export const CONTENT_TYPE: Readonly<Record<Format, string>> = {
  text: Registry.PROMETHEUS_CONTENT_TYPE, openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
};

/** The format that an Accept header prefers; text where it says nothing. */
export function formatOf(accept: string | undefined): Format {
  let best: { format: Format; q: number } = { format: 'text', q: -1 };
  for (const range of (accept ?? '').split(',')) {
    const [type, ...parameters] = range.trim().split(';');
    const q = Number(/^\s*q=([0-9.]+)/.exec(parameters.find((text) => /^\s*q=/.test(text)) ?? '')?.[1] ?? 1);
    const format = type?.trim() === 'application/openmetrics-text' ? 'openmetrics' : type?.trim() === 'text/plain' ? 'text' : null;
    if (format !== null && q > best.q) best = { format, q };
  }
  return best.format;
}

/** A page of several lists of families. */
export async function renderPage(lists: readonly (readonly Family[])[], format: Format): Promise<string> {
  const registry = new Registry<PrometheusContentType | OpenMetricsContentType>();
  registry.setContentType(CONTENT_TYPE[format] as PrometheusContentType);
  const taken = new Set<string>();
  for (const family of lists.flat()) {
    if (taken.has(family.name)) continue;
    taken.add(family.name);
    const values = family.samples.map(({ suffix, labels, value }) => ({
      labels, value, ...(suffix === '' ? {} : { metricName: `${family.name}${suffix}` }),
    }));
    const metric = { name: family.name, help: family.help, type: family.type, aggregator: 'omit', values };
    // prom-client's registry renders whatever offers get(): the samples are the guest's, not prom-client's own counters.
    registry.registerMetric({ ...metric, get: () => Promise.resolve({ ...metric, name: counterName(family, format) }) } as never);
  }
  return registry.metrics();
}

/** OpenMetrics names a counter's family without `_total`; prom-client puts the suffix on its samples. */
function counterName(family: Family, format: Format): string {
  return format === 'openmetrics' && family.type === 'counter' ? family.name.replace(/_total$/, '') : family.name;
}
