// SPDX-License-Identifier: Apache-2.0
// Owns: every key of vigil.toml: its type, default, range in words and purpose. One table for load.ts, `validate --show-defaults`,
// vigil.full.example.toml and docs/operators/configuration.md.
// Invariant: each default passes its own type. Limits: those of the rows; groups and metrics come from abi/gpu-metrics.toml.
import { SOURCES } from '../bridge/choose.js';
import { DEFAULT_ENDPOINT } from '../bridge/endpoint.js';
import { FLEETS } from '../bridge/sources/fleets.js';
import { SCENARIOS } from '../bridge/sources/scenarios.js';
import { gpuGroups, gpuMetrics } from '../export/gpu-metrics.js';
import { SIGNALS, type Signal } from '../export/otlp/schema.js';
import { TRANSLATIONS } from '../export/prometheus/names.js';
import type { z } from 'zod';
import { duration, endpoint, flag, httpUrl, list, listenAddress, needed, oneOf, path, text, whole } from './rules.js';

export type Setting = 'enabled' | 'disabled' | 'auto';

const MINUTE_MS = 60_000;
/** The guest's table of series (abi/limits.toml keeps the same number; a test compares). */
export const SERIES_MAX = 4096;
/** initial_delay ends where a clock of ms can count no further: a cold node may need long. */
export const INITIAL_DELAY_MS_MAX = Number.MAX_SAFE_INTEGER;
const NAMES_MAX = 64;

/** One key. `secret`: its value is never shown. */
export interface Knob<T = unknown> {
  readonly type: z.ZodType<T>; readonly default: unknown; readonly range: string; readonly brief: string; readonly secret?: true;
}
const knob = <T>(type: z.ZodType<T>, fallback: unknown, range: string, brief: string, secret?: true): Knob<T> =>
  ({ type, default: fallback, range, brief, ...(secret ? { secret } : {}) });

const names = <T extends string>(record: Readonly<Record<T, unknown>>): [T, ...T[]] => Object.keys(record) as [T, ...T[]];
const words = (of: readonly string[]): string => of.map((name) => (name === '' ? '""' : name)).join(', ');

const metricName = oneOf(gpuMetrics.map(({ name }) => name) as [string, ...string[]]);
const signals = names<Signal>(SIGNALS);
const kinds = ['auto', ...SOURCES] as const;
const fleets = ['', ...names(FLEETS)] as const;
const scenarios = ['', ...names(SCENARIOS)] as const;

