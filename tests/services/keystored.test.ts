// SPDX-License-Identifier: Apache-2.0
// keystored's shipping module under Node: owners, limits, policy in every way it can fail, a statefsd and an rngd that refuse, records
// exchanged on the disk, restarts, and that no secret leaves. What a record is is computed here with node:crypto alone.
import assert from 'node:assert/strict';
import { createDecipheriv, createPrivateKey, createPublicKey, hkdfSync, sign, verify } from 'node:crypto';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildModule } from '../../runtime/node/index.js';
import { fuzzed, id, POLICYD_FAULTS, readReply, request, u16, u64, u8, frame } from './frames.js';
import { Client, OP, pathOf, S, World } from './keystored-world.js';

const abi = loadAbi();
const NAME = limit(abi, 'keystored', 'name_bytes_max');
const VALUE = limit(abi, 'keystored', 'value_bytes_max');
const MESSAGE = limit(abi, 'keystored', 'message_bytes_max');
const KEYS = limit(abi, 'keystored', 'owner_keys_max');
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('keystored'); });
const world = (): World => new World(wasm);
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const privateOf = (seed: Buffer): ReturnType<typeof createPrivateKey> =>
  createPrivateKey({ key: Buffer.concat([hex('302e020100300506032b657004220420'), seed]), format: 'der', type: 'pkcs8' });
const publicOf = (raw: Buffer): ReturnType<typeof createPublicKey> =>
  createPublicKey({ key: Buffer.concat([hex('302a300506032b6570032100'), raw]), format: 'der', type: 'spki' });
const rawPublic = (seed: Buffer): Buffer => Buffer.from(createPublicKey(privateOf(seed)).export({ format: 'der', type: 'spki' }).subarray(-32));
const context = (from: string, message: Buffer | string): Buffer => frame('vigil device signature v1', u64(id(from)), message);

/** Opens a record as docs/keys.md describes it. @throws when it does not open. */
function opened(disk: Map<string, Buffer>, kind: number, owner: string, name: string, record: Buffer): Buffer {
  const root = disk.get('/state/keystore/root')!;
  assert.deepEqual([root.length, root.toString('latin1', 0, 3), root[3]], [36, 'KSR', 1]);
  const key = hkdfSync('sha256', root.subarray(4), 'vigil keystore v1', frame(u64(id(owner))), 32);
  assert.equal(record.toString('latin1', 0, 4), 'KSR\x01');
  const open = createDecipheriv('chacha20-poly1305', Buffer.from(key), record.subarray(4, 16), { authTagLength: 16 });
  open.setAAD(frame('KSR', u8(1), u8(kind), u64(id(owner)), u8(name.length), name), { plaintextLength: record.length - 32 });
  open.setAuthTag(record.subarray(-16));
  return Buffer.concat([open.update(record.subarray(16, -16)), open.final()]);
}

test('keeps values up to its limits, sealed as documented, and refuses one past each', () => {
  const w = world();
  w.run(function* (io) {
    for (const [name, bytes] of [['a', 1], ['n'.repeat(NAME), VALUE], ['A-Z_0.9', 32]] as const) {
      const value = Buffer.alloc(bytes, 0x42);
      assert.equal(yield* io.put(name, value), S.ok);
      assert.deepEqual(yield* io.get(name), value);
      assert.deepEqual(opened(w.disk, 1, 'selftest', name, w.disk.get(pathOf('selftest', name))!), value);
    }
    assert.equal(yield* io.put('a', 'another'), S.ok, 'a value is replaced');
    assert.deepEqual(yield* io.get('a'), Buffer.from('another'));
    assert.equal(yield* io.put('n'.repeat(NAME + 1), 'v'), S.keyTooLong);
    assert.equal(yield* io.get('n'.repeat(NAME + 1)), S.keyTooLong);
    assert.equal(yield* io.put('big', Buffer.alloc(VALUE + 1)), S.valueTooLarge);
    assert.equal(yield* io.put('empty', ''), S.malformed);
    for (const name of ['', '.', '..', 'a/b', 'a b', 'ä', 'a\0', '../x']) assert.equal(yield* io.put(name, 'v'), S.invalidKey, JSON.stringify(name));
    assert.equal(yield* io.put('...', 'v'), S.ok);
    assert.equal(yield* io.get('none'), S.notFound);
    assert.equal((yield* io.named(OP.del, 'none')).status, S.notFound);
    assert.equal((yield* io.named(OP.del, 'a')).status, S.ok);
    assert.equal(yield* io.get('a'), S.notFound);
    assert.equal(yield* io.status(OP.put, [u8(3), u16(5), 'abc', 'four']), S.malformed);
    assert.equal(yield* io.status(OP.get, [u8(3), 'abcd']), S.malformed);
    assert.equal(yield* io.status(9), S.unsupported);
  });
  assert.ok([...w.disk.keys()].every((key) => key.startsWith('/state/keystore/')));
});

