// SPDX-License-Identifier: Apache-2.0
// docs/operators/cardinality.md against the receiver: for each reference node and each set of groups the page's figure is what lib/gpu emits.
// Invariant: nothing is counted twice in one way: the page counts the tables, this counts points that came out of the guest's code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FLEETS, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { gpuGroups } from '../../runtime/export/gpu-metrics.js';
import { OPTIONAL, configWith, countSeries, totalOf } from '../../scripts/docs/series-count.js';
import { DEFAULT_CAP, seriesByFleet } from '../../scripts/docs/cardinality-tables.js';
import type { Config } from '../../runtime/config/schema.js';
import { section } from './headings.js';
import { read } from './pages.js';
import { play, type Played } from './scripted-node.js';

const GUEST_CAP = 4096;
/** Two intervals: rates have a value from their second sample on. */
const SECONDS = 30;

const withFleet = (config: Config, fleet: string, cap: number): Config => ({
  ...config, source: { ...config.source, fleet, scenario: 'steady' },
  receivers: { dcgm: { ...config.receivers.dcgm, maxSeriesPerScrape: cap } },
});
/** Points of the last scrape, without target_info. */
const emitted = ({ tracks, scrapes }: Played): number => tracks.filter(({ name, values }) => name !== 'target_info' && values[scrapes - 1] !== null).length;

for (const fleet of Object.keys(FLEETS) as FleetName[]) {
  for (const [what, on] of [['default', []], ['with pipes', ['pipes']], ['everything', OPTIONAL]] as const) {
    test(`${fleet}, ${what}: the receiver emits as many series as the page says`, async () => {
      const played = await play(withFleet(configWith(on), fleet, GUEST_CAP), SECONDS);
      assert.equal(emitted(played), totalOf(countSeries(fleet, on)));
      assert.equal(played.tallies.at(-1)!.series, emitted(played));
    });
  }
}

test('the page has these figures, and its verdicts follow from the cap', () => {
  const page = section(read('docs/operators/cardinality.md'), 'Reference nodes');
  for (const line of seriesByFleet()) assert.ok(page.includes(line), line);
  assert.match(page, /\| `h100x8` .* 536 \(52%\) /, 'the default fits a DGX H100, as seed 000 wants');
});

test('at the cap: never more than it, whole tiers first, NVLink whole', async () => {
  const fleet = 'h100x8';
  const all = countSeries(fleet, OPTIONAL);
  const played = await play(withFleet(configWith(OPTIONAL), fleet, DEFAULT_CAP), SECONDS);
  assert.equal(emitted(played), DEFAULT_CAP);
  assert.equal(played.tallies.at(-1)!.dropped, totalOf(all) - DEFAULT_CAP);
  const links = played.tracks.filter(({ name, labels, values }) => name === 'hw_gpu_nvlink_io_bytes_total' && labels['hw_type'] === 'gpu' && values.at(-1) !== null);
  assert.equal(links.length, all.get('nvlink'));
  const tierOf = (group: string): number => gpuGroups.find(({ name }) => name === group)!.tier;
  assert.ok(Math.max(...gpuGroups.map(({ tier }) => tier)) === tierOf('nvlink'));
});

test('one series more than the cap drops one; exactly the cap drops none', async () => {
  const wanted = totalOf(countSeries('consumer'));
  const at = async (cap: number): Promise<number> => (await play(withFleet(configWith([]), 'consumer', cap), SECONDS)).tallies.at(-1)!.dropped;
  assert.deepEqual([await at(wanted), await at(wanted - 1)], [0, 1]);
});
