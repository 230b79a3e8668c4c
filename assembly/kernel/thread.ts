// SPDX-License-Identifier: Apache-2.0
// Threads and who runs next: one thread a service, round robin, one hart. The thread block's first 544 bytes are the register frame
// that kernel.S saves to and restores from (offsets held together by a test); the rest is the kernel's.
//
// Invariants: exactly one thread is RUNNING and CURRENT names it. A thread that waits carries its deadline; `first_wait` is never later
// than the earliest one, and the timer is armed for the earlier of `first_wait` and `slice_end`, or before. The slice tick is armed only
// while a second thread is ready.

import { KERNEL_SLICE_NS, KERNEL_THREADS_MAX } from "../gen/limits";
import { E_TIMEOUT } from "../gen/errors";
import { fence_io, pending, read_time, set_timer, wfi } from "./hw";
import { CURRENT, KERNEL_MEMORY_VA, THREADS, THREAD_BYTES } from "./layout";
import { endpoint_forget_waiter } from "./endpoint";
import { interrupt_poll } from "./device";
import { mutant_fp, mutant_keeps_running } from "./mutant";
import { MUT_KERNEL_DEADLINE_LATE, mutant } from "../gen/mutants";

export const TICK_NS: u64 = 100;
const SLICE_TICKS: u64 = <u64>KERNEL_SLICE_NS / TICK_NS;
/** By how much a mutant lets deadlines slip: 4 ms. */
const LATE_TICKS: u64 = 40_000;
const NEVER: u64 = u64.MAX_VALUE;

export const STATE_FREE: u32 = 0;
export const STATE_CREATED: u32 = 1;
export const STATE_READY: u32 = 2;
export const STATE_RUNNING: u32 = 3;
/** Waiting in recv on `endpoint`. */
export const STATE_RECEIVING: u32 = 4;
/** Waiting for room in `endpoint`'s queue. */
export const STATE_SENDING: u32 = 5;
/** Waiting for `server` to take or answer its call. */
export const STATE_CALLING: u32 = 6;
export const STATE_ENDED: u32 = 7;

@unmanaged
export class Thread {
  // --- register frame: kernel.S ---
  pc: u64;
  ra: u64; sp: u64; gp: u64; tp: u64; t0: u64; t1: u64; t2: u64; s0: u64; s1: u64;
  a0: u64; a1: u64; a2: u64; a3: u64; a4: u64; a5: u64; a6: u64; a7: u64;
  s2: u64; s3: u64; s4: u64; s5: u64; s6: u64; s7: u64; s8: u64; s9: u64; s10: u64; s11: u64;
  t3: u64; t4: u64; t5: u64; t6: u64;
  full: u64;
  fp_valid: u64;
  mask: u64;
  f0: u64; f1: u64; f2: u64; f3: u64; f4: u64; f5: u64; f6: u64; f7: u64;
  f8: u64; f9: u64; f10: u64; f11: u64; f12: u64; f13: u64; f14: u64; f15: u64;
  f16: u64; f17: u64; f18: u64; f19: u64; f20: u64; f21: u64; f22: u64; f23: u64;
  f24: u64; f25: u64; f26: u64; f27: u64; f28: u64; f29: u64; f30: u64; f31: u64;
  fcsr: u64;
  // --- kernel ---
  /** FNV-1a 64 of the manifest name: what receivers see as the sender. */
  id: u64;
  /** Virtual address and size in bytes of linear memory. */
  memory: u64;
  memory_bytes: u64;
  /** Absolute tick at which a wait ends; NEVER while it has none. */
  deadline: u64;
  /** Services it may block on, one bit a manifest index. */
  calls: u64;
  index: u32;
  state: u32;
  flags: u32;
  generation: u32;
  /** Ready queue, or an endpoint's list of waiting senders. */
  next: u32;
  /** Endpoint waited on (recv, send), 0 none. */
  endpoint: u32;
  /** While CALLING: thread that took the call, 0 until taken. */
  server: u32;
  call_sequence: u32;
  reply_handle: u32;
  /** Outgoing message of a waiting sender or caller. */
  out_ptr: u32;
  out_bytes: u32;
  out_move: u32;
  out_rights: u32;
  /** Buffer of a receiver or caller. */
  in_ptr: u32;
  in_cap: u32;
  host_pending: u32;
  /** Pending notification bits. */
  notify: u32;
  own_endpoint: u32;
  creator: u32;
  end_cause: u32;
  end_info: u64;
  end_address: u64;
  end_generation: u32;
  end_pending: u32;
  memory_pages: u32;
  memory_pages_max: u32;
  handles: u32;
  loaded: u32;
  preempted: u32;
  // --- what a crash record needs (crash.ts) ---
  /** Where kernel.S notes the thread's next call: an address in its trace ring. */
  trace: u64;
  /** Tick at which it ended, and the threads whose call it had taken and not answered then, one bit a manifest index. */
  end_ticks: u64;
  end_serving: u64;
}

export let current: u32 = 0;
let ready_head: u32 = 0;
let ready_tail: u32 = 0;
/** The earliest deadline of any wait, or that of a wait which ended since the threads were last looked through. */
let first_wait: u64 = NEVER;
let slice_end: u64 = NEVER;
export let preemptions: u64 = 0;
/** Poll rather than sleep while a device or the host owes an answer (boot argument idle=poll). */
let idle_polls: bool = true;
let host_waits: u32 = 0;
let answers_owed: u32 = 0;

@inline export function thread_at(index: u32): Thread {
  return changetype<Thread>(THREADS + index * THREAD_BYTES);
}
@inline export function now_ticks(): u64 { return read_time(); }

