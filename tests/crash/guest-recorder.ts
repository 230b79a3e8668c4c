// SPDX-License-Identifier: Apache-2.0
// A module for the host test of init-lite's recorder: its own sources behind exports, without the rest of init-lite.
import { crashDue_ns, crashStart, crashStateUp, crashTake, crashTick, crashWaiting, stateIndex } from "../../assembly/services/init-lite/crash";
import { takeHandle } from "../../assembly/services/init-lite/grants";
import { manifestRead } from "../../assembly/services/init-lite/manifest";

export function start(): u32 {
  const services = manifestRead();
  crashStart();
  return services;
}
/** statefsd was (re)started. */
export function up(): void {
  takeHandle(stateIndex());
  crashStateUp();
}
export function take(index: u32, restarts: u32): void { crashTake(index, restarts); }
export function tick(now_ns: u64): void { crashTick(now_ns); }
export function due(): u64 { return crashDue_ns(); }
export function waiting(): u32 { return crashWaiting(); }
