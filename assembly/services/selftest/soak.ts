// SPDX-License-Identifier: Apache-2.0
// Profile soak: logd, metricsd (counters, histograms, spans) and statefsd at the highest rates that they accept, for as many minutes of
// guest time as boot argument `minutes` says; metricsd's retention works along. The host's half, with the limits, is scripts/soak.ts.
// Each second every bucket is emptied until the first refusal, then the guest waits for the next second. High-water marks are kept
// here; after WARM_UP_S, each INTERVAL_S and at the end lines `SELFTEST: soak ...` say what the services and the kernel count.
// Invariant: every answer other than OK and RATE_LIMITED is a failed check, which ends the run red; nothing is retried.
// Limits: MINUTES_MAX; KEYS keys of VALUE_BYTES; a bucket is tried at most TRIES_MAX times a second.
import { KERNEL_LINE_BYTES_MAX } from "../../gen/limits";
import {
  COUNTER_DROPPED_REPLIES, COUNTER_ENDPOINTS, COUNTER_FREE_FRAMES, COUNTER_FREE_FRAMES_LEAST, COUNTER_OWN_HANDLES, COUNTER_QUEUED_MESSAGES,
} from "../../gen/counters";
import { SVC_SELFTEST_ID } from "../../gen/services";
import { SLOT_LOGD, SLOT_METRICSD } from "../../gen/slots";
import { sys_boot_arg, sys_console_line, sys_counter, sys_time_ns } from "../../gen/syscalls";
import { copyLiteral, parseDecimal, parsedDecimal } from "../../lib/bounded/text";
import { MT, Route, Writer, beginRequest, reply } from "../../lib/nexus-ipc/index";
import { metricsInit, nextSpanId, nextTraceId } from "../../lib/nexus-metrics/index";
import { readLogStats } from "../../lib/nexus-log/index";
import {
  STATE_REFUSED, stateBatch, stateBatchBegin, stateBatchDel, stateBatchPut, stateCounter, stateStatus,
} from "../../lib/nexus-state/index";
import { LEVEL_INFO, LO_OK, LO_RATE_LIMITED, LogStats } from "../../lib/wire/logd";
import {
  MT_KIND_COUNTER, MT_OK, MT_OP_BATCH, MT_OP_HIST_OBSERVE, MT_OP_REGISTER, MT_OP_SPAN_END, MT_OP_SPAN_START, MT_OP_STATS, MT_RATE_LIMITED,
  MT_SPAN_OK, MT_STATS, MT_UNIT_NONE, putSpanEnd, putSpanStart,
} from "../../lib/wire/metricsd";
import { SF_OK, SF_STATS_COUNTERS } from "../../lib/wire/statefsd";
import { append } from "./logd";
import { check, checkDone, checkEqual, failedChecks, proof, waitNs } from "./lib";
import { sendUpdate } from "./metrics";
import { ask } from "./records";

const SECOND_NS: u64 = 1_000_000_000;
const MINUTES_MAX: u64 = 10_080;
/** The first report, that later ones are compared with. */
const WARM_UP_S: u64 = 60;
const INTERVAL_S: u64 = 600;
const TRIES_MAX: u32 = 256;
const SERIES: u32 = 16;
const KEYS: u32 = 512;
const VALUE_BYTES: u32 = 256;
const BATCHES_A_SECOND: u32 = 4;
const PUTS_A_BATCH: u32 = 16;
const DELS_A_BATCH: u32 = 2;
const BUDGET_NS: u64 = 5_000_000_000;

const state: Route = changetype<Route>(memory.data(8, 4));
const line: Writer = changetype<Writer>(memory.data(16, 4));
const lineBuffer: usize = memory.data(KERNEL_LINE_BYTES_MAX);
const key: usize = memory.data(64);
const value: usize = memory.data(256, 8);
const name: usize = memory.data(32);
const handles: usize = memory.data(64, 4);
const logStats: LogStats = changetype<LogStats>(memory.data(96, 8));

let puts: u64 = 0;
let logged: u64 = 0;
let logLimited: u64 = 0;
let updates: u64 = 0;
let updatesLimited: u64 = 0;
let queuedMost: u64 = 0;
let endpointsMost: u64 = 0;
let handlesMost: u64 = 0;
let framesAtStart: u64 = 0;

