// SPDX-License-Identifier: Apache-2.0
// dsoftbusd's shipping module under Node: who a side is, policy in every way it can fail, each limit at and over its edge, calls that wait,
// deadlines, sides that die, ids that are another's, and frames of noise.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildModule, type Host, type Peer, type Script } from '../../runtime/node/index.js';
import { Bus, COUNTERS, L, OP, runBus, S } from './dsoftbusd-world.js';
import { fuzzed, id, policyd, POLICYD_FAULTS, request, u32, u64, u8, type Question } from './frames.js';
import { randomBelow } from '../random.js';

let wasm: Uint8Array;
before(async () => { wasm = await buildModule('dsoftbusd'); });
const run = (script: (bus: Bus) => Script, policy?: Peer): Host => runBus(wasm, script, policy);

test('a session carries messages both ways, whole and in order, and its end is told once, after what was sent before', () => {
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const [c, s] = yield* bus.open(listener, 'server', 'client');
    for (const text of ['one', 'x'.repeat(L('message_bytes_max')), 'three']) assert.equal(yield* bus.send('client', c, text), S.ok);
    assert.equal(yield* bus.send('server', s, 'back'), S.ok);
    assert.equal(yield* bus.recv('client', c), 'back');
    assert.equal(yield* bus.recv('client', c), S.empty);
    assert.equal(yield* bus.recv('server', s), 'one');
    assert.equal(yield* bus.close('client', c), S.ok);
    assert.equal(yield* bus.close('client', c), S.notFound);
    assert.equal(yield* bus.send('server', s, 'too late'), S.closed, 'and what is unread stays');
    assert.equal(yield* bus.recv('server', s), 'x'.repeat(L('message_bytes_max')));
    assert.equal(yield* bus.recv('server', s), 'three');
    assert.equal(yield* bus.recv('server', s), S.closed);
    assert.equal(yield* bus.recv('server', s), S.notFound);
    assert.equal(yield* bus.close('server', listener), S.ok);
    const { listeners, sessions, opened, closed, refused, messages, bytes } = yield* bus.stats();
    assert.deepEqual([listeners, sessions, opened, closed, refused, messages], [0, 0, 1, 1, 0, 4]);
    assert.equal(bytes, 3 + L('message_bytes_max') + 5 + 4);
  });
});

test('who a side is, is the kernel\'s word: a claim in another\'s name is refused, another\'s id is none', () => {
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    assert.equal((yield* bus.connect('mallory', 'server', 'p', 'client')).status, S.identity);
    assert.equal((yield* bus.connect('mallory', 'client')).status, S.notFound, 'the port is the server\'s, not the client\'s');
    const [c, s] = yield* bus.open(listener, 'server', 'client');
    for (const which of [c, s]) {
      assert.equal(yield* bus.send('mallory', which, 'x'), S.notFound);
      assert.equal(yield* bus.recv('mallory', which), S.notFound);
      assert.equal(yield* bus.close('mallory', which), S.notFound);
    }
    assert.equal(yield* bus.send('client', s, 'x'), S.notFound, 'the other side\'s id');
    assert.equal((yield* bus.accept('mallory', listener)).status, S.notFound);
    assert.equal(yield* bus.close('mallory', listener), S.notFound);
    for (const wrong of [0, 1, 0x80, 0xffffffff, c + 256, c ^ 0x40, listener + 256, listener + 1]) assert.equal(yield* bus.recv('client', wrong), S.notFound, `${wrong}`);
    const stats = yield* bus.stats();
    assert.deepEqual([stats.spoofed, stats.refused], [1, 2]);
    assert.equal(stats.foreign, 6 + 1 + 2 + 8);
    assert.equal(yield* bus.send('client', c, 'still'), S.ok);
    assert.equal(yield* bus.recv('server', s), 'still');
  });
});

