// SPDX-License-Identifier: Apache-2.0
// Wire numbers of policyd (protocol PO, nonce u32; tables in docs/format/wire-policyd.md). CHECK_CAP,
// CHECK_CAP_DELEGATED and STATS carry version 2 (protocol PO of nexus-ipc), ROUTE and EXEC version 3 (PO3). A decision
// is the reply's status byte followed by one zero byte; STATS has PO_STATS_COUNTERS u64 counters instead.

/** requester u64, target u64: may requester send to target? The requester is the sender itself unless it delegates. */
export const PO_OP_ROUTE: u8 = 2;
/** requester u64, image u64 (FNV-1a 64 of its name): may requester have this image run? */
export const PO_OP_EXEC: u8 = 3;
/** subject u64, cap_len u8, cap: does the sender itself hold cap? */
export const PO_OP_CHECK_CAP: u8 = 4;
/** The same for another subject; the sender needs policy.delegate. */
export const PO_OP_CHECK_CAP_DELEGATED: u8 = 5;
/** No payload: the counters below. Not a decision: neither counted nor audited. */
export const PO_OP_STATS: u8 = 6;

export const PO_ALLOW: u8 = 0;
export const PO_DENY: u8 = 1;
export const PO_MALFORMED: u8 = 2;
export const PO_UNSUPPORTED: u8 = 3;

export const PO_CAP_BYTES_MAX: u32 = 48;
/** Bytes of a decision: head with nonce and status, and one zero. */
export const PO_DECISION_BYTES: u32 = 10;

// Indexes of the STATS counters. decisions = allowed + denied, and decisions = sent + waiting + lost, always.
export const PO_STATS_DECISIONS: u32 = 0;
export const PO_STATS_ALLOWED: u32 = 1;
export const PO_STATS_DENIED: u32 = 2;
/** Frames that were no decision: malformed or unsupported. */
export const PO_STATS_REFUSED: u32 = 3;
/** Audit records that logd's queue took. */
export const PO_STATS_AUDITS_SENT: u32 = 4;
/** Audit records waiting in the ring. */
export const PO_STATS_AUDITS_WAITING: u32 = 5;
/** Audit records that the full ring dropped. */
export const PO_STATS_AUDITS_LOST: u32 = 6;
export const PO_STATS_COUNTERS: u32 = 7;
