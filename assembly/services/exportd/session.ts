// SPDX-License-Identifier: Apache-2.0
// Owns: the session with the host: hello, the host's clock, sending what waits, one frame at a time, and the back-off after a failure.
// Invariant: a frame leaves the queue when the host said ok or refused it for good, and for no other reason here; every other outcome keeps
// it for a later try. Wall time is known from the first hello on. Limits: limits.exportd; one request at a time, each request_wait_ns.
import {
  BRIDGE_FRAME_BYTES_MAX, BRIDGE_STATUS_NOT_CONNECTED, BRIDGE_STATUS_OVER_LIMIT, BRIDGE_STATUS_UNAVAILABLE,
  BRIDGE_TYPE_HELLO,
} from "../../lib/wire/bridge";
import {
  EXPORTD_BACKOFF_FIRST_NS, EXPORTD_BACKOFF_MAX_NS, EXPORTD_CLOCK_STEP_NS, EXPORTD_HELLO_BACKOFF_MAX_NS,
  EXPORTD_QUEUE_FRAMES, EXPORTD_REQUEST_WAIT_NS,
} from "../../gen/limits";
import { MUT_EXPORTD_TAKES_OVER_LIMIT_FOR_OK, mutant } from "../../gen/mutants";
import { sys_time_ns } from "../../gen/syscalls";
import {
  LINK_MALFORMED, LINK_OK, LINK_RESET, beginPayload, hostWallNs, linkInit, openPort, portStatus, replyPayload, requestHost,
} from "../../lib/bridge-link/index";
import { PD_NOT_FOUND, PD_UNAVAILABLE } from "../../lib/wire/portd";
import {
  XP_STAT_ACKED, XP_STAT_CLOCK_STEPS, XP_STAT_ITEMS_ACKED, XP_STAT_REFUSED, XP_STAT_RETRIED, XP_STAT_SESSIONS, XP_STAT_WALL_OFFSET_NS,
} from "../../lib/wire/exportd";
import { copyOldest, oldestBytes, oldestItems, oldestStream, oldestType, popOldest, queued } from "./queue";
import { addTally, countFrames, countRetry, setTally } from "./tally";
import { generation } from "./boot";

const VERSION: u16 = 1;
const request: usize = memory.data(BRIDGE_FRAME_BYTES_MAX, 8);
const replies: usize = memory.data(BRIDGE_FRAME_BYTES_MAX, 8);

let open: bool = false;
let known: bool = false;
/** Host wall time minus guest time, ns. */
let offsetNs: u64 = 0;
let helloAtNs: u64 = 0;
let helloWaitNs: u64 = 0;
let sendAtNs: u64 = 0;
let sendWaitNs: u64 = 0;
/** Outcome of the last request to the host: LINK_*, or a BRIDGE_STATUS above 0. */
export let lastOutcome: i32 = LINK_OK;

export function startSession(): void {
  linkInit("org.vigil.export", EXPORTD_REQUEST_WAIT_NS, request, BRIDGE_FRAME_BYTES_MAX, replies);
}

/** Evidence of readiness: policyd and portd gave us the port, or this machine has none. */
export function portHeld(): bool {
  return openPort() || portStatus == PD_UNAVAILABLE || portStatus == PD_NOT_FOUND;
}

/** Whether a wall time is known: since the first hello. */
export function wallKnown(): bool {
  return known;
}
/** Host wall time at a guest time, ns since 1970. */
export function wallAt(guestNs: u64): u64 {
  return offsetNs + guestNs;
}

/** A session: the one there is, or a new one, tried when its back-off is over, or `now` in any case. */
export function ensureSession(now: bool): bool {
  if (open) return true;
  if (!now && <u64>sys_time_ns() < helloAtNs) return false;
  if (hello()) {
    helloWaitNs = 0;
    return true;
  }
  helloWaitNs = helloWaitNs == 0 ? EXPORTD_BACKOFF_FIRST_NS : min<u64>(helloWaitNs << 1, EXPORTD_HELLO_BACKOFF_MAX_NS);
  helloAtNs = <u64>sys_time_ns() + helloWaitNs;
  return false;
}

