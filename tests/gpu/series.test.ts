// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of what a series remembers: rates are integrated, counters that fall start anew, codes are counted at their edges, a field
// that stands in for another replaces it, and entities that come and go keep or lose their series.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entity, Sample } from '../../runtime/bridge/source.js';
import type { Point } from '../../runtime/export/otlp/model.js';
import { NOW_US, newGuest, type Guest } from './guest.js';
import { Node, ci, gi, gpu, gpus, guestOf, link, nvswitch, sample } from './nodes.js';

const board = gpu(0);
const at = (second: number): bigint => NOW_US + BigInt(Math.round(second * 1e6));
const ns = (second: number): bigint => at(second) * 1000n;
/** One sample of a field with its own time, in a scrape at that time; the points of the scrape. */
function step(guest: Guest, field: number, second: number, value: number | bigint, more: Partial<Sample> = {}, entity: Entity = board): Point[] {
  guest.scrape([sample(entity, field, value, { tsUs: at(second), ...more })], at(second));
  return guest.found().map(({ point }) => point);
}
const shown = (points: Point[]): [number, bigint, bigint][] => points.map(({ value, startNs, timeNs }) => [Number(value), startNs, timeNs]);

test('a rate is integrated over the samples\' own times', () => {
  const guest = guestOf([board]);
  assert.deepEqual(shown(step(guest, 1009, 0, 1000)), [[0, ns(0), ns(0)]], 'the first sample only begins');
  assert.deepEqual(shown(step(guest, 1009, 15, 1000)), [[15_000, ns(0), ns(15)]]);
  assert.deepEqual(shown(step(guest, 1009, 20.5, 2000)), [[26_000, ns(0), ns(20.5)]]);
  assert.deepEqual(shown(step(guest, 1009, 20.5, 9999)), [[26_000, ns(0), ns(20.5)]], 'no time has passed');
  assert.deepEqual(shown(step(guest, 1009, 30, 0, { status: -14 })), [], 'no sample, no point');
  assert.deepEqual(shown(step(guest, 1009, 40.5, 100)), [[28_000, ns(0), ns(40.5)]], 'it goes on over a missed sample');
});

test('a gap of more than three intervals, and a step back in time, start a rate anew', () => {
  const guest = guestOf([board]);
  step(guest, 1010, 0, 10);
  assert.deepEqual(shown(step(guest, 1010, 45, 10)), [[450, ns(0), ns(45)]], 'three intervals are no gap');
  assert.deepEqual(shown(step(guest, 1010, 90.000001, 10)), [[0, ns(90.000001), ns(90.000001)]]);
  assert.deepEqual(shown(step(guest, 1010, 100, 10))[0]![1], ns(90.000001));
  assert.deepEqual(shown(step(guest, 1010, 80, 10)), [[0, ns(80), ns(80)]], 'back in time');
  const fast = guestOf([board]);
  fast.intervalMs(1000);
  step(fast, 1010, 0, 10);
  assert.deepEqual(shown(step(fast, 1010, 3.1, 10)), [[0, ns(3.1), ns(3.1)]]);
});

test('rates in MB/s become bytes', () => {
  const fabric = nvswitch(0);
  const guest = guestOf([fabric]);
  step(guest, 861, 0, 50, {}, fabric);
  assert.deepEqual(shown(step(guest, 861, 2, 50, {}, fabric)), [[100_000_000, ns(0), ns(2)]]);
});

test('a counter keeps its start; when it falls it was reset after the last sample', () => {
  const guest = guestOf([board]);
  assert.deepEqual(shown(step(guest, 310, 0, 5)), [[5, ns(0), ns(0)]]);
  assert.deepEqual(shown(step(guest, 310, 15, 5)), [[5, ns(0), ns(15)]]);
  assert.deepEqual(shown(step(guest, 310, 30, 9)), [[9, ns(0), ns(30)]]);
  assert.deepEqual(shown(step(guest, 310, 45, 2)), [[2, ns(30), ns(45)]], 'fell: the start moves');
  assert.deepEqual(shown(step(guest, 310, 60, 3)), [[3, ns(30), ns(60)]]);
  assert.deepEqual(shown(step(guest, 310, 50, 3)), [[3, ns(50), ns(50)]], 'a start is never after its time');
  const energy = guestOf([board]);
  step(energy, 156, 0, 1_500);
  assert.deepEqual(shown(step(energy, 156, 1, 2_250)), [[2.25, ns(0), ns(1)]]);
  assert.deepEqual(shown(step(energy, 156, 2, 250)), [[0.25, ns(1), ns(2)]], 'the driver was loaded anew');
});

