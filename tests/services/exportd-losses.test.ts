// SPDX-License-Identifier: Apache-2.0
// exportd when things go wrong: a host that is absent, late, full, refuses, talks garbage, comes again or sets its clock; a queue at its
// limits; peers that end or lie. Nothing is lost without being counted, and every number that the host misses is a frame dropped here.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadAbi } from '../../scripts/lib/abi.js';
import { FLUSH, NONCE, addsUp, flush, otlpOf, run, stats, world, type World } from './exportd-world.js';

const limits = loadAbi().limits.get('exportd')!;
const limit = (key: string): number => Number(limits.get(key));
const proof = { profile: 'proof', nonce: NONCE };
const many = (w: World, count: number): void => { w.metricsd.series = Array.from({ length: count }, (_none, i) => ({ name: `s${i}`, kind: 1, value: BigInt(i) })); };
function* ticks(host: World['host'], count: number): ReturnType<World['host']['idle']> {
  for (let i = 1; i < count; i++) yield* host.idle();
  return yield* host.idle();
}

test('no host: nothing is made before the first hello, attempts are spaced, and export begins when it comes', () => {
  const w = world();
  w.end.writeStatus = 7;
  w.dcgmd.scrape = 1n;
  w.dcgmd.parts = [Buffer.from('gpu')];
  w.logd.records = [{ message: 'm' }];
  run(w, function* (host) {
    const began = host.now_ns;
    yield* ticks(host, 40);
    assert.ok(host.now_ns - began >= 10_000_000_000n);
    const s = yield* stats(host);
    assert.deepEqual([s.made, s.sessions, s.cursor], [[0n, 0n, 0n, 0n], 0n, 0n]);
    assert.equal(w.end.opens, 1, 'the port is asked for once');
    assert.equal(w.metricsd.snapshots + w.logd.queries, 0);
    w.end.writeStatus = 0;
    yield* ticks(host, 1 + limit('hello_backoff_max_ns') / limit('tick_ns'));
    assert.deepEqual(new Set(w.end.got.map(({ type }) => type)), new Set(['hello', 'metrics', 'log_records']));
    assert.equal((yield* stats(host)).queueFrames, 0n);
  });
});

test('in profile proof without a host FLUSH says so', () => {
  const w = world(proof);
  w.end.writeStatus = 7;
  run(w, function* (host) { assert.equal((yield* flush(host, FLUSH.all)).status, 4); });
});

test('a host that goes and comes: what was not acknowledged comes again with its number, after a new hello', () => {
  const w = world();
  many(w, 400);
  run(w, function* (host) {
    yield* ticks(host, 1);
    const before = w.end.of('metrics').map(({ seq }) => seq);
    assert.ok(before.length >= 2);
    w.end.writeStatus = 7;
    w.dcgmd.scrape = 1n;
    w.dcgmd.parts = [Buffer.from('made while away')];
    yield* ticks(host, 8);
    const away = yield* stats(host);
    assert.ok(away.queueFrames >= 1n && away.retried >= 1n);
    w.end.reconnect();
    yield* ticks(host, 1 + limit('backoff_max_ns') / limit('tick_ns'));
    const s = yield* stats(host);
    assert.deepEqual([s.queueFrames, s.sessions, s.dropped], [0n, 2n, [0n, 0n, 0n, 0n]]);
    const seqs = w.end.got.filter(({ type }) => type !== 'hello').map(({ seq }) => seq);
    assert.deepEqual(seqs, seqs.map((_seq, i) => BigInt(i + 1)), 'each once, in order, none missing');
    addsUp(s);
  });
});