test('an owner has its limit of keys; another is not touched by it, and a value in place may still be replaced', () => {
  const w = world();
  w.run(function* (io) {
    for (let n = 0; n < KEYS; n++) assert.equal(yield* io.put(`k${n}`, 'v'), S.ok);
    assert.equal(yield* io.put('one-more', 'v'), S.keysLimit);
    assert.equal(yield* io.put('k0', 'w'), S.ok);
    assert.equal(yield* io.put('one-more', 'v', 'mallory'), S.ok);
    assert.equal((yield* io.named(OP.del, 'k1')).status, S.ok);
    assert.equal(yield* io.put('one-more', 'v'), S.ok);
  });
});

test('a name is the owner\'s own: another reads, replaces, signs with and deletes only what is its own', () => {
  const w = world();
  w.run(function* (io) {
    assert.equal(yield* io.put('key', Buffer.alloc(32, 1)), S.ok);
    assert.equal(yield* io.get('key', 'mallory'), S.notFound);
    assert.equal((yield* io.named(OP.sign, 'key', 'm', 'mallory')).status, S.notFound);
    assert.equal((yield* io.named(OP.del, 'key', '', 'mallory')).status, S.notFound);
    assert.equal(yield* io.put('key', 'mine', 'mallory'), S.ok);
    assert.deepEqual(yield* io.get('key'), Buffer.alloc(32, 1));
    assert.deepEqual(yield* io.get('key', 'mallory'), Buffer.from('mine'));
    assert.equal((yield* io.named(OP.del, 'key', '', 'mallory')).status, S.ok);
    assert.deepEqual(yield* io.get('key'), Buffer.alloc(32, 1));
  });
});

test('asks policyd for each operation by its capability, about the sender, before anything is read', () => {
  const w = world();
  const wanted: [number, Buffer, string][] = [
    [OP.put, frame(u8(1), u16(1), 'a', 'v'), 'keystore.use'], [OP.get, frame(u8(1), 'a'), 'keystore.use'],
    [OP.del, frame(u8(1), 'a'), 'keystore.use'], [OP.verify, Buffer.alloc(96), 'keystore.use'],
    [OP.sign, frame(u8(1), 'a', 'message'), 'keystore.sign'], [OP.deviceSign, frame('message'), 'keystore.sign'],
    [OP.keygen, Buffer.alloc(0), 'keystore.keygen'], [OP.pubkey, Buffer.alloc(0), 'keystore.pubkey'], [OP.reload, Buffer.alloc(0), 'keystore.admin'],
  ];
  w.allows = () => false;
  w.run(function* (io) {
    for (const [op, body, cap] of wanted) {
      assert.equal(yield* io.status(op, [body], 'mallory'), S.denied);
      assert.deepEqual(w.asked.pop(), [cap, id('mallory')]);
    }
    assert.equal((yield* io.counters()).denied, wanted.length);
  });
  assert.deepEqual([w.asked, w.requests, w.drawn], [[], [], []]);
});

