// SPDX-License-Identifier: Apache-2.0
// Crash records, the end of phase traps: a service that faulted, a child of execd and statefsd itself each leave one on /state, which is
// read back through statefsd and compared field by field with what the manifest, the kernel and this service's own requests say.
// Invariant: a record is found by name and generation, behind the sequence number that stood before the fault: an earlier one, written
// late, is not taken for it. Limits: LOOKS_MAX looks a record.
import { CRASH_SLOTS } from "../../gen/limits";
import {
  M_SELFTEST_CRASH_ACCESS_DENIED_OK, M_SELFTEST_CRASH_RECORD_CHILD_OK, M_SELFTEST_CRASH_RECORD_OK, M_SELFTEST_CRASH_RECORD_STATEFSD_OK,
  M_SELFTEST_CRASH_RING_OK,
} from "../../gen/markers";
import { E_DEAD } from "../../gen/errors";
import { SVC_CHILD_CRASH_ID, SVC_PROBE_B_ID, SVC_STATEFSD_ID } from "../../gen/services";
import { NR_MUTANT, NR_REPLY_RECV, sys_boot_arg, sys_time_ns } from "../../gen/syscalls";
import { TRAP_ABORT, TRAP_KILLED, TRAP_OOB_WRITE } from "../../gen/traps";
import { copyLiteral, equalsLiteral, writeHex } from "../../lib/bounded/text";
import {
  CRASH_DIGEST_BYTES, CRASH_EVENT_START, CRASH_KEY_BYTES_MAX, CRASH_NEXT_BYTES, CRASH_RECORD_BYTES, CrashRecord, crashNameBytes,
  crashNextKey, crashSlotKey, crashSlotOf,
} from "../../lib/crash/record";
import { BN, REPLY_OK, Route, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { STATE_REFUSED, StateList, stateGet, stateStatus } from "../../lib/nexus-state/index";
import { BN_INFO_BYTES, BN_OK, BN_OP_INFO } from "../../lib/wire/bundlemgrd";
import { EX_OK } from "../../lib/wire/execd";
import { FX_BEGAN, FX_TRAP } from "../../lib/wire/probe";
import { SF_ACCESS_DENIED, SF_NOT_FOUND } from "../../lib/wire/statefsd";
import { execDrop, execGeneration, execIndex, execRun, execWait, waitCause, waitCode } from "./children";
import { check, checkEqual, proof, proven, waitNs } from "./lib";
import { CALL_BUDGET_NS, PROBE_B, probeAgain, probeCall, probeHandle, probeRequest } from "./probe";
import { killed } from "./traps";

const BUDGET_NS: u64 = 2_000_000_000;
const LOOKS_MAX: u32 = 100;
const LOOK_NS: u64 = 5_000_000;
const RESTART_LOOKS: u32 = 500;
const LIST_MAX: u32 = 64;
/** Registers saved at a fault, and at a trap of the module's own (docs/format/crash-record.md). */
const REGISTERS_FAULT: u32 = 0xfffffff6;
const REGISTERS_TRAP: u32 = 0xffffff36;
const PAGE_BYTES: u64 = 65536;
const TEXT_FIRST: u64 = 0x1000_0000_0000;
const TEXT_SPAN: u64 = 0x1000_0000;
const WINDOW_MEMORY: u64 = 0x2_0000_0000;
const WINDOW_STACK_TOP: u64 = 0x1f0000;
const record: CrashRecord = changetype<CrashRecord>(memory.data(CRASH_RECORD_BYTES, 8));
const key: usize = memory.data(CRASH_KEY_BYTES_MAX);
const number: usize = memory.data(CRASH_NEXT_BYTES, 8);
const digests: usize = memory.data(64, 8);
const hex: usize = memory.data(64);
const state: Route = changetype<Route>(memory.data(8, 4));
const bundlemgrd: Route = changetype<Route>(memory.data(8, 4));
const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 8));

/** Of the last info: manifest index and length of the ELF. */
let infoIndex: u32 = 0;
let infoElfBytes: u32 = 0;

/** Sequence number that the next record will have, 0 where none was written yet. */
function nextSequence(): u64 {
  const got = stateGet(state, key, crashNextKey(key), number, CRASH_NEXT_BYTES, BUDGET_NS);
  if (got == STATE_REFUSED && stateStatus() == SF_NOT_FOUND) return 0;
  checkEqual(got, CRASH_NEXT_BYTES, "the sequence number");
  return load<u64>(number);
}

