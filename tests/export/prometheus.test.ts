// SPDX-License-Identifier: Apache-2.0
// Names by the specification's rules, families, both page formats, dcgm-exporter's names against a page of the real dcgm-exporter, and
// the table of GPU metrics. promtool, where it is installed, judges the page too.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { catalog, catalogField } from '../../runtime/bridge/catalog.js';
import { gpuGroups, gpuMetrics, gpuPoints, parseGpuMetrics } from '../../runtime/export/gpu-metrics.js';
import { decodeMetrics, type Resource } from '../../runtime/export/otlp/model.js';
import { LABELS, dcgmFamilies } from '../../runtime/export/prometheus/dcgm-names.js';
import { buildFamilies, type Family } from '../../runtime/export/prometheus/families.js';
import { labelName, metricName, unitSuffix } from '../../runtime/export/prometheus/names.js';
import { formatOf, renderPage } from '../../runtime/export/prometheus/render.js';
import { Store } from '../../runtime/export/prometheus/store.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { GPU0, NOW_NS, gpuRequest, type TestMetric } from './requests.js';

const OPTIONS = { translation: 'UnderscoreEscapingWithSuffixes', promote: [] } as const;
const resources = (...metrics: TestMetric[]): Resource[] => decodeMetrics(gpuRequest([{ attributes: GPU0, metrics }]));
const families = (...metrics: TestMetric[]): Family[] => buildFamilies(resources(...metrics), OPTIONS).families;

test('names: units, ratio, total, and what has a suffix already', () => {
  const gauge = (name: string, unit: string): string => metricName({ name, unit, kind: 'gauge', monotonic: false });
  const counter = (name: string, unit: string): string => metricName({ name, unit, kind: 'sum', monotonic: true });
  assert.equal(gauge('hw.gpu.memory.usage', 'By'), 'hw_gpu_memory_usage_bytes');
  assert.equal(gauge('hw.gpu.utilization', '1'), 'hw_gpu_utilization_ratio');
  assert.equal(counter('hw.energy', 'J'), 'hw_energy_joules_total');
  assert.equal(counter('hw.errors', '{error}'), 'hw_errors_total');
  assert.equal(counter('hw.things', '1'), 'hw_things_total');
  assert.equal(counter('a.total', 's'), 'a_seconds_total');
  assert.equal(gauge('a.seconds', 's'), 'a_seconds');
  assert.equal(gauge('net.speed', 'By/s'), 'net_speed_bytes_per_second');
  assert.equal(gauge('1.x', ''), '_1_x');
  assert.equal(metricName({ name: 'hw.power', unit: 'W', kind: 'gauge', monotonic: false }, 'NoTranslation'), 'hw.power');
  assert.equal(metricName({ name: 'hw.power', unit: 'W', kind: 'gauge', monotonic: false }, 'UnderscoreEscapingWithoutSuffixes'), 'hw_power');
  assert.deepEqual(['{error}', '1', 'Cel', '{packet}/s', 'm/s'].map(unitSuffix), ['', '', 'celsius', 'per_second', 'meters_per_second']);
  assert.deepEqual(['hw.id', 'a--b', '9x', ''].map(labelName), ['hw_id', 'a_b', 'key_9x', '_']);
});

test('families: labels, target_info, types; duplicates, deltas and type conflicts are dropped and counted', () => {
  const built = buildFamilies(resources(
    { name: 'hw.power', unit: 'W', points: [{ value: 70 }, { value: 71 }] },
    { name: 'hw.d', kind: 'delta', points: [{ value: 1 }] },
    { name: 'hw.gpu.memory.usage', unit: 'By', kind: 'updown', points: [{ value: 5, attributes: { 'hw.gpu.memory.state': 'used' } }] },
    { name: 'hw.power.watts', unit: '', kind: 'counter', points: [{ value: 1 }] },
    { name: 'hw.power.watts.total', unit: '', kind: 'gauge', points: [{ value: 1 }] },
  ), OPTIONS);
  assert.deepEqual([built.duplicates, built.conflicts], [1, 2]);
  const byName = new Map(built.families.map((family) => [family.name, family]));
  assert.deepEqual([...byName.keys()], ['hw_gpu_memory_usage_bytes', 'hw_power_watts', 'hw_power_watts_total', 'target_info']);
  const power = byName.get('hw_power_watts')!.samples[0]!;
  assert.equal(power.value, 70);
  assert.deepEqual(power.labels, {
    hw_gpu_index: '0', hw_id: 'GPU-0000', hw_type: 'gpu', otel_scope_name: 'vigil/dcgm', otel_scope_version: '1', source: 'replay',
  });
  assert.equal(byName.get('hw_gpu_memory_usage_bytes')!.type, 'gauge');
  assert.equal(byName.get('target_info')!.samples[0]!.labels.hw_model, 'NVIDIA H100 80GB HBM3');
});

