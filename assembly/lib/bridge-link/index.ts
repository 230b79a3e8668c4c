// SPDX-License-Identifier: Apache-2.0
// Owns: one framed request at a time over one port of portd (docs/format/bridge.md): frame out, the reply with our nonce back, or why not.
// Invariant: a reply is accepted only with the request's type and nonce and before its deadline; after any failure the stream is
// forgotten, so a late reply meets no request. While a READ waits, portd marks its own receive host_pending.
// Limits: one port a service; a request of the caller's buffer, written in pieces of WRITE_BYTES_MAX, each piece tried limits.ipc
// retry_max times while portd has no room; a reply of one frame; one wait for each request.
import { E_DEAD } from "../../gen/errors";
import {
  BRIDGE_LINK_REPLY_SLACK_NS, BRIDGE_LINK_ROOM_WAIT_NS, IPC_MISMATCH_MAX, IPC_RETRY_MAX, KERNEL_MESSAGE_BYTES_MAX, PORTD_READ_BYTES_MAX,
} from "../../gen/limits";
import { SLOT_PORTD } from "../../gen/slots";
import { sys_time_ns } from "../../gen/syscalls";
import { PD, REPLY_OK, Reader, Route, Writer, beginRequest, callRequest, callRequestUntil, reply } from "../nexus-ipc/index";
import {
  BRIDGE_CRC_BYTES, BRIDGE_HEADER_BYTES, BRIDGE_REPLY_BIT, BRIDGE_STATUS_OK, BridgeDecoder, finishBridgeFrame,
} from "../wire/bridge";
import { PD_AGAIN, PD_DISCONNECTED, PD_OK, PD_OP_OPEN, PD_OP_READ, PD_OP_WRITE } from "../wire/portd";

/** The link's own outcomes; positive numbers are BRIDGE_STATUS refusals of the host. */
export const LINK_OK: i32 = 0;
/** portd refused or is gone; its status is in `portStatus`. */
export const LINK_PORT: i32 = -201;
export const LINK_TIMEOUT: i32 = -202;
/** The host's side was reconnected while we waited: the session is void. */
export const LINK_RESET: i32 = -203;
/** The reply is not what its type says, or the request does not fit its buffer. */
export const LINK_MALFORMED: i32 = -204;

/** A WRITE of PD: head of 8 bytes and the port's number, then the bytes. */
const WRITE_BYTES_MAX: u32 = KERNEL_MESSAGE_BYTES_MAX - 12;

const decoder: BridgeDecoder = changetype<BridgeDecoder>(memory.data(88, 8));
const payload: Writer = changetype<Writer>(memory.data(16, 4));
const answer: Reader = changetype<Reader>(memory.data(16, 4));
const route: Route = changetype<Route>(memory.data(8, 4));

let name: string = "";
let waitNs: u64 = 0;
let frame: usize = 0;
let frameBytes: u32 = 0;
let decoderBuffer: usize = 0;
let portdNow: u32 = SLOT_PORTD;
let port: u32 = 0;
let opened: bool = false;
let connection: u32 = 0;
let nonceNext: u32 = 0;
let strays: u64 = 0;

/** Status of portd's last answer; 0xff: none came. */
export let portStatus: u32 = 0;
/** Host wall time of the last reply, ns since the epoch, and its monotonic time, ns. */
export let hostWallNs: u64 = 0;
export let hostMonoNs: u64 = 0;

/**
 * Names the port and the memory of this service's link, once, before any request. `request` holds the largest request frame
 * (payload + 36 bytes), `replies` BRIDGE_FRAME_BYTES_MAX bytes; a request waits `wait_ns` for its reply.
 */
export function linkInit(portName: string, wait_ns: u64, request: usize, requestBytes: u32, replies: usize): void {
  assert(offsetof<BridgeDecoder>() <= 88 && requestBytes > BRIDGE_HEADER_BYTES + BRIDGE_CRC_BYTES);
  name = portName;
  waitNs = wait_ns;
  frame = request;
  frameBytes = requestBytes;
  decoderBuffer = replies;
}

/** Replies that answered no waiting request. */
export function strayReplies(): u64 {
  return strays;
}

/** Asks portd for the port (policyd decides); true when it is ours. */
export function openPort(): bool {
  if (opened) return true;
  beginRequest(PD, PD_OP_OPEN).putU8(<u8>name.length).putText(name);
  if (!askPortd(callRequest(portdNow, waitNs))) return false;
  port = reply.body.takeU32();
  reply.body.takeU8();
  opened = reply.body.finished;
  connection = 0;
  decoder.reset(decoderBuffer);
  return opened;
}

