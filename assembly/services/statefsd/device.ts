// SPDX-License-Identifier: Apache-2.0
// virtio-blk (virtio 1.2 section 5.2): one request queue; a request is the chain header (type, sector), data, status byte.
// Invariant: a transfer counts only when the device answered each of its requests with status OK and the length that the request implies;
// the status byte is set to a value that no device writes before each. After a request that never came back the device is reset before
// any buffer of it is used again. A device without FLUSH, or with other blocks than 512 bytes, is named and never driven.
// Limits: requests of limits.statefsd io_bytes_max (at most five pages and two more pieces: the kernel takes eight), requests_in_flight_max
// of them at a time, all of one transfer; one deadline for a transfer.
import { E_AGAIN } from "../../gen/errors";
import { STATEFSD_DEVICE_WAIT_NS, STATEFSD_IO_BYTES_MAX, STATEFSD_REQUESTS_IN_FLIGHT_MAX } from "../../gen/limits";
import { MUT_STATEFSD_DRIVES_WITHOUT_FLUSH, MUT_STATEFSD_IGNORES_READ_ONLY, mutant } from "../../gen/mutants";
import { SLOT_DEVICE0 } from "../../gen/slots";
import {
  sys_device_config, sys_device_open, sys_device_queue, sys_device_ready, sys_device_submit, sys_device_take, sys_endpoint_create,
  sys_recv, sys_time_ns,
} from "../../gen/syscalls";
import { SF_IO, SF_NO_FLUSH, SF_OK, SF_UNAVAILABLE, SF_UNSUPPORTED } from "../../lib/wire/statefsd";

const VIRTIO_BLK: u64 = 2;
const FEATURE_RO: u64 = 1 << 5;
const FEATURE_BLK_SIZE: u64 = 1 << 6;
const FEATURE_FLUSH: u64 = 1 << 9;
const FEATURES: u64 = FEATURE_RO | FEATURE_BLK_SIZE | FEATURE_FLUSH;
const CONFIG_CAPACITY: u32 = 0;
const CONFIG_BLK_SIZE: u32 = 20;
const CONFIG_READS_MAX: u32 = 4;
const SECTOR_BYTES: u32 = 512;
const QUEUE: u32 = 0;
const QUEUE_SIZE: u32 = 64;
const SUBMIT_OWED: u32 = 1;
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const STATUS_OK: u8 = 0;
/** In the status byte until the device writes it. */
const STATUS_UNTOUCHED: u8 = 0xff;
const PIECE_SECTORS: u32 = STATEFSD_IO_BYTES_MAX / SECTOR_BYTES;
const TOKEN_NONE: u32 = 0xffffffff;

// One entry a request in flight: {type u32, 0 u32, sector u64} as the device reads it, status u8, pad, token u32, expected length u32.
const ENTRY_BYTES: u32 = 32;
const entries: usize = memory.data(STATEFSD_REQUESTS_IN_FLIGHT_MAX * 32, 16);
const list: usize = memory.data(48, 8);
const meta: usize = memory.data(32, 8);
const waitBuffer: usize = memory.data(16, 8);
let waitEndpoint: u32 = 0;
let running: bool = false;
let features: u64 = 0;
let sectors: u32 = 0;
let errors: u64 = 0;
let mountUntil_ns: u64 = 0;
/** Requests of this transfer that the device still owns. */
let inFlight: u32 = 0;
let failed: bool = false;

/** Size of the open device in 512-byte sectors. */
export function blkSectors(): u32 {
  return sectors;
}
/** Whether the open device takes no writes. */
export function blkReadOnly(): bool {
  return (features & FEATURE_RO) != 0 && !mutant(MUT_STATEFSD_IGNORES_READ_ONLY);
}
/** Requests that failed or did not come back in time, since start. */
export function blkErrors(): u64 {
  return errors;
}
/** Until this guest time (ns) transfers also end then; 0: each has limits.statefsd device_wait_ns. */
export function blkMountUntil(time_ns: u64): void {
  mountUntil_ns = time_ns;
}

/** Resets and negotiates: SF_OK, or the status that names why the device cannot hold a store. */
export function blkOpen(): u32 {
  assert(STATEFSD_REQUESTS_IN_FLIGHT_MAX * 8 <= QUEUE_SIZE && PIECE_SECTORS * SECTOR_BYTES == STATEFSD_IO_BYTES_MAX);
  running = false;
  inFlight = 0;
  if (waitEndpoint == 0) {
    const made = sys_endpoint_create(1);
    if (made < 0) return SF_UNAVAILABLE;
    waitEndpoint = <u32>made;
  }
  if (sys_device_open(SLOT_DEVICE0, FEATURES, <u32>meta) < 0) return SF_UNAVAILABLE;
  if (load<u64>(meta) != VIRTIO_BLK) return SF_UNAVAILABLE;
  features = load<u64>(meta, 16);
  const blockBytes = features & FEATURE_BLK_SIZE ? sys_device_config(SLOT_DEVICE0, CONFIG_BLK_SIZE, 4) : SECTOR_BYTES;
  if (blockBytes != SECTOR_BYTES) return SF_UNSUPPORTED;
  if (!readCapacity()) return SF_UNAVAILABLE;
  // A disk that takes no writes has nothing to flush.
  const flushes = (features & (FEATURE_FLUSH | FEATURE_RO)) != 0;
  if (!flushes && !mutant(MUT_STATEFSD_DRIVES_WITHOUT_FLUSH)) return SF_NO_FLUSH;
  if (sys_device_queue(SLOT_DEVICE0, QUEUE, QUEUE_SIZE) < 0) return SF_UNAVAILABLE;
  if (sys_device_ready(SLOT_DEVICE0) < 0) return SF_UNAVAILABLE;
  for (let i: u32 = 0; i < STATEFSD_REQUESTS_IN_FLIGHT_MAX; i++) store<u32>(entryAt(i), TOKEN_NONE, 20);
  running = true;
  return SF_OK;
}