test('asks policyd about the sender: bus.listen, bus.connect and the route to the peer', () => {
  const asked: Question[] = [];
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    assert.equal((yield* bus.connect('client', 'server')).status, S.pending);
    assert.equal((yield* bus.accept('server', listener)).status, S.ok);
  }, policyd(() => true, asked));
  assert.deepEqual(asked.map(({ op, subject, cap, target }) => [op, subject, cap, target]), [
    [5, id('server'), 'bus.listen', 0n], [5, id('client'), 'bus.connect', 0n], [2, id('client'), '', id('server')], [5, id('server'), 'bus.listen', 0n],
  ]);
  const only = (allows: (q: Question) => boolean, then: (bus: Bus, listener: number) => Script): void => {
    let open = true;
    run(function* (bus) {
      const listener = (yield* bus.listen('server')).body.readUInt32LE();
      open = false;
      yield* then(bus, listener);
    }, policyd((q) => open || allows(q)));
  };
  only((q) => q.op !== 2, function* (bus) { assert.equal((yield* bus.connect('client', 'server')).status, S.denied, 'no route'); });
  only((q) => q.cap !== 'bus.connect', function* (bus) { assert.equal((yield* bus.connect('client', 'server')).status, S.denied, 'no bus.connect'); });
  only((q) => q.cap !== 'bus.listen', function* (bus, listener) {
    assert.equal((yield* bus.listen('client')).status, S.denied);
    assert.equal((yield* bus.accept('server', listener)).status, S.denied);
  });
});

for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
  test(`fails closed when policyd is at fault: ${name}`, () => {
    run(function* (bus) {
      assert.equal((yield* bus.listen('server')).status, S.denied);
      assert.equal((yield* bus.connect('client', 'server')).status, S.denied);
      assert.equal((yield* bus.stats()).listeners, 0);
    }, fault);
  });
}

test('each limit at its edge and over: listeners, backlog, sessions in all and of one owner, queue, message, port', () => {
  run(function* (bus) {
    for (let n = 0; n < L('owner_listeners_max'); n++) assert.equal((yield* bus.listen('server', `p${n}`)).status, S.ok);
    assert.equal((yield* bus.listen('server', 'one-more')).status, S.limit);
    assert.equal((yield* bus.listen('server', 'p0')).status, S.exists);
    let listeners = L('owner_listeners_max');
    for (let n = 0; listeners < L('listeners_max'); n++, listeners++) assert.equal((yield* bus.listen(n < 4 ? 'client' : 'mallory', `q${n}`)).status, S.ok);
    assert.equal((yield* bus.listen('mallory', 'z')).status, S.limit);
    assert.equal((yield* bus.listen('server', 'p'.repeat(L('port_bytes_max') + 1))).status, S.tooLarge);
    assert.equal((yield* bus.listen('server', '')).status, S.malformed);
  });
  run(function* (bus) {
    assert.equal((yield* bus.listen('server', 'p'.repeat(L('port_bytes_max')))).status, S.ok);
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    for (let n = 0; n < L('backlog_max'); n++) assert.equal((yield* bus.connect('client', 'server')).status, S.pending);
    assert.equal((yield* bus.connect('client', 'server')).status, S.limit, 'backlog');
    const accepted: number[] = [];
    for (let n = 0; n < L('backlog_max'); n++) accepted.push((yield* bus.accept('server', listener)).body.readUInt32LE());
    for (let n = L('backlog_max'); n < L('owner_sessions_max'); n++) {
      assert.equal((yield* bus.connect('client', 'server')).status, S.pending);
      accepted.push((yield* bus.accept('server', listener)).body.readUInt32LE());
    }
    assert.equal((yield* bus.connect('client', 'server')).status, S.limit, 'the client holds all it may');
    assert.equal((yield* bus.connect('mallory', 'server')).status, S.pending);
    assert.equal((yield* bus.accept('server', listener)).status, S.limit, 'the server holds all it may');
    assert.equal(yield* bus.close('server', accepted[0]!), S.ok);
    assert.equal((yield* bus.accept('server', listener)).status, S.ok);
    assert.equal((yield* bus.stats()).sessions, L('owner_sessions_max') + 1);
  });
  run(function* (bus) {
    let sessions = 0;
    for (let n = 0; sessions < L('sessions_max'); n++) {
      const [server, client] = [`server${n}`, `client${n}`];
      const listener = (yield* bus.listen(server, 'p', bus.alive('server'))).body.readUInt32LE();
      for (let k = 0; k < 4 && sessions < L('sessions_max'); k++, sessions++) {
        assert.equal((yield* bus.ask(client, OP.connect, bus.connectBody(client, server), bus.alive('client'))).status, S.pending);
        assert.equal((yield* bus.accept(server, listener)).status, S.ok);
      }
      if (sessions === L('sessions_max')) assert.equal((yield* bus.ask('x', OP.connect, bus.connectBody('x', server), bus.alive('client'))).status, S.limit);
    }
  });
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const [c, s] = yield* bus.open(listener, 'server', 'client');
    for (let n = 0; n < L('queue_messages_max'); n++) assert.equal(yield* bus.send('client', c, 'm'), S.ok);
    assert.equal(yield* bus.send('client', c, 'm'), S.full, 'by messages');
    assert.equal(yield* bus.recv('server', s), 'm');
    assert.equal(yield* bus.send('client', c, 'm'), S.ok);
    const most = Buffer.alloc(L('message_bytes_max'), 1);
    const fit = Math.floor(L('queue_bytes_max') / (most.length + 4));
    for (let n = 0; n < fit; n++) assert.equal(yield* bus.send('server', s, most), S.ok);
    const rest = L('queue_bytes_max') - fit * (most.length + 4);
    if (rest > 4) {
      assert.equal(yield* bus.send('server', s, most.subarray(0, rest - 3)), S.full, 'by bytes');
      assert.equal(yield* bus.send('server', s, most.subarray(0, rest - 4)), S.ok, 'to the last byte');
    }
    assert.equal(yield* bus.send('server', s, 'x'), S.full);
    assert.equal(yield* bus.send('client', c, Buffer.alloc(L('message_bytes_max') + 1)), S.tooLarge);
    assert.equal(yield* bus.send('client', c, ''), S.malformed);
    assert.equal((yield* bus.stats()).full, rest > 4 ? 3 : 2);
  });
});

