// SPDX-License-Identifier: Apache-2.0
// Phase ipc: what the kernel promises about messages and capabilities, each shown against a real peer (the probes).
import { E_BAD_ARGUMENT, E_BAD_HANDLE, E_DENIED, E_FULL, E_NOT_DECLARED, E_NO_RIGHT, E_TIMEOUT, E_TOO_LARGE } from "../../gen/errors";
import {
  M_SELFTEST_BOUNDED_QUEUE_OK, M_SELFTEST_CAP_MOVE_OK, M_SELFTEST_CAP_MOVE_ROLLBACK_OK, M_SELFTEST_FOREIGN_MARKER_REFUSED_OK,
  M_SELFTEST_IPC_DEADLINE_OK, M_SELFTEST_IPC_ROUNDTRIP_OK, M_SELFTEST_SENDER_IDENTITY_OK, M_SELFTEST_SENDER_SPOOF_REFUSED_OK,
  M_SELFTEST_UNDECLARED_EDGE_REFUSED_OK,
} from "../../gen/markers";
import { KERNEL_MESSAGE_BYTES_MAX, KERNEL_WAIT_MAX_NS } from "../../gen/limits";
import { SVC_PROBE_A_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { SLOT_SELF } from "../../gen/slots";
import {
  sys_cap_clone, sys_cap_close, sys_cap_query, sys_counter, sys_endpoint_create, sys_recv, sys_send, sys_time_ns,
} from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";
import { REPLY_OK, callRequest, reply } from "../../lib/nexus-ipc/index";
import { FX_CALL_BACK, FX_ECHO, FX_FLOOD, FX_KEEP, FX_SAY, FX_SILENT } from "../../lib/wire/probe";
import { check, checkDone, checkEqual, proof, proven } from "./lib";
import { PROBE_A, PROBE_B, probeCall, probeHandle, probeRequest } from "./probe";

const HANDLES: u32 = 0; // kernel counters (abi/counters.toml)
const QUEUED: u32 = 3;
const SEND: u32 = 1;
/** Size of the messages that the identity proofs send; mutants of the kernel break exactly these. */
const IDENTITY_BYTES: u32 = 77;
const SPOOF_BYTES: u32 = 78;
const ECHO_HEAD: u32 = 8;
const buffer: usize = memory.data(8192, 16);
const meta: usize = memory.data(32, 8);

@inline function inBuffer(bytes: u32): u64 { return <u64>buffer | (<u64>bytes << 32); }

function fill(bytes: u32, seed: u32): void {
  for (let i: u32 = 0; i < bytes; i++) store<u8>(buffer + i, <u8>(i * 7 + seed));
}

/** Echoes `bytes` of body and compares every byte. */
function echoes(bytes: u32): void {
  fill(bytes, bytes);
  probeRequest(PROBE_A, FX_ECHO).putBytes(buffer, bytes);
  if (!checkEqual(probeCall(), REPLY_OK, "echo")) return;
  reply.body.takeU64();
  reply.body.takeU32();
  const back = reply.body.takeBytes(bytes);
  check(reply.body.finished, "echo has another length");
  if (back != 0) checkEqual(memory.compare(back, buffer, bytes), 0, "echo differs");
}

function roundtrip(): void {
  proof("ipc roundtrip");
  echoes(0);
  echoes(64);
  echoes(4096);
  echoes(KERNEL_MESSAGE_BYTES_MAX - ECHO_HEAD - 13);
  const handle = probeHandle(PROBE_A);
  checkEqual(sys_send(handle, <u32>buffer, KERNEL_MESSAGE_BYTES_MAX + 1, 0), E_TOO_LARGE, "over the message limit");
  checkEqual(sys_send(0x3f, <u32>buffer, 4, 0), E_BAD_HANDLE, "empty slot");
  checkEqual(sys_recv(handle, inBuffer(64), <u32>meta, 0, 0), E_NO_RIGHT, "receive on a send handle");
  proven(M_SELFTEST_IPC_ROUNDTRIP_OK);
}

function deadline(): void {
  proof("ipc deadline");
  const start_ns = <u64>sys_time_ns();
  probeRequest(PROBE_A, FX_SILENT);
  checkEqual(callRequest(probeHandle(PROBE_A), 5_000_000), E_TIMEOUT, "silent peer");
  const took_ns = <u64>sys_time_ns() - start_ns;
  check(took_ns >= 5_000_000, "deadline came early");
  check(took_ns < 7_000_000, "deadline came late");
  const endpoint = sys_endpoint_create(1);
  if (checkDone(endpoint, "endpoint")) {
    checkEqual(sys_recv(<u32>endpoint, inBuffer(64), <u32>meta, 0, 0), E_TIMEOUT, "deadline 0 does not wait");
    const far = <u64>sys_time_ns() + KERNEL_WAIT_MAX_NS + 1_000_000;
    checkEqual(sys_recv(<u32>endpoint, inBuffer(64), <u32>meta, far, 0), E_BAD_ARGUMENT, "wait over the limit");
    sys_cap_close(<u32>endpoint);
  }
  proven(M_SELFTEST_IPC_DEADLINE_OK);
}

/** A SEND clone of an endpoint of ours moves to a probe, which sends on it; handle counts on both sides add up. */
function capMove(): void {
  proof("cap move");
  const before = sys_counter(HANDLES);
  const endpoint = sys_endpoint_create(4);
  if (!checkDone(endpoint, "endpoint")) return;
  const clone = sys_cap_clone(<u32>endpoint, SEND);
  if (!checkDone(clone, "clone")) return;
  probeRequest(PROBE_A, FX_KEEP).putU8(1);
  if (!checkEqual(probeCall(<u32>clone), REPLY_OK, "move")) return;
  checkEqual(reply.body.takeI64(), 0, "probe could not send on it");
  const held = reply.body.takeU32();
  checkEqual(sys_cap_query(<u32>clone, <u32>meta), E_BAD_HANDLE, "the moved handle still works here");
  checkEqual(sys_recv(<u32>endpoint, inBuffer(64), <u32>meta, 0, 0), 8, "message on the moved capability");
  checkEqual(load<u64>(meta), SVC_PROBE_A_ID, "its sender");
  probeRequest(PROBE_A, FX_KEEP).putU8(2);
  if (checkEqual(probeCall(), REPLY_OK, "give up")) {
    reply.body.takeI64();
    checkEqual(reply.body.takeU32(), held - 1, "probe's handles after giving it up");
  }
  sys_cap_close(<u32>endpoint);
  checkEqual(sys_counter(HANDLES), before, "our handles afterwards");
  proven(M_SELFTEST_CAP_MOVE_OK);
}

/** A send that fails for each reason leaves the capability with its sender and no buffer behind. */
function capMoveRollback(): void {
  proof("cap move rollback");
  const before = sys_counter(HANDLES);
  const queued = sys_counter(QUEUED);
  const full = sys_endpoint_create(1);
  const other = sys_endpoint_create(1);
  if (!checkDone(full, "endpoint") || !checkDone(other, "endpoint")) return;
  const clone = sys_cap_clone(<u32>other, SEND);
  if (!checkDone(clone, "clone")) return;
  const moved = <u64>clone << 32;
  checkEqual(sys_send(<u32>full, <u32>buffer, 8, 0), 0, "first fits");
  checkEqual(sys_send(<u32>full, <u32>buffer, 8 | moved, 0), E_FULL, "second is over the depth");
  checkDone(sys_cap_query(<u32>clone, <u32>meta), "handle after full");
  const handle = probeHandle(PROBE_A);
  checkEqual(sys_send(handle, <u32>buffer, (KERNEL_MESSAGE_BYTES_MAX + 1) | moved, 0), E_TOO_LARGE, "too large");
  checkDone(sys_cap_query(<u32>clone, <u32>meta), "handle after too_large");
  checkEqual(sys_send(handle, <u32>buffer, 8 | (<u64>0x3f << 32), 0), E_BAD_HANDLE, "moving nothing");
  checkEqual(sys_send(handle, <u32>buffer, 8 | (<u64>SLOT_SELF << 32), 0), E_BAD_HANDLE, "moving a receive right");
  sys_cap_close(<u32>clone);
  sys_cap_close(<u32>full);
  sys_cap_close(<u32>other);
  checkEqual(sys_counter(HANDLES), before, "our handles afterwards");
  // Closing the receiving handle ends the endpoint, and the message that fitted with it.
  checkEqual(sys_counter(QUEUED), queued, "buffers afterwards");
  proven(M_SELFTEST_CAP_MOVE_ROLLBACK_OK);
}

/** A queue holds its depth and not one more; the sender learns at once. */
function boundedQueue(): void {
  proof("bounded queue");
  const depth: u32 = 5;
  const endpoint = sys_endpoint_create(depth);
  if (!checkDone(endpoint, "endpoint")) return;
  const clone = sys_cap_clone(<u32>endpoint, SEND);
  if (!checkDone(clone, "clone")) return;
  probeRequest(PROBE_B, FX_FLOOD);
  if (checkEqual(probeCall(<u32>clone), REPLY_OK, "flood")) {
    checkEqual(reply.body.takeU32(), depth, "messages that fitted");
    checkEqual(reply.body.takeI64(), E_FULL, "the next one");
  }
  for (let n: u32 = 0; n < depth; n++) checkEqual(sys_recv(<u32>endpoint, inBuffer(64), <u32>meta, 0, 0), 8, "drain");
  checkEqual(sys_recv(<u32>endpoint, inBuffer(64), <u32>meta, 0, 0), E_TIMEOUT, "drained");
  sys_cap_close(<u32>endpoint);
  proven(M_SELFTEST_BOUNDED_QUEUE_OK);
}

/** The sender id that a peer sees; `claim` goes into the payload where a naive reader would look. */
function seenAs(claim: u64, bytes: u32): i64 {
  fill(bytes - ECHO_HEAD, 1);
  store<u64>(buffer, claim);
  probeRequest(PROBE_B, FX_ECHO).putBytes(buffer, bytes - ECHO_HEAD);
  if (probeCall() != REPLY_OK) return 0;
  return reply.body.takeI64();
}

function identity(): void {
  proof("sender identity");
  checkEqual(seenAs(0, IDENTITY_BYTES), SVC_SELFTEST_ID, "as the peer sees us");
  checkEqual(reply.sender, fnv("probe-b"), "as we see the peer");
  proven(M_SELFTEST_SENDER_IDENTITY_OK);
  proof("sender spoof");
  checkEqual(seenAs(SVC_PROBE_A_ID, SPOOF_BYTES), SVC_SELFTEST_ID, "a claim in the payload");
  proven(M_SELFTEST_SENDER_SPOOF_REFUSED_OK);
}

function fnv(name: string): i64 {
  let h: u64 = 0xcbf29ce484222325;
  for (let i = 0; i < name.length; i++) h = (h ^ <u64>name.charCodeAt(i)) * 0x100000001b3;
  return h;
}

/** Result of a probe's attempt to print `line`. */
function tries(line: string): i64 {
  const bytes = copyLiteral(buffer, line);
  probeRequest(PROBE_A, FX_SAY).putBytes(buffer, bytes);
  return probeCall() == REPLY_OK ? reply.body.takeI64() : 1;
}

function foreignMarker(): void {
  proof("foreign marker");
  checkEqual(tries("SELFTEST: end"), E_DENIED, "the name of selftest");
  checkEqual(tries("init: ready"), E_DENIED, "the name of init-lite");
  checkEqual(tries("kernel: trap probe-b abort"), E_DENIED, "the name of the kernel");
  checkEqual(tries("probe-b: ready"), E_DENIED, "the name of another instance");
  checkEqual(tries("no colon at all"), E_DENIED, "no name");
  checkEqual(tries("probe-a: two\nlines"), E_BAD_ARGUMENT, "two lines in one");
  proven(M_SELFTEST_FOREIGN_MARKER_REFUSED_OK);
}

/** A probe may not block on us: no such edge is in the manifest. */
function undeclaredEdge(): void {
  proof("undeclared edge");
  const clone = sys_cap_clone(SLOT_SELF, SEND);
  if (!checkDone(clone, "clone")) return;
  probeRequest(PROBE_A, FX_CALL_BACK);
  if (checkEqual(probeCall(<u32>clone), REPLY_OK, "request")) {
    checkEqual(reply.body.takeI64(), E_NOT_DECLARED, "call against the graph");
  }
  proven(M_SELFTEST_UNDECLARED_EDGE_REFUSED_OK);
}

export function ipc_proofs(): void {
  roundtrip();
  deadline();
  capMove();
  capMoveRollback();
  boundedQueue();
  identity();
  foreignMarker();
  undeclaredEdge();
}
