// SPDX-License-Identifier: Apache-2.0
// metricsd, the shipping module: what is accepted and what it then holds, every limit at and over its edge, and who may do what.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { senderId } from '../../runtime/node/index.js';
import {
  OP, QUERY_BADGE, UNHURRIED, answer, ask, batch, counter, expect, flush, gauge, head, histogram, metricsd, plain, recipeWith, register, registry, run,
  snapshot, stats, update, type Metricsd, type SnapshotRecord, type Steps,
} from './metricsd-frames.js';
import { randomBelow } from '../random.js';

const own = (records: SnapshotRecord[], from: string): SnapshotRecord[] => records.filter(({ sender }) => sender === senderId(from));
const roomy = (): Promise<Metricsd> => metricsd(recipeWith(UNHURRIED));

test('counters add in u64 and saturate; gauges replace in i64; updates coalesce into one record', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('a.b', 3), 'ok');
    yield* expect(host, 'timed', counter('a.b', 4), 'ok');
    yield* expect(host, 'timed', counter('big', 0xfffffffffffffff0n), 'ok');
    yield* expect(host, 'timed', counter('big', 0x20), 'ok');
    yield* expect(host, 'timed', gauge('g', 7), 'ok');
    yield* expect(host, 'timed', gauge('g', -3), 'ok');
    yield* expect(host, 'timed', gauge('low', -(2n ** 63n)), 'ok');
    const before = m.log.records.length;
    assert.equal((yield* flush(host)).waiting, 0);
    assert.equal(m.log.records.length - before, 4, 'one record a series');
  });
  const id = senderId('timed').toString(16).padStart(16, '0');
  const value = (name: string): string | undefined => m.log.snapshots(name).at(-1)?.value;
  assert.equal(value('a.b'), '7');
  assert.equal(value('big'), '18446744073709551615');
  assert.equal(value('g'), '-3');
  assert.equal(value('low'), '-9223372036854775808');
  assert.equal(m.log.snapshots('a.b')[0]!.producer, id);
  assert.ok(m.log.records.every(({ sender, scope }) => sender === senderId('metricsd') && scope === 'metricsd'));
  assert.ok(m.log.records.some(({ message }) => message === 'metrics snapshot gauge name=g value=-3'));
});

test('histogram boundaries: a value equal to a bound belongs to it; ns and bytes have their own bounds', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    for (const ns of [0, 1_000_000, 1_000_001, 5_000_000, 5_000_001, 20_000_000, 100_000_000, 100_000_001]) yield* expect(host, 'timed', histogram('delta_ns', ns), 'ok');
    for (const bytes of [1024, 1025, 2 ** 40]) yield* expect(host, 'timed', histogram('image_bytes', bytes), 'ok');
    yield* expect(host, 'timed', histogram('delta_ns', 2n ** 63n - 1n), 'ok');
    yield* expect(host, 'timed', histogram('delta_ns', -1), 'invalid_args');
    const { records } = yield* registry(host);
    const ns = records.find(({ name }) => name === 'delta_ns')!;
    assert.deepEqual(ns.buckets.map(([, n]) => Number(n)), [2, 2, 2, 1, 2]);
    assert.deepEqual(ns.buckets.map(([bound]) => bound), [1_000_000n, 5_000_000n, 20_000_000n, 100_000_000n, 2n ** 64n - 1n]);
    assert.equal(ns.count, 9n);
    assert.equal(ns.value, 232_000_003n - 1n + 2n ** 63n);
    assert.equal(ns.unit, 1);
    assert.equal(records.find(({ name }) => name === 'image_bytes')!.unit, 2);
    yield* flush(host);
  });
  const record = m.log.snapshots('image_bytes')[0]!;
  assert.deepEqual([record.buckets, record.bounds, record.count, record.unit], ['1,1,0,0,0,1', '1024,16384,65536,262144,1048576', '3', 'bytes']);
});

