// SPDX-License-Identifier: Apache-2.0
// Proofs of phase logd: hardening rejects with exact counter deltas, paging whose union is the journal, the query right, a client
// that never drains, nexus-log over its slots and over a route, and a record of each core service under its own sender id.
// Invariant: every success was read back through QUERY or STATS. Uses slots logd (APPEND, STATS) and log_query (QUERY).
import { LOGD_APPEND_BURST, LOGD_FIELDS_BYTES_MAX, LOGD_RECORDS_MAX, LOGD_SCOPE_BYTES_MAX } from "../../gen/limits";
import {
  M_SELFTEST_CORE_SERVICES_LOG_OK, M_SELFTEST_LOGD_HARDENING_REJECTS_OK, M_SELFTEST_LOGD_SLOW_CLIENT_OK,
  M_SELFTEST_LOG_QUERY_DENIED_OK, M_SELFTEST_LOG_QUERY_OK, M_SELFTEST_NEXUS_LOG_SINK_LOGD_OK,
} from "../../gen/markers";
import {
  SVC_BUNDLEMGRD_ID, SVC_DCGMD_ID, SVC_EXECD_ID, SVC_LOGD_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_PORTD_ID,
  SVC_RNGD_ID, SVC_SAMGRD_ID, SVC_SELFTEST_ID, SVC_TIMED_ID,
} from "../../gen/services";
import { SLOT_LOGD, SLOT_LOG_QUERY } from "../../gen/slots";
import { sys_cap_clone, sys_cap_close, sys_counter, sys_endpoint_create, sys_time_ns, sys_yield } from "../../gen/syscalls";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";
import { Writer } from "../../lib/bounded/writer";
import { LO, beginRequest, callRequest, reply, sendRequest } from "../../lib/nexus-ipc/index";
import {
  LogCursor, QUERY_BUDGET_NS, appendedRecordId, callAppend, configure_sink_logd_slots, logInfo, nextRecord, queryOutcome,
  readLogStats, sinkFlush, sinkOnSlots, sinkStats, sinkUseRoute,
} from "../../lib/nexus-log/index";
import {
  LEVEL_INFO, LEVEL_WARN, LO_APPEND, LO_DENIED, LO_INVALID_ARGS, LO_OK, LO_OVER_LIMIT, LO_QUERY, LO_RATE_LIMITED, LogRecord,
  LogStats, writeAppend, writeQuery,
} from "../../lib/wire/logd";
import { check, checkDone, checkEqual, holding, proof, proven, waitNs } from "./lib";
import { hasLogged, lookAgain } from "./start-records";

const COUNTER_OWN_HANDLES: u32 = 0;
const RIGHT_SEND: u32 = 1;
const text: usize = memory.data(1024, 8);
const textWriter: Writer = changetype<Writer>(memory.data(16, 4));
const before: LogStats = changetype<LogStats>(memory.data(96, 8));
const after: LogStats = changetype<LogStats>(memory.data(96, 8));
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
/** A whole bucket is back after this long. */
const REFILL_NS: u64 = 1_500_000_000;
/** How often the sink is polled for an acknowledgement, a millisecond apart. */
const ACK_POLLS: u32 = 100;

/** Appends by call with constant texts; logd's status or a negative error. */
export function append(level: u8, message: string, fields: string): i32 {
  const scopeBytes = copyLiteral(text, "selftest");
  const messageBytes = copyLiteral(text + 64, message);
  const fieldsBytes = copyLiteral(text + 512, fields);
  return callAppend(SLOT_LOGD, level, text, scopeBytes, text + 64, messageBytes, text + 512, fieldsBytes);
}

/** Appends with texts of the given lengths, filled with blanks after one letter. */
export function appendSized(scopeBytes: u32, fieldsBytes: u32): i32 {
  memory.fill(text, 32, 1024);
  store<u8>(text, 107);
  return callAppend(SLOT_LOGD, LEVEL_INFO, text, scopeBytes, text, 1, text, fieldsBytes);
}

