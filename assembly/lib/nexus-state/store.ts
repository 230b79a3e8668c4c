// SPDX-License-Identifier: Apache-2.0
// The blocking calls: put, get, delete, sync, reopen, transactions. Keys and values are bytes in the caller's memory.
// Invariant: 0 from statePut, stateDel and stateTxnCommit means durable (statefsd answers after its FLUSH). A route is resolved before the
// request is begun, and a call that met a dead statefsd is made once more on a fresh route: each of these operations may be repeated (a
// SYNC tells what the dead one took along: lazy.ts).
// Limits: keys of SF_KEY_BYTES_MAX, values of SF_VALUE_BYTES_MAX bytes; a value over one message goes in as a transaction of its own and
// comes out in pieces, all within the one budget.
import { STATE_CLIENT_READ_ATTEMPTS_MAX } from "../../gen/limits";
import { beginRequest, callRequestUntil, deadlineIn, reply } from "../nexus-ipc/client";
import { FRAME_BYTES_MAX, REPLY_OK, SF, Writer } from "../nexus-ipc/frame";
import { Route } from "../nexus-ipc/resolve";
import {
  SF_NOT_FOUND, SF_OK, SF_OP_DEL, SF_OP_GET, SF_OP_PUT, SF_OP_REOPEN, SF_OP_STATS, SF_OP_SYNC, SF_OP_TXN_ABORT, SF_OP_TXN_BEGIN,
  SF_OP_TXN_COMMIT, SF_OP_TXN_DEL, SF_OP_TXN_PUT,
} from "../wire/statefsd";
import { lazyLost, lazySynced } from "./lazy";
import { STATE_BROKEN, STATE_CHANGED, STATE_LOST, STATE_REFUSED, STATE_TOO_LARGE, noteSequence, noteStatus, stateStatus } from "./result";

const CALLS_MAX: u32 = 2;
const HEAD_BYTES: u32 = 12;
const PUT_HEAD_BYTES: u32 = 6;
const TXN_PUT_HEAD_BYTES: u32 = 16;
const GET_REPLY_HEAD_BYTES: u32 = 13 + 18;
/** The most that one piece of a GET may be asked for. */
export const STATE_PIECE_BYTES_MAX: u32 = FRAME_BYTES_MAX - GET_REPLY_HEAD_BYTES;

/** Handle of statefsd, or why there is none. */
export function stateRoute(route: Route): i32 {
  return route.resolve("statefsd");
}

/** 0 for an OK whose body is `sequence u64`; STATE_REFUSED, STATE_BROKEN or the failure. For the other files of nexus-state. */
export function settleSequence(outcome: i32): i32 {
  const settled = settleEmptyHead(outcome);
  if (settled != 0) return settled;
  noteSequence(reply.body.takeU64());
  return reply.body.finished ? 0 : STATE_BROKEN;
}

/** 0 for an OK, whatever follows; STATE_REFUSED or the failure. */
export function settleEmptyHead(outcome: i32): i32 {
  if (outcome != REPLY_OK) return outcome;
  noteStatus(reply.status);
  return reply.status == SF_OK ? 0 : STATE_REFUSED;
}

/** Puts a value; durable when it returns 0. */
export function statePut(route: Route, key: usize, keyLen: u32, value: usize, valueLen: u32, budget_ns: u64): i32 {
  const deadline_ns = deadlineIn(budget_ns);
  const small = HEAD_BYTES + PUT_HEAD_BYTES + <u64>keyLen + valueLen <= FRAME_BYTES_MAX;
  let outcome: i32 = 0;
  for (let n: u32 = 0; n < CALLS_MAX; n++) {
    const handle = stateRoute(route);
    if (handle < 0) return handle;
    if (small) {
      beginRequest(SF, SF_OP_PUT).putU16(<u16>keyLen).putU32(valueLen).putBytes(key, keyLen).putBytes(value, valueLen);
      outcome = settleSequence(callRequestUntil(<u32>handle, deadline_ns));
    } else {
      outcome = putLarge(<u32>handle, key, keyLen, value, valueLen, deadline_ns);
    }
    if (!route.dropIfDead(outcome)) return outcome;
  }
  return outcome;
}

function putLarge(handle: u32, key: usize, keyLen: u32, value: usize, valueLen: u32, deadline_ns: u64): i32 {
  const txn = beginUntil(handle, key, keyLen, deadline_ns);
  if (txn < 0) return <i32>txn;
  let outcome = putPieces(handle, <u32>txn, key, keyLen, value, valueLen, deadline_ns);
  if (outcome == 0) outcome = settleSequence(endTxn(handle, SF_OP_TXN_COMMIT, <u32>txn, deadline_ns));
  else abandon(handle, <u32>txn, deadline_ns);
  return outcome;
}

