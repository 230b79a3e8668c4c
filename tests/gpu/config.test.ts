// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of what an operator can switch: groups, the groups that follow them, metrics, single fields, and the watch list that
// comes of it; and that a refused setting changes nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpuGroups, gpuMetrics, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { newGuest, type Guest } from './guest.js';
import { gpu, gpus, guestOf, nvswitch, sample } from './nodes.js';

const idsOf = (keep: (row: (typeof gpuPoints)[number]) => boolean): number[] =>
  gpuPoints.filter(keep).flatMap(({ field, last }) => Array.from({ length: (last ?? field) - field + 1 }, (_, i) => field + i)).sort((a, b) => a - b);
const own = (name: string): string => {
  const { toggle } = gpuGroups.find((group) => group.name === name)!;
  return toggle === 'seed' || toggle === 'own' ? name : toggle;
};
const switchable = gpuGroups.filter(({ name }) => own(name) === name);

test('by default: the groups that are enabled; nvswitch where there is a switch; sorted, each once', () => {
  const guest = newGuest();
  const enabled = (name: string): boolean => gpuGroups.find((group) => group.name === own(name))!.default === 'enabled';
  assert.deepEqual(guest.watchList(), idsOf(({ group }) => enabled(group)));
  guest.enumerate([gpu(0), nvswitch(0)]);
  assert.deepEqual(guest.watchList(), idsOf(({ group }) => enabled(group) || group === 'nvswitch'));
  guest.group('nvswitch', 0);
  assert.deepEqual(guest.watchList(), idsOf(({ group }) => enabled(group)));
  guest.group('nvswitch', 2);
  guest.enumerate([gpu(0)]);
  assert.deepEqual([guest.watchList().includes(858), guest.groupOn('nvswitch')], [false, false]);
  guest.group('nvswitch', 1);
  assert.equal(guest.watchList().includes(858), true, 'enabled is not asked whether there is one');
  const list = newGuest().allGroups().watchList();
  assert.deepEqual(list, [...new Set(list)].sort((a, b) => a - b));
  assert.ok(list.length <= 128);
});

test('every group has a switch, or follows one, and the switch decides its fields', () => {
  for (const { name, toggle } of gpuGroups) {
    if (toggle === '') {
      assert.equal(name, 'mig_ci');
      assert.deepEqual([newGuest().group(name, 0), newGuest().groupOn(name)], [false, true]);
      continue;
    }
    const rows = idsOf(({ group }) => group === name);
    assert.ok(rows.length > 0, `${name} has no point`);
    const with_ = (state: number): number[] => { const guest = newGuest(); guest.group(own(name), state); return guest.watchList(); };
    assert.ok(rows.every((id) => with_(1).includes(id)), `${name} enabled`);
    assert.ok(rows.every((id) => !with_(0).includes(id)), `${name} disabled`);
    assert.equal(newGuest().group(name, 1), own(name) === name, `${name}: only the switch itself can be set`);
  }
});

test('a disabled group shows nothing, the others go on', () => {
  for (const { name } of switchable.filter((group) => group.name !== 'nvswitch')) {
    const rows = gpuPoints.filter((row) => own(row.group) === name && row.metric !== 'hw.gpu.nvlink.errors').map(({ field }) => field)
      .filter((field) => newGuest().allGroups().watchList().includes(field) && field < 1525);
    const guest = guestOf(gpus(1));
    const samples = [...rows.map((field) => sample(gpu(0), field, 1)), sample(gpu(0), name === 'thermal' ? 155 : 150, 40)];
    assert.ok(guest.scrape(samples).series > 1 || rows.length === 0, name);
    guest.group(name, 0);
    const tally = guest.scrape(samples);
    assert.deepEqual([tally.series, tally.homeless], [1, rows.length], name);
  }
});

test('states and groups that are none are refused, and nothing changes', () => {
  const guest = newGuest();
  const before = guest.watchList();
  assert.equal(guest.call('group', 999, 0), 0);
  assert.equal(guest.group('ecc', 3), false);
  assert.equal(guest.group('ecc', 2), false, 'only nvswitch takes auto');
  assert.equal(guest.group('nvswitch', 2), true);
  assert.equal(guest.groupIndex('nonsense'), -1);
  assert.equal(guest.groupIndex('ec'), -1);
  assert.equal(guest.call('metricAllowed', 999, 0), 0);
  assert.equal(guest.field(67, true), false, 'a field without a point');
  assert.equal(guest.field(60_000, true), false);
  assert.deepEqual(guest.watchList(), before);
  for (const [i, { name }] of gpuGroups.entries()) assert.equal(guest.groupIndex(name), i);
  for (const [i, { name }] of gpuMetrics.entries()) assert.equal(guest.metricIndex(name), i);
  assert.equal(guest.metricIndex('hw.gpu'), -1);
});

test('an excluded metric is neither watched nor shown', () => {
  const guest = newGuest();
  const before = guest.watchList();
  assert.equal(guest.metric('hw.gpu.io', false), true);
  assert.deepEqual(guest.watchList(), before.filter((id) => ![1009, 1010, 1091, 1092].includes(id)));
  guest.field(1009, true);
  assert.equal(guest.watchList().includes(1009), false, 'a field does not bring back its metric');
  guest.metric('hw.gpu.io', true);
  assert.deepEqual(guest.watchList(), before);
});

test('a field of its own wins over its group, both ways', () => {
  const guest = newGuest();
  const has = (id: number): boolean => guest.watchList().includes(id);
  assert.deepEqual([has(204), has(150)], [false, true]);
  assert.deepEqual([guest.field(204, true), guest.field(150, false)], [true, true]);
  assert.deepEqual([has(204), has(150), has(140)], [true, false, true]);
  guest.enumerate(gpus(1));
  assert.equal(guest.scrape([sample(gpu(0), 204, 50), sample(gpu(0), 150, 50)]).series, 1);
});

test('reset forgets everything', () => {
  const guest: Guest = guestOf(gpus(3));
  guest.scrape(gpus(3).map((entity) => sample(entity, 230, 31)));
  guest.budget('xid', 1);
  guest.call('reset');
  assert.deepEqual([guest.watchList(), guest.parts(), guest.series()], [newGuest().watchList(), [], []]);
  guest.enumerate(gpus(3));
  assert.equal(guest.scrape(gpus(3).map((entity) => sample(entity, 230, 31))).series, 3);
});
