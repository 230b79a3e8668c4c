// SPDX-License-Identifier: Apache-2.0
// The way from a service to logd: a ring of records, sent without ever waiting for logd, with correlated replies.
// Invariant: put = acknowledged + refused + unanswered + in flight + in the ring + dropped; nothing disappears uncounted. A
// clone of the reply capability that a failed send left here is closed, so no slot leaks.
// Paths: the three slots given to configure_sink_logd_slots, if they are valid; else, and after the slot's peer died, a route
// that samgrd resolves and that is resolved again when it dies. Only that LOOKUP waits, bounded, and needs the edge to samgrd.
// Limits: limits.nexus_log ring_bytes (oldest dropped), in_flight_max unanswered sends, drain_max replies a look, route_retry_ns
// between two tries to resolve.
import { E_DEAD, E_BAD_HANDLE } from "../../gen/errors";
import { NEXUS_LOG_DRAIN_MAX, NEXUS_LOG_IN_FLIGHT_MAX, NEXUS_LOG_RING_BYTES, NEXUS_LOG_ROUTE_RETRY_NS } from "../../gen/limits";
import { MUT_NEXUS_LOG_NEVER_RESOLVES_AGAIN, mutant } from "../../gen/mutants";
import { SLOT_LOGD } from "../../gen/slots";
import {
  sys_cap_clone, sys_cap_close, sys_cap_query, sys_endpoint_create, sys_recv, sys_send, sys_time_ns,
} from "../../gen/syscalls";
import { ByteRing } from "../bounded/ring";
import { Reader, Writer } from "../bounded/writer";
import { LO, REPLY_OK, decodeReply, loadNonce, writeRequestHead } from "../nexus-ipc/frame";
import { Route } from "../nexus-ipc/resolve";
import { LO_APPEND, LO_OK } from "../wire/logd";

const RIGHT_SEND: u64 = 1;
const RIGHT_RECV: u64 = 2;
const RIGHT_CLONE: u64 = 4;
const KIND_ENDPOINT: u64 = 1;
const FRAME_BYTES: u32 = 1024;

const ringBytes: usize = memory.data(NEXUS_LOG_RING_BYTES, 8);
const ring: ByteRing = changetype<ByteRing>(memory.data(40, 8));
const frame: usize = memory.data(1024, 8);
const frameWriter: Writer = changetype<Writer>(memory.data(16, 4));
const replyFrame: usize = memory.data(256, 8);
const replyBody: Reader = changetype<Reader>(memory.data(16, 4));
const meta: usize = memory.data(32, 8);
/** nonces of sends without an answer yet; 0: free */
const inFlight: usize = memory.data(NEXUS_LOG_IN_FLIGHT_MAX * 8, 8);
const route: Route = changetype<Route>(memory.data(8, 4));
const probeWord: usize = memory.data(8, 8);
ring.reset(ringBytes, NEXUS_LOG_RING_BYTES);

let logdSlot: u32 = 0;
let replySend: u32 = 0;
let replyRecv: u32 = 0;
let routeNext_ns: u64 = 0;
let inFlightCount: u32 = 0;
/** Own count, not the client's: consecutive nonces use the window of in_flight_max places without collision. */
let nonceNext: u64 = 1;

/** What happened to the records of this service since its start. */
@unmanaged
export class SinkStats {
  put: u64;
  sent: u64;
  acknowledged: u64;
  /** logd answered with another status than OK */
  refused: u64;
  /** no answer before the window was needed again */
  unanswered: u64;
  /** oldest records dropped from the full ring, or too large for it */
  dropped: u64;
  /** replies that matched no send */
  mismatched: u64;
  /** sends that the kernel refused (queue full, peer dead); the record stayed in the ring */
  sendFailures: u64;
  /** LOOKUPs of logd through samgrd that gave a capability */
  routes: u64;
  /** record id of the last acknowledged record */
  lastRecordId: u64;
}
const stats: SinkStats = changetype<SinkStats>(memory.data(80, 8));

