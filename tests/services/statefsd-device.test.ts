// SPDX-License-Identifier: Apache-2.0
// statefsd over devices that cannot hold a store, or fail: each a named outcome, nothing kept in memory in the disk's place, and the store
// is back with everything that was acknowledged as soon as the device is.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildModule } from '../../runtime/node/index.js';
import { BLK_FLUSH, BLK_IN, BLK_OUT, BlkDevice, F_BLK_SIZE, F_FLUSH, F_RO, F_VERSION_1, type Fault } from '../statefs/sim/device.js';
import { SimDisk } from '../statefs/sim/disk.js';
import { SUPER_SECTORS, sealSuper } from '../statefs/image.js';
import { LAZY, OP, STATS, STATUS as S } from '../statefs/sim/frames.js';
import { frame, u32, u8 } from './frames.js';
import { bare, batch, del, get, list, put, txnEnd, txnPut, world, type Steps, type World, type WorldOptions } from './statefsd-world.js';

const abi = loadAbi();
const of = (key: string): number => limit(abi, 'statefsd', key);
const WAIT_NS = BigInt(of('device_wait_ns'));
const IO: Fault = { kind: 'status', status: 1 };
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('statefsd'); });
const run = (device: BlkDevice, script: (w: World) => Steps<void>, more: Partial<WorldOptions> = {}): World =>
  world({ wasm, device, ...more }, script);
const blank = (sectors = 4096): BlkDevice => new BlkDevice(new SimDisk(sectors));

/** statefsd with another limit. */
async function withLimit(name: string, value: number): Promise<Uint8Array> {
  const limits = await readFile('assembly/gen/limits.ts', 'utf8');
  const replaced = limits.replace(new RegExp(`( ${name}: \\w+ = )\\d+`), (_, head: string) => `${head}${value}`);
  assert.notEqual(replaced, limits);
  return buildModule('statefsd', { replace: { 'assembly/gen/limits.ts': replaced } });
}
const FEW_KEY_BYTES = 512;

/** A disk on which `/state/a` was put. */
function used(): BlkDevice {
  const device = blank();
  run(device, function* (w) { assert.equal(yield* w.status(put('/state/a', 'kept')), S.ok); });
  device.disk.load(device.disk.medium.slice());
  return device;
}
/** What each operation answers. */
function* everyOp(w: World): Steps<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [name, make] of Object.entries({
    put: put('/state/a', 'new'), del: del('/state/a'), batch: batch([['/state/a', 'new']]), lazy: batch([['/state/a', 'new']], LAZY),
    sync: bare(OP.sync), begin: bare(OP.txnBegin), get: get('/state/a'), list: list('/state/'), reopen: bare(OP.reopen),
  })) found[name] = yield* w.status(make);
  return found;
}
const all = (status: number): Record<string, number> => Object.fromEntries(
  ['put', 'del', 'batch', 'lazy', 'sync', 'begin', 'get', 'list', 'reopen'].map((name) => [name, status]));

/** The superblock of a later version in slot 0. */
function newer(): BlkDevice {
  const image = Buffer.from(used().disk.medium);
  image.writeUInt32LE(image.readUInt32LE(SUPER_SECTORS[0] * 512 + 8) + 1, SUPER_SECTORS[0] * 512 + 8);
  sealSuper(image, 0);
  return new BlkDevice(new SimDisk(image));
}
/** A store of more keys than the server of `keys_limit` can hold. */
function crowded(): BlkDevice {
  const device = blank();
  run(device, function* (w) {
    assert.equal(yield* w.status(batch(Array.from({ length: FEW_KEY_BYTES / 8 }, (_, n) => [`/state/${n}`, 'v']))), S.ok);
  });
  return new BlkDevice(new SimDisk(device.disk.medium));
}

