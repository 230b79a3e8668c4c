// SPDX-License-Identifier: Apache-2.0
// A real boot of `vigil up` on a scripted node: every family and label of its /metrics is in the tables that pages, alerts and dashboard are
// held to, and what the alerts rely on from the first scrape on is there. Needs a built image and QEMU; skipped by name without them.
// Limits: series of other services than Vigil's receiver and exporter are left out; a series that begins with its first event may be absent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FLEETS, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { countSeries, totalOf } from '../../scripts/docs/series-count.js';
import { skip, startUnderTest, until } from '../up/machine-under-test.js';
import { knownFamilies } from './families.js';

/** Services whose own counters are not GPU telemetry (docs/operators/metrics.md, Vigil's own series). */
const OTHERS = /^(init|metricsd|statefsd|logd|timed|rngd|portd|policyd|samgrd|execd|keystored|bundlemgrd|dsoftbusd)_/;
/** Asked by alerts, and served from the first scrape on. */
const ALWAYS = ['hw_temperature_celsius', 'hw_errors_total', 'hw_gpu_nvlink_io_bytes_total', 'hw_gpu_throttle_duration_seconds_total', 'hw_status_ratio',
  'vigil_ready', 'vigil_sample_age_seconds', 'vigil_guest_restarts_total', 'vigil_receiver_samples_total'];

interface Line { readonly name: string; readonly labels: readonly string[] }
const lines = (page: string): Line[] => page.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => {
  const [, name, labels = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? /.exec(line)!;
  return { name: name!, labels: [...labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)].map(([, label]) => label!) };
});

async function scraped(source: string, enough: (page: string) => boolean): Promise<string> {
  const up = await startUnderTest({ more: source });
  try {
    return await until('a page with the receiver\'s own series', async () => {
      const { body } = await up.page('metrics');
      return enough(body) ? body : null;
    });
  } finally {
    await up.stop();
  }
}
const replay = (fleet: string): string => `[source]\nkind = "replay"\nfleet = "${fleet}"\nscenario = "steady"`;

test('/metrics of a real boot: every family and label is in the tables', { skip, timeout: 120_000 }, async () => {
  const page = await scraped(replay('h100x8'), (body) => ALWAYS.every((name) => body.includes(`\n${name}{`)));
  const families = knownFamilies();
  const strange = new Set<string>();
  for (const { name, labels } of lines(page).filter((line) => !OTHERS.test(line.name))) {
    const family = families.get(name);
    if (family === undefined) strange.add(name);
    else for (const label of labels) if (!family.labels.has(label)) strange.add(`${name}{${label}}`);
  }
  assert.deepEqual([...strange], []);
});

for (const fleet of Object.keys(FLEETS) as FleetName[]) {
  test(`${fleet}: a real boot serves as many GPU series as cardinality.md says`, { skip, timeout: 120_000 }, async () => {
    const wanted = totalOf(countSeries(fleet));
    let seen: number[] = [];
    const page = await scraped(replay(fleet), (body) => {
      const count = lines(body).filter(({ name }) => name.startsWith('hw_')).length;
      seen = [...seen.slice(-9), count];
      return seen.length === 10 && seen.every((one) => one === count) && count > 0;
    });
    assert.equal(lines(page).filter(({ name }) => name.startsWith('hw_')).length, wanted);
  });
}
