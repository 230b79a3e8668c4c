// SPDX-License-Identifier: Apache-2.0
// Devices on the shipping kernel: one conformance suite over both transports, then what a broken or hostile device can do, which is to
// hurt its own driver at most. The device of devices.ts checks every descriptor that it is given.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { VirtioDevice } from './devices.js';
import { E, loadKernel, PAGE, STATE, type Kernel } from './machine.js';
import { OWN, to, World } from './world.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });

const RNG = 4;
const DEVICE = 7;
const META = 0x200;
const LIST = 0x400;
const VERSION_1 = 1n << 32n;
const TRANSPORTS = [['modern', 2], ['legacy', 1]] as const;

interface Setup { w: World; device: VirtioDevice }
/** A machine whose service 1 drives one device; it runs and has not opened the device yet. */
function setup(version: 1 | 2, change: (device: VirtioDevice) => void = () => undefined, offered = VERSION_1 | 3n): Setup {
  const device = new VirtioDevice(RNG, version, offered);
  change(device);
  const devices = [new VirtioDevice(3, version, VERSION_1), device];
  const w = new World(kernel, 2, { devices, transport: version, entries: { 1: { devices: [RNG], memoryPages: 2, memoryPagesMax: 2 } } });
  w.run(1);
  return { w, device };
}
function opened(version: 1 | 2, size = 8, change?: (device: VirtioDevice) => void): Setup {
  const made = setup(version, change);
  made.w.good('device_open', DEVICE, 1n);
  made.w.good('device_queue', DEVICE, 0, size);
  made.w.good('device_ready', DEVICE);
  return made;
}
type Buffers = [ptr: number, bytes: number, write: boolean][];
function submit(w: World, buffers: Buffers, flags = 0, queue = 0): bigint {
  const list = Buffer.alloc(16 * Math.max(buffers.length, 1));
  buffers.forEach(([ptr, bytes, write], i) => [ptr, bytes, write ? 1 : 0].forEach((value, n) => list.writeUInt32LE(value, 16 * i + 4 * n)));
  w.machine.poke(w.runs, LIST, list);
  return w.machine.sys('device_submit', DEVICE, queue, LIST, buffers.length, flags)!;
}
const take = (w: World, queue = 0): bigint => w.machine.sys('device_take', DEVICE, queue)!;

