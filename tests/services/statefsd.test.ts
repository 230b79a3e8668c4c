// SPDX-License-Identifier: Apache-2.0
// statefsd's shipping module under Node on a simulated disk: what it stores, when it answers, how many requests share a FLUSH, pages,
// pieces, batches, transactions, and each limit on both sides of its edge. (Rights: statefsd-access.test.ts; a device that fails:
// statefsd-device.test.ts; power cuts: tests/statefs.)
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildModule, mutantSources, type Sent } from '../../runtime/node/index.js';
import { randomBelow } from '../random.js';
import { BlkDevice } from '../statefs/sim/device.js';
import { SimDisk } from '../statefs/sim/disk.js';
import { LAZY, OP, STATS, STATUS as S, readPage, readPiece, readReply } from '../statefs/sim/frames.js';
import { u16, u32, u8 } from './frames.js';
import {
  bare, batch, del, get, list, prefixed, put, sf, txnDel, txnEnd, txnPut, world, type Steps, type World,
} from './statefsd-world.js';

const abi = loadAbi();
const of = (key: string): number => limit(abi, 'statefsd', key);
const GROUP = of('group_requests_max');
const MOVED = of('group_moved_max');
const PIECE_MAX = limit(abi, 'kernel', 'message_bytes_max') - 31;
let wasm: Uint8Array;
let broken: Uint8Array;
let mutants: Map<string, number>;
before(async () => {
  wasm = await buildModule('statefsd');
  const sources = mutantSources();
  mutants = sources.numbers;
  broken = await buildModule('statefsd', { replace: sources.replace });
});
const run = (script: (w: World) => Steps<void>, device?: BlkDevice): World => world({ wasm, device }, script);
const pattern = (bytes: number, seed = 1): Buffer => Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 31 + seed) & 255));

test('keeps what was put, byte for byte, over restarts', () => {
  const device = new BlkDevice(new SimDisk(4096));
  const lines = run(function* (w) {
    let last = 0n;
    for (const [key, bytes] of [['/state/a', 0], ['/state/a', 1], ['/state/b.c-d_e/F', 300], ['/state/a', 8000]] as const) {
      const reply = yield* w.ask(put(key, pattern(bytes)));
      assert.equal(reply.status, S.ok);
      assert.ok(reply.body.readBigUInt64LE() > last, 'sequences grow');
      last = reply.body.readBigUInt64LE();
      assert.deepEqual(yield* w.value(key), pattern(bytes));
    }
    assert.equal(yield* w.status(put('/state/gone', 'x')), S.ok);
    assert.equal(yield* w.status(del('/state/gone')), S.ok);
    assert.equal(yield* w.status(del('/state/gone')), S.notFound);
    assert.equal(yield* w.value('/state/gone'), S.notFound);
  }, device).host.console;
  assert.deepEqual(lines, ['statefsd: ready']);
  device.disk.load(device.disk.medium.slice());
  run(function* (w) {
    assert.deepEqual(yield* w.keys('/state/'), ['/state/a', '/state/b.c-d_e/F']);
    assert.deepEqual(yield* w.value('/state/a'), pattern(8000));
    assert.deepEqual(yield* w.value('/state/b.c-d_e/F'), pattern(300));
  }, device);
});

test('answers a write only after the FLUSH that covers it', () => {
  const w = run(function* (w) {
    for (const make of [put('/state/a', 'x'), del('/state/a'), batch([['/state/b', 'y']])]) assert.equal(yield* w.status(make), S.ok);
    const txn = yield* w.begin();
    yield* w.ask(txnPut(txn, '/state/t', 1, 0, 'z'));
    assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.ok);
  });
  for (const nonce of [1, 2, 3, 6]) {
    const at = w.events.findIndex((event) => event.kind === 'answer' && event.nonce === nonce);
    const before = w.events.slice(0, at).map(({ kind }) => kind).filter((kind) => kind === 'write' || kind === 'flush');
    assert.deepEqual(before.slice(-2), ['write', 'flush'], `request ${nonce}`);
  }
});

test('the mutant that acknowledges before the FLUSH is seen by that check', () => {
  for (const [mutant, wanted] of [[undefined, ['write', 'flush', 'answer']], [mutants.get('statefs_acks_before_flush'), ['answer']]] as const) {
    let from = 0;
    const w = world({ wasm: broken, mutant }, function* (w) {
      from = w.events.length;
      assert.equal(yield* w.status(put('/state/a', 'x')), S.ok);
    });
    assert.deepEqual(w.events.slice(from).map(({ kind }) => kind), wanted);
  }
});

