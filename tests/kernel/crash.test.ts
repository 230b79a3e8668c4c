// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps of a service that ended (process_crash) on the shipping kernel.wasm: who may read it and when, each field, which
// registers count as saved, and the ring of calls at every fill. The ring and the registers are written by runtime/guest/kernel.S, so the
// tests play it here; the boot proof shows the real one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { limit } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { CALLS_MAX, EVENT_START, RAW_AT, RAW_BYTES } from '../../runtime/crash/record.js';
import { E, loadKernel, STATE, TRAP, type Kernel } from './machine.js';
import { abi } from './modules.js';
import { FLAG, to, World } from './world.js';

const AT = 0x4000;
const STORE_FAULT = 15n;
const RING_BYTES = CALLS_MAX * 8;
const FAULT_REGISTERS = 0xfffffff6;
const TRAP_REGISTERS = 0xffffff36;
const CALL_REGISTERS = 0x0ffc0314;
let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });

const blockOf = (w: World, index: number): number => {
  const { THREADS, THREAD_BYTES } = w.machine.kernel.layout;
  return Number(THREADS) + index * Number(THREAD_BYTES);
};
const slotOf = (w: World, index: number): number => Number(w.machine.word(index, 'trace') - w.machine.kernel.layout.KERNEL_MEMORY_VA);
/** As kernel.S enters a call. */
function enter(w: World, index: number, nr: number, argument: number): void {
  const at = slotOf(w, index);
  w.machine.bytes.writeUInt32LE(argument >>> 0, at);
  w.machine.bytes.writeUInt8(nr, at + 3);
}
/** As kernel.S returns from one: the start too. */
function leave(w: World, index: number, result: number): void {
  const at = slotOf(w, index);
  w.machine.bytes.writeInt32LE(result, at + 4);
  const next = w.machine.kernel.layout.KERNEL_MEMORY_VA + BigInt((at + 8) & ~RING_BYTES);
  w.machine.bytes.writeBigUInt64LE(next, blockOf(w, index) + w.machine.kernel.offsets.trace);
}
/** How kernel.S saved the registers: 0 in a call, 1 at a fault, 2 at a trap of the module's own. */
function saved(w: World, index: number, how: bigint): void {
  const block = blockOf(w, index);
  for (let x = 1; x < 32; x++) w.machine.bytes.writeBigUInt64LE(BigInt(x) << 40n, block + 8 * x);
  w.machine.bytes.writeBigUInt64LE(how, block + w.machine.kernel.offsets.full);
}
/** init-lite takes the event and reads the record. */
function taken(w: World, index: number): Buffer {
  w.run(0);
  assert.equal(w.machine.sys('process_event'), BigInt(index));
  assert.equal(w.machine.sys('process_crash', index, AT, RAW_BYTES), BigInt(RAW_BYTES));
  return w.machine.peek(0, AT, RAW_BYTES);
}

test('kernel.S writes the ring that the kernel reads', () => {
  const text = readFileSync(join(ROOT, 'runtime/guest/kernel.S'), 'utf8');
  assert.equal(Number(/^\.equ T_TRACE, (\d+)/m.exec(text)![1]), kernel.offsets.trace);
  assert.equal(Number(/^\.equ TRACE_RING, (\d+)/m.exec(text)![1]), RING_BYTES);
  assert.equal(limit(abi, 'kernel', 'trace_events'), CALLS_MAX);
  assert.equal(limit(abi, 'kernel', 'crash_raw_bytes'), RAW_BYTES);
  const w = new World(kernel, 1);
  assert.equal((slotOf(w, 1) - blockOf(w, 1) - 768) % 8, 0);
  assert.equal((blockOf(w, 1) + 768) & 255, 0, 'the ring begins at a multiple of 256: one cleared bit wraps it');
  assert.ok(kernel.offsets.thread_bytes_used <= 768, 'the fields end before the ring');
});

test('only the creator reads it, only of an end that was no exit, only between the event and the next instance', () => {
  const w = new World(kernel, 2);
  const read = (index: number, bytes = RAW_BYTES): bigint | null => w.machine.sys('process_crash', index, AT, bytes);
  w.run(0);
  for (const index of [0, 1, 3, 99]) assert.equal(read(index), E.not_found, `${index} runs, or is nobody`);
  w.run(1).machine.fault(STORE_FAULT, 8n);
  w.run(0);
  assert.equal(read(1), E.not_found, 'before its end was told');
  assert.equal(w.machine.sys('process_event'), 1n);
  assert.equal(read(1, RAW_BYTES - 1), E.bad_argument, 'one byte too few');
  assert.equal(read(1), BigInt(RAW_BYTES));
  assert.equal(read(1), BigInt(RAW_BYTES), 'as often as wanted');
  w.run(2);
  assert.equal(read(1), E.not_found, 'not its creator');
  w.run(0).good('process_create', 1);
  assert.equal(read(1), E.not_found, 'made anew');
  w.good('process_start', 1);
  w.run(1).machine.sys('exit', 7);
  w.run(0);
  assert.equal(w.machine.sys('process_event'), 1n);
  assert.equal(read(1), E.not_found, 'an exit leaves nothing');
});

