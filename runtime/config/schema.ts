// SPDX-License-Identifier: Apache-2.0
// Owns: what a configuration is to the program: the type that load.ts makes of a vigil.toml. Every key, its default, its range and its
// error texts are rows of knobs.ts; docs/operators/configuration.md explains them.
// Invariant: plain, read-only data, complete (defaults filled in), durations in ms, paths as they were written (relative ones are meant
// from the working directory). `headers` and `saltFile` are secrets or lead to one: nothing prints their contents.
import type { SourceName } from '../bridge/choose.js';
import type { Translation } from '../export/prometheus/names.js';
import type { Signal } from '../export/otlp/schema.js';
import type { Setting } from './knobs.js';

export type { Setting } from './knobs.js';

export interface SourceConfig {
  readonly kind: SourceName | 'auto';
  /** dcgm, nvml: the library instead of its soname; '' where none was named. */
  readonly library: string;
  /** replay: a capture file, or a scripted node and what happens on it; each '' where none was named. */
  readonly capture: string; readonly fleet: string; readonly scenario: string;
}

export interface DcgmConfig {
  readonly mode: 'standalone' | 'embedded';
  /** host:port, [ipv6]:port or unix:///path; read in standalone mode alone (embedded: as written, unchecked) */
  readonly endpoint: string;
  readonly collectionIntervalMs: number; readonly initialDelayMs: number; readonly maxSeriesPerScrape: number;
  /** a dcgm-exporter counters CSV that names the fields; '' for none */
  readonly fieldsFile: string;
  /** every group that can be set, by its name in abi/gpu-metrics.toml */
  readonly metricFieldGroups: Readonly<Record<string, Setting>>;
  /** the groups that the file itself sets: these win over what a fields_file implies */
  readonly groupsSet: readonly string[];
  /** most series of a group in one scrape, for the groups that have a budget */
  readonly groupBudgets: Readonly<Record<string, number>>;
  /** metric names; `include` empty: all */
  readonly metrics: { readonly include: readonly string[]; readonly exclude: readonly string[] };
  readonly identity: { readonly hash: boolean; readonly saltFile: string };
}

export interface OtlpConfig {
  /** '' where none is set; the environment (OTEL_EXPORTER_OTLP_*) wins over the file */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly compression: 'gzip' | 'none'; readonly timeoutMs: number; readonly signals: readonly Signal[];
}

export interface PrometheusConfig {
  /** host:port; port 0: any free one */
  readonly listen: string;
  readonly webConfigFile: string; readonly dcgmNames: boolean; readonly translation: Translation;
}

export interface Config {
  readonly source: SourceConfig;
  readonly receivers: { readonly dcgm: DcgmConfig };
  readonly exporters: { readonly otlp: OtlpConfig; readonly prometheus: PrometheusConfig };
  readonly attribution: {
    readonly kubernetes: { readonly enabled: boolean; readonly socket: string; readonly resourcePrefixes: readonly string[] };
    readonly hpc: { readonly jobMappingDir: string };
  };
  readonly guest: {
    readonly state: string;
    readonly heartbeatIntervalMs: number; readonly heartbeatTimeoutMs: number;
    readonly restartBackoffFirstMs: number; readonly restartBackoffMaxMs: number; readonly exportIntervalMs: number;
  };
}

/** One fault of a configuration. `path`: the TOML path ('receivers.dcgm.endpoint'), or '' when the file as a whole is at fault. */
export interface ConfigError { readonly path: string; readonly message: string }
