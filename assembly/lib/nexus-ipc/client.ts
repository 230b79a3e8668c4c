// SPDX-License-Identifier: Apache-2.0
// The client half of request and reply: begin a request, call with a deadline, check the reply through the shared decoder.
// Invariant: one request is in flight at a time (a service is one thread and `call` waits), so the buffers are static; a reply
// that does not match is refused and counted, never handed on. The kernel's one-shot reply capability already binds a reply to
// its call; the nonce binds it to the request inside a faulty or restarted peer.
// Limits: a frame of FRAME_BYTES_MAX; the wait is the caller's budget, at most limits.kernel wait_max_ns.
import { E_TIMEOUT } from "../../gen/errors";
import { KERNEL_WAIT_MAX_NS } from "../../gen/limits";
import { sys_call, sys_cap_close, sys_send, sys_time_ns } from "../../gen/syscalls";
import {
  FRAME_BYTES_MAX, Protocol, REPLY_LATE, REPLY_OK, REQUEST_TOO_LARGE, Reader, Writer, decodeReply, writeRequestHead,
} from "./frame";

const requestBuffer: usize = memory.data(8192, 16);
const replyBuffer: usize = memory.data(8192, 16);
const replyMeta: usize = memory.data(32, 8);
const requestWriter: Writer = changetype<Writer>(memory.data(16, 4));

/** The reply of the last successful callRequest; valid until the next beginRequest of this service. */
@unmanaged
export class Reply {
  /** What follows header, status and nonce. Inlined fields of a Reader. */
  bodyBase: usize;
  bodyLength: u32;
  bodyAt: u32;
  bodyBad: u32;
  /** Capability that came with the reply, or 0; the caller of callRequest owns it. */
  moved: u32;
  status: u32;

  get body(): Reader {
    return changetype<Reader>(changetype<usize>(this));
  }
  /** Kernel-stamped id of the service that replied. */
  get sender(): u64 {
    return load<u64>(replyMeta);
  }
}
export const reply: Reply = changetype<Reply>(memory.data(32, 8));

let protocolNow: Protocol = changetype<Protocol>(0);
let opNow: u8 = 0;
let nonceNow: u64 = 0;
let nonceNext: u64 = 1;
let mismatches: u64 = 0;
let timeouts: u64 = 0;

/** Replies that the shared decoder refused since start. */
export function replyMismatches(): u64 {
  return mismatches;
}
/** Calls whose deadline passed since start. */
export function callTimeouts(): u64 {
  return timeouts;
}

/** A nonce for a request of this service: 1, 2, 3, ... */
export function takeNonce(): u64 {
  const nonce = nonceNext;
  nonceNext = nonce + 1;
  return nonce;
}

/** Nonce of the request that beginRequest started last (as far as the protocol carries it). */
export function requestNonce(): u64 {
  return nonceNow;
}

/** Absolute deadline `budget_ns` from now, clamped to the kernel's longest wait. 0 stays 0: do not wait. */
export function deadlineIn(budget_ns: u64): u64 {
  if (budget_ns == 0) return 0;
  return <u64>sys_time_ns() + min<u64>(budget_ns, KERNEL_WAIT_MAX_NS);
}

/** Starts a request; put its body into the returned writer, then callRequest. Invalidates the last reply. */
export function beginRequest(protocol: Protocol, op: u8): Writer {
  protocolNow = protocol;
  opNow = op;
  nonceNow = takeNonce();
  return writeRequestHead(requestWriter.reset(requestBuffer, FRAME_BYTES_MAX), protocol, op, nonceNow);
}

/** Sends the request begun last over `handle` and waits at most `budget_ns` for its reply.
 *  Returns REPLY_OK (then read `reply`), a kernel error (-1 .. -16, abi/errors.toml), or REPLY_*, REQUEST_TOO_LARGE.
 *  A capability in `moved` stays with the caller on an error of the send. */
export function callRequest(handle: u32, budget_ns: u64, moved: u32 = 0): i32 {
  return callRequestUntil(handle, deadlineIn(budget_ns), moved);
}

/** callRequest with an absolute deadline (guest ns). */
export function callRequestUntil(handle: u32, deadline_ns: u64, moved: u32 = 0): i32 {
  reply.moved = 0;
  reply.status = 0;
  reply.body.reset(replyBuffer, 0);
  if (!requestWriter.ok) return REQUEST_TOO_LARGE;
  const length = sys_call(
    handle,
    <u32>requestBuffer,
    <u64>requestWriter.length | (<u64>moved << 32),
    <u64>replyBuffer | (<u64>FRAME_BYTES_MAX << 32),
    <u32>replyMeta,
    deadline_ns,
  );
  if (length < 0) {
    if (length == E_TIMEOUT) timeouts++;
    return <i32>length;
  }
  const movedBack = <u32>load<u64>(replyMeta + 16);
  let outcome = decodeReply(protocolNow, opNow, nonceNow, replyBuffer, <u32>length, reply.body);
  if (outcome == REPLY_OK && <u64>sys_time_ns() > deadline_ns) outcome = REPLY_LATE;
  if (outcome != REPLY_OK) {
    mismatches++;
    reply.body.reset(replyBuffer, 0);
    if (movedBack) sys_cap_close(movedBack);
    return outcome;
  }
  reply.status = load<u8>(replyBuffer + protocolNow.replyStatusOffset);
  reply.moved = movedBack;
  return REPLY_OK;
}

/** Sends the request begun last without waiting and without a reply (deadline 0): 0 or a kernel error.
 *  With `moved` = a SEND capability to a reply endpoint the peer answers there. On an error the capability stays here. */
export function sendRequest(handle: u32, moved: u32 = 0): i32 {
  if (!requestWriter.ok) return REQUEST_TOO_LARGE;
  return <i32>sys_send(handle, <u32>requestBuffer, <u64>requestWriter.length | (<u64>moved << 32), 0);
}
