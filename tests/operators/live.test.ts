// SPDX-License-Identifier: Apache-2.0
// A real boot of `vigil up` on a scripted node: every family and label of its /metrics is in the tables that pages, alerts and dashboard are
// held to, and what the alerts rely on from the first scrape on is there; what a configuration sets shows in it.
// Needs a built image and QEMU; skipped by name without them.
// Limits: series of other services than Vigil's receiver and exporter are left out; a series that begins with its first event may be absent.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { catalogField } from '../../runtime/bridge/catalog.js';
import { FLEETS, fleetEntities, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { gpuMetrics, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { prometheusName } from '../../scripts/docs/metric-tables.js';
import { countSeries, totalOf } from '../../scripts/docs/series-count.js';
import { makeDir, skip, startUnderTest, until, valueOf } from '../up/machine-under-test.js';
import { knownFamilies } from './families.js';

/** Services whose own counters are not GPU telemetry (docs/operators/metrics.md, Vigil's own series). */
const OTHERS = /^(init|metricsd|statefsd|logd|timed|rngd|portd|policyd|samgrd|execd|keystored|bundlemgrd|dsoftbusd)_/;
/** Asked by alerts, and served from the first scrape on. */
const ALWAYS = ['hw_temperature_celsius', 'hw_errors_total', 'hw_gpu_nvlink_io_bytes_total', 'hw_gpu_throttle_duration_seconds_total', 'hw_status_ratio',
  'vigil_ready', 'vigil_sample_age_seconds', 'vigil_guest_restarts_total', 'vigil_receiver_samples_total', 'vigil_receiver_degraded', 'vigil_receiver_errors_total'];

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

test('a configuration, carried to /metrics: a budget, a counters file, hashed identities, dcgm-exporter\'s names', { skip, timeout: 120_000 }, async () => {
  const dir = makeDir();
  const [fields, salt] = [join(dir, 'counters.csv'), join(dir, 'salt')];
  const listed = ['DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_SM_CLOCK'];
  writeFileSync(fields, listed.map((name) => `${name}, gauge, as it is\n`).join(''));
  writeFileSync(salt, 'pepper\n');
  const up = await startUnderTest({
    dir, more: replay('h100x8'), prometheus: 'dcgm_names = true',
    dcgm: `fields_file = "${fields}"\n[receivers.dcgm.group_budgets]\nthermal = 5\n[receivers.dcgm.identity]\nhash = true\nsalt_file = "${salt}"`,
  });
  try {
    const dropped = 'vigil_receiver_series_dropped_total';
    const page = await until('a page with what the budget left out', async () => {
      const { body } = await up.page('metrics');
      return (valueOf(body, dropped, 'group="thermal"') ?? 0) > 0 && body.includes('\nDCGM_FI_DEV_POWER_USAGE{') ? body : null;
    });
    const count = (name: string): number => lines(page).filter((line) => line.name === name).length;
    assert.deepEqual(['hw_temperature_celsius', 'DCGM_FI_DEV_GPU_TEMP', 'hw_power_watts', 'DCGM_FI_DEV_POWER_USAGE'].map(count), [5, 5, 8, 8]);
    assert.equal(valueOf(page, dropped, 'group="power"') ?? 0, 0, 'no other group was cut');
    const points = listed.map((prom) => gpuPoints.find(({ field }) => catalogField(field)?.prom === prom)!);
    const wanted = points.map(({ metric }) => prometheusName(gpuMetrics.find(({ name }) => name === metric)!));
    const families = (prefix: string): string[] => [...new Set(lines(page).map(({ name }) => name).filter((name) => name.startsWith(prefix)))].sort();
    assert.deepEqual(families('hw_'), wanted.sort());
    assert.deepEqual(families('DCGM_'), listed.sort());
    const ids = [...page.matchAll(/(?:hw_id|UUID)="([^"]*)"/g)].map(([, id]) => id!);
    assert.equal(new Set(ids).size, 8);
    assert.deepEqual(ids.filter((id) => !/^hashed-[0-9a-f]{24}$/.test(id)), []);
    for (const { uuid, bdf } of fleetEntities(FLEETS.h100x8).filter(({ group }) => group === 1)) {
      assert.ok(uuid !== '' && bdf !== '' && !page.includes(uuid) && !page.includes(bdf), `${uuid} ${bdf}`);
    }
  } finally {
    await up.stop();
  }
});