/** Judges portd's answer; a dead portd is resolved again through samgrd for the next try. */
function askPortd(outcome: i32): bool {
  portStatus = outcome == REPLY_OK ? reply.status : 0xff;
  if (outcome == REPLY_OK && (reply.status == PD_OK || reply.status == PD_AGAIN)) return reply.status == PD_OK;
  if (outcome == REPLY_OK && reply.status == PD_DISCONNECTED) {
    // Nobody on the host's side: the port stays ours, and whoever comes is new.
    connection = 0;
    return false;
  }
  opened = false;
  if (outcome == <i32>E_DEAD) {
    route.drop();
    const fresh = route.resolve("portd");
    if (fresh > 0) portdNow = <u32>fresh;
  }
  return false;
}

/** The payload of the next request. */
export function beginPayload(): Writer {
  return payload.reset(frame + BRIDGE_HEADER_BYTES, frameBytes - BRIDGE_HEADER_BYTES - BRIDGE_CRC_BYTES);
}

/** Body of the last reply behind its status byte, valid until the next request. */
export function replyPayload(): Reader {
  return answer;
}

/** Sends the payload begun last and waits for its reply: LINK_OK (body in replyPayload), a BRIDGE_STATUS above 0, or LINK_*. */
export function requestHost(type: u8): i32 {
  if (!payload.ok) return LINK_MALFORMED;
  if (!openPort()) return LINK_PORT;
  decoder.reset(decoderBuffer);
  nonceNext++;
  const bytes = finishBridgeFrame(frame, type, nonceNext, payload.length);
  if (bytes == 0) return LINK_MALFORMED;
  const deadlineNs = <u64>sys_time_ns() + waitNs;
  for (let at: u32 = 0; at < bytes; at += WRITE_BYTES_MAX) {
    const outcome = writePiece(frame + at, min<u32>(bytes - at, WRITE_BYTES_MAX), deadlineNs);
    if (outcome != LINK_OK) return outcome;
  }
  return awaitReply(type | BRIDGE_REPLY_BIT, deadlineNs);
}

/** Writes one piece of the frame; while portd has no room, a short READ gives the host time to drain the port. */
function writePiece(from: usize, bytes: u32, deadlineNs: u64): i32 {
  for (let attempt: u32 = 0; attempt < IPC_RETRY_MAX && <u64>sys_time_ns() < deadlineNs; attempt++) {
    beginRequest(PD, PD_OP_WRITE).putU32(port).putBytes(from, bytes);
    if (askPortd(callRequestUntil(portdNow, deadlineNs))) return LINK_OK;
    if (portStatus != PD_AGAIN) return LINK_PORT;
    const outcome = readStream(min<u64>(<u64>sys_time_ns() + BRIDGE_LINK_ROOM_WAIT_NS, deadlineNs));
    if (outcome != LINK_OK) return outcome;
  }
  return LINK_TIMEOUT;
}

/** Moves what the host sent into the decoder, waiting at most until `untilNs` for the first byte. */
function readStream(untilNs: u64): i32 {
  beginRequest(PD, PD_OP_READ).putU32(port).putU16(<u16>PORTD_READ_BYTES_MAX).putU64(untilNs);
  if (!askPortd(callRequestUntil(portdNow, untilNs + BRIDGE_LINK_REPLY_SLACK_NS))) return LINK_PORT;
  const connectionNow = reply.body.takeU32();
  if (connection == 0) connection = connectionNow;
  if (connection != connectionNow) {
    connection = connectionNow;
    return LINK_RESET;
  }
  const bytes = reply.body.left;
  return reply.body.ok && decoder.push(reply.body.takeBytes(bytes), bytes) == bytes ? LINK_OK : LINK_MALFORMED;
}

function awaitReply(type: u8, deadlineNs: u64): i32 {
  let refused: u32 = 0;
  while (<u64>sys_time_ns() < deadlineNs) {
    const outcome = readStream(deadlineNs);
    if (outcome != LINK_OK) return outcome;
    while (decoder.next()) {
      if (decoder.type == type && decoder.nonce == nonceNext) return accept();
      strays++;
      refused++;
      if (refused > IPC_MISMATCH_MAX) return LINK_MALFORMED;
    }
  }
  return LINK_TIMEOUT;
}

function accept(): i32 {
  hostWallNs = decoder.wallNs;
  hostMonoNs = decoder.monoNs;
  answer.reset(decoder.payload, decoder.payloadBytes);
  const status = answer.takeU8();
  if (!answer.ok) return LINK_MALFORMED;
  return status == BRIDGE_STATUS_OK ? LINK_OK : <i32>status;
}
