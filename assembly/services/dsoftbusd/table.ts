// SPDX-License-Identifier: Apache-2.0
// The two tables: listeners and sessions, with the messages that wait in each direction. No policy, no clock, no metrics here.
// Invariant: an id holds a slot, its generation and, for a session, the side; it is answered only to the owner that the kernel stamped,
// so a guessed or kept id is none. A side is held until its owner closed it, was told of its end, or died; a session is free when
// neither is held.
// Limits: limits.dsoftbusd, in all and of one owner; a queue is full by messages or by bytes (each with 4 bytes of length).
import {
  DSOFTBUSD_BACKLOG_MAX, DSOFTBUSD_LISTENERS_MAX, DSOFTBUSD_OWNER_LISTENERS_MAX, DSOFTBUSD_OWNER_SESSIONS_MAX,
  DSOFTBUSD_PORT_BYTES_MAX, DSOFTBUSD_QUEUE_BYTES_MAX, DSOFTBUSD_QUEUE_MESSAGES_MAX, DSOFTBUSD_SESSIONS_MAX,
} from "../../gen/limits";
import { MUT_DSOFTBUSD_IGNORES_LIMITS, MUT_DSOFTBUSD_IGNORES_OWNER, mutant } from "../../gen/mutants";
import { sys_cap_close } from "../../gen/syscalls";
import { ByteRing } from "../../lib/bounded/ring";
import { equalsBytes } from "../../lib/bounded/text";

export const NONE: u32 = 0xffffffff;
/** Bit of an id that names a listener. */
const LISTENER_BIT: u32 = 0x80;
const GENERATION_MAX: u32 = 0xffffff;

/** A call that waits for its answer; handle 0: none. */
@unmanaged
export class Waiter {
  nonce: u64;
  until_ns: u64;
  handle: u32;
  op: u32;
}

/** Who listens where. 96 bytes. */
@unmanaged
export class Listener {
  nonce: u64;
  until_ns: u64;
  handle: u32;
  op: u32;
  owner: u64;
  /** capability that ends with the owner; 0 in the service's own evidence */
  alive: u32;
  used: u32;
  generation: u32;
  portBytes: u32;
  index: u32;

  get accepting(): Waiter {
    return changetype<Waiter>(changetype<usize>(this));
  }
  get port(): usize {
    return changetype<usize>(this) + 64;
  }
  get id(): u32 {
    return (this.generation << 8) | LISTENER_BIT | this.index;
  }
}

/** One end of a session. 96 bytes. */
@unmanaged
export class Side {
  nonce: u64;
  until_ns: u64;
  handle: u32;
  op: u32;
  owner: u64;
  alive: u32;
  /** 1 while the owner has not been told of the end */
  held: u32;
  /** what the owner is told once it read everything; 0 while the session goes on */
  why: u32;
  which: u32;

  get waiting(): Waiter {
    return changetype<Waiter>(changetype<usize>(this));
  }
  /** What waits to be read by this side. */
  get inbound(): ByteRing {
    return changetype<ByteRing>(changetype<usize>(this) + 48);
  }
}

/** 224 bytes: head, then the connector's side and the acceptor's. */
@unmanaged
export class Session {
  state: u32;
  generation: u32;
  index: u32;
  /** listener that it waits at */
  listener: u32;
  /** order of arrival, and when the handshake began and must be over (guest ns) */
  arrival: u64;
  since_ns: u64;

  side(which: u32): Side {
    return changetype<Side>(changetype<usize>(this) + 32 + which * 96);
  }
  id(which: u32): u32 {
    return (this.generation << 8) | (this.index << 1) | which;
  }
}
export const CONNECTOR: u32 = 0;
export const ACCEPTOR: u32 = 1;
export const STATE_FREE: u32 = 0;
export const STATE_PENDING: u32 = 1;
export const STATE_OPEN: u32 = 2;

const LISTENER_BYTES: u32 = 96;
const SESSION_BYTES: u32 = 224;
const listeners: usize = memory.data(768, 8);
const sessions: usize = memory.data(3584, 8);
const queues: usize = memory.data(131072, 8);
let arrivals: u64 = 0;

export function listenerAt(index: u32): Listener {
  return changetype<Listener>(listeners + index * LISTENER_BYTES);
}
export function sessionAt(index: u32): Session {
  return changetype<Session>(sessions + index * SESSION_BYTES);
}

export function tablesReset(): void {
  assert(DSOFTBUSD_LISTENERS_MAX * LISTENER_BYTES <= 768 && DSOFTBUSD_SESSIONS_MAX * SESSION_BYTES <= 3584);
  assert(2 * DSOFTBUSD_SESSIONS_MAX * DSOFTBUSD_QUEUE_BYTES_MAX <= 131072 && DSOFTBUSD_PORT_BYTES_MAX <= 32);
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) listenerAt(i).index = i;
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) {
    sessionAt(i).index = i;
    sessionAt(i).side(ACCEPTOR).which = ACCEPTOR;
  }
}

export function listenersUsed(): u32 {
  let used: u32 = 0;
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) used += listenerAt(i).used;
  return used;
}
export function sessionsUsed(): u32 {
  let used: u32 = 0;
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) used += u32(sessionAt(i).state != STATE_FREE);
  return used;
}

