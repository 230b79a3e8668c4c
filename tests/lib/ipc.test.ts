// SPDX-License-Identifier: Apache-2.0
// nexus-ipc in its compiled form: reply decoder, calls, delegated checks that fail closed, routes, transfer, retry, dispatcher.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildEntry, Host, type HostOptions, type PeerAnswer, type PeerMessage } from '../../runtime/node/index.js';
import { randomBelow } from '../random.js';

let wasm: Uint8Array;
before(async () => { wasm = await buildEntry('tests/lib/guest-ipc.ts'); });

const MS = 1_000_000n;
function guest(peers: HostOptions['peers'] = {}, more: Partial<HostOptions> = {}): Host {
  return new Host({ name: 'test', wasm, peers, ...more });
}
const u64 = (value: number | bigint): bigint => BigInt.asUintN(64, BigInt(value));

/** A reply in protocol LO (status first, nonce u64) to `request`, with changes. */
function loReply(request: Uint8Array, body: Uint8Array = new Uint8Array(0), change: (frame: Buffer) => Buffer = (f) => f): Buffer {
  const frame = Buffer.alloc(13 + body.length);
  Buffer.from(request).copy(frame, 0, 0, 4);
  frame[3] = request[3]! | 0x80;
  Buffer.from(request).copy(frame, 5, 4, 12);
  Buffer.from(body).copy(frame, 13);
  return change(frame);
}
/** policyd's decision (nonce first, 10 bytes) with changes. */
function decision(request: Uint8Array, status: number, change: (frame: Buffer) => Buffer = (f) => f): Buffer {
  const frame = Buffer.alloc(10);
  Buffer.from(request).copy(frame, 0, 0, 8);
  frame[3] = request[3]! | 0x80;
  frame[8] = status;
  return change(frame);
}
const flip = (index: number) => (frame: Buffer): Buffer => { frame[index]! ^= 1; return frame; };
const cut = (bytes: number) => (frame: Buffer): Buffer => frame.subarray(0, bytes);
const grow = (frame: Buffer): Buffer => Buffer.concat([frame, Buffer.alloc(1)]);

test('a call gets its reply; what does not match is refused and counted', () => {
  let change: (frame: Buffer) => Buffer = (f) => f;
  const host = guest({ logd: ({ bytes, call }) => (call ? loReply(bytes, Buffer.from([1, 2, 3]), change) : null) });
  assert.equal(host.fn('callLo')(5, MS), 0);
  assert.equal(host.fn('replyLeft')(), 3);
  assert.deepEqual([...host.sent], []);
  const refusals: [string, (f: Buffer) => Buffer, number][] = [
    ['short', cut(12), -101], ['empty', cut(0), -101], ['magic', flip(0), -102], ['version', flip(2), -103], ['op', flip(3), -104],
    ['request op', (f) => { f[3]! &= 0x7f; return f; }, -104], ['nonce low', flip(5), -105], ['nonce high', flip(12), -105],
  ];
  for (const [what, changed, wanted] of refusals) {
    change = changed;
    assert.equal(host.fn('callLo')(5, MS), wanted, what);
    assert.equal(host.fn('replyLeft')(), 0, `${what}: nothing is handed on`);
  }
  assert.equal(u64(host.fn('mismatches')()), BigInt(refusals.length));
  change = (f) => f;
  assert.equal(host.fn('callLo')(5, MS), 0);
});

test('nonces differ from call to call; status passes; a stale reply of the call before is refused', () => {
  const seen: bigint[] = [];
  let last: Buffer | null = null;
  const host = guest({ logd: ({ bytes }) => {
    seen.push(Buffer.from(bytes).readBigUInt64LE(4));
    const answer = last ?? loReply(bytes, undefined, (f) => { f[4] = 6; return f; });
    last = answer;
    return answer;
  } });
  assert.equal(host.fn('callLo')(0, MS), 0);
  assert.equal(host.fn('replyStatus')(), 6);
  assert.equal(host.fn('callLo')(0, MS), -105);
  assert.equal(new Set(seen).size, 2);
});