for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
  test(`fails closed when policyd is at fault: ${name}`, () => {
    const w = world();
    w.policy = fault;
    w.run(function* (io) {
      assert.equal(yield* io.get('key'), S.denied);
    });
    assert.deepEqual(w.requests, []);
  });
}

test('the device key is made once, signs for who asks, and its public key is the same after a restart', () => {
  const w = world();
  let key = Buffer.alloc(0);
  w.run(function* (io) {
    for (const op of [OP.pubkey, OP.deviceSign]) assert.equal(yield* io.status(op), S.noDeviceKey);
    const made = (yield* io.ask(OP.keygen)).body;
    assert.equal(made[0], 1);
    key = Buffer.from(made.subarray(1));
    const again = (yield* io.ask(OP.keygen)).body;
    assert.deepEqual([again[0], again.subarray(1)], [0, key]);
    assert.deepEqual((yield* io.ask(OP.pubkey)).body, key);
    for (const message of [Buffer.alloc(0), Buffer.from('text'), Buffer.alloc(MESSAGE, 7)]) {
      const { status, body } = yield* io.ask(OP.deviceSign, [message]);
      assert.equal(status, S.ok);
      assert.ok(verify(null, context('selftest', message), publicOf(key), body));
      assert.equal(verify(null, message, publicOf(key), body), false, 'not of the bare message');
      assert.equal(verify(null, context('mallory', message), publicOf(key), body), false, 'not for another');
    }
    assert.equal(yield* io.status(OP.deviceSign, [Buffer.alloc(MESSAGE + 1)]), S.valueTooLarge);
  });
  const seed = opened(w.disk, 2, 'keystored', '', w.disk.get('/state/keystore/device')!);
  assert.deepEqual(rawPublic(seed), key);
  assert.ok(w.drawn.some((bytes) => bytes.equals(seed)), 'the seed is what rngd gave');
  w.run(function* (io) {
    assert.deepEqual((yield* io.ask(OP.pubkey)).body, key);
    const kept = (yield* io.ask(OP.keygen)).body;
    assert.deepEqual([kept[0], kept.subarray(1)], [0, key]);
  });
});

test('signs with a seed of the owner and verifies, as node:crypto does', () => {
  const w = world();
  const seed = Buffer.from(Array.from({ length: 32 }, (_, i) => 3 * i));
  w.run(function* (io) {
    assert.equal(yield* io.put('seed', seed), S.ok);
    assert.equal(yield* io.put('short', seed.subarray(1)), S.ok);
    const message = Buffer.from('to be signed');
    const { body } = yield* io.named(OP.sign, 'seed', message);
    assert.deepEqual(body, Buffer.concat([sign(null, message, privateOf(seed)), rawPublic(seed)]));
    assert.equal((yield* io.named(OP.sign, 'short', message)).status, S.notASeed);
    const [signature, key] = [body.subarray(0, 64), body.subarray(64)];
    assert.equal(yield* io.status(OP.verify, [key, signature, message]), S.ok);
    assert.equal(yield* io.status(OP.verify, [key, signature, 'to be signeD']), S.badSignature);
    assert.equal(yield* io.status(OP.verify, [signature.subarray(0, 32), signature, message]), S.badSignature);
    assert.equal(yield* io.status(OP.verify, [key, signature.subarray(1)]), S.malformed);
    assert.equal(yield* io.status(OP.verify, [key, signature, Buffer.alloc(MESSAGE)]), S.badSignature);
    assert.equal(yield* io.status(OP.verify, [key, signature, Buffer.alloc(MESSAGE + 1)]), S.valueTooLarge);
    const counters = yield* io.counters();
    assert.deepEqual([counters.signs, counters.verifies, counters.badSignatures], [1, 1, 3]);
  });
});

