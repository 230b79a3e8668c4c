// SPDX-License-Identifier: Apache-2.0
// The storage engine of /state: a key-value journal with an index in memory. Pure: no system calls; the disk is three functions.
// One store a module. Used by statefsd, by the bench fixture over a RAM disk, and by the host's tools and tests.
//
//   disk.set(read, write, flush, sectors);
//   storeOpen(disk, false);                 // recovery; `report` says what it found
//   storePut(key, keyLength, value, length) // staged: visible, not durable
//   storeCommit();                          // written and flushed: only now may anybody be told
//
// Several puts and dels as one atomic commit: storeBegin ... storeEnd (storeAbort: as if nothing had been). One storeCommit makes all
// that is staged durable with one FLUSH. S_GROUP_FULL: storeCommit, then again. After S_IO of storeCommit the store has failed: nothing
// that was staged may be acknowledged, every call answers S_FAILED, and storeOpen reads back what the disk really holds.
// Format and corruption table: docs/format/statefs.md. Statuses: status.ts. faults.ts: the bugs that the simulation must find.
export { Disk } from "./disk";
export { SECTOR_BYTES } from "./format";
export {
  BAD_CRC, BAD_EPOCH, BAD_GROUP, BAD_HOLE, BAD_LENGTH, BAD_MAGIC, BAD_NONE, BAD_PLACE, BAD_SEQUENCE, Report, report,
} from "./report";
export {
  S_BAD_CALL, S_BLANK, S_CLOSED, S_FAILED, S_FOREIGN, S_GROUP_FULL, S_INTEGRITY, S_INVALID_KEY, S_IO, S_KEYS_LIMIT, S_KEY_TOO_LONG, S_NEWER,
  S_NOT_FOUND, S_NO_SPACE, S_OK, S_READ_ONLY, S_SHRUNK, S_TOO_SMALL, S_TXN_LIMIT, S_VALUE_TOO_LARGE,
} from "./status";
export {
  listCount, listMore, storeAbort, storeBegin, storeClose, storeCommit, storeDel, storeEnd, storeFind, storeFoundSequence, storeList,
  storeOpen, storePut, storeRead, storeReport, storeSequence, storeStagedBytes, LIST_HEAD_BYTES,
} from "./store";