test('refuses who shows no capability that tells whether it lives', () => {
  run(function* (bus) {
    assert.equal((yield* bus.listen('server', 'p', 0)).status, S.invalid);
    assert.equal((yield* bus.listen('server', 'p', bus.alive('server', 1))).status, S.invalid, 'it must be cloned for each session');
    bus.io.killPeer('server');
    const gone = bus.alive('server');
    bus.io.killPeer('server');
    assert.equal((yield* bus.listen('server', 'p', gone)).status, S.invalid);
    yield* bus.listen('server');
    assert.equal((yield* bus.ask('client', OP.connect, bus.connectBody('client', 'server'))).status, S.invalid);
  });
});

test('calls that wait: ACCEPT, CONNECT and RECV are answered by what they wait for, or when their time is over', () => {
  run(function* (bus) {
    const SECOND = 1_000_000_000n;
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const accepting = yield* bus.defer('server', OP.accept, [u32(listener), u64(SECOND)]);
    const connected = yield* bus.connect('client', 'server');
    assert.equal(connected.status, S.ok, 'somebody waits: accepted at once');
    const c = connected.body.readUInt32LE();
    const accepted = bus.late(accepting)!;
    assert.deepEqual([accepted.status, accepted.body.readBigUInt64LE(4)], [S.ok, id('client')]);
    const s = accepted.body.readUInt32LE();
    const reading = yield* bus.defer('server', OP.recv, [u32(s), u64(SECOND)]);
    const long = 'y'.repeat(L('message_bytes_max'));
    assert.equal(yield* bus.send('client', c, long), S.ok);
    assert.equal(bus.late(reading)!.body.toString('latin1'), long);
    assert.equal(yield* bus.recv('server', s), S.empty, 'delivered once');

    const first = yield* bus.defer('client', OP.recv, [u32(c), u64(SECOND)]);
    const second = yield* bus.defer('client', OP.recv, [u32(c), u64(SECOND)]);
    assert.equal(bus.late(first)!.status, S.empty, 'a second takes the place of the first');
    const from = bus.io.now_ns;
    for (let n = 0; n < 1000 && !bus.late(second); n++) yield* bus.io.idle();
    assert.equal(bus.late(second)!.status, S.empty);
    assert.ok(bus.io.now_ns - from >= SECOND && bus.io.now_ns - from < 2n * SECOND);

    const last = yield* bus.defer('server', OP.recv, [u32(s), u64(SECOND)]);
    assert.equal(yield* bus.close('client', c), S.ok);
    assert.equal(bus.late(last)!.status, S.closed);

    const connecting = yield* bus.defer('client', OP.connect, bus.connectBody('client', 'server', SECOND), bus.alive('client'));
    const taken = yield* bus.accept('server', listener);
    assert.deepEqual([taken.status, bus.late(connecting)!.status], [S.ok, S.ok]);
    const brief = yield* bus.defer('client', OP.connect, bus.connectBody('client', 'server', 1n), bus.alive('client'));
    yield* bus.io.idle();
    assert.equal(bus.late(brief)!.status, S.pending);
    assert.equal((yield* bus.accept('server', listener)).status, S.ok, 'it still waits');

    const never = yield* bus.defer('server', OP.accept, [u32(listener), u64(0xffffffffffffn)]);
    const began = bus.io.now_ns;
    for (let n = 0; n < 2000 && !bus.late(never); n++) yield* bus.io.idle();
    assert.equal(bus.late(never)!.status, S.empty);
    assert.ok(bus.io.now_ns - began < 2n * BigInt(L('wait_max_ns')), 'no wait is longer than the limit');
  });
});

