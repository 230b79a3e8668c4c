// SPDX-License-Identifier: Apache-2.0
// Owns: the receiver's part of a configuration as the guest reads it (request `config` of docs/format/bridge.md): key=value lines.
// Invariant: one Config gives one text, every line complete, in one order; printable ASCII; at most RECEIVER_BYTES_MAX. The guest judges
// every line again by the rules that tests/vectors/receiver-config.json holds for both. Limits: no secret and no path is among the lines.
import { limit } from '../bridge/protocol.js';
import { gpuPoints } from '../export/gpu-metrics.js';
import type { Config } from './schema.js';

/** The guest takes no longer text. */
export const RECEIVER_BYTES_MAX = limit('config_bytes_max');

/** Every field that a point of abi/gpu-metrics.toml is made of, ascending. */
export const POINT_FIELDS: readonly number[] = [...new Set(gpuPoints.flatMap(({ field, last }) =>
  Array.from({ length: (last ?? field) - field + 1 }, (_, i) => field + i)))].sort((a, b) => a - b);

/**
 * The lines. `listed`: ids of the fields that a fields_file names; the others of POINT_FIELDS are switched off, and a group that is off by
 * default is switched on where one of its fields is named and the file does not set it.
 * @throws RangeError when the text is longer than the guest takes: ask receiverFault first.
 */
export function receiverLines(config: Config, listed?: readonly number[]): string {
  const { dcgm } = config.receivers;
  const asked = new Set(gpuPoints.filter(({ field, last }) => listed?.some((id) => id >= field && id <= (last ?? field)))
    .map(({ group }) => group));
  const setting = (name: string): string => {
    const own = dcgm.metricFieldGroups[name]!;
    return own === 'disabled' && asked.has(name) && !dcgm.groupsSet.includes(name) ? 'enabled' : own;
  };
  const off = listed === undefined ? [] : POINT_FIELDS.filter((id) => !listed.includes(id));
  const lines = [
    `mode=${dcgm.mode}`,
    ...(dcgm.mode === 'standalone' ? [`endpoint=${dcgm.endpoint}`] : []),
    `collection_interval_ms=${dcgm.collectionIntervalMs}`,
    `initial_delay_ms=${dcgm.initialDelayMs}`,
    `max_series_per_scrape=${dcgm.maxSeriesPerScrape}`,
    ...Object.keys(dcgm.metricFieldGroups).map((name) => `group.${name}=${setting(name)}`),
    ...Object.entries(dcgm.groupBudgets).map(([name, most]) => `budget.${name}=${most}`),
    ...dcgm.metrics.include.map((name) => `include=${name}`),
    ...dcgm.metrics.exclude.map((name) => `exclude=${name}`),
    ...off.map((id) => `field.${id}=disabled`),
  ];
  const text = lines.map((line) => `${line}\n`).join('');
  if (text.length > RECEIVER_BYTES_MAX)
    throw new RangeError(`all that is set comes to ${text.length} bytes; the guest takes ${RECEIVER_BYTES_MAX}`);
  return text;
}

/** What is wrong with the text as a whole, or null. */
export function receiverFault(config: Config, listed?: readonly number[]): string | null {
  try {
    receiverLines(config, listed);
    return null;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return error.message;
  }
}
