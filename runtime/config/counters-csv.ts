// SPDX-License-Identifier: Apache-2.0
// Owns: the counters file of dcgm-exporter (`DCGM_FI_DEV_GPU_TEMP, gauge, help`) read as a choice of fields: an old file works as it is.
// Invariant: every line ends in exactly one list: fields that are watched, unknown names, or ignored with the reason; line numbers are
// the file's. Limits: COUNTERS_LIMITS. The type is checked, not obeyed: what kind a field is, abi/gpu-fields.toml says.
import { closeSync, openSync, readSync } from 'node:fs';
import { parse } from 'csv-parse/sync';
import { catalog, catalogField } from '../bridge/catalog.js';
import { gpuPoints } from '../export/gpu-metrics.js';
import { nearest } from './nearest.js';

export const COUNTERS_LIMITS = { fileBytes: 1 << 20, lines: 4_096, nameChars: 96 } as const;
const TYPES = ['gauge', 'counter', 'histogram', 'label'];

export interface UnknownCounter { readonly line: number; readonly name: string; readonly hint: string | null }
export interface IgnoredCounter { readonly line: number; readonly name: string; readonly why: string }
export interface CountersFile {
  /** ids of the fields that are watched, ascending */
  readonly fields: readonly number[];
  readonly unknown: readonly UnknownCounter[];
  readonly ignored: readonly IgnoredCounter[];
}

/** A file that cannot be read as a whole. */
export class CountersFileError extends Error {}

/** Names of DCGM 4.6 and of fields that abi/gpu-fields.toml has without dcgm-exporter's name (dcgm_fields.h). */
const OTHER_NAMES: Readonly<Record<string, number>> = {
  DCGM_FI_DEV_CLOCKS_EVENT_REASONS: 112, DCGM_FI_DEV_TOTAL_APP_CLOCKS_VIOLATION: 246, DCGM_FI_DEV_TOTAL_BASE_CLOCKS_VIOLATION: 247,
  DCGM_FI_DEV_NVSWITCH_POWER_VDD: 705, DCGM_FI_DEV_NVSWITCH_POWER_DVDD: 706, DCGM_FI_DEV_NVSWITCH_POWER_HVDD: 707,
  DCGM_FI_DEV_NVSWITCH_LINK_THROUGHPUT_TX: 780, DCGM_FI_DEV_NVSWITCH_LINK_THROUGHPUT_RX: 781, DCGM_FI_DEV_NVSWITCH_LINK_FATAL_ERRORS: 782,
  DCGM_FI_DEV_NVSWITCH_LINK_NON_FATAL_ERRORS: 783, DCGM_FI_DEV_NVSWITCH_LINK_REPLAY_ERRORS: 784,
  DCGM_FI_DEV_NVSWITCH_LINK_RECOVERY_ERRORS: 785, DCGM_FI_DEV_NVSWITCH_LINK_FLIT_ERRORS: 786, DCGM_FI_DEV_NVSWITCH_LINK_CRC_ERRORS: 787,
  DCGM_FI_DEV_NVSWITCH_LINK_ECC_ERRORS: 788, DCGM_FI_DEV_NVSWITCH_FATAL_ERRORS: 856, DCGM_FI_DEV_NVSWITCH_NON_FATAL_ERRORS: 857,
  DCGM_FI_DEV_NVSWITCH_TEMPERATURE_CURRENT: 858, DCGM_FI_DEV_NVSWITCH_TEMPERATURE_LIMIT_SLOWDOWN: 859,
  DCGM_FI_DEV_NVSWITCH_TEMPERATURE_LIMIT_SHUTDOWN: 860, DCGM_FI_DEV_NVSWITCH_THROUGHPUT_TX: 861, DCGM_FI_DEV_NVSWITCH_THROUGHPUT_RX: 862,
  DCGM_FI_DEV_NVLINK_COUNT_TX_BYTES: 1201, DCGM_FI_DEV_NVLINK_COUNT_RX_BYTES: 1203,
  DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS: 1420, DCGM_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST_NS: 1421,
  DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS: 1422, DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS: 1423,
  DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS: 1424, DCGM_FI_DEV_PCIE_CORRECTABLE_ERROR_TOTAL: 1501,
  DCGM_FI_DEV_GPU_RECOVERY_ACTION: 1523, DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_PER_LINK_TOTAL: 1525,
  DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_PER_LINK_TOTAL: 1526, DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL: 1527,
  DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_PER_LINK_TOTAL: 1528, DCGM_FI_PROF_NVLINK_TX_BYTES_PER_LINK: 1532,
  DCGM_FI_PROF_NVLINK_RX_BYTES_PER_LINK: 1533,
};

/** DCGM numbers the links' profiling fields 1040 (link 0, transmit), 1041 (link 0, receive), 1042 (link 1, transmit) ... */
const LANE_FIRST = 1040;
const LANES = 18;
const lanes = (receive: 0 | 1): number[] => Array.from({ length: LANES }, (_, link) => LANE_FIRST + 2 * link + receive);
const laneNames = Array.from({ length: LANES }, (_, link) => [
  [`DCGM_FI_PROF_NVLINK_L${link}_TX_BYTES`, LANE_FIRST + 2 * link], [`DCGM_FI_PROF_NVLINK_L${link}_RX_BYTES`, LANE_FIRST + 2 * link + 1],
] as const).flat();