test('no secret leaves: not in an answer, a line, a message, nor in memory after the request', () => {
  const w = world();
  const value = Buffer.from('the value of a key, 32 bytes ok!');
  let replies: Buffer[] = [];
  const host = w.run(function* (io) {
    yield* io.put('seed', value);
    yield* io.ask(OP.keygen);
    yield* io.ask(OP.deviceSign, ['message']);
    yield* io.named(OP.sign, 'seed', 'message');
    for (const body of [[], ['anything'], [Buffer.alloc(200)]]) {
      const { status, body: answer } = yield* io.ask(OP.privkey, body);
      assert.deepEqual([status, answer.length], [S.private, 0]);
    }
    assert.equal((yield* io.counters()).privateRefused, 3);
    replies = io.replies;
  });
  const root = w.disk.get('/state/keystore/root')!.subarray(4);
  const device = opened(w.disk, 2, 'keystored', '', w.disk.get('/state/keystore/device')!);
  const memory = Buffer.from(host.memory.buffer);
  for (const [what, secret] of [['value', value], ['device seed', device]] as const) {
    for (const part of [secret, secret.subarray(0, 16), secret.subarray(16)]) {
      for (const reply of replies) assert.equal(reply.includes(part), false, `${what} in a reply`);
      for (const { bytes } of host.sent) assert.equal(Buffer.from(bytes).includes(part), false, `${what} in a message`);
      assert.equal(memory.includes(part), false, `${what} still in memory`);
      for (const [key, record] of w.disk) assert.equal(record.includes(part), false, `${what} open on the disk in ${key}`);
    }
  }
  for (const reply of replies) assert.equal(reply.includes(root.subarray(0, 16)), false, 'root in a reply');
  for (const { bytes } of host.sent) assert.equal(Buffer.from(bytes).includes(root.subarray(0, 16)), false, 'root in a log');
  for (const key of w.disk.keys()) if (key !== '/state/keystore/root') assert.equal(w.disk.get(key)!.includes(root.subarray(0, 16)), false);
  assert.deepEqual(host.console, []);
});

test('a record that was changed, cut, moved or exchanged does not open, and is counted', () => {
  const w = world();
  w.run(function* (io) {
    yield* io.put('one', 'first value');
    yield* io.put('two', 'second value');
    yield* io.put('one', 'theirs', 'mallory');
    yield* io.ask(OP.keygen);
    const [one, two, theirs] = [pathOf('selftest', 'one'), pathOf('selftest', 'two'), pathOf('mallory', 'one')];
    const good = Buffer.from(w.disk.get(one)!);
    let refused = 0;
    const attempt = function* (record: Buffer, what: string) {
      w.disk.set(one, record);
      assert.equal(yield* io.get('one'), S.integrity, what);
      assert.equal((yield* io.counters()).integrity, ++refused, what);
    };
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << (at & 7);
      yield* attempt(bad, `byte ${at}`);
    }
    for (const bytes of [0, 1, 31, 32, good.length - 1]) yield* attempt(good.subarray(0, bytes), `${bytes} bytes`);
    yield* attempt(Buffer.concat([good, Buffer.alloc(1)]), 'one byte more');
    yield* attempt(Buffer.alloc(600), 'longer than any record');
    yield* attempt(w.disk.get(two)!, 'another name');
    yield* attempt(w.disk.get(theirs)!, 'another owner');
    yield* attempt(w.disk.get('/state/keystore/device')!, 'another kind');
    w.disk.set(one, good);
    assert.deepEqual(yield* io.get('one'), Buffer.from('first value'));
    w.disk.set(one, Buffer.alloc(40));
    assert.equal(yield* io.put('one', 'anew'), S.ok, 'a broken record may be replaced');
    assert.deepEqual(yield* io.get('one'), Buffer.from('anew'));
    w.disk.set('/state/keystore/device', good);
    assert.deepEqual((yield* io.ask(OP.deviceSign, ['m'])).status, S.integrity);
  });
});

