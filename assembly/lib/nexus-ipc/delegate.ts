// SPDX-License-Identifier: Apache-2.0
// Decisions of policyd: how an enforcing service asks whether a subject holds a capability (delegated check, PO v2 op 5), and
// whether a requester may send to a target or have an image run (ROUTE and EXEC, PO v3 ops 2 and 3).
// Invariant: only a well-formed reply that came in time, with the right nonce and status ALLOW, allows. Silence, lateness, a
// wrong nonce, a short or long frame, another op or status, a dead or missing policyd: all deny, and the reason is kept.
// Layout: nonce u32, subject u64, cap_len u8, cap; or nonce u32, requester u64, target u64. Reply, exactly 10 bytes: nonce
// u32, status u8, 0 u8.
// Limits: capability names of 1 to 48 bytes; DELEGATE_BUDGET_NS for the whole check, measured by our own clock too.
import { MUT_DELEGATE_NEVER_RESOLVES_AGAIN, mutant } from "../../gen/mutants";
import { IPC_DELEGATE_WAIT_NS } from "../../gen/limits";
import { SLOT_POLICYD } from "../../gen/slots";
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { sys_cap_close, sys_time_ns } from "../../gen/syscalls";
import { beginRequest, callRequestUntil, deadlineIn, reply, requestNonce } from "./client";
import { PO, PO3, Protocol, REPLY_LATE, REPLY_OK, Reader, decodeReply } from "./frame";
import { PO_ALLOW, PO_DENY, PO_OP_CHECK_CAP_DELEGATED } from "../wire/policyd";
import { lookup } from "./resolve";
import { SenderId } from "./types";

export { PO_OP_EXEC as PO_EXEC, PO_OP_ROUTE as PO_ROUTE } from "../wire/policyd";
export const CAPABILITY_BYTES_MAX: u32 = 48;
export const DELEGATE_BUDGET_NS: u64 = IPC_DELEGATE_WAIT_NS;

/** Why the last check denied, beside the kernel's errors and REPLY_*. */
export const DELEGATE_ALLOWED: i32 = 0;
export const DELEGATE_DENIED: i32 = -130;
export const DELEGATE_LENGTH: i32 = -131;
export const DELEGATE_STATUS: i32 = -132;
export const DELEGATE_NAME: i32 = -133;

const decisionBody: Reader = changetype<Reader>(memory.data(16, 4));
let reasonLast: i32 = DELEGATE_DENIED;
let failures: u64 = 0;
/** policyd as last resolved; the slot that init-lite filled until its policyd ends. */
let policydNow: u32 = SLOT_POLICYD;

/** Why the last delegateCheck answered as it did: DELEGATE_ALLOWED, DELEGATE_DENIED (policyd said so), or a failure. */
export function delegateReason(): i32 {
  return reasonLast;
}
/** Checks that were denied without policyd having said so (it was silent, late, gone or malformed). */
export function delegateFailures(): u64 {
  return failures;
}

/** The shared decoder: DELEGATE_ALLOWED, DELEGATE_DENIED, or why the frame is no decision. Pure. */
export function decodeDelegated(nonce: u64, frame: usize, length: u32): i32 {
  return decodeDecision(PO, PO_OP_CHECK_CAP_DELEGATED, nonce, frame, length);
}

/** The same for any op of policyd that decides. */
export function decodeDecision(protocol: Protocol, op: u8, nonce: u64, frame: usize, length: u32): i32 {
  const head = decodeReply(protocol, op, nonce, frame, length, decisionBody);
  if (head != REPLY_OK) return head;
  if (decisionBody.left != 1) return DELEGATE_LENGTH;
  if (decisionBody.takeU8() != 0) return DELEGATE_STATUS;
  const status = load<u8>(frame + PO.replyStatusOffset);
  if (status == PO_ALLOW) return DELEGATE_ALLOWED;
  return status == PO_DENY ? DELEGATE_DENIED : DELEGATE_STATUS;
}

/** True only when policyd allows `capability` to the subject, in time. `policyd` 0: the fixed slot, or, once that policyd ended, the one
 *  that samgrd names (the caller's manifest needs the edge to samgrd). */
export function delegateCheck(subject: SenderId, capability: string, policyd: u32 = 0): bool {
  if (policyd != 0) return settle(askPolicy(subject, capability, policyd));
  const first = askPolicy(subject, capability, policydNow);
  return settle(resolvedAgain(first) ? askPolicy(subject, capability, policydNow) : first);
}

/** True only when policyd allows the pair in time: op PO_ROUTE (requester may send to target) or PO_EXEC (requester may have
 *  the image with that id run). */
export function delegatePair(op: u8, requester: SenderId, target: u64, policyd: u32 = 0): bool {
  if (policyd != 0) return settle(askPair(op, requester, target, policyd));
  const first = askPair(op, requester, target, policydNow);
  return settle(resolvedAgain(first) ? askPair(op, requester, target, policydNow) : first);
}

/** After `dead`: whether samgrd handed out a policyd to ask instead. Anything else is final, and no answer still denies. */
function resolvedAgain(outcome: i32): bool {
  if (mutant(MUT_DELEGATE_NEVER_RESOLVES_AGAIN)) return false;
  if (outcome != <i32>E_DEAD && outcome != <i32>E_BAD_HANDLE) return false;
  const handle = lookup("policyd");
  if (handle < 0) return false;
  if (policydNow != SLOT_POLICYD) sys_cap_close(policydNow);
  policydNow = <u32>handle;
  return true;
}

function askPair(op: u8, requester: SenderId, target: u64, policyd: u32): i32 {
  const deadline_ns = deadlineIn(DELEGATE_BUDGET_NS);
  beginRequest(PO3, op).putU64(requester.value).putU64(target);
  return askBegun(PO3, op, policyd, deadline_ns);
}

function settle(reason: i32): bool {
  reasonLast = reason;
  if (reasonLast == DELEGATE_ALLOWED) return true;
  if (reasonLast != DELEGATE_DENIED) failures++;
  return false;
}

function askPolicy(subject: SenderId, capability: string, policyd: u32): i32 {
  const length = <u32>capability.length;
  if (length == 0 || length > CAPABILITY_BYTES_MAX) return DELEGATE_NAME;
  const deadline_ns = deadlineIn(DELEGATE_BUDGET_NS);
  beginRequest(PO, PO_OP_CHECK_CAP_DELEGATED).putU64(subject.value).putU8(<u8>length).putText(capability);
  return askBegun(PO, PO_OP_CHECK_CAP_DELEGATED, policyd, deadline_ns);
}

function askBegun(protocol: Protocol, op: u8, policyd: u32, deadline_ns: u64): i32 {
  const outcome = callRequestUntil(policyd, deadline_ns);
  if (outcome != REPLY_OK) return outcome;
  if (<u64>sys_time_ns() > deadline_ns) return REPLY_LATE;
  const head = protocol.replyHeadBytes;
  return decodeDecision(protocol, op, requestNonce(), reply.body.base - head, reply.body.length + head);
}
