// SPDX-License-Identifier: Apache-2.0
// Phase state of the ladder: statefsd over the machine's own disk, through nexus-state. (Limits, rights and what is left behind a restart:
// state-limits.ts.)
// Invariant: every value is compared byte for byte with what was put, read back through the same path that any client has; keys lie below
// /state/test/, and a proof that counts keys counts those of its own folder.
// Limits: each wait is BUDGET_NS; a walk over keys ends after WALK_MAX.
import {
  M_SELFTEST_STATE_BATCH_OK, M_SELFTEST_STATE_DELETE_OK, M_SELFTEST_STATE_LARGE_VALUES_OK, M_SELFTEST_STATE_LIST_OK,
  M_SELFTEST_STATE_PUT_OK, M_SELFTEST_STATE_TRANSACTION_OK,
} from "../../gen/markers";
import { copyLiteral } from "../../lib/bounded/text";
import { Route } from "../../lib/nexus-ipc/index";
import {
  STATE_REFUSED, STATE_TOO_LARGE, StateList, stateBatch, stateBatchBegin, stateBatchDel, stateBatchPut, stateCounter, stateDel, stateGet,
  statePut, stateSequence, stateStatus, stateSync, stateTxnAbort, stateTxnBegin, stateTxnCommit, stateTxnDel, stateTxnPut,
} from "../../lib/nexus-state/index";
import { SF_INVALID_KEY, SF_NOT_FOUND, SF_STATS_DURABLE, SF_VALUE_BYTES_MAX } from "../../lib/wire/statefsd";
import { check, checkDone, checkEqual, proof, proven } from "./lib";
import { refusals_proofs } from "./state-limits";

export const BUDGET_NS: u64 = 2_000_000_000;
const WALK_MAX: u32 = 64;
const LISTED: u32 = 20;
/** The proofs' way to statefsd. */
export const state: Route = changetype<Route>(memory.data(8, 4));
/** The key of the proof: `at` sets it. */
export const key: usize = memory.data(512);
export let keyLen: u32 = 0;
/** Bytes to put, and bytes read back. */
export const value: usize = memory.data(65540);
export const back: usize = memory.data(65540);
const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 4));

/** Sets the key. */
export function at(literal: string): void {
  keyLen = copyLiteral(key, literal);
}
/** Adds a letter to the key, `a` for 0. */
function letter(index: u32): void {
  store<u8>(key + keyLen, <u8>(97 + index));
  keyLen++;
}
/** A pattern that differs by seed and place. */
export function fill(bytes: u32, seed: u32): void {
  for (let i: u32 = 0; i < bytes; i++) store<u8>(value + i, <u8>((i * 31 + seed) ^ (i >> 8)));
}

/** Puts the first `bytes` of the pattern under the key. */
export function put(bytes: u32, detail: string): void {
  checkEqual(statePut(state, key, keyLen, value, bytes, BUDGET_NS), 0, detail);
}
/** The key holds exactly the first `bytes` of the pattern. */
export function holdsPattern(bytes: u32, detail: string): void {
  memory.fill(back, 0xee, bytes);
  checkEqual(stateGet(state, key, keyLen, back, SF_VALUE_BYTES_MAX, BUDGET_NS), bytes, detail);
  checkEqual(memory.compare(back, value, bytes), 0, detail);
}
/** The last call was refused with that status. */
export function refusedWith(outcome: i64, status: u32, detail: string): void {
  if (checkEqual(outcome, STATE_REFUSED, detail)) checkEqual(stateStatus(), status, detail);
}
/** There is nothing under the key. */
export function absent(detail: string): void {
  refusedWith(stateGet(state, key, keyLen, back, SF_VALUE_BYTES_MAX, BUDGET_NS), SF_NOT_FOUND, detail);
}

// What was put comes back, and by the time of the answer it was durable.
function provesPut(): void {
  proof("state put");
  at("/state/test/put");
  fill(300, 7);
  put(300, "put");
  const sequence = <i64>stateSequence();
  check(stateCounter(state, SF_STATS_DURABLE, BUDGET_NS) >= sequence, "acknowledged before it was durable");
  checkEqual(stateSync(state, 0, 0, BUDGET_NS), 0, "sync");
  check(<i64>stateSequence() >= sequence, "the watermark is behind");
  holdsPattern(300, "read back");
  proven(M_SELFTEST_STATE_PUT_OK);
}

function provesDelete(): void {
  proof("state delete");
  at("/state/test/delete");
  fill(500, 1);
  put(500, "put");
  fill(90, 2);
  put(90, "a shorter value over it");
  holdsPattern(90, "the shorter value");
  fill(4000, 3);
  put(4000, "a longer one");
  holdsPattern(4000, "the longer value");
  put(0, "an empty one");
  holdsPattern(0, "the empty value");
  checkEqual(stateDel(state, key, keyLen, BUDGET_NS), 0, "delete");
  absent("after the delete");
  refusedWith(stateDel(state, key, keyLen, BUDGET_NS), SF_NOT_FOUND, "a second delete");
  put(9, "put again");
  holdsPattern(9, "after it came again");
  proven(M_SELFTEST_STATE_DELETE_OK);
}

