// SPDX-License-Identifier: Apache-2.0
// Proofs of phase mmio: entropy from the device through rngd, and who is refused it. (Timers: timers.ts.)
// Invariant: entropy itself is compared here and never printed or logged.
import {
  M_SELFTEST_ENTROPY_DENIED_OK, M_SELFTEST_ENTROPY_OK, M_SELFTEST_ENTROPY_OVERSIZED_REJECTED_OK,
} from "../../gen/markers";
import { REPLY_OK, RG, Route, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { EX_OK } from "../../lib/wire/execd";
import {
  RG_DENIED, RG_ENTROPY_BYTES_MAX, RG_MALFORMED, RG_OK, RG_OP_GET_ENTROPY, RG_OP_STATS, RG_OVERSIZED, RG_STATS_DENIED,
  RG_STATS_GRANTED, RG_STATS_OVERSIZED,
} from "../../lib/wire/rngd";
import { execRun, execWait, waitCause, waitCode } from "./children";
import { check, checkEqual, proof, proven } from "./lib";
import { timer_proofs } from "./timers";

const BUDGET_NS: u64 = 2_000_000_000;
const DRAW_BYTES: u32 = 32;
const rngd: Route = changetype<Route>(memory.data(8, 4));
const drawn: usize = memory.data(64, 8);

// GET_ENTROPY: rngd's status, or a negative error.
export function draw(count: u32): i32 {
  const handle = rngd.resolve("rngd");
  if (handle < 0) return handle;
  beginRequest(RG, RG_OP_GET_ENTROPY).putU16(<u16>count);
  const outcome = callRequest(<u32>handle, BUDGET_NS);
  return outcome != REPLY_OK ? outcome : <i32>reply.status;
}

// A counter of rngd's STATS; -1 when they could not be had.
function counter(index: u32): i64 {
  const handle = rngd.resolve("rngd");
  if (handle < 0) return -1;
  beginRequest(RG, RG_OP_STATS);
  if (callRequest(<u32>handle, BUDGET_NS) != REPLY_OK || reply.status != RG_OK) return -1;
  reply.body.takeBytes(index << 3);
  const value = <i64>reply.body.takeU64();
  return reply.body.ok ? value : -1;
}

function drawInto(at: usize): void {
  checkEqual(draw(DRAW_BYTES), RG_OK, "draw status");
  checkEqual(reply.body.takeU16(), DRAW_BYTES, "bytes drawn");
  const bytes = reply.body.takeBytes(DRAW_BYTES);
  if (check(reply.body.finished, "draw length")) memory.copy(at, bytes, DRAW_BYTES);
}

function provesEntropy(): void {
  proof("entropy");
  const granted = counter(RG_STATS_GRANTED);
  drawInto(drawn);
  drawInto(drawn + DRAW_BYTES);
  let different: u32 = 0;
  for (let i: u32 = 1; i < DRAW_BYTES; i++) if (load<u8>(drawn + i) != load<u8>(drawn)) different++;
  check(different != 0, "every byte is the same");
  check(memory.compare(drawn, drawn + DRAW_BYTES, DRAW_BYTES) != 0, "two draws are the same");
  memory.fill(drawn, 0, 2 * DRAW_BYTES);
  checkEqual(counter(RG_STATS_GRANTED) - granted, 2, "grants counted");
  proven(M_SELFTEST_ENTROPY_OK);
}

function provesOversized(): void {
  proof("entropy oversized");
  const oversized = counter(RG_STATS_OVERSIZED);
  checkEqual(draw(RG_ENTROPY_BYTES_MAX), RG_OK, "at the limit");
  checkEqual(reply.body.takeU16(), RG_ENTROPY_BYTES_MAX, "bytes at the limit");
  checkEqual(draw(RG_ENTROPY_BYTES_MAX + 1), RG_OVERSIZED, "over the limit");
  checkEqual(reply.body.left, 0, "bytes over the limit");
  checkEqual(draw(0), RG_MALFORMED, "nothing asked for");
  checkEqual(counter(RG_STATS_OVERSIZED) - oversized, 1, "oversized counted");
  proven(M_SELFTEST_ENTROPY_OVERSIZED_REJECTED_OK);
}

// A child whose policy row lets it reach rngd but not draw: its exit code is rngd's answer
// (fixtures/child-stranger.ts).
function provesDenied(): void {
  proof("entropy denied");
  const denied = counter(RG_STATS_DENIED);
  checkEqual(execRun("child-stranger"), EX_OK, "exec");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, 0, "cause of its end");
  checkEqual(waitCode & 15, RG_DENIED, "what rngd told it");
  checkEqual(counter(RG_STATS_DENIED) - denied, 1, "denial counted");
  proven(M_SELFTEST_ENTROPY_DENIED_OK);
}

/** Phase mmio of the ladder, in the order of markers/20-mmio.toml. */
export function mmio_proofs(): void {
  provesEntropy();
  provesOversized();
  provesDenied();
  timer_proofs();
}
