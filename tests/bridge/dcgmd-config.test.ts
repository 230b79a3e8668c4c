// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that dcgmd (the shipping wasm) judges its configuration by the rules of tests/vectors/receiver-config.json, which the
// host's schema is held to as well: what is good scrapes, what is bad does not, and every fault is a record with the operator's path.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { gpuGroups, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { OK, UNAVAILABLE, run, scrape, stats, world, type World } from './dcgmd-world.js';

interface Case { name: string; lines: string; faults: string[] }
const { cases, guest } = JSON.parse(readFileSync(new URL('../vectors/receiver-config.json', import.meta.url), 'utf8')) as Record<'cases' | 'guest', Case[]>;

for (const { name, lines, faults } of [...cases, ...guest]) {
  test(`${faults.length === 0 ? 'good' : 'bad'}: ${name}`, () => {
    const w = world({ config: lines });
    run(w, function* () {
      const { status } = yield* scrape(w);
      const now = yield* stats(w);
      assert.deepEqual(w.logged('gpu config fault').map(({ path }) => path).sort(), [...faults].sort());
      assert.deepEqual([status === UNAVAILABLE, now.degraded, now.kind], faults.length === 0 ? [false, false, 'none'] : [true, true, 'init']);
      assert.equal(w.port.requests.length > 1, faults.length === 0, 'nothing is asked of the engine');
    });
  });
}

/** Field ids of the watch that a configuration makes. */
function watchOf(w: World): number[] {
  const watch = w.port.payloads.get(4)!;
  return Array.from({ length: watch.readUInt16LE(12) }, (_, i) => watch.readUInt16LE(16 + i * 2));
}
const fieldsOf = (group: string): number[] =>
  gpuPoints.filter((point) => point.group === group).flatMap(({ field, last }) => Array.from({ length: (last ?? field) - field + 1 }, (_, i) => field + i));

test('a fault says what was written and what would do, but not a password', () => {
  const w = world({ config: 'collection_interval_ms=999\nendpoint=user:secret@host:5555\n' });
  run(w, function* () { yield* scrape(w); });
  assert.deepEqual(w.logged('gpu config fault'), [
    { path: 'receivers.dcgm.collection_interval', rule: '1s to 10m', value: '"999"' },
    { path: 'receivers.dcgm.endpoint', rule: 'host:port, [ipv6]:port or unix:///path; no user or password', value: '""' },
  ]);
  assert.deepEqual(w.logged('gpu config refused'), [{ faults: '2', logged: '2' }]);
});

test('32 faults have a record each, the 33rd is counted', () => {
  for (const [count, logged] of [[32, 32], [33, 32]] as const) {
    const w = world({ config: 'x\n'.repeat(count) });
    run(w, function* () { yield* scrape(w); });
    assert.equal(w.logged('gpu config fault').length, logged);
    assert.deepEqual(w.logged('gpu config refused'), [{ faults: String(count), logged: String(logged) }]);
  }
});

test('the longest text is taken', () => {
  const line = 'field.150=disabled\n';
  const w = world({ config: line + 'y\n'.repeat((4096 - line.length - 1) / 2) });
  run(w, function* () {
    yield* scrape(w);
    assert.equal((yield* stats(w)).kind, 'init');
    assert.equal(w.logged('gpu config refused')[0]!['faults'], String(Math.floor((4096 - line.length) / 2)));
  });
});

test('every group is watched when enabled and not when disabled; what follows another one\'s switch goes with it', () => {
  const settable = gpuGroups.filter(({ toggle }) => toggle === 'seed' || toggle === 'own');
  for (const { name } of settable) {
    const followers = [name, ...gpuGroups.filter(({ toggle }) => toggle === name).map((group) => group.name)];
    for (const setting of ['enabled', 'disabled']) {
      const w = world({ config: `group.${name}=${setting}\n` });
      run(w, function* () { assert.equal((yield* scrape(w)).status, OK); });
      for (const id of followers.flatMap(fieldsOf)) assert.equal(watchOf(w).includes(id), setting === 'enabled', `${name} ${setting}: ${id}`);
    }
  }
});

test('nvswitch=auto watches switches where there are some', () => {
  for (const [fleet, there] of [['h100x8', true], ['a100-mig', false]] as const) {
    const w = world({ source: new ScriptedSource(fleet, 'steady', () => 1000), config: 'group.nvswitch=auto\n' });
    run(w, function* () { assert.equal((yield* scrape(w)).status, OK); });
    assert.equal(watchOf(w).includes(858), there, fleet);
  }
});

test('include, exclude, single fields, budgets and the cap do what they say', () => {
  const only = world({ config: 'include=hw.power\ninclude=hw.temperature\nexclude=hw.temperature\n' });
  run(only, function* () { assert.equal((yield* scrape(only)).series, 8); });
  assert.deepEqual([...new Set(only.metrics.gpu.map(({ name }) => name))], ['hw.power']);
  const field = world({ config: 'field.155=disabled\nfield.204=enabled\n' });
  run(field, function* () { assert.equal((yield* scrape(field)).series, 22); });
  assert.equal(field.metrics.of('hw.gpu.memory.copy.utilization').length, 6);
  const budget = world({ config: 'budget.thermal=3\n' });
  run(budget, function* () { assert.deepEqual([(yield* scrape(budget)).series, (yield* stats(budget)).dropped], [19, 5n]); });
  assert.equal(budget.metrics.own('vigil.receiver.series.dropped', 'group=thermal'), 5n);
  const cap = world({ config: 'max_series_per_scrape=10\n' });
  run(cap, function* () { assert.deepEqual([(yield* scrape(cap)).series, (yield* stats(cap)).dropped], [10, 14n]); });
});

test('watch cadence: half the interval and a second at least; kept for two intervals and ten seconds', () => {
  for (const [ms, updateUs, keepS] of [[1000, 1_000_000n, 12], [2001, 1_000_000n, 14], [3000, 1_500_000n, 16], [600_000, 300_000_000n, 1210]] as const) {
    const w = world({ config: `collection_interval_ms=${ms}\n` });
    run(w, function* () { yield* scrape(w); });
    const watch = w.port.payloads.get(4)!;
    assert.deepEqual([watch.readBigUInt64LE(0), watch.readUInt32LE(8)], [updateUs, keepS], `${ms} ms`);
  }
});

test('a refused configuration is asked for again and mended; another one begins anew, the same one does not', () => {
  const w = world({ config: 'mode=x\n' });
  run(w, function* () {
    for (let i = 0; i < 3; i++) yield* scrape(w);
    assert.deepEqual([w.logged('gpu config fault').length, (yield* stats(w)).kinds.init], [1, 3n], 'the same text: said once, counted each time');
    w.port.config = 'mode=standalone\n';
    assert.equal((yield* scrape(w)).status, OK);
    assert.equal((yield* stats(w)).latest, 1n);
    w.port.connections += 1;
    yield* scrape(w);
    assert.equal((yield* scrape(w)).status, OK);
    assert.equal(w.logged('gpu config').length, 1);
    w.port.config = 'include=hw.power\n';
    w.port.connections += 1;
    yield* scrape(w);
    assert.equal((yield* scrape(w)).series, 8);
    assert.equal(w.logged('gpu config').length, 2);
  });
});