interface Refusal { name: string; status: number; device: () => BlkDevice; fewKeys?: boolean }
const REFUSALS: Refusal[] = [
  { name: 'no_flush', status: S.noFlush, device: () => Object.assign(blank(), { features: F_BLK_SIZE | F_VERSION_1 }) },
  { name: 'unavailable', status: S.unavailable, device: () => Object.assign(blank(), { present: false }) },
  { name: 'unavailable', status: S.unavailable, device: () => Object.assign(blank(), { id: 4n }) },
  { name: 'unavailable', status: S.unavailable, device: () => Object.assign(blank(), { claimedSectors: 0 }) },
  { name: 'foreign', status: S.foreign, device: () => new BlkDevice(new SimDisk(new Uint8Array(4096 * 512).fill(0x5a))) },
  { name: 'newer', status: S.unsupported, device: newer },
  { name: 'shrunk', status: S.integrity, device: () => new BlkDevice(new SimDisk(used().disk.medium.slice(0, 4095 * 512))) },
  { name: 'keys_limit', status: S.keysLimit, device: crowded, fewKeys: true },
  { name: 'too_small', status: S.noSpace, device: () => blank(16) },
  { name: 'io', status: S.io, device: () => Object.assign(blank(), { fault: () => IO }) },
  { name: 'io', status: S.io, device: () => Object.assign(used(), { fault: ({ type }: { type: number }) => (type === BLK_FLUSH ? IO : null) }) },
];
for (const [index, { name, status, device: make, fewKeys }] of REFUSALS.entries()) {
  test(`refuses by name: ${name} (${index})`, async () => {
    const module = fewKeys ? await withLimit('STATEFS_KEYS_BYTES_MAX', FEW_KEY_BYTES) : wasm;
    const device = make();
    const before = device.disk.current.slice();
    const w = run(device, function* (w) {
      assert.deepEqual(yield* everyOp(w), all(status));
      assert.equal((yield* w.stats())[STATS.state], status);
    }, { wasm: module });
    assert.deepEqual(w.host.console, [`statefsd: refused ${name}`]);
    if (name !== 'io') assert.deepEqual(device.disk.current, before, 'not a byte was written');
  });
}

test('a device with other blocks than 512 bytes is refused by name', () => {
  const device = blank();
  const config = device.sys.device_config!;
  device.sys.device_config = (host, handle, offset, width) => (offset === 20 ? 4096n : config(host, handle!, offset!, width!));
  const w = run(device, function* (w) { assert.deepEqual(yield* everyOp(w), all(S.unsupported)); });
  assert.deepEqual(w.host.console, ['statefsd: refused block_size']);
});

test('a read-only disk is read and not written', () => {
  const device = Object.assign(used(), { features: F_RO | F_FLUSH | F_BLK_SIZE | F_VERSION_1 });
  const before = device.disk.current.slice();
  const w = run(device, function* (w) {
    assert.deepEqual(yield* w.value('/state/a'), Buffer.from('kept'));
    assert.deepEqual(yield* w.keys('/state/'), ['/state/a']);
    assert.deepEqual(yield* everyOp(w), { ...all(S.readOnly), get: S.ok, list: S.ok });
  });
  assert.deepEqual(w.host.console, ['statefsd: refused read_only']);
  assert.deepEqual(device.disk.current, before);
  assert.equal(w.count('write'), 0);
});

test('a blank read-only disk holds nothing, and is not formatted', () => {
  const device = Object.assign(blank(), { features: F_RO | F_VERSION_1 });
  run(device, function* (w) {
    assert.equal(yield* w.value('/state/a'), S.notFound);
    assert.deepEqual(yield* w.keys('/state/'), []);
    assert.equal(yield* w.status(put('/state/a', 'x')), S.readOnly);
  });
  assert.ok(device.disk.current.every((byte) => byte === 0));
});

/** Waits until writes are taken again, at most ten minutes of guest time. */
function* recovered(w: World): Steps<boolean> {
  const until = w.host.now_ns + 600_000_000_000n;
  while (w.host.now_ns < until) {
    if ((yield* w.stats())[STATS.state] === 0) return true;
    yield* w.host.idle();
  }
  return false;
}

