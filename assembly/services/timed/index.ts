// SPDX-License-Identifier: Apache-2.0
// timed: timers that fire, coalesced by quality of service (docs/format/wire-timed.md).
// Invariant: the service never waits for a client: a sleep is a deferred answer, a fire one try. A deadline is rounded
// up to a multiple of its window, never down, so nothing fires early. Owners are the kernel's sender ids.
// Limits: limits.timed; a sleep ends at most sleep_max_ns from now.
import { TIMED_SLEEP_MAX_NS, TIMED_TIMERS_MAX } from "../../gen/limits";
import { M_TIMED_READY, mark } from "../../gen/markers";
import {
  MUT_TIMED_IGNORES_WINDOWS, MUT_TIMED_NEVER_FIRES, MUT_TIMED_READY_EVIDENCE_BROKEN, mutant,
} from "../../gen/mutants";
import { SVC_TIMED_ID } from "../../gen/services";
import { sys_cap_query, sys_time_ns } from "../../gen/syscalls";
import { Request, TM, serve, serverOnTick, serverRoute } from "../../lib/nexus-ipc/index";
import { logInfo } from "../../lib/nexus-log/index";
import { telemetryStart } from "../../lib/telemetry/flush";
import {
  TM_INVALID_ARGS, TM_MALFORMED, TM_NOT_FOUND, TM_OK, TM_OP_CANCEL, TM_OP_REGISTER, TM_OP_SLEEP_UNTIL, TM_OP_STATS,
  TM_OVER_LIMIT, TM_QOS_IDLE, TM_QOS_INTERACTIVE, TM_QOS_NORMAL, TM_QOS_PERF_BURST, TM_WINDOW_IDLE_NS,
  TM_WINDOW_INTERACTIVE_NS, TM_WINDOW_NORMAL_NS,
} from "../../lib/wire/timed";
import { armTick, fireDue, fireWakes, firesDone, firesMissed } from "./fire";
import { heapAdd, heapFind, heapLive, heapRemove, heapReset } from "./heap";
import { observeCoalesced } from "./telemetry";
import { OWNER_NONE, ownerAt, ownerRow, ownersLive } from "./owners";

export const vigil_abi: i32 = 1;

const RIGHT_SEND: u64 = 1;
const KIND_ENDPOINT: u64 = 1;
const meta: usize = memory.data(32, 8);
let registered: u64 = 0;
let cancelled: u64 = 0;
let qos: u32 = 0;
let deadline_ns: u64 = 0;

// qos u8, 0 u8, deadline u64, to the frame's end: TM_OK, TM_MALFORMED or TM_INVALID_ARGS.
function takeTiming(request: Request): u8 {
  qos = <u32>request.body.takeU8();
  const pad = request.body.takeU8();
  deadline_ns = request.body.takeU64();
  if (!request.body.finished) return TM_MALFORMED;
  if (pad != 0 || qos > <u32>TM_QOS_PERF_BURST || deadline_ns == 0) return TM_INVALID_ARGS;
  return deadline_ns > u64.MAX_VALUE - TM_WINDOW_IDLE_NS ? TM_INVALID_ARGS : TM_OK;
}

function window_ns(): u64 {
  if (mutant(MUT_TIMED_IGNORES_WINDOWS)) return 0;
  if (qos == <u32>TM_QOS_IDLE) return TM_WINDOW_IDLE_NS;
  if (qos == <u32>TM_QOS_NORMAL) return TM_WINDOW_NORMAL_NS;
  if (qos == <u32>TM_QOS_INTERACTIVE) return TM_WINDOW_INTERACTIVE_NS;
  return 0;
}

function coalesced_ns(): u64 {
  const window = window_ns();
  if (window == 0) return deadline_ns;
  const over = deadline_ns % window;
  return over == 0 ? deadline_ns : deadline_ns - over + window;
}

// The owner's row with room for one more timer, or OWNER_NONE.
function rowWithRoom(request: Request): u32 {
  if (heapLive() == TIMED_TIMERS_MAX) return OWNER_NONE;
  const row = ownerRow(request.sender.value);
  return row == OWNER_NONE || ownerAt(row).full ? OWNER_NONE : row;
}

