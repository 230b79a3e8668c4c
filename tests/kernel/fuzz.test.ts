// SPDX-License-Identifier: Apache-2.0
// The kernel's parsers on damaged input, as the kernel compiles them: bundle, wasm, ELF, device tree. The input ends where memory ends, so
// a read past it is a wasm trap; what lies before it is filled twice with different bytes, so a read there changes the answer.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, test } from 'node:test';
import { HEADER_BYTES } from '../../image/pack.js';
import { Halted, idleImports, loadKernel, Machine, REASON, type Kernel } from './machine.js';
import { makeElf, makeService, makeTree, makeWasm, pack, TEXT_FIRST, TEXT_STRIDE } from './modules.js';
import { Random } from '../random.js';
import { search } from './random.js';
import { FLAG } from './world.js';

interface Parsers {
  memory: WebAssembly.Memory;
  bundle_check(at: number, bytes: number): number;
  wasm_check(at: number, bytes: number, pages: number, pagesMax: number, table: number): number;
  importsMask(): bigint;
  elf_check(at: number, bytes: number, base: bigint, span: bigint): number;
  tree_bytes(at: number): number;
  tree_read(bytes: number): number;
  arg_find(key: number, bytes: number): number;
  argBytes(): number;
  initrdStart(): bigint;
  initrdEnd(): bigint;
  memoryEnd(): bigint;
}
let kernel: Kernel;
let parsers: Parsers;
before(async () => {
  kernel = await loadKernel();
  parsers = new WebAssembly.Instance(kernel.guest, idleImports(kernel.guest)).exports as unknown as Parsers;
});

/** Flips, cuts, overwrites or splices; sometimes several times. */
function damage(random: Random, good: Buffer): Buffer {
  let bytes = Buffer.from(good);
  for (let n = random.below(4); n >= 0 && bytes.length > 0; n--) {
    const at = random.below(bytes.length);
    switch (random.below(6)) {
      case 0: bytes[at]! ^= 1 << random.below(8); break;
      case 1: bytes[at] = random.below(256); break;
      case 2: bytes = bytes.subarray(0, at); break;
      case 3: bytes.fill(random.pick([0, 0xff, 0x7f, 0x80]), at, Math.min(at + 1 + random.below(8), bytes.length)); break;
      case 4: bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random.below(bytes.length))]); break;
      default: if (bytes.length >= 4) bytes.writeUInt32LE(random.pick([0, 1, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000]), Math.min(at, bytes.length - 4));
    }
  }
  return bytes;
}
/** The answer for bytes at the very end of memory, with `fill` before them. */
function atEnd<T>(bytes: Buffer, fill: number, ask: (at: number) => T): T {
  const memory = Buffer.from(parsers.memory.buffer);
  const at = memory.length - bytes.length;
  memory.fill(fill, at - 4096, at);
  memory.set(bytes, at);
  return ask(at);
}
/** Both fillings must give one answer, and it must be a known reason or 0. */
function answer(bytes: Buffer, ask: (at: number) => { reason: number; more?: unknown }): number {
  const [zeros, ones] = [0, 0xff].map((fill) => atEnd(bytes, fill, ask));
  assert.deepEqual(zeros, ones, 'the answer depends on bytes outside the input');
  assert.ok(zeros!.reason === 0 || Object.values(REASON).includes(zeros!.reason), `answer ${zeros!.reason}`);
  return zeros!.reason;
}
const spread = (seen: Map<number, number>): string => JSON.stringify([...seen]);
const count = (seen: Map<number, number>, reason: number): void => void seen.set(reason, (seen.get(reason) ?? 0) + 1);

test('a damaged module is refused or taken by its own bytes alone', () => {
  const seen = new Map<number, number>();
  const goods = [makeWasm(), makeWasm({ imports: ['console_line', 'time_ns', 'send', 'call'], table: 3 }), makeWasm({ pages: 2, pagesMax: 3 })];
  search(30_000, 1000, (random) => {
    const bytes = damage(random, random.pick(goods));
    count(seen, answer(bytes, (at) => ({ reason: parsers.wasm_check(at, bytes.length, 1, 1, 0), more: parsers.importsMask() })));
  }, 700);
  for (const name of ['wasm_malformed', 'wasm_import', 'wasm_abi', 'wasm_memory', 'wasm_export']) assert.ok(seen.has(REASON[name]!), `${name}: ${spread(seen)}`);
});