/** The listener of this owner at the port, or null. */
export function findListener(owner: u64, port: usize, bytes: u32): Listener | null {
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) {
    const each = listenerAt(i);
    if (each.used && each.owner == owner && equalsBytes(each.port, each.portBytes, port, bytes)) return each;
  }
  return null;
}

/** A new listener, or null at a limit. `alive` is the table's from then on. */
export function addListener(owner: u64, alive: u32, port: usize, bytes: u32): Listener | null {
  let free: Listener | null = null;
  let own: u32 = 0;
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) {
    const each = listenerAt(i);
    if (!each.used) free = free === null ? each : free;
    else if (each.owner == owner) own++;
  }
  if (free === null || (own >= DSOFTBUSD_OWNER_LISTENERS_MAX && !mutant(MUT_DSOFTBUSD_IGNORES_LIMITS))) return null;
  free.used = 1;
  free.owner = owner;
  free.alive = alive;
  free.generation = free.generation == GENERATION_MAX ? 1 : free.generation + 1;
  free.handle = 0;
  free.portBytes = bytes;
  memory.copy(free.port, port, bytes);
  return free;
}
/** Frees it; what waits there is the caller's to end first. */
export function removeListener(listener: Listener): void {
  if (listener.alive) sys_cap_close(listener.alive);
  listener.alive = 0;
  listener.used = 0;
}
/** The owner's listener of that id, or null. */
export function listenerOf(id: u32, owner: u64): Listener | null {
  if ((id & LISTENER_BIT) == 0 || (id & 0x7f) >= DSOFTBUSD_LISTENERS_MAX) return null;
  const found = listenerAt(id & 0x7f);
  return found.used && found.id == id && found.owner == owner ? found : null;
}

function sidesOf(owner: u64): u32 {
  let sides: u32 = 0;
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) {
    for (let which: u32 = 0; which < 2; which++) {
      const side = sessionAt(i).side(which);
      if (side.held && side.owner == owner) sides++;
    }
  }
  return sides;
}
/** Whether the owner may hold one more side. */
export function hasRoom(owner: u64): bool {
  return sidesOf(owner) < DSOFTBUSD_OWNER_SESSIONS_MAX || mutant(MUT_DSOFTBUSD_IGNORES_LIMITS);
}

function hold(session: Session, which: u32, owner: u64, alive: u32): void {
  const side = session.side(which);
  side.owner = owner;
  side.alive = alive;
  side.held = 1;
  side.why = 0;
  side.handle = 0;
  const at = queues + (2 * session.index + which) * DSOFTBUSD_QUEUE_BYTES_MAX;
  side.inbound.reset(at, DSOFTBUSD_QUEUE_BYTES_MAX);
}

/** A session that waits at the listener, or null: table, owner or backlog full. `alive` is the table's from then on. */
export function addSession(listener: Listener, owner: u64, alive: u32, now_ns: u64): Session | null {
  let free: Session | null = null;
  let waiting: u32 = 0;
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) {
    const each = sessionAt(i);
    if (each.state == STATE_FREE) free = free === null ? each : free;
    else if (each.state == STATE_PENDING && each.listener == listener.index) waiting++;
  }
  if (free === null || waiting >= DSOFTBUSD_BACKLOG_MAX || !hasRoom(owner)) return null;
  free.state = STATE_PENDING;
  free.listener = listener.index;
  free.generation = free.generation == GENERATION_MAX ? 1 : free.generation + 1;
  free.arrival = ++arrivals;
  free.since_ns = now_ns;
  hold(free, CONNECTOR, owner, alive);
  return free;
}
/** The session that waits longest at the listener, or null. */
export function oldestPending(listener: Listener): Session | null {
  let oldest: Session | null = null;
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) {
    const each = sessionAt(i);
    if (each.state != STATE_PENDING || each.listener != listener.index) continue;
    if (oldest === null || each.arrival < oldest.arrival) oldest = each;
  }
  return oldest;
}
/** The listener's owner takes its side. */
export function openSession(session: Session, owner: u64, alive: u32): void {
  session.state = STATE_OPEN;
  hold(session, ACCEPTOR, owner, alive);
}

/** The owner's session of that id, or null; which side is in sessionSide. */
export function sessionOf(id: u32, owner: u64): Session | null {
  if ((id & LISTENER_BIT) != 0 || ((id & 0x7f) >> 1) >= DSOFTBUSD_SESSIONS_MAX) return null;
  const found = sessionAt((id & 0x7f) >> 1);
  sessionSide = id & 1;
  const side = found.side(sessionSide);
  if (found.state == STATE_FREE || found.id(sessionSide) != id || !side.held) return null;
  return side.owner == owner || mutant(MUT_DSOFTBUSD_IGNORES_OWNER) ? found : null;
}
/** Side that the id given to sessionOf last names. */
export let sessionSide: u32 = 0;

/** Gives a side up; frees the session when it was the last. */
export function releaseSide(session: Session, which: u32): void {
  const side = session.side(which);
  if (side.alive) sys_cap_close(side.alive);
  side.alive = 0;
  side.held = 0;
  side.why = 0;
  side.handle = 0;
  if (!session.side(which ^ 1).held) session.state = STATE_FREE;
}

/** Whether a message of that length fits the queue. */
export function fits(queue: ByteRing, bytes: u32): bool {
  return queue.entries < DSOFTBUSD_QUEUE_MESSAGES_MAX && queue.capacity - queue.used >= bytes + 4;
}
