// SPDX-License-Identifier: Apache-2.0
// The image of this tree: it holds no mutant, its bundle verifies, it stays in its size, and each deliberately bad entry is
// bad in exactly the way that it is named after.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { readBundle, type Bundle, type BundleService } from '../../image/pack.js';
import { buildModule } from '../../runtime/node/build.js';
import { build } from '../../scripts/build.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { sha256 } from '../../scripts/lib/cache.js';
import { Compilers } from '../../scripts/lib/compilers.js';
import { PF_W, readElf } from '../../scripts/lib/elf.js';
import { mutantsFile } from '../../scripts/lib/gen-as.js';
import { checkModule, importMask } from '../../scripts/lib/module-check.js';
import { pathsOf, ROOT } from '../../scripts/lib/paths.js';
import { loadMarkers } from '../../scripts/lib/markers.js';
import { loadServices, modulesOf, moduleSource, type Damage } from '../../scripts/lib/services.js';
import { kernelFlags, KERNEL_SOURCE, moduleFlags } from '../../scripts/lib/steps.js';
import { readWasm } from '../../scripts/lib/wasm.js';

const ABI = loadAbi();
const IMAGE = pathsOf(ROOT, 'shipping').image;
const MUTANT_NR = ABI.syscalls.find(({ kind }) => kind === 'mutant')!.nr;
const SERVICES = loadServices();
let bundle: Bundle & { manifestSha256: string };

before(async () => {
  await build();
  bundle = readBundle(readFileSync(join(IMAGE, 'bundle.vgb')));
});

const sound = (): BundleService[] => bundle.services.filter((_, index) => SERVICES[index]!.damage === null);
const entry = (name: string): BundleService => bundle.services.find((service) => service.name === name)!;

test('the manifest lists the services of image/services.toml in order', () => {
  assert.deepEqual(bundle.services.map(({ name }) => name), SERVICES.map(({ name }) => name));
  const manifest = JSON.parse(readFileSync(join(IMAGE, 'manifest.json'), 'utf8')) as { bundle_sha256: string; kernel_sha256: string };
  assert.equal(manifest.bundle_sha256, bundle.manifestSha256);
  assert.equal(manifest.kernel_sha256, sha256(readFileSync(join(IMAGE, 'kernel.elf'))));
});

test('the shipping image holds no mutant', () => {
  for (const { name, wasm, importsMask } of sound()) {
    const imports = readWasm(wasm, name).imports.map(({ name: field }) => field);
    assert.ok(!imports.includes('mutant'), `${name} imports sys.mutant`);
    assert.equal((importsMask >> BigInt(MUTANT_NR)) & 1n, 0n, `${name} may call ${MUTANT_NR}`);
  }
  const table = readFileSync(join(ROOT, 'build/gen/syscall_table.inc'), 'utf8').match(/w2c_kernel_sys_\w+/g)!;
  assert.equal(table[MUTANT_NR], 'w2c_kernel_sys_bad');
});

test('no code of a mutant is left: other mutant numbers give the same bytes', async () => {
  const { mutants } = loadMarkers();
  const other = new Map([...mutants].map(([name, number]) => [name, number + 1000]));
  const replace = { 'assembly/gen/mutants.ts': mutantsFile(other, 'shipping') };
  const logd = modulesOf(SERVICES, (path) => moduleSource(ROOT, path)!).find(({ name }) => name === 'logd')!;
  const compilers = new Compilers();
  const cases: [string, string, string[]][] = [
    ['build/kernel/kernel.wasm', KERNEL_SOURCE, kernelFlags(ROOT)],
    ['build/modules/logd/logd.wasm', logd.source, moduleFlags(logd)],
  ];
  for (const [path, source, flags] of cases) {
    const { wasm } = await compilers.compile({ root: ROOT, source, flags, replace });
    assert.equal(sha256(wasm), sha256(readFileSync(join(ROOT, path))), path);
  }
  await compilers.close();
});

