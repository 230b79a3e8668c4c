// SPDX-License-Identifier: Apache-2.0
// The on-disk format of /state (docs/format/statefs.md, which a test holds to this file): places, sizes and numbers, nothing else.
// Invariant: little-endian; a number here never changes its meaning without a new SUPER_VERSION.

export const SECTOR_BYTES: u32 = 512;
/** Each superblock slot lies in a 4 KiB block of its own. */
export const BLOCK_SECTORS: u32 = 8;
export const SUPER_SLOTS: u32 = 2;
/** First sector of region A; region B follows it. */
export const REGION_FIRST_SECTOR: u32 = 16;

/** "VIGILST1" */
export const SUPER_MAGIC: u64 = 0x3154534c49474956;
export const SUPER_VERSION: u32 = 1;
export const SUPER_AT_MAGIC: usize = 0;
export const SUPER_AT_VERSION: usize = 8;
/** CRC-32C of the sector's other 508 bytes: those before this field, then those after it. */
export const SUPER_AT_CRC: usize = 12;
export const SUPER_AT_EPOCH: usize = 16;
export const SUPER_AT_BASE_EPOCH: usize = 20;
export const SUPER_AT_BASE_SEQUENCE: usize = 24;
export const SUPER_AT_MOUNT_SEQUENCE: usize = 32;
export const SUPER_AT_DISK_SECTORS: usize = 40;
export const SUPER_AT_REGION_SECTORS: usize = 44;
export const SUPER_AT_ACTIVE: usize = 48;

export const RECORD_MAGIC: u32 = 0x4e585346;
export const RECORD_HEAD_BYTES: u32 = 32;
/** A record's length is a multiple of this, filled up with zeros. */
export const RECORD_ALIGN_BYTES: u32 = 8;
export const RECORD_AT_MAGIC: usize = 0;
/** CRC-32C of the record's other bytes: the magic, then all from the sequence to the last zero of the filling. */
export const RECORD_AT_CRC: usize = 4;
export const RECORD_AT_SEQUENCE: usize = 8;
export const RECORD_AT_EPOCH: usize = 16;
/** The record's own place: bytes from the start of the disk, divided by 8. */
export const RECORD_AT_PLACE: usize = 20;
export const RECORD_AT_OP: usize = 24;
export const RECORD_AT_FLAGS: usize = 25;
export const RECORD_AT_KEY_LENGTH: usize = 26;
/** Three bytes. */
export const RECORD_AT_VALUE_LENGTH: usize = 28;
/** What the first byte of each sector that the record's key and value go on into was XORed with; 0: nothing. */
export const RECORD_AT_MASK: usize = 31;
export const VALUE_LENGTH_BITS: u32 = 0xffffff;

export const OP_PUT: u8 = 1;
export const OP_DEL: u8 = 2;
/** Published elsewhere as checkpoint; neither written nor accepted. */
export const OP_CHECKPOINT: u8 = 3;
/** Written by compaction for a key whose value had rotted: reads of it say so until it is put or deleted. */
export const OP_LOST: u8 = 4;

/** The atomic commit goes on with the next record. */
export const FLAG_MORE: u8 = 1;
/** First record of a group, at the start of a sector. */
export const FLAG_FIRST: u8 = 2;
/** Last record of a group: the next group starts at the next sector. */
export const FLAG_LAST: u8 = 4;

/** Bytes that a record takes in the journal. */
@inline export function recordBytes(keyLength: u32, valueLength: u32): u32 {
  return (RECORD_HEAD_BYTES + keyLength + valueLength + RECORD_ALIGN_BYTES - 1) & ~(RECORD_ALIGN_BYTES - 1);
}
/** Sectors that `bytes` take. */
@inline export function sectorsOf(bytes: u32): u32 { return (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES; }
/** First sector of region 0 (A) or 1 (B). */
@inline export function regionFirst(region: u32, regionSectors: u32): u32 { return REGION_FIRST_SECTOR + region * regionSectors; }
