// SPDX-License-Identifier: Apache-2.0
// Retention: what reaches /state, when, under which keys; roll-ups exact to the value; rotation, garbage collection; writes that fail; and a
// second life on the same disk. The disk is a stand-in for statefsd; guest time moves only when a step says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { senderId, type Host } from '../../runtime/node/index.js';
import { batch, counter, expect, gauge, histogram, recipeWith, register, registry, run, stats, type Steps } from './metricsd-frames.js';
import { SECOND, at, brief, life, range, settle } from './metricsd-history.js';
import { FOLDER, StatePeer, UNLIMITED, booted } from './metricsd-state.js';

test('an interval becomes one record, acknowledged; its points come back by RANGE, exact', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    assert.equal((yield* stats(host)).retention, 2n);
    for (const value of [3, 4, 1]) yield* expect(host, 'timed', counter('c', value, 'b=2\na=1'), 'ok');
    for (const value of [-5n, 9n, 2n]) yield* expect(host, 'timed', gauge('g', value), 'ok');
    for (const value of [1_000_000, 1_000_001, 200_000_000]) yield* expect(host, 'execd', histogram('h', value), 'ok');
    assert.deepEqual(state.puts, [], 'nothing is written before the interval ends');
    yield* at(host, SECOND);
    yield* settle(host);
    assert.deepEqual(state.keys(''), ['wal/seg_00/0000']);
    yield* expect(host, 'timed', counter('c', 10, 'a=1\nb=2'), 'ok');
    yield* at(host, 2n * SECOND);
    yield* settle(host);
    assert.deepEqual(state.keys(''), ['wal/seg_00/0000', 'wal/seg_00/0001']);
    assert.deepEqual((yield* range(host, { name: 'c' })).map(brief), [[0, 3, 8, 1, 4, 8], [1, 1, 10, 10, 10, 18]]);
    assert.deepEqual((yield* range(host, { name: 'g' })).map(brief), [[0, 3, 6, -5, 9, 2]]);
    assert.deepEqual((yield* range(host, { name: 'h' })).map(brief), [[0, 3, 202_000_001, 1_000_000, 200_000_000, 200_000_000, [1, 1, 0, 0, 1]]]);
    const [point] = yield* range(host, { name: 'c', from: SECOND, to: 2n * SECOND });
    assert.deepEqual([point!.sender, point!.kind, point!.labels, point!.width], [senderId('timed'), 1, 'a=1\nb=2', SECOND]);
    const words = yield* stats(host);
    assert.deepEqual([words.rawWritten, words.writeFailures, words.samplesDropped, words.segment, words.segmentRecords], [2n, 0n, 0n, 0n, 2n]);
  });
});

test('roll-ups: 10 s and 60 s windows hold exactly what fell into them', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    for (let second = 0; second < 61; second++) {
      yield* expect(host, 'timed', counter('c', second), 'ok');
      yield* expect(host, 'timed', gauge('g', 30 - second), 'ok');
      yield* expect(host, 'timed', histogram('h', 1_000_000 * second), 'ok');
      yield* at(host, BigInt(second + 1) * SECOND);
    }
    yield* settle(host);
    const tens = yield* range(host, { level: 1, name: 'c', to: 60n * SECOND });
    assert.deepEqual(tens.map(brief), [0, 1, 2, 3, 4, 5].map((w) => {
      const first = 10 * w;
      return [first, 10, 10 * first + 45, first, first + 9, ((first + 9) * (first + 10)) / 2];
    }));
    assert.deepEqual((yield* range(host, { level: 1, name: 'g', to: 20n * SECOND })).map(brief), [[0, 10, 255, 21, 30, 21], [10, 10, 155, 11, 20, 11]]);
    assert.deepEqual((yield* range(host, { level: 2, name: 'c', to: 60n * SECOND })).map(brief), [[0, 60, 1770, 0, 59, 1770]]);
    assert.deepEqual((yield* range(host, { level: 2, name: 'h', to: 60n * SECOND })).map(brief), [[0, 60, 1_770_000_000, 0, 59_000_000, 59_000_000, [2, 4, 15, 39, 0]]]);
    // The window that is open.
    const open = (yield* range(host, { level: 2, name: 'c', from: 60n * SECOND })).map((p) => [brief(p), p.flags]);
    assert.deepEqual(open, [[[60, 1, 60, 60, 60, 1830], 1]]);
    assert.deepEqual(state.keys('rollup/60s'), ['rollup/60s/w_0000000000.000']);
  });
});

