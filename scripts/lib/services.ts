// SPDX-License-Identifier: Apache-2.0
// image/services.toml as typed values: who is in the image, with what memory, capabilities and blocking edges.
// Invariants, checked here and refused otherwise: unique names and ids, known slots, devices and privileges, sizes within
// abi/limits.toml, `calls` names known services and forms a directed acyclic graph (no circular waits).
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fnv1a64, limit, loadAbi, type Abi } from './abi.js';
import { wrong } from './fail.js';
import { ROOT } from './paths.js';
import { flag, int, onlyKeys, readToml, rows, text, texts, type Table } from './table.js';

/** Deliberate damage to one entry of the bundle, named after the loader's reason (abi/loader.toml). */
export type Damage =
  | 'wasm_digest'
  | 'elf_digest'
  | 'wasm_malformed'
  | 'wasm_import'
  | 'wasm_abi'
  | 'wasm_memory'
  | 'wasm_export'
  | 'wasm_threads'
  | 'elf_malformed'
  | 'elf_range'
  | 'elf_writable';

/** One service of the image. */
export interface Service {
  index: number;
  name: string;
  id: bigint;
  /** path under assembly/services, without index.ts */
  module: string;
  exec: boolean;
  fixture: boolean;
  logQuery: boolean;
  /** false: its crash records hold no register and no argument */
  crashRegisters: boolean;
  memoryPages: number;
  memoryPagesMax: number;
  stackBytes: number;
  depth: number;
  restartBudget: number;
  /** slot numbers, bit 1 << slot */
  slotsMask: number;
  /** service indices this one may block on */
  calls: number[];
  privileges: Privilege[];
  /** virtio device ids */
  devices: number[];
  /** name before the colon of its console lines; empty: its own */
  console: string;
  damage: Damage | null;
}

/** One wasm module; several services may be instances of it. */
export interface Module {
  index: number;
  /** path under assembly/services */
  path: string;
  /** file-system safe name */
  name: string;
  source: string;
  memoryPages: number;
  memoryPagesMax: number;
}

export const PRIVILEGES = ['spawn', 'spawn_exec', 'bundle', 'shutdown'] as const;
export type Privilege = (typeof PRIVILEGES)[number];

/** virtio device ids (virtio 1.2, section 5). */
export const DEVICE_IDS: Readonly<Record<string, number>> = { blk: 2, serial: 3, rng: 4 };

const DAMAGES: readonly Damage[] = [
  'wasm_digest', 'elf_digest', 'wasm_malformed', 'wasm_import', 'wasm_abi', 'wasm_memory', 'wasm_export',
  'wasm_threads', 'elf_malformed', 'elf_range', 'elf_writable',
];
const KEYS = [
  'name', 'module', 'start', 'memory_pages', 'memory_pages_max', 'stack_bytes', 'depth', 'restart_budget', 'slots',
  'calls', 'privileges', 'devices', 'log_query', 'fixture', 'console', 'corrupt', 'crash_registers',
];
/** Slots that follow from other keys, so that `slots` may not name them. */
const IMPLIED_SLOTS = ['self', 'device0', 'log_query'];
const SERVICE_NAME = /^[a-z][a-z0-9-]{0,30}$/;
const MODULE_PATH = /^[a-z][a-z0-9-]*(\/[a-z][a-z0-9-]*)?$/;
const CONSOLE_BYTES_MAX = 15;

/** Reads and checks the service list. `partial` leaves out services whose module has no source yet. */
export function loadServices(root: string = ROOT, options: { partial?: boolean; abi?: Abi } = {}): Service[] {
  const abi = options.abi ?? loadAbi(root);
  const table = readToml(join(root, 'image/services.toml'));
  return readServices(table, abi, (module) => !options.partial || moduleSource(root, module) !== null);
}

/** The pure part of loadServices: a parsed table to services. */
export function readServices(table: Table, abi: Abi, wanted: (module: string) => boolean): Service[] {
  onlyKeys(table, ['service'], 'image/services.toml');
  const all = rows(table, 'service', 'image/services.toml');
  const names = all.map((row, index) => text(row, 'name', `image/services.toml: service ${index + 1}`));
  const kept = all.filter((row) => wanted(text(row, 'module', 'image/services.toml', text(row, 'name', ''))));
  const indexOf = new Map(kept.map((row, index) => [row['name'] as string, index]));
  const services = kept.map((row, index) => service(row, index, abi, names, indexOf));
  const max = limit(abi, 'kernel', 'services_max');
  if (services.length > max) wrong(`image/services.toml: ${services.length} services, at most ${max}`);
  refuseDuplicates(names, services);
  refuseCycle(services);
  modulesOf(services, () => '');
  return services;
}