test('a flood of stale replies: each call refuses the one it gets and counts it, waits once, leaks nothing; the right one is then found', () => {
  const FLOOD = 65;
  const answered: Buffer[] = [];
  let stale = false;
  const host = guest({ logd: ({ bytes }) => {
    const answer = loReply(bytes, Buffer.from([answered.length]));
    answered.push(answer);
    return stale ? { bytes: answered[(answered.length * 7) % (answered.length - 1)]!, movedPeer: 'logd' } : answer;
  } });
  assert.equal(host.fn('callLo')(0, MS), 0);
  const handles = host.handles.size;
  const start = host.now_ns;
  stale = true;
  for (let n = 1; n <= FLOOD; n++) {
    assert.equal(host.fn('callLo')(0, MS), -105, `stale reply ${n}`);
    assert.deepEqual([host.fn('replyLeft')(), host.fn('replyStatus')(), host.fn('replyMoved')()], [0, 0, 0], 'nothing is handed on');
    assert.equal(u64(host.fn('mismatches')()), BigInt(n));
  }
  assert.equal(answered.length, FLOOD + 1, 'one send a call: a mismatch is not tried again behind the caller\'s back');
  assert.equal(host.handles.size, handles, 'what came with a stale reply was closed');
  assert.deepEqual([host.now_ns - start, u64(host.fn('timeouts')())], [0n, 0n]);
  stale = false;
  assert.deepEqual([host.fn('callLo')(0, MS), host.fn('replyLeft')()], [0, 1]);
  assert.equal(u64(host.fn('mismatches')()), BigInt(FLOOD));
});

test('silence ends at the deadline, kernel errors pass through, a reply with a capability that does not match leaks none', () => {
  let answer: PeerAnswer = null;
  const host = guest({ logd: () => answer });
  const start = host.now_ns;
  assert.equal(host.fn('callLo')(0, 5n * MS), -4);
  assert.equal(host.now_ns - start, 5n * MS);
  assert.equal(u64(host.fn('timeouts')()), 1n);
  for (const [error, code] of [['dead', -3], ['full', -5], ['not_declared', -9]] as const) {
    answer = { error };
    assert.equal(host.fn('callLo')(0, MS), code);
  }
  const handles = host.handles.size;
  answer = { bytes: Buffer.from('nonsense'), movedPeer: 'logd' };
  assert.equal(host.fn('callLo')(0, MS), -101);
  assert.equal(host.handles.size, handles);
});

test('a request over the message limit is refused before it is sent', () => {
  let asked = 0;
  const host = guest({ logd: ({ bytes }) => { asked++; return loReply(bytes); } });
  assert.equal(host.fn('callLo')(8192 - 12, MS), 0);
  assert.equal(host.fn('callLo')(8192 - 11, MS), -107);
  assert.equal(host.fn('sendLo')(8192 - 11), -107);
  assert.equal(asked, 1);
});

test('delegated check: only a well-formed, timely ALLOW with the right nonce allows', () => {
  let answer: (message: PeerMessage) => PeerAnswer = () => null;
  const asked: Buffer[] = [];
  const host = guest({ policyd: (message) => { asked.push(Buffer.from(message.bytes)); return answer(message); } });
  const ask = (): boolean => host.fn('delegate')(0x1122334455667788n) === 1;
  answer = ({ bytes }) => decision(bytes, 0);
  assert.equal(ask(), true);
  const frame = asked[0]!;
  assert.deepEqual([frame.toString('latin1', 0, 2), frame[2], frame[3], frame.readBigUInt64LE(8), frame[16], frame.toString('latin1', 17)],
    ['PO', 2, 5, 0x1122334455667788n, 9, 'log.query']);
  answer = ({ bytes }) => decision(bytes, 1);
  assert.equal(ask(), false);
  assert.equal(host.fn('reason')(), -130);
  assert.equal(u64(host.fn('failures')()), 0n, 'a denial is no failure');
  const injected: [string, (message: PeerMessage) => PeerAnswer, number][] = [
    ['silence', () => null, -4],
    ['dead policyd', () => ({ error: 'dead' }), -3],
    ['late', ({ bytes }) => ({ bytes: decision(bytes, 0), delay_ns: 501n * MS }), -4],
    ['late, handed over all the same', ({ bytes }) => ({ bytes: decision(bytes, 0), delay_ns: 501n * MS, evenIfLate: true }), -106],
    ['wrong nonce', ({ bytes }) => decision(bytes, 0, flip(4)), -105],
    ['short frame', ({ bytes }) => decision(bytes, 0, cut(9)), -131],
    ['shorter frame', ({ bytes }) => decision(bytes, 0, cut(8)), -101],
    ['empty frame', () => new Uint8Array(0), -101],
    ['long frame', ({ bytes }) => decision(bytes, 0, grow), -131],
    ['wrong op', ({ bytes }) => decision(bytes, 0, flip(3)), -104],
    ['wrong version', ({ bytes }) => decision(bytes, 0, flip(2)), -103],
    ['wrong magic', ({ bytes }) => decision(bytes, 0, flip(1)), -102],
    ['request echoed', ({ bytes }) => bytes.slice(0, 10), -104],
    ['malformed', ({ bytes }) => decision(bytes, 2), -132],
    ['unsupported', ({ bytes }) => decision(bytes, 3), -132],
    ['unknown status', ({ bytes }) => decision(bytes, 255), -132],
    ['last byte not zero', ({ bytes }) => decision(bytes, 0, flip(9)), -132],
  ];
  for (const [what, given, reason] of injected) {
    answer = given;
    assert.equal(ask(), false, what);
    assert.equal(host.fn('reason')(), reason, what);
  }
  assert.equal(u64(host.fn('failures')()), BigInt(injected.length));
  answer = ({ bytes }) => ({ bytes: decision(bytes, 0), delay_ns: 499n * MS });
  assert.equal(ask(), true, 'in time');
});