const FAULTS: Record<string, Fault> = {
  'an error': IO, 'an unknown request': { kind: 'status', status: 2 }, 'a status that is none': { kind: 'status', status: 77 },
  'an untouched status byte': { kind: 'status', status: 255 }, 'done and called an error': { kind: 'applied', status: 1 }, 'no answer': { kind: 'never' },
  'a torn write': { kind: 'torn', bytes: 700 }, 'a used length too long': { kind: 'used', bytes: 9 }, 'a used length of nothing': { kind: 'used', bytes: 0 },
};
for (const [name, fault] of Object.entries(FAULTS)) {
  test(`a write or FLUSH with ${name} fails what waits with io, and the store comes back with what was acknowledged`, () => {
    for (const type of fault.kind === 'torn' ? [BLK_OUT] : [BLK_OUT, BLK_FLUSH]) {
      const device = blank();
      let armed = false;
      device.fault = (request) => {
        if (!armed || request.type !== type) return null;
        armed = false;
        return fault;
      };
      run(device, function* (w) {
        assert.equal(yield* w.status(put('/state/a', 'acknowledged')), S.ok);
        const opens = device.opens;
        armed = true;
        const from = w.host.now_ns;
        const nonces = [yield* w.submit(put('/state/b', 'x')), yield* w.submit(put('/state/c', 'x')), yield* w.submit(del('/state/a'))];
        yield* w.host.idle();
        for (const nonce of nonces) assert.equal(w.answer(nonce)?.status, S.io);
        assert.ok(w.host.now_ns - from <= WAIT_NS + 1_000_000_000n, 'bounded wait');
        assert.ok(fault.kind !== 'never' || w.host.now_ns - from >= WAIT_NS, 'it waited for as long as a device may take');
        assert.equal(yield* w.status(get('/state/a')), S.io, 'no answer from memory meanwhile');
        assert.ok(yield* recovered(w));
        assert.equal(device.opens, opens + 1, 'the device was reset');
        // The three requests were not acknowledged: whichever of them are there, each is whole, and what was acknowledged before is not mixed up.
        const a = yield* w.value('/state/a');
        assert.ok(a === S.notFound || a.toString() === 'acknowledged', String(a));
        assert.equal(yield* w.status(put('/state/a', 'again')), S.ok);
        assert.deepEqual(yield* w.value('/state/a'), Buffer.from('again'));
        const stats = yield* w.stats();
        assert.deepEqual([stats[STATS.ioErrors], stats[STATS.reopens]], [1, 1]);
      });
    }
  });
}

test('a failed read is io, and the store comes back', () => {
  const device = blank();
  let armed = false;
  device.fault = ({ type }) => {
    if (!armed || type !== BLK_IN) return null;
    armed = false;
    return IO;
  };
  run(device, function* (w) {
    assert.equal(yield* w.status(put('/state/a', 'kept')), S.ok);
    armed = true;
    assert.equal(yield* w.status(get('/state/a')), S.io);
    assert.ok(yield* recovered(w));
    assert.deepEqual(yield* w.value('/state/a'), Buffer.from('kept'));
  });
});

test('an error at each request of a workload: nothing acknowledged is lost', () => {
  for (let failing = 0; failing < 60; failing++) {
    const device = blank(512);
    device.fault = ({ number }) => (number === failing ? IO : null);
    const kept = new Map<string, string>();
    run(device, function* (w) {
      if (!(yield* recovered(w))) assert.fail('never came back');
      for (let n = 0; n < 12; n++) {
        const [key, value] = [`/state/k${n % 5}`, `value ${n} ${'x'.repeat(n * 30)}`];
        if ((yield* w.status(put(key, value))) === S.ok) kept.set(key, value);
        else {
          assert.ok(yield* recovered(w));
          const now = yield* w.value(key);
          if (typeof now !== 'number') kept.set(key, now.toString());
        }
      }
      for (const [key, value] of kept) {
        let found = yield* w.value(key);
        if (found === S.io && (yield* recovered(w))) found = yield* w.value(key);
        assert.equal(found.toString(), value, `request ${failing}`);
      }
    });
  }
});