/** A sum over all links is watched as its links, whose sum it is. */
const AS_LINKS: ReadonlyMap<number, readonly number[]> = new Map([
  [1011, [...lanes(0), 1532]], [1012, [...lanes(1), 1533]], [449, [...lanes(0), ...lanes(1), 1532, 1533]],
]);

/** Every name that is understood, with its field. */
export const COUNTER_NAMES: ReadonlyMap<string, number> = new Map<string, number>([
  ...catalog.flatMap(({ prom, id }) => (prom === undefined ? [] : [[prom, id] as const])), ...Object.entries(OTHER_NAMES), ...laneNames,
]);

/** What dcgm-exporter makes itself, and where the same is found here. */
const EXPORTERS_OWN: ReadonlyMap<string, string> = new Map([
  ['DCGM_EXP_XID_ERRORS_COUNT', 'made by dcgm-exporter; here hw.gpu.xid.errors counts XIDs (name DCGM_FI_DEV_XID_ERRORS)'],
  ['DCGM_EXP_CLOCK_EVENTS_COUNT', 'made by dcgm-exporter; here hw.gpu.throttle.duration has the time by reason'],
]);

const hasPoint = (id: number): boolean => gpuPoints.some(({ field, last }) => id >= field && id <= (last ?? field));

/** Reads a file's text. Throws CountersFileError when it has too many lines. */
export function parseCounters(text: string): CountersFile {
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/);
  if (lines.length > COUNTERS_LIMITS.lines) throw new CountersFileError(`${lines.length} lines, at most ${COUNTERS_LIMITS.lines}`);
  const fields = new Set<number>();
  const unknown: UnknownCounter[] = [];
  const ignored: IgnoredCounter[] = [];
  const seen = new Map<string, number>();
  lines.forEach((raw, index) => {
    const line = index + 1;
    if (raw.trim() === '' || raw.trimStart().startsWith('#')) return;
    const cells = cellsOf(raw);
    const name = (cells?.[0] ?? raw).slice(0, COUNTERS_LIMITS.nameChars);
    const ignore = (why: string): void => void ignored.push({ line, name, why });
    if (cells === null) return ignore('not a CSV row: a quote is not closed');
    if (cells.length < 3 || name === '') return ignore(`${cells.length} of 3 columns: name, type, help`);
    const type = cells[1]!.toLowerCase();
    const said = JSON.stringify(cells[1]!.slice(0, COUNTERS_LIMITS.nameChars));
    if (!TYPES.includes(type)) return ignore(`type ${said} is none of ${TYPES.join(', ')}`);
    const first = seen.get(name);
    if (first !== undefined) return ignore(`named twice, first in line ${first}`);
    seen.set(name, line);
    if (type === 'label') return ignore('a label; the resource attributes have model, driver, address and index already');
    if (name.startsWith('DCGM_EXP_')) return ignore(EXPORTERS_OWN.get(name) ?? 'made by dcgm-exporter, not by DCGM');
    const id = COUNTER_NAMES.get(name);
    if (id === undefined) return void unknown.push({ line, name, hint: nearest(name, [...COUNTER_NAMES.keys()]) });
    const ids = AS_LINKS.get(id) ?? [id];
    if (!ids.some(hasPoint)) return ignore(`field ${id} (${catalogField(id)!.name}) is known, but no metric is made of it`);
    for (const one of ids) if (hasPoint(one)) fields.add(one);
  });
  return { fields: [...fields].sort((a, b) => a - b), unknown, ignored };
}

/** One row's cells, null when it is no CSV. Rows are read one by one so that one bad row hides no other. */
function cellsOf(raw: string): string[] | null {
  try {
    const rows: string[][] = parse(raw, { trim: true, relax_column_count: true, skip_empty_lines: true });
    return rows[0] ?? [''];
  } catch {
    return null;
  }
}

/** Reads a file. Throws CountersFileError with the path and the reason. */
export function loadCounters(path: string): CountersFile {
  let text;
  try {
    text = readBounded(path);
    return parseCounters(text);
  } catch (error) {
    throw new CountersFileError(`${path}: ${(error as Error).message.replace(/^(E[A-Z]+): ([^,]+),.*/, '$1: $2')}`);
  }
}

function readBounded(path: string): string {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(COUNTERS_LIMITS.fileBytes + 1);
    let length = 0;
    for (;;) {
      const read = readSync(file, buffer, length, buffer.length - length, length);
      length += read;
      if (length > COUNTERS_LIMITS.fileBytes) throw new CountersFileError(`larger than ${COUNTERS_LIMITS.fileBytes} bytes`);
      if (read === 0) return buffer.subarray(0, length).toString('utf8');
    }
  } finally {
    closeSync(file);
  }
}

/** What to tell a person, a line each. */
export function countersReport(file: CountersFile): string[] {
  const meant = (hint: string | null): string => (hint === null ? '' : `; did you mean ${hint}?`);
  const say = [
    ...file.unknown.map(({ line, name, hint }) => ({ line, text: `unknown field ${name}${meant(hint)}` })),
    ...file.ignored.map(({ line, name, why }) => ({ line, text: `${name} is ignored: ${why}` })),
  ];
  return say.sort((a, b) => a.line - b.line).map(({ line, text }) => `line ${line}: ${text.replace(/[\u0000-\u001f\u007f]/g, '?')}`);
}