test('labels: any order is one series; sorted, deduplicated, checked, counted', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('l', 1, 'b=2\na=1'), 'ok');
    yield* expect(host, 'timed', counter('l', 1, 'a=1\nb=2'), 'ok');
    yield* expect(host, 'timed', counter('l', 1, 'a=1\nb=2\n'), 'ok');
    yield* expect(host, 'timed', counter('l', 1, 'a=1\nb=2\na=1'), 'ok');
    const eight = Array.from({ length: 8 }, (_none, i) => `k${i}=v`);
    yield* expect(host, 'timed', counter('l', 1, eight.join('\n')), 'ok', '8 labels');
    yield* expect(host, 'timed', counter('l', 1, [...eight, 'k8=v'].join('\n')), 'over_limit', '9 labels');
    for (const bad of ['a', '=v', 'a=', 'a=1\na=2', '1a=v', 'a b=v', 'a=\x01', 'a=\x7f', 'a=é', '\na=1', 'service_id=1', 'Sender-Service-Id=1', 'requester_id=x']) {
      yield* expect(host, 'timed', counter('l', 1, bad), 'invalid_args', JSON.stringify(bad));
    }
    const at = (bytes: number): string => `a=${'v'.repeat(94)}\nb=${'v'.repeat(bytes - 99)}`;
    assert.equal(at(192).length, 192);
    yield* expect(host, 'timed', counter('l', 1, at(192)), 'ok', '192 bytes');
    yield* expect(host, 'timed', counter('l', 1, at(193)), 'over_limit', '193 bytes');
    const { records } = yield* registry(host);
    const series = own(records, 'timed');
    assert.deepEqual(series.map(({ labels, value }) => [labels, value])[0], ['a=1\nb=2', 4n]);
    assert.equal(series.length, 3);
    yield* flush(host);
  });
  assert.equal(m.log.snapshots('l')[0]!['label.a'], '1');
});

test('names: 1 and 48 bytes pass, 0 and bad characters are invalid_args, 49 is over_limit', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    for (const good of ['a', 'A.b-c_9', 'n'.repeat(48)]) yield* expect(host, 'timed', counter(good, 1), 'ok', good);
    for (const bad of ['', '9a', '.a', 'a b', 'a=b', 'a\nb', 'é']) yield* expect(host, 'timed', counter(bad, 1), 'invalid_args', JSON.stringify(bad));
    yield* expect(host, 'timed', counter('n'.repeat(49), 1), 'over_limit');
    yield* expect(host, 'timed', counter('eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln', 1), 'invalid_args', 'a secret as a name');
  });
});

test('caps at the edge: per (sender, metric), per sender, in total; one sender does not take another\'s share', async () => {
  const m = await metricsd(recipeWith({ ...UNHURRIED, max_series_total: '40', max_series_per_sender: '20', max_series_per_metric: '16', after_rejects: '1_000' }));
  run(m, function* (host): Steps<void> {
    for (let i = 0; i < 16; i++) yield* expect(host, 'timed', counter('m', 1, `k=${i}`), 'ok', `series ${i + 1} of the metric`);
    yield* expect(host, 'timed', counter('m', 1, 'k=16'), 'over_limit', '17th of the metric');
    yield* expect(host, 'execd', counter('m', 1, 'k=16'), 'ok', 'the same metric of another sender');
    for (let i = 0; i < 4; i++) yield* expect(host, 'timed', counter(`n${i}`, 1), 'ok', `series ${i + 17} of the sender`);
    yield* expect(host, 'timed', counter('n4', 1), 'over_limit', '21st of the sender');
    yield* expect(host, 'timed', counter('m', 1, 'k=3'), 'ok', 'known series go on');
    const used = Number((yield* stats(host)).series);
    assert.equal(used, 34, '13 of metricsd, 20 of timed, 1 of execd');
    for (let i = used; i < 40; i++) yield* expect(host, 'execd', counter(`t${i}`, 1), 'ok', `series ${i + 1} in total`);
    yield* expect(host, 'execd', counter('t40', 1), 'over_limit', '41st in total');
  });
});

test('quarantine: after the recipe\'s rejects a sender creates nothing until the time is over', async () => {
  const m = await metricsd(recipeWith({ ...UNHURRIED, max_series_per_metric: '1', after_rejects: '3', ttl_ns: '1_000_000_000' }));
  run(m, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('m', 1, 'k=0'), 'ok');
    for (let i = 1; i <= 2; i++) yield* expect(host, 'timed', counter('m', 1, `k=${i}`), 'over_limit');
    yield* expect(host, 'timed', counter('free', 1), 'ok', 'not yet');
    yield* expect(host, 'timed', counter('m', 1, 'k=3'), 'over_limit', 'the third reject');
    yield* expect(host, 'timed', counter('other', 1), 'over_limit', 'quarantined');
    yield* expect(host, 'timed', counter('m', 1, 'k=0'), 'ok', 'known series go on');
    yield* expect(host, 'execd', counter('other', 1), 'ok', 'others are not touched');
    assert.equal((yield* stats(host)).quarantines, 1n);
    host.advance(999_999_999);
    yield* expect(host, 'timed', counter('other', 1), 'over_limit', '1 ns before the end');
    host.advance(1);
    yield* expect(host, 'timed', counter('other', 1), 'ok', 'the time is over');
  });
});

