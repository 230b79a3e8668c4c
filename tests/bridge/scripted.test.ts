// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that scripted nodes show what their scenario says, the same in every run, labelled replay, and nothing before its onset;
// and that a capture of several frames replays them in order.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { catalog } from '../../runtime/bridge/catalog.js';
import { doubleBlank, int64Blank } from '../../runtime/bridge/dcgm/blanks.js';
import { linkId } from '../../runtime/bridge/dcgm/layout.js';
import { limit } from '../../runtime/bridge/protocol.js';
import { SourceError, type Sample } from '../../runtime/bridge/source.js';
import { FLEETS, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { ReplaySource, type Capture } from '../../runtime/bridge/sources/replay.js';
import { ONSET_S, SCENARIOS } from '../../runtime/bridge/sources/scenarios.js';
import { ScriptedSource, everyScript } from '../../runtime/bridge/sources/scripted.js';
import type { TimelineSource } from '../../runtime/bridge/sources/timeline.js';

const WALL_NS = 1_800_000_000_000_000_000n;
const FIELDS = catalog.map(({ id }) => id);

/** A node whose clock the test moves. */
class Node {
  nowMs = 5_000;
  readonly source: TimelineSource;
  private watches: number[] = [];
  constructor(make: (nowMs: () => number) => TimelineSource) {
    this.source = make(() => this.nowMs);
    this.open();
  }
  open(): void {
    this.source.close();
    this.source.connect();
    this.source.enumerate();
    const max = limit('fields_max');
    this.watches = [FIELDS.slice(0, max), FIELDS.slice(max)].filter((ids) => ids.length > 0)
      .map((fieldIds) => this.source.watch({ updateUs: 1_000_000n, keepS: 30, fieldIds, entities: [] }));
  }
  /** Samples at a number of seconds after the onset (negative: before). */
  at(since: number): Sample[] {
    this.nowMs = 5_000 + (ONSET_S + since) * 1000;
    return this.watches.flatMap((watch) => this.source.latestValues(watch, WALL_NS));
  }
}
const scripted = (fleet: string, scenario?: string): Node => new Node((nowMs) => new ScriptedSource(fleet, scenario, nowMs));
const find = (samples: readonly Sample[], group: number, id: number, fieldId: number): Sample => {
  const found = samples.find((sample) => sample.group === group && sample.entityId === id && sample.fieldId === fieldId);
  if (found === undefined) throw new Error(`no cell ${group}:${id} ${fieldId}`);
  return found;
};
const status = (error: unknown): string | null => (error instanceof SourceError ? error.status : null);

test('every fleet: entities, label, identities, and no value that looks like a blank', () => {
  const counts: Record<FleetName, number[]> = { 'h100x8': [8, 4, 0, 0, 144], 'nvl72-tray': [4, 0, 0, 0, 72], 'a100-mig': [8, 0, 56, 56, 96], 'consumer': [1, 0, 0, 0, 0] };
  for (const fleet of Object.keys(FLEETS) as FleetName[]) {
    const node = scripted(fleet);
    const entities = node.source.enumerate();
    assert.deepEqual([1, 3, 4, 5, 6].map((group) => entities.filter((entity) => entity.group === group).length), counts[fleet], fleet);
    assert.equal(new Set(entities.map(({ uuid }) => uuid)).size, entities.length);
    assert.equal(node.source.label, 'replay');
    assert.match(node.source.version(), new RegExp(`fleet:${fleet};scenario:steady;`));
    for (const { uuid, model } of entities) assert.match(uuid + model, /^[\x20-\x7e]{1,128}$/);
    const samples = node.at(0);
    for (const sample of samples) {
      const blank = typeof sample.value === 'bigint' ? int64Blank(sample.value) : doubleBlank(sample.value);
      assert.equal(blank !== 0, sample.status !== 0, `${fleet} ${sample.group}:${sample.entityId} ${sample.fieldId}`);
    }
    assert.ok(samples.filter((sample) => sample.status === 0).length >= 25, `${fleet}: values`);
  }
});

test('every fleet with every scenario that it can have: the same twice, steady before the onset, counters never fall', () => {
  const scripts = everyScript();
  assert.equal(scripts.length, 8 + 8 + 9 + 5);
  for (const { fleet, scenario } of scripts) {
    const [one, two, steady] = [scripted(fleet, scenario), scripted(fleet, scenario), scripted(fleet)];
    assert.deepEqual(one.at(-1), steady.at(-1), `${fleet} ${scenario} before its onset`);
    const read = (node: Node, since: number): Sample[] | string => {
      try {
        return node.at(since);
      } catch (error) {
        if (status(error) === null) throw error;
        try { node.open(); } catch { /* the engine is away */ }
        return status(error)!;
      }
    };
    let before = new Map<string, bigint | number>();
    for (const since of [0, 5, 31, 41, 65, 95]) {
      const got = read(one, since);
      assert.deepEqual(got, read(two, since), `${fleet} ${scenario} at ${since} s`);
      if (typeof got === 'string') { before = new Map(); continue; }
      const counters = new Map<string, bigint | number>();
      for (const sample of got) {
        if (sample.status !== 0 || catalog.find(({ id }) => id === sample.fieldId)?.kind !== 'counter') continue;
        const key = `${sample.group}:${sample.entityId}:${sample.fieldId}`;
        counters.set(key, sample.value);
        const was = before.get(key);
        assert.ok(was === undefined || sample.value >= was, `${fleet} ${scenario} ${key} fell from ${was} to ${sample.value}`);
      }
      before = counters;
    }
  }
});

test('each scenario shows its signature', () => {
  const value = (node: Node, since: number, group: number, id: number, field: number) => find(node.at(since), group, id, field).value;
  const nvlink = scripted('h100x8', 'nvlink-degradation');
  const bad = linkId(1, 5, 2);
  assert.equal(value(nvlink, 10, 6, bad, 1525), 400n);
  assert.equal(value(nvlink, 10, 6, linkId(1, 4, 2), 1525), 0n);
  assert.equal(value(nvlink, 10, 1, 2, 409), 400n);
  assert.ok((value(nvlink, 57, 6, bad, 1532) as bigint) * 10n < (value(nvlink, 57, 6, linkId(1, 4, 2), 1532) as bigint));
  const ecc = scripted('h100x8', 'hbm-ecc');
  assert.deepEqual([value(ecc, 39, 1, 3, 310), value(ecc, 39, 1, 3, 311), value(ecc, 41, 1, 3, 311), value(ecc, 41, 1, 3, 230), value(ecc, 41, 1, 3, 396)], [78n, 0n, 1n, 63n, 1n]);
  assert.equal(find(ecc.at(39), 1, 3, 230).status, -14);
  const hot = scripted('h100x8', 'thermal-throttle');
  assert.equal(value(hot, 31, 1, 1, 150), 87n);
  assert.ok((value(hot, 31, 1, 1, 100) as bigint) < 1300n);
  assert.deepEqual([value(hot, 31, 1, 1, 112), value(hot, 31, 1, 0, 112)], [0x60n, 0n]);
  assert.equal((value(hot, 40, 1, 1, 241) as bigint) - (value(hot, 35, 1, 1, 241) as bigint), 2_000_000_000n);
  const pcie = scripted('consumer', 'pcie-errors');
  assert.deepEqual([value(pcie, 50, 1, 0, 202), value(pcie, 50, 1, 0, 237), value(pcie, 50, 1, 0, 238), value(pcie, 71, 1, 0, 238)], [150n, 3n, 16n, 8n]);
  const xid = scripted('nvl72-tray', 'xid');
  const seen = [0, 10, 30, 61, 89, 91].map((since) => find(xid.at(since), 1, 0, 230));
  assert.deepEqual(seen.map((sample) => sample.value), [31n, 31n, 13n, 43n, 43n, 43n]);
  assert.deepEqual(seen.map(({ tsUs }) => Number(WALL_NS / 1000n - tsUs) / 1e6), [0, 10, 0, 1, 29, 1], 'the time says when, so a repeat can be told');
});

test('a GPU falls off the bus, MIG is split anew, the engine restarts', () => {
  const lost = scripted('h100x8', 'gpu-lost');
  assert.equal(find(lost.at(1), 1, 7, 230).value, 79n);
  assert.deepEqual([find(lost.at(3), 1, 7, 150).status, find(lost.at(3), 6, linkId(1, 0, 7), 1525).status, find(lost.at(3), 1, 6, 150).status], [-18, -18, 0]);
  assert.throws(() => lost.at(40), (error) => status(error) === 'entity_not_found');
  lost.open();
  assert.equal(lost.source.enumerate().filter(({ group }) => group === 1).length, 7);
  const mig = scripted('a100-mig', 'mig-reconfigured');
  assert.equal(mig.source.enumerate().filter(({ group }) => group === 4).length, 56);
  assert.throws(() => mig.at(0), (error) => status(error) === 'entity_not_found');
  mig.open();
  assert.equal(mig.source.enumerate().filter(({ group }) => group === 4).length, 52);
  const restart = scripted('consumer', 'engine-restart');
  assert.throws(() => restart.at(1), (error) => status(error) === 'connection_lost');
  assert.throws(() => restart.source.connect(), (error) => status(error) === 'unavailable');
  restart.nowMs += 6_000;
  restart.open();
  assert.equal(find(restart.at(8), 1, 0, 150).status, 0);
});

test('what a node cannot have, and what does not exist, is refused by name', () => {
  for (const [fleet, scenario, why] of [['consumer', 'nvlink-degradation', /no NVLink/], ['consumer', 'hbm-ecc', /no ECC/], ['consumer', 'gpu-lost', /no second GPU/],
    ['h100x8', 'mig-reconfigured', /no MIG/], ['h200', 'steady', /fleet "h200" is not one of h100x8/], ['h100x8', 'fire', /scenario "fire" is not one of steady/]] as const) {
    assert.throws(() => new ScriptedSource(fleet, scenario), why);
  }
  for (const { brief } of Object.values(SCENARIOS)) assert.ok(brief.length > 5);
});

test('a capture of three frames replays them in order, rebased, and begins again', () => {
  const frame = (celsius: number, atUs: bigint) => [{ group: 1, entityId: 0, fieldId: 150, type: 'int64', status: 0, tsUs: String(atUs - 5n), value: String(celsius) }] as const;
  const capture: Capture = { schema: 'vigil-gpu-capture-1', provenance: 'test', capturedUs: '1000', dcgmVersion: 'x',
    entities: [{ group: 1, id: 0, uuid: 'u', model: 'm', bdf: 'b', driver: 'd' }], samples: frame(40, 1000n),
    frames: [{ atUs: '1001000', samples: frame(41, 1_001_000n) }, { atUs: '3001000', samples: frame(42, 3_001_000n) }] };
  const node = new Node((nowMs) => new ReplaySource(capture, nowMs));
  const celsius = (seconds: number): Sample => find(node.at(seconds - ONSET_S), 1, 0, 150);
  assert.deepEqual([0, 0.9, 1, 2.9, 3, 4.9, 5, 6].map((seconds) => celsius(seconds).value), [40n, 40n, 41n, 41n, 42n, 42n, 40n, 41n]);
  assert.equal(celsius(3).tsUs, WALL_NS / 1000n - 5n);
});
