// SPDX-License-Identifier: Apache-2.0
// Proofs of phase metrics: rejects with exact counter deltas, counters, gauges, histograms, the records of other
// producers, and that a planted secret is nowhere.
// Invariant: each success was read back from logd by QUERY, whole: names, values, labels, producer and series handle.
// Limits: the default recipe (image/recipes/observability/metrics.toml); waits are guest time.
import { LOGD_APPEND_BURST, LOGD_RECORDS_MAX, METRICSD_SERIES_MAX } from "../../gen/limits";
import {
  M_SELFTEST_METRICS_COUNTERS_OK, M_SELFTEST_METRICS_GAUGES_OK, M_SELFTEST_METRICS_HISTOGRAMS_OK,
  M_SELFTEST_METRICS_SECURITY_REJECTS_OK, M_SELFTEST_PRODUCERS_OK, M_SELFTEST_REDACTION_OK,
} from "../../gen/markers";
import {
  SVC_BUNDLEMGRD_ID, SVC_EXECD_ID, SVC_METRICSD_ID, SVC_SELFTEST_ID, SVC_TIMED_ID,
} from "../../gen/services";
import { SLOT_LOGD, SLOT_METRICSD, SLOT_POLICYD } from "../../gen/slots";
import { sys_cap_clone, sys_cap_close, sys_endpoint_create, sys_time_ns } from "../../gen/syscalls";
import { indexOfLiteral } from "../../lib/bounded/text";
import {
  BN, MT, PO, Route, TM, beginRequest, callRequest, reply,
} from "../../lib/nexus-ipc/index";
import { callAppend, logInfo, readLogStats, sinkFlush, sinkStats } from "../../lib/nexus-log/index";
import {
  metricsFlush, metricsInit, metricsLost, metricsWaiting, nextSpanId, nextTraceId, rootSpan, spanEnd, spanId, spanStart,
  spanTrace,
} from "../../lib/nexus-metrics/index";
import { BN_OK, BN_OP_LIST } from "../../lib/wire/bundlemgrd";
import { EX_DENIED } from "../../lib/wire/execd";
import { LEVEL_INFO, LO_OK, LogStats } from "../../lib/wire/logd";
import {
  MT_CURSOR_END, MT_DENIED, MT_INVALID_ARGS, MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_OK, MT_OP_BATCH,
  MT_OP_COUNTER_INC, MT_OP_GAUGE_SET, MT_OP_HIST_OBSERVE, MT_OP_REGISTER, MT_OP_SNAPSHOT, MT_OP_SPAN_END, MT_OP_SPAN_START,
  MT_OVER_LIMIT, MT_RATE_LIMITED, MT_SPAN_OK, MT_STAT_REDACTIONS, MT_STAT_SERIES, MT_STAT_UPDATES, MT_TRACE_XOR,
  MT_UNIT_BYTES, MT_UNIT_NONE, MT_UNIT_NS, putSnapshot, putSpanEnd, putSpanStart,
} from "../../lib/wire/metricsd";
import { PO_DENY, PO_OP_CHECK_CAP } from "../../lib/wire/policyd";
import { TM_OK, TM_OP_REGISTER, TM_QOS_IDLE } from "../../lib/wire/timed";
import { execRun, execsDenied } from "./children";
import { check, checkDone, checkEqual, holding, proof, proven, waitNs } from "./lib";
import { append } from "./logd";
import {
  ASK_WAIT_NS, ask, beginExchange, countLiteral, findFitting, findProducer, findWanted, flush, keepStats, readStatsAgain, scratch,
  statDelta, text, want, wantOwnProducer, wanted,
} from "./records";
import { checkLimitsRecords, checkStartSpawns } from "./start-records";

