// SPDX-License-Identifier: Apache-2.0
// The simulated disk and its device are what they say: a cut touches unflushed sectors alone, and the device is as strict as the real one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limit, loadAbi } from '../../../scripts/lib/abi.js';
import { hostErrors, type Host } from '../../../runtime/node/index.js';
import { Random } from '../../random.js';
import { BLK_FLUSH, BLK_IN, BLK_OUT, BlkDevice, F_FLUSH, F_RO, F_VERSION_1, STATUS_IOERR, STATUS_OK, STATUS_UNSUPP } from './device.js';
import { CUTS, SECTOR_BYTES, SimDisk } from './disk.js';

const abi = loadAbi();
const error = hostErrors(abi);
const filled = (value: number, sectors = 1): Uint8Array => new Uint8Array(sectors * SECTOR_BYTES).fill(value);

test('a cut leaves flushed sectors alone, and of the others old, new or a mixture of both', () => {
  const random = new Random(11);
  for (const cut of CUTS) {
    const disk = new SimDisk(8);
    disk.write(0, filled(1, 8));
    disk.flush();
    disk.write(2, filled(2, 2));
    disk.write(3, filled(3));
    assert.deepEqual(disk.read(3, 1), filled(3), 'the guest reads what it wrote');
    const seen = new Set<string>();
    for (let n = 0; n < 200; n++) {
      const left = disk.cut(random, cut);
      for (const sector of [0, 1, 4, 5, 6, 7]) assert.ok(left.subarray(sector * 512, sector * 512 + 512).every((byte) => byte === 1), `${cut}: sector ${sector}`);
      assert.ok(left.subarray(1024, 1536).every((byte) => byte === 1 || byte === 2));
      assert.ok(left.subarray(1536, 2048).every((byte) => byte >= 1 && byte <= 3));
      seen.add(Buffer.from(left.subarray(1024, 2048)).toString('base64'));
    }
    if (cut === 'lost') assert.ok(seen.size === 1 && disk.cut(random, cut).every((byte) => byte === 1));
    else if (cut === 'kept') assert.deepEqual(disk.cut(random, cut), disk.current);
    else assert.ok(seen.size > 2, `${cut}: ${seen.size} outcomes`);
  }
});

test('reordering and tearing inside a sector both occur, and are repeated by their seed', () => {
  const disk = new SimDisk(4);
  disk.write(0, filled(1, 2));
  const outcomes = Array.from({ length: 300 }, (_, n) => disk.cut(new Random(n), 'mixed'));
  const sum = (left: Uint8Array, sector: number): number => left.subarray(sector * 512, sector * 512 + 512).reduce((a, b) => a + b, 0);
  assert.ok(outcomes.some((left) => sum(left, 0) === 0 && sum(left, 1) === 512), 'the later one without the earlier');
  assert.ok(outcomes.some((left) => sum(left, 0) > 0 && sum(left, 0) < 512), 'a torn one');
  assert.deepEqual(disk.cut(new Random(5), 'mixed'), outcomes[5]);
});

/** A service's memory and clock, as far as the device needs them. */
function machine(device: BlkDevice) {
  const memory = new WebAssembly.Memory({ initial: 4 });
  const host = { memory, now_ns: 0n, advance(this: { now_ns: bigint }, ns: bigint) { this.now_ns += ns; } } as unknown as Host & { now_ns: bigint };
  const view = new DataView(memory.buffer);
  const call = (name: string, ...args: (number | bigint)[]): bigint => device.sys[name]!(host, 0, ...args);
  /** Submits header, data and status at given places; returns the token or an error. */
  const submit = (type: number, sector: number, data: { at: number; bytes: number } | null): bigint => {
    view.setUint32(0x100, type, true);
    view.setBigUint64(0x108, BigInt(sector), true);
    const chain: [number, number, number][] = [[0x100, 16, 0]];
    if (data !== null) chain.push([data.at, data.bytes, type === BLK_IN ? 1 : 0]);
    chain.push([0x200, 1, 1]);
    chain.forEach((one, i) => one.forEach((word, j) => { view.setUint32(0x300 + 16 * i + 4 * j, word, true); }));
    view.setUint8(0x200, 0xee);
    return call('device_submit', 0, 0x300, chain.length, 1);
  };
  const take = (): { token: bigint; used: number; status: number } | bigint => {
    const result = call('device_take', 0, 0x400);
    return result < 0n ? result : { token: view.getBigUint64(0x400, true), used: Number(view.getBigUint64(0x408, true)), status: view.getUint8(0x200) };
  };
  const start = (features: bigint, queue = 64): void => {
    assert.equal(call('device_open', features, 0x400), 0n);
    assert.equal(call('device_queue', 0, queue), 0n);
    assert.equal(call('device_ready'), 0n);
  };
  /** One request from start to end: its status byte and used length. */
  const ask = (type: number, sector: number, data: { at: number; bytes: number } | null): [number, number] => {
    assert.ok(submit(type, sector, data) > 0n);
    const done = take();
    assert.ok(typeof done !== 'bigint');
    return [done.status, done.used];
  };
  return { host, memory: new Uint8Array(memory.buffer), view, call, submit, take, start, ask };
}
const DATA = { at: 0x1000, bytes: 1024 };

