// SPDX-License-Identifier: Apache-2.0
// Proofs of phase bus: a loopback session carries messages whole and in order, ends are told, both sides are what the kernel stamped,
// limits and deadlines hold, a side that ends is noticed, and what dsoftbusd measured is in logd under its own id.
// Invariant: at the end no session or listener of this proof is left.
// Limits: one message at a time in the reply's buffer; SESSIONS sessions at once.
import {
  DSOFTBUSD_BACKLOG_MAX, DSOFTBUSD_HANDSHAKE_WAIT_NS, DSOFTBUSD_MESSAGE_BYTES_MAX, DSOFTBUSD_OWNER_SESSIONS_MAX,
  DSOFTBUSD_QUEUE_MESSAGES_MAX,
} from "../../gen/limits";
import {
  M_SELFTEST_BUS_AUTH_OK, M_SELFTEST_BUS_DEAD_PEER_OK, M_SELFTEST_BUS_DENIED_OK, M_SELFTEST_BUS_FOREIGN_REFUSED_OK,
  M_SELFTEST_BUS_HANDSHAKE_DEADLINE_OK, M_SELFTEST_BUS_LIMITS_OK, M_SELFTEST_BUS_LOOPBACK_OK, M_SELFTEST_BUS_METRICS_OK,
  M_SELFTEST_BUS_SPOOF_REFUSED_OK,
} from "../../gen/markers";
import { SVC_DSOFTBUSD_ID, SVC_METRICSD_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { sys_cap_clone, sys_endpoint_create } from "../../gen/syscalls";
import { fnv1a64Literal } from "../../lib/bounded/fnv";
import { equalsLiteral } from "../../lib/bounded/text";
import { DB, REPLY_OK, Route, Writer, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import {
  DB_CLOSED, DB_DENIED, DB_EMPTY, DB_FULL, DB_IDENTITY, DB_LIMIT, DB_NOT_FOUND, DB_OK, DB_OP_ACCEPT, DB_OP_CLOSE, DB_OP_CONNECT,
  DB_OP_LISTEN, DB_OP_RECV, DB_OP_SEND, DB_OP_STATS, DB_PEER_DEAD, DB_PENDING, DB_STATS_BYTES, DB_STATS_CLOSED, DB_STATS_LISTENERS,
  DB_STATS_OPENED, DB_STATS_REFUSED, DB_STATS_SESSIONS, DB_TIMEOUT, DB_TOO_LARGE,
} from "../../lib/wire/dsoftbusd";
import { EX_OK } from "../../lib/wire/execd";
import { execDrop, execRun, execWait, waitCause, waitCode } from "./children";
import { check, checkEqual, proof, proven, waitNs } from "./lib";
import { anyRecordHolds, beginExchange, findFitting, flush, want, wanted } from "./records";

const BUDGET_NS: u64 = 5_000_000_000;
const WAIT_NS: u64 = 2_000_000_000;
/** More than a producer's FLUSH_DELAY_NS, twice. */
const PRODUCERS_FLUSH_NS: u64 = 50_000_000;
const RIGHT_SEND: u32 = 1;
const RIGHT_CLONE: u32 = 4;
const PORT = "proof";
/** Where a stranger tries to connect in our name. */
const SPOOF_PORT = "proof.spoof";
const SESSIONS: u32 = DSOFTBUSD_OWNER_SESSIONS_MAX / 2;
const bus: Route = changetype<Route>(memory.data(8, 4));
const held: usize = memory.data(64, 4);
let own: u32 = 0;
let listener: u32 = 0;
let accepted: u32 = 0;
let strangerCode: u64 = 0;

// The route first: a lookup writes the request's buffer.
function begin(op: u8): Writer {
  bus.resolve("dsoftbusd");
  return beginRequest(DB, op);
}
function ask(moved: u32 = 0): i32 {
  if (bus.handle == 0) return -1;
  const outcome = callRequest(bus.handle, BUDGET_NS, moved);
  return outcome != REPLY_OK ? outcome : <i32>reply.status;
}
// A capability that ends with this service, to be moved.
function alive(): u32 {
  if (own == 0) own = <u32>max<i64>(sys_endpoint_create(1), 0);
  const clone = sys_cap_clone(own, RIGHT_SEND | RIGHT_CLONE);
  return check(clone >= 0, "no capability to show") ? <u32>clone : 0;
}
function listen(port: string): i32 {
  const moved = alive();
  begin(DB_OP_LISTEN).putU8(<u8>port.length).putText(port);
  const status = ask(moved);
  if (status == DB_OK) listener = reply.body.takeU32();
  return status;
}
// CONNECT to ourselves without waiting; the id is in the reply's body.
function connect(): i32 {
  const moved = alive();
  const frame = begin(DB_OP_CONNECT).putU64(SVC_SELFTEST_ID).putU64(SVC_SELFTEST_ID).putU64(0);
  frame.putU8(<u8>PORT.length).putText(PORT);
  return ask(moved);
}
// ACCEPT: the status; the session in `accepted`, who connected left in the reply's body.
function accept(wait_ns: u64): i32 {
  begin(DB_OP_ACCEPT).putU32(listener).putU64(wait_ns);
  const status = ask();
  if (status == DB_OK) accepted = reply.body.takeU32();
  return status;
}
function send(session: u32, text: string): i32 {
  begin(DB_OP_SEND).putU32(session).putText(text);
  return ask();
}
function receive(session: u32, wait_ns: u64): i32 {
  begin(DB_OP_RECV).putU32(session).putU64(wait_ns);
  return ask();
}
function checkReceive(session: u32, text: string, detail: string): void {
  checkEqual(receive(session, WAIT_NS), DB_OK, detail);
  check(equalsLiteral(reply.body.base, reply.body.length, text), detail);
}
function close(id: u32): i32 {
  begin(DB_OP_CLOSE).putU32(id);
  return ask();
}
function statistic(index: u32): u64 {
  begin(DB_OP_STATS);
  checkEqual(ask(), DB_OK, "stats");
  reply.body.takeBytes(index << 3);
  return reply.body.takeU64();
}

function provesLoopback(): void {
  proof("bus loopback");
  checkEqual(listen(PORT), DB_OK, "listen");
  checkEqual(accept(0), DB_EMPTY, "accept of nobody");
  checkEqual(connect(), DB_PENDING, "connect");
  const session = reply.body.takeU32();
  checkEqual(send(session, "too early"), DB_PENDING, "send before the handshake is over");
  checkEqual(accept(WAIT_NS), DB_OK, "accept");
  checkEqual(reply.body.takeU64(), SVC_SELFTEST_ID, "who connected");
  checkEqual(send(session, "one"), DB_OK, "send");
  checkEqual(send(session, "two, which is longer"), DB_OK, "send again");
  checkEqual(send(accepted, "and back"), DB_OK, "send back");
  checkReceive(accepted, "one", "the first message");
  checkReceive(session, "and back", "the message back");
  checkEqual(receive(session, 0), DB_EMPTY, "nothing more");
  checkEqual(close(session), DB_OK, "close");
  checkReceive(accepted, "two, which is longer", "what was sent before the close");
  checkEqual(receive(accepted, WAIT_NS), DB_CLOSED, "the other side's end");
  checkEqual(receive(accepted, 0), DB_NOT_FOUND, "a session that is gone");
  proven(M_SELFTEST_BUS_LOOPBACK_OK);
}

function provesStranger(): void {
  proof("bus auth");
  const first = listener;
  checkEqual(listen(SPOOF_PORT), DB_OK, "a second listener");
  const spoofed = listener;
  listener = first;
  checkEqual(execRun("child-bus"), EX_OK, "exec");
  checkEqual(accept(WAIT_NS), DB_OK, "accept of a stranger");
  checkEqual(reply.body.takeU64(), fnv1a64Literal("child-bus"), "who connected");
  checkReceive(accepted, "from a stranger", "a stranger's message");
  checkEqual(send(accepted, "to a stranger"), DB_OK, "answer");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, 0, "cause");
  execDrop();
  strangerCode = waitCode;
  checkEqual(strangerCode >> 8 & 15, DB_OK, "a stranger's connect");
  checkEqual(strangerCode >> 12 & 15, DB_OK, "a stranger's send");
  checkEqual(strangerCode >> 16 & 15, DB_OK, "a stranger's receive");
  checkEqual(strangerCode >> 28, 0, "a stranger's steps");
  proven(M_SELFTEST_BUS_AUTH_OK);
  proof("bus denied");
  checkEqual(strangerCode & 15, DB_DENIED, "a listener without bus.listen");
  proven(M_SELFTEST_BUS_DENIED_OK);
  proof("bus spoof");
  checkEqual(strangerCode >> 4 & 15, DB_IDENTITY, "a connect in another's name");
  checkEqual(close(spoofed), DB_OK, "close of the second listener");
  proven(M_SELFTEST_BUS_SPOOF_REFUSED_OK);
  proof("bus foreign");
  checkEqual(strangerCode >> 20 & 15, DB_NOT_FOUND, "a message on the other side's id");
  checkEqual(strangerCode >> 24 & 15, DB_NOT_FOUND, "a message on a listener");
  checkEqual(receive(accepted ^ 1, 0), DB_NOT_FOUND, "a stranger's side read by us");
  proven(M_SELFTEST_BUS_FOREIGN_REFUSED_OK);
  proof("bus dead peer");
  checkEqual(receive(accepted, WAIT_NS), DB_PEER_DEAD, "the end of who did not close");
  checkEqual(receive(accepted, 0), DB_NOT_FOUND, "a session that is gone");
  checkEqual(statistic(DB_STATS_SESSIONS), 0, "sessions left");
  proven(M_SELFTEST_BUS_DEAD_PEER_OK);
}

function hold(n: u32): u32 {
  return load<u32>(held + (n << 2));
}

function provesLimits(): void {
  proof("bus limits");
  assert(SESSIONS <= DSOFTBUSD_BACKLOG_MAX && SESSIONS <= 8);
  for (let n: u32 = 0; n < SESSIONS; n++) {
    checkEqual(connect(), DB_PENDING, "a connect within the backlog");
    store<u32>(held + (n << 2), reply.body.takeU32());
  }
  for (let n: u32 = 0; n < SESSIONS; n++) {
    checkEqual(accept(0), DB_OK, "an accept within the limit");
    store<u32>(held + 32 + (n << 2), accepted);
  }
  checkEqual(connect(), DB_LIMIT, "one session more than an owner may hold");
  for (let n: u32 = 0; n < DSOFTBUSD_QUEUE_MESSAGES_MAX; n++) checkEqual(send(hold(0), "message"), DB_OK, "a message within the queue");
  checkEqual(send(hold(0), "message"), DB_FULL, "one message more than the queue holds");
  begin(DB_OP_SEND).putU32(hold(1)).reserve(DSOFTBUSD_MESSAGE_BYTES_MAX + 1);
  checkEqual(ask(), DB_TOO_LARGE, "one byte more than a message may have");
  begin(DB_OP_SEND).putU32(hold(1)).reserve(DSOFTBUSD_MESSAGE_BYTES_MAX);
  checkEqual(ask(), DB_OK, "a message of the most bytes");
  for (let n: u32 = 0; n < SESSIONS; n++) {
    checkEqual(close(hold(n)), DB_OK, "close of one side");
    checkEqual(close(hold(n + 8)), DB_OK, "close of the other");
  }
  proven(M_SELFTEST_BUS_LIMITS_OK);
}

function provesDeadline(): void {
  proof("bus deadline");
  checkEqual(connect(), DB_PENDING, "connect");
  const session = reply.body.takeU32();
  waitNs(DSOFTBUSD_HANDSHAKE_WAIT_NS + PRODUCERS_FLUSH_NS);
  checkEqual(send(session, "late"), DB_TIMEOUT, "a session that nobody accepted");
  checkEqual(send(session, "later"), DB_NOT_FOUND, "told once");
  checkEqual(accept(0), DB_EMPTY, "it is accepted by nobody");
  proven(M_SELFTEST_BUS_HANDSHAKE_DEADLINE_OK);
}

// The last value of a counter of dsoftbusd in logd, under its own id.
function wantCounter(name: string, value: u64): void {
  want().putText("kind=counter\nname=").putText(name).fieldHex("producer", SVC_DSOFTBUSD_ID);
  wanted.putText("\nseries=????????").fieldDecimal("value", value);
  findFitting(name);
}

function provesMetrics(): void {
  proof("bus metrics");
  const opened = 2 + SESSIONS;
  checkEqual(close(listener), DB_OK, "close of the listener");
  checkEqual(statistic(DB_STATS_LISTENERS) + statistic(DB_STATS_SESSIONS), 0, "what is left");
  checkEqual(statistic(DB_STATS_OPENED), opened, "sessions opened");
  checkEqual(statistic(DB_STATS_CLOSED), opened, "sessions closed");
  // A spoofed connect, one over the limit, one that nobody accepted.
  checkEqual(statistic(DB_STATS_REFUSED), 3, "sessions refused");
  const bytes = statistic(DB_STATS_BYTES);
  waitNs(PRODUCERS_FLUSH_NS);
  flush();
  wantCounter("dsoftbusd.session.opened", opened);
  wantCounter("dsoftbusd.session.closed", opened);
  wantCounter("dsoftbusd.session.refused", 3);
  wantCounter("dsoftbusd.bytes", bytes);
  want().fieldDecimal("count", opened).putText("\nkind=histogram\nname=dsoftbusd.handshake_ns").fieldHex("producer", SVC_DSOFTBUSD_ID);
  check(anyRecordHolds(SVC_METRICSD_ID), "dsoftbusd.handshake_ns");
  proven(M_SELFTEST_BUS_METRICS_OK);
}

/** Phase bus of the ladder, in the order of markers/85-bus.toml. */
export function bus_proofs(): void {
  beginExchange();
  provesLoopback();
  provesStranger();
  provesLimits();
  provesDeadline();
  provesMetrics();
}