const RIGHT_SEND: u32 = 1;
const PER_METRIC: u32 = 16;
const EVENTS_MOST: u32 = 80;
/** More than any producer keeps what it measured or logged. */
const PRODUCERS_WAIT_NS: u64 = 100_000_000;
/** How often the sink is polled for an acknowledgement, a millisecond apart. */
const SINK_POLLS: i32 = 20;
/** Another service's id: nobody of this image. */
const FOREIGN: u64 = 0x0123456789abcdef;
/** The planted secret. It is spelled whole here alone. */
const CANARY: string = "vigil-canary-7f3a9c51";
/** The same for names that policyd takes: small letters and digits. Its shape, long hexadecimal, gives it away. */
const CANARY_HEX: string = "7f3a9c51e04b28d67f3a9c51e04b28d67f3a9c51";
/** Span and trace ids that this phase takes; phase tracing counts on from them. */
export const METRICS_SPANS: u64 = 2;
export const METRICS_TRACES: u64 = 3;

/** The n-th span id of this service in a boot, by the contract. */
export function expectedSpanId(n: u64): u64 {
  return (SVC_SELFTEST_ID << 32) | n;
}
/** The n-th trace id. */
export function expectedTraceId(n: u64): u64 {
  return ((SVC_SELFTEST_ID ^ MT_TRACE_XOR) << 32) | n;
}

/** One update by name; labels are a literal. Status or negative error. */
export function sendUpdate(op: u8, name: string, value: u64, labels: string = ""): i32 {
  const w = beginRequest(MT, op).putU8(<u8>name.length).putU16(<u16>labels.length).putU64(value);
  w.putText(name).putText(labels);
  return ask();
}

/** The same with the labels in `scratch`. */
function sendLabelled(op: u8, name: string, value: u64): i32 {
  const w = beginRequest(MT, op).putU8(<u8>name.length).putU16(<u16>scratch.length).putU64(value);
  w.putText(name).putBytes(scratch.base, scratch.length);
  return ask();
}

/** REGISTER; the handle, or 0 with a failed check. */
function registered(kind: u8, unit: u8, name: string, labels: string = ""): u32 {
  const w = beginRequest(MT, MT_OP_REGISTER).putU8(kind).putU8(unit).putU8(<u8>name.length).putU8(0);
  w.putU16(<u16>labels.length).putText(name).putText(labels);
  if (!checkEqual(ask(), MT_OK, name)) return 0;
  const handle = reply.body.takeU32();
  check(reply.body.finished && handle >> 16 != 0, "a handle without generation");
  return handle;
}

/** metricsd's own count of the flood was in the journal when that was new. */
let rejectsLogged: bool = false;