test('a device that stays broken is tried again so often, each time later, and then left alone until REOPEN', () => {
  const device = blank();
  let broken = false;
  const tries: bigint[] = [];
  run(device, function* (w) {
    assert.equal(yield* w.status(put('/state/a', 'kept')), S.ok);
    device.fault = () => {
      if (!broken) return null;
      if (tries.at(-1) !== w.host.now_ns) tries.push(w.host.now_ns);
      return IO;
    };
    broken = true;
    assert.equal(yield* w.status(put('/state/b', 'x')), S.io);
    for (let n = 0; n < 3000; n++) yield* w.host.idle();
    const pauses = tries.slice(1).map((at, n) => Number(at - tries[n]!));
    assert.equal(pauses.length, of('reopen_attempts_max'));
    pauses.forEach((pause, n) => assert.ok(pause >= of('reopen_backoff_ns') * 2 ** n, `${n}: ${pause}`));
    assert.equal(yield* w.status(get('/state/a')), S.io);
    assert.equal(yield* w.status(bare(OP.reopen)), S.io);
    broken = false;
    assert.equal(yield* w.status(bare(OP.reopen)), S.ok);
    assert.deepEqual(yield* w.value('/state/a'), Buffer.from('kept'));
  });
});

test('what was accepted and then lost with the device is told once, by SYNC, to whom it belonged', () => {
  const device = blank();
  let armed = false;
  device.fault = ({ type }) => (armed && type === BLK_OUT ? IO : null);
  run(device, function* (w) {
    assert.equal(yield* w.status(batch([['/state/l', 'x']], LAZY), 'metricsd'), S.ok);
    assert.equal(yield* w.status(batch([['/state/m', 'x']], LAZY), 'execd'), S.ok);
    armed = true;
    assert.equal(yield* w.status(put('/state/a', 'x')), S.io);
    armed = false;
    assert.ok(yield* recovered(w));
    assert.equal(yield* w.value('/state/l'), S.notFound);
    for (const sender of ['metricsd', 'execd']) {
      assert.equal(yield* w.status(bare(OP.sync), sender), S.rollback);
      assert.equal(yield* w.status(bare(OP.sync), sender), S.ok);
    }
    assert.equal(yield* w.status(bare(OP.sync), 'selftest'), S.ok, 'who had accepted nothing hears nothing');
  });
});

test('what was accepted after a loss and lost in its turn is told again', () => {
  const device = blank();
  let armed = false;
  device.fault = ({ type }) => (armed && type === BLK_OUT ? IO : null);
  run(device, function* (w) {
    const fail = function* (): Steps<void> {
      armed = true;
      assert.equal(yield* w.status(put('/state/a', 'x'), 'execd'), S.io);
      armed = false;
      assert.ok(yield* recovered(w));
    };
    assert.equal(yield* w.status(batch([['/state/l', 'A']], LAZY), 'metricsd'), S.ok);
    yield* fail();
    assert.equal(yield* w.status(batch([['/state/l', 'B']], LAZY), 'metricsd'), S.ok);
    assert.equal(yield* w.status(bare(OP.sync), 'metricsd'), S.rollback, 'A');
    yield* fail();
    assert.equal(yield* w.status(bare(OP.sync), 'metricsd'), S.rollback, 'B');
    assert.equal(yield* w.status(bare(OP.sync), 'metricsd'), S.ok);
    assert.equal(yield* w.status(batch([['/state/l', 'C']], LAZY), 'metricsd'), S.ok);
    assert.equal(yield* w.status(bare(OP.sync), 'metricsd'), S.ok);
    yield* fail();
    assert.equal(yield* w.status(bare(OP.sync), 'metricsd'), S.ok, 'C was synced before');
  });
});

