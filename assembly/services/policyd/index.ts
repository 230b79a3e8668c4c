// SPDX-License-Identifier: Apache-2.0
// policyd: the only allow/deny authority. Answers CHECK_CAP, CHECK_CAP_DELEGATED, ROUTE, EXEC and STATS
// (docs/format/wire-policyd.md) from the table of recipes/policy/base.toml, and audits each decision to logd.
// Invariant: it waits for nobody (no declared edge), denies what the table does not grant, and with a recipe that does
// not load it is never ready and denies everything. Identity is the kernel's sender id.
import { M_POLICYD_READY, mark } from "../../gen/markers";
import { MUT_POLICYD_ACCEPTS_TRAILING, MUT_POLICYD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SVC_INIT_LITE_ID } from "../../gen/services";
import { sys_console_line } from "../../gen/syscalls";
import {
  IN_LOGD, PO, PO3, Request, Writer, serve, serverAlsoServes, serverOnTick, serverRoute, serverRouteInit,
} from "../../lib/nexus-ipc/index";
import {
  PO_ALLOW, PO_CAP_BYTES_MAX, PO_DENY, PO_MALFORMED, PO_OP_CHECK_CAP, PO_OP_CHECK_CAP_DELEGATED, PO_OP_EXEC,
  PO_OP_ROUTE, PO_OP_STATS, PO_UNSUPPORTED,
} from "../../lib/wire/policyd";
import { audit, auditFlush, auditUseLogd, auditsLost, auditsSent, auditsWaiting } from "./audit";
import { REASON_GRANTED, decideCap, decideExec, decideRoute } from "./decide";
import { tableFailLine, tableFailReason, tableLoad, tableRow } from "./table";

export const vigil_abi: i32 = 1;

const lineBuffer: usize = memory.data(128);
const lineWriter: Writer = changetype<Writer>(memory.data(16, 4));
let loaded: bool = false;
let allowed: u64 = 0;
let denied: u64 = 0;
let refused: u64 = 0;

function settle(request: Request, subject: u64, target: u64, cap: usize, capLen: u32, reason: u32): void {
  if (reason == REASON_GRANTED) allowed++;
  else denied++;
  audit(request.op, request.sender.value, subject, target, cap, capLen, reason);
  request.answer(reason == REASON_GRANTED ? PO_ALLOW : PO_DENY).putU8(0);
}

function refuse(request: Request, status: u8): void {
  refused++;
  request.answer(status).putU8(0);
}

function onCheckCap(request: Request): void {
  if (request.protocol.version != PO.version) return refuse(request, PO_UNSUPPORTED);
  const subject = request.body.takeU64();
  const length = <u32>request.body.takeU8();
  const cap = request.body.takeBytes(length);
  const whole = mutant(MUT_POLICYD_ACCEPTS_TRAILING) ? request.body.ok : request.body.finished;
  if (!whole || length == 0 || length > PO_CAP_BYTES_MAX) return refuse(request, PO_MALFORMED);
  if (!isCapText(cap, length)) return refuse(request, PO_MALFORMED);
  const delegated = request.op == PO_OP_CHECK_CAP_DELEGATED;
  settle(request, subject, 0, cap, length, decideCap(request.sender.value, subject, delegated, cap, length));
}

// What can stand in a table can be asked for; nothing else reaches the audit record's fields.
function isCapText(text: usize, length: u32): bool {
  for (let i: u32 = 0; i < length; i++) {
    const c = load<u8>(text + i);
    if (<u8>(c - 97) < 26 || <u8>(c - 48) < 10 || c == 46 || c == 95) continue;
    return false;
  }
  return true;
}

function onPair(request: Request): void {
  if (request.protocol.version != PO3.version) return refuse(request, PO_UNSUPPORTED);
  const requester = request.body.takeU64();
  const target = request.body.takeU64();
  if (!request.body.finished) return refuse(request, PO_MALFORMED);
  const sender = request.sender.value;
  const reason = request.op == PO_OP_ROUTE
    ? decideRoute(sender, requester, target)
    : decideExec(sender, requester, target);
  settle(request, requester, target, 0, 0, reason);
}

function onStats(request: Request): void {
  if (request.protocol.version != PO.version) return refuse(request, PO_UNSUPPORTED);
  if (!request.body.finished) return refuse(request, PO_MALFORMED);
  const out = request.answer(PO_ALLOW).putU64(allowed + denied).putU64(allowed).putU64(denied).putU64(refused);
  out.putU64(auditsSent()).putU64(auditsWaiting()).putU64(auditsLost());
}

function onLogd(request: Request): void {
  const handle = request.takeMoved();
  if (handle == 0 || !request.body.finished) {
    request.answer(PO_MALFORMED);
    return;
  }
  auditUseLogd(handle);
  auditFlush();
  request.answer(PO_ALLOW);
}

/** Ready means: the recipe was loaded whole, and deciding with it allows what it grants and denies what it does not. */
function onPing(): bool {
  if (!loaded || mutant(MUT_POLICYD_READY_EVIDENCE_BROKEN)) return false;
  const initRow = tableRow(SVC_INIT_LITE_ID);
  if (initRow == 0) return false;
  return decideRoute(SVC_INIT_LITE_ID, SVC_INIT_LITE_ID, SVC_INIT_LITE_ID) != REASON_GRANTED;
}

function onReady(): void {
  mark(M_POLICYD_READY);
}

function sayWhyNot(): void {
  const line = lineWriter.reset(lineBuffer, 128);
  line.putText("policyd: FAIL recipe line ").putDecimal(tableFailLine()).putText(" ").putText(tableFailReason());
  sys_console_line(<u32>lineBuffer, line.length);
}

export function main(): void {
  loaded = tableLoad();
  if (!loaded) sayWhyNot();
  serverAlsoServes(PO3);
  serverRoute(PO_OP_ROUTE, onPair);
  serverRoute(PO_OP_EXEC, onPair);
  serverRoute(PO_OP_CHECK_CAP, onCheckCap);
  serverRoute(PO_OP_CHECK_CAP_DELEGATED, onCheckCap);
  serverRoute(PO_OP_STATS, onStats);
  serverRouteInit(IN_LOGD, onLogd);
  serverOnTick(auditFlush, 0);
  serve(PO, PO_MALFORMED, PO_UNSUPPORTED, onPing, onReady);
}
