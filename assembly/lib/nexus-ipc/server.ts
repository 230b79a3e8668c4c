// SPDX-License-Identifier: Apache-2.0
// The dispatcher: the one receive loop of every service. It checks each frame's head, routes by op, answers bad frames with the
// protocol's own status and the echoed nonce, and answers init-lite's PING (docs/architecture.md, start-up).
// Invariant: a handler runs to its end and never waits for its client; a reply is one-shot (reply_recv) or, where the request
// moved a SEND capability instead of being a call, one send with deadline 0. Losses are counted. A capability that a handler
// does not take is closed, so no slot leaks.
// Limits: ops 0..63, frames of FRAME_BYTES_MAX, a receive waits at most half of limits.kernel wait_max_ns.
import { E_NO_SLOT, E_TIMEOUT } from "../../gen/errors";
import { IPC_RETRY_MAX, KERNEL_WAIT_MAX_NS } from "../../gen/limits";
import { SVC_INIT_LITE_ID } from "../../gen/services";
import { SLOT_SELF } from "../../gen/slots";
import {
  sys_cap_close, sys_counter, sys_recv, sys_reply, sys_reply_recv, sys_send, sys_time_ns, sys_yield,
} from "../../gen/syscalls";
import {
  FRAME_BYTES_MAX, IN, IN_PING, KIND_FOREIGN, KIND_REQUEST, KIND_SHORT, KIND_VERSION, Protocol, Reader, Writer, loadNonce,
  requestKind, writeReplyHead, NONCE_OFFSET,
} from "./frame";
import { SenderId } from "./types";

const OPS_MAX: u32 = 64;
const COUNTER_OWN_GENERATION: u32 = 7;
const receiveBuffer: usize = memory.data(8192, 16);
const answerBuffer: usize = memory.data(8192, 16);
const meta: usize = memory.data(32, 8);
const handlers: usize = memory.data(256, 4);
const initHandlers: usize = memory.data(256, 4);
const answerWriter: Writer = changetype<Writer>(memory.data(16, 4));

/** The request being handled; static, valid until its handler returns. */
@unmanaged
export class Request {
  bodyBase: usize;
  bodyLength: u32;
  bodyAt: u32;
  bodyBad: u32;
  op: u32;
  /** Capability that came with the request, or 0. Take it with takeMoved; an untaken one is closed. */
  moved: u32;
  /** One-shot reply handle, or 0 when the request was a send. */
  replyHandle: u32;
  /** Rights of the handle that the sender used (the kernel's badge). */
  badge: u32;
  nonce: u64;
  protocol: Protocol;
  answered: u32;
  /** Capability to move with the answer, or 0. */
  answerMoved: u32;
  frameLength: u32;

  /** What follows the nonce. */
  get body(): Reader {
    return changetype<Reader>(changetype<usize>(this));
  }
  /** Kernel-stamped identity of the sender. */
  get sender(): SenderId {
    return SenderId.at(meta);
  }
  /** Begins the answer: header, status and echoed nonce are written; the body follows with puts. */
  answer(status: u8): Writer {
    this.answered = 1;
    return writeReplyHead(
      answerWriter.reset(answerBuffer, FRAME_BYTES_MAX), this.protocol, <u8>this.op, status, this.nonce,
    );
  }
  /** The answer begun last, for what is put after answerPull. */
  get writer(): Writer {
    return answerWriter;
  }
  /** The same with a capability that moves with the answer; on a lost answer the dispatcher closes it. */
  answerWith(status: u8, capability: u32): Writer {
    this.answerMoved = capability;
    return this.answer(status);
  }
  /** Hands the moved capability to the handler, which must close it in the end. */
  takeMoved(): u32 {
    const handle = this.moved;
    this.moved = 0;
    return handle;
  }
  /** Postpones the answer of a call: returns its reply handle for answerLater, 0 when the request was a send. */
  defer(): u32 {
    const handle = this.replyHandle;
    this.replyHandle = 0;
    this.answered = 1;
    answerWriter.reset(answerBuffer, 0);
    return handle;
  }
}
const request: Request = changetype<Request>(memory.data(80, 8));

