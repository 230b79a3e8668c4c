// SPDX-License-Identifier: Apache-2.0
// The arithmetic of `vigil validate --show-emissions` against the guest's own library (assembly/lib/gpu under Node): for each scripted node
// and several configurations, the series that it says are the series that come out, and what it says is left out is left out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emissionsOf, watchedFields } from '../../runtime/config/emissions.js';
import { SETTABLE } from '../../runtime/config/knobs.js';
import { isAuto, parseConfig, renderError } from '../../runtime/config/load.js';
import { receiverLines } from '../../runtime/config/receiver.js';
import type { Config } from '../../runtime/config/schema.js';
import { GROUP, catalogField } from '../../runtime/bridge/catalog.js';
import type { Sample } from '../../runtime/bridge/source.js';
import { limit } from '../../runtime/bridge/protocol.js';
import { FLEETS, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { gpuGroups, gpuMetrics } from '../../runtime/export/gpu-metrics.js';
import { NOW_US, newGuest, type Guest } from '../gpu/guest.js';

function configOf(text: string): Config {
  const loaded = parseConfig(text);
  if ('errors' in loaded) throw new Error(loaded.errors.map(renderError).join('\n'));
  return loaded.config;
}
const ALL_ON = `[receivers.dcgm.metric_field_groups]\n${SETTABLE.map(({ name }) => `${name} = "enabled"`).join('\n')}\n`;

const CASES: readonly { name: string; text: string; listed?: readonly number[] }[] = [
  { name: 'the defaults', text: '' },
  { name: 'everything', text: ALL_ON },
  { name: 'everything in 300 series', text: `[receivers.dcgm]\nmax_series_per_scrape = 300\n${ALL_ON}` },
  { name: 'one series', text: '[receivers.dcgm]\nmax_series_per_scrape = 1\n' },
  { name: 'budgets', text: '[receivers.dcgm.group_budgets]\nnvlink = 100\nmemory = 0\npower = 3\n' },
  { name: 'budgets and a cap', text: '[receivers.dcgm]\nmax_series_per_scrape = 200\n[receivers.dcgm.group_budgets]\nnvlink = 100\n' },
  { name: 'some metrics', text: '[receivers.dcgm.metrics]\ninclude = ["hw.power", "hw.gpu.nvlink.io", "hw.errors"]\nexclude = []\n' },
  { name: 'all but some metrics', text: '[receivers.dcgm.metrics]\nexclude = ["hw.gpu.nvlink.io", "hw.status"]\n' },
  { name: 'no profiling', text: '[receivers.dcgm.metric_field_groups]\nprofiling = "disabled"\n' },
  { name: 'no switch', text: '[receivers.dcgm.metric_field_groups]\nnvswitch = "disabled"\n' },
  { name: 'a fields_file', text: '', listed: [150, 155, 1004, 1040, 1041] },
];

const STATES: Readonly<Record<string, number>> = { disabled: 0, enabled: 1, auto: 2 };

/** The guest after it took the lines that the host sends, as dcgmd takes them. */
function guestOf(config: Config, listed?: readonly number[]): Guest {
  const guest = newGuest();
  const lines = receiverLines(config, listed).trim().split('\n').map((line) => line.split('=') as [string, string]);
  const named = (prefix: string): [string, string][] => lines.filter(([key]) => key.startsWith(prefix)).map(([key, value]) => [key.slice(prefix.length), value]);
  const values = (name: string): string[] => lines.filter(([key]) => key === name).map(([, value]) => value);
  for (const [name, state] of named('group.')) assert.ok(guest.group(name, STATES[state]!), name);
  for (const [name, most] of named('budget.')) assert.ok(guest.budget(name, Number(most)), name);
  const include = values('include');
  if (include.length > 0) for (const { name } of gpuMetrics) assert.ok(guest.metric(name, include.includes(name)), name);
  for (const name of values('exclude')) assert.ok(guest.metric(name, false), name);
  for (const [id, state] of named('field.')) assert.ok(guest.field(Number(id), state === 'enabled'), id);
  assert.ok(guest.seriesMax(Number(values('max_series_per_scrape')[0])));
  return guest;
}

/** Two readings of a scripted node, 15 s apart: a rate has no series before its second sample. */
function readings(fleet: FleetName, fieldIds: readonly number[]): { entities: ReturnType<ScriptedSource['enumerate']>; samples: Sample[][]; wallUs: bigint[] } {
  let nowMs = 1_000;
  const source = new ScriptedSource(fleet, 'steady', () => nowMs);
  source.connect();
  const entities = source.enumerate();
  const watches: number[] = [];
  for (let at = 0; at < fieldIds.length; at += limit('fields_max')) {
    watches.push(source.watch({ updateUs: 15_000_000n, keepS: 60, fieldIds: fieldIds.slice(at, at + limit('fields_max')), entities: [] }));
  }
  const wallUs = [NOW_US, NOW_US + 15_000_000n];
  const samples = wallUs.map((us, i) => {
    nowMs = 1_000 + i * 15_000;
    return watches.flatMap((watch) => [...source.latestValues(watch, us * 1000n)]);
  });
  return { entities, samples, wallUs };
}

for (const { name, text, listed } of CASES) {
  test(`emissions and the guest agree: ${name}`, () => {
    const config = configOf(text);
    const { fleets } = emissionsOf(config, listed);
    for (const row of fleets) {
      const guest = guestOf(config, listed);
      const wanted = watchedFields(config, listed);
      const { entities, samples, wallUs } = readings(row.fleet as FleetName, wanted);
      guest.enumerate(entities);
      // with auto the guest asks for a switch's fields once it has seen a switch
      const unseen = isAuto(config) && row.entities.nvswitch === 0;
      assert.deepEqual(guest.watchList(), wanted.filter((id) => !unseen || catalogField(id)!.level !== 'switch'), `${row.fleet}: the watch list`);
      const gone = (): number[] => gpuGroups.map(({ name: group }) => guest.dropped(group));
      let before: number[] = [];
      for (const [i, one] of samples.entries()) {
        before = gone();
        guest.scrape(one.filter(({ group }) => group !== GROUP.computeInstance), wallUs[i]!); // listed by the source, never asked
      }
      const left = Object.values(row.dropped).reduce((sum, count) => sum + count, 0);
      assert.equal(guest.series().length, row.healthy - left, `${row.fleet}: series`);
      // groups of one tier share what the tier loses, entity by entity: so tiers are compared
      const byTier = (counts: readonly number[]): Record<number, number> => {
        const sums: Record<number, number> = {};
        gpuGroups.forEach(({ tier }, g) => { if (counts[g]! > 0) sums[tier] = (sums[tier] ?? 0) + counts[g]!; });
        return sums;
      };
      assert.deepEqual(byTier(gone().map((count, g) => count - before[g]!)), byTier(gpuGroups.map(({ name: group }) => row.dropped[group] ?? 0)), `${row.fleet}: left out`);
    }
  });
}

test('the figures that facts and the cardinality page give, as numbers', () => {
  const healthy = Object.fromEntries(emissionsOf(configOf('')).fleets.map((row) => [row.fleet, row.healthy]));
  assert.deepEqual(healthy, { 'h100x8': 536, 'nvl72-tray': 256, 'a100-mig': 632, consumer: 18 });
  assert.deepEqual(Object.keys(healthy), Object.keys(FLEETS));
});