test('a write for which the group before it had to be written is io when that fails', async () => {
  // A server whose own bound on a group never comes before the engine's.
  const wide = await withLimit('STATEFSD_GROUP_BYTES_MAX', 1 << 30);
  for (const op of ['put', 'del', 'batch', 'lazy', 'commit'] as const) {
    const device = blank();
    let armed = false;
    device.fault = ({ type }) => (armed && type === BLK_OUT ? IO : null);
    run(device, function* (w) {
      assert.equal(yield* w.status(put('/state/known', 'x')), S.ok);
      const value = 'v'.repeat(8000);
      // The last LAZY batches leave no room for the request in question: a deletion takes less than a value.
      const full = limit(abi, 'statefs', 'group_bytes_max') - 512;
      let staged = 0;
      for (let n = 0; full - staged >= 8048; n++, staged += 8048) {
        assert.equal(yield* w.status(batch([[`/state/${String(n).padStart(2, '0')}`, value]], LAZY), 'metricsd'), S.ok);
      }
      yield* w.status(batch([['/state/rest', 'r'.repeat(Math.max(0, full - staged - 48))]], LAZY), 'metricsd');
      const txn = op === 'commit' ? yield* w.begin() : 0;
      if (op === 'commit') assert.equal(yield* w.status(txnPut(txn, '/state/a', 7000, 0, value.slice(0, 7000))), S.ok);
      const make = { put: put('/state/a', value), del: del('/state/known'), batch: batch([['/state/a', value]]),
        lazy: batch([['/state/a', value]], LAZY), commit: txnEnd(OP.txnCommit, txn) }[op];
      const flushes = w.count('flush');
      armed = true;
      assert.equal(yield* w.status(make), S.io, op);
      assert.equal(w.count('flush'), flushes);
      armed = false;
      assert.ok(yield* recovered(w));
      assert.equal(yield* w.status(bare(OP.sync), 'metricsd'), S.rollback);
    }, { wasm: wide });
  }
});

test('a device that never answers at the start does not keep init-lite waiting, and is used once it does answer', () => {
  const device = blank();
  device.fault = () => ({ kind: 'never' });
  const from = 1_000_000_000n;
  const w = run(device, function* (w) {
    const reply = yield* w.host.call('init-lite', frame('IN', u8(1), u8(2), u32(1)));
    assert.equal(reply?.[8], 0, 'up');
    assert.ok(w.host.now_ns - from < 2_000_000_000n, 'within the time of a PING');
    assert.equal(yield* w.status(put('/state/a', 'x')), S.io);
    device.fault = () => null;
    assert.ok(yield* recovered(w));
    assert.equal(yield* w.status(put('/state/a', 'x')), S.ok);
  }, { ping: false, host: { now_ns: from } });
  assert.deepEqual(w.host.console, ['statefsd: refused io']);
});

test('large transfers go in pieces that the kernel takes, several in flight', () => {
  const device = blank();
  let largest = 0;
  run(device, function* (w) {
    const watch = device.watch;
    device.watch = (request) => { largest = Math.max(largest, request.bytes); watch(request); };
    const value = 'v'.repeat(7000);
    const nonces: number[] = [];
    for (let n = 0; n < 20; n++) nonces.push(yield* w.submit(put(`/state/k${n}`, value)));
    yield* w.host.idle();
    for (const nonce of nonces) assert.equal(w.answer(nonce)?.status, S.ok);
    assert.ok(w.count('write') >= Math.ceil((20 * 7000) / of('io_bytes_max')));
    for (let n = 0; n < 20; n++) assert.deepEqual(yield* w.value(`/state/k${n}`), Buffer.from(value));
  });
  assert.equal(largest, of('io_bytes_max'));
});
