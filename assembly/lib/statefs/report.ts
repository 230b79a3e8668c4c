// SPDX-License-Identifier: Apache-2.0
// What the engine can say of itself: what the last open found, what is there now, and what was done since the module started.
// Invariant: every record that recovery did not keep and could see is counted; the counters of work only grow.

/** Why recovery stopped. Clean: an empty sector, or the end of the region. */
export const BAD_NONE: u32 = 0;
export const BAD_MAGIC: u32 = 1;
/** An operation, length or flag that no record has, or one that reaches beyond its region or its group. */
export const BAD_LENGTH: u32 = 2;
export const BAD_CRC: u32 = 3;
/** A valid record that belongs elsewhere on the disk. */
export const BAD_PLACE: u32 = 4;
/** A repeated or a missing sequence number. */
export const BAD_SEQUENCE: u32 = 5;
/** A record of an earlier epoch: left over from before. */
export const BAD_EPOCH: u32 = 6;
/** A group that does not begin or end as groups do. */
export const BAD_GROUP: u32 = 7;
/** The end looks clean, but later groups lie behind it: a write was lost that had been acknowledged. */
export const BAD_HOLE: u32 = 8;

/** 128 bytes; the one instance is `report`. */
@unmanaged
export class Report {
  /** records that the last open kept, dels and overwritten puts included */
  recordsKept: u64;
  /** valid records that it dropped because the end of their commit is missing */
  recordsDropped: u64;
  /** bytes from the end of what was kept to the end of what was seen behind it (0 when clean) */
  bytesDropped: u64;
  /** next sequence number, and the last one that is durable */
  sequence: u64;
  durable: u64;
  reads: u64;
  readBytes: u64;
  writes: u64;
  writtenBytes: u64;
  flushes: u64;
  compactions: u64;
  epoch: u32;
  /** BAD_*, and where the bad record would begin: a sector of the disk and a byte in it */
  badKind: u32;
  badSector: u32;
  badByte: u32;
  /** groups of this journal behind the bad position: each proves that something acknowledged was lost */
  groupsBehind: u32;
  liveKeys: u32;
  lostKeys: u32;
  liveBytes: u32;
  /** bytes of the active region in use, and what liveBytes may grow to */
  journalBytes: u32;
  capacityBytes: u32;
  /** how many of the two superblocks were valid at the last open */
  superblocks: u32;
  active: u32;
  regionSectors: u32;
}
export const report: Report = changetype<Report>(memory.data(160, 8));
