// SPDX-License-Identifier: Apache-2.0
// The two memory maps: kernel linear memory (6 MiB, static, nothing is allocated after boot) and a service's window.
//
//   kernel linear memory                      window of service i, at (i + 1) * 16 GiB
//   0x000000  words shared with kernel.S      +0            unmapped
//   0x001000  thread blocks, 1 KiB each       +0x010000     instance struct (read-write)
//   0x010000  static data of the compiler     +0x080000     funcref table (read-write)
//   0x020000  capability tables               +0x1f0000     stack top; unmapped guard below the stack
//   0x02c000  endpoints                       +0x2_00000000 linear memory; unmapped from its end to the window's end
//   0x038000  free-frame stack
//   0x040000  message headers and buffers     text and read-only data of module m, shared by its instances, at
//   0x108000  devices                         0x1000_0000_0000 + m * 256 MiB
//   0x110000  device tree
//   0x120000  page tables
//   0x300000  virtqueues (device memory: dma_* only)
//   0x380000  scratch
//   0x400000  bundle

import { KERNEL_SERVICES_MAX, KERNEL_THREADS_MAX, KERNEL_TRACE_EVENTS } from "../gen/limits";

export const KERNEL_MEMORY_BYTES: u32 = 0x600000;
/** Where kernel linear memory is mapped once paging is on; nothing else lies within 8 GiB after it. */
export const KERNEL_MEMORY_VA: u64 = 0x2000_0000_0000;

export const CURRENT: u32 = 64;

export const THREADS: u32 = 0x1000;
export const THREAD_BYTES: u32 = 1024;
/** Offset of a thread's trace ring in its block; kernel.S wraps it by clearing one address bit. */
export const TRACE_RING: u32 = 768;
export const STATIC_END: u32 = 0x20000;
export const CAPS: u32 = 0x20000;
export const CAP_BYTES: u32 = 16;
export const ENDPOINTS: u32 = 0x2c000;
export const ENDPOINT_BYTES: u32 = 384;
export const FRAME_STACK: u32 = 0x38000;
export const FRAME_STACK_ENTRIES: u32 = 0x4000;
export const MESSAGE_HEADERS: u32 = 0x40000;
export const MESSAGE_HEADER_BYTES: u32 = 48;
export const SMALL_MESSAGES: u32 = 0x48000;
export const LARGE_MESSAGES: u32 = 0x88000;
export const DEVICES: u32 = 0x108000;
export const DEVICE_TREE: u32 = 0x110000;
export const DEVICE_TREE_BYTES: u32 = 0x10000;
export const PAGE_TABLES: u32 = 0x120000;
export const PAGE_TABLES_END: u32 = 0x300000;
export const DMA_START: u32 = 0x300000;
export const DMA_END: u32 = 0x380000;
export const SCRATCH: u32 = 0x380000;
export const SCRATCH_BYTES: u32 = 0x10000;
export const BUNDLE: u32 = 0x400000;

export const PAGE: u32 = 4096;
export const WINDOW_SHIFT: u32 = 34;
export const WINDOW_INSTANCE: u64 = 0x10000;
export const WINDOW_TABLE: u64 = 0x80000;
export const WINDOW_STACK_TOP: u64 = 0x1f0000;
export const WINDOW_STACK_LOWEST: u64 = 0x1a0000;
export const WINDOW_MEMORY: u64 = 0x2_0000_0000;
export const TEXT_FIRST: u64 = 0x1000_0000_0000;
export const TEXT_STRIDE: u64 = 0x1000_0000;

export const RAM_START: u64 = 0x8000_0000;

/** First virtual address of service `index`'s window. */
@inline export function window_of(index: u32): u64 {
  return <u64>(index + 1) << <u64>WINDOW_SHIFT;
}

// Held here, where a changed limit would break the map.
export function check_layout(): void {
  assert(THREADS + KERNEL_THREADS_MAX * THREAD_BYTES <= 0x10000);
  assert(KERNEL_SERVICES_MAX == KERNEL_THREADS_MAX);
  assert(KERNEL_TRACE_EVENTS * 8 == 128 && (TRACE_RING & 255) == 0 && TRACE_RING + 128 <= THREAD_BYTES);
  assert(__heap_base <= STATIC_END);
}
