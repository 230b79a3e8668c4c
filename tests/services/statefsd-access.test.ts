// SPDX-License-Identifier: Apache-2.0
// Who may do what at statefsd: the capability that each operation asks policyd for, a policyd that fails, keys of other areas, whose
// transaction it is; and frames of every malformed kind, after which the store is as it was.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildModule, type Peer } from '../../runtime/node/index.js';
import { randomBelow } from '../random.js';
import { LAZY, OP, STATS, STATUS as S } from '../statefs/sim/frames.js';
import { fuzzed, id, policyd, POLICYD_FAULTS, u16, u32, u8, type Question } from './frames.js';
import {
  allow, bare, batch, del, get, list, prefixed, put, sf, txnDel, txnEnd, txnPut, world, type Steps, type World,
} from './statefsd-world.js';

const abi = loadAbi();
const of = (key: string): number => limit(abi, 'statefsd', key);
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('statefsd'); });
const run = (script: (w: World) => Steps<void>, policy: Peer = allow): World => world({ wasm, policy }, script);

const AREAS: [path: string, write: string, read: string][] = [
  ['/state/keystore/k', 'statefs.keystore', 'statefs.keystore'], ['/state/boot/k', 'statefs.boot', 'statefs.boot'],
  ['/state/crash/00', 'statefs.crash', 'statefs.crash'],
  ['/state/observability/metricsd/x', 'statefs.observability', 'statefs.observability'],
  ['/state/k', 'statefs.write', 'statefs.read'], ['/state/keystore', 'statefs.write', 'statefs.read'],
  ['/state/keystores/k', 'statefs.write', 'statefs.read'], ['/state/crash.d/k', 'statefs.write', 'statefs.read'],
  ['/state/x/keystore/k', 'statefs.write', 'statefs.read'], ['/state/Boot/k', 'statefs.write', 'statefs.read'],
];

test('each operation asks policyd for the capability of the longest prefix, about the sender', () => {
  const asked: Question[] = [];
  const caps = (): string[] => {
    const since = asked.splice(0);
    for (const question of since) assert.deepEqual([question.op, question.subject], [5, id('keystored')]);
    return since.map(({ cap }) => cap);
  };
  run(function* (w) {
    for (const [path, write, read] of AREAS) {
      for (const [make, wanted] of [
        [put(path, 'v'), write], [get(path), read], [list(path), read], [prefixed(OP.sync, path), write], [del(path), write],
      ] as const) {
        yield* w.ask(make, 'keystored');
        assert.deepEqual(caps(), [wanted], path);
      }
    }
    yield* w.ask(bare(OP.sync), 'keystored');
    yield* w.ask(bare(OP.stats), 'keystored');
    yield* w.ask(bare(OP.reopen), 'keystored');
    assert.deepEqual(caps(), ['statefs.write', 'statefs.read', 'statefs.admin']);
    yield* w.ask(batch([['/state/a', '1'], ['/state/boot/a', '1'], ['/state/b', '1'], ['/state/boot/b', null]]), 'keystored');
    assert.deepEqual(caps(), ['statefs.write', 'statefs.boot'], 'once for each capability');
    const txn = (yield* w.ask(prefixed(OP.txnBegin, '/state/boot/'), 'keystored')).body.readUInt32LE(0);
    yield* w.ask(txnPut(txn, '/state/boot/c', 1, 0, 'v'), 'keystored');
    yield* w.ask(txnPut(txn, '/state/d', 1, 0, 'v'), 'keystored');
    yield* w.ask(txnDel(txn, '/state/e'), 'keystored');
    assert.deepEqual(caps(), ['statefs.boot', 'statefs.write'], 'once for each capability');
    yield* w.ask(txnEnd(OP.txnCommit, txn), 'keystored');
    assert.deepEqual(caps(), ['statefs.boot', 'statefs.write'], 'and once more at the commit');
    const dropped = (yield* w.ask(prefixed(OP.txnBegin, '/state/boot/'), 'keystored')).body.readUInt32LE(0);
    yield* w.ask(txnEnd(OP.txnAbort, dropped), 'keystored');
    assert.deepEqual(caps(), ['statefs.boot'], 'an abort asks for nothing');
  }, policyd(() => true, asked));
});

