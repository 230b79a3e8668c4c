// SPDX-License-Identifier: Apache-2.0
// samgrd's shipping module under Node: registration by init-lite alone, lookups that fail closed, restart, table
// limits, leaks, fuzzed frames.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import {
  buildModule, Host, type HostOptions, type Outcome, type Peer, type Script, type Step,
} from '../../runtime/node/index.js';
import {
  decision, fuzzed, id, mute, named, policyd, POLICYD_FAULTS, readQuestion, readReply, request, type Question, type Reply,
} from './frames.js';

const NAMES_MAX = limit(loadAbi(), 'samgrd', 'names_max');
const S = { ok: 0, malformed: 1, unsupported: 2, notFound: 3, denied: 4, overLimit: 5, dead: 6, unavailable: 7 };
const SEND = 1;
const CLONE = 4;
const QUERY = 16;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('samgrd'); });

const everyone: Peer = policyd(() => true);
function samgrd(script: (io: Host) => Script, peers: Record<string, Peer> = {}, options: Partial<HostOptions> = {}): Host {
  const host = new Host({ name: 'samgrd', wasm, peers: { policyd: everyone, logd: mute, alpha: mute, beta: mute, ...peers }, ...options });
  host.run(script);
  return host;
}
let nonce = 0;
function* ask(io: Host, from: string, op: number, body: Uint8Array, moved = 0): Generator<Step, Reply, Outcome> {
  nonce++;
  const reply = readReply(yield* io.call(from, request('SM', 1, op, nonce, body), { moved }), 'SM', op);
  assert.equal(reply.nonce, nonce);
  return reply;
}
function* register(io: Host, name: string, from = 'init-lite', peer = 'alpha', rights = SEND | CLONE): Generator<Step, number, Outcome> {
  return (yield* ask(io, from, 1, named(name), io.grantPeer(peer, rights))).status;
}
/** LOOKUP: status and what moved with the reply. */
function* lookup(io: Host, name: string, from = 'selftest'): Generator<Step, { status: number; moved: number }, Outcome> {
  const outcome: Outcome = yield { kind: 'message', from: id(from), bytes: request('SM', 1, 2, ++nonce, named(name)), call: true, moved: 0, badge: 1 };
  return { status: readReply(outcome.reply, 'SM', 2).status, moved: outcome.replyMoved };
}

test('hands out a SEND capability to whom policyd allows, and asks it about the sender and the target', () => {
  const asked: Question[] = [];
  samgrd(function* (io) {
    assert.equal(yield* register(io, 'alpha'), S.ok);
    const handles = io.handles.size;
    const got = yield* lookup(io, 'alpha');
    assert.equal(got.status, S.ok);
    assert.ok(got.moved >= 10, 'a capability moved');
    assert.equal(io.handles.size, handles, 'the clone left with the reply');
    assert.deepEqual(asked.map(({ op, subject, target }) => [op, subject, target]), [[2, id('selftest'), id('alpha')]]);
    assert.equal((yield* lookup(io, 'alpha', 'mallory')).status, S.denied);
    assert.equal((yield* lookup(io, 'alpha', 'mallory')).moved, 0);
  }, { policyd: policyd((q) => q.subject === id('selftest'), asked) });
});

test('tells a refused sender nothing about what exists', () => {
  samgrd(function* (io) {
    yield* register(io, 'alpha');
    assert.equal((yield* lookup(io, 'alpha')).status, S.denied);
    assert.equal((yield* lookup(io, 'no-such')).status, S.denied);
  }, { policyd: policyd(() => false) });
  samgrd(function* (io) {
    assert.equal((yield* lookup(io, 'no-such')).status, S.notFound);
  });
});

for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
  test(`hands nothing out when policyd is at fault: ${name}`, () => {
    samgrd(function* (io) {
      yield* register(io, 'alpha');
      const handles = io.handles.size;
      const got = yield* lookup(io, 'alpha');
      assert.deepEqual(got, { status: S.unavailable, moved: 0 });
      assert.equal(io.handles.size, handles);
    }, { policyd: fault });
  });
}

