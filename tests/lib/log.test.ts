// SPDX-License-Identifier: Apache-2.0
// nexus-log in its compiled form: slots that are checked, the early ring, correlated replies, the route, loss that adds up, reading.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildEntry, buildModule, Host, type HostOptions, type PeerAnswer, type PeerMessage } from '../../runtime/node/index.js';

let wasm: Uint8Array;
let logdWasm: Uint8Array;
before(async () => {
  wasm = await buildEntry('tests/lib/guest-log.ts');
  logdWasm = await buildModule('logd');
});
const abi = loadAbi();
const IN_FLIGHT = limit(abi, 'nexus_log', 'in_flight_max');
const DRAIN = limit(abi, 'nexus_log', 'drain_max');
/** One more than the deepest endpoint of the kernel can hold. */
const FLOOD = limit(abi, 'kernel', 'endpoint_depth_max') + 1;

/** A stand-in for logd's queue: keeps the frames and answers the way back that came with them, when told to. */
class Queue {
  readonly frames: Buffer[] = [];
  error: string | null = null;
  answer = true;
  status = 0;
  change: (reply: Buffer) => Buffer = (r) => r;
  readonly peer = (message: PeerMessage): PeerAnswer => {
    if (this.error) return { error: this.error };
    const frame = Buffer.from(message.bytes);
    this.frames.push(frame);
    const reply = Buffer.alloc(29);
    reply.write('LO\x02\x81', 0, 'latin1');
    reply[4] = this.status;
    frame.copy(reply, 5, 4, 12);
    reply.writeBigUInt64LE(BigInt(this.frames.length), 13);
    if (message.replyEndpoint && this.answer) message.host.deliver(message.replyEndpoint, 'logd', this.change(reply));
    return null;
  };
  messages(): string[] {
    return this.frames.map((f) => f.toString('latin1', 18 + f[13]!, 18 + f[13]! + f.readUInt16LE(14)));
  }
}
function guest(logd: Queue | null, peers: HostOptions['peers'] = {}, slots?: Record<string, string>): Host {
  return new Host({ name: 'test', wasm, slots, peers: { ...(logd ? { logd: logd.peer } : {}), ...peers } });
}
const n = (host: Host, name: string, ...args: (number | bigint)[]): number => Number(host.fn(name)(...args));
/** put = acknowledged + refused + unanswered + in flight + waiting + dropped, always. */
function balanced(host: Host): void {
  const parts = ['statAcknowledged', 'statRefused', 'statUnanswered', 'inFlight', 'waiting', 'statDropped'].map((name) => n(host, name));
  assert.equal(n(host, 'statPut'), parts.reduce((a, b) => a + b, 0), `put = ${parts.join(' + ')}`);
}

test('configure refuses empty, foreign, weak and unconnected slots, and changes nothing then', () => {
  const host = guest(new Queue(), { other: () => null });
  const endpoint = n(host, 'endpoint');
  const second = n(host, 'endpoint');
  const sendOnly = n(host, 'clone', endpoint, 1);
  const receiveOnly = n(host, 'clone', endpoint, 2);
  const refused: [string, number, number, number][] = [
    ['empty logd', 0, endpoint, endpoint], ['no such logd', 50, endpoint, endpoint], ['a device', 7, endpoint, endpoint],
    ['logd without send', receiveOnly, endpoint, endpoint], ['reply without clone', 5, sendOnly, endpoint],
    ['reply without receive', 5, endpoint, sendOnly], ['two endpoints', 5, endpoint, second], ['empty reply', 5, 0, endpoint],
  ];
  for (const [what, ...slots] of refused) {
    assert.equal(n(host, 'configure', ...slots), 0, what);
    assert.equal(n(host, 'onSlots'), 0);
  }
  assert.equal(n(host, 'configure', 5, endpoint, endpoint), 1);
  assert.equal(n(host, 'onSlots'), 1);
});

