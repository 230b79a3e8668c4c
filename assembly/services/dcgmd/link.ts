// SPDX-License-Identifier: Apache-2.0
// Owns: one request at a time over the port org.vigil.dcgm: frame out, the reply with our nonce back, or why not.
// Invariant: a reply is accepted only with the request's type and nonce and before its deadline; after any failure the stream is
// forgotten, so a late reply meets no request. While a READ waits, portd marks its own receive host_pending.
// Limits: requests of limits.portd tx_buffer_bytes, replies of one frame; limits.dcgmd request_wait_ns for each.
import { E_DEAD } from "../../gen/errors";
import {
  DCGMD_REPLY_SLACK_NS, DCGMD_REQUEST_WAIT_NS, IPC_MISMATCH_MAX, KERNEL_MESSAGE_BYTES_MAX, PORTD_READ_BYTES_MAX,
} from "../../gen/limits";
import { SLOT_PORTD } from "../../gen/slots";
import { sys_time_ns } from "../../gen/syscalls";
import { PD, REPLY_OK, Reader, Route, Writer, beginRequest, callRequest, callRequestUntil, reply } from "../../lib/nexus-ipc/index";
import { BRIDGE_HEADER_BYTES, BRIDGE_REPLY_BIT, BRIDGE_STATUS_OK, BridgeDecoder, finishBridgeFrame } from "../../lib/wire/bridge";
import { PD_OK, PD_OP_OPEN, PD_OP_READ, PD_OP_WRITE } from "../../lib/wire/portd";

/** The link's own outcomes; positive numbers are BRIDGE_STATUS refusals of the host. */
export const LINK_OK: i32 = 0;
/** portd refused or is gone; its status is in `portStatus`. */
export const LINK_PORT: i32 = -201;
export const LINK_TIMEOUT: i32 = -202;
/** The host's side was reconnected while we waited: the session is void. */
export const LINK_RESET: i32 = -203;
export const LINK_MALFORMED: i32 = -204;

const REQUEST_BYTES: u32 = 1024;
const frame: usize = memory.data(1024, 8);
const decoderBuffer: usize = memory.data(16384, 8);
const decoder: BridgeDecoder = changetype<BridgeDecoder>(memory.data(88, 8));
const payload: Writer = changetype<Writer>(memory.data(16, 4));
const answer: Reader = changetype<Reader>(memory.data(16, 4));
const route: Route = changetype<Route>(memory.data(8, 4));

let portdNow: u32 = SLOT_PORTD;
let port: u32 = 0;
let opened: bool = false;
let connection: u32 = 0;
let nonceNext: u32 = 0;
let strays: u64 = 0;

/** Status of portd's last answer. */
export let portStatus: u32 = 0;
/** Host wall time of the last reply, ns since the epoch. */
export let hostWallNs: u64 = 0;

/** Replies that answered no waiting request. */
export function strayReplies(): u64 {
  return strays;
}

/** Asks portd for the port (policyd decides); true when it is ours. */
export function openPort(): bool {
  assert(offsetof<BridgeDecoder>() <= 88);
  if (opened) return true;
  beginRequest(PD, PD_OP_OPEN).putU8(14).putText("org.vigil.dcgm");
  if (!askPortd(callRequest(portdNow, DCGMD_REQUEST_WAIT_NS))) return false;
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
  if (outcome == REPLY_OK && reply.status == PD_OK) return true;
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
  return payload.reset(frame + BRIDGE_HEADER_BYTES, REQUEST_BYTES - BRIDGE_HEADER_BYTES - 4);
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
  assert(bytes != 0 && bytes + 16 <= KERNEL_MESSAGE_BYTES_MAX);
  beginRequest(PD, PD_OP_WRITE).putU32(port).putBytes(frame, bytes);
  if (!askPortd(callRequest(portdNow, DCGMD_REQUEST_WAIT_NS))) return LINK_PORT;
  return awaitReply(type | BRIDGE_REPLY_BIT, <u64>sys_time_ns() + DCGMD_REQUEST_WAIT_NS);
}

function awaitReply(type: u8, deadlineNs: u64): i32 {
  let refused: u32 = 0;
  while (<u64>sys_time_ns() < deadlineNs) {
    beginRequest(PD, PD_OP_READ).putU32(port).putU16(<u16>PORTD_READ_BYTES_MAX).putU64(deadlineNs);
    if (!askPortd(callRequestUntil(portdNow, deadlineNs + DCGMD_REPLY_SLACK_NS))) return LINK_PORT;
    const connectionNow = reply.body.takeU32();
    if (connection == 0) connection = connectionNow;
    if (connection != connectionNow) {
      connection = connectionNow;
      return LINK_RESET;
    }
    const bytes = reply.body.left;
    if (!reply.body.ok || decoder.push(reply.body.takeBytes(bytes), bytes) != bytes) return LINK_MALFORMED;
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
  answer.reset(decoder.payload, decoder.payloadBytes);
  const status = answer.takeU8();
  if (!answer.ok) return LINK_MALFORMED;
  return status == BRIDGE_STATUS_OK ? LINK_OK : <i32>status;
}
