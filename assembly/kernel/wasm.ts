// SPDX-License-Identifier: Apache-2.0
// Reads a module's own sections and decides whether it may run: its imports become the system-call mask, its memory must be the
// manifest's, and it must export what the runtime enters. Every byte is bounds-checked; a malformed file is refused, never followed.
// WebAssembly core specification, "Binary Format".

import {
  REASON_WASM_ABI, REASON_WASM_EXPORT, REASON_WASM_IMPORT, REASON_WASM_MALFORMED, REASON_WASM_MEMORY, REASON_WASM_THREADS,
} from "../gen/loader";
import { MUTANT_IMAGE } from "../gen/mutants";
import { ABI_VERSION, SYSCALL_NAMES, SYSCALL_NAMES_BYTES, SYSCALL_NAMES_COUNT } from "../gen/syscalls";

const I32: u32 = 0x7f;
const I64: u32 = 0x7e;
const TYPES_MAX: u32 = 256;
const IMPORTS_MAX: u32 = 64;
const GLOBALS_MAX: u32 = 1024;
const EXPORTS_MAX: u32 = 64;
const PARAMS_MAX: u32 = 16;
const KIND_INLINE: u32 = 1;
const KIND_MUTANT: u32 = 3;

const type_at: u32 = <u32>memory.data(<i32>(TYPES_MAX * 4), 4);
let at: u32 = 0;
let end: u32 = 0;
let bad: bool = false;
let types: u32 = 0;
let globals: u32 = 0;
let globals_at: u32 = 0;

/** What the last module that was checked asks for. */
export let imports_mask: u64 = 0;
let reason: u32 = 0;

function byte(): u32 {
  if (at >= end) {
    bad = true;
    return 0;
  }
  at += 1;
  return load<u8>(at - 1);
}

/** Unsigned LEB128 of at most 32 bits. */
function leb(): u32 {
  let value: u32 = 0;
  for (let shift: u32 = 0; shift < 35; shift += 7) {
    const b = byte();
    if (shift == 28 && b > 15) break;
    value |= (b & 127) << shift;
    if (b < 128) return value;
  }
  bad = true;
  return 0;
}

function skip(bytes: u32): void {
  if (bad || bytes > end - at) {
    bad = true;
    at = end;
    return;
  }
  at += bytes;
}

/** Checks a module of `bytes` at `ptr` against its manifest limits; 0 or the reason of refusal. */
export function wasm_check(ptr: u32, bytes: u32, pages: u32, pages_max: u32, table_entries: u32): u32 {
  at = ptr;
  end = ptr + bytes;
  bad = false;
  reason = 0;
  types = 0;
  globals = 0;
  globals_at = 0;
  imports_mask = 0;
  if (bytes < 8 || load<u32>(ptr) != 0x6d736100 || load<u32>(ptr, 4) != 1) return REASON_WASM_MALFORMED;
  at += 8;
  const module_end = end;
  let last: u32 = 0;
  let memory_seen = false;
  let exports_seen = false;
  let table: u32 = 0;
  while (at < module_end && !bad && reason == 0) {
    const id = byte();
    const size = leb();
    if (bad || size > module_end - at) return REASON_WASM_MALFORMED;
    const section_end = at + size;
    end = section_end;
    if (id != 0) {
      const order = section_order(id);
      if (order == 0 || order <= last) return REASON_WASM_MALFORMED;
      last = order;
    }
    if (id == 1) read_types();
    else if (id == 2) read_imports();
    else if (id == 4) table = read_table();
    else if (id == 5) { read_memory(pages, pages_max); memory_seen = true; }
    else if (id == 6) read_globals();
    else if (id == 7) { read_exports(); exports_seen = true; }
    else if (id == 8) return REASON_WASM_EXPORT; // a start function would run before the runtime is ready
    else at = section_end;
    if (reason == 0 && !bad && at != section_end) bad = true;
    at = section_end;
    end = module_end;
  }
  if (bad) return REASON_WASM_MALFORMED;
  if (reason != 0) return reason;
  if (!memory_seen) return REASON_WASM_MEMORY;
  if (table != table_entries) return REASON_WASM_MEMORY;
  return exports_seen ? 0 : REASON_WASM_EXPORT;
}

/** Position of a section in the required order, 0 for an unknown one. Data count (12) comes before code. */
function section_order(id: u32): u32 {
  if (id > 12) return 0;
  if (id == 12) return 10;
  return id >= 10 ? id + 1 : id;
}

function read_types(): void {
  types = leb();
  if (types > TYPES_MAX) bad = true;
  for (let i: u32 = 0; i < types && !bad; i++) {
    store<u32>(type_at + i * 4, at);
    if (byte() != 0x60) bad = true;
    for (let half = 0; half < 2; half++) {
      const n = byte(); // one byte: an overlong or larger count is refused, so signature() may read it back
      if (n > PARAMS_MAX) bad = true;
      skip(n);
    }
  }
}

/** Type `index` as {parameter count, bit i set where parameter i is i64, result count, 1 if the result is i64}, packed; ~0 if odd. */
function signature(index: u32): u32 {
  if (index >= types) return u32.MAX_VALUE;
  const p = load<u32>(type_at + index * 4) + 1;
  const params = load<u8>(p);
  let wide: u32 = 0;
  for (let i: u32 = 0; i < params; i++) {
    const t = load<u8>(p + 1 + i);
    if (t == I64) wide |= 1 << i;
    else if (t != I32) return u32.MAX_VALUE;
  }
  const results = load<u8>(p + 1 + params);
  let result: u32 = 0;
  if (results == 1) {
    const t = load<u8>(p + 2 + params);
    if (t != I64) return u32.MAX_VALUE;
    result = 1;
  } else if (results != 0) {
    return u32.MAX_VALUE;
  }
  return params | (wide << 8) | (result << 24);
}