function isSend(handle: u32): bool {
  if (sys_cap_query(handle, <u32>meta) < 0) return false;
  return load<u64>(meta) == KIND_ENDPOINT && (load<u64>(meta, 8) & RIGHT_SEND) != 0;
}

function onRegister(request: Request): void {
  const status = takeTiming(request);
  if (status != TM_OK) {
    request.answer(status);
    return;
  }
  const row = rowWithRoom(request);
  if (row == OWNER_NONE) {
    request.answer(TM_OVER_LIMIT);
    return;
  }
  const owner = ownerAt(row);
  if (request.moved != 0 ? !isSend(request.moved) : owner.handle == 0) {
    request.answer(TM_INVALID_ARGS);
    return;
  }
  if (request.moved != 0) owner.setHandle(request.takeMoved());
  const due_ns = coalesced_ns();
  const timer = heapAdd(mutant(MUT_TIMED_NEVER_FIRES) ? u64.MAX_VALUE : due_ns, row, request.nonce, 0);
  owner.live++;
  registered++;
  if (window_ns() != 0) observeCoalesced(due_ns - deadline_ns);
  armTick();
  request.answer(TM_OK).putU32(timer.fireId).putU64(due_ns);
}

function onCancel(request: Request): void {
  const id = request.body.takeU32();
  if (!request.body.finished) {
    request.answer(TM_MALFORMED);
    return;
  }
  const timer = heapFind(id);
  // Another's timer is answered like none at all, and a sleeper has no id to cancel.
  const none = changetype<usize>(timer) == 0 || timer.sleeper != 0;
  if (none || ownerAt(timer.owner).sender != request.sender.value) {
    request.answer(TM_NOT_FOUND);
    return;
  }
  heapRemove(timer);
  ownerAt(timer.owner).live--;
  cancelled++;
  armTick();
  request.answer(TM_OK);
}

function onSleepUntil(request: Request): void {
  let status = takeTiming(request);
  if (status == TM_OK && deadline_ns > <u64>sys_time_ns() + TIMED_SLEEP_MAX_NS) status = TM_INVALID_ARGS;
  // Only a call can be answered later.
  if (status == TM_OK && request.replyHandle == 0) status = TM_INVALID_ARGS;
  if (status != TM_OK) {
    request.answer(status);
    return;
  }
  const row = rowWithRoom(request);
  if (row == OWNER_NONE) {
    request.answer(TM_OVER_LIMIT);
    return;
  }
  const due_ns = coalesced_ns();
  if (window_ns() != 0) observeCoalesced(due_ns - deadline_ns);
  heapAdd(due_ns, row, request.nonce, request.defer());
  ownerAt(row).live++;
  registered++;
  armTick();
}

function onStats(request: Request): void {
  if (!request.body.finished) {
    request.answer(TM_MALFORMED);
    return;
  }
  const out = request.answer(TM_OK).putU32(heapLive()).putU32(ownersLive()).putU64(registered);
  out.putU64(firesDone()).putU64(firesMissed()).putU64(cancelled).putU64(fireWakes());
}

/** Ready means: two timers registered out of order come out in order and leave the table empty. */
function onPing(): bool {
  if (mutant(MUT_TIMED_READY_EVIDENCE_BROKEN)) return false;
  const late = heapAdd(u64.MAX_VALUE, 0, 0, 0);
  const early = heapAdd(u64.MAX_VALUE - 1, 0, 0, 0);
  if (changetype<usize>(late) == 0 || changetype<usize>(early) == 0) return false;
  const live = heapLive();
  const stale = early.id;
  heapRemove(early);
  heapRemove(late);
  return heapLive() == live - 2 && changetype<usize>(heapFind(stale)) == 0;
}

function onReady(): void {
  mark(M_TIMED_READY);
  logInfo("timed").text("ready").end();
}

export function main(): void {
  heapReset();
  telemetryStart(SVC_TIMED_ID);
  serverRoute(TM_OP_REGISTER, onRegister);
  serverRoute(TM_OP_CANCEL, onCancel);
  serverRoute(TM_OP_SLEEP_UNTIL, onSleepUntil);
  serverRoute(TM_OP_STATS, onStats);
  serverOnTick(fireDue, 0);
  serve(TM, TM_MALFORMED, TM_MALFORMED, onPing, onReady);
}