test('delegated check without policyd denies', () => {
  const host = guest();
  assert.equal(host.fn('delegate')(1n), 0);
  assert.equal(host.fn('reason')(), -1);
});

test('the decision decoder never allows a mutated frame (seeded)', () => {
  const host = guest();
  const address = Number(host.fn('address')());
  const random = randomBelow(5);
  const request = Buffer.from([0x50, 0x4f, 2, 5, 0x78, 0x56, 0x34, 0x12]);
  const good = decision(request, 0);
  let allowed = 0;
  for (let i = 0; i < 20_000; i++) {
    const frame = Buffer.from(good);
    const changes = random(4);
    for (let c = 0; c < changes; c++) frame[random(10)] = random(256);
    const length = random(5) === 0 ? random(14) : 10;
    host.write(address, frame);
    const verdict = host.fn('decodeDecision')(0x12345678n, length);
    const isGood = length === 10 && frame.equals(good);
    assert.equal(verdict === 0, isGood);
    if (isGood) allowed++;
  }
  assert.ok(allowed > 1000);
});

test('a route is resolved once, again after `dead`, and a refusal hands nothing out', () => {
  let status = 0;
  let timedDead = false;
  const timed = ({ bytes }: PeerMessage): PeerAnswer => {
    if (timedDead) return { error: 'dead' };
    const frame = Buffer.alloc(9);
    Buffer.from(bytes).copy(frame, 0, 0, 4);
    frame[3]! |= 0x80;
    Buffer.from(bytes).copy(frame, 5, 4, 8);
    return frame;
  };
  const names: string[] = [];
  const host = guest({ timed, samgrd: ({ bytes }) => {
    names.push(Buffer.from(bytes).toString('latin1', 9));
    timedDead = false;
    const frame = Buffer.alloc(9);
    Buffer.from(bytes).copy(frame, 0, 0, 4);
    frame[3]! |= 0x80;
    frame[4] = status;
    Buffer.from(bytes).copy(frame, 5, 4, 8);
    return { bytes: frame, movedPeer: status === 0 ? 'timed' : undefined };
  } });
  const handles = host.handles.size;
  assert.equal(host.fn('callRoute')(), 0);
  assert.equal(host.fn('callRoute')(), 0);
  assert.equal(u64(host.fn('lookups')()), 1n);
  timedDead = true;
  assert.equal(host.fn('callRoute')(), 0);
  assert.deepEqual([u64(host.fn('lookups')()), host.fn('resolutions')()], [2n, 2]);
  assert.equal(host.handles.size, handles + 1, 'the dead handle was closed');
  timedDead = true;
  status = 3;
  assert.equal(host.fn('callRoute')(), -120);
  assert.equal(host.handles.size, handles);
  assert.ok(names.every((name) => name === 'timed'));
});

/** Serves pull requests of `data` like transfer.ts, with a hook to break one reply. */
function source(data: Buffer, hook: (frame: Buffer, offset: number) => PeerAnswer = (f) => f): (m: PeerMessage) => PeerAnswer {
  return ({ bytes }) => {
    const ask = Buffer.from(bytes);
    const offset = ask.readUInt32LE(16);
    const piece = data.subarray(offset, offset + ask.readUInt16LE(20));
    const frame = Buffer.alloc(19 + piece.length);
    ask.copy(frame, 0, 0, 4);
    frame[3]! |= 0x80;
    ask.copy(frame, 5, 4, 8);
    frame.writeUInt32LE(data.length, 9);
    frame.writeUInt32LE(offset, 13);
    frame.writeUInt16LE(piece.length, 17);
    piece.copy(frame, 19);
    return hook(frame, offset);
  };
}

