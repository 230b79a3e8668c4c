// SPDX-License-Identifier: Apache-2.0
// What only the mutant image does: the call that tells a service which mutant was chosen, and the broken pieces of kernel behaviour that
// are longer than a condition. In the shipping image `mutant` is constant false and all of this folds away; the call's table entry is
// sys_bad.

import {
  mutant, mutant_chosen, MUT_KERNEL_FAR_STORE_MISNAMED, MUT_KERNEL_FP_NOT_SAVED, MUT_KERNEL_MESSAGE_FLIPS_BYTE, MUT_KERNEL_MISNAMES_ABORT,
  MUT_KERNEL_MISNAMES_BAD_INDIRECT_CALL, MUT_KERNEL_MISNAMES_BAD_POINTER, MUT_KERNEL_MISNAMES_BAD_SYSCALL,
  MUT_KERNEL_MISNAMES_ILLEGAL_INSTRUCTION, MUT_KERNEL_MISNAMES_WILD_ACCESS, MUT_KERNEL_MISNAMES_DIV_BY_ZERO,
  MUT_KERNEL_MISNAMES_INT_OVERFLOW, MUT_KERNEL_MISNAMES_OOB_READ, MUT_KERNEL_MISNAMES_OOB_WRITE, MUT_KERNEL_MISNAMES_STACK_OVERFLOW,
  MUT_KERNEL_MISNAMES_UNREACHABLE, MUT_KERNEL_END_UNREPORTED_ABORT, MUT_KERNEL_END_UNREPORTED_BAD_INDIRECT_CALL,
  MUT_KERNEL_END_UNREPORTED_BAD_POINTER, MUT_KERNEL_END_UNREPORTED_DIV_BY_ZERO, MUT_KERNEL_END_UNREPORTED_INT_OVERFLOW,
  MUT_KERNEL_END_UNREPORTED_OOB_READ, MUT_KERNEL_END_UNREPORTED_OOB_WRITE, MUT_KERNEL_END_UNREPORTED_STACK_OVERFLOW,
  MUT_KERNEL_END_UNREPORTED_UNREACHABLE, MUT_KERNEL_SENDER_FROM_PAYLOAD, MUT_KERNEL_SENDER_UNSTAMPED,
  MUT_KERNEL_STARVES_NEIGHBOURS,
} from "../gen/mutants";
import {
  TRAP_ABORT, TRAP_BAD_INDIRECT_CALL, TRAP_BAD_POINTER, TRAP_BAD_SYSCALL, TRAP_DIV_BY_ZERO,
  TRAP_ILLEGAL_INSTRUCTION, TRAP_INT_OVERFLOW, TRAP_OOB_READ, TRAP_OOB_WRITE,
  TRAP_STACK_OVERFLOW, TRAP_UNREACHABLE, TRAP_WILD_ACCESS,
} from "../gen/traps";
import { FLAG_FIXTURE } from "./bundle";
import { copy_in, copy_out } from "./hw";
import { KERNEL_MEMORY_VA, SCRATCH } from "./layout";
import { Thread } from "./thread";

/** Mutants break messages of exactly these sizes, which only the proofs send, so that the image comes up as usual. */
const IDENTITY_BYTES: u32 = 77;
const SPOOF_BYTES: u32 = 78;
const LARGE_BYTES: u32 = 4096;
const PAYLOAD: u32 = 8;
const FP_OWNER: u32 = 72;
const SLICES_KEPT_MAX: u32 = 300;
/** Where the store of the far fixture lands inside a window: 0xffffffff twice past the start of linear memory. */
const WINDOW_REST: u64 = 0x3_ffff_ffff;
const FAR_REST: u64 = 0x3_ffff_fffe;

export function sys_mutant(): i64 { return mutant_chosen(); }

/** The sender as delivered: the kernel's own knowledge, unless a mutant breaks that. */
@inline export function mutant_sender(from: Thread, ptr: u32, bytes: u32): u64 {
  if (mutant(MUT_KERNEL_SENDER_UNSTAMPED) && bytes == IDENTITY_BYTES) return 0;
  if (mutant(MUT_KERNEL_SENDER_FROM_PAYLOAD) && bytes == SPOOF_BYTES) {
    copy_in(SCRATCH, from.memory + ptr + PAYLOAD, 8);
    return load<u64>(SCRATCH);
  }
  return from.id;
}