function hello(): bool {
  beginPayload().putU16(VERSION).putU16(VERSION).putU64(generation());
  lastOutcome = requestHost(BRIDGE_TYPE_HELLO);
  // The host's side was connected anew while nobody asked: that is what this hello is for.
  if (lastOutcome == LINK_RESET) {
    beginPayload().putU16(VERSION).putU16(VERSION).putU64(generation());
    lastOutcome = requestHost(BRIDGE_TYPE_HELLO);
  }
  if (lastOutcome != LINK_OK) return false;
  const body = replyPayload();
  const version = body.takeU16();
  body.takeU32();
  if (!body.finished || version != VERSION || hostWallNs == 0) {
    lastOutcome = LINK_MALFORMED;
    return false;
  }
  setOffset(hostWallNs - <u64>sys_time_ns());
  known = true;
  open = true;
  sendWaitNs = 0;
  sendAtNs = 0;
  addTally(XP_STAT_SESSIONS, 1);
  return true;
}

function setOffset(offset: u64): void {
  offsetNs = offset;
  setTally(XP_STAT_WALL_OFFSET_NS, offset);
}

/** The host's clock was set, or the guest stood still: later times follow. Smaller differences are the way's own. */
function checkClock(): void {
  const offset = hostWallNs - <u64>sys_time_ns();
  const apart = <i64>(offset - offsetNs);
  if (hostWallNs == 0 || (apart < <i64>EXPORTD_CLOCK_STEP_NS && apart > -<i64>EXPORTD_CLOCK_STEP_NS)) return;
  setOffset(offset);
  addTally(XP_STAT_CLOCK_STEPS, 1);
}

/** Sends what waits until nothing does, the host has no room, or something fails; not before the back-off is over, unless `now`. */
export function sendWaiting(now: bool): void {
  if (!now && <u64>sys_time_ns() < sendAtNs) return;
  for (let turn: u32 = 0; turn < EXPORTD_QUEUE_FRAMES && queued() != 0; turn++) {
    if (!ensureSession(now)) return;
    if (!sendOldest()) {
      addTally(XP_STAT_RETRIED, 1);
      countRetry();
      sendWaitNs = sendWaitNs == 0 ? EXPORTD_BACKOFF_FIRST_NS : min<u64>(sendWaitNs << 1, EXPORTD_BACKOFF_MAX_NS);
      sendAtNs = <u64>sys_time_ns() + sendWaitNs;
      return;
    }
    sendWaitNs = 0;
    sendAtNs = 0;
  }
}

/** Sends one frame: true when it left the queue. */
function sendOldest(): bool {
  const type = oldestType();
  const stream = oldestStream();
  const items = oldestItems();
  const bytes = oldestBytes();
  const at = beginPayload().reserve(bytes);
  if (at != 0) copyOldest(at);
  lastOutcome = requestHost(type);
  if (lastOutcome == LINK_OK || (mutant(MUT_EXPORTD_TAKES_OVER_LIMIT_FOR_OK) && lastOutcome == BRIDGE_STATUS_OVER_LIMIT)) {
    checkClock();
    popOldest();
    countFrames(XP_STAT_ACKED, stream, 1);
    addTally(XP_STAT_ITEMS_ACKED + stream, items);
    return true;
  }
  if (lastOutcome == BRIDGE_STATUS_OVER_LIMIT || lastOutcome == BRIDGE_STATUS_UNAVAILABLE) return false;
  if (lastOutcome < 0 || lastOutcome == BRIDGE_STATUS_NOT_CONNECTED) {
    // No reply that counts: the session is void, the frame is not.
    open = false;
    return false;
  }
  popOldest();
  countFrames(XP_STAT_REFUSED, stream, 1);
  return true;
}
