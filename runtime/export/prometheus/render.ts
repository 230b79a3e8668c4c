// SPDX-License-Identifier: Apache-2.0
// Families as a page, by prom-client: Prometheus text 0.0.4 or OpenMetrics 1.0.0, or text 1.0.0 with names in quotes, chosen by the Accept
// header. Invariant: the same samples in each; a family comes once, whoever made it: the first stands; a name that is no legal identifier
// is written in quotes and only for a scraper that said `escaping=allow-utf-8`. Limits: none of its own.
import { Registry, type OpenMetricsContentType, type PrometheusContentType } from 'prom-client';
import type { Family } from './families.js';

export type Format = 'text' | 'openmetrics' | 'utf8';
export const CONTENT_TYPE: Readonly<Record<Format, string>> = {
  text: Registry.PROMETHEUS_CONTENT_TYPE, openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
  utf8: 'text/plain; version=1.0.0; escaping=allow-utf-8; charset=utf-8',
};

/** Whether a scraper takes the text format with names in quotes. */
export function allowsUtf8(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((range) => {
    const [type, ...parameters] = range.split(';').map((part) => part.trim());
    return type === 'text/plain' && parameters.includes('escaping=allow-utf-8') && !parameters.some((part) => /^q=0(\.0*)?$/.test(part));
  });
}

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

const LEGAL = /^[A-Za-z_:][A-Za-z0-9_:]*$/;

/** A page of several lists of families. */
export async function renderPage(lists: readonly (readonly Family[])[], format: Format): Promise<string> {
  const registry = new Registry<PrometheusContentType | OpenMetricsContentType>();
  registry.setContentType(CONTENT_TYPE[format === 'utf8' ? 'text' : format] as PrometheusContentType);
  const quote = (name: string): string => (format === 'utf8' && !LEGAL.test(name) ? JSON.stringify(name) : name);
  const taken = new Set<string>();
  for (const family of lists.flat()) {
    if (taken.has(family.name)) continue;
    taken.add(family.name);
    const values = family.samples.map(({ suffix, labels, value }) => ({
      labels: Object.fromEntries(Object.entries(labels).map(([key, text]) => [quote(key), text])), value,
      ...(suffix === '' ? {} : { metricName: quote(`${family.name}${suffix}`) }),
    }));
    const metric = { name: quote(family.name), help: family.help, type: family.type, aggregator: 'omit', values };
    // prom-client's registry renders whatever offers get(): the samples are the guest's, not prom-client's own counters.
    registry.registerMetric({ ...metric, get: () => Promise.resolve({ ...metric, name: quote(counterName(family, format)) }) } as never);
  }
  const page = await registry.metrics();
  // A quoted name stands among the labels: "a.b"{x="1"} 2 is written {"a.b",x="1"} 2. Only samples begin with a quote.
  if (format !== 'utf8') return page;
  return page.replace(/^("(?:[^"\\\n]|\\.)*")(?:\{| )/gm, (all, name: string) => `{${name}${all.endsWith('{') ? ',' : '} '}`);
}

/** OpenMetrics names a counter's family without `_total`; prom-client puts the suffix on its samples. */
function counterName(family: Family, format: Format): string {
  return format === 'openmetrics' && family.type === 'counter' ? family.name.replace(/_total$/, '') : family.name;
}