test('65 queued puts share one FLUSH', () => {
  run(function* (w) {
    const flushes = w.count('flush');
    const nonces: number[] = [];
    for (let n = 0; n < 65; n++) nonces.push(yield* w.submit(put(`/state/k${n}`, pattern(256, n))));
    assert.ok(nonces.every((nonce) => w.answer(nonce) === undefined), 'none is answered before the queue is empty');
    assert.equal(w.count('flush'), flushes);
    yield* w.host.idle();
    assert.ok(nonces.every((nonce) => w.answer(nonce)?.status === S.ok));
    assert.equal(w.count('flush'), flushes + 1);
    const stats = yield* w.stats();
    assert.equal(stats[19], 65, 'the largest group');
    for (let n = 0; n < 65; n++) assert.deepEqual(yield* w.value(`/state/k${n}`), pattern(256, n));
  });
});

test(`a group is written at once when ${GROUP} requests wait`, () => {
  run(function* (w) {
    const flushes = w.count('flush');
    for (let n = 1; n < GROUP; n++) yield* w.submit(put(`/state/k${n}`, 'v'));
    assert.equal(w.count('flush'), flushes);
    const last = yield* w.submit(put('/state/last', 'v'));
    assert.equal(w.count('flush'), flushes + 1);
    assert.equal(w.answer(last)?.status, S.ok);
  });
});

test('a group does not wait for an end of the queue that never comes', () => {
  run(function* (w) {
    const first = yield* w.submit(put('/state/a', 'v'));
    for (let n = 1; n < GROUP; n++) yield* w.submit(sf.bind(null, 60));
    assert.equal(w.answer(first)?.status, undefined, 'refused frames do not commit');
    for (let n = 0; n < GROUP; n++) yield* w.submit(txnEnd(OP.txnAbort, 999));
    assert.equal(w.answer(first)?.status, S.ok);
  });
});

/** Requests as sends with a reply endpoint: their answers, in order. */
function answersTo(sent: Sent[], to: string): (number | undefined)[] {
  return sent.filter((message) => message.to === to).map(({ bytes }) => readReply(bytes)?.status);
}

test(`answers sends at the endpoint that moved along, at most ${MOVED} of them waiting`, () => {
  run(function* (w) {
    const flushes = w.count('flush');
    for (let n = 1; n < MOVED; n++) {
      yield* w.host.send('metricsd', batch([[`/state/m${n}`, 'v']])(1000 + n), { moved: w.host.grantPeer('client', 1) });
    }
    assert.equal(w.count('flush'), flushes);
    yield* w.host.send('metricsd', batch([['/state/m0', 'v']])(1000), { moved: w.host.grantPeer('client', 1) });
    assert.equal(w.count('flush'), flushes + 1);
    assert.deepEqual(answersTo(w.host.sent, 'client'), Array(MOVED).fill(S.ok));
    const handles = w.host.handles.size;
    yield* w.host.send('metricsd', put('/state/plain', 'v')(2000));
    yield* w.host.idle();
    assert.deepEqual(yield* w.value('/state/plain'), Buffer.from('v'), 'a plain send is stored and answered to nobody');
    assert.equal(w.host.handles.size, handles, 'no handle is left behind');
  });
});

test('LAZY is accepted at once and visible, and durable with the SYNC', () => {
  run(function* (w) {
    const flushes = w.count('flush');
    for (let n = 0; n < 20; n++) {
      const nonce = yield* w.submit(batch([[`/state/l${n}`, 'v']], LAZY));
      assert.equal(w.answer(nonce)?.status, S.ok);
    }
    yield* w.host.idle();
    assert.equal(w.count('flush'), flushes, 'an empty queue does not write what nobody waits for');
    const sync = yield* w.ask(bare(OP.sync));
    assert.equal(w.count('flush'), flushes + 1);
    const stats = yield* w.stats();
    assert.equal(Number(sync.body.readBigUInt64LE()), stats[STATS.durable]);
    assert.equal(stats[STATS.sequence], stats[STATS.durable]);
    assert.equal((yield* w.ask(bare(OP.sync))).status, S.ok);
    assert.equal(w.count('flush'), flushes + 1, 'a SYNC with nothing to write does not flush');
  });
});

test('what is accepted is written by itself after lazy_delay_ns, before a read, and when too much is staged', () => {
  run(function* (w) {
    const flushes = w.count('flush');
    yield* w.ask(batch([['/state/a', 'v']], LAZY));
    const from = w.host.now_ns;
    for (let n = 0; n < 1000 && w.count('flush') === flushes; n++) yield* w.host.idle();
    assert.equal(w.count('flush'), flushes + 1);
    const waited = w.host.now_ns - from;
    assert.ok(waited >= BigInt(of('lazy_delay_ns')) && waited < 2n * BigInt(of('lazy_delay_ns')), `${waited}`);
    yield* w.ask(batch([['/state/b', 'v']], LAZY));
    assert.deepEqual(yield* w.value('/state/b'), Buffer.from('v'));
    assert.equal(w.count('flush'), flushes + 2, 'before a read');
    const big = 'x'.repeat(7000);
    let staged = 0;
    while (w.count('flush') === flushes + 2) {
      yield* w.submit(batch([[`/state/big${staged}`, big]], LAZY));
      assert.ok(++staged < 40);
    }
    assert.equal(staged, Math.ceil(of('group_bytes_max') / 7048), 'staged bytes');
  });
});

