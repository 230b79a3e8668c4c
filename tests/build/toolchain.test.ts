// SPDX-License-Identifier: Apache-2.0
// From source to ELF with the real tools: equal bytes on a rebuild, and what the loader must never see is refused here.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { build } from '../../scripts/build.js';
import { loadAbi } from '../../scripts/lib/abi.js';
import { Compilers } from '../../scripts/lib/compilers.js';
import { readElf } from '../../scripts/lib/elf.js';
import { checkModule } from '../../scripts/lib/module-check.js';
import { buildServiceElf, patchMemAddr, TEXT_FIRST } from '../../scripts/lib/native.js';
import { readWasm } from '../../scripts/lib/wasm.js';
import { tinyCheckout, TINY_MODULE } from './checkout.js';

const ABI = loadAbi();
const compilers = new Compilers();
after(() => compilers.close());
const LIMITS = { memoryPages: 2, memoryPagesMax: 2 };

type Wabt = () => Promise<{
  parseWat(name: string, text: string, features: object): { toBinary(options: object): { buffer: Uint8Array }; destroy(): void };
}>;

/** A module from text, with every feature that a hostile one may use. */
async function wat(text: string): Promise<Uint8Array> {
  const wabt = await (createRequire(import.meta.url)('wabt') as Wabt)();
  const module = wabt.parseWat('test.wat', text, { threads: true, bulk_memory: true, mutable_globals: true });
  try {
    return Uint8Array.from(module.toBinary({}).buffer);
  } finally {
    module.destroy();
  }
}

const GOOD = `
  (func $main (export "main")) (func (export "_init")) (memory (export "memory") 2 2)
  (global (export "vigil_abi") i32 (i32.const 1))`;

test('rebuilding an ELF from its .wasm gives the same bytes, in another folder too', async (t) => {
  const root = tinyCheckout(t);
  await build({ root, only: 'tiny', compilers });
  const folder = join(root, 'build/modules/tiny');
  const first = readFileSync(join(folder, 'tiny.elf'));
  const other = join(root, 'elsewhere/deep/er');
  mkdirSync(other, { recursive: true });
  writeFileSync(join(other, 'tiny.wasm'), readFileSync(join(folder, 'tiny.wasm')));
  await buildServiceElf({ root, folder: other, name: 'tiny', textBase: TEXT_FIRST, gen: ['build/gen'] });
  assert.ok(first.length > 1000);
  assert.deepEqual(readFileSync(join(other, 'tiny.elf')), first);
});

test('compiling a source again gives the same .wasm', async (t) => {
  const root = tinyCheckout(t);
  const wasm = join(root, 'build/modules/tiny/tiny.wasm');
  await build({ root, only: 'tiny', compilers });
  const first = readFileSync(wasm);
  rmSync(join(root, 'build'), { recursive: true });
  await build({ root, only: 'tiny', compilers });
  assert.deepEqual(readFileSync(wasm), first);
});

test('a service\'s ELF is static, two segments, nothing writable, linked at its own base', async (t) => {
  const root = tinyCheckout(t);
  await build({ root, only: 'tiny', compilers });
  const elf = readElf(readFileSync(join(root, 'build/modules/tiny/tiny.elf')), 'tiny');
  assert.deepEqual(elf.segments.map(({ flags }) => flags), [5, 4]);
  assert.equal(elf.segments[0]!.vaddr, TEXT_FIRST);
  assert.equal(elf.entry, TEXT_FIRST);
  assert.equal(elf.symbols.length, 0, 'stripped');
});

