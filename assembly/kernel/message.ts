// SPDX-License-Identifier: Apache-2.0
// Buffers for messages that wait in a queue: a pool of small and one of large ones, each with a free list. A sender may hold at most a
// quarter of either pool, so that one flooding service cannot starve the rest.

import {
  KERNEL_MESSAGE_LARGE_COUNT, KERNEL_MESSAGE_SMALL_BYTES, KERNEL_MESSAGE_SMALL_COUNT, KERNEL_MESSAGE_BYTES_MAX,
  KERNEL_THREADS_MAX,
} from "../gen/limits";
import { LARGE_MESSAGES, MESSAGE_HEADERS, MESSAGE_HEADER_BYTES, SMALL_MESSAGES } from "./layout";

@unmanaged
export class Message {
  next: u32;
  bytes: u32;
  sender: u64;
  buffer: u32;
  badge: u32;
  /** Index of the sending thread and the pool (1: large), for the quota. */
  sender_index: u16;
  large: u16;
  /** The moved capability; kind 0: none. */
  cap_kind: u32;
  cap_rights: u32;
  cap_object: u32;
  cap_generation: u32;
}

const SMALL_QUOTA: u32 = KERNEL_MESSAGE_SMALL_COUNT / 4;
const LARGE_QUOTA: u32 = KERNEL_MESSAGE_LARGE_COUNT / 4;
const held_small: u32 = <u32>memory.data(<i32>(KERNEL_THREADS_MAX * 4), 4);
const held_large: u32 = <u32>memory.data(<i32>(KERNEL_THREADS_MAX * 4), 4);

let free_small: u32 = 0;
let free_large: u32 = 0;
export let queued_messages: u32 = 0;

export function message_pools_init(): void {
  for (let i: u32 = KERNEL_MESSAGE_SMALL_COUNT + KERNEL_MESSAGE_LARGE_COUNT; i > 0; i--) {
    const m = changetype<Message>(MESSAGE_HEADERS + (i - 1) * MESSAGE_HEADER_BYTES);
    const large = i > KERNEL_MESSAGE_SMALL_COUNT;
    m.large = <u16>large;
    if (large) {
      m.buffer = LARGE_MESSAGES + (i - 1 - KERNEL_MESSAGE_SMALL_COUNT) * KERNEL_MESSAGE_BYTES_MAX;
      m.next = free_large;
      free_large = changetype<u32>(m);
    } else {
      m.buffer = SMALL_MESSAGES + (i - 1) * KERNEL_MESSAGE_SMALL_BYTES;
      m.next = free_small;
      free_small = changetype<u32>(m);
    }
  }
}

/** A buffer for `bytes` on behalf of thread `index`, or null when the pool or the sender's quota is at its limit. */
export function message_take(index: u32, bytes: u32): Message {
  let m: Message;
  if (bytes <= KERNEL_MESSAGE_SMALL_BYTES) {
    const held = held_small + index * 4;
    if (free_small == 0 || load<u32>(held) >= SMALL_QUOTA) return changetype<Message>(0);
    store<u32>(held, load<u32>(held) + 1);
    m = changetype<Message>(free_small);
    free_small = m.next;
  } else {
    const held = held_large + index * 4;
    if (free_large == 0 || load<u32>(held) >= LARGE_QUOTA) return changetype<Message>(0);
    store<u32>(held, load<u32>(held) + 1);
    m = changetype<Message>(free_large);
    free_large = m.next;
  }
  m.sender_index = <u16>index;
  m.bytes = bytes;
  m.cap_kind = 0;
  queued_messages += 1;
  return m;
}

export function message_free(m: Message): void {
  queued_messages -= 1;
  const held = (m.large ? held_large : held_small) + <u32>m.sender_index * 4;
  store<u32>(held, load<u32>(held) - 1);
  if (m.large) {
    m.next = free_large;
    free_large = changetype<u32>(m);
  } else {
    m.next = free_small;
    free_small = changetype<u32>(m);
  }
}