/** Reads the record of a slot; whether there is one. */
function readSlot(slot: u32): bool {
  const got = stateGet(state, key, crashSlotKey(key, slot), changetype<usize>(record), CRASH_RECORD_BYTES, BUDGET_NS);
  return got >= 0 && record.valid(<u32>got);
}

/** Waits for the record of `name` in that generation (0: any), from sequence `from` on. */
function written(name: string, generation: u32, from: u64): bool {
  for (let n: u32 = 0; n < LOOKS_MAX; n++) {
    const end = nextSequence();
    for (let s = from; s < end && s < from + CRASH_SLOTS; s++) {
      if (!readSlot(crashSlotOf(s)) || record.sequence != s) continue;
      if (!equalsLiteral(record.name, crashNameBytes(record.name), name)) continue;
      if (generation == 0 || record.raw.generation == generation) return true;
    }
    waitNs(LOOK_NS);
  }
  return check(false, "no crash record");
}

/** What bundlemgrd says about an image: digests of its .wasm and ELF, index, length of the ELF. */
function info(name: string): bool {
  const handle = bundlemgrd.resolve("bundlemgrd");
  if (!check(handle >= 0, "route")) return false;
  beginRequest(BN, BN_OP_INFO).putU8(<u8>name.length).putText(name);
  if (!checkEqual(callRequest(<u32>handle, BUDGET_NS), REPLY_OK, "info")) return false;
  if (!check(reply.status == BN_OK && reply.body.left == BN_INFO_BYTES, "info of it")) return false;
  infoIndex = reply.body.takeU32();
  reply.body.takeBytes(8);
  infoElfBytes = reply.body.takeU32();
  reply.body.takeBytes(8);
  memory.copy(digests, reply.body.takeBytes(64), 64);
  return true;
}

/** What every record says, by the manifest: identity, digests, bundle, and a program counter in the module's text. */
function common(name: string, id: u64): void {
  if (!info(name)) return;
  checkEqual(record.id, id, "service id");
  checkEqual(record.raw.index, infoIndex, "manifest index");
  checkEqual(memory.compare(record.module, digests, CRASH_DIGEST_BYTES), 0, "digest of the module");
  checkEqual(memory.compare(record.elf, digests + CRASH_DIGEST_BYTES, CRASH_DIGEST_BYTES), 0, "digest of its text");
  const offset = record.raw.pc % TEXT_SPAN;
  check(record.raw.pc >= TEXT_FIRST && offset < <u64>infoElfBytes, "the program counter is outside the text");
  const bytes = copyLiteral(key, "bundle");
  if (!checkEqual(sys_boot_arg(<u32>key, bytes, <u32>hex, 64), 64, "boot argument bundle")) return;
  let same = true;
  for (let i: u32 = 0; i < CRASH_DIGEST_BYTES; i++) {
    writeHex(digests, load<u8>(record.bundle + i), 2);
    same = same && load<u16>(digests) == load<u16>(hex + 2 * i);
  }
  check(same, "identity of the bundle");
}

/** Place of the newest call that calls() counted. */
let lastCall: u32 = 0;

/** Calls in the record, without those with which a service of the mutant image asks for its mutant. */
function calls(): u32 {
  let counted: u32 = 0;
  for (let n: u32 = 0; n < record.raw.events; n++) {
    if (record.raw.eventCall(n) == NR_MUTANT) continue;
    lastCall = n;
    counted++;
  }
  return counted;
}

/** A store past the end of linear memory: every field is known beforehand. */
function ofService(): void {
  proof("crash record");
  probeRequest(PROBE_B, FX_BEGAN);
  if (!checkEqual(probeCall(), REPLY_OK, "probe")) return;
  reply.body.takeU64();
  const generation = reply.body.takeU32();
  const from = nextSequence();
  const before_ns = <u64>sys_time_ns();
  const handle = probeHandle(PROBE_B);
  probeRequest(PROBE_B, FX_TRAP).putU8(<u8>TRAP_OOB_WRITE);
  checkEqual(callRequest(handle, CALL_BUDGET_NS), E_DEAD, "the call in flight");
  const after_ns = <u64>sys_time_ns();
  check(probeAgain(PROBE_B) != 0, "restarted");
  if (!written("probe-b", generation, from)) return;
  common("probe-b", SVC_PROBE_B_ID);
  const raw = record.raw;
  const window = <u64>(infoIndex + 1) << 34;
  checkEqual(raw.cause, TRAP_OOB_WRITE, "cause");
  checkEqual(raw.address, window + WINDOW_MEMORY + <u64>raw.memory_pages * PAGE_BYTES, "fault address");
  checkEqual(raw.memory_pages, memory.size() / 2, "pages of memory"); // probes have 8, this service 16
  checkEqual(raw.registers, REGISTERS_FAULT, "registers kept");
  checkEqual(raw.register(4), window + WINDOW_MEMORY, "tp, the base of its memory");
  const depth = window + WINDOW_STACK_TOP - raw.register(2);
  check(depth <= <u64>raw.stack_bytes, "sp is outside its stack");
  check(raw.time_ns >= before_ns && raw.time_ns <= after_ns, "time");
  checkEqual(record.restarts, generation - 1, "restarts");
  checkEqual(record.parent, 0, "parent");
  checkEqual(record.servingNames, 1, "callers that waited");
  check(equalsLiteral(record.serving(0), crashNameBytes(record.serving(0)), "selftest"), "the caller that waited");
  checkEqual(raw.in_call, 0, "in a call");
  if (check(calls() >= 1, "no call kept")) {
    checkEqual(raw.eventCall(lastCall), NR_REPLY_RECV, "its last call");
    checkEqual(raw.eventResult(lastCall), 9, "what that returned: the length of our request");
  }
  proven(M_SELFTEST_CRASH_RECORD_OK);
}