test('rates: exact to the event, refilled, per sender, charged before decoding, in bytes too', async () => {
  const m = await metricsd();
  run(m, function* (host): Steps<void> {
    const garbage = Buffer.concat([head(OP.counter), Buffer.from([200])]);
    for (let i = 0; i < 63; i++) yield* expect(host, 'timed', i % 2 ? garbage : counter('r', 1), i % 2 ? 'invalid_args' : 'ok');
    yield* expect(host, 'timed', plain(99), 'invalid_args', 'an unknown op costs too');
    yield* expect(host, 'timed', counter('r', 1), 'rate_limited', '65th');
    yield* expect(host, 'timed', garbage, 'rate_limited', 'malformed is charged first');
    yield* expect(host, 'timed', plain(OP.ping), 'ok', 'a ping costs no event');
    yield* expect(host, 'execd', counter('r', 1), 'ok', 'another sender');
    host.advance(15_624_999);
    yield* expect(host, 'timed', counter('r', 1), 'rate_limited', '1 ns before one event came back');
    host.advance(1);
    yield* expect(host, 'timed', counter('r', 1), 'ok', 'one event came back');
    yield* expect(host, 'timed', counter('r', 1), 'rate_limited');
    host.advance(10_000_000_000);
    for (let i = 0; i < 64; i++) yield* expect(host, 'timed', counter('r', 1), 'ok', 'full again, not more');
    yield* expect(host, 'timed', counter('r', 1), 'rate_limited');
    // 16,384 bytes: two frames of 8,192 and no third.
    host.advance(10_000_000_000);
    const large = Buffer.concat([head(OP.ping), Buffer.alloc(8192 - 8)]);
    yield* expect(host, 'timed', large, 'invalid_args');
    yield* expect(host, 'timed', large, 'invalid_args');
    yield* expect(host, 'timed', plain(OP.ping), 'rate_limited', 'no byte left');
  });
  assert.deepEqual(m.host.console, ['metricsd: reject invalid_args', 'metricsd: reject rate_limited']);
});

test('register and batch: handles are the sender\'s own, all or nothing, and die with the generation', async () => {
  const m = await roomy();
  let c = 0;
  run(m, function* (host): Steps<void> {
    const handle = function* (frame: Buffer, from = 'timed'): Steps<number> { return (yield* expect(host, from, frame, 'ok')).body.readUInt32LE(0); };
    c = yield* handle(register(1, 0, 'c'));
    const g = yield* handle(register(2, 0, 'g', 'x=1'));
    const h = yield* handle(register(3, 2, 'h'));
    assert.equal(c >>> 16, 1, 'generation 1');
    assert.equal(yield* handle(register(1, 0, 'c')), c, 'the same series, the same handle');
    assert.notEqual(yield* handle(register(1, 0, 'c'), 'execd'), c, 'another sender, another series');
    yield* expect(host, 'timed', register(3, 1, 'h'), 'invalid_args', 'another unit');
    yield* expect(host, 'timed', register(3, 0, 'u'), 'invalid_args', 'a histogram needs a unit');
    yield* expect(host, 'timed', register(4, 0, 'u'), 'invalid_args');
    const done = yield* expect(host, 'timed', batch([[c, 3], [g, -5], [h, 1024], [c, 2n ** 63n]]), 'ok');
    assert.equal(done.body.readUInt16LE(0), 4);
    for (const [items, status, bad] of [
      [[[c, 1], [c + 1000, 1]], 'stale_handle', 1], [[[c, 1], [c + 0x10000, 1]], 'stale_handle', 1], [[[c, 1], [g, 1], [h, -1]], 'invalid_args', 2],
    ] as const) {
      const refused = yield* expect(host, 'timed', batch(items.map(([a, b]) => [a, b])), status);
      assert.equal(refused.body.readUInt16LE(0), bad);
    }
    yield* expect(host, 'execd', batch([[c, 1]]), 'stale_handle', 'not its handle');
    yield* expect(host, 'timed', batch([]), 'invalid_args');
    yield* expect(host, 'timed', batch([[c, 1]], 2), 'invalid_args');
    const most = Array.from({ length: 256 }, (): [number, number] => [c, 1]);
    yield* expect(host, 'timed', batch(most), 'ok');
    yield* expect(host, 'timed', batch([...most, [c, 1]]), 'over_limit');
    const { records } = yield* registry(host);
    const mine = own(records, 'timed');
    assert.deepEqual(mine.map(({ value }) => value), [2n ** 63n + 259n, BigInt.asUintN(64, -5n), 1024n]);
  });
  const restarted = await metricsd(recipeWith(UNHURRIED), { counters: { own_generation: 2n } });
  run(restarted, function* (host): Steps<void> {
    yield* expect(host, 'timed', register(1, 0, 'c'), 'ok');
    yield* expect(host, 'timed', batch([[c, 1]]), 'stale_handle', 'a handle of generation 1');
  });
});

