// SPDX-License-Identifier: Apache-2.0
// The loader's refusals on the shipping kernel: each reason of abi/loader.toml at boot and through process_create, by one exact fault in a
// good bundle whose digests are made true again; and what a refusal leaves behind, which is nothing.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, test } from 'node:test';
import { HEADER_BYTES, SERVICE_RECORD_BYTES, type BundleService } from '../../image/pack.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { E, Halted, loadKernel, Machine, REASON, type Kernel } from './machine.js';
import { leb, makeElf, makeService, makeWasm, named, pack, section, TEXT_FIRST, TEXT_STRIDE, vector, type Segment, type Wasm } from './modules.js';
import { FLAG } from './world.js';

const PAGES_MAX = limit(loadAbi(), 'kernel', 'service_memory_pages_max');
let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });
const INIT = (): BundleService => makeService('init-lite', { flags: FLAG.spawn | FLAG.bundle | FLAG.shutdown });

/** Makes the manifest digest true again. */
function reseal(bundle: Buffer): Buffer {
  const manifest = bundle.subarray(HEADER_BYTES, HEADER_BYTES + bundle.readUInt32LE(28));
  createHash('sha256').update(manifest).digest().copy(bundle, 64);
  return bundle;
}
/** The PANIC line of a boot that must fail. */
function refusedBoot(bundle: Uint8Array, bootargs?: string): string {
  const machine = new Machine(kernel, { bundle, ...(bootargs === undefined ? {} : { bootargs }) });
  assert.throws(() => machine.boot(), (error) => error instanceof Halted && error.code === 1);
  return machine.lines.at(-1)!;
}
const hex = (value: number): string => `0x${value.toString(16).padStart(16, '0')}`;