for (const [name, version] of TRANSPORTS) {
  test(`${name}: opens, negotiates, and moves bytes both ways`, () => {
    const { w, device } = setup(version);
    assert.equal(w.machine.sys('device_open', DEVICE, 2n), 0n);
    assert.deepEqual(w.machine.meta(1), [4n, BigInt(version), version === 2 ? VERSION_1 | 2n : 2n, 0n]);
    assert.equal(device.accepted, version === 2 ? VERSION_1 | 2n : 2n);
    w.good('device_queue', DEVICE, 0, 8);
    w.good('device_ready', DEVICE);
    assert.equal(device.status, version === 2 ? 15 : 7);
    w.machine.poke(1, 0x2000, Buffer.from('question'));
    const token = submit(w, [[0x2000, 8, false], [0x3000, 32, true]]);
    assert.equal(take(w), E['again']);
    const { pieces } = device.waiting[0]!.request;
    assert.deepEqual(pieces.map(({ bytes, write }) => [bytes, write]), [[8, false], [32, true]]);
    assert.equal(w.machine.phys(pieces[0]!.phys, 8).toString(), 'question');
    device.answer(0x5a);
    assert.equal(take(w), 0n);
    assert.deepEqual(w.machine.meta(1).slice(0, 2), [token, 32n]);
    assert.ok(w.machine.peek(1, 0x3000, 32).every((byte) => byte === 0x5a));
    assert.equal(w.machine.peek(1, 0x3020, 1)[0], 0);
    assert.equal(take(w), E['again']);
  });

  test(`${name}: a buffer over page borders becomes pieces of contiguous frames that cover it exactly`, () => {
    const { w, device } = opened(version);
    const cases: Buffers[] = [[[0xffc, 8, true]], [[0x1001, 3 * PAGE, true]], [[0, 1, false], [0xfff, 2, true]], [[0, 131072, true]], [[131071, 1, true]]];
    for (const buffers of cases) {
      const result = submit(w, buffers);
      const wanted = buffers.flatMap(([ptr, bytes]) => Array.from({ length: bytes }, (_, i) => w.machine.translate(w.machine.word(1, 'memory') + BigInt(ptr + i), true)));
      if (result < 0n) {
        assert.equal(result, E['bad_argument'], 'more than eight pieces');
        continue;
      }
      const got = device.waiting[0]!.request.pieces.flatMap(({ phys, bytes }) => Array.from({ length: bytes }, (_, i) => phys + i));
      assert.deepEqual(got, wanted);
      device.answer(1);
      take(w);
    }
  });

  test(`${name}: the queue takes as many descriptors as it has and not one more`, () => {
    const { w, device } = opened(version, 4);
    for (let n = 0; n < 4; n++) assert.ok(submit(w, [[0, 4, true]]) >= 0n);
    assert.equal(submit(w, [[0, 4, true]]), E['full']);
    device.answer(1);
    assert.equal(submit(w, [[0, 4, true]]), E['full'], 'not before it was taken');
    assert.equal(take(w), 0n);
    assert.equal(submit(w, [[0, 4, true], [8, 4, true]]), E['full'], 'two where one is free');
    assert.ok(submit(w, [[0, 4, true]]) >= 0n);
    for (let n = 0; n < 4; n++) device.answer(1);
    const tokens = new Set<bigint>();
    for (let n = 0; n < 4; n++) {
      assert.equal(take(w), 0n);
      tokens.add(w.machine.meta(1)[0]);
    }
    assert.equal(tokens.size, 4);
    assert.ok(submit(w, [[0, 4, true], [8, 4, true], [16, 4, true], [24, 4, true]]) >= 0n, 'all four are free again');
    assert.equal(submit(w, [[0, 4, true]]), E['full']);
  });

  test(`${name}: 70,000 requests go round the 16-bit indices`, () => {
    const { w, device } = opened(version, 8);
    for (let n = 0; n < 35_000; n++) {
      const first = submit(w, [[0, 4, true]]);
      const second = submit(w, [[8, 4, false], [16, 2, true]]);
      if (n % 2) device.waiting.reverse(); // answered out of order
      const order = device.waiting.map(({ request }) => BigInt(request.head));
      device.answer(1);
      device.answer(2);
      for (const token of order) {
        if (take(w) !== 0n || w.machine.meta(1)[0] !== token) assert.fail(`request ${n}: token ${w.machine.meta(1)[0]}, not ${token}`);
      }
      if (first === second) assert.fail('one token for two requests');
    }
    assert.equal(device.ring(0).done, 70_000 & 0xffff);
    assert.equal(take(w), E['again']);
  });

  test(`${name}: a used ring that lies is an error of its own, and honest answers still arrive`, () => {
    const { w, device } = opened(version, 8);
    const token = Number(submit(w, [[0, 4, true], [8, 4, true]], 1));
    for (const head of [token + 1, 7, 8, 0xffff, 0xffff_ffff, 0x8000_0000 + token]) {
      device.complete(0, head, 4);
      assert.equal(take(w), E['io'], `head ${head}`);
    }
    device.answer(1);
    assert.equal(take(w), 0n);
    device.complete(0, token, 4);
    assert.equal(take(w), E['io'], 'the same once more');
    // An index that jumps ahead names old elements: errors, each once, never an answer that nobody asked for.
    const ring = device.ring(0);
    w.machine.phys(ring.used, 4).writeUInt16LE((ring.done + 20) & 0xffff, 2);
    for (let n = 0; n < 20; n++) assert.equal(take(w), E['io']);
    assert.equal(take(w), E['again']);
  });

  test(`${name}: what is owed is given back by a reset, an end and a reopen`, () => {
    // While an answer is owed the kernel polls; afterwards it sleeps.
    const sleeps = (w: World): boolean => {
      const naps = w.machine.naps;
      w.recv(50);
      for (let n = 0; n < 4 && w.runs !== 1 && w.machine.state(1) !== STATE.ended; n++) w.recv(50);
      return w.machine.naps > naps;
    };
    const { w, device } = opened(version, 8);
    w.run(2).recv(1_000_000);
    w.run(1);
    assert.ok(sleeps(w));
    submit(w, [[0, 4, true]], 1);
    submit(w, [[8, 4, true]], 1);
    assert.ok(!sleeps(w), 'polls while two are in flight');
    w.good('device_open', DEVICE, 1n);
    assert.ok(sleeps(w), 'reopening gave both back');
    w.good('device_queue', DEVICE, 0, 8);
    w.good('device_ready', DEVICE);
    submit(w, [[0, 4, true]], 1);
    device.answer(1);
    w.run(1);
    w.machine.interrupts();
    assert.equal(w.recv(), 0n, 'the interrupt arrives as a notification');
    assert.equal(take(w), 0n);
    assert.ok(sleeps(w));
    submit(w, [[0, 4, true]], 1);
    const resets = device.resets;
    w.machine.sys('exit', 0);
    assert.equal(device.resets, resets + 1);
    const naps = w.machine.naps;
    w.recv(50);
    assert.ok(w.machine.naps > naps, 'an end gives back what was owed');
  });

  test(`${name}: an ending driver's device is reset before its frames go, and the restarted one opens it afresh`, () => {
    const { w, device } = opened(version);
    submit(w, [[0x2000, 64, true]]);
    w.machine.fault(13n, 0n);
    assert.equal(device.status, 0);
    assert.equal(device.waiting.length, 0);
    w.run(0);
    w.good('process_event');
    w.good('process_create', 1);
    w.good('process_start', 1);
    w.run(1);
    assert.equal(take(w), E['bad_argument'], 'closed until opened');
    w.good('device_open', DEVICE, 0n);
    w.good('device_queue', DEVICE, 0, 8);
    w.good('device_ready', DEVICE);
    assert.ok(submit(w, [[0, 4, true]]) >= 0n);
    device.answer(9);
    assert.equal(take(w), 0n);
  });

  test(`${name}: an interrupt reaches the owner, claimed and completed once`, () => {
    const { w, device } = opened(version);
    submit(w, [[0, 4, true]]);
    w.recv(1_000_000);
    device.answer(1);
    w.machine.interrupts();
    assert.equal(w.machine.state(1), STATE.ready);
    assert.equal(w.run(1).meta(3), 1n);
    assert.deepEqual(w.machine.plic.completed, [2]);
    device.complete(0, 99, 0);
    w.machine.interrupts();
    assert.equal(w.recv(), 0n, 'kept until it receives');
    assert.equal(w.meta(3), 1n);
    assert.equal(w.recv(), E['timeout']);
  });

  test(`${name}: arguments out of range are refused, pointers outside memory are faults`, () => {
    const { w } = setup(version);
    assert.equal(w.machine.sys('device_queue', DEVICE, 0, 8), E['bad_argument'], 'before it is open');
    assert.equal(w.machine.sys('device_ready', DEVICE), E['busy']);
    assert.equal(w.machine.sys('device_open', OWN, 0n), E['bad_handle'], 'an endpoint is no device');
    assert.equal(w.machine.sys('cap_clone', DEVICE, 1), E['bad_handle'], 'a device is not cloned');
    assert.equal(w.send(to(2), 'x', 0, DEVICE), E['bad_handle'], 'nor moved');
    w.good('device_open', DEVICE, 0n);
    for (const size of [0, 3, 65, 128, -1]) assert.equal(w.machine.sys('device_queue', DEVICE, 0, size), E['bad_argument'], `size ${size}`);
    assert.equal(w.machine.sys('device_queue', DEVICE, 16, 8), E['bad_argument']);
    w.good('device_queue', DEVICE, 15, 64);
    w.good('device_queue', DEVICE, 0, 64);
    assert.equal(w.machine.sys('device_queue', DEVICE, 0, 32), E['bad_argument'], 'a queue is set up once');
    assert.equal(submit(w, [[0, 4, true]]), E['bad_argument'], 'not ready');
    w.good('device_ready', DEVICE);
    assert.equal(w.machine.sys('device_ready', DEVICE), E['busy']);
    assert.equal(w.machine.sys('device_queue', DEVICE, 1, 8), E['bad_argument'], 'too late');
    assert.equal(submit(w, []), E['bad_argument']);
    assert.equal(submit(w, new Array<Buffers[number]>(9).fill([0, 4, true])), E['bad_argument']);
    assert.ok(submit(w, new Array<Buffers[number]>(8).fill([0, 4, true])) >= 0n);
    assert.equal(submit(w, [[0, 0, true]]), E['bad_argument']);
    assert.equal(submit(w, [[0, 4, true]], 0, 1), E['bad_argument'], 'a queue that was not set up');
    assert.equal(take(w, 1), E['bad_argument']);
    for (const [width, offset] of [[3, 0], [0, 0], [16, 0], [2, 1], [8, 4], [1, 256]]) {
      assert.equal(w.machine.sys('device_config', DEVICE, offset!, width!), E['bad_argument']);
    }
    assert.ok(submit(w, [[131_068, 4, true]]) >= 0n);
    assert.equal(w.machine.state(1), STATE.running);
    submit(w, [[131_069, 4, true]]);
    assert.equal(w.machine.state(1), STATE.ended);
    assert.equal(w.machine.lines.at(-1), 'kernel: trap s1 bad_pointer');
  });

  test(`${name}: configuration is read in every width`, () => {
    const { w, device } = setup(version);
    device.config = Buffer.from(Array.from({ length: 256 }, (_, i) => (i * 7 + 1) & 0x7f));
    for (const width of [1, 2, 4, 8]) {
      for (const offset of [0, 8, 248]) {
        const wanted = width === 8 ? device.config.readBigUInt64LE(offset) : BigInt(device.config.readUIntLE(offset, width));
        assert.equal(w.machine.sys('device_config', DEVICE, offset, width), wanted, `${width} at ${offset}`);
      }
    }
  });
}