/** LOOKUP_QUERY: status, what moved with the reply, and its rights (0: nothing moved). */
function* lookupQuery(io: Host, name: string, from = 'selftest'): Generator<Step, { status: number; moved: number; rights: number }, Outcome> {
  const rights = new Map<number, number>();
  const close = io.handles.delete.bind(io.handles);
  io.handles.delete = (handle) => {
    const entry = io.handles.get(handle);
    if (entry) rights.set(handle, entry.rights);
    return close(handle);
  };
  const outcome: Outcome = yield { kind: 'message', from: id(from), bytes: request('SM', 1, 7, ++nonce, named(name)), call: true, moved: 0, badge: 1 };
  io.handles.delete = close;
  const reply = readReply(outcome.reply, 'SM', 7);
  assert.equal(reply.nonce, nonce);
  return { status: reply.status, moved: outcome.replyMoved, rights: outcome.replyMoved === 0 ? 0 : rights.get(outcome.replyMoved)! };
}
/** The capability that LOOKUP_QUERY of a service asks policyd for, beside the ROUTE to it. */
const READ_CAPS = { logd: 'log.query', metricsd: 'metrics.snapshot' };
const CHECK_CAP_DELEGATED = 5;
const ROUTE = 2;

for (const [target, cap] of Object.entries(READ_CAPS)) {
  test(`LOOKUP_QUERY of ${target}: ROUTE and ${cap} of the sender give a capability that can SEND and QUERY, no more`, () => {
    const asked: Question[] = [];
    samgrd(function* (io) {
      assert.equal(yield* register(io, target, 'init-lite', 'alpha', SEND | CLONE | QUERY), S.ok);
      const handles = io.handles.size;
      asked.length = 0;
      const got = yield* lookupQuery(io, target);
      assert.deepEqual([got.status, got.rights], [S.ok, SEND | QUERY]);
      assert.equal(io.handles.size, handles, 'the clone left with the reply');
      assert.deepEqual(asked.map((q) => [q.op, q.subject, q.op === ROUTE ? q.target : q.cap]), [
        [ROUTE, id('selftest'), id(target)], [CHECK_CAP_DELEGATED, id('selftest'), cap],
      ]);
      assert.deepEqual(yield* lookupQuery(io, 'none-such'), { status: S.notFound, moved: 0, rights: 0 });
      io.killPeer('alpha');
      assert.deepEqual(yield* lookupQuery(io, target), { status: S.dead, moved: 0, rights: 0 });
    }, { policyd: policyd(() => true, asked) });
  });

  test(`LOOKUP_QUERY of ${target}: either question denied, or neither answered, gives nothing`, () => {
    const isRoute = (q: Question): boolean => q.op === ROUTE;
    const otherCap = Object.values(READ_CAPS).find((name) => name !== cap)!;
    const nothing = (peer: Peer, status: number, why: string): void => {
      samgrd(function* (io) {
        yield* register(io, target, 'init-lite', 'alpha', SEND | CLONE | QUERY);
        const handles = io.handles.size;
        assert.deepEqual(yield* lookupQuery(io, target), { status, moved: 0, rights: 0 }, why);
        assert.equal(io.handles.size, handles, why);
      }, { policyd: peer });
    };
    nothing(policyd(isRoute), S.denied, 'the route alone');
    nothing(policyd((q) => !isRoute(q)), S.denied, 'the capability alone');
    nothing(policyd((q) => isRoute(q) || q.cap === otherCap), S.denied, 'the capability of the other');
    nothing(policyd(() => false), S.denied, 'neither');
    for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
      nothing(fault, S.unavailable, `${name}, at the route`);
      nothing((m) => (isRoute(readQuestion(m.bytes)) ? decision(m, 0) : fault(m)), S.unavailable, `${name}, at the capability`);
    }
  });
}

test('LOOKUP_QUERY is refused where what init-lite registered cannot be queried; LOOKUP of it still works', () => {
  samgrd(function* (io) {
    yield* register(io, 'logd', 'init-lite', 'alpha', SEND | CLONE);
    const handles = io.handles.size;
    assert.deepEqual(yield* lookupQuery(io, 'logd'), { status: S.denied, moved: 0, rights: 0 });
    assert.equal(io.handles.size, handles);
    assert.equal((yield* lookup(io, 'logd')).status, S.ok);
    for (const bytes of [Buffer.alloc(0), Buffer.from([0]), Buffer.from([9, 65]), named('Logd'), named('a'.repeat(33))]) {
      assert.equal((yield* ask(io, 'selftest', 7, bytes)).status, S.malformed, bytes.toString('hex'));
    }
  });
});

test('takes registrations from init-lite alone, and only what can be sent to and cloned', () => {
  samgrd(function* (io) {
    const handles = io.handles.size;
    assert.equal(yield* register(io, 'alpha', 'selftest'), S.denied);
    assert.equal(yield* register(io, 'alpha', 'init-lite', 'alpha', SEND), S.malformed, 'not to be cloned');
    assert.equal(yield* register(io, 'alpha', 'init-lite', 'alpha', CLONE), S.malformed, 'not to be sent to');
    assert.equal((yield* ask(io, 'init-lite', 1, named('alpha'))).status, S.malformed, 'without a capability');
    assert.equal(yield* register(io, 'Alpha'), S.malformed);
    assert.equal(yield* register(io, ''), S.malformed);
    assert.equal(yield* register(io, 'a'.repeat(33)), S.malformed);
    assert.equal(io.handles.size, handles, 'every refused capability was closed');
    assert.equal(yield* register(io, 'a'.repeat(32)), S.ok);
  });
});