test('a LAZY batch of one sender too many waits like any other', () => {
  run(function* (w) {
    const senders = of('lazy_senders_max');
    for (let n = 0; n < senders; n++) {
      const nonce = yield* w.submit(batch([[`/state/s${n}`, 'v']], LAZY), `sender-${n}`);
      assert.equal(w.answer(nonce)?.status, S.ok);
    }
    const nonce = yield* w.submit(batch([['/state/one-more', 'v']], LAZY), 'one-more');
    assert.equal(w.answer(nonce), undefined);
    yield* w.host.idle();
    assert.equal(w.answer(nonce)?.status, S.ok);
    assert.equal(w.device.disk.pending.length, 0);
  });
});

test('LIST gives keys in byte order, each once, in pages of any size', () => {
  run(function* (w) {
    const next = randomBelow(5);
    const names = Array.from(new Set(Array.from({ length: 300 }, () => `/state/l/${next(1000)}${'y'.repeat(next(40))}`)));
    for (let at = 0; at < names.length; at += 50) {
      assert.equal(yield* w.status(batch(names.slice(at, at + 50).map((key) => [key, key]))), S.ok);
    }
    const sorted = [...names].sort();
    for (const max of [0, 1, 7, 299, 65535]) assert.deepEqual(yield* w.keys('/state/l/', 'selftest', max), sorted, `pages of ${max}`);
    assert.deepEqual(yield* w.keys('/state/l/9'), sorted.filter((key) => key.startsWith('/state/l/9')));
    assert.deepEqual(yield* w.keys('/state/nothing'), []);
    const page = yield* w.ask(list('/state/l/'));
    assert.ok(page.body.length <= of('list_page_bytes_max') && page.body.length > of('list_page_bytes_max') - 800);
    assert.ok(readPage(page.body).keys.every(({ key, valueBytes }) => valueBytes === key.length));
    assert.equal(yield* w.status(list('/state/l/', 'z'.repeat(255))), S.ok);
    assert.equal(yield* w.status(list('/state/l/', 'z'.repeat(256))), S.malformed);
    assert.equal(yield* w.status(list('/sta')), S.invalidKey);
  });
});

test('GET gives the piece that was asked for, with the sequence of its value', () => {
  run(function* (w) {
    const txn = yield* w.begin();
    const whole = pattern(20_000, 3);
    for (let at = 0; at < whole.length; at += 7000) yield* w.ask(txnPut(txn, '/state/v', whole.length, at, whole.subarray(at, at + 7000)));
    assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.ok);
    let sequence: bigint | null = null;
    for (const [offset, max, length] of [[0, 1, 1], [0, 65535, PIECE_MAX], [19_999, 10, 1], [20_000, 10, 0], [4294967295, 10, 0], [777, 50, 50]] as const) {
      const { body } = yield* w.ask(get('/state/v', offset, max));
      const piece = readPiece(body);
      assert.deepEqual([piece.total, piece.offset, piece.bytes.length], [20_000, offset, length]);
      assert.deepEqual(Buffer.from(piece.bytes), Buffer.from(whole.subarray(offset, offset + length)));
      assert.equal(body.readBigUInt64LE(10), sequence ??= body.readBigUInt64LE(10));
    }
    assert.equal(yield* w.status(get('/state/v', 0, 0)), S.malformed);
    yield* w.ask(put('/state/v', 'other'));
    assert.notEqual((yield* w.ask(get('/state/v'))).body.readBigUInt64LE(10), sequence, 'another value has another sequence');
  });
});

