// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that the generator of assembly/gen/gpu.ts refuses a table that the guest could not hold, and that its output depends on
// the tables alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { catalog } from '../../runtime/bridge/catalog.js';
import { gpuGroups, gpuMetrics, gpuPoints, type GpuGroup, type GpuPoint } from '../../runtime/export/gpu-metrics.js';
import { FIELDS_MAX, gpuFile, guestFields, guestPoints } from '../../scripts/lib/gen-gpu.js';

const tables = { groups: gpuGroups, metrics: gpuMetrics, points: gpuPoints, catalog };
const row = (field: number, more: Partial<GpuPoint> = {}): GpuPoint => ({ field, metric: 'hw.power', group: 'power', mul: 1, div: 1, attributes: {}, ...more });
const refused = (points: GpuPoint[], message: RegExp, groups: readonly GpuGroup[] = gpuGroups): void =>
  assert.throws(() => gpuFile({ ...tables, points, groups }, ''), { exitCode: 1, message });

test('the shipped tables: one text, lanes in two rows, fields ascending', () => {
  assert.equal(gpuFile(tables, 'head\n'), gpuFile(tables, 'head\n'));
  const points = guestPoints(gpuPoints);
  assert.equal(points.length, gpuPoints.length + gpuPoints.filter(({ last }) => last !== undefined).length);
  const fields = guestFields(tables);
  assert.deepEqual(fields.map(({ field }) => field.id), [...fields.map(({ field }) => field.id)].sort((a, b) => a - b));
  const of = (id: number) => fields.find(({ field }) => field.id === id)!;
  assert.deepEqual([of(1040).lane, of(1041).lane, of(1075).lane, of(150).lane], [0, 0, 17, 255]);
  assert.deepEqual([points[of(1040).point]!.attributes['network.io.direction'], points[of(1041).point]!.attributes['network.io.direction']], ['transmit', 'receive']);
  assert.deepEqual([fields[of(1532).replaces]!.field.id, of(1532).stride, fields[of(1533).replaces]!.field.id], [1040, 2, 1041]);
  assert.deepEqual([fields[of(1091).replaces]!.field.id, of(1091).stride, of(150).replaces], [1009, 0, 255]);
});

test('what the guest could not hold is refused', () => {
  refused([row(155), row(155)], /two rows/);
  refused([row(155, { attributes: { key: '*' } })], /what is key/);
  refused([row(1525, { attributes: { 'hw.gpu.nvlink.link': '*', 'hw.gpu.xid': '*' } })], /two unknown/);
  refused([row(155, { instead_of: [156] })], /instead_of/);
  refused([row(155), row(156), row(157, { instead_of: [155, 156] })], /instead_of/);
  refused([row(155)], /toggle nowhere/, [...gpuGroups.slice(0, 1).map((group) => ({ ...group, toggle: 'nowhere' })), ...gpuGroups.slice(1)]);
  // An encoded point's length is one byte: 27 of numbers, 8 of tags and lengths, key and value.
  const long = (bytes: number): GpuPoint => row(155, { attributes: { ['k'.repeat(bytes - 1)]: 'v' } });
  assert.doesNotThrow(() => gpuFile({ ...tables, points: [long(127 - 27 - 8)] }, ''));
  refused([long(127 - 27 - 8 + 1)], /too long/);
});

test('as many fields as a watch may name', () => {
  const many = catalog.filter(({ id }) => id < 1000 || id > 1100).slice(0, FIELDS_MAX + 1);
  const more = [...many, ...catalog.filter((field) => !many.includes(field))].slice(0, FIELDS_MAX + 1).map(({ id }) => row(id));
  assert.equal(more.length, FIELDS_MAX + 1);
  assert.doesNotThrow(() => gpuFile({ ...tables, points: more.slice(0, FIELDS_MAX) }, ''));
  refused(more, /129 fields, at most 128/);
});
