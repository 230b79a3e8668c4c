// SPDX-License-Identifier: Apache-2.0
// samgrd: names to endpoints. init-lite registers each service; clients look names up (docs/format/wire-samgrd.md).
// Invariant: a capability leaves this service only after policyd allowed that sender that target, in time and with the
// right nonce; every other outcome, policyd's silence included, hands nothing out. What a client gets can SEND and,
// where it asked for it and policyd allows log.query (metrics.snapshot for metricsd), QUERY; nothing more.
// Limits: limits.samgrd; one wait, on policyd, of the delegate budget.
import { E_NO_RIGHT } from "../../gen/errors";
import { fnv1a64 } from "../../lib/bounded/fnv";
import {
  DELEGATE_DENIED, PO_ROUTE, Request, SM, delegateCheck, delegatePair, delegateReason, serve, serverRoute,
} from "../../lib/nexus-ipc/index";
import {
  SM_DEAD, SM_DENIED, SM_MALFORMED, SM_NAME_BYTES_MAX, SM_NOT_FOUND, SM_OK, SM_OP_LOOKUP, SM_OP_REGISTER,
  SM_OP_LOOKUP_QUERY, SM_OP_RESOLVE_STATUS, SM_OP_SENDER_SERVICE_ID, SM_OVER_LIMIT, SM_UNAVAILABLE, SM_UNSUPPORTED,
} from "../../lib/wire/samgrd";
import { M_SAMGRD_READY, mark } from "../../gen/markers";
import { MUT_SAMGRD_READY_EVIDENCE_BROKEN, MUT_SAMGRD_ROUTES_ALL, mutant } from "../../gen/mutants";
import { SVC_INIT_LITE_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_SAMGRD_ID } from "../../gen/services";
import { SLOT_POLICYD } from "../../gen/slots";
import { sys_cap_clone, sys_cap_query } from "../../gen/syscalls";
import { SenderId } from "../../lib/nexus-ipc/types";
import { registryById, registryFind, registryPut, rowHandle, rowId, rowIsDead, rowRegistrations } from "./registry";
import { logInfo, sinkStart } from "../../lib/nexus-log/index";

export const vigil_abi: i32 = 1;

const RIGHT_SEND: u32 = 1;
const RIGHT_CLONE: u32 = 4;
const RIGHT_QUERY: u32 = 16;
const KIND_ENDPOINT: u64 = 1;
const meta: usize = memory.data(32, 8);
const ownId: usize = memory.data(8, 8);
let name: usize = 0;
let nameLength: u32 = 0;

// name_len u8 and that many bytes to the frame's end; `name` and `nameLength` then hold it.
function takeName(request: Request): bool {
  nameLength = <u32>request.body.takeU8();
  name = request.body.takeBytes(nameLength);
  if (!request.body.finished || nameLength == 0 || nameLength > SM_NAME_BYTES_MAX) return false;
  for (let i: u32 = 0; i < nameLength; i++) {
    const c = load<u8>(name + i);
    if (<u8>(c - 97) < 26 || <u8>(c - 48) < 10 || c == 45) continue;
    return false;
  }
  return true;
}

function onRegister(request: Request): void {
  if (request.sender.value != SVC_INIT_LITE_ID) {
    request.answer(SM_DENIED);
    return;
  }
  if (!takeName(request) || !isSendAndClone(request.moved)) {
    request.answer(SM_MALFORMED);
    return;
  }
  const handle = request.takeMoved();
  if (registryPut(fnv1a64(name, nameLength), name, nameLength, handle)) {
    request.answer(SM_OK);
    return;
  }
  request.moved = handle;
  request.answer(SM_OVER_LIMIT);
}

function isSendAndClone(handle: u32): bool {
  if (handle == 0 || sys_cap_query(handle, <u32>meta) < 0) return false;
  const rights = <u32>load<u64>(meta, 8);
  return load<u64>(meta) == KIND_ENDPOINT && (rights & (RIGHT_SEND | RIGHT_CLONE)) == (RIGHT_SEND | RIGHT_CLONE);
}

// The fixed slot names the policyd of the boot; after a restart init-lite registers the new one, which is then asked.
function policydHandle(): u32 {
  const row = registryById(SVC_POLICYD_ID);
  return row == 0 ? SLOT_POLICYD : rowHandle(row);
}

// Existence is told only to who may route there: policyd is asked before the registry is looked at.
function onLookup(request: Request): void {
  if (!takeName(request)) {
    request.answer(SM_MALFORMED);
    return;
  }
  const target = fnv1a64(name, nameLength);
  if (!mutant(MUT_SAMGRD_ROUTES_ALL) && !delegatePair(PO_ROUTE, request.sender, target, policydHandle())) {
    request.answer(delegateReason() == DELEGATE_DENIED ? SM_DENIED : SM_UNAVAILABLE);
    return;
  }
  const query = request.op == SM_OP_LOOKUP_QUERY;
  const capability = target == SVC_METRICSD_ID ? "metrics.snapshot" : "log.query";
  if (query && !delegateCheck(request.sender, capability, policydHandle())) {
    request.answer(delegateReason() == DELEGATE_DENIED ? SM_DENIED : SM_UNAVAILABLE);
    return;
  }
  const row = registryFind(name, nameLength);
  if (row == 0) {
    request.answer(SM_NOT_FOUND);
    return;
  }
  assert(rowId(row) == target);
  if (rowIsDead(row)) {
    request.answer(SM_DEAD);
    return;
  }
  const handle = sys_cap_clone(rowHandle(row), query ? RIGHT_SEND | RIGHT_QUERY : RIGHT_SEND);
  if (handle == E_NO_RIGHT) request.answer(SM_DENIED);
  else if (handle < 0) request.answer(SM_OVER_LIMIT);
  else request.answerWith(SM_OK, <u32>handle);
}

function onSenderServiceId(request: Request): void {
  if (!request.body.finished) request.answer(SM_MALFORMED);
  else request.answer(SM_OK).putU64(request.sender.value);
}

function onResolveStatus(request: Request): void {
  if (!takeName(request)) {
    request.answer(SM_MALFORMED);
    return;
  }
  const row = registryFind(name, nameLength);
  if (row == 0) request.answer(SM_NOT_FOUND).putU8(0).putU8(0).putU32(0);
  else request.answer(SM_OK).putU8(1).putU8(rowIsDead(row) ? 1 : 0).putU32(rowRegistrations(row));
}

/** Ready means: policyd answers our ROUTE question, and answers no to one that nothing grants. */
function onPing(): bool {
  if (mutant(MUT_SAMGRD_READY_EVIDENCE_BROKEN)) return false;
  store<u64>(ownId, SVC_SAMGRD_ID);
  if (delegatePair(PO_ROUTE, SenderId.at(ownId), SVC_SAMGRD_ID, policydHandle())) return false;
  return delegateReason() == DELEGATE_DENIED;
}

function onReady(): void {
  mark(M_SAMGRD_READY);
  logInfo("samgrd").text("ready").end();
}

export function main(): void {
  sinkStart();
  serverRoute(SM_OP_REGISTER, onRegister);
  serverRoute(SM_OP_LOOKUP, onLookup);
  serverRoute(SM_OP_LOOKUP_QUERY, onLookup);
  serverRoute(SM_OP_SENDER_SERVICE_ID, onSenderServiceId);
  serverRoute(SM_OP_RESOLVE_STATUS, onResolveStatus);
  serve(SM, SM_MALFORMED, SM_UNSUPPORTED, onPing, onReady);
}
