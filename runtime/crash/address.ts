// SPDX-License-Identifier: Apache-2.0
// What an address of a crash means: where it lies in the service's window, or in whose it does. The map is that of
// assembly/kernel/layout.ts; a test holds the two together.
import type { CrashRecord } from './record.js';

export const WINDOW_BYTES = 1n << 34n;
export const WINDOW_INSTANCE = 0x10000n;
export const WINDOW_TABLE = 0x80000n;
export const WINDOW_STACK_LOWEST = 0x1a0000n;
export const WINDOW_STACK_TOP = 0x1f0000n;
export const WINDOW_MEMORY = 0x2_0000_0000n;
export const TEXT_FIRST = 0x1000_0000_0000n;
export const TEXT_STRIDE = 0x1000_0000n;
export const KERNEL_MEMORY_VA = 0x2000_0000_0000n;
export const RAM_START = 0x8000_0000n;
const RAM_BYTES = 0x400_0000n;
const WASM_PAGE = 65536n;
/** No service has an entry beyond this (abi/limits.toml services_max). */
const SERVICES_MAX = 48n;

export const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** What the second word of an end says, by the trap's name: an address, a pointer, a call's number, a line, or nothing. */
export function explain(record: CrashRecord, trap: string): string {
  const { address } = record;
  if (trap === 'killed') return 'none: it was ended by order';
  if (trap === 'bad_syscall') return `none: it made call ${address}, which its module does not import`;
  if (trap === 'abort') return `none: an assertion failed, at line ${address} of its source file`;
  if (trap === 'bad_pointer') return badPointer(record);
  const own = ['oob_read', 'oob_write', 'stack_overflow', 'wild_access', 'illegal_instruction'];
  if (!own.includes(trap)) return 'none: the trap has no address';
  if (trap === 'illegal_instruction') return `none: the instruction there is ${hex(address)}`;
  if (trap === 'oob_read' && address === 0n) return 'none: a bulk or table access beyond its end';
  return `${hex(address)}: ${place(record, address)}`;
}

function badPointer(record: CrashRecord): string {
  const at = record.address & 0xffff_ffffn;
  const bytes = record.address >> 32n;
  const size = BigInt(record.memoryPages) * WASM_PAGE;
  const length = bytes === 0n ? '' : ` with ${bytes} bytes`;
  return `it passed ${hex(at)}${length} to a call; its memory ends at ${hex(size)}`;
}

/** Where an address lies, seen from the service. */
export function place(record: CrashRecord, address: bigint): string {
  const window = (BigInt(record.index) + 1n) * WINDOW_BYTES;
  if (address < 4096n) return 'null page';
  if (address >= window && address < window + WINDOW_BYTES + WINDOW_MEMORY) return inWindow(record, address - window);
  if (address >= WINDOW_BYTES && address < (SERVICES_MAX + 1n) * WINDOW_BYTES) {
    return `in the window of manifest entry ${address / WINDOW_BYTES - 1n}, another service`;
  }
  if (address >= TEXT_FIRST && address < TEXT_FIRST + SERVICES_MAX * TEXT_STRIDE) return 'in text: only executed or read, never written';
  if (address >= KERNEL_MEMORY_VA && address < KERNEL_MEMORY_VA + WINDOW_MEMORY) return 'in the kernel\'s memory';
  if (address >= RAM_START && address < RAM_START + RAM_BYTES) return 'in the kernel\'s map of physical memory';
  return address < RAM_START ? 'among devices, or nowhere' : 'nowhere';
}

function inWindow(record: CrashRecord, at: bigint): string {
  const size = BigInt(record.memoryPages) * WASM_PAGE;
  if (at >= WINDOW_MEMORY + size) {
    return `${at - WINDOW_MEMORY - size} bytes past the end of its linear memory (${record.memoryPages} pages, ${size} bytes)`;
  }
  if (at >= WINDOW_MEMORY) return `in its linear memory, at ${hex(at - WINDOW_MEMORY)}`;
  const bottom = WINDOW_STACK_TOP - BigInt(record.stackBytes);
  if (at >= bottom && at < WINDOW_STACK_TOP) return `in its stack, ${WINDOW_STACK_TOP - at} bytes below the top`;
  if (at >= WINDOW_STACK_LOWEST - 4096n && at < bottom) {
    return `below its stack of ${record.stackBytes} bytes, by ${bottom - at} bytes: it ran out of stack`;
  }
  if (at >= WINDOW_TABLE && at < WINDOW_STACK_LOWEST) return 'in its function table, or behind it';
  if (at >= WINDOW_INSTANCE && at < WINDOW_TABLE) return 'in its instance, or behind it';
  return 'in an unmapped part of its window';
}
