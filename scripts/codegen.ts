// SPDX-License-Identifier: Apache-2.0
// Generates what AssemblyScript, C and assembly need from the tables: abi/*.toml, markers/*.toml, image/services.toml.
// Invariant: output depends on the tables alone, and a file is written only when its text changes (so nothing rebuilds).
// Use: `npx tsx scripts/codegen.ts`; scripts/build.ts calls codegen() first.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseCatalog } from '../runtime/bridge/catalog.js';
import { parseGpuMetrics } from '../runtime/export/gpu-metrics.js';
import { loadAbi } from './lib/abi.js';
import { aboutFile, assemblyFiles, head } from './lib/gen-as.js';
import { abiHeader, syscallTable, sysHeader } from './lib/gen-c.js';
import { gpuFile } from './lib/gen-gpu.js';
import { loadMarkers } from './lib/markers.js';
import { ROOT } from './lib/paths.js';
import { runMain } from './lib/fail.js';
import { loadServices } from './lib/services.js';

/** Writes a file when its text differs; tells whether it did. */
export function writeIfChanged(path: string, text: string | Uint8Array): boolean {
  const bytes = Buffer.from(text);
  if (existsSync(path) && readFileSync(path).equals(bytes)) return false;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}.tmp`, bytes);
  renameSync(`${path}.${process.pid}.tmp`, path); // a reader in another process sees the old text or the new one
  return true;
}

/** Generates every file; returns the paths that changed, relative to the root. */
export function codegen(root: string = ROOT): string[] {
  const abi = loadAbi(root);
  const { markers, mutants } = loadMarkers(root);
  const services = loadServices(root, { abi }).map(({ name }) => name);
  const files = new Map<string, string>();
  const assembly = assemblyFiles(abi, markers, mutants, services);
  assembly.set('about.ts', aboutFile((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version));
  assembly.set('gpu.ts', gpuTables(root));
  for (const [name, text] of assembly) files.set(`assembly/gen/${name}`, text);
  files.set('build/gen/vigil_abi.h', abiHeader(abi));
  files.set('build/gen/vigil_sys.h', sysHeader(abi));
  files.set('build/gen/syscall_table.inc', syscallTable(abi, false));
  files.set('build/gen-mutant/syscall_table.inc', syscallTable(abi, true));
  const changed = [...files].filter(([path, text]) => writeIfChanged(join(root, path), text)).map(([path]) => path);
  return [...changed, ...removeStale(root, assembly)];
}

/** What the receiver makes of which fields. */
function gpuTables(root: string): string {
  const read = (name: string): string => readFileSync(join(root, 'abi', name), 'utf8');
  const catalog = parseCatalog(read('gpu-fields.toml'));
  const about = head('abi/gpu-metrics.toml and abi/gpu-fields.toml', 'GPU telemetry.');
  return gpuFile({ ...parseGpuMetrics(read('gpu-metrics.toml')), catalog }, about);
}

/** A table that went away must not leave its constants behind. */
function removeStale(root: string, assembly: Map<string, string>): string[] {
  const folder = join(root, 'assembly/gen');
  const stale = readdirSync(folder).filter((name) => name.endsWith('.ts') && !assembly.has(name));
  for (const name of stale) rmSync(join(folder, name));
  return stale.map((name) => `assembly/gen/${name}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain('codegen', async () => {
    const changed = codegen();
    process.stdout.write(changed.length === 0 ? 'codegen: up to date\n' : `codegen: wrote ${changed.join(', ')}\n`);
    return 0;
  });
}
