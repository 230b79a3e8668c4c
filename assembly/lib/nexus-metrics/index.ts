// SPDX-License-Identifier: Apache-2.0
// nexus-metrics: what a service calls to be measured. Create series and take handles at start; update in handlers; the
// dispatcher's hooks send. An update is a few stores and never waits.
//
//   metricsInit(SVC_EXECD_ID);                            once, before serve()
//   const spawnOk = counter("execd.spawn.ok");            at module level or start
//   counterAdd(spawnOk, 1);                               anywhere
//   const span = spanGuard("execd.exec", rootSpan());     ends with the request at the latest
//   spanEnd(span, MT_SPAN_OK);
//
// Invariant: nothing is lost without being counted (metricsLost); ids are deterministic (ids.ts).
// Limits: limits.metrics_client. A service with a tick of its own passes ownTick = true and calls metricsFlush from it.
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_time_ns } from "../../gen/syscalls";
import { serverOnRequestEnd, serverOnTick, serverTickAt } from "../nexus-ipc/server";
import { MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_UNIT_NONE } from "../wire/metricsd";
import { metricsFlush, metricsWaiting } from "./flush";
import { idsInit } from "./ids";
import { spanScopeEnd } from "./spans";
import { addObservation, addPending, addSeries, setPending } from "./table";
import { transportConnect } from "./transport";
import { Counter, Gauge, Histogram } from "./types";

export { MT_SPAN_ERROR, MT_SPAN_OK, MT_UNIT_BYTES, MT_UNIT_NS } from "../wire/metricsd";
export { metricsFlush, metricsRegistrations, metricsWaiting } from "./flush";
export { nextSpanId, nextTraceId } from "./ids";
export { rootSpan, spanEnd, spanGuard, spanId, spanScopeEnd, spanStart, spanTrace, spansLeftOpen, spansOpen } from "./spans";
export { metricsLost } from "./table";
export { Counter, Gauge, Histogram, Span } from "./types";

/** From the end of a request that left something to send until it is sent, ns. Updates in between coalesce. */
export const FLUSH_DELAY_NS: u64 = 5_000_000;

let ownTick: bool = false;
let armed: bool = false;

/** Starts the client. `metricsd` 0: not reachable yet (metricsConnect later). With ownTick the caller flushes by itself. */
export function metricsInit(ownSender: u64, metricsd: u32 = SLOT_METRICSD, callerTicks: bool = false): void {
  idsInit(ownSender);
  transportConnect(metricsd);
  ownTick = callerTicks;
  serverOnRequestEnd(onRequestEnd);
  if (!callerTicks) serverOnTick(onTick, 0);
}

/** Sets or replaces the capability to metricsd. */
export function metricsConnect(metricsd: u32): void {
  transportConnect(metricsd);
}

function onRequestEnd(): void {
  spanScopeEnd();
  if (ownTick || armed || !metricsWaiting()) return;
  armed = true;
  serverTickAt(<u64>sys_time_ns() + FLUSH_DELAY_NS);
}

function onTick(): void {
  armed = false;
  metricsFlush();
  if (!metricsWaiting()) return;
  armed = true;
  serverTickAt(<u64>sys_time_ns() + FLUSH_DELAY_NS);
}

/** Sends at the next tick even when no request ends before (for updates made outside a request). */
export function metricsArm(): void {
  onRequestEnd();
}

/** A counter; name and labels (`key=value` lines) are literals. */
export function counter(name: string, labels: string = ""): Counter {
  return Counter.of(addLiteral(MT_KIND_COUNTER, MT_UNIT_NONE, name, labels));
}
/** A gauge. */
export function gauge(name: string, labels: string = ""): Gauge {
  return Gauge.of(addLiteral(MT_KIND_GAUGE, MT_UNIT_NONE, name, labels));
}
/** A histogram of nanoseconds (MT_UNIT_NS) or bytes (MT_UNIT_BYTES); the bounds are the recipe's. */
export function histogram(name: string, unit: u8, labels: string = ""): Histogram {
  return Histogram.of(addLiteral(MT_KIND_HISTOGRAM, unit, name, labels));
}

function addLiteral(kind: u8, unit: u8, name: string, labels: string): u32 {
  return addSeries(
    kind, unit, changetype<usize>(name), <u32>name.length, 1, changetype<usize>(labels), <u32>labels.length, 1,
  );
}

/** A counter whose name is a literal and whose labels are bytes that the caller keeps unchanged. */
export function counterWithLabels(name: string, labels: usize, labelsLen: u32): Counter {
  const literal = changetype<usize>(name);
  return Counter.of(addSeries(MT_KIND_COUNTER, MT_UNIT_NONE, literal, <u32>name.length, 1, labels, labelsLen, 0));
}
/** A gauge whose name is a literal and whose labels are bytes that the caller keeps unchanged. */
export function gaugeWithLabels(name: string, labels: usize, labelsLen: u32): Gauge {
  const literal = changetype<usize>(name);
  return Gauge.of(addSeries(MT_KIND_GAUGE, MT_UNIT_NONE, literal, <u32>name.length, 1, labels, labelsLen, 0));
}

/** Adds n. */
export function counterAdd(series: Counter, n: u64): void {
  addPending(series.index, n);
}
/** Replaces the value. */
export function gaugeSet(series: Gauge, value: i64): void {
  setPending(series.index, value);
}
/** Records one value, at most i64::MAX; false (and counted as lost) when the ring is full. */
export function observe(series: Histogram, value: u64): bool {
  return addObservation(series.index, value);
}
