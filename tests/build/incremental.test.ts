// SPDX-License-Identifier: Apache-2.0
// The build does what is needed and no more, and two builds of one checkout do not disturb each other.
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { build } from '../../scripts/build.js';
import { Compilers } from '../../scripts/lib/compilers.js';
import { readWasm } from '../../scripts/lib/wasm.js';
import { tinyCheckout, TINY_MODULE } from './checkout.js';

const compilers = new Compilers();
after(() => compilers.close());
const only = 'tiny';

async function steps(root: string): Promise<string[]> {
  const lines: string[] = [];
  await build({ root, only, compilers, log: (line) => void lines.push(line.split(' ').slice(0, 2).join(' ')) });
  return lines;
}

test('nothing changed, nothing done; a change redoes what depends on it alone', async (t) => {
  const root = tinyCheckout(t);
  assert.deepEqual(await steps(root), ['codegen 14', 'asc tiny.wasm', 'gcc tiny.elf'].map((s) => s.replace('14', codegenCount(root))));
  assert.deepEqual(await steps(root), []);
  const source = join(root, 'assembly/services/tiny/index.ts');
  appendFileSync(source, '// a comment changes no byte of the module\n');
  assert.deepEqual(await steps(root), ['asc tiny.wasm'], 'the same wasm needs no new ELF');
  writeFileSync(source, TINY_MODULE.replace('(21) == 42', '(22) == 44'));
  assert.deepEqual(await steps(root), ['asc tiny.wasm', 'gcc tiny.elf']);
  appendFileSync(join(root, 'runtime/guest/service.c'), '\n// the runtime is part of every ELF\n');
  assert.deepEqual(await steps(root), ['gcc tiny.elf']);
  rmSync(join(root, 'build/modules/tiny/tiny.elf'));
  assert.deepEqual(await steps(root), ['gcc tiny.elf'], 'a lost output is made again');
  writeFileSync(join(root, 'build/modules/tiny/tiny.wasm'), 'damaged');
  assert.deepEqual(await steps(root), ['asc tiny.wasm'], 'a damaged output is made again, and gives the bytes of before');
  writeFileSync(join(root, 'build/cache/shipping/tiny.wasm.json'), '{"half":');
  assert.deepEqual(await steps(root), ['asc tiny.wasm'], 'a damaged record counts as none');
  assert.deepEqual(await steps(root), []);
});

function codegenCount(root: string): string {
  // assembly/gen and build/gen were written by the run before this is asked
  return String(['errors', 'traps', 'slots', 'counters', 'loader', 'syscalls', 'limits', 'markers', 'mutants', 'services', 'gpu', 'about']
    .filter((name) => existsSync(join(root, `assembly/gen/${name}.ts`))).length + 4);
}

test('an import that appears or vanishes is noticed', async (t) => {
  const root = tinyCheckout(t, { 'assembly/services/tiny/part.ts': 'export const X: i32 = 1;\n' });
  const source = join(root, 'assembly/services/tiny/index.ts');
  writeFileSync(source, `${TINY_MODULE.replace('== 42', '== 41 + X')}\nimport { X } from "./part";\n`);
  await steps(root);
  writeFileSync(join(root, 'assembly/services/tiny/part.ts'), 'export const X: i32 = 2;\n');
  assert.deepEqual(await steps(root), ['asc tiny.wasm', 'gcc tiny.elf']);
  rmSync(join(root, 'assembly/services/tiny/part.ts'));
  await assert.rejects(steps(root), /part\.ts' not found/);
});

test('a failed build is not remembered as done', async (t) => {
  const root = tinyCheckout(t);
  const source = join(root, 'assembly/services/tiny/index.ts');
  await steps(root);
  writeFileSync(source, `${TINY_MODULE}let y: i32 = nothing;\n`);
  await assert.rejects(steps(root), /Cannot find name 'nothing'/);
  await assert.rejects(steps(root), /Cannot find name 'nothing'/);
  writeFileSync(source, TINY_MODULE);
  assert.deepEqual(await steps(root), [], 'the good text still has its good outputs');
});

test('two builds at once: one waits, both are right', async (t) => {
  const root = tinyCheckout(t);
  const [a, b] = await Promise.all([steps(root), steps(root)]);
  assert.ok([...a, ...b].filter((line) => line.startsWith('asc')).length === 1, 'compiled once');
  assert.ok([...a, ...b].some((line) => line.startsWith('waiting for')));
  assert.ok(!existsSync(join(root, 'build/lock')));
});

test('the lock of a process that is gone is taken over', async (t) => {
  const root = tinyCheckout(t);
  await steps(root);
  writeFileSync(join(root, 'build/lock'), '4194304'); // above the largest process id
  assert.deepEqual(await steps(root), []);
});

test('the mutant flavour compiles the mutants in; the shipping one folds them away', async (t) => {
  const root = tinyCheckout(t);
  await build({ root, only, compilers });
  await build({ root, only, compilers, flavour: 'mutant' });
  const module = (path: string): Buffer => readFileSync(join(root, path, 'tiny/tiny.wasm'));
  const imports = (bytes: Buffer): string[] => readWasm(bytes, 'tiny').imports.map(({ name }) => name).sort();
  const shipping = module('build/modules');
  const mutant = module('build/mutant/modules');
  assert.deepEqual(imports(shipping), ['abort', 'call', 'console_line', 'recv', 'time_ns']);
  assert.deepEqual(imports(mutant), ['abort', 'call', 'console_line', 'mutant', 'recv', 'time_ns']);
  const secret = Buffer.from('only in the mutant', 'utf16le');
  assert.ok(mutant.includes(secret));
  assert.ok(!shipping.includes(secret), 'the text of a mutant must not ship');
});
