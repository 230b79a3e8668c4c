// SPDX-License-Identifier: Apache-2.0
// The tables of docs/operators/metrics.md: groups, metrics, the fields behind them, and Vigil's own series. Pure but for the tables read.
// Invariant: a row of a table of abi becomes one row here; Prometheus names come from the exporter's own translation.
// Limits: names as the default translation gives them.
import { catalogField } from '../../runtime/bridge/catalog.js';
import { gpuGroups, gpuMetrics, gpuPoints, type GpuMetric } from '../../runtime/export/gpu-metrics.js';
import { metricName } from '../../runtime/export/prometheus/names.js';
import { selfMetrics } from '../../runtime/export/self-metrics.js';

export type Instrument = 'gauge' | 'counter' | 'updown' | 'histogram';
/** The default Prometheus name of a metric. */
export function prometheusName({ name, unit, instrument }: { name: string; unit: string; instrument: Instrument }): string {
  const kind = instrument === 'updown' || instrument === 'counter' ? 'sum' : instrument;
  return metricName({ name, unit, kind, monotonic: instrument === 'counter' });
}

const cell = (text: string): string => (text === '' ? '' : text.replaceAll('|', '\\|'));
const code = (text: string): string => (text === '' ? '' : `\`${text}\``);
const row = (...cells: string[]): string => `| ${cells.map(cell).join(' | ')} |`;
const table = (head: string[], rows: string[]): string[] => [row(...head), `|${head.map(() => '---|').join('')}`, ...rows];

/** Names of a metric's point attributes, in the order of the table. */
export const attributesOf = (metric: string): string[] =>
  [...new Set(gpuPoints.filter((point) => point.metric === metric).flatMap(({ attributes }) => Object.keys(attributes)))];
const groupsOf = (metric: GpuMetric): string[] =>
  [...new Set(gpuPoints.filter((point) => point.metric === metric.name).map(({ group }) => group))];

/** How an operator switches a group. */
function toggleOf({ name, toggle }: { name: string; toggle: string }): string {
  if (toggle === '') return 'none';
  return `\`${toggle === 'seed' || toggle === 'own' ? name : toggle}\``;
}

export const groupTable = (): string[] => table(['group', 'switched by', 'default', 'tier', 'what'],
  [...gpuGroups].sort((a, b) => b.tier - a.tier).map((group) =>
    row(code(group.name), toggleOf(group), group.default, String(group.tier), group.brief)));

export const metricTable = (): string[] => table(['metric', 'Prometheus', 'instrument', 'unit', 'point attributes', 'groups', 'in semconv'],
  gpuMetrics.map((metric) => row(code(metric.name), code(prometheusName(metric)), metric.instrument, code(metric.unit),
    attributesOf(metric.name).map(code).join(' '), groupsOf(metric).map(code).join(' '), metric.semconv ? 'yes' : 'no')));

export const fieldTable = (): string[] => table(['field', 'DCGM name', 'metric', 'attributes', 'x', 'kind', 'level', 'group', 'default'],
  gpuPoints.map((point) => {
    const field = catalogField(point.field)!;
    const group = gpuGroups.find(({ name }) => name === point.group)!;
    const attributes = Object.entries(point.attributes).map(([key, value]) => code(`${key}=${value}`)).join(' ');
    const instead = point.instead_of === undefined ? '' : ` (instead of ${point.instead_of.join(', ')})`;
    const factor = point.div === 1 ? String(point.mul) : `${point.mul}/${point.div}`;
    const ids = point.last === undefined ? String(point.field) : `${point.field}-${point.last}`;
    return row(`${ids}${instead}`, code(field.prom ?? field.name), code(point.metric), attributes, factor, field.kind, field.level,
      code(point.group), group.default);
  }));

export const selfTable = (): string[] => table(['metric', 'Prometheus', 'instrument', 'unit', 'attributes', 'counted by', 'what'],
  selfMetrics.map((metric) => row(code(metric.name), code(prometheusName(metric)), metric.instrument, code(metric.unit),
    metric.attributes.map(code).join(' '), metric.by, metric.brief)));