function provesRejects(): void {
  proof("metrics rejects");
  beginExchange();
  keepStats();
  // invalid_args: an empty name, a negative histogram value, two values for one label, an identity claim, a foreign span.
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "", 1), MT_INVALID_ARGS, "empty name");
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "9bad", 1), MT_INVALID_ARGS, "bad name");
  checkEqual(sendUpdate(MT_OP_HIST_OBSERVE, "selftest.h", <u64>-1), MT_INVALID_ARGS, "negative observation");
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "selftest.l", 1, "a=1\na=2"), MT_INVALID_ARGS, "two values for a label");
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "selftest.l", 1, "Sender-Service-Id=1"), MT_INVALID_ARGS, "identity claim");
  text().putText("spoof");
  const trace = nextTraceId();
  checkEqual(trace, expectedTraceId(1), "the first trace id");
  putSpanStart(beginRequest(MT, MT_OP_SPAN_START), (FOREIGN << 32) | 1, trace, 0, 1, scratch.base, 5, 0, 0);
  checkEqual(ask(), MT_INVALID_ARGS, "span id of another sender");
  // over_limit: a name of 49 bytes, and a flood of labels to the cap exactly.
  text();
  for (let i: u32 = 0; i < 49; i++) scratch.putU8(110);
  beginRequest(MT, MT_OP_COUNTER_INC).putU8(49).putU16(0).putU64(1).putBytes(scratch.base, 49);
  checkEqual(ask(), MT_OVER_LIMIT, "name over limit");
  for (let i: u32 = 0; i < PER_METRIC; i++) {
    text().fieldDecimal("k", i);
    if (!checkEqual(sendLabelled(MT_OP_COUNTER_INC, "selftest.flood", 1), MT_OK, "label below the cap")) break;
  }
  text().fieldDecimal("k", PER_METRIC);
  checkEqual(sendLabelled(MT_OP_COUNTER_INC, "selftest.flood", 1), MT_OVER_LIMIT, "label above the cap");
  text().fieldDecimal("k", 3);
  checkEqual(sendLabelled(MT_OP_COUNTER_INC, "selftest.flood", 1), MT_OK, "a known series above the cap");
  // rate_limited: until the bucket is empty, and a while longer.
  let accepted: u32 = PER_METRIC + 1;
  let limited: u32 = 0;
  for (let i: u32 = 0; i < EVENTS_MOST; i++) {
    const status = sendUpdate(MT_OP_COUNTER_INC, "selftest.rate", 1);
    if (status == MT_RATE_LIMITED) limited++;
    else if (status == MT_OK) accepted++;
    else checkEqual(status, MT_OK, "flood");
  }
  check(limited != 0, "no update was rate limited");
  // A frame that cannot be decoded is charged before that shows.
  beginRequest(MT, MT_OP_COUNTER_INC);
  checkEqual(ask(), MT_RATE_LIMITED, "malformed beyond the rate");
  readStatsAgain();
  checkEqual(statDelta(MT_INVALID_ARGS), 6, "invalid_args counted");
  checkEqual(statDelta(MT_OVER_LIMIT), 2, "over_limit counted");
  checkEqual(statDelta(MT_RATE_LIMITED), <i64>limited + 1, "rate_limited counted");
  checkEqual(statDelta(MT_STAT_UPDATES), accepted, "updates applied");
  checkEqual(statDelta(MT_STAT_SERIES), PER_METRIC + 1, "series made");
  waitNs(1_100_000_000);
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "selftest.rate", 1), MT_OK, "the bucket refills");
  flush();
  rejectsLogged = findProducer("metricsd.reject.rate_limited", SVC_METRICSD_ID);
  proven(M_SELFTEST_METRICS_SECURITY_REJECTS_OK);
}

function provesCounters(): void {
  proof("metrics counters");
  beginExchange();
  const labels = "phase=selftest\nb=2";
  const handle = registered(MT_KIND_COUNTER, MT_UNIT_NONE, "selftest.counter", labels);
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "selftest.counter", 3, labels), MT_OK, "+3");
  beginRequest(MT, MT_OP_BATCH).putU16(1).putU16(0).putU32(handle).putU64(4);
  checkEqual(ask(), MT_OK, "+4 by handle");
  const big = registered(MT_KIND_COUNTER, MT_UNIT_NONE, "selftest.big");
  beginRequest(MT, MT_OP_BATCH).putU16(2).putU16(0).putU32(big).putU64(0xfffffffffffffff0).putU32(big).putU64(5);
  checkEqual(ask(), MT_OK, "big u64");
  flush();
  want().putText("kind=counter\nlabel.b=2\nlabel.phase=selftest\nname=selftest.counter");
  wantOwnProducer().fieldKey("series").putHex(handle, 8).fieldDecimal("value", 7);
  findWanted("the record of 3 + 4");
  want().putText("kind=counter\nname=selftest.big");
  wantOwnProducer().fieldKey("series").putHex(big, 8).fieldLiteral("value", "18446744073709551605");
  findWanted("the record of the big u64");
  proven(M_SELFTEST_METRICS_COUNTERS_OK);
}

function wantGauge(handle: u32, value: i64): void {
  want().putText("kind=gauge\nname=selftest.gauge");
  wantOwnProducer().fieldKey("series").putHex(handle, 8).fieldSigned("value", value);
}

