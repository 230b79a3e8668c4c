// SPDX-License-Identifier: Apache-2.0
// What assembly, C and AssemblyScript must agree on and no compiler checks: frame offsets, memory maps, the dispatch table; and what
// kernel.wasm may not contain: calls through a table, growing memory, floating point, doors other than hw.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import wabt from 'wabt';
import { limit } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { loadKernel, type Field, type Kernel } from './machine.js';
import { abi } from './modules.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
/** A number as C, assembly or TypeScript writes it. */
const number = (text: string): bigint => BigInt(text.replace(/_|u?ll?$/gi, ''));
function equ(name: string): bigint {
  const match = new RegExp(`^\\.equ ${name}, (\\w+)`, 'm').exec(read('runtime/guest/kernel.S'));
  if (match === null) throw new Error(`kernel.S has no .equ ${name}`);
  return number(match[1]!);
}
function define(name: string): bigint {
  const match = new RegExp(`^#define ${name} (\\w+)`, 'm').exec(read('runtime/guest/kernel.c'));
  if (match === null) throw new Error(`kernel.c has no ${name}`);
  return number(match[1]!);
}

test('the register frame of kernel.S is the one of class Thread', () => {
  const rows: [string, Field][] = [['T_PC', 'pc'], ['T_FULL', 'full'], ['T_FP_VALID', 'fp_valid'], ['T_MASK', 'mask'], ['T_FP', 'f0'], ['T_FCSR', 'fcsr']];
  for (const [name, field] of rows) assert.equal(equ(name), BigInt(kernel.offsets[field]), name);
  // x1..x31 at 8 * n: spot checks over the whole file, by the ABI numbers.
  const registers: [number, Field][] = [[1, 'ra'], [2, 'sp'], [3, 'gp'], [4, 'tp'], [8, 's0'], [10, 'a0'], [11, 'a1'], [31, 't6']];
  for (const [n, field] of registers) assert.equal(kernel.offsets[field], 8 * n, field);
  assert.equal(equ('CURRENT'), kernel.layout.CURRENT);
  const frame = equ('T_FCSR') + 8n;
  assert.equal(frame, 544n);
  assert.ok(kernel.offsets.memory >= Number(frame), 'the kernel\'s own fields lie behind the frame');
  assert.ok(BigInt(kernel.offsets.thread_bytes_used) <= kernel.layout.THREAD_BYTES, 'a block holds all fields');
});

test('every register is saved where it is restored', () => {
  const abiNames = ['zero', 'ra', 'sp', 'gp', 'tp', 't0', 't1', 't2', 's0', 's1', 'a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', 's2', 's3', 's4', 's5',
    's6', 's7', 's8', 's9', 's10', 's11', 't3', 't4', 't5', 't6'];
  const text = read('runtime/guest/kernel.S');
  const seen = new Set<string>();
  for (const [, register, n] of text.matchAll(/\\op (\w+), 8\*(\d+)\(\\base\)/g)) {
    assert.equal(abiNames[Number(n)], register);
    seen.add(register!);
  }
  for (const register of abiNames.slice(5)) assert.ok(seen.has(register), `${register} is in no macro`);
  for (const [, register, n] of text.matchAll(/\b(?:sd|ld) (\w+), 8\*(\d+)\(gp\)/g)) {
    if (['t1', 't0'].includes(register!)) continue; // scratch on the way
    assert.equal(abiNames[Number(n)], register, `${register} at 8*${n}`);
  }
});

