// SPDX-License-Identifier: Apache-2.0
// dcgmd: the GPU receiver. It reads raw samples from the host's bridge through portd and keeps one gauge for each entity and
// field in metricsd, labelled by its source.
// Invariant: it is up without a host (degraded, counted), and never holds anything up: profile=proof scrapes when asked (so that
// nothing races), profile=run once a second, other profiles never.
// Limits: limits.dcgmd.
import { DCGMD_BACKOFF_MAX_NS, DCGMD_SCRAPE_PERIOD_NS } from "../../gen/limits";
import { M_DCGMD_READY, M_DCGMD_SOURCE_REPLAY, mark } from "../../gen/markers";
import { MUT_DCGMD_HIDES_SOURCE, MUT_DCGMD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SVC_DCGMD_ID } from "../../gen/services";
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_boot_arg, sys_time_ns } from "../../gen/syscalls";
import { DG, Request, serve, serverOnTick, serverRoute, serverTickAt } from "../../lib/nexus-ipc/index";
import { metricsInit } from "../../lib/nexus-metrics/index";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";
import { BRIDGE_SOURCE_REPLAY } from "../../lib/wire/bridge";
import { DG_DENIED, DG_MALFORMED, DG_OK, DG_OP_SCRAPE, DG_OP_STATS, DG_UNAVAILABLE, DG_UNSUPPORTED } from "../../lib/wire/dcgmd";
import { PD_NOT_FOUND, PD_UNAVAILABLE } from "../../lib/wire/portd";
import { entitiesPresent } from "./entities";
import { fillFields } from "./fields";
import { openPort, portStatus } from "./link";
import { logStart } from "./records";
import { failureCount, lostCount, scrape, scrapeCount, tally } from "./scrape";
import { seriesMade } from "./series";
import { sessionCount, sessionState, sourceNow } from "./session";

export const vigil_abi: i32 = 1;

const VALUE_BYTES: u32 = 16;
const key: usize = memory.data(8);
const value: usize = memory.data(16);
let proving: bool = false;
let failuresInRow: u32 = 0;
let samplesTotal: u64 = 0;
let blanksTotal: u64 = 0;

export function main(): void {
  fillFields();
  metricsInit(SVC_DCGMD_ID, SLOT_METRICSD, true);
  proving = bootArgIs("profile", "proof");
  serverRoute(DG_OP_SCRAPE, onScrape);
  serverRoute(DG_OP_STATS, onStats);
  serverOnTick(onTick, bootArgIs("profile", "run") ? DCGMD_SCRAPE_PERIOD_NS : 0);
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
  if (held) logStart(portStatus);
  return held;
}

function onReady(): void {
  mark(M_DCGMD_READY);
}

/** A scrape on request, in profile=proof alone: elsewhere the clock decides. */
function onScrape(request: Request): void {
  if (request.body.left != 0) {
    request.answer(DG_MALFORMED);
    return;
  }
  if (!proving) {
    request.answer(DG_DENIED);
    return;
  }
  const ok = runScrape(true);
  if (ok && sourceNow() == BRIDGE_SOURCE_REPLAY && !mutant(MUT_DCGMD_HIDES_SOURCE)) mark(M_DCGMD_SOURCE_REPLAY);
  const writer = request.answer(ok ? DG_OK : DG_UNAVAILABLE);
  writer.putU32(entitiesPresent()).putU32(tally.samples).putU32(seriesMade()).putU32(tally.blanks);
  writer.putU32(<u32>min<u64>(lostCount() + tally.stale + tally.bad + tally.homeless, u32.MAX_VALUE)).putU8(sourceNow());
}

function onStats(request: Request): void {
  if (request.body.left != 0) {
    request.answer(DG_MALFORMED);
    return;
  }
  const writer = request.answer(DG_OK).putU8(<u8>sessionState()).putU8(sourceNow());
  writer.putU64(scrapeCount()).putU64(failureCount()).putU64(sessionCount());
  writer.putU64(samplesTotal).putU64(blanksTotal).putU64(lostCount());
}

function runScrape(withRecords: bool): bool {
  const ok = scrape(withRecords);
  samplesTotal += tally.samples;
  blanksTotal += tally.blanks;
  failuresInRow = ok ? 0 : failuresInRow + 1;
  return ok;
}

/** After failures in a row the next try waits 2, 4, ... periods, at most backoff_max_ns. */
function onTick(): void {
  if (runScrape(false)) return;
  const wait = <u64>DCGMD_SCRAPE_PERIOD_NS << <u64>min<u32>(failuresInRow, 6);
  serverTickAt(<u64>sys_time_ns() + min<u64>(wait, DCGMD_BACKOFF_MAX_NS));
}
