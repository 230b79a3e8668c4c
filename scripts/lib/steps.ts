// SPDX-License-Identifier: Apache-2.0
// The build's steps for one flavour: a module to wasm, a wasm to ELF, the kernel. Each is skipped when its record is fresh.
// Invariant: a step's key names its tool versions and flags, its inputs are every file that it read.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { writeIfChanged } from '../codegen.js';
import { mutantsFile } from './gen-as.js';
import type { Abi } from './abi.js';
import { ASC_FLAGS, ascVersion, type AscResult } from './asc.js';
import { FileHashes, isFresh, loadRecord, saveRecord, sha256 } from './cache.js';
import type { Compilers } from './compilers.js';
import { wrong } from './fail.js';
import { checkModule } from './module-check.js';
import {
  buildKernelElf, buildServiceElf, gccVersion, KERNEL_FLAGS, SERVICE_FLAGS, TEXT_FIRST, TEXT_SPAN_BYTES, wabtVersion,
} from './native.js';
import { readElf } from './elf.js';
import { pathsOf, SYMBOLS, type Flavour, type Paths } from './paths.js';
import type { Module } from './services.js';
import { cutNames, functionsOf, type SymbolFile } from './symbols.js';
import { int, onlyKeys, readToml } from './table.js';
import { readWasm } from './wasm.js';

/** What every step of one build shares. */
export interface Context {
  root: string;
  flavour: Flavour;
  paths: Paths;
  abi: Abi;
  mutants: Map<string, number>;
  files: FileHashes;
  compilers: Compilers;
  /** tool versions, part of every key */
  tools: { asc: string; wabt: string; gcc: string };
  /** one line a step that ran */
  log(line: string): void;
}

/** What the manifest needs to know of a compiled module. */
export interface ModuleFacts {
  mask: string;
  tableEntries: number;
  instanceBytes: number;
}

/** Gathers what the steps share. */
export async function newContext(
  root: string,
  flavour: Flavour,
  abi: Abi,
  mutants: Map<string, number>,
  compilers: Compilers,
  log: (line: string) => void,
): Promise<Context> {
  const tools = { asc: ascVersion(root), wabt: wabtVersion(root), gcc: await gccVersion(root) };
  const files = new FileHashes(root);
  return { root, flavour, paths: pathsOf(root, flavour), abi, mutants, files, compilers, tools, log };
}

/** Changes to the build's own code that alter what it makes; raise it with them. */
const RECIPE_VERSION = 2;

const rel = (context: Context, path: string): string => relative(context.root, path);
const seconds = (from: number): string => `${((performance.now() - from) / 1000).toFixed(1)} s`;

/** asc flags of a service's module. */
export function moduleFlags(module: Module): string[] {
  const { memoryPages, memoryPagesMax } = module;
  return [...ASC_FLAGS, '--initialMemory', `${memoryPages}`, '--maximumMemory', `${memoryPagesMax}`];
}

/** mutants.ts of the mutant flavour stands in for the shipping one. */
function replaced(context: Context, use: 'service' | 'kernel'): Record<string, string> {
  return context.flavour === 'mutant' ? { 'assembly/gen/mutants.ts': mutantsFile(context.mutants, use) } : {};
}

/** A replaced text is part of the key instead. */
function withoutReplaced(read: AscResult['read'], replace: Record<string, string>): AscResult['read'] {
  return Object.fromEntries(Object.entries(read).filter(([path]) => replace[path] === undefined));
}

interface WasmStep {
  name: string;
  key: string;
  wasmPath: string;
}

function wasmStep(context: Context, module: Module): WasmStep {
  const key = sha256(
    JSON.stringify([
      RECIPE_VERSION, context.tools.asc, context.tools.wabt, module.source, moduleFlags(module),
      replaced(context, 'service'), context.abi.syscalls, context.abi.version,
    ]),
  );
  const name = `${context.flavour}/${module.name}.wasm`;
  return { name, key, wasmPath: join(context.paths.modules, module.name, `${module.name}.wasm`) };
}

