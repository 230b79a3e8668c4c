// SPDX-License-Identifier: Apache-2.0
// docs/operators/metrics.md against the tables and against what comes out: every row, every attribute, every label.
// Invariant: both ways. That the page's tables are up to date, tests/docs/docs.test.ts checks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FLEETS } from '../../runtime/bridge/sources/fleets.js';
import { gpuGroups, gpuMetrics, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { SOURCE_LABEL } from '../../runtime/export/prometheus/families.js';
import { labelName } from '../../runtime/export/prometheus/names.js';
import { selfMetrics } from '../../runtime/export/self-metrics.js';
import { fillBlocks } from '../../scripts/docs/filled-pages.js';
import { attributesOf, prometheusName } from '../../scripts/docs/metric-tables.js';
import { OPTIONAL, configWith } from '../../scripts/docs/series-count.js';
import { firstCells, section } from './headings.js';
import { read } from './pages.js';
import { play, type Track } from './scripted-node.js';

const page = read('docs/operators/metrics.md');
const GUEST_CAP = 4096;

test('groups, metrics, fields and own series have one row each, and no other', () => {
  assert.deepEqual(firstCells(section(page, 'Groups'), 'group').sort(), gpuGroups.map(({ name }) => name).sort());
  assert.deepEqual(firstCells(section(page, 'GPU metrics'), 'metric'), gpuMetrics.map(({ name }) => name));
  assert.deepEqual(firstCells(section(page, 'Fields'), 'field').map((cell) => Number(/^\d+/.exec(cell)![0])), gpuPoints.map(({ field }) => field));
  assert.deepEqual(firstCells(section(page, 'Vigil\'s own series'), 'metric'), selfMetrics.map(({ name }) => name));
});

test('a block without its end, and one that nobody fills, are refused', () => {
  assert.throws(() => fillBlocks('<!-- table: groups -->\n'), /has no/);
  assert.throws(() => fillBlocks('<!-- table: nothing such -->\n<!-- end of table -->\n'), /no table/);
  assert.equal(fillBlocks('kept\n'), 'kept\n');
});

/** Every series of every reference node, all groups on. */
async function everyTrack(): Promise<Track[]> {
  const config = configWith(OPTIONAL);
  const receivers = { dcgm: { ...config.receivers.dcgm, maxSeriesPerScrape: GUEST_CAP } };
  const scripts = [...Object.keys(FLEETS).map((fleet) => [fleet, 'steady']), ['h100x8', 'xid']];
  const all = await Promise.all(scripts.map(([fleet, scenario]) => play({ ...config, receivers, source: { ...config.source, fleet: fleet!, scenario: scenario! } }, 45)));
  return all.flatMap(({ tracks }) => [...tracks]);
}

test('what the reference nodes emit are metrics of the page with the attributes of the page, and resource attributes of its table', async () => {
  const tracks = await everyTrack();
  const resource = section(page, 'Labels').split('\n').filter((line) => /^\| `/.test(line))
    .flatMap((line) => [...line.split('|')[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => (name === 'vigil.source' ? SOURCE_LABEL : labelName(name!))));
  const info = new Set(tracks.filter(({ name }) => name === 'target_info').flatMap(({ labels }) => Object.keys(labels)));
  // Samples of compute instances are not taken; the agent adds the host's name; the rest belongs to Vigil's own series.
  const elsewhere = ['hw_gpu_mig_compute_instance_id', 'vigil_producer', 'host_name', 'service_name', 'service_version', 'service_instance_id'];
  assert.deepEqual([...info].sort(), resource.filter((name) => !elsewhere.includes(name)).sort());
  const common = new Set([...resource, 'otel_scope_name', 'otel_scope_version']);
  const metrics = new Map(gpuMetrics.map((metric) => [prometheusName(metric), metric]));
  const seen = new Map<string, Set<string>>();
  for (const { name, labels } of tracks.filter((track) => track.name !== 'target_info')) {
    assert.ok(metrics.has(name), name);
    const own = seen.get(name) ?? new Set<string>();
    for (const label of Object.keys(labels)) if (!common.has(label)) own.add(label);
    seen.set(name, own);
  }
  for (const [name, own] of seen) assert.deepEqual([...own].sort(), attributesOf(metrics.get(name)!.name).map(labelName).sort(), name);
  const never = [...metrics.keys()].filter((name) => !seen.has(name));
  assert.deepEqual(never, ['hw_gpu_retired_pages_total', 'hw_gpu_retired_pages_pending'], 'only a board older than Ampere has these');
});

test('what a sum would count twice is what the page says', async () => {
  const tracks = await everyTrack();
  const bullets = section(page, 'Labels').split('\n- ').slice(1);
  const named = (label: string): string[] => [...bullets.find((text) => text.includes(label))!.matchAll(/`(hw\.[\w.]+)`/g)].map(([, name]) => name!).sort();
  const names = new Map(gpuMetrics.map((metric) => [prometheusName(metric), metric.name]));
  const families = (has: (labels: Track['labels']) => boolean): Set<string> =>
    new Set(tracks.filter(({ labels }) => labels.hw_type === 'gpu' && has(labels)).flatMap(({ name }) => names.get(name) ?? []));
  const inBoth = (a: Set<string>, b: Set<string>): string[] => [...a].filter((name) => b.has(name)).sort();
  const mig = 'hw_gpu_mig_instance_id';
  assert.deepEqual(named(mig), inBoth(families((labels) => mig in labels), families((labels) => !(mig in labels))));
  const link = 'hw_gpu_nvlink_link';
  assert.deepEqual(named(link), inBoth(families((labels) => labels[link] === 'all'), families((labels) => link in labels && labels[link] !== 'all')));
});