const SMALL = { max_segments: '3', max_records_per_segment: '4', ttl_windows_10s: '12', ttl_windows_60s: '2', gc_batch: '2' };

/** One update of `c` in each of the seconds [from, to). */
function* everySecond(host: Host, from: number, to: number, name = 'c'): Steps<void> {
  for (let second = from; second < to; second++) {
    yield* at(host, BigInt(second) * SECOND + 1n);
    yield* expect(host, 'timed', counter(name, 1), 'ok');
  }
  yield* at(host, BigInt(to) * SECOND);
}

test('the raw log comes round: whole segments, a slot used again only after it was emptied, no record written twice', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* everySecond(host, 1, 24);
    yield* at(host, 30n * SECOND);
    yield* settle(host);
    const words = yield* stats(host);
    // 24 records (the first second has metricsd's own start): segments 0 to 5; 0 to 3 are gone.
    assert.deepEqual([words.segment, words.segmentRecords, words.segmentsDropped, words.samplesDropped], [5n, 3n, 4n, 0n]);
    assert.deepEqual(state.keys('wal'), [
      ...[0, 1, 2, 3].map((n) => `wal/seg_01/000${n}`), ...[0, 1, 2].map((n) => `wal/seg_02/000${n}`),
    ]);
    const raw = state.puts.filter((key) => key.includes('/wal/'));
    const used = new Set<string>();
    const log = [...raw];
    for (const key of log) assert.ok(!used.has(key) || state.dels.includes(key), `${key} written over`);
    assert.equal(raw.length, 23);
    assert.deepEqual((yield* range(host, { name: 'c' })).map(({ start }) => Number(start / SECOND)), [17, 18, 19, 20, 21, 22, 23]);
  }, SMALL);
});

test('garbage collection: exactly the keys whose time is over, gc_batch a step', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* everySecond(host, 1, 30);
    yield* at(host, 121n * SECOND);
    yield* settle(host);
    const before = state.keys('rollup');
    assert.deepEqual(before, ['10s/w_0000000000', '10s/w_0000000001', '10s/w_0000000002', '60s/w_0000000000'].map((name) => `rollup/${name}.000`));
    yield* at(host, 131n * SECOND);
    yield* settle(host);
    assert.deepEqual(state.keys('rollup'), before.slice(1), 'the window is the thirteenth before the open one');
    yield* at(host, 190n * SECOND);
    yield* settle(host);
    assert.deepEqual(state.keys('rollup'), [], 'and nothing is left when nothing happens');
    assert.deepEqual((yield* range(host, { level: 1, name: 'c' })), []);
  }, SMALL);
});

test('a counter that is idle while the raw log turns over keeps its value through a reboot', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'execd', counter('idle', 41), 'ok');
    yield* expect(host, 'execd', histogram('idle.h', 5), 'ok');
    yield* everySecond(host, 1, 40);
    yield* at(host, 45n * SECOND);
    yield* settle(host);
    assert.ok((yield* stats(host)).segmentsDropped > 6n);
  }, SMALL);
  await life(state, function* (host): Steps<void> {
    const found = (yield* registry(host)).records.filter(({ sender }) => sender === senderId('execd'));
    assert.deepEqual(found.map(({ name, value, count, unit }) => [name, value, count, unit]), [['idle', 41n, 0n, 0x80], ['idle.h', 5n, 1n, 0x81]]);
    yield* expect(host, 'execd', counter('idle', 1), 'ok');
    const [again] = (yield* registry(host)).records.filter(({ name }) => name === 'idle');
    assert.deepEqual([again!.value, again!.unit], [42n, 0]);
  }, SMALL);
});

