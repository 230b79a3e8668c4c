// SPDX-License-Identifier: Apache-2.0
// One BATCH frame under construction, and the blocking way to send it. All of a frame is one atomic commit.
//
//   stateBatchBegin();
//   if (!stateBatchPut(key, keyLen, value, valueLen)) { it does not fit: send what is there, begin anew }
//   stateBatch(state, lazy, BUDGET_NS);
//
// Invariant: the frame has a buffer of its own, so other requests may be made while it is filled; an item that does not fit leaves it
// as it was. Limits: one message; limits.statefsd batch_items_max items; keys of 255 and values of 65,535 bytes by their length fields.
import { STATEFSD_BATCH_ITEMS_MAX } from "../../gen/limits";
import { beginRequest, callRequestUntil, deadlineIn, takeNonce } from "../nexus-ipc/client";
import { FRAME_BYTES_MAX, SF, writeRequestHead } from "../nexus-ipc/frame";
import { Route } from "../nexus-ipc/resolve";
import { Writer } from "../bounded/writer";
import { SF_BATCH_ITEM_HEAD_BYTES, SF_BATCH_LAZY, SF_KEY_BYTES_MAX, SF_OP_BATCH, SF_OP_DEL, SF_OP_PUT } from "../wire/statefsd";
import { lazyAccepted, lazyRoom } from "./lazy";
import { settleSequence, stateRoute } from "./store";

const CALLS_MAX: u32 = 2;
const HEAD_BYTES: u32 = 16;
/** A whole frame: its head, count and flags, then the items. */
const frame: usize = memory.data(8192, 8);
const items: usize = frame + HEAD_BYTES;
const writer: Writer = changetype<Writer>(memory.data(16, 4));
const headWriter: Writer = changetype<Writer>(memory.data(16, 4));
let count: u32 = 0;

/** Starts an empty batch. */
export function stateBatchBegin(): void {
  writer.reset(items, FRAME_BYTES_MAX - HEAD_BYTES);
  count = 0;
}
/** Items of the batch. */
export function stateBatchCount(): u32 {
  return count;
}
/** Bytes of its items. */
export function stateBatchBytes(): u32 {
  return writer.length;
}
/** Adds a put; false when it does not fit. */
export function stateBatchPut(key: usize, keyLen: u32, value: usize, valueLen: u32): bool {
  return add(SF_OP_PUT, key, keyLen, value, valueLen);
}
/** Adds a deletion; false when it does not fit. */
export function stateBatchDel(key: usize, keyLen: u32): bool {
  return add(SF_OP_DEL, key, keyLen, 0, 0);
}

function add(op: u8, key: usize, keyLen: u32, value: usize, valueLen: u32): bool {
  if (count == STATEFSD_BATCH_ITEMS_MAX || keyLen > SF_KEY_BYTES_MAX || valueLen > 0xffff) return false;
  const bytes = SF_BATCH_ITEM_HEAD_BYTES + keyLen + valueLen;
  if (bytes > writer.capacity - writer.length) return false;
  const at = writer.reserve(bytes);
  store<u32>(at, <u32>op | (keyLen << 8) | (valueLen << 16));
  memory.copy(at + SF_BATCH_ITEM_HEAD_BYTES, key, keyLen);
  memory.copy(at + SF_BATCH_ITEM_HEAD_BYTES + keyLen, value, valueLen);
  count++;
  return true;
}

// Begins the request in the client's buffer.
function beginBatchRequest(lazy: bool): void {
  const request = beginRequest(SF, SF_OP_BATCH).putU16(<u16>count).putU16(lazy ? SF_BATCH_LAZY : 0);
  request.putBytes(items, writer.length);
}

/** For the asynchronous writer: completes the frame where it was built, under a nonce of its own. */
export function sealBatchFrame(lazy: bool): u64 {
  const nonce = takeNonce();
  writeRequestHead(headWriter.reset(frame, HEAD_BYTES), SF, SF_OP_BATCH, nonce).putU16(<u16>count).putU16(lazy ? SF_BATCH_LAZY : 0);
  return nonce;
}
/** The sealed frame. */
export function batchFrame(): usize {
  return frame;
}
export function batchFrameBytes(): u32 {
  return HEAD_BYTES + writer.length;
}

/** Sends the batch and waits: 0 means durable, or, with `lazy`, accepted (durable once a SYNC answers with at least stateSequence()). The
 *  batch stays until the next stateBatchBegin. Over more routes than lazy.ts remembers `lazy` is ignored. */
export function stateBatch(route: Route, lazy: bool, budget_ns: u64): i32 {
  const deadline_ns = deadlineIn(budget_ns);
  let outcome: i32 = 0;
  for (let n: u32 = 0; n < CALLS_MAX; n++) {
    const handle = stateRoute(route);
    if (handle < 0) return handle;
    const later = lazy && lazyRoom(route);
    beginBatchRequest(later);
    outcome = settleSequence(callRequestUntil(<u32>handle, deadline_ns));
    if (later && outcome == 0 && !lazyAccepted(route, route.resolutions)) unreachable();
    if (!route.dropIfDead(outcome)) return outcome;
  }
  return outcome;
}