function putPieces(handle: u32, txn: u32, key: usize, keyLen: u32, value: usize, valueLen: u32, deadline_ns: u64): i32 {
  if (keyLen > FRAME_BYTES_MAX / 2) return STATE_TOO_LARGE;
  const most = FRAME_BYTES_MAX - HEAD_BYTES - TXN_PUT_HEAD_BYTES - keyLen;
  let at: u32 = 0;
  do {
    const length = min<u32>(most, valueLen - at);
    const frame = beginRequest(SF, SF_OP_TXN_PUT).putU32(txn).putU16(<u16>keyLen).putU32(valueLen).putU32(at).putU16(<u16>length);
    frame.putBytes(key, keyLen).putBytes(value + at, length);
    const outcome = settleEmptyHead(callRequestUntil(handle, deadline_ns));
    if (outcome != 0) return outcome;
    at += length;
  } while (at < valueLen);
  return 0;
}

function beginUntil(handle: u32, prefix: usize, prefixLen: u32, deadline_ns: u64): i64 {
  putPrefix(beginRequest(SF, SF_OP_TXN_BEGIN), prefix, prefixLen);
  const outcome = settleEmptyHead(callRequestUntil(handle, deadline_ns));
  if (outcome != 0) return outcome;
  const txn = reply.body.takeU32();
  return reply.body.finished ? <i64>txn : STATE_BROKEN;
}

function endTxn(handle: u32, op: u8, txn: u32, deadline_ns: u64): i32 {
  beginRequest(SF, op).putU32(txn);
  return callRequestUntil(handle, deadline_ns);
}

/** A failed transaction is dropped at once rather than by its expiry; the status of the failure stays. */
function abandon(handle: u32, txn: u32, deadline_ns: u64): void {
  endTxn(handle, SF_OP_TXN_ABORT, txn, deadline_ns);
}

function putPrefix(frame: Writer, prefix: usize, prefixLen: u32): void {
  if (prefixLen != 0) frame.putU16(<u16>prefixLen).putBytes(prefix, prefixLen);
}

/** Opens a transaction: its number (0 or more), or a failure. It is the caller's alone. `prefix`: a path that it will write below, whose
 *  right is asked for now; length 0: `/state/`. */
export function stateTxnBegin(route: Route, prefix: usize, prefixLen: u32, budget_ns: u64): i64 {
  const deadline_ns = deadlineIn(budget_ns);
  let outcome: i64 = 0;
  for (let n: u32 = 0; n < CALLS_MAX; n++) {
    const handle = stateRoute(route);
    if (handle < 0) return handle;
    outcome = beginUntil(<u32>handle, prefix, prefixLen, deadline_ns);
    if (!route.dropIfDead(<i32>min<i64>(outcome, 0))) return outcome;
  }
  return outcome;
}

/** Stages a value of any length in a transaction. */
export function stateTxnPut(route: Route, txn: u32, key: usize, keyLen: u32, value: usize, valueLen: u32, budget_ns: u64): i32 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  return putPieces(<u32>handle, txn, key, keyLen, value, valueLen, deadlineIn(budget_ns));
}

/** Stages a deletion. */
export function stateTxnDel(route: Route, txn: u32, key: usize, keyLen: u32, budget_ns: u64): i32 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  beginRequest(SF, SF_OP_TXN_DEL).putU32(txn).putU16(<u16>keyLen).putBytes(key, keyLen);
  return settleEmptyHead(callRequestUntil(<u32>handle, deadlineIn(budget_ns)));
}

/** Commits: all of it is durable when this returns 0, none of it is there otherwise (but after a timeout or a dead peer nobody knows). */
export function stateTxnCommit(route: Route, txn: u32, budget_ns: u64): i32 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  return settleSequence(endTxn(<u32>handle, SF_OP_TXN_COMMIT, txn, deadlineIn(budget_ns)));
}

/** Drops a transaction. */
export function stateTxnAbort(route: Route, txn: u32, budget_ns: u64): i32 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  return settleEmptyHead(endTxn(<u32>handle, SF_OP_TXN_ABORT, txn, deadlineIn(budget_ns)));
}

/** Deletes a key; durable when it returns 0. A key that is not there: STATE_REFUSED with SF_NOT_FOUND. When statefsd ended under the first
 *  try nobody knows whether that one deleted it: a second one that finds no key is a success then (stateSequence stays). */