test('a session that nobody accepts is over at its deadline; a listener that closes tells who waits', () => {
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const quiet = (yield* bus.connect('client', 'server')).body.readUInt32LE();
    assert.equal(yield* bus.send('client', quiet, 'x'), S.pending);
    const waiting = yield* bus.defer('client', OP.connect, bus.connectBody('client', 'server', 2_000_000_000n), bus.alive('client'));
    bus.io.advance(L('handshake_wait_ns') - 1);
    assert.equal(yield* bus.send('client', quiet, 'x'), S.pending, 'not yet');
    bus.io.advance(100_000_000);
    yield* bus.io.idle();
    assert.equal(bus.late(waiting)!.status, S.timeout);
    assert.equal(yield* bus.recv('client', quiet), S.timeout);
    assert.equal(yield* bus.recv('client', quiet), S.notFound);
    assert.equal((yield* bus.accept('server', listener)).status, S.empty);
    const two = yield* bus.defer('client', OP.connect, bus.connectBody('client', 'server', 400_000_000n), bus.alive('client'));
    assert.equal(yield* bus.close('server', listener), S.ok);
    assert.equal(bus.late(two)!.status, S.closed);
    const stats = yield* bus.stats();
    assert.deepEqual([stats.timeouts, stats.refused, stats.sessions, stats.listeners], [2, 3, 0, 0]);
  });
});

test('a side that dies closes its sessions and listeners: at the next request, and by the sweep when nobody asks', () => {
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const [, s] = yield* bus.open(listener, 'server', 'client');
    const [c2, s2] = yield* bus.open(listener, 'server', 'client');
    assert.equal(yield* bus.send('client', c2, 'last words'), S.ok);
    const reading = yield* bus.defer('server', OP.recv, [u32(s), u64(2_000_000_000n)]);
    bus.io.killPeer('client');
    for (let n = 0; n < 100 && !bus.late(reading); n++) yield* bus.io.idle();
    assert.equal(bus.late(reading)!.status, S.dead, 'by the sweep');
    assert.equal(yield* bus.recv('server', s2), 'last words');
    assert.equal(yield* bus.recv('server', s2), S.dead);
    assert.equal((yield* bus.stats()).sessions, 0);
    const [c3, s3] = yield* bus.open(listener, 'server', 'mallory');
    bus.io.killPeer('mallory');
    assert.equal(yield* bus.send('server', s3, 'x'), S.dead, 'at the next request');
    assert.equal(yield* bus.send('mallory', c3, 'x'), S.notFound, 'the restarted one does not inherit it');
    yield* bus.open(listener, 'server', 'client');
    bus.io.killPeer('server');
    assert.equal((yield* bus.connect('client', 'server')).status, S.notFound, 'a dead listener');
    for (let n = 0; n < 100; n++) yield* bus.io.idle();
    const stats = yield* bus.stats();
    assert.deepEqual([stats.listeners, stats.opened, stats.closed], [0, 4, 4]);
    assert.equal((yield* bus.listen('server')).status, S.ok, 'its port is free again');
  });
});