/** Compiles and checks one module's .wasm. */
async function buildWasm(context: Context, module: Module): Promise<Omit<ModuleFacts, 'instanceBytes'>> {
  const step = wasmStep(context, module);
  const known = loadRecord<Omit<ModuleFacts, 'instanceBytes'>>(context.root, step.name);
  if (known !== null && isFresh(known, step.key, context.files)) return known.facts;
  const start = performance.now();
  const replace = replaced(context, 'service');
  const job = { root: context.root, source: module.source, flags: [...moduleFlags(module), '--debug'], replace };
  const { wasm: named, read } = await context.compilers.compile(job);
  const { shipped: wasm, names } = cutNames(named);
  const { mask, tableEntries } = checkModule(wasm, module.source, context.abi, context.flavour, module);
  mkdirSync(dirname(step.wasmPath), { recursive: true });
  writeFileSync(step.wasmPath, wasm);
  writeFileSync(namesPath(step.wasmPath), JSON.stringify(names));
  const facts = { mask: mask.toString(), tableEntries };
  const inputs = withoutReplaced(read, replace);
  const outputs = [step.wasmPath, namesPath(step.wasmPath)].map((path) => rel(context, path));
  saveRecord(context.root, step.name, context.files, { key: step.key, inputs, outputs, facts });
  context.log(`asc ${module.name}.wasm ${wasm.length} bytes, ${seconds(start)}`);
  return facts;
}

/** Names of a module's functions, by index, beside its .wasm. */
const namesPath = (wasmPath: string): string => wasmPath.replace(/\.wasm$/, '.names.json');

/** Writes build/symbols/DIGEST.json (of the stripped ELF) when it is not there or not of these bytes. */
function writeSymbols(context: Context, module: Module): void {
  const path = (end: string): string => join(context.paths.modules, module.name, `${module.name}.${end}`);
  const [wasm, elf] = [readFileSync(path('wasm')), readFileSync(path('elf'))];
  const full = path('full.elf');
  const names = JSON.parse(readFileSync(path('names.json'), 'utf8')) as Record<string, string>;
  const functions = functionsOf(readElf(readFileSync(full), full), textBase(module), names, readWasm(wasm, module.source));
  const file: SymbolFile = { format: 1, module: module.name, wasm_sha256: sha256(wasm), elf_sha256: sha256(elf), functions };
  mkdirSync(join(context.root, SYMBOLS), { recursive: true });
  writeIfChanged(join(context.root, SYMBOLS, `${file.elf_sha256}.json`), `${JSON.stringify(file)}\n`);
}

/** Every file that the C side of the build reads. */
function guestInputs(context: Context, own: string[]): string[] {
  const shared = listFiles(join(context.root, 'runtime/guest')).map((path) => rel(context, path));
  const headers = ['vigil_abi.h', 'vigil_sys.h'].map((name) => `build/gen/${name}`);
  return [...own, ...shared, ...headers];
}

/** All files below a folder, sorted, absolute. */
export function listFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Where a module's text is linked. */
export function textBase(module: Module): bigint {
  return TEXT_FIRST + BigInt(module.index) * TEXT_SPAN_BYTES;
}

/** Builds one module as far as needed: .wasm, then its ELF. */
export async function buildModule(context: Context, module: Module): Promise<ModuleFacts> {
  const facts = await buildWasm(context, module);
  const folder = join(context.paths.modules, module.name);
  const name = `${context.flavour}/${module.name}.elf`;
  const base = textBase(module);
  const forged = join(context.root, module.source.replace(/\.ts$/, '.native.c'));
  const nativeC = module.source.endsWith('.ts') && existsSync(forged) ? forged : undefined;
  const key = sha256(JSON.stringify([RECIPE_VERSION, context.tools, SERVICE_FLAGS, base.toString(), nativeC !== undefined]));
  const known = loadRecord<{ instanceBytes: number }>(context.root, name);
  if (known !== null && isFresh(known, key, context.files)) {
    writeSymbols(context, module); // a renamed function changes its name alone
    return { ...facts, ...known.facts };
  }
  const start = performance.now();
  const own = [rel(context, join(folder, `${module.name}.wasm`)), ...(nativeC === undefined ? [] : [rel(context, nativeC)])];
  const inputs = context.files.all(guestInputs(context, own));
  const job = { root: context.root, folder, name: module.name, textBase: base, gen: ['build/gen'], nativeC };
  const instanceBytes = await buildServiceElf(job);
  const elf = join(folder, `${module.name}.elf`);
  const outputs = [elf, join(folder, `${module.name}.full.elf`)].map((path) => rel(context, path));
  saveRecord(context.root, name, context.files, { key, inputs, outputs, facts: { instanceBytes } });
  writeSymbols(context, module);
  context.log(`gcc ${module.name}.elf ${readFileSync(elf).length} bytes, ${seconds(start)}`);
  return { ...facts, instanceBytes };
}

