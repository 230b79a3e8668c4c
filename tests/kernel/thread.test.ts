// SPDX-License-Identifier: Apache-2.0
// Who runs and when: slices, deadlines, idling, yields, and what a fault names.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { E, loadKernel, STATE, TRAP, type Kernel } from './machine.js';
import { makeService } from './modules.js';
import { FLAG, OWN, to, World } from './world.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });
const SLICE = 10_000;
const LOAD_FAULT = 13n;
const STORE_FAULT = 15n;

test('a service in an endless loop gives way to one whose wait is over', () => {
  const w = new World(kernel, 2);
  w.run(1).recv(100);
  assert.equal(w.runs, 2, 'service 2 now loops for ever, alone');
  w.machine.pass(100);
  assert.equal(w.machine.state(1), STATE.ready, 'the wait is over on time');
  assert.equal(w.runs, 2);
  w.machine.pass(SLICE);
  assert.equal(w.runs, 1, 'one slice later it runs');
  assert.equal(w.machine.state(2), STATE.ready);
  assert.equal(w.counter('preemptions'), 1);
});

test('endless loops share the hart evenly', () => {
  const w = new World(kernel, 5);
  const turns = new Map<number, number>();
  for (let n = 0; n < 5 * 40; n++) {
    turns.set(w.runs, (turns.get(w.runs) ?? 0) + 1);
    w.machine.pass(SLICE);
  }
  assert.deepEqual([...turns.values()], [40, 40, 40, 40, 40]);
});

test('a slice is not cut by deadlines of others, nor stretched by calls', () => {
  const w = new World(kernel, 4);
  w.run(1).recv(3000);
  w.run(2).recv(3500);
  assert.equal(w.runs, 3, '4 is ready, so the slice of 3 has begun');
  const began = w.machine.time;
  for (let n = 0; n < 9; n++) {
    w.machine.pass(1000);
    w.machine.sys('null');
    assert.equal(w.runs, 3, `after ${w.machine.time - began} ticks`);
  }
  w.machine.pass(1000);
  assert.equal(w.runs, 4);
});

test('waits that end at one time run in the order of their services', () => {
  const w = new World(kernel, 4);
  const at = w.in(500);
  for (const i of [4, 2, 1]) w.run(i).machine.sys('recv', OWN, 0x8000n, at, 0);
  w.machine.pass(500);
  const order = [w.runs];
  for (let n = 0; n < 3; n++) {
    w.machine.sys('yield');
    order.push(w.runs);
  }
  assert.deepEqual(order, [3, 1, 2, 4]);
});

test('an idle kernel sleeps until the next deadline, to the tick', () => {
  const w = new World(kernel, 2);
  w.run(1).recv(777);
  const start = w.machine.time;
  w.run(2).recv(5000);
  assert.equal(w.runs, 1);
  assert.equal(w.machine.time - start, 777n);
});

test('a receiver to whom the host owes an answer keeps the kernel polling, unless told to sleep', () => {
  for (const [bootargs, polls] of [['idle=poll', true], ['idle=sleep', false]] as const) {
    const w = new World(kernel, 1, { bootargs });
    const naps = w.machine.naps;
    const start = w.machine.time;
    w.machine.sys('recv', OWN, 0x8000n, w.in(50), 1);
    assert.equal(w.machine.time - start, 50n, 'both end at the deadline');
    assert.equal(w.machine.naps === naps, polls, bootargs);
    assert.equal(w.machine.word32(1, 'host_pending'), 0);
    // Without the flag, both sleep.
    w.machine.sys('recv', OWN, 0x8000n, w.in(50), 0);
    assert.ok(w.machine.naps > naps);
  }
});

test('yield with nobody else goes on at once', () => {
  const w = new World(kernel, 1);
  assert.equal(w.machine.sys('yield'), 0n);
  assert.equal(w.runs, 1);
});

test('a fault is named by where it happened', () => {
  const window = (i: number): bigint => BigInt(i + 1) << 34n;
  const memory = window(1) + 0x2_0000_0000n;
  const cases: [bigint, bigint, string][] = [
    [LOAD_FAULT, memory + 65536n, 'oob_read'],
    [STORE_FAULT, memory + 65536n, 'oob_write'],
    [STORE_FAULT, memory + 0x1_ffff_ffffn, 'oob_write'],
    [LOAD_FAULT, memory + 0x2_0000_000fn, 'oob_read'],
    [LOAD_FAULT, memory - 1n, 'wild_access'],
    [STORE_FAULT, window(1) + 0x1f0000n - 4096n - 8n, 'stack_overflow'],
    [STORE_FAULT, window(1) + 0x1f0000n - 4096n, 'wild_access'],
    [STORE_FAULT, window(1), 'wild_access'],
    [LOAD_FAULT, window(2) + 0x2_0000_0000n, 'wild_access'],
    [LOAD_FAULT, 0x8020_0000n, 'wild_access'],
    [LOAD_FAULT, (1n << 64n) - 8n, 'wild_access'],
    [12n, 0x1000_0000_0000n, 'wild_access'],
    [5n, 0n, 'wild_access'],
    [2n, 0n, 'illegal_instruction'],
  ];
  for (const [cause, address, name] of cases) {
    const w = new World(kernel, 2);
    w.run(1).machine.fault(cause, address);
    assert.equal(w.machine.lines.at(-1), `kernel: trap s1 ${name}`, `${cause} at ${address.toString(16)}`);
    assert.equal(w.machine.state(1), STATE.ended);
    w.run(0);
    assert.equal(w.machine.sys('process_event'), 1n);
    assert.equal(w.machine.meta(0)[0], BigInt(TRAP[name]!));
    assert.equal(w.machine.meta(0)[2], address);
  }
});

