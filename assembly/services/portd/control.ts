// SPDX-License-Identifier: Apache-2.0
// Owns: the host's own questions on the port org.vigil.control: LOGS, SERIES, STATUS and HISTORY (docs/format/control.md).
// Invariant: every whole request frame gets exactly one reply frame with its nonce; the answer comes from the service that owns
// the data, asked now; nothing here writes to the console, so a watching host changes no transcript.
// Limits: one request at a time; while no transmit buffer is free requests wait in the decoder, and behind it in the device.
import { E_DEAD } from "../../gen/errors";
import { COUNTER_FREE_FRAMES, COUNTER_PREEMPTIONS } from "../../gen/counters";
import { PORTD_CONTROL_REPLY_WAIT_NS, PORTD_PORTS_MAX, PORTD_TX_BUFFER_BYTES } from "../../gen/limits";
import { SLOT_LOG_QUERY, SLOT_METRICSD, SLOT_SAMGRD } from "../../gen/slots";
import { sys_cap_close, sys_counter, sys_time_ns } from "../../gen/syscalls";
import { LO, MT, REPLY_OK, Reader, SM, Writer, beginRequest, callRequest, lookupQuery, reply } from "../../lib/nexus-ipc/index";
import {
  BRIDGE_FRAME_BYTES_MAX, BRIDGE_HEADER_BYTES, BRIDGE_CRC_BYTES, BRIDGE_REPLY_BIT, BRIDGE_STATUS_BAD_REQUEST,
  BRIDGE_STATUS_OK, BRIDGE_STATUS_OVER_LIMIT, BRIDGE_STATUS_PERMISSION_DENIED, BRIDGE_STATUS_UNAVAILABLE,
  BRIDGE_STATUS_UNSUPPORTED, BRIDGE_TYPE_HISTORY, BRIDGE_TYPE_LOGS, BRIDGE_TYPE_SERIES, BRIDGE_TYPE_STATUS, BridgeDecoder,
  finishBridgeFrame,
} from "../../lib/wire/bridge";
import { CONTROL_COUNTERS, CONTROL_NAMES_MAX, CONTROL_NAME_BYTES_MAX } from "../../lib/wire/control";
import { LO_QUERY, writeQuery } from "../../lib/wire/logd";
import { MT_DENIED, MT_OK, MT_OP_RANGE, MT_OP_SNAPSHOT, MT_UNAVAILABLE, putSnapshot } from "../../lib/wire/metricsd";
import { SM_OK, SM_OP_RESOLVE_STATUS } from "../../lib/wire/samgrd";
import { equalsLiteral } from "../../lib/bounded/text";
import { setGuestOpen } from "./device";
import { Port, portAt } from "./port";
import { putPortStats } from "./requests";

const CHUNK_BYTES: u32 = 2048;
const chunk: usize = memory.data(2048, 8);
const decoderBuffer: usize = memory.data(16384, 8);
const decoder: BridgeDecoder = changetype<BridgeDecoder>(memory.data(88, 8));
const payload: Reader = changetype<Reader>(memory.data(16, 4));
const writer: Writer = changetype<Writer>(memory.data(16, 4));

let connectionSeen: u32 = 0;
let started: bool = false;

/** Opens the control port toward the host, if the device has it. */
export function startControl(): void {
  assert(offsetof<BridgeDecoder>() <= 88);
  decoder.reset(decoderBuffer);
  const port = controlPort();
  if (port !== null) setGuestOpen(port, true);
  started = port !== null;
}

function controlPort(): Port | null {
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    if (port.added != 0 && equalsLiteral(port.name, port.nameBytes, "org.vigil.control")) return port;
  }
  return null;
}

/** Reads what the host sent and answers it; call after completions. */
export function serveControl(): void {
  if (!started) return;
  const port = controlPort();
  if (port === null) return;
  if (port.connections != connectionSeen) {
    connectionSeen = port.connections;
    decoder.reset(decoderBuffer);
  }
  // Each turn takes a frame or a chunk; both are bounded by what the device's buffers hold.
  for (let turn: u32 = 0; turn < BRIDGE_FRAME_BYTES_MAX; turn++) {
    if (port.freeTransmits() == 0) return;
    if (decoder.next()) {
      answerFrame(port);
      continue;
    }
    const room = min<u32>(BRIDGE_FRAME_BYTES_MAX - decoder.length, CHUNK_BYTES);
    const bytes = port.take(chunk, room);
    if (bytes == 0) return;
    decoder.push(chunk, bytes);
  }
}

function answerFrame(port: Port): void {
  if ((decoder.type & BRIDGE_REPLY_BIT) != 0) return;
  const frame = port.reserve();
  if (frame == 0) return;
  const room = PORTD_TX_BUFFER_BYTES - BRIDGE_HEADER_BYTES - BRIDGE_CRC_BYTES;
  writer.reset(frame + BRIDGE_HEADER_BYTES, room);
  payload.reset(decoder.payload, decoder.payloadBytes);
  if (decoder.type == BRIDGE_TYPE_LOGS) answerLogs();
  else if (decoder.type == BRIDGE_TYPE_SERIES) answerSeries();
  else if (decoder.type == BRIDGE_TYPE_STATUS) answerStatus();
  else if (decoder.type == BRIDGE_TYPE_HISTORY) answerHistory();
  else refuse(BRIDGE_STATUS_UNSUPPORTED);
  if (!writer.ok) refuse(BRIDGE_STATUS_OVER_LIMIT);
  const type = decoder.type | BRIDGE_REPLY_BIT;
  port.transmit(frame, finishBridgeFrame(frame, type, decoder.nonce, writer.length));
}

