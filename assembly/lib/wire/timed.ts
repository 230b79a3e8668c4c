// SPDX-License-Identifier: Apache-2.0
// Wire numbers of timed (protocol TM; tables in docs/format/wire-timed.md).

/** qos u8, 0 u8, deadline_ns u64. The owner's first REGISTER moves a SEND capability: where its fires go. Body: id u32,
 *  deadline_ns u64 as coalesced. */
export const TM_OP_REGISTER: u8 = 1;
/** id u32; by its owner alone. */
export const TM_OP_CANCEL: u8 = 2;
/** As REGISTER without a capability; the reply comes at the coalesced deadline. Body: woken_ns u64. */
export const TM_OP_SLEEP_UNTIL: u8 = 3;
/** No payload. Body: live u32, owners u32, then u64 each: registered, fired, missed, cancelled, wakes. */
export const TM_OP_STATS: u8 = 4;
/** A fire, sent to the owner's capability under the nonce of its REGISTER: id u32, deadline_ns u64, fired_ns u64. */
export const TM_OP_FIRED: u8 = 0x40;

export const TM_OK: u8 = 0;
export const TM_INVALID_ARGS: u8 = 1;
export const TM_OVER_LIMIT: u8 = 2;
export const TM_NOT_FOUND: u8 = 3;
export const TM_MALFORMED: u8 = 4;
export const TM_INTERNAL: u8 = 5;

export const TM_QOS_IDLE: u8 = 0;
export const TM_QOS_NORMAL: u8 = 1;
export const TM_QOS_INTERACTIVE: u8 = 2;
export const TM_QOS_PERF_BURST: u8 = 3;
// Deadlines are rounded up to a multiple of the window of their quality of service; perf burst is not rounded.
export const TM_WINDOW_IDLE_NS: u64 = 8_000_000;
export const TM_WINDOW_NORMAL_NS: u64 = 4_000_000;
export const TM_WINDOW_INTERACTIVE_NS: u64 = 1_000_000;

/** Bytes of a TM_OP_FIRED message. */
export const TM_FIRED_BYTES: u32 = 28;
