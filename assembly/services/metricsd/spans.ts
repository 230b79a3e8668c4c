// SPDX-License-Identifier: Apache-2.0
// Spans: those that are live, those that ended recently (who may be parents), and those that wait to be exported.
//
// Invariant: a span id and its trace id belong to the sender that the kernel stamped; a parent is 0, or a live or recently ended
// span of the same sender and trace. An end is accepted only when the export queue can take it, so nothing acknowledged is lost.
// A span that nobody ends expires after the recipe's expiry_ns of metricsd's own clock and is exported with status timeout.
// Limits: limits.metricsd live_spans_max, span_exports_max, ended_spans_max; the recipe's caps.
import {
  METRICSD_ENDED_SPANS_MAX, METRICSD_LIVE_SPANS_MAX, METRICSD_SPAN_EXPORTS_MAX,
} from "../../gen/limits";
import { MUT_METRICSD_EXPIRY_CLAIMS_OK, MUT_METRICSD_SPAN_LOSES_PARENT, mutant } from "../../gen/mutants";
import { SpanId, TraceId } from "../../lib/nexus-ipc/types";
import {
  MT_INVALID_ARGS, MT_NOT_FOUND, MT_OK, MT_OVER_LIMIT, MT_SPAN_ERROR, MT_SPAN_OK, MT_SPAN_TIMEOUT, MT_TRACE_XOR,
} from "../../lib/wire/metricsd";
import { canonicalLabels, canonicalLength, canonicalise } from "./labels";
import { ATTRS_LEN, LIVE_SPANS, SPAN_EXPIRY_NS, limit, limit32 } from "./limits";
import { Sender, findSender } from "./senders";

/** One span, 512 bytes: this head, then name (48), start attributes (192), end attributes (192). */
@unmanaged
export class SpanRecord {
  span: u64;
  trace: u64;
  parent: u64;
  sender: u64;
  start_ns: u64;
  end_ns: u64;
  /** metricsd's clock at which it expires. */
  expires_ns: u64;
  nameLen: u8;
  attrsLen: u8;
  endAttrsLen: u8;
  status: u8;
  live: u8;
  pad0: u8;
  pad1: u16;

  @inline get name(): usize {
    return changetype<usize>(this) + 64;
  }
  @inline get attrs(): usize {
    return changetype<usize>(this) + 112;
  }
  @inline get endAttrs(): usize {
    return changetype<usize>(this) + 304;
  }
}
const SPAN_BYTES: u32 = 512;

const liveTable: usize = memory.data(METRICSD_LIVE_SPANS_MAX * 512, 8);
const exportQueue: usize = memory.data(METRICSD_SPAN_EXPORTS_MAX * 512, 8);
// Recently ended: {span u64, trace u64, sender u64}.
const endedRing: usize = memory.data(METRICSD_ENDED_SPANS_MAX * 24, 8);
let liveCount: u32 = 0;
let exportHead: u32 = 0;
let exportCount: u32 = 0;
let endedCount: u32 = 0;
let endedNext: u32 = 0;
let expired: u64 = 0;
let nextExpiry: u64 = 0;

export function liveSpans(): u32 {
  return liveCount;
}
export function spanExportsWaiting(): u32 {
  return exportCount;
}
export function spansExpired(): u64 {
  return expired;
}
@inline function liveAt(index: u32): SpanRecord {
  return changetype<SpanRecord>(liveTable + index * SPAN_BYTES);
}
@inline function endedAt(index: u32): usize {
  return endedRing + index * 24;
}

/** The ended span that has waited longest; call only when spanExportsWaiting() is not 0. */
export function oldestSpanExport(): SpanRecord {
  return changetype<SpanRecord>(exportQueue + exportHead * SPAN_BYTES);
}
export function dropOldestSpanExport(): void {
  exportHead += 1;
  if (exportHead == METRICSD_SPAN_EXPORTS_MAX) exportHead = 0;
  exportCount -= 1;
}

function findLive(sender: u64, id: SpanId): SpanRecord {
  const span = id.value;
  for (let i: u32 = 0; i < limit32(LIVE_SPANS); i++) {
    const s = liveAt(i);
    if (s.live && s.span == span && s.sender == sender) return s;
  }
  return changetype<SpanRecord>(0);
}

/** The trace of a recently ended span of this sender, or 0. */
function endedTrace(sender: u64, id: SpanId): u64 {
  const span = id.value;
  for (let i: u32 = 0; i < endedCount; i++) {
    const at = endedAt(i);
    if (load<u64>(at) == span && load<u64>(at, 16) == sender) return load<u64>(at, 8);
  }
  return 0;
}

/** Whether the span and trace ids are this sender's own. */
function idsBelong(sender: u64, span: SpanId, trace: TraceId): bool {
  if (<u32>(span.value >> 32) != <u32>sender || <u32>span.value == 0) return false;
  return <u32>(trace.value >> 32) == <u32>(sender ^ MT_TRACE_XOR) && <u32>trace.value != 0;
}

