// SPDX-License-Identifier: Apache-2.0
// Owns: what clients ask of portd: OPEN, WRITE, READ, CLOSE, STATS (docs/format/wire-portd.md).
// Invariant: only the service that policyd allowed owns a port; a WRITE is taken whole or not at all; a READ that waits is
// answered when bytes come, when the host goes, or at its deadline, and portd never waits for its client.
// Limits: one pending READ a port; limits.portd read_bytes_max a READ; a pending READ waits at most limits.kernel wait_max_ns.
import { KERNEL_WAIT_MAX_NS, PORTD_PORTS_MAX, PORTD_READ_BYTES_MAX, PORTD_TX_BUFFER_BYTES } from "../../gen/limits";
import { MUT_PORTD_SKIPS_POLICY, mutant } from "../../gen/mutants";
import { sys_time_ns } from "../../gen/syscalls";
import { equalsBytes, equalsLiteral } from "../../lib/bounded/text";
import {
  PD, Request, SenderId, Writer, answerLater, delegateCheck, serverReceiveFlags, serverRoute, serverTickAt, writeReplyHead,
} from "../../lib/nexus-ipc/index";
import {
  PD_AGAIN, PD_BUSY, PD_DENIED, PD_DISCONNECTED, PD_MALFORMED, PD_NOT_FOUND, PD_OK, PD_OP_CLOSE, PD_OP_OPEN, PD_OP_READ,
  PD_OP_STATS, PD_OP_WRITE, PD_UNAVAILABLE,
} from "../../lib/wire/portd";
import { deviceOpen, setGuestOpen, takeCompletions } from "./device";
import { Port, portAt } from "./port";

const NOBODY: u64 = 0;
const RECV_HOST_PENDING: u32 = 1;
const LATER_BYTES: u32 = 4160;
const later: usize = memory.data(4160, 8);
const laterWriter: Writer = changetype<Writer>(memory.data(16, 4));

/** Routes portd's ops. */
export function routeRequests(): void {
  assert(PORTD_READ_BYTES_MAX + 64 <= LATER_BYTES);
  serverRoute(PD_OP_OPEN, onOpen);
  serverRoute(PD_OP_WRITE, onWrite);
  serverRoute(PD_OP_READ, onRead);
  serverRoute(PD_OP_CLOSE, onClose);
  serverRoute(PD_OP_STATS, onStats);
}

/** The port with this name, or null. */
export function findPort(name: usize, bytes: u32): Port | null {
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    if (port.added != 0 && port.nameBytes != 0 && equalsBytes(port.name, port.nameBytes, name, bytes)) return port;
  }
  return null;
}

/** policyd's word on who may use a port. A name without a capability of its own is nobody's. */
function allowed(subject: SenderId, name: usize, bytes: u32): bool {
  if (mutant(MUT_PORTD_SKIPS_POLICY)) return true;
  if (equalsLiteral(name, bytes, "org.vigil.dcgm")) return delegateCheck(subject, "port.dcgm");
  if (equalsLiteral(name, bytes, "org.vigil.export")) return delegateCheck(subject, "port.export");
  return false;
}

function onOpen(request: Request): void {
  const bytes = <u32>request.body.takeU8();
  const name = request.body.takeBytes(bytes);
  if (!request.body.finished || bytes == 0) {
    request.answer(PD_MALFORMED);
    return;
  }
  if (!allowed(request.sender, name, bytes)) {
    request.answer(PD_DENIED);
    return;
  }
  takeCompletions();
  const port = findPort(name, bytes);
  if (port === null) {
    request.answer(deviceOpen() ? PD_NOT_FOUND : PD_UNAVAILABLE);
    return;
  }
  if (port.owner != NOBODY && port.owner != request.sender.value) {
    request.answer(PD_BUSY);
    return;
  }
  // The owner again: it was restarted, and what its predecessor did not read is not for it.
  if (port.owner != NOBODY) endRead(port, PD_DISCONNECTED);
  port.flush();
  port.owner = request.sender.value;
  setGuestOpen(port, true);
  request.answer(PD_OK).putU32(port.index).putU8(<u8>port.hostConnected);
}

/** The port that the request names, if the sender owns it; else the refusal is answered and the result is null. */
function ownedPort(request: Request): Port | null {
  const index = request.body.takeU32();
  if (!request.body.ok) {
    request.answer(PD_MALFORMED);
    return null;
  }
  if (index >= PORTD_PORTS_MAX) {
    request.answer(PD_NOT_FOUND);
    return null;
  }
  const port = portAt(index);
  if (port.owner == NOBODY || port.owner != request.sender.value) {
    request.answer(PD_DENIED);
    return null;
  }
  takeCompletions();
  return port;
}