test('answers dead after the process behind a name ended, and a registration replaces it without a leak', () => {
  samgrd(function* (io) {
    yield* register(io, 'svc', 'init-lite', 'alpha');
    const handles = io.handles.size;
    io.killPeer('alpha');
    assert.deepEqual(yield* lookup(io, 'svc'), { status: S.dead, moved: 0 });
    assert.deepEqual([...(yield* ask(io, 'selftest', 6, named('svc'))).body], [1, 1, 1, 0, 0, 0]);
    assert.equal(yield* register(io, 'svc', 'init-lite', 'beta'), S.ok);
    assert.equal(io.handles.size, handles, 'the dead one was closed');
    assert.equal((yield* lookup(io, 'svc')).status, S.ok);
    assert.deepEqual([...(yield* ask(io, 'selftest', 6, named('svc'))).body], [1, 0, 2, 0, 0, 0]);
  });
});

test('asks a restarted policyd through its new registration', () => {
  samgrd(function* (io) {
    yield* register(io, 'alpha');
    io.killPeer('policyd');
    assert.equal((yield* lookup(io, 'alpha')).status, S.unavailable);
    assert.equal(yield* register(io, 'policyd', 'init-lite', 'policyd2'), S.ok);
    assert.equal((yield* lookup(io, 'alpha')).status, S.ok);
  }, { policyd2: everyone });
});

test(`holds ${NAMES_MAX} names and refuses one more, closing its capability`, () => {
  samgrd(function* (io) {
    for (let n = 0; n < NAMES_MAX; n++) assert.equal(yield* register(io, `s${n}`), S.ok);
    const handles = io.handles.size;
    assert.equal(yield* register(io, 'one-more'), S.overLimit);
    assert.equal(io.handles.size, handles);
    assert.equal(yield* register(io, 's0'), S.ok, 'a known name still registers again');
    assert.equal((yield* lookup(io, `s${NAMES_MAX - 1}`)).status, S.ok);
  });
});

test('echoes the sender as the kernel stamps it; refuses what it does not know', () => {
  samgrd(function* (io) {
    const echo = yield* ask(io, 'somebody', 5, Buffer.alloc(0));
    assert.equal(echo.body.readBigUInt64LE(), id('somebody'));
    assert.equal((yield* ask(io, 'somebody', 5, Buffer.alloc(1))).status, S.malformed);
    assert.equal((yield* ask(io, 'somebody', 6, named('nobody'))).status, S.notFound);
    assert.equal((yield* ask(io, 'somebody', 2, Buffer.from([9, 65]))).status, S.malformed);
    assert.equal((yield* ask(io, 'somebody', 3, named('x'))).status, S.unsupported);
  });
});

test('is ready only when policyd answers, and answers no', () => {
  const ping = request('IN', 1, 2, 1);
  const ready = (peer: Peer): number | undefined => {
    let answer: Uint8Array | null = null;
    const host = samgrd(function* (io) { answer = yield* io.call('init-lite', ping); }, { policyd: peer });
    assert.equal(host.console.includes('samgrd: ready'), answer![8] === 0);
    return answer![8];
  };
  assert.equal(ready(policyd(() => false)), 0);
  assert.equal(ready(policyd(() => true)), 1, 'a policyd that allows everything is no evidence');
  for (const fault of Object.values(POLICYD_FAULTS)) assert.equal(ready(fault), 1);
});

test('survives fuzzed frames: one reply each, nothing handed out, no slot lost', () => {
  const seed = 7;
  samgrd(function* (io) {
    yield* register(io, 'alpha');
    const handles = io.handles.size;
    for (const bytes of fuzzed(request('SM', 1, 2, 1, named('alpha')), 1500, seed)) {
      const outcome: Outcome = yield { kind: 'message', from: id('mallory'), bytes, call: true, moved: io.grantPeer('beta'), badge: 1 };
      assert.ok(outcome.reply, `seed ${seed}: ${bytes.toString('hex')}`);
      assert.equal(outcome.replyMoved, 0, `seed ${seed}: ${bytes.toString('hex')}`);
      assert.equal(io.handles.size, handles, `seed ${seed}: ${bytes.toString('hex')}`);
    }
  }, { policyd: policyd(() => false) });
});