test('a second life goes on: values, clock, segments, and the window that was open', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* everySecond(host, 60, 64);
    yield* expect(host, 'timed', gauge('g', -7n), 'ok');
    yield* at(host, 65n * SECOND);
    yield* settle(host);
  });
  const kept = new Map(state.values);
  await life(state, function* (host): Steps<void> {
    const words = yield* stats(host);
    assert.deepEqual([words.retention, words.offsetNs, words.recoveredBad, words.entriesRefused], [2n, 65n * SECOND, 0n, 0n]);
    assert.ok(words.restored >= 2n);
    assert.equal((yield* registry(host)).records.find(({ name }) => name === 'g')!.value, BigInt.asUintN(64, -7n));
    for (const [key, value] of kept) assert.deepEqual(state.values.get(key), value, `${key} was changed by starting`);
    yield* expect(host, 'timed', counter('c', 10), 'ok');
    // Retention time 70 s is guest time 5 s of this boot.
    yield* at(host, 6n * SECOND);
    yield* settle(host);
    assert.deepEqual((yield* range(host, { name: 'c' })).map(brief), [
      ...[60, 61, 62, 63].map((second, n) => [second, 1, 1, 1, 1, n + 1]), [65, 1, 10, 10, 10, 14],
    ]);
    assert.deepEqual((yield* range(host, { level: 1, name: 'c' })).map(brief), [[60, 5, 14, 1, 10, 14]]);
    for (const key of kept.keys()) assert.deepEqual(state.values.get(key), kept.get(key), `${key} was written over`);
    assert.deepEqual(state.puts.filter((key, n) => state.puts.indexOf(key) !== n), [], 'a key was put twice');
  });
});

test('rolling the same window again: the same bytes under the same keys, whichever life does it and in whatever order series came', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    for (const name of ['z', 'a', 'm']) yield* expect(host, name === 'a' ? 'execd' : 'timed', counter(name, 2), 'ok');
    yield* expect(host, 'timed', histogram('h', 30_000_000), 'ok');
    for (let second = 1n; second < 62n; second++) {
      yield* at(host, second * SECOND + 1n);
      yield* expect(host, 'timed', histogram('h', second * 1_000_000n), 'ok');
      if (second % 7n === 0n) yield* expect(host, 'execd', counter('a', second), 'ok');
    }
    yield* at(host, 65n * SECOND);
    yield* settle(host);
  });
  const rolled = state.keys('rollup').map((key): [string, Buffer] => [key, state.value(key)]);
  assert.equal(rolled.length, 7);
  for (const gone of [rolled, rolled.slice(3), rolled.filter(([key]) => key.includes('60s')), rolled.filter(([key]) => key.includes('10s'))]) {
    for (const [key] of gone) state.values.delete(FOLDER + key);
    await life(state, function* (host): Steps<void> {
      yield* at(host, SECOND / 2n);
      yield* settle(host);
    });
    for (const [key, bytes] of rolled) assert.deepEqual(state.values.get(FOLDER + key), bytes, `${key} made again`);
  }
});

test('writes that fail: counted, tried again as often as the recipe says, given up and made good by the next record; nobody waits', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* everySecond(host, 1, 3);
    yield* settle(host);
    state.refuseWrites = 7;
    yield* everySecond(host, 3, 4);
    yield* at(host, 4n * SECOND + 500_000_000n);
    let words = yield* stats(host);
    assert.deepEqual([words.writeFailures, words.writeStatus, words.writesLost, words.writesWaiting], [2n, 7n, 1n, 0n], 'one try and one retry');
    // While it fails, one record a second is tried: the state of every series.
    yield* at(host, 6n * SECOND + 500_000_000n);
    words = yield* stats(host);
    assert.deepEqual([words.writeFailures, words.writesLost], [6n, 3n]);
    state.refuseWrites = 0;
    yield* expect(host, 'execd', counter('other', 1), 'ok');
    yield* at(host, 8n * SECOND);
    yield* settle(host);
    words = yield* stats(host);
    assert.deepEqual([words.writesLost, words.writesWaiting], [3n, 0n]);
    // The point of second 3 is lost from the raw log, and only that: the window above has it.
    assert.deepEqual((yield* range(host, { name: 'c' })).map(({ start }) => Number(start / SECOND)), [1, 2]);
    assert.deepEqual((yield* range(host, { level: 1, name: 'c' })).map(brief), [[0, 3, 3, 1, 1, 3]]);
  });
  // The state was written with the next record although the series did not change again.
  await life(state, function* (host): Steps<void> {
    assert.equal((yield* registry(host)).records.find(({ name }) => name === 'c')!.value, 3n);
  });
});

