// SPDX-License-Identifier: Apache-2.0
// The storage engine of /state for host tools (scripts/lib/state-image.ts): the same source as statefsd's, over a disk that the host reads.
// Invariant: read-only. The store is opened for reading; the disk's write and flush do nothing but fail and count that they were asked.
// Limits: one image a module; a key lies at the start of the buffer, what is read or listed behind it.
import { STATEFS_KEY_BYTES_MAX, STATEFS_VALUE_BYTES_MAX } from "../gen/limits";
import { Disk, listCount, listMore, report, storeFind, storeList, storeOpen, storeRead } from "../lib/statefs/index";

/** Copies sectors of the image to an address of this memory: 0, or a negative when they cannot be read. */
@external("host", "read")
declare function host_read(sector: u32, count: u32, to: usize): i32;

const KEY_ROOM: u32 = 256;
const DATA_BYTES: u32 = STATEFS_VALUE_BYTES_MAX;
const keyBuffer: usize = memory.data(512, 16);
const dataBuffer: usize = memory.data(65536, 16);
const words: usize = memory.data(256, 8);
const disk: Disk = changetype<Disk>(memory.data(16, 4));
let refusedWrites: u32 = 0;

function diskRead(sector: u32, count: u32, to: usize): i32 { return host_read(sector, count, to); }
function diskWrite(sector: u32, count: u32, from: usize): i32 {
  refusedWrites++;
  return -1;
}
function diskFlush(): i32 {
  refusedWrites++;
  return -1;
}

/** Opens an image of that many sectors: 0, or a negative status of assembly/lib/statefs/status.ts. */
export function open(sectors: u32): i32 {
  assert(STATEFS_KEY_BYTES_MAX < KEY_ROOM && DATA_BYTES == 65536);
  return storeOpen(disk.set(diskRead, diskWrite, diskFlush, sectors), true);
}
/** Where a key or prefix is put (256 bytes), and the key to list after (256 bytes behind it). */
export function keyAt(): usize { return keyBuffer; }
/** Where read and list put what they found: 65,536 bytes. */
export function dataAt(): usize { return dataBuffer; }
/** Length of a key's value, or a negative status. */
export function find(keyLength: u32): i32 { return storeFind(keyBuffer, keyLength); }
/** Bytes of a value from `offset` on, as many as there are or fit: their number or a negative status. */
export function read(keyLength: u32, offset: u32): i32 { return storeRead(keyBuffer, keyLength, offset, dataBuffer, DATA_BYTES); }
/** Keys that begin with a prefix, after a key: bytes written ({key_length u8, value_length u32, key} each), or a negative status. */
export function list(prefixLength: u32, afterLength: u32): i32 {
  return storeList(keyBuffer, prefixLength, keyBuffer + KEY_ROOM, afterLength, dataBuffer, DATA_BYTES, u32.MAX_VALUE);
}
export function listed(): u32 { return listCount; }
export function more(): bool { return listMore; }
/** Writes or flushes that the engine asked for; always 0 unless it broke its promise. */
export function writesRefused(): u32 { return refusedWrites; }

/** The engine's report as u64 words in the order of scripts/lib/state-image.ts REPORT_FIELDS: their address. */
export function summary(): usize {
  let at = words;
  at = put(at, report.recordsKept);
  at = put(at, report.recordsDropped);
  at = put(at, report.bytesDropped);
  at = put(at, report.sequence);
  at = put(at, report.epoch);
  at = put(at, report.badKind);
  at = put(at, report.badSector);
  at = put(at, report.badByte);
  at = put(at, report.groupsBehind);
  at = put(at, report.liveKeys);
  at = put(at, report.lostKeys);
  at = put(at, report.liveBytes);
  at = put(at, report.journalBytes);
  at = put(at, report.capacityBytes);
  at = put(at, report.superblocks);
  at = put(at, report.active);
  put(at, report.regionSectors);
  return words;
}
function put(at: usize, value: u64): usize {
  store<u64>(at, value);
  return at + 8;
}