test('modern: a device that takes features back, or is not of version 1, is refused', () => {
  const back = setup(2, (device) => { device.takesFeaturesBack = true; });
  assert.equal(back.w.machine.sys('device_open', DEVICE, 0n), E['io']);
  assert.equal(back.device.status & 128, 128, 'and told so');
  assert.equal(back.w.machine.sys('device_queue', DEVICE, 0, 8), E['bad_argument']);
  const old = setup(2, undefined, 3n);
  assert.equal(old.w.machine.sys('device_open', DEVICE, 3n), E['io']);
});

test('a driver gets features of its device type, and none that change how rings work', () => {
  for (const [, version] of TRANSPORTS) {
    const { w, device } = setup(version, undefined, (1n << 64n) - 1n);
    assert.equal(w.machine.sys('device_open', DEVICE, -1n), 0n);
    const ring = device.accepted & 0x0003_ffff_ff00_0000n;
    assert.equal(ring, version === 2 ? VERSION_1 : 0n, 'no indirect descriptors, event index, packed ring, ...');
    assert.equal(device.accepted & 0xff_ffffn, 0xff_ffffn);
  }
});

test('a queue smaller than asked for is refused', () => {
  for (const [, version] of TRANSPORTS) {
    const { w } = setup(version, (device) => { device.queueMax = 4; });
    w.good('device_open', DEVICE, 0n);
    assert.equal(w.machine.sys('device_queue', DEVICE, 0, 8), E['io']);
    assert.equal(w.machine.sys('device_queue', DEVICE, 0, 4), 0n);
  }
});

test('a device belongs to one service: another that names its kind gets the next one or none', () => {
  const first = new VirtioDevice(RNG, 2, VERSION_1);
  const second = new VirtioDevice(RNG, 2, VERSION_1);
  const w = new World(kernel, 3, { devices: [first, second], entries: { 1: { devices: [RNG] }, 2: { devices: [RNG] }, 3: { devices: [RNG] } } });
  for (const [i, result] of [[1, 0n], [2, 0n], [3, E['bad_handle']!]] as const) {
    assert.equal(w.run(i).machine.sys('device_open', i === 3 ? 70 : DEVICE, 0n), result);
  }
  assert.deepEqual([first.resets, second.resets], [1, 1]);
});
