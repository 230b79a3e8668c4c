// SPDX-License-Identifier: Apache-2.0
// RANGE: who may ask, what it refuses, how it selects, and that its pages are the points, each once, whatever their size.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OP, expect, counter, gauge, head, histogram, register, run, stats, type Steps } from './metricsd-frames.js';
import { SECOND, at, brief, life, range, settle } from './metricsd-history.js';
import { ControlProtocol } from '../../runtime/bridge/control.js';
import { StatePeer, booted, rangeFrame, rangePage } from './metricsd-state.js';

test('policyd decides for the sender that the kernel stamped; who may not is refused before anything is read', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('c', 1), 'ok');
    yield* at(host, SECOND);
    yield* settle(host);
    const reads = state.gets;
    yield* expect(host, 'timed', rangeFrame({ name: 'c', sender: 'timed' }), 'denied', 'its own series, but not granted');
    yield* expect(host, 'portd', rangeFrame({ name: '' }), 'denied', 'a malformed one of somebody who may not');
    assert.equal(state.gets, reads);
    assert.equal((yield* stats(host)).denied, 2n);
    yield* expect(host, 'selftest', rangeFrame({ name: 'c' }), 'ok');
  });
  // policyd gone: nobody may.
  const silent = new StatePeer();
  run(await booted(silent, {}, { peers: { policyd: () => null } }), function* (host): Steps<void> {
    yield* expect(host, 'selftest', rangeFrame({ name: 'c' }), 'denied', 'without a decision');
  });
});

test('malformed questions, lengths at and over the edge, and a metricsd without retention', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    const good = rangeFrame({ name: 'n'.repeat(48), labels: `k=${'v'.repeat(190)}` });
    yield* expect(host, 'selftest', good, 'ok', 'name and labels at their most');
    yield* expect(host, 'selftest', rangeFrame({ name: 'n'.repeat(49) }), 'over_limit');
    yield* expect(host, 'selftest', rangeFrame({ name: 'n', labels: 'v'.repeat(193) }), 'over_limit');
    yield* expect(host, 'selftest', rangeFrame({ name: '' }), 'invalid_args');
    yield* expect(host, 'selftest', rangeFrame({ name: 'n', level: 3 }), 'invalid_args');
    yield* expect(host, 'selftest', rangeFrame({ name: 'n', from: 2n, to: 1n }), 'invalid_args');
    yield* expect(host, 'selftest', rangeFrame({ name: 'n', from: 1n, to: 1n }), 'ok', 'an empty span');
    yield* expect(host, 'selftest', Buffer.concat([good, Buffer.from([0])]), 'invalid_args', 'a byte too many');
    for (const cut of [8, 9, 11, 35, 45, good.length - 1]) yield* expect(host, 'selftest', good.subarray(0, cut), 'invalid_args', `${cut} bytes`);
    const selector = Buffer.from(good);
    selector[9] = 2;
    yield* expect(host, 'selftest', selector, 'invalid_args', 'no such selector');
    yield* expect(host, 'selftest', rangeFrame({ handle: 0xffff }), 'stale_handle');
    const { body } = yield* expect(host, 'timed', register(1, 0, 'own'), 'ok');
    yield* expect(host, 'selftest', rangeFrame({ handle: body.readUInt32LE(0) }), 'ok', 'anybody\'s handle');
    yield* expect(host, 'selftest', rangeFrame({ handle: body.readUInt32LE(0) + 0x10000 }), 'stale_handle', 'of another life');
  });
  await life(new StatePeer(), function* (host): Steps<void> {
    yield* expect(host, 'selftest', rangeFrame({ name: 'c' }), 'unavailable');
    const words = yield* stats(host);
    assert.deepEqual([words.retention, words.unavailable], [0n, 1n]);
  }, { enabled: '0' });
});

test('selection: by sender, kind, labels, handle and span; a gap stays a gap', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('x', 1, 'k=a'), 'ok');
    yield* expect(host, 'timed', counter('x', 2, 'k=b'), 'ok');
    yield* expect(host, 'execd', counter('x', 3, 'k=a'), 'ok');
    yield* expect(host, 'execd', gauge('x', -4n), 'ok');
    yield* at(host, 5n * SECOND);
    yield* expect(host, 'timed', counter('x', 7, 'k=a'), 'ok');
    yield* at(host, 7n * SECOND);
    yield* settle(host);
    const sums = function* (what: Parameters<typeof range>[1]): Steps<number[]> {
      return (yield* range(host, what)).map(({ sum }) => Number(BigInt.asIntN(64, sum)));
    };
    assert.deepEqual((yield* sums({ name: 'x' })).sort(), [-4, 1, 2, 3, 7].sort());
    assert.deepEqual(yield* sums({ name: 'x', sender: 'timed' }), [1, 2, 7]);
    assert.deepEqual(yield* sums({ name: 'x', sender: 'execd', kind: 2 }), [-4]);
    assert.deepEqual(yield* sums({ name: 'x', labels: 'k=a', sender: 'timed' }), [1, 7]);
    assert.deepEqual(yield* sums({ name: 'x', labels: '' }), [-4]);
    assert.deepEqual(yield* sums({ name: 'x', from: SECOND, to: 5n * SECOND }), []);
    assert.equal((yield* sums({ name: 'x', from: SECOND - 1n, to: 5n * SECOND })).length, 4);
    const { body } = yield* expect(host, 'timed', register(1, 0, 'x', 'k=a'), 'ok');
    assert.deepEqual(yield* sums({ handle: body.readUInt32LE(0) }), [1, 7]);
    assert.deepEqual(yield* sums({ name: 'y' }), []);
  });
});

