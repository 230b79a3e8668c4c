// SPDX-License-Identifier: Apache-2.0
// Proofs of phase policy: what policyd grants and denies, that nobody is taken by its word, that every enforcement path
// fails closed, and that the audit trail in logd holds each decision exactly once.
import {
  M_SELFTEST_POLICY_ALLOW_OK, M_SELFTEST_POLICY_AUDIT_OK, M_SELFTEST_POLICY_DENY_OK, M_SELFTEST_POLICY_FAIL_CLOSED_OK,
  M_SELFTEST_POLICY_MALFORMED_REFUSED_OK, M_SELFTEST_POLICY_ROUTE_CLOSED_OK, M_SELFTEST_POLICY_SPOOF_DENIED_OK,
} from "../../gen/markers";
import { LOGD_RECORDS_MAX } from "../../gen/limits";
import {
  SVC_BUNDLEMGRD_ID, SVC_EXECD_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_SELFTEST_ID, SVC_TIMED_ID,
} from "../../gen/services";
import { SLOT_LOG_QUERY, SLOT_POLICYD, SLOT_SAMGRD } from "../../gen/slots";
import { E_TIMEOUT } from "../../gen/errors";
import { equalsLiteral, indexOfLiteral, parseDecimal, parsedDecimal } from "../../lib/bounded/text";
import { fnv1a64Literal } from "../../lib/bounded/fnv";
import {
  DELEGATE_ALLOWED, DELEGATE_LENGTH, DELEGATE_STATUS, PO, PO3, REPLY_NONCE, REPLY_OK, REPLY_OP, REPLY_VERSION,
  RESOLVE_REFUSED, SM, SenderId, beginRequest, callRequest, delegateCheck, delegateReason, lookup, lookupStatus, reply,
} from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome } from "../../lib/nexus-log/index";
import { LogRecord } from "../../lib/wire/logd";
import { EX_OK } from "../../lib/wire/execd";
import {
  PO_ALLOW, PO_DENY, PO_MALFORMED, PO_OP_CHECK_CAP, PO_OP_CHECK_CAP_DELEGATED, PO_OP_EXEC, PO_OP_ROUTE, PO_OP_STATS,
  PO_STATS_AUDITS_LOST, PO_STATS_AUDITS_WAITING, PO_STATS_DECISIONS, PO_STATS_REFUSED, PO_UNSUPPORTED,
} from "../../lib/wire/policyd";
import { SM_DENIED, SM_OK, SM_OP_REGISTER, SM_OP_SENDER_SERVICE_ID } from "../../lib/wire/samgrd";
import { execEndpoint, execRun, execWait, waitCause, waitCode } from "./children";
import { check, checkEqual, proof, proven, waitNs } from "./lib";

const BUDGET_NS: u64 = 2_000_000_000;
const LATE_REST_NS: u64 = 200_000_000;
const ownId: usize = memory.data(8, 8);
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));

function answer(handle: u32): i32 {
  const outcome = callRequest(handle, BUDGET_NS);
  return outcome != REPLY_OK ? outcome : <i32>reply.status;
}

// CHECK_CAP (plain or delegated): policyd's status, or a negative error.
function askCap(op: u8, subject: u64, capability: string): i32 {
  beginRequest(PO, op).putU64(subject).putU8(<u8>capability.length).putText(capability);
  return answer(SLOT_POLICYD);
}

// ROUTE or EXEC.
function askPair(op: u8, requester: u64, target: u64): i32 {
  beginRequest(PO3, op).putU64(requester).putU64(target);
  return answer(SLOT_POLICYD);
}

// A counter of policyd's STATS; -1 when not to be had.
function statistic(index: u32): i64 {
  beginRequest(PO, PO_OP_STATS);
  if (answer(SLOT_POLICYD) != PO_ALLOW) return -1;
  reply.body.takeBytes(index << 3);
  const value = <i64>reply.body.takeU64();
  return reply.body.ok ? value : -1;
}

function provesAllow(): void {
  proof("policy allow");
  checkEqual(askCap(PO_OP_CHECK_CAP, SVC_SELFTEST_ID, "rng.entropy"), PO_ALLOW, "capability");
  checkEqual(askPair(PO_OP_ROUTE, SVC_SELFTEST_ID, SVC_TIMED_ID), PO_ALLOW, "route");
  checkEqual(askPair(PO_OP_EXEC, SVC_SELFTEST_ID, fnv1a64Literal("child-hello")), PO_ALLOW, "exec");
  proven(M_SELFTEST_POLICY_ALLOW_OK);
}

