// SPDX-License-Identifier: Apache-2.0
// Starting, checking and restarting one service. A service is up when its thread runs and ready when it answered a PING, which it does
// only after evidence of its own. A faulted service is created anew within the restart budget of its manifest entry; one that exits by
// itself stays down.
import { KERNEL_SERVICES_MAX } from "../../gen/limits";
import { SVC_LOGD_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_SAMGRD_ID } from "../../gen/services";
import { MUT_INIT_RESTARTS_FOREVER, mutant } from "../../gen/mutants";
import { sys_cap_clone, sys_cap_close, sys_process_create, sys_process_event, sys_process_start } from "../../gen/syscalls";
import { beginRequest, callRequest, IN, IN_LOGD, IN_PING, reply, REPLY_OK, sendRequest, SM } from "../../lib/nexus-ipc/index";
import { SM_OK, SM_OP_REGISTER } from "../../lib/wire/samgrd";
import { crashTake } from "./crash";
import { grantSlots, handleOf, takeHandle } from "./grants";
import { idOf, indexOf, nameBytes, nameOf, restartBudget, startsAtBoot } from "./manifest";
import { countFailed, countRestarted, countStarted, telemetryConnect, telemetryLogTo } from "./telemetry";

/** A service has this long from its start to its answer (guest time); evidence may need a few requests of its own. */
const READY_BUDGET_NS: u64 = 2_000_000_000;
const REGISTER_BUDGET_NS: u64 = 1_000_000_000;
const SEND: u32 = 1;
const SEND_CLONE: u32 = 5;
const QUERY: u32 = 16;
const EVENTS_MAX: u32 = KERNEL_SERVICES_MAX;
const restarts: StaticArray<u32> = new StaticArray<u32>(KERNEL_SERVICES_MAX);
const eventMeta: usize = memory.data(32, 8);

/** Creates a child and takes its handle: 0, or the kernel's error. */
export function create(index: u32): i64 {
  const result = sys_process_create(index, <u32>eventMeta);
  if (result < 0) return result;
  takeHandle(index);
  return 0;
}

/** Fills the slots of a created child and lets it run. */
export function start(index: u32): bool {
  if (!grantSlots(index)) return false;
  return sys_process_start(index) == 0;
}

/** Asks a started service for its evidence. */
export function ping(index: u32): bool {
  beginRequest(IN, IN_PING);
  return callRequest(handleOf(index), READY_BUDGET_NS) == REPLY_OK && reply.status == 0;
}

/** Makes a service findable by name. samgrd itself and what runs before it are registered when it is ready. */
export function register(index: u32): bool {
  const samgrd = handleOf(indexOf(SVC_SAMGRD_ID));
  const id = idOf(index);
  const readable = id == SVC_LOGD_ID || id == SVC_METRICSD_ID;
  const clone = sys_cap_clone(handleOf(index), readable ? SEND_CLONE | QUERY : SEND_CLONE);
  if (clone < 0) return false;
  beginRequest(SM, SM_OP_REGISTER).putU8(<u8>nameBytes(index)).putBytes(nameOf(index), nameBytes(index));
  if (callRequest(samgrd, REGISTER_BUDGET_NS, <u32>clone) == REPLY_OK) return reply.status == SM_OK;
  sys_cap_close(<u32>clone);
  return false;
}

/** Registers every service that runs, after samgrd itself was (re)started. */
export function registerAll(upTo: u32): bool {
  let all = true;
  for (let i: u32 = 1; i <= upTo; i++) if (startsAtBoot(i) && handleOf(i) != 0) all = register(i) && all;
  return all;
}

/** Handles every pending end of a child. */
export function childrenEnded(last: u32): void {
  for (let n: u32 = 0; n < EVENTS_MAX; n++) {
    const ended = sys_process_event(<u32>eventMeta);
    if (ended < 0) return;
    const cause = <u32>load<u64>(eventMeta);
    if (cause != 0) crashTake(<u32>ended, restarts[<u32>ended]);
    if (cause != 0 && !restart(<u32>ended, last)) countFailed();
  }
}

/** policyd waits on nobody, so it cannot look the new logd up: init-lite hands it a capability for its audit. */
function auditAgain(logd: u32): void {
  const clone = sys_cap_clone(handleOf(logd), SEND);
  if (clone < 0) return countFailed();
  beginRequest(IN, IN_LOGD);
  if (sendRequest(handleOf(indexOf(SVC_POLICYD_ID)), <u32>clone) == 0) return;
  sys_cap_close(<u32>clone);
  countFailed();
}

function restart(index: u32, last: u32): bool {
  if (restarts[index] >= restartBudget(index) && !mutant(MUT_INIT_RESTARTS_FOREVER)) return false;
  restarts[index]++;
  if (create(index) != 0 || !start(index)) return false;
  if (!ping(index)) return false;
  const id = idOf(index);
  const registered = id == SVC_SAMGRD_ID ? registerAll(last) : register(index);
  if (id == SVC_METRICSD_ID) telemetryConnect(handleOf(index));
  if (id == SVC_LOGD_ID) {
    auditAgain(index);
    telemetryLogTo(handleOf(index));
  }
  countRestarted();
  return registered;
}
export { countStarted, countFailed };