test('reads, writes and flushes as QEMU does', () => {
  const device = new BlkDevice(new SimDisk(16));
  const m = machine(device);
  m.start(F_FLUSH);
  assert.deepEqual([0, 8, 16].map((at) => m.view.getBigUint64(0x400 + at, true)), [2n, 2n, F_FLUSH | F_VERSION_1]);
  assert.equal(m.call('device_config', 0, 8), 16n);
  assert.equal(m.call('device_config', 20, 4), 512n);
  m.memory.fill(9, 0x1000, 0x1400);
  assert.deepEqual(m.ask(BLK_OUT, 3, DATA), [STATUS_OK, 1]);
  m.memory.fill(0, 0x1000, 0x1400);
  assert.deepEqual(m.ask(BLK_IN, 3, DATA), [STATUS_OK, 1025]);
  assert.ok(m.memory.subarray(0x1000, 0x1400).every((byte) => byte === 9));
  assert.ok(device.disk.medium.every((byte) => byte === 0));
  assert.deepEqual(m.ask(BLK_FLUSH, 0, null), [STATUS_OK, 1]);
  assert.deepEqual(device.disk.medium, device.disk.current);
  assert.equal(m.take(), error('again'));
});

test('refuses what a real device refuses', () => {
  const device = new BlkDevice(new SimDisk(16));
  const m = machine(device);
  m.start(0n);
  assert.equal(m.ask(BLK_FLUSH, 0, null)[0], STATUS_UNSUPP, 'FLUSH was not negotiated');
  assert.equal(m.ask(BLK_IN, 15, DATA)[0], STATUS_IOERR, 'beyond the end');
  assert.equal(m.ask(BLK_IN, 0, { at: 0x1000, bytes: 100 })[0], STATUS_IOERR, 'no whole sectors');
  assert.equal(m.ask(77, 0, null)[0], STATUS_UNSUPP);
  device.features = F_FLUSH | F_RO;
  m.start(F_FLUSH | F_RO);
  assert.equal(m.ask(BLK_OUT, 0, DATA)[0], STATUS_IOERR, 'a read-only disk');
  device.present = false;
  assert.equal(m.call('device_open', 0n, 0x400), error('bad_handle'));
});

test('counts pages, pieces and the queue as the kernel does, at each edge', () => {
  const m = machine(new BlkDevice(new SimDisk(512)));
  const pieces = limit(abi, 'kernel', 'chain_max') - 2;
  m.start(F_FLUSH, 8);
  assert.equal(m.call('device_queue', 0, 8), error('bad_argument'), 'the queue exists');
  assert.ok(m.submit(BLK_IN, 0, { at: 0x1000, bytes: pieces * 4096 }) > 0n, 'as many pages as a chain takes');
  assert.equal(m.submit(BLK_IN, 0, { at: 0x1000, bytes: 512 }), error('full'), 'no descriptor is left');
  assert.ok(typeof m.take() !== 'bigint');
  assert.equal(m.submit(BLK_IN, 0, { at: 0x1000, bytes: pieces * 4096 + 512 }), error('bad_argument'), 'one page more');
  assert.equal(m.submit(BLK_IN, 0, { at: 0x1200, bytes: pieces * 4096 }), error('bad_argument'), 'as many bytes over one more boundary');
  assert.throws(() => m.submit(BLK_IN, 0, { at: 0x3ff00, bytes: 512 }), /outside the memory/);
  assert.equal(m.submit(BLK_IN, 0, { at: 0x1000, bytes: 0 }), error('bad_argument'));
});

test('each fault does what it is called', () => {
  const device = new BlkDevice(new SimDisk(16));
  const m = machine(device);
  m.start(F_FLUSH);
  const at = (sector: number): number => device.disk.current[sector * 512]!;
  m.memory.fill(5, 0x1000, 0x1400);
  device.fault = () => ({ kind: 'status', status: STATUS_IOERR });
  assert.deepEqual([m.ask(BLK_OUT, 0, DATA)[0], at(0)], [STATUS_IOERR, 0]);
  device.fault = () => ({ kind: 'applied', status: STATUS_IOERR });
  assert.deepEqual([m.ask(BLK_OUT, 0, DATA)[0], at(0)], [STATUS_IOERR, 5]);
  device.fault = () => ({ kind: 'swallow' });
  assert.deepEqual([m.ask(BLK_OUT, 4, DATA)[0], at(4)], [STATUS_OK, 0]);
  device.fault = () => ({ kind: 'misdirect', sector: 8 });
  assert.deepEqual([m.ask(BLK_OUT, 4, DATA)[0], at(4), at(8)], [STATUS_OK, 0, 5]);
  device.fault = () => ({ kind: 'torn', bytes: 513 });
  assert.deepEqual([m.ask(BLK_OUT, 10, DATA)[0], at(10), at(11), device.disk.current[11 * 512 + 1]], [STATUS_IOERR, 5, 5, 0]);
  device.fault = () => ({ kind: 'used', bytes: 4096 });
  assert.deepEqual(m.ask(BLK_IN, 0, DATA), [STATUS_OK, 4096]);
  device.fault = (request) => (request.type === BLK_FLUSH ? { kind: 'never' } : null);
  assert.ok(m.submit(BLK_FLUSH, 0, null) > 0n);
  const before = m.host.now_ns;
  for (let look = 0; look < 100; look++) assert.equal(m.take(), error('again'));
  assert.equal(m.host.now_ns - before, 100n * device.look_ns, 'waiting takes time');
  m.start(F_FLUSH);
  assert.equal(m.take(), error('again'), 'a reset forgets what was in flight');
  device.delay_ns = 3_000_000n;
  assert.ok(m.submit(BLK_IN, 0, DATA) > 0n);
  assert.equal(m.take(), error('again'));
  let looks = 1;
  while (m.take() === error('again')) looks++;
  assert.equal(looks, 3);
});