export function stateDel(route: Route, key: usize, keyLen: u32, budget_ns: u64): i32 {
  const deadline_ns = deadlineIn(budget_ns);
  let outcome: i32 = 0;
  for (let n: u32 = 0; n < CALLS_MAX; n++) {
    const handle = stateRoute(route);
    if (handle < 0) return handle;
    beginRequest(SF, SF_OP_DEL).putU16(<u16>keyLen).putBytes(key, keyLen);
    outcome = settleSequence(callRequestUntil(<u32>handle, deadline_ns));
    if (n != 0 && outcome == STATE_REFUSED && stateStatus() == SF_NOT_FOUND) {
      noteStatus(SF_OK);
      return 0;
    }
    if (!route.dropIfDead(outcome)) return outcome;
  }
  return outcome;
}

/** Makes everything accepted so far durable, LAZY batches too. `prefix`: whose right to write is asked for; length 0: `/state/`.
 *  STATE_LOST, once: LAZY batches of this route were accepted by a statefsd that has ended since, and not synced. */
export function stateSync(route: Route, prefix: usize, prefixLen: u32, budget_ns: u64): i32 {
  const deadline_ns = deadlineIn(budget_ns);
  let outcome: i32 = 0;
  for (let n: u32 = 0; n < CALLS_MAX; n++) {
    const handle = stateRoute(route);
    if (handle < 0) return handle;
    if (lazyLost(route, route.resolutions)) return STATE_LOST;
    putPrefix(beginRequest(SF, SF_OP_SYNC), prefix, prefixLen);
    outcome = settleSequence(callRequestUntil(<u32>handle, deadline_ns));
    if (outcome == 0) lazySynced(route, route.resolutions);
    if (!route.dropIfDead(outcome)) return outcome;
  }
  return outcome;
}

/** Makes statefsd read its journal again from the device (capability statefs.admin). */
export function stateReopen(route: Route, budget_ns: u64): i32 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  beginRequest(SF, SF_OP_REOPEN);
  return settleEmptyHead(callRequestUntil(<u32>handle, deadlineIn(budget_ns)));
}

/** Reads a value into [to, to + capacity): its length; STATE_REFUSED with SF_NOT_FOUND when there is none. */
export function stateGet(route: Route, key: usize, keyLen: u32, to: usize, capacity: u32, budget_ns: u64): i32 {
  const deadline_ns = deadlineIn(budget_ns);
  let outcome: i32 = 0;
  for (let n: u32 = 0; n < STATE_CLIENT_READ_ATTEMPTS_MAX; n++) {
    const handle = stateRoute(route);
    if (handle < 0) return handle;
    outcome = getOnce(<u32>handle, key, keyLen, to, capacity, deadline_ns);
    if (outcome != STATE_CHANGED && !route.dropIfDead(outcome)) return outcome;
  }
  return outcome;
}

// All pieces of one version of the value, or STATE_CHANGED.
function getOnce(handle: u32, key: usize, keyLen: u32, to: usize, capacity: u32, deadline_ns: u64): i32 {
  let total: u32 = 0;
  let version: u64 = 0;
  let at: u32 = 0;
  do {
    const most = min<u32>(STATE_PIECE_BYTES_MAX, max<u32>(capacity - at, 1));
    beginRequest(SF, SF_OP_GET).putU16(<u16>keyLen).putU32(at).putU16(<u16>most).putBytes(key, keyLen);
    const outcome = settleEmptyHead(callRequestUntil(handle, deadline_ns));
    if (outcome != 0) return outcome;
    const body = reply.body;
    const totalNow = body.takeU32();
    const offset = body.takeU32();
    const length = <u32>body.takeU16();
    const versionNow = body.takeU64();
    const bytes = body.takeBytes(length);
    if (!body.finished || offset != at) return STATE_BROKEN;
    if (at == 0) {
      total = totalNow;
      version = versionNow;
      if (total > capacity) return STATE_TOO_LARGE;
    }
    if (totalNow != total || versionNow != version) return STATE_CHANGED;
    if (length > total - at || (length == 0 && at != total)) return STATE_BROKEN;
    memory.copy(to + at, bytes, length);
    at += length;
  } while (at < total);
  return <i32>total;
}

/** One counter of STATS (SF_STATS_*), or a failure. */
export function stateCounter(route: Route, index: u32, budget_ns: u64): i64 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  beginRequest(SF, SF_OP_STATS);
  const outcome = settleEmptyHead(callRequestUntil(<u32>handle, deadlineIn(budget_ns)));
  if (outcome != 0) {
    route.dropIfDead(outcome);
    return outcome;
  }
  reply.body.takeBytes(index << 3);
  const value = reply.body.takeI64();
  return reply.body.ok ? value : STATE_BROKEN;
}
