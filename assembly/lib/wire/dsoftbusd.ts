// SPDX-License-Identifier: Apache-2.0
// Wire numbers of dsoftbusd (protocol DB; tables in docs/format/wire-dsoftbusd.md). Who a side is, is what the kernel stamped on its
// requests; the ids in payloads only say whom the sender means, and are refused where they are not so.

/** port_len u8, port (1 to DB_PORT_BYTES_MAX); moves a SEND and CLONE capability to an endpoint of the sender, whose end is the
 *  listener's. Body: listener u32. */
export const DB_OP_LISTEN: u8 = 1;
/** self u64, peer u64, wait_ns u64, port_len u8, port; moves a SEND capability to an endpoint of the sender. `self` must be the
 *  sender's id; `peer` is whose listener is meant. OK: it was accepted; PENDING: not within
 *  wait_ns. Body of both: session u32. */
export const DB_OP_CONNECT: u8 = 2;
/** listener u32, wait_ns u64: the oldest session that waits. Body: session u32, peer u64 (the connector, as the kernel stamped it). */
export const DB_OP_ACCEPT: u8 = 3;
/** session u32, message (1 to DB_MESSAGE_BYTES_MAX). No body. */
export const DB_OP_SEND: u8 = 4;
/** session u32, wait_ns u64. Body: the oldest message. */
export const DB_OP_RECV: u8 = 5;
/** session or listener u32. No body. */
export const DB_OP_CLOSE: u8 = 6;
/** No payload. Body: the u64 counters below. */
export const DB_OP_STATS: u8 = 7;

export const DB_OK: u8 = 0;
/** No such listener of that peer; no such session or listener of the sender. */
export const DB_NOT_FOUND: u8 = 1;
export const DB_DENIED: u8 = 2;
/** `self` is not who sent this. */
export const DB_IDENTITY: u8 = 3;
/** Too many listeners or sessions, in all or of one owner; a full backlog. */
export const DB_LIMIT: u8 = 4;
/** The other side has too much unread: nothing was queued. */
export const DB_FULL: u8 = 5;
/** Nothing came within wait_ns. */
export const DB_EMPTY: u8 = 6;
/** The other side closed, and everything it sent was read. Told once; the session is then gone. */
export const DB_CLOSED: u8 = 7;
/** The same, because the other side ended. */
export const DB_PEER_DEAD: u8 = 8;
/** The same, because it was not accepted within handshake_wait_ns. */
export const DB_TIMEOUT: u8 = 9;
export const DB_MALFORMED: u8 = 10;
export const DB_UNSUPPORTED: u8 = 11;
export const DB_TOO_LARGE: u8 = 12;
/** The sender listens on that port already. */
export const DB_EXISTS: u8 = 13;
/** Not accepted yet. */
export const DB_PENDING: u8 = 14;
/** No capability that tells whether the sender lives. */
export const DB_INVALID_ARGS: u8 = 15;

// Indexes of the STATS counters.
export const DB_STATS_LISTENERS: u32 = 0;
export const DB_STATS_SESSIONS: u32 = 1;
/** Accepted; ended after that; asked for in vain (denied, spoofed, no listener, limits, not accepted in time). */
export const DB_STATS_OPENED: u32 = 2;
export const DB_STATS_CLOSED: u32 = 3;
export const DB_STATS_REFUSED: u32 = 4;
/** Of the refused: `self` was another's id. */
export const DB_STATS_SPOOFED: u32 = 5;
/** Requests on a session or listener that is another's, or none. */
export const DB_STATS_FOREIGN: u32 = 6;
export const DB_STATS_MESSAGES: u32 = 7;
export const DB_STATS_BYTES: u32 = 8;
/** Sides that ended without closing. */
export const DB_STATS_DEAD: u32 = 9;
export const DB_STATS_TIMEOUTS: u32 = 10;
/** Messages refused because the other side's queue was full. */
export const DB_STATS_FULL: u32 = 11;
export const DB_STATS_COUNTERS: u32 = 12;