/** A child of execd: the record comes by way of execd, and agrees with the end that execd told. */
function ofChild(): void {
  proof("crash record child");
  const from = nextSequence();
  checkEqual(execRun("child-crash"), EX_OK, "exec");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, TRAP_ABORT, "cause");
  const index = execIndex;
  const generation = execGeneration;
  execDrop();
  if (!info("execd")) return;
  const execd = infoIndex;
  if (!written("child-crash", generation, from)) return;
  common("child-crash", SVC_CHILD_CRASH_ID);
  const raw = record.raw;
  checkEqual(raw.index, index, "manifest index");
  checkEqual(raw.cause, TRAP_ABORT, "cause in the record");
  checkEqual(raw.pc, waitCode, "program counter");
  checkEqual(raw.registers, REGISTERS_TRAP, "registers kept");
  checkEqual(record.parent, execd, "parent");
  checkEqual(record.servingNames, 0, "callers that waited");
  checkEqual(calls(), 1, "calls kept");
  checkEqual(raw.eventCall(0), CRASH_EVENT_START, "its start");
  proven(M_SELFTEST_CRASH_RECORD_CHILD_OK);
}

/** By now there were more faults than slots: each slot holds the newest record that falls on it, and there is no other key. */
function ring(): void {
  proof("crash ring");
  const end = nextSequence();
  if (!check(end > CRASH_SLOTS, "fewer records than slots")) return;
  for (let s = end - CRASH_SLOTS; s < end; s++) {
    check(readSlot(crashSlotOf(s)), "an empty slot");
    checkEqual(record.sequence, s, "the slot's sequence number");
  }
  let keys: u32 = 0;
  list.begin(key, copyLiteral(key, "/state/crash/"));
  while (keys < LIST_MAX && list.next(state, BUDGET_NS)) keys++;
  checkEqual(list.outcome, 0, "list");
  checkEqual(keys, CRASH_SLOTS + 1, "keys");
  proven(M_SELFTEST_CRASH_RING_OK);
}

/** statefsd is ended: the record of that waits until it is back. */
function ofStatefsd(): void {
  proof("crash record statefsd");
  const from = nextSequence();
  if (!killed("statefsd", RESTART_LOOKS)) return;
  if (!written("statefsd", 0, from)) return;
  common("statefsd", SVC_STATEFSD_ID);
  checkEqual(record.raw.cause, TRAP_KILLED, "cause");
  check(record.raw.events != 0, "no call kept");
  proven(M_SELFTEST_CRASH_RECORD_STATEFSD_OK);
}

/** Who holds the rights to the rest of /state and not statefs.crash can neither read, list nor write records. */
function denied(): void {
  proof("crash access denied");
  const end = nextSequence();
  checkEqual(execRun("child-snoop"), EX_OK, "exec");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, 0, "cause");
  checkEqual(waitCode, SF_ACCESS_DENIED | <u32>SF_ACCESS_DENIED << 8 | <u32>SF_ACCESS_DENIED << 16, "statuses of its get, list and put");
  execDrop();
  checkEqual(nextSequence(), end, "sequence number");
  check(readSlot(0), "slot 0");
  proven(M_SELFTEST_CRASH_ACCESS_DENIED_OK);
}

/** The end of phase traps, in the order of markers/75-crash.toml. */
export function crashrec_proofs(): void {
  ofService();
  ofChild();
  ofStatefsd();
  denied();
  ring();
}
