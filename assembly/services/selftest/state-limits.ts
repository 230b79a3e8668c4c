// SPDX-License-Identifier: Apache-2.0
// Phase state, second half: limits at and over their edges, who is denied and that it is audited, and that a reopened and a restarted
// statefsd hold what was acknowledged; between them its own metrics, read back from logd.
// Limits: limits.statefsd; statefsd is killed once (its restart budget has room for others).
import { LOGD_RECORDS_MAX, STATEFSD_TXNS_PER_SENDER_MAX, STATEFSD_TXN_BYTES_MAX } from "../../gen/limits";
import {
  M_SELFTEST_STATE_DENIAL_AUDITED_OK, M_SELFTEST_STATE_DENIED_OK, M_SELFTEST_STATE_LIMITS_OK, M_SELFTEST_STATE_METRICS_OK,
  M_SELFTEST_STATE_REOPEN_OK, M_SELFTEST_STATE_RESTART_OK,
} from "../../gen/markers";
import { SVC_POLICYD_ID, SVC_STATEFSD_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { indexOfLiteral } from "../../lib/bounded/text";
import { LogCursor, nextRecord } from "../../lib/nexus-log/index";
import {
  StateList, stateBatch, stateBatchBegin, stateBatchPut, stateCounter, stateDel, stateGet, statePut, stateReopen, stateSync,
  stateTxnAbort, stateTxnBegin, stateTxnPut,
} from "../../lib/nexus-state/index";
import {
  SF_ACCESS_DENIED, SF_INVALID_KEY, SF_KEY_TOO_LONG, SF_STATS_DENIED, SF_STATS_REOPENS, SF_TXN_LIMIT, SF_VALUE_BYTES_MAX,
  SF_VALUE_TOO_LARGE,
} from "../../lib/wire/statefsd";
import { check, checkEqual, proof, proven, waitNs } from "./lib";
import { findProducer, flush } from "./records";
import { BUDGET_NS, absent, at, back, fill, holdsPattern, key, keyLen, put, refusedWith, state, value } from "./state";
import { RESTART_LOOKS, killed } from "./traps";

const POLLS_MAX: u32 = 50;
const POLL_NS: u64 = 1_000_000;
const EXPORT_LOOKS_MAX: u32 = 20;
const EXPORT_LOOK_NS: u64 = 20_000_000;
const LISTED_MAX: u32 = 64;
const longKey: usize = memory.data(256);
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 4));

function putLong(bytes: u32): i32 {
  memory.fill(longKey, 120, 256);
  at("/state/test/");
  memory.copy(longKey, key, keyLen);
  return statePut(state, longKey, bytes, value, 3, BUDGET_NS);
}
function badKey(literal: string): void {
  at(literal);
  refusedWith(statePut(state, key, keyLen, value, 1, BUDGET_NS), SF_INVALID_KEY, literal);
}

function provesLimits(): void {
  proof("state limits");
  checkEqual(putLong(255), 0, "a key of 255 bytes");
  refusedWith(putLong(256), SF_KEY_TOO_LONG, "a key of 256 bytes");
  checkEqual(stateDel(state, longKey, 255, BUDGET_NS), 0, "delete it");
  at("/state/test/over");
  refusedWith(statePut(state, key, keyLen, value, SF_VALUE_BYTES_MAX + 1, BUDGET_NS), SF_VALUE_TOO_LARGE, "a value of 64 KiB and 1");
  absent("after it was refused");
  badKey("/state");
  badKey("/state/");
  badKey("/other/test");
  badKey("/state/test/");
  badKey("/state//test");
  badKey("/state/test/./x");
  badKey("/state/test/..");
  badKey("/state/te st");
  // A sender's transactions, and what one of them may stage.
  assert(STATEFSD_TXNS_PER_SENDER_MAX == 2);
  const first = stateTxnBegin(state, 0, 0, BUDGET_NS);
  const second = stateTxnBegin(state, 0, 0, BUDGET_NS);
  check(first > 0 && second > 0, "two transactions");
  refusedWith(stateTxnBegin(state, 0, 0, BUDGET_NS), SF_TXN_LIMIT, "a third");
  checkEqual(stateTxnAbort(state, <u32>second, BUDGET_NS), 0, "abort the second");
  at("/state/test/fill");
  const items = STATEFSD_TXN_BYTES_MAX / 60_000;
  for (let n: u32 = 0; n < items; n++) checkEqual(stageIn(<u32>first, 60_000), 0, "stage");
  refusedWith(stageIn(<u32>first, 60_000), SF_TXN_LIMIT, "over what one transaction stages");
  checkEqual(stateTxnAbort(state, <u32>first, BUDGET_NS), 0, "abort the first");
  absent("after the abort");
  proven(M_SELFTEST_STATE_LIMITS_OK);
}

function stageIn(txn: u32, bytes: u32): i32 {
  return stateTxnPut(state, txn, key, keyLen, value, bytes, BUDGET_NS);
}

