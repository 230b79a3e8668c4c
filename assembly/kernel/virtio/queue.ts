// SPDX-License-Identifier: Apache-2.0
// One split virtqueue (virtio 1.2, section 2.7). The ring lies in device memory and is reached through dma_* alone; which descriptors
// are free, how long each chain is and whether its answer is owed is kept beside it in kernel memory, so a device that scribbles over
// the ring can confuse only itself: completions are checked against this table.
//
//   ring: descriptors 16 * size | available ring 6 + 2 * size | pad to 4 KiB | used ring 6 + 8 * size     (8 KiB at size 64)

import { KERNEL_QUEUE_SIZE_MAX } from "../../gen/limits";
import { dma_load16, dma_load32, dma_store16, dma_store32, fence_io } from "../hw";
import { DMA_END, DMA_START, PAGE } from "../layout";

@unmanaged
export class Queue {
  ring: u32;
  size: u32;
  ready: u32;
  /** Descriptors free, and the first of them. */
  free: u32;
  free_head: u32;
  avail_index: u32;
  used_index: u32;
  /** Chains in flight whose answer is owed. */
  owed: u32;
}
const NEXT: u32 = 32;
const CHAIN: u32 = NEXT + KERNEL_QUEUE_SIZE_MAX;
const OWED: u32 = CHAIN + KERNEL_QUEUE_SIZE_MAX;
export const QUEUE_BYTES: u32 = 240;
const RING_BYTES: u32 = 2 * PAGE;
const DESC_NEXT: u32 = 1;
const DESC_WRITE: u32 = 2;

let ring_next: u32 = DMA_START;

@inline export function avail_of(ring: u32, size: u32): u32 { return ring + 16 * size; }
@inline export function used_of(ring: u32, size: u32): u32 { return ring + PAGE; }

/** Gives the queue a zeroed ring (its old one if it had one); false when device memory is used up. */
export function queue_reset(q: Queue, size: u32): bool {
  if (q.ring == 0) {
    if (ring_next + RING_BYTES > DMA_END) return false;
    q.ring = ring_next;
    ring_next += RING_BYTES;
  }
  for (let o: u32 = 0; o < RING_BYTES; o += 4) dma_store32(q.ring + o, 0);
  q.size = size;
  q.free = size;
  q.free_head = 0;
  q.avail_index = 0;
  q.used_index = 0;
  q.owed = 0;
  const at = changetype<u32>(q);
  for (let i: u32 = 0; i < size; i++) {
    store<u8>(at + NEXT + i, <u8>(i + 1));
    store<u8>(at + CHAIN + i, 0);
  }
  return true;
}

/** Writes one descriptor of a chain that is being built; `last` ends it. Returns the descriptor after it. */
export function queue_describe(q: Queue, d: u32, phys: u64, bytes: u32, write: bool, last: bool): u32 {
  const at = q.ring + d * 16;
  const next = <u32>load<u8>(changetype<u32>(q) + NEXT + d);
  dma_store32(at, <u32>phys);
  dma_store32(at + 4, <u32>(phys >> 32));
  dma_store32(at + 8, bytes);
  dma_store16(at + 12, (write ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT));
  dma_store16(at + 14, last ? 0 : next);
  return next;
}

/** Hands the chain of `length` descriptors from free_head on to the device. Returns its token. */
export function queue_publish(q: Queue, length: u32, after: u32, owed: bool): u32 {
  const head = q.free_head;
  const at = changetype<u32>(q);
  store<u8>(at + CHAIN + head, <u8>length);
  store<u8>(at + OWED + head, <u8>owed);
  if (owed) q.owed += 1;
  q.free_head = after;
  q.free -= length;
  const avail = avail_of(q.ring, q.size);
  dma_store16(avail + 4 + 2 * (q.avail_index & (q.size - 1)), head);
  q.avail_index = (q.avail_index + 1) & 0xffff;
  fence_io();
  dma_store16(avail + 2, q.avail_index);
  fence_io();
  return head;
}

export let taken_token: u32 = 0;
export let taken_bytes: u32 = 0;
export let taken_owed: bool = false;

/** 1: a completion is in taken_*; 0: none; -1: the device named a chain that is not in flight. */
export function queue_take(q: Queue): i32 {
  const used = used_of(q.ring, q.size);
  if (dma_load16(used + 2) == q.used_index) return 0;
  fence_io();
  const element = used + 4 + 8 * (q.used_index & (q.size - 1));
  const head = dma_load32(element);
  q.used_index = (q.used_index + 1) & 0xffff;
  if (head >= q.size) return -1;
  const at = changetype<u32>(q);
  const length = <u32>load<u8>(at + CHAIN + head);
  if (length == 0) return -1;
  taken_token = head;
  taken_bytes = dma_load32(element + 4);
  taken_owed = load<u8>(at + OWED + head) != 0;
  if (taken_owed) q.owed -= 1;
  store<u8>(at + CHAIN + head, 0);
  let last = head;
  for (let n: u32 = 1; n < length; n++) last = load<u8>(at + NEXT + last);
  store<u8>(at + NEXT + last, <u8>q.free_head);
  q.free_head = head;
  q.free += length;
  return 1;
}
