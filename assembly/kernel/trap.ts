// SPDX-License-Identifier: Apache-2.0
// What interrupts user mode other than a system call: the timer, devices and faults. A fault is named by where it happened in the
// service's window: past linear memory, below the stack, or anywhere else (which only native code could reach).

import { NR_TRAP } from "../gen/syscalls";
import {
  TRAP_BAD_SYSCALL, TRAP_ILLEGAL_INSTRUCTION, TRAP_OOB_READ, TRAP_OOB_WRITE, TRAP_STACK_OVERFLOW, TRAP_WILD_ACCESS,
} from "../gen/traps";
import { interrupt_poll } from "./device";
import { service_at } from "./bundle";
import { PAGE, window_of, WINDOW_STACK_LOWEST, WINDOW_STACK_TOP } from "./layout";
import { process_fault, sys_trap } from "./process";
import { current, preempt, Thread } from "./thread";

const INTERRUPT: u64 = 1 << 63;
const TIMER: u64 = 5;
const EXTERNAL: u64 = 9;
const ILLEGAL: u64 = 2;
const PAGE_FAULT_LOAD: u64 = 13;
const PAGE_FAULT_STORE: u64 = 15;
const WINDOW_REACH: u64 = 0x2_0000_0000 + 16;

export function trap_taken(cause: u64, value: u64): void {
  if (cause & INTERRUPT) {
    const which = cause & 0xff;
    if (which == TIMER) preempt();
    else if (which == EXTERNAL) interrupt_poll();
    return;
  }
  const t = changetype<Thread>(current);
  process_fault(t, classify(t, cause, value), value);
}

/** A call number outside the import mask. A module's own trap comes this way too, so that all its registers are kept. */
export function trap_bad_syscall(number: u64, kind: u64, info: u64): void {
  if (number == NR_TRAP) sys_trap(kind, info);
  else process_fault(changetype<Thread>(current), TRAP_BAD_SYSCALL, number);
}

function classify(t: Thread, cause: u64, address: u64): u32 {
  if (cause == ILLEGAL) return TRAP_ILLEGAL_INSTRUCTION;
  if (cause != PAGE_FAULT_LOAD && cause != PAGE_FAULT_STORE) return TRAP_WILD_ACCESS;
  const w = window_of(t.index);
  if (address >= t.memory && address < t.memory + WINDOW_REACH) return cause == PAGE_FAULT_STORE ? TRAP_OOB_WRITE : TRAP_OOB_READ;
  const bottom = w + WINDOW_STACK_TOP - service_at(t.index).stack_bytes;
  if (address >= w + WINDOW_STACK_LOWEST - PAGE && address < bottom) return TRAP_STACK_OVERFLOW;
  return TRAP_WILD_ACCESS;
}
