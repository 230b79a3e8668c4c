// SPDX-License-Identifier: Apache-2.0
// exportd: hands the image's telemetry to the host as OTLP requests, over the port org.vigil.export (docs/format/export.md).
// Invariant: nobody waits for it: it alone calls, asks for what others keep, and holds a bounded queue; what is lost is counted where it is
// lost. It is up without a host. profile=run works by the clock; profile=proof when asked (so that nothing races); others never.
// Limits: limits.exportd.
import {
  EXPORTD_EXPORT_INTERVAL_MS_MAX, EXPORTD_EXPORT_INTERVAL_MS_MIN, EXPORTD_EXPORT_INTERVAL_NS, EXPORTD_TICK_NS,
} from "../../gen/limits";
import { M_EXPORTD_READY, mark } from "../../gen/markers";
import { MUT_EXPORTD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SVC_EXPORTD_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_time_ns } from "../../gen/syscalls";
import { Request, serve, serverOnTick, serverRoute } from "../../lib/nexus-ipc/index";
import { metricsFlush, metricsInit } from "../../lib/nexus-metrics/index";
import {
  XP, XP_DENIED, XP_FLUSH_ALL, XP_FLUSH_GPU, XP_FLUSH_RECORDS, XP_FLUSH_SELF, XP_FLUSH_SEND, XP_MALFORMED, XP_OK, XP_OP_FLUSH, XP_OP_STATS,
  XP_STAT_GENERATION, XP_UNAVAILABLE, XP_UNSUPPORTED,
} from "../../lib/wire/exportd";
import { bootArgIs, bootNumber, generation, readBoot } from "./boot";
import { takeScrape } from "./gpu";
import { queued } from "./queue";
import { startRecords, takeRecords } from "./records";
import { snapshotUnderWay, takeSnapshot } from "./self";
import { ensureSession, lastOutcome, portHeld, sendWaiting, startSession, wallKnown } from "./session";
import { putTally, setTally, startTally } from "./tally";

export const vigil_abi: i32 = 1;

let proving: bool = false;
let intervalNs: u64 = EXPORTD_EXPORT_INTERVAL_NS;
let selfAtNs: u64 = 0;

export function main(): void {
  readBoot();
  metricsInit(SVC_EXPORTD_ID, SLOT_METRICSD, true);
  startTally();
  setTally(XP_STAT_GENERATION, generation());
  startSession();
  startRecords();
  proving = bootArgIs("profile", "proof");
  const otherwise = EXPORTD_EXPORT_INTERVAL_NS / 1_000_000;
  intervalNs = bootNumber("export_ms", EXPORTD_EXPORT_INTERVAL_MS_MIN, EXPORTD_EXPORT_INTERVAL_MS_MAX, otherwise) * 1_000_000;
  serverRoute(XP_OP_FLUSH, onFlush);
  serverRoute(XP_OP_STATS, onStats);
  serverOnTick(onTick, bootArgIs("profile", "run") ? EXPORTD_TICK_NS : 0);
  serve(XP, XP_MALFORMED, XP_UNSUPPORTED, onPing, onReady);
}

function onPing(): bool {
  return !mutant(MUT_EXPORTD_READY_EVIDENCE_BROKEN) && portHeld();
}

function onReady(): void {
  mark(M_EXPORTD_READY);
}

/** One pass on request, in profile=proof alone: elsewhere the clock decides. */
function onFlush(request: Request): void {
  const what = <u32>request.body.takeU8();
  if (!request.body.finished || what == 0 || (what & ~XP_FLUSH_ALL) != 0) {
    request.answer(XP_MALFORMED);
    return;
  }
  if (!proving || request.sender.value != SVC_SELFTEST_ID) {
    request.answer(XP_DENIED);
    return;
  }
  if (!wallKnown() && !ensureSession(true)) {
    request.answer(XP_UNAVAILABLE);
    return;
  }
  if ((what & XP_FLUSH_GPU) != 0) takeScrape();
  if ((what & XP_FLUSH_SELF) != 0) takeSnapshot();
  if ((what & XP_FLUSH_RECORDS) != 0) takeRecords();
  if ((what & XP_FLUSH_SEND) != 0) sendWaiting(true);
  metricsFlush();
  request.answer(XP_OK).putU32(queued()).putU32(<u32>lastOutcome);
}

function onStats(request: Request): void {
  if (request.body.left != 0) {
    request.answer(XP_MALFORMED);
    return;
  }
  putTally(request.answer(XP_OK));
}

/** Before the first hello nothing that has a time is made. */
function onTick(): void {
  ensureSession(false);
  if (!wallKnown()) return;
  takeScrape();
  const nowNs = <u64>sys_time_ns();
  if (snapshotUnderWay()) {
    takeSnapshot();
  } else if (nowNs >= selfAtNs) {
    selfAtNs = nowNs + intervalNs;
    takeSnapshot();
    metricsFlush();
  }
  takeRecords();
  sendWaiting(false);
}
