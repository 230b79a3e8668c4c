// SPDX-License-Identifier: Apache-2.0
// How the proofs talk to the probe fixtures: one route each, resolved through samgrd again after a probe was restarted.
import { beginRequest, callRequest, reply, REPLY_OK, Route, sendRequest } from "../../lib/nexus-ipc/index";
import { Writer } from "../../lib/bounded/writer";
import { FX, FX_INSPECT } from "../../lib/wire/probe";
import { check, waitNs } from "./lib";

export const CALL_BUDGET_NS: u64 = 1_000_000_000;
const routes: usize = memory.data(24, 4);
/** init-lite restarts a probe within this many looks. */
const LOOKS_MAX: u32 = 50;
const LOOK_NS: u64 = 1_000_000;

export const PROBE_A: u32 = 0;
export const PROBE_B: u32 = 1;
export const PROBE_C: u32 = 2;

function nameOf(probe: u32): string { return probe == PROBE_A ? "probe-a" : probe == PROBE_B ? "probe-b" : "probe-c"; }
export function routeOf(probe: u32): Route { return changetype<Route>(routes + probe * 8); }

/** Handle to a probe, 0 with a failed check when it cannot be resolved. */
export function probeHandle(probe: u32): u32 {
  const handle = routeOf(probe).resolve(nameOf(probe));
  return check(handle > 0, "probe not resolved") ? <u32>handle : 0;
}

let chosen: u32 = 0;

/** Begins a request to a probe. It is resolved first: resolving is a request of its own. */
export function probeRequest(probe: u32, op: u8): Writer {
  chosen = probeHandle(probe);
  return beginRequest(FX, op);
}

/** Sends the request begun last and waits; the outcome as callRequest gives it. */
export function probeCall(moved: u32 = 0): i32 {
  return chosen == 0 ? -1 : callRequest(chosen, CALL_BUDGET_NS, moved);
}

/** Sends it without waiting. */
export function probeSend(): i32 {
  return chosen == 0 ? -1 : sendRequest(chosen);
}

/** Waits until init-lite has restarted a probe that ended and it answers again; its new pattern checksum, 0 on failure. */
export function probeAgain(probe: u32): u32 {
  for (let n: u32 = 0; n < LOOKS_MAX; n++) {
    routeOf(probe).drop();
    const handle = routeOf(probe).resolve(nameOf(probe));
    if (handle > 0) {
      beginRequest(FX, FX_INSPECT);
      if (callRequest(<u32>handle, CALL_BUDGET_NS) == REPLY_OK) return reply.body.takeU32();
    }
    waitNs(LOOK_NS);
  }
  return 0;
}

/** Checksum of a probe's pattern region, 0 when it does not answer. */
export function probeChecksum(probe: u32): u32 {
  probeRequest(probe, FX_INSPECT);
  return probeCall() == REPLY_OK ? reply.body.takeU32() : 0;
}