/** Starts a span; the name was checked, the ids lie in the frame. A parent of 0 is none. Returns a wire status. */
export function startSpan(
  sender: Sender, span: SpanId, trace: TraceId, parent: SpanId, start_ns: u64, name: usize, nameLen: u32, attrs: usize,
  attrsLen: u32, now_ns: u64,
): u8 {
  if (!idsBelong(sender.id, span, trace)) return MT_INVALID_ARGS;
  if (changetype<usize>(findLive(sender.id, span)) != 0 || endedTrace(sender.id, span) != 0) return MT_INVALID_ARGS;
  if (parent.value != 0) {
    const live = findLive(sender.id, parent);
    const parentTrace = changetype<usize>(live) != 0 ? live.trace : endedTrace(sender.id, parent);
    if (parentTrace != trace.value) return MT_INVALID_ARGS;
  }
  const status = canonicalise(attrs, attrsLen, limit32(ATTRS_LEN));
  if (status != MT_OK) return status;
  if (liveCount >= limit32(LIVE_SPANS) || sender.liveSpans >= sender.liveSpansMax) return MT_OVER_LIMIT;
  for (let i: u32 = 0; i < limit32(LIVE_SPANS); i++) {
    const s = liveAt(i);
    if (s.live) continue;
    s.span = span.value;
    s.trace = trace.value;
    s.parent = mutant(MUT_METRICSD_SPAN_LOSES_PARENT) ? 0 : parent.value;
    s.sender = sender.id;
    s.start_ns = start_ns;
    s.expires_ns = now_ns + limit(SPAN_EXPIRY_NS);
    s.nameLen = <u8>nameLen;
    memory.copy(s.name, name, nameLen);
    s.attrsLen = <u8>canonicalLength();
    memory.copy(s.attrs, canonicalLabels(), canonicalLength());
    s.endAttrsLen = 0;
    s.live = 1;
    break;
  }
  liveCount += 1;
  sender.liveSpans += 1;
  if (nextExpiry == 0) nextExpiry = now_ns + limit(SPAN_EXPIRY_NS);
  return MT_OK;
}

/** Ends a live span of this sender. Returns a wire status; over_limit when the export queue is full (the span stays live). */
export function endSpan(sender: Sender, span: SpanId, end_ns: u64, status: u8, attrs: usize, attrsLen: u32): u8 {
  if (status > MT_SPAN_ERROR) return MT_INVALID_ARGS;
  const s = findLive(sender.id, span);
  if (changetype<usize>(s) == 0) return MT_NOT_FOUND;
  if (end_ns < s.start_ns) return MT_INVALID_ARGS;
  const checked = canonicalise(attrs, attrsLen, limit32(ATTRS_LEN));
  if (checked != MT_OK) return checked;
  if (exportCount == METRICSD_SPAN_EXPORTS_MAX) return MT_OVER_LIMIT;
  s.endAttrsLen = <u8>canonicalLength();
  memory.copy(s.endAttrs, canonicalLabels(), canonicalLength());
  finish(s, end_ns, status);
  return MT_OK;
}

/** Moves a live span into the export queue, which has room. */
function finish(s: SpanRecord, end_ns: u64, status: u8): void {
  s.end_ns = end_ns;
  s.status = status;
  s.live = 0;
  liveCount -= 1;
  if (s.expires_ns == nextExpiry) nextExpiry = findNextExpiry();
  const sender = findSender(s.sender);
  if (changetype<usize>(sender) != 0) sender.liveSpans -= 1;
  let at = exportHead + exportCount;
  if (at >= METRICSD_SPAN_EXPORTS_MAX) at -= METRICSD_SPAN_EXPORTS_MAX;
  memory.copy(exportQueue + at * SPAN_BYTES, changetype<usize>(s), SPAN_BYTES);
  exportCount += 1;
  const ended = endedAt(endedNext);
  store<u64>(ended, s.span);
  store<u64>(ended, s.trace, 8);
  store<u64>(ended, s.sender, 16);
  endedNext = endedNext + 1 == METRICSD_ENDED_SPANS_MAX ? 0 : endedNext + 1;
  if (endedCount < METRICSD_ENDED_SPANS_MAX) endedCount += 1;
}

/** Expires live spans whose time is over, as far as the export queue has room. */
export function expireSpans(now_ns: u64): void {
  if (liveCount == 0) return;
  for (let i: u32 = 0; i < limit32(LIVE_SPANS); i++) {
    const s = liveAt(i);
    if (!s.live || s.expires_ns > now_ns) continue;
    if (exportCount == METRICSD_SPAN_EXPORTS_MAX) return;
    expired += 1;
    // The sender's clock and ours are the same counter, but its start is its own claim.
    finish(s, max(now_ns, s.start_ns), mutant(MUT_METRICSD_EXPIRY_CLAIMS_OK) ? MT_SPAN_OK : MT_SPAN_TIMEOUT);
  }
}

/** When the next live span expires, or 0. Spans expire in the order of their starts, so a start never moves it nearer. */
export function nextExpiry_ns(): u64 {
  return nextExpiry;
}

function findNextExpiry(): u64 {
  if (liveCount == 0) return 0;
  let next = u64.MAX_VALUE;
  for (let i: u32 = 0; i < limit32(LIVE_SPANS); i++) {
    const s = liveAt(i);
    if (s.live && s.expires_ns < next) next = s.expires_ns;
  }
  return next;
}