test('a host without room: the frame stays, tries are spaced up to the limit, and nothing is lost', () => {
  const w = world();
  w.end.judge = () => 'over_limit';
  w.dcgmd.scrape = 1n;
  w.dcgmd.parts = [Buffer.from('gpu')];
  run(w, function* (host) {
    const tries: bigint[] = [];
    let seen = 0;
    while (tries.length < 8) {
      yield* host.idle();
      const now = w.end.of('metrics').length;
      if (now > seen) tries.push(host.now_ns);
      seen = now;
    }
    assert.ok(w.end.got.filter(({ type }) => type === 'metrics').every(({ seq }) => seq === 1n), 'the oldest first, always');
    const gaps = tries.slice(1).map((at, i) => Number(at - tries[i]!) / limit('tick_ns'));
    assert.ok(gaps.every((gap, i) => i === 0 || gap >= gaps[i - 1]!), `${gaps}`);
    assert.ok(gaps.at(-1)! * limit('tick_ns') <= limit('backoff_max_ns') + limit('tick_ns'));
    assert.equal(gaps.at(-1)! * limit('tick_ns'), limit('backoff_max_ns'));
    w.end.judge = () => 'ok';
    yield* ticks(host, 2 + limit('backoff_max_ns') / limit('tick_ns'));
    const s = yield* stats(host);
    assert.deepEqual([s.queueFrames, s.refused, s.dropped], [0n, [0n, 0n, 0n, 0n], [0n, 0n, 0n, 0n]]);
    assert.equal(s.sessions, 1n, 'refusals for now end no session');
    assert.equal(s.retried, 8n);
  });
});

test('verdicts: unavailable is tried again, not_connected says hello again, anything else is final and counted', () => {
  const w = world(proof);
  const answers = ['unavailable', 'not_connected', 'bad_request', 'ok', 'unsupported'];
  w.end.judge = () => answers.shift() ?? 'ok';
  run(w, function* (host) {
    for (let scrape = 1n; scrape <= 4n; scrape++) {
      w.dcgmd.scrape = scrape;
      w.dcgmd.parts = [Buffer.from(`scrape ${scrape}`)];
      yield* flush(host, FLUSH.gpu | FLUSH.send);
    }
    for (let i = 0; i < 4; i++) yield* flush(host, FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.acked[0], s.refused[0], s.retried, s.sessions], [2n, 2n, 2n, 2n]);
    assert.deepEqual(w.end.got.map(({ type, seq }) => `${type} ${seq}`), [
      'hello 0', 'metrics 1', 'metrics 1', 'hello 0', 'metrics 1', 'metrics 2', 'metrics 3', 'metrics 4',
    ]);
    addsUp(s);
    assert.deepEqual([w.metricsd.own.get('vigil.exportd.frames{outcome=refused,stream=gpu}'), w.metricsd.own.get('vigil.exportd.retries{}')], [2n, 2n]);
  });
});

test('a reply that never comes, garbage, a reply to another request, a torn one: the session is void, the frame comes again', () => {
  const faults: [string, (frame: Buffer) => Buffer][] = [
    ['nothing', () => Buffer.alloc(0)],
    ['garbage', () => Buffer.alloc(500, 'VGLBx')],
    ['another nonce', (frame) => { const other = Buffer.from(frame); other.writeUInt8(other.readUInt8(8) ^ 1, 8); return other; }],
    ['half of it', (frame) => frame.subarray(0, 20)],
    ['a bit flipped', (frame) => { const other = Buffer.from(frame); other.writeUInt8(other.readUInt8(33 % other.length) ^ 4, 33 % other.length); return other; }],
  ];
  for (const [what, spoil] of faults) {
    const w = world(proof);
    w.dcgmd.scrape = 1n;
    w.dcgmd.parts = [Buffer.from('kept')];
    run(w, function* (host) {
      yield* flush(host, FLUSH.send);
      const sound = w.end.mangle;
      w.end.mangle = (frame) => spoil(sound(frame));
      const { waiting, outcome } = yield* flush(host, FLUSH.gpu | FLUSH.send);
      assert.equal(waiting, 1, what);
      assert.ok(outcome < 0, what);
      w.end.mangle = (frame) => Buffer.concat([Buffer.from('VGLB then noise'), sound(frame)]);
      yield* flush(host, FLUSH.send);
      const s = yield* stats(host);
      assert.deepEqual([s.queueFrames, s.acked[0], s.sessions], [0n, 1n, 2n], what);
      assert.ok(w.end.of('metrics').every(({ seq }) => seq === 1n), what);
    });
  }
});