function provesGauges(): void {
  proof("metrics gauges");
  beginExchange();
  const handle = registered(MT_KIND_GAUGE, MT_UNIT_NONE, "selftest.gauge");
  checkEqual(sendUpdate(MT_OP_GAUGE_SET, "selftest.gauge", 7), MT_OK, "7");
  flush();
  wantGauge(handle, 7);
  findWanted("the record of 7");
  checkEqual(sendUpdate(MT_OP_GAUGE_SET, "selftest.gauge", 9), MT_OK, "9");
  checkEqual(sendUpdate(MT_OP_GAUGE_SET, "selftest.gauge", <u64>-3), MT_OK, "-3");
  flush();
  wantGauge(handle, -3);
  findWanted("the record of -3");
  proven(M_SELFTEST_METRICS_GAUGES_OK);
}

function provesHistograms(): void {
  proof("metrics histograms");
  beginExchange();
  const ns = registered(MT_KIND_HISTOGRAM, MT_UNIT_NS, "selftest.delta");
  const w = beginRequest(MT, MT_OP_BATCH).putU16(8).putU16(0);
  w.putU32(ns).putU64(1000).putU32(ns).putU64(12000).putU32(ns).putU64(1_000_000).putU32(ns).putU64(1_000_001);
  w.putU32(ns).putU64(5_000_000).putU32(ns).putU64(20_000_001).putU32(ns).putU64(100_000_000).putU32(ns).putU64(100_000_001);
  checkEqual(ask(), MT_OK, "boundary values");
  const bytes = registered(MT_KIND_HISTOGRAM, MT_UNIT_BYTES, "selftest.size");
  const v = beginRequest(MT, MT_OP_BATCH).putU16(3).putU16(0);
  v.putU32(bytes).putU64(1024).putU32(bytes).putU64(1025).putU32(bytes).putU64(2_000_000);
  checkEqual(ask(), MT_OK, "sizes");
  flush();
  want().putText("bounds=1000000,5000000,20000000,100000000\nbuckets=3,2,0,2,1\ncount=8\nkind=histogram\nname=selftest.delta");
  wantOwnProducer().fieldKey("series").putHex(ns, 8).fieldDecimal("sum", 227_013_003).fieldLiteral("unit", "ns");
  findWanted("the record of boundary values");
  want().putText("bounds=1024,16384,65536,262144,1048576\nbuckets=1,1,0,0,0,1\ncount=3\nkind=histogram\nname=selftest.size");
  wantOwnProducer().fieldKey("series").putHex(bytes, 8).fieldDecimal("sum", 2_002_049).fieldLiteral("unit", "bytes");
  findWanted("the record of sizes");
  proven(M_SELFTEST_METRICS_HISTOGRAMS_OK);
}

const logStats: LogStats = changetype<LogStats>(memory.data(96, 8));
const timed: Route = changetype<Route>(memory.data(8, 4));
const bundlemgrd: Route = changetype<Route>(memory.data(8, 4));

/** Has each producer do one thing that it measures. */
function causeTelemetry(): void {
  const endpoint = sys_endpoint_create(4);
  if (!checkDone(endpoint, "endpoint")) return;
  const way = sys_cap_clone(<u32>endpoint, RIGHT_SEND);
  if (checkDone(timed.resolve("timed"), "route to timed") && checkDone(way, "clone")) {
    beginRequest(TM, TM_OP_REGISTER).putU8(TM_QOS_IDLE).putU8(0).putU64(<u64>sys_time_ns() + 3_000_000);
    const outcome = callRequest(timed.handle, ASK_WAIT_NS, <u32>way);
    if (!checkEqual(outcome, 0, "timer call")) sys_cap_close(<u32>way);
    else checkEqual(reply.status, TM_OK, "timer");
  }
  if (checkDone(bundlemgrd.resolve("bundlemgrd"), "route to bundlemgrd")) {
    beginRequest(BN, BN_OP_LIST).putU16(0);
    checkEqual(callRequest(bundlemgrd.handle, ASK_WAIT_NS), 0, "list call");
    checkEqual(reply.status, BN_OK, "list");
  }
  checkEqual(execRun("no-such-file"), EX_DENIED, "exec of no image");
  waitNs(PRODUCERS_WAIT_NS);
  sys_cap_close(<u32>endpoint);
}

