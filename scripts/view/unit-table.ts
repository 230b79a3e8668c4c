// SPDX-License-Identifier: Apache-2.0
// The GPUs as a table, and the lines above it that say where the values come from and how the receiver and the exporter are. Pure.
// Invariant: replayed values are labelled above and in every row. Limits: columns that do not fit are left out, the least wanted first.
import stringWidth from 'string-width';
import type { Unit } from './fleet.js';
import { bar, gib, si, spark } from './marks.js';
import { columns as tabulate, fit, safe, type Paint } from './text.js';
import { receiverText, sourceText, type Trend, type UpState } from './up-model.js';

const BAR_COLUMNS = 10;
const SPARK_COLUMNS = 12;
/** Who the row is about, and its source: never left out. */
const KEPT = 2;
const HOT_C = 85;

type Shown = { readonly unit: Unit; readonly trend: Trend };
interface Column {
  readonly head: string;
  /** left out later, the larger */
  readonly wanted: number;
  readonly right?: boolean;
  cell(row: Shown, paint: Paint): string;
}

const newest = (list: readonly (number | null)[] | undefined): number | null => list?.at(-1) ?? null;
const percent = (share: number | null): string => (share === null ? '-' : `${Math.round(share * 100)}%`);
const memoryShare = ({ memoryUsedBytes: used, memoryTotalBytes: total }: Unit): number | null =>
  used === null || total === null || total === 0 ? null : used / total;

function memory({ memoryUsedBytes: used, memoryTotalBytes: total }: Unit): string {
  return used === null && total === null ? '-' : `${gib(used)}/${gib(total)}`;
}

function errors({ correctedErrors, uncorrectedErrors, xids, trouble }: Unit, paint: Paint): string {
  const parts: string[] = [];
  if ((uncorrectedErrors ?? 0) > 0) parts.push(paint.bad(`UE ${uncorrectedErrors}`));
  if ((correctedErrors ?? 0) > 0) parts.push(paint.wait(`CE ${correctedErrors}`));
  for (const [code, count] of xids) parts.push(paint.bad(`XID ${safe(code)}${count > 1 ? ` x${count}` : ''}`));
  if (trouble !== null) parts.push(paint.bad(safe(trouble)));
  if (parts.length > 0) return parts.join(' ');
  return correctedErrors === null && uncorrectedErrors === null ? '-' : 'none';
}

const INDENT: Readonly<Record<Unit['kind'], string>> = { gpu: '', instance: ' ', compute: '  ', switch: '' };
const COLUMNS: readonly Column[] = [
  { head: 'GPU', wanted: 100, cell: ({ unit }) => `${INDENT[unit.kind]}${safe(unit.label)}` },
  { head: 'SOURCE', wanted: 95, cell: ({ unit }, paint) => (unit.source === 'replay' ? paint.wait('replay') : safe(unit.source)) },
  { head: 'MODEL', wanted: 20, cell: ({ unit }) => fit(safe(unit.model), 22).trimEnd() },
  { head: 'UTIL', wanted: 90, right: true, cell: ({ unit }) => percent(unit.utilization) },
  { head: '', wanted: 60, cell: ({ unit }) => bar(unit.utilization, BAR_COLUMNS) },
  { head: 'util', wanted: 70, cell: ({ trend }) => spark(trend.utilization, SPARK_COLUMNS, 0, 1) },
  { head: 'MEM GiB', wanted: 85, right: true, cell: ({ unit }) => memory(unit) },
  { head: '', wanted: 55, cell: ({ unit }) => bar(memoryShare(unit), BAR_COLUMNS) },
  { head: 'mem', wanted: 28, cell: ({ trend }) => spark(trend.memory, SPARK_COLUMNS, 0, 1) },
  { head: 'TEMP C', wanted: 80, right: true, cell: ({ unit: { temperatureC: t } }, paint) =>
    (t === null ? '-' : t >= HOT_C ? paint.bad(String(Math.round(t))) : String(Math.round(t))) },
  { head: 'temp', wanted: 30, cell: ({ trend }) => spark(trend.temperature, SPARK_COLUMNS, 20, 100) },
  { head: 'POWER', wanted: 75, right: true, cell: ({ unit }) => si(unit.powerW, 'W') },
  { head: 'power', wanted: 29, cell: ({ trend }) => spark(trend.power, SPARK_COLUMNS, 0, highest(trend.power)) },
  { head: 'SM', wanted: 50, right: true, cell: ({ unit }) => si(unit.clockHz, 'Hz') },
  { head: 'NVLINK', wanted: 45, right: true, cell: ({ trend }) => si(newest(trend.nvlink), 'B/s') },
  { head: 'nvlink', wanted: 25, cell: ({ trend }) => spark(trend.nvlink, SPARK_COLUMNS, 0, highest(trend.nvlink)) },
  { head: 'PCIE', wanted: 40, right: true, cell: ({ trend }) => si(newest(trend.pcie), 'B/s') },
  { head: 'ERRORS', wanted: 88, cell: ({ unit }, paint) => errors(unit, paint) },
];

function highest(values: readonly (number | null)[]): number {
  return values.reduce<number>((most, value) => Math.max(most, value ?? 0), 1);
}

const blank: Trend = { utilization: [], memory: [], temperature: [], power: [], nvlink: [], pcie: [] };
const hasNothing = (cells: readonly string[]): boolean => cells.every((cell) => cell.trim() === '' || cell.trim() === '-');

/** The table's lines, head first; the columns that fit into `width`, none that is empty in every row but those that name the unit. */
export function unitTable(units: readonly Unit[], trends: ReadonlyMap<string, Trend>, width: number, paint: Paint): string[] {
  const rows = units.map((unit): Shown => ({ unit, trend: trends.get(unit.key) ?? blank }));
  let used = COLUMNS.map((column) => ({ column, cells: rows.map((row) => column.cell(row, paint)) }))
    .filter(({ column, cells }) => column.wanted >= 90 || !hasNothing(cells));
  const lines = (): string[] => {
    const right = new Set(used.flatMap(({ column }, at) => (column.right === true ? [at] : [])));
    return tabulate([used.map(({ column }) => column.head), ...rows.map((_, row) => used.map(({ cells }) => cells[row]!))], right);
  };
  for (let made = lines(); ; made = lines()) {
    const widest = Math.max(...made.map((line) => stringWidth(line)));
    if (widest <= width || used.length <= KEPT) return made;
    const least = used.reduce((a, b) => (b.column.wanted < a.column.wanted ? b : a));
    used = used.filter((entry) => entry !== least);
  }
}

/** Three lines: the source, the receiver, the exporter. */
export function upHead(state: UpState, paint: Paint): string[] {
  const { glance } = state;
  if (glance === null) return [];
  const receiver = receiverText(state);
  const { ready, why } = glance.ready;
  const real = glance.source.label === 'dcgm' || glance.source.label === 'nvml';
  const source = safe(sourceText(glance.source));
  return [
    real && glance.source.name === 'ready' ? source : paint.wait(source),
    receiver.bad ? paint.bad(receiver.text) : receiver.text,
    `exporter: ${safe(glance.url)}metrics ${ready ? paint.good('ready') : paint.wait(`not ready: ${safe(why)}`)}`,
  ];
}