function service(row: Table, index: number, abi: Abi, names: string[], indexOf: Map<string, number>): Service {
  const name = text(row, 'name', 'image/services.toml');
  const at = `image/services.toml: ${name}`;
  onlyKeys(row, KEYS, at);
  if (!SERVICE_NAME.test(name)) wrong(`${at}: a name is 1 to 31 of a-z, 0-9 and -`);
  const module = text(row, 'module', at, name);
  if (!MODULE_PATH.test(module)) wrong(`${at}: module "${module}" is not a path under assembly/services`);
  const start = text(row, 'start', at, 'boot');
  if (start !== 'boot' && start !== 'exec') wrong(`${at}: start must be boot or exec`);
  const pagesMax = limit(abi, 'kernel', 'service_memory_pages_max');
  const memoryPages = int(row, 'memory_pages', at, 1, pagesMax);
  const stackBytes = int(row, 'stack_bytes', at, 4096, limit(abi, 'kernel', 'service_stack_bytes_max'), 32768);
  if (stackBytes % 4096 !== 0) wrong(`${at}: stack_bytes must be a multiple of 4096`);
  const privileges = texts(row, 'privileges', at, []);
  for (const privilege of privileges) {
    if (!(PRIVILEGES as readonly string[]).includes(privilege)) wrong(`${at}: unknown privilege "${privilege}"`);
  }
  const devices = texts(row, 'devices', at, []).map(
    (device) => DEVICE_IDS[device] ?? wrong(`${at}: unknown device "${device}"`),
  );
  if (devices.length > 4) wrong(`${at}: at most 4 devices`);
  const logQuery = flag(row, 'log_query', at, false);
  const damage = text(row, 'corrupt', at, '');
  if (damage !== '' && !DAMAGES.includes(damage as Damage)) wrong(`${at}: unknown damage "${damage}"`);
  if (damage !== '' && start !== 'exec') wrong(`${at}: only an exec entry may be corrupt`);
  const shown = text(row, 'console', at, '');
  if (shown.length > CONSOLE_BYTES_MAX) wrong(`${at}: console name is longer than ${CONSOLE_BYTES_MAX}`);
  return {
    index,
    name,
    id: fnv1a64(name),
    module,
    exec: start === 'exec',
    fixture: flag(row, 'fixture', at, false),
    logQuery,
    crashRegisters: flag(row, 'crash_registers', at, true),
    memoryPages,
    memoryPagesMax: int(row, 'memory_pages_max', at, memoryPages, pagesMax, memoryPages),
    stackBytes,
    depth: int(row, 'depth', at, 1, limit(abi, 'kernel', 'endpoint_depth_max'), 16),
    restartBudget: int(row, 'restart_budget', at, 0, limit(abi, 'kernel', 'restart_budget_max'), 0),
    slotsMask: slotsMask(row, abi, at, devices.length > 0, logQuery),
    calls: edges(row, index, at, names, indexOf),
    privileges: privileges as Privilege[],
    devices,
    console: shown,
    damage: damage === '' ? null : (damage as Damage),
  };
}

function slotsMask(row: Table, abi: Abi, at: string, device: boolean, logQuery: boolean): number {
  const named = texts(row, 'slots', at, []);
  for (const name of named) {
    if (IMPLIED_SLOTS.includes(name)) wrong(`${at}: slot "${name}" follows from other keys and is not named`);
  }
  const granted = ['self', ...named, ...(device ? ['device0'] : []), ...(logQuery ? ['log_query'] : [])];
  return granted.reduce((mask, name) => {
    const slot = abi.slots.find((entry) => entry.name === name);
    return slot === undefined ? wrong(`${at}: unknown slot "${name}"`) : mask | (1 << slot.number);
  }, 0);
}

/** "*" stands for every other service. Names known to the file but left out of a partial build drop out. */
function edges(row: Table, index: number, at: string, names: string[], indexOf: Map<string, number>): number[] {
  const listed = texts(row, 'calls', at, []);
  const targets = listed.includes('*') ? names.filter((name) => name !== row['name']) : listed;
  if (listed.includes('*') && listed.length > 1) wrong(`${at}: calls is "*" or names, not both`);
  return targets.flatMap((name) => {
    if (!names.includes(name)) return wrong(`${at}: calls unknown service "${name}"`);
    if (name === row['name']) return wrong(`${at}: calls itself`);
    const target = indexOf.get(name);
    return target === undefined ? [] : [target];
  });
}

function refuseDuplicates(names: string[], services: Service[]): void {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) wrong(`image/services.toml: service "${twice}" appears twice`);
  const ids = new Map<bigint, string>([[0n, 'the kernel']]);
  for (const { id, name } of services) {
    if (ids.has(id)) wrong(`image/services.toml: "${name}" has the id of "${ids.get(id)}"; rename one`);
    ids.set(id, name);
  }
}

/** Depth-first search; a cycle is named in full. */
function refuseCycle(services: Service[]): void {
  const done = new Set<number>();
  const visit = (index: number, path: number[]): void => {
    const from = path.indexOf(index);
    if (from >= 0) {
      const cycle = [...path.slice(from), index].map((item) => services[item]!.name).join(' -> ');
      wrong(`image/services.toml: calls form a cycle: ${cycle}`);
    }
    if (done.has(index)) return;
    for (const target of services[index]!.calls) visit(target, [...path, index]);
    done.add(index);
  };
  for (const { index } of services) visit(index, []);
}

/** The modules of a service list in order of first use; instances of one module must agree on memory. */
export function modulesOf(services: Service[], sourceOf: (module: string) => string): Module[] {
  const modules = new Map<string, Module>();
  for (const entry of services) {
    const known = modules.get(entry.module);
    if (known === undefined) {
      modules.set(entry.module, {
        index: modules.size,
        path: entry.module,
        name: entry.module.replace('/', '-'),
        source: sourceOf(entry.module),
        memoryPages: entry.memoryPages,
        memoryPagesMax: entry.memoryPagesMax,
      });
    } else if (known.memoryPages !== entry.memoryPages || known.memoryPagesMax !== entry.memoryPagesMax) {
      wrong(`image/services.toml: ${entry.name}: memory pages differ from another instance of ${entry.module}`);
    }
  }
  return [...modules.values()];
}

/** The entry file of a module relative to the root, or null when there is none. */
export function moduleSource(root: string, module: string): string | null {
  for (const suffix of ['/index.ts', '.ts', '.wat']) {
    const candidate = `assembly/services/${module}${suffix}`;
    if (existsSync(join(root, candidate))) return candidate;
  }
  return null;
}