function minutes(): u64 {
  const bytes = sys_boot_arg(<u32>name, copyLiteral(name, "minutes"), <u32>value, 16);
  const good = bytes > 0 && parseDecimal(value, <u32>bytes) && parsedDecimal >= 1 && parsedDecimal <= MINUTES_MAX;
  return check(good, "boot argument minutes") ? parsedDecimal : 0;
}

function figure(text: string, number: u64): void {
  line.reset(lineBuffer, KERNEL_LINE_BYTES_MAX).putText("SELFTEST: soak ").putText(text).putText("=").putDecimal(number);
  sys_console_line(<u32>lineBuffer, line.length);
}
/** One word of a service's STATS; what it means is the wire table's and the host's to know. */
function word(text: string, index: u32, number: u64): void {
  line.reset(lineBuffer, KERNEL_LINE_BYTES_MAX).putText("SELFTEST: soak ").putText(text).putDecimal(index).putText("=").putDecimal(number);
  sys_console_line(<u32>lineBuffer, line.length);
}

/** Keeps the high-water marks of the kernel's counters. */
function watch(): void {
  queuedMost = max<u64>(queuedMost, <u64>sys_counter(COUNTER_QUEUED_MESSAGES));
  endpointsMost = max<u64>(endpointsMost, <u64>sys_counter(COUNTER_ENDPOINTS));
  handlesMost = max<u64>(handlesMost, <u64>sys_counter(COUNTER_OWN_HANDLES));
}

function registerSeries(): void {
  for (let i: u32 = 0; i < SERIES; i++) {
    const labels = i < 8 ? "k=a" : "k=b";
    const w = beginRequest(MT, MT_OP_REGISTER).putU8(MT_KIND_COUNTER).putU8(MT_UNIT_NONE).putU8(6).putU8(0).putU16(<u16>labels.length);
    w.putText("soak_").putU8(<u8>(97 + (i & 7))).putText(labels);
    if (!checkEqual(ask(), MT_OK, "register")) return;
    store<u32>(handles + 4 * i, reply.body.takeU32());
    if ((i & 7) == 7) waitNs(SECOND_NS);
  }
}

/** Appends until logd refuses. */
function soakLog(): void {
  for (let i: u32 = 0; i < TRIES_MAX; i++) {
    const status = append(LEVEL_INFO, "soak: a record of sixty-four bytes, as many of them as there are", "a=1");
    if (status == LO_RATE_LIMITED) {
      logLimited++;
      return;
    }
    if (!checkEqual(status, LO_OK, "append")) return;
    logged++;
  }
}

function took(status: i32, events: u32, what: string): bool {
  if (status == MT_RATE_LIMITED) {
    updatesLimited++;
    return false;
  }
  if (!checkEqual(status, MT_OK, what)) return false;
  updates += events;
  return true;
}

function oneSpan(): bool {
  const span = nextSpanId();
  const now_ns = <u64>sys_time_ns();
  const nameBytes = copyLiteral(name, "soak.span");
  putSpanStart(beginRequest(MT, MT_OP_SPAN_START), span, nextTraceId(), 0, now_ns, name, nameBytes, name, 0);
  if (!took(ask(), 1, "span start")) return false;
  putSpanEnd(beginRequest(MT, MT_OP_SPAN_END), span, now_ns + 1000, MT_SPAN_OK, name, 0);
  return took(ask(), 1, "span end");
}

/** A span, observations, then batches of counters until metricsd refuses. */
function soakMetrics(): void {
  if (!oneSpan()) return;
  for (let i: u32 = 0; i < 4; i++) {
    if (!took(sendUpdate(MT_OP_HIST_OBSERVE, "soak_wait_ns", 500_000 * (i + 1)), 1, "observe")) return;
  }
  for (let tries: u32 = 0; tries < TRIES_MAX; tries++) {
    const w = beginRequest(MT, MT_OP_BATCH).putU16(8).putU16(0);
    for (let i: u32 = 0; i < 8; i++) w.putU32(load<u32>(handles + 4 * ((tries & 1) * 8 + i))).putU64(1);
    if (!took(ask(), 8, "batch")) return;
  }
}

