// SPDX-License-Identifier: Apache-2.0
// The MT v1 frame layout (docs/format/wire-metricsd.md): opcodes, statuses, offsets, and the writers that clients use.
// Ops 1 to 6 are the published ones; 7 to 12 are additions under the same header. The reader side is in services/metricsd.
//
// Invariant: little-endian; the head of every request is `M T 1 op` and a u32 nonce, of every reply `M T 1 op|0x80`,
// status u8 and the nonce; a frame whose length does not follow from its own length fields is invalid_args.
// Limits: limits.metricsd; a recipe may only tighten them.
import { Writer } from "../nexus-ipc/frame";

export const MT_OP_COUNTER_INC: u8 = 1;
export const MT_OP_GAUGE_SET: u8 = 2;
export const MT_OP_HIST_OBSERVE: u8 = 3;
export const MT_OP_SPAN_START: u8 = 4;
export const MT_OP_SPAN_END: u8 = 5;
export const MT_OP_PING: u8 = 6;
/** A series once, for a handle. */
export const MT_OP_REGISTER: u8 = 7;
/** n updates by handle; all or nothing. */
export const MT_OP_BATCH: u8 = 8;
/** Series by cursor; needs the query right (badge bit 16). */
export const MT_OP_SNAPSHOT: u8 = 9;
/** The service's own counters. */
export const MT_OP_STATS: u8 = 10;
/** The effective limits and the digest of the recipe they come from. */
export const MT_OP_LIMITS: u8 = 11;
/** Exports everything that waits, now; needs the query right (badge bit 16). */
export const MT_OP_FLUSH: u8 = 12;

// The frozen numeric status table.
export const MT_OK: u8 = 0;
export const MT_INVALID_ARGS: u8 = 1;
export const MT_OVER_LIMIT: u8 = 2;
export const MT_RATE_LIMITED: u8 = 3;
export const MT_NOT_FOUND: u8 = 4;
export const MT_DENIED: u8 = 5;
/** The handle is from an earlier metricsd, or was never given to this sender: register again. */
export const MT_STALE_HANDLE: u8 = 6;
export const MT_STATUSES: u32 = 7;

export const MT_KIND_COUNTER: u8 = 1;
export const MT_KIND_GAUGE: u8 = 2;
export const MT_KIND_HISTOGRAM: u8 = 3;

export const MT_UNIT_NONE: u8 = 0;
export const MT_UNIT_NS: u8 = 1;
export const MT_UNIT_BYTES: u8 = 2;

export const MT_SPAN_OK: u8 = 0;
export const MT_SPAN_ERROR: u8 = 1;
/** Given by metricsd alone, to a span that nobody ended in time. */
export const MT_SPAN_TIMEOUT: u8 = 2;

/** Rights bit that SNAPSHOT and FLUSH need. */
export const MT_BADGE_QUERY: u32 = 16;
/** A trace id's high 32 bits are the low 32 of (sender XOR this). */
export const MT_TRACE_XOR: u64 = 0x5443525f4944;
/** After the last page of SNAPSHOT. */
export const MT_CURSOR_END: u32 = 0xffffffff;

/** Bytes of one BATCH item: handle u32, value u64. */
export const MT_ITEM_BYTES: u32 = 12;
/** Bytes of a BATCH before its items: head 8, count u16, zero u16. */
export const MT_BATCH_HEAD_BYTES: u32 = 12;

// Words of the STATS reply, each u64, in this order.
export const MT_STAT_REJECTS: u32 = 0; // 7 words, by status; word 0 counts what was accepted
export const MT_STAT_SERIES: u32 = 7;
export const MT_STAT_LIVE_SPANS: u32 = 8;
export const MT_STAT_EXPORTED: u32 = 9;
export const MT_STAT_EXPORT_FAILED: u32 = 10;
export const MT_STAT_EXPORT_DEFERRED: u32 = 11;
export const MT_STAT_PENDING: u32 = 12;
export const MT_STAT_QUARANTINES: u32 = 13;
export const MT_STAT_SPANS_EXPIRED: u32 = 14;
export const MT_STAT_REDACTIONS: u32 = 15;
export const MT_STAT_SENDERS: u32 = 16;
export const MT_STAT_GENERATION: u32 = 17;
export const MT_STAT_UPDATES: u32 = 18;
export const MT_STATS: u32 = 19;

/** Body of SPAN_START; times in guest ns. */
export function putSpanStart(
  w: Writer, span: u64, trace: u64, parent: u64, start_ns: u64, name: usize, nameLen: u32, attrs: usize, attrsLen: u32,
): Writer {
  w.putU64(span).putU64(trace).putU64(parent).putU64(start_ns).putU8(<u8>nameLen).putU16(<u16>attrsLen);
  return w.putBytes(name, nameLen).putBytes(attrs, attrsLen);
}

/** Body of SPAN_END. */
export function putSpanEnd(w: Writer, span: u64, end_ns: u64, status: u8, attrs: usize, attrsLen: u32): Writer {
  return w.putU64(span).putU64(end_ns).putU8(status).putU16(<u16>attrsLen).putBytes(attrs, attrsLen);
}

/** Body of SNAPSHOT. */
export function putSnapshot(w: Writer, cursor: u32, maxCount: u16): Writer {
  return w.putU32(cursor).putU16(maxCount);
}
