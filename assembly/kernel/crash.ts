// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps of a service that faulted, for its parent to read before it makes the service anew: the registers where they
// were saved, and the ring of its last calls. kernel.S alone writes the ring: number and first argument when a call enters, its result
// when it returns (docs/adr/0011-crash-records.md has the price). Invariant: nothing of the service's memory is in it; of a
// service whose manifest withholds them (crash_registers = false) no register and no argument of a call either.

import { KERNEL_CRASH_RAW_BYTES, KERNEL_TRACE_EVENTS } from "../gen/limits";
import { E_BAD_ARGUMENT, E_NOT_FOUND } from "../gen/errors";
import { TRAP_BAD_POINTER } from "../gen/traps";
import { FLAG_CRASH_WITHHELD, service_at } from "./bundle";
import { copy_out } from "./hw";
import { KERNEL_MEMORY_VA, SCRATCH, TRACE_RING } from "./layout";
import { child, process_fault } from "./process";
import { current, STATE_ENDED, Thread, TICK_NS } from "./thread";

const EVENT_BYTES: u32 = 8;
const RING_BYTES: u32 = KERNEL_TRACE_EVENTS * EVENT_BYTES;
/** Numbers that no call has: a slot not yet filled, and the thread's start, which the first return to user mode completes. */
const NR_EMPTY: u8 = 0xff;
const NR_START: u8 = 0xfe;

/** Registers that were saved, bit n for xn: at a fault all but gp, which the kernel uses; at a trap of the module's own not the two that
 *  finding a call's entry costs; in a call those that it keeps. */
const SAVED_FAULT: u32 = 0xfffffff6;
const SAVED_TRAP: u32 = SAVED_FAULT & ~<u32>(1 << 6 | 1 << 7);
const SAVED_CALL: u32 = 0x0ffc0314;
const FULL_CALL: u64 = 0;
const FULL_FAULT: u64 = 1;

/** The record as a parent reads it (docs/format/crash-record.md). */
@unmanaged
class Raw {
  cause: u32;
  generation: u32;
  index: u32;
  memory_pages: u32;
  stack_bytes: u32;
  /** Bit n: xn was saved; the others are 0. */
  registers: u32;
  events: u16;
  /** Bit 0: the newest event is the call that it ended in. */
  in_call: u16;
  /** 1: registers and arguments were withheld, as the manifest says. */
  withheld: u32;
  pc: u64;
  address: u64;
  time_ns: u64;
  serving: u64;
}
const RAW_REGISTERS: u32 = 64;
const RAW_EVENTS: u32 = RAW_REGISTERS + 31 * 8;

@inline function ring_of(t: Thread): u32 { return changetype<u32>(t) + TRACE_RING; }

/** Empties the ring. The start takes the last slot, so that the first call takes the first. */
export function trace_begin(t: Thread): void {
  memory.fill(ring_of(t), NR_EMPTY, RING_BYTES);
  const last = ring_of(t) + RING_BYTES - EVENT_BYTES;
  store<u64>(last, 0);
  store<u8>(last + 3, NR_START);
  t.trace = KERNEL_MEMORY_VA + <u64>last;
}

/** Copies the ring, oldest first, behind the registers; the arguments only where they are not withheld. */
function put_events(t: Thread, raw: Raw): void {
  const ring = ring_of(t);
  const at = <u32>(t.trace - KERNEL_MEMORY_VA) - ring;
  let to = changetype<u32>(raw) + RAW_EVENTS;
  raw.in_call = <u16>(t.full == FULL_CALL);
  for (let n: u32 = 0; n < KERNEL_TRACE_EVENTS; n++) {
    // The slot in use comes last where a call is under way, and is the oldest otherwise: the next call has not taken it yet.
    const from = ring + ((at + (n + <u32>raw.in_call) * EVENT_BYTES) & (RING_BYTES - 1));
    const nr = load<u8>(from + 3);
    if (nr == NR_EMPTY) continue;
    store<u64>(to, load<u64>(from));
    if (raw.withheld != 0) store<u32>(to, <u32>nr << 24);
    if (nr == NR_START || (raw.in_call != 0 && n == KERNEL_TRACE_EVENTS - 1)) store<u32>(to + 4, 0); // no result
    to += EVENT_BYTES;
    raw.events += 1;
  }
}

export function sys_process_crash(index: u64, ptr: u64, cap: u64): i64 {
  const t = changetype<Thread>(current);
  if (cap < <u64>KERNEL_CRASH_RAW_BYTES) return E_BAD_ARGUMENT;
  if (<u64><u32>ptr + KERNEL_CRASH_RAW_BYTES > t.memory_bytes) return process_fault(t, TRAP_BAD_POINTER, ptr);
  const c = child(t, index);
  if (changetype<u32>(c) == 0 || c.state != STATE_ENDED || c.end_pending != 0 || c.end_cause == 0) return E_NOT_FOUND;
  memory.fill(SCRATCH, 0, KERNEL_CRASH_RAW_BYTES);
  const raw = changetype<Raw>(SCRATCH);
  raw.cause = c.end_cause;
  raw.generation = c.end_generation;
  raw.index = c.index;
  raw.memory_pages = c.memory_pages;
  raw.stack_bytes = service_at(c.index).stack_bytes;
  raw.withheld = u32((c.flags & FLAG_CRASH_WITHHELD) != 0);
  raw.registers = raw.withheld != 0 ? 0 : c.full == FULL_CALL ? SAVED_CALL : c.full == FULL_FAULT ? SAVED_FAULT : SAVED_TRAP;
  raw.pc = c.end_info;
  raw.address = c.end_address;
  raw.time_ns = c.end_ticks * TICK_NS;
  raw.serving = c.end_serving;
  for (let x: u32 = 1; x < 32; x++) {
    if ((raw.registers >> x) & 1) store<u64>(SCRATCH + RAW_REGISTERS + (x - 1) * 8, load<u64>(changetype<u32>(c) + x * 8));
  }
  put_events(c, raw);
  copy_out(t.memory + <u32>ptr, SCRATCH, KERNEL_CRASH_RAW_BYTES);
  return KERNEL_CRASH_RAW_BYTES;
}