test('a hello that is no hello: another version, a short reply, no time', () => {
  const wrong: ((w: World) => void)[] = [
    (w) => { w.end.mangle = () => Buffer.alloc(0); },
    (w) => { w.end.stands = 0n; },
  ];
  for (const spoil of wrong) {
    const w = world(proof);
    spoil(w);
    run(w, function* (host) { assert.equal((yield* flush(host, FLUSH.all)).status, 4); });
  }
});

test('the host\'s clock: differences under a second are the way\'s own, from a second on times follow', () => {
  const step = BigInt(limit('clock_step_ns'));
  for (const [set, steps] of [[step - 1n, 0n], [step, 1n], [-step + 1n, 0n], [-step, 1n]] as const) {
    const w = world(proof);
    many(w, 1);
    run(w, function* (host) {
      yield* flush(host, FLUSH.self | FLUSH.send);
      const before = yield* stats(host);
      w.end.set = set;
      yield* flush(host, FLUSH.self | FLUSH.send);
      const after = yield* stats(host);
      assert.deepEqual([after.clockSteps, after.wallOffset - before.wallOffset], [steps, steps === 0n ? 0n : set], `${set}`);
    });
  }
});

test('the queue at its limits: frames and bytes at the edge and one past it; the oldest scrape goes whole; gaps are the drops', () => {
  const frames = limit('queue_frames');
  const w = world(proof);
  w.end.judge = () => 'over_limit';
  run(w, function* (host) {
    yield* flush(host, FLUSH.send);
    // Two small parts a scrape, so that the limit in frames comes first.
    w.dcgmd.parts = [Buffer.from('one'), Buffer.from('two')];
    for (w.dcgmd.scrape = 1n; w.dcgmd.scrape <= BigInt(frames / 2); w.dcgmd.scrape++) yield* flush(host, FLUSH.gpu);
    const full = yield* stats(host);
    assert.deepEqual([full.queueFrames, full.dropped], [BigInt(frames), [0n, 0n, 0n, 0n]]);
    yield* flush(host, FLUSH.gpu);
    const over = yield* stats(host);
    assert.deepEqual([over.queueFrames, over.dropped], [BigInt(frames), [2n, 0n, 0n, 0n]], 'the oldest scrape, both parts');
    addsUp(over);
    w.end.judge = () => 'ok';
    yield* flush(host, FLUSH.send);
    assert.equal(w.end.of('metrics').find(({ payload }) => payload.length > 0)!.seq, 3n);
    addsUp(yield* stats(host));
  });
  const b = world(proof);
  const entry = 4 + 32 + 24 + 16_000;
  const fit = Math.floor(limit('queue_bytes') / entry);
  run(b, function* (host) {
    yield* flush(host, FLUSH.send);
    b.end.judge = () => 'over_limit';
    b.dcgmd.parts = [Buffer.alloc(16_000, 3)];
    for (b.dcgmd.scrape = 1n; b.dcgmd.scrape <= BigInt(fit); b.dcgmd.scrape++) yield* flush(host, FLUSH.gpu);
    const full = yield* stats(host);
    assert.deepEqual([full.queueFrames, full.queueBytes, full.dropped[0]], [BigInt(fit), BigInt(fit * entry), 0n]);
    b.dcgmd.parts = [Buffer.alloc(limit('queue_bytes') - fit * entry - 60, 3)];
    yield* flush(host, FLUSH.gpu);
    const brim = yield* stats(host);
    assert.deepEqual([brim.queueBytes, brim.dropped[0]], [BigInt(limit('queue_bytes')), 0n], 'to the last byte');
    b.dcgmd.scrape++;
    b.dcgmd.parts = [Buffer.from('x')];
    yield* flush(host, FLUSH.gpu);
    const over = yield* stats(host);
    assert.deepEqual([over.dropped[0], over.queueFrames], [1n, BigInt(fit) + 1n]);
    addsUp(over);
  });
});

