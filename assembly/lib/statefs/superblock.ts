// SPDX-License-Identifier: Apache-2.0
// The two superblocks: which region is active, with which epoch and sequence number it begins, and the epoch of this mount.
// Invariant: a new one is written into one slot, flushed, then into the other, flushed; so each crash leaves a valid one, and in between
// both slots hold the newest, so that rot in one cannot bring an older state back. Limits: each within one sector.
import { STATEFS_REGION_SECTORS_MAX, STATEFS_REGION_SECTORS_MIN } from "../../gen/limits";
import { crc32cWide } from "./crc";
import { Disk } from "./disk";
import {
  BLOCK_SECTORS, REGION_FIRST_SECTOR, SECTOR_BYTES, SUPER_AT_ACTIVE, SUPER_AT_BASE_EPOCH, SUPER_AT_BASE_SEQUENCE, SUPER_AT_CRC,
  SUPER_AT_DISK_SECTORS, SUPER_AT_EPOCH, SUPER_AT_MAGIC, SUPER_AT_MOUNT_SEQUENCE, SUPER_AT_REGION_SECTORS, SUPER_AT_VERSION, SUPER_MAGIC,
  SUPER_SLOTS, SUPER_VERSION,
} from "./format";
import { report } from "./report";
import { state } from "./state";
import { S_BLANK, S_FOREIGN, S_IO, S_NEWER, S_OK, S_SHRUNK, S_TOO_SMALL } from "./status";

const BLOCK_BYTES: u32 = BLOCK_SECTORS * SECTOR_BYTES;
/** Both blocks as they are on the disk. */
const found: usize = memory.data(8192, 16);
const built: usize = memory.data(512, 16);
/** A region's first sector, when the superblocks are blank. */
const first: usize = memory.data(512, 16);
/** Slot that does not hold the newest superblock, written first. */
let olderSlot: u32 = 0;

/** Region size for a disk, 0 when it is too small. */
export function regionSectorsFor(diskSectors: u32): u32 {
  if (diskSectors < REGION_FIRST_SECTOR + 2 * STATEFS_REGION_SECTORS_MIN) return 0;
  return min((diskSectors - REGION_FIRST_SECTOR) / 2, STATEFS_REGION_SECTORS_MAX) & ~(BLOCK_SECTORS - 1);
}

function crcOf(at: usize): u32 {
  const after = SUPER_AT_CRC + 4;
  return crc32cWide(at + after, SECTOR_BYTES - <u32>after, crc32cWide(at, <u32>SUPER_AT_CRC));
}

/** Puts the superblock of `state` together. */
function build(): void {
  memory.fill(built, 0, SECTOR_BYTES);
  store<u64>(built, SUPER_MAGIC, SUPER_AT_MAGIC);
  store<u32>(built, SUPER_VERSION, SUPER_AT_VERSION);
  store<u32>(built, state.epoch, SUPER_AT_EPOCH);
  store<u32>(built, state.baseEpoch, SUPER_AT_BASE_EPOCH);
  store<u64>(built, state.baseSequence, SUPER_AT_BASE_SEQUENCE);
  store<u64>(built, state.mountSequence, SUPER_AT_MOUNT_SEQUENCE);
  store<u32>(built, state.diskSectors, SUPER_AT_DISK_SECTORS);
  store<u32>(built, state.regionSectors, SUPER_AT_REGION_SECTORS);
  store<u32>(built, state.active, SUPER_AT_ACTIVE);
  store<u32>(built, crcOf(built), SUPER_AT_CRC);
  assert(valid(built));
}

/** A superblock whose numbers can be true, beside a CRC that is right. */
function valid(at: usize): bool {
  if (load<u64>(at, SUPER_AT_MAGIC) != SUPER_MAGIC || load<u32>(at, SUPER_AT_CRC) != crcOf(at)) return false;
  if (load<u32>(at, SUPER_AT_VERSION) != SUPER_VERSION) return load<u32>(at, SUPER_AT_VERSION) > SUPER_VERSION;
  const epoch = load<u32>(at, SUPER_AT_EPOCH);
  const baseEpoch = load<u32>(at, SUPER_AT_BASE_EPOCH);
  const baseSequence = load<u64>(at, SUPER_AT_BASE_SEQUENCE);
  if (epoch == 0 || baseEpoch == 0 || baseEpoch > epoch || load<u32>(at, SUPER_AT_ACTIVE) > 1) return false;
  if (baseSequence == 0 || baseSequence > load<u64>(at, SUPER_AT_MOUNT_SEQUENCE)) return false;
  return load<u32>(at, SUPER_AT_REGION_SECTORS) == regionSectorsFor(load<u32>(at, SUPER_AT_DISK_SECTORS)) &&
    load<u32>(at, SUPER_AT_REGION_SECTORS) != 0;
}

