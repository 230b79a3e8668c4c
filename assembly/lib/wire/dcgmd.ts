// SPDX-License-Identifier: Apache-2.0
// Wire numbers of dcgmd (magic DG, version 1, little-endian; docs/format/wire-dcgmd.md).
// Requests start `D G 1 op, nonce u32`; replies `D G 1 op|0x80, status u8, nonce u32` (9 bytes), then a body.

/** No body. From selftest alone, in profile=proof. Reply body: entities u32, samples u32, series u32, blanks u32, lost u32, source u8. */
export const DG_OP_SCRAPE: u8 = 1;
/** No body. Reply body: state u8, source u8, then u64: scrapes, failures, reconnects, samples, blanks, lost. */
export const DG_OP_STATS: u8 = 2;

export const DG_OK: u8 = 0;
export const DG_MALFORMED: u8 = 1;
export const DG_UNSUPPORTED: u8 = 2;
export const DG_DENIED: u8 = 3;
/** The host did not answer in time, or refused; STATS says how often. */
export const DG_UNAVAILABLE: u8 = 4;
export const DG_SCRAPE_BYTES: u32 = 21;
