// SPDX-License-Identifier: Apache-2.0
// rngd: the entropy authority over virtio-rng (docs/format/wire-rngd.md).
// Invariant: bytes go only to a sender to which policyd granted rng.entropy just now, through the shared decoder;
// policyd silent, late, short or with another nonce means denied. Entropy is never logged and never given out twice;
// the driver clears its copy at once, the one in the dispatcher's answer buffer lives until the next answer.
// Limit: limits.rngd entropy_bytes_max a request.
import { M_RNGD_READY, mark } from "../../gen/markers";
import {
  MUT_RNGD_ACCEPTS_OVERSIZED, MUT_RNGD_READY_EVIDENCE_BROKEN, MUT_RNGD_RETURNS_ZEROS, MUT_RNGD_SKIPS_POLICY, mutant,
} from "../../gen/mutants";
import { RG, Request, delegateCheck, serve, serverOnNotify, serverRoute } from "../../lib/nexus-ipc/index";
import {
  RG_DENIED, RG_ENTROPY_BYTES_MAX, RG_MALFORMED, RG_OK, RG_OP_GET_ENTROPY, RG_OP_STATS, RG_OVERSIZED, RG_UNAVAILABLE,
  RG_UNSUPPORTED,
} from "../../lib/wire/rngd";
import { RNG_OK, RNG_UNHEALTHY, rngBytes, rngFill, rngForget } from "./device";
import { logInfo, sinkStart } from "../../lib/nexus-log/index";

export const vigil_abi: i32 = 1;

/** What the ready evidence draws. */
const EVIDENCE_BYTES: u32 = 32;
let granted: u64 = 0;
let denied: u64 = 0;
let oversized: u64 = 0;
let unavailable: u64 = 0;
let unhealthy: u64 = 0;

function onGetEntropy(request: Request): void {
  const count = <u32>request.body.takeU16();
  if (!request.body.finished || count == 0) {
    request.answer(RG_MALFORMED);
    return;
  }
  if (count > RG_ENTROPY_BYTES_MAX) {
    oversized++;
    if (mutant(MUT_RNGD_ACCEPTS_OVERSIZED)) request.answer(RG_OK).putU16(0);
    else request.answer(RG_OVERSIZED);
    return;
  }
  if (!mutant(MUT_RNGD_SKIPS_POLICY) && !delegateCheck(request.sender, "rng.entropy")) {
    denied++;
    request.answer(RG_DENIED);
    return;
  }
  const outcome = rngFill(count);
  if (outcome != RNG_OK) {
    unavailable++;
    if (outcome == RNG_UNHEALTHY) unhealthy++;
    rngForget();
    request.answer(RG_UNAVAILABLE);
    return;
  }
  granted++;
  if (mutant(MUT_RNGD_RETURNS_ZEROS)) rngForget();
  request.answer(RG_OK).putU16(<u16>count).putBytes(rngBytes(), count);
  rngForget();
}

function onStats(request: Request): void {
  if (!request.body.finished) {
    request.answer(RG_MALFORMED);
    return;
  }
  request.answer(RG_OK).putU64(granted).putU64(denied).putU64(oversized).putU64(unavailable).putU64(unhealthy);
}

// The interrupt only wakes the receive; completions are taken where they are waited for.
function onNotify(bits: u64): void {}

/** Ready means: the device filled a request and the bytes passed the health test. */
function onPing(): bool {
  if (mutant(MUT_RNGD_READY_EVIDENCE_BROKEN)) return false;
  const outcome = rngFill(EVIDENCE_BYTES);
  rngForget();
  return outcome == RNG_OK;
}

function onReady(): void {
  mark(M_RNGD_READY);
  logInfo("rngd").text("ready").end();
}

export function main(): void {
  sinkStart();
  serverRoute(RG_OP_GET_ENTROPY, onGetEntropy);
  serverRoute(RG_OP_STATS, onStats);
  serverOnNotify(onNotify);
  serve(RG, RG_MALFORMED, RG_UNSUPPORTED, onPing, onReady);
}