/** Every key that is a value by itself. */
export const KNOBS = {
  'source.kind': knob(oneOf(kinds), 'auto', words(kinds),
    'where samples come from; auto: DCGM or NVML, whichever shows a GPU; a replay only where nothing points to one'),
  'source.library': knob(path(), '', 'a path', 'libdcgm or libnvidia-ml, instead of the name that the system knows'),
  'source.capture': knob(path(), '', 'a path', 'replay: a file that vigil record made'),
  'source.fleet': knob(oneOf(fleets), '', words(fleets), 'replay: a scripted node'),
  'source.scenario': knob(oneOf(scenarios), '', words(scenarios), 'replay: what happens on the scripted node'),
  'receivers.dcgm.mode': knob(oneOf(['standalone', 'embedded']), 'standalone', 'standalone, embedded',
    'an nv-hostengine of its own, or the engine inside the bridge'),
  'receivers.dcgm.endpoint': knob(endpoint(), DEFAULT_ENDPOINT, 'host:port, [ipv6]:port, unix:///path',
    'where nv-hostengine listens; not read when embedded'),
  'receivers.dcgm.collection_interval': knob(duration(1000, 10 * MINUTE_MS), '15s', '1s to 10m', 'time between two scrapes'),
  'receivers.dcgm.initial_delay': knob(duration(0, INITIAL_DELAY_MS_MAX), '1s', '0s and more', 'time before the first scrape'),
  'receivers.dcgm.max_series_per_scrape': knob(whole(1, SERIES_MAX), 1024, `1 to ${SERIES_MAX}`,
    'more series than these are dropped in the order of the tiers'),
  'receivers.dcgm.fields_file': knob(path(), '', 'a path', 'a dcgm-exporter counters CSV: its fields and no others'),
  'receivers.dcgm.metrics.include': knob(list(metricName, NAMES_MAX), [], 'metric names', 'these metrics alone; empty: all'),
  'receivers.dcgm.metrics.exclude': knob(list(metricName, NAMES_MAX), [], 'metric names', 'all but these'),
  'receivers.dcgm.identity.hash': knob(flag(), false, 'true, false',
    'replace UUIDs and PCI addresses by an HMAC before they leave the host'),
  'receivers.dcgm.identity.salt_file': knob(path(), '', 'a path', 'the secret of that HMAC'),
  'exporters.otlp.endpoint': knob(httpUrl(), '', 'http:// or https://', 'an OpenTelemetry collector (OTLP over HTTP); empty: none'),
  'exporters.otlp.compression': knob(oneOf(['gzip', 'none']), 'gzip', 'gzip, none', 'of what is posted'),
  'exporters.otlp.timeout': knob(duration(1, MINUTE_MS), '10s', '1ms to 1m', 'of one post'),
  'exporters.otlp.signals': knob(list(oneOf(signals), signals.length, 1), signals, words(signals), 'what is posted'),
  'exporters.prometheus.listen': knob(listenAddress(), '127.0.0.1:9400', 'host:port', 'where /metrics is served; port 0: any free one'),
  'exporters.prometheus.web_config_file': knob(path(), '', 'a path',
    'TLS and basic authentication (the web configuration of Prometheus exporters)'),
  'exporters.prometheus.dcgm_names': knob(flag(), false, 'true, false', 'serve the DCGM_FI_ names of dcgm-exporter as well'),
  'exporters.prometheus.translation': knob(oneOf(TRANSLATIONS), TRANSLATIONS[0], words(TRANSLATIONS),
    'how OpenTelemetry names become Prometheus names'),
  'attribution.kubernetes.enabled': knob(flag(), false, 'true, false', 'add pod, namespace and container, asked of the kubelet'),
  'attribution.kubernetes.socket': knob(needed('/var/lib/kubelet/pod-resources/kubelet.sock'),
    '/var/lib/kubelet/pod-resources/kubelet.sock', 'a path',
    "the kubelet's PodResources socket"),
  'attribution.kubernetes.resource_prefixes': knob(list(text((value) => (value === '' ? '"" would match every resource' : null)), 16, 1),
    ['nvidia.com/'], 'texts',
    'resources that are GPUs'),
  'attribution.hpc.job_mapping_dir': knob(path(), '', 'a path', 'a folder with one file a GPU that lists its jobs; empty: none'),
  'guest.state': knob(needed('.vigil/state.img'), '.vigil/state.img', 'a path', "the guest's disk; made where it is missing"),
  'guest.heartbeat_interval': knob(duration(100, MINUTE_MS), '5s', '100ms to 1m', 'time between two questions whether the guest lives'),
  'guest.heartbeat_timeout': knob(duration(1000, 10 * MINUTE_MS), '15s', '1s to 10m', 'silence after which it is started anew'),
  'guest.restart_backoff_first': knob(duration(100, 10 * MINUTE_MS), '1s', '100ms to 10m', 'wait before the first new start; it doubles'),
  'guest.restart_backoff_max': knob(duration(100, 60 * MINUTE_MS), '60s', '100ms to 1h', 'longest wait before a new start'),
  'guest.export_interval': knob(duration(1000, 10 * MINUTE_MS), '15s', '1s to 10m', "time between two exports of the guest's own series"),
} as const;
export type KnobPath = keyof typeof KNOBS;
export type KnobValue<P extends KnobPath> = z.output<(typeof KNOBS)[P]['type']>;

/** The groups that an operator may set (seed 000's eight, and ours that are off unless asked for). */
export const SETTABLE = gpuGroups.filter(({ toggle }) => toggle === 'seed' || toggle === 'own');
/** Only this group's hardware may be looked for. */
export const AUTO_GROUP = 'nvswitch';

const AUTO_HINT = `only ${AUTO_GROUP} takes auto`;
export const onOff = oneOf(['enabled', 'disabled'], { auto: AUTO_HINT });
const settingOf = (name: string): z.ZodType<Setting> => (name === AUTO_GROUP ? oneOf(['enabled', 'disabled', 'auto']) : onOff);
const headerName = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

/** A table with keys of its own: which keys it may have (null: checked by `badKey`), and what each holds. */
export interface TableKnob {
  readonly keys: readonly string[] | null;
  readonly badKey?: (key: string) => string | null;
  typeOf(key: string): z.ZodType;
  readonly default: Readonly<Record<string, unknown>>; readonly max: number;
  readonly range: string; readonly brief: string; readonly secret?: true;
}

export const TABLES = {
  'receivers.dcgm.metric_field_groups': {
    keys: SETTABLE.map(({ name }) => name), typeOf: settingOf, max: NAMES_MAX,
    default: Object.fromEntries(SETTABLE.map((group) => [group.name, group.default])),
    range: `enabled, disabled; ${AUTO_GROUP} also auto`, brief: 'groups of metrics, on or off',
  },
  'receivers.dcgm.group_budgets': {
    keys: gpuGroups.map(({ name }) => name), typeOf: () => whole(0, SERIES_MAX), default: {}, max: NAMES_MAX,
    range: `0 to ${SERIES_MAX}`, brief: 'most series of a group in one scrape',
  },
  'exporters.otlp.headers': {
    keys: null, max: 32, default: {}, secret: true, range: 'texts', brief: 'sent with every post; a token belongs here',
    badKey: (key) => (headerName.test(key) ? null : 'is no name of an HTTP header'),
    typeOf: () => text((value) => (/^[\x20-\x7e\t]*$/.test(value) ? null : 'the value of a header is printable ASCII')),
  },
} as const satisfies Record<string, TableKnob>;
export type TablePath = keyof typeof TABLES;
