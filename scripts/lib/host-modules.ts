// SPDX-License-Identifier: Apache-2.0
// Modules that host tools run: assembly/host/NAME.ts -> build/host/NAME.wasm, from the same libraries as the guest's services.
// Invariant: a host module imports nothing but functions of `host` and env.abort, so a tool that runs it hands it all it can reach.
// The step runs only when what it reads has changed, as part of every build of the shipping flavour and on demand by a tool.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codegen } from '../codegen.js';
import { ASC_FLAGS, ascVersion } from './asc.js';
import { FileHashes, isFresh, loadRecord, saveRecord, sha256 } from './cache.js';
import { Compilers } from './compilers.js';
import { wrong } from './fail.js';
import { withLock } from './lock.js';
import { readWasm } from './wasm.js';

/** Every host module of a checkout: one a file of assembly/host. */
export function hostModules(root: string): string[] {
  const folder = join(root, 'assembly/host');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.endsWith('.ts')).map((name) => name.slice(0, -3)).sort();
}

/** Raise it with changes here that alter what is made. */
const RECIPE_VERSION = 1;

/** Builds one host module if its sources changed. Returns its path from the root. @throws Failure 1. */
export async function buildHostModule(
  root: string, name: string, compilers: Compilers, log: (line: string) => void, files = new FileHashes(root),
): Promise<string> {
  const source = `assembly/host/${name}.ts`;
  const output = `build/host/${name}.wasm`;
  const record = `host/${name}.wasm`;
  const key = sha256(JSON.stringify([RECIPE_VERSION, ascVersion(root), source, ASC_FLAGS]));
  if (isFresh(loadRecord(root, record), key, files)) return output;
  const start = performance.now();
  const { wasm, read } = await compilers.compile({ root, source, flags: ASC_FLAGS, replace: {} });
  for (const { module, name: field } of readWasm(wasm, source).imports) {
    if (module !== 'host' && !(module === 'env' && field === 'abort')) wrong(`${source}: import ${module}.${field} is not of the host`);
  }
  mkdirSync(join(root, 'build/host'), { recursive: true });
  writeFileSync(join(root, output), wasm);
  saveRecord(root, record, files, { key, inputs: read, outputs: [output], facts: {} });
  log(`asc host/${name}.wasm ${wasm.length} bytes, ${((performance.now() - start) / 1000).toFixed(1)} s`);
  return output;
}

/** Builds a host module if need be; its path from the root. @throws Failure 1 when it does not compile, 3 without the tools. */
export function freshHostModule(name: string, root: string): Promise<string> {
  return withLock(join(root, 'build/lock'), () => undefined, async () => {
    codegen(root);
    const compilers = new Compilers();
    try {
      return await buildHostModule(root, name, compilers, () => undefined);
    } finally {
      await compilers.close();
    }
  });
}
