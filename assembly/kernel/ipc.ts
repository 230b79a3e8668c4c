// SPDX-License-Identifier: Apache-2.0
// The six IPC calls. A message goes from memory to memory in one copy where the receiver already waits, or where the sender waits
// until it is taken (call); otherwise through a queue buffer. Nothing is changed before every check has passed, so a failed send
// leaves a moved capability where it was. A pointer outside the caller's memory is a fault, not an error.

import {
  MUT_KERNEL_CALL_GRAPH_OPEN, MUT_KERNEL_CAP_MOVE_LEAKS_SLOT, MUT_KERNEL_CAP_MOVE_NO_ROLLBACK, MUT_KERNEL_QUEUE_UNBOUNDED, mutant,
} from "../gen/mutants";
import { KERNEL_ENDPOINT_DEPTH_MAX, KERNEL_MESSAGE_BYTES_MAX, KERNEL_THREADS_MAX, KERNEL_WAIT_MAX_NS } from "../gen/limits";
import {
  E_BAD_ARGUMENT, E_BAD_HANDLE, E_DEAD, E_FULL, E_NO_RIGHT, E_NO_SLOT, E_NOT_DECLARED, E_TIMEOUT, E_TOO_LARGE,
} from "../gen/errors";
import { TRAP_BAD_POINTER } from "../gen/traps";
import { Cap, cap_find, cap_insert, cap_remove, KIND_ENDPOINT, RIGHT_RECV, RIGHT_SEND } from "./cap";
import { Endpoint, endpoint_peek, endpoint_pop, endpoint_push, is_message, senders_append, senders_take } from "./endpoint";
import { copy_in, copy_out, copy_user } from "./hw";
import { mutant_flip, mutant_sender } from "./mutant";
import { Message, message_free, message_take } from "./message";
import { process_fault } from "./process";
import {
  block, current, host_wait_begins, host_wait_ends, make_ready, now_ticks, schedule, STATE_CALLING, STATE_RECEIVING, STATE_SENDING,
  switch_to, Thread, thread_at, ticks_of, TICK_NS, wake,
} from "./thread";

/** Depth of the one queue that a mutant leaves unbounded. */
const FLOOD_DEPTH: u32 = 5;
const REPLY_BIT: u32 = 0x80000000;
const RECV_HOST_PENDING: u32 = 1;
const WAIT_MAX_TICKS: u64 = KERNEL_WAIT_MAX_NS / TICK_NS;
export let dropped_replies: u64 = 0;

@inline function running(): Thread { return changetype<Thread>(current); }
@inline function in_memory(t: Thread, ptr: u32, bytes: u32): bool { return <u64>ptr + <u64>bytes <= t.memory_bytes; }
@inline function is_null(pointer: u32): bool { return pointer == 0; }

/** Where a capability that is to move lies, or null; handle 0 moves nothing. */
@inline function movable(t: Thread, handle: u32): Cap {
  const cap = cap_find(t, handle);
  if (is_null(changetype<u32>(cap)) || cap.kind != KIND_ENDPOINT || cap.rights & RIGHT_RECV) return changetype<Cap>(0);
  return cap;
}

/** Moves `handle` of `from` into `to`'s table; the new handle, or no_slot with nothing changed. */
function move_cap(from: Thread, handle: u32, to: Thread): i64 {
  const cap = movable(from, handle);
  if (is_null(changetype<u32>(cap))) return E_BAD_HANDLE;
  const result = cap_insert(to, cap.kind, cap.rights, cap.object, cap.generation);
  if (result >= 0 && !mutant(MUT_KERNEL_CAP_MOVE_LEAKS_SLOT)) cap_remove(from, cap);
  return result;
}

/** Hands a waiting receiver its message straight from the sender's memory. False: it does not fit; the receiver stays as it was. */
@inline function deliver(e: Endpoint, to: Thread, from: Thread, ptr: u32, bytes: u32, moved: u32, rights: u32, reply: u32): bool {
  if (bytes > to.in_cap) return false;
  let handle: i64 = 0;
  if (moved != 0) {
    handle = move_cap(from, moved, to);
    if (handle < 0) return false;
  }
  copy_user(to.memory + to.in_ptr, from.memory + ptr, bytes);
  mutant_flip(to, to.in_ptr, bytes);
  e.waiter = 0;
  to.endpoint = 0;
  host_wait_ends(to);
  to.a0 = bytes;
  to.a1 = mutant_sender(from, ptr, bytes);
  to.a2 = reply;
  to.a3 = <u64>handle | (<u64>rights << 32);
  to.a4 = 0;
  return true;
}

