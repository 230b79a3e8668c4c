// SPDX-License-Identifier: Apache-2.0
// Devices as a service sees them: a capability, negotiation, queues, and buffers in its own memory. The kernel owns the transport and
// the rings; every byte of a buffer must lie in the caller's linear memory and is translated page by page, so a driver cannot point a
// device at anything else. A device is reset before its owner's frames are freed.

import { E_AGAIN, E_BAD_ARGUMENT, E_BAD_HANDLE, E_BUSY, E_FULL, E_IO, E_NO_MEMORY } from "../gen/errors";
import { KERNEL_CHAIN_MAX, KERNEL_DEVICES_MAX, KERNEL_QUEUES_PER_DEVICE_MAX, KERNEL_QUEUE_SIZE_MAX } from "../gen/limits";
import { TRAP_BAD_POINTER } from "../gen/traps";
import { cap_find, KIND_DEVICE } from "./cap";
import { copy_in, mmio_load32, mmio_load8, mmio_store32 } from "./hw";
import { DEVICES, PAGE, SCRATCH } from "./layout";
import { page_phys } from "./pagetable";
import { plic_claim, plic_complete, plic_init } from "./plic";
import { notify, NOTIFY_DEVICE, process_fault } from "./process";
import { answer_owed, current, STATE_ENDED, STATE_FREE, Thread, thread_at } from "./thread";
import { legacy_accept, legacy_offer, legacy_queue } from "./virtio/legacy";
import { modern_accept, modern_offer, modern_queue } from "./virtio/modern";
import {
  Queue, queue_describe, queue_publish, queue_reset, queue_take, QUEUE_BYTES, taken_bytes, taken_owed, taken_token,
} from "./virtio/queue";
import {
  CONFIG, DEVICE_ID, INTERRUPT_ACK, INTERRUPT_STATUS, MAGIC, MAGIC_VALUE, QUEUE_NOTIFY, QUEUE_NUM_MAX, QUEUE_SEL, SLOTS, SLOT_FIRST,
  SLOT_STRIDE, STATUS, STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK, STATUS_FAILED, TRANSPORT_LEGACY, TRANSPORT_MODERN, VERSION,
  VIRTIO_F_VERSION_1,
} from "./virtio/registers";

@unmanaged
class Device {
  base: u64;
  features: u64;
  id: u32;
  transport: u32;
  interrupt: u32;
  /** Index of the owning thread; only meaningful while owned. */
  owner: u32;
  owned: u32;
  /** 0 closed, 1 negotiated, 2 running. */
  state: u32;
}
const DEVICE_BYTES: u32 = 4096;
const DEVICE_QUEUES: u32 = 256;
const SUBMIT_OWED: u32 = 1;
/** Feature bits that belong to a device type (virtio 1.2, section 6). The rest change how rings work, which is the kernel's alone. */
const DEVICE_TYPE_FEATURES: u64 = 0xfffc_0000_00ff_ffff;

export let transport: u32 = 0;

@inline function device_at(i: u32): Device { return changetype<Device>(DEVICES + i * DEVICE_BYTES); }
@inline function queue_at(d: Device, q: u32): Queue { return changetype<Queue>(changetype<u32>(d) + DEVICE_QUEUES + q * QUEUE_BYTES); }

/** Scans the slots. Every slot has the same transport, empty ones too. */
export function devices_init(): void {
  assert(SLOTS <= KERNEL_DEVICES_MAX && DEVICE_QUEUES + KERNEL_QUEUES_PER_DEVICE_MAX * QUEUE_BYTES <= DEVICE_BYTES);
  for (let i: u32 = 0; i < SLOTS; i++) {
    const d = device_at(i);
    d.base = SLOT_FIRST + <u64>i * SLOT_STRIDE;
    if (mmio_load32(d.base + MAGIC) != MAGIC_VALUE) continue;
    d.transport = mmio_load32(d.base + VERSION);
    if (transport == 0) transport = d.transport;
    d.id = mmio_load32(d.base + DEVICE_ID);
    d.interrupt = i + 1;
  }
  plic_init(SLOTS);
}

/** Gives the first free device with this virtio id to a service; 0 when there is none. */
export function device_for(id: u32, owner: u32): u32 {
  for (let i: u32 = 0; i < SLOTS; i++) {
    const d = device_at(i);
    if (d.id != id || (d.owned && d.owner != owner)) continue;
    d.owned = 1;
    d.owner = owner;
    return changetype<u32>(d);
  }
  return 0;
}

