// SPDX-License-Identifier: Apache-2.0
// Calls that wait (CONNECT, ACCEPT, RECV), what ends a session, and the one tick that looks after both.
// Invariant: a call that waits is answered exactly once: by what it waited for, by the end of its session, or with EMPTY (CONNECT: PENDING)
// when its time is over. A side that died is noticed at the next request on its session, and by the sweep at the latest.
// Limits: limits.dsoftbusd wait_max_ns a wait, handshake_wait_ns a handshake, sweep_ns between two looks at who lives; one waiting call a
// listener and a side (a second replaces the first, which is answered EMPTY).
import {
  DSOFTBUSD_HANDSHAKE_WAIT_NS, DSOFTBUSD_LISTENERS_MAX, DSOFTBUSD_MESSAGE_BYTES_MAX, DSOFTBUSD_SESSIONS_MAX, DSOFTBUSD_SWEEP_NS,
  DSOFTBUSD_WAIT_MAX_NS,
} from "../../gen/limits";
import { MUT_DSOFTBUSD_KEEPS_DEAD, MUT_DSOFTBUSD_NO_HANDSHAKE_DEADLINE, mutant } from "../../gen/mutants";
import { sys_cap_query, sys_time_ns } from "../../gen/syscalls";
import { DB, Request, Writer, answerLater, serverTickAt, writeReplyHead } from "../../lib/nexus-ipc/index";
import { telemetryDue_ns, telemetryTick } from "../../lib/telemetry/flush";
import {
  DB_EMPTY, DB_OP_CONNECT, DB_PEER_DEAD, DB_PENDING, DB_STATS_DEAD, DB_STATS_TIMEOUTS, DB_TIMEOUT,
} from "../../lib/wire/dsoftbusd";
import {
  CONNECTOR, Listener, STATE_FREE, STATE_OPEN, STATE_PENDING, Session, Waiter, listenerAt, oldestPending, releaseSide,
  removeListener, sessionAt,
} from "./table";
import { count, countClosed, countRefused } from "./telemetry";

const meta: usize = memory.data(32, 8);
const answerBuffer: usize = memory.data(1088, 8);
const answerWriter: Writer = changetype<Writer>(memory.data(16, 4));
let sweepAt_ns: u64 = 0;

/** Keeps the request as a call that waits; false when it is none, or asks for no wait. */
export function waitFor(request: Request, waiter: Waiter, wait_ns: u64): bool {
  if (wait_ns == 0 || request.replyHandle == 0) return false;
  if (waiter.handle) answerWaiter(waiter, DB_EMPTY);
  waiter.nonce = request.nonce;
  waiter.op = request.op;
  waiter.until_ns = <u64>sys_time_ns() + min<u64>(wait_ns, DSOFTBUSD_WAIT_MAX_NS);
  waiter.handle = request.defer();
  return true;
}

/** Begins the answer to a call that waits; the body follows, then endAnswer. */
export function beginAnswer(waiter: Waiter, status: u8): Writer {
  assert(DSOFTBUSD_MESSAGE_BYTES_MAX + 16 <= 1088);
  return writeReplyHead(answerWriter.reset(answerBuffer, 1088), DB, <u8>waiter.op, status, waiter.nonce);
}
export function endAnswer(waiter: Waiter): void {
  const handle = waiter.handle;
  waiter.handle = 0;
  // Where the client is gone, the dispatcher counts the answer as lost.
  answerLater(handle, answerWriter);
}
function answerWaiter(waiter: Waiter, status: u8): void {
  beginAnswer(waiter, status);
  endAnswer(waiter);
}

/** Whether the service behind a capability still runs; 0 is the service's own evidence. */
export function lives(alive: u32): bool {
  if (alive == 0 || mutant(MUT_DSOFTBUSD_KEEPS_DEAD)) return true;
  return sys_cap_query(alive, <u32>meta) >= 0 && load<u64>(meta, 16) == load<u64>(meta, 24);
}

/** A side closed or died: it is given up, and the other is told `why` once it has read everything. */
export function endSide(session: Session, which: u32, why: u8): void {
  const other = session.side(which ^ 1);
  if (session.side(which).why == 0 && other.why == 0) {
    if (session.state == STATE_OPEN) countClosed();
    else countRefused();
  }
  if (session.side(which).handle) answerWaiter(session.side(which).waiting, why);
  releaseSide(session, which);
  if (!other.held) return;
  other.why = why;
  if (other.handle) {
    answerWaiter(other.waiting, why);
    releaseSide(session, which ^ 1);
  }
}

