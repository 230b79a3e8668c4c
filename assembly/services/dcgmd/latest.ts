// SPDX-License-Identifier: Apache-2.0
// Owns: the last two finished scrapes as OTLP requests, and who may take them: LATEST and PART (docs/format/wire-dcgmd.md).
// Invariant: lib/gpu holds the bytes, and what it holds of a finished scrape does not change; a scrape that failed leaves what is kept as
// it is, so a number is handed out only for values that were read whole; a new configuration begins with nothing kept. Only exportd asks
// (the kernel's identity), and only while policyd allows it `gpu.export`; every other answer denies.
// Limits: limits.gpu parts_max parts of part_bytes_max; a decision of policyd is good for limits.dcgmd decision_ns.
import { DCGMD_DECISION_NS, GPU_PARTS_MAX } from "../../gen/limits";
import { MUT_DCGMD_ANYONE_EXPORTS, mutant } from "../../gen/mutants";
import { SVC_EXPORTD_ID } from "../../gen/services";
import { sys_time_ns } from "../../gen/syscalls";
import { gpuPartAt, gpuPartBytes, gpuPartCount } from "../../lib/gpu/index";
import { Request, SenderId, answerPull, delegateCheck, pullObject, pullOffset, readPull } from "../../lib/nexus-ipc/index";
import { DG_DENIED, DG_MALFORMED, DG_NOT_FOUND, DG_OK, DG_PARTS_PER_SCRAPE } from "../../lib/wire/dcgmd";

/** One kept scrape. */
@unmanaged
class Kept {
  scrape: u64;
  wallNs: u64;
  parts: u32;
  points: u32;
  source: u8;
}
const kept: usize = memory.data(2 * 32, 8);
let scrapeNow: u64 = 0;
let allowedUntilNs: u64 = 0;

function keptAt(place: u32): Kept {
  return changetype<Kept>(kept + (place << 5));
}

/** Number of the newest kept scrape; 0: none. */
export function latestScrape(): u64 {
  return scrapeNow;
}

/** Numbers what lib/gpu encoded last; the older of the two kept is gone. */
export function keepScrape(points: u32, source: u8, wallNs: u64): void {
  assert(offsetof<Kept>() <= 32 && <u64>GPU_PARTS_MAX <= DG_PARTS_PER_SCRAPE);
  scrapeNow++;
  const entry = keptAt(<u32>(scrapeNow & 1));
  entry.scrape = scrapeNow;
  entry.wallNs = wallNs;
  entry.parts = gpuPartCount();
  entry.points = points;
  entry.source = source;
}

/** lib/gpu began anew, and with it what it kept is gone. */
export function forgetScrapes(): void {
  keptAt(0).scrape = 0;
  keptAt(1).scrape = 0;
}

/** Identity first: nobody but exportd is even asked about. */
function mayExport(sender: SenderId): bool {
  if (mutant(MUT_DCGMD_ANYONE_EXPORTS)) return true;
  if (sender.value != SVC_EXPORTD_ID) return false;
  const now = <u64>sys_time_ns();
  if (now < allowedUntilNs) return true;
  allowedUntilNs = delegateCheck(sender, "gpu.export") ? now + DCGMD_DECISION_NS : 0;
  return allowedUntilNs != 0;
}

export function onLatest(request: Request): void {
  if (request.body.left != 0) {
    request.answer(DG_MALFORMED);
    return;
  }
  if (!mayExport(request.sender)) {
    request.answer(DG_DENIED);
    return;
  }
  const entry = keptAt(<u32>(scrapeNow & 1));
  const writer = request.answer(DG_OK);
  if (entry.scrape == 0) writer.putU64(0).putU16(0).putU32(0).putU8(0).putU64(0);
  else writer.putU64(entry.scrape).putU16(<u16>entry.parts).putU32(entry.points).putU8(entry.source).putU64(entry.wallNs);
}

export function onPart(request: Request): void {
  if (!readPull(request)) {
    request.answer(DG_MALFORMED);
    return;
  }
  if (!mayExport(request.sender)) {
    request.answer(DG_DENIED);
    return;
  }
  const scrape = pullObject / DG_PARTS_PER_SCRAPE;
  const part = <u32>(pullObject % DG_PARTS_PER_SCRAPE);
  const entry = keptAt(<u32>(scrape & 1));
  if (scrape == 0 || entry.scrape != scrape || part >= entry.parts) {
    request.answer(DG_NOT_FOUND);
    return;
  }
  const age = <u32>(scrapeNow - scrape);
  const bytes = answerPull(request, DG_OK, gpuPartBytes(part, age));
  if (bytes != 0) request.writer.putBytes(gpuPartAt(part, age) + pullOffset, bytes);
}