/** Resets what an ending service held, so that no device touches its frames any more. */
export function devices_release(owner: u32): void {
  for (let i: u32 = 0; i < SLOTS; i++) {
    const d = device_at(i);
    if (d.owned && d.owner == owner) device_reset(d);
  }
}

function device_reset(d: Device): void {
  mmio_store32(d.base + STATUS, 0);
  d.state = 0;
  for (let q: u32 = 0; q < KERNEL_QUEUES_PER_DEVICE_MAX; q++) {
    const queue = queue_at(d, q);
    answer_owed(-<i32>queue.owed);
    queue.owed = 0;
    queue.ready = 0;
  }
}

/** Serves the interrupt controller: acknowledges each device and tells its owner. */
export function interrupt_poll(): void {
  for (let n: u32 = 0; n < SLOTS; n++) {
    const source = plic_claim();
    if (source == 0) return;
    if (source <= SLOTS) {
      const d = device_at(source - 1);
      mmio_store32(d.base + INTERRUPT_ACK, mmio_load32(d.base + INTERRUPT_STATUS));
      if (d.owned) notify(thread_at(d.owner), NOTIFY_DEVICE);
    }
    plic_complete(source);
  }
}

@inline function running(): Thread { return changetype<Thread>(current); }

/** The device behind a handle of the caller, or null. */
function find(handle: u64): Device {
  const cap = cap_find(running(), <u32>handle);
  if (changetype<u32>(cap) == 0 || cap.kind != KIND_DEVICE) return changetype<Device>(0);
  return changetype<Device>(cap.object);
}

