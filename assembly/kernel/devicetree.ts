// SPDX-License-Identifier: Apache-2.0
// The flattened device tree that QEMU passes: only /chosen (initrd and command line) and the memory size are read. Bounded walk; a
// property longer than its buffer is an error, not a cut. Devicetree specification 0.4, chapter 5.

import { KERNEL_BOOT_ARGS_BYTES_MAX } from "../gen/limits";
import { DEVICE_TREE, DEVICE_TREE_BYTES } from "./layout";

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
const HEADER_BYTES: u32 = 40;
const TOKENS_MAX: u32 = 16384;

export let initrd_start: u64 = 0;
export let initrd_end: u64 = 0;
export let memory_end: u64 = 0;
const args: u32 = <u32>memory.data(<i32>(KERNEL_BOOT_ARGS_BYTES_MAX), 8);
export let args_bytes: u32 = 0;

@inline function word(at: u32): u32 { return bswap(load<u32>(at)); }
@inline function cells(at: u32, bytes: u32): u64 { return bytes == 8 ? bswap(load<u64>(at)) : <u64>word(at); }

/** Total size from a header that lies at `at`; 0 if that is no device tree or a larger one than fits. */
export function tree_bytes(at: u32): u32 {
  if (word(at) != 0xd00dfeed) return 0;
  const bytes = word(at + 4);
  return bytes > DEVICE_TREE_BYTES ? 0 : bytes;
}

function is(name: u32, expected: string): bool {
  for (let i = 0; i < expected.length; i++) if (<i32>load<u8>(name + i) != expected.charCodeAt(i)) return false;
  return load<u8>(name + expected.length) == 0;
}

/** Reads the tree at DEVICE_TREE; false when it is malformed. */
export function tree_read(bytes: u32): bool {
  const end = DEVICE_TREE + bytes;
  const nodes_at = word(DEVICE_TREE + 8);
  const names_at = word(DEVICE_TREE + 12);
  if (bytes < HEADER_BYTES || nodes_at > bytes || names_at > bytes) return false;
  let at = DEVICE_TREE + nodes_at;
  const names = DEVICE_TREE + names_at;
  let depth = 0;
  let in_chosen = false;
  let in_memory = false;
  for (let n: u32 = 0; n < TOKENS_MAX; n++) {
    if (at + 4 > end) return false;
    const token = word(at);
    at += 4;
    if (token == NOP) continue;
    if (token == BEGIN_NODE) {
      depth += 1;
      if (depth == 2) {
        in_chosen = is(at, "chosen");
        in_memory = load<u32>(at) == 0x6f6d656d && load<u32>(at + 4) == 0x38407972; // "memory@8..."
      }
      while (at < end && load<u8>(at) != 0) at += 1;
      at = (at + 4) & ~3;
    } else if (token == END_NODE) {
      depth -= 1;
      if (depth <= 1) in_chosen = in_memory = false;
    } else if (token == PROPERTY) {
      if (at + 8 > end) return false;
      const size = word(at);
      const name_at = word(at + 4);
      const name = names + name_at;
      const value = at + 8;
      if (name_at >= end - names || size > end - value) return false;
      if (in_chosen && depth == 2 && !chosen(name, value, size)) return false;
      if (in_memory && depth == 2 && is(name, "reg") && size == 16) memory_end = cells(value, 8) + cells(value + 8, 8);
      at = (value + size + 3) & ~3;
    } else {
      return token == END && depth == 0;
    }
  }
  return false;
}

function chosen(name: u32, value: u32, size: u32): bool {
  const number = size == 4 || size == 8;
  if (is(name, "linux,initrd-start")) {
    if (!number) return false;
    initrd_start = cells(value, size);
  } else if (is(name, "linux,initrd-end")) {
    if (!number) return false;
    initrd_end = cells(value, size);
  } else if (is(name, "bootargs")) {
    if (size > KERNEL_BOOT_ARGS_BYTES_MAX) return false;
    memory.copy(<u32>args, value, size);
    args_bytes = size > 0 ? size - 1 : 0;
  }
  return true;
}

/** Finds `key=value` among the blank-separated boot arguments. Returns the value's offset, its size in `arg_bytes`; 0 if absent. */
export let arg_bytes: u32 = 0;
export function arg_find(key: u32, key_bytes: u32): u32 {
  let at: u32 = 0;
  const base = <u32>args;
  while (at < args_bytes) {
    let stop = at;
    while (stop < args_bytes && load<u8>(base + stop) != 0x20) stop += 1;
    if (stop - at > key_bytes && load<u8>(base + at + key_bytes) == 0x3d && memory.compare(base + at, key, key_bytes) == 0) {
      arg_bytes = stop - at - key_bytes - 1;
      return base + at + key_bytes + 1;
    }
    at = stop + 1;
  }
  arg_bytes = 0;
  return 0;
}