/** In the section of the entry, so that the linker keeps it. */
const KEPT = '__attribute__((section(".text.start")))';
const NATIVE_REFUSED: [string, string, RegExp][] = [
  ['a writable global', `int counter = 7; ${KEPT} int* w2c_svc_leak(void) { return &counter; }`, /writable data/],
  ['a zeroed global', `static int hits; ${KEPT} int w2c_svc_hit(void) { return ++hits; }`, /writable zeroed data/],
  ['an undefined symbol', `int puts(const char*); ${KEPT} int w2c_svc_say(void) { return puts("x"); }`, /undefined reference to `puts'/],
  ['an unexpected symbol', `${KEPT} int stowaway(void) { return 3; }`, /unexpected symbol stowaway/],
];
test('a service\'s ELF is refused when the runtime holds what it may not', async (t) => {
  const root = tinyCheckout(t);
  const service = join(root, 'runtime/guest/service.c');
  const good = readFileSync(service, 'utf8');
  for (const [what, code, message] of NATIVE_REFUSED) {
    writeFileSync(service, `${good}\n${code}\n`);
    await t.test(what, () => assert.rejects(build({ root, only: 'tiny', compilers }), message));
  }
  writeFileSync(service, good);
  await build({ root, only: 'tiny', compilers });
});

test('MEM_ADDR must stand in wasm2c\'s output exactly once', () => {
  const line = '#define MEM_ADDR(mem, addr, n) &((mem)->data[addr])';
  assert.match(patchMemAddr(`a\n${line}\nb`, 'm.c'), /vigil_memory \+ \(addr\)/);
  assert.throws(() => patchMemAddr('nothing', 'm.c'), /0 times, expected once/);
  assert.throws(() => patchMemAddr(`${line}\n${line}`, 'm.c'), /2 times, expected once/);
});

test('a good module is accepted, with its import mask', async () => {
  const bytes = await wat(`(module
    (import "sys" "null" (func (result i64))) (import "sys" "time_ns" (func (result i64)))
    (import "sys" "send" (func (param i32 i32 i64 i64) (result i64)))
    (import "env" "abort" (func (param i32 i32 i32 i32))) (table 5 funcref) ${GOOD})`);
  await compilers.validate(bytes, 'good');
  assert.deepEqual(checkModule(bytes, 'good', ABI, 'shipping', LIMITS), { mask: 0b1000001n, tableEntries: 5 });
});

/** What is refused: a name, the imports and the rest of the module, the message. */
const changed = (from: string, to: string): string => GOOD.replace(from, to);
const WASM_REFUSED: [string, string, RegExp][] = [
  ['an import of another module', `(import "wasi" "fd_write" (func (param i32))) ${GOOD}`, /wasi\.fd_write is not a system call/],
  ['an unknown system call', `(import "sys" "format_disk" (func)) ${GOOD}`, /sys\.format_disk is not a system call/],
  ['a wrong type', `(import "sys" "null" (func (result i32))) ${GOOD}`, /sys\.null has type \(\)->\(i\), not \(\)->\(I\)/],
  ['a runtime call', `(import "sys" "memory_grow" (func (param i32) (result i64))) ${GOOD}`, /belongs to the runtime/],
  ['the mutant call in the shipping image', `(import "sys" "mutant" (func (result i64))) ${GOOD}`, /in the mutant image alone/],
  ['an imported memory', '(import "env" "memory" (memory 2 2)) (func (export "main"))', /only functions may be imported/],
  ['a missing main', changed('"main"', '"mane"'), /export "main" is missing/],
  ['a main with a parameter', changed('(export "main")', '(export "main") (param i32)'), /must take and return nothing/],
  ['another ABI version', changed('i32.const 1)', 'i32.const 2)'), /vigil_abi is 2, must be 1/],
  ['a mutable vigil_abi', changed(') i32 (', ') (mut i32) ('), /no i32 constant/],
  ['more memory than the manifest', changed('2 2)', '2 3)'), /memory is 2..3 pages, image\/services.toml says 2..2/],
  ['unbounded memory', changed('2 2)', '2)'), /2..unbounded/],
  ['shared memory', changed('2 2)', '2 2 shared)'), /memory is shared/],
];
for (const [what, text, message] of WASM_REFUSED) {
  test(`${what} is refused`, async () => {
    const bytes = await wat(`(module ${text})`);
    assert.throws(() => checkModule(bytes, 'bad', ABI, 'shipping', LIMITS), message);
  });
}

test('threads are refused by validation: shared memory and atomics', async () => {
  const shared = await wat(`(module ${GOOD.replace('2 2)', '2 2 shared)')})`);
  await assert.rejects(compilers.validate(shared, 'shared'), /not valid WebAssembly with threads disabled/);
  const atomic = await wat(`(module (func (drop (i32.atomic.load (i32.const 0)))) (memory 1 1 shared))`);
  await assert.rejects(compilers.validate(atomic, 'atomic'), /not valid WebAssembly with threads disabled/);
});

test('a malformed .wasm is refused at every truncation', async () => {
  const bytes = await wat(`(module (import "sys" "null" (func (result i64))) ${GOOD})`);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => checkModule(bytes.subarray(0, length), 'cut', ABI, 'shipping', LIMITS), /cut/, `at ${length}`);
  }
});

test('random bytes never crash the reader, they are refused', async () => {
  const bytes = await wat(`(module (import "sys" "null" (func (result i64))) ${GOOD})`);
  let seed = 0x2545f491;
  const random = (): number => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8);
  for (let round = 0; round < 2000; round++) {
    const damaged = Uint8Array.from(bytes);
    for (let i = 0; i < 3; i++) damaged[8 + (random() % (bytes.length - 8))] = random() & 255;
    try {
      readWasm(damaged, 'fuzz');
    } catch (error) {
      assert.equal((error as Error).name, 'Failure', `round ${round}: ${(error as Error).stack}`);
    }
  }
});

test('a source error is one line with file, line and column', async (t) => {
  const root = tinyCheckout(t, { 'assembly/services/tiny/index.ts': `${TINY_MODULE}\nlet x: i32 = "text";\n` });
  await assert.rejects(build({ root, only: 'tiny', compilers }), /^Failure: assembly\/services\/tiny\/index\.ts:18:14: TS2322: /);
});