test('records logged before the start wait in the ring and go out in order', () => {
  const queue = new Queue();
  const host = guest(queue);
  for (let i = 1; i <= 5; i++) assert.equal(n(host, 'note', i, 0), 1);
  assert.deepEqual([n(host, 'waiting'), queue.frames.length], [5, 0]);
  assert.equal(n(host, 'start'), 1);
  assert.deepEqual(queue.messages(), ['n=1', 'n=2', 'n=3', 'n=4', 'n=5']);
  assert.equal(queue.frames[0]!.toString('latin1', 18 + 4 + 3), 'n=1\nh=00000000000000ff\nk=v\ns=-1');
  host.fn('flush')();
  assert.deepEqual([n(host, 'statAcknowledged'), n(host, 'statLastId'), n(host, 'inFlight')], [5, 5, 0]);
  balanced(host);
});

test('the early ring is bounded: the oldest go, counted', () => {
  const queue = new Queue();
  const host = guest(queue);
  for (let i = 1; i <= 100; i++) n(host, 'note', i, 100);
  const waiting = n(host, 'waiting');
  assert.ok(waiting < 40 && waiting > 10);
  assert.equal(n(host, 'statDropped'), 100 - waiting);
  balanced(host);
  assert.equal(n(host, 'start'), 1);
  assert.ok(queue.messages()[0]!.startsWith(`n=${101 - waiting}.`), 'the newest stayed');
  assert.ok(queue.messages().at(-1)!.startsWith('n=100.'));
});

test('a full queue keeps records, a later flush sends them; no slot leaks', () => {
  const queue = new Queue();
  const host = guest(queue);
  n(host, 'start');
  const handles = host.handles.size;
  queue.error = 'full';
  for (let i = 1; i <= 3; i++) n(host, 'note', i, 0);
  assert.deepEqual([n(host, 'waiting'), n(host, 'statSent'), host.handles.size], [3, 0, handles]);
  assert.ok(n(host, 'statFailures') >= 3);
  queue.error = null;
  n(host, 'note', 4, 0);
  assert.deepEqual(queue.messages(), ['n=1', 'n=2', 'n=3', 'n=4']);
  assert.equal(host.handles.size, handles);
  balanced(host);
});

test('replies are matched by nonce; refusals, mismatches and silence are counted apart', () => {
  const queue = new Queue();
  const host = guest(queue);
  n(host, 'start');
  queue.status = 6;
  n(host, 'note', 1, 0);
  queue.status = 0;
  const changes: ((r: Buffer) => Buffer)[] = [
    (r) => { r[5]! ^= 0x40; return r; }, (r) => { r[3]! ^= 1; return r; }, (r) => r.subarray(0, 12), () => Buffer.alloc(0), () => Buffer.alloc(200, 0xff),
  ];
  for (const change of changes) {
    queue.change = change;
    n(host, 'note', 2, 0);
  }
  host.fn('flush')();
  assert.deepEqual([n(host, 'statRefused'), n(host, 'statMismatched'), n(host, 'statAcknowledged')], [1, changes.length, 0]);
  assert.equal(n(host, 'inFlight'), changes.length);
  queue.change = (r) => r;
  queue.answer = false;
  for (let i = 0; i < 3 * IN_FLIGHT; i++) n(host, 'note', i, 0);
  assert.equal(n(host, 'inFlight'), IN_FLIGHT);
  assert.equal(n(host, 'statUnanswered'), 2 * IN_FLIGHT + changes.length);
  balanced(host);
});

