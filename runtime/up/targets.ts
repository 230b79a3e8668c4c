// SPDX-License-Identifier: Apache-2.0
// Owns: where OTLP goes: the file's [exporters.otlp] under the standard OTEL_EXPORTER_OTLP_* variables, which win key by key.
// Invariant: a signal that the file does not list is exported only where the environment names an endpoint for it; faults name their
// variable, as env.ts says them. Limits: none of its own.
import type { OtlpConfig } from '../config/schema.js';
import { targetsFrom, type Target, type Targets } from '../export/otlp/env.js';
import type { Signal } from '../export/otlp/schema.js';

type Environment = Readonly<Record<string, string | undefined>>;
const PREFIX = 'OTEL_EXPORTER_OTLP_';

/** @throws EnvError naming the variable at fault */
export function targetsOf({ endpoint, headers, compression, timeoutMs, signals }: OtlpConfig, env: Environment = process.env): Targets {
  const listed = Object.entries(headers).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join(',');
  const file: Environment = {
    [`${PREFIX}ENDPOINT`]: endpoint, [`${PREFIX}HEADERS`]: listed, [`${PREFIX}COMPRESSION`]: compression,
    [`${PREFIX}TIMEOUT`]: String(timeoutMs),
  };
  const named = ([key, value]: [string, string | undefined]): boolean => key.startsWith(PREFIX) && value !== undefined && value !== '';
  const set = Object.fromEntries(Object.entries(env).filter(named));
  const all = targetsFrom({ ...file, ...set });
  const wanted = (signal: Signal): boolean => signals.includes(signal) || set[`${PREFIX}${signal.toUpperCase()}_ENDPOINT`] !== undefined;
  const only = (signal: Signal): Target | null => (wanted(signal) ? all[signal] : null);
  return { metrics: only('metrics'), traces: only('traces'), logs: only('logs') };
}
