// SPDX-License-Identifier: Apache-2.0
// Profiles crash and crash-check: the guest's half of `just crash-test` (docs/power-cuts.md; the host's half is scripts/crash).
// crash-check reads back everything below /state/test/crash/ and prints it; crash does the same, then writes without end in sight until
// the host cuts the power. Boot arguments: seed (8 hex digits) and round (8 hex digits): both decide every operation (power-ops.ts).
// Invariant: `ack N` is printed only after statefsd answered that operation N is durable; nothing is printed for one that was not answered.
// Limits: OPS_MAX operations a boot, ops of one run of RUN_OPS in flight, keys and values of power-ops.ts.
import { KERNEL_LINE_BYTES_MAX, STATE_CLIENT_FRAMES_IN_FLIGHT_MAX } from "../../gen/limits";
import { sys_boot_arg, sys_console_line } from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";
import { sha256 } from "../../lib/hash/sha256";
import { Route } from "../../lib/nexus-ipc/index";
import {
  STATE_REFUSED, StateList, stateBatch, stateBatchBegin, stateBatchDel, stateBatchPut, stateDel, stateGet, statePut, stateStatus, stateSync,
  stateTxnBegin, stateTxnCommit, stateTxnDel, stateTxnPut, stateWriterSend, stateWriterTake, stateWriterWaiting,
} from "../../lib/nexus-state/index";
import { SF_NOT_FOUND, SF_OK } from "../../lib/wire/statefsd";
import { Writer } from "../../lib/bounded/writer";
import { check, checkEqual, failedChecks, proof, waitNs } from "./lib";
import {
  KIND_BATCH, KIND_DEL, KIND_PUT, KIND_TXN, KEY_PREFIX, OPS_MAX, RUN_OPS, VALUE_BYTES_MAX, deliveryOf, kindOf, makeValue, opItems, opKeyAt,
  opLengthAt, opRead, putKey, runSeeded,
} from "./power-ops";

const BUDGET_NS: u64 = 20_000_000_000;
const STEP_NS: u64 = 200_000;
/** Polls for the answers of one run: BUDGET_NS of guest time. */
const STEPS_MAX: u32 = 100_000;
/** The workload has KEYS keys; as many again would show, and be refused by the host. */
const KEYS_LISTED_MAX: u32 = 128;
const PAGE_KEYS: u32 = 16;
const DELIVER_WINDOW: u32 = 1;
const DELIVER_LAZY: u32 = 2;
const DIGEST_BYTES_SHOWN: u32 = 8;

const state: Route = changetype<Route>(memory.data(8, 4));
const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 8));
const line: Writer = changetype<Writer>(memory.data(16, 4));
const lineBuffer: usize = memory.data(KERNEL_LINE_BYTES_MAX);
const prefix: usize = memory.data(32);
const key: usize = memory.data(64);
const value: usize = memory.data(65536, 8);
const digest: usize = memory.data(32);
const argument: usize = memory.data(16);
const argumentName: usize = memory.data(8);
/** Operations of the run in flight: op number by place of its token. */
let firstToken: u32 = 0;
let firstOp: u32 = 0;

function say(): Writer {
  return line.reset(lineBuffer, KERNEL_LINE_BYTES_MAX).putText("SELFTEST: crash ");
}
function end(): void {
  sys_console_line(<u32>lineBuffer, line.length);
}

/** A boot argument of 8 hex digits; 0 when it is absent or malformed. */
function hexArgument(name: string): u32 {
  const bytes = copyLiteral(argumentName, name);
  if (sys_boot_arg(<u32>argumentName, bytes, <u32>argument, 16) != 8) return 0;
  let number: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    const byte = <u32>load<u8>(argument + i);
    const digit = byte >= 97 ? byte - 87 : byte - 48;
    if (digit > 15) return 0;
    number = (number << 4) | digit;
  }
  return number;
}

/** Lists and reads back everything, and prints key, length and digest of each; how many keys there are. */
export function kept(): u32 {
  const prefixBytes = copyLiteral(prefix, KEY_PREFIX);
  let count: u32 = 0;
  list.begin(prefix, prefixBytes, PAGE_KEYS);
  while (count < KEYS_LISTED_MAX && list.next(state, BUDGET_NS)) {
    const bytes = list.keyBytes;
    if (!check(bytes > prefixBytes && bytes <= 64, "a key of a strange length")) return count;
    memory.copy(key, list.key, bytes);
    const expected = list.valueBytes;
    const length = stateGet(state, key, bytes, value, VALUE_BYTES_MAX, BUDGET_NS);
    if (length == STATE_REFUSED) checkEqual(stateStatus(), SF_OK, "status of a get");
    if (!checkEqual(length, expected, "length of a value")) return count;
    sha256(<u32>value, <u32>length, <u32>digest);
    say().putText("have ").putBytes(key + prefixBytes, bytes - prefixBytes).putText(" ").putDecimal(length).putText(" ");
    for (let i: u32 = 0; i < DIGEST_BYTES_SHOWN; i++) line.putHex(load<u8>(digest + i), 2);
    end();
    count++;
  }
  if (!checkEqual(list.outcome, 0, "list") || !check(count < KEYS_LISTED_MAX, "a list without an end")) return count;
  say().putText("kept ").putDecimal(count);
  end();
  return count;
}

