// SPDX-License-Identifier: Apache-2.0
// dcgmd: the GPU receiver. It reads raw samples from the host's bridge through portd, makes OpenTelemetry metrics of them (lib/gpu) for
// exportd, and keeps a copy of the newest values in metricsd, all labelled by their source.
// Invariant: it is up without a host (degraded, counted), and never holds anything up: profile=proof scrapes when asked (so that nothing
// races), profile=run by the interval of the receiver's configuration, other profiles never. Limits: limits.dcgmd, limits.gpu.
import { DCGMD_FIRST_TICK_NS, DCGMD_REQUEST_BYTES_MAX, DCGMD_REQUEST_WAIT_NS } from "../../gen/limits";
import { M_DCGMD_READY, M_DCGMD_SOURCE_REPLAY, mark } from "../../gen/markers";
import { MUT_DCGMD_HIDES_SOURCE, MUT_DCGMD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SVC_DCGMD_ID } from "../../gen/services";
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_boot_arg, sys_time_ns } from "../../gen/syscalls";
import { linkInit, openPort, portStatus } from "../../lib/bridge-link/index";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";
import { entitiesPresent, gpuReset, gpuSeriesMax } from "../../lib/gpu/index";
import { metricsInit } from "../../lib/nexus-metrics/index";
import { DG, Request, serve, serverOnTick, serverRoute, serverTickAt } from "../../lib/nexus-ipc/index";
import { BRIDGE_FRAME_BYTES_MAX, BRIDGE_SOURCE_REPLAY } from "../../lib/wire/bridge";
import {
  DG_DENIED, DG_KINDS, DG_MALFORMED, DG_OK, DG_OP_LATEST, DG_OP_PART, DG_OP_SCRAPE, DG_OP_STATS, DG_UNAVAILABLE, DG_UNSUPPORTED,
} from "../../lib/wire/dcgmd";
import { PD_NOT_FOUND, PD_UNAVAILABLE } from "../../lib/wire/portd";
import { degradedKind, failuresOf, isDegraded } from "./kinds";
import { latestScrape, onLatest, onPart } from "./latest";
import { published, totals } from "./publish";
import {
  failureCount, lostCount, onTick, receiverGeneration, receiverStart, receiverState, runScrape, scrapeCount, sessionCount,
} from "./receiver";
import { logStart } from "./records";
import { selfInit } from "./self";
import { sourceNow } from "./session";

export const vigil_abi: i32 = 1;

const VALUE_BYTES: u32 = 16;
const requestFrame: usize = memory.data(DCGMD_REQUEST_BYTES_MAX, 8);
const replyFrames: usize = memory.data(BRIDGE_FRAME_BYTES_MAX, 8);
const key: usize = memory.data(8);
const value: usize = memory.data(16);
let proving: bool = false;
let said: bool = false;
let sourceSaid: bool = false;

export function main(): void {
  linkInit("org.vigil.dcgm", DCGMD_REQUEST_WAIT_NS, requestFrame, DCGMD_REQUEST_BYTES_MAX, replyFrames);
  metricsInit(SVC_DCGMD_ID, SLOT_METRICSD, true);
  selfInit();
  gpuReset();
  receiverStart();
  proving = bootArgIs("profile", "proof");
  serverRoute(DG_OP_SCRAPE, onScrape);
  serverRoute(DG_OP_STATS, onStats);
  serverRoute(DG_OP_LATEST, onLatest);
  serverRoute(DG_OP_PART, onPart);
  serverOnTick(onTick, 0);
  if (bootArgIs("profile", "run")) serverTickAt(<u64>sys_time_ns() + DCGMD_FIRST_TICK_NS);
  serve(DG, DG_MALFORMED, DG_UNSUPPORTED, onPing, onReady);
}

function bootArgIs(name: string, wanted: string): bool {
  const bytes = sys_boot_arg(<u32>key, copyLiteral(key, name), <u32>value, VALUE_BYTES);
  return bytes >= 0 && equalsLiteral(value, <u32>bytes, wanted);
}

/** Evidence: policyd and portd gave us the port, or there is no such device in this machine. */
function onPing(): bool {
  if (mutant(MUT_DCGMD_READY_EVIDENCE_BROKEN)) return false;
  const held = openPort() || portStatus == PD_UNAVAILABLE || portStatus == PD_NOT_FOUND;
  if (held && !said) logStart(portStatus, receiverGeneration());
  said = said || held;
  return held;
}

function onReady(): void {
  mark(M_DCGMD_READY);
}

/** A scrape on request, in profile=proof alone: elsewhere the clock decides. With a body, under that cap (it stays). */
function onScrape(request: Request): void {
  const capped = request.body.left != 0;
  const cap = capped ? request.body.takeU32() : 0;
  if (!request.body.finished || (capped && cap == 0)) {
    request.answer(DG_MALFORMED);
    return;
  }
  if (!proving) {
    request.answer(DG_DENIED);
    return;
  }
  if (capped && !gpuSeriesMax(cap)) {
    request.answer(DG_MALFORMED);
    return;
  }
  const ok = runScrape(true);
  if (ok) saySource();
  const writer = request.answer(ok ? DG_OK : DG_UNAVAILABLE);
  writer.putU32(entitiesPresent()).putU32(published.samples).putU32(published.series).putU32(published.blanks);
  writer.putU32(published.lost).putU8(sourceNow());
}

/** Once a boot, on the console: where what is shown from now on comes from. */
function saySource(): void {
  if (sourceSaid || receiverGeneration() > 1 || sourceNow() != BRIDGE_SOURCE_REPLAY) return;
  sourceSaid = true;
  if (!mutant(MUT_DCGMD_HIDES_SOURCE)) mark(M_DCGMD_SOURCE_REPLAY);
}

function onStats(request: Request): void {
  if (request.body.left != 0) {
    request.answer(DG_MALFORMED);
    return;
  }
  const writer = request.answer(DG_OK).putU8(<u8>receiverState()).putU8(sourceNow());
  writer.putU8(isDegraded() ? 1 : 0).putU8(degradedKind()).putU32(0);
  writer.putU64(scrapeCount()).putU64(failureCount()).putU64(sessionCount()).putU64(latestScrape());
  writer.putU64(totals.samples).putU64(totals.values).putU64(totals.blanks).putU64(totals.stale).putU64(totals.errors);
  writer.putU64(totals.dropped).putU64(lostCount()).putU64(totals.notCopied);
  for (let kind: u8 = 1; <u32>kind <= DG_KINDS; kind++) writer.putU64(failuresOf(kind));
}
