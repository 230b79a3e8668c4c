// SPDX-License-Identifier: Apache-2.0
// timed's shipping module under Node on a virtual clock: windows, firing, order, deferred sleeps, caps, owners, misses,
// cancels, leaks, fuzzed frames, and a random schedule against a model.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import {
  buildModule, Host, type HostOptions, type Outcome, type Peer, type PeerMessage, type Script, type Step,
} from '../../runtime/node/index.js';
import { fuzzed, id, mute, readReply, request, u32, u64, u8, type Reply } from './frames.js';
import { randomBelow } from '../random.js';

const abi = loadAbi();
const OWNERS = limit(abi, 'timed', 'owners_max');
const PER_OWNER = limit(abi, 'timed', 'owner_timers_max');
const TOTAL = limit(abi, 'timed', 'timers_max');
const SLEEP_MAX = BigInt(limit(abi, 'timed', 'sleep_max_ns'));
const S = { ok: 0, invalid: 1, over: 2, notFound: 3, malformed: 4 };
const Q = { idle: 0, normal: 1, interactive: 2, burst: 3 };
const WINDOWS = [8_000_000n, 4_000_000n, 1_000_000n, 0n];
const MS = 1_000_000n;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('timed'); });

interface Fire { to: string; nonce: number; id: number; deadline: bigint; at: bigint }
function readFire(to: string, bytes: Uint8Array): Fire {
  const at = Buffer.from(bytes);
  assert.equal(at.toString('latin1', 0, 2) + at[2] + at[3], 'TM164');
  assert.equal(at.length, 28);
  return { to, nonce: at.readUInt32LE(4), id: at.readUInt32LE(8), deadline: at.readBigUInt64LE(12), at: at.readBigUInt64LE(20) };
}
function timed(script: (io: Host, fires: Fire[]) => Script, peers: Record<string, Peer> = {}, options: Partial<HostOptions> = {}): Host {
  const fires: Fire[] = [];
  const sink: Peer = (message: PeerMessage) => { fires.push(readFire(message.to, message.bytes)); return null; };
  const host = new Host({ name: 'timed', wasm, peers: { a: sink, b: sink, logd: mute, metricsd: mute, policyd: mute, ...peers }, ...options });
  host.run((io) => script(io, fires));
  return host;
}
let nonce = 0;
interface Registered { status: number; id: number; due: bigint; nonce: number }
function* register(io: Host, qos: number, deadline: bigint, from = 'a', moved = 0): Generator<Step, Registered, Outcome> {
  nonce++;
  const reply = readReply(yield* io.call(from, request('TM', 1, 1, nonce, u8(qos), u8(0), u64(deadline)), { moved }), 'TM', 1);
  assert.equal(reply.nonce, nonce);
  if (reply.status !== S.ok) return { status: reply.status, id: 0, due: 0n, nonce };
  assert.equal(reply.body.length, 12);
  return { status: 0, id: reply.body.readUInt32LE(0), due: reply.body.readBigUInt64LE(4), nonce };
}
const first = (io: Host, qos: number, deadline: bigint, from = 'a'): Generator<Step, Registered, Outcome> =>
  register(io, qos, deadline, from, io.grantPeer(from, 1));
function* ask(io: Host, op: number, from: string, ...body: Parameters<typeof request>[4][]): Generator<Step, Reply, Outcome> {
  return readReply(yield* io.call(from, request('TM', 1, op, ++nonce, ...body)), 'TM', op);
}
function* cancel(io: Host, timer: number, from = 'a'): Generator<Step, number, Outcome> {
  return (yield* ask(io, 2, from, u32(timer))).status;
}
function* stats(io: Host): Generator<Step, Record<string, number>, Outcome> {
  const { body } = yield* ask(io, 4, 'a');
  assert.equal(body.length, 48);
  const wide = (i: number): number => Number(body.readBigUInt64LE(8 + 8 * i));
  return { live: body.readUInt32LE(0), owners: body.readUInt32LE(4), registered: wide(0), fired: wide(1), missed: wide(2), cancelled: wide(3), wakes: wide(4) };
}
/** Lets time pass until `until`, tick by tick. */
function* passUntil(io: Host, until: bigint): Generator<Step, void, Outcome> {
  for (let ticks = 0; io.now_ns < until && ticks < 5000; ticks++) yield* io.idle();
}