function provesDeny(): void {
  proof("policy deny");
  checkEqual(askCap(PO_OP_CHECK_CAP, SVC_SELFTEST_ID, "policy.delegate"), PO_DENY, "a capability not held");
  checkEqual(askCap(PO_OP_CHECK_CAP, SVC_SELFTEST_ID, "no.such"), PO_DENY, "a capability that nobody has");
  checkEqual(askPair(PO_OP_ROUTE, SVC_SELFTEST_ID, fnv1a64Literal("init-lite")), PO_DENY, "a route not granted");
  checkEqual(askPair(PO_OP_EXEC, SVC_SELFTEST_ID, fnv1a64Literal("child-forbidden")), PO_DENY, "an image not granted");
  proven(M_SELFTEST_POLICY_DENY_OK);
}

// Each question would be allowed if its subject asked it; selftest asks it for another and holds no policy.delegate.
function provesSpoof(): void {
  proof("policy spoof");
  checkEqual(askCap(PO_OP_CHECK_CAP, SVC_METRICSD_ID, "log.query"), PO_DENY, "another's capability");
  checkEqual(askCap(PO_OP_CHECK_CAP_DELEGATED, SVC_METRICSD_ID, "log.query"), PO_DENY, "delegated without the right");
  checkEqual(askCap(PO_OP_CHECK_CAP_DELEGATED, SVC_SELFTEST_ID, "rng.entropy"), PO_DENY, "delegated about itself");
  checkEqual(askPair(PO_OP_ROUTE, SVC_EXECD_ID, SVC_BUNDLEMGRD_ID), PO_DENY, "another's route");
  proven(M_SELFTEST_POLICY_SPOOF_DENIED_OK);
}

function provesMalformed(): void {
  proof("policy malformed");
  const refused = statistic(PO_STATS_REFUSED);
  const decisions = statistic(PO_STATS_DECISIONS);
  beginRequest(PO, PO_OP_CHECK_CAP).putU64(SVC_SELFTEST_ID).putU8(11).putText("rng.entropy").putU8(0);
  checkEqual(answer(SLOT_POLICYD), PO_MALFORMED, "a trailing byte");
  beginRequest(PO, PO_OP_CHECK_CAP).putU64(SVC_SELFTEST_ID).putU8(12).putText("rng.entropy");
  checkEqual(answer(SLOT_POLICYD), PO_MALFORMED, "shorter than it says");
  beginRequest(PO, PO_OP_CHECK_CAP).putU64(SVC_SELFTEST_ID).putU8(0);
  checkEqual(answer(SLOT_POLICYD), PO_MALFORMED, "an empty capability");
  beginRequest(PO3, PO_OP_ROUTE).putU64(SVC_SELFTEST_ID);
  checkEqual(answer(SLOT_POLICYD), PO_MALFORMED, "half a route");
  beginRequest(PO, PO_OP_ROUTE).putU64(SVC_SELFTEST_ID).putU64(SVC_TIMED_ID);
  checkEqual(answer(SLOT_POLICYD), PO_UNSUPPORTED, "a route in version 2");
  checkEqual(statistic(PO_STATS_REFUSED) - refused, 5, "refusals counted");
  checkEqual(statistic(PO_STATS_DECISIONS) - decisions, 0, "decisions made of them");
  proven(M_SELFTEST_POLICY_MALFORMED_REFUSED_OK);
}

function provesRoute(): void {
  proof("policy route");
  beginRequest(SM, SM_OP_SENDER_SERVICE_ID);
  checkEqual(answer(SLOT_SAMGRD), SM_OK, "sender id");
  checkEqual(reply.body.takeU64(), SVC_SELFTEST_ID, "the kernel's stamp");
  checkEqual(lookup("init-lite"), RESOLVE_REFUSED, "lookup of what no row grants");
  checkEqual(lookupStatus(), SM_DENIED, "samgrd's answer");
  checkEqual(lookup("no-such-name"), RESOLVE_REFUSED, "lookup of nothing");
  checkEqual(lookupStatus(), SM_DENIED, "existence is not told");
  beginRequest(SM, SM_OP_REGISTER).putU8(5).putText("timed");
  checkEqual(answer(SLOT_SAMGRD), SM_DENIED, "registering as a client");
  checkEqual(execRun("child-stranger"), EX_OK, "exec");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCode >> 4, SM_DENIED, "what samgrd told a stranger");
  proven(M_SELFTEST_POLICY_ROUTE_CLOSED_OK);
}