interface Fault { name: string; reason: string; edit: (bundle: Buffer) => void; sealed?: boolean }
const word = (at: number, value: number) => (bundle: Buffer): void => void bundle.writeUInt32LE(value, at);
const record = (at: number): number => HEADER_BYTES + SERVICE_RECORD_BYTES + at;
const BUNDLE_FAULTS: Fault[] = [
  { name: 'magic', reason: 'bundle_magic', edit: (b) => { b[7] = 0x32; } },
  { name: 'version', reason: 'bundle_version', edit: word(8, 2) },
  { name: 'longer than the file', reason: 'bundle_size', edit: (b) => { b.writeUInt32LE(b.length + 1, 12); } },
  { name: 'shorter than the header', reason: 'bundle_size', edit: word(12, 95) },
  { name: 'shorter than the manifest', reason: 'bundle_size', edit: word(12, HEADER_BYTES + SERVICE_RECORD_BYTES) },
  { name: 'no services', reason: 'manifest_field', edit: (b) => { b.writeUInt32LE(0, 16); b.writeUInt32LE(0, 28); } },
  { name: 'too many services', reason: 'manifest_field', edit: word(16, 49) },
  { name: 'too many files', reason: 'manifest_field', edit: word(20, 65) },
  { name: 'manifest elsewhere', reason: 'manifest_field', edit: word(24, 97) },
  { name: 'manifest of another size', reason: 'manifest_field', edit: (b) => { b.writeUInt32LE(b.readUInt32LE(28) - 1, 28); } },
  { name: 'reserved header byte', reason: 'manifest_field', edit: (b) => { b[63] = 1; } },
  { name: 'a changed record', reason: 'manifest_digest', edit: (b) => { b[record(68)]! ^= 1; } },
  { name: 'a changed digest', reason: 'manifest_digest', edit: (b) => { b[64]! ^= 1; } },
];
const sealed = (name: string, edit: (b: Buffer) => void): Fault => ({ name, reason: 'manifest_field', edit, sealed: true });
const RECORD_FAULTS: Fault[] = [
  sealed('empty name', (b) => b.fill(0, record(0), record(32))),
  sealed('name without an end', (b) => b.fill(0x61, record(0), record(32))),
  sealed('id of another name', (b) => { b[record(32)]! ^= 1; }),
  sealed('name with a colon', (b) => { b[record(1)] = 0x3a; rename(b); }),
  sealed('name with a line end', (b) => { b[record(1)] = 0x0a; rename(b); }),
  sealed('name with rubbish after its end', (b) => { b[record(30)] = 0x61; }),
  sealed('name of another entry', (b) => { b.copy(b, record(0), HEADER_BYTES, HEADER_BYTES + 40); }),
  sealed('console with a colon', (b) => { b.write('a:', record(160)); }),
  sealed('console without an end', (b) => b.fill(0x61, record(160), record(176))),
  sealed('wasm before the manifest', word(record(40), 95)),
  sealed('wasm after the end', (b) => { b.writeUInt32LE(b.length + 1, record(40)); }),
  sealed('wasm over the end', (b) => { b.writeUInt32LE(b.length, record(44)); }),
  sealed('wasm around 2^32', (b) => { b.writeUInt32LE(0xffff_fff0, record(44)); }),
  sealed('elf over the end', (b) => { b.writeUInt32LE(0xffff_ffff, record(52)); }),
  sealed('elf at 2^32', word(record(48), 0xffff_ffff)),
  sealed('no memory', word(record(56), 0)),
  sealed('more memory than its limit', word(record(56), 2)),
  sealed('memory limit over the limit', word(record(60), PAGES_MAX + 1)),
  sealed('no stack', word(record(64), 0)),
  sealed('stack of half a page', word(record(64), 4096 + 2048)),
  sealed('stack over the limit', word(record(64), 262144 + 4096)),
  sealed('no queue', word(record(68), 0)),
  sealed('queue over the limit', word(record(68), 65)),
  sealed('restarts over the limit', word(record(72), 9)),
  sealed('an unknown flag', word(record(76), 256)),
  sealed('a call to an entry that is not there', (b) => { b[record(80)] = 4; }),
  sealed('text below the first', (b) => { b.writeBigUInt64LE(TEXT_FIRST - TEXT_STRIDE, record(176)); }),
  sealed('text above the last', (b) => { b.writeBigUInt64LE(TEXT_FIRST + 48n * TEXT_STRIDE, record(176)); }),
  sealed('text between two places', (b) => { b.writeBigUInt64LE(TEXT_FIRST + 4096n, record(176)); }),
  sealed('text at 2^64', (b) => { b.writeBigUInt64LE((1n << 64n) - TEXT_STRIDE, record(176)); }),
  sealed('no instance', word(record(184), 0)),
  sealed('an instance into the table', word(record(184), 0x80000 - 0x10000 - 4096 + 1)),
  sealed('an instance around 2^32', word(record(184), 0xffff_ffff)),
  sealed('a table into the stack', word(record(188), Math.floor((0x1f0000 - 0x40000 - 2 * 4096 - 0x80000) / 32) + 1)),
  sealed('a table around 2^32', word(record(188), 0x0800_0000)),
  sealed('a reserved byte', (b) => { b[record(200)] = 1; }),
  sealed('the last reserved byte', (b) => { b[record(255)] = 1; }),
  sealed('file over the end', (b) => { b.writeUInt32LE(b.length, record(SERVICE_RECORD_BYTES + 68)); }),
  sealed('file name without an end', (b) => b.fill(0x61, record(SERVICE_RECORD_BYTES), record(SERVICE_RECORD_BYTES + 64))),
];
/** The id that belongs to the changed name. */
function rename(bundle: Buffer): void {
  const field = bundle.subarray(record(0), record(32));
  let hash = 0xcbf29ce484222325n;
  for (const byte of field.subarray(0, field.indexOf(0))) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffff_ffff_ffff_ffffn;
  bundle.writeBigUInt64LE(hash, record(32));
}

test('every fault of the bundle and its records is refused at boot, by its own reason', () => {
  const good = pack([INIT(), makeService('other', { module: 1 })], [{ name: 'a.toml', bytes: Buffer.from('x = 1\n') }]);
  new Machine(kernel, { bundle: good }).boot();
  for (const { name, reason, edit, sealed: seal } of [...BUNDLE_FAULTS, ...RECORD_FAULTS]) {
    const bundle = Buffer.from(good);
    edit(bundle);
    if (seal) reseal(bundle);
    assert.ok(refusedBoot(bundle).startsWith(`PANIC kernel: bundle refused ${hex(REASON[reason]!)}`), `${name}: ${reason}`);
  }
  assert.match(refusedBoot(good.subarray(0, 95)), new RegExp(`bundle refused ${hex(REASON['bundle_size']!)}`));
});