function acknowledge(op: u32): void {
  say().putText("ack ").putDecimal(op);
  end();
}

function outcomeIs(outcome: i32, what: string): bool {
  if (outcome == STATE_REFUSED) return checkEqual(stateStatus(), SF_OK, what);
  return checkEqual(outcome, 0, what);
}

/** Fills the client's batch with the operation that was read last. */
function fillBatch(op: u32): bool {
  stateBatchBegin();
  for (let i: u32 = 0; i < opItems(); i++) {
    const bytes = putKey(key, opKeyAt(i));
    const length = opLengthAt(i);
    const fits = length < 0 ? stateBatchDel(key, bytes) : stateBatchPut(key, bytes, makeValue(value, op, i, <u32>length), <u32>length);
    if (!check(fits, "a batch does not fit")) return false;
  }
  return true;
}

function txn(op: u32): bool {
  const begun = stateTxnBegin(state, prefix, copyLiteral(prefix, KEY_PREFIX), BUDGET_NS);
  if (!check(begun >= 0, "txn begin")) return false;
  for (let i: u32 = 0; i < opItems(); i++) {
    const bytes = putKey(key, opKeyAt(i));
    const length = opLengthAt(i);
    const outcome = length < 0
      ? stateTxnDel(state, <u32>begun, key, bytes, BUDGET_NS)
      : stateTxnPut(state, <u32>begun, key, bytes, makeValue(value, op, i, <u32>length), <u32>length, BUDGET_NS);
    if (!outcomeIs(outcome, "txn item")) return false;
  }
  return outcomeIs(stateTxnCommit(state, <u32>begun, BUDGET_NS), "txn commit");
}

/** One operation, waited for. */
function one(op: u32, lazy: bool): bool {
  const kind = kindOf(op);
  opRead(op);
  if (kind == KIND_TXN) return txn(op);
  if (kind == KIND_BATCH) return fillBatch(op) && outcomeIs(stateBatch(state, lazy, BUDGET_NS), "batch");
  const bytes = putKey(key, opKeyAt(0));
  if (kind == KIND_PUT) {
    const length = <u32>opLengthAt(0);
    return outcomeIs(statePut(state, key, bytes, makeValue(value, op, 0, length), length, BUDGET_NS), "put");
  }
  const outcome = stateDel(state, key, bytes, BUDGET_NS);
  if (outcome == STATE_REFUSED && stateStatus() == SF_NOT_FOUND) return true;
  return outcomeIs(outcome, "del");
}

function onAnswer(token: u32, status: u32, sequence: u64): void {
  if (checkEqual(status, SF_OK, "status of a batch in flight")) acknowledge(firstOp + (token - firstToken));
}

/** The operations of one run, all sent before the first answer is taken. */
function windowed(first: u32): bool {
  firstOp = first;
  for (let n: u32 = 0; n < RUN_OPS; n++) {
    opRead(first + n);
    if (!fillBatch(first + n)) return false;
    const token = stateWriterSend(state, false);
    if (!check(token > 0, "a batch was not sent")) return false;
    if (n == 0) firstToken = <u32>token;
  }
  for (let step: u32 = 0; step < STEPS_MAX && stateWriterWaiting() != 0; step++) {
    stateWriterTake(state, onAnswer);
    if (stateWriterWaiting() != 0) waitNs(STEP_NS);
  }
  return checkEqual(stateWriterWaiting(), 0, "batches without an answer");
}

/** The operations of one run as lazy batches, made durable by one SYNC. */
function lazily(first: u32): bool {
  for (let n: u32 = 0; n < RUN_OPS; n++) {
    if (!one(first + n, true)) return false;
  }
  const prefixBytes = copyLiteral(prefix, KEY_PREFIX);
  if (!outcomeIs(stateSync(state, prefix, prefixBytes, BUDGET_NS), "sync")) return false;
  for (let n: u32 = 0; n < RUN_OPS; n++) acknowledge(first + n);
  return true;
}

function run(first: u32): bool {
  const batches = kindOf(first) == KIND_BATCH;
  const delivery = deliveryOf(first);
  if (batches && delivery == DELIVER_WINDOW) return windowed(first);
  if (batches && delivery == DELIVER_LAZY) return lazily(first);
  for (let n: u32 = 0; n < RUN_OPS; n++) {
    if (!one(first + n, false)) return false;
    acknowledge(first + n);
  }
  return true;
}

/** Profile crash-check. */
export function crash_check(): void {
  proof("crash kept");
  kept();
}

/** Profile crash. */
export function crash(): void {
  assert(RUN_OPS <= STATE_CLIENT_FRAMES_IN_FLIGHT_MAX);
  proof("crash kept");
  kept();
  if (failedChecks() != 0) return;
  proof("crash work");
  runSeeded(hexArgument("seed"), hexArgument("round"));
  for (let op: u32 = 0; op < OPS_MAX; op += RUN_OPS) {
    if (!run(op)) return;
  }
  say().putText("idle");
  end();
}