test('rounds a deadline up to its window, never down, and fires then', () => {
  for (const [qos, window] of WINDOWS.entries()) {
    timed(function* (io, fires) {
      const asked = io.now_ns + 5n * MS + 1n;
      const got = yield* first(io, qos, asked);
      assert.equal(got.status, S.ok);
      const want = window === 0n ? asked : ((asked + window - 1n) / window) * window;
      assert.equal(got.due, want, `window ${window}`);
      yield* passUntil(io, want);
      assert.deepEqual(fires, [{ to: 'a', nonce: got.nonce, id: got.id, deadline: want, at: want }]);
      const exact = yield* register(io, qos, 1_000n * 8n * MS);
      assert.equal(exact.due, 8_000n * MS, 'a multiple stays where it is');
    });
  }
});

test('fires timers of one window in one wake, in order of registration, and others in order of deadline', () => {
  timed(function* (io, fires) {
    const base = (io.now_ns / (8n * MS) + 2n) * 8n * MS;
    const late = yield* first(io, Q.burst, base + 20n * MS);
    const same: number[] = [];
    for (let n = 4n; n > 0n; n--) same.push((yield* register(io, Q.idle, base + n * MS)).id);
    const soon = yield* register(io, Q.burst, base);
    const before = yield* stats(io);
    yield* passUntil(io, base + 21n * MS);
    assert.deepEqual(fires.map((f) => f.id), [soon.id, ...same, late.id]);
    const after = yield* stats(io);
    assert.deepEqual([after.fired! - before.fired!, after.wakes! - before.wakes!, after.live], [6, 3, 0]);
  });
});

test('fires a deadline in the past at once', () => {
  timed(function* (io, fires) {
    yield* first(io, Q.burst, 1n);
    yield* io.idle();
    assert.equal(fires.length, 1);
  });
});

test('answers a sleep when it is due and serves others meanwhile', () => {
  timed(function* (io) {
    const due = io.now_ns + 10n * MS;
    const asleep: Outcome = yield { kind: 'message', from: id('b'), bytes: request('TM', 1, 3, 77, u8(Q.burst), u8(0), u64(due)), call: true, moved: 0, badge: 1 };
    assert.equal(asleep.reply, null);
    assert.equal((yield* stats(io)).live, 1, 'others are served');
    yield* passUntil(io, due);
    const reply = readReply(io.lateReplies.get(asleep.replyHandle) ?? asleep.reply, 'TM', 3);
    assert.deepEqual([reply.status, reply.nonce, reply.body.readBigUInt64LE()], [S.ok, 77, due]);
    const sleep = (deadline: bigint): Generator<Step, Reply, Outcome> => ask(io, 3, 'b', u8(Q.burst), u8(0), u64(deadline));
    assert.equal((yield* sleep(io.now_ns + SLEEP_MAX + 1n)).status, S.invalid);
    const edge: Outcome = yield { kind: 'message', from: id('b'), bytes: request('TM', 1, 3, 78, u8(Q.burst), u8(0), u64(io.now_ns + SLEEP_MAX)), call: true, moved: 0, badge: 1 };
    assert.equal(edge.reply, null, 'at the limit it sleeps');
    const sent = yield* io.send('b', request('TM', 1, 3, 79, u8(Q.burst), u8(0), u64(io.now_ns + MS)));
    assert.equal(sent.reply, null);
    assert.equal((yield* stats(io)).live, 1, 'a sleep that nobody waits for is refused');
  });
});

test('refuses what is no timer', () => {
  timed(function* (io) {
    const soon = io.now_ns + MS;
    assert.equal((yield* register(io, Q.burst, soon)).status, S.invalid, 'nowhere to fire');
    assert.equal((yield* register(io, 4, soon, 'a', io.grantPeer('a', 1))).status, S.invalid);
    assert.equal((yield* register(io, Q.burst, 0n, 'a', io.grantPeer('a', 1))).status, S.invalid);
    assert.equal((yield* register(io, Q.idle, 2n ** 64n - 1n, 'a', io.grantPeer('a', 1))).status, S.invalid, 'cannot be rounded up');
    assert.equal((yield* register(io, Q.burst, soon, 'a', io.grantPeer('a', 4))).status, S.invalid, 'no right to send');
    assert.equal((yield* ask(io, 1, 'a', u8(Q.burst), u8(1), u64(soon))).status, S.invalid, 'padding');
    assert.equal((yield* ask(io, 1, 'a', u8(Q.burst), u8(0))).status, S.malformed);
    assert.equal((yield* ask(io, 2, 'a', u8(1))).status, S.malformed);
    assert.equal((yield* ask(io, 9, 'a')).status, S.malformed);
    assert.equal((yield* stats(io)).live, 0);
  });
});