function isZero(at: usize, bytes: u32): bool {
  for (let i: u32 = 0; i < bytes; i += 8) if (load<u64>(at + i) != 0) return false;
  return true;
}

/** Reads both slots and fills `state` from the newest. S_OK, S_BLANK (format may follow), S_IO, S_FOREIGN, S_NEWER, S_SHRUNK,
 *  S_TOO_SMALL. */
export function superblockRead(disk: Disk): i32 {
  report.superblocks = 0;
  if (regionSectorsFor(disk.sectors) == 0) return S_TOO_SMALL;
  if (disk.read(0, SUPER_SLOTS * BLOCK_SECTORS, found) != S_OK) return S_IO;
  let newest: usize = 0;
  for (let slot: u32 = 0; slot < SUPER_SLOTS; slot++) {
    const at = found + slot * BLOCK_BYTES;
    if (!valid(at)) continue;
    report.superblocks++;
    if (load<u32>(at, SUPER_AT_VERSION) != SUPER_VERSION) return S_NEWER;
    if (newest != 0 && load<u32>(at, SUPER_AT_EPOCH) <= load<u32>(newest, SUPER_AT_EPOCH)) continue;
    newest = at;
    olderSlot = 1 - slot;
  }
  if (newest == 0) return blank(disk);
  state.epoch = load<u32>(newest, SUPER_AT_EPOCH);
  state.baseEpoch = load<u32>(newest, SUPER_AT_BASE_EPOCH);
  state.baseSequence = load<u64>(newest, SUPER_AT_BASE_SEQUENCE);
  state.mountSequence = load<u64>(newest, SUPER_AT_MOUNT_SEQUENCE);
  state.diskSectors = load<u32>(newest, SUPER_AT_DISK_SECTORS);
  state.regionSectors = load<u32>(newest, SUPER_AT_REGION_SECTORS);
  state.active = load<u32>(newest, SUPER_AT_ACTIVE);
  return state.diskSectors > disk.sectors ? S_SHRUNK : S_OK;
}

/** No valid superblock: a blank disk, one whose format was cut short, or somebody else's. Leaves the superblock of a fresh store in
 *  `state`. */
function blank(disk: Disk): i32 {
  state.diskSectors = disk.sectors;
  state.regionSectors = regionSectorsFor(disk.sectors);
  state.active = 0;
  state.epoch = 1;
  state.baseEpoch = 1;
  state.baseSequence = 1;
  state.mountSequence = 1;
  olderSlot = 0;
  build();
  for (let slot: u32 = 0; slot < SUPER_SLOTS; slot++) {
    const at = found + slot * BLOCK_BYTES;
    for (let i: u32 = 0; i < SECTOR_BYTES; i++) {
      const byte = load<u8>(at + i);
      if (byte != 0 && byte != load<u8>(built + i)) return S_FOREIGN;
    }
    if (!isZero(at + SECTOR_BYTES, BLOCK_BYTES - SECTOR_BYTES)) return S_FOREIGN;
  }
  // A store whose superblocks were wiped is no blank disk: its journal would come back to life under the new superblock.
  for (let region: u32 = 0; region < 2; region++) {
    if (disk.read(REGION_FIRST_SECTOR + region * state.regionSectors, 1, first) != S_OK) return S_IO;
    if (!isZero(first, SECTOR_BYTES)) return S_FOREIGN;
  }
  return S_BLANK;
}

/** Writes the superblock of `state` into both slots, one after the other. S_OK or S_IO. */
export function superblockWrite(): i32 {
  build();
  for (let i: u32 = 0; i < SUPER_SLOTS; i++) {
    const slot = i == 0 ? olderSlot : 1 - olderSlot;
    if (state.disk.write(slot * BLOCK_SECTORS, 1, built) != S_OK) return S_IO;
    if (state.disk.flush() != S_OK) return S_IO;
  }
  return S_OK;
}