test('no capability leaks: a hundred sessions leave the table of handles as it was', () => {
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const before_ = bus.io.handles.size;
    for (let n = 0; n < 100; n++) {
      const [c, s] = yield* bus.open(listener, 'server', 'client');
      assert.equal((yield* bus.connect('client', 'server', 'no such port')).status, S.notFound);
      assert.equal(yield* bus.close('client', c), S.ok);
      assert.equal(yield* bus.close('server', s), S.ok);
    }
    assert.equal(bus.io.handles.size, before_);
  });
});

test('against a model: random sends, receives and closes over several sessions', () => {
  const seed = Number(process.env.BUS_SEED ?? 7);
  const again = `BUS_SEED=${seed} npx tsx --test tests/services/dsoftbusd.test.ts`;
  const next = randomBelow(seed);
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    interface End { id: number; who: string; inbox: string[]; other: End | null; closed: boolean }
    const ends: End[] = [];
    for (let n = 0; n < 4; n++) {
      const [c, s] = yield* bus.open(listener, 'server', 'client');
      const client: End = { id: c, who: 'client', inbox: [], other: null, closed: false };
      const server: End = { id: s, who: 'server', inbox: [], other: client, closed: false };
      client.other = server;
      ends.push(client, server);
    }
    for (let step = 0; step < 1500; step++) {
      const end = ends[next(ends.length)]!;
      const used = (to: End): number => to.inbox.reduce((sum, each) => sum + each.length + 4, 0);
      const gone = end.other === null;
      const what = next(100);
      if (what < 50) {
        const text = `${step}-`.padEnd(1 + next(L('message_bytes_max')), 'z').slice(0, L('message_bytes_max'));
        const to = end.other;
        const expected = end.closed ? S.notFound : gone ? S.closed
          : to!.inbox.length === L('queue_messages_max') || used(to!) + text.length + 4 > L('queue_bytes_max') ? S.full : S.ok;
        assert.equal(yield* bus.send(end.who, end.id, text), expected, `step ${step}; ${again}`);
        if (expected === S.ok) to!.inbox.push(text);
        if (expected === S.closed && end.inbox.length === 0) end.closed = true;
      } else if (what < 99) {
        const expected = end.closed ? S.notFound : end.inbox.shift() ?? (gone ? S.closed : S.empty);
        assert.equal(yield* bus.recv(end.who, end.id), expected, `step ${step}; ${again}`);
        if (expected === S.closed) end.closed = true;
      } else {
        assert.equal(yield* bus.close(end.who, end.id), end.closed ? S.notFound : S.ok, `step ${step}; ${again}`);
        if (end.other) end.other.other = null;
        end.closed = true;
        end.inbox = [];
        end.other = null;
      }
    }
  });
});

test('ready means a message went through both tables, and nothing of it stays', () => {
  const host = run(function* (bus) {
    yield* bus.io.call('init-lite', request('IN', 1, 2, 1));
    const stats = yield* bus.stats();
    assert.deepEqual(Object.values(stats), COUNTERS.map(() => 0));
  });
  assert.deepEqual(host.console, ['dsoftbusd: ready']);
});

test('survives fuzzed frames: one reply each, no session for them', () => {
  const seed = 23;
  run(function* (bus) {
    const listener = (yield* bus.listen('server')).body.readUInt32LE();
    const [c, s] = yield* bus.open(listener, 'server', 'client');
    const frames = [
      request('DB', 1, OP.connect, 1, ...bus.connectBody('mallory', 'server')), request('DB', 1, OP.send, 1, u32(c), 'text'),
      request('DB', 1, OP.recv, 1, u32(s), u64(0)), request('DB', 1, OP.listen, 1, u8(1), 'p'), request('DB', 1, OP.close, 1, u32(c)),
    ];
    for (const valid of frames) {
      for (const bytes of fuzzed(valid, 300, seed)) {
        const reply = yield* bus.io.call('mallory', bytes);
        assert.ok(reply && reply.length >= 9, `seed ${seed}: ${bytes.toString('hex')}`);
      }
    }
    const stats = yield* bus.stats();
    assert.deepEqual([stats.sessions, stats.listeners], [1, 1]);
    assert.equal(yield* bus.send('client', c, 'still there'), S.ok);
    assert.equal(yield* bus.recv('server', s), 'still there');
  });
});
