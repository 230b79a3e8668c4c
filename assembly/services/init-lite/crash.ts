// SPDX-License-Identifier: Apache-2.0
// The recorder of crashes: what the kernel kept of a faulted service, and what the manifest says about it, goes to /state/crash/NN, a ring
// of slots. Children of execd come from execd (IN_CRASH), which alone may read them from the kernel; the one writer is here.
// Invariant: nothing here waits for statefsd but the read of the next sequence number (limits.crash read_wait_ns; where it rotted, of the
// slots too): what waits is sent as a BATCH, and its answer is looked for at a tick. A record waits in one of pending_max places until it
// is durable, was refused for good, or was tried attempts_max times. taken = written + waiting + lost; what is lost is counted
// (init.crash.lost) and logged.
import {
  CRASH_ATTEMPTS_MAX, CRASH_PENDING_MAX, CRASH_POLL_MAX_NS, CRASH_POLL_NS, CRASH_READ_WAIT_NS, CRASH_RETRY_NS, CRASH_SERVING_NAMES_MAX,
  CRASH_SLOTS, KERNEL_CRASH_RAW_BYTES,
} from "../../gen/limits";
import {
  MUT_INIT_CRASH_FORGETS_WRAP, MUT_INIT_CRASH_SKIPS_CHILD, MUT_INIT_CRASH_SKIPS_STATEFSD, MUT_INIT_CRASH_WRONG_PC,
  mutant,
} from "../../gen/mutants";
import { SVC_EXECD_ID } from "../../gen/services";
import { sys_boot_arg, sys_cap_clone, sys_process_crash, sys_time_ns } from "../../gen/syscalls";
import { fnv1a64Literal } from "../../lib/bounded/fnv";
import { copyLiteral } from "../../lib/bounded/text";
import {
  CRASH_DIGEST_BYTES, CRASH_KEY_BYTES_MAX, CRASH_NEXT_BYTES, CRASH_RECORD_BYTES, CrashRecord, crashNameBytes,
  crashNextKey, crashSlotKey, crashSlotOf,
} from "../../lib/crash/record";
import { Request, Route } from "../../lib/nexus-ipc/index";
import {
  STATE_REFUSED, STATE_TOO_LARGE, stateBatchBegin, stateBatchPut, stateGet, stateStatus, stateWriterSend, stateWriterTake,
  stateWriterWaiting,
} from "../../lib/nexus-state/index";
import {
  SF_ACCESS_DENIED, SF_FOREIGN, SF_INTEGRITY, SF_INVALID_KEY, SF_KEY_TOO_LONG, SF_MALFORMED, SF_NOT_FOUND, SF_NO_FLUSH, SF_OK,
  SF_READ_ONLY, SF_UNAVAILABLE, SF_UNSUPPORTED, SF_VALUE_TOO_LARGE,
} from "../../lib/wire/statefsd";
import { handleOf } from "./grants";
import { digestsOf, idOf, indexOf, nameBytes, nameOf, serviceCount } from "./manifest";
import { countCrashLost, countCrashWritten, logCrash, logCrashLost, logCrashNumbersLost } from "./telemetry";

const SEND: u32 = 1;
const waiting: usize = memory.data(CRASH_PENDING_MAX * CRASH_RECORD_BYTES, 8);
const state: Route = changetype<Route>(memory.data(8, 4));
const key: usize = memory.data(CRASH_KEY_BYTES_MAX);
const next: usize = memory.data(CRASH_NEXT_BYTES, 8);
/** A record that was read back, or what is in its place. */
const found: usize = memory.data(CRASH_RECORD_BYTES, 8);
const hex: usize = memory.data(64);
const bundle: usize = memory.data(CRASH_DIGEST_BYTES);
/** Records waiting, from place `first` on, in the order of their faults; the first `sent` of them await statefsd's answer. */
let first: u32 = 0;
let count: u32 = 0;
let sent: u32 = 0;
/** The last so many of them are not yet logged: a restart does not wait for that. */
let unsaid: u32 = 0;
/** Sequence number of the next record; known once it was read from /state. */
let sequence: u64 = 0;
let known: bool = false;
/** Failed tries of the oldest, and what the last one was refused with. */
let attempts: u32 = 0;
let refusal: u32 = SF_OK;
/** Whether statefsd was ever up in this boot; a boot may leave it out. */
let stateRuns: bool = false;
/** When to look again: for an answer, or for another try; 0: nothing waits. */
let due_ns: u64 = 0;
let poll_ns: u64 = CRASH_POLL_NS;

@inline function placeAt(n: u32): usize { return waiting + ((first + n) % CRASH_PENDING_MAX) * CRASH_RECORD_BYTES; }