function provesRejects(): void {
  proof("logd rejects");
  checkDone(readLogStats(SLOT_LOGD, before), "stats");
  checkEqual(append(9, "bad level", ""), LO_INVALID_ARGS, "bad level");
  checkEqual(append(LEVEL_INFO, "spoof", "sender_service_id=9999"), LO_INVALID_ARGS, "identity claim");
  checkEqual(append(LEVEL_INFO, "spoof", "ok=1\n Service-ID =9999"), LO_INVALID_ARGS, "identity claim in disguise");
  checkEqual(appendSized(1, LOGD_FIELDS_BYTES_MAX + 1), LO_OVER_LIMIT, "fields over limit");
  checkEqual(appendSized(LOGD_SCOPE_BYTES_MAX + 1, 0), LO_OVER_LIMIT, "scope over limit");
  let limited: u32 = 0;
  let accepted: u32 = 0;
  for (let i: u32 = 0; i < LOGD_APPEND_BURST + 8; i++) {
    const status = append(LEVEL_INFO, "flood", "");
    if (status == LO_RATE_LIMITED) limited++;
    else if (status == LO_OK) accepted++;
    else checkEqual(status, LO_OK, "flood");
  }
  check(limited != 0, "no append was rate limited");
  checkDone(readLogStats(SLOT_LOGD, after), "stats");
  checkEqual(after.rejectInvalidArgs - before.rejectInvalidArgs, 3, "invalid_args counted");
  checkEqual(after.rejectOverLimit - before.rejectOverLimit, 2, "over_limit counted");
  checkEqual(after.rejectRateLimited - before.rejectRateLimited, limited, "rate_limited counted");
  checkEqual(after.total - before.total, accepted, "records stored");
  waitNs(REFILL_NS);
  checkEqual(append(LEVEL_INFO, "after the flood", ""), LO_OK, "the bucket refills");
  proven(M_SELFTEST_LOGD_HARDENING_REJECTS_OK);
}

/** True when the record is ours, whole, with these texts. */
function isRecord(record: LogRecord, message: string, fields: string): bool {
  if (record.sender != SVC_SELFTEST_ID || !equalsLiteral(record.scope, record.scopeBytes, "selftest")) return false;
  return equalsLiteral(record.message, record.messageBytes, message)
    && equalsLiteral(record.fields, record.fieldsBytes, fields);
}

/** Enough records at the limit of their fields that the journal needs several pages. */
const LONG_RECORDS: u32 = 16;

function provesQuery(): void {
  proof("log query");
  checkEqual(append(LEVEL_INFO, "query probe one", "n=1"), LO_OK, "append");
  const first = appendedRecordId;
  checkEqual(append(LEVEL_WARN, "query probe two", "n=2\nlast=yes"), LO_OK, "append");
  const second = appendedRecordId;
  check(second > first, "record ids increase");
  for (let i: u32 = 0; i < LONG_RECORDS; i++) checkEqual(appendSized(1, LOGD_FIELDS_BYTES_MAX), LO_OK, "long record");
  checkDone(readLogStats(SLOT_LOGD, before), "stats");
  cursor.begin(before.total - before.recordsUsed);
  let last = cursor.afterRecordId;
  let count: u32 = 0;
  let found: u32 = 0;
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX && holding(); i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (record.recordId > before.total) break;
    checkEqual(record.recordId, last + 1, "record id after its predecessor");
    last = record.recordId;
    count++;
    if (record.recordId == first && isRecord(record, "query probe one", "n=1")) found |= 1;
    if (record.recordId == second && record.level == LEVEL_WARN) {
      if (isRecord(record, "query probe two", "n=2\nlast=yes")) found |= 2;
    }
  }
  checkEqual(queryOutcome, 0, "query status");
  checkEqual(last, before.total, "last record of the union");
  checkEqual(count, before.recordsUsed, "records in the union of the pages");
  checkEqual(found, 3, "both probes whole");
  check(cursor.pages > 2, "the journal fits one page");
  proven(M_SELFTEST_LOG_QUERY_OK);
}

function provesDenial(): void {
  proof("log query denied");
  checkDone(readLogStats(SLOT_LOGD, before), "stats");
  writeQuery(beginRequest(LO, LO_QUERY), 0, 0, 0);
  checkEqual(callRequest(SLOT_LOGD, QUERY_BUDGET_NS), 0, "call");
  checkEqual(reply.status, LO_DENIED, "status without the right");
  checkEqual(reply.body.left, 0, "bytes that leaked");
  checkDone(readLogStats(SLOT_LOGD, after), "stats");
  checkEqual(after.denied - before.denied, 1, "denials counted");
  proven(M_SELFTEST_LOG_QUERY_DENIED_OK);
}

const SLOW_SENDS: u32 = 6;

/** A client whose reply endpoint holds one message and is never drained: logd drops the rest and goes on at once. */
function provesSlowClient(): void {
  proof("logd slow client");
  const handles = sys_counter(COUNTER_OWN_HANDLES);
  const endpoint = sys_endpoint_create(1);
  checkDone(endpoint, "endpoint");
  checkDone(readLogStats(SLOT_LOGD, before), "stats");
  for (let i: u32 = 0; i < SLOW_SENDS && holding(); i++) {
    const clone = sys_cap_clone(<u32>endpoint, RIGHT_SEND);
    if (!checkDone(clone, "clone")) break;
    const scopeBytes = copyLiteral(text, "selftest");
    writeAppend(beginRequest(LO, LO_APPEND), LEVEL_INFO, text, scopeBytes, text, scopeBytes, text, 0);
    if (!checkDone(sendRequest(SLOT_LOGD, <u32>clone), "send")) sys_cap_close(<u32>clone);
  }
  const start_ns = sys_time_ns();
  checkDone(readLogStats(SLOT_LOGD, after), "stats");
  check(sys_time_ns() - start_ns < 100_000_000, "logd was held up");
  checkEqual(after.total - before.total, SLOW_SENDS, "records stored");
  checkEqual(after.repliesLost - before.repliesLost, SLOW_SENDS - 1, "lost replies counted");
  sys_cap_close(<u32>endpoint);
  checkEqual(sys_counter(COUNTER_OWN_HANDLES), handles, "handles");
  proven(M_SELFTEST_LOGD_SLOW_CLIENT_OK);
}