test('the largest values that the table of limits allows are taken', () => {
  const most = makeService('most', {
    module: 47, memoryPages: PAGES_MAX, stackBytes: 262144, depth: 64, restartBudget: 8, instanceBytes: 0x80000 - 0x10000 - 4096,
    tableEntries: Math.floor((0x1f0000 - 0x40000 - 2 * 4096 - 0x80000) / 32), name: 'm'.repeat(31), console: 'c'.repeat(15),
  });
  most.id = makeService(most.name).id;
  const machine = new Machine(kernel, { bundle: pack([INIT(), most]) }).boot();
  assert.equal(machine.sys('process_create', 1), 1n);
});

test('the boot arguments may name the one bundle that is taken', () => {
  const bundle = pack([INIT()]);
  const digest = bundle.toString('hex', 64, 96);
  new Machine(kernel, { bundle, bootargs: `profile=proof bundle=${digest}` }).boot();
  for (const wrong of [digest.replace(/.$/, (c) => (c === '0' ? '1' : '0')), digest.slice(1), '', digest.toUpperCase().replace(/[0-9]/g, 'A')]) {
    assert.match(refusedBoot(bundle, `bundle=${wrong}`), /bundle is not the one/);
  }
});

// --- one module at a time ---

const elfWith = (edit: (segments: Segment[]) => Segment[], more: { entry?: bigint } = {}) => (base: bigint): Buffer => makeElf({ base, edit, ...more });
const first = (change: Partial<Segment> | ((s: Segment) => Partial<Segment>)) => (all: Segment[]): Segment[] =>
  all.map((s, i) => (i === 0 ? { ...s, ...(typeof change === 'function' ? change(s) : change) } : s));
