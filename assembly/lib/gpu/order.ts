// SPDX-License-Identifier: Apache-2.0
// Owns: sorting lists of u16 places by what they stand for. Invariant: stable (a merge sort), so equal in gives equal out.
// Limits: ORDER_MAX places, one sort at a time.
import { GPU_SLOTS_MAX } from "../../gen/limits";

const SCRATCH: usize = memory.data(GPU_SLOTS_MAX * 2, 8);

/** Sorts `count` places at `list`; `after` tells whether place a belongs behind place b. */
export function sortPlaces(list: usize, count: u32, after: (a: u32, b: u32) => bool): void {
  assert(count <= GPU_SLOTS_MAX);
  let from = list;
  let to = SCRATCH;
  for (let width: u32 = 1; width < count; width <<= 1) {
    for (let low: u32 = 0; low < count; low += width << 1) {
      merge(from, to, low, min(low + width, count), min(low + (width << 1), count), after);
    }
    const other = from;
    from = to;
    to = other;
  }
  if (from != list) memory.copy(list, from, count << 1);
}

function merge(from: usize, to: usize, low: u32, middle: u32, high: u32, after: (a: u32, b: u32) => bool): void {
  let left = low;
  let right = middle;
  for (let at = low; at < high; at++) {
    const takeRight = left == middle || (right < high && after(load<u16>(from + (left << 1)), load<u16>(from + (right << 1))));
    const taken = takeRight ? right : left;
    store<u16>(to + (at << 1), load<u16>(from + (taken << 1)));
    if (takeRight) right++;
    else left++;
  }
}