const KEYS: [string, number][] = [
  ['/state/a', S.ok], ['/state/A.b_c-9/..x/.y', S.ok], [`/state/${'k'.repeat(248)}`, S.ok], [`/state/${'k'.repeat(249)}`, S.keyTooLong],
  ['', S.invalidKey], ['/', S.invalidKey], ['/state', S.invalidKey], ['/state/', S.invalidKey], ['/stat/a', S.invalidKey], ['state/a', S.invalidKey],
  ['/state//a', S.invalidKey], ['/state/a/', S.invalidKey], ['/state/.', S.invalidKey], ['/state/..', S.invalidKey], ['/state/../a', S.invalidKey],
  ['/state/a/./b', S.invalidKey], ['/state/a b', S.invalidKey], ['/state/a\0', S.invalidKey], ['/state/ä', S.invalidKey], ['/STATE/a', S.invalidKey],
  ['/state/a@', S.invalidKey], ['/state/[', S.invalidKey], ['/state/{', S.invalidKey], ['/state/`', S.invalidKey],
];
test('takes keys that are keys, and names what the others are', () => {
  run(function* (w) {
    const flushes = w.count('flush');
    for (const [key, status] of KEYS) {
      assert.equal(yield* w.status(put(key, 'v')), status, JSON.stringify(key));
      assert.equal(yield* w.status(get(key)), status, JSON.stringify(key));
      assert.equal(yield* w.status(del(key)), status, JSON.stringify(key));
      if (key.length < 256) assert.equal(yield* w.status(batch([[key, 'v']])), status, JSON.stringify(key));
    }
    assert.equal(w.count('flush') - flushes, 3 * KEYS.filter(([, status]) => status === S.ok).length);
  });
});

test('takes values up to 65,536 bytes, as a transaction, and names one byte more', () => {
  run(function* (w) {
    for (const bytes of [65_535, 65_536]) {
      const whole = pattern(bytes, bytes);
      const txn = yield* w.begin();
      for (let at = 0; at < bytes; at += 7900) {
        assert.equal(yield* w.status(txnPut(txn, '/state/v', bytes, at, whole.subarray(at, at + 7900))), S.ok);
      }
      assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.ok);
      assert.deepEqual(yield* w.value('/state/v'), whole);
    }
    const txn = yield* w.begin();
    assert.equal(yield* w.status(txnPut(txn, '/state/v', 65_537, 0, 'x')), S.valueTooLarge);
    assert.equal(yield* w.status((nonce) => sf(OP.put, nonce, u16(8), u32(65_537), '/state/v')), S.valueTooLarge);
    assert.equal(yield* w.status((nonce) => sf(OP.put, nonce, u16(8), u32(4294967295), '/state/v')), S.valueTooLarge);
    assert.equal(yield* w.status((nonce) => sf(OP.put, nonce, u16(8), u32(65_536), '/state/v')), S.malformed, 'fewer bytes than it says');
  });
});

test('a batch is stored whole or not at all, and its limits are named', () => {
  run(function* (w) {
    assert.equal(yield* w.status(batch([['/state/a', '1'], ['/state/b', '2'], ['/state/a', '3'], ['/state/none', null]])), S.ok);
    assert.deepEqual(yield* w.value('/state/a'), Buffer.from('3'));
    assert.equal(yield* w.status(batch([['/state/c', '1'], ['/state/b', null], ['/state/', '2']])), S.invalidKey);
    assert.deepEqual(yield* w.keys('/state/'), ['/state/a', '/state/b']);
    const many = (count: number) => batch(Array.from({ length: count }, (_, n) => [`/state/${n % 10}`, '']));
    assert.equal(yield* w.status(many(of('batch_items_max'))), S.ok);
    assert.equal(yield* w.status(many(of('batch_items_max') + 1)), S.malformed);
    const item = [u8(1), u8(8), u16(1), '/state/d', 'x'] as const;
    const malformed: Record<string, (nonce: number) => Buffer> = {
      'no item': (nonce) => sf(OP.batch, nonce, u16(0), u16(0)),
      'more items than said': (nonce) => sf(OP.batch, nonce, u16(1), u16(0), ...item, ...item),
      'fewer items than said': (nonce) => sf(OP.batch, nonce, u16(2), u16(0), ...item),
      'an unknown flag': (nonce) => sf(OP.batch, nonce, u16(1), u16(2), ...item),
      'an unknown op': (nonce) => sf(OP.batch, nonce, u16(1), u16(0), u8(2), ...item.slice(1)),
      'a DEL with a value': (nonce) => sf(OP.batch, nonce, u16(1), u16(0), u8(3), ...item.slice(1)),
      'a cut item': (nonce) => sf(OP.batch, nonce, u16(1), u16(0), u8(1), u8(8), u16(5), '/state/d', 'x'),
    };
    for (const [name, make] of Object.entries(malformed)) assert.equal(yield* w.status(make), S.malformed, name);
    assert.equal(yield* w.value('/state/d'), S.notFound);
    assert.equal(yield* w.status(prefixed(OP.sync, '/state/x')), S.ok);
    assert.equal(yield* w.status(prefixed(OP.sync, '/x')), S.invalidKey);
    assert.equal(yield* w.status(txnDel(77, '/state/a')), S.notFound);
  });
});
