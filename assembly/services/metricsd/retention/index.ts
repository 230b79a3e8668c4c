// SPDX-License-Identifier: Apache-2.0
// Retention: what series did, kept on /state as raw intervals, 10 s and 60 s windows (docs/format/retention.md). Its life: at the start
// read everything back; at the end of each interval write; never wait for the disk while serving.
//
// Invariant: the retention clock is guest time plus an offset that is fixed at the start of metricsd: the smallest multiple of the raw
// interval that puts it at or behind the end of the newest window on /state. So no window is begun twice, and the clock goes on where it
// was. Without statefsd, or with one that refuses, nothing is kept and STATS says so; it is never memory in place of disk.
// A start that found statefsd silent or io, before anything was read or written, is tried again at a tick (the one call that waits while
// serving); any other refusal is final. A series in use by then starts over at what it counted in this boot.
// Limits: the recipe's [retention]; limits.metricsd retention_*: start_retries_max further tries,
// start_retry_ns and then twice as long apart.
import {
  METRICSD_RETENTION_CALL_BUDGET_NS, METRICSD_RETENTION_START_RETRIES_MAX, METRICSD_RETENTION_START_RETRY_NS,
} from "../../../gen/limits";
import { MUT_METRICSD_CLOCK_STARTS_OVER, mutant } from "../../../gen/mutants";
import { sys_time_ns } from "../../../gen/syscalls";
import { STATE_REFUSED, stateStatus, stateSync } from "../../../lib/nexus-state/index";
import {
  MT_RETENTION_DISABLED, MT_RETENTION_READY, MT_RETENTION_UNAVAILABLE,
} from "../../../lib/wire/metricsd";
import { BEST_EFFORT_RETRIES, CRITICAL_RETRIES, RAW_INTERVAL_NS, RETENTION_ENABLED, limit, limit32 } from "../limits";
import { carryAllOnce, closeRaw, closeWindow, owesWhole } from "./close";
import { gcStep, gcWaits } from "./gc";
import { jobRetries, pumpDue_ns, pumpJobs, state } from "./jobs";
import { folderKey } from "./keys";
import { feedPoints, pointCount, pointsAsk } from "./points";
import { recover, recoverFailure, recoverTouched, recoverWindows, recoveredEnd_ns } from "./recover";
import { SF_IO } from "../../../lib/wire/statefsd";
import { segmentToDrop } from "./segments";
import { nextExpiryOf, widthOf } from "./windows";

let mode: u32 = MT_RETENTION_DISABLED;
let why: i32 = 0;
let offset_ns: u64 = 0;
/** Start of the raw interval that is open, on the retention clock. */
let open_ns: u64 = 0;
let interval_ns: u64 = 0;
/** Guest time of the next try to start, 0 for none; tries that ended in another. */
let retry_ns: u64 = 0;
let retries: u32 = 0;

/** MT_RETENTION_*. */
export function retentionMode(): u32 {
  return mode;
}
/** Why it is unavailable: a status of statefsd (positive) or an error of nexus-state (negative). */
export function retentionWhy(): i32 {
  return why;
}
/** Retention clock minus guest time, ns. */
export function retentionOffset_ns(): u64 {
  return offset_ns;
}
/** The retention clock at this guest time. */
export function retentionClock(now_ns: u64): u64 {
  return now_ns + offset_ns;
}
/** Start of the open raw interval. */
export function openInterval_ns(): u64 {
  return open_ns;
}

/** Starts that failed and were, or will be, tried again. */
export function retentionRetries(): u32 {
  return retries;
}

/** Once, before the first series is made. */
export function retentionStart(): void {
  if (limit(RETENTION_ENABLED) == 0) return;
  mode = MT_RETENTION_UNAVAILABLE;
  start();
}

/** Whether the failure may pass: nothing is known of /state yet, and statefsd did not answer or its device failed. */
@inline function mayPass(): bool {
  return !recoverTouched() && (why == <i32>SF_IO || why < 0);
}

