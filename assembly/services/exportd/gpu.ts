// SPDX-License-Identifier: Apache-2.0
// Owns: taking dcgmd's newest scrape, part by part, into the queue (docs/format/wire-dcgmd.md, LATEST and PART).
// Invariant: a scrape is taken once; a number jumped over, or a part that could not be had, is counted, and dcgmd never waits for us.
// Numbers begin at 1 in each generation of dcgmd; those before the first that we see of one are missed, except of the first in our life.
// Limits: limits.exportd part_bytes_max a part, call_wait_ns a call; DG_PARTS_PER_SCRAPE parts.
import { EXPORTD_CALL_WAIT_NS, EXPORTD_PART_BYTES_MAX } from "../../gen/limits";
import { DG, REPLY_OK, Route, beginRequest, callRequest, pullTransfer, reply } from "../../lib/nexus-ipc/index";
import { DG_OK, DG_OP_LATEST, DG_OP_PART, DG_PARTS_PER_SCRAPE } from "../../lib/wire/dcgmd";
import { XP_STAT_DCGMD_RESTARTS, XP_STAT_SCRAPES_MISSED, XP_STREAM_GPU } from "../../lib/wire/exportd";
import { queueMetrics } from "./queue";
import { addTally, countMissed } from "./tally";

const route: Route = changetype<Route>(memory.data(8, 4));
const part: usize = memory.data(16000, 8);
/** The newest number taken of this generation of dcgmd; 0: none. */
let scrapeLast: u64 = 0;
/** A number was seen in our life: what came before the first may be a former exporter's. */
let begun: bool = false;

function miss(scrapes: u64): void {
  addTally(XP_STAT_SCRAPES_MISSED, scrapes);
  countMissed(scrapes);
}

/** dcgmd was started anew: its numbers begin again. */
function beginAnew(): void {
  scrapeLast = 0;
  addTally(XP_STAT_DCGMD_RESTARTS, 1);
}

/** Gives the held handle up when the outcome says that dcgmd ended. */
function forgetIfDead(outcome: i32): void {
  if (route.dropIfDead(outcome)) beginAnew();
}

/** Queues the newest scrape, if it is new. */
export function takeScrape(): void {
  assert(EXPORTD_PART_BYTES_MAX <= 16000);
  const dcgmd = route.resolve("dcgmd");
  if (dcgmd < 0) return;
  beginRequest(DG, DG_OP_LATEST);
  const outcome = callRequest(<u32>dcgmd, EXPORTD_CALL_WAIT_NS);
  if (outcome != REPLY_OK) {
    forgetIfDead(outcome);
    return;
  }
  if (reply.status != DG_OK) return;
  const body = reply.body;
  const scrape = body.takeU64();
  const parts = <u32>body.takeU16();
  body.takeU32();
  const source = body.takeU8();
  body.takeU64();
  if (!body.finished || scrape == 0 || scrape == scrapeLast || parts > DG_PARTS_PER_SCRAPE) return;
  if (scrape < scrapeLast) beginAnew();
  if (begun) miss(scrape - scrapeLast - 1);
  begun = true;
  scrapeLast = scrape;
  for (let i: u32 = 0; i < parts; i++) {
    const bytes = pullTransfer(
      <u32>dcgmd, DG, DG_OP_PART, scrape * DG_PARTS_PER_SCRAPE + i, part, EXPORTD_PART_BYTES_MAX, EXPORTD_CALL_WAIT_NS,
    );
    if (bytes <= 0) {
      // Superseded meanwhile, or dcgmd ended: the rest is not to be had.
      if (bytes < 0) forgetIfDead(bytes);
      return miss(1);
    }
    queueMetrics(XP_STREAM_GPU, source, i, parts, scrape, part, <u32>bytes);
  }
}
