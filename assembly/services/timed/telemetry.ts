// SPDX-License-Identifier: Apache-2.0
// What timed measures and logs of itself: the histogram timed.coalesce.delta_ns, how far each deadline was moved by its
// window (a deadline without one is not moved, and not recorded).
// Invariant: the service has one tick, shared by timers and by the sending of that; the earlier one sets it.
import { MUT_TIMED_EMITS_NOTHING, mutant } from "../../gen/mutants";
import { SVC_TIMED_ID } from "../../gen/services";
import { sys_time_ns } from "../../gen/syscalls";
import { sinkFlush, sinkStart, sinkWaiting } from "../../lib/nexus-log/index";
import {
  FLUSH_DELAY_NS, MT_UNIT_NS, histogram, metricsFlush, metricsInit, metricsWaiting, observe,
} from "../../lib/nexus-metrics/index";
import { SLOT_METRICSD } from "../../gen/slots";

const delta = histogram("timed.coalesce.delta_ns", MT_UNIT_NS);
let flushAt_ns: u64 = 0;

export function telemetryStart(): void {
  sinkStart();
  metricsInit(SVC_TIMED_ID, SLOT_METRICSD, true);
}

/** Records by how much one deadline moved, ns. */
export function observeCoalesced(delta_ns: u64): void {
  if (mutant(MUT_TIMED_EMITS_NOTHING)) return;
  observe(delta, delta_ns);
}

/** When the next flush is due (guest ns), 0 for none. */
export function telemetryDue_ns(): u64 {
  if (flushAt_ns == 0 && waiting()) flushAt_ns = <u64>sys_time_ns() + FLUSH_DELAY_NS;
  return flushAt_ns;
}

function waiting(): bool {
  return metricsWaiting() || sinkWaiting() != 0;
}

/** Sends what waits, if it is time. */
export function telemetryTick(now_ns: u64): void {
  if (flushAt_ns == 0 || now_ns < flushAt_ns) return;
  metricsFlush();
  sinkFlush();
  flushAt_ns = waiting() ? now_ns + FLUSH_DELAY_NS : 0;
}