/** What may change or show something: each must be denied alike. */
const GUARDED: Record<string, (nonce: number) => Buffer> = {
  put: put('/state/a', 'new'), get: get('/state/a'), del: del('/state/a'), list: list('/state/'), sync: bare(OP.sync), reopen: bare(OP.reopen),
  'txn begin': bare(OP.txnBegin), batch: batch([['/state/a', 'new']]), 'lazy batch': batch([['/state/a', 'new']], LAZY), stats: bare(OP.stats),
};
for (const [name, fault] of Object.entries({ ...POLICYD_FAULTS, 'says no': policyd(() => false) })) {
  test(`nothing is stored, shown or flushed when policyd is at fault: ${name}`, () => {
    let good = true;
    run(function* (w) {
      assert.equal(yield* w.status(put('/state/a', 'old')), S.ok);
      const reads = w.count('read');
      const flushes = w.count('flush');
      good = false;
      for (const [op, make] of Object.entries(GUARDED)) assert.equal(yield* w.status(make), S.accessDenied, op);
      good = true;
      assert.deepEqual([w.count('flush'), w.count('read')], [flushes, reads]);
      assert.equal((yield* w.stats())[16], Object.keys(GUARDED).length, 'denials counted');
      assert.deepEqual(yield* w.value('/state/a'), Buffer.from('old'));
    }, (message) => (good ? allow(message) : fault(message)));
  });
}

test('a denied item denies the batch, and a denied piece leaves its transaction as it was', () => {
  run(function* (w) {
    assert.equal(yield* w.status(batch([['/state/a', '1'], ['/state/boot/b', '1']])), S.accessDenied);
    assert.equal(yield* w.value('/state/a'), S.notFound);
    const txn = yield* w.begin();
    assert.equal(yield* w.status(txnPut(txn, '/state/boot/b', 1, 0, 'v')), S.accessDenied);
    assert.equal(yield* w.status(txnDel(txn, '/state/boot/b')), S.accessDenied);
    assert.equal(yield* w.status(txnPut(txn, '/state/a', 1, 0, 'v')), S.ok);
    assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.ok);
    assert.deepEqual(yield* w.keys('/state/'), ['/state/a']);
  }, policyd(({ cap }) => cap !== 'statefs.boot'));
});

test('a right that was taken back before the commit denies the transaction whole, and ends it', () => {
  let revoked = '';
  run(function* (w) {
    const cases = [['statefs.boot', '/state/boot/'], ['statefs.write', '/state/boot/'], ['statefs.crash', '/state/crash/']] as const;
    for (const [cap, prefix] of cases) {
      revoked = '';
      const txn = (yield* w.ask(prefixed(OP.txnBegin, prefix))).body.readUInt32LE(0);
      if (prefix === '/state/boot/') {
        for (const key of ['/state/boot/b', '/state/a']) assert.equal(yield* w.status(txnPut(txn, key, 1, 0, 'v')), S.ok);
      }
      revoked = cap;
      const flushes = w.count('flush');
      assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.accessDenied, cap);
      revoked = '';
      assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.notFound, 'it has ended');
      assert.equal(w.count('flush'), flushes);
    }
    assert.deepEqual([yield* w.value('/state/boot/b'), yield* w.value('/state/a')], [S.notFound, S.notFound]);
  }, policyd(({ cap }) => cap !== revoked));
});

test('a denial is logged with its path and sender', () => {
  const fields: string[] = [];
  world({
    wasm, policy: policyd(({ cap }) => cap !== 'statefs.boot'),
    host: { peers: {
      policyd: policyd(({ cap }) => cap !== 'statefs.boot'), samgrd: () => null, metricsd: () => ({ error: 'not_declared' }),
      logd: ({ bytes }) => { fields.push(Buffer.from(bytes).toString('latin1')); return null; },
    } },
  }, function* (w) {
    assert.equal(yield* w.status(put('/state/boot/secret-name', 'v'), 'mallory'), S.accessDenied);
    for (let n = 0; n < 8; n++) yield* w.host.idle();
  });
  const found = fields.filter((text) => text.includes('access denied'));
  assert.equal(found.length, 1);
  assert.match(found[0]!, new RegExp(`cap=statefs.boot\nsubject=(0x)?${id('mallory').toString(16).padStart(16, '0')}\npath=/state/boot/secret-name`));
});