test('chunked transfer: whole at every size around a piece, or an error', () => {
  for (const size of [0, 1, 7999, 8000, 8001, 16_000, 50_000]) {
    const data = Buffer.from(Array.from({ length: size }, (_, i) => (i * 7) & 255));
    const host = guest({ logd: source(data) });
    assert.equal(host.fn('pull')(65_536, 100n * MS), size);
    assert.ok(Buffer.from(host.bytes(Number(host.fn('address')()), size)).equals(data));
  }
  const data = Buffer.alloc(20_000, 1);
  const pull = (hook: (frame: Buffer, offset: number) => PeerAnswer, capacity = 65_536): number | bigint =>
    guest({ logd: source(data, hook) }).fn('pull')(capacity, 100n * MS);
  assert.equal(pull((f) => f, 20_000), 20_000);
  assert.equal(pull((f) => f, 19_999), -141, 'larger than the room');
  assert.equal(pull((f) => { f[4] = 1; return f; }), -140, 'refused');
  assert.equal(pull((f, offset) => { if (offset) f.writeUInt32LE(20_001, 9); return f; }), -142, 'the total changes');
  assert.equal(pull((f, offset) => { if (offset) f.writeUInt32LE(0, 13); return f; }), -142, 'another offset');
  assert.equal(pull((f, offset) => { if (!offset) return f; f.writeUInt16LE(0, 17); return f.subarray(0, 19); }), -142, 'no progress');
  assert.equal(pull((f) => f.subarray(0, f.length - 1)), -142, 'a short piece');
  assert.equal(pull((f) => Buffer.concat([f, Buffer.alloc(1)])), -142, 'a long piece');
  assert.equal(pull((f, offset) => (offset ? { bytes: f, delay_ns: 200n * MS } : f)), -4, 'one deadline for all of it');
});

test('retry: never more attempts than the table allows, and none after the deadline', () => {
  assert.equal(guest().fn('attempts')(3, MS), 3);
  assert.equal(guest().fn('attempts')(1000, MS), 8, 'limits.ipc retry_max');
  assert.equal(guest().fn('attempts')(0, MS), 0);
  assert.equal(guest({}, { clockStep_ns: MS }).fn('attempts')(8, 3n * MS), 3);
});

const ask = (op: number, nonce: bigint, body: Uint8Array = new Uint8Array(0)): Buffer => {
  const frame = Buffer.alloc(12 + body.length);
  frame.write('LO', 0, 'latin1');
  frame[2] = 2;
  frame[3] = op;
  frame.writeBigUInt64LE(nonce, 4);
  Buffer.from(body).copy(frame, 12);
  return frame;
};
const ping = Buffer.from([0x49, 0x4e, 1, 2, 9, 0, 0, 0]);
const go = Buffer.from([0x49, 0x4e, 1, 3, 9, 0, 0, 0]);

test('dispatcher: routes, echoes, refuses; a handler that answers nothing and an answer too long are malformed, not silence', () => {
  const host = guest();
  host.run(function* (io) {
    const echo = Buffer.from((yield* io.call(0x1234n, ask(1, 5n, Buffer.from('hi'))))!);
    assert.deepEqual([echo[4], echo.readBigUInt64LE(5), echo.readBigUInt64LE(13), echo.toString('latin1', 21)], [0, 5n, 0x1234n, 'hi']);
    for (const [op, status] of [[2, 1], [3, 1], [40, 2], [255, 2]] as const) {
      const reply = Buffer.from((yield* io.call('a', ask(op, 77n)))!);
      assert.deepEqual([reply.length, reply[3], reply[4], reply.readBigUInt64LE(5)], [13, op | 0x80, status, 77n], `op ${op}`);
    }
    const counters = Buffer.from((yield* io.call('a', ask(9, 1n)))!);
    assert.deepEqual([counters.readBigUInt64LE(13), counters.readBigUInt64LE(21)], [3n, 1n]);
    const silent = yield* io.send('a', ask(1, 5n));
    assert.deepEqual([silent.reply, silent.sent.length], [null, 0], 'a send without a way back gets no answer');
  });
});

test('dispatcher: PING tells the truth, ready is printed once, init ops are for init alone', () => {
  const host = guest();
  host.run(function* (io) {
    assert.equal((yield* io.call('init-lite', ping))![8], 1, 'no evidence yet');
    assert.deepEqual(io.console, []);
    yield* io.call('a', ask(10, 1n));
    for (let i = 0; i < 2; i++) assert.deepEqual([...(yield* io.call('init-lite', ping))!], [0x49, 0x4e, 1, 0x82, 9, 0, 0, 0, 0]);
    assert.deepEqual(io.console, ['test: ready']);
    assert.equal((yield* io.call('a', go))![4], 1);
    assert.deepEqual(io.console, ['test: ready']);
    yield* io.call('init-lite', go);
    assert.deepEqual(io.console, ['test: ready', 'test: go']);
  });
});