test('whole counters stay exact beyond 2^53', () => {
  const guest = guestOf([board]);
  const value = 2n ** 60n + 1n;
  assert.equal(step(guest, 1091, 0, value)[0]!.value, value);
});

test('an XID is counted when code or time change, a point for each code, the newest first', () => {
  const guest = guestOf([board]);
  const xid = (second: number, code: number, eventSecond: number): [string, number, bigint, bigint][] => {
    guest.scrape([sample(board, 230, code, { tsUs: at(eventSecond) })], at(second));
    return guest.found().map(({ point }) => [String(point.attributes.get('hw.gpu.xid')), Number(point.value), point.startNs, point.timeNs]);
  };
  assert.deepEqual(xid(0, 0, 0), [], 'no error');
  assert.deepEqual(xid(15, 31, 10), [['31', 1, ns(10), ns(15)]]);
  assert.deepEqual(xid(30, 31, 10), [['31', 1, ns(10), ns(30)]], 'the same event');
  assert.deepEqual(xid(45, 31, 10.9), [['31', 1, ns(10), ns(45)]], 'a time computed anew is the same event');
  assert.deepEqual(xid(60, 31, 50), [['31', 2, ns(10), ns(60)]], 'the same code again');
  assert.deepEqual(xid(75, 13, 70), [['13', 1, ns(70), ns(75)], ['31', 2, ns(10), ns(75)]]);
  assert.deepEqual(xid(90, 31, 80), [['31', 3, ns(10), ns(90)], ['13', 1, ns(70), ns(90)]]);
  assert.deepEqual(xid(105, 0, 95).map(([code, count]) => [code, count]), [['31', 3], ['13', 1]], 'cleared: what was counted stays');
  guest.scrape([sample(board, 230, 0, { status: -18 })], at(120));
  assert.deepEqual(guest.found().map(({ point }) => [Number(point.value), point.timeNs]), [[3, ns(120)], [1, ns(120)]], 'a lost GPU keeps its XIDs');
  guest.scrape([], at(135));
  assert.equal(guest.found().length, 2, 'also without a sample');
  guest.group('xid', 0);
  guest.scrape([], at(150));
  assert.equal(guest.found().length, 0, 'not when the group is off');
  guest.group('xid', 1);
  guest.enumerate([]);
  guest.scrape([], at(165));
  assert.equal(guest.found().length, 0, 'nor for an entity that is gone');
});

test('the tally counts edges; codes of an entity are bounded, and what is over is counted', () => {
  const guest = guestOf([board]);
  for (let code = 1; code <= 17; code++) {
    const tally = guest.scrape([sample(board, 230, code, { tsUs: at(code * 5) })], at(code * 5));
    assert.deepEqual([tally.xidEdges, tally.series, tally.dropped], code <= 16 ? [1, code, 0] : [0, 16, 1]);
  }
  const tally = guest.scrape([sample(board, 230, 17, { tsUs: at(85) })], at(100));
  assert.deepEqual([tally.series, tally.dropped, guest.dropped('xid')], [16, 0, 1], 'the same event is not lost twice');
});

test('SXids of a switch are counted without their code', () => {
  const fabric = nvswitch(1);
  const guest = guestOf([fabric]);
  step(guest, 856, 10, 20034, {}, fabric);
  const [point] = step(guest, 856, 20, 12028, {}, fabric);
  assert.deepEqual([point!.value, point!.attributes.get('error.type')], [2n, 'sxid_fatal']);
});

test('a state has one point, for the state that holds', () => {
  const guest = guestOf([board]);
  const states = (second: number, action: number): [unknown, number][] => step(guest, 1523, second, action).map(({ attributes, value }) => [attributes.get('hw.state'), Number(value)]);
  assert.deepEqual([0, 1, 2, 3, 4, 9, 0].map((action, i) => states(i, action)), ['ok', 'failed', 'failed', 'degraded', 'degraded', 'degraded', 'ok'].map((state) => [[state, 1]]));
});