test('both formats: one TYPE a family, counters, escapes, the end mark', async () => {
  const list = families(
    { name: 'hw.energy', unit: 'J', kind: 'counter', points: [{ value: 12.5, attributes: { odd: 'a"b\\c\nd' } }] },
    { name: 'hw.temperature', unit: 'Cel', points: [{ value: 30 }] },
  );
  const text = await renderPage([list], 'text');
  const open = await renderPage([list, list], 'openmetrics');
  assert.match(text, /# TYPE hw_energy_joules_total counter\nhw_energy_joules_total\{.*odd="a\\"b\\\\c\\nd".*\} 12\.5/);
  assert.match(open, /# TYPE hw_energy_joules counter\nhw_energy_joules_total\{.*\} 12\.5/);
  assert.ok(open.endsWith('\n# EOF\n'));
  for (const page of [text, open]) assert.equal(page.match(/# TYPE hw_temperature_celsius gauge/g)?.length, 1);
  assert.deepEqual(
    [undefined, 'text/plain', 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5', 'application/openmetrics-text;q=0.2,text/plain', '*/*'].map(formatOf),
    ['text', 'text', 'openmetrics', 'text', 'text'],
  );
});

const promtool = spawnSync('promtool', ['--version']).status === 0;
test('promtool accepts the page', { skip: promtool ? false : 'promtool is not installed' }, async () => {
  const page = await renderPage([families({ name: 'hw.energy', unit: 'J', kind: 'counter', points: [{ value: 1 }] }, { name: 'hw.power', unit: 'W', points: [{ value: 70 }] })], 'text');
  const judged = spawnSync('promtool', ['check', 'metrics'], { input: page, encoding: 'utf8' });
  assert.equal(judged.status, 0, judged.stderr);
});

test('the newest scrape is shown, and old points go, with resources that have none left', () => {
  const store = new Store();
  const rows = (value: number, timeNs: bigint): Resource[] => resources({ name: 'hw.power', unit: 'W', points: [{ value, timeNs }] });
  const shown = (now = NOW_NS): Resource[] => store.shown('gpu', now, 1000n);
  const values = (now = NOW_NS): number[] => shown(now).flatMap((r) => r.scopes.flatMap((s) => s.metrics.flatMap((m) => m.points.map((p) => Number(p.value)))));
  assert.deepEqual([values(), store.state('gpu').newestNs], [[], 0n]);
  store.take('gpu', [...rows(10, NOW_NS), ...rows(11, NOW_NS - 900n)]);
  assert.deepEqual(values(), [10, 11]);
  assert.deepEqual([values(NOW_NS + 101n), shown(NOW_NS + 101n).length], [[10], 1]);
  store.take('gpu', rows(30, NOW_NS + 5n));
  store.take('self', rows(50, NOW_NS));
  assert.deepEqual([values(NOW_NS + 1005n), values(NOW_NS + 1006n)], [[30], []]);
  assert.deepEqual([store.state('gpu').scrapes, store.state('gpu').newestNs], [2, NOW_NS + 5n]);
  store.clear();
  assert.deepEqual([values(), store.state('gpu').newestNs, store.state('gpu').scrapes], [[], 0n, 2]);
});

test('dcgm-exporter names: the label names, units and values of its own page come back', () => {
  const fixture = join(ROOT, 'tests', 'fixtures', 'gpu', 'h100x8.capture.json');
  assert.ok(existsSync(fixture));
  const capture = JSON.parse(readFileSync(fixture, 'utf8')) as { samples: { entityId: number; fieldId: number; value: string }[] };
  const rawOf = (field: number): number => Number(capture.samples.find(({ entityId, fieldId }) => entityId === 0 && fieldId === field)!.value);
  const made = dcgmFamilies(resources(...[150, 155, 203, 204].map((field): TestMetric => {
    const row = gpuPoints.find((point) => point.field === field)!;
    const about = gpuMetrics.find(({ name }) => name === row.metric)!;
    return { name: row.metric, unit: about.unit, kind: about.instrument, points: [{ value: (rawOf(field) * row.mul) / row.div, attributes: row.attributes }] };
  })));
  const byName = new Map(made.map((family) => [family.name, family.samples[0]!]));
  for (const field of [150, 155, 203, 204]) {
    assert.ok(Math.abs(byName.get(catalogField(field)!.prom!)!.value - rawOf(field)) < 1e-9, `field ${field}`);
  }
  const { labels } = byName.get('DCGM_FI_DEV_GPU_TEMP')!;
  assert.deepEqual(labels, {
    gpu: '0', UUID: 'GPU-0000', pci_bus_id: '00000000:53:00.0', device: 'nvidia0', modelName: 'NVIDIA H100 80GB HBM3', Hostname: 'gpu-node-1',
    DCGM_FI_DRIVER_VERSION: '580.105.08', source: 'replay',
  });
});

test('an instance has its board\'s UUID and index, and its own id', () => {
  const attributes = { ...GPU0, 'hw.id': 'GPU-0000/gi7', 'hw.gpu.mig.instance_id': '7' };
  const [family] = dcgmFamilies(decodeMetrics(gpuRequest([{ attributes, metrics: [{ name: 'hw.power', unit: 'W', points: [{ value: 9 }] }] }])));
  const { labels } = family!.samples[0]!;
  assert.deepEqual([labels.UUID, labels.gpu, labels.device, labels.GPU_I_ID], ['GPU-0000', '0', 'nvidia0', '7']);
});

test('every label has an attribute that the guest, the agent or an attribution sets', () => {
  const makers = ['assembly/lib/gpu', 'runtime/attribution', 'runtime/export'].flatMap((part) =>
    readdirSync(join(ROOT, part), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && !name.startsWith('prometheus'))
      .map((name) => readFileSync(join(ROOT, part, name), 'utf8'))).join('\n');
  const unset = LABELS.filter(([, attribute]) => !makers.includes(`'${attribute}'`) && !makers.includes(`"${attribute}"`));
  assert.deepEqual(unset, []);
});

test('XID under its old name is the code seen last', () => {
  const made = dcgmFamilies(resources({ name: 'hw.gpu.xid.errors', unit: '{error}', kind: 'counter', points: [
    { value: 3, timeNs: NOW_NS - 9n, attributes: { 'hw.gpu.xid': '31' } }, { value: 1, timeNs: NOW_NS, attributes: { 'hw.gpu.xid': '79' } },
  ] }));
  assert.deepEqual(made.map(({ name, samples }) => [name, samples.map(({ value }) => value)]), [['DCGM_FI_DEV_XID_ERRORS', [79]]]);
});

test('the table of GPU metrics keeps its rules', () => {
  const tiers = gpuGroups.map(({ tier }) => tier);
  assert.equal(gpuGroups.find(({ name }) => name === 'nvlink')!.tier, Math.max(...tiers), 'NVLink is dropped last');
  assert.deepEqual(gpuGroups.filter(({ tier }) => tier <= 3).sort((a, b) => a.tier - b.tier).map(({ name }) => name), ['mig_ci', 'ecc_aggregate', 'codec']);
  assert.deepEqual(
    gpuGroups.filter(({ toggle }) => toggle === 'seed').map(({ name }) => name).sort(),
    ['ecc', 'memory', 'nvswitch', 'power', 'profiling', 'thermal', 'utilization', 'xid'],
  );
  for (const { name, default: value } of gpuGroups) assert.ok(value !== 'auto' || name === 'nvswitch', `${name}: only nvswitch takes auto`);
  for (const { name } of gpuMetrics) assert.ok(gpuPoints.some(({ metric }) => metric === name), `${name} has a field`);
  for (const { name } of gpuGroups) assert.ok(name === 'mig_ci' || gpuPoints.some(({ group }) => group === name), `${name} has a field`);
  const cells = gpuPoints.flatMap(({ field, last = field }) => Array.from({ length: last - field + 1 }, (_, i) => field + i));
  assert.equal(new Set(cells).size, cells.length, 'a field has one row');
  const counters = new Set(gpuMetrics.filter(({ instrument }) => instrument === 'counter').map(({ name }) => name));
  for (const { field, metric } of gpuPoints) {
    const { kind } = catalogField(field)!;
    assert.ok(metric === 'hw.status' || (kind === 'gauge') === !counters.has(metric), `field ${field}: ${kind} as ${metric}`);
  }
  assert.ok(catalog.length > 60);
  const text = readFileSync(join(ROOT, 'abi', 'gpu-metrics.toml'), 'utf8');
  assert.throws(() => parseGpuMetrics(text.replace('field = 203,', 'field = 9999,')), /field 9999 is not in/);
  assert.throws(() => parseGpuMetrics(text.replace('metric = "hw.power"', 'metric = "hw.nothing"')), /metric hw.nothing has no row/);
  assert.throws(() => parseGpuMetrics(text.replace('group = "power"', 'group = "nothing"')), /group nothing has no row/);
});
