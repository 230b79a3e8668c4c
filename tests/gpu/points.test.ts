// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that every row of abi/gpu-metrics.toml yields its metric, with the name, unit, instrument, value and attributes of the
// table, under the resource of its entity; and that a published decoder reads the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { catalogField, GROUP, type CatalogField } from '../../runtime/bridge/catalog.js';
import type { Entity } from '../../runtime/bridge/source.js';
import { gpuMetrics, gpuPoints, type GpuPoint } from '../../runtime/export/gpu-metrics.js';
import { decodeMetrics } from '../../runtime/export/otlp/model.js';
import { readFileSync } from 'node:fs';
import { published } from '../export/requests.js';
import { NOW_US, newGuest } from './guest.js';
import { ci, gi, gpu, gpus, guestOf, link, nvswitch, sample } from './nodes.js';

const [board, other, fabric] = [gpu(3), gpu(4), nvswitch(2)];
const instance = gi(24, 3, 7);
const compute = ci(24, instance, 0);
const node: Entity[] = [board, other, instance, compute, fabric, link(5, board), link(6, fabric)];
const version = (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

const LEVELS: Readonly<Record<CatalogField['level'], Entity>> = { gpu: board, gi: instance, ci: compute, switch: fabric, link: link(5, board) };
const RAW = 7;

function expectedAttributes(row: GpuPoint, id: number): Record<string, string> {
  const lane = row.last === undefined ? null : id - row.field;
  return Object.fromEntries(Object.entries(row.attributes).map(([key, value]) => {
    if (value !== '*') return [key, value];
    if (key === 'network.io.direction') return [key, lane! % 2 === 0 ? 'transmit' : 'receive'];
    if (key === 'hw.gpu.nvlink.link') return [key, lane === null ? '5' : String(lane >> 1)];
    return [key, key === 'hw.state' ? 'degraded' : String(RAW)];
  }));
}

test('every row of the table, at every entity that has it', () => {
  let rows = 0;
  for (const row of gpuPoints) for (let id = row.field; id <= (row.last ?? row.field); id++) {
    const at = `field ${id}`;
    const field = catalogField(id)!;
    const metric = gpuMetrics.find(({ name }) => name === row.metric)!;
    const guest = guestOf(node);
    const entity = LEVELS[field.level];
    const tally = guest.scrape([sample(entity, id, RAW)]);
    assert.deepEqual([tally.samples, tally.values, tally.series], [1, 1, 1], at);
    const [found, ...more] = guest.found();
    assert.equal(more.length, 0, at);
    assert.deepEqual([found!.metric.name, found!.metric.unit, found!.metric.description], [metric.name, metric.unit, metric.brief], at);
    assert.equal(found!.metric.kind, metric.instrument === 'gauge' ? 'gauge' : 'sum', at);
    assert.equal(found!.metric.monotonic, metric.instrument === 'counter', at);
    assert.equal(found!.metric.temporality, metric.instrument === 'gauge' ? 0 : 2, at);
    assert.deepEqual(Object.fromEntries(found!.point.attributes), expectedAttributes(row, id), at);
    const value = field.kind === 'rate' ? 0 : field.kind === 'last' || metric.name === 'hw.status' ? 1 : (RAW * row.mul) / row.div;
    assert.equal(Number(found!.point.value), value, at);
    const whole = metric.instrument === 'counter' && field.type === 'int64' && row.div === 1 && field.kind !== 'rate';
    assert.equal(typeof found!.point.value, whole ? 'bigint' : 'number', `${at}: counters of whole numbers are integers`);
    assert.equal(found!.point.startNs === 0n, metric.instrument === 'gauge', `${at}: sums have a start, gauges none`);
    const owner = entity.group === GROUP.link ? board : entity;
    assert.equal(found!.resource.get('hw.id'), owner.uuid, at);
    rows++;
  }
  assert.ok(rows >= 100);
});

test('a field is asked of the entities that have a value of their own: a parent\'s value is not taken twice', () => {
  const guest = guestOf(node);
  const places = [board, instance, compute, fabric, link(5, board)];
  const has = (id: number): boolean[] => places.map((entity) => guest.scrape([sample(entity, id, 1)]).values === 1);
  assert.deepEqual(has(150), [true, false, false, false, false]);
  assert.deepEqual(has(1005), [true, true, false, false, false]);
  assert.deepEqual(has(252), [true, true, true, false, false]);
  assert.deepEqual(has(858), [false, false, false, true, false]);
  assert.deepEqual(has(1525), [false, false, false, false, true]);
  assert.equal(guest.scrape([sample(instance, 150, 1)]).homeless, 1);
});

test('resource attributes by kind of entity, one resource for each; a link goes with its owner', () => {
  const guest = guestOf(node);
  guest.scrape([sample(board, 252, 1), sample(instance, 252, 1), sample(compute, 252, 1), sample(fabric, 858, 1), sample(link(5, board), 1525, 1),
    sample(link(6, fabric), 1525, 1)], NOW_US, 3);
  const common = { 'hw.vendor': 'nvidia', 'hw.driver_version': '1.2.3', 'vigil.source': 'dcgm' };
  const texts = { ...common, 'hw.type': 'gpu', 'hw.name': 'Test GPU', 'hw.model': 'Test GPU', 'hw.gpu.pci.bdf': '00000000:03:00.0', 'hw.gpu.index': 3n };
  const resources = guest.resources();
  assert.deepEqual(resources.map(({ attributes }) => Object.fromEntries([...attributes].sort())), [
    { ...texts, 'hw.id': board.uuid },
    { ...common, 'hw.type': 'switch', 'hw.id': 'nvswitch-2', 'hw.name': 'NVSwitch', 'hw.model': 'NVSwitch', 'hw.switch.index': 2n },
    { ...texts, 'hw.id': instance.uuid, 'hw.gpu.mig.instance_id': 7n },
    { ...texts, 'hw.id': compute.uuid, 'hw.gpu.mig.instance_id': 7n, 'hw.gpu.mig.compute_instance_id': 0n },
  ].map((row) => Object.fromEntries(Object.entries(row).sort())));
  for (const { scopes } of resources) {
    assert.deepEqual(scopes.map(({ name, version: of }) => [name, of]), [['vigil/dcgmd', version]]);
    const names = scopes.flatMap(({ metrics }) => metrics.map(({ name }) => name));
    assert.equal(new Set(names).size, names.length, 'one metric block a name');
  }
  for (const [source, label] of [[1, 'replay'], [2, 'stub'], [3, 'dcgm'], [4, 'nvml'], [9, 'none']] as const) {
    guest.scrape([sample(board, 150, 1)], NOW_US, source);
    assert.equal(guest.resources()[0]!.attributes.get('vigil.source'), label);
  }
});

test('a link without an owner has no home; nor has an entity that was not listed, nor a field that is off', () => {
  const guest = newGuest();
  guest.enumerate([board, { ...link(5, other) }]);
  guest.field(1525, true);
  assert.deepEqual([guest.scrape([sample(link(5, other), 1525, 1)]).homeless, guest.scrape([sample(other, 150, 1)]).homeless], [1, 1]);
  assert.equal(guest.scrape([sample(board, 204, 1)]).homeless, 1, 'memory_copy is off by default');
  assert.equal(guest.scrape([sample(board, 67, 1)]).homeless, 1, 'a field that makes no point');
});

test('a published decoder reads every part as we do, and the concatenation of the parts as one request', () => {
  const guest = guestOf(gpus(64));
  const samples = gpus(64).flatMap((entity) => gpuPoints.filter(({ field }) => ['gpu', 'gi', 'ci'].includes(catalogField(field)!.level)).slice(0, 40)
    .map(({ field }) => sample(entity, field, 3)));
  const tally = guest.scrape(samples);
  const parts = guest.parts();
  assert.ok(parts.length > 10);
  const type = published('metrics', 'ExportMetricsServiceRequest');
  const decode = (bytes: Uint8Array): { resourceMetrics: object[] } => type.toObject(type.decode(bytes), { longs: String }) as { resourceMetrics: object[] };
  for (const part of parts) assert.ok(part.length <= 16_000 && part.length > 0);
  const whole = decode(Buffer.concat(parts));
  assert.deepEqual(whole.resourceMetrics, parts.flatMap((part) => decode(part).resourceMetrics));
  assert.deepEqual(Buffer.from(type.encode(type.decode(Buffer.concat(parts))).finish()).length, Buffer.concat(parts).length, 'lengths are of least size');
  const points = parts.map((part) => decodeMetrics(part)).flatMap((all) => all.flatMap(({ scopes }) => scopes.flatMap(({ metrics }) => metrics.flatMap((m) => m.points))));
  assert.equal(points.length, tally.series);
  const keys = guest.found().map(({ resource, metric, point }) => `${resource.get('hw.id')} ${metric.name} ${JSON.stringify([...point.attributes])}`);
  assert.equal(new Set(keys).size, keys.length, 'no series twice');
});

test('what metricsd is given is what the requests say', () => {
  const guest = guestOf(node);
  guest.scrape([sample(board, 155, 321.5), sample(board, 252, 10), sample(board, 230, 79), sample(link(5, board), 1525, 4)]);
  const rows = guest.series();
  assert.deepEqual(rows.map(({ metric, value, labels, code, group }) => [metric, value, labels, code, group]), [
    ['hw.gpu.memory.usage', 10 * 2 ** 20, 'hw.gpu.memory.state=used', 0, 'memory'], ['hw.power', 321.5, '', 0, 'power'],
    ['hw.gpu.nvlink.errors', 4, 'hw.gpu.nvlink.link=5\nerror.type=crc_flit', 5, 'nvlink_errors'], ['hw.gpu.xid.errors', 1, 'hw.gpu.xid=79', 79, 'xid'],
  ]);
  assert.deepEqual(rows.map(({ value }) => value), guest.found().map(({ point }) => Number(point.value)));
  assert.deepEqual(rows.map(({ stampNs }) => stampNs), guest.found().map(({ point }) => point.timeNs));
  const again = new Map(rows.map(({ metric, slot, born }) => [metric, `${slot}/${born}`]));
  guest.scrape([sample(board, 155, 1)]);
  assert.deepEqual(guest.series().map(({ metric, slot, born }) => [metric, `${slot}/${born}`]), [['hw.power', again.get('hw.power')], ['hw.gpu.xid.errors', again.get('hw.gpu.xid.errors')]]);
});

test('the parts of the scrape before stay until the next but one', () => {
  const guest = guestOf([board]);
  guest.scrape([sample(board, 150, 40)]);
  const first = guest.parts();
  guest.scrape([sample(board, 150, 50)]);
  assert.deepEqual(guest.parts(1), first);
  assert.notDeepEqual(guest.parts(0), first);
  const second = guest.parts();
  guest.begin();
  guest.take([sample(board, 150, 60)]);
  assert.deepEqual([guest.parts(0), guest.parts(1)], [second, first], 'a scrape that is not finished changes nothing');
  assert.deepEqual(guest.scrape([]).series, 0);
  assert.deepEqual([guest.parts(0), guest.parts(1)], [[], second], 'an empty one has no part');
});