test('statefsd goes away and comes back: records wait, in order, up to the ring; then they are written', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* everySecond(host, 1, 3);
    yield* settle(host);
    const before = (yield* stats(host)).rawWritten;
    state.dead = true;
    host.killPeer('statefsd');
    yield* everySecond(host, 3, 13);
    assert.deepEqual([(yield* stats(host)).rawWritten, (yield* stats(host)).writesLost], [before, 0n]);
    state.dead = false;
    yield* at(host, 14n * SECOND);
    yield* settle(host);
    assert.equal((yield* stats(host)).rawWritten, before + 10n);
    assert.deepEqual((yield* range(host, { name: 'c' })).map(({ start }) => Number(start / SECOND)), Array.from({ length: 12 }, (_none, n) => n + 1));
    // Longer than the ring holds: what does not fit is dropped and counted, and updates are taken all the while.
    state.dead = true;
    host.killPeer('statefsd');
    yield* everySecond(host, 14, 80);
    const words = yield* stats(host);
    assert.equal(words.writesWaiting, 48n);
    assert.ok(words.samplesDropped > 0n);
    state.dead = false;
    yield* at(host, 82n * SECOND);
    yield* settle(host);
    assert.equal((yield* stats(host)).writesWaiting, 0n);
  });
});

test('no statefsd, one that refuses, or one that cannot be read: unavailable, visible, and nothing pretends to be kept', async () => {
  const cases: [why: bigint, prepare: (state: StatePeer) => void][] = [
    [-120n, (state) => { state.dead = true; }],
    [14n, (state) => { state.storeState = 14; }],
    [7n, (state) => { state.refuseReads = 7; }],
  ];
  for (const [why, prepare] of cases) {
    const state = new StatePeer();
    prepare(state);
    await life(state, function* (host): Steps<void> {
      yield* expect(host, 'timed', counter('c', 1), 'ok', 'measurements are taken all the same');
      yield* at(host, 12n * SECOND);
      const words = yield* stats(host);
      assert.deepEqual([words.retention, BigInt.asIntN(64, words.why), words.rawWritten], [1n, why, 0n]);
      assert.deepEqual(state.puts, []);
      const self = (yield* registry(host)).records.find(({ name }) => name === 'metricsd.retention.unavailable');
      assert.equal(self!.value, 1n, 'a series says so');
    });
  }
});

test('restored series break no cap: they count in none until they are used, then they pass the caps of a new one', async () => {
  const state = new StatePeer();
  const caps = { max_series_total: '40', max_series_per_sender: '6', max_series_per_metric: '4', after_rejects: '1_000' };
  await life(state, function* (host): Steps<void> {
    for (let n = 0; n < 4; n++) yield* expect(host, 'timed', counter('m', 1, `k=${n}`), 'ok');
    for (let n = 0; n < 2; n++) yield* expect(host, 'timed', counter(`n${n}`, 1), 'ok');
    yield* at(host, 2n * SECOND);
    yield* settle(host);
  }, caps);
  await life(state, function* (host): Steps<void> {
    const restored = (yield* registry(host)).records.filter(({ sender }) => sender === senderId('timed'));
    assert.equal(restored.length, 6);
    assert.equal((yield* stats(host)).series, 13n, 'metricsd\'s own alone');
    // A forged handle of a series that was not claimed.
    yield* expect(host, 'timed', batch([[restored[0]!.handle, 1]]), 'stale_handle');
    for (let n = 10; n < 14; n++) yield* expect(host, 'timed', counter('m', 1, `k=${n}`), 'ok', 'new series take the sender\'s room');
    yield* expect(host, 'timed', counter('m', 1, 'k=0'), 'over_limit', 'a restored one of the metric that is full');
    yield* expect(host, 'timed', counter('n0', 1), 'ok', 'a restored one within the cap');
    yield* expect(host, 'timed', register(1, 0, 'n1'), 'ok', 'the sixth');
    yield* expect(host, 'timed', counter('n2', 1), 'over_limit', 'the seventh');
    assert.equal((yield* stats(host)).series, 19n);
    yield* at(host, 2n * SECOND);
    yield* settle(host);
  }, caps);
  // What an abuser leaves over many lives never takes more than a sender's own share of the restored ones.
  for (let boot = 0; boot < 3; boot++) {
    await life(state, function* (host): Steps<void> {
      for (let n = 0; n < 6; n++) yield* expect(host, 'timed', counter(`boot${boot}.${n}`, 1), 'ok');
      yield* expect(host, 'execd', counter('honest', 1), 'ok');
      yield* at(host, 2n * SECOND);
      yield* settle(host);
      const own = (yield* registry(host)).records.filter(({ sender }) => sender === senderId('timed'));
      assert.ok(own.length <= 12, `${own.length} series of one sender`);
      assert.equal((yield* registry(host)).records.find(({ name }) => name === 'honest')!.value, BigInt(boot + 1));
    }, caps);
  }
});

