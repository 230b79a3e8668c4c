// SPDX-License-Identifier: Apache-2.0
// The audit trail: one logd record a decision, sent without waiting from a bounded ring.
// Invariant: decisions = sent + waiting + lost, at every moment; a record carries the decision's number, so a gap
// shows. The trail never asks anyone, so it cannot cause a decision, and policyd never waits for logd.
// Limits: limits.policyd audit_ring records (a full ring drops its oldest and counts it), audit_burst sends at a time;
// what logd's queue did not take is tried again after audit_retry_ns.
import { POLICYD_AUDIT_BURST, POLICYD_AUDIT_RETRY_NS, POLICYD_AUDIT_RING } from "../../gen/limits";
import { MUT_POLICYD_SKIPS_AUDIT, mutant } from "../../gen/mutants";
import { SLOT_LOGD } from "../../gen/slots";
import { sys_cap_close, sys_send, sys_time_ns } from "../../gen/syscalls";
import { LO, Writer, serverTickAt, writeRequestHead } from "../../lib/nexus-ipc/index";
import { LEVEL_INFO, LEVEL_WARN, LO_APPEND } from "../../lib/wire/logd";
import { PO_OP_CHECK_CAP, PO_OP_CHECK_CAP_DELEGATED, PO_OP_EXEC, PO_OP_ROUTE } from "../../lib/wire/policyd";
import { REASON_GRANTED, reasonText } from "./decide";

// Entry: {number u64, sender u64, subject u64, target u64, op u32, reason u32, capLen u32, pad, cap[48]}.
const ENTRY_BYTES: u32 = 96;
const ENTRY_SENDER: u32 = 8;
const ENTRY_SUBJECT: u32 = 16;
const ENTRY_TARGET: u32 = 24;
const ENTRY_OP: u32 = 32;
const ENTRY_REASON: u32 = 36;
const ENTRY_CAP_LEN: u32 = 40;
const ENTRY_CAP: u32 = 48;

const entries: usize = memory.data(128 * 96, 8);
const frame: usize = memory.data(1024, 8);
const frameWriter: Writer = changetype<Writer>(memory.data(16, 4));
const textBuffer: usize = memory.data(256);
const textWriter: Writer = changetype<Writer>(memory.data(16, 4));
const fieldsBuffer: usize = memory.data(512);
const fieldsWriter: Writer = changetype<Writer>(memory.data(16, 4));
let head: u32 = 0;
let waiting: u32 = 0;
let number: u64 = 0;
let sent: u64 = 0;
let lost: u64 = 0;
let logdHandle: u32 = SLOT_LOGD;

export function auditsSent(): u64 {
  return sent;
}
export function auditsWaiting(): u64 {
  return waiting;
}
export function auditsLost(): u64 {
  return lost;
}

/** Uses another handle to logd from now on (init-lite hands a fresh one out after logd was restarted). */
export function auditUseLogd(handle: u32): void {
  if (logdHandle != SLOT_LOGD) sys_cap_close(logdHandle);
  logdHandle = handle;
}

/** Records one decision; never waits. `capLen` 0 when the question names a target. */
export function audit(op: u32, sender: u64, subject: u64, target: u64, cap: usize, capLen: u32, reason: u32): void {
  if (mutant(MUT_POLICYD_SKIPS_AUDIT)) return;
  assert(POLICYD_AUDIT_RING == 128 && capLen <= 48);
  if (waiting == POLICYD_AUDIT_RING) {
    head = (head + 1) % POLICYD_AUDIT_RING;
    waiting--;
    lost++;
  }
  const entry = entries + ((head + waiting) % POLICYD_AUDIT_RING) * ENTRY_BYTES;
  waiting++;
  number++;
  store<u64>(entry, number);
  store<u64>(entry, sender, ENTRY_SENDER);
  store<u64>(entry, subject, ENTRY_SUBJECT);
  store<u64>(entry, target, ENTRY_TARGET);
  store<u32>(entry, op, ENTRY_OP);
  store<u32>(entry, reason, ENTRY_REASON);
  store<u32>(entry, capLen, ENTRY_CAP_LEN);
  memory.copy(entry + ENTRY_CAP, cap, capLen);
  auditFlush();
}

/** Sends what waits, oldest first, until logd takes no more or the burst is spent; sets the tick for the rest. */
export function auditFlush(): void {
  let left: u32 = POLICYD_AUDIT_BURST;
  while (waiting != 0 && left != 0) {
    const length = writeRecord(entries + head * ENTRY_BYTES);
    if (sys_send(logdHandle, <u32>frame, <u64>length, 0) < 0) break;
    head = (head + 1) % POLICYD_AUDIT_RING;
    waiting--;
    sent++;
    left--;
  }
  serverTickAt(waiting == 0 ? 0 : <u64>sys_time_ns() + POLICYD_AUDIT_RETRY_NS);
}

function opText(op: u32): string {
  if (op == PO_OP_ROUTE) return "route";
  if (op == PO_OP_EXEC) return "exec";
  if (op == PO_OP_CHECK_CAP) return "check_cap";
  assert(op == PO_OP_CHECK_CAP_DELEGATED);
  return "check_cap_delegated";
}

// The APPEND frame of an entry, whole or the service ends: every part is bounded well below its limit.
function writeRecord(entry: usize): u32 {
  const reason = load<u32>(entry, ENTRY_REASON);
  const op = opText(load<u32>(entry, ENTRY_OP));
  const decision = reason == REASON_GRANTED ? "allow" : "deny";
  const capLen = load<u32>(entry, ENTRY_CAP_LEN);
  const text = textWriter.reset(textBuffer, 256);
  text.putText("audit v1 op=").putText(op).putText(" decision=").putText(decision);
  text.putText(" subject=0x").putHex(load<u64>(entry, ENTRY_SUBJECT));
  const fields = fieldsWriter.reset(fieldsBuffer, 512);
  fields.fieldHex("caller", load<u64>(entry, ENTRY_SENDER));
  if (capLen != 0) fields.fieldText("cap", entry + ENTRY_CAP, capLen);
  fields.fieldLiteral("decision", decision).fieldDecimal("number", load<u64>(entry)).fieldLiteral("op", op);
  fields.fieldLiteral("reason", reasonText(reason)).fieldHex("subject", load<u64>(entry, ENTRY_SUBJECT));
  if (capLen == 0) fields.fieldHex("target", load<u64>(entry, ENTRY_TARGET));
  const out = writeRequestHead(frameWriter.reset(frame, 1024), LO, LO_APPEND, load<u64>(entry));
  out.putU8(reason == REASON_GRANTED ? LEVEL_INFO : LEVEL_WARN).putU8(13);
  out.putU16(<u16>text.length).putU16(<u16>fields.length).putText("policyd.audit");
  out.putBytes(textBuffer, text.length).putBytes(fieldsBuffer, fields.length);
  assert(text.ok && fields.ok && out.ok);
  return out.length;
}
