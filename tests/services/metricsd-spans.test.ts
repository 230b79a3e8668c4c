// SPDX-License-Identifier: Apache-2.0
// Spans in metricsd: identity of ids, parents, caps at their edge, expiry; and what logd gets of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { senderId } from '../../runtime/node/index.js';
import {
  LOW32, UNHURRIED, expect, fieldsOf, flush, metricsd, recipeWith, run, spanEnd, spanIdOf, spanStart, stats, traceIdOf, type Metricsd, type Steps,
} from './metricsd-frames.js';
import { randomBelow } from '../random.js';

const A = 'execd';
const span = (n: number): bigint => spanIdOf(A, n);
const trace = (n: number): bigint => traceIdOf(A, n);
const roomy = (changes: Record<string, string> = {}): Promise<Metricsd> => metricsd(recipeWith({ ...UNHURRIED, ...changes }));
const hex = (n: bigint): string => n.toString(16).padStart(16, '0');

test('a span end reaches logd whole', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    yield* expect(host, A, spanStart({ span: span(1), trace: trace(1), name: 'root', attrs: 'b=2\na=1' }), 'ok');
    yield* expect(host, A, spanStart({ span: span(2), trace: trace(1), parent: span(1), start_ns: 120n, name: 'child' }), 'ok');
    yield* expect(host, A, spanEnd(span(2), 180n, 1, 'result=bad'), 'ok');
    yield* expect(host, A, spanEnd(span(1), 200n, 0), 'ok');
    assert.equal((yield* flush(host)).exported, 2);
  });
  const [child, root] = m.log.records.slice(-2);
  assert.equal(child!.message, 'tracing span end name=child status=error');
  assert.deepEqual(fieldsOf(child!), {
    duration_ns: '60', 'end.result': 'bad', end_ns: '180', kind: 'span', name: 'child', parent: hex(span(1)), producer: hex(senderId(A)),
    span: hex(span(2)), start_ns: '120', status: 'error', trace: hex(trace(1)),
  });
  assert.equal(fieldsOf(root!)['attr.a'], '1');
  assert.equal(fieldsOf(root!).parent, '0'.repeat(16));
  const keys = child!.fields.split('\n').map((line) => line.split('=')[0]!);
  assert.deepEqual(keys, [...keys].sort(), 'fields are sorted');
});

test('the spoof matrix: ids, traces and parents of others are refused', async () => {
  const m = await roomy();
  run(m, function* (host): Steps<void> {
    yield* expect(host, A, spanStart({ span: span(1), trace: trace(1) }), 'ok');
    yield* expect(host, 'timed', spanStart({ span: spanIdOf('timed', 1), trace: traceIdOf('timed', 1) }), 'ok');
    for (const [why, bad] of Object.entries({
      'span of another sender': { span: spanIdOf('timed', 5), trace: trace(5) },
      'high half off by one': { span: span(5) + (1n << 32n), trace: trace(5) },
      'low half zero': { span: span(0), trace: trace(5) },
      'span zero': { span: 0n, trace: trace(5) },
      'trace of another sender': { span: span(5), trace: traceIdOf('timed', 1) },
      'trace low half zero': { span: span(5), trace: trace(0) },
      'trace zero': { span: span(5), trace: 0n },
      'the same live id': { span: span(1), trace: trace(1) },
      'own parent': { span: span(5), trace: trace(5), parent: span(5) },
      'unknown parent': { span: span(5), trace: trace(1), parent: span(9) },
      'parent of another sender': { span: span(5), trace: trace(1), parent: spanIdOf('timed', 1) },
      'parent of another trace': { span: span(5), trace: trace(2), parent: span(1) },
    })) yield* expect(host, A, spanStart(bad), 'invalid_args', why);
    yield* expect(host, 'timed', spanEnd(span(1)), 'not_found', 'another sender ends it');
    yield* expect(host, A, spanEnd(span(2)), 'not_found');
    yield* expect(host, A, spanEnd(span(1), 99n), 'invalid_args', 'an end before the start');
    yield* expect(host, A, spanEnd(span(1), 180n, 2), 'invalid_args', 'status timeout is not the client\'s');
    yield* expect(host, A, spanEnd(span(1)), 'ok');
    yield* expect(host, A, spanEnd(span(1)), 'not_found', 'twice');
    yield* expect(host, A, spanStart({ span: span(1), trace: trace(1) }), 'invalid_args', 'an id that just ended');
    yield* expect(host, A, spanStart({ span: span(6), trace: trace(1), parent: span(1) }), 'ok', 'a parent that just ended');
    assert.equal((yield* stats(host)).liveSpans, 2n);
  });
});