test('a LIST names keys of the area of its prefix alone', () => {
  run(function* (w) {
    const keys = ['/state/a', '/state/boot/x', '/state/boot0', '/state/crash/00', '/state/crash/01', '/state/crasher', '/state/keystore/1',
      '/state/keystore/2', '/state/l', '/state/observability/m/x', '/state/observability/m/y', '/state/z'];
    for (const key of keys) assert.equal(yield* w.status(put(key, key)), S.ok);
    const open = ['/state/a', '/state/boot0', '/state/crasher', '/state/l', '/state/z'];
    for (const max of [0, 1, 2, 3]) assert.deepEqual(yield* w.keys('/state/', 'selftest', max), open, `pages of ${max}`);
    assert.deepEqual(yield* w.keys('/state/c'), ['/state/crasher']);
    assert.deepEqual(yield* w.keys('/state/keystore'), []);
    assert.deepEqual(yield* w.keys('/state/keystore/'), ['/state/keystore/1', '/state/keystore/2']);
    assert.deepEqual(yield* w.keys('/state/boot/'), ['/state/boot/statefsd', '/state/boot/x']);
    assert.deepEqual(yield* w.keys('/state/observability/m/y'), ['/state/observability/m/y']);
  });
});

test('a transaction is its sender\'s, at most so many of one and of all', () => {
  run(function* (w) {
    const first = yield* w.begin('a');
    for (const make of [txnPut(first, '/state/x', 1, 0, 'v'), txnDel(first, '/state/x'), txnEnd(OP.txnCommit, first), txnEnd(OP.txnAbort, first)]) {
      assert.equal(yield* w.status(make, 'b'), S.notFound, 'another sender');
    }
    for (let n = 1; n < of('txns_per_sender_max'); n++) yield* w.begin('a');
    assert.equal(yield* w.status(bare(OP.txnBegin), 'a'), S.txnLimit);
    for (let n = of('txns_per_sender_max'); n < of('txns_max'); n++) yield* w.begin('b');
    assert.equal(yield* w.status(bare(OP.txnBegin), 'c'), S.txnLimit);
    assert.equal(yield* w.status(txnEnd(OP.txnAbort, first), 'a'), S.ok);
    const third = yield* w.begin('c');
    assert.ok(third > first, 'numbers are not used again');
    assert.equal(yield* w.status(txnEnd(OP.txnCommit, first), 'a'), S.notFound);
    assert.equal(yield* w.status(txnEnd(OP.txnCommit, third), 'c'), S.ok, 'an empty one');
  });
});

test('a transaction stages so many bytes, and is dropped when nobody touches it', () => {
  run(function* (w) {
    const item = (bytes: number): number => (8 + '/state/v1'.length + bytes + 3) & ~3;
    const most = of('txn_bytes_max');
    const txn = yield* w.begin();
    assert.equal(yield* w.status(txnPut(txn, '/state/v1', 65_536, 0, 'x'.repeat(7000))), S.ok);
    assert.equal(yield* w.status(txnDel(txn, '/state/v1')), S.malformed, 'the value is not complete');
    assert.equal(yield* w.status(txnEnd(OP.txnCommit, txn)), S.malformed);
    for (const [offset, length, key, total] of [[7001, 1, '/state/v1', 65_536], [6999, 1, '/state/v1', 65_536], [7000, 1, '/state/v2', 65_536],
      [7000, 1, '/state/v1', 65_535], [7000, 0, '/state/v1', 65_536], [0, 1, '/state/v1', 65_536]] as const) {
      assert.equal(yield* w.status(txnPut(txn, key, total, offset, 'x'.repeat(length))), S.malformed, `${key} ${total} ${offset}`);
    }
    for (let at = 7000; at < 65_536; at += 7000) {
      assert.equal(yield* w.status(txnPut(txn, '/state/v1', 65_536, at, 'x'.repeat(Math.min(7000, 65_536 - at)))), S.ok);
    }
    const left = most - item(65_536);
    assert.equal(yield* w.status(txnPut(txn, '/state/v2', left - 17 + 1, 0, 'y')), S.txnLimit);
    assert.equal(yield* w.status(txnPut(txn, '/state/v2', left - 17 - 3, 0, 'y'.repeat(7000))), S.ok, 'to the last byte');
    assert.equal(yield* w.status(txnPut(txn, '/state/v3', 0, 0, '')), S.malformed);
    const before = (yield* w.stats())[15];
    w.host.advance(of('txn_expiry_ns') - 1);
    assert.equal(yield* w.status(txnPut(txn, '/state/v2', left - 17 - 3, 7000, 'y')), S.ok, 'touched in time');
    w.host.advance(of('txn_expiry_ns'));
    for (let n = 0; n < 4; n++) yield* w.host.idle();
    assert.equal(yield* w.status(txnEnd(OP.txnAbort, txn)), S.notFound);
    assert.equal((yield* w.stats())[15], before! + 1);
    assert.deepEqual(yield* w.keys('/state/'), []);
  });
});

