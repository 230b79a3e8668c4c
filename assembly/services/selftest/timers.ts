// SPDX-License-Identifier: Apache-2.0
// Proofs of timed: timers fire into an endpoint of ours and sleepers wake, not before they are due; deadlines of one
// window fire in one wake; what fired is gone, its id and its place, and what a full endpoint does not take is counted
// as missed.
import { KERNEL_ENDPOINT_DEPTH_MAX, TIMED_OWNER_TIMERS_MAX } from "../../gen/limits";
import {
  M_SELFTEST_TIMERS_COALESCE_OK, M_SELFTEST_TIMERS_EXPIRE_OK, M_SELFTEST_TIMERS_FIRE_OK,
} from "../../gen/markers";
import { SVC_TIMED_ID } from "../../gen/services";
import { sys_cap_clone, sys_endpoint_create, sys_recv, sys_time_ns } from "../../gen/syscalls";
import {
  KIND_REQUEST, NONCE_OFFSET, REPLY_OK, Reader, Route, TM, beginRequest, callRequest, reply, requestKind, requestNonce,
} from "../../lib/nexus-ipc/index";
import {
  TM_INVALID_ARGS, TM_NOT_FOUND, TM_OK, TM_OP_CANCEL, TM_OP_FIRED, TM_OP_REGISTER, TM_OP_SLEEP_UNTIL, TM_OP_STATS,
  TM_OVER_LIMIT, TM_QOS_IDLE, TM_QOS_INTERACTIVE, TM_QOS_NORMAL, TM_QOS_PERF_BURST, TM_WINDOW_IDLE_NS,
  TM_WINDOW_INTERACTIVE_NS, TM_WINDOW_NORMAL_NS,
} from "../../lib/wire/timed";
import { check, checkDone, checkEqual, proof, proven, waitNs } from "./lib";

const BUDGET_NS: u64 = 5_000_000_000;
const MS: u64 = 1_000_000;
const RIGHT_SEND: u32 = 1;
const timed: Route = changetype<Route>(memory.data(8, 4));
const frame: usize = memory.data(64, 8);
const meta: usize = memory.data(32, 8);
const fire: Reader = changetype<Reader>(memory.data(16, 4));
let endpoint: u32 = 0;

// Of the last register.
let timerId: u32 = 0;
let timerNonce: u64 = 0;
let timerDue_ns: u64 = 0;
// Of the last takeFire.
let fireId: u32 = 0;
let fireNonce: u64 = 0;
let fireDue_ns: u64 = 0;
let fireAt_ns: u64 = 0;

// Sends the request begun last. The route is resolved before the first one begins: a lookup is a request of its own.
function ask(moved: u32): i32 {
  const outcome = callRequest(timed.handle, BUDGET_NS, moved);
  return outcome != REPLY_OK ? outcome : <i32>reply.status;
}

// REGISTER: timed's status, or a negative error. `way` is the capability to move, 0 for the one that timed has.
function register(qos: u8, deadline_ns: u64, way: u32 = 0): i32 {
  beginRequest(TM, TM_OP_REGISTER).putU8(qos).putU8(0).putU64(deadline_ns);
  timerNonce = requestNonce();
  const status = ask(way);
  if (status != TM_OK) return status;
  timerId = reply.body.takeU32();
  timerDue_ns = reply.body.takeU64();
  return reply.body.finished ? status : -1;
}

function cancel(id: u32): i32 {
  beginRequest(TM, TM_OP_CANCEL).putU32(id);
  return ask(0);
}

// A word of STATS: index 0 live, 1 owners, 2 registered, 3 fired, 4 missed, 5 cancelled, 6 wakes; -1 when not to be
// had.
const FIRED: u32 = 3;
const MISSED: u32 = 4;
const WAKES: u32 = 6;
function statistic(index: u32): i64 {
  beginRequest(TM, TM_OP_STATS);
  if (ask(0) != TM_OK) return -1;
  const live = reply.body.takeU32();
  const owners = reply.body.takeU32();
  if (index < 2) return index == 0 ? live : owners;
  reply.body.takeBytes((index - 2) << 3);
  const value = <i64>reply.body.takeU64();
  return reply.body.ok ? value : -1;
}

// The next fire until `until_ns`; false when none came or it is not one of timed's.
function takeFire(until_ns: u64): bool {
  const length = sys_recv(endpoint, <u64>frame | (<u64>64 << 32), <u32>meta, until_ns, 0);
  if (length < 0 || load<u64>(meta) != SVC_TIMED_ID) return false;
  if (requestKind(TM, frame, <u32>length) != KIND_REQUEST || load<u8>(frame, 3) != TM_OP_FIRED) return false;
  fireNonce = load<u32>(frame, NONCE_OFFSET);
  const head = TM.requestHeadBytes;
  fire.reset(frame + head, <u32>length - head);
  fireId = fire.takeU32();
  fireDue_ns = fire.takeU64();
  fireAt_ns = fire.takeU64();
  return fire.finished;
}