const wasmOf = (replace: Record<number, number[]>, more: Partial<Wasm> = {}): Partial<BundleService> => ({ wasm: makeWasm({ replace, ...more }) });
const cut = (bytes: Buffer, n: number): Buffer => bytes.subarray(0, bytes.length - n);
const EXPORT = (name: string, kind: number, index: number): number[] => [...named(name), kind, ...leb(index)];
const GOOD_EXPORTS = [EXPORT('memory', 2, 0), EXPORT('vigil_abi', 3, 0), EXPORT('main', 0, 1), EXPORT('_init', 0, 1)];
const NULL_IMPORT = (kind: number[], module = 'sys', name = 'null'): number[] => section(2, ...vector([[...named(module), ...named(name), ...kind]]));
const MODULE_FAULTS: [string, string, (base: bigint) => Partial<BundleService>][] = [
  ['wasm digest', 'wasm_digest', () => ({ wrongWasmDigest: true })],
  ['elf digest', 'elf_digest', () => ({ wrongElfDigest: true })],
  ['empty wasm', 'wasm_malformed', () => ({ wasm: Buffer.alloc(0) })],
  ['wasm magic', 'wasm_malformed', () => ({ wasm: Buffer.from([...makeWasm()].with(0, 1)) })],
  ['wasm version', 'wasm_malformed', () => ({ wasm: Buffer.from([...makeWasm()].with(4, 2)) })],
  ['wasm cut by a byte', 'wasm_malformed', () => ({ wasm: cut(makeWasm(), 1) })],
  ['a section twice', 'wasm_malformed', () => wasmOf({ 3: [...section(3, 1, 1), ...section(3, 1, 1)] })],
  ['sections out of order', 'wasm_malformed', () => wasmOf({ 3: section(5, 1, 1, 1, 1), 5: section(3, 1, 1) })],
  ['an unknown section', 'wasm_malformed', () => wasmOf({ 4: section(13, 0) })],
  ['a section size of six bytes', 'wasm_malformed', () => wasmOf({ 4: [4, 0x80, 0x80, 0x80, 0x80, 0x80, 0] })],
  ['a section size over 32 bits', 'wasm_malformed', () => wasmOf({ 4: [4, 0xff, 0xff, 0xff, 0xff, 0x1f] })],
  ['bytes left in a section', 'wasm_malformed', () => wasmOf({ 5: section(5, 1, 1, 1, 1, 0) })],
  ['a type that is no function', 'wasm_malformed', () => wasmOf({ 1: section(1, ...vector([[0x60, 0, 1, 0x7e], [0x5f, 0, 0]])) })],
  ['two tables', 'wasm_malformed', () => wasmOf({ 4: section(4, 2, 0x70, 1, 1, 1, 0x70, 1, 1, 1) })],
  ['a growable table', 'wasm_malformed', () => ({ ...wasmOf({ 4: section(4, 1, 0x70, 1, 2, 3) }), tableEntries: 2 })],
  ['env.exit', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([0, 0], 'env') })],
  ['a call that does not exist', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([0, 0], 'sys', 'nul') })],
  ['a longer name than a call', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([0, 0], 'sys', 'nulls') })],
  ['another type than the call', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([0, 1]) })],
  ['a type that is not there', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([0, 9]) })],
  ['an imported global', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([3, 0x7f, 0]) })],
  ['an imported memory', 'wasm_import', () => wasmOf({ 2: NULL_IMPORT([2, 0]) })],
  ['more imports than the manifest says', 'wasm_import', () => ({ importsMask: 0n })],
  ['fewer imports than the manifest says', 'wasm_import', () => ({ importsMask: 3n })],
  ['a call of the mutant image', 'wasm_import', () => ({ wasm: makeWasm({ imports: ['mutant'] }), importsMask: 1n << 33n })],
  ['a call of the runtime', 'wasm_import', () => ({ wasm: makeWasm({ imports: ['memory_grow'] }), importsMask: 1n << 5n })],
  ['another ABI version', 'wasm_abi', () => ({ wasm: makeWasm({ abiVersion: 2 }) })],
  ['no ABI version', 'wasm_abi', () => ({ wasm: makeWasm({ exports: ['memory', 'main', '_init'] }) })],
  ['an ABI global that is not there', 'wasm_abi', () => wasmOf({ 7: section(7, ...vector(GOOD_EXPORTS.map((e, i) => (i === 1 ? EXPORT('vigil_abi', 3, 7) : e)))) })],
  ['no globals', 'wasm_abi', () => wasmOf({ 6: [] })],
  ['an ABI version of 64 bits', 'wasm_abi', () => wasmOf({ 6: section(6, ...vector([[0x7e, 0, 0x42, 1, 0x0b]])) })],
  ['no memory', 'wasm_memory', () => wasmOf({ 5: [] })],
  ['two memories', 'wasm_memory', () => wasmOf({ 5: section(5, 2, 1, 1, 1, 1, 1, 1) })],
  ['memory without a limit', 'wasm_memory', () => wasmOf({ 5: section(5, 1, 0, 1) })],
  ['more memory than the manifest', 'wasm_memory', () => ({ wasm: makeWasm({ pages: 2, pagesMax: 2 }) })],
  ['a higher limit than the manifest', 'wasm_memory', () => ({ wasm: makeWasm({ pagesMax: 2 }) })],
  ['a table that the manifest lacks', 'wasm_memory', () => ({ wasm: makeWasm({ table: 1 }) })],
  ['64-bit memory', 'wasm_memory', () => wasmOf({ 5: section(5, 1, 5, 1, 1) })],
  ['shared memory', 'wasm_threads', () => wasmOf({ 5: section(5, 1, 3, 1, 1) })],
  ['no main', 'wasm_export', () => ({ wasm: makeWasm({ exports: ['memory', 'vigil_abi', '_init'] }) })],
  ['no _init', 'wasm_export', () => ({ wasm: makeWasm({ exports: ['memory', 'vigil_abi', 'main'] }) })],
  ['memory under another name', 'wasm_export', () => ({ wasm: makeWasm({ exports: ['vigil_abi', 'main', '_init'] }) })],
  ['no exports', 'wasm_export', () => wasmOf({ 7: [] })],
  ['a start function', 'wasm_export', () => wasmOf({ 10: [...section(8, 1), ...section(10, 1, 2, 0, 0x0b)] })],
  ['elf magic', 'elf_malformed', (base) => ({ elf: Buffer.from([...makeElf({ base })].with(1, 0)) })],
  ['empty elf', 'elf_malformed', () => ({ elf: Buffer.alloc(0) })],
  ['elf of 32 bits', 'elf_malformed', (base) => ({ elf: Buffer.from([...makeElf({ base })].with(4, 1)) })],
  ['elf of another machine', 'elf_malformed', (base) => ({ elf: Buffer.from([...makeElf({ base })].with(18, 62)) })],
  ['a shared object', 'elf_malformed', (base) => ({ elf: Buffer.from([...makeElf({ base })].with(16, 3)) })],
  ['no program headers', 'elf_malformed', (base) => ({ elf: elfWith(() => [])(base) })],
  ['nine program headers', 'elf_malformed', (base) => ({ elf: elfWith((all) => [...new Array<Segment>(8).fill({ ...all[0]!, type: 0 }), all[0]!])(base) })],
  ['three segments', 'elf_malformed', (base) => ({ elf: elfWith((all) => [...all, { ...all[1]!, va: all[1]!.va + 4096n }])(base) })],
  ['a segment over the file', 'elf_malformed', (base) => ({ elf: elfWith(first({ offset: 1n << 20n }))(base) })],
  ['a segment around 2^64', 'elf_malformed', (base) => ({ elf: elfWith(first({ offset: (1n << 64n) - 8n }))(base) })],
  ['zeroed data', 'elf_malformed', (base) => ({ elf: elfWith(first((s) => ({ memoryBytes: s.fileBytes + 1n })))(base) })],
  ['an empty segment', 'elf_malformed', (base) => ({ elf: elfWith(first({ fileBytes: 0n, memoryBytes: 0n }))(base) })],
  ['text of the next module', 'elf_range', (base) => ({ elf: elfWith(first({ va: base + TEXT_STRIDE }))(base) })],
  ['text below the module', 'elf_range', (base) => ({ elf: elfWith(first({ va: base - 4096n }))(base) })],
  ['text at the end of the module', 'elf_range', (base) => ({ elf: elfWith(first({ va: base + TEXT_STRIDE - 4096n }))(base) })],
  ['text at 2^64', 'elf_range', (base) => ({ elf: elfWith(first({ va: (1n << 64n) - 4096n }))(base) })],
  ['text between two pages', 'elf_range', (base) => ({ elf: elfWith(first({ va: base + 8n }))(base) })],
  ['two segments in one page', 'elf_range', (base) => ({ elf: elfWith((all) => [all[0]!, { ...all[1]!, va: base }])(base) })],
  ['an entry outside the text', 'elf_range', (base) => ({ elf: elfWith((all) => all, { entry: base + 64n })(base) })],
  ['an entry in the data', 'elf_range', (base) => ({ elf: elfWith((all) => all, { entry: base + 4096n })(base) })],
  ['writable text', 'elf_writable', (base) => ({ elf: elfWith(first({ flags: 7 }))(base) })],
  ['writable data', 'elf_writable', (base) => ({ elf: elfWith((all) => all.map((s, i) => (i === 1 ? { ...s, flags: 6 } : s)))(base) })],
];

