// SPDX-License-Identifier: Apache-2.0
// virtio-rng (virtio 1.2 section 5.4): one request queue; the device fills what the buffer offers, or part of it.
// Invariant: bytes count only after the device said how many it wrote; the buffer is cleared before each request and
// after each answer, so no old entropy can be given out twice or read by a later caller.
// Health: a run of limits.rngd repetition_max + 1 equal bytes, or a buffer that came back as it was sent, is refused (a
// repetition count test after SP 800-90B 4.4.1; for fair bytes a run of 5 has a chance of 2^-32 a byte).
// Limits: limits.rngd entropy_bytes_max a request, device_wait_ns for the device; RNG_ROUNDS_MAX short answers.
import { E_AGAIN } from "../../gen/errors";
import { RNGD_DEVICE_WAIT_NS, RNGD_ENTROPY_BYTES_MAX, RNGD_REPETITION_MAX } from "../../gen/limits";
import { SLOT_DEVICE0 } from "../../gen/slots";
import {
  sys_device_open, sys_device_queue, sys_device_ready, sys_device_submit, sys_device_take, sys_time_ns, sys_yield,
} from "../../gen/syscalls";

const VIRTIO_RNG: u64 = 4;
const FEATURE_VERSION_1: u64 = 1 << 32;
const QUEUE: u32 = 0;
const QUEUE_SIZE: u32 = 8;
const SUBMIT_OWED: u32 = 1;
export const RNG_ROUNDS_MAX: u32 = 64;

export const RNG_OK: u32 = 0;
/** The device is absent, refused, or did not answer in time. */
export const RNG_DEVICE: u32 = 1;
/** It answered, and the bytes failed the health test. */
export const RNG_UNHEALTHY: u32 = 2;

const buffer: usize = memory.data(256, 16);
const list: usize = memory.data(16, 8);
const meta: usize = memory.data(32, 8);
let opened: bool = false;
let stuck: bool = false;

/** Address of the bytes that the last successful rngFill left; rngForget clears them. */
export function rngBytes(): usize {
  return buffer;
}
/** Overwrites them. */
export function rngForget(): void {
  memory.fill(buffer, 0, RNGD_ENTROPY_BYTES_MAX);
}

/** Negotiates and sets the queue up; true when the device is a virtio-rng and drives. */
export function rngOpen(): bool {
  assert(RNGD_ENTROPY_BYTES_MAX == 256);
  if (opened) return true;
  if (sys_device_open(SLOT_DEVICE0, FEATURE_VERSION_1, <u32>meta) < 0) return false;
  if (load<u64>(meta) != VIRTIO_RNG) return false;
  if (sys_device_queue(SLOT_DEVICE0, QUEUE, QUEUE_SIZE) < 0) return false;
  if (sys_device_ready(SLOT_DEVICE0) < 0) return false;
  opened = true;
  stuck = false;
  return true;
}

/** Fills `count` (1..256) bytes with fresh entropy: RNG_OK, RNG_DEVICE or RNG_UNHEALTHY. */
export function rngFill(count: u32): u32 {
  assert(count != 0 && count <= RNGD_ENTROPY_BYTES_MAX);
  // A request that the device never finished still owns the buffer: start over before it is offered again.
  if (stuck) opened = false;
  if (!rngOpen()) return RNG_DEVICE;
  rngForget();
  const deadline_ns = <u64>sys_time_ns() + RNGD_DEVICE_WAIT_NS;
  let got: u32 = 0;
  for (let round: u32 = 0; round < RNG_ROUNDS_MAX && got < count; round++) {
    const more = fillOnce(buffer + got, count - got, deadline_ns);
    if (more <= 0) return RNG_DEVICE;
    got += <u32>more;
  }
  if (got < count) return RNG_DEVICE;
  return healthy(count) ? RNG_OK : RNG_UNHEALTHY;
}

// Bytes written by one request, or -1.
function fillOnce(to: usize, count: u32, deadline_ns: u64): i32 {
  store<u32>(list, <u32>to);
  store<u32>(list, count, 4);
  store<u32>(list, 1, 8);
  store<u32>(list, 0, 12);
  const token = sys_device_submit(SLOT_DEVICE0, QUEUE, <u32>list, 1, SUBMIT_OWED);
  if (token < 0) return -1;
  stuck = true;
  let taken: i64 = E_AGAIN;
  while (taken == E_AGAIN && <u64>sys_time_ns() < deadline_ns) {
    taken = sys_device_take(SLOT_DEVICE0, QUEUE, <u32>meta);
    if (taken == E_AGAIN) sys_yield();
  }
  if (taken < 0) return -1;
  stuck = false;
  const written = load<u64>(meta, 8);
  if (load<u64>(meta) != <u64>token || written == 0 || written > count) return -1;
  return <i32>written;
}

function healthy(count: u32): bool {
  let run: u32 = 1;
  for (let i: u32 = 1; i < count; i++) {
    run = load<u8>(buffer + i) == load<u8>(buffer + i - 1) ? run + 1 : 1;
    if (run > RNGD_REPETITION_MAX) return false;
  }
  return true;
}