/** Polls the sink until `acknowledged` records were acknowledged; bounded. */
function awaitAcknowledged(acknowledged: u64): bool {
  for (let i: u32 = 0; i < ACK_POLLS; i++) {
    sinkFlush();
    if (sinkStats().acknowledged >= acknowledged) return true;
    if (i == 0) sys_yield();
    else waitNs(1_000_000);
  }
  return false;
}

/** Logs one probe through nexus-log, waits for the acknowledgement and reads the record back. */
function sinkProbe(path: string): void {
  const acknowledged = sinkStats().acknowledged;
  logInfo("selftest").text("nexus-log sink-logd probe").field("path", path).end();
  if (!check(awaitAcknowledged(acknowledged + 1), "not acknowledged")) return;
  const id = sinkStats().lastRecordId;
  const record = nextRecord(SLOT_LOG_QUERY, cursor.begin(id - 1));
  if (record === null) {
    check(false, "not found by query");
    return;
  }
  checkEqual(record.recordId, id, "record id");
  textWriter.reset(text, 64).fieldLiteral("path", path);
  check(record.sender == SVC_SELFTEST_ID, "sender");
  check(equalsLiteral(record.message, record.messageBytes, "nexus-log sink-logd probe"), "message");
  check(record.fieldsBytes == textWriter.length && memory.compare(record.fields, text, textWriter.length) == 0, "fields");
}

function provesSink(): void {
  proof("nexus-log");
  const endpoint = <u32>sys_endpoint_create(8);
  const other = <u32>sys_endpoint_create(1);
  const sendOnly = <u32>sys_cap_clone(endpoint, RIGHT_SEND);
  check(!configure_sink_logd_slots(0, endpoint, endpoint), "an empty slot was taken");
  check(!configure_sink_logd_slots(SLOT_LOGD, sendOnly, endpoint), "a reply slot without clone was taken");
  check(!configure_sink_logd_slots(SLOT_LOGD, endpoint, sendOnly), "a reply slot without receive was taken");
  check(!configure_sink_logd_slots(SLOT_LOGD, endpoint, other), "two unconnected reply slots were taken");
  sys_cap_close(sendOnly);
  sys_cap_close(other);
  check(configure_sink_logd_slots(SLOT_LOGD, endpoint, endpoint), "valid slots were refused");
  check(sinkOnSlots(), "slots in use");
  const handles = sys_counter(COUNTER_OWN_HANDLES);
  sinkProbe("slots");
  const routes = sinkStats().routes;
  sinkUseRoute();
  sinkProbe("route");
  checkEqual(sinkStats().routes, routes + 1, "routes resolved");
  check(!sinkOnSlots(), "the route is in use");
  checkEqual(sys_counter(COUNTER_OWN_HANDLES), handles + 1, "handles: one for the route");
  checkEqual(sinkStats().mismatched, 0, "mismatched replies");
  proven(M_SELFTEST_NEXUS_LOG_SINK_LOGD_OK);
}

/** The services that must have logged under their own id by now (init-lite holds no capability to logd). */
const CORE_SERVICES: u32 = 10;
const coreIds: usize = memory.data<u64>([
  SVC_POLICYD_ID, SVC_LOGD_ID, SVC_SAMGRD_ID, SVC_METRICSD_ID, SVC_TIMED_ID, SVC_RNGD_ID, SVC_BUNDLEMGRD_ID,
  SVC_EXECD_ID, SVC_PORTD_ID, SVC_DCGMD_ID,
]);

function provesCoreServices(): void {
  proof("core services log");
  lookAgain();
  let seen: u32 = 0;
  for (let s: u32 = 0; s < CORE_SERVICES; s++) if (hasLogged(load<u64>(coreIds + (s << 3)))) seen |= 1 << s;
  checkEqual(seen, (1 << CORE_SERVICES) - 1, "services seen, one bit each");
  proven(M_SELFTEST_CORE_SERVICES_LOG_OK);
}

/** Phase logd of the ladder, in the order of markers/50-logd.toml. */
export function logd_proofs(): void {
  provesRejects();
  provesQuery();
  provesDenial();
  provesSlowClient();
  provesSink();
  provesCoreServices();
}