test('dispatcher: deferred answers, once; notifications; ticks on their time', () => {
  const host = guest();
  host.run(function* (io) {
    assert.equal(yield* io.call('a', ask(4, 31n)), null);
    assert.equal(Buffer.from((yield* io.call('b', ask(5, 32n)))!)[4], 0);
    const late = Buffer.from([...io.lateReplies.values()][0]!);
    assert.deepEqual([late[3], late.readBigUInt64LE(5), late.readUInt32LE(13)], [0x84, 31n, 77]);
    assert.equal(Buffer.from((yield* io.call('b', ask(5, 33n)))!)[4], 1, 'a second answer finds no one');
    assert.deepEqual((yield* io.notify(2n)).lines, ['test: child']);
    assert.deepEqual((yield* io.notify(1n)).lines, ['test: device']);
    assert.deepEqual((yield* io.idle()).lines, ['test: tick']);
    io.advance(MS - 1n);
    assert.deepEqual((yield* io.send('a', ask(1, 1n))).lines, []);
    io.advance(1n);
    assert.deepEqual((yield* io.send('a', ask(1, 1n))).lines, ['test: tick']);
  });
});

test('dispatcher: no slot leaks, whatever a handler does with a moved capability', () => {
  const host = guest({ client: () => null });
  host.run(function* (io) {
    const empty = io.handles.size;
    yield* io.call('a', ask(1, 1n), { moved: io.grantPeer('client') });
    assert.equal(io.handles.size, empty, 'not taken: closed');
    yield* io.call('a', ask(40, 1n), { moved: io.grantPeer('client') });
    yield* io.send('a', Buffer.from('?'), { moved: io.grantPeer('client') });
    yield* io.call('a', ask(4, 1n), { moved: io.grantPeer('client') });
    assert.equal(io.handles.size, empty);
    const kept = Buffer.from((yield* io.call('a', ask(6, 1n), { moved: io.grantPeer('client') }))!).readUInt32LE(13);
    assert.equal(io.handles.size, empty + 1);
    const give = Buffer.alloc(4);
    give.writeUInt32LE(kept);
    yield* io.call('a', ask(7, 2n, give));
    assert.equal(io.handles.size, empty, 'moved with the answer');
    yield* io.call('a', ask(6, 1n), { moved: io.grantPeer('client') });
    yield* io.send('a', ask(7, 2n, give));
    assert.equal(io.handles.size, empty, 'an answer nobody gets does not keep its capability');
  });
});

test('dispatcher: the serving half of a transfer, at and past the end', () => {
  const host = guest();
  host.run(function* (io) {
    const piece = function* (offset: number, max: number) {
      const body = Buffer.alloc(14);
      body.writeUInt32LE(offset, 8);
      body.writeUInt16LE(max, 12);
      return Buffer.from((yield* io.call('a', ask(8, 1n, body)))!);
    };
    const first = yield* piece(0, 8000);
    assert.deepEqual([first.readUInt32LE(13), first.readUInt32LE(17), first.readUInt16LE(21), first.length], [20_000, 0, 8000, 8023]);
    assert.equal((yield* piece(19_999, 8000)).readUInt16LE(21), 1);
    assert.equal((yield* piece(20_000, 8000)).readUInt16LE(21), 0);
    assert.equal((yield* piece(0xffffffff, 8000)).readUInt16LE(21), 0);
    assert.equal((yield* piece(0, 65_535)).readUInt16LE(21), 8000);
    assert.equal((yield* piece(0, 0))[4], 1);
  });
});

test('dispatcher: 30000 seeded frames never stop it', () => {
  const host = guest({ client: () => null });
  const random = randomBelow(3);
  host.run(function* (io) {
    const empty = io.handles.size;
    for (let i = 0; i < 30_000; i++) {
      const frame = random(3) ? ask([1, 2, 3, 5, 8, 9][random(6)]!, BigInt(i), Buffer.alloc(random(24), random(256))) : Buffer.from(ping);
      for (let f = random(3); f > 0; f--) frame[random(frame.length)] = random(256);
      if (frame[3] === 6 || frame[3] === 7) continue;
      const sent = frame.subarray(0, random(5) ? frame.length : random(frame.length));
      if (random(2)) yield* io.send('a', sent, { moved: random(2) ? io.grantPeer('client') : 0 });
      else yield* io.call('a', sent);
    }
    assert.equal(io.handles.size, empty);
  });
});