let protocolServed: Protocol = changetype<Protocol>(0);
let protocolAlso: Protocol = changetype<Protocol>(0);
let statusMalformed: u8 = 0;
let statusUnsupported: u8 = 0;
let answersLost: u64 = 0;
let framesRefused: u64 = 0;
let readyPrinted: bool = false;
let notifyHandler: usize = 0;
let tickHandler: usize = 0;
let tickPeriod_ns: u64 = 0;
let tickNext_ns: u64 = 0;
/** In place of the next tick: the idle handler is wanted, and the receive does not wait. */
const IDLE_NS: u64 = 1;
let idleHandler: usize = 0;
/** The next tick while tickNext_ns says IDLE_NS. */
let tickBehind_ns: u64 = 0;
let receiveFlags: u32 = 0;
let requestEndHandler: usize = 0;
let refuseHandler: usize = 0;

/** Answers that could not be delivered (client gone, queue full): each was dropped at once. */
export function serverAnswersLost(): u64 {
  return answersLost;
}
/** Frames refused before any handler: bad head, unknown op. */
export function serverFramesRefused(): u64 {
  return framesRefused;
}

/** Routes `op` of the served protocol to `handler`. */
export function serverRoute(op: u8, handler: (request: Request) => void): void {
  assert(op < OPS_MAX);
  store<usize>(handlers + (<usize>op << 2), changetype<usize>(handler));
}
/** Accepts a second version of the served protocol too (same magic and nonce size); handlers see it in `protocol`. */
export function serverAlsoServes(protocol: Protocol): void {
  protocolAlso = protocol;
}
/** Routes an op of init-lite's protocol (other than PING), accepted from init-lite alone. */
export function serverRouteInit(op: u8, handler: (request: Request) => void): void {
  assert(op < OPS_MAX && op != IN_PING);
  store<usize>(initHandlers + (<usize>op << 2), changetype<usize>(handler));
}
/** `handler` gets the notification bits (1: device interrupt, 2: a child ended). */
export function serverOnNotify(handler: (bits: u64) => void): void {
  notifyHandler = changetype<usize>(handler);
}
/** `handler` runs between requests once `period_ns` has passed; period 0 stops it. It may call serverTickAt. */
export function serverOnTick(handler: () => void, period_ns: u64): void {
  tickHandler = changetype<usize>(handler);
  tickPeriod_ns = period_ns;
  tickNext_ns = period_ns ? <u64>sys_time_ns() + period_ns : 0;
}
/** Sets the next tick to an absolute guest time (ns), at once where that has passed; 0: none. */
export function serverTickAt(time_ns: u64): void {
  if (time_ns == IDLE_NS) time_ns++;
  if (tickNext_ns == IDLE_NS) tickBehind_ns = time_ns;
  else tickNext_ns = time_ns;
}
/** `handler` runs once after each serverIdleSoon, as soon as no request waits in the queue. */
export function serverOnIdle(handler: () => void): void {
  idleHandler = changetype<usize>(handler);
}
/** Asks for the idle handler. Costs nothing where it is not used: it stands in for the next tick until it ran. */
export function serverIdleSoon(): void {
  if (tickNext_ns == IDLE_NS) return;
  tickBehind_ns = tickNext_ns;
  tickNext_ns = IDLE_NS;
}
/** `handler` runs after each request's handler and before its answer leaves: nexus-metrics ends open spans there. */
export function serverOnRequestEnd(handler: () => void): void {
  requestEndHandler = changetype<usize>(handler);
}
/** `handler` sees each frame that no op handler got (bad head, unknown op) and returns the status to answer with. */
export function serverOnRefuse(handler: (request: Request, status: u8) => u8): void {
  refuseHandler = changetype<usize>(handler);
}
/** Sets the receive flags (bit 0: host_pending). */
export function serverReceiveFlags(flags: u32): void {
  receiveFlags = flags;
}

/** Answers a deferred call; the body is complete in `writer` (begun with beginAnswerLater). False when the client is gone. */
export function answerLater(replyHandle: u32, writer: Writer, moved: u32 = 0): bool {
  if (writer.ok) {
    if (sys_reply(replyHandle, <u32>writer.base, <u64>writer.length | (<u64>moved << 32)) >= 0) return true;
  }
  answersLost++;
  if (moved) sys_cap_close(moved);
  return false;
}
const laterWriter: Writer = changetype<Writer>(memory.data(16, 4));
const laterBuffer: usize = memory.data(512, 16);
/** Begins a deferred answer of at most 512 bytes; keep protocol, op and nonce of the request for it. */
export function beginAnswerLater(protocol: Protocol, op: u8, status: u8, nonce: u64): Writer {
  return writeReplyHead(laterWriter.reset(laterBuffer, 512), protocol, op, status, nonce);
}