// selftest holds statefs.read, .write and .admin, and nothing of /state/boot/.
function provesDenied(): void {
  proof("state denied");
  const denied = stateCounter(state, SF_STATS_DENIED, BUDGET_NS);
  at("/state/boot/selftest");
  refusedWith(statePut(state, key, keyLen, value, 8, BUDGET_NS), SF_ACCESS_DENIED, "put");
  refusedWith(stateDel(state, key, keyLen, BUDGET_NS), SF_ACCESS_DENIED, "delete");
  at("/state/boot/statefsd");
  refusedWith(stateGetOne(), SF_ACCESS_DENIED, "get");
  stateBatchBegin();
  at("/state/test/mixed");
  check(stateBatchPut(key, keyLen, value, 8), "put");
  at("/state/boot/mixed");
  check(stateBatchPut(key, keyLen, value, 8), "put");
  refusedWith(stateBatch(state, false, BUDGET_NS), SF_ACCESS_DENIED, "a batch of which one key is denied");
  at("/state/test/mixed");
  absent("of a denied batch");
  at("/state/boot/");
  refusedWith(stateSync(state, key, keyLen, BUDGET_NS), SF_ACCESS_DENIED, "sync");
  checkEqual(stateCounter(state, SF_STATS_DENIED, BUDGET_NS), denied + 5, "denials counted");
  // The right to list /state/ does not name what lies in an area of its own; /state/boot/statefsd is there (statefsd's ready evidence).
  at("/state/");
  list.begin(key, keyLen);
  let seen: u32 = 0;
  let foreign: u32 = 0;
  while (seen < LISTED_MAX && list.next(state, BUDGET_NS)) {
    seen++;
    if (indexOfLiteral(list.key, list.keyBytes, "/state/test/") != 0) foreign++;
  }
  checkEqual(list.outcome, 0, "list");
  check(seen != 0 && seen < LISTED_MAX, "keys of the list");
  checkEqual(foreign, 0, "keys of other areas");
  proven(M_SELFTEST_STATE_DENIED_OK);
}

function stateGetOne(): i32 {
  return stateGet(state, key, keyLen, back, 64, BUDGET_NS);
}

/** Whether logd holds a record of `sender` with both texts in its fields. */
function logged(sender: u64, first: string, second: string): bool {
  cursor.begin(0);
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) return false;
    if (record.sender != sender || indexOfLiteral(record.fields, record.fieldsBytes, first) < 0) continue;
    if (indexOfLiteral(record.fields, record.fieldsBytes, second) >= 0) return true;
  }
  return false;
}

function provesAudit(): void {
  proof("state denial audited");
  at("/state/crash.d/selftest");
  put(1, "a path that only looks like an area");
  checkEqual(stateDel(state, key, keyLen, BUDGET_NS), 0, "delete it");
  at("/state/boot/audited");
  refusedWith(statePut(state, key, keyLen, value, 1, BUDGET_NS), SF_ACCESS_DENIED, "put");
  let said = false;
  let audited = false;
  for (let polls: u32 = 0; polls < POLLS_MAX && !(said && audited); polls++) {
    waitNs(POLL_NS);
    said = said || logged(SVC_STATEFSD_ID, "path=/state/boot/audited", "cap=statefs.boot");
    audited = audited || logged(SVC_POLICYD_ID, "cap=statefs.boot", "decision=deny");
  }
  check(said, "statefsd's record of it");
  check(audited, "policyd's record of it");
  proven(M_SELFTEST_STATE_DENIAL_AUDITED_OK);
}

function provesReopen(): void {
  proof("state reopen");
  fill(700, 21);
  at("/state/test/reopen/put");
  put(700, "put");
  stateBatchBegin();
  at("/state/test/reopen/lazy");
  check(stateBatchPut(key, keyLen, value, 700), "put");
  checkEqual(stateBatch(state, true, BUDGET_NS), 0, "lazy batch");
  const reopens = stateCounter(state, SF_STATS_REOPENS, BUDGET_NS);
  checkEqual(stateReopen(state, BUDGET_NS), 0, "reopen");
  checkEqual(stateCounter(state, SF_STATS_REOPENS, BUDGET_NS), reopens + 1, "reopens counted");
  holdsPattern(700, "what was accepted");
  at("/state/test/reopen/put");
  holdsPattern(700, "what was acknowledged");
  proven(M_SELFTEST_STATE_REOPEN_OK);
}

// The process is killed: its memory is gone, the route answers dead, and the new one reads the journal.
function provesRestart(): void {
  proof("state restart");
  at("/state/test/restart");
  fill(3000, 22);
  put(3000, "put");
  if (!killed("statefsd", RESTART_LOOKS)) return;
  holdsPattern(3000, "what was acknowledged");
  at("/state/test/reopen/put");
  fill(700, 21);
  holdsPattern(700, "what an earlier proof left");
  put(700, "put again");
  proven(M_SELFTEST_STATE_RESTART_OK);
}

function provesMetrics(): void {
  proof("state metrics");
  // One bit each: a record that was there once need not stay.
  let found: u32 = 0;
  for (let n: u32 = 0; n < EXPORT_LOOKS_MAX && found != 15; n++) {
    waitNs(EXPORT_LOOK_NS);
    flush();
    if (findProducer("statefsd.put", SVC_STATEFSD_ID)) found |= 1;
    if (findProducer("statefsd.flush", SVC_STATEFSD_ID)) found |= 2;
    if (findProducer("statefsd.group.bytes", SVC_STATEFSD_ID)) found |= 4;
    if (findProducer("statefsd.denied", SVC_STATEFSD_ID)) found |= 8;
  }
  check(found == 15, "no record of statefsd's metrics");
  proven(M_SELFTEST_STATE_METRICS_OK);
}

/** The second half of phase state. */
export function refusals_proofs(): void {
  provesLimits();
  provesDenied();
  provesAudit();
  provesMetrics();
  provesReopen();
  provesRestart();
}
