// SPDX-License-Identifier: Apache-2.0
// The address space after loading: nothing both writable and executable, kernel pages never a user's, every user page inside its window or
// its module's text, guards unmapped; and what creating, growing, ending and restarting services costs, which in the end is nothing.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { E, KERNEL_PHYS, loadKernel, PAGE, STATE, WINDOW_BYTES, type Kernel, type Leaf, type Machine } from './machine.js';
import { makeElf, makeService, TEXT_FIRST, TEXT_STRIDE } from './modules.js';
import { FLAG, OWN, to, World } from './world.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });

/** Page table pages in use: every non-leaf of the table. */
const userLeaves = (machine: Machine): Leaf[] => machine.leaves().filter(({ user }) => user);

test('the kernel\'s half: text read-execute, the rest read-write, no page both, none a user\'s', () => {
  const w = new World(kernel, 1);
  const leaves = w.machine.leaves();
  const own = leaves.filter(({ user }) => !user);
  assert.ok(own.length > 20);
  for (const leaf of leaves) assert.ok(!(leaf.write && leaf.execute), `page ${leaf.va.toString(16)} is writable and executable`);
  assert.deepEqual(own.filter(({ execute }) => execute).map(({ va, bytes, write }) => [va, bytes, write]), [[0x8020_0000n, 2 << 20, false]]);
  const { KERNEL_MEMORY_VA, KERNEL_MEMORY_BYTES } = kernel.layout;
  const linear = own.filter(({ va }) => va >= KERNEL_MEMORY_VA);
  assert.deepEqual(linear.map(({ va, phys }) => [va - KERNEL_MEMORY_VA, phys - KERNEL_PHYS]), [0, 1, 2].map((n) => [BigInt(n) << 21n, n << 21]));
  assert.equal(KERNEL_MEMORY_BYTES, 6n << 20n);
  const near = leaves.filter(({ va }) => va >= KERNEL_MEMORY_VA + KERNEL_MEMORY_BYTES && va < KERNEL_MEMORY_VA + (1n << 39n));
  assert.deepEqual(near, [], 'nothing follows kernel memory within a 32-bit index and more');
  assert.ok(!own.some(({ va }) => va === 0x8000_0000n), 'the firmware\'s pages are not mapped');
});

test('a window holds exactly what the manifest says, and its guards are empty', () => {
  const entry = { memoryPages: 3, memoryPagesMax: 5, stackBytes: 12288, instanceBytes: 5000, tableEntries: 200, module: 9 };
  const w = new World(kernel, 2, { entries: { 1: entry } });
  const base = 2n * WINDOW_BYTES;
  const inWindow = userLeaves(w.machine).filter(({ va }) => va >= base && va < base + WINDOW_BYTES).map(({ va }) => va - base);
  const range = (from: bigint, bytes: number): bigint[] => Array.from({ length: Math.ceil(bytes / PAGE) }, (_, i) => from + BigInt(i * PAGE));
  assert.deepEqual(inWindow, [
    ...range(0x10000n, 5000), ...range(0x80000n, 200 * 32), ...range(0x1f0000n - 12288n, 12288), ...range(0x2_0000_0000n, 3 * 65536),
  ]);
  const users = userLeaves(w.machine);
  for (const leaf of users.filter(({ va }) => va < TEXT_FIRST)) assert.ok(leaf.read && leaf.write && !leaf.execute && leaf.bytes === PAGE);
  const frames = users.map(({ phys }) => phys);
  assert.equal(new Set(frames).size, frames.length, 'no frame is mapped twice');
  assert.ok(frames.every((phys) => phys >= w.machine.framesStart), 'no frame of the kernel');
});

