// SPDX-License-Identifier: Apache-2.0
// execd: runs a module of the bundle by policy, tells its requester how it ended, and logs each crash
// (docs/format/wire-execd.md).
// Invariant: who asks is the kernel's sender id; only the requester of an EXEC may WAIT for its child; ends and causes
// come from the kernel alone. A wait is a deferred answer: execd itself never waits for a child.
// Limits: limits.execd children_max and wait_max_ns.
import { EXECD_CHILDREN_MAX, EXECD_WAIT_MAX_NS } from "../../gen/limits";
import { M_EXECD_READY, mark } from "../../gen/markers";
import { TRAP_ABORT, TRAP_BAD_SYSCALL, TRAP_ILLEGAL_INSTRUCTION, TRAP_WILD_ACCESS } from "../../gen/traps";
import {
  MUT_EXECD_BELIEVES_REPORTS, MUT_EXECD_HIDES_BAD_SYSCALL, MUT_EXECD_HIDES_ILLEGAL_INSTRUCTION, MUT_EXECD_HIDES_WILD_ACCESS,
  MUT_EXECD_READY_EVIDENCE_BROKEN, MUT_EXECD_REPORTS_WRONG_EXIT,
  MUT_EXECD_SKIPS_CRASH_REPORT, mutant,
} from "../../gen/mutants";
import { SVC_EXECD_ID } from "../../gen/services";
import { sys_process_event, sys_time_ns } from "../../gen/syscalls";
import {
  DELEGATE_DENIED, EX, PO_EXEC, Request, SenderId, answerLater, beginAnswerLater, delegatePair, delegateReason, serve,
  serverOnNotify, serverOnTick, serverRoute, serverTickAt,
} from "../../lib/nexus-ipc/index";
import { logInfo } from "../../lib/nexus-log/index";
import { telemetryDue_ns, telemetryStart, telemetryTick } from "../../lib/telemetry/flush";
import {
  EX_BUSY, EX_DENIED, EX_MALFORMED, EX_NAME_BYTES_MAX, EX_NOT_FOUND, EX_OK, EX_OP_EXEC, EX_OP_REPORT_EXIT, EX_OP_WAIT,
  EX_OVER_LIMIT, EX_REFUSED, EX_TIMEOUT, EX_UNSUPPORTED,
} from "../../lib/wire/execd";
import {
  CHILD_FREE, CHILD_RUNNING, Child, childAt, childEnd, childFind, childNextTimeout_ns, childTake,
} from "./children";
import { crashReport } from "./crash";
import { spawnAllowed, spawnDetail, spawnEndpoint, spawnGeneration, spawnIndex, spawnRun } from "./spawn";
import { countDeny, countFail, countOk, execSpanEnd, execSpanStart } from "./telemetry";

export const vigil_abi: i32 = 1;

const NOTIFY_CHILD: u64 = 2;
const meta: usize = memory.data(32, 8);
const ownId: usize = memory.data(8, 8);

function onExec(request: Request): void {
  const length = <u32>request.body.takeU8();
  const name = request.body.takeBytes(length);
  if (!request.body.finished || length == 0 || length > EX_NAME_BYTES_MAX) {
    request.answer(EX_MALFORMED);
    return;
  }
  const allowed = spawnAllowed(request.sender, name, length);
  if (allowed != EX_OK) {
    if (allowed == EX_DENIED) countDeny();
    else countFail();
    return settle(request, allowed);
  }
  const child = childTake(name, length);
  if (changetype<usize>(child) == 0) {
    countFail();
    return settle(request, EX_OVER_LIMIT);
  }
  const span = execSpanStart(name, length);
  const status = spawnRun(name, length);
  if (status != EX_OK) {
    child.state = CHILD_FREE;
    countFail();
    if (status == EX_REFUSED) execSpanEnd(span, false, "refused", spawnDetail);
    else execSpanEnd(span, false, "status", status);
    return settle(request, status);
  }
  child.requester = request.sender.value;
  child.index = spawnIndex;
  child.generation = spawnGeneration;
  child.span = span;
  child.state = CHILD_RUNNING;
  countOk();
  settle(request, EX_OK);
}

function settle(request: Request, status: u8): void {
  const out = status == EX_OK ? request.answerWith(EX_OK, spawnEndpoint) : request.answer(status);
  if (status == EX_OK) out.putU32(spawnIndex).putU32(spawnGeneration).putU32(0);
  else out.putU32(0).putU32(0).putU32(status == EX_REFUSED ? spawnDetail : 0);
  arm();
}

