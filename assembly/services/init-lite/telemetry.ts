// SPDX-License-Identifier: Apache-2.0
// What init-lite measures and logs of itself: services started, failed and restarted, and crashes. It has no fixed slots, so it hands its
// own handles to nexus-metrics and nexus-log, and again after either was started anew.
// Invariant: what waits is sent FLUSH_DELAY_NS after it was first asked for; index.ts owns the one tick. A record that logd is not there
// for waits in nexus-log's ring, and a loss is counted there.
import { SVC_INIT_LITE_ID } from "../../gen/services";
import { sys_endpoint_create, sys_time_ns } from "../../gen/syscalls";
import { trapName, trapNameBytes } from "../../lib/crash/trap";
import { configure_sink_logd_slots, logError, sinkFlush, sinkOnSlots, sinkWaiting } from "../../lib/nexus-log/index";
import {
  FLUSH_DELAY_NS, counter, counterAdd, metricsConnect, metricsFlush, metricsInit, metricsWaiting,
} from "../../lib/nexus-metrics/index";

const REPLY_DEPTH: u32 = 32;
const started = counter("init.spawn.ok");
const failed = counter("init.spawn.fail");
const restarted = counter("init.restart");
const crashWritten = counter("init.crash.written");
const crashLost = counter("init.crash.lost");
let replies: u32 = 0;
let flushAt_ns: u64 = 0;

export function telemetryStart(metricsd: u32): void { metricsInit(SVC_INIT_LITE_ID, metricsd, true); }
export function telemetryConnect(metricsd: u32): void { metricsConnect(metricsd); }

/** Logs go to this logd from now on. */
export function telemetryLogTo(logd: u32): void {
  if (replies == 0) {
    const endpoint = sys_endpoint_create(REPLY_DEPTH);
    if (endpoint < 0) return;
    replies = <u32>endpoint;
  }
  configure_sink_logd_slots(logd, replies, replies);
}

export function countStarted(): void { counterAdd(started, 1); }
export function countFailed(): void { counterAdd(failed, 1); }
export function countRestarted(): void { counterAdd(restarted, 1); }
export function countCrashWritten(): void { counterAdd(crashWritten, 1); }
export function countCrashLost(): void { counterAdd(crashLost, 1); }

/** A service faulted. */
export function logCrash(name: usize, bytes: u32, cause: u32, generation: u32, pc: u64): void {
  const trap = trapName(cause);
  const line = logError("init.crash").text("crash ").bytes(name, bytes).text(" ").bytes(trap, trapNameBytes);
  line.fieldBytes("child", name, bytes).field("event", "crash.v1").fieldDec("generation", generation).fieldHex("pc", pc);
  line.fieldBytes("trap", trap, trapNameBytes).end();
}

/** A crash record is gone; `status`: what statefsd refused it with last, 0 where it did not answer. */
export function logCrashLost(status: u32): void {
  logError("init.crash").text("crash record lost").field("event", "crash.lost").fieldDec("status", status).end();
}

function waits(): bool { return metricsWaiting() || (sinkOnSlots() && sinkWaiting() != 0); }

/** When the next flush is due (guest ns), 0 for none. */
export function telemetryDue_ns(): u64 {
  if (flushAt_ns == 0 && waits()) flushAt_ns = <u64>sys_time_ns() + FLUSH_DELAY_NS;
  return flushAt_ns;
}

/** Sends what waits, if it is time. */
export function telemetryTick(now_ns: u64): void {
  if (flushAt_ns == 0 || now_ns < flushAt_ns) return;
  metricsFlush();
  if (sinkOnSlots()) sinkFlush();
  flushAt_ns = waits() ? now_ns + FLUSH_DELAY_NS : 0;
}

/** The next sequence number could not be read and was taken from the records that are there. */
export function logCrashNumbersLost(sequence: u64): void {
  const line = logError("init.crash").text("next number rotten, taken from the slots");
  line.field("event", "crash.renumbered").fieldDec("sequence", sequence).end();
}
