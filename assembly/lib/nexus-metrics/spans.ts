// SPDX-License-Identifier: Apache-2.0
// Open spans of this producer and the queue of span frames that wait to be sent.
//
// Invariant: a guarded span that its handler left open is ended by spanScopeEnd with the real time, status ok and the attribute
// ended_by=scope, and counted; ids are issued in order, so two boots give the same ones. What does not fit is lost and counted;
// an end whose start was lost is never sent.
// Limits: limits.metrics_client open_spans_max and span_queue_max; attributes are copied, names are not.
import {
  METRICSD_LABELS_BYTES_MAX, METRICSD_NAME_BYTES_MAX, METRICS_CLIENT_OPEN_SPANS_MAX, METRICS_CLIENT_SPAN_QUEUE_MAX,
} from "../../gen/limits";
import { sys_time_ns } from "../../gen/syscalls";
import { copyLiteral } from "../bounded/text";
import { SpanId, TraceId } from "../nexus-ipc/types";
import { MT_OP_SPAN_END, MT_OP_SPAN_START, MT_SPAN_OK } from "../wire/metricsd";
import { issueSpanId, issueTraceId } from "./ids";
import { countLost } from "./table";
import { NO_SPAN_BITS, Span } from "./types";

/** One queued span frame, 256 bytes. */
@unmanaged
export class SpanFrame {
  span: u64;
  trace: u64;
  parent: u64;
  time_ns: u64;
  /** A literal. */
  name: usize;
  nameLen: u32;
  attrsLen: u32;
  op: u8;
  status: u8;
  pad: u16;
}
const ATTRS_OFFSET: u32 = 64;
const FRAME_BYTES: u32 = 256;

const queue: usize = memory.data(METRICS_CLIENT_SPAN_QUEUE_MAX * 256, 8);
let queueHead: u32 = 0;
let queueCount: u32 = 0;

/** A place in the table of open spans, 24 bytes; `use` numbers its uses, so that a stale Span is recognised. */
@unmanaged
class OpenSpan {
  spanBits: u64;
  traceBits: u64;
  use: u32;
  guarded: u8;
  open: u8;
  pad: u16;

  @inline get span(): SpanId {
    return SpanId.at(changetype<usize>(this));
  }
  @inline get trace(): TraceId {
    return TraceId.at(changetype<usize>(this) + offsetof<OpenSpan>("traceBits"));
  }
}
const open: usize = memory.data(METRICS_CLIENT_OPEN_SPANS_MAX * 24, 8);
const scopeAttrs: usize = memory.data(16);
const scopeAttrsLen: u32 = copyLiteral(scopeAttrs, "ended_by=scope");
let openCount: u32 = 0;
let guardedCount: u32 = 0;
let leftOpen: u64 = 0;

/** Guards that their handler left open and the scope ended. */
export function spansLeftOpen(): u64 {
  return leftOpen;
}
export function spansOpen(): u32 {
  return openCount;
}
export function spanFramesWaiting(): u32 {
  return queueCount;
}
/** The oldest frame; valid while spanFramesWaiting() is not 0. */
export function spanFrame(): SpanFrame {
  return changetype<SpanFrame>(queue + queueHead * FRAME_BYTES);
}
export function spanFrameAttrs(frame: SpanFrame): usize {
  return changetype<usize>(frame) + ATTRS_OFFSET;
}
export function dropSpanFrame(): void {
  queueHead += 1;
  if (queueHead == METRICS_CLIENT_SPAN_QUEUE_MAX) queueHead = 0;
  queueCount -= 1;
}

function enqueue(op: u8, span: SpanId, time_ns: u64, attrs: usize, attrsLen: u32): SpanFrame {
  if (queueCount == METRICS_CLIENT_SPAN_QUEUE_MAX || attrsLen > METRICSD_LABELS_BYTES_MAX) {
    countLost(1);
    return changetype<SpanFrame>(0);
  }
  let at = queueHead + queueCount;
  if (at >= METRICS_CLIENT_SPAN_QUEUE_MAX) at -= METRICS_CLIENT_SPAN_QUEUE_MAX;
  queueCount += 1;
  const frame = changetype<SpanFrame>(queue + at * FRAME_BYTES);
  frame.op = op;
  frame.span = span.value;
  frame.time_ns = time_ns;
  frame.attrsLen = attrsLen;
  memory.copy(spanFrameAttrs(frame), attrs, attrsLen);
  return frame;
}