test('a buffer outside the caller\'s memory ends the caller', () => {
  const w = new World(kernel, 1);
  w.run(1).machine.fault(STORE_FAULT, 8n);
  w.run(0).good('process_event');
  const end = 65536 - RAW_BYTES;
  assert.equal(w.machine.sys('process_crash', 1, end, RAW_BYTES), BigInt(RAW_BYTES), 'up to the last byte');
  assert.throws(() => w.machine.sys('process_crash', 1, end + 1, RAW_BYTES), /init-lite ended/);
});

test('a fault: cause, place, time, size, registers as they were saved, and who waited for an answer', () => {
  const w = new World(kernel, 3, { entries: { 2: { stackBytes: 8192, memoryPages: 1 } } });
  w.run(2).recv(1000);
  w.run(1).call(to(2), 'a question', 5000);
  assert.equal(w.runs, 2, 'the call went straight to it');
  w.machine.pass(37);
  saved(w, 2, 1n);
  const pc = w.machine.word(2, 'pc');
  const time = w.machine.time;
  w.machine.fault(STORE_FAULT, 0x1234_5678_9abcn);
  const raw = taken(w, 2);
  assert.equal(raw.readUInt32LE(RAW_AT.cause), TRAP['wild_access']);
  assert.deepEqual([raw.readUInt32LE(RAW_AT.generation), raw.readUInt32LE(RAW_AT.index)], [1, 2]);
  assert.deepEqual([raw.readUInt32LE(RAW_AT.memoryPages), raw.readUInt32LE(RAW_AT.stackBytes)], [1, 8192]);
  assert.deepEqual([raw.readBigUInt64LE(RAW_AT.pc), raw.readBigUInt64LE(RAW_AT.address)], [pc, 0x1234_5678_9abcn]);
  assert.equal(raw.readBigUInt64LE(RAW_AT.time), time * 100n);
  assert.equal(raw.readBigUInt64LE(RAW_AT.serving), 1n << 1n, 'service 1 waited');
  assert.equal(raw.readUInt32LE(RAW_AT.registers), FAULT_REGISTERS);
  for (let x = 1; x < 32; x++) {
    assert.equal(raw.readBigUInt64LE(RAW_AT.x1 + 8 * (x - 1)), (FAULT_REGISTERS >>> x) & 1 ? BigInt(x) << 40n : 0n, `x${x}`);
  }
  assert.equal(raw.readUInt32LE(28), 0, 'reserved');
});

test('a service that withholds: neither a register nor an argument leaves the kernel, everything else does, and the record says so', () => {
  for (const flags of [FLAG.fixture, FLAG.fixture | FLAG.crashWithheld]) {
    const w = new World(kernel, 2, { entries: { 2: { flags } } });
    const secret = 0xabcdef;
    for (let n = 0; n < 3; n++) {
      enter(w, 2, 7, secret);
      leave(w, 2, 40 + n);
    }
    w.run(2);
    saved(w, 2, 1n);
    const pc = w.machine.word(2, 'pc');
    w.machine.fault(STORE_FAULT, 8n);
    const raw = taken(w, 2);
    const withheld = flags !== FLAG.fixture;
    assert.equal(raw.readUInt32LE(RAW_AT.withheld), withheld ? 1 : 0);
    assert.equal(raw.readUInt32LE(RAW_AT.registers), withheld ? 0 : FAULT_REGISTERS);
    assert.equal(raw.subarray(RAW_AT.x1, RAW_AT.calls).every((byte) => byte === 0), withheld);
    assert.equal(raw.includes(Buffer.from([0xef, 0xcd, 0xab])), !withheld, 'an argument');
    assert.deepEqual([raw.readUInt32LE(RAW_AT.cause), raw.readBigUInt64LE(RAW_AT.pc)], [TRAP['wild_access'], pc]);
    const events = raw.readUInt16LE(RAW_AT.events);
    const calls = Array.from({ length: events }, (_, n) => [raw[RAW_AT.calls + 8 * n + 3], raw.readInt32LE(RAW_AT.calls + 8 * n + 4)]);
    assert.deepEqual(calls.slice(-3), [[7, 40], [7, 41], [7, 42]], 'numbers and results stay');
  }
});

