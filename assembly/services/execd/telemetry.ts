// SPDX-License-Identifier: Apache-2.0
// What execd measures and logs of itself: spawn counters, and one span an exec that lives from the request to the
// child's end.
// Invariant: the service has one tick, shared by pending waits and by the sending of that; the earlier one sets it.
import { MUT_EXECD_RUNS_UNMEASURED, mutant } from "../../gen/mutants";
import { SVC_EXECD_ID } from "../../gen/services";
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_time_ns } from "../../gen/syscalls";
import { Writer } from "../../lib/bounded/writer";
import { sinkFlush, sinkStart, sinkWaiting } from "../../lib/nexus-log/index";
import {
  FLUSH_DELAY_NS, MT_SPAN_ERROR, MT_SPAN_OK, Span, counter, counterAdd, metricsFlush, metricsInit, metricsWaiting,
  rootSpan, spanEnd, spanStart,
} from "../../lib/nexus-metrics/index";

const spawnOk = counter("execd.spawn.ok");
const spawnFail = counter("execd.spawn.fail");
const spawnDeny = counter("execd.spawn.deny");
const attrs: usize = memory.data(128);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
let flushAt_ns: u64 = 0;

export function telemetryStart(): void {
  sinkStart();
  metricsInit(SVC_EXECD_ID, SLOT_METRICSD, true);
}

export function countOk(): void {
  if (!mutant(MUT_EXECD_RUNS_UNMEASURED)) counterAdd(spawnOk, 1);
}
export function countFail(): void {
  counterAdd(spawnFail, 1);
}
export function countDeny(): void {
  counterAdd(spawnDeny, 1);
}

/** Opens the span of one exec; its bits are kept with the child. */
export function execSpanStart(name: usize, length: u32): u32 {
  const out = writer.reset(attrs, 128).fieldText("image", name, length);
  return spanStart("execd.exec", rootSpan(), attrs, out.length).bits;
}

/** Ends it: ok when the exec ran and its child exited, whatever its code; error when it was refused or trapped. */
export function execSpanEnd(bits: u32, ok: bool, key: string, value: u64): void {
  const out = writer.reset(attrs, 128).fieldDecimal(key, value);
  spanEnd(Span.of(bits), ok ? MT_SPAN_OK : MT_SPAN_ERROR, attrs, out.length);
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