test('the module that tests run under Node is the one that ships', async () => {
  assert.equal(sha256(await buildModule('logd')), sha256(entry('logd').wasm));
});

test('what the manifest says of each module is what the module says', () => {
  for (const service of sound()) {
    const { mask, tableEntries } = checkModule(service.wasm, service.name, ABI, 'shipping', service);
    assert.equal(service.importsMask, mask);
    assert.equal(service.tableEntries, tableEntries);
    assert.equal(service.wrongWasmDigest, false);
    assert.equal(service.wrongElfDigest, false);
  }
});

test('modules are linked apart, and no ELF is writable', () => {
  const ranges = new Map<string, { start: bigint; end: bigint }>();
  for (const { name, elf, textBase } of sound()) {
    const { segments, entry: start } = readElf(elf, name);
    assert.equal(start, textBase, `${name} starts at its base`);
    for (const { flags } of segments) assert.equal(flags & PF_W, 0, name);
    const last = segments[segments.length - 1]!;
    ranges.set(sha256(elf), { start: segments[0]!.vaddr, end: last.vaddr + last.memoryBytes });
  }
  const sorted = [...ranges.values()].sort((a, b) => (a.start < b.start ? -1 : 1));
  sorted.slice(1).forEach((range, i) => assert.ok(range.start >= sorted[i]!.end, 'two modules overlap'));
});

test('the image is within its budget', () => {
  const bytes = ['kernel.elf', 'bundle.vgb'].reduce((sum, name) => sum + readFileSync(join(IMAGE, name)).length, 0);
  assert.ok(bytes <= limit(ABI, 'kernel', 'image_bytes_max'), `${bytes} bytes`);
});

const PROOF: Record<Damage, (bad: BundleService) => void> = {
  wasm_digest: (bad) => assert.ok(bad.wrongWasmDigest && !bad.wrongElfDigest),
  elf_digest: (bad) => assert.ok(bad.wrongElfDigest && !bad.wrongWasmDigest),
  wasm_malformed: (bad) => assert.throws(() => readWasm(bad.wasm, 'bad')),
  wasm_import: (bad) => assert.throws(() => importMask(readWasm(bad.wasm, 'bad'), ABI, 'shipping', 'bad'), /is not a system call/),
  wasm_abi: (bad) => assert.throws(() => checkModule(bad.wasm, 'bad', ABI, 'shipping', bad), /vigil_abi is 35/),
  wasm_memory: (bad) => assert.throws(() => checkModule(bad.wasm, 'bad', ABI, 'shipping', bad), /memory is/),
  wasm_export: (bad) => assert.throws(() => checkModule(bad.wasm, 'bad', ABI, 'shipping', bad), /export "main" is missing/),
  wasm_threads: (bad) => assert.throws(() => checkModule(bad.wasm, 'bad', ABI, 'shipping', bad), /memory is shared/),
  elf_malformed: (bad) => assert.throws(() => readElf(bad.elf, 'bad'), /not a little-endian ELF64/),
  elf_range: (bad) => assert.notEqual(readElf(bad.elf, 'bad').segments[0]!.vaddr >> 40n, bad.textBase >> 40n),
  elf_writable: (bad) => assert.ok(readElf(bad.elf, 'bad').segments[0]!.flags & PF_W),
};
for (const [damage, proof] of Object.entries(PROOF)) {
  test(`the entry spoilt by ${damage} is bad in that way`, () => {
    const spoilt = SERVICES.filter((service) => service.damage === damage);
    assert.ok(spoilt.length > 0, `image/services.toml has no entry with corrupt = "${damage}"`);
    for (const { name } of spoilt) {
      const bad = entry(name);
      if (!damage.endsWith('_digest')) assert.ok(!bad.wrongWasmDigest && !bad.wrongElfDigest, 'digests must be true');
      proof(bad);
    }
  });
}
