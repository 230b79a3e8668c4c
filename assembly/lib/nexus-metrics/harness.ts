// SPDX-License-Identifier: Apache-2.0
// A producer for host tests: every update, span and flush of nexus-metrics by command. Not part of the image.
import { SVC_TIMED_ID } from "../../gen/services";
import {
  MT_SPAN_OK, MT_UNIT_NS, Span, counter, counterAdd, gauge, gaugeSet, histogram, metricsFlush, metricsInit, metricsLost,
  metricsRegistrations, metricsWaiting, nextSpanId, nextTraceId, observe, rootSpan, spanEnd, spanGuard, spanId, spanScopeEnd,
  spanTrace, spansLeftOpen,
} from "./index";

export const vigil_abi: i32 = 1;

const hits = counter("test.hits", "a=1");
const level = gauge("test.level");
const delta = histogram("test.delta", MT_UNIT_NS);
let outer: Span = rootSpan();

export function init(): void {
  metricsInit(SVC_TIMED_ID);
}
export function add(n: u64): void {
  counterAdd(hits, n);
}
export function set(value: i64): void {
  gaugeSet(level, value);
}
export function see(value: u64): bool {
  return observe(delta, value);
}
export function flush(): void {
  metricsFlush();
}
export function waiting(): bool {
  return metricsWaiting();
}
export function lost(): u64 {
  return metricsLost();
}
export function registrations(): u64 {
  return metricsRegistrations();
}
export function newSpanId(): u64 {
  return nextSpanId();
}
export function newTraceId(): u64 {
  return nextTraceId();
}
/** Opens a guard (child of the last one if `child`); its bits. */
export function openGuard(child: bool): u32 {
  outer = spanGuard("test.guard", child ? outer : rootSpan());
  return outer.bits;
}
export function guardId(bits: u32): u64 {
  return spanId(Span.of(bits));
}
export function guardTrace(bits: u32): u64 {
  return spanTrace(Span.of(bits));
}
export function closeGuard(bits: u32): bool {
  return spanEnd(Span.of(bits), MT_SPAN_OK);
}
export function scopeEnd(): u32 {
  return spanScopeEnd();
}
export function leftOpen(): u64 {
  return spansLeftOpen();
}
