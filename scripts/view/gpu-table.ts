// SPDX-License-Identifier: Apache-2.0
// The GPU table: gauges of metricsd gathered into one row a device. Pure.
// Invariant: a cell is empty when no series brought it; the source column is the series' own `source` label, never assumed.
// Limits: the columns are the fields of abi/bridge.toml, the same rows from which dcgmd names its series.
import { fields, type FieldRow } from '../../runtime/bridge/protocol.js';
import type { SeriesRow } from './model.js';

export interface GpuRow {
  device: string;
  source: string;
  cells: string[];
}

export interface GpuTable {
  headings: string[];
  rows: GpuRow[];
}

/** How an integer gauge of a unit reads: heading suffix and text. */
const UNITS: Readonly<Record<string, { suffix: string; text: (value: bigint) => string }>> = {
  Cel: { suffix: 'C', text: String },
  mW: { suffix: 'W', text: (value) => (Number(value) / 1000).toFixed(1) },
  '%': { suffix: '%', text: String },
  By: { suffix: 'MiB', text: (value) => String(value / 1_048_576n) },
};

/** The labels that tell one device from another; the first that a series carries names its row. */
const DEVICE_LABELS = ['hw.gpu.index', 'hw.id'];

function deviceOf(labels: Readonly<Record<string, string>>): string | null {
  for (const label of DEVICE_LABELS) {
    const value = labels[label];
    if (value !== undefined) return value;
  }
  return null;
}

function matches(field: FieldRow, row: SeriesRow): boolean {
  if (row.name !== field.metric) return false;
  const [key, value] = field.label.split('=');
  return key === undefined || key === '' || row.labels[key] === undefined || row.labels[key] === value;
}

/** `hw.gpu.memory.usage` in bytes -> `memory usage MiB`. */
export function heading(field: FieldRow): string {
  const name = field.metric.replace(/^hw\.(gpu\.)?/, '').replace(/[._]/g, ' ');
  return `${name} ${UNITS[field.unit]?.suffix ?? field.unit}`;
}

/** Gathers the series of `table` into rows, devices in numeric order, only the columns that have a value. */
export function gpuTable(series: readonly SeriesRow[], table: readonly FieldRow[] = fields): GpuTable {
  const devices = new Map<string, { source: string; cells: Map<FieldRow, string> }>();
  const used = new Set<FieldRow>();
  for (const row of series) {
    const field = table.find((candidate) => matches(candidate, row));
    const device = deviceOf(row.labels);
    if (field === undefined || device === null) continue;
    const entry = devices.get(device) ?? { source: row.labels['source'] ?? 'unlabelled', cells: new Map() };
    entry.cells.set(field, (UNITS[field.unit]?.text ?? String)(row.value));
    devices.set(device, entry);
    used.add(field);
  }
  const columns = table.filter((field) => used.has(field));
  const rows = [...devices]
    .sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))
    .map(([device, { source, cells }]) => ({ device, source, cells: columns.map((field) => cells.get(field) ?? '') }));
  return { headings: columns.map(heading), rows };
}