/** Queues a copy. Returns 0, or full; on success a moved capability has left the sender. Inline, for `send` is counted. */
@inline function enqueue(e: Endpoint, t: Thread, ptr: u32, bytes: u32, moved: u32, rights: u32): i64 {
  const depth = mutant(MUT_KERNEL_QUEUE_UNBOUNDED) && e.depth == FLOOD_DEPTH ? KERNEL_ENDPOINT_DEPTH_MAX : e.depth;
  if (e.count >= depth) return E_FULL;
  const m = message_take(t.index, bytes);
  if (is_null(changetype<u32>(m))) return E_FULL;
  if (moved != 0) {
    const cap = movable(t, moved);
    m.cap_kind = cap.kind;
    m.cap_rights = cap.rights;
    m.cap_object = cap.object;
    m.cap_generation = cap.generation;
    cap_remove(t, cap);
  }
  m.sender = t.id;
  m.badge = rights;
  copy_in(m.buffer, t.memory + ptr, bytes);
  endpoint_push(e, changetype<u32>(m));
  return 0;
}

/** A receiver that could not be served directly looks at its queue instead (and so learns of too_large or no_slot). */
function nudge(e: Endpoint): void {
  if (e.waiter == 0) return;
  const r = changetype<Thread>(e.waiter);
  const result = take(e, r, r.in_ptr, r.in_cap);
  if (result == NOTHING) return;
  e.waiter = 0;
  r.endpoint = 0;
  wake(r, result);
}

export function sys_send(handle: u64, ptr: u64, len_move: u64, deadline_ns: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>handle);
  if (is_null(changetype<u32>(cap)) || cap.kind != KIND_ENDPOINT) return E_BAD_HANDLE;
  if (!(cap.rights & RIGHT_SEND)) return E_NO_RIGHT;
  const bytes = <u32>len_move;
  const moved = <u32>(len_move >> 32);
  if (bytes > KERNEL_MESSAGE_BYTES_MAX) return E_TOO_LARGE;
  if (!in_memory(t, <u32>ptr, bytes)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  const e = changetype<Endpoint>(cap.object);
  if (e.generation != cap.generation) return E_DEAD;
  if (moved != 0) {
    if (is_null(changetype<u32>(movable(t, moved)))) return E_BAD_HANDLE;
  }
  const rights = <u32>cap.rights;
  if (e.waiter != 0) {
    const r = changetype<Thread>(e.waiter);
    if (deliver(e, r, t, <u32>ptr, bytes, moved, rights, 0)) {
      make_ready(r);
      return 0;
    }
  }
  let result: i64 = E_FULL;
  if (e.senders_head == 0) result = enqueue(e, t, <u32>ptr, bytes, moved, rights);
  if (result == 0) {
    if (e.waiter != 0) nudge(e);
    return 0;
  }
  if (deadline_ns == 0) {
    if (mutant(MUT_KERNEL_CAP_MOVE_NO_ROLLBACK) && moved != 0) cap_remove(t, movable(t, moved));
    return result;
  }
  if (!((t.calls >> <u64>e.owner) & 1)) return E_NOT_DECLARED;
  const now = now_ticks();
  const deadline = ticks_of(deadline_ns);
  if (deadline <= now) return E_TIMEOUT;
  if (deadline - now > WAIT_MAX_TICKS) return E_BAD_ARGUMENT;
  t.out_ptr = <u32>ptr;
  t.out_bytes = bytes;
  t.out_move = moved;
  t.out_rights = rights;
  t.endpoint = changetype<u32>(e);
  senders_append(e, t);
  block(t, STATE_SENDING, deadline);
  nudge(e);
  return schedule();
}

