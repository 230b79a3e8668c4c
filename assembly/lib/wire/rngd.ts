// SPDX-License-Identifier: Apache-2.0
// Wire numbers of rngd (protocol RG; table in docs/format/wire-rngd.md).

/** count u16 (1 to RG_ENTROPY_BYTES_MAX). Body: count u16, bytes; no body unless ok. */
export const RG_OP_GET_ENTROPY: u8 = 1;
/** No payload. Body, u64 each: granted, denied, oversized, unavailable, health failures. */
export const RG_OP_STATS: u8 = 2;

export const RG_OK: u8 = 0;
export const RG_OVERSIZED: u8 = 1;
export const RG_DENIED: u8 = 2;
export const RG_UNAVAILABLE: u8 = 3;
export const RG_MALFORMED: u8 = 4;
export const RG_UNSUPPORTED: u8 = 5;

export const RG_ENTROPY_BYTES_MAX: u32 = 256;
/** Indexes of the STATS counters. */
export const RG_STATS_GRANTED: u32 = 0;
export const RG_STATS_DENIED: u32 = 1;
export const RG_STATS_OVERSIZED: u32 = 2;
export const RG_STATS_UNAVAILABLE: u32 = 3;
export const RG_STATS_HEALTH: u32 = 4;
export const RG_STATS_COUNTERS: u32 = 5;