/** asc flags of the kernel, from image/kernel.toml. */
export function kernelFlags(root: string): string[] {
  const table = readToml(join(root, 'image/kernel.toml'));
  onlyKeys(table, ['memory_pages', 'memory_base'], 'image/kernel.toml');
  const pages = int(table, 'memory_pages', 'image/kernel.toml', 1, 1024);
  const base = int(table, 'memory_base', 'image/kernel.toml', 4096, 1 << 20);
  return [...ASC_FLAGS, '--memoryBase', `${base}`, '--initialMemory', `${pages}`, '--maximumMemory', `${pages}`];
}

/** The kernel's entry file. */
export const KERNEL_SOURCE = 'assembly/kernel/index.ts';

/** Builds kernel.elf as far as needed. */
export async function buildKernel(context: Context): Promise<void> {
  const folder = context.paths.kernel;
  const wasmPath = join(folder, 'kernel.wasm');
  const flags = kernelFlags(context.root);
  const replace = replaced(context, 'kernel');
  const wasmKey = sha256(JSON.stringify([RECIPE_VERSION, context.tools.asc, flags, replace]));
  const wasmName = `${context.flavour}/kernel.wasm`;
  if (!isFresh(loadRecord(context.root, wasmName), wasmKey, context.files)) {
    const start = performance.now();
    const job = { root: context.root, source: KERNEL_SOURCE, flags, replace };
    const { wasm, read } = await context.compilers.compile(job);
    checkKernelImports(wasm);
    mkdirSync(folder, { recursive: true });
    writeFileSync(wasmPath, wasm);
    const inputs = withoutReplaced(read, replace);
    const outputs = [rel(context, wasmPath)];
    saveRecord(context.root, wasmName, context.files, { key: wasmKey, inputs, outputs, facts: {} });
    context.log(`asc kernel.wasm ${wasm.length} bytes, ${seconds(start)}`);
  }
  await buildKernelImage(context, wasmPath);
}

/** The kernel's only doors are the intrinsics of runtime/guest/kernel.c and abort. */
function checkKernelImports(wasm: Uint8Array): void {
  for (const { module, name } of readWasm(wasm, KERNEL_SOURCE).imports) {
    if (module !== 'hw' && !(module === 'env' && name === 'abort')) {
      wrong(`${KERNEL_SOURCE}: import ${module}.${name} is neither an intrinsic (hw) nor env.abort`);
    }
  }
}

async function buildKernelImage(context: Context, wasmPath: string): Promise<void> {
  const target = join(context.paths.image, 'kernel.elf');
  const gen = context.flavour === 'mutant' ? ['build/gen-mutant', 'build/gen'] : ['build/gen'];
  const key = sha256(JSON.stringify([RECIPE_VERSION, context.tools, KERNEL_FLAGS]));
  const name = `${context.flavour}/kernel.elf`;
  if (isFresh(loadRecord(context.root, name), key, context.files)) return;
  const start = performance.now();
  const inputs = context.files.all(guestInputs(context, [rel(context, wasmPath), `${gen[0]}/syscall_table.inc`]));
  await buildKernelElf(context.root, context.paths.kernel, gen, target);
  saveRecord(context.root, name, context.files, { key, inputs, outputs: [rel(context, target)], facts: {} });
  context.log(`gcc kernel.elf ${readFileSync(target).length} bytes, ${seconds(start)}`);
}
