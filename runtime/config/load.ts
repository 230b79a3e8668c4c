// SPDX-License-Identifier: Apache-2.0
// Owns: from the text of a vigil.toml to a Config, or to every fault of it at once.
// Invariant: a fault names its TOML path, quotes what was written and says what would do; an unknown key is a fault; a key that is not
// there has its default; no secret is in a message. Limits: FILE_BYTES_MAX, ERRORS_MAX faults (more are counted).
import { readFileSync, statSync } from 'node:fs';
import { TomlError, parse } from 'smol-toml';
import { checkTogether } from './together.js';
import { AUTO_GROUP, KNOBS, TABLES, type KnobPath, type KnobValue, type Setting, type TableKnob, type TablePath } from './knobs.js';
import { nearest } from './nearest.js';
import { quote } from './rules.js';
import type { Config, ConfigError } from './schema.js';

export const FILE_BYTES_MAX = 1_048_576;
export const ERRORS_MAX = 100;

/** `unreadable`: the file could not be read at all. */
export type Loaded = { readonly config: Config } | { readonly errors: readonly ConfigError[]; readonly unreadable?: true };

type Table = Record<string, unknown>;
const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

const PATHS = [...Object.keys(KNOBS), ...Object.keys(TABLES)];
/** Every table that holds something, '' for the document. */
const PARENTS = new Set(PATHS.flatMap((path) => {
  const parts = path.split('.');
  return parts.map((_, i) => parts.slice(0, i).join('.'));
}));

/** The keys that may stand in a table. */
function keysBelow(parent: string): string[] {
  const at = parent === '' ? 0 : parent.split('.').length;
  const below = PATHS.filter((path) => parent === '' || path.startsWith(`${parent}.`));
  return [...new Set(below.map((path) => path.split('.')[at]!))];
}
/** A key as TOML spells it in a path. */
const spelled = (key: string): string => (/^[A-Za-z0-9_-]+$/.test(key) ? key : quote(key));
const join = (parent: string, key: string): string => (parent === '' ? spelled(key) : `${parent}.${spelled(key)}`);

/** Collects values of known keys and faults of everything else. */
class Reading {
  readonly errors: ConfigError[] = [];
  readonly values = new Map<string, unknown>();
  /** keys whose value was refused: nothing more is said about them */
  readonly refused = new Set<string>();

  say(path: string, message: string): void { this.errors.push({ path, message }); }

  table(parent: string, table: Table): void {
    const known = keysBelow(parent);
    for (const [key, value] of Object.entries(table)) {
      const path = join(parent, key);
      if (Object.hasOwn(KNOBS, path)) this.value(path, KNOBS[path as KnobPath].type, value);
      else if (Object.hasOwn(TABLES, path)) this.named(path, TABLES[path as TablePath], value);
      else if (!PARENTS.has(path)) this.unknown(path, key, known);
      else if (isTable(value)) this.table(path, value);
      else this.say(path, `${quote(value)} is not a table; it holds ${keysBelow(path).join(', ')}`);
    }
  }

  private named(path: string, knob: TableKnob, value: unknown): void {
    if (!isTable(value)) {
      this.say(path, `${knob.secret ? 'this' : quote(value)} is not a table; write [${path}] and one key a line`);
      this.refused.add(path);
      return;
    }
    const entries = Object.entries(value);
    if (entries.length > knob.max) this.say(path, `${entries.length} keys; at most ${knob.max}`);
    for (const [key, one] of entries.slice(0, knob.max)) {
      const at = join(path, key);
      const bad = knob.keys === null ? (knob.badKey?.(key) ?? null) : null;
      if (knob.keys !== null && !knob.keys.includes(key)) this.unknown(at, key, knob.keys);
      else if (bad !== null) this.say(at, `${quote(key)} ${bad}`);
      else this.value(at, knob.typeOf(key), one, knob.secret);
    }
    this.values.set(path, true);
  }

  private value(path: string, type: (typeof KNOBS)[KnobPath]['type'] | ReturnType<TableKnob['typeOf']>,
    value: unknown, secret = false): void {
    const read = type.safeParse(value);
    if (read.success) this.values.set(path, read.data);
    else {
      this.refused.add(path);
      for (const { message } of read.error.issues)
        this.say(path, secret ? 'the value is not a text in printable ASCII (it is not shown)' : message);
    }
  }

  private unknown(path: string, key: string, known: readonly string[]): void {
    const meant = nearest(key, known);
    const elsewhere = meant === null ? PATHS.find((one) => one.endsWith(`.${key}`)) : undefined;
    const hint = meant !== null ? `did you mean ${meant}?` :
      elsewhere !== undefined ? `did you mean ${elsewhere}?` : `known here: ${known.join(', ')}`;
    this.say(path, `unknown key ${quote(key)}; ${hint}`);
  }
}