/** Reads the identity of the bundle that the kernel checked (boot argument `bundle`, 64 hexadecimal digits). Once, at the start. */
export function crashStart(): void {
  const bytes = copyLiteral(key, "bundle");
  if (sys_boot_arg(<u32>key, bytes, <u32>hex, 64) != 64) return;
  for (let i: u32 = 0; i < CRASH_DIGEST_BYTES; i++) {
    store<u8>(bundle + i, digit(load<u8>(hex + 2 * i)) << 4 | digit(load<u8>(hex + 2 * i + 1)));
  }
}
@inline function digit(byte: u8): u8 { return byte < 58 ? byte - 48 : byte - 87; }

/** A free place for the next record, or null: it is lost then. */
function take(): CrashRecord {
  if (count < CRASH_PENDING_MAX) return CrashRecord.at(placeAt(count)).begin();
  lose(SF_OK);
  return changetype<CrashRecord>(0);
}

function lose(status: u32): void {
  countCrashLost();
  logCrashLost(status);
}

/** Keeps what is known of child `index`, which faulted; before it is made anew. */
export function crashTake(index: u32, restarts: u32): void {
  const record = take();
  if (changetype<usize>(record) == 0) return;
  if (sys_process_crash(index, <u32>changetype<usize>(record.raw), KERNEL_CRASH_RAW_BYTES) < 0) return lose(SF_OK);
  if (mutant(MUT_INIT_CRASH_SKIPS_STATEFSD) && index == stateIndex()) return;
  complete(record, restarts, 0);
}

/** IN_CRASH: the kernel's part, from execd alone; no answer. */
export function onCrash(request: Request): void {
  const raw = request.body.takeBytes(KERNEL_CRASH_RAW_BYTES);
  request.answer(0);
  if (request.sender.value != SVC_EXECD_ID || !request.body.finished || mutant(MUT_INIT_CRASH_SKIPS_CHILD)) return;
  const record = take();
  if (changetype<usize>(record) == 0) return;
  memory.copy(changetype<usize>(record.raw), raw, KERNEL_CRASH_RAW_BYTES);
  if (record.raw.index == 0 || record.raw.index >= serviceCount()) return lose(SF_MALFORMED);
  complete(record, 0, indexOf(SVC_EXECD_ID));
  crashTick(<u64>sys_time_ns());
}

/** Adds what the manifest says, and queues the record. */
function complete(record: CrashRecord, restarts: u32, parent: u32): void {
  const raw = record.raw;
  const index = raw.index;
  record.id = idOf(index);
  record.restarts = restarts;
  record.parent = <u16>parent;
  if (mutant(MUT_INIT_CRASH_WRONG_PC)) raw.pc += 0x100000;
  memory.copy(record.name, nameOf(index), nameBytes(index));
  memory.copy(record.module, digestsOf(index), CRASH_DIGEST_BYTES);
  memory.copy(record.elf, digestsOf(index) + CRASH_DIGEST_BYTES, CRASH_DIGEST_BYTES);
  memory.copy(record.bundle, bundle, CRASH_DIGEST_BYTES);
  for (let i: u32 = 0; i < serviceCount() && <u32>record.servingNames < CRASH_SERVING_NAMES_MAX; i++) {
    if (!((raw.serving >> i) & 1)) continue;
    memory.copy(record.serving(record.servingNames), nameOf(i), nameBytes(i));
    record.servingNames++;
  }
  count++;
  unsaid++;
  if (due_ns == 0) due_ns = <u64>sys_time_ns();
}

/** Records that wait. */
export function crashWaiting(): u32 { return count; }

/** When crashTick wants to run (guest ns), 0 for never. */
export function crashDue_ns(): u64 { return due_ns; }

/** Manifest index of statefsd, 0 in an image without it. */
export function stateIndex(): u32 { return indexOf(fnv1a64Literal("statefsd")); }

/** statefsd answered its first PING. */
export function crashStateUp(): void { stateRuns = true; }

/** Takes the answer that came, and sends what waits. Returns at once, or after read_wait_ns. */
export function crashTick(now_ns: u64): void {
  for (; unsaid != 0; unsaid--) {
    const record = CrashRecord.at(placeAt(count - unsaid));
    logCrash(record.name, crashNameBytes(record.name), record.raw.cause, record.raw.generation, record.raw.pc);
  }
  if (due_ns == 0 || now_ns < due_ns) return;
  if (stateWriterWaiting() != 0) {
    stateWriterTake(state, onAnswer);
    if (stateWriterWaiting() != 0) {
      poll_ns = min<u64>(poll_ns * 2, CRASH_POLL_MAX_NS);
      due_ns = now_ns + poll_ns;
      return;
    }
    if (due_ns > now_ns) return; // the answer was a refusal: not before its time
  }
  due_ns = 0;
  if (count != 0) send(now_ns);
}