test('a module cut anywhere is refused, but for its code, which the loader does not read', () => {
  const code = 6;
  const good = makeWasm({ imports: ['console_line', 'time_ns'] });
  assert.equal(answer(good, (at) => ({ reason: parsers.wasm_check(at, good.length, 1, 1, 0) })), 0);
  for (let bytes = 0; bytes < good.length; bytes++) {
    const reason = answer(good.subarray(0, bytes), (at) => ({ reason: parsers.wasm_check(at, bytes, 1, 1, 0) }));
    assert.equal(reason === 0, bytes === good.length - code, `${bytes} bytes of ${good.length}: ${reason}`);
  }
});

test('a damaged ELF is refused or taken by its own bytes alone', () => {
  const seen = new Map<number, number>();
  const base = TEXT_FIRST + TEXT_STRIDE;
  const goods = [makeElf({ base }), makeElf({ base, textBytes: 9000, dataBytes: 0 })].map((elf) => elf.subarray(0, 64 + 56 * 8 + 96));
  search(30_000, 1000, (random) => {
    const elf = Buffer.from(random.pick(goods));
    // Most damage goes where the parser looks.
    const head = damage(random, elf.subarray(0, 64 + 56 * 2));
    const bytes = random.chance(50) ? Buffer.concat([head, elf.subarray(head.length)]) : damage(random, elf);
    count(seen, answer(bytes, (at) => ({ reason: parsers.elf_check(at, bytes.length, base, TEXT_STRIDE) })));
  }, 500);
  for (const name of ['elf_malformed', 'elf_range', 'elf_writable']) assert.ok(seen.has(REASON[name]!), `${name}: ${spread(seen)}`);
});

test('a damaged bundle whose digest is true is refused or taken by its own bytes alone', () => {
  const seen = new Map<number, number>();
  const good = pack([makeService('init-lite', { flags: 4 }), makeService('other', { module: 1, console: 'o', callsMask: 1n })], [{ name: 'f', bytes: Buffer.from('12') }]);
  search(8000, 200, (random) => {
    const manifest = HEADER_BYTES + good.readUInt32LE(28);
    const head = Buffer.from(good.subarray(0, manifest));
    if (random.chance(50)) head.set(damage(random, head.subarray(0, 64)).subarray(0, 64), 0);
    if (random.chance(70)) {
      const spoilt = damage(random, head.subarray(HEADER_BYTES));
      head.set(spoilt.subarray(0, manifest - HEADER_BYTES), HEADER_BYTES);
    }
    let bytes = Buffer.concat([head, good.subarray(manifest)]);
    if (random.chance(20)) bytes = bytes.subarray(0, random.below(bytes.length + 1));
    const claimed = bytes.length >= HEADER_BYTES ? bytes.readUInt32LE(28) : 0;
    if (bytes.length >= HEADER_BYTES) createHash('sha256').update(bytes.subarray(HEADER_BYTES, Math.min(HEADER_BYTES + claimed, bytes.length))).digest().copy(bytes, 64);
    count(seen, answer(bytes, (at) => ({ reason: parsers.bundle_check(at, bytes.length) })));
  }, 700);
  for (const name of ['bundle_magic', 'bundle_version', 'bundle_size', 'manifest_field']) assert.ok(seen.has(REASON[name]!), `${name}: ${spread(seen)}`);
});

test('a damaged bundle never breaks the kernel: it boots or names why not', () => {
  const good = pack([makeService('init-lite', { flags: FLAG.spawn | FLAG.bundle }), makeService('child', { module: 1 })]);
  let booted = 0;
  search(150, 20, (random) => {
    const bytes = damage(random, good);
    if (bytes.length >= HEADER_BYTES && random.chance(80)) {
      createHash('sha256').update(bytes.subarray(HEADER_BYTES, HEADER_BYTES + bytes.readUInt32LE(28))).digest().copy(bytes, 64);
    }
    const machine = new Machine(kernel, { bundle: bytes });
    try {
      machine.boot();
    } catch (error) {
      assert.ok(error instanceof Halted, `${error}`);
      assert.match(machine.lines.at(-1)!, /^PANIC kernel: (bundle refused|init-lite refused|no bundle)/);
      return;
    }
    booted++;
    const result = machine.sys('process_create', 1)!;
    assert.ok(result === 1n || result === -16n || result === -10n || result === -13n, `process_create ${result}`);
    machine.leaves().forEach(({ write, execute }) => assert.ok(!(write && execute)));
  }, 1000);
  assert.ok(booted > 0);
});

