// SPDX-License-Identifier: Apache-2.0
// Owns: from a Config to what the bridge is started with. Invariant: `auto` gets an endpoint or a mode only where the file names another
// than the default, so that a machine without a GPU and without such a line goes to its replay at once, and no other does.
import type { SourceOptions } from '../bridge/choose.js';
import { DEFAULT_ENDPOINT } from '../bridge/endpoint.js';
import type { Config } from './schema.js';

const given = <K extends string>(key: K, value: string): Partial<Record<K, string>> =>
  (value === '' ? {} : ({ [key]: value } as Record<K, string>));

/** Options of makeAnswerer and startBridge (runtime/bridge). */
export function sourceOptions(config: Config): SourceOptions {
  const { source, receivers: { dcgm } } = config;
  const real = source.kind === 'dcgm' || source.kind === 'auto';
  const named = real && dcgm.mode === 'standalone' && (source.kind === 'dcgm' || dcgm.endpoint !== DEFAULT_ENDPOINT);
  return {
    source: source.kind,
    ...given('library', source.library), ...given('fixture', source.capture),
    ...given('fleet', source.fleet), ...given('scenario', source.scenario),
    ...(named ? { endpoint: dcgm.endpoint } : {}),
    ...(real && (source.kind === 'dcgm' || dcgm.mode === 'embedded') ? { mode: dcgm.mode } : {}),
  };
}