/** Absolute ns to ticks, rounded up: a deadline is never early. */
@inline export function ticks_of(ns: u64): u64 {
  const ticks = ns / TICK_NS;
  return ticks + <u64>(ticks * TICK_NS != ns);
}

export function set_idle_polls(value: bool): void { idle_polls = value; }
export function answer_owed(delta: i32): void { answers_owed += delta; }

export function make_ready(t: Thread): void {
  t.state = STATE_READY;
  t.deadline = NEVER;
  t.next = 0;
  const at = changetype<u32>(t);
  if (ready_tail == 0) ready_head = at;
  else changetype<Thread>(ready_tail).next = at;
  ready_tail = at;
  if (slice_end == NEVER) arm_slice();
}

function arm_slice(): void {
  slice_end = read_time() + SLICE_TICKS;
  if (slice_end < first_wait) set_timer(slice_end);
}

/** Makes sure that a wait until `ticks` is looked at by then. */
@inline function arm_wait(ticks: u64): void {
  if (ticks < first_wait) {
    first_wait = ticks;
    if (ticks < slice_end) set_timer(ticks);
  }
}

/** The running thread gives up the hart as `state` until `deadline`; the caller has put it where it will be found. */
@inline export function block(t: Thread, state: u32, deadline: u64): void {
  t.state = state;
  t.deadline = deadline;
  arm_wait(deadline);
}

/** Runs `t` now; the thread that was running must already be blocked, ended or queued. */
@inline export function switch_to(t: Thread): void {
  t.state = STATE_RUNNING;
  mutant_fp(t);
  current = changetype<u32>(t);
  store<u64>(CURRENT, KERNEL_MEMORY_VA + <u64>changetype<u32>(t));
}

/** Picks the next ready thread, idling until there is one. Returns the a0 that the system call returns with (facts: a thread that is
 *  picked again without a switch takes its result from its frame). */
export function schedule(): i64 {
  while (ready_head == 0) idle();
  const t = changetype<Thread>(ready_head);
  ready_head = t.next;
  if (ready_head == 0) {
    ready_tail = 0;
    slice_end = NEVER;
  } else {
    arm_slice();
  }
  switch_to(t);
  return t.a0;
}

function idle(): void {
  const bits = pending();
  if (bits & (1 << 9)) interrupt_poll();
  if (bits & (1 << 5)) {
    slice_end = NEVER; // nobody is ready, so nobody's slice runs
    timer_fired(read_time());
  }
  if (ready_head != 0) return;
  if (idle_polls && (answers_owed != 0 || host_waits != 0)) {
    fence_io();
    return;
  }
  if ((pending() & ((1 << 5) | (1 << 9))) == 0) wfi();
}

/** Wakes every wait that is over and arms the timer for what comes next. Looks through the threads only when a wait may be over. */
function timer_fired(now: u64): void {
  if (first_wait <= now) expire_waits(now);
  set_timer(min(first_wait, slice_end)); // read after the wakes, which may have begun a slice
}

function expire_waits(now: u64): void {
  let earliest = NEVER;
  const late: u64 = mutant(MUT_KERNEL_DEADLINE_LATE) ? LATE_TICKS : 0;
  for (let i: u32 = 0; i < KERNEL_THREADS_MAX; i++) {
    const t = thread_at(i);
    if (t.state < STATE_RECEIVING) continue;
    if (t.state > STATE_CALLING) continue;
    if (t.deadline + late <= now) time_out(t);
    else if (t.deadline + late < earliest) earliest = t.deadline + late;
  }
  first_wait = earliest;
}

function time_out(t: Thread): void {
  wake(t, E_TIMEOUT);
}

/** Ends a wait with a result; takes the thread off whatever list it was on. */
export function wake(t: Thread, result: i64): void {
  if (t.endpoint != 0) endpoint_forget_waiter(t);
  if (t.host_pending != 0) {
    t.host_pending = 0;
    host_waits -= 1;
  }
  t.server = 0;
  t.a0 = result;
  make_ready(t);
}

export function host_wait_begins(t: Thread): void {
  t.host_pending = 1;
  host_waits += 1;
}
@inline export function host_wait_ends(t: Thread): void {
  if (t.host_pending != 0) {
    t.host_pending = 0;
    host_waits -= 1;
  }
}

/** A timer interrupt in user mode: expire waits, then rotate if the slice is over and somebody else is ready. */
export function preempt(): void {
  const running = changetype<Thread>(current);
  const now = read_time();
  let over = slice_end <= now;
  if (over) slice_end = NEVER;
  if (over && mutant_keeps_running(running)) {
    over = false;
    slice_end = now + SLICE_TICKS;
  }
  timer_fired(now);
  if (over && ready_head != 0) {
    preemptions += 1;
    make_ready(running);
    schedule();
  }
}

export function yield_now(): i64 {
  if (ready_head == 0) return 0;
  const running = changetype<Thread>(current);
  running.a0 = 0;
  make_ready(running);
  return schedule();
}

/** Takes a thread that is ending off the ready queue; waiting threads are taken off by wake or endpoint code. */
export function unready(t: Thread): void {
  const at = changetype<u32>(t);
  let before: u32 = 0;
  let walk = ready_head;
  for (let n: u32 = 0; n < KERNEL_THREADS_MAX && walk != 0; n++) {
    if (walk == at) {
      if (before == 0) ready_head = t.next;
      else changetype<Thread>(before).next = t.next;
      if (ready_tail == at) ready_tail = before;
      return;
    }
    before = walk;
    walk = changetype<Thread>(walk).next;
  }
}
