// SPDX-License-Identifier: Apache-2.0
// Endpoints: bounded queues that one thread receives on. A queue entry is a message buffer (send) or a thread (a caller whose message
// stays in its own memory until it is taken); both kinds share one order. When the queue is full, senders that may wait line up behind
// it. Only the owner receives, so at most one thread waits to receive. When the owner ends, the generation rises: every handle made
// before then answers `dead`, also after the endpoint serves a restarted owner or a new one.

import { KERNEL_ENDPOINTS_MAX, KERNEL_ENDPOINTS_PER_SERVICE_MAX, KERNEL_ENDPOINT_DEPTH_MAX, KERNEL_THREADS_MAX } from "../gen/limits";
import { E_DEAD } from "../gen/errors";
import { ENDPOINTS, ENDPOINT_BYTES, MESSAGE_HEADERS } from "./layout";
import { message_free, Message } from "./message";
import { STATE_RECEIVING, Thread, wake } from "./thread";

@unmanaged
export class Endpoint {
  generation: u32;
  used: u32;
  owner: u32;
  depth: u32;
  head: u32;
  count: u32;
  /** Thread waiting in recv, 0 none. */
  waiter: u32;
  /** Threads waiting for room, in order. */
  senders_head: u32;
  senders_tail: u32;
}

const RING: u32 = 64;
const RING_MASK: u32 = KERNEL_ENDPOINT_DEPTH_MAX - 1;

export let endpoints_used: u32 = 0;

@inline function slot_at(e: Endpoint, position: u32): u32 {
  return changetype<u32>(e) + RING + ((position & RING_MASK) << 2);
}
@inline export function is_message(entry: u32): bool { return entry >= MESSAGE_HEADERS; }

@inline function endpoint_at(index: u32): Endpoint { return changetype<Endpoint>(ENDPOINTS + index * ENDPOINT_BYTES); }

function begin(e: Endpoint, owner: u32, depth: u32): void {
  e.used = 1;
  e.owner = owner;
  e.depth = depth;
  e.generation += 1;
  endpoints_used += 1;
}

/** The endpoint that thread `owner` is born with: one is kept for each, so that no other service can use them up. It outlives its
 *  owner's end and serves the restarted one. */
export function endpoint_own(owner: u32, depth: u32): Endpoint {
  const e = endpoint_at(owner);
  if (!e.used) begin(e, owner, depth);
  return e;
}

/** One more endpoint for thread `owner`, or null when it has its share or all are taken. */
export function endpoint_make(owner: u32, depth: u32): Endpoint {
  let owned: u32 = 0;
  let free: u32 = 0;
  for (let i = KERNEL_THREADS_MAX; i < KERNEL_ENDPOINTS_MAX; i++) {
    const e = endpoint_at(i);
    if (e.used) owned += <u32>(e.owner == owner);
    else if (free == 0) free = i;
  }
  if (free == 0 || owned >= KERNEL_ENDPOINTS_PER_SERVICE_MAX) return changetype<Endpoint>(0);
  begin(endpoint_at(free), owner, depth);
  return endpoint_at(free);
}

@inline export function endpoint_push(e: Endpoint, entry: u32): void {
  store<u32>(slot_at(e, e.head + e.count), entry);
  e.count += 1;
}

/** The oldest entry without taking it; the queue must not be empty. */
@inline export function endpoint_peek(e: Endpoint): u32 { return load<u32>(slot_at(e, e.head)); }

/** Drops the oldest entry. */
@inline export function endpoint_pop(e: Endpoint): void {
  e.head += 1;
  e.count -= 1;
}

export function senders_append(e: Endpoint, t: Thread): void {
  t.next = 0;
  if (e.senders_tail == 0) e.senders_head = changetype<u32>(t);
  else changetype<Thread>(e.senders_tail).next = changetype<u32>(t);
  e.senders_tail = changetype<u32>(t);
}

/** Takes the first waiting sender off the line, or null. */
export function senders_take(e: Endpoint): Thread {
  const t = changetype<Thread>(e.senders_head);
  if (changetype<u32>(t) == 0) return t;
  e.senders_head = t.next;
  if (e.senders_head == 0) e.senders_tail = 0;
  return t;
}

function senders_remove(e: Endpoint, t: Thread): bool {
  let before: u32 = 0;
  let walk = e.senders_head;
  for (let n: u32 = 0; n < KERNEL_THREADS_MAX && walk != 0; n++) {
    if (walk == changetype<u32>(t)) {
      if (before == 0) e.senders_head = t.next;
      else changetype<Thread>(before).next = t.next;
      if (e.senders_tail == walk) e.senders_tail = before;
      return true;
    }
    before = walk;
    walk = changetype<Thread>(walk).next;
  }
  return false;
}

/** A waiting thread stops waiting (deadline, end): no queue may name it any more. */
export function endpoint_forget_waiter(t: Thread): void {
  const e = changetype<Endpoint>(t.endpoint);
  t.endpoint = 0;
  if (t.state == STATE_RECEIVING) {
    e.waiter = 0;
    return;
  }
  if (senders_remove(e, t)) return;
  // A caller in the queue: what lies behind it moves up, so that it takes no place any more.
  let kept: u32 = 0;
  for (let n: u32 = 0; n < e.count; n++) {
    const entry = load<u32>(slot_at(e, e.head + n));
    if (entry == changetype<u32>(t)) continue;
    store<u32>(slot_at(e, e.head + kept), entry);
    kept += 1;
  }
  e.count = kept;
}

/** The owner ended: everything queued is dropped, everybody waiting is told, old handles are dead. */
export function endpoint_end(e: Endpoint, keep: bool): void {
  e.generation += 1;
  e.waiter = 0;
  for (let n: u32 = 0; n < KERNEL_ENDPOINT_DEPTH_MAX && e.count != 0; n++) {
    const entry = load<u32>(slot_at(e, e.head));
    endpoint_pop(e);
    if (is_message(entry)) message_free(changetype<Message>(entry));
    else tell_dead(e, changetype<Thread>(entry));
  }
  for (let n: u32 = 0; n < KERNEL_THREADS_MAX; n++) {
    const t = senders_take(e);
    if (changetype<u32>(t) == 0) break;
    tell_dead(e, t);
  }
  if (!keep) {
    e.used = 0;
    endpoints_used -= 1;
  }
}

function tell_dead(e: Endpoint, t: Thread): void {
  t.endpoint = 0;
  t.a1 = e.generation;
  wake(t, E_DEAD);
}
