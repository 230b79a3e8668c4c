// SPDX-License-Identifier: Apache-2.0
// Profile disk-read-only: what an earlier boot wrote, on a device that takes no writes. Profile disk-errors: a disk that fails on demand
// (runtime/nbd/on-demand.ts), and what statefsd makes of it. The disk is asked in band: a value that holds `disk-fault:ACTION:N;` meets
// that fault when it is written.
// Invariant: a request whose write or FLUSH failed is answered `io`, never OK; afterwards the journal is what the disk really holds:
// everything acknowledged before is there, a value whose flush failed is there whole or not at all; and the store comes back by itself.
// Limits: it is back within BACK_TRIES waits of BACK_NS of guest time.
import { M_SELFTEST_DISK_ERRORS_OK, M_SELFTEST_DISK_READ_ONLY_OK } from "../../gen/markers";
import { copyLiteral, equalsBytes } from "../../lib/bounded/text";
import { Writer } from "../../lib/bounded/writer";
import { Route } from "../../lib/nexus-ipc/index";
import { STATE_REFUSED, stateCounter, stateGet, statePut, stateStatus } from "../../lib/nexus-state/index";
import { SF_IO, SF_NOT_FOUND, SF_READ_ONLY, SF_STATS_IO_ERRORS, SF_STATS_REOPENS } from "../../lib/wire/statefsd";
import { kept } from "./power";
import { check, checkEqual, proof, proven, waitNs } from "./lib";

const BUDGET_NS: u64 = 5_000_000_000;
const BACK_NS: u64 = 20_000_000;
const BACK_TRIES: u32 = 200;
const VALUE_BYTES: u32 = 64;

const state: Route = changetype<Route>(memory.data(8, 4));
const key: usize = memory.data(64);
const value: usize = memory.data(64, 8);
const back: usize = memory.data(64, 8);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
let keyLen: u32 = 0;
let number: u32 = 0;

function at(literal: string): void {
  keyLen = copyLiteral(key, literal);
}

/** After profile crash, on the same disk. */
export function disk_read_only(): void {
  proof("disk read-only");
  check(kept() > 0, "nothing was kept");
  at("/state/test/errors/refused");
  refusedWith(put("none"), SF_READ_ONLY, "a put");
  check(isAbsent(), "a refused put is there");
  proven(M_SELFTEST_DISK_READ_ONLY_OK);
}

/** Puts a value that names a fault (none for ""), under a fresh number. */
function put(action: string): i32 {
  memory.fill(value, 32, VALUE_BYTES);
  writer.reset(value, VALUE_BYTES).putText("disk-fault:").putText(action).putText(":").putDecimal(++number).putText(";");
  return statePut(state, key, keyLen, value, VALUE_BYTES, BUDGET_NS);
}

function refusedWith(outcome: i32, status: u32, what: string): void {
  if (checkEqual(outcome, STATE_REFUSED, what)) checkEqual(stateStatus(), status, what);
}

/** Whether the key holds exactly what was put last. */
function holdsLast(): bool {
  const length = stateGet(state, key, keyLen, back, VALUE_BYTES, BUDGET_NS);
  return length >= 0 && equalsBytes(back, <u32>length, value, VALUE_BYTES);
}

function isAbsent(): bool {
  return stateGet(state, key, keyLen, back, VALUE_BYTES, BUDGET_NS) == STATE_REFUSED && stateStatus() == SF_NOT_FOUND;
}

/** Waits until the store serves again. */
function comesBack(what: string): void {
  for (let n: u32 = 0; n < BACK_TRIES; n++) {
    at("/state/test/errors/alive");
    if (put("none") == 0) return;
    waitNs(BACK_NS);
  }
  check(false, what);
}

/** What was acknowledged before the first error. */
function earlier(what: string): void {
  at("/state/test/errors/earlier");
  const length = stateGet(state, key, keyLen, back, VALUE_BYTES, BUDGET_NS);
  check(length == <i32>VALUE_BYTES && load<u8>(back) == 100, what);
}

/** A write that the disk answers with an error: nothing of it is there. */
function failedWrite(action: string): void {
  at("/state/test/errors/failed");
  refusedWith(put(action), SF_IO, action);
  comesBack("the store did not come back after a failed write");
  at("/state/test/errors/failed");
  check(isAbsent(), "a failed write is there");
  earlier("an acknowledged value is gone after a failed write");
}

/** A flush that fails: nobody knows, so it is not acknowledged, and what the next recovery finds is whole. */
function failedFlush(): void {
  at("/state/test/errors/unflushed");
  refusedWith(put("flush-io"), SF_IO, "flush-io");
  const wanted = number;
  comesBack("the store did not come back after a failed flush");
  at("/state/test/errors/unflushed");
  memory.fill(value, 32, VALUE_BYTES);
  writer.reset(value, VALUE_BYTES).putText("disk-fault:flush-io:").putDecimal(wanted).putText(";");
  check(isAbsent() || holdsLast(), "half a value after a failed flush");
  earlier("an acknowledged value is gone after a failed flush");
}

/** A read that fails is `io`, and the value is there again when the disk is. */
function failedRead(): void {
  at("/state/test/errors/unread");
  checkEqual(put("read-io"), 0, "a put before a failed read");
  const wanted = number;
  refusedWith(stateGet(state, key, keyLen, back, VALUE_BYTES, BUDGET_NS), SF_IO, "read-io");
  comesBack("the store did not come back after a failed read");
  at("/state/test/errors/unread");
  memory.fill(value, 32, VALUE_BYTES);
  writer.reset(value, VALUE_BYTES).putText("disk-fault:read-io:").putDecimal(wanted).putText(";");
  check(holdsLast(), "the value after a failed read");
}

export function disk_errors(): void {
  proof("disk errors");
  at("/state/test/errors/earlier");
  checkEqual(put("none"), 0, "the first put");
  const errors = stateCounter(state, SF_STATS_IO_ERRORS, BUDGET_NS);
  const reopens = stateCounter(state, SF_STATS_REOPENS, BUDGET_NS);
  failedWrite("write-io");
  failedWrite("write-nospc");
  failedFlush();
  failedRead();
  at("/state/test/errors/late");
  checkEqual(put("late"), 0, "a late answer");
  check(holdsLast(), "the value after a late answer");
  earlier("an acknowledged value is gone at the end");
  check(stateCounter(state, SF_STATS_IO_ERRORS, BUDGET_NS) >= errors + 3, "errors are counted");
  check(stateCounter(state, SF_STATS_REOPENS, BUDGET_NS) >= reopens + 3, "reopens are counted");
  proven(M_SELFTEST_DISK_ERRORS_OK);
}