export function sinkStats(): SinkStats {
  return stats;
}
/** Records waiting in the ring. */
export function sinkWaiting(): u32 {
  return ring.entries;
}
/** Sends whose answer has not come yet. */
export function sinkInFlight(): u32 {
  return inFlightCount;
}
/** True while the configured slot is in use; false on the routed path. */
export function sinkOnSlots(): bool {
  return logdSlot != 0;
}

function holds(handle: u32, rights: u64): bool {
  if (handle == 0 || sys_cap_query(handle, <u32>meta) < 0) return false;
  if (load<u64>(meta) != KIND_ENDPOINT) return false;
  return (load<u64>(meta + 8) & rights) == rights;
}

/** Uses fixed capabilities: `logd_send` must be an endpoint with SEND, `reply_send` one with SEND and CLONE, `reply_recv` one
 *  with RECV, and what is sent to reply_send must arrive at reply_recv. False (and nothing changes) when one of them is not. */
export function configure_sink_logd_slots(logd_send: u32, reply_send: u32, reply_recv: u32): bool {
  if (!holds(logd_send, RIGHT_SEND)) return false;
  if (!configureReply(reply_send, reply_recv)) return false;
  logdSlot = logd_send;
  sinkFlush();
  return true;
}

/** The reply half alone: with it the routed path works too. */
function configureReply(reply_send: u32, reply_recv: u32): bool {
  if (!holds(reply_send, RIGHT_SEND | RIGHT_CLONE)) return false;
  if (!holds(reply_recv, RIGHT_RECV)) return false;
  const nonce = nonceNext++;
  store<u64>(probeWord, nonce);
  if (sys_send(reply_send, <u32>probeWord, 8, 0) < 0) return false;
  // An earlier probe may still lie there: look past it, bounded.
  for (let i: u32 = 0; i < NEXUS_LOG_DRAIN_MAX; i++) {
    const got = sys_recv(reply_recv, <u64>replyFrame | (<u64>256 << 32), <u32>meta, 0, 0);
    if (got < 0) return false;
    if (got != 8 || load<u64>(replyFrame) != nonce) continue;
    replySend = reply_send;
    replyRecv = reply_recv;
    return true;
  }
  return false;
}

/** The usual start: a reply endpoint of its own and SLOT_LOGD where the manifest grants it; the routed path otherwise. Call it
 *  once at start-up; records logged before wait in the ring. True when the slots are in use. */
export function sinkStart(): bool {
  const endpoint = sys_endpoint_create(NEXUS_LOG_IN_FLIGHT_MAX);
  if (endpoint < 0) return false;
  if (configure_sink_logd_slots(SLOT_LOGD, <u32>endpoint, <u32>endpoint)) return true;
  if (!configureReply(<u32>endpoint, <u32>endpoint)) sys_cap_close(<u32>endpoint);
  sinkFlush();
  return false;
}

/** Leaves the slot path (as after its peer's end): from now on logd is resolved through samgrd. */
export function sinkUseRoute(): void {
  logdSlot = 0;
  route.drop();
  routeNext_ns = 0;
}

/** Takes one APPEND body: into the ring, then on its way if logd can be reached. False when it can never fit. */
export function sinkPut(body: usize, bytes: u32): bool {
  stats.put++;
  const before = ring.dropped;
  const fits = ring.push(body, bytes);
  stats.dropped += ring.dropped - before;
  if (!fits) {
    stats.dropped++;
    return false;
  }
  sinkFlush();
  return true;
}

/** Takes the answers that came, then sends what waits, oldest first, as far as logd takes it now. Never waits for logd. */
export function sinkFlush(): void {
  drain();
  for (let entries = ring.entries; entries > 0; entries--) {
    const to = destination();
    if (to == 0 || !sendOldest(to)) return;
  }
}

