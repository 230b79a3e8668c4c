// SPDX-License-Identifier: Apache-2.0
// Owns: a Config as people and machines read it: every key with its value, where it came from, and as the text of a vigil.toml.
// Invariant: what renderToml prints, load.ts reads back as the same Config, but for secrets: of a header only the name is shown, of an
// address that nobody could judge (embedded mode) no password. vigil.full.example.toml is fullExample(), and a test compares.
import { formatDuration } from './durations.js';
import { KNOBS, SETTABLE, TABLES, type KnobPath } from './knobs.js';
import { withoutUserinfo } from './rules.js';
import type { Config } from './schema.js';
import { gpuGroups } from '../export/gpu-metrics.js';

type Value = string | number | boolean | readonly string[];

/** One key. `value` as a vigil.toml has it; `set`: it differs from the default. */
export interface Row {
  readonly path: string; readonly table: string; readonly key: string; readonly value: Value; readonly set: boolean;
  readonly range: string; readonly brief: string;
}

export const HIDDEN = '***';

function valuesOf(config: Config): Record<KnobPath, Value> {
  const { source, receivers: { dcgm }, exporters: { otlp, prometheus }, attribution: { kubernetes, hpc }, guest } = config;
  return {
    'source.kind': source.kind, 'source.library': source.library, 'source.capture': source.capture, 'source.fleet': source.fleet,
    'source.scenario': source.scenario,
    'receivers.dcgm.mode': dcgm.mode, 'receivers.dcgm.endpoint': withoutUserinfo(dcgm.endpoint),
    'receivers.dcgm.collection_interval': formatDuration(dcgm.collectionIntervalMs),
    'receivers.dcgm.initial_delay': formatDuration(dcgm.initialDelayMs),
    'receivers.dcgm.max_series_per_scrape': dcgm.maxSeriesPerScrape, 'receivers.dcgm.fields_file': dcgm.fieldsFile,
    'receivers.dcgm.metrics.include': dcgm.metrics.include, 'receivers.dcgm.metrics.exclude': dcgm.metrics.exclude,
    'receivers.dcgm.identity.hash': dcgm.identity.hash, 'receivers.dcgm.identity.salt_file': dcgm.identity.saltFile,
    'exporters.otlp.endpoint': otlp.endpoint, 'exporters.otlp.compression': otlp.compression,
    'exporters.otlp.timeout': formatDuration(otlp.timeoutMs), 'exporters.otlp.signals': otlp.signals,
    'exporters.prometheus.listen': prometheus.listen, 'exporters.prometheus.web_config_file': prometheus.webConfigFile,
    'exporters.prometheus.dcgm_names': prometheus.dcgmNames, 'exporters.prometheus.translation': prometheus.translation,
    'attribution.kubernetes.enabled': kubernetes.enabled, 'attribution.kubernetes.socket': kubernetes.socket,
    'attribution.kubernetes.resource_prefixes': kubernetes.resourcePrefixes, 'attribution.hpc.job_mapping_dir': hpc.jobMappingDir,
    'guest.state': guest.state, 'guest.heartbeat_interval': formatDuration(guest.heartbeatIntervalMs),
    'guest.heartbeat_timeout': formatDuration(guest.heartbeatTimeoutMs),
    'guest.restart_backoff_first': formatDuration(guest.restartBackoffFirstMs),
    'guest.restart_backoff_max': formatDuration(guest.restartBackoffMaxMs), 'guest.export_interval': formatDuration(guest.exportIntervalMs),
  };
}

/** A default as formatDuration spells it where it is a duration ("60s" is "1m"). */
function sameAsDefault(path: KnobPath, value: Value): boolean {
  const { type, default: fallback } = KNOBS[path];
  const read = type.safeParse(value);
  return JSON.stringify(read.success ? read.data : value) === JSON.stringify(type.parse(fallback));
}

const place = (path: string): { path: string; table: string; key: string } => {
  const at = path.lastIndexOf('.');
  return { path, table: path.slice(0, at), key: path.slice(at + 1) };
};
const keyText = (key: string): string => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key));

