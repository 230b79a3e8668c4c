// SPDX-License-Identifier: Apache-2.0
// The MT v1 frame layout (docs/format/wire-metricsd.md): opcodes, statuses, offsets, and the writers that clients use.
// Ops 1 to 6 are the published ones; 7 to 13 are additions under the same header. The reader side is in services/metricsd.
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
/** What series did in past windows, from /state; needs the capability metrics.history, which policyd decides for the sender. */
export const MT_OP_RANGE: u8 = 13;

// The frozen numeric status table.
export const MT_OK: u8 = 0;
export const MT_INVALID_ARGS: u8 = 1;
export const MT_OVER_LIMIT: u8 = 2;
export const MT_RATE_LIMITED: u8 = 3;
export const MT_NOT_FOUND: u8 = 4;
export const MT_DENIED: u8 = 5;
/** The handle is from an earlier metricsd, or was never given to this sender: register again. */
export const MT_STALE_HANDLE: u8 = 6;
/** There is no retention: it is off, statefsd is not there, or it refused (STATS says which). */
export const MT_UNAVAILABLE: u8 = 7;
/** Statuses that the first words of STATS count; MT_UNAVAILABLE has a word of its own. */
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
/** In the unit of a SNAPSHOT record: the series came from /state and was not updated since. */
export const MT_UNIT_RESTORED: u8 = 0x80;

/** Levels of RANGE: raw intervals, windows of 10 s, of 60 s. */
export const MT_LEVEL_RAW: u8 = 0;
export const MT_LEVEL_10S: u8 = 1;
export const MT_LEVEL_60S: u8 = 2;
/** Selectors of RANGE. */
export const MT_SELECT_NAME: u8 = 0;
export const MT_SELECT_HANDLE: u8 = 1;
/** In place of labels_len in a selector by name: whatever labels. */
export const MT_ANY_LABELS: u16 = 0xffff;
/** After the last page of RANGE. */
export const MT_RANGE_END: u64 = 0xffffffffffffffff;
/** Flags of a RANGE reply: a record could not be read; records wait to be written (the newest windows may be missing). */
export const MT_RANGE_UNREADABLE: u16 = 1;
export const MT_RANGE_WAITING: u16 = 2;
/** Flags of a point: its window is still open; its buckets have other bounds than those in force. */
export const MT_POINT_OPEN: u8 = 1;
export const MT_POINT_OTHER_BOUNDS: u8 = 2;
/** Bytes of a RANGE reply before its points, and of a point before its buckets and labels. */
export const MT_RANGE_HEAD_BYTES: u32 = 28;
export const MT_POINT_HEAD_BYTES: u32 = 72;

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
/** MT_RETENTION_*. */
export const MT_STAT_RETENTION: u32 = 19;
/** Why it is unavailable: a status of statefsd, or a negative error (i64). */
export const MT_STAT_RETENTION_WHY: u32 = 20;
/** Raw records and roll-up parts that statefsd acknowledged, keys whose deletion it acknowledged. */
export const MT_STAT_RAW_WRITTEN: u32 = 21;
export const MT_STAT_ROLLUPS_WRITTEN: u32 = 22;
export const MT_STAT_KEYS_DELETED: u32 = 23;
/** Frames refused or not answered, the last such status, frames given up, samples that found no room. */
export const MT_STAT_WRITE_FAILURES: u32 = 24;
export const MT_STAT_WRITE_STATUS: u32 = 25;
export const MT_STAT_WRITES_LOST: u32 = 26;
export const MT_STAT_SAMPLES_DROPPED: u32 = 27;
/** Frames that wait. */
export const MT_STAT_WRITES_WAITING: u32 = 28;
/** Retention clock, and how far it is ahead of guest time (ns). */
export const MT_STAT_RETENTION_NS: u32 = 29;
export const MT_STAT_RETENTION_OFFSET_NS: u32 = 30;
/** Segment that is written, records in it, segments deleted since start. */
export const MT_STAT_SEGMENT: u32 = 31;
export const MT_STAT_SEGMENT_RECORDS: u32 = 32;
export const MT_STAT_SEGMENTS_DROPPED: u32 = 33;
/** At the start: records read, records that were no good, series restored, entries that no cap or recipe let in. */
export const MT_STAT_RECOVERED: u32 = 34;
export const MT_STAT_RECOVERED_BAD: u32 = 35;
export const MT_STAT_SERIES_RESTORED: u32 = 36;
export const MT_STAT_ENTRIES_REFUSED: u32 = 37;
/** Requests answered with MT_UNAVAILABLE. */
export const MT_STAT_UNAVAILABLE: u32 = 38;
export const MT_STATS: u32 = 39;

export const MT_RETENTION_DISABLED: u32 = 0;
export const MT_RETENTION_UNAVAILABLE: u32 = 1;
export const MT_RETENTION_READY: u32 = 2;

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

/** Body of RANGE by name: points in [from_ns, to_ns) of the retention clock; sender and kind 0: any; anyLabels: whatever labels. */
export function putRangeByName(
  w: Writer, level: u8, from_ns: u64, to_ns: u64, cursor: u64, sender: u64, kind: u8, name: usize, nameLen: u32, labels: usize,
  labelsLen: u32, anyLabels: bool,
): Writer {
  w.putU8(level).putU8(MT_SELECT_NAME).putU16(0).putU64(from_ns).putU64(to_ns).putU64(cursor);
  w.putU64(sender).putU8(kind).putU8(<u8>nameLen).putU16(anyLabels ? MT_ANY_LABELS : <u16>labelsLen).putBytes(name, nameLen);
  return anyLabels ? w : w.putBytes(labels, labelsLen);
}

/** Body of RANGE by handle: the series of anybody's handle. */
export function putRangeByHandle(w: Writer, level: u8, from_ns: u64, to_ns: u64, cursor: u64, handle: u32): Writer {
  return w.putU8(level).putU8(MT_SELECT_HANDLE).putU16(0).putU64(from_ns).putU64(to_ns).putU64(cursor).putU32(handle);
}