/** A handle to logd, or 0 when there is none now. */
function destination(): u32 {
  if (replySend == 0) return 0;
  if (logdSlot != 0) return logdSlot;
  if (route.handle != 0) return route.handle;
  const now_ns = <u64>sys_time_ns();
  if (now_ns < routeNext_ns) return 0;
  routeNext_ns = now_ns + NEXUS_LOG_ROUTE_RETRY_NS;
  if (mutant(MUT_NEXUS_LOG_NEVER_RESOLVES_AGAIN) && route.resolutions != 0) return 0;
  const handle = route.resolve("logd");
  if (handle <= 0) return 0;
  stats.routes++;
  return <u32>handle;
}

function sendOldest(to: u32): bool {
  const clone = sys_cap_clone(replySend, <u32>RIGHT_SEND);
  if (clone < 0) {
    stats.sendFailures++;
    return false;
  }
  const nonce = nonceNext++;
  writeRequestHead(frameWriter.reset(frame, FRAME_BYTES), LO, LO_APPEND, nonce);
  const bytes = ring.lengthAt(ring.head);
  const at = frameWriter.reserve(bytes);
  assert(at != 0);
  ring.copyEntry(ring.head, 0, bytes, at);
  const outcome = sys_send(to, <u32>frame, <u64>frameWriter.length | (<u64>clone << 32), 0);
  if (outcome >= 0) {
    ring.pop();
    stats.sent++;
    remember(nonce);
    return true;
  }
  sys_cap_close(<u32>clone);
  stats.sendFailures++;
  if (outcome == E_DEAD || outcome == E_BAD_HANDLE) {
    if (logdSlot != 0) logdSlot = 0;
    else route.drop();
    // The next destination resolves again; try once now, so that a restart costs no record's delay.
    const next = destination();
    return next != 0 && retryOldest(next);
  }
  return false;
}

/** One more try with a fresh handle; it does not recurse. */
function retryOldest(to: u32): bool {
  const clone = sys_cap_clone(replySend, <u32>RIGHT_SEND);
  if (clone < 0) return false;
  const outcome = sys_send(to, <u32>frame, <u64>frameWriter.length | (<u64>clone << 32), 0);
  if (outcome < 0) {
    sys_cap_close(<u32>clone);
    stats.sendFailures++;
    return false;
  }
  ring.pop();
  stats.sent++;
  remember(loadNonce(frame + 4, 8));
  return true;
}

function remember(nonce: u64): void {
  const at = inFlight + (<usize>(nonce % NEXUS_LOG_IN_FLIGHT_MAX) << 3);
  if (load<u64>(at) != 0) stats.unanswered++;
  else inFlightCount++;
  store<u64>(at, nonce);
}

/** Takes at most drain_max replies: each is matched to its send by nonce. */
function drain(): void {
  if (replyRecv == 0) return;
  for (let i: u32 = 0; i < NEXUS_LOG_DRAIN_MAX; i++) {
    const got = sys_recv(replyRecv, <u64>replyFrame | (<u64>256 << 32), <u32>meta, 0, 0);
    if (got < 0) return;
    const moved = load<u32>(meta + 16);
    if (moved != 0) sys_cap_close(moved);
    settle(<u32>got);
  }
}

function settle(bytes: u32): void {
  const nonce = bytes >= 13 ? loadNonce(replyFrame + LO.replyNonceOffset, 8) : 0;
  const at = inFlight + (<usize>(nonce % NEXUS_LOG_IN_FLIGHT_MAX) << 3);
  const known = nonce != 0 && load<u64>(at) == nonce;
  if (!known || decodeReply(LO, LO_APPEND, nonce, replyFrame, bytes, replyBody) != REPLY_OK) {
    stats.mismatched++;
    return;
  }
  store<u64>(at, 0);
  inFlightCount--;
  if (load<u8>(replyFrame + LO.replyStatusOffset) == LO_OK) {
    stats.acknowledged++;
    stats.lastRecordId = replyBody.takeU64();
  } else {
    stats.refused++;
  }
}