/** Has logd drop every record that it holds now: nothing below may need one that the start or an earlier proof left. */
function rollJournal(): void {
  checkDone(readLogStats(SLOT_LOGD, logStats), "logd stats");
  const until = logStats.total;
  for (let turn: u32 = 0; turn <= 2 * LOGD_RECORDS_MAX / LOGD_APPEND_BURST && logStats.dropped < until && holding(); turn++) {
    for (let i: u32 = 0; i < LOGD_APPEND_BURST; i++) append(LEVEL_INFO, "roll", "");
    waitNs(1_000_000_000);
    checkDone(readLogStats(SLOT_LOGD, logStats), "logd stats");
  }
  check(logStats.dropped >= until, "the journal keeps what it should have dropped");
}

function provesProducers(): void {
  proof("producers");
  rollJournal();
  beginExchange();
  causeTelemetry();
  flush();
  check(findProducer("timed.coalesce.delta_ns", SVC_TIMED_ID), "no record of timed");
  check(findProducer("bundlemgrd.list.ok", SVC_BUNDLEMGRD_ID), "no record of bundlemgrd");
  want().putText("kind=counter\nname=execd.spawn.deny").fieldHex("producer", SVC_EXECD_ID);
  wanted.putText("\nseries=????????").fieldDecimal("value", execsDenied);
  findFitting("the record of what execd denied");
  checkEqual(countInRegistry("execd.spawn.fail"), 0, "a denied exec counted as failed");
  checkStartSpawns();
  check(rejectsLogged, "no record of metricsd itself");
  checkLimitsRecords();
  check(!findProducer("timed.coalesce.delta_ns", SVC_SELFTEST_ID), "a record under a foreign sender");
  proven(M_SELFTEST_PRODUCERS_OK);
}

/** Plants the secret in every way a producer could: by key, by shape, in labels, attributes, messages and fields. */
function plant(): void {
  text().fieldLiteral("password", CANARY);
  checkEqual(sendLabelled(MT_OP_COUNTER_INC, "selftest.redacted", 1), MT_OK, "label by key");
  text().fieldKey("note").putText("Bearer ").putText(CANARY);
  checkEqual(sendLabelled(MT_OP_GAUGE_SET, "selftest.redacted", 1), MT_OK, "label by shape");
  text().fieldKey("My-API.Key").putText(CANARY);
  checkEqual(sendLabelled(MT_OP_HIST_OBSERVE, "selftest.redacted", 1), MT_OK, "label by a disguised key");
  const span = nextSpanId();
  checkEqual(span, expectedSpanId(1), "the first span id");
  text().putText("redacted").fieldLiteral("session_token", CANARY);
  const attrs = scratch.base + 9;
  const attrsLen = scratch.length - 9;
  const w = beginRequest(MT, MT_OP_SPAN_START);
  putSpanStart(w, span, nextTraceId(), 0, 1, scratch.base, 8, attrs, attrsLen);
  checkEqual(ask(), MT_OK, "start attributes");
  putSpanEnd(beginRequest(MT, MT_OP_SPAN_END), span, 2, MT_SPAN_OK, attrs, attrsLen);
  checkEqual(ask(), MT_OK, "end attributes");
  // Straight to logd: message and fields.
  text().putText("selftest").putText("login with password=").putText(CANARY).putText(" and --token ").putText(CANARY);
  const messageLen = scratch.length - 8;
  scratch.putText("client_secret=").putText(CANARY).putText("\nurl=https://u:").putText(CANARY).putText("@host");
  const fields = scratch.base + 8 + messageLen;
  const status = callAppend(
    SLOT_LOGD, LEVEL_INFO, scratch.base, 8, scratch.base + 8, messageLen, fields, scratch.length - 8 - messageLen,
  );
  checkEqual(status, LO_OK, "append");
  plantByClients();
  plantByServices();
}

