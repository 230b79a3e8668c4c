// SPDX-License-Identifier: Apache-2.0
// Which roll-up windows are on /state, by level: a ring of window numbers, oldest first, and how many parts each has.
//
// Invariant: numbers rise; a window leaves the ring when the deletion of its last part was handed to the job ring. A window is kept while
// it lies within the recipe's ttl_windows of the one that is open now.
// Limits: limits.metricsd retention_windows_max and a batch more, so that a ttl at its maximum leaves room for what waits to be deleted.
import { METRICSD_RETENTION_GC_BATCH_MAX, METRICSD_RETENTION_WINDOWS_MAX } from "../../../gen/limits";
import { MUT_METRICSD_GC_KEEPS_ONE_TOO_MANY, mutant } from "../../../gen/mutants";
import { TTL_WINDOWS_10S, TTL_WINDOWS_60S, limit } from "../limits";

export const SECOND_NS: u64 = 1_000_000_000;
const CAPACITY: u32 = METRICSD_RETENTION_WINDOWS_MAX + METRICSD_RETENTION_GC_BATCH_MAX;

/** One window, 16 bytes. */
@unmanaged
export class Window {
  number: u64;
  /** Parts written, and of these how many are deleted (from the first on). */
  parts: u16;
  deleted: u16;
  /** Every part is there. */
  whole: u32;
}
const WINDOW_BYTES: u32 = 16;
const rings: usize = memory.data(2 * (METRICSD_RETENTION_WINDOWS_MAX + METRICSD_RETENTION_GC_BATCH_MAX) * 16, 8);
const heads: usize = memory.data(8, 4);
const counts: usize = memory.data(8, 4);

/** Width of a window of level 1 or 2. */
@inline export function widthOf(level: u32): u64 {
  return level == 1 ? 10 * SECOND_NS : 60 * SECOND_NS;
}
@inline function slot(level: u32): u32 {
  return (level - 1) << 2;
}
export function windowCount(level: u32): u32 {
  return load<u32>(counts + slot(level));
}
/** The n-th oldest window. */
export function windowAt(level: u32, n: u32): Window {
  const at = (load<u32>(heads + slot(level)) + n) % CAPACITY;
  return changetype<Window>(rings + <usize>((level - 1) * CAPACITY + at) * WINDOW_BYTES);
}
/** Position of the first window whose number is at least this; windowCount when there is none. */
export function windowFrom(level: u32, number: u64): u32 {
  let low: u32 = 0;
  let high = windowCount(level);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (windowAt(level, middle).number < number) low = middle + 1;
    else high = middle;
  }
  return low;
}
/** The window of this number, or null. */
export function findWindow(level: u32, number: u64): Window | null {
  const n = windowFrom(level, number);
  if (n == windowCount(level)) return null;
  const w = windowAt(level, n);
  return w.number == number ? w : null;
}

/** Whether one more window may be noted. */
export function windowRoom(level: u32): bool {
  return windowCount(level) < CAPACITY;
}
/** Notes that a part of a window is (or will be) on /state; windows come in the order of their numbers, a known one may come again. */
export function noteWindow(level: u32, number: u64, parts: u32, whole: bool): void {
  const known = findWindow(level, number);
  if (known !== null) {
    known.parts = max<u16>(<u16>parts, known.parts);
    known.whole = u32(whole);
    return;
  }
  assert(windowRoom(level));
  store<u32>(counts + slot(level), windowCount(level) + 1);
  const w = windowAt(level, windowCount(level) - 1);
  w.number = number;
  w.parts = <u16>parts;
  w.deleted = 0;
  w.whole = u32(whole);
}

/** First window number that is kept when `now_ns` is the retention clock. */
export function oldestKept(level: u32, now_ns: u64): u64 {
  const open = now_ns / widthOf(level);
  const ttl = limit(level == 1 ? TTL_WINDOWS_10S : TTL_WINDOWS_60S) + (mutant(MUT_METRICSD_GC_KEEPS_ONE_TOO_MANY) ? 1 : 0);
  return open > ttl ? open - ttl : 0;
}
/** The oldest window if its time is over, or null. */
export function windowToDrop(level: u32, now_ns: u64): Window | null {
  if (windowCount(level) == 0) return null;
  const w = windowAt(level, 0);
  return w.number < oldestKept(level, now_ns) ? w : null;
}
/** Takes the oldest window out of the ring. */
export function forgetWindow(level: u32): void {
  const head = heads + slot(level);
  store<u32>(head, (load<u32>(head) + 1) % CAPACITY);
  store<u32>(counts + slot(level), windowCount(level) - 1);
}
/** When the oldest window's time is over on the retention clock; u64.MAX_VALUE when there is none. */
export function nextExpiryOf(level: u32): u64 {
  if (windowCount(level) == 0) return u64.MAX_VALUE;
  const ttl = limit(level == 1 ? TTL_WINDOWS_10S : TTL_WINDOWS_60S);
  return (windowAt(level, 0).number + ttl + 1) * widthOf(level);
}
