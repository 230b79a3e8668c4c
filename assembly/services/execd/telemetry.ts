// SPDX-License-Identifier: Apache-2.0
// What execd measures of itself: spawn counters, and one span an exec that lives from the request to the child's end.
// Limit: nothing is sent here; index.ts shares the service's one tick between pending waits and lib/telemetry.
import { MUT_EXECD_RUNS_UNMEASURED, mutant } from "../../gen/mutants";
import { Writer } from "../../lib/bounded/writer";
import { MT_SPAN_ERROR, MT_SPAN_OK, Span, counter, counterAdd, rootSpan, spanEnd, spanStart } from "../../lib/nexus-metrics/index";

const spawnOk = counter("execd.spawn.ok");
const spawnFail = counter("execd.spawn.fail");
const spawnDeny = counter("execd.spawn.deny");
const crashLost = counter("execd.crash.lost");
const attrs: usize = memory.data(128);
const writer: Writer = changetype<Writer>(memory.data(16, 4));

export function countOk(): void {
  if (!mutant(MUT_EXECD_RUNS_UNMEASURED)) counterAdd(spawnOk, 1);
}
export function countFail(): void {
  counterAdd(spawnFail, 1);
}
export function countDeny(): void {
  counterAdd(spawnDeny, 1);
}
/** A child's crash record did not reach init-lite. */
export function countCrashLost(): void {
  counterAdd(crashLost, 1);
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
