// SPDX-License-Identifier: Apache-2.0
// From OpenTelemetry names to Prometheus names, after the OpenTelemetry specification's "Prometheus and OpenMetrics compatibility".
// Invariant: the same metric gets the same name in both formats; a name is never empty and never starts with a digit.
import type { Metric } from '../otlp/model.js';

/** How names are translated; the first is the specification's default. */
export const TRANSLATIONS = [
  'UnderscoreEscapingWithSuffixes', 'UnderscoreEscapingWithoutSuffixes', 'NoUTF8EscapingWithSuffixes', 'NoTranslation',
] as const;
export type Translation = (typeof TRANSLATIONS)[number];

const UNITS: Readonly<Record<string, string>> = {
  d: 'days', h: 'hours', min: 'minutes', s: 'seconds', ms: 'milliseconds', us: 'microseconds', ns: 'nanoseconds', By: 'bytes',
  KiBy: 'kibibytes', MiBy: 'mebibytes', GiBy: 'gibibytes', kBy: 'kilobytes', MBy: 'megabytes', GBy: 'gigabytes', m: 'meters', V: 'volts',
  A: 'amperes', J: 'joules', W: 'watts', g: 'grams', Cel: 'celsius', Hz: 'hertz', '%': 'percent',
};
const PER: Readonly<Record<string, string>> = { s: 'second', m: 'minute', min: 'minute', h: 'hour', d: 'day' };

/** A legal label name: every other character becomes `_`, runs of `_` become one. */
export function labelName(name: string): string {
  const clean = name.replace(/[^A-Za-z0-9_]/g, '_').replace(/_+/g, '_');
  return /^[0-9]/.test(clean) ? `key_${clean}` : clean === '' ? '_' : clean;
}

function plainUnit(unit: string): string {
  const text = unit.replace(/\{[^}]*\}/g, '').trim();
  return UNITS[text] ?? text.replace(/[^A-Za-z0-9]/g, '_').replace(/_+/g, '_').replace(/^_|_$/g, '');
}

/** The suffix of a UCUM unit, '' where it has none. `1` is told by the caller: it is `ratio` for gauges alone. */
export function unitSuffix(unit: string): string {
  if (unit === '' || unit === '1') return '';
  const [over, under, ...more] = unit.split('/');
  if (under === undefined || more.length > 0) return plainUnit(unit);
  const per = PER[under] ?? plainUnit(under);
  const top = plainUnit(over ?? '');
  if (per === '') return top;
  return top === '' ? `per_${per}` : `${top}_per_${per}`;
}

function type(metric: Pick<Metric, 'kind' | 'monotonic'>): 'counter' | 'gauge' | 'histogram' {
  if (metric.kind === 'histogram') return 'histogram';
  return metric.kind === 'sum' && metric.monotonic ? 'counter' : 'gauge';
}

/** Prometheus' type of a metric: a non-monotonic sum is a gauge. */
export const prometheusType = type;

/** The family's name in the text format (a counter with `_total`). */
export function metricName(metric: Pick<Metric, 'name' | 'unit' | 'kind' | 'monotonic'>, how: Translation = TRANSLATIONS[0]): string {
  const escape = how.startsWith('Underscore');
  const suffixes = how.endsWith('WithSuffixes');
  const name = escape ? metric.name.replace(/[^A-Za-z0-9_:]/g, '_').replace(/_+/g, '_') : metric.name;
  const whole = (text: string): string => (escape && /^[0-9]/.test(text) ? `_${text}` : text || '_');
  if (!suffixes) return whole(name);
  const kind = type(metric);
  const unit = metric.unit === '1' && kind === 'gauge' ? 'ratio' : unitSuffix(metric.unit);
  const tokens = name.split('_');
  const total = kind === 'counter';
  const bare = total && tokens.at(-1) === 'total' ? tokens.slice(0, -1) : tokens;
  const parts = unit !== '' && !bare.join('_').endsWith(unit) ? [...bare, unit] : bare;
  return whole([...parts, ...(total ? ['total'] : [])].filter((part) => part !== '').join('_'));
}
