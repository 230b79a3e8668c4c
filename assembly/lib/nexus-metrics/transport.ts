// SPDX-License-Identifier: Apache-2.0
// How a producer's frames reach metricsd: by call where the manifest declares the edge, else by a message that never waits and
// moves a SEND capability to a reply endpoint of our own.
//
// Invariant: which of the two is found out by trying the call once (not_declared), never assumed. At most reply_depth requests
// are unanswered, so the reply endpoint cannot overflow. A moved capability whose send failed is closed again.
// Limits: limits.metrics_client; a call waits call_budget_ns, a reply that does not come within reply_wait_flushes_max flushes is
// given up and reported to the owner of the request as MT_NO_ANSWER.
import { E_NOT_DECLARED } from "../../gen/errors";
import {
  METRICS_CLIENT_CALL_BUDGET_NS, METRICS_CLIENT_REPLY_DEPTH, METRICS_CLIENT_REPLY_WAIT_FLUSHES_MAX,
} from "../../gen/limits";
import { sys_cap_clone, sys_cap_close, sys_endpoint_create, sys_recv } from "../../gen/syscalls";
import { callRequest, reply, requestNonce, sendRequest } from "../nexus-ipc/client";
import { MT, REPLY_OK, Reader, decodeReply } from "../nexus-ipc/frame";
import { Route } from "../nexus-ipc/resolve";

const RIGHT_SEND: u32 = 1;
const REPLY_BYTES_MAX: u32 = 64;
const MODE_UNKNOWN: u32 = 0;
const MODE_CALL: u32 = 1;
const MODE_SEND: u32 = 2;

/** transmit: the status is in answerStatus, the reply's body in answerBody. */
export const SENT_ANSWERED: i32 = 0;
/** transmit: the answer comes later through drain. */
export const SENT_WAITING: i32 = 1;
/** No status of the wire: the answer never came. */
export const MT_NO_ANSWER: u32 = 255;

let mode: u32 = MODE_UNKNOWN;
let handle: u32 = 0;
let replyEndpoint: u32 = 0;
let waiting: u32 = 0;
let strays: u64 = 0;
const route: Route = changetype<Route>(memory.data(8, 4));
// Unanswered requests: {nonce u32, op u8, age u8, u16, tag u32, 0 u32}.
const asked: usize = memory.data(METRICS_CLIENT_REPLY_DEPTH * 16, 4);
const replyBuffer: usize = memory.data(64, 8);
const meta: usize = memory.data(32, 8);
const body: Reader = changetype<Reader>(memory.data(16, 4));

export let answerStatus: u32 = 0;
export let answerBody: Reader = body;

/** Sets the capability to metricsd; 0: none yet, everything waits. */
export function transportConnect(metricsd: u32): void {
  handle = metricsd;
}
export function transportReady(): bool {
  return handle != 0;
}
/** Requests whose answer is awaited. */
export function transportWaiting(): u32 {
  return waiting;
}
/** Whether one more request may be sent. */
export function transportFree(): bool {
  return mode != MODE_SEND || waiting < METRICS_CLIENT_REPLY_DEPTH;
}
/** Answers that matched no request (late ones). */
export function transportStrays(): u64 {
  return strays;
}

/** metricsd ended: take a fresh capability from samgrd where this service may ask it. True when there is one. */
export function transportReconnect(): bool {
  route.drop();
  const fresh = route.resolve("metricsd");
  if (fresh < 0) return false;
  handle = <u32>fresh;
  return true;
}

/** Sends the request begun last. SENT_ANSWERED, SENT_WAITING, or a negative error (nothing was sent). */
export function transmit(op: u8, tag: u32): i32 {
  if (mode != MODE_SEND) {
    const outcome = callRequest(handle, METRICS_CLIENT_CALL_BUDGET_NS);
    if (outcome == REPLY_OK) {
      mode = MODE_CALL;
      if (reply.moved) sys_cap_close(reply.moved);
      answerStatus = reply.status;
      answerBody = reply.body;
      return SENT_ANSWERED;
    }
    if (outcome != <i32>E_NOT_DECLARED) return outcome;
    mode = MODE_SEND;
  }
  if (replyEndpoint == 0) {
    const made = sys_endpoint_create(METRICS_CLIENT_REPLY_DEPTH);
    if (made < 0) return <i32>made;
    replyEndpoint = <u32>made;
  }
  const way = sys_cap_clone(replyEndpoint, RIGHT_SEND);
  if (way < 0) return <i32>way;
  const outcome = sendRequest(handle, <u32>way);
  if (outcome < 0) {
    sys_cap_close(<u32>way);
    return outcome;
  }
  for (let i: u32 = 0; i < METRICS_CLIENT_REPLY_DEPTH; i++) {
    const entry = asked + (i << 4);
    if (load<u8>(entry, 4)) continue;
    store<u32>(entry, <u32>requestNonce());
    store<u8>(entry, op, 4);
    store<u8>(entry, 0, 5);
    store<u32>(entry, tag, 8);
    waiting += 1;
    break;
  }
  return SENT_WAITING;
}

/** Takes what was answered since the last flush and gives each to `onAnswer(op, tag, status)`; gives up on what is too old. */
export function drain(onAnswer: (op: u8, tag: u32, status: u32) => void): void {
  if (waiting == 0) return;
  const room = <u64>replyBuffer | (<u64>REPLY_BYTES_MAX << 32);
  for (let taken: u32 = 0; taken < METRICS_CLIENT_REPLY_DEPTH; taken++) {
    const length = sys_recv(replyEndpoint, room, <u32>meta, 0, 0);
    if (length < 0) break;
    const moved = load<u32>(meta + 16);
    if (moved) sys_cap_close(moved);
    if (!accept(<u32>length, onAnswer)) strays += 1;
  }
  for (let i: u32 = 0; i < METRICS_CLIENT_REPLY_DEPTH; i++) {
    const entry = asked + (i << 4);
    const op = load<u8>(entry, 4);
    if (op == 0) continue;
    const age = <u32>load<u8>(entry, 5) + 1;
    store<u8>(entry, <u8>age, 5);
    if (age <= METRICS_CLIENT_REPLY_WAIT_FLUSHES_MAX) continue;
    store<u8>(entry, 0, 4);
    waiting -= 1;
    onAnswer(op, load<u32>(entry, 8), MT_NO_ANSWER);
  }
}

function accept(length: u32, onAnswer: (op: u8, tag: u32, status: u32) => void): bool {
  for (let i: u32 = 0; i < METRICS_CLIENT_REPLY_DEPTH; i++) {
    const entry = asked + (i << 4);
    const op = load<u8>(entry, 4);
    if (op == 0) continue;
    if (decodeReply(MT, op, <u64>load<u32>(entry), replyBuffer, length, body) != REPLY_OK) continue;
    store<u8>(entry, 0, 4);
    waiting -= 1;
    answerBody = body;
    onAnswer(op, load<u32>(entry, 8), <u32>load<u8>(replyBuffer + MT.replyStatusOffset));
    return true;
  }
  return false;
}