function refuse(status: u8): void {
  writer.reset(writer.base, writer.capacity).putU8(status);
}

/** Copies the body of the service's reply behind the status. */
function passReply(outcome: i32): void {
  if (outcome != REPLY_OK) return refuse(BRIDGE_STATUS_UNAVAILABLE);
  if (reply.status != 0) return refuse(BRIDGE_STATUS_PERMISSION_DENIED);
  const bytes = reply.body.left;
  writer.putU8(BRIDGE_STATUS_OK).putBytes(reply.body.takeBytes(bytes), bytes);
}

/** logd's query capability: the slot that init-lite filled, then, once that logd ended, what samgrd hands out. */
let logQuery: u32 = SLOT_LOG_QUERY;

function resolvedAgain(): bool {
  const handle = lookupQuery("logd");
  if (handle < 0) return false;
  if (logQuery != SLOT_LOG_QUERY) sys_cap_close(logQuery);
  logQuery = <u32>handle;
  return true;
}

function answerLogs(): void {
  const after = payload.takeU64();
  const max = payload.takeU16();
  if (!payload.finished || max == 0) return refuse(BRIDGE_STATUS_BAD_REQUEST);
  writeQuery(beginRequest(LO, LO_QUERY), 0, max, after);
  const outcome = callRequest(logQuery, PORTD_CONTROL_REPLY_WAIT_NS);
  if (outcome != <i32>E_DEAD || !resolvedAgain()) return passReply(outcome);
  writeQuery(beginRequest(LO, LO_QUERY), 0, max, after);
  passReply(callRequest(logQuery, PORTD_CONTROL_REPLY_WAIT_NS));
}

function answerSeries(): void {
  const cursor = payload.takeU32();
  const max = payload.takeU16();
  if (!payload.finished || max == 0) return refuse(BRIDGE_STATUS_BAD_REQUEST);
  putSnapshot(beginRequest(MT, MT_OP_SNAPSHOT), cursor, max);
  passReply(callRequest(SLOT_METRICSD, PORTD_CONTROL_REPLY_WAIT_NS));
}

/** The request's payload is the body of metricsd's RANGE, which judges it; the wait is metricsd's own for a few reads of /state. */
function answerHistory(): void {
  const bytes = payload.left;
  beginRequest(MT, MT_OP_RANGE).putBytes(payload.takeBytes(bytes), bytes);
  const outcome = callRequest(SLOT_METRICSD, PORTD_CONTROL_REPLY_WAIT_NS);
  if (outcome == REPLY_OK && reply.status == MT_UNAVAILABLE) return refuse(BRIDGE_STATUS_UNAVAILABLE);
  if (outcome == REPLY_OK && reply.status != MT_OK && reply.status != MT_DENIED) return refuse(BRIDGE_STATUS_BAD_REQUEST);
  passReply(outcome);
}

function answerStatus(): void {
  const names = <u32>payload.takeU8();
  if (!payload.ok || names > CONTROL_NAMES_MAX) return refuse(BRIDGE_STATUS_BAD_REQUEST);
  assert(COUNTER_PREEMPTIONS - COUNTER_FREE_FRAMES + 1 == CONTROL_COUNTERS);
  writer.putU8(BRIDGE_STATUS_OK).putU64(<u64>sys_time_ns()).putU8(<u8>CONTROL_COUNTERS);
  for (let i: u32 = 0; i < CONTROL_COUNTERS; i++) writer.putU64(<u64>sys_counter(COUNTER_FREE_FRAMES + i));
  writer.putU8(<u8>PORTD_PORTS_MAX);
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    writer.putU8(<u8>port.nameBytes).putBytes(port.name, port.nameBytes);
    putPortStats(writer, port);
  }
  writer.putU8(<u8>names);
  for (let i: u32 = 0; i < names; i++) {
    const bytes = <u32>payload.takeU8();
    const name = payload.takeBytes(bytes);
    if (!payload.ok || bytes == 0 || bytes > CONTROL_NAME_BYTES_MAX) return refuse(BRIDGE_STATUS_BAD_REQUEST);
    putService(name, bytes);
  }
  if (!payload.finished) refuse(BRIDGE_STATUS_BAD_REQUEST);
}

/** registered u8, dead u8, registrations u32; zeros when samgrd does not know the name or does not answer. */
function putService(name: usize, bytes: u32): void {
  beginRequest(SM, SM_OP_RESOLVE_STATUS).putU8(<u8>bytes).putBytes(name, bytes);
  const outcome = callRequest(SLOT_SAMGRD, PORTD_CONTROL_REPLY_WAIT_NS);
  if (outcome != REPLY_OK || reply.status != SM_OK) {
    writer.putU8(0).putU8(0).putU32(0);
    return;
  }
  const body = reply.body;
  writer.putU8(body.takeU8()).putU8(body.takeU8()).putU32(body.takeU32());
}