test('a service that is no fixture leaves the place of its fault on the console', () => {
  const w = new World(kernel, 1, { entries: { 1: { flags: 0 } } });
  w.run(1).machine.fault(LOAD_FAULT, 0x1234n);
  assert.deepEqual(w.machine.lines.slice(-2), [
    'kernel: trap s1 wild_access', 'kernel: trap detail pc=0x0000100010000000 address=0x0000000000001234',
  ]);
});

test('the runtime may report the traps of WebAssembly and no others', () => {
  const own = ['oob_read', 'oob_write', 'div_by_zero', 'int_overflow', 'unreachable', 'bad_indirect_call', 'abort'];
  for (const [name, code] of [...Object.entries(TRAP), ['unknown', 99] as const]) {
    const w = new World(kernel, 1);
    w.run(1).machine.sys('trap', code, 5);
    assert.equal(w.machine.lines.at(-1), `kernel: trap s1 ${own.includes(name) ? name : 'unreachable'}`);
  }
});

test('a call outside the import mask ends the caller alone', () => {
  const w = new World(kernel, 2);
  w.run(1).machine.badSyscall(63n);
  assert.equal(w.machine.lines.at(-1), 'kernel: trap s1 bad_syscall');
  assert.equal(w.runs, 2);
});

test('a pointer outside the caller\'s memory is a fault in every call that takes one', () => {
  const end = 65536n;
  const at = (ptr: bigint, bytes: bigint): [string, (bigint | number)[]][] => [
    ['console_line', [ptr, bytes]],
    ['send', [to(2), ptr, bytes, 0n]],
    ['recv', [OWN, ptr | (bytes << 32n), 0n, 0]],
    ['call', [to(2), ptr, bytes, 0n, 1n]],
    ['call', [to(2), 0n, 0n, ptr | (bytes << 32n), 1n]],
    ['reply', [0x80000001, ptr, bytes]],
    ['reply_recv', [BigInt(OWN) << 32n, 0n, 0n, ptr | (bytes << 32n), 0n]],
    ['reply_recv', [(BigInt(OWN) << 32n) | 0x80000001n, ptr, bytes, 0n, 0n]],
    ['bundle_find', [0, ptr, bytes]],
    ['bundle_stat', [0, 0, ptr + bytes - 256n, 256]],
    ['bundle_read', [0, 0, 0, ptr, bytes]],
    ['boot_arg', [ptr, bytes, 0, 0]],
    ['boot_arg', [0, 1, ptr, bytes]],
  ];
  for (const [name, args] of [...at(end - 15n, 16n), ...at(0xffff_fff0n, 16n), ...at(end, 1n)]) {
    const bytes = args;
    const w = new World(kernel, 2, { entries: { 1: { flags: FLAG.fixture | FLAG.bundle } } });
    w.run(1).machine.sys(name, ...bytes);
    assert.equal(w.machine.state(1), STATE.ended, `${name}(${bytes.join(', ')})`);
    assert.equal(w.machine.lines.at(-1), 'kernel: trap s1 bad_pointer');
  }
  const w = new World(kernel, 2, { entries: { 1: { flags: FLAG.fixture | FLAG.bundle } } });
  for (const [name, args] of at(end - 16n, 16n)) {
    if (name === 'bundle_stat') continue;
    w.run(1).machine.sys(name, ...args);
    assert.notEqual(w.machine.state(1), STATE.ended, `${name} up to the last byte`);
  }
});

test('a parent that ended before its child is told when it is back', () => {
  const exec = makeService('leaf', { module: 9, flags: FLAG.exec | FLAG.fixture });
  const w = new World(kernel, 2, { entries: { 1: { flags: FLAG.spawnExec | FLAG.fixture } }, more: [exec] });
  w.run(1).good('process_create', 3);
  w.good('process_start', 3);
  w.machine.sys('exit', 0);
  w.run(3).machine.sys('exit', 6);
  w.run(0);
  assert.equal(w.machine.sys('process_event'), 1n, 'init-lite hears of its own child alone');
  assert.equal(w.machine.sys('process_event'), E['again']);
  w.good('process_create', 1);
  w.good('process_start', 1);
  w.run(1);
  assert.equal(w.machine.sys('process_create', 3), E['busy'], 'not again before the end was taken');
  assert.equal(w.recv(), 0n);
  assert.equal(w.meta(3), 2n);
  assert.equal(w.machine.sys('process_event'), 3n);
  assert.deepEqual(w.machine.meta(1).slice(0, 2), [0n, 6n]);
  assert.equal(w.machine.sys('process_create', 3), 3n);
});