@inline export function mutant_flip(to: Thread, ptr: u32, bytes: u32): void {
  if (!mutant(MUT_KERNEL_MESSAGE_FLIPS_BYTE) || bytes < LARGE_BYTES) return;
  store<u8>(SCRATCH, 0xa5);
  copy_out(to.memory + ptr + bytes - 1, SCRATCH, 1);
}

/** Claims that the registers already hold this thread's floating-point state. */
@inline export function mutant_fp(t: Thread): void {
  if (mutant(MUT_KERNEL_FP_NOT_SAVED)) store<u64>(FP_OWNER, KERNEL_MEMORY_VA + <u64>changetype<u32>(t));
}

/** Lets the looping fixture run on, three hundred slices long: a neighbour that is waited for meanwhile is late by as much. */
let slices_kept: u32 = 0;
@inline export function mutant_keeps_running(t: Thread): bool {
  if (!mutant(MUT_KERNEL_STARVES_NEIGHBOURS) || !(t.flags & FLAG_FIXTURE) || t.generation != 2) return false;
  slices_kept += 1;
  return slices_kept < SLICES_KEPT_MAX;
}

/** The cause as it is printed. */
@inline export function mutant_cause(cause: u32, address: u64): u32 {
  if (mutant(MUT_KERNEL_FAR_STORE_MISNAMED) && (address & WINDOW_REST) == FAR_REST) return TRAP_WILD_ACCESS;
  if (mutant(MUT_KERNEL_MISNAMES_OOB_READ) && cause == TRAP_OOB_READ) return TRAP_OOB_WRITE;
  if (mutant(MUT_KERNEL_MISNAMES_OOB_WRITE) && cause == TRAP_OOB_WRITE) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_DIV_BY_ZERO) && cause == TRAP_DIV_BY_ZERO) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_INT_OVERFLOW) && cause == TRAP_INT_OVERFLOW) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_UNREACHABLE) && cause == TRAP_UNREACHABLE) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_BAD_INDIRECT_CALL) && cause == TRAP_BAD_INDIRECT_CALL) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_STACK_OVERFLOW) && cause == TRAP_STACK_OVERFLOW) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_ABORT) && cause == TRAP_ABORT) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_BAD_SYSCALL) && cause == TRAP_BAD_SYSCALL) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_ILLEGAL_INSTRUCTION) && cause == TRAP_ILLEGAL_INSTRUCTION) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_WILD_ACCESS) && cause == TRAP_WILD_ACCESS) return TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_MISNAMES_BAD_POINTER) && cause == TRAP_BAD_POINTER) return TRAP_OOB_READ;
  return cause;
}

/** True when the end of a service with this cause is kept from its creator. */
@inline export function mutant_unreported(cause: u32): bool {
  if (mutant(MUT_KERNEL_END_UNREPORTED_OOB_READ)) return cause == TRAP_OOB_READ;
  if (mutant(MUT_KERNEL_END_UNREPORTED_OOB_WRITE)) return cause == TRAP_OOB_WRITE;
  if (mutant(MUT_KERNEL_END_UNREPORTED_DIV_BY_ZERO)) return cause == TRAP_DIV_BY_ZERO;
  if (mutant(MUT_KERNEL_END_UNREPORTED_INT_OVERFLOW)) return cause == TRAP_INT_OVERFLOW;
  if (mutant(MUT_KERNEL_END_UNREPORTED_UNREACHABLE)) return cause == TRAP_UNREACHABLE;
  if (mutant(MUT_KERNEL_END_UNREPORTED_BAD_INDIRECT_CALL)) return cause == TRAP_BAD_INDIRECT_CALL;
  if (mutant(MUT_KERNEL_END_UNREPORTED_STACK_OVERFLOW)) return cause == TRAP_STACK_OVERFLOW;
  if (mutant(MUT_KERNEL_END_UNREPORTED_ABORT)) return cause == TRAP_ABORT;
  if (mutant(MUT_KERNEL_END_UNREPORTED_BAD_POINTER)) return cause == TRAP_BAD_POINTER;
  return false;
}
