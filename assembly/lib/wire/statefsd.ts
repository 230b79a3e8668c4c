// SPDX-License-Identifier: Apache-2.0
// Wire numbers of statefsd (protocol SF version 2, nonce u64; tables in docs/format/wire-statefsd.md).
// Keys: `/state/` and components of [A-Za-z0-9._-] between single slashes, none of them empty, `.` or `..`; SF_KEY_BYTES_MAX bytes in all.
// Invariant: OK to PUT, DEL, TXN_COMMIT, SYNC and BATCH without SF_BATCH_LAZY is sent only after the device answered a FLUSH.

/** key_len u16, val_len u32, key, value. Body: sequence u64. */
export const SF_OP_PUT: u8 = 1;
/** key_len u16, offset u32, max u16, key. Body: total u32, offset u32, length u16, sequence u64 of the value, bytes. */
export const SF_OP_GET: u8 = 2;
/** key_len u16, key. Body: sequence u64. */
export const SF_OP_DEL: u8 = 3;
/** prefix_len u16, after_len u16, max u16, prefix, after: keys that begin with prefix and come behind `after` (in byte order), at most
 *  max (0: as many as a page takes). Body: count u16, more u8, 0 u8, then count x {key_len u16, val_len u32, key}. */
export const SF_OP_LIST: u8 = 4;
/** Nothing, or prefix_len u16, prefix: whose right to write is asked for (`/state/` if nothing). Body: sequence u64 that is durable. */
export const SF_OP_SYNC: u8 = 5;
/** No payload: everything staged is made durable, then the journal is read again from the device. Needs statefs.admin. */
export const SF_OP_REOPEN: u8 = 6;
/** Nothing, or prefix_len u16, prefix, as for SYNC. Body: txn u32. */
export const SF_OP_TXN_BEGIN: u8 = 7;
/** txn u32, key_len u16, total u32, offset u32, length u16, key, bytes: the pieces of one value come in order, from offset 0 on. */
export const SF_OP_TXN_PUT: u8 = 8;
/** txn u32. Body: sequence u64. */
export const SF_OP_TXN_COMMIT: u8 = 9;
/** txn u32. */
export const SF_OP_TXN_ABORT: u8 = 10;
/** count u16, flags u16, then count x {op u8 (PUT or DEL), key_len u8, val_len u16, key, value}: one atomic commit. Body: sequence u64. */
export const SF_OP_BATCH: u8 = 11;
/** No payload. Body: the u64 counters below. */
export const SF_OP_STATS: u8 = 12;
/** txn u32, key_len u16, key: stages a deletion. */
export const SF_OP_TXN_DEL: u8 = 13;

export const SF_OK: u8 = 0;
export const SF_NOT_FOUND: u8 = 1;
export const SF_ACCESS_DENIED: u8 = 2;
export const SF_VALUE_TOO_LARGE: u8 = 3;
export const SF_KEY_TOO_LONG: u8 = 4;
export const SF_INVALID_KEY: u8 = 5;
export const SF_MALFORMED: u8 = 6;
export const SF_IO: u8 = 7;
export const SF_UNSUPPORTED: u8 = 8;
export const SF_INTEGRITY: u8 = 9;
export const SF_ROLLBACK: u8 = 10;
export const SF_TXN_LIMIT: u8 = 11;
export const SF_NO_SPACE: u8 = 12;
export const SF_READ_ONLY: u8 = 13;
export const SF_NO_FLUSH: u8 = 14;
export const SF_FOREIGN: u8 = 15;
export const SF_UNAVAILABLE: u8 = 16;
export const SF_KEYS_LIMIT: u8 = 17;

export const SF_KEY_BYTES_MAX: u32 = 255;
export const SF_VALUE_BYTES_MAX: u32 = 65_536;
/** BATCH flag: OK means accepted and visible; durable once a SYNC answered OK. A SYNC that answers SF_ROLLBACK says, once, that what this
 *  sender had accepted and not yet synced was lost with a failed device: put it again. */
export const SF_BATCH_LAZY: u16 = 1;
/** Bytes of one item of a BATCH before its key. */
export const SF_BATCH_ITEM_HEAD_BYTES: u32 = 4;
/** Bytes of a page of LIST: its head, and the head of each key. */
export const SF_LIST_HEAD_BYTES: u32 = 4;
export const SF_LIST_ITEM_HEAD_BYTES: u32 = 6;

// Indexes of the STATS counters.
/** 0 ready; else the status that a write is refused with. */
export const SF_STATS_STATE: u32 = 0;
/** Sequence of the last accepted record, and of the last durable one. */
export const SF_STATS_SEQUENCE: u32 = 1;
export const SF_STATS_DURABLE: u32 = 2;
export const SF_STATS_EPOCH: u32 = 3;
export const SF_STATS_LIVE_KEYS: u32 = 4;
export const SF_STATS_LIVE_BYTES: u32 = 5;
export const SF_STATS_JOURNAL_BYTES: u32 = 6;
export const SF_STATS_SECTORS: u32 = 7;
/** Requests answered OK, by kind. */
export const SF_STATS_PUTS: u32 = 8;
export const SF_STATS_GETS: u32 = 9;
export const SF_STATS_DELS: u32 = 10;
export const SF_STATS_LISTS: u32 = 11;
export const SF_STATS_SYNCS: u32 = 12;
export const SF_STATS_BATCHES: u32 = 13;
export const SF_STATS_TXNS: u32 = 14;
/** Transactions that nobody touched for limits.statefsd txn_expiry_ns: dropped. */
export const SF_STATS_TXNS_EXPIRED: u32 = 15;
/** Requests that policyd did not allow; requests refused for any other reason. */
export const SF_STATS_DENIED: u32 = 16;
export const SF_STATS_REFUSED: u32 = 17;
/** Groups made durable, the largest number of requests in one, FLUSHes and writes of the device, compactions. */
export const SF_STATS_GROUPS: u32 = 18;
export const SF_STATS_GROUP_MAX: u32 = 19;
export const SF_STATS_FLUSHES: u32 = 20;
export const SF_STATS_WRITES: u32 = 21;
export const SF_STATS_COMPACTIONS: u32 = 22;
/** Failed or late requests of the device; times the journal was read again after one (or by REOPEN). */
export const SF_STATS_IO_ERRORS: u32 = 23;
export const SF_STATS_REOPENS: u32 = 24;
/** Answers that could not be delivered. */
export const SF_STATS_ANSWERS_LOST: u32 = 25;
/** What the last recovery kept and dropped: records, bytes behind the last good record, where (sector) and what the first bad one was. */
export const SF_STATS_RECOVERED: u32 = 26;
export const SF_STATS_DROPPED_BYTES: u32 = 27;
export const SF_STATS_BAD_POSITION: u32 = 28;
export const SF_STATS_BAD_KIND: u32 = 29;
/** Groups of this journal behind that bad record (each had been acknowledged), valid records dropped because the end of their commit is
 *  missing, keys whose value rotted (now), and how many of the two superblocks the last recovery found whole. */
export const SF_STATS_GROUPS_BEHIND: u32 = 30;
export const SF_STATS_RECORDS_DROPPED: u32 = 31;
export const SF_STATS_LOST_KEYS: u32 = 32;
export const SF_STATS_SUPERBLOCKS: u32 = 33;
/** Reads answered SF_INTEGRITY. */
export const SF_STATS_INTEGRITY: u32 = 34;
export const SF_STATS_COUNTERS: u32 = 35;
