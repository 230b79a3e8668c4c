// SPDX-License-Identifier: Apache-2.0
// The one Sv48 page table. Kernel pages are supervisor-only; text is never writable and data never executable (W^X); a service's pages
// are user pages in its own window. Table pages come from a fixed region and are kept when a window empties. Accessed and dirty bits
// are set from the start, so the hardware never writes here.

import { fence_vm, phys_of, set_page_table } from "./hw";
import { KERNEL_MEMORY_BYTES, KERNEL_MEMORY_VA, PAGE, PAGE_TABLES, PAGE_TABLES_END, RAM_START } from "./layout";

const V: u64 = 1;
export const PTE_R: u64 = 2;
export const PTE_W: u64 = 4;
export const PTE_X: u64 = 8;
export const PTE_U: u64 = 16;
const G: u64 = 32;
const AD: u64 = 0xc0;
const MEGA: u64 = 0x20_0000;

let next: u32 = PAGE_TABLES;

function table_make(): u32 {
  if (next + PAGE > PAGE_TABLES_END) return 0;
  const at = next;
  next += PAGE;
  return at;
}

@inline function index_of(va: u64, level: u32): u32 {
  return <u32>(va >> <u64>(12 + 9 * level)) & 511;
}

/** Offset of the entry for `va` at `level`, making tables on the way if asked; 0 when there is none or no room. */
function entry_at(va: u64, level: u32, make: bool): u32 {
  let table = PAGE_TABLES;
  for (let l: u32 = 3; l > level; l--) {
    const at = table + index_of(va, l) * 8;
    const pte = load<u64>(at);
    if (pte & V) {
      table = <u32>(((pte >> 10) << 12) - phys_of(0));
      continue;
    }
    if (!make) return 0;
    table = table_make();
    if (table == 0) return 0;
    store<u64>(at, ((phys_of(table) >> 12) << 10) | V);
  }
  return table + index_of(va, level) * 8;
}

/** Maps one page; false when table memory is used up. */
export function page_map(va: u64, phys: u64, flags: u64): bool {
  const at = entry_at(va, 0, true);
  if (at == 0) return false;
  assert(load<u64>(at) == 0);
  store<u64>(at, ((phys >> 12) << 10) | flags | AD | V);
  return true;
}

/** Unmaps one page and returns the frame it held, 0 if it was not mapped. The caller fences once at the end. */
export function page_unmap(va: u64): u64 {
  const at = entry_at(va, 0, false);
  if (at == 0) return 0;
  const pte = load<u64>(at);
  store<u64>(at, 0);
  return pte & V ? (pte >> 10) << 12 : 0;
}

/** Physical address behind a mapped user page, 0 if unmapped. */
export function page_phys(va: u64): u64 {
  const at = entry_at(va, 0, false);
  if (at == 0) return 0;
  const pte = load<u64>(at);
  return pte & V ? ((pte >> 10) << 12) | (va & (<u64>PAGE - 1)) : 0;
}

export function pages_changed(): void { fence_vm(); }

function mega_map(va: u64, phys: u64, flags: u64): void {
  const at = entry_at(va, 1, true);
  assert(at != 0);
  store<u64>(at, ((phys >> 12) << 10) | flags | AD | G | V);
}

/** Builds the kernel's half and turns paging on: devices, kernel text read-execute, all other memory read-write, and kernel linear
 *  memory once more at its own address, alone in its 512 GiB. */
export function paging_start(ram_end: u64): void {
  assert(table_make() == PAGE_TABLES);
  mega_map(0, 0, PTE_R | PTE_W); // power-off register
  mega_map(0x0c00_0000, 0x0c00_0000, PTE_R | PTE_W); // PLIC
  mega_map(0x0c20_0000, 0x0c20_0000, PTE_R | PTE_W);
  mega_map(0x1000_0000, 0x1000_0000, PTE_R | PTE_W); // UART, virtio-mmio
  mega_map(RAM_START + MEGA, RAM_START + MEGA, PTE_R | PTE_X);
  for (let p = RAM_START + 2 * MEGA; p < ram_end; p += MEGA) mega_map(p, p, PTE_R | PTE_W);
  for (let o: u64 = 0; o < KERNEL_MEMORY_BYTES; o += MEGA) mega_map(KERNEL_MEMORY_VA + o, phys_of(<u32>o), PTE_R | PTE_W);
  set_page_table(PAGE_TABLES);
}