function configOf(reading: Reading): Config {
  const { values } = reading;
  const get = <P extends KnobPath>(path: P): KnobValue<P> =>
    (values.has(path) ? values.get(path) : KNOBS[path].type.parse(KNOBS[path].default)) as KnobValue<P>;
  const entries = <T>(path: TablePath): Record<string, T> => Object.fromEntries([...values]
    .filter(([at]) => at.startsWith(`${path}.`)).map(([at, value]) => [keyOf(at.slice(path.length + 1)), value as T]));
  const groups = entries<Setting>('receivers.dcgm.metric_field_groups');
  return {
    source: {
      kind: get('source.kind'), library: get('source.library'), capture: get('source.capture'), fleet: get('source.fleet'),
      scenario: get('source.scenario'),
    },
    receivers: { dcgm: {
      mode: get('receivers.dcgm.mode'), endpoint: get('receivers.dcgm.endpoint'),
      collectionIntervalMs: get('receivers.dcgm.collection_interval'), initialDelayMs: get('receivers.dcgm.initial_delay'),
      maxSeriesPerScrape: get('receivers.dcgm.max_series_per_scrape'), fieldsFile: get('receivers.dcgm.fields_file'),
      metricFieldGroups: { ...TABLES['receivers.dcgm.metric_field_groups'].default as Record<string, Setting>, ...groups },
      groupsSet: Object.keys(groups), groupBudgets: entries('receivers.dcgm.group_budgets'),
      metrics: { include: get('receivers.dcgm.metrics.include'), exclude: get('receivers.dcgm.metrics.exclude') },
      identity: { hash: get('receivers.dcgm.identity.hash'), saltFile: get('receivers.dcgm.identity.salt_file') },
    } },
    exporters: {
      otlp: {
        endpoint: get('exporters.otlp.endpoint'), headers: entries('exporters.otlp.headers'),
        compression: get('exporters.otlp.compression'),
        timeoutMs: get('exporters.otlp.timeout'), signals: get('exporters.otlp.signals'),
      },
      prometheus: {
        listen: get('exporters.prometheus.listen'), webConfigFile: get('exporters.prometheus.web_config_file'),
        dcgmNames: get('exporters.prometheus.dcgm_names'), translation: get('exporters.prometheus.translation'),
      },
    },
    attribution: {
      kubernetes: {
        enabled: get('attribution.kubernetes.enabled'), socket: get('attribution.kubernetes.socket'),
        resourcePrefixes: get('attribution.kubernetes.resource_prefixes'),
      },
      hpc: { jobMappingDir: get('attribution.hpc.job_mapping_dir') },
    },
    guest: {
      state: get('guest.state'), heartbeatIntervalMs: get('guest.heartbeat_interval'), heartbeatTimeoutMs: get('guest.heartbeat_timeout'),
      restartBackoffFirstMs: get('guest.restart_backoff_first'), restartBackoffMaxMs: get('guest.restart_backoff_max'),
      exportIntervalMs: get('guest.export_interval'),
    },
  };
}
const keyOf = (part: string): string => (part.startsWith('"') ? (JSON.parse(part) as string) : part);

/** A Config, or every fault of the text. `name` is said where the text is no TOML. */
export function parseConfig(text: string, name = 'vigil.toml'): Loaded {
  let document: Table;
  try {
    document = parse(text) as Table;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.replace(/^Invalid TOML document: /, '').split('\n')[0]!;
    return { errors: [{ path: '', message: `${name}, line ${error.line}, column ${error.column}: no TOML: ${why}` }] };
  }
  const reading = new Reading();
  reading.table('', document);
  dropUncheckedEndpoint(reading, document);
  const config = configOf(reading);
  checkTogether(config, (path) => reading.refused.has(path), (path, message) => reading.say(path, message));
  const { errors } = reading;
  if (errors.length === 0) return { config };
  if (errors.length <= ERRORS_MAX) return { errors };
  return { errors: [...errors.slice(0, ERRORS_MAX), { path: '', message: `${errors.length - ERRORS_MAX} more faults` }] };
}

/** Embedded mode has no endpoint: whatever is written there is kept and not judged (seed 000). */
function dropUncheckedEndpoint(reading: Reading, document: Table): void {
  const path = 'receivers.dcgm.endpoint';
  if (reading.values.get('receivers.dcgm.mode') !== 'embedded' || !reading.refused.has(path)) return;
  const written = ((document['receivers'] as Table)['dcgm'] as Table)['endpoint'];
  if (typeof written !== 'string') return;
  reading.errors.splice(0, reading.errors.length, ...reading.errors.filter((error) => error.path !== path));
  reading.refused.delete(path);
  reading.values.set(path, written);
}

/** The file's text, or why there is none. */
function readText(path: string): string | ConfigError {
  const fault = (message: string): ConfigError => ({ path: '', message: `${path}: ${message}` });
  try {
    const info = statSync(path);
    if (info.isDirectory()) return fault('a folder, not a file');
    if (!info.isFile()) return fault('not a file');
    if (info.size > FILE_BYTES_MAX) return fault(`${info.size} bytes; a configuration has at most ${FILE_BYTES_MAX}`);
    const bytes = readFileSync(path);
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? fault('not a text: it holds a zero byte') : text;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return fault('no such file');
    if (code === 'EACCES') return fault('permission denied');
    if (error instanceof TypeError) return fault('not a text: it is not UTF-8');
    return fault((error as Error).message);
  }
}

/** Reads a configuration; without a path, every default. Never throws for what a person can write. */
export function loadConfig(path: string | undefined): Loaded {
  if (path === undefined) return parseConfig('');
  const text = readText(path);
  return typeof text === 'string' ? parseConfig(text, path) : { errors: [text], unreadable: true };
}

/** One line a fault: its path first. */
export const renderError = ({ path, message }: ConfigError): string => (path === '' ? message : `${path}: ${message}`);
/** Groups whose hardware is looked for. */
export const isAuto = (config: Config): boolean => config.receivers.dcgm.metricFieldGroups[AUTO_GROUP] === 'auto';
