// SPDX-License-Identifier: Apache-2.0
// Random bytes from rngd, whole or not at all. There is no other source: without rngd nothing is sealed and no key is made.
// Limits: limits.rngd entropy_bytes_max a draw; limits.keystored rngd_wait_ns for all tries (two, when rngd was restarted).
import { KEYSTORED_RNGD_WAIT_NS } from "../../gen/limits";
import { MUT_KEYSTORED_FIXED_ENTROPY, mutant } from "../../gen/mutants";
import { REPLY_OK, RG, Route, beginRequest, callRequestUntil, deadlineIn, reply } from "../../lib/nexus-ipc/index";
import { wipe } from "../../lib/crypto/constant";
import { KS_STATS_NO_ENTROPY } from "../../lib/wire/keystored";
import { RG_OK, RG_OP_GET_ENTROPY } from "../../lib/wire/rngd";
import { count } from "./counters";

const TRIES_MAX: u32 = 2;
const rngd: Route = changetype<Route>(memory.data(8, 4));

/** Fills [to, to + bytes); false (counted, and nothing written) when rngd did not deliver. */
export function draw(to: usize, bytes: u32): bool {
  const deadline_ns = deadlineIn(KEYSTORED_RNGD_WAIT_NS);
  for (let n: u32 = 0; n < TRIES_MAX; n++) {
    const handle = rngd.resolve("rngd");
    if (handle < 0) break;
    beginRequest(RG, RG_OP_GET_ENTROPY).putU16(<u16>bytes);
    const outcome = callRequestUntil(<u32>handle, deadline_ns);
    if (outcome == REPLY_OK && reply.status == RG_OK) {
      const body = reply.body;
      const length = <u32>body.takeU16();
      const from = body.takeBytes(bytes);
      if (length != bytes || !body.finished) break;
      memory.copy(to, from, bytes);
      // The reply's buffer keeps its bytes until the next reply.
      wipe(from, bytes);
      if (mutant(MUT_KEYSTORED_FIXED_ENTROPY)) memory.fill(to, 7, bytes);
      return true;
    }
    if (!rngd.dropIfDead(outcome)) break;
  }
  count(KS_STATS_NO_ENTROPY);
  return false;
}
