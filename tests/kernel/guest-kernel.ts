// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of the kernel: its parsers and hash behind exports, and where the fields of its records lie.
// It is compiled from the kernel's own sources; everything that needs a whole machine is tested on kernel.wasm itself.
import { bundle_check, fnv1a } from "../../assembly/kernel/bundle";
import { CAP_BYTES, CAPS, CURRENT, DMA_END, DMA_START, ENDPOINT_BYTES, ENDPOINTS, KERNEL_MEMORY_BYTES, KERNEL_MEMORY_VA, PAGE_TABLES,
  PAGE_TABLES_END, RAM_START, THREAD_BYTES, THREADS, WINDOW_INSTANCE, WINDOW_MEMORY, WINDOW_SHIFT, WINDOW_STACK_TOP, WINDOW_TABLE, TEXT_FIRST,
  TEXT_STRIDE, DEVICE_TREE } from "../../assembly/kernel/layout";
import { arg_bytes, arg_find, initrd_end, initrd_start, memory_end, tree_bytes, tree_read } from "../../assembly/kernel/devicetree";
import { elf_check } from "../../assembly/kernel/elf";
import { Endpoint } from "../../assembly/kernel/endpoint";
import { sha256 } from "../../assembly/lib/hash/sha256";
import { Thread } from "../../assembly/kernel/thread";
import { imports_mask, wasm_check } from "../../assembly/kernel/wasm";

export { arg_find, bundle_check, elf_check, fnv1a, sha256, tree_bytes, tree_read, wasm_check };
export function importsMask(): u64 { return imports_mask; }
export function initrdStart(): u64 { return initrd_start; }
export function initrdEnd(): u64 { return initrd_end; }
export function memoryEnd(): u64 { return memory_end; }
export function argBytes(): u32 { return arg_bytes; }

/** One number a field, in the order of FIELDS in machine.ts. */
export function field(n: u32): u32 {
  switch (n) {
    case 0: return offsetof<Thread>("pc");
    case 1: return offsetof<Thread>("ra");
    case 2: return offsetof<Thread>("sp");
    case 3: return offsetof<Thread>("tp");
    case 4: return offsetof<Thread>("a0");
    case 5: return offsetof<Thread>("a1");
    case 6: return offsetof<Thread>("t6");
    case 7: return offsetof<Thread>("full");
    case 8: return offsetof<Thread>("fp_valid");
    case 9: return offsetof<Thread>("mask");
    case 10: return offsetof<Thread>("f0");
    case 11: return offsetof<Thread>("fcsr");
    case 12: return offsetof<Thread>("memory");
    case 13: return offsetof<Thread>("memory_bytes");
    case 14: return offsetof<Thread>("index");
    case 15: return offsetof<Thread>("state");
    case 16: return offsetof<Thread>("generation");
    case 17: return offsetof<Thread>("own_endpoint");
    case 18: return offsetof<Thread>("handles");
    case 19: return offsetof<Thread>("host_pending");
    case 20: return offsetof<Thread>("server");
    case 21: return offsetof<Thread>("endpoint");
    case 22: return offsetof<Thread>("gp");
    case 23: return offsetof<Thread>("s0");
    case 24: return offsetof<Thread>();
    case 25: return offsetof<Endpoint>("generation");
    case 26: return offsetof<Endpoint>("count");
    case 27: return offsetof<Endpoint>("waiter");
    case 28: return offsetof<Endpoint>("used");
    case 29: return offsetof<Thread>("trace");
    default: return u32.MAX_VALUE;
  }
}

/** Constants of layout.ts, in the order of LAYOUT in machine.ts. */
export function layout(n: u32): u64 {
  switch (n) {
    case 0: return KERNEL_MEMORY_BYTES;
    case 1: return KERNEL_MEMORY_VA;
    case 2: return CURRENT;
    case 3: return THREADS;
    case 4: return THREAD_BYTES;
    case 5: return CAPS;
    case 6: return CAP_BYTES;
    case 7: return ENDPOINTS;
    case 8: return ENDPOINT_BYTES;
    case 9: return PAGE_TABLES;
    case 10: return PAGE_TABLES_END;
    case 11: return DMA_START;
    case 12: return DMA_END;
    case 13: return WINDOW_SHIFT;
    case 14: return WINDOW_INSTANCE;
    case 15: return WINDOW_TABLE;
    case 16: return WINDOW_STACK_TOP;
    case 17: return WINDOW_MEMORY;
    case 18: return TEXT_FIRST;
    case 19: return TEXT_STRIDE;
    case 20: return RAM_START;
    case 21: return DEVICE_TREE;
    default: return u64.MAX_VALUE;
  }
}