export function sys_call(handle: u64, ptr: u64, len_move: u64, reply: u64, deadline_ns: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>handle);
  if (is_null(changetype<u32>(cap)) || cap.kind != KIND_ENDPOINT) return E_BAD_HANDLE;
  if (!(cap.rights & RIGHT_SEND)) return E_NO_RIGHT;
  const bytes = <u32>len_move;
  const moved = <u32>(len_move >> 32);
  if (bytes > KERNEL_MESSAGE_BYTES_MAX) return E_TOO_LARGE;
  if (!in_memory(t, <u32>ptr, bytes)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  if (!in_memory(t, <u32>reply, <u32>(reply >> 32))) return process_fault(t, TRAP_BAD_POINTER, reply);
  const e = changetype<Endpoint>(cap.object);
  if (e.generation != cap.generation) {
    t.a1 = e.generation;
    return E_DEAD;
  }
  if (!((t.calls >> <u64>e.owner) & 1) && !mutant(MUT_KERNEL_CALL_GRAPH_OPEN)) return E_NOT_DECLARED;
  if (moved != 0) {
    if (is_null(changetype<u32>(movable(t, moved)))) return E_BAD_HANDLE;
  }
  const now = now_ticks();
  const deadline = ticks_of(deadline_ns);
  if (deadline <= now) return E_TIMEOUT;
  if (deadline - now > WAIT_MAX_TICKS) return E_BAD_ARGUMENT;
  const rights = <u32>cap.rights;
  t.in_ptr = <u32>reply;
  t.in_cap = <u32>(reply >> 32);
  t.call_sequence += 1;
  const reply_handle = REPLY_BIT | ((t.call_sequence & 0x7fffff) << 8) | t.index;
  t.reply_handle = reply_handle;
  if (e.waiter != 0) {
    const r = changetype<Thread>(e.waiter);
    if (deliver(e, r, t, <u32>ptr, bytes, moved, rights, reply_handle)) {
      t.server = changetype<u32>(r);
      t.endpoint = 0;
      block(t, STATE_CALLING, deadline);
      switch_to(r);
      return 0;
    }
  }
  t.out_ptr = <u32>ptr;
  t.out_bytes = bytes;
  t.out_move = moved;
  t.out_rights = rights;
  t.server = 0;
  t.endpoint = changetype<u32>(e);
  block(t, STATE_CALLING, deadline);
  if (e.count < e.depth && e.senders_head == 0) {
    endpoint_push(e, changetype<u32>(t));
    nudge(e);
  } else {
    senders_append(e, t);
  }
  return schedule();
}

/** `take` found nothing; never an error or a length. */
const NOTHING: i64 = i64.MIN_VALUE;

/** Gives receiver `t` its oldest message, from the queue or, when that is empty, from the first sender in line: the length, an error that
 *  leaves the message where it is, or NOTHING. */
function take(e: Endpoint, t: Thread, ptr: u32, cap: u32): i64 {
  const queued = e.count != 0;
  const entry = queued ? endpoint_peek(e) : e.senders_head;
  if (entry == 0) return NOTHING;
  let handle: i64 = 0;
  let bytes: u32 = 0;
  if (is_message(entry)) {
    const m = changetype<Message>(entry);
    bytes = m.bytes;
    if (bytes > cap) {
      t.a1 = bytes;
      return E_TOO_LARGE;
    }
    if (m.cap_kind != 0) {
      handle = cap_insert(t, m.cap_kind, m.cap_rights, m.cap_object, m.cap_generation);
      if (handle < 0) return E_NO_SLOT;
    }
    copy_out(t.memory + ptr, m.buffer, bytes);
    t.a1 = m.sender;
    t.a2 = 0;
    t.a3 = <u64>handle | (<u64>m.badge << 32);
    message_free(m);
  } else {
    const c = changetype<Thread>(entry);
    bytes = c.out_bytes;
    if (bytes > cap) {
      t.a1 = bytes;
      return E_TOO_LARGE;
    }
    if (c.out_move != 0) {
      handle = move_cap(c, c.out_move, t);
      if (handle < 0) return E_NO_SLOT;
    }
    copy_user(t.memory + ptr, c.memory + c.out_ptr, bytes);
    t.a1 = c.id;
    t.a3 = <u64>handle | (<u64>c.out_rights << 32);
    if (!queued) senders_take(e);
    c.endpoint = 0;
    if (c.state == STATE_CALLING) {
      c.server = changetype<u32>(t);
      t.a2 = c.reply_handle;
    } else {
      t.a2 = 0;
      wake(c, 0);
    }
  }
  t.a4 = 0;
  if (queued) endpoint_pop(e);
  if (e.senders_head != 0) admit_sender(e);
  return bytes;
}

/** Room was made: the first sender in line enters the queue. A send is done with that; a caller goes on waiting. */
function admit_sender(e: Endpoint): void {
  if (e.count >= e.depth) return;
  const t = changetype<Thread>(e.senders_head);
  if (t.state == STATE_CALLING) {
    senders_take(e);
    endpoint_push(e, changetype<u32>(t));
    return;
  }
  if (enqueue(e, t, t.out_ptr, t.out_bytes, t.out_move, t.out_rights) != 0) return;
  senders_take(e);
  t.endpoint = 0;
  wake(t, 0);
}

export function sys_recv(endpoint: u64, buffer: u64, deadline_ns: u64, flags: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>endpoint);
  const refused = receive_refused(cap);
  if (refused != 0) return refused;
  if (!in_memory(t, <u32>buffer, <u32>(buffer >> 32))) return process_fault(t, TRAP_BAD_POINTER, buffer);
  return receive(t, cap, <u32>buffer, <u32>(buffer >> 32), deadline_ns, <u32>flags, changetype<Thread>(0));
}

@inline function receive_refused(cap: Cap): i64 {
  if (is_null(changetype<u32>(cap)) || cap.kind != KIND_ENDPOINT) return E_BAD_HANDLE;
  return cap.rights & RIGHT_RECV ? 0 : E_NO_RIGHT;
}