/** Every key with its value, in the order of a vigil.toml. A default keeps the spelling of the table. */
export function rowsOf(config: Config): Row[] {
  const { dcgm } = config.receivers;
  const values = valuesOf(config);
  const single = (Object.keys(KNOBS) as KnobPath[]).map((path): Row => {
    const same = sameAsDefault(path, values[path]);
    const { range, brief } = KNOBS[path];
    return { ...place(path), value: same ? (KNOBS[path].default as Value) : values[path], set: !same, range, brief };
  });
  const entries = (path: keyof typeof TABLES, list: Readonly<Record<string, Value>>, brief: (key: string) => string): Row[] =>
    Object.entries(list).map(([key, value]) => ({
      path: `${path}.${keyText(key)}`, table: path, key, value, range: TABLES[path].range, brief: brief(key),
      set: (TABLES[path].default as Record<string, unknown>)[key] !== value,
    }));
  const briefOf = (name: string): string => gpuGroups.find((group) => group.name === name)?.brief ?? '';
  const hidden = Object.fromEntries(Object.keys(config.exporters.otlp.headers).map((name) => [name, HIDDEN]));
  const all = [
    ...single,
    ...entries('receivers.dcgm.metric_field_groups', dcgm.metricFieldGroups, briefOf).map((row): Row => ({
      ...row, range: SETTABLE.find(({ name }) => name === row.key)?.default === 'auto' ? 'enabled, disabled, auto' : 'enabled, disabled',
    })),
    ...entries('receivers.dcgm.group_budgets', dcgm.groupBudgets, () => TABLES['receivers.dcgm.group_budgets'].brief),
    ...entries('exporters.otlp.headers', hidden, () => TABLES['exporters.otlp.headers'].brief),
  ];
  // a table's own keys stand before those of the tables below it
  const tables = [...new Set([...single.map(({ table }) => table), ...Object.keys(TABLES)])].sort((a, b) => order(a) - order(b));
  return tables.flatMap((table) => all.filter((row) => row.table === table));
}
const ORDER = ['source', 'receivers', 'exporters', 'attribution', 'guest'];
const order = (table: string): number => ORDER.indexOf(table.split('.')[0]!);

export const tomlValue = (value: Value): string =>
  (typeof value === 'object' ? `[${value.map((one) => JSON.stringify(one)).join(', ')}]`
    : typeof value === 'string' ? JSON.stringify(value) : String(value));

/** The resolved configuration as TOML; what the file set is marked. */
export function renderToml(config: Config): string {
  const rows = rowsOf(config);
  const tables = [...new Set(rows.map(({ table }) => table))];
  return tables.map((table) => {
    const lines = rows.filter((row) => row.table === table).map((row) => {
      const secret = row.table === 'exporters.otlp.headers';
      const line = `${keyText(row.key)} = ${tomlValue(row.value)}`;
      return secret ? `# ${line}  # set; not shown` : row.set ? `${line}  # set` : line;
    });
    return `[${table}]\n${lines.join('\n')}\n`;
  }).join('\n');
}

const EXAMPLES: Readonly<Record<string, string>> = {
  'receivers.dcgm.group_budgets': '# nvlink = 512', 'exporters.otlp.headers': '# authorization = "Bearer TOKEN"',
};

/** The text of vigil.full.example.toml: every key, its default, what it takes and what it is for. */
export function fullExample(config: Config): string {
  const rows = rowsOf(config);
  const tables = [...new Set([...rows.map(({ table }) => table), ...Object.keys(TABLES)])].sort((a, b) => order(a) - order(b));
  const head = [
    '# Every key of a Vigil configuration, with its default. Above each: what it is for, and in brackets what it takes.',
    '# Copy the lines that you change into a file of your own; vigil validate --config FILE says everything that is wrong with it.',
    '# Paths are meant from the folder in which vigil runs. docs/operators/configuration.md says more.',
  ];
  const parts = tables.map((table) => {
    const own = rows.filter((row) => row.table === table);
    const more = TABLES[table as keyof typeof TABLES] as (typeof TABLES)[keyof typeof TABLES] | undefined;
    return [
      `[${table}]`,
      ...(more === undefined ? [] : [`# ${more.brief} [${more.range}]`, ...(EXAMPLES[table] === undefined ? [] : [EXAMPLES[table]])]),
      ...own.flatMap((row) => [`# ${row.brief} [${row.range}]`, `${keyText(row.key)} = ${tomlValue(row.value)}`]),
    ].join('\n');
  });
  return `${head.join('\n')}\n\n${parts.join('\n\n')}\n`;
}
