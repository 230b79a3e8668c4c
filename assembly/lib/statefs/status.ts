// SPDX-License-Identifier: Apache-2.0
// What the engine answers: 0, a length, or one of these. -1 to -17 are the negated statuses of protocol SF (docs/format/wire-statefsd.md),
// so that statefsd can pass them on; below -31 are states that only its owner sees.

export const S_OK: i32 = 0;
export const S_NOT_FOUND: i32 = -1;
export const S_VALUE_TOO_LARGE: i32 = -3;
export const S_KEY_TOO_LONG: i32 = -4;
/** An empty key. */
export const S_INVALID_KEY: i32 = -5;
/** The disk answered with an error. */
export const S_IO: i32 = -7;
/** What was read is not what was written. */
export const S_INTEGRITY: i32 = -9;
/** An atomic commit larger than a group. */
export const S_TXN_LIMIT: i32 = -11;
export const S_NO_SPACE: i32 = -12;
export const S_READ_ONLY: i32 = -13;
/** Not blank, and no valid superblock: never written. */
export const S_FOREIGN: i32 = -15;
/** keys_max or keys_bytes_max. */
export const S_KEYS_LIMIT: i32 = -17;

/** No room behind what is staged: storeCommit, then again. */
export const S_GROUP_FULL: i32 = -32;
/** A write or FLUSH failed: only storeOpen brings the store back. */
export const S_FAILED: i32 = -33;
/** Not open. */
export const S_CLOSED: i32 = -34;
/** A superblock of a later version. */
export const S_NEWER: i32 = -35;
/** The disk is smaller than its superblock says. */
export const S_SHRUNK: i32 = -36;
/** The disk is too small to hold a store. */
export const S_TOO_SMALL: i32 = -37;
/** Blank, and opened for reading alone. */
export const S_BLANK: i32 = -38;
/** begin, end, abort or commit out of order. */
export const S_BAD_CALL: i32 = -39;