test('lets only its owner cancel a timer, once, and no id outlives its timer', () => {
  timed(function* (io, fires) {
    const due = io.now_ns + 10n * MS;
    const mine = yield* first(io, Q.burst, due);
    yield* first(io, Q.burst, due, 'b');
    assert.equal(yield* cancel(io, mine.id, 'b'), S.notFound);
    assert.equal(yield* cancel(io, mine.id), S.ok);
    assert.equal(yield* cancel(io, mine.id), S.notFound);
    const again = yield* register(io, Q.burst, due);
    assert.notEqual(again.id, mine.id, 'the slot is used again under another id');
    yield* passUntil(io, due);
    assert.equal(yield* cancel(io, again.id), S.notFound, 'it fired');
    assert.deepEqual(fires.map((f) => f.to), ['b', 'a']);
    assert.equal(yield* cancel(io, 0), S.notFound);
    assert.equal(yield* cancel(io, 0xffffffff), S.notFound);
  });
});

test(`holds ${PER_OWNER} timers an owner, and has room again after they fired or were cancelled`, () => {
  timed(function* (io, fires) {
    const due = io.now_ns + 50n * MS;
    const ids = [(yield* first(io, Q.burst, due)).id];
    for (let n = 1; n < PER_OWNER; n++) ids.push((yield* register(io, Q.burst, due)).id);
    assert.equal(new Set(ids).size, PER_OWNER);
    assert.equal((yield* register(io, Q.burst, due)).status, S.over);
    assert.equal((yield* first(io, Q.burst, due, 'b')).status, S.ok, 'another owner has its own');
    assert.equal(yield* cancel(io, ids[0]!), S.ok);
    assert.equal((yield* register(io, Q.burst, due)).status, S.ok);
    yield* passUntil(io, due);
    assert.equal(fires.length, PER_OWNER + 1);
    assert.equal((yield* register(io, Q.burst, io.now_ns + MS)).status, S.ok);
  });
});

test(`holds ${TOTAL} timers in all; owners come and go without losing a slot`, () => {
  const names = Array.from({ length: OWNERS + 40 }, (_, n) => `o${n}`);
  const peers = Object.fromEntries(names.map((name) => [name, mute]));
  timed(function* (io) {
    const due = io.now_ns + 50n * MS;
    const full = TOTAL / PER_OWNER;
    for (let o = 0; o < full; o++) {
      assert.equal((yield* first(io, Q.burst, due, names[o])).status, S.ok);
      for (let n = 1; n < PER_OWNER; n++) assert.equal((yield* register(io, Q.burst, due, names[o])).status, S.ok);
    }
    const handles = io.handles.size;
    assert.equal((yield* first(io, Q.burst, due, 'one-more')).status, S.over);
    assert.equal(io.handles.size, handles, 'the refused capability was closed');
    yield* passUntil(io, due + MS);
    assert.equal((yield* stats(io)).live, 0);
    // Every row in use by an owner with a live timer: one more owner is refused; after they fired it is not.
    const later = io.now_ns + 50n * MS;
    for (let o = 0; o < OWNERS; o++) assert.equal((yield* first(io, Q.burst, later, names[o])).status, S.ok);
    assert.equal((yield* first(io, Q.burst, later, 'one-more')).status, S.over);
    yield* passUntil(io, later);
    const before = io.handles.size;
    for (const name of names) {
      const soon = io.now_ns + MS;
      assert.equal((yield* first(io, Q.burst, soon, name)).status, S.ok, name);
      yield* passUntil(io, soon);
    }
    assert.equal(io.handles.size, before, 'rows are reused and their capabilities closed');
  }, { ...peers, 'one-more': mute });
});