test('a device record exchanged for another sealed one signs nothing', () => {
  const w = world();
  w.run(function* (io) {
    yield* io.ask(OP.keygen);
    const first = w.disk.get('/state/keystore/device')!;
    w.disk.delete('/state/keystore/device');
    assert.equal(yield* io.status(OP.reload), S.ok);
    assert.equal((yield* io.ask(OP.keygen)).body[0], 1, 'deleted and reloaded: made anew');
    w.disk.set('/state/keystore/device', first);
    assert.equal(yield* io.status(OP.deviceSign, ['m']), S.integrity);
    assert.equal(yield* io.status(OP.reload), S.ok);
    assert.equal(yield* io.status(OP.deviceSign, ['m']), S.ok);
    assert.equal((yield* io.counters()).reloads, 2);
  });
});

test('a nonce is fresh for every seal: the same value twice is two records', () => {
  const w = world();
  const nonces = new Set<string>();
  w.run(function* (io) {
    for (let n = 0; n < 20; n++) {
      yield* io.put('k', 'the same');
      nonces.add(w.disk.get(pathOf('selftest', 'k'))!.toString('hex', 4, 16));
    }
  });
  assert.equal(nonces.size, 20);
});

test('refuses by name what statefsd refuses, and never answers from memory', () => {
  for (const status of [2, 7, 9, 12, 13, 14, 15, 16, 17]) {
    const w = world();
    w.run(function* (io) {
      assert.equal(yield* io.put('k', 'v'), S.ok);
      for (const op of [1, 2, 3, 4]) w.refuse.set(op, status);
      for (const reply of [yield* io.named(OP.get, 'k'), yield* io.named(OP.del, 'k'), yield* io.ask(OP.put, [u8(1), u16(1), 'k', 'w'])]) {
        assert.deepEqual([reply.status, ...reply.body], [S.storage, status]);
      }
      assert.equal((yield* io.ask(OP.keygen)).status, S.storage);
      assert.equal((yield* io.counters()).storage, 4);
      w.refuse.clear();
      assert.deepEqual(yield* io.get('k'), Buffer.from('v'), 'nothing was lost');
    });
  }
});

test('a statefsd that is silent is told apart, in bounded time', () => {
  const w = world();
  w.run(function* (io) {
    w.stateSilent = true;
    const from = io.host.now_ns;
    const { status, body } = yield* io.named(OP.get, 'k');
    assert.deepEqual([status, ...body], [S.storage, 255]);
    assert.ok(io.host.now_ns - from <= 2n * BigInt(limit(abi, 'keystored', 'state_wait_ns')));
    w.stateSilent = false;
    assert.equal(yield* io.get('k'), S.notFound);
  });
});

test('makes nothing without entropy: no root, no record, no device key', () => {
  for (const fault of [(w: World) => { w.rngSilent = true; }, (w: World) => { w.rngStatus = 2; }, (w: World) => { w.rngStatus = 3; }]) {
    const w = world();
    w.run(function* (io) {
      fault(w);
      assert.equal(yield* io.put('k', 'v'), S.noEntropy);
      assert.equal(yield* io.status(OP.keygen), S.noEntropy);
      assert.equal(w.disk.size, 0);
      w.rngSilent = false;
      w.rngStatus = 0;
      assert.equal(yield* io.put('k', 'v'), S.ok);
      fault(w);
      assert.equal(yield* io.put('k', 'w'), S.noEntropy);
      assert.deepEqual(yield* io.get('k'), Buffer.from('v'), 'reading needs none');
      assert.equal(w.disk.size, 2);
      assert.equal((yield* io.counters()).noEntropy, 3);
    });
  }
});

