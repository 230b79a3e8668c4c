// SPDX-License-Identifier: Apache-2.0
// Deliberate bugs of the engine, all off. The crash simulation and tests/statefs compile the engine with this file replaced by one that
// switches one of them on, and must turn red. Constants, so that the compiler folds them away: no module that ships holds any.
// Invariant: `false` throughout in the tree (a test reads this file).

/** A mount keeps the epoch of the one before. */
export const FAULT_NO_EPOCH_BUMP: bool = false;
/** Recovery believes a record whose CRC is wrong. */
export const FAULT_NO_CRC_CHECK: bool = false;
/** Recovery takes a record with any sequence number. */
export const FAULT_NO_SEQUENCE_CHECK: bool = false;
/** A group begins in the sector in which the one before ended. */
export const FAULT_REWRITES_SECTOR: bool = false;
/** A commit whose last record is missing is kept as far as it is there. */
export const FAULT_KEEPS_HALF_COMMIT: bool = false;
/** A commit returns without FLUSH. */
export const FAULT_NO_FLUSH: bool = false;
/** Compaction writes the superblock without flushing what it points to. */
export const FAULT_COMPACTION_UNFLUSHED: bool = false;
/** A value may stand on the disk so that it looks like records, and a tail that holds such is appended to. */
export const FAULT_TRUSTS_VALUES: bool = false;