function onWait(request: Request): void {
  const index = request.body.takeU32();
  const generation = request.body.takeU32();
  const deadline_ns = request.body.takeU64();
  if (!request.body.finished || deadline_ns > <u64>sys_time_ns() + EXECD_WAIT_MAX_NS) {
    request.answer(EX_MALFORMED);
    return;
  }
  const child = childFind(index, generation);
  // Another's child is answered like none at all.
  if (changetype<usize>(child) == 0 || child.requester != request.sender.value) {
    request.answer(EX_NOT_FOUND);
    return;
  }
  if (child.ended) {
    request.answer(EX_OK).putU32(child.cause).putU64(shownCode(child));
    return;
  }
  if (child.waiter != 0 || request.replyHandle == 0) {
    request.answer(EX_BUSY);
    return;
  }
  child.waitNonce = request.nonce;
  child.waitUntil_ns = deadline_ns;
  child.waiter = request.defer();
  arm();
}

// Mutants hide one cause each behind an ordinary abort.
function shownCause(cause: u32): u32 {
  if (mutant(MUT_EXECD_HIDES_BAD_SYSCALL) && cause == TRAP_BAD_SYSCALL) return TRAP_ABORT;
  if (mutant(MUT_EXECD_HIDES_ILLEGAL_INSTRUCTION) && cause == TRAP_ILLEGAL_INSTRUCTION) return TRAP_ABORT;
  if (mutant(MUT_EXECD_HIDES_WILD_ACCESS) && cause == TRAP_WILD_ACCESS) return TRAP_ABORT;
  return cause;
}

// The mutant spoils the one code that phase exec proves; the codes that carry other proofs' answers stay.
function shownCode(child: Child): u64 {
  return mutant(MUT_EXECD_REPORTS_WRONG_EXIT) && child.code == 42 ? 41 : child.code;
}

// Ends are the kernel's to report, so this op is refused whatever it says.
function onReportExit(request: Request): void {
  request.answer(mutant(MUT_EXECD_BELIEVES_REPORTS) ? EX_OK : EX_UNSUPPORTED);
}

function onNotify(bits: u64): void {
  if ((bits & NOTIFY_CHILD) == 0) return;
  // At most every child of this service can have ended at once.
  for (let n: u32 = 0; n < EXECD_CHILDREN_MAX; n++) {
    const index = sys_process_event(<u32>meta);
    if (index < 0) break;
    const child = childFind(<u32>index, <u32>load<u64>(meta, 24));
    if (changetype<usize>(child) == 0 || child.ended) continue;
    childEnd(child, shownCause(<u32>load<u64>(meta)), load<u64>(meta, 8), load<u64>(meta, 16));
    if (child.cause != 0 && !mutant(MUT_EXECD_SKIPS_CRASH_REPORT)) crashReport(child);
    if (child.cause == 0) execSpanEnd(child.span, true, "code", child.code);
    else execSpanEnd(child.span, false, "cause", child.cause);
    child.span = 0xffffffff;
    answerWaiter(child, EX_OK);
  }
  arm();
}

function answerWaiter(child: Child, status: u8): void {
  if (child.waiter == 0) return;
  const handle = child.waiter;
  child.waiter = 0;
  const out = beginAnswerLater(EX, EX_OP_WAIT, status, child.waitNonce);
  if (status == EX_OK) out.putU32(child.cause).putU64(shownCode(child));
  answerLater(handle, out);
}

function onTick(): void {
  const now_ns = <u64>sys_time_ns();
  for (let row: u32 = 0; row < EXECD_CHILDREN_MAX; row++) {
    const child = childAt(row);
    if (child.waiter != 0 && child.waitUntil_ns <= now_ns) answerWaiter(child, EX_TIMEOUT);
  }
  telemetryTick(now_ns);
  arm();
}

// The next tick: the end of a wait, or the flush of what was measured and logged.
function arm(): void {
  const wait_ns = childNextTimeout_ns();
  const flush_ns = telemetryDue_ns();
  if (wait_ns == 0 || flush_ns == 0) serverTickAt(wait_ns | flush_ns);
  else serverTickAt(min<u64>(wait_ns, flush_ns));
}

/** Ready means: policyd answers our EXEC question about an image that nobody may run, and answers no. */
function onPing(): bool {
  if (mutant(MUT_EXECD_READY_EVIDENCE_BROKEN)) return false;
  store<u64>(ownId, SVC_EXECD_ID);
  return !delegatePair(PO_EXEC, SenderId.at(ownId), SVC_EXECD_ID) && delegateReason() == DELEGATE_DENIED;
}

function onReady(): void {
  mark(M_EXECD_READY);
  logInfo("execd").text("ready").end();
}

export function main(): void {
  telemetryStart(SVC_EXECD_ID);
  serverRoute(EX_OP_EXEC, onExec);
  serverRoute(EX_OP_REPORT_EXIT, onReportExit);
  serverRoute(EX_OP_WAIT, onWait);
  serverOnNotify(onNotify);
  serverOnTick(onTick, 0);
  serve(EX, EX_MALFORMED, EX_UNSUPPORTED, onPing, onReady);
}