/** Keys that begin with the key under `at`, in order, each once: /state/test/list/a, b, ... */
function walk(pageKeys: u32, wanted: u32, detail: string): void {
  list.begin(key, keyLen, pageKeys);
  let found: u32 = 0;
  let right: u32 = 0;
  while (found < WALK_MAX && list.next(state, BUDGET_NS)) {
    if (list.keyBytes == keyLen + 1 && <u32>load<u8>(list.key + keyLen) == 97 + found && list.valueBytes == found) right++;
    found++;
  }
  checkEqual(list.outcome, 0, detail);
  checkEqual(found, wanted, detail);
  checkEqual(right, wanted, detail);
}

function provesList(): void {
  proof("state list");
  stateBatchBegin();
  for (let i: u32 = LISTED; i > 0; i--) {
    at("/state/test/list/");
    letter(i - 1);
    check(stateBatchPut(key, keyLen, value, i - 1), "batch full");
  }
  checkEqual(stateBatch(state, false, BUDGET_NS), 0, "batch");
  at("/state/test/list/");
  walk(0, LISTED, "in one page");
  walk(7, LISTED, "in pages of seven");
  check(list.pages == 3, "pages");
  walk(1, LISTED, "in pages of one");
  at("/state/test/nothing/");
  walk(0, 0, "where nothing is");
  proven(M_SELFTEST_STATE_LIST_OK);
}

function provesLarge(): void {
  proof("state large values");
  at("/state/test/large");
  fill(SF_VALUE_BYTES_MAX, 5);
  put(SF_VALUE_BYTES_MAX, "64 KiB");
  holdsPattern(SF_VALUE_BYTES_MAX, "64 KiB read back");
  fill(8200, 6);
  put(8200, "just over one message");
  holdsPattern(8200, "just over one message read back");
  checkEqual(stateGet(state, key, keyLen, back, 8199, BUDGET_NS), STATE_TOO_LARGE, "a buffer that is too small");
  proven(M_SELFTEST_STATE_LARGE_VALUES_OK);
}

function provesBatch(): void {
  proof("state batch");
  fill(40, 9);
  at("/state/test/batch/old");
  put(40, "put");
  stateBatchBegin();
  check(stateBatchDel(key, keyLen), "delete");
  at("/state/test/batch/new");
  check(stateBatchPut(key, keyLen, value, 40), "put");
  checkEqual(stateBatch(state, false, BUDGET_NS), 0, "both at once");
  holdsPattern(40, "the new key");
  at("/state/test/batch/old");
  absent("the old key");
  // One bad key, and nothing of the batch is there.
  stateBatchBegin();
  check(stateBatchPut(key, keyLen, value, 40), "put");
  at("/state/test/batch/../bad");
  check(stateBatchPut(key, keyLen, value, 40), "put of a bad key");
  refusedWith(stateBatch(state, false, BUDGET_NS), SF_INVALID_KEY, "a batch with a bad key");
  at("/state/test/batch/old");
  absent("of a refused batch");
  // Accepted at once, seen at once, durable with the SYNC.
  stateBatchBegin();
  check(stateBatchPut(key, keyLen, value, 40), "put");
  checkEqual(stateBatch(state, true, BUDGET_NS), 0, "lazy");
  const sequence = <i64>stateSequence();
  check(stateCounter(state, SF_STATS_DURABLE, BUDGET_NS) < sequence, "lazy was not lazy");
  checkEqual(stateSync(state, 0, 0, BUDGET_NS), 0, "sync");
  check(stateCounter(state, SF_STATS_DURABLE, BUDGET_NS) >= sequence, "not durable after the SYNC");
  holdsPattern(40, "the lazy value");
  proven(M_SELFTEST_STATE_BATCH_OK);
}

function provesTransaction(): void {
  proof("state transaction");
  at("/state/test/txn/gone");
  fill(30, 11);
  put(30, "put");
  const txn = <u32>stateTxnBegin(state, 0, 0, BUDGET_NS);
  checkDone(<i32>txn, "begin");
  checkEqual(stateTxnDel(state, txn, key, keyLen, BUDGET_NS), 0, "stage a delete");
  fill(20_000, 12);
  at("/state/test/txn/large");
  checkEqual(stateTxnPut(state, txn, key, keyLen, value, 20_000, BUDGET_NS), 0, "stage 20,000 bytes");
  absent("before the commit");
  checkEqual(stateTxnCommit(state, txn, BUDGET_NS), 0, "commit");
  holdsPattern(20_000, "after the commit");
  at("/state/test/txn/gone");
  absent("what it deleted");
  refusedWith(stateTxnCommit(state, txn, BUDGET_NS), SF_NOT_FOUND, "a second commit");
  const second = <u32>stateTxnBegin(state, 0, 0, BUDGET_NS);
  checkEqual(stateTxnPut(state, second, key, keyLen, value, 100, BUDGET_NS), 0, "stage");
  checkEqual(stateTxnAbort(state, second, BUDGET_NS), 0, "abort");
  absent("after the abort");
  refusedWith(stateTxnAbort(state, second, BUDGET_NS), SF_NOT_FOUND, "a second abort");
  proven(M_SELFTEST_STATE_TRANSACTION_OK);
}

/** Phase state, in the order of markers/55-state.toml. */
export function state_proofs(): void {
  provesPut();
  provesDelete();
  provesList();
  provesLarge();
  provesBatch();
  provesTransaction();
  refusals_proofs();
}
