// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of the cardinality cap: its edges, the drop order by tier and entity, budgets before the cap, a table that overflows, and
// that the same input always gives the same bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { catalog, catalogField, hasField } from '../../runtime/bridge/catalog.js';
import type { Entity, Sample } from '../../runtime/bridge/source.js';
import { gpuGroups, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { Random } from '../random.js';
import { NOW_US, newGuest, type Guest } from './guest.js';
import { Node, ci, gi, gpu, gpus, guestOf, link, nvswitch, sample } from './nodes.js';

const fieldsOf = new Set(gpuPoints.flatMap(({ field, last }) => Array.from({ length: (last ?? field) - field + 1 }, (_, i) => field + i)));
const tierOf = (name: string): number => gpuGroups.find((group) => group.name === name)!.tier;
/** A sample of each field that an entity has, but for codes. */
const every = (entity: Entity): Sample[] => catalog.filter((field) => fieldsOf.has(field.id) && hasField(entity.group, field) && field.kind !== 'last')
  .map(({ id }) => sample(entity, id, id === 1523 ? 0 : 1));
const kept = (guest: Guest): string[] => guest.series().map(({ group, entity, metric, labels }) => `${group} ${entity} ${metric} ${labels}`);

test('at the cap nothing is dropped, one above it one series', () => {
  for (const [series, dropped] of [[99, 0], [100, 0], [101, 1]] as const) {
    const guest = guestOf(gpus(series));
    assert.equal(guest.seriesMax(100), true);
    const tally = guest.scrape(gpus(series).map((entity) => sample(entity, 150, 40)));
    assert.deepEqual([tally.series, tally.dropped, guest.found().length, guest.dropped('thermal')], [Math.min(series, 100), dropped, Math.min(series, 100), dropped]);
  }
});

test('the cap is 1 to 4,096, and 1,024 unless said', () => {
  const guest = guestOf(gpus(1024));
  assert.deepEqual([0, 4097, 1, 4096].map((most) => guest.seriesMax(most)), [false, false, true, true]);
  const samples = gpus(1024).flatMap((entity) => [150, 155, 100, 101, 102].map((field) => sample(entity, field, 1)));
  assert.deepEqual((({ series, dropped }) => [series, dropped])(guest.scrape(samples)), [4096, 1024], 'as many as the table holds');
  assert.deepEqual((({ series, dropped }) => [series, dropped])(guest.scrape([...samples, sample(gpu(0), 156, 1)])), [4096, 1025], 'one more');
  const fresh = newGuest();
  fresh.enumerate(gpus(1024));
  assert.deepEqual((({ series, dropped }) => [series, dropped])(fresh.scrape(samples)), [1024, 4096]);
  assert.deepEqual([fresh.series().every(({ group }) => group === 'power'), fresh.dropped('power')], [true, 0], 'power is the highest tier here');
});

test('the drop order: the lowest tier first, in a tier the last entity in the order (kind, uuid, id)', () => {
  const board = gpu(0);
  const instance = gi(8, 0, 3);
  const node = [gpu(1), board, instance, ci(8, instance, 0), nvswitch(0), link(0, board)];
  const samples = node.flatMap(every);
  const all = guestOf(node);
  const { series: total } = all.scrape(samples);
  const order = [...all.series()];
  const entities = [...new Set(order.map(({ entity }) => entity))];
  let before = order;
  for (let cap = total - 1; cap > 0; cap--) {
    const guest = guestOf(node);
    guest.seriesMax(cap);
    const tally = guest.scrape(samples);
    assert.deepEqual([tally.series, tally.dropped], [cap, total - cap]);
    const now = guest.series();
    const keys = new Set(kept(guest));
    const [gone, ...more] = before.filter(({ group, entity, metric, labels }) => !keys.has(`${group} ${entity} ${metric} ${labels}`));
    assert.equal(more.length, 0, 'a lower cap drops one more and keeps the others');
    assert.ok(now.every(({ group }) => tierOf(group) >= tierOf(gone!.group)), `at ${cap}: ${gone!.group} went before a lower tier`);
    assert.ok(entities.includes(gone!.entity));
    before = now;
  }
  assert.deepEqual(before.map(({ group }) => group), ['nvlink'], 'NVLink bytes go last');
});

test('compute instances go first whatever they show; entities of a tier from the last on', () => {
  const instances = [gi(1, 0, 1), gi(2, 0, 2)];
  const node = [gpu(0), ...instances, ...instances.map((instance) => ci(instance.id, instance, 0))];
  const guest = guestOf(node);
  const samples = node.map((entity) => sample(entity, 252, 1));
  const shown = (cap: number): unknown[] => {
    guest.seriesMax(cap);
    guest.scrape(samples);
    return guest.found().map(({ resource }) => String(resource.get('hw.id')).replace('GPU-0000-0', ''));
  };
  assert.deepEqual([4, 3, 2, 1].map(shown), [['', '/gi1', '/gi2', '/gi1/ci0'], ['', '/gi1', '/gi2'], ['', '/gi1'], ['']]);
  assert.deepEqual([guest.dropped('mig_ci'), guest.dropped('memory')], [1 + 2 + 2 + 2, 1 + 2]);
  const boards = ['GPU-b', 'GPU-a', 'GPU-c'].map((uuid, id) => gpu(id, { uuid }));
  const other = guestOf(boards);
  other.seriesMax(2);
  other.scrape(boards.map((entity) => sample(entity, 150, 1)));
  assert.deepEqual(other.found().map(({ resource }) => resource.get('hw.id')), ['GPU-a', 'GPU-b'], 'by UUID, not by index');
});

test('budgets come before the cap', () => {
  const guest = guestOf(gpus(10));
  const samples = gpus(10).flatMap((entity) => [sample(entity, 150, 1), sample(entity, 155, 1)]);
  assert.equal(guest.budget('power', 3), true);
  let tally = guest.scrape(samples);
  assert.deepEqual([tally.series, tally.dropped, guest.dropped('power')], [13, 7, 7]);
  guest.seriesMax(12);
  tally = guest.scrape(samples);
  assert.deepEqual([tally.series, tally.dropped, guest.dropped('power'), guest.dropped('thermal')], [12, 8, 14, 1]);
  guest.budget('power', 0);
  guest.seriesMax(4096);
  assert.deepEqual([guest.scrape(samples).series, guest.series().some(({ group }) => group === 'power')], [10, false]);
  guest.budget('power', 10);
  assert.equal(guest.scrape(samples).series, 20, 'at the budget nothing is dropped');
  assert.equal(guest.call('budget', 99, 1), 0, 'no such group');
});

test('a series that the cap left out goes on counting meanwhile', () => {
  const guest = guestOf([gpu(0)]);
  const at = (second: number): Sample[] => [1009, 155].map((field) => sample(gpu(0), field, 100, { tsUs: NOW_US + BigInt(second) * 1_000_000n }));
  guest.scrape(at(0));
  guest.seriesMax(1);
  assert.deepEqual([guest.scrape(at(10), NOW_US + 10_000_000n).dropped, guest.series()[0]!.metric], [1, 'hw.power']);
  guest.seriesMax(2);
  guest.scrape(at(20), NOW_US + 20_000_000n);
  assert.equal(guest.series().find(({ metric }) => metric === 'hw.gpu.io')!.value, 2000);
});

test('more candidates than the table of series holds: the drop order still decides, and all are counted', () => {
  const node = gpus(300);
  const guest = guestOf(node);
  guest.seriesMax(1000);
  const low = node.flatMap((entity) => [312, 313, 206, 207, 390, 391, 392, 393, 394, 395, 396, 202, 1501, 204, 158, 159, 1001, 1002].map((field) => sample(entity, field, 1)));
  const high = node.flatMap((entity) => [sample(entity, 155, 1), sample(entity, 250, 1), sample(entity, 251, 1)]);
  assert.ok(low.length + high.length > 5120);
  for (const samples of [[...low, ...high], [...high, ...low]]) for (let round = 0; round < 2; round++) {
    const tally = guest.scrape(samples);
    assert.equal(tally.series, 1000);
    assert.equal(tally.dropped, samples.length - 1000);
    const counts = Object.fromEntries(['power', 'memory', 'pipes'].map((name) => [name, guest.series().filter(({ group }) => group === name).length]));
    assert.deepEqual(counts, { power: 300, memory: 600, pipes: 100 }, 'the three highest tiers that came');
    const indices = guest.found().filter(({ metric }) => metric.name === 'hw.gpu.pipe.utilization').map(({ resource }) => String(resource.get('hw.id')));
    assert.deepEqual([...new Set(indices)], node.map(({ uuid }) => uuid).sort().slice(0, 50), 'of those the first entities');
  }
});

test('what finds no part is counted: 64 parts of 16,000 bytes', () => {
  const long = Array.from({ length: 1024 }, (_, id) => gpu(id, { uuid: `GPU-${'u'.repeat(200)}-${id}`, model: 'm'.repeat(240), driver: 'd'.repeat(240) }));
  const guest = guestOf(long);
  const tally = guest.scrape(long.flatMap((entity) => [150, 155, 100, 252].map((field) => sample(entity, field, 1))));
  assert.equal(guest.parts().length, 64);
  assert.ok(tally.dropped > 0 && tally.series + tally.dropped === 4096);
  assert.equal(guest.found().length, tally.series);
});

/** A random node and random samples, some of them nonsense. */
function randomInput(seed: number): { node: Entity[]; samples: Sample[]; cap: number; budget: number } {
  const random = new Random(seed);
  const boards = gpus(1 + random.below(12));
  const instances = boards.flatMap(({ id }) => Array.from({ length: random.below(3) }, (_, i) => gi(id * 8 + i, id, i + 1)));
  const node = [...boards, ...instances, ...instances.filter(() => random.below(2) === 0).map((instance) => ci(instance.id, instance, 0)),
    ...Array.from({ length: random.below(3) }, (_, id) => nvswitch(id)), ...boards.flatMap((board) => Array.from({ length: random.below(6) }, (_, port) => link(port, board)))];
  const ids = [...fieldsOf];
  const samples = Array.from({ length: 50 + random.below(600) }, () => {
    const field = ids[random.below(ids.length)]!;
    const entity = node[random.below(node.length)]!;
    const value = random.below(10) === 0 ? 0x7ffffff0 : random.below(1_000_000);
    const type = catalogField(field)!.type;
    return sample(random.below(50) === 0 ? gpu(99) : entity, field, type === 'double' && random.below(20) === 0 ? NaN : value,
      { status: random.below(12) === 0 ? -14 : 0, tsUs: NOW_US - BigInt(random.below(60_000_000)) });
  });
  return { node, samples, cap: 1 + random.below(300), budget: random.below(20) };
}

test('200 random inputs: never above the cap, every sample counted, the same in gives the same out', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const { node, samples, cap, budget } = randomInput(seed);
    const run = (): { parts: Buffer[]; tally: ReturnType<Guest['scrape']>; found: number; powers: number } => {
      const guest = guestOf(node);
      guest.seriesMax(cap);
      guest.budget('power', budget);
      const tally = guest.scrape(samples);
      return { parts: guest.parts(), tally, found: guest.found().length, powers: guest.series().filter(({ group }) => group === 'power').length };
    };
    const first = run();
    const { series, dropped, values, samples: taken, replaced, xidEdges } = first.tally;
    const why = `seed ${seed}; reproduce: npx tsx --test tests/gpu/cap.test.ts`;
    assert.ok(series <= cap && first.powers <= budget, why);
    assert.equal(first.found, series, why);
    assert.ok(dropped >= 0 && series + dropped + replaced <= values + xidEdges, why);
    assert.equal(taken, samples.length, why);
    const { blanks, unsupported, denied, stale, errors, bad, homeless } = first.tally;
    assert.equal(values + blanks + unsupported + denied + stale + errors + bad + homeless, taken, why);
    assert.ok(first.parts.every((part) => part.length <= 16_000), why);
    assert.deepEqual(run(), first, why);
  }
});