test('caps at the edge: per sender and in total; an end makes room', async () => {
  const m = await roomy({ max_live_spans: '6', max_live_spans_per_sender: '4' });
  run(m, function* (host): Steps<void> {
    for (let i = 1; i <= 4; i++) yield* expect(host, A, spanStart({ span: span(i), trace: trace(1) }), 'ok', `span ${i}`);
    yield* expect(host, A, spanStart({ span: span(5), trace: trace(1) }), 'over_limit', '5th of the sender');
    for (let i = 1; i <= 2; i++) yield* expect(host, 'timed', spanStart({ span: spanIdOf('timed', i), trace: traceIdOf('timed', 1) }), 'ok');
    yield* expect(host, 'timed', spanStart({ span: spanIdOf('timed', 3), trace: traceIdOf('timed', 1) }), 'over_limit', '7th in total');
    yield* expect(host, A, spanEnd(span(2)), 'ok');
    yield* expect(host, A, spanStart({ span: span(5), trace: trace(1) }), 'ok', 'the place is free again');
    yield* expect(host, A, spanStart({ span: span(6), trace: trace(1), name: 'n'.repeat(49) }), 'over_limit');
    yield* expect(host, A, spanStart({ span: span(6), trace: trace(1), name: '' }), 'invalid_args');
    yield* expect(host, A, spanStart({ span: span(6), trace: trace(1), attrs: `a=${'v'.repeat(191)}` }), 'over_limit', '193 bytes');
  });
});

test('an orphan expires to the nanosecond, by the tick alone, with status timeout', async () => {
  const m = await roomy({ expiry_ns: '2_000_000_000' });
  run(m, function* (host): Steps<void> {
    const start = host.now_ns;
    yield* expect(host, A, spanStart({ span: span(1), trace: trace(1), start_ns: start, name: 'orphan' }), 'ok');
    host.advance(1_000_000_000);
    yield* expect(host, A, spanStart({ span: span(2), trace: trace(1), start_ns: start, name: 'later' }), 'ok');
    host.advance(999_999_999);
    assert.equal((yield* flush(host)).exported, 0);
    yield* host.idle();
    assert.equal(host.now_ns - start, 2_000_000_000n, 'the tick was set to the expiry');
    yield* expect(host, A, spanEnd(span(1)), 'not_found', 'too late');
    const now = yield* stats(host);
    assert.deepEqual([now.expired, now.liveSpans], [1n, 1n]);
    yield* host.idle();
    assert.equal((yield* stats(host)).liveSpans, 0n);
    yield* flush(host);
  });
  const ends = m.log.records.filter(({ message }) => message.startsWith('tracing'));
  assert.deepEqual(ends.map((r) => [fieldsOf(r).name, fieldsOf(r).status]), [['orphan', 'timeout'], ['later', 'timeout']]);
  assert.equal(fieldsOf(ends[0]!).duration_ns, '2000000000');
});