function onWrite(request: Request): void {
  const port = ownedPort(request);
  if (port === null) return;
  const bytes = request.body.left;
  if (bytes == 0 || bytes > PORTD_TX_BUFFER_BYTES) {
    request.answer(PD_MALFORMED);
    return;
  }
  if (port.hostConnected == 0) {
    request.answer(PD_DISCONNECTED);
    return;
  }
  const reserved = port.reserve();
  if (reserved == 0) {
    request.answer(PD_AGAIN);
    return;
  }
  memory.copy(reserved, request.body.takeBytes(bytes), bytes);
  request.answer(port.transmit(reserved, bytes) ? PD_OK : PD_UNAVAILABLE);
}

function onRead(request: Request): void {
  const port = ownedPort(request);
  if (port === null) return;
  const max = min<u32>(<u32>request.body.takeU16(), PORTD_READ_BYTES_MAX);
  const untilNs = request.body.takeU64();
  const nowNs = <u64>sys_time_ns();
  if (!request.body.finished || max == 0 || (untilNs > nowNs && untilNs - nowNs > KERNEL_WAIT_MAX_NS)) {
    request.answer(PD_MALFORMED);
    return;
  }
  if (port.readReply != 0) {
    request.answer(PD_BUSY);
    return;
  }
  if (port.readable || untilNs <= nowNs) {
    putRead(request.answer(PD_OK), port, max);
    return;
  }
  if (port.hostConnected == 0) {
    request.answer(PD_DISCONNECTED);
    return;
  }
  port.readNonce = <u32>request.nonce;
  port.readMax = max;
  port.readUntilNs = untilNs;
  port.readReply = request.defer();
  armReads();
}

function putRead(writer: Writer, port: Port, max: u32): void {
  writer.putU32(port.connections);
  // Reserving first would leave a gap when fewer bytes are there.
  const room = min<u32>(max, writer.capacity - writer.length);
  writer.length += port.take(writer.base + writer.length, room);
}

/** Answers the pending READs that can be answered; call after completions and at ticks. */
export function completeReads(): void {
  const nowNs = <u64>sys_time_ns();
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    if (port.readReply == 0) continue;
    if (port.readable || nowNs >= port.readUntilNs) endRead(port, PD_OK);
    else if (port.hostConnected == 0) endRead(port, PD_DISCONNECTED);
  }
  armReads();
}

function endRead(port: Port, status: u8): void {
  if (port.readReply == 0) return;
  const reply = port.readReply;
  port.readReply = 0;
  const writer = writeReplyHead(laterWriter.reset(later, LATER_BYTES), PD, PD_OP_READ, status, port.readNonce);
  if (status == PD_OK) putRead(writer, port, port.readMax);
  answerLater(reply, writer);
}

/** While a READ waits the host owes bytes: the kernel must poll rather than jump to the next timer. */
function armReads(): void {
  let nextNs: u64 = 0;
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    if (port.readReply != 0 && (nextNs == 0 || port.readUntilNs < nextNs)) nextNs = port.readUntilNs;
  }
  serverReceiveFlags(nextNs != 0 ? RECV_HOST_PENDING : 0);
  serverTickAt(nextNs);
}

function onClose(request: Request): void {
  const port = ownedPort(request);
  if (port === null) return;
  endRead(port, PD_DISCONNECTED);
  setGuestOpen(port, false);
  port.flush();
  port.owner = NOBODY;
  request.answer(PD_OK);
  armReads();
}

function onStats(request: Request): void {
  const index = request.body.takeU32();
  if (!request.body.finished) {
    request.answer(PD_MALFORMED);
    return;
  }
  if (index >= PORTD_PORTS_MAX) {
    request.answer(PD_NOT_FOUND);
    return;
  }
  putPortStats(request.answer(PD_OK), portAt(index));
}

/** connected u8, then bytes in, out, lost in, lost out, connections, transmissions refused, each u64. */
export function putPortStats(writer: Writer, port: Port): void {
  writer.putU8(<u8>port.hostConnected).putU64(port.bytesIn).putU64(port.bytesOut).putU64(port.lostIn).putU64(port.lostOut);
  writer.putU64(<u64>port.connections).putU64(port.refused);
}