test('50 identical scrapes are byte-equal, in one guest and in others', () => {
  const { node, samples } = randomInput(7);
  const guest = guestOf(node);
  guest.scrape(samples);
  guest.scrape(samples);
  const wanted = guest.parts();
  for (let i = 0; i < 50; i++) {
    guest.scrape(samples);
    assert.deepEqual(guest.parts(), wanted, `scrape ${i}`);
  }
  for (let i = 0; i < 50; i++) {
    const other = guestOf(node);
    other.scrape(samples);
    other.scrape(samples);
    assert.deepEqual(other.parts(), wanted, `guest ${i}`);
  }
});

test('a full node keeps within the default cap and drops from the lowest tiers', () => {
  const guest = newGuest().allGroups();
  const node = new Node(guest, 'h100x8');
  node.at(0);
  const tally = node.at(15);
  assert.deepEqual([tally.series, tally.dropped], [1024, 1280 - 1024]);
  const counts = new Map<string, number>();
  for (const { group } of guest.series()) counts.set(group, (counts.get(group) ?? 0) + 1);
  assert.deepEqual([counts.get('nvlink'), counts.get('ecc_aggregate'), counts.get('codec')], [288, undefined, undefined]);
  assert.equal(Math.max(...gpuGroups.filter(({ name }) => guest.dropped(name) > 0).map(({ tier }) => tier)) <= 7, true);
});
