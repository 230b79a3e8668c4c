// SPDX-License-Identifier: Apache-2.0
// Owns: the history's part of the page: one row a series, drawn and in numbers. Pure.
// Invariant: a row names the device as the table above does; identities in the guest's labels are used to find it and never shown. Without
// history the section says why. Limits: HISTORY_ROWS rows; the page says how many are left out.
import { HISTORY_METRICS, KEPT, type HistoryAnswer, type Level, type SeriesHistory } from './history.js';
import { html, type Html } from './html.js';
import type { Device, PageModel } from './model.js';
import { choiceLink, table, type Heading, type RefreshS, type Row } from './parts.js';
import { sparkline, summary } from './sparkline.js';
import { duration, quantity } from './units.js';

export const HISTORY_ROWS = 256;

/** `ageS`: of the answer's history. */
export interface HistoryView { readonly level: Level; readonly answer: HistoryAnswer; readonly ageS: number | null }
interface Given { readonly model: Pick<PageModel, 'devices'>; readonly history: HistoryView; readonly refreshS: RefreshS }

/** Labels that tell what was measured at a device; the others say which device, and from where. */
const SHOWN_LABELS = ['hw.gpu.task', 'hw.gpu.pipe', 'hw.gpu.memory.state', 'hw.sensor_location', 'rail'];
const HEADINGS: readonly Heading[] = [
  ['Device', false], ['Metric', false], ['Drawing', false], ['Lowest', true], ['Mean', true], ['Highest', true], ['Newest', true],
  ['Source', false],
];

function deviceName({ labels }: SeriesHistory, devices: readonly Device[]): string {
  const found = devices.find(({ id }) => id !== '' && id === labels.get('hw.id'));
  if (found !== undefined) return found.name;
  const index = labels.get('hw.gpu.index');
  const instance = labels.get('hw.gpu.mig.instance_id');
  const name = index === undefined ? 'a device' : `GPU ${index}${instance === undefined ? '' : ` MIG ${instance}`}`;
  return devices.some((device) => device.name === name) ? name : `${name} (not in the newest scrape)`;
}

const seriesName = ({ metric, labels }: SeriesHistory): string =>
  [metric, ...SHOWN_LABELS.flatMap((key) => (labels.has(key) ? [`${key}=${labels.get(key)}`] : []))].join(' ');

function rowOf(series: SeriesHistory, device: string, spanS: number, id: string): Row[] {
  const found = summary(series);
  if (found === null) return [];
  const [min, mean, max, last] = [found.min, found.mean, found.max, found.last].map((value) => quantity(value, series.unit));
  const name = seriesName(series);
  const words = `${device}, ${name}: lowest ${min}, mean ${mean}, highest ${max}, newest ${last}`;
  const source = series.labels.get('source') ?? series.labels.get('vigil.source') ?? '';
  return [[device, name, sparkline(series, spanS, words, id), min!, mean!, max!, last!, source]];
}

function historyTable({ history: { level, answer }, model: { devices } }: Given): Html {
  const { widthS, windows } = KEPT[level];
  const { series: all, cut } = answer.history!;
  const place = (metric: string): number => HISTORY_METRICS.findIndex(({ name }) => name === metric);
  const named = all.map((series) => ({ series, device: deviceName(series, devices), name: seriesName(series) })).sort((a, b) =>
    a.device.localeCompare(b.device, 'en', { numeric: true }) || place(a.series.metric) - place(b.series.metric) ||
    (a.name < b.name ? -1 : 1));
  const rows = named.slice(0, HISTORY_ROWS).flatMap(({ series, device }, i) => rowOf(series, device, widthS * windows, `spark-${i}`));
  const left = Math.max(0, named.length - HISTORY_ROWS) + cut;
  const caption = `The last ${duration(widthS * windows)} in windows of ${widthS} s, oldest at the left; the line is each window's mean`;
  return html`${table(caption, HEADINGS, rows)}
${left > 0 ? html`<p>${left} more series or windows are kept and not shown.</p>` : null}`;
}

export function historySection(given: Given): Html {
  const { history: { level, answer: { history, why }, ageS }, refreshS } = given;
  const spans = [[1, 'last 5 minutes'], [2, 'last 30 minutes']] as const;
  const links = spans.map(([one, text]) => choiceLink(text, { refreshS, level: one }, one === level));
  const age = ageS === null ? 'older' : `${duration(ageS)} old`;
  const old = history !== null && why !== null ? html`<p>This history is ${age}: ${why}.</p>` : null;
  const damaged = history?.unreadable === true ? html`<p>A part of what the guest kept could not be read.</p>` : null;
  const content = history === null ? html`<p>No history can be shown: ${why ?? 'none was read'}.</p>`
    : history.series.length === 0 ? html`<p>The guest keeps no history of GPUs yet.</p>` : historyTable(given);
  return html`<section aria-labelledby="history"><h2 id="history">History</h2>
<nav aria-label="Span of the history"><ul>${links}</ul></nav>${old}${damaged}
${content}</section>`;
}