test('a full export queue refuses the end and keeps the span; nothing acknowledged is lost', async () => {
  const m = await roomy({ max_live_spans: '256', max_live_spans_per_sender: '256' });
  m.log.silent = true;
  let accepted = 0;
  run(m, function* (host): Steps<void> {
    for (let i = 1; i <= 256; i++) {
      yield* expect(host, A, spanStart({ span: span(i), trace: trace(1) }), 'ok');
      yield* expect(host, A, spanEnd(span(i)), 'ok', `end ${i}`);
      accepted += 1;
    }
    yield* expect(host, A, spanStart({ span: span(300), trace: trace(1) }), 'ok');
    yield* expect(host, A, spanEnd(span(300)), 'over_limit', 'the queue of 256 is full');
    m.log.silent = false;
    for (let turn = 0; turn < 10 && (yield* flush(host)).waiting > 0; turn++);
    yield* expect(host, A, spanEnd(span(300)), 'ok', 'the span was kept');
    yield* flush(host);
  });
  const ended = new Set(m.log.records.filter(({ message }) => message.startsWith('tracing')).map((r) => fieldsOf(r).span));
  assert.equal(ended.size, accepted + 1);
});

test('an orphan that finds the export queue full waits for room without spinning', async () => {
  const m = await roomy({ max_live_spans: '256', max_live_spans_per_sender: '256', expiry_ns: '1_000_000_000' });
  m.log.silent = true;
  run(m, function* (host): Steps<void> {
    for (let i = 1; i <= 256; i++) {
      yield* expect(host, A, spanStart({ span: span(i), trace: trace(1) }), 'ok');
      yield* expect(host, A, spanEnd(span(i)), 'ok');
    }
    yield* expect(host, A, spanStart({ span: span(300), trace: trace(1), name: 'orphan' }), 'ok');
    host.advance(2_000_000_000);
    for (let turn = 0; turn < 5; turn++) {
      const before = host.now_ns;
      yield* host.idle();
      if (turn > 0) assert.ok(host.now_ns - before >= 50_000_000n, 'time passes between two looks');
    }
    assert.equal((yield* stats(host)).liveSpans, 1n);
    m.log.silent = false;
    for (let turn = 0; turn < 10 && (yield* flush(host)).waiting > 0; turn++);
    yield* flush(host);
    assert.deepEqual([(yield* stats(host)).liveSpans, (yield* stats(host)).expired], [0n, 1n]);
  });
  assert.equal(m.log.snapshots('orphan')[0]!.status, 'timeout');
});

test('property: whatever the order of starts and ends, every accepted end is one record and nothing stays live', async () => {
  const seed = Number(process.env.FUZZ_SEED ?? 99);
  const next = randomBelow(seed);
  const m = await roomy();
  const live = new Map<number, number>();
  const ended: bigint[] = [];
  run(m, function* (host): Steps<void> {
    let id = 0;
    for (let round = 0; round < 800; round++) {
      const ids = [...live.keys()];
      if (next(2) && live.size < 16) {
        const parent = next(2) && ids.length > 0 ? ids[next(ids.length)]! : 0;
        const t = parent ? live.get(parent)! : 1 + next(5);
        id += 1;
        yield* expect(host, A, spanStart({ span: span(id), trace: trace(t), parent: parent ? span(parent) : 0n }), 'ok', `seed ${seed} round ${round}`);
        live.set(id, t);
      } else if (ids.length > 0) {
        const which = ids[next(ids.length)]!;
        yield* expect(host, A, spanEnd(span(which), 100n + BigInt(next(100)), next(2)), 'ok', `seed ${seed} round ${round}`);
        live.delete(which);
        ended.push(span(which));
      }
      if (round % 100 === 99) yield* flush(host);
    }
    for (const which of [...live.keys()]) {
      yield* expect(host, A, spanEnd(span(which)), 'ok');
      ended.push(span(which));
    }
    for (let turn = 0; turn < 10 && (yield* flush(host)).waiting > 0; turn++);
    assert.equal((yield* stats(host)).liveSpans, 0n);
  });
  const exported = m.log.records.filter(({ message }) => message.startsWith('tracing')).map((r) => BigInt(`0x${fieldsOf(r).span}`));
  assert.deepEqual(exported, ended, 'in order, each once');
  assert.ok(exported.every((s) => s >> 32n === (senderId(A) & LOW32)));
});