export function sys_device_open(handle: u64, wanted: u64): i64 {
  const d = find(handle);
  if (changetype<u32>(d) == 0) return E_BAD_HANDLE;
  device_reset(d);
  mmio_store32(d.base + STATUS, STATUS_ACKNOWLEDGE);
  mmio_store32(d.base + STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
  let accepted = false;
  wanted &= DEVICE_TYPE_FEATURES;
  if (d.transport == TRANSPORT_MODERN) {
    d.features = modern_offer(d.base) & (wanted | VIRTIO_F_VERSION_1);
    accepted = modern_accept(d.base, d.features);
  } else if (d.transport == TRANSPORT_LEGACY) {
    d.features = legacy_offer(d.base) & wanted;
    accepted = legacy_accept(d.base, d.features);
  }
  if (!accepted) {
    mmio_store32(d.base + STATUS, STATUS_FAILED);
    return E_IO;
  }
  d.state = 1;
  const t = running();
  t.a1 = d.id;
  t.a2 = d.transport;
  t.a3 = d.features;
  t.a4 = 0;
  return 0;
}

export function sys_device_config(handle: u64, offset: u64, width: u64): i64 {
  const d = find(handle);
  if (changetype<u32>(d) == 0) return E_BAD_HANDLE;
  if (width > 8 || popcnt(width) != 1 || offset >= 0x100 || offset % width != 0) return E_BAD_ARGUMENT;
  const at = d.base + CONFIG + offset;
  if (width == 1) return mmio_load8(at);
  if (width == 2) return mmio_load8(at) | (mmio_load8(at + 1) << 8);
  if (width == 4) return mmio_load32(at);
  return <i64>mmio_load32(at) | (<i64>mmio_load32(at + 4) << 32);
}

export function sys_device_queue(handle: u64, queue: u64, size: u64): i64 {
  const d = find(handle);
  if (changetype<u32>(d) == 0) return E_BAD_HANDLE;
  if (d.state != 1 || queue >= KERNEL_QUEUES_PER_DEVICE_MAX) return E_BAD_ARGUMENT;
  if (size == 0 || size > KERNEL_QUEUE_SIZE_MAX || popcnt(size) != 1) return E_BAD_ARGUMENT;
  mmio_store32(d.base + QUEUE_SEL, <u32>queue);
  if (mmio_load32(d.base + QUEUE_NUM_MAX) < <u32>size) return E_IO;
  const q = queue_at(d, <u32>queue);
  if (q.ready) return E_BAD_ARGUMENT;
  if (!queue_reset(q, <u32>size)) return E_NO_MEMORY;
  const taken = d.transport == TRANSPORT_MODERN ? modern_queue(d.base, q.ring, q.size) : legacy_queue(d.base, q.ring, q.size);
  if (!taken) return E_IO;
  q.ready = 1;
  return 0;
}

export function sys_device_ready(handle: u64): i64 {
  const d = find(handle);
  if (changetype<u32>(d) == 0) return E_BAD_HANDLE;
  if (d.state != 1) return E_BUSY;
  mmio_store32(d.base + STATUS, mmio_load32(d.base + STATUS) | STATUS_DRIVER_OK);
  if (!(mmio_load32(d.base + STATUS) & STATUS_DRIVER_OK)) return E_IO;
  d.state = 2;
  return 0;
}

/** The queue of a running device, or null. */
function running_queue(d: Device, queue: u64): Queue {
  if (d.state != 2 || queue >= KERNEL_QUEUES_PER_DEVICE_MAX) return changetype<Queue>(0);
  const q = queue_at(d, <u32>queue);
  return q.ready ? q : changetype<Queue>(0);
}

/** Bytes from `va` that are physically contiguous with it, at most `bytes`. */
function contiguous(va: u64, bytes: u32): u32 {
  const phys = page_phys(va);
  let n = min(bytes, PAGE - (<u32>va & (PAGE - 1)));
  while (n < bytes && page_phys(va + n) == phys + n) n = min(bytes, n + PAGE);
  return n;
}

export function sys_device_submit(handle: u64, queue: u64, list: u64, count: u64, flags: u64): i64 {
  const t = running();
  const d = find(handle);
  if (changetype<u32>(d) == 0) return E_BAD_HANDLE;
  const q = running_queue(d, queue);
  if (changetype<u32>(q) == 0 || count == 0 || count > KERNEL_CHAIN_MAX) return E_BAD_ARGUMENT;
  if (<u64><u32>list + count * 16 > t.memory_bytes) return process_fault(t, TRAP_BAD_POINTER, list);
  copy_in(SCRATCH, t.memory + <u32>list, <u32>count * 16);
  let pieces: u32 = 0;
  for (let i: u32 = 0; i < <u32>count; i++) {
    const ptr = load<u32>(SCRATCH + i * 16);
    const bytes = load<u32>(SCRATCH + i * 16, 4);
    if (bytes == 0) return E_BAD_ARGUMENT;
    if (<u64>ptr + bytes > t.memory_bytes) return process_fault(t, TRAP_BAD_POINTER, ptr);
    for (let done: u32 = 0; done < bytes && pieces <= KERNEL_CHAIN_MAX; pieces++) done += contiguous(t.memory + ptr + done, bytes - done);
  }
  if (pieces > KERNEL_CHAIN_MAX) return E_BAD_ARGUMENT;
  if (pieces > q.free) return E_FULL;
  let descriptor = q.free_head;
  let left = pieces;
  for (let i: u32 = 0; i < <u32>count; i++) {
    const ptr = load<u32>(SCRATCH + i * 16);
    const bytes = load<u32>(SCRATCH + i * 16, 4);
    const write = load<u32>(SCRATCH + i * 16, 8) != 0;
    for (let done: u32 = 0; done < bytes; ) {
      const n = contiguous(t.memory + ptr + done, bytes - done);
      left -= 1;
      descriptor = queue_describe(q, descriptor, page_phys(t.memory + ptr + done), n, write, left == 0);
      done += n;
    }
  }
  const owed = (<u32>flags & SUBMIT_OWED) != 0;
  const token = queue_publish(q, pieces, descriptor, owed);
  if (owed) answer_owed(1);
  mmio_store32(d.base + QUEUE_NOTIFY, <u32>queue);
  return token;
}

export function sys_device_take(handle: u64, queue: u64): i64 {
  const d = find(handle);
  if (changetype<u32>(d) == 0) return E_BAD_HANDLE;
  const q = running_queue(d, queue);
  if (changetype<u32>(q) == 0) return E_BAD_ARGUMENT;
  const result = queue_take(q);
  if (result == 0) return E_AGAIN;
  if (result < 0) return E_IO;
  if (taken_owed) answer_owed(-1);
  const t = running();
  t.a1 = taken_token;
  t.a2 = taken_bytes;
  t.a3 = 0;
  t.a4 = 0;
  return 0;
}
