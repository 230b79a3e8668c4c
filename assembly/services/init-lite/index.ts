// SPDX-License-Identifier: Apache-2.0
// init-lite: the first process. Reads the manifest, creates every boot service, starts them one after another (the next only after the
// ready of the one before, so that console lines have one order), hands out capabilities by manifest and policy, then supervises.
// Invariant: `init: up NAME` means that NAME's thread runs; `init: ready` that every service answered; after it init-lite prints nothing.
import { M_INIT_READY, M_INIT_START, mark } from "../../gen/markers";
import {
  MUT_INIT_SKIPS_READY, MUT_INIT_SKIPS_START, mutant,
} from "../../gen/mutants";
import { SVC_LOGD_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_SAMGRD_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { sys_console_line, sys_process_kill, sys_time_ns } from "../../gen/syscalls";
import { Writer } from "../../lib/bounded/writer";
import {
  beginRequest, delegateCheck, IN, IN_CRASH, IN_GO, IN_KILL, Request, sendRequest, serve, serverOnNotify, serverOnTick, serverRoute,
  serverTickAt,
} from "../../lib/nexus-ipc/index";
import { crashDue_ns, crashStart, crashStateUp, crashTick, onCrash, stateIndex } from "./crash";
import { handleOf } from "./grants";
import { idOf, indexOf, manifestRead, nameBytes, nameOf, serviceCount, startsAtBoot } from "./manifest";
import { childrenEnded, create, ping, register, registerAll, start } from "./supervise";
import { countFailed, countStarted, telemetryDue_ns, telemetryLogTo, telemetryStart, telemetryTick } from "./telemetry";
import { skipsUp } from "./mutants";
import { leftOut, withoutRead } from "./without";

export const vigil_abi: i32 = 1;

const LINE_BYTES: u32 = 96;
const lineBuffer: usize = memory.data(96);
const line: Writer = changetype<Writer>(memory.data(16, 4));

function say(what: string, index: u32, why: string): void {
  line.reset(lineBuffer, LINE_BYTES).putText("init: ").putText(what).putBytes(nameOf(index), nameBytes(index)).putText(why);
  sys_console_line(<u32>lineBuffer, line.length);
}

function fail(index: u32, why: string): void {
  countFailed();
  say("FAIL ", index, why);
}

/** Brings one service up; false with a FAIL line when it is not ready. */
function bringUp(index: u32): bool {
  if (!start(index)) {
    fail(index, " not started");
    return false;
  }
  if (!skipsUp(index)) say("up ", index, "");
  if (!ping(index)) {
    fail(index, " not ready");
    return false;
  }
  countStarted();
  return true;
}

function onKill(request: Request): void {
  const length = request.body.takeU8();
  const name = request.body.takeBytes(length);
  request.answer(request.body.finished ? 0 : 1);
  if (!request.body.finished) return;
  if (!delegateCheck(request.sender, "proc.kill", handleOf(indexOf(SVC_POLICYD_ID)))) return;
  for (let i: u32 = 1; i < serviceCount(); i++) {
    if (nameBytes(i) == length && memory.compare(nameOf(i), name, length) == 0) sys_process_kill(i);
  }
}

function never(): bool { return false; }
function nothing(): void {}

function onNotify(bits: u64): void {
  childrenEnded(serviceCount() - 1);
  arm();
}

function onChildCrash(request: Request): void {
  onCrash(request);
  arm();
}

function onTick(): void {
  const now_ns = <u64>sys_time_ns();
  crashTick(now_ns);
  telemetryTick(now_ns);
  arm();
}

/** The one tick: a crash record that waits, or what was measured and logged. */
function arm(): void {
  const crash_ns = crashDue_ns();
  const flush_ns = telemetryDue_ns();
  serverTickAt(crash_ns == 0 || flush_ns == 0 ? crash_ns | flush_ns : min<u64>(crash_ns, flush_ns));
}

export function main(): void {
  if (!mutant(MUT_INIT_SKIPS_START)) mark(M_INIT_START);
  const services = manifestRead();
  withoutRead();
  for (let i: u32 = 1; i < services; i++) {
    if (startsAtBoot(i) && create(i) != 0) fail(i, " not loaded");
  }
  let all = true;
  const samgrd = indexOf(SVC_SAMGRD_ID);
  const metricsd = indexOf(SVC_METRICSD_ID);
  const statefsd = stateIndex();
  crashStart();
  for (let i: u32 = 1; i < services; i++) {
    if (!startsAtBoot(i) || handleOf(i) == 0) continue;
    if (leftOut(nameOf(i), nameBytes(i))) {
      if (!skipsUp(i)) say("without ", i, "");
      continue;
    }
    if (!bringUp(i)) all = false;
    else if (i == samgrd) all = registerAll(i) && all;
    else if (i > samgrd) all = register(i) && all;
    if (i == metricsd) {
      telemetryStart(handleOf(i));
      telemetryLogTo(handleOf(indexOf(SVC_LOGD_ID)));
    }
    if (i == statefsd) crashStateUp(); // i is never 0
  }
  if (all && !mutant(MUT_INIT_SKIPS_READY)) mark(M_INIT_READY);
  const selftest = handleOf(indexOf(SVC_SELFTEST_ID));
  if (selftest != 0) {
    beginRequest(IN, IN_GO);
    sendRequest(selftest);
  }
  serverOnNotify(onNotify);
  serverRoute(IN_KILL, onKill);
  serverRoute(IN_CRASH, onChildCrash);
  serverOnTick(onTick, 0);
  arm();
  serve(IN, 2, 3, never, nothing);
}
