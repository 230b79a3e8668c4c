// SPDX-License-Identifier: Apache-2.0
// Reads a service's static ELF: at most a read-execute and a read-only segment at the module's own address, nothing writable. System V
// ABI, ELF-64 object file format.

import { REASON_ELF_MALFORMED, REASON_ELF_RANGE, REASON_ELF_WRITABLE } from "../gen/loader";
import { PAGE } from "./layout";

const HEADER_BYTES: u32 = 64;
const PROGRAM_BYTES: u32 = 56;
const PROGRAMS_MAX: u32 = 8;
const SEGMENTS_MAX: u32 = 2;
const SEGMENT_BYTES_MAX: u64 = 0x10_0000;
const MACHINE_RISCV: u32 = 243;
const PT_LOAD: u32 = 1;
export const PF_X: u32 = 1;
const PF_W: u32 = 2;

/** The segments of the last file that was checked. */
export let segments: u32 = 0;
export let entry: u64 = 0;
const table: u32 = <u32>memory.data(64, 8);

@inline export function segment_va(i: u32): u64 { return load<u64>(table + i * 32); }
/** Offset of the segment's bytes in kernel memory. */
@inline export function segment_at(i: u32): u32 { return load<u32>(table + i * 32, 8); }
@inline export function segment_bytes(i: u32): u32 { return load<u32>(table + i * 32, 12); }
@inline export function segment_flags(i: u32): u32 { return load<u32>(table + i * 32, 16); }

/** Checks a file of `bytes` at `at`; its segments must lie in [base, base + span). 0 or the reason of refusal. */
export function elf_check(at: u32, bytes: u32, base: u64, span: u64): u32 {
  segments = 0;
  if (bytes < HEADER_BYTES || load<u32>(at) != 0x464c457f) return REASON_ELF_MALFORMED;
  if (load<u8>(at, 4) != 2 || load<u8>(at, 5) != 1 || load<u16>(at, 16) != 2) return REASON_ELF_MALFORMED;
  if (load<u16>(at, 18) != MACHINE_RISCV) return REASON_ELF_MALFORMED;
  entry = load<u64>(at, 24);
  const programs_at = load<u64>(at, 32);
  const programs = <u32>load<u16>(at, 56);
  if (load<u16>(at, 54) != PROGRAM_BYTES || programs == 0 || programs > PROGRAMS_MAX) return REASON_ELF_MALFORMED;
  if (programs_at > bytes || programs * PROGRAM_BYTES > bytes - <u32>programs_at) return REASON_ELF_MALFORMED;
  let entry_seen = false;
  for (let i: u32 = 0; i < programs; i++) {
    const p = at + <u32>programs_at + i * PROGRAM_BYTES;
    if (load<u32>(p) != PT_LOAD) continue;
    const flags = load<u32>(p, 4);
    const offset = load<u64>(p, 8);
    const va = load<u64>(p, 16);
    const file_bytes = load<u64>(p, 32);
    const memory_bytes = load<u64>(p, 40);
    if (flags & PF_W) return REASON_ELF_WRITABLE;
    if (segments >= SEGMENTS_MAX || file_bytes != memory_bytes || memory_bytes == 0) return REASON_ELF_MALFORMED;
    if (offset > bytes || file_bytes > <u64>bytes - offset) return REASON_ELF_MALFORMED;
    if (va % PAGE != 0 || va < base || memory_bytes > SEGMENT_BYTES_MAX || va > base + span - SEGMENT_BYTES_MAX) return REASON_ELF_RANGE;
    if (segments == 1 && overlap(va, memory_bytes)) return REASON_ELF_RANGE;
    if (flags & PF_X && entry >= va && entry < va + memory_bytes) entry_seen = true;
    const row = table + segments * 32;
    store<u64>(row, va);
    store<u32>(row, at + <u32>offset, 8);
    store<u32>(row, <u32>file_bytes, 12);
    store<u32>(row, flags, 16);
    segments += 1;
  }
  return entry_seen ? 0 : REASON_ELF_RANGE;
}

/** Whether a page range touches a page of the first segment. */
function overlap(va: u64, bytes: u64): bool {
  const first = segment_va(0);
  const first_end = (first + segment_bytes(0) + PAGE - 1) & ~(<u64>PAGE - 1);
  return va < first_end && va + bytes > first;
}