/** Through the two clients that every service uses: nexus-metrics' spans and nexus-log's fields. */
function plantByClients(): void {
  text().fieldLiteral("access_token", CANARY);
  const span = spanStart("selftest.redacted", rootSpan(), scratch.base, scratch.length);
  checkEqual(spanId(span), expectedSpanId(METRICS_SPANS), "the client's span id");
  checkEqual(spanTrace(span), expectedTraceId(METRICS_TRACES), "the client's trace id");
  check(spanEnd(span, MT_SPAN_OK), "end of the client's span");
  metricsFlush();
  check(!metricsWaiting(), "the span waits");
  checkEqual(metricsLost(), 0, "lost by nexus-metrics");
  const acknowledged = sinkStats().acknowledged;
  check(logInfo("selftest").text("nexus-log redaction").field("private_key", CANARY).end(), "nexus-log");
  for (let polls = 0; polls < SINK_POLLS && sinkStats().acknowledged == acknowledged; polls++) {
    waitNs(1_000_000);
    sinkFlush();
  }
  checkEqual(sinkStats().acknowledged - acknowledged, 1, "records that logd took of nexus-log");
}

/** Through what others log of us: policyd's audit of a capability and of an image, and execd's telemetry. */
function plantByServices(): void {
  beginRequest(PO, PO_OP_CHECK_CAP).putU64(SVC_SELFTEST_ID).putU8(<u8>CANARY_HEX.length).putText(CANARY_HEX);
  checkEqual(ask(SLOT_POLICYD), PO_DENY, "a capability named by the secret");
  checkEqual(execRun(CANARY), EX_DENIED, "an image named by the secret");
  waitNs(PRODUCERS_WAIT_NS);
}

/** Series of the registry whose labels hold the literal. */
function countInRegistry(literal: string): u32 {
  let found: u32 = 0;
  let page: u32 = 0;
  for (let turn: u32 = 0; turn < METRICSD_SERIES_MAX && page != MT_CURSOR_END && holding(); turn++) {
    putSnapshot(beginRequest(MT, MT_OP_SNAPSHOT), page, 0);
    if (!checkEqual(ask(SLOT_METRICSD), MT_OK, "snapshot")) break;
    const next = reply.body.takeU32();
    if (!check(next > page, "snapshot goes on")) break;
    page = next;
    const rest = reply.body.left;
    if (indexOfLiteral(reply.body.takeBytes(rest), rest, literal) >= 0) found++;
  }
  checkEqual(page, MT_CURSOR_END, "end of the snapshot");
  return found;
}

function provesRedaction(): void {
  proof("redaction");
  beginExchange();
  keepStats();
  plant();
  flush();
  readStatsAgain();
  checkEqual(statDelta(MT_STAT_REDACTIONS), 6, "redactions counted");
  checkEqual(countLiteral(CANARY), 0, "records that hold the secret");
  checkEqual(countInRegistry(CANARY), 0, "pages of series that hold the secret");
  checkEqual(countLiteral(CANARY_HEX), 0, "records that hold the secret's digits");
  checkEqual(countInRegistry(CANARY_HEX), 0, "pages of series that hold the secret's digits");
  // The records are there, without it.
  check(countLiteral("label.password=*") == 1, "no record of the label");
  check(countLiteral("label.note=Bearer *") == 1, "no record of the bearer label");
  check(countLiteral("attr.session_token=*") == 1 && countLiteral("end.session_token=*") == 1, "no record of the span");
  check(countLiteral("login with password=* and --token *") == 1, "no record of the message");
  check(countLiteral("client_secret=*\nurl=https://*@host") == 1, "no record of the fields");
  check(countLiteral("attr.access_token=*\n") == 1, "no record of the client's span");
  check(countLiteral("private_key=*") == 1, "no record of nexus-log");
  check(countLiteral("\ncap=*\ndecision=deny\n") == 1, "no audit record of the capability");
  proven(M_SELFTEST_REDACTION_OK);
}

/** Phase metrics of the ladder, in the order of markers/60-metrics.toml. */
export function metrics_proofs(): void {
  metricsInit(SVC_SELFTEST_ID, SLOT_METRICSD, true);
  provesRejects();
  provesCounters();
  provesGauges();
  provesHistograms();
  provesProducers();
  provesRedaction();
}
