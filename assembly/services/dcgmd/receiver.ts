// SPDX-License-Identifier: Apache-2.0
// Owns: the receiver's state and its tick: configuration, session, entities, watch, reading; what each failure means; when the next try is.
// Invariant: what is held is not asked for again: one connect a session, one enumeration while no entity is gone, one watch. Every failure
// has a kind; one that leaves nothing to read degrades the receiver until a reading succeeds. A reading that fails publishes nothing.
// Limits: one reading a tick, a second one only after entity_not_found; back-off from limits.dcgmd backoff_first_ns to backoff_max_ns.
import { DCGMD_BACKOFF_FIRST_NS, DCGMD_BACKOFF_MAX_NS, DCGMD_FLUSHES_MAX } from "../../gen/limits";
import { MUT_DCGMD_FORGETS_PANIC, MUT_DCGMD_HIDES_DROPPED, mutant } from "../../gen/mutants";
import { sys_counter, sys_time_ns } from "../../gen/syscalls";
import { LINK_OK, LINK_PORT, beginPayload, hostMonoNs, hostWallNs, portStatus, requestHost } from "../../lib/bridge-link/index";
import { beginScrape, endScrape, entitiesPresent, gpuInterval, gpuWatchList } from "../../lib/gpu/index";
import {
  MT_SPAN_ERROR, MT_SPAN_OK, metricsFlush, metricsLost, metricsWaiting, rootSpan, spanEnd, spanStart,
} from "../../lib/nexus-metrics/index";
import { Writer, serverTickAt } from "../../lib/nexus-ipc/index";
import {
  BRIDGE_STATUS_CONNECTION_LOST, BRIDGE_STATUS_ENTITY_NOT_FOUND, BRIDGE_STATUS_NOT_CONNECTED, BRIDGE_TYPE_CLOSE,
} from "../../lib/wire/bridge";
import {
  DG_KIND_CARDINALITY, DG_KIND_CONNECT, DG_KIND_DOWNSTREAM, DG_KIND_ENUMERATE, DG_KIND_INIT, DG_KIND_MIG, DG_KIND_PANIC, DG_KIND_READ,
  DG_KIND_WATCH,
} from "../../lib/wire/dcgmd";
import { PD_DENIED, PD_NOT_FOUND, PD_UNAVAILABLE } from "../../lib/wire/portd";
import { configFaults, configHolds, initialDelayMs, intervalMs, takeConfig } from "./config";
import { forgetScrapes } from "./latest";
import { countFailure, degrade, degradedKind, isDegraded, kindName, recover } from "./kinds";
import { logConfig, recordsLost } from "./records";
import { selfScrape } from "./self";
import { askConfig, configBytes, configText, connect, enumerate, latestValues, sourceLabel, sourceNow, watch } from "./session";
import { publish } from "./publish";

export const STATE_IDLE: u32 = 0;
export const STATE_CONFIGURED: u32 = 1;
export const STATE_CONNECTED: u32 = 2;
export const STATE_ENUMERATED: u32 = 3;
export const STATE_WATCHED: u32 = 4;

const COUNTER_OWN_GENERATION: u32 = 7;
const MS: u64 = 1_000_000;
const SPAN_ATTRS_BYTES: u32 = 96;
const spanAttrs: usize = memory.data(96);
const attrs: Writer = changetype<Writer>(memory.data(16, 4));

let state: u32 = STATE_IDLE;
let startedNs: u64 = 0;
let dueNs: u64 = 0;
/** The initial delay is known and kept. After a restart the engine is warm: a predecessor waited already. */
let waited: bool = false;
let generation: u64 = 0;
let scrapes: u64 = 0;
let failures: u64 = 0;
let failuresInRow: u32 = 0;
let sessions: u64 = 0;
let lostBefore: u64 = 0;

export function receiverState(): u32 {
  return state;
}
export function receiverGeneration(): u64 {
  return generation;
}
/** Readings tried, readings that failed, sessions opened, since start. */
export function scrapeCount(): u64 {
  return scrapes;
}
export function failureCount(): u64 {
  return failures;
}
export function sessionCount(): u64 {
  return sessions;
}
/** What will not arrive although it was read: updates that metricsd did not take, records that logd did not. */
export function lostCount(): u64 {
  return metricsLost() + recordsLost();
}

/** Begins: the kernel says which generation this is, so a predecessor's end, which nobody else could count, is counted here. */
export function receiverStart(): void {
  startedNs = <u64>sys_time_ns();
  generation = <u64>sys_counter(COUNTER_OWN_GENERATION);
  waited = generation > 1;
  if (generation > 1 && !mutant(MUT_DCGMD_FORGETS_PANIC)) countFailure(DG_KIND_PANIC, <i64>generation - 1);
}

/** One reading, with everything that it needs first; true when values were published. */
export function runScrape(logsTemperatures: bool): bool {
  scrapes++;
  const began = <u64>sys_time_ns();
  const span = spanStart("dcgmd.scrape", rootSpan());
  let ok = attempt(logsTemperatures);
  // The set of entities changed under way: what is there now can be had at once.
  if (!ok && degradedKind() == DG_KIND_MIG && state == STATE_CONNECTED) ok = attempt(logsTemperatures);
  attrs.reset(spanAttrs, SPAN_ATTRS_BYTES).fieldLiteral("kind", isDegraded() ? kindName(degradedKind()) : "none");
  attrs.fieldLiteral("source", sourceLabel());
  spanEnd(span, ok ? MT_SPAN_OK : MT_SPAN_ERROR, spanAttrs, attrs.length);
  selfScrape(<u64>sys_time_ns() - began);
  if (ok) failuresInRow = 0;
  else {
    failures++;
    failuresInRow++;
  }
  flush();
  return ok;
}