test('text is executable and not writable, data neither, and both hold the file\'s bytes and zeros after it', () => {
  const base = TEXT_FIRST + TEXT_STRIDE;
  const elf = makeElf({ base, textBytes: 5000, dataBytes: 4097 });
  const w = new World(kernel, 2, { entries: { 1: { module: 1, elf }, 2: { module: 1, elf } } });
  const pages = w.machine.leaves().filter(({ va }) => va >= base && va < base + TEXT_STRIDE);
  assert.deepEqual(pages.map(({ va, read, write, execute, user }) => [va - base, read, write, execute, user]), [
    [0n, true, false, true, true], [4096n, true, false, true, true], [8192n, true, false, false, true], [12288n, true, false, false, true],
  ]);
  const bytes = Buffer.concat(pages.map(({ phys }) => w.machine.phys(phys, PAGE)));
  const start = 64 + 56 * 8;
  assert.ok(bytes.subarray(0, 5000).equals(elf.subarray(start, start + 5000)));
  assert.ok(bytes.subarray(5000, 8192).every((byte) => byte === 0));
  assert.ok(bytes.subarray(8192, 8192 + 4097).equals(elf.subarray(start + 5000)));
  assert.ok(bytes.subarray(8192 + 4097).every((byte) => byte === 0));
  assert.equal(w.machine.word(1, 'pc'), w.machine.word(2, 'pc'), 'two instances share it');
  assert.notEqual(w.machine.word(1, 'tp'), w.machine.word(2, 'tp'));
});

test('a restarted service finds zeroed memory and nothing of its former self', () => {
  const w = new World(kernel, 2);
  w.run(1);
  w.machine.poke(1, 0, Buffer.alloc(65536, 0xee));
  w.good('endpoint_create', 4);
  w.send(to(2), 'left behind');
  w.machine.sys('exit', 1);
  w.run(0);
  w.good('process_event');
  w.good('process_create', 1);
  w.good('process_start', 1);
  w.run(1);
  assert.ok(w.machine.peek(1, 0, 65536).every((byte) => byte === 0));
  assert.equal(w.counter('own_handles'), 1);
  assert.equal(w.counter('own_generation'), 2);
  assert.equal(w.machine.sys('cap_query', to(2)), E['bad_handle']);
});

test('a thousand restarts cost no frame, no endpoint, no buffer and no table page', () => {
  const w = new World(kernel, 3, { entries: { 2: { memoryPages: 2, memoryPagesMax: 4 } } });
  const count = (): number[] => ['free_frames', 'endpoints', 'queued_messages', 'running', 'own_handles'].map((name) => w.counter(name));
  const round = (how: number): void => {
    const i = 1 + (how % 3);
    w.run(i);
    if (how % 2) w.good('memory_grow', i === 2 ? 2 : 0);
    if (how % 3 === 0) w.good('endpoint_create', 1);
    w.send(to(1 + (i % 3)), 'x');
    if (how % 4 === 0) w.recv(100);
    if (how % 5 === 0 && w.runs === i) w.machine.fault(13n, 0n);
    else if (how % 4 !== 0 && w.runs === i) w.machine.sys('exit', 0);
    w.run(0);
    if (w.machine.state(i) !== STATE.ended) w.good('process_kill', i);
    w.good('process_event');
    w.good('process_create', i);
    w.introduce(i);
    w.good('process_start', i);
  };
  const settle = (): number[] => {
    for (let i = 1; i <= 3; i++) while (w.run(i).recv() !== E['timeout']); // drop what the others sent
    return count();
  };
  for (let n = 0; n < 12; n++) round(n);
  const first = settle();
  const tables = w.machine.tablePages;
  for (let n = 0; n < 1000; n++) round(n);
  assert.deepEqual(settle(), first);
  assert.equal(w.machine.tablePages, tables);
});

test('memory grows to its limit and not past it, and shrinks with the end', () => {
  const w = new World(kernel, 1, { entries: { 1: { memoryPages: 1, memoryPagesMax: 3 } } });
  const free = w.counter('free_frames');
  assert.equal(w.machine.sys('memory_grow', 0), 1n);
  assert.equal(w.machine.sys('memory_grow', 3), -1n);
  assert.equal(w.machine.sys('memory_grow', -1), -1n);
  assert.equal(w.machine.sys('memory_grow', 1n << 48n), -1n);
  assert.equal(w.machine.sys('memory_grow', 2), 1n);
  assert.equal(w.machine.sys('memory_grow', 1), -1n);
  assert.equal(w.counter('free_frames'), free - 32);
  assert.equal(w.counter('free_frames_least'), free - 32, 'as few as now were never free before');
  w.machine.poke(1, 3 * 65536 - 1, Buffer.from([1]));
  w.machine.sys('exit', 0);
  assert.equal(w.counter('free_frames'), free + 16 + 1 + 1, 'memory, one page of stack and one of instance');
  assert.equal(w.counter('free_frames_least'), free - 32, 'the mark stays when frames come back');
});

