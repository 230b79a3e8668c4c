// SPDX-License-Identifier: Apache-2.0
// Generated files agree with the tables and with what is written by hand beside them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { codegen } from '../../scripts/codegen.js';
import { loadAbi } from '../../scripts/lib/abi.js';
import { recipeFiles } from '../../scripts/lib/bundle.js';
import { ASC_FLAGS } from '../../scripts/lib/asc.js';
import { syscallTable, sysHeader } from '../../scripts/lib/gen-c.js';
import { assemblyFiles, mutantsFile } from '../../scripts/lib/gen-as.js';
import { markerConstant } from '../../scripts/lib/markers.js';
import { kernelFlags } from '../../scripts/lib/steps.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { tinyCheckout } from './checkout.js';

const ABI = loadAbi();
const text = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

test('generating twice writes nothing the second time', (t) => {
  const root = tinyCheckout(t);
  assert.ok(codegen(root).length > 0);
  assert.deepEqual(codegen(root), []);
});

test('the dispatch table has one row a number; the mutant call is in the mutant image alone', () => {
  const rows = (mutant: boolean): string[] => [...syscallTable(ABI, mutant).matchAll(/w2c_kernel_sys_(\w+)/g)].map((m) => m[1]!);
  const trapping = ABI.syscalls.filter(({ kind }) => kind !== 'inline');
  const expected = Array.from({ length: Math.max(...trapping.map(({ nr }) => nr)) + 1 }, (_, nr) => {
    const call = trapping.find((item) => item.nr === nr);
    return call === undefined ? 'bad' : call.name;
  });
  assert.deepEqual(rows(true), expected);
  assert.deepEqual(rows(false), expected.map((name) => (name === 'mutant' ? 'bad' : name)));
});

test('every call has a C stub, every importable call an import, and no other', () => {
  const c = sysHeader(ABI);
  for (const { name } of ABI.syscalls) assert.match(c, new RegExp(`w2c_sys_${name}\\(struct w2c_sys\\* unused`));
  const syscalls = assemblyFiles(ABI, [], new Map(), []).get('syscalls.ts')!;
  const imports = [...syscalls.matchAll(/@external\("sys", "(\w+)"\)/g)].map((m) => m[1]!);
  const importable = ABI.syscalls.filter(({ kind }) => kind === 'call' || kind === 'inline').map(({ name }) => name);
  assert.deepEqual(imports, importable);
});

test('an unknown key or a duplicate in a table is refused', (t) => {
  const root = tinyCheckout(t, { 'image/services.toml': '[[service]]\nname = "tiny"\nmemory_pages = 2\nmemroy = 1\n' });
  assert.throws(() => codegen(root), /tiny: unknown key "memroy"/);
});

test('a malformed table is named with line and column', (t) => {
  const root = tinyCheckout(t, { 'image/services.toml': '[[service]]\nname = = 3\n' });
  assert.throws(() => codegen(root), /services\.toml:2:\d+: /);
});

test('marker constants: any run of other characters is one underscore; a collision is refused', (t) => {
  assert.equal(markerConstant('SELFTEST: nexus-log sink-logd ok'), 'M_SELFTEST_NEXUS_LOG_SINK_LOGD_OK');
  const twice = 'phase = "x"\n[[marker]]\ntext = "a: b"\n[[marker]]\ntext = "a b"\n';
  const root = tinyCheckout(t, { 'markers/20-x.toml': twice });
  assert.throws(() => codegen(root), /share the constant M_A_B/);
});

test('the shipping mutants.ts imports nothing', () => {
  const mutants = new Map([['one', 1]]);
  assert.doesNotMatch(mutantsFile(mutants, 'shipping'), /external|chosen: u32 = 0/);
  assert.match(mutantsFile(mutants, 'service'), /@external\("sys", "mutant"\)/);
});

test('asconfig.json says what the build says', () => {
  const config = JSON.parse(text('asconfig.json')) as {
    options: Record<string, unknown>;
    targets: Record<string, Record<string, number>>;
  };
  assert.deepEqual(config.options, { optimizeLevel: 3, shrinkLevel: 0, runtime: 'stub', exportStart: '_init' });
  assert.deepEqual(ASC_FLAGS, ['-O3', '--runtime', 'stub', '--exportStart', '_init']);
  const kernel = config.targets['kernel']!;
  assert.deepEqual(kernelFlags(ROOT).slice(ASC_FLAGS.length), [
    '--memoryBase', `${kernel['memoryBase']}`, '--initialMemory', `${kernel['initialMemory']}`,
    '--maximumMemory', `${kernel['maximumMemory']}`,
  ]);
});

test('the kernel\'s linker script reserves the memory that image/kernel.toml names', () => {
  const reserved = /\.memory[^{]*\{ \. \+= (0x[0-9a-f]+);/.exec(text('runtime/guest/kernel.ld'))?.[1];
  const pages = Number(kernelFlags(ROOT).at(-1));
  assert.equal(Number(reserved), pages * 65536);
});

test('a metrics recipe that metricsd would refuse does not enter the bundle', (t) => {
  const good = text('image/recipes/observability/metrics.toml');
  const name = 'image/recipes/observability/metrics.toml';
  assert.equal(recipeFiles(tinyCheckout(t, { [name]: good }), ABI).length, 1);
  const bad = tinyCheckout(t, { [name]: `${good}\n[surprise]\nx = 1\n` });
  assert.throws(() => recipeFiles(bad, ABI), /image\/recipes\/observability\/metrics\.toml: surprise /);
});