/** Registrations go out at most flush_frames_max a flush, so the first reading of a node needs several. */
function flush(): void {
  for (let i: u32 = 0; i < DCGMD_FLUSHES_MAX && metricsWaiting(); i++) metricsFlush();
  const lost = lostCount();
  if (lost > lostBefore) countFailure(DG_KIND_DOWNSTREAM, <i64>(lost - lostBefore));
  lostBefore = lostCount();
}

function attempt(logsTemperatures: bool): bool {
  if (!configure()) return false;
  if (state == STATE_CONFIGURED && !step(connect(), DG_KIND_CONNECT, STATE_CONNECTED)) return false;
  if (state == STATE_CONNECTED && !step(enumerate(), DG_KIND_ENUMERATE, STATE_ENUMERATED)) return false;
  if (entitiesPresent() == 0) {
    degrade(DG_KIND_ENUMERATE, 0);
    state = STATE_CONNECTED;
    return false;
  }
  if (state == STATE_ENUMERATED && !step(watch(intervalMs), DG_KIND_WATCH, STATE_WATCHED)) return false;
  const outcome = latestValues(beginReading);
  if (outcome != LINK_OK) {
    failed(outcome, DG_KIND_READ);
    return false;
  }
  const tally = endScrape();
  if (tally.stale + tally.errors != 0) countFailure(DG_KIND_READ, tally.stale + tally.errors);
  if (tally.dropped != 0 && !mutant(MUT_DCGMD_HIDES_DROPPED)) countFailure(DG_KIND_CARDINALITY, tally.dropped);
  recover();
  publish(tally, sourceNow(), sourceLabel(), hostWallNs, logsTemperatures);
  return true;
}

function beginReading(): void {
  beginScrape(hostWallNs, hostMonoNs, sourceNow());
}

/** Has a configuration that holds, asked for once a session; false, and degraded, while there is none. */
function configure(): bool {
  if (state != STATE_IDLE) return true;
  const outcome = askConfig();
  if (outcome != LINK_OK) {
    failed(outcome, noPort(outcome) ? DG_KIND_INIT : DG_KIND_CONNECT);
    return false;
  }
  const changed = takeConfig(configText, configBytes);
  if (!configHolds()) {
    degrade(DG_KIND_INIT, configFaults());
    return false;
  }
  gpuInterval(intervalMs * MS);
  if (changed) forgetScrapes();
  if (changed) logConfig(configBytes, intervalMs, initialDelayMs, gpuWatchList());
  state = STATE_CONFIGURED;
  return true;
}

/** portd refuses the port itself: no device, no such port, or policyd's no. */
function noPort(outcome: i32): bool {
  return outcome == LINK_PORT && (portStatus == PD_DENIED || portStatus == PD_NOT_FOUND || portStatus == PD_UNAVAILABLE);
}

/** Takes a step's outcome: on to `next`, or failed. */
function step(outcome: i32, kind: u8, next: u32): bool {
  if (outcome != LINK_OK) {
    failed(outcome, kind);
    return false;
  }
  state = next;
  if (next == STATE_CONNECTED) sessions++;
  return true;
}

/** What a failure leaves of the session: nothing when the link or the engine is gone, the connection when an entity is. */
function failed(outcome: i32, kind: u8): void {
  if (outcome == <i32>BRIDGE_STATUS_ENTITY_NOT_FOUND && state >= STATE_CONNECTED) {
    state = STATE_CONNECTED;
    degrade(DG_KIND_MIG, outcome);
    return;
  }
  if (outcome < 0 || outcome == <i32>BRIDGE_STATUS_CONNECTION_LOST || outcome == <i32>BRIDGE_STATUS_NOT_CONNECTED) state = STATE_IDLE;
  else if (kind == DG_KIND_READ) closeSession();
  degrade(kind, outcome);
}

/** The host refuses to read: its session, and with it the watch, is given back and begun anew. */
function closeSession(): void {
  beginPayload();
  requestHost(BRIDGE_TYPE_CLOSE);
  state = STATE_IDLE;
}

/** The tick of profile=run: the initial delay once, then a reading an interval; after failures in a row 1, 2, 4, ... s. */
export function onTick(): void {
  const now = <u64>sys_time_ns();
  if (!waited && configure()) {
    waited = true;
    const first = startedNs + min<u64>(initialDelayMs, u64.MAX_VALUE / (MS * 4)) * MS;
    if (now < first) {
      // What there is from the start is told now: a delay may be long.
      flush();
      serverTickAt(first);
      return;
    }
  }
  if (waited && runScrape(false)) {
    const interval = intervalMs * MS;
    // On the beat of the last reading, unless that one came late.
    dueNs = dueNs != 0 && dueNs + interval > now ? dueNs + interval : now + interval;
    serverTickAt(dueNs);
    return;
  }
  if (!waited) failedTick();
  dueNs = 0;
  const wait = <u64>DCGMD_BACKOFF_FIRST_NS << <u64>min<u32>(failuresInRow - 1, 16);
  serverTickAt(<u64>sys_time_ns() + min<u64>(wait, DCGMD_BACKOFF_MAX_NS));
}

/** A tick that did not even come to a reading. */
function failedTick(): void {
  failures++;
  failuresInRow++;
  flush();
}