// Two halves are read one after the other; the device may change them in between.
function readCapacity(): bool {
  for (let n: u32 = 0; n < CONFIG_READS_MAX; n++) {
    const once = sys_device_config(SLOT_DEVICE0, CONFIG_CAPACITY, 8);
    if (once < 0 || once != sys_device_config(SLOT_DEVICE0, CONFIG_CAPACITY, 8)) continue;
    sectors = <u32>min<u64>(<u64>once, 0xffffffff);
    return sectors != 0;
  }
  return false;
}

/** Reads `count` sectors to [to, to + 512 * count): 0, or -1. */
export function blkRead(sector: u32, count: u32, to: usize): i32 {
  return transfer(TYPE_IN, sector, count, to);
}
/** Writes them; in the device's cache until blkFlush returned 0. */
export function blkWrite(sector: u32, count: u32, from: usize): i32 {
  return transfer(TYPE_OUT, sector, count, from);
}
/** Every write that returned before is on the medium when this returns 0. */
export function blkFlush(): i32 {
  if (!running || (features & FEATURE_FLUSH) == 0) return -1;
  failed = false;
  const deadline_ns = deadline();
  if (!submit(TYPE_FLUSH, 0, 0, 0)) return fail();
  if (!takeOne(deadline_ns) || failed) return fail();
  return 0;
}

function entryAt(index: u32): usize {
  return entries + index * ENTRY_BYTES;
}
function deadline(): u64 {
  const own_ns = <u64>sys_time_ns() + STATEFSD_DEVICE_WAIT_NS;
  return mountUntil_ns != 0 && mountUntil_ns < own_ns ? mountUntil_ns : own_ns;
}

// Several pieces are in flight at once; all of them are back, or the device is out of use, when this returns.
function transfer(type: u32, sector: u32, count: u32, at: usize): i32 {
  if (!running || count == 0 || sector > sectors || count > sectors - sector) return -1;
  failed = false;
  const deadline_ns = deadline();
  let done: u32 = 0;
  while ((done < count && !failed) || inFlight != 0) {
    if (done < count && !failed && inFlight < STATEFSD_REQUESTS_IN_FLIGHT_MAX) {
      const piece = min<u32>(count - done, PIECE_SECTORS);
      if (submit(type, sector + done, piece, at + done * SECTOR_BYTES)) done += piece;
      else failed = true;
    } else if (!takeOne(deadline_ns)) {
      return fail();
    }
  }
  return failed ? fail() : 0;
}

// After a failure only blkOpen brings the device back: what it may still own is then reset away.
function fail(): i32 {
  errors++;
  running = false;
  return -1;
}

function submit(type: u32, sector: u32, count: u32, at: usize): bool {
  let index: u32 = 0;
  while (index < STATEFSD_REQUESTS_IN_FLIGHT_MAX && load<u32>(entryAt(index), 20) != TOKEN_NONE) index++;
  if (index == STATEFSD_REQUESTS_IN_FLIGHT_MAX) return false;
  const entry = entryAt(index);
  const bytes = count * SECTOR_BYTES;
  store<u32>(entry, type);
  store<u32>(entry, 0, 4);
  store<u64>(entry, <u64>sector, 8);
  store<u8>(entry, STATUS_UNTOUCHED, 16);
  store<u32>(entry, type == TYPE_IN ? bytes + 1 : 1, 24);
  let pieces: u32 = 0;
  describe(pieces++, entry, 16, false);
  if (bytes != 0) describe(pieces++, at, bytes, type == TYPE_IN);
  describe(pieces++, entry + 16, 1, true);
  const token = sys_device_submit(SLOT_DEVICE0, QUEUE, <u32>list, pieces, SUBMIT_OWED);
  if (token < 0) return false;
  store<u32>(entry, <u32>token, 20);
  inFlight++;
  return true;
}

function describe(piece: u32, at: usize, bytes: u32, deviceWrites: bool): void {
  const entry = list + (piece << 4);
  store<u32>(entry, <u32>at);
  store<u32>(entry, bytes, 4);
  store<u32>(entry, u32(deviceWrites), 8);
  store<u32>(entry, 0, 12);
}

// Waits for one request; false when none came back in time, or one that was never asked for. A bad answer sets `failed`.
function takeOne(deadline_ns: u64): bool {
  let taken: i64 = sys_device_take(SLOT_DEVICE0, QUEUE, <u32>meta);
  while (taken == E_AGAIN && <u64>sys_time_ns() < deadline_ns) {
    // The device's interrupt ends this wait; requests of clients stay queued on another endpoint.
    sys_recv(waitEndpoint, <u64>waitBuffer | (<u64>16 << 32), <u32>meta, deadline_ns, 0);
    taken = sys_device_take(SLOT_DEVICE0, QUEUE, <u32>meta);
  }
  if (taken < 0) return false;
  const token = <u32>load<u64>(meta);
  for (let i: u32 = 0; i < STATEFSD_REQUESTS_IN_FLIGHT_MAX; i++) {
    const entry = entryAt(i);
    if (load<u32>(entry, 20) != token) continue;
    store<u32>(entry, TOKEN_NONE, 20);
    inFlight--;
    if (load<u8>(entry, 16) != STATUS_OK || load<u64>(meta, 8) != <u64>load<u32>(entry, 24)) failed = true;
    return true;
  }
  return false;
}