function provesFire(): void {
  proof("timers fire");
  if (!checkDone(timed.resolve("timed"), "route")) return;
  checkEqual(register(TM_QOS_PERF_BURST, <u64>sys_time_ns() + MS), TM_INVALID_ARGS, "no capability yet");
  endpoint = <u32>sys_endpoint_create(KERNEL_ENDPOINT_DEPTH_MAX);
  const way = <u32>sys_cap_clone(endpoint, RIGHT_SEND);
  const due_ns = <u64>sys_time_ns() + 5 * MS;
  checkEqual(register(TM_QOS_PERF_BURST, due_ns, way), TM_OK, "register");
  checkEqual(timerDue_ns, due_ns, "perf burst is not rounded");
  check(!takeFire(due_ns - MS), "fired early");
  check(takeFire(due_ns + 50 * MS), "did not fire");
  checkEqual(fireId, timerId, "id");
  checkEqual(fireNonce, timerNonce & 0xffffffff, "nonce");
  checkEqual(fireDue_ns, due_ns, "deadline in the fire");
  check(fireAt_ns >= due_ns && <u64>sys_time_ns() >= fireAt_ns, "time in the fire");

  const wake_ns = <u64>sys_time_ns() + 5 * MS;
  beginRequest(TM, TM_OP_SLEEP_UNTIL).putU8(TM_QOS_PERF_BURST).putU8(0).putU64(wake_ns);
  checkEqual(ask(0), TM_OK, "sleep");
  check(reply.body.takeU64() >= wake_ns && reply.body.finished, "woken early by its own word");
  check(<u64>sys_time_ns() >= wake_ns, "woken early");
  beginRequest(TM, TM_OP_SLEEP_UNTIL).putU8(TM_QOS_PERF_BURST).putU8(0).putU64(<u64>sys_time_ns() + 2100 * MS);
  checkEqual(ask(0), TM_INVALID_ARGS, "a sleep of more than 2 s");
  proven(M_SELFTEST_TIMERS_FIRE_OK);
}

function rounded(qos: u8, window_ns: u64): void {
  const asked_ns = <u64>sys_time_ns() + 5 * MS + 1;
  checkEqual(register(qos, asked_ns), TM_OK, "register");
  check(timerDue_ns % window_ns == 0, "not a multiple of the window");
  check(timerDue_ns >= asked_ns && timerDue_ns - asked_ns < window_ns, "not the next multiple");
  check(takeFire(timerDue_ns + 50 * MS), "did not fire");
}

function provesCoalesce(): void {
  proof("timers coalesce");
  rounded(TM_QOS_INTERACTIVE, TM_WINDOW_INTERACTIVE_NS);
  rounded(TM_QOS_NORMAL, TM_WINDOW_NORMAL_NS);
  rounded(TM_QOS_IDLE, TM_WINDOW_IDLE_NS);
  const fired = statistic(FIRED);
  const wakes = statistic(WAKES);
  // The window after next, so that it lies ahead while all four are registered.
  const window_ns = ((<u64>sys_time_ns() / TM_WINDOW_IDLE_NS) + 2) * TM_WINDOW_IDLE_NS;
  for (let i: u64 = 0; i < 4; i++) {
    checkEqual(register(TM_QOS_IDLE, window_ns + 4 * MS - i * MS), TM_OK, "register four");
  }
  for (let i = 0; i < 4; i++) {
    check(takeFire(window_ns + TM_WINDOW_IDLE_NS + 50 * MS), "one of four did not fire");
    checkEqual(fireDue_ns, window_ns + TM_WINDOW_IDLE_NS, "common deadline");
  }
  checkEqual(statistic(FIRED) - fired, 4, "fires");
  checkEqual(statistic(WAKES) - wakes, 1, "wakes for four timers");
  proven(M_SELFTEST_TIMERS_COALESCE_OK);
}

function provesExpire(): void {
  proof("timers expire");
  checkEqual(statistic(0), 0, "live before");
  const due_ns = <u64>sys_time_ns() + 100 * MS;
  let first: u32 = 0;
  // Later deadlines first: they must come out in the order of their deadlines.
  for (let i: u32 = 0; i < TIMED_OWNER_TIMERS_MAX; i++) {
    checkEqual(register(TM_QOS_PERF_BURST, due_ns + TIMED_OWNER_TIMERS_MAX - i), TM_OK, "register up to the cap");
    if (i == 0) first = timerId;
  }
  checkEqual(register(TM_QOS_PERF_BURST, due_ns), TM_OVER_LIMIT, "one over the cap");
  waitNs(<u64>due_ns + 10 * MS - <u64>sys_time_ns());
  checkEqual(statistic(0), 0, "live after");
  // The endpoint is full of fires that nobody took: the next one is missed, and counted.
  const missed = statistic(MISSED);
  checkEqual(register(TM_QOS_PERF_BURST, <u64>sys_time_ns() + MS), TM_OK, "register again");
  waitNs(10 * MS);
  checkEqual(statistic(MISSED) - missed, 1, "missed");
  let order_ns: u64 = 0;
  for (let i: u32 = 0; i < TIMED_OWNER_TIMERS_MAX; i++) {
    if (!check(takeFire(<u64>sys_time_ns() + MS), "a fire is missing")) return;
    check(fireDue_ns > order_ns, "fires out of order");
    order_ns = fireDue_ns;
  }
  checkEqual(fireId, first, "the first registered fires last");
  checkEqual(cancel(first), TM_NOT_FOUND, "cancel after the fire");
  checkEqual(register(TM_QOS_PERF_BURST, <u64>sys_time_ns() + 100 * MS), TM_OK, "register to cancel");
  checkEqual(cancel(timerId), TM_OK, "cancel");
  checkEqual(cancel(timerId), TM_NOT_FOUND, "cancel again");
  checkEqual(statistic(0), 0, "live at the end");
  proven(M_SELFTEST_TIMERS_EXPIRE_OK);
}

/** The timer lines of markers/20-mmio.toml, in order. */
export function timer_proofs(): void {
  provesFire();
  provesCoalesce();
  provesExpire();
}
