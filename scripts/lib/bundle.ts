// SPDX-License-Identifier: Apache-2.0
// Puts the bundle together: service records from image/services.toml and the modules' facts, files from image/recipes.
// Invariant: what is written is read back and verified before it counts.
import { mkdirSync, readFileSync, existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import {
  FLAG_BUNDLE, FLAG_CRASH_WITHHELD, FLAG_EXEC, FLAG_FIXTURE, FLAG_LOG_QUERY, FLAG_SHUTDOWN, FLAG_SPAWN, FLAG_SPAWN_EXEC, packBundle,
  readBundle, type BundleFile, type BundleService,
} from '../../image/pack.js';
import { writeIfChanged } from '../codegen.js';
import { limit, type Abi } from './abi.js';
import { sha256 } from './cache.js';
import { applyDamage } from './damage.js';
import { readElf } from './elf.js';
import { wrong } from './fail.js';
import { recipeFault } from './recipe.js';
import type { Module, Privilege, Service } from './services.js';
import { listFiles, textBase, type Context, type ModuleFacts } from './steps.js';

const PRIVILEGE_FLAGS: Record<Privilege, number> = {
  spawn: FLAG_SPAWN,
  spawn_exec: FLAG_SPAWN_EXEC,
  bundle: FLAG_BUNDLE,
  shutdown: FLAG_SHUTDOWN,
};

/** Flag bits of a service's record. */
export function flagsOf(service: Service): number {
  return (
    (service.exec ? FLAG_EXEC : 0) |
    (service.fixture ? FLAG_FIXTURE : 0) |
    (service.logQuery ? FLAG_LOG_QUERY : 0) |
    (service.crashRegisters ? 0 : FLAG_CRASH_WITHHELD) |
    service.privileges.reduce((bits, privilege) => bits | PRIVILEGE_FLAGS[privilege], 0)
  );
}

function bundleService(context: Context, service: Service, module: Module, facts: ModuleFacts): BundleService {
  const file = (kind: string): Buffer => readFileSync(join(context.paths.modules, module.name, `${module.name}.${kind}`));
  const entry: BundleService = {
    name: service.name,
    id: service.id,
    wasm: file('wasm'),
    elf: file('elf'),
    memoryPages: service.memoryPages,
    memoryPagesMax: service.memoryPagesMax,
    stackBytes: service.stackBytes,
    depth: service.depth,
    restartBudget: service.restartBudget,
    flags: flagsOf(service),
    callsMask: service.calls.reduce((mask, index) => mask | (1n << BigInt(index)), 0n),
    slotsMask: service.slotsMask,
    devices: service.devices,
    console: service.console,
    textBase: textBase(module),
    instanceBytes: facts.instanceBytes,
    tableEntries: facts.tableEntries,
    importsMask: BigInt(facts.mask),
  };
  return service.damage === null ? entry : applyDamage(entry, service.damage);
}

/** Recipes as bundle files, named from image/ on, sorted. @throws Failure 1 when a metrics recipe is not valid. */
export function recipeFiles(root: string, abi: Abi): BundleFile[] {
  const folder = join(root, 'image/recipes');
  if (!existsSync(folder)) return [];
  return listFiles(folder)
    .filter((path) => path.endsWith('.toml'))
    .map((path) => {
      const file = { name: relative(join(root, 'image'), path), bytes: readFileSync(path) };
      if (file.name.startsWith(METRICS_RECIPES)) checkRecipe(file, abi);
      return file;
    });
}

const METRICS_RECIPES = 'recipes/observability/';

/** metricsd refuses the same at boot; here it is a build error. */
function checkRecipe({ name, bytes }: { name: string; bytes: Buffer }, abi: Abi): void {
  const fault = recipeFault(bytes.toString('utf8'), abi);
  if (fault !== null) wrong(`image/${name}: ${fault.key} ${fault.reason}`);
}

const RAM_START = 0x8000_0000n;
const PAGE_BYTES = 65536;

/** Refuses an image whose boot services could not all have the memory that the manifest promises them. */
function checkGuestMemory(context: Context, services: Service[], facts: Map<string, ModuleFacts>, bundleBytes: number): void {
  const elf = readElf(readFileSync(join(context.paths.kernel, 'kernel.full.elf')), 'kernel.full.elf');
  const end = elf.symbols.find(({ name }) => name === 'kernel_end');
  if (end === undefined) return wrong('kernel.full.elf: symbol kernel_end is missing');
  const free = limit(context.abi, 'kernel', 'guest_memory_bytes') - Number(end.value - RAM_START) - bundleBytes;
  const wanted = services
    .filter(({ exec }) => !exec)
    .reduce((sum, { memoryPagesMax, stackBytes, module }) => {
      return sum + memoryPagesMax * PAGE_BYTES + stackBytes + (facts.get(module.replace('/', '-'))?.instanceBytes ?? 0);
    }, 0);
  if (wanted > free) wrong(`image/services.toml: boot services may want ${wanted} bytes, the guest has ${free} for them`);
}

/** Writes bundle.vgb and manifest.json when they differ; tells whether they did. */
export function writeBundle(
  context: Context,
  services: Service[],
  modules: Module[],
  facts: Map<string, ModuleFacts>,
): boolean {
  const entries = services.map((service) => {
    const module = modules.find(({ path }) => path === service.module)!;
    return bundleService(context, service, module, facts.get(module.name)!);
  });
  const files = recipeFiles(context.root, context.abi);
  const { bytes, manifestSha256 } = packBundle({ services: entries, files });
  const max = limit(context.abi, 'kernel', 'bundle_bytes_max');
  if (bytes.length > max) wrong(`bundle: ${bytes.length} bytes, at most ${max} (abi/limits.toml)`);
  checkGuestMemory(context, services, facts, bytes.length);
  const back = readBundle(bytes);
  if (back.manifestSha256 !== manifestSha256) wrong('bundle: reads back with another identity');
  mkdirSync(context.paths.image, { recursive: true });
  const manifest = {
    format: 1,
    flavour: context.flavour,
    bundle_sha256: manifestSha256,
    bundle_bytes: bytes.length,
    kernel_sha256: sha256(readFileSync(join(context.paths.image, 'kernel.elf'))),
    kernel_bytes: readFileSync(join(context.paths.image, 'kernel.elf')).length,
    tools: context.tools,
    mutants: context.flavour === 'mutant' ? Object.fromEntries(context.mutants) : {},
    services: entries.map((entry) => ({
      name: entry.name,
      id: `0x${entry.id.toString(16).padStart(16, '0')}`,
      wasm_bytes: entry.wasm.length,
      elf_bytes: entry.elf.length,
      wasm_sha256: sha256(entry.wasm),
      elf_sha256: sha256(entry.elf),
    })),
    files: files.map(({ name, bytes: content }) => ({ name, bytes: content.length, sha256: sha256(content) })),
  };
  const wroteBundle = writeIfChanged(join(context.paths.image, 'bundle.vgb'), bytes);
  const wroteManifest = writeIfChanged(join(context.paths.image, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  if (wroteBundle) {
    const total = manifest.kernel_bytes + bytes.length;
    context.log(`pack bundle.vgb ${bytes.length} bytes, ${services.length} services, image ${total} bytes`);
    const imageMax = limit(context.abi, 'kernel', 'image_bytes_max');
    if (total > imageMax) wrong(`image: kernel and bundle are ${total} bytes, at most ${imageMax} (abi/limits.toml)`);
  }
  return wroteBundle || wroteManifest;
}