test('a root secret that is gone or spoiled while keys are there is refused, never replaced', () => {
  const w = world();
  w.run(function* (io) { yield* io.put('k', 'v'); });
  const root = w.disk.get('/state/keystore/root')!;
  for (const spoiled of [null, Buffer.alloc(36), root.subarray(0, 35), Buffer.concat([root, root])]) {
    if (spoiled) w.disk.set('/state/keystore/root', spoiled);
    else w.disk.delete('/state/keystore/root');
    const host = w.run(function* (io) {
      assert.equal(yield* io.ping(), 0, 'up, and refused');
      assert.equal(yield* io.get('k'), S.integrity);
      assert.equal(yield* io.put('k2', 'v'), S.integrity);
      assert.equal(yield* io.status(OP.keygen), S.integrity);
    });
    assert.deepEqual(host.console, ['keystored: refused integrity']);
  }
  assert.equal(w.disk.has(pathOf('selftest', 'k2')), false);
  w.disk.set('/state/keystore/root', root);
  w.run(function* (io) { assert.deepEqual(yield* io.get('k'), Buffer.from('v')); });
});

test('ready means: sealed, written, read back and opened; and it leaves nothing behind', () => {
  const w = world();
  assert.deepEqual(w.run(function* (io) { assert.equal(yield* io.ping(), 0); }).console, ['keystored: ready']);
  assert.deepEqual([...w.disk.keys()], ['/state/keystore/root']);
  const x = world();
  x.rngSilent = true;
  assert.deepEqual(x.run(function* (io) { assert.equal(yield* io.ping(), 1, 'without entropy it is not up'); }).console, []);
});

for (const status of [7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 255]) {
  test(`a start on a disk outcome ${status}: up, refused by name, each operation says it, and well again when the storage is`, () => {
    const w = world();
    w.stateSilent = status === 255;
    for (const op of [1, 2, 3, 4]) w.refuse.set(op, status);
    const host = w.run(function* (io) {
      const from = io.host.now_ns;
      assert.equal(yield* io.ping(), 0, 'up');
      assert.ok(io.host.now_ns - from <= 2n * BigInt(limit(abi, 'keystored', 'state_wait_ns')), 'in bounded time');
      for (const reply of [yield* io.named(OP.get, 'k'), yield* io.named(OP.del, 'k'), yield* io.ask(OP.put, [u8(1), u16(1), 'k', 'v'])]) {
        assert.deepEqual([reply.status, ...reply.body], [S.storage, status]);
      }
      for (const op of [OP.keygen, OP.pubkey, OP.reload]) {
        const reply = yield* io.ask(op);
        assert.deepEqual([reply.status, ...reply.body], [S.storage, status], `op ${op}`);
      }
      const asked = w.requests.length;
      assert.equal((yield* io.named(OP.get, 'k')).status, S.storage);
      assert.ok(w.requests.length - asked <= 2, 'a request tries once, not for ever');
      w.stateSilent = false;
      w.refuse.clear();
      assert.equal(yield* io.put('k', 'v'), S.ok, 'by itself');
      assert.deepEqual(yield* io.get('k'), Buffer.from('v'));
    });
    assert.deepEqual(host.console, [`keystored: refused ${status === 9 ? 'integrity' : 'storage'}`]);
  });
}

test('survives fuzzed frames: one reply each, and none of them reads another owner\'s key', () => {
  const seed = 41;
  const w = world();
  w.run(function* (io: Client) {
    const value = Buffer.from('only for its owner');
    yield* io.put('k', value);
    yield* io.ask(OP.keygen);
    const device = opened(w.disk, 2, 'keystored', '', w.disk.get('/state/keystore/device')!);
    for (const valid of [request('KS', 1, OP.get, 1, u8(1), 'k'), request('KS', 1, OP.put, 1, u8(1), u16(2), 'k', 'xy'), request('KS', 1, OP.privkey, 1)]) {
      for (const bytes of fuzzed(valid, 400, seed)) {
        const reply = yield* io.host.call('mallory', bytes);
        assert.ok(reply && reply.length >= 9, `seed ${seed}: ${bytes.toString('hex')}`);
        for (const secret of [value, device]) assert.equal(Buffer.from(reply).includes(secret), false, `seed ${seed}: ${bytes.toString('hex')}`);
      }
    }
    assert.deepEqual(yield* io.get('k'), value);
    readReply(yield* io.host.call('selftest', request('KS', 1, OP.stats, 5)), 'KS', OP.stats);
  });
});