test('SNAPSHOT and FLUSH need the query right; pages join without gap', async () => {
  const m = await metricsd(recipeWith({ ...UNHURRIED, max_series_per_sender: '200', max_series_per_metric: '100' }));
  run(m, function* (host): Steps<void> {
    for (const frame of [snapshot(0), plain(OP.flush)]) {
      yield* expect(host, 'timed', frame, 'denied');
      yield* expect(host, 'timed', frame, 'ok', '', QUERY_BADGE);
    }
    for (let i = 0; i < 90; i++) yield* expect(host, 'timed', counter('page', i, `key=${'x'.repeat(150)}${i}`), 'ok');
    const whole = yield* registry(host);
    assert.ok(whole.pages > 3);
    assert.deepEqual((yield* registry(host, 1)).records, whole.records);
    assert.deepEqual(own(whole.records, 'timed').map(({ value }) => Number(value)), Array.from({ length: 90 }, (_none, i) => i));
    yield* expect(host, 'portd', snapshot(100000), 'ok', 'past the end', QUERY_BADGE);
    assert.equal((yield* stats(host)).denied, 2n);
  });
});

test('every reject class is counted exactly, said once, and changes nothing', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    const before = yield* stats(host);
    const seriesBefore = (yield* registry(host)).records.length;
    for (let i = 0; i < 5; i++) yield* expect(host, 'timed', counter('', 1), 'invalid_args');
    for (let i = 0; i < 3; i++) yield* expect(host, 'timed', counter('n'.repeat(49), 1), 'over_limit');
    const after = yield* stats(host);
    assert.equal(after.invalid_args - before.invalid_args, 5n);
    assert.equal(after.over_limit - before.over_limit, 3n);
    assert.equal(after.updates, before.updates);
    assert.equal((yield* registry(host)).records.length, seriesBefore);
  });
  assert.deepEqual(m.host.console, ['metricsd: reject invalid_args', 'metricsd: reject over_limit']);
});

test('bad heads: every one is answered invalid_args, with the nonce where there was one', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    for (const [frame, nonce] of [
      [Buffer.alloc(0), 0], [Buffer.from('M'), 0], [Buffer.from('MT\x01\x01', 'latin1'), 0], [head(1, 9).fill(2, 2, 3), 9], [head(0, 5), 5], [head(63, 5), 5], [head(200, 5), 5],
    ] as const) {
      const got = answer(yield* host.call('timed', frame));
      assert.deepEqual([got.status, got.nonce], ['invalid_args', nonce], frame.toString('hex'));
    }
  });
});

test('fuzz: any bytes get one answer, no trap, and never an update that was not asked for', async () => {
  const m = await roomy();
  const seed = Number(process.env.FUZZ_SEED ?? 4711);
  const next = randomBelow(seed);
  run(m, function* (host): Steps<void> {
    for (let round = 0; round < 6000; round++) {
      const op = 1 + next(13);
      let frame = Buffer.alloc(next(80));
      for (let i = 0; i < frame.length; i++) frame[i] = next(256);
      if (next(10)) head(op, round).copy(frame);
      if (next(3) === 0) frame = Buffer.concat([update(op, 'f'.repeat(next(50)), next(1000), 'a=1\nb=x'.slice(0, next(8)))]).subarray(0, 8 + next(60));
      const got = yield* ask(host, 'timed', frame, next(2) ? 1 : QUERY_BADGE);
      assert.ok(got.op >= 0x80, `seed ${seed} round ${round}`);
    }
    const { records } = yield* registry(host);
    assert.ok(own(records, 'timed').length <= 64);
  });
});