test('every fault of a module is refused by its own reason, leaves nothing, and harms nobody', () => {
  const bad = MODULE_FAULTS.map(([, , spoil], i) => {
    const module = 2 + (i % 40);
    return makeService(`bad-${i}`, { module, ...spoil(TEXT_FIRST + BigInt(module) * TEXT_STRIDE) });
  });
  for (let from = 0; from < bad.length; from += 40) {
    const some = bad.slice(from, from + 40);
    const machine = new Machine(kernel, { bundle: pack([INIT(), makeService('good', { module: 1 }), ...some]) }).boot();
    const free = machine.counter('free_frames');
    some.forEach((_, i) => {
      const [name, reason] = MODULE_FAULTS[from + i]!;
      for (let again = 0; again < 2; again++) {
        assert.equal(machine.sys('process_create', 2 + i), E['bad_module'], name);
        assert.equal(machine.meta(0)[0], BigInt(REASON[reason]!), `${name}: ${reason}`);
      }
    });
    assert.equal(machine.counter('free_frames'), free);
    assert.equal(machine.sys('process_create', 1), 1n);
    assert.equal(machine.sys('process_start', 1), 0n);
  }
});

test('the same faults in the first entry stop the boot', () => {
  for (const [name, reason, spoil] of MODULE_FAULTS) {
    const line = refusedBoot(pack([{ ...INIT(), ...spoil(TEXT_FIRST) }]));
    assert.ok(line.endsWith(` ${hex(REASON[reason]!)} ${hex(1)}`) && line.startsWith('PANIC kernel: init-lite refused'), `${name}: ${reason}: ${line}`);
  }
});

