// SPDX-License-Identifier: Apache-2.0
// Function names beside the image: compiling with names changes no byte of what ships, each symbol of the compilers is the function it came
// from, and every service of the image has its file.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ASC_FLAGS } from '../../scripts/lib/asc.js';
import { Compilers } from '../../scripts/lib/compilers.js';
import { codegen } from '../../scripts/codegen.js';
import { ROOT, SYMBOLS } from '../../scripts/lib/paths.js';
import { cutNames, nameOf, type SymbolFile } from '../../scripts/lib/symbols.js';
import { readWasm } from '../../scripts/lib/wasm.js';
import { sha256 } from '../../scripts/lib/cache.js';

const compilers = new Compilers();
after(() => compilers.close());
const source = 'assembly/services/timed/index.ts';
const flags = [...ASC_FLAGS, '--initialMemory', '6', '--maximumMemory', '6'];

test('a module compiled with names, its names cut off, is the module compiled without', async () => {
  codegen();
  const plain = (await compilers.compile({ root: ROOT, source, flags, replace: {} })).wasm;
  const named = (await compilers.compile({ root: ROOT, source, flags: [...flags, '--debug'], replace: {} })).wasm;
  assert.ok(named.length > plain.length, 'the compiler wrote names');
  const { shipped, names } = cutNames(named);
  assert.ok(Buffer.from(shipped).equals(plain), 'the same bytes');
  assert.ok(Object.values(names).includes('assembly/services/timed/index/main'));
  assert.deepEqual(Object.keys(cutNames(plain).names), [], 'a module without names has none');
  assert.ok(Buffer.from(cutNames(plain).shipped).equals(plain));
  const info = readWasm(shipped, source);
  const main = info.exports.find(({ name }) => name === 'main')!;
  assert.equal(names[main.index], 'assembly/services/timed/index/main', 'indexes count imports first');
  assert.equal(nameOf('w2c_svc_main_0', names, info), 'assembly/services/timed/index/main');
  assert.equal(nameOf('w2c_svc_main', names, info), 'assembly/services/timed/index/main');
});

test('symbols of wasm2c and GCC are read back to functions', () => {
  const info = { ...readWasm(cutNames(Buffer.from('0061736d01000000', 'hex')).shipped, 'empty'), exports: [{ name: '_init', kind: 0, index: 7 }] };
  const names = { 12: 'lib/putText', 7: 'start:index' };
  const cases: [string, string | null][] = [
    ['w2c_svc_f12', 'lib/putText'], ['wrap_w2c_svc_f12', 'lib/putText'], ['w2c_svc_f12.constprop.0', 'lib/putText'],
    ['w2c_svc_f12.isra.0.part.1', 'lib/putText'], ['w2c_svc_f12.cold', 'lib/putText'], ['w2c_svc_f99', 'function 99'],
    ['w2c_svc_0x5Finit_0', 'start:index'], ['w2c_svc_gone_0', null], ['memcpy', 'memcpy'], ['_start', '_start'], ['wasm_rt_trap', 'wasm_rt_trap'],
    ['wasm2c_svc_instantiate', 'wasm2c_svc_instantiate'], ['elem_segment_exprs_w2c_svc_e0', null], ['native_main', 'native_main'],
  ];
  for (const [symbol, name] of cases) assert.equal(nameOf(symbol, names, info), name, symbol);
});

test('a malformed module is an error, not a wrong name', () => {
  assert.throws(() => cutNames(Buffer.from('not wasm')));
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  assert.throws(() => cutNames(Buffer.from([...head, 0, 200, 1])), /beyond the end/);
});

test('every service of the built image has its names, of the very bytes that the bundle holds', (t) => {
  const manifest = join(ROOT, 'build/image/manifest.json');
  if (!existsSync(manifest)) return t.skip('no image was built');
  const { services } = JSON.parse(readFileSync(manifest, 'utf8')) as { services: { name: string; wasm_sha256: string; elf_sha256: string }[] };
  const spoiled = /^bad-/; // the packer spoils these modules; the loader refuses them
  for (const { name, wasm_sha256: wasm, elf_sha256: elf } of services.filter((service) => !spoiled.test(service.name))) {
    const path = join(ROOT, SYMBOLS, `${elf}.json`);
    assert.ok(existsSync(path), `${name}: no ${SYMBOLS}/${elf}.json`);
    const file = JSON.parse(readFileSync(path, 'utf8')) as SymbolFile;
    assert.deepEqual([file.format, file.wasm_sha256, file.elf_sha256], [1, wasm, elf], name);
    const module = readFileSync(join(ROOT, 'build/modules', file.module, `${file.module}.wasm`));
    assert.equal(sha256(module), wasm, name);
    assert.deepEqual(Object.keys(cutNames(module).names), [], `${name} ships names`);
    let end = 0;
    for (const { at, bytes, name: shown } of file.functions) {
      assert.ok(at >= end && bytes > 0, `${name}: ${shown} overlaps`);
      end = at + bytes;
    }
    assert.ok(file.functions.length > 0, name);
  }
});
