// SPDX-License-Identifier: Apache-2.0
// dsoftbusd: the local service bus (docs/format/wire-dsoftbusd.md). Sessions are between services of this machine alone.
// Invariant: both ends of a session are what the kernel stamped on LISTEN and CONNECT; an id in a payload that says otherwise is refused.
// Policy is asked for each LISTEN and ACCEPT (bus.listen) and each CONNECT (bus.connect, and the route to the peer, so that the bus
// opens no way that policy closed); SEND, RECV and CLOSE are the owner's of the session. The service never waits for a client.
// Limits: limits.dsoftbusd.
import { DSOFTBUSD_BACKLOG_MAX, DSOFTBUSD_MESSAGE_BYTES_MAX, DSOFTBUSD_PORT_BYTES_MAX } from "../../gen/limits";
import { M_DSOFTBUSD_READY, mark } from "../../gen/markers";
import {
  MUT_DSOFTBUSD_BELIEVES_CLAIMS, MUT_DSOFTBUSD_READY_EVIDENCE_BROKEN, MUT_DSOFTBUSD_SKIPS_POLICY, MUT_DSOFTBUSD_SPOILS_MESSAGE,
  MUT_DSOFTBUSD_STAMPS_LISTENER, mutant,
} from "../../gen/mutants";
import { SVC_DSOFTBUSD_ID } from "../../gen/services";
import { sys_cap_clone, sys_cap_query, sys_time_ns } from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";
import { DB, PO_ROUTE, Request, delegateCheck, delegatePair, serve, serverOnTick, serverRoute } from "../../lib/nexus-ipc/index";
import { logInfo } from "../../lib/nexus-log/index";
import { telemetryStart } from "../../lib/telemetry/flush";
import {
  DB_CLOSED, DB_DENIED, DB_EMPTY, DB_EXISTS, DB_FULL, DB_IDENTITY, DB_INVALID_ARGS, DB_LIMIT, DB_MALFORMED, DB_NOT_FOUND, DB_OK,
  DB_OP_ACCEPT, DB_OP_CLOSE, DB_OP_CONNECT, DB_OP_LISTEN, DB_OP_RECV, DB_OP_SEND, DB_OP_STATS, DB_PEER_DEAD, DB_PENDING,
  DB_STATS_COUNTERS, DB_STATS_FOREIGN, DB_STATS_FULL, DB_STATS_LISTENERS, DB_STATS_SESSIONS, DB_STATS_SPOOFED, DB_TOO_LARGE,
  DB_UNSUPPORTED,
} from "../../lib/wire/dsoftbusd";
import {
  ACCEPTOR, CONNECTOR, Listener, STATE_PENDING, Session, Side, addListener, addSession, findListener, fits, hasRoom, listenerOf,
  listenersUsed, oldestPending, openSession, releaseSide, removeListener, sessionOf, sessionSide, sessionsUsed, tablesReset,
} from "./table";
import { count, countMessage, countOpened, countRefused, statistic } from "./telemetry";
import { armTick, beginAnswer, buryDead, endAnswer, endListener, endSide, lives, onTick, waitFor } from "./waits";

export const vigil_abi: i32 = 1;

const RIGHT_SEND: u64 = 1;
const RIGHT_CLONE: u64 = 4;
const KIND_ENDPOINT: u64 = 1;
const meta: usize = memory.data(32, 8);
const message: usize = memory.data(1024, 8);
const evidencePort: usize = memory.data(32);

// Whether the moved capability can tell that its service lives.
function tells(handle: u32, rights: u64): bool {
  if (handle == 0 || sys_cap_query(handle, <u32>meta) < 0) return false;
  return load<u64>(meta) == KIND_ENDPOINT && (load<u64>(meta, 8) & rights) == rights && load<u64>(meta, 16) == load<u64>(meta, 24);
}

function allowed(request: Request, capability: string): bool {
  return mutant(MUT_DSOFTBUSD_SKIPS_POLICY) || delegateCheck(request.sender, capability);
}

function onListen(request: Request): void {
  const bytes = <u32>request.body.takeU8();
  const port = request.body.takeBytes(bytes);
  if (!request.body.finished || bytes == 0) return done(request, DB_MALFORMED);
  if (bytes > DSOFTBUSD_PORT_BYTES_MAX) return done(request, DB_TOO_LARGE);
  if (!allowed(request, "bus.listen")) return done(request, DB_DENIED);
  if (!tells(request.moved, RIGHT_SEND | RIGHT_CLONE)) return done(request, DB_INVALID_ARGS);
  const owner = request.sender.value;
  const there = findListener(owner, port, bytes);
  if (there !== null) {
    if (lives(there.alive)) return done(request, DB_EXISTS);
    // The owner was restarted: what it left behind makes room.
    endListener(there, DB_PEER_DEAD);
  }
  const listener = addListener(owner, request.moved, port, bytes);
  if (listener === null) return done(request, DB_LIMIT);
  request.takeMoved();
  request.answer(DB_OK).putU32(listener.id);
  armTick();
}