/** What no later try of this boot changes. */
function isFinal(status: u32): bool {
  return status == SF_ACCESS_DENIED || status == SF_VALUE_TOO_LARGE || status == SF_KEY_TOO_LONG || status == SF_INVALID_KEY
    || status == SF_MALFORMED || status == SF_UNSUPPORTED || status == SF_READ_ONLY || status == SF_NO_FLUSH || status == SF_FOREIGN
    || status == SF_UNAVAILABLE;
}

/** Sends every record that waits, and the sequence number after them: one atomic commit. */
function send(now_ns: u64): void {
  refusal = SF_OK;
  if (!reachable() || !sequenceKnown()) return failed(now_ns, refusal);
  stateBatchBegin();
  sent = 0;
  for (let n: u32 = 0; n < count; n++) {
    const record = CrashRecord.at(placeAt(n));
    record.sequence = sequence + n;
    if (!stateBatchPut(key, crashSlotKey(key, crashSlotOf(record.sequence)), changetype<usize>(record), CRASH_RECORD_BYTES)) break;
    sent++;
    if (mutant(MUT_INIT_CRASH_FORGETS_WRAP) && record.sequence >= CRASH_SLOTS) {
      stateBatchPut(key, crashSlotKey(key, <u32>(record.sequence % 100)), next, CRASH_NEXT_BYTES);
    }
  }
  store<u64>(next, sequence + sent);
  const whole = stateBatchPut(key, crashNextKey(key), next, CRASH_NEXT_BYTES);
  assert(whole && sent != 0);
  if (stateWriterSend(state, false) < 0) return failed(now_ns, SF_OK);
  poll_ns = CRASH_POLL_NS;
  due_ns = now_ns + poll_ns;
}

/** A handle of the recorder's own to the statefsd that runs now. */
function reachable(): bool {
  if (state.handle != 0) return true;
  const handle = handleOf(stateIndex());
  if (handle == 0 || !stateRuns) return false;
  const clone = sys_cap_clone(handle, SEND);
  if (clone < 0) return false;
  state.handle = <u32>clone;
  return true;
}

function sequenceKnown(): bool {
  if (known) return true;
  const got = stateGet(state, key, crashNextKey(key), next, CRASH_NEXT_BYTES, CRASH_READ_WAIT_NS);
  if (got == <i32>CRASH_NEXT_BYTES) {
    sequence = load<u64>(next);
  } else if (isRotten(got)) {
    if (!sequenceOfSlots()) return false;
  } else {
    if (got != STATE_REFUSED) return false;
    refusal = stateStatus();
    if (refusal != SF_NOT_FOUND) return false;
  }
  known = true;
  return true;
}

/** Something stands there that cannot be what was written: rotten, or of another length. */
function isRotten(got: i32): bool {
  return got >= 0 || got == STATE_TOO_LARGE || (got == STATE_REFUSED && stateStatus() == SF_INTEGRITY);
}

/** The number behind the highest in the slots, 0 where none has a record; false when a slot could not be asked for. The number only has to
 *  be past every record that is there, and the next commit writes it anew. */
function sequenceOfSlots(): bool {
  let after: u64 = 0;
  for (let slot: u32 = 0; slot < CRASH_SLOTS; slot++) {
    const got = stateGet(state, key, crashSlotKey(key, slot), found, CRASH_RECORD_BYTES, CRASH_READ_WAIT_NS);
    if (got < 0) {
      if (isRotten(got)) continue;
      if (got != STATE_REFUSED) return false;
      if (stateStatus() == SF_NOT_FOUND) continue;
      refusal = stateStatus();
      return false;
    }
    const record = CrashRecord.at(found);
    if (!record.valid(<u32>got) || crashSlotOf(record.sequence) != slot) continue;
    after = max(after, record.sequence + 1);
  }
  sequence = after;
  logCrashNumbersLost(after);
  return true;
}

function onAnswer(token: u32, status: u32, position: u64): void {
  if (status != SF_OK) return failed(<u64>sys_time_ns(), status);
  for (; sent != 0; sent--) {
    countCrashWritten();
    sequence++;
    drop();
  }
}

function drop(): void {
  first = (first + 1) % CRASH_PENDING_MAX;
  count--;
  attempts = 0;
}

/** What waits could not be written: later, or the oldest never. */
function failed(now_ns: u64, status: u32): void {
  sent = 0;
  attempts++;
  if (!isFinal(status) && attempts < CRASH_ATTEMPTS_MAX) {
    due_ns = now_ns + (CRASH_RETRY_NS << (attempts - 1));
    return;
  }
  drop();
  lose(status);
  due_ns = count != 0 ? now_ns + CRASH_RETRY_NS : 0;
}