test('a frame that is malformed changes nothing', () => {
  run(function* (w) {
    yield* w.ask(put('/state/a', 'old'));
    const flushes = w.count('flush');
    const key = '/state/a';
    const frames: Record<string, (nonce: number) => Buffer> = {
      'PUT without a value': (nonce) => sf(OP.put, nonce, u16(8), u32(3), key), 'PUT with a byte more': (nonce) => sf(OP.put, nonce, u16(8), u32(1), key, 'xy'),
      'PUT cut in its head': (nonce) => sf(OP.put, nonce, u16(8)), 'a key longer than the frame': (nonce) => sf(OP.put, nonce, u16(900), u32(0), key),
      'GET with a byte more': (nonce) => sf(OP.get, nonce, u16(8), u32(0), u16(9), key, 'x'), 'DEL with a byte more': (nonce) => sf(OP.del, nonce, u16(8), key, 'x'),
      'LIST cut': (nonce) => sf(OP.list, nonce, u16(7), u16(3), u16(0), '/state/'), 'SYNC cut': (nonce) => sf(OP.sync, nonce, u16(7), '/state'),
      'SYNC of one byte': (nonce) => sf(OP.sync, nonce, u8(0)), 'REOPEN with a payload': (nonce) => sf(OP.reopen, nonce, u8(0)),
      'STATS with a payload': (nonce) => sf(OP.stats, nonce, u8(0)), 'COMMIT without a number': (nonce) => sf(OP.txnCommit, nonce),
      'TXN_PUT cut': (nonce) => sf(OP.txnPut, nonce, u32(1), u16(8), u32(0), u32(0), u16(9), key), 'TXN_BEGIN cut': (nonce) => sf(OP.txnBegin, nonce, u16(9)),
    };
    for (const [name, make] of Object.entries(frames)) assert.equal(yield* w.status(make), S.malformed, name);
    for (const op of [0, 14, 63, 64, 127]) assert.equal(yield* w.status(bare(op)), S.unsupported, `op ${op}`);
    assert.equal(w.count('flush'), flushes);
    assert.deepEqual(yield* w.value(key), Buffer.from('old'));
  });
});

test('fuzzed frames: one answer each, and no more keys than were put', () => {
  const seed = 20261122;
  const next = randomBelow(seed);
  run(function* (w) {
    const valid = [put('/state/a', 'old'), get('/state/a'), del('/state/b'), list('/state/'), bare(OP.sync), bare(OP.txnBegin), txnPut(1, '/state/c', 2, 0, 'xy'),
      txnEnd(OP.txnCommit, 1), batch([['/state/d', 'x'], ['/state/e', null]]), bare(OP.stats), txnDel(1, '/state/a')];
    for (const make of valid) {
      for (const bytes of fuzzed(make(5), 200, next(1_000_000))) {
        const reply = (yield* w.host.call('mallory', bytes)) ?? null;
        const hex = `seed ${seed}: ${bytes.toString('hex')}`;
        assert.ok(reply !== null, hex);
        assert.ok(reply.length >= 13, hex);
        assert.notEqual(reply[4], S.ok, hex);
      }
    }
    assert.deepEqual(yield* w.keys('/state/'), []);
    assert.equal((yield* w.stats())[STATS.sequence], 1, 'only the ready evidence was written');
  }, policyd(({ subject }) => subject !== id('mallory')));
});
