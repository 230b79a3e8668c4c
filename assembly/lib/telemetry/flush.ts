// SPDX-License-Identifier: Apache-2.0
// Sending what a service measured and logged, for a service whose one tick also serves timers of its own: it asks when the
// next flush is due, sets its tick to the earlier of the two, and calls telemetryTick from it.
// Invariant: what waits is sent FLUSH_DELAY_NS after it was first asked for, so updates in between coalesce.
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_time_ns } from "../../gen/syscalls";
import { sinkFlush, sinkStart, sinkWaiting } from "../nexus-log/index";
import { FLUSH_DELAY_NS, metricsFlush, metricsInit, metricsWaiting } from "../nexus-metrics/index";

let flushAt_ns: u64 = 0;

/** Connects log and metrics; `sender` is the service's own id (FNV-1a 64 of its name). Once, before serve(). */
export function telemetryStart(sender: u64): void {
  sinkStart();
  metricsInit(sender, SLOT_METRICSD, true);
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
