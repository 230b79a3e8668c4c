// SPDX-License-Identifier: Apache-2.0
// Counts every answered request by its status, and says a reject class on the console the first time it happens.
//
// Invariant: the counters are exact; the console line of a class is printed once, before the reply that first carries it.
import {
  M_METRICSD_REJECT_INVALID_ARGS, M_METRICSD_REJECT_OVER_LIMIT, M_METRICSD_REJECT_RATE_LIMITED, mark,
} from "../../gen/markers";
import { MUT_METRICSD_REJECT_COUNTERS_FROZEN, mutant } from "../../gen/mutants";
import {
  MT_INVALID_ARGS, MT_OK, MT_OVER_LIMIT, MT_RATE_LIMITED, MT_STATUSES,
} from "../../lib/wire/metricsd";

/** By status; the last is MT_UNAVAILABLE. */
const counts: usize = memory.data(MT_STATUSES * 8 + 8, 8);
let said: u32 = 0;

/** Requests answered with this status. */
export function answered(status: u32): u64 {
  return load<u64>(counts + (status << 3));
}

/** Notes an answer. */
export function note(status: u8): void {
  if (!(mutant(MUT_METRICSD_REJECT_COUNTERS_FROZEN) && status != MT_OK)) {
    const at = counts + (<u32>status << 3);
    store<u64>(at, load<u64>(at) + 1);
  }
  if (status == MT_OK) return;
  if (said & (1 << status)) return;
  said |= 1 << status;
  if (status == MT_INVALID_ARGS) mark(M_METRICSD_REJECT_INVALID_ARGS);
  else if (status == MT_OVER_LIMIT) mark(M_METRICSD_REJECT_OVER_LIMIT);
  else if (status == MT_RATE_LIMITED) mark(M_METRICSD_REJECT_RATE_LIMITED);
}