test('a flood of replies that match nothing: taken a bounded number at a time, all counted, and the right reply behind them still found', () => {
  const queue = new Queue();
  const host = guest(queue);
  n(host, 'start');
  for (let i = 1; i <= 40; i++) n(host, 'note', i, 0);
  host.fn('flush')();
  assert.deepEqual([n(host, 'statAcknowledged'), n(host, 'inFlight')], [40, 0]);
  queue.answer = false;
  n(host, 'note', 41, 0);
  const { replyEndpoint, bytes } = host.sent.at(-1)!;
  const due = Buffer.from(bytes).readBigUInt64LE(4);
  const reply = (nonce: bigint): Buffer => {
    const frame = Buffer.alloc(29);
    frame.write('LO\x02\x81', 0, 'latin1');
    frame.writeBigUInt64LE(BigInt.asUintN(64, nonce), 5);
    frame.writeBigUInt64LE(999n, 13);
    return frame;
  };
  // Settled before, of the same place in the window, never sent, nothing at all.
  const stale = Array.from({ length: FLOOD }, (_none, i) => reply([due - 1n - BigInt(i % 39), due - BigInt(IN_FLIGHT), due + BigInt(IN_FLIGHT * (1 + i)), 0n][i % 4]!));
  assert.ok(stale.every((frame) => frame.readBigUInt64LE(5) !== due));
  const handles = host.handles.size;
  for (const frame of stale) host.deliver(replyEndpoint, 'logd', frame);
  host.deliver(replyEndpoint, 'logd', reply(due));
  host.tracing = true;
  let flushes = 0;
  for (; n(host, 'inFlight') > 0 && flushes < 10; flushes++) {
    host.trace.length = 0;
    const before = n(host, 'statMismatched');
    host.fn('flush')();
    assert.ok(host.trace.filter((name) => name === 'recv').length <= DRAIN, 'bounded');
    assert.ok(n(host, 'statMismatched') - before <= DRAIN);
    balanced(host);
  }
  assert.equal(flushes, Math.ceil((FLOOD + 1) / DRAIN));
  assert.deepEqual([n(host, 'statMismatched'), n(host, 'statAcknowledged'), n(host, 'statLastId')], [FLOOD, 41, 999]);
  assert.deepEqual([n(host, 'statUnanswered'), n(host, 'statRefused'), n(host, 'statDropped')], [0, 0, 0]);
  assert.equal(host.handles.size, handles);
  queue.answer = true;
  n(host, 'note', 42, 0);
  host.fn('flush')();
  assert.equal(n(host, 'statAcknowledged'), 42);
});

test('a dead slot leads to the route, a dead route to another lookup; without samgrd records wait and tries are spaced', () => {
  const queue = new Queue();
  let lookups = 0;
  let found = true;
  const samgrd = ({ bytes }: PeerMessage): PeerAnswer => {
    lookups++;
    const reply = Buffer.alloc(9);
    reply.write('SM\x01\x82', 0, 'latin1');
    reply[4] = found ? 0 : 3;
    Buffer.from(bytes).copy(reply, 5, 4, 8);
    return { bytes: reply, ...(found ? { movedPeer: 'fresh' } : {}) };
  };
  const fresh = new Queue();
  const host = guest(queue, { samgrd, fresh: fresh.peer });
  n(host, 'start');
  n(host, 'note', 1, 0);
  const handles = host.handles.size;
  host.killPeer('logd');
  n(host, 'note', 2, 0);
  assert.deepEqual([fresh.messages(), n(host, 'onSlots'), lookups, n(host, 'statRoutes')], [['n=2'], 0, 1, 1]);
  assert.equal(host.handles.size, handles + 1);
  n(host, 'note', 3, 0);
  assert.equal(lookups, 1, 'a working route is kept');
  host.killPeer('fresh');
  host.advance(200_000_000n);
  n(host, 'note', 4, 0);
  assert.deepEqual([fresh.messages().at(-1), lookups, n(host, 'statRoutes')], ['n=4', 2, 2]);
  assert.equal(host.handles.size, handles + 1, 'the dead route was closed');
  host.killPeer('fresh');
  found = false;
  for (let i = 5; i < 25; i++) n(host, 'note', i, 0);
  assert.ok(lookups <= 3, `${lookups} lookups: tries are spaced`);
  assert.equal(n(host, 'waiting'), 20);
  found = true;
  host.advance(200_000_000n);
  host.fn('flush')();
  assert.equal(fresh.messages().at(-1), 'n=24');
  host.fn('flush')();
  assert.equal(n(host, 'inFlight'), 0);
  balanced(host);
});

test('without the slot the routed path is used from the start', () => {
  const fresh = new Queue();
  const samgrd = ({ bytes }: PeerMessage): PeerAnswer => {
    const reply = Buffer.alloc(9);
    reply.write('SM\x01\x82\0', 0, 'latin1');
    Buffer.from(bytes).copy(reply, 5, 4, 8);
    return { bytes: reply, movedPeer: 'fresh' };
  };
  const host = guest(null, { samgrd, fresh: fresh.peer });
  assert.equal(n(host, 'start'), 0);
  n(host, 'note', 1, 0);
  assert.deepEqual(fresh.messages(), ['n=1']);
});