// The end of a request that changes nothing.
function done(request: Request, status: u8): void {
  request.answer(status);
}
function refused(request: Request, status: u8): void {
  countRefused();
  request.answer(status);
}

function onConnect(request: Request): void {
  const body = request.body;
  const claimed = body.takeU64();
  const peer = body.takeU64();
  const wait_ns = body.takeU64();
  const bytes = <u32>body.takeU8();
  const port = body.takeBytes(bytes);
  if (!body.finished || bytes == 0) return refused(request, DB_MALFORMED);
  if (bytes > DSOFTBUSD_PORT_BYTES_MAX) return refused(request, DB_TOO_LARGE);
  if (claimed != request.sender.value && !mutant(MUT_DSOFTBUSD_BELIEVES_CLAIMS)) {
    count(DB_STATS_SPOOFED);
    return refused(request, DB_IDENTITY);
  }
  if (!allowed(request, "bus.connect")) return refused(request, DB_DENIED);
  if (!mutant(MUT_DSOFTBUSD_SKIPS_POLICY) && !delegatePair(PO_ROUTE, request.sender, peer)) return refused(request, DB_DENIED);
  if (!tells(request.moved, RIGHT_SEND)) return refused(request, DB_INVALID_ARGS);
  const listener = findListener(peer, port, bytes);
  if (listener === null) return refused(request, DB_NOT_FOUND);
  if (!lives(listener.alive)) {
    endListener(listener, DB_PEER_DEAD);
    return refused(request, DB_NOT_FOUND);
  }
  const session = addSession(listener, claimed, request.moved, <u64>sys_time_ns());
  if (session === null) return refused(request, DB_LIMIT);
  request.takeMoved();
  const side = session.side(CONNECTOR);
  if (listener.handle) {
    const opened = accept(listener, session);
    if (opened == DB_OK) {
      beginAnswer(listener.accepting, DB_OK).putU32(session.id(ACCEPTOR)).putU64(stamp(listener, side));
      endAnswer(listener.accepting);
      request.answer(DB_OK).putU32(session.id(CONNECTOR));
      armTick();
      return;
    }
    // It cannot take one more; its call goes on waiting, and so does the session.
  }
  if (!waitFor(request, side.waiting, wait_ns)) request.answer(DB_PENDING).putU32(session.id(CONNECTOR));
  armTick();
}

// Who connected, as the kernel stamped it.
function stamp(listener: Listener, side: Side): u64 {
  return mutant(MUT_DSOFTBUSD_STAMPS_LISTENER) ? listener.owner : side.owner;
}

// Gives the listener's owner its side: DB_OK or DB_LIMIT.
function accept(listener: Listener, session: Session): u8 {
  if (!hasRoom(listener.owner)) return DB_LIMIT;
  let alive: u32 = 0;
  if (listener.alive != 0) {
    const clone = sys_cap_clone(listener.alive, <u32>RIGHT_SEND);
    if (clone < 0) return DB_LIMIT;
    alive = <u32>clone;
  }
  openSession(session, listener.owner, alive);
  countOpened(<u64>sys_time_ns() - session.since_ns);
  return DB_OK;
}

// The session that waits longest at the listener and whose connector lives, or null.
function livingPending(listener: Listener): Session | null {
  for (let n: u32 = 0; n < DSOFTBUSD_BACKLOG_MAX; n++) {
    const session = oldestPending(listener);
    if (session === null) return null;
    buryDead(session);
    if (session.state == STATE_PENDING) return session;
  }
  return null;
}

function onAccept(request: Request): void {
  const id = request.body.takeU32();
  const wait_ns = request.body.takeU64();
  if (!request.body.finished) return done(request, DB_MALFORMED);
  if (!allowed(request, "bus.listen")) return done(request, DB_DENIED);
  const listener = listenerOf(id, request.sender.value);
  if (listener === null) return foreign(request);
  const session = livingPending(listener);
  if (session !== null) {
    const status = accept(listener, session);
    if (status != DB_OK) return done(request, status);
    const side = session.side(CONNECTOR);
    if (side.handle) {
      beginAnswer(side.waiting, DB_OK).putU32(session.id(CONNECTOR));
      endAnswer(side.waiting);
    }
    request.answer(DB_OK).putU32(session.id(ACCEPTOR)).putU64(stamp(listener, side));
    armTick();
    return;
  }
  if (!waitFor(request, listener.accepting, wait_ns)) request.answer(DB_EMPTY);
  armTick();
}

function foreign(request: Request): void {
  count(DB_STATS_FOREIGN);
  request.answer(DB_NOT_FOUND);
}

// The end of the session is told once; the side is then gone.
function tell(request: Request, session: Session, which: u32): void {
  request.answer(<u8>session.side(which).why);
  releaseSide(session, which);
  armTick();
}

