// SPDX-License-Identifier: Apache-2.0
// What timed measures of itself: the histogram timed.coalesce.delta_ns, how far each deadline was moved by its
// window (a deadline without one is not moved, and not recorded).
// Limit: nothing is sent here; fire.ts shares the service's one tick between timers and lib/telemetry.
import { MUT_TIMED_EMITS_NOTHING, mutant } from "../../gen/mutants";
import { MT_UNIT_NS, histogram, observe } from "../../lib/nexus-metrics/index";

const delta = histogram("timed.coalesce.delta_ns", MT_UNIT_NS);

/** Records by how much one deadline moved, ns. */
export function observeCoalesced(delta_ns: u64): void {
  if (mutant(MUT_TIMED_EMITS_NOTHING)) return;
  observe(delta, delta_ns);
}