function read_imports(): void {
  const count = leb();
  if (count > IMPORTS_MAX) {
    reason = REASON_WASM_IMPORT;
    return;
  }
  for (let i: u32 = 0; i < count && !bad; i++) {
    const module_bytes = leb();
    const module_name = at;
    skip(module_bytes);
    const name_bytes = leb();
    const name = at;
    skip(name_bytes);
    const kind = byte();
    const type = leb();
    if (bad) return;
    if (kind != 0 || !import_allowed(module_name, module_bytes, name, name_bytes, type)) {
      reason = REASON_WASM_IMPORT;
      return;
    }
  }
}

function import_allowed(module_name: u32, module_bytes: u32, name: u32, name_bytes: u32, type: u32): bool {
  if (module_bytes != 3) return false;
  const module = load<u16>(module_name) | (<u32>load<u8>(module_name, 2) << 16);
  if (module == 0x766e65) { // env
    return name_bytes == 5 && load<u32>(name) == 0x726f6261 && load<u8>(name, 4) == 0x74 && signature(type) == 4;
  }
  if (module != 0x737973) return false; // sys
  let row = <u32>SYSCALL_NAMES;
  for (let n: u32 = 0; n < SYSCALL_NAMES_COUNT; n++) {
    const length = <u32>load<u8>(row, 5);
    if (length == name_bytes && memory.compare(row + 6, name, length) == 0) {
      const expected = <u32>load<u8>(row, 2) | (<u32>load<u8>(row, 3) << 8) | (<u32>load<u8>(row, 4) << 24);
      if (signature(type) != expected || (load<u8>(row, 1) == KIND_MUTANT && !MUTANT_IMAGE)) return false;
      if (load<u8>(row, 1) != KIND_INLINE) imports_mask |= <u64>1 << <u64>load<u8>(row);
      return true;
    }
    row += 6 + length;
  }
  return false;
}

function read_table(): u32 {
  const count = leb();
  if (count != 1) bad = true;
  if (byte() != 0x70) bad = true;
  const flags = byte();
  const entries = leb();
  if (flags > 1) bad = true;
  if (flags == 1 && leb() != entries) bad = true;
  return entries;
}

function read_memory(pages: u32, pages_max: u32): void {
  if (leb() != 1) {
    reason = REASON_WASM_MEMORY;
    return;
  }
  const flags = byte();
  if (flags & 2) {
    reason = REASON_WASM_THREADS;
    return;
  }
  if (flags != 1) {
    reason = REASON_WASM_MEMORY;
    return;
  }
  const first = leb();
  const most = leb();
  if (first != pages || most != pages_max) reason = REASON_WASM_MEMORY;
}

/** Globals are only walked when the exports name the one that carries the ABI version. */
function read_globals(): void {
  globals = leb();
  if (globals > GLOBALS_MAX) bad = true;
  globals_at = at;
  at = end;
}

/** Value of the i32.const initialiser of global `index`, or -1. Walks the section from its start. */
function global_value(index: u32): i32 {
  if (globals_at == 0 || index >= globals) return -1;
  const saved = at;
  at = globals_at;
  let value: i32 = -1;
  for (let i: u32 = 0; i <= index && !bad; i++) {
    byte();
    if (byte() > 1) bad = true;
    const op = byte();
    value = -1;
    if (op == 0x41) value = <i32>leb_signed();
    else if (op == 0x42) leb_signed();
    else if (op == 0x43) skip(4);
    else if (op == 0x44) skip(8);
    else bad = true;
    if (byte() != 0x0b) bad = true;
  }
  at = saved;
  return value;
}

function leb_signed(): i64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 70; shift += 7) {
    const b = <u64>byte();
    value |= (b & 127) << shift;
    if (b < 128) {
      if (shift < 57 && b & 64) value |= ~<u64>0 << (shift + 7);
      return value;
    }
  }
  bad = true;
  return 0;
}

function read_exports(): void {
  const count = leb();
  if (count > EXPORTS_MAX) {
    reason = REASON_WASM_EXPORT;
    return;
  }
  let found: u32 = 0;
  for (let i: u32 = 0; i < count && !bad; i++) {
    const bytes = leb();
    const name = at;
    skip(bytes);
    const kind = byte();
    const index = leb();
    if (bad) return;
    if (kind == 0 && bytes == 4 && load<u32>(name) == 0x6e69616d) found |= 1; // main
    else if (kind == 0 && bytes == 5 && load<u32>(name) == 0x696e695f && load<u8>(name, 4) == 0x74) found |= 2; // _init
    else if (kind == 2 && bytes == 6 && load<u32>(name) == 0x6f6d656d && load<u16>(name, 4) == 0x7972) found |= 4; // memory
    else if (kind == 3 && bytes == 9 && load<u64>(name) == 0x62615f6c69676976 && load<u8>(name, 8) == 0x69) { // vigil_abi
      found |= 8;
      // The export section follows the global section, whose bytes lie before `at`; only the upper bound matters to byte().
      if (global_value(index) != <i32>ABI_VERSION) {
        reason = REASON_WASM_ABI;
        return;
      }
    }
  }
  if (!(found & 8)) reason = REASON_WASM_ABI;
  else if (found != 15) reason = REASON_WASM_EXPORT;
}