test('a scrape larger than the queue drops its own first parts, counted, and stays within the limits', () => {
  const w = world(proof);
  run(w, function* (host) {
    yield* flush(host, FLUSH.send);
    w.end.judge = () => 'over_limit';
    w.dcgmd.scrape = 1n;
    w.dcgmd.parts = Array.from({ length: 64 }, () => Buffer.alloc(16_000, 9));
    w.dcgmd.parts.push(Buffer.from('65'));
    yield* flush(host, FLUSH.gpu);
    assert.equal((yield* stats(host)).made[0], 0n, 'more parts than a scrape may have');
    w.dcgmd.parts.pop();
    w.dcgmd.scrape = 2n;
    yield* flush(host, FLUSH.gpu);
    const first = yield* stats(host);
    assert.equal(first.made[0], 64n);
    w.dcgmd.scrape = 3n;
    yield* flush(host, FLUSH.gpu);
    const s = yield* stats(host);
    assert.ok(s.queueBytes <= BigInt(limit('queue_bytes')) && s.dropped[0] >= 64n);
    addsUp(s);
  });
});

test('records: lost before they were read are counted and told; while the queue holds enough batches, logd is not read', () => {
  const w = world(proof);
  w.logd.records = Array.from({ length: 40 }, (_none, i) => ({ message: `m${i}` }));
  w.logd.dropped = 30;
  run(w, function* (host) {
    yield* flush(host, FLUSH.records | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.cursor, s.logs, s.lost], [40n, 10n, 30n]);
    assert.equal(w.end.of('log_records')[0]!.payload.readBigUInt64LE(16), 30n);
    w.end.judge = () => 'over_limit';
    for (let i = 0; i < limit('waiting_batches_max') + 4; i++) {
      w.logd.records.push({ message: 'more' });
      yield* flush(host, FLUSH.records | FLUSH.send);
    }
    const full = yield* stats(host);
    assert.equal(full.queueFrames, BigInt(limit('waiting_batches_max')));
    assert.equal(full.cursor, BigInt(40 + limit('waiting_batches_max')));
    const queries = w.logd.queries;
    yield* flush(host, FLUSH.records);
    assert.equal(w.logd.queries, queries);
    w.end.judge = () => 'ok';
    yield* flush(host, FLUSH.send);
    yield* flush(host, FLUSH.records | FLUSH.send);
    const after = yield* stats(host);
    assert.deepEqual([after.cursor, after.logs, after.lost, after.queueFrames], [BigInt(w.logd.records.length), BigInt(w.logd.records.length - 30), 30n, 0n]);
  });
});

test('a restarted logd is found again and read from its first record', () => {
  const w = world(proof);
  w.logd.records = [{ message: 'a' }, { message: 'b' }];
  run(w, function* (host) {
    yield* flush(host, FLUSH.records | FLUSH.send);
    w.logd.dead = true;
    w.logd.records = [{ message: 'c' }];
    yield* flush(host, FLUSH.records | FLUSH.send);
    yield* flush(host, FLUSH.records | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.logs, s.logdRestarts, s.lost, s.cursor], [3n, 1n, 0n, 1n]);
    assert.ok(w.lookups.includes('logd'));
  });
});

test('a metricsd that refuses, lies or ends: the snapshot fails and is counted, nothing of it is queued, and the next one works', () => {
  const w = world(proof);
  many(w, 300);
  const faults: [string, () => void][] = [
    ['denied', () => { w.metricsd.status = 5; }],
    ['a short page', () => { w.metricsd.mangle = (page) => page.subarray(0, page.length - 1); }],
    ['a long page', () => { w.metricsd.mangle = (page) => Buffer.concat([page, Buffer.alloc(1)]); }],
    ['a page that goes back', () => { w.metricsd.mangle = (page) => { const back = Buffer.from(page); back.writeUInt32LE(0, 0); return back; }; }],
    ['a histogram without buckets', () => { w.metricsd.series = [{ name: 'h', kind: 3, value: 1n }]; }],
    ['dead', () => { w.metricsd.dead = true; }],
  ];
  run(w, function* (host) {
    let failed = 0n;
    for (const [what, spoil] of faults) {
      spoil();
      yield* flush(host, FLUSH.self);
      failed += 1n;
      const s = yield* stats(host);
      assert.deepEqual([s.snapshotsFailed, s.queueFrames], [failed, 0n], what);
      w.metricsd.status = 0;
      w.metricsd.mangle = (page) => page;
      many(w, 300);
      yield* flush(host, FLUSH.self | FLUSH.send);
      assert.equal((yield* stats(host)).snapshotsFailed, failed, what);
    }
  });
});

