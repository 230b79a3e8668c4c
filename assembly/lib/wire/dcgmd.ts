// SPDX-License-Identifier: Apache-2.0
// Wire numbers of dcgmd (magic DG, version 1, little-endian; docs/format/wire-dcgmd.md).
// Requests start `D G 1 op, nonce u32`; replies `D G 1 op|0x80, status u8, nonce u32` (9 bytes), then a body.

/** No body. From selftest alone, in profile=proof. Reply body: entities u32, samples u32, series u32, blanks u32, lost u32, source u8. */
export const DG_OP_SCRAPE: u8 = 1;
/** No body. Reply body: DG_STATS_BYTES (docs/format/wire-dcgmd.md). */
export const DG_OP_STATS: u8 = 2;
/** No body; from exportd. Reply body: scrape u64 (0: none yet), parts u16, points u32, source u8, wall u64 (ns of the host's clock). */
export const DG_OP_LATEST: u8 = 3;
/** Chunked transfer (nexus-ipc/transfer.ts), from exportd; object = scrape * 64 + part. */
export const DG_OP_PART: u8 = 4;

export const DG_OK: u8 = 0;
export const DG_MALFORMED: u8 = 1;
export const DG_UNSUPPORTED: u8 = 2;
export const DG_DENIED: u8 = 3;
/** The host did not answer in time, or refused; STATS says how often. */
export const DG_UNAVAILABLE: u8 = 4;
/** That scrape is not kept (any more), or has no such part. */
export const DG_NOT_FOUND: u8 = 5;
export const DG_SCRAPE_BYTES: u32 = 21;
export const DG_LATEST_BYTES: u32 = 23;
/** A scrape's parts in the object of PART. */
export const DG_PARTS_PER_SCRAPE: u64 = 64;

/** Kinds of failure: [[receiver_kind]] of abi/bridge.toml. */
export const DG_KINDS: u32 = 9;
export const DG_KIND_NONE: u8 = 0;
export const DG_KIND_INIT: u8 = 1;
export const DG_KIND_CONNECT: u8 = 2;
export const DG_KIND_WATCH: u8 = 3;
export const DG_KIND_MIG: u8 = 4;
export const DG_KIND_ENUMERATE: u8 = 5;
export const DG_KIND_READ: u8 = 6;
export const DG_KIND_CARDINALITY: u8 = 7;
export const DG_KIND_DOWNSTREAM: u8 = 8;
export const DG_KIND_PANIC: u8 = 9;
/** STATS: state, source, degraded, kind (u8 each), 4 zero bytes, DG_STATS_WORDS u64, then a u64 for each kind. */
export const DG_STATS_WORDS: u32 = 12;
export const DG_STATS_BYTES: u32 = 8 + (12 + 9) * 8;