test('growing without frames fails whole', () => {
  const start = new World(kernel, 1).machine.framesStart;
  const w = new World(kernel, 1, { entries: { 1: { memoryPages: 1, memoryPagesMax: 9 } }, ramBytes: BigInt(start - 0x8000_0000 + 80 * PAGE) });
  const free = w.counter('free_frames');
  assert.ok(free < 8 * 16 && free > 16);
  assert.equal(w.machine.sys('memory_grow', 8), -1n);
  assert.equal(w.counter('free_frames'), free);
  assert.equal(w.machine.sys('memory_grow', 1), 1n);
  assert.equal(w.counter('free_frames'), free - 16);
});

test('creating without frames fails whole and can be tried again', () => {
  const start = new World(kernel, 1).machine.framesStart;
  const large = makeService('large', { module: 3, memoryPages: 8, flags: FLAG.fixture });
  const w = new World(kernel, 1, { more: [large], ramBytes: BigInt(start - 0x8000_0000 + 160 * PAGE), entries: { 1: { memoryPagesMax: 5, memoryPages: 1 } } });
  w.run(1).good('memory_grow', 4);
  w.run(0);
  assert.equal(w.machine.sys('process_create', 2), E['no_memory']);
  const free = w.counter('free_frames');
  for (let n = 0; n < 5; n++) assert.equal(w.machine.sys('process_create', 2), E['no_memory']);
  assert.equal(w.counter('free_frames'), free);
  w.good('process_kill', 1);
  assert.equal(w.machine.sys('process_create', 2), 2n);
});

test('one service cannot use up the endpoints of others', () => {
  const w = new World(kernel, 7);
  for (let i = 1; i <= 7; i++) {
    w.run(i);
    const made: bigint[] = [];
    for (;;) {
      const handle = w.machine.sys('endpoint_create', 1)!;
      if (handle < 0n) break;
      made.push(handle);
    }
    assert.equal(made.length, i <= 5 ? 16 : 0, `service ${i}: its share, until all 80 are taken`);
  }
  w.run(1);
  assert.equal(w.machine.sys('exit', 0), null);
  w.run(0);
  w.good('process_event');
  assert.equal(w.machine.sys('process_create', 1), 1n, 'own endpoints are kept');
});

test('an endpoint ends with the handle that receives on it', () => {
  const w = new World(kernel, 2);
  w.run(1);
  const before = w.counter('endpoints');
  for (let n = 0; n < 300; n++) {
    const handle = w.good('endpoint_create', 2)!;
    const way = w.good('cap_clone', handle, 5)!;
    assert.equal(w.send(way, 'x'), 0n);
    w.good('cap_close', handle);
    assert.equal(w.send(way, 'x'), E['dead']);
    w.good('cap_close', way);
  }
  assert.equal(w.counter('endpoints'), before);
  assert.equal(w.counter('queued_messages'), 0);
  // Its own endpoint too: callers hear it instead of waiting.
  w.run(2).call(to(1), 'x', 100_000);
  w.run(1).good('cap_close', OWN);
  assert.equal(w.machine.result(2), E['dead']);
});

test('an endpoint that finds no slot is not counted', () => {
  const w = new World(kernel, 1);
  for (let n = 0; n < 54; n++) w.good('cap_clone', OWN, 1);
  const before = w.counter('endpoints');
  for (let n = 0; n < 200; n++) assert.equal(w.machine.sys('endpoint_create', 1), E['no_slot']);
  assert.equal(w.counter('endpoints'), before);
});

test('a handle names one capability: its generation moves on, wraps and never reaches the reply bit', () => {
  const w = new World(kernel, 1);
  const first = w.good('cap_clone', OWN, 1)!;
  w.good('cap_close', first);
  const second = w.good('cap_clone', OWN, 1)!;
  assert.equal(second, first + 256n);
  assert.equal(w.machine.sys('cap_query', first), E['bad_handle']);
  w.good('cap_close', second);
  // The last generation of 23 bits, set by hand: eight million rounds would say no more.
  const at = Number(kernel.layout.CAPS) + (64 + Number(first & 63n)) * Number(kernel.layout.CAP_BYTES);
  w.machine.bytes.writeUInt32LE(0x7fff_ff00 + Number(first & 63n), at);
  const last = w.good('cap_clone', OWN, 1)!;
  assert.equal(last, 0x7fff_ff00n + first);
  w.good('cap_close', last);
  assert.equal(w.good('cap_clone', OWN, 1), first);
});