test('a record over the wire limits is sent without what overflowed, and counted', () => {
  const queue = new Queue();
  const host = guest(queue);
  n(host, 'start');
  assert.equal(n(host, 'note', 1, 253), 1);
  assert.equal(n(host, 'cut'), 0);
  assert.equal(n(host, 'note', 1, 254), 1);
  assert.equal(n(host, 'cut'), 1);
  assert.deepEqual(queue.messages().map((m) => m.length), [256, 3]);
});

test('against the real logd: what nexus-log and the reading half exchange is what logd speaks', () => {
  // One module runs at a time: frames are recorded on one side and replayed on the other, in both directions.
  const queue = new Queue();
  const host = guest(queue);
  n(host, 'start');
  for (let i = 1; i <= 40; i++) n(host, 'note', i, 150);
  const recorded = queue.frames;
  const pages: Uint8Array[] = [];
  const logd = new Host({ name: 'logd', wasm: logdWasm });
  logd.run(function* (io) {
    for (const frame of recorded) assert.equal((yield* io.call('test', frame))![4], 0);
    for (let after = 0n, i = 0; i < 10; i++) {
      const query = Buffer.alloc(30);
      query.write('LO\x02\x02', 0, 'latin1');
      query.writeBigUInt64LE(after, 22);
      const page = Buffer.from((yield* io.call('test', query, { badge: 17 }))!);
      pages.push(page);
      const count = page.readUInt16LE(29);
      if (count === 0) break;
      after += BigInt(count);
    }
  });
  const asked: bigint[] = [];
  const reader = guest(null, { logd: ({ bytes }) => {
    const ask = Buffer.from(bytes);
    if (ask[3] !== 2) return null;
    asked.push(ask.readBigUInt64LE(22));
    const page = Buffer.from(pages[asked.length - 1] ?? pages.at(-1)!);
    ask.copy(page, 5, 4, 12);
    return page;
  } });
  const ids: number[] = [];
  for (let id = n(reader, 'readNext'); id !== 0; id = n(reader, 'readNext')) ids.push(id);
  assert.deepEqual(ids, Array.from({ length: 40 }, (_, i) => i + 1));
  assert.equal(n(reader, 'readOutcome'), 0);
  assert.ok(asked.length > 2 && asked.every((after, i) => i === 0 || after > asked[i - 1]!));
});

test('a broken page, a repeated page and a denial end the reading with their reason', () => {
  const page = (ask: Buffer, records: bigint[], change: (b: Buffer) => Buffer = (b) => b): Buffer => {
    const frame = Buffer.alloc(31 + 30 * records.length);
    frame.write('LO\x02\x82\0', 0, 'latin1');
    ask.copy(frame, 5, 4, 12);
    frame.writeUInt16LE(records.length, 29);
    records.forEach((id, i) => frame.writeBigUInt64LE(id, 31 + 30 * i));
    return change(frame);
  };
  const read = (answer: (ask: Buffer, nr: number) => Buffer): [number[], number, number] => {
    let nr = 0;
    const host = guest(null, { logd: ({ bytes }) => answer(Buffer.from(bytes), nr++) });
    const ids: number[] = [];
    for (let i = 0; i < 20; i++) {
      const id = n(host, 'readNext');
      if (id === 0) break;
      ids.push(id);
    }
    return [ids, n(host, 'readOutcome'), n(host, 'readMissed')];
  };
  assert.deepEqual(read((ask, nr) => page(ask, nr === 0 ? [4n, 5n] : nr === 1 ? [9n] : [])), [[4, 5, 9], 0, 3]);
  assert.deepEqual(read((ask) => page(ask, [1n, 2n])), [[1, 2], -150, 0], 'the same page again');
  assert.deepEqual(read((ask) => page(ask, [1n, 1n])), [[1], -150, 0]);
  assert.deepEqual(read((ask) => page(ask, [1n], (b) => b.subarray(0, b.length - 1)))[1], -150);
  assert.deepEqual(read((ask) => page(ask, [1n], (b) => { b[4] = 7; return b; })), [[], 7, 0]);
});
