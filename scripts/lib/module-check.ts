// SPDX-License-Identifier: Apache-2.0
// What a service's .wasm must be before it is compiled further (compile-worker.mjs has validated it): importing only declared
// system calls with their declared types, exporting memory, main, _init and vigil_abi, with the memory that the manifest names.
// The kernel's loader repeats these checks at boot; here they become readable build errors.
import type { Abi, Syscall } from './abi.js';
import { wrong } from './fail.js';
import type { Flavour } from './paths.js';
import { EXPORT_FUNC, EXPORT_GLOBAL, EXPORT_MEMORY, readWasm, type WasmInfo } from './wasm.js';

/** What the manifest says of a module's memory, in pages of 64 KiB. */
export interface MemoryLimits {
  memoryPages: number;
  memoryPagesMax: number;
}

/** Type letters of a system call at the wasm level. */
export function wasmSignature(call: Syscall): { params: string; results: string } {
  return { params: call.params.map(({ type }) => (type === 'u64' ? 'I' : 'i')).join(''), results: call.never ? '' : 'I' };
}

/** The import mask: bit nr of each imported call that traps. Calls of kind runtime need no import and have no bit here. */
export function importMask(info: WasmInfo, abi: Abi, flavour: Flavour, name: string): bigint {
  let mask = 0n;
  for (const { module, name: field, kind, type } of info.imports) {
    const shown = `${name}: import ${module}.${field}`;
    if (kind !== 'func' || type === null) return wrong(`${shown} is a ${kind}; only functions may be imported`);
    if (module === 'env' && field === 'abort') {
      if (type.params !== 'iiii' || type.results !== '') wrong(`${shown} has a wrong type`);
      continue;
    }
    const call = module === 'sys' ? abi.syscalls.find((item) => item.name === field) : undefined;
    if (call === undefined) return wrong(`${shown} is not a system call of abi/syscalls.toml`);
    if (call.kind === 'runtime') wrong(`${shown} belongs to the runtime and is not imported`);
    if (call.kind === 'mutant' && flavour !== 'mutant') wrong(`${shown} exists in the mutant image alone`);
    const expected = wasmSignature(call);
    if (type.params !== expected.params || type.results !== expected.results) {
      wrong(`${shown} has type (${type.params})->(${type.results}), not (${expected.params})->(${expected.results})`);
    }
    if (call.kind !== 'inline') mask |= 1n << BigInt(call.nr);
  }
  return mask;
}

function checkExports(info: WasmInfo, abi: Abi, name: string): void {
  const find = (field: string, kind: number): number => {
    const found = info.exports.find((item) => item.name === field);
    if (found === undefined || found.kind !== kind) return wrong(`${name}: export "${field}" is missing`);
    return found.index;
  };
  find('memory', EXPORT_MEMORY);
  for (const field of ['main', '_init']) {
    const type = info.functions[find(field, EXPORT_FUNC)];
    if (type?.params !== '' || type.results !== '') wrong(`${name}: export "${field}" must take and return nothing`);
  }
  const version = info.globals[find('vigil_abi', EXPORT_GLOBAL)];
  if (version !== abi.version) wrong(`${name}: vigil_abi is ${version ?? 'no i32 constant'}, must be ${abi.version}`);
}

/** Checks a service's module and tells what the manifest needs. @throws Failure 1 naming the module. */
export function checkModule(
  bytes: Uint8Array,
  name: string,
  abi: Abi,
  flavour: Flavour,
  limits: MemoryLimits,
): { mask: bigint; tableEntries: number } {
  const info = readWasm(bytes, name);
  const mask = importMask(info, abi, flavour, name);
  checkExports(info, abi, name);
  const memory = info.memories[0];
  if (info.memories.length !== 1 || memory === undefined) return wrong(`${name}: must have exactly one memory of its own`);
  if (memory.shared) wrong(`${name}: memory is shared`);
  if (memory.pages !== limits.memoryPages || memory.maxPages !== limits.memoryPagesMax) {
    wrong(
      `${name}: memory is ${memory.pages}..${memory.maxPages ?? 'unbounded'} pages, ` +
        `image/services.toml says ${limits.memoryPages}..${limits.memoryPagesMax}`,
    );
  }
  if (info.tables.length > 1) wrong(`${name}: has ${info.tables.length} tables, at most 1`);
  return { mask, tableEntries: info.tables[0]?.elements ?? 0 };
}
