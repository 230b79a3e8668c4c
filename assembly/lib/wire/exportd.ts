// SPDX-License-Identifier: Apache-2.0
// Wire numbers of exportd (magic XP, version 1, little-endian; docs/format/wire-exportd.md).
// Requests start `X P 1 op, nonce u32`; replies `X P 1 op|0x80, status u8, nonce u32` (9 bytes), then a body.
import { Protocol } from "../nexus-ipc/frame";

export const XP: Protocol = Protocol.of(0x58, 0x50, 1, 4, false);

/** what u8 (XP_FLUSH_* bits). From selftest alone, in profile=proof. Reply body: waiting u32 (frames), outcome i32 (last request's). */
export const XP_OP_FLUSH: u8 = 1;
/** No body. Reply body: XP_STATS words, each u64. */
export const XP_OP_STATS: u8 = 2;

export const XP_OK: u8 = 0;
export const XP_MALFORMED: u8 = 1;
export const XP_UNSUPPORTED: u8 = 2;
export const XP_DENIED: u8 = 3;
/** There was no session with the host, and none could be begun. */
export const XP_UNAVAILABLE: u8 = 4;

// Bits of FLUSH: what to make, then whether to send.
export const XP_FLUSH_GPU: u32 = 1;
export const XP_FLUSH_SELF: u32 = 2;
export const XP_FLUSH_RECORDS: u32 = 4;
export const XP_FLUSH_SEND: u32 = 8;
export const XP_FLUSH_ALL: u32 = 15;

// Streams, in the order of the words that are by stream.
export const XP_STREAM_GPU: u32 = 0;
export const XP_STREAM_SELF: u32 = 1;
export const XP_STREAM_TRACES: u32 = 2;
export const XP_STREAM_LOGS: u32 = 3;
export const XP_STREAMS: u32 = 4;

// Words of STATS. By stream: 4 words each, gpu, self, traces, logs. Items: spans, records; for metrics, frames.
export const XP_STAT_MADE: u32 = 0;
export const XP_STAT_ACKED: u32 = 4;
export const XP_STAT_REFUSED: u32 = 8;
export const XP_STAT_DROPPED: u32 = 12;
export const XP_STAT_ITEMS_ACKED: u32 = 16;
export const XP_STAT_RETRIED: u32 = 20;
export const XP_STAT_QUEUE_FRAMES: u32 = 21;
export const XP_STAT_QUEUE_BYTES: u32 = 22;
export const XP_STAT_SESSIONS: u32 = 23;
export const XP_STAT_GENERATION: u32 = 24;
/** Wall time of guest time 0, ns since 1970; 0: not known. How often it was corrected. */
export const XP_STAT_WALL_OFFSET_NS: u32 = 25;
export const XP_STAT_CLOCK_STEPS: u32 = 26;
/** Scrapes of dcgmd that were gone before they were read, or whose parts could not be read. dcgmd's restarts. */
export const XP_STAT_SCRAPES_MISSED: u32 = 27;
export const XP_STAT_DCGMD_RESTARTS: u32 = 28;
/** Snapshots of metricsd that failed; series that found no room in one; records and spans that found none in a request. */
export const XP_STAT_SNAPSHOTS_FAILED: u32 = 29;
export const XP_STAT_SERIES_CUT: u32 = 30;
export const XP_STAT_RECORDS_CUT: u32 = 31;
/** Of logd's record ids up to the cursor, each is one of: a log record, a span, a span's first part, a snapshot (left out), lost, cut. */
export const XP_STAT_CURSOR: u32 = 32;
export const XP_STAT_LOGS: u32 = 33;
export const XP_STAT_SPANS: u32 = 34;
export const XP_STAT_SPAN_PARTS: u32 = 35;
export const XP_STAT_SNAPSHOTS_LEFT_OUT: u32 = 36;
export const XP_STAT_RECORDS_LOST: u32 = 37;
export const XP_STAT_LOGD_RESTARTS: u32 = 38;
/** Second parts of spans whose first part did not come before them. */
export const XP_STAT_SPANS_HALF: u32 = 39;
export const XP_STATS: u32 = 40;