function putKey(n: u32): u32 {
  const bytes = copyLiteral(key, "/state/test/soak/");
  store<u8>(key + bytes, <u8>(97 + n % 26));
  store<u8>(key + bytes + 1, <u8>(97 + n / 26));
  return bytes + 2;
}

/** Batches that overwrite, and now and then delete; each is waited for. */
function soakState(second: u64): void {
  for (let b: u32 = 0; b < BATCHES_A_SECOND; b++) {
    stateBatchBegin();
    let n = <u32>(second * (BATCHES_A_SECOND * PUTS_A_BATCH) + b * PUTS_A_BATCH);
    for (let i: u32 = 0; i < PUTS_A_BATCH; i++, n++) {
      store<u64>(value, <u64>n * 0x9e3779b97f4a7c15);
      if (!check(stateBatchPut(key, putKey(n * 7 % KEYS), value, VALUE_BYTES), "batch is full")) return;
    }
    for (let i: u32 = 0; i < DELS_A_BATCH; i++) check(stateBatchDel(key, putKey((n + i) * 11 % KEYS)), "batch is full");
    const outcome = stateBatch(state, false, BUDGET_NS);
    if (outcome == STATE_REFUSED) checkEqual(stateStatus(), SF_OK, "status of a batch");
    if (!checkEqual(outcome, 0, "batch")) return;
    puts += PUTS_A_BATCH;
  }
}

function report(seconds: u64): void {
  figure("second", seconds);
  figure("free_frames", <u64>sys_counter(COUNTER_FREE_FRAMES));
  figure("free_frames_least", <u64>sys_counter(COUNTER_FREE_FRAMES_LEAST));
  figure("free_frames_at_start", framesAtStart);
  figure("queued_messages_most", queuedMost);
  figure("endpoints", <u64>sys_counter(COUNTER_ENDPOINTS));
  figure("endpoints_most", endpointsMost);
  figure("own_handles_most", handlesMost);
  figure("dropped_replies", <u64>sys_counter(COUNTER_DROPPED_REPLIES));
  figure("state_puts", puts);
  figure("log_appends", logged);
  figure("log_limited", logLimited);
  figure("metric_events", updates);
  figure("metric_limited", updatesLimited);
  for (let i: u32 = 0; i < SF_STATS_COUNTERS; i++) {
    const number = stateCounter(state, i, BUDGET_NS);
    if (!checkDone(number, "state counter")) return;
    word("statefsd.", i, <u64>number);
  }
  checkDone(readLogStats(SLOT_LOGD, logStats), "logd stats");
  for (let at: u32 = 0; at < LogStats.BYTES; at += 8) word("logd.", at >> 3, load<u64>(changetype<usize>(logStats) + at));
  beginRequest(MT, MT_OP_STATS);
  if (!checkEqual(ask(), MT_OK, "stats")) return;
  const words = reply.body.takeBytes(MT_STATS * 8);
  if (!check(reply.body.finished, "stats length")) return;
  for (let i: u32 = 0; i < MT_STATS; i++) word("metricsd.", i, load<u64>(words + 8 * i));
}

export function soak(): void {
  proof("soak");
  metricsInit(SVC_SELFTEST_ID, SLOT_METRICSD, true); // for the ids of spans
  const seconds = 60 * minutes();
  framesAtStart = <u64>sys_counter(COUNTER_FREE_FRAMES);
  registerSeries();
  const start_ns = <u64>sys_time_ns();
  for (let second: u64 = 0; second < seconds && failedChecks() == 0; second++) {
    soakLog();
    soakMetrics();
    soakState(second);
    watch();
    const next_ns = start_ns + (second + 1) * SECOND_NS;
    const now_ns = <u64>sys_time_ns();
    if (now_ns < next_ns) waitNs(next_ns - now_ns);
    const due = second + 1 == WARM_UP_S || (second + 1) % INTERVAL_S == 0;
    if (due && second + 1 != seconds) report(second + 1);
  }
  report(seconds);
}