test('a bucket of metricsd that holds less than a snapshot: it goes on where it was, and is given up only when no page comes', () => {
  const w = world(proof);
  many(w, 1000);
  run(w, function* (host) {
    for (let pass = 0; w.end.of('metrics').length === 0; pass++) {
      assert.ok(pass < 60);
      w.metricsd.room = pass % 2;
      yield* flush(host, FLUSH.self | FLUSH.send);
    }
    assert.equal((yield* stats(host)).snapshotsFailed, 0n);
    const names = w.end.of('metrics').reduce((sum, frame) => sum + otlpOf(frame).toString('latin1').split(/s\d+\x1a/).length - 1, 0);
    assert.equal(names, 1000, 'every series once');
    const asked = w.metricsd.snapshots;
    w.metricsd.room = 0;
    for (let pass = 0; pass <= limit('snapshot_passes_max'); pass++) {
      assert.equal((yield* stats(host)).snapshotsFailed, 0n, `pass ${pass}`);
      yield* flush(host, FLUSH.self);
    }
    assert.deepEqual([(yield* stats(host)).snapshotsFailed, w.metricsd.snapshots - asked], [1n, limit('snapshot_passes_max') + 1]);
    w.metricsd.room = Infinity;
    yield* flush(host, FLUSH.self | FLUSH.send);
    assert.equal((yield* stats(host)).queueFrames, 0n);
  });
});

test('more series than the parts hold: what found no room is counted, and the parts are whole', () => {
  const w = world(proof);
  w.metricsd.series = Array.from({ length: 4096 }, (_none, i) => ({
    name: `n${i}.${'x'.repeat(40)}`, kind: 1, value: 1n, labels: `a=${'y'.repeat(150)}`, sender: i % 2 === 0 ? 'timed' : 'execd',
  }));
  run(w, function* (host) {
    yield* flush(host, FLUSH.self | FLUSH.send);
    const s = yield* stats(host);
    assert.equal(s.acked[1], BigInt(limit('self_parts_max')));
    assert.ok(s.seriesCut > 0n);
    addsUp(s);
  });
  assert.ok(w.end.of('metrics').every((frame) => otlpOf(frame).length <= limit('part_bytes_max')));
});

test('a restarted exporter has another generation and begins its numbers anew', () => {
  const [first, second, boot] = [1n, 2n, 1n].map((own, i) => {
    const w = world({ profile: 'proof', nonce: i === 2 ? '1123456789abcdef' : NONCE }, { counters: { own_generation: own } });
    w.dcgmd.scrape = 4n;
    w.dcgmd.parts = [Buffer.from('x')];
    run(w, function* (host) { yield* flush(host, FLUSH.gpu | FLUSH.send); });
    return w.end.got;
  });
  const generation = (got: World['end']['got'] | undefined): bigint => got![0]!.payload.readBigUInt64LE(4);
  assert.deepEqual([first, second, boot].map(generation), [0x0123_4567_89ab_0001n, 0x0123_4567_89ab_0002n, 0x1123_4567_89ab_0001n]);
  assert.equal(second![1]!.seq, 1n);
});

test('a portd that ends is found again; its silence costs one wait', () => {
  const w = world(proof);
  w.dcgmd.scrape = 1n;
  w.dcgmd.parts = [Buffer.from('x')];
  run(w, function* (host) {
    yield* flush(host, FLUSH.send);
    w.end.dead = true;
    assert.equal((yield* flush(host, FLUSH.gpu | FLUSH.send)).waiting, 1);
    w.end.reconnect();
    yield* flush(host, FLUSH.send);
    yield* flush(host, FLUSH.send);
    assert.ok(w.lookups.includes('portd'));
    assert.equal((yield* stats(host)).acked[0], 1n);
  });
});