test('other histogram bounds after an update: the histogram starts anew, the rest goes on, and it is counted', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'timed', histogram('h', 5), 'ok');
    yield* expect(host, 'timed', counter('c', 5), 'ok');
    yield* at(host, 2n * SECOND);
    yield* settle(host);
  });
  const text = recipeWith({ enabled: '1', ...UNLIMITED, buckets_ns: '[7, 9]' });
  const next = await booted(state, {}, {}, text);
  run(next, function* (host): Steps<void> {
    assert.equal((yield* stats(host)).entriesRefused, 1n);
    yield* expect(host, 'timed', histogram('h', 8), 'ok');
    const found = (yield* registry(host)).records;
    assert.deepEqual(found.find(({ name }) => name === 'h')!.buckets.map(([, count]) => count), [0n, 1n, 0n]);
    assert.equal(found.find(({ name }) => name === 'c')!.value, 5n);
    const old = yield* range(host, { name: 'h', to: SECOND });
    assert.deepEqual(old.map(({ flags, buckets }) => [flags, buckets.length]), [[2, 5]], 'the old point says that its bounds are others');
  });
});

test('a record that is rotten, foreign or of another segment is skipped and counted; the rest is taken over', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* everySecond(host, 1, 6);
    yield* settle(host);
  });
  const keys = state.keys('wal').filter((key) => !key.endsWith('0000'));
  state.values.set(FOLDER + keys[0]!, Buffer.from('no record of ours, but long enough to have a head'));
  state.value(keys[1]!).writeUInt32LE(9, 24); // the segment
  state.values.set(FOLDER + keys[2]!, state.value(keys[2]!).subarray(0, 40));
  state.values.set(`${FOLDER}wal/seg_99/0000`, Buffer.from('x'));
  state.values.set(`${FOLDER}wal/other`, Buffer.from('x'));
  await life(state, function* (host): Steps<void> {
    const words = yield* stats(host);
    assert.equal(words.retention, 2n);
    assert.equal(words.recoveredBad, 4n);
    assert.equal((yield* registry(host)).records.find(({ name }) => name === 'c')!.value, 5n);
  });
});

test('what statefsd counts of our own writing does not make us write for ever', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* at(host, 3n * SECOND);
    yield* settle(host);
    const before = state.puts.length;
    for (let second = 3n; second < 40n; second++) {
      yield* expect(host, 'statefsd', counter('statefsd.puts', 1), 'ok');
      yield* at(host, (second + 1n) * SECOND);
    }
    yield* settle(host);
    assert.deepEqual(state.puts.slice(before).filter((key) => key.includes('/wal/')), []);
    // With anything else it is written too.
    yield* expect(host, 'statefsd', counter('statefsd.puts', 5), 'ok');
    yield* expect(host, 'timed', counter('c', 1), 'ok');
    yield* at(host, 42n * SECOND);
    yield* settle(host);
    assert.deepEqual((yield* range(host, { name: 'statefsd.puts' })).map(brief), [[40, 38, 42, 1, 5, 42]]);
  });
});
