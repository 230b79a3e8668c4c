// SPDX-License-Identifier: Apache-2.0
// The manifest as init-lite reads it: one 256-byte record a service (docs/format/bundle.md), fetched through bundle_stat.
// Invariant: the kernel has checked every field before init-lite runs; nothing here is trusted from elsewhere.
import { KERNEL_SERVICES_MAX } from "../../gen/limits";
import { sys_bundle_stat } from "../../gen/syscalls";

export const RECORD_BYTES: u32 = 256;
export const FLAG_EXEC: u32 = 1;
export const FLAG_LOG_QUERY: u32 = 64;
const NAME_BYTES: u32 = 32;
const records: usize = memory.data(12288, 8);
let count: u32 = 0;

/** Reads every record; the number of services. */
export function manifestRead(): u32 {
  assert(KERNEL_SERVICES_MAX * RECORD_BYTES <= 12288);
  for (count = 0; count < KERNEL_SERVICES_MAX; count++) {
    if (sys_bundle_stat(0, count, <u32>recordAt(count), RECORD_BYTES) < 0) break;
  }
  return count;
}
@inline function recordAt(index: u32): usize { return records + index * RECORD_BYTES; }

export function serviceCount(): u32 { return count; }
export function nameOf(index: u32): usize { return recordAt(index); }
export function nameBytes(index: u32): u32 {
  let n: u32 = 0;
  while (n < NAME_BYTES && load<u8>(recordAt(index) + n) != 0) n++;
  return n;
}
export function idOf(index: u32): u64 { return load<u64>(recordAt(index), 32); }
export function restartBudget(index: u32): u32 { return load<u32>(recordAt(index), 72); }
export function flagsOf(index: u32): u32 { return load<u32>(recordAt(index), 76); }
export function slotsOf(index: u32): u32 { return load<u32>(recordAt(index), 88); }
/** SHA-256 of the .wasm, then of the ELF, 32 bytes each. */
export function digestsOf(index: u32): usize { return recordAt(index) + 96; }
export function startsAtBoot(index: u32): bool { return index != 0 && (flagsOf(index) & FLAG_EXEC) == 0; }

/** Index of the service with that id, or 0 (init-lite itself, which nobody looks up). */
export function indexOf(id: u64): u32 {
  for (let i: u32 = 1; i < count; i++) if (idOf(i) == id) return i;
  return 0;
}
