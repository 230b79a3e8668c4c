// SPDX-License-Identifier: Apache-2.0
// What init-lite measures of itself: services started, failed and restarted.
import { SVC_INIT_LITE_ID } from "../../gen/services";
import { counter, counterAdd, metricsArm, metricsConnect, metricsInit } from "../../lib/nexus-metrics/index";

const started = counter("init.spawn.ok");
const failed = counter("init.spawn.fail");
const restarted = counter("init.restart");

export function telemetryStart(metricsd: u32): void { metricsInit(SVC_INIT_LITE_ID, metricsd); }
export function telemetryConnect(metricsd: u32): void { metricsConnect(metricsd); }
export function countStarted(): void { counterAdd(started, 1); }
export function countFailed(): void { counterAdd(failed, 1); }
export function countRestarted(): void {
  counterAdd(restarted, 1);
  metricsArm();
}
/** Sends what was counted before the request loop ran. */
export function telemetryArm(): void { metricsArm(); }