test('counts what a full or dead endpoint does not take, and needs a new capability after death', () => {
  let full = true;
  timed(function* (io, fires) {
    yield* first(io, Q.burst, io.now_ns + MS, 'slow');
    yield* passUntil(io, io.now_ns + MS);
    assert.deepEqual([(yield* stats(io)).missed, (yield* stats(io)).live], [1, 0]);
    full = false;
    assert.equal((yield* register(io, Q.burst, io.now_ns + MS, 'slow')).status, S.ok, 'full is not dead');
    yield* passUntil(io, io.now_ns + MS);
    assert.equal((yield* stats(io)).missed, 1);
    yield* first(io, Q.burst, io.now_ns + MS, 'a');
    const handles = io.handles.size;
    io.killPeer('a');
    yield* passUntil(io, io.now_ns + MS);
    assert.equal((yield* stats(io)).missed, 2);
    assert.equal(io.handles.size, handles - 1, 'the dead capability was closed');
    assert.equal((yield* register(io, Q.burst, io.now_ns + MS)).status, S.invalid);
    assert.equal((yield* first(io, Q.burst, io.now_ns + MS)).status, S.ok);
    assert.equal(fires.length, 0);
  }, { slow: () => (full ? { error: 'full' } : null) });
});

test('replaces an owner\'s capability without a leak', () => {
  timed(function* (io, fires) {
    yield* first(io, Q.burst, io.now_ns + MS);
    const handles = io.handles.size;
    yield* register(io, Q.burst, io.now_ns + 2n * MS, 'a', io.grantPeer('b', 1));
    assert.equal(io.handles.size, handles);
    yield* passUntil(io, io.now_ns + 3n * MS);
    assert.deepEqual(fires.map((f) => f.to), ['b', 'b'], 'all of an owner\'s timers fire into its newest capability');
  });
});

test('fires like a model over a random schedule of registers and cancels', () => {
  const seed = 4711;
  const next = randomBelow(seed);
  timed(function* (io, fires) {
    const model = new Map<number, { due: bigint; order: number }>();
    const expected: number[] = [];
    const settle = (): void => {
      const due = [...model].filter(([, t]) => t.due <= io.now_ns);
      due.sort(([, x], [, y]) => (x.due === y.due ? x.order - y.order : x.due < y.due ? -1 : 1));
      for (const [timer] of due) { expected.push(timer); model.delete(timer); }
    };
    yield* first(io, Q.burst, io.now_ns + 1n);
    yield* passUntil(io, io.now_ns + 1n);
    fires.length = 0;
    for (let step = 0; step < 1500; step++) {
      const what = next(10);
      if (what < 6) {
        const got = yield* register(io, next(4), io.now_ns + BigInt(1 + next(30_000_000)));
        assert.equal(got.status, model.size >= PER_OWNER ? S.over : S.ok, `seed ${seed} step ${step}`);
        if (got.status === S.ok) model.set(got.id, { due: got.due, order: step });
      } else if (what < 8 && model.size > 0) {
        const timer = [...model.keys()][next(model.size)]!;
        assert.equal(yield* cancel(io, timer), S.ok, `seed ${seed} step ${step}`);
        model.delete(timer);
      } else {
        yield* io.idle();
        settle();
      }
    }
    yield* passUntil(io, io.now_ns + 100n * MS);
    settle();
    assert.deepEqual(fires.map((f) => f.id), expected, `seed ${seed}`);
    assert.ok(fires.every((f) => f.at >= f.deadline), 'nothing fires early');
    assert.equal((yield* stats(io)).live, 0);
  });
});

test('is ready, and survives fuzzed frames without losing a slot', () => {
  const seed = 31;
  const host = timed(function* (io) {
    yield* io.call('init-lite', request('IN', 1, 2, 1));
    const handles = io.handles.size;
    for (const bytes of fuzzed(request('TM', 1, 1, 1, u8(0), u8(0), u64(1n)), 1500, seed)) {
      const outcome: Outcome = yield { kind: 'message', from: id('mallory'), bytes, call: true, moved: io.grantPeer('a'), badge: 1 };
      assert.ok(outcome.reply || bytes[3] === 3, `seed ${seed}: ${bytes.toString('hex')}`);
    }
    yield* passUntil(io, io.now_ns + 100n * MS);
    assert.ok(io.handles.size <= handles + 4, 'the owner\'s, and the reply endpoints of what it measures');
  });
  assert.deepEqual(host.console, ['timed: ready']);
});
