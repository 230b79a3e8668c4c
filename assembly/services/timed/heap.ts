// SPDX-License-Identifier: Apache-2.0
// The timers: fixed slots and an indexed binary heap over them, ordered by (deadline, order of registration), so that
// what is due comes out in one order on every run and a cancel needs no search.
// Invariant: a live slot is in the heap exactly once and knows its place; an id holds the slot's generation, so the id
// of a timer that fired or was cancelled names nothing, even after its slot is used again.
// Limit: limits.timed timers_max slots.
import { TIMED_TIMERS_MAX } from "../../gen/limits";

const NONE: u32 = 0xffffffff;
const SLOT_BITS: u32 = 10;
const SLOT_MASK: u32 = 1023;
const GENERATION_MAX: u32 = 0x3fffff;

/** One timer; 48 bytes. */
@unmanaged
export class Timer {
  deadline_ns: u64;
  order: u64;
  nonce: u64;
  /** Row of the owner table. */
  owner: u32;
  /** Reply handle of a sleeper; 0: a timer that fires into its owner's capability. */
  sleeper: u32;
  generation: u32;
  /** Place in the heap, or NONE while the slot is free. */
  place: u32;
  /** The id under which the timer was registered. */
  fireId: u32;
  spare: u32;

  get live(): bool {
    return this.place != NONE;
  }
  get id(): u32 {
    return (this.generation << SLOT_BITS) | timerSlot(this);
  }
}

const TIMER_BYTES: usize = 48;
const timers: usize = memory.data(1024 * 48, 8);
const heap: usize = memory.data(1024 * 4, 4);
const free: usize = memory.data(1024 * 4, 4);
let heapCount: u32 = 0;
let freeCount: u32 = 0;
let orderNext: u64 = 1;

/** Empties the table; call once before anything else. */
export function heapReset(): void {
  assert(TIMED_TIMERS_MAX == 1024 && offsetof<Timer>() == TIMER_BYTES);
  heapCount = 0;
  freeCount = TIMED_TIMERS_MAX;
  for (let i: u32 = 0; i < TIMED_TIMERS_MAX; i++) {
    const timer = slotTimer(i);
    timer.place = NONE;
    timer.generation = 1;
    // The lowest slot is used first.
    store<u32>(free + (<usize>i << 2), TIMED_TIMERS_MAX - 1 - i);
  }
}

/** Live timers. */
export function heapLive(): u32 {
  return heapCount;
}

/** The timer that is due first, or null when there is none. */
export function heapFirst(): Timer {
  return heapCount == 0 ? changetype<Timer>(0) : heapAt(0);
}

/** A new live timer, or null when every slot is taken. */
export function heapAdd(deadline_ns: u64, owner: u32, nonce: u64, sleeper: u32): Timer {
  if (freeCount == 0) return changetype<Timer>(0);
  freeCount--;
  const timer = slotTimer(load<u32>(free + (<usize>freeCount << 2)));
  timer.deadline_ns = deadline_ns;
  timer.order = orderNext;
  orderNext++;
  timer.nonce = nonce;
  timer.owner = owner;
  timer.sleeper = sleeper;
  timer.fireId = timer.id;
  place(timer, heapCount);
  heapCount++;
  up(timer);
  return timer;
}

/** The live timer of an id, or null. */
export function heapFind(id: u32): Timer {
  const timer = slotTimer(id & SLOT_MASK);
  return timer.live && timer.id == id ? timer : changetype<Timer>(0);
}

/** Removes a live timer; its fields stay readable until the next heapAdd. */
export function heapRemove(timer: Timer): void {
  assert(timer.live);
  const hole = timer.place;
  heapCount--;
  if (hole != heapCount) {
    const last = heapAt(heapCount);
    place(last, hole);
    up(last);
    down(last);
  }
  timer.place = NONE;
  timer.generation = timer.generation == GENERATION_MAX ? 1 : timer.generation + 1;
  store<u32>(free + (<usize>freeCount << 2), timerSlot(timer));
  freeCount++;
}

@inline
function timerSlot(timer: Timer): u32 {
  return <u32>((changetype<usize>(timer) - timers) / TIMER_BYTES);
}
@inline
function slotTimer(slot: u32): Timer {
  return changetype<Timer>(timers + <usize>slot * TIMER_BYTES);
}
@inline
function heapAt(index: u32): Timer {
  return changetype<Timer>(load<usize>(heap + (<usize>index << 2)));
}
@inline
function place(timer: Timer, index: u32): void {
  timer.place = index;
  store<usize>(heap + (<usize>index << 2), changetype<usize>(timer));
}
function before(a: Timer, b: Timer): bool {
  return a.deadline_ns == b.deadline_ns ? a.order < b.order : a.deadline_ns < b.deadline_ns;
}

function up(timer: Timer): void {
  while (timer.place != 0) {
    const index = timer.place;
    const parent = heapAt((index - 1) >> 1);
    if (!before(timer, parent)) return;
    const above = parent.place;
    place(parent, index);
    place(timer, above);
  }
}

function down(timer: Timer): void {
  for (;;) {
    const index = timer.place;
    const left = (index << 1) + 1;
    if (left >= heapCount) return;
    let child = heapAt(left);
    if (left + 1 < heapCount && before(heapAt(left + 1), child)) child = heapAt(left + 1);
    if (!before(child, timer)) return;
    const below = child.place;
    place(child, index);
    place(timer, below);
  }
}