test('the memory map of kernel.c and kernel.ld is the one of layout.ts', () => {
  for (const name of ['KERNEL_MEMORY_BYTES', 'DMA_START', 'DMA_END', 'KERNEL_MEMORY_VA', 'RAM_START'] as const) assert.equal(define(name), kernel.layout[name], name);
  const c = read('runtime/guest/kernel.c');
  assert.match(c, /#define WINDOW_FIRST \(1ull << 34\)/);
  assert.equal(kernel.layout.WINDOW_SHIFT, 34n);
  assert.equal(1n << kernel.layout.WINDOW_SHIFT, BigInt(limit(abi, 'kernel', 'window_bytes')));
  const reserved = /\.memory \(NOLOAD\) : \{ \. \+= (\w+); \}/.exec(read('runtime/guest/kernel.ld'))![1]!;
  assert.equal(number(reserved), kernel.layout.KERNEL_MEMORY_BYTES);
  const pages = Number(/memory_pages = (\d+)/.exec(read('image/kernel.toml'))![1]);
  assert.equal(BigInt(pages) * 65536n, kernel.layout.KERNEL_MEMORY_BYTES);
  // The words that C writes for the assembly.
  assert.ok(c.includes(`vigil_memory + ${equ('STACK_TOP')})`) && c.includes(`vigil_memory + ${equ('INSTANCE')})`));
});

test('the window of service.c is the one of layout.ts', () => {
  const c = read('runtime/guest/service.c');
  const table = /\(window \+ (\w+)\)/.exec(c)![1]!;
  assert.equal(number(table), kernel.layout.WINDOW_TABLE);
  assert.equal(number(/& ~\(\(1ull << (\d+)\) - 1\)/.exec(c)![1]!), kernel.layout.WINDOW_SHIFT);
  const kib = (text: RegExp): bigint => BigInt(text.exec(c)![1]!) * 1024n;
  assert.equal(kib(/window \+ (\d+) KiB +instance struct/), kernel.layout.WINDOW_INSTANCE);
  assert.equal(kib(/window \+ (\d+) KiB +funcref table/), kernel.layout.WINDOW_TABLE);
  assert.equal(kib(/window \+ (\d+) KiB +stack top/), kernel.layout.WINDOW_STACK_TOP);
  assert.equal(BigInt(/window \+ (\d+) GiB +linear memory/.exec(c)![1]!) << 30n, kernel.layout.WINDOW_MEMORY);
});

test('regions of kernel memory follow one another without overlap', () => {
  const text = read('assembly/kernel/layout.ts');
  const constant = (name: string): number => Number(number(new RegExp(`const ${name}: u32 = (\\w+);`).exec(text)![1]!));
  const k = (key: string): number => limit(abi, 'kernel', key);
  const regions: [string, number][] = [
    ['THREADS', k('threads_max') * constant('THREAD_BYTES')], ['CAPS', k('threads_max') * k('handles_per_thread') * constant('CAP_BYTES')],
    ['ENDPOINTS', k('endpoints_max') * constant('ENDPOINT_BYTES')], ['FRAME_STACK', constant('FRAME_STACK_ENTRIES') * 2],
    ['MESSAGE_HEADERS', (k('message_small_count') + k('message_large_count')) * constant('MESSAGE_HEADER_BYTES')],
    ['SMALL_MESSAGES', k('message_small_count') * k('message_small_bytes')], ['LARGE_MESSAGES', k('message_large_count') * k('message_bytes_max')],
    ['DEVICES', k('devices_max') * 4096], ['DEVICE_TREE', constant('DEVICE_TREE_BYTES')],
    ['PAGE_TABLES', constant('PAGE_TABLES_END') - constant('PAGE_TABLES')], ['DMA_START', constant('DMA_END') - constant('DMA_START')],
    ['SCRATCH', constant('SCRATCH_BYTES')], ['BUNDLE', k('bundle_bytes_max')],
  ];
  regions.forEach(([name, bytes], i) => {
    const end = i + 1 < regions.length ? constant(regions[i + 1]![0]) : constant('KERNEL_MEMORY_BYTES');
    assert.ok(constant(name) + bytes <= end, `${name} ends at ${(constant(name) + bytes).toString(16)}, the next starts at ${end.toString(16)}`);
  });
  assert.ok(k('endpoint_depth_max') * 4 + 64 <= constant('ENDPOINT_BYTES'), 'a ring fits behind its endpoint');
  assert.ok(k('message_bytes_max') <= constant('SCRATCH_BYTES'));
  assert.ok((k('guest_memory_bytes') / 4096) <= constant('FRAME_STACK_ENTRIES'), 'every frame has a number');
});

test('the dispatch table names an exported function for every trapping call, in order', () => {
  const table = [...read('build/gen/syscall_table.inc').matchAll(/\.dword w2c_kernel_(\w+) \/\* (\d+) \*\//g)].map(([, name, nr]) => [Number(nr), name]);
  const exported = WebAssembly.Module.exports(kernel.module).map(({ name }) => name);
  const trapping = abi.syscalls.filter(({ kind }) => kind !== 'inline');
  assert.equal(table.length, Math.max(...trapping.map(({ nr }) => nr)) + 1);
  table.forEach(([nr, name], i) => {
    const call = trapping.find((row) => row.nr === nr);
    assert.equal(nr, i);
    assert.equal(name, call === undefined || call.kind === 'mutant' ? 'sys_bad' : `sys_${call.name}`);
    assert.ok(exported.includes(name as string), `${name} is exported`);
  });
});

test('kernel.wasm has no call through a table, does not grow memory, uses no floating point and no door but hw', async () => {
  const { readWasm } = await wabt();
  const module = readWasm(kernel.bytes, { mutable_globals: true, sign_extension: true, bulk_memory: true, sat_float_to_int: true });
  const text = module.toText({ foldExprs: false, inlineExport: false });
  module.destroy();
  for (const bad of ['call_indirect', 'call_ref', 'memory.grow', 'table.grow', 'table.set']) assert.ok(!text.includes(bad), bad);
  assert.ok(!/\(elem\b/.test(text), 'an element section');
  assert.ok(!/\bf(32|64)\b/.test(text), 'floating point');
  assert.ok(/call \$?\w+/.test(text), 'the text was really read');
  const from = new Set(WebAssembly.Module.imports(kernel.module).map(({ module: name }) => name));
  assert.deepEqual([...from].sort(), ['env', 'hw']);
  const c = read('runtime/guest/kernel.c');
  for (const { module: from_, name } of WebAssembly.Module.imports(kernel.module)) assert.ok(c.includes(`w2c_${from_}_${name}(`), `kernel.c defines ${from_}.${name}`);
  const built = join(ROOT, 'build/kernel/kernel.wasm');
  if (existsSync(built)) assert.ok(Buffer.from(kernel.bytes).equals(readFileSync(built)), 'these tests ran on other bytes than the image has: build again');
});

test('device memory is reached through dma_* alone', () => {
  const folder = join(ROOT, 'assembly/kernel');
  const files = readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith('.ts'));
  assert.ok(files.includes(join('virtio', 'queue.ts')));
  const naming = files.filter((name) => /\bDMA_(START|END)\b/.test(read(join('assembly/kernel', name))));
  assert.deepEqual(naming.sort(), ['layout.ts', join('virtio', 'queue.ts')]);
  const queue = read('assembly/kernel/virtio/queue.ts');
  const plain = [...queue.matchAll(/\b(?:load|store)<u\d+>\(([^,)]+)/g)].map(([, where]) => where!);
  assert.ok(plain.length > 5);
  for (const where of plain) assert.match(where, /^(at|changetype<u32>\(q\)?)/, `load or store of ${where}`);
  for (const [, value] of queue.matchAll(/\bconst at = ([^;]+);/g)) assert.match(value!, /^(changetype<u32>\(q\)|q\.ring \+ d \* 16)$/);
  // Where `at` is in the ring, only dma_* follows.
  const describe = /export function queue_describe[\s\S]*?\n}/.exec(queue)![0];
  assert.deepEqual([...describe.matchAll(/\b(load|store)<u\d+>\(at\b/g)], []);
});
