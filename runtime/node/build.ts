// SPDX-License-Identifier: Apache-2.0
// Compiles one AssemblyScript entry for a test, with a cache below build/: the same compiler and flags as the image.
// Invariant: a cached module is used only while every source file it was made from has the same digest.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codegen } from '../../scripts/codegen.js';
import { ASC_FLAGS } from '../../scripts/lib/asc.js';
import { sha256 } from '../../scripts/lib/cache.js';
import { Compilers } from '../../scripts/lib/compilers.js';
import { Failure } from '../../scripts/lib/fail.js';
import { mutantsFile } from '../../scripts/lib/gen-as.js';
import { loadMarkers } from '../../scripts/lib/markers.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { loadServices, modulesOf, moduleSource } from '../../scripts/lib/services.js';
import { moduleFlags } from '../../scripts/lib/steps.js';

const CACHE = join(ROOT, 'build/cache/node');

interface CacheEntry {
  flags: string[];
  sources: Record<string, string>;
  /** SHA-256 of the module */
  wasm: string;
}
export interface Compiled {
  ok: boolean;
  wasm: Uint8Array;
  /** the compiler's messages */
  messages: string;
}

const compilers = new Compilers();
let generated = false;

/** Texts that stand in for source files, by path from the root. */
export type Replace = Record<string, string>;

/** Compiles `entry` (path from the root). Never throws for a compile error: see `ok` and `messages`. */
export async function compile(entry: string, flags: string[] = ASC_FLAGS, replace: Replace = {}): Promise<Compiled> {
  if (!generated) codegen();
  generated = true;
  try {
    const { wasm, read } = await compilers.compile({ root: ROOT, source: entry, flags, replace });
    const kept = Object.entries(read).filter((pair): pair is [string, string] => pair[1] !== null && replace[pair[0]] === undefined);
    store(entry, flags, Object.fromEntries(kept), wasm, replace);
    return { ok: true, wasm, messages: '' };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ok: false, wasm: new Uint8Array(0), messages: error.message };
  }
}

function cacheNames(entry: string, replace: Replace): { wasm: string; json: string } {
  const other = Object.keys(replace).length === 0 ? '' : `-${sha256(JSON.stringify(replace)).slice(0, 16)}`;
  const base = join(CACHE, entry.replaceAll('/', '_').replace(/\.ts$/, '') + other);
  return { wasm: `${base}.wasm`, json: `${base}.json` };
}

function store(entry: string, flags: string[], sources: Record<string, string>, wasm: Uint8Array, replace: Replace): void {
  mkdirSync(CACHE, { recursive: true });
  const names = cacheNames(entry, replace);
  const known: CacheEntry = { flags, sources, wasm: sha256(wasm) };
  const entryText = JSON.stringify(known);
  for (const [path, contents] of [[names.wasm, wasm], [names.json, entryText]] as const) {
    writeFileSync(`${path}.${process.pid}`, contents);
    renameSync(`${path}.${process.pid}`, path);
  }
}

function cached(entry: string, flags: string[], replace: Replace): Uint8Array | null {
  const names = cacheNames(entry, replace);
  if (!existsSync(names.json) || !existsSync(names.wasm)) return null;
  const known = JSON.parse(readFileSync(names.json, 'utf8')) as CacheEntry;
  if (JSON.stringify(known.flags) !== JSON.stringify(flags)) return null;
  for (const [path, wanted] of Object.entries(known.sources)) {
    const full = join(ROOT, path);
    if (!existsSync(full) || sha256(readFileSync(full)) !== wanted) return null;
  }
  const wasm = readFileSync(names.wasm);
  return sha256(wasm) === known.wasm ? wasm : null;
}

/** The module of an entry file, from the cache where nothing changed. Throws with the compiler's messages. */
export async function buildEntry(entry: string, flags: string[] = ASC_FLAGS, replace: Replace = {}): Promise<Uint8Array> {
  if (!generated) codegen();
  generated = true;
  const hit = cached(entry, flags, replace);
  if (hit) return hit;
  const { ok, wasm, messages } = await compile(entry, flags, replace);
  if (!ok) throw new Error(`${entry} does not compile:\n${messages}`);
  return wasm;
}

/** The module of a service of image/services.toml, compiled with the image's own flags: the same bytes that ship. With `replace` it is
 *  the same service from other sources: a deliberate bug, or the mutants of the canaries (mutantSources). */
export async function buildModule(name: string, { replace = {} }: { replace?: Replace } = {}): Promise<Uint8Array> {
  const services = loadServices(ROOT, { partial: true });
  const module = modulesOf(services, (path) => moduleSource(ROOT, path) ?? '').find(({ path }) => path === name);
  if (module === undefined) throw new Error(`image/services.toml has no module ${name} with a source`);
  return buildEntry(module.source, moduleFlags(module), replace);
}

/** What turns a service into its mutant flavour, for buildModule; the Host's option `mutant` then chooses one by number. */
export function mutantSources(): { replace: Replace; numbers: Map<string, number> } {
  const { mutants } = loadMarkers();
  return { replace: { 'assembly/gen/mutants.ts': mutantsFile(mutants, 'service') }, numbers: mutants };
}