test('a module that is already loaded vouches only for entries that name the same files and limits', () => {
  const a = makeService('a', { module: 1 });
  const other = makeElf({ base: a.textBase, textBytes: 96 });
  const same = { ...makeService('same', { module: 1 }), depth: 9, stackBytes: 4096 };
  const foreign: [string, Partial<BundleService>][] = [
    ['other text', { elf: other }],
    ['other text, digest of the first', { elf: other, wrongElfDigest: true }],
    ['another wasm', { wasm: makeWasm({ replace: { 10: section(10, 1, 3, 0, 1, 0x0b) } }) }],
    ['more memory', { memoryPages: 2, memoryPagesMax: 2 }],
    ['a table', { tableEntries: 4 }],
    ['another mask', { importsMask: 0xffn }],
  ];
  const entries = foreign.map(([, change], i) => ({ ...makeService(`f-${i}`, { module: 1 }), ...change }));
  const machine = new Machine(kernel, { bundle: pack([INIT(), a, same, ...entries]) }).boot();
  assert.equal(machine.sys('process_create', 1), 1n);
  assert.equal(machine.sys('process_create', 2), 2n);
  foreign.forEach(([name], i) => {
    assert.equal(machine.sys('process_create', 3 + i), E['bad_module'], name);
    assert.equal(machine.meta(0)[0], BigInt(REASON['manifest_field']!), name);
  });
});

test('a text that does not fit into memory is taken back whole', () => {
  const free = 40;
  const big = { ...makeService('big', { module: 1 }), elf: makeElf({ base: TEXT_FIRST + TEXT_STRIDE, textBytes: free * 4096 }) };
  const start = new Machine(kernel, { bundle: pack([INIT()]) }).framesStart;
  const machine = new Machine(kernel, {
    bundle: pack([INIT(), big, makeService('small', { module: 2 })]), ramBytes: BigInt(start - 0x8000_0000 + (free + 20) * 4096),
  }).boot();
  const before = machine.counter('free_frames');
  assert.ok(before < free, `${before} frames`);
  for (let n = 0; n < 3; n++) {
    assert.equal(machine.sys('process_create', 1), E['no_memory']);
    assert.equal(machine.counter('free_frames'), before);
  }
  assert.ok(!(machine.sys('process_create', 2)! < 0n));
});

test('who may create what', () => {
  const exec = makeService('exec', { module: 1, flags: FLAG.exec });
  const plain = makeService('plain', { module: 1 });
  const spawner = makeService('spawner', { module: 1, flags: FLAG.spawnExec });
  const machine = new Machine(kernel, { bundle: pack([INIT(), spawner, exec, plain]) }).boot();
  assert.equal(machine.sys('process_create', 0), E['not_found'], 'not itself');
  assert.equal(machine.sys('process_create', 4), E['not_found']);
  assert.equal(machine.sys('process_create', -1), E['not_found']);
  assert.equal(machine.sys('process_create', 1), 1n);
  assert.equal(machine.sys('process_create', 1), E['busy']);
  machine.sys('process_start', 1);
  machine.sys('yield');
  assert.equal(machine.current, 1);
  assert.equal(machine.sys('process_create', 3), E['denied']);
  assert.equal(machine.sys('process_create', 2), 2n);
  assert.equal(machine.sys('process_kill', 3), E['not_found']);
  assert.equal(machine.sys('process_grant', 2, 1, 1, 1), E['bad_argument'], 'the slot of its own endpoint');
  assert.equal(machine.sys('process_grant', 2, 10, 1, 1), E['bad_argument']);
  assert.equal(machine.sys('process_grant', 2, 8, 1, 2), E['no_right'], 'receiving is never given away');
  assert.equal(machine.sys('process_grant', 2, 8, 1, 16), E['no_right'], 'a right that the giver lacks');
  assert.equal(machine.sys('process_grant', 2, 8, 1, 1), 0n);
  assert.equal(machine.sys('process_grant', 2, 8, 1, 1), E['busy']);
  machine.sys('yield');
  assert.equal(machine.sys('process_start', 2), E['not_found'], 'another one\'s child');
  assert.equal(machine.sys('process_endpoint', 2, 1), E['not_found']);
});