function start(): void {
  retry_ns = 0;
  tryStart();
  if (mode == MT_RETENTION_READY || !mayPass() || retries == METRICSD_RETENTION_START_RETRIES_MAX) return;
  retry_ns = <u64>sys_time_ns() + (METRICSD_RETENTION_START_RETRY_NS << retries);
  retries += 1;
}

function tryStart(): void {
  interval_ns = limit(RAW_INTERVAL_NS);
  jobRetries(limit32(BEST_EFFORT_RETRIES), limit32(CRITICAL_RETRIES));
  // A SYNC succeeds only where this service may write and statefsd can keep what it writes.
  const folder = folderKey();
  const ready = stateSync(state, folder.base, folder.length, METRICSD_RETENTION_CALL_BUDGET_NS);
  if (ready != 0) {
    why = ready == STATE_REFUSED ? <i32>stateStatus() : ready;
    return;
  }
  if (!recover()) {
    why = recoverFailure();
    return;
  }
  const now_ns = <u64>sys_time_ns();
  const end_ns = recoveredEnd_ns();
  if (end_ns > now_ns && !mutant(MUT_METRICSD_CLOCK_STARTS_OVER)) offset_ns = roundUp(end_ns - now_ns);
  open_ns = floor(now_ns + offset_ns, interval_ns);
  if (!recoverWindows(open_ns)) {
    why = recoverFailure();
    return;
  }
  carryAllOnce();
  why = 0;
  mode = MT_RETENTION_READY;
  feedPoints(true);
}

@inline function floor(time_ns: u64, width_ns: u64): u64 {
  return time_ns - time_ns % width_ns;
}
function roundUp(time_ns: u64): u64 {
  const over = time_ns % interval_ns;
  return over == 0 ? time_ns : time_ns + interval_ns - over;
}

/** Ends what is over at this guest time; before any update at that time is applied. */
export function retentionAdvance(now_ns: u64): void {
  if (mode != MT_RETENTION_READY || now_ns + offset_ns < open_ns + interval_ns) return;
  const clock_ns = now_ns + offset_ns;
  const start_ns = floor(clock_ns, interval_ns);
  closeRaw(open_ns, interval_ns);
  for (let level: u32 = 1; level <= 2; level++) {
    const width_ns = widthOf(level);
    if (open_ns / width_ns != start_ns / width_ns) closeWindow(level, floor(open_ns, width_ns), true);
  }
  open_ns = start_ns;
  gcStep(clock_ns);
}

/** The same, and sends what waits. */
export function retentionTick(now_ns: u64): void {
  if (retry_ns != 0 && now_ns >= retry_ns) start();
  if (mode != MT_RETENTION_READY) return;
  retentionAdvance(now_ns);
  pumpJobs(now_ns);
}

/** Guest time at which retentionTick has something to do, 0 for never. */
export function retentionDue_ns(now_ns: u64): u64 {
  if (mode != MT_RETENTION_READY) return retry_ns;
  let due_ns = u64.MAX_VALUE;
  const clock_ns = now_ns + offset_ns;
  if (pointsAsk() || segmentToDrop() !== null || owesWhole() || gcWaits(clock_ns)) due_ns = open_ns + interval_ns;
  for (let level: u32 = 1; level <= 2; level++) {
    if (pointCount(level) != 0) due_ns = min(due_ns, floor(open_ns, widthOf(level)) + widthOf(level));
    due_ns = min(due_ns, max(nextExpiryOf(level), open_ns + interval_ns));
  }
  if (due_ns != u64.MAX_VALUE) due_ns = max<u64>(due_ns - offset_ns, 1);
  const pump_ns = pumpDue_ns();
  if (pump_ns != 0) due_ns = min(due_ns, pump_ns);
  return due_ns == u64.MAX_VALUE ? 0 : due_ns;
}
