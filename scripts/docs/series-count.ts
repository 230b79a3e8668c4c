// SPDX-License-Identifier: Apache-2.0
// How many series a scripted node gives by group: the figures of docs/operators/cardinality.md, by the arithmetic of
// `vigil validate --show-emissions`.
// Invariant: no arithmetic of its own. Limits: XID and SXid series begin with the first event, so a healthy node has none of them.
import type { FleetName } from '../../runtime/bridge/sources/fleets.js';
import { healthySeries } from '../../runtime/config/emissions.js';
import { SETTABLE } from '../../runtime/config/knobs.js';
import { parseConfig } from '../../runtime/config/load.js';
import type { Config } from '../../runtime/config/schema.js';

/** Groups that are off by default and can be switched on. */
export const OPTIONAL: readonly string[] = SETTABLE.filter((group) => group.default === 'disabled').map(({ name }) => name);

/** The defaults with some more groups switched on. @throws Error when the configuration does not take them. */
export function configWith(on: readonly string[]): Config {
  const lines = on.map((name) => `${name} = "enabled"\n`);
  const loaded = parseConfig(`[receivers.dcgm.metric_field_groups]\n${lines.join('')}`);
  if (!('config' in loaded)) throw new Error(JSON.stringify(loaded.errors));
  return loaded.config;
}

export const countSeries = (fleet: FleetName, on: readonly string[] = []): ReadonlyMap<string, number> =>
  healthySeries(configWith(on), fleet);
export const totalOf = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((sum, count) => sum + count, 0);