/** The endless loop. `malformed` and `unsupported` are the protocol's statuses for frames that no handler sees.
 *  `onPing` performs the service's own evidence and returns whether it holds; `onReady` prints its ready marker and is called
 *  once, in generation 1 only, after onPing returned true and before the PING is answered. */
export function serve(
  protocol: Protocol,
  malformed: u8,
  unsupported: u8,
  onPing: () => bool,
  onReady: () => void,
  endpoint: u32 = SLOT_SELF,
): void {
  protocolServed = protocol;
  statusMalformed = malformed;
  statusUnsupported = unsupported;
  let replyTo: u32 = 0;
  let refusals: u32 = 0;
  for (;;) {
    const length = receive(replyTo, endpoint);
    replyTo = 0;
    if (length < 0) {
      if (length != E_TIMEOUT) {
        // no_slot: the queue's head moves a capability that has no room. Bounded: then fail closed and be restarted.
        assert(length == E_NO_SLOT && refusals < IPC_RETRY_MAX);
        refusals++;
        sys_yield();
      } else if (tickNext_ns == IDLE_NS) {
        tickNext_ns = tickBehind_ns;
        changetype<() => void>(idleHandler)();
      }
      runTick();
      continue;
    }
    refusals = 0;
    const bits = load<u64>(meta + 24);
    if (bits != 0) {
      if (notifyHandler) changetype<(bits: u64) => void>(notifyHandler)(bits);
      runTick();
      continue;
    }
    dispatch(<u32>length, onPing, onReady);
    if (requestEndHandler) changetype<() => void>(requestEndHandler)();
    replyTo = deliver();
    if (tickNext_ns != 0) runTick();
  }
}

/** One trap for both where no receive flag is set: reply_recv has no room for flags. */
function receive(replyTo: u32, endpoint: u32): i64 {
  const buffer = <u64>receiveBuffer | (<u64>FRAME_BYTES_MAX << 32);
  if (receiveFlags == 0) {
    const answer = replyTo ? answerWriter.length : 0;
    const handles = <u64>replyTo | (<u64>endpoint << 32);
    return sys_reply_recv(handles, <u32>answerBuffer, answer, buffer, <u32>meta, receiveDeadline());
  }
  if (replyTo) {
    if (sys_reply(replyTo, <u32>answerBuffer, answerWriter.length) < 0) answersLost++;
  }
  return sys_recv(endpoint, buffer, <u32>meta, receiveDeadline(), receiveFlags);
}

function receiveDeadline(): u64 {
  const farthest = <u64>sys_time_ns() + KERNEL_WAIT_MAX_NS / 2;
  return tickNext_ns != 0 && tickNext_ns < farthest ? tickNext_ns : farthest;
}

function runTick(): void {
  if (tickNext_ns == 0 || tickHandler == 0) return;
  const now_ns = <u64>sys_time_ns();
  if (now_ns < tickNext_ns) return;
  if (tickNext_ns == IDLE_NS) {
    if (tickBehind_ns == 0 || now_ns < tickBehind_ns) return;
    tickBehind_ns = tickPeriod_ns ? now_ns + tickPeriod_ns : 0;
  } else {
    tickNext_ns = tickPeriod_ns ? now_ns + tickPeriod_ns : 0;
  }
  changetype<() => void>(tickHandler)();
}