test('a field that stands in for another replaces it for that entity and scrape alone', () => {
  const guest = guestOf(gpus(2));
  const [one, two] = gpus(2) as [Entity, Entity];
  const both = [sample(one, 1009, 5), sample(one, 1091, 7), sample(two, 1009, 5)];
  const seen = (samples: Sample[]): [unknown, number][] => {
    guest.scrape(samples);
    return guest.found().map(({ resource, point }) => [resource.get('hw.gpu.index'), Number(point.value)]);
  };
  assert.deepEqual(seen(both), [[0n, 7], [1n, 0]]);
  assert.deepEqual(seen([...both].reverse()), [[0n, 7], [1n, 0]], 'in whatever order they come');
  assert.deepEqual(seen([sample(one, 1009, 5), sample(one, 1091, 7, { status: -6 }), sample(two, 1009, 5)]), [[0n, 0], [1n, 0]], 'without a value it replaces nothing');
  assert.deepEqual(seen([sample(one, 240, 5_000_000_000n), sample(one, 1420, 7_000_000_000n)]), [[0n, 7]], 'the other attribute too');
});

test('a link\'s own field replaces its GPU\'s lane: the same link and direction, no other', () => {
  const node = [...gpus(2), link(5, gpu(0))];
  const guest = guestOf(node);
  const lanes = [0, 1].flatMap((of) => [1040 + 10, 1040 + 11, 1040 + 12].map((field) => sample(gpu(of), field, 1)));
  const tally = guest.scrape([...lanes, sample(link(5, gpu(0)), 1532, 9)]);
  assert.deepEqual([tally.replaced, tally.series], [1, 6]);
  const keys = guest.found().map(({ resource, point }) => [resource.get('hw.gpu.index'), point.attributes.get('hw.gpu.nvlink.link'), point.attributes.get('network.io.direction')].join(' '));
  assert.deepEqual(keys.sort(), ['0 5 receive', '0 5 transmit', '0 6 transmit', '1 5 receive', '1 5 transmit', '1 6 transmit']);
  assert.equal(guest.scrape([...lanes, sample(link(5, gpu(0)), 1532, 9), sample(link(5, gpu(0)), 1533, 9)]).replaced, 2);
});

test('an enumeration takes effect as a whole; a broken one changes nothing', () => {
  const guest = guestOf(gpus(2));
  const samples = gpus(2).map((entity) => sample(entity, 1009, 100, { tsUs: at(0) }));
  guest.scrape(samples, at(0));
  guest.call('beginEnumeration');
  assert.ok(guest.takeEntities(Buffer.from([1, 2, 3])) < 0);
  const later = gpus(2).map((entity) => sample(entity, 1009, 100, { tsUs: at(10) }));
  assert.equal(guest.scrape(later, at(10)).series, 2);
  assert.deepEqual(guest.found().map(({ point }) => Number(point.value)), [1000, 1000], 'and the series go on');
  assert.equal(guest.enumerate(gpus(1)), 1);
  assert.equal(guest.scrape(later, at(20)).homeless, 1);
  assert.equal(guest.enumerate(gpus(2)), 2);
  assert.equal(guest.scrape(gpus(2).map((entity) => sample(entity, 1009, 100, { tsUs: at(30) })), at(30)).series, 2);
  assert.deepEqual(guest.found().map(({ point }) => Number(point.value)), [3000, 3000], 'one that comes back is the same');
});

test('a replaced board has series of its own; a driver that was updated has not', () => {
  const guest = guestOf([board]);
  step(guest, 310, 0, 50);
  guest.enumerate([{ ...board, driver: '9.9' }]);
  assert.deepEqual(shown(step(guest, 310, 10, 51)), [[51, ns(0), ns(10)]]);
  assert.deepEqual(guest.resources()[0]!.attributes.get('hw.driver_version'), '9.9');
  const other = { ...board, uuid: 'GPU-other' };
  guest.enumerate([other]);
  assert.deepEqual(shown(step(guest, 310, 20, 3, {}, other)), [[3, ns(20), ns(20)]]);
  assert.deepEqual(guest.resources()[0]!.attributes.get('hw.id'), 'GPU-other');
});