@inline function openAt(place: u32): OpenSpan {
  return changetype<OpenSpan>(open + place * 24);
}

/** The first place that no open span holds; METRICS_CLIENT_OPEN_SPANS_MAX when all are held. */
function freePlace(): u32 {
  let place: u32 = 0;
  while (place < METRICS_CLIENT_OPEN_SPANS_MAX && openAt(place).open) place++;
  return place;
}

function start(name: string, parent: Span, guarded: bool, attrs: usize, attrsLen: u32): Span {
  const place = freePlace();
  if (<u32>name.length - 1 >= METRICSD_NAME_BYTES_MAX || place == METRICS_CLIENT_OPEN_SPANS_MAX) {
    countLost(1);
    return Span.of(NO_SPAN_BITS);
  }
  const from = find(parent);
  const hasParent = changetype<usize>(from) != 0;
  const entry = openAt(place);
  if (!issueSpanId(entry.span) || !(hasParent ? follow(entry.trace, from.trace) : issueTraceId(entry.trace))) {
    countLost(1);
    return Span.of(NO_SPAN_BITS);
  }
  const frame = enqueue(MT_OP_SPAN_START, entry.span, <u64>sys_time_ns(), attrs, attrsLen);
  if (changetype<usize>(frame) == 0) return Span.of(NO_SPAN_BITS);
  frame.trace = entry.trace.value;
  frame.parent = hasParent ? from.span.value : 0;
  frame.name = changetype<usize>(name);
  frame.nameLen = <u32>name.length;
  entry.use = (entry.use + 1) & 0x7fffff;
  entry.guarded = guarded ? 1 : 0;
  entry.open = 1;
  openCount += 1;
  if (guarded) guardedCount += 1;
  return Span.of(place | (entry.use << 8));
}

/** A child is in its parent's trace. */
function follow(trace: TraceId, parent: TraceId): bool {
  trace.value = parent.value;
  return true;
}

/** The entry of an open span, or none (0). */
function find(span: Span): OpenSpan {
  const place = span.bits & 0xff;
  if (place >= METRICS_CLIENT_OPEN_SPANS_MAX) return changetype<OpenSpan>(0);
  const entry = openAt(place);
  return entry.open && entry.use == span.bits >> 8 ? entry : changetype<OpenSpan>(0);
}

/** No parent. */
export function rootSpan(): Span {
  return Span.of(NO_SPAN_BITS);
}
/** Opens a span that lives beyond this request until spanEnd; `attrs` are `key=value` lines. */
export function spanStart(name: string, parent: Span, attrs: usize = 0, attrsLen: u32 = 0): Span {
  return start(name, parent, false, attrs, attrsLen);
}
/** Opens a span that ends with this request at the latest. */
export function spanGuard(name: string, parent: Span, attrs: usize = 0, attrsLen: u32 = 0): Span {
  return start(name, parent, true, attrs, attrsLen);
}
/** Id of an open span, or 0. */
export function spanId(span: Span): u64 {
  const entry = find(span);
  return changetype<usize>(entry) ? entry.span.value : 0;
}
/** Trace id of an open span, or 0. */
export function spanTrace(span: Span): u64 {
  const entry = find(span);
  return changetype<usize>(entry) ? entry.trace.value : 0;
}

/** Ends a span now. False when it is not open (ended before, or never started). */
export function spanEnd(span: Span, status: u8, attrs: usize = 0, attrsLen: u32 = 0): bool {
  const entry = find(span);
  if (changetype<usize>(entry) == 0) return false;
  entry.open = 0;
  openCount -= 1;
  if (entry.guarded) guardedCount -= 1;
  const frame = enqueue(MT_OP_SPAN_END, entry.span, <u64>sys_time_ns(), attrs, attrsLen);
  if (changetype<usize>(frame) == 0) return false;
  frame.status = status;
  return true;
}

/** Ends every guard that the request left open; the dispatcher calls it after each request. Returns how many. */
export function spanScopeEnd(): u32 {
  if (guardedCount == 0) return 0;
  let ended: u32 = 0;
  for (let place = <i32>METRICS_CLIENT_OPEN_SPANS_MAX - 1; place >= 0; place--) {
    const entry = openAt(place);
    if (!entry.open || !entry.guarded) continue;
    spanEnd(Span.of(<u32>place | (entry.use << 8)), MT_SPAN_OK, scopeAttrs, scopeAttrsLen);
    leftOpen += 1;
    ended += 1;
  }
  return ended;
}
