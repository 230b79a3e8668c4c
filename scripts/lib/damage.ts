// SPDX-License-Identifier: Apache-2.0
// Spoils one bundle entry on purpose, so that the loader's refusals are proved by entries that really are in the image.
// Invariant: every other digest stays true, so the loader reaches exactly the check that the damage is named after.
import { wrong } from './fail.js';
import type { Damage } from './services.js';
import type { BundleService } from '../../image/pack.js';

const NAME_SECTION = 0;

/** The wasm with one section appended (order is not checked by the damage that uses it). */
function replaceOnce(bytes: Uint8Array, from: string, to: string, what: string): Uint8Array {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(from, 0, 'latin1');
  if (at < 0 || from.length !== to.length) wrong(`image/services.toml: ${what}: the module has no "${from}" to spoil`);
  copy.write(to, at, 'latin1');
  return copy;
}

/** Offset of a section's body, or a failure. */
function sectionBody(bytes: Uint8Array, wanted: number, what: string): number {
  let at = 8;
  while (at < bytes.length) {
    const id = bytes[at++]!;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? wrong(`${what}: malformed before it was spoilt`);
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (id === wanted && id !== NAME_SECTION) return at;
    at += length;
  }
  return wrong(`image/services.toml: ${what}: the module has no section ${wanted} to spoil`);
}

function withByte(bytes: Uint8Array, at: number, change: (old: number) => number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = change(copy[at]!);
  return copy;
}

/** Changes the i32 constant of the vigil_abi global: found as the byte pattern of an immutable i32 constant 1. */
function spoilAbi(bytes: Uint8Array, what: string): Uint8Array {
  const body = sectionBody(bytes, 6, what);
  const at = Buffer.from(bytes).indexOf(Buffer.from([0x7f, 0x00, 0x41, 0x01, 0x0b]), body);
  return at < 0 ? wrong(`image/services.toml: ${what}: no constant 1 to spoil`) : withByte(bytes, at + 3, () => 99 & 0x3f);
}

const MEMORY_SECTION = 5;
const ELF_PHDR = 64;

/** Applies a damage to a finished entry. */
export function applyDamage(entry: BundleService, damage: Damage): BundleService {
  const what = `${entry.name}: corrupt`;
  const wasm = (bytes: Uint8Array): BundleService => ({ ...entry, wasm: bytes });
  const elf = (bytes: Uint8Array): BundleService => ({ ...entry, elf: bytes });
  switch (damage) {
    case 'wasm_digest':
      return { ...entry, wrongWasmDigest: true };
    case 'elf_digest':
      return { ...entry, wrongElfDigest: true };
    case 'wasm_malformed':
      return wasm(entry.wasm.subarray(0, entry.wasm.length - 1));
    case 'wasm_import':
      return wasm(replaceOnce(entry.wasm, 'console_line', 'console_wipe', what));
    case 'wasm_abi':
      return wasm(spoilAbi(entry.wasm, what));
    case 'wasm_memory':
      return { ...entry, memoryPages: entry.memoryPages + 1, memoryPagesMax: entry.memoryPagesMax + 1 };
    case 'wasm_export':
      return wasm(replaceOnce(entry.wasm, '\x04main', '\x04mane', what));
    case 'wasm_threads':
      return wasm(withByte(entry.wasm, sectionBody(entry.wasm, MEMORY_SECTION, what) + 1, (flags) => flags | 2));
    case 'elf_malformed':
      return elf(withByte(entry.elf, 1, () => 0));
    case 'elf_range':
      return elf(withByte(entry.elf, ELF_PHDR + 16 + 5, (byte) => byte ^ 0x20));
    case 'elf_writable':
      return elf(withByte(entry.elf, ELF_PHDR + 4, (flags) => flags | 2));
  }
}