/** A session that was not accepted is over: its connector is told why, now or at its next request. */
export function endPending(session: Session, why: u8): void {
  countRefused();
  const side = session.side(CONNECTOR);
  side.why = why;
  if (!side.handle) return;
  answerWaiter(side.waiting, why);
  releaseSide(session, CONNECTOR);
}

/** Closes a listener, and refuses who waits at it. */
export function endListener(listener: Listener, why: u8): void {
  for (let n: u32 = 0; n < DSOFTBUSD_SESSIONS_MAX; n++) {
    const session = oldestPending(listener);
    if (session === null) break;
    // It waits at no listener any more; its slot is the connector's until it is told.
    session.state = STATE_OPEN;
    endPending(session, why);
  }
  if (listener.handle) answerWaiter(listener.accepting, why);
  removeListener(listener);
}

/** Gives up the side that died, if one did. */
export function buryDead(session: Session): void {
  for (let which: u32 = 0; which < 2 && session.state != STATE_FREE; which++) {
    const side = session.side(which);
    if (!side.held || lives(side.alive)) continue;
    count(DB_STATS_DEAD);
    endSide(session, which, DB_PEER_DEAD);
  }
}

function sweep(): void {
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) if (sessionAt(i).state != STATE_FREE) buryDead(sessionAt(i));
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) {
    const listener = listenerAt(i);
    if (!listener.used || lives(listener.alive)) continue;
    count(DB_STATS_DEAD);
    endListener(listener, DB_PEER_DEAD);
  }
}

function overdue(session: Session, now_ns: u64): bool {
  if (session.state != STATE_PENDING || mutant(MUT_DSOFTBUSD_NO_HANDSHAKE_DEADLINE)) return false;
  return now_ns >= session.since_ns + DSOFTBUSD_HANDSHAKE_WAIT_NS;
}

function expire(now_ns: u64): void {
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) {
    const session = sessionAt(i);
    if (overdue(session, now_ns)) {
      count(DB_STATS_TIMEOUTS);
      session.state = STATE_OPEN;
      endPending(session, DB_TIMEOUT);
    }
    for (let which: u32 = 0; which < 2; which++) {
      const side = session.side(which);
      if (!side.held || !side.handle || now_ns < side.until_ns) continue;
      // A CONNECT whose own wait is shorter than the handshake: the session waits on, and its id is the answer.
      if (side.op == DB_OP_CONNECT) beginAnswer(side.waiting, DB_PENDING).putU32(session.id(which));
      else beginAnswer(side.waiting, DB_EMPTY);
      endAnswer(side.waiting);
    }
  }
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) {
    const listener = listenerAt(i);
    if (listener.used && listener.handle && now_ns >= listener.until_ns) answerWaiter(listener.accepting, DB_EMPTY);
  }
}

/** The dispatcher's tick. */
export function onTick(): void {
  const now_ns = <u64>sys_time_ns();
  expire(now_ns);
  if (sweepAt_ns != 0 && now_ns >= sweepAt_ns) {
    sweep();
    sweepAt_ns = 0;
  }
  telemetryTick(now_ns);
  armTick();
}

/** Sets the tick to what comes first: the end of a wait or handshake, the next sweep (while anything is held), or a flush. */
export function armTick(): void {
  let due_ns = telemetryDue_ns();
  let held = false;
  for (let i: u32 = 0; i < DSOFTBUSD_SESSIONS_MAX; i++) {
    const session = sessionAt(i);
    if (session.state == STATE_FREE) continue;
    held = true;
    if (session.state == STATE_PENDING) due_ns = earlier(due_ns, session.since_ns + DSOFTBUSD_HANDSHAKE_WAIT_NS);
    for (let which: u32 = 0; which < 2; which++) {
      const side = session.side(which);
      if (side.held && side.handle) due_ns = earlier(due_ns, side.until_ns);
    }
  }
  for (let i: u32 = 0; i < DSOFTBUSD_LISTENERS_MAX; i++) {
    const listener = listenerAt(i);
    if (!listener.used) continue;
    held = true;
    if (listener.handle) due_ns = earlier(due_ns, listener.until_ns);
  }
  if (held && sweepAt_ns == 0) sweepAt_ns = <u64>sys_time_ns() + DSOFTBUSD_SWEEP_NS;
  if (!held) sweepAt_ns = 0;
  serverTickAt(earlier(due_ns, sweepAt_ns));
}

// The earlier of two times, of which 0 is none.
function earlier(a: u64, b: u64): u64 {
  return a == 0 || (b != 0 && b < a) ? b : a;
}