function onSend(request: Request): void {
  const body = request.body;
  const id = body.takeU32();
  const bytes = body.left;
  if (!body.ok || bytes == 0) return done(request, DB_MALFORMED);
  if (bytes > DSOFTBUSD_MESSAGE_BYTES_MAX) return done(request, DB_TOO_LARGE);
  const session = sessionOf(id, request.sender.value);
  if (session === null) return foreign(request);
  const which = sessionSide;
  buryDead(session);
  const side = session.side(which);
  if (!side.held) return foreign(request);
  if (side.why) {
    // What the other sent before it ended can still be read.
    if (side.inbound.entries == 0) return tell(request, session, which);
    return done(request, <u8>side.why);
  }
  if (session.state == STATE_PENDING) return done(request, DB_PENDING);
  const from = body.takeBytes(bytes);
  if (mutant(MUT_DSOFTBUSD_SPOILS_MESSAGE)) store<u8>(from, load<u8>(from) ^ 1);
  const other = session.side(which ^ 1);
  if (other.handle) {
    beginAnswer(other.waiting, DB_OK).putBytes(from, bytes);
    endAnswer(other.waiting);
  } else if (!fits(other.inbound, bytes)) {
    count(DB_STATS_FULL);
    return done(request, DB_FULL);
  } else {
    other.inbound.push(from, bytes);
  }
  countMessage(bytes);
  request.answer(DB_OK);
  armTick();
}

// Takes the oldest message of a side to `message`; its length.
function take(side: Side): u32 {
  const queue = side.inbound;
  const bytes = queue.lengthAt(queue.head);
  queue.copyEntry(queue.head, 0, bytes, message);
  queue.pop();
  return bytes;
}

function onRecv(request: Request): void {
  const id = request.body.takeU32();
  const wait_ns = request.body.takeU64();
  if (!request.body.finished) return done(request, DB_MALFORMED);
  const session = sessionOf(id, request.sender.value);
  if (session === null) return foreign(request);
  const which = sessionSide;
  buryDead(session);
  const side = session.side(which);
  if (!side.held) return foreign(request);
  if (side.inbound.entries != 0) {
    const bytes = take(side);
    request.answer(DB_OK).putBytes(message, bytes);
    return;
  }
  if (side.why) return tell(request, session, which);
  if (session.state == STATE_PENDING) return done(request, DB_PENDING);
  if (!waitFor(request, side.waiting, wait_ns)) request.answer(DB_EMPTY);
  armTick();
}

function onClose(request: Request): void {
  const id = request.body.takeU32();
  if (!request.body.finished) return done(request, DB_MALFORMED);
  const owner = request.sender.value;
  const session = sessionOf(id, owner);
  const listener = listenerOf(id, owner);
  if (session !== null) endSide(session, sessionSide, DB_CLOSED);
  else if (listener !== null) endListener(listener, DB_CLOSED);
  else return foreign(request);
  request.answer(DB_OK);
  armTick();
}

function onStats(request: Request): void {
  if (!request.body.finished) return done(request, DB_MALFORMED);
  const out = request.answer(DB_OK);
  for (let i: u32 = 0; i < DB_STATS_COUNTERS; i++) {
    out.putU64(i == DB_STATS_LISTENERS ? listenersUsed() : i == DB_STATS_SESSIONS ? sessionsUsed() : statistic(i));
  }
}

/** Ready means: a session with itself carries a message, whole and in order, and leaves both tables as they were. Nothing is counted. */
function onPing(): bool {
  if (mutant(MUT_DSOFTBUSD_READY_EVIDENCE_BROKEN)) return false;
  const before = listenersUsed() + sessionsUsed();
  const bytes = copyLiteral(evidencePort, "evidence");
  const listener = addListener(SVC_DSOFTBUSD_ID, 0, evidencePort, bytes);
  if (listener === null) return false;
  const session = addSession(listener, SVC_DSOFTBUSD_ID, 0, 0);
  let holds = session !== null && oldestPending(listener) === session;
  if (session !== null) {
    openSession(session, SVC_DSOFTBUSD_ID, 0);
    const side = session.side(ACCEPTOR);
    holds = side.inbound.push(evidencePort, bytes) && take(side) == bytes && memory.compare(message, evidencePort, bytes) == 0 && holds;
    releaseSide(session, CONNECTOR);
    releaseSide(session, ACCEPTOR);
  }
  removeListener(listener);
  return holds && listenersUsed() + sessionsUsed() == before;
}

function onReady(): void {
  mark(M_DSOFTBUSD_READY);
  logInfo("dsoftbusd").text("ready").end();
}

export function main(): void {
  tablesReset();
  telemetryStart(SVC_DSOFTBUSD_ID);
  serverRoute(DB_OP_LISTEN, onListen);
  serverRoute(DB_OP_CONNECT, onConnect);
  serverRoute(DB_OP_ACCEPT, onAccept);
  serverRoute(DB_OP_SEND, onSend);
  serverRoute(DB_OP_RECV, onRecv);
  serverRoute(DB_OP_CLOSE, onClose);
  serverRoute(DB_OP_STATS, onStats);
  serverOnTick(onTick, 0);
  serve(DB, DB_MALFORMED, DB_UNSUPPORTED, onPing, onReady);
}