test('which registers count: a trap of the module\'s own, and an end inside a call', () => {
  const w = new World(kernel, 2);
  w.run(1);
  saved(w, 1, 2n);
  const trap = abi.syscalls.find(({ name }) => name === 'trap')!.nr;
  w.machine.badSyscall(BigInt(trap), BigInt(TRAP['unreachable']!), 5n);
  assert.equal(w.machine.lines.at(-1), 'kernel: trap s1 unreachable', 'the module\'s own trap comes by the way of a refused call');
  const own = taken(w, 1);
  assert.equal(own.readUInt32LE(RAW_AT.registers), TRAP_REGISTERS);
  assert.equal(own.readBigUInt64LE(RAW_AT.address), 5n);
  assert.equal(own.readBigUInt64LE(RAW_AT.x1 + 8 * 5), 0n, 't1 was lost on the way');
  w.run(2);
  saved(w, 2, 0n);
  w.machine.sys('console_line', 0xfffffff0, 64);
  assert.equal(w.machine.state(2), STATE.ended);
  const inside = taken(w, 2);
  assert.equal(inside.readUInt32LE(RAW_AT.cause), TRAP['bad_pointer']);
  assert.equal(inside.readUInt32LE(RAW_AT.registers), CALL_REGISTERS);
  assert.equal(inside.readUInt16LE(RAW_AT.inCall), 1);
});

test('the ring holds the last calls, oldest first, at every fill, with and without one under way', () => {
  for (let made = 0; made <= 2 * CALLS_MAX + 1; made++) {
    for (const inCall of [false, true]) {
      const w = new World(kernel, 1);
      w.run(1);
      leave(w, 1, 12345); // the first entry to user mode
      const all: [number, number, number][] = [[EVENT_START, 0, 0]];
      for (let n = 1; n <= made; n++) {
        enter(w, 1, n % 34, 0xab000000 + n);
        leave(w, 1, -n);
        all.push([n % 34, n, -n]);
      }
      if (inCall) {
        enter(w, 1, 7, 99);
        all.push([7, 99, 0]);
      }
      saved(w, 1, inCall ? 0n : 1n);
      w.machine.fault(STORE_FAULT, 8n);
      const raw = taken(w, 1);
      const count = raw.readUInt16LE(RAW_AT.events);
      const got = Array.from({ length: count }, (_, n) => {
        const at = RAW_AT.calls + 8 * n;
        return [raw.readUInt8(at + 3), raw.readUIntLE(at, 3), raw.readInt32LE(at + 4)];
      });
      assert.deepEqual(got, all.slice(-CALLS_MAX), `${made} calls, ${inCall ? 'one' : 'none'} under way`);
      assert.equal(raw.readUInt16LE(RAW_AT.inCall), inCall ? 1 : 0);
      assert.ok(raw.subarray(RAW_AT.calls + 8 * count).every((byte) => byte === 0), 'the rest is empty');
    }
  }
});

test('a restarted service begins with an empty ring', () => {
  const w = new World(kernel, 1);
  w.run(1);
  leave(w, 1, 1);
  for (let n = 0; n < 5; n++) { enter(w, 1, 3, n); leave(w, 1, 0); }
  saved(w, 1, 1n);
  w.machine.fault(STORE_FAULT, 8n);
  assert.equal(taken(w, 1).readUInt16LE(RAW_AT.events), 6);
  w.good('process_create', 1);
  w.good('process_start', 1);
  w.run(1);
  leave(w, 1, 1);
  saved(w, 1, 1n);
  w.machine.fault(STORE_FAULT, 8n);
  const raw = taken(w, 1);
  assert.equal(raw.readUInt16LE(RAW_AT.events), 1);
  assert.equal(raw.readUInt8(RAW_AT.calls + 3), EVENT_START);
  assert.equal(raw.readUInt32LE(RAW_AT.generation), 2);
});

test('notifications go where the service handles them: a look at another endpoint leaves them', () => {
  const w = new World(kernel, 2);
  w.run(0);
  const other = w.good('endpoint_create', 2)!;
  w.run(1).machine.fault(STORE_FAULT, 8n);
  w.run(0);
  assert.equal(w.recv(0, 64, other), E.timeout, 'a look at an empty endpoint');
  assert.equal(w.recv(0, 64, 1), 0n);
  assert.equal(w.meta(3), 2n, 'the end of a child, on its own');
});
