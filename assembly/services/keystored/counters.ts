// SPDX-License-Identifier: Apache-2.0
// The counters of STATS, one u64 each by its index in lib/wire/keystored.ts. Nothing that is refused goes uncounted.
import { KS_STATS_COUNTERS } from "../../lib/wire/keystored";

const counters: usize = memory.data(104, 8);

/** Counts one. */
export function count(index: u32): void {
  assert(index < KS_STATS_COUNTERS && KS_STATS_COUNTERS * 8 == 104);
  const at = counters + (index << 3);
  store<u64>(at, load<u64>(at) + 1);
}
/** Address of all counters. */
export function countersAt(): usize {
  return counters;
}