/** Runs the handler of the frame in receiveBuffer. */
function dispatch(length: u32, onPing: () => bool, onReady: () => void): void {
  request.replyHandle = <u32>load<u64>(meta + 8);
  request.moved = load<u32>(meta + 16);
  request.badge = load<u32>(meta + 20);
  request.answered = 0;
  request.answerMoved = 0;
  request.frameLength = length;
  request.protocol = protocolServed;
  let kind = requestKind(protocolServed, receiveBuffer, length);
  if (kind == KIND_VERSION && protocolAlso.bits != 0 && requestKind(protocolAlso, receiveBuffer, length) == KIND_REQUEST) {
    request.protocol = protocolAlso;
    kind = KIND_REQUEST;
  }
  if (kind == KIND_REQUEST) {
    const head = protocolServed.requestHeadBytes;
    request.nonce = loadNonce(receiveBuffer + NONCE_OFFSET, protocolServed.nonceBytes);
    request.op = load<u8>(receiveBuffer + 3);
    request.body.reset(receiveBuffer + head, length - head);
    if (request.op < OPS_MAX) {
      const handler = load<usize>(handlers + (<usize>request.op << 2));
      if (handler) return changetype<(request: Request) => void>(handler)(request);
    }
    return refuse(statusUnsupported);
  }
  if (kind == KIND_FOREIGN && dispatchInit(length, onPing, onReady)) return;
  request.nonce = 0;
  request.op = kind == KIND_SHORT ? 0 : load<u8>(receiveBuffer + 3);
  if (kind == KIND_VERSION && length >= protocolServed.requestHeadBytes) {
    request.nonce = loadNonce(receiveBuffer + NONCE_OFFSET, protocolServed.nonceBytes);
  }
  refuse(kind == KIND_VERSION ? statusUnsupported : statusMalformed);
}

function refuse(status: u8): void {
  framesRefused++;
  if (refuseHandler) status = changetype<(request: Request, status: u8) => u8>(refuseHandler)(request, status);
  request.answer(status);
}

/** init-lite's protocol, from init-lite alone. Returns false when the frame is not its. */
function dispatchInit(length: u32, onPing: () => bool, onReady: () => void): bool {
  if (requestKind(IN, receiveBuffer, length) != KIND_REQUEST) return false;
  if (request.sender.value != SVC_INIT_LITE_ID) return false;
  request.protocol = IN;
  request.nonce = loadNonce(receiveBuffer + NONCE_OFFSET, IN.nonceBytes);
  request.op = load<u8>(receiveBuffer + 3);
  request.body.reset(receiveBuffer + IN.requestHeadBytes, length - IN.requestHeadBytes);
  if (request.op == IN_PING) {
    const held = onPing();
    if (held && !readyPrinted) {
      readyPrinted = true;
      if (sys_counter(COUNTER_OWN_GENERATION) == 1) onReady();
    }
    request.answer(held ? 0 : 1);
    return true;
  }
  if (request.op < OPS_MAX) {
    const handler = load<usize>(initHandlers + (<usize>request.op << 2));
    if (handler) {
      changetype<(request: Request) => void>(handler)(request);
      return true;
    }
  }
  return false;
}

/** Delivers the handler's answer where reply_recv cannot; returns the reply handle for reply_recv, or 0. */
function deliver(): u32 {
  if (request.replyHandle != 0) {
    if (!request.answered) refuse(statusMalformed);
    if (!answerWriter.ok) {
      // An answer over the message limit is a fault of this service: say so, do not cut it.
      answersLost++;
      if (request.answerMoved) sys_cap_close(request.answerMoved);
      request.answerMoved = 0;
      request.answer(statusMalformed);
    }
    if (request.moved) sys_cap_close(request.takeMoved());
    if (request.answerMoved == 0) return request.replyHandle;
    const word = <u64>answerWriter.length | (<u64>request.answerMoved << 32);
    if (sys_reply(request.replyHandle, <u32>answerBuffer, word) < 0) {
      answersLost++;
      sys_cap_close(request.answerMoved);
    }
    return 0;
  }
  const path = request.takeMoved();
  if (path == 0) {
    if (request.answerMoved) sys_cap_close(request.answerMoved);
    return 0;
  }
  // The request was a send: the moved capability is the way back. One try that never waits.
  if (request.answered && answerWriter.ok && answerWriter.capacity != 0) {
    const word = <u64>answerWriter.length | (<u64>request.answerMoved << 32);
    if (sys_send(path, <u32>answerBuffer, word, 0) < 0) {
      answersLost++;
      if (request.answerMoved) sys_cap_close(request.answerMoved);
    }
  } else if (request.answerMoved) {
    sys_cap_close(request.answerMoved);
  }
  sys_cap_close(path);
  return 0;
}
