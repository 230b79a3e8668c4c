// SPDX-License-Identifier: Apache-2.0
// What the engine knows of the open store, in one place, and the three large buffers.
// Invariant: places below `tail` in the active region are durable; what is staged will lie from `tail` on.
import { STATEFS_COPY_BYTES_MAX, STATEFS_GROUP_BYTES_MAX, STATEFS_READ_SECTORS_MAX } from "../../gen/limits";
import { Disk } from "./disk";
import { regionFirst, SECTOR_BYTES } from "./format";

export const PHASE_CLOSED: u32 = 0;
export const PHASE_OPEN: u32 = 1;
export const PHASE_FAILED: u32 = 2;

/** 64 bytes; the one instance is `state`. */
@unmanaged
export class State {
  disk: Disk;
  phase: u32;
  readOnly: u32;
  epoch: u32;
  /** epoch with which the active region begins, and its first sequence number */
  baseEpoch: u32;
  /** 0 or 1 */
  active: u32;
  regionSectors: u32;
  diskSectors: u32;
  /** sector at which the next group begins */
  tail: u32;
  /** the journal ends inside a group: nothing may follow it there */
  tailDirty: u32;
  /** bytes of the records of all live keys */
  liveBytes: u32;
  baseSequence: u64;
  /** first sequence number of `epoch` */
  mountSequence: u64;
  nextSequence: u64;

  get regionFirst(): u32 { return regionFirst(this.active, this.regionSectors); }
  get regionEnd(): u32 { return regionFirst(this.active, this.regionSectors) + this.regionSectors; }
  /** What liveBytes may grow to: an eighth of the region stays free, so that compaction always fits and always gains. */
  get capacity(): u32 { return this.regionSectors / 8 * 7 * SECTOR_BYTES; }
}
export const state: State = changetype<State>(memory.data(128, 8));

/** The staged group, and at open the window of recovery: limits.statefs group_bytes_max. */
export const groupBuffer: usize = memory.data(262144, 16);
/** What compaction writes at once: copy_bytes_max. */
export const copyBuffer: usize = memory.data(131072, 16);
/** What is read of live records: read_sectors_max sectors. */
export const readBuffer: usize = memory.data(81920, 16);

export function checkBuffers(): void {
  assert(STATEFS_GROUP_BYTES_MAX == 262144 && STATEFS_COPY_BYTES_MAX == 131072 && STATEFS_READ_SECTORS_MAX * SECTOR_BYTES == 81920);
}