test('pages: more points than fit and more records than one question reads come whole, in order, once', async () => {
  const state = new StatePeer();
  const LABELS = 60;
  const SECONDS = 25;
  await life(state, function* (host): Steps<void> {
    for (let second = 0; second < SECONDS; second++) {
      for (let n = 0; n < LABELS; n++) yield* expect(host, 'timed', histogram('h', 1_000_000 * second + n, `k=${String(n).padStart(2, '0')}${'x'.repeat(40)}`), 'ok');
      yield* at(host, BigInt(second + 1) * SECOND);
    }
    yield* settle(host);
    assert.ok(state.keys('wal').length >= SECONDS * 2, 'a window of more than one part');
    let pages = 0;
    let cursor = 0n;
    const seen: string[] = [];
    while (cursor !== 0xffffffffffffffffn && pages < 1_000) {
      const before = state.gets;
      const { body } = yield* expect(host, 'selftest', rangeFrame({ name: 'h' }, cursor), 'ok');
      assert.ok(body.length <= 4096 && state.gets - before <= 8, 'the bounds of a page');
      const page = rangePage(body);
      seen.push(...page.points.map(({ start, labels, sum }) => `${String(start / SECOND).padStart(3, '0')} ${labels} ${sum}`));
      cursor = page.next;
      pages += 1;
    }
    assert.equal(seen.length, SECONDS * LABELS);
    assert.deepEqual(seen, [...new Set(seen)].sort(), 'in the order of time and labels, each once');
    const [first] = yield* range(host, { level: 1, name: 'h', labels: `k=00${'x'.repeat(40)}` });
    assert.deepEqual(brief(first!), [0, 10, 45_000_000, 0, 9_000_000, 9_000_000, [2, 4, 4, 0, 0]]);
  }, { max_series_per_sender: '64', max_series_per_metric: '64', max_samples_per_record: '32' });
});

test('what is open is told, and says that it is open; what waits and what cannot be read is flagged', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('c', 2), 'ok');
    const page = function* (level: number): Steps<ReturnType<typeof rangePage>> {
      return rangePage((yield* expect(host, 'selftest', rangeFrame({ level, name: 'c' }), 'ok')).body);
    };
    for (const level of [0, 1, 2]) assert.deepEqual((yield* page(level)).points.map((p) => [brief(p), p.flags]), [[[0, 1, 2, 2, 2, 2], 1]]);
    yield* at(host, 1n * SECOND);
    state.silent = true;
    yield* expect(host, 'timed', counter('c', 3), 'ok');
    for (const level of [1, 2]) assert.deepEqual((yield* page(level)).points.map((p) => [brief(p), p.flags]), [[[0, 2, 5, 2, 3, 5], 1]]);
    yield* at(host, 2n * SECOND);
    const waiting = yield* page(0);
    assert.equal(waiting.flags & 2, 2, 'a record waits for its answer');
    assert.deepEqual([waiting.clock >= 2n * SECOND, waiting.offset], [true, 0n]);
    state.refuseReads = 9;
    assert.equal((yield* page(0)).flags & 1, 1, 'a record that cannot be read');
  });
});

test('the host\'s client of the control port asks and reads the same pages', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    for (const value of [-5n, 7n]) yield* expect(host, 'timed', gauge('g', value, 'k=v'), 'ok');
    yield* expect(host, 'execd', histogram('g', 3), 'ok');
    yield* at(host, 2n * SECOND);
    yield* settle(host);
    const asked = { level: 1, name: 'g', fromNs: 0n, toNs: 10n * SECOND } as const;
    const body = function* (ask: Parameters<typeof ControlProtocol.encodeHistory>[0]): Steps<ReturnType<typeof ControlProtocol.decodeHistory>> {
      const question = Buffer.concat([head(OP.range), ControlProtocol.encodeHistory(ask, 0n)]);
      return ControlProtocol.decodeHistory(Buffer.concat([Buffer.from([0]), (yield* expect(host, 'selftest', question, 'ok')).body]));
    };
    const page = yield* body(asked);
    assert.deepEqual([page.next, page.offsetNs, page.unreadable, page.waiting], [null, 0n, false, false]);
    const own = page.points.find(({ kind }) => kind === 2)!;
    assert.deepEqual([own.sum, own.min, own.max, own.last, own.open, own.labels], [2n, -5n, 7n, 7n, true, 'k=v']);
    assert.deepEqual(page.points.find(({ kind }) => kind === 3)!.buckets, [1n, 0n, 0n, 0n, 0n]);
    assert.equal((yield* body({ ...asked, labels: 'k=v' })).points.length, 1);
    assert.equal((yield* body({ ...asked, sender: 1n })).points.length, 0);
  });
});