test('1,024 entities fit, one more is counted; places of absent ones are given away', () => {
  const guest = newGuest();
  guest.seriesMax(4096);
  assert.equal(guest.enumerate(gpus(1024)), 1024);
  assert.equal(Number(guest.call('entitiesRefused')), 0);
  assert.equal(guest.scrape(gpus(1024).map((entity) => sample(entity, 150, 40))).series, 1024);
  assert.equal(guest.enumerate(gpus(1025)), 1024);
  assert.equal(Number(guest.call('entitiesRefused')), 1);
  const others = Array.from({ length: 1024 }, (_, id) => gpu(id, { uuid: `GPU-new-${id}` }));
  assert.equal(guest.enumerate(others), 0, 'while the old ones are listed there is no place');
  guest.enumerate([]);
  assert.equal(guest.enumerate(others), 1024);
  assert.equal(guest.scrape(others.map((entity) => sample(entity, 150, 40))).series, 1024);
  assert.equal(guest.resources()[1023]!.attributes.get('hw.id'), 'GPU-new-999', 'the last by UUID');
  assert.ok(guest.pages <= 96, `${guest.pages} pages`);
});

test('entities of a kind without points are counted, not taken', () => {
  const guest = newGuest();
  assert.equal(guest.enumerate([board, { ...board, group: 2, id: 5 }, { ...board, group: 7, id: 0 }]), 1);
  assert.equal(Number(guest.call('entitiesRefused')), 2);
});

test('MIG: instances have what is theirs, and are split anew without a trace of the old ones', () => {
  const instance = gi(3, 0, 9);
  const guest = guestOf([board, instance, ci(3, instance, 1)]);
  guest.scrape([sample(board, 252, 10), sample(instance, 252, 4), sample(ci(3, instance, 1), 252, 2), sample(instance, 1002, 0.5), sample(instance, 230, 43)]);
  const of = guest.found().map(({ resource, metric, point }) => [resource.get('hw.gpu.mig.instance_id'), resource.get('hw.gpu.mig.compute_instance_id'), metric.name, Number(point.value)]);
  assert.deepEqual(of, [[undefined, undefined, 'hw.gpu.memory.usage', 10 * 2 ** 20], [9n, undefined, 'hw.gpu.memory.usage', 4 * 2 ** 20],
    [9n, undefined, 'hw.gpu.xid.errors', 1], [9n, undefined, 'hw.gpu.pipe.utilization', 0.5], [9n, 1n, 'hw.gpu.memory.usage', 2 * 2 ** 20]]);
  guest.enumerate([board, gi(3, 0, 2)]);
  guest.scrape([sample(board, 252, 10), sample(gi(3, 0, 2), 252, 7)]);
  assert.deepEqual(guest.found().map(({ resource }) => resource.get('hw.gpu.mig.instance_id')), [undefined, 2n]);
});

test('scenarios: an XID seen once is one event for as long as the node is watched; a lost GPU leaves only its XID', () => {
  const guest = newGuest();
  guest.intervalMs(1000);
  const node = new Node(guest, 'h100x8', 'xid');
  let edges = 0;
  for (let second = 0; second <= 130; second++) edges += node.at(second).xidEdges;
  assert.equal(edges, 4, '31, 13, 43 and 43 again');
  const xids = guest.found().filter(({ metric }) => metric.name === 'hw.gpu.xid.errors').map(({ point }) => [point.attributes.get('hw.gpu.xid'), Number(point.value)]);
  assert.deepEqual(xids, [['43', 2], ['13', 1], ['31', 1]]);
  const bus = newGuest();
  const lost = new Node(bus, 'h100x8', 'gpu-lost');
  lost.at(0);
  lost.at(21);
  const tally = lost.at(25);
  assert.ok(tally.gone > 40);
  const left = bus.found().filter(({ resource }) => resource.get('hw.gpu.index') === 7n);
  assert.deepEqual(left.map(({ metric, point }) => [metric.name, point.attributes.get('hw.gpu.xid')]), [['hw.gpu.xid.errors', '79']]);
});