/** The receive half of recv and reply_recv. `next`: a thread that became ready through the reply half and should run now. */
@inline function receive(t: Thread, cap: Cap, ptr: u32, size: u32, deadline_ns: u64, flags: u32, next: Thread): i64 {
  // A look at another endpoint than its own takes no notification: it is not where the service handles them.
  if (t.notify != 0 && (deadline_ns != 0 || cap.object == t.own_endpoint)) {
    t.a1 = 0;
    t.a2 = 0;
    t.a3 = 0;
    t.a4 = t.notify;
    t.notify = 0;
    return resume_later(next, 0);
  }
  const e = changetype<Endpoint>(cap.object);
  if (e.count != 0 || e.senders_head != 0) {
    const result = take(e, t, ptr, size);
    if (result != NOTHING) return resume_later(next, result);
  }
  if (deadline_ns == 0) return resume_later(next, E_TIMEOUT);
  const now = now_ticks();
  const deadline = ticks_of(deadline_ns);
  if (deadline <= now) return resume_later(next, E_TIMEOUT);
  if (deadline - now > WAIT_MAX_TICKS) return resume_later(next, E_BAD_ARGUMENT);
  t.in_ptr = ptr;
  t.in_cap = size;
  e.waiter = changetype<u32>(t);
  t.endpoint = changetype<u32>(e);
  if (flags & RECV_HOST_PENDING) host_wait_begins(t);
  block(t, STATE_RECEIVING, deadline);
  if (is_null(changetype<u32>(next))) return schedule();
  switch_to(next);
  return 0;
}

/** The receiver goes on at once, so the thread that it answered queues up. */
@inline function resume_later(next: Thread, result: i64): i64 {
  if (!is_null(changetype<u32>(next))) make_ready(next);
  return result;
}

/** The caller that a reply handle names, if it still waits for this thread's answer. */
@inline function caller_of(t: Thread, reply: u32): Thread {
  const index = reply & 0xff;
  if (index >= KERNEL_THREADS_MAX) return changetype<Thread>(0);
  const c = thread_at(index);
  const waits = c.state == STATE_CALLING && c.reply_handle == reply && c.server == changetype<u32>(t);
  return waits ? c : changetype<Thread>(0);
}

/** Puts the answer into the caller's memory and frame. 0, or an error with the caller left waiting. */
@inline function answer(t: Thread, c: Thread, ptr: u32, bytes: u32, moved: u32): i64 {
  if (bytes > c.in_cap || bytes > KERNEL_MESSAGE_BYTES_MAX) return E_TOO_LARGE;
  let handle: i64 = 0;
  if (moved != 0) {
    handle = move_cap(t, moved, c);
    if (handle < 0) return handle;
  }
  copy_user(c.memory + c.in_ptr, t.memory + ptr, bytes);
  c.a0 = bytes;
  c.a1 = t.id;
  c.a2 = 0;
  c.a3 = handle;
  c.a4 = 0;
  c.server = 0;
  return 0;
}

export function sys_reply(reply: u64, ptr: u64, len_move: u64): i64 {
  const t = running();
  const bytes = <u32>len_move;
  if (!in_memory(t, <u32>ptr, bytes)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  const c = caller_of(t, <u32>reply);
  if (is_null(changetype<u32>(c))) {
    dropped_replies += 1;
    return E_BAD_HANDLE;
  }
  const result = answer(t, c, <u32>ptr, bytes, <u32>(len_move >> 32));
  if (result == 0) make_ready(c);
  return result;
}

export function sys_reply_recv(handles: u64, ptr: u64, len_move: u64, buffer: u64, deadline_ns: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>(handles >> 32));
  const refused = receive_refused(cap);
  if (refused != 0) return refused;
  if (!in_memory(t, <u32>buffer, <u32>(buffer >> 32))) return process_fault(t, TRAP_BAD_POINTER, buffer);
  const reply = <u32>handles;
  let next = changetype<Thread>(0);
  if (reply != 0) {
    const bytes = <u32>len_move;
    if (!in_memory(t, <u32>ptr, bytes)) return process_fault(t, TRAP_BAD_POINTER, ptr);
    const c = caller_of(t, reply);
    if (is_null(changetype<u32>(c))) {
      dropped_replies += 1;
    } else {
      const result = answer(t, c, <u32>ptr, bytes, <u32>(len_move >> 32));
      if (result == 0) {
        next = c;
      } else {
        // The answer cannot be delivered: the caller learns why instead of waiting for its deadline.
        dropped_replies += 1;
        c.a1 = bytes;
        wake(c, result);
      }
    }
  }
  return receive(t, cap, <u32>buffer, <u32>(buffer >> 32), deadline_ns, 0, next);
}