function denied(capability: string, reason: i32, detail: string): void {
  check(!delegateCheck(SenderId.at(ownId), capability, execEndpoint), detail);
  checkEqual(delegateReason(), reason, detail);
}

// A policyd that fails as told (fixtures/policyd-fault.ts) against the decoder that every enforcing service uses.
function provesFailClosed(): void {
  proof("policy fail closed");
  store<u64>(ownId, SVC_SELFTEST_ID);
  checkEqual(execRun("policyd-fault"), EX_OK, "exec");
  check(delegateCheck(SenderId.at(ownId), "fault.none", execEndpoint), "a good answer was refused");
  checkEqual(delegateReason(), DELEGATE_ALLOWED, "a good answer");
  denied("fault.nonce", REPLY_NONCE, "wrong nonce");
  // One byte less than a decision leaves a whole head, without the zero that must follow it.
  denied("fault.short", DELEGATE_LENGTH, "short frame");
  denied("fault.long", DELEGATE_LENGTH, "long frame");
  denied("fault.op", REPLY_OP, "wrong op");
  denied("fault.version", REPLY_VERSION, "wrong version");
  denied("fault.status", DELEGATE_STATUS, "unknown status");
  denied("fault.silent", <i32>E_TIMEOUT, "silence");
  denied("fault.late", <i32>E_TIMEOUT, "lateness");
  // It answers nothing else until its late answer went nowhere.
  waitNs(LATE_REST_NS);
  check(delegateCheck(SenderId.at(ownId), "fault.none", execEndpoint), "a good answer after the faults");
  check(!delegateCheck(SenderId.at(ownId), "fault.exit", execEndpoint), "a policyd that ended");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, 0, "cause of its end");
  proven(M_SELFTEST_POLICY_FAIL_CLOSED_OK);
}

// The record's `number=` field, or 0.
function numberOf(record: LogRecord): u64 {
  const key = "number=";
  const at = indexOfLiteral(record.fields, record.fieldsBytes, key);
  if (at < 0) return 0;
  const from = <u32>at + <u32>key.length;
  let to = from;
  while (to < record.fieldsBytes && load<u8>(record.fields + to) != 10) to++;
  return parseDecimal(record.fields + from, to - from) ? parsedDecimal : 0;
}

function holds(record: LogRecord, field: string): bool {
  return indexOfLiteral(record.fields, record.fieldsBytes, field) >= 0;
}

function provesAudit(): void {
  proof("policy audit");
  const before = statistic(PO_STATS_DECISIONS);
  const lost = statistic(PO_STATS_AUDITS_LOST);
  askCap(PO_OP_CHECK_CAP, SVC_SELFTEST_ID, "rng.entropy");
  askCap(PO_OP_CHECK_CAP, SVC_SELFTEST_ID, "no.such");
  askPair(PO_OP_ROUTE, SVC_EXECD_ID, SVC_BUNDLEMGRD_ID);
  checkEqual(statistic(PO_STATS_DECISIONS) - before, 3, "decisions");
  for (let polls = 0; polls < 50 && statistic(PO_STATS_AUDITS_WAITING) != 0; polls++) waitNs(1_000_000);
  checkEqual(statistic(PO_STATS_AUDITS_WAITING), 0, "audits waiting");
  checkEqual(statistic(PO_STATS_AUDITS_LOST) - lost, 0, "audits lost");
  let found: u32 = 0;
  let right: u32 = 0;
  cursor.begin(0);
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (record.sender != SVC_POLICYD_ID || !equalsLiteral(record.scope, record.scopeBytes, "policyd.audit")) continue;
    const number = <i64>numberOf(record) - before;
    if (number < 1 || number > 3) continue;
    found++;
    if (number == 1 && holds(record, "cap=rng.entropy") && holds(record, "decision=allow")) right++;
    if (number == 2 && holds(record, "cap=no.such") && holds(record, "reason=not_granted")) right++;
    if (number == 3 && holds(record, "op=route") && holds(record, "reason=not_delegate")) right++;
  }
  checkEqual(queryOutcome, 0, "query");
  checkEqual(found, 3, "audit records in logd");
  checkEqual(right, 3, "audit records that tell the decision");
  proven(M_SELFTEST_POLICY_AUDIT_OK);
}

/** Phase policy of the ladder, in the order of markers/40-policy.toml. */
export function policy_proofs(): void {
  provesAllow();
  provesDeny();
  provesSpoof();
  provesMalformed();
  provesRoute();
  provesFailClosed();
  provesAudit();
}