// --- the device tree ---

const TREE = { bootargs: 'profile=proof nonce=00ff mutant=3', initrdStart: 0x8300_0000n, initrdEnd: 0x8300_1000n, ramStart: 0x8000_0000n, ramBytes: 0x400_0000n };
function readTree(tree: Buffer): { good: boolean; start: bigint; end: bigint; ram: bigint } {
  const at = Number(kernel.layout.DEVICE_TREE);
  const memory = Buffer.from(parsers.memory.buffer);
  memory.fill(0, at, at + 0x10000);
  memory.set(tree, at);
  const bytes = parsers.tree_bytes(at);
  return { good: bytes !== 0 && parsers.tree_read(bytes) !== 0, start: parsers.initrdStart(), end: parsers.initrdEnd(), ram: parsers.memoryEnd() };
}
/** The value of a boot argument, or null. */
function argument(key: string): string | null {
  const memory = Buffer.from(parsers.memory.buffer);
  memory.write(key, 0x380000, 'latin1');
  const at = parsers.arg_find(0x380000, key.length);
  return at === 0 ? null : memory.toString('latin1', at, at + parsers.argBytes());
}

test('the device tree gives initrd, memory and boot arguments', () => {
  assert.deepEqual(readTree(makeTree(TREE)), { good: true, start: TREE.initrdStart, end: TREE.initrdEnd, ram: 0x8400_0000n });
  for (const [key, value] of [['profile', 'proof'], ['nonce', '00ff'], ['mutant', '3'], ['prof', null], ['profile=proof nonce', null], ['rofile', null], ['x', null]] as const) {
    assert.equal(argument(key), value, key);
  }
  assert.equal(readTree(makeTree({ ...TREE, bootargs: 'a=b=c  d= e' })).good, true);
  assert.deepEqual(['a', 'd', 'e', 'b'].map(argument), ['b=c', '', null, null]);
  assert.equal(readTree(makeTree({ ...TREE, bootargs: 'x'.repeat(1023) })).good, true);
  assert.equal(readTree(makeTree({ ...TREE, bootargs: 'x'.repeat(1024) })).good, false, 'too long is an error, not a cut');
});

test('a device tree cut or damaged anywhere is refused or read, within its bounds and in bounded time', () => {
  const good = makeTree(TREE);
  for (let bytes = 0; bytes < good.length; bytes++) {
    const cut = Buffer.from(good.subarray(0, bytes));
    if (bytes >= 8) cut.writeUInt32BE(bytes, 4);
    const names = good.readUInt32BE(12); // a name that is cut off is the name of something else
    assert.ok(!readTree(cut).good || bytes > names, `${bytes} bytes of ${good.length}`);
  }
  let refused = 0;
  const runs = search(4000, 300, (random) => { if (!readTree(damage(random, good)).good) refused++; }, 500);
  assert.ok(refused > runs / 10 && refused < runs, `${refused} of ${runs}`);
});

test('a device tree that makes no sense stops the boot with a reason', () => {
  const bundle = pack([makeService('init-lite')]);
  const start = 0x8300_0000n;
  const cases: [string, Buffer, RegExp][] = [
    ['none', Buffer.alloc(64), /device tree/],
    ['no initrd', makeTree({ ...TREE, initrdStart: 0n, initrdEnd: 0n }), /no bundle/],
    ['an initrd that ends before it starts', makeTree({ ...TREE, initrdEnd: start - 1n }), /no bundle/],
    ['an initrd over the limit', makeTree({ ...TREE, initrdEnd: start + 2_097_153n }), /no bundle/],
    ['no memory', makeTree({ ...TREE, ramBytes: 0n }), /memory size/],
    ['less memory than the kernel', makeTree({ ...TREE, ramBytes: 0x80_0000n }), /memory size/],
    ['more memory than the intrinsics allow', makeTree({ ...TREE, ramBytes: 0x800_0000n }), /memory size/],
    ['memory around 2^64', makeTree({ ...TREE, ramBytes: (1n << 64n) - 1n }), /memory size/],
  ];
  for (const [name, tree, why] of cases) {
    const machine = new Machine(kernel, { bundle, tree });
    assert.throws(() => machine.boot(), (error) => error instanceof Halted && error.code === 1, name);
    assert.match(machine.lines.at(-1)!, why, name);
  }
});
