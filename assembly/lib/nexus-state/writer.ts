// SPDX-License-Identifier: Apache-2.0
// The asynchronous writer: batches (and SYNCs) as sends that move a SEND capability to a reply endpoint of our own. For a service that
// must not wait for the disk; it needs the edge to samgrd alone.
//
//   stateBatchBegin(); stateBatchPut(...);
//   const token = stateWriterSend(state, false);        > 0: on its way; negative: nothing was sent
//   stateWriterTake(state, onAnswer);                   from a tick: onAnswer(token, status, sequence) once for each frame
//
// Invariant: a SYNC's OK counts only when no LAZY batch of the route was accepted by an earlier statefsd and not synced (lazy.ts); else its
// answer is STATE_LOST_ANSWER, once. At most frames_in_flight_max frames are unanswered, so the reply endpoint cannot overflow and
// statefsd's one try reaches it; each token is answered exactly once: by statefsd, or by STATE_NO_ANSWER after answer_wait_ns or when
// statefsd ended.
// After STATE_NO_ANSWER nobody knows whether the frame was committed: put the same keys and values again.
// Limits: limits.state_client.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { STATE_CLIENT_ANSWER_WAIT_NS, STATE_CLIENT_FRAMES_IN_FLIGHT_MAX } from "../../gen/limits";
import {
  sys_cap_clone, sys_cap_close, sys_cap_query, sys_endpoint_create, sys_recv, sys_send, sys_time_ns,
} from "../../gen/syscalls";
import { beginRequest, deadlineIn, requestNonce, sendRequest } from "../nexus-ipc/client";
import { REPLY_OK, SF, decodeReply } from "../nexus-ipc/frame";
import { Route } from "../nexus-ipc/resolve";
import { Reader } from "../bounded/writer";
import { SF_OK, SF_OP_BATCH, SF_OP_SYNC } from "../wire/statefsd";
import { batchFrame, batchFrameBytes, sealBatchFrame } from "./batch";
import { lazyAccepted, lazyLost, lazyRoom, lazySynced } from "./lazy";
import { stateRoute } from "./store";

/** No status of the wire: the answer never came. */
export const STATE_NO_ANSWER: u32 = 255;
/** No status of the wire: statefsd answered the SYNC with OK, but an earlier statefsd took LAZY batches of this route along: put again. */
export const STATE_LOST_ANSWER: u32 = 254;
/** frames_in_flight_max frames are unanswered; nothing was sent. */
export const STATE_WINDOW_FULL: i32 = -184;

const RIGHT_SEND: u32 = 1;
const REPLY_BYTES_MAX: u32 = 64;
/** Unanswered frames: {nonce u64, sent_ns u64, token u32, op u8, lazy u8, pad, route's resolution u32, pad}; token 0: free. */
const ENTRY_BYTES: u32 = 32;
/** In place of sent_ns: statefsd ended before it answered. */
const LOST: u64 = 0;
/** Room for as many late answers as there are frames. */
const REPLY_DEPTH: u32 = 2 * STATE_CLIENT_FRAMES_IN_FLIGHT_MAX;
const asked: usize = memory.data(STATE_CLIENT_FRAMES_IN_FLIGHT_MAX * 32, 8);
const replyBuffer: usize = memory.data(64, 8);
const meta: usize = memory.data(32, 8);
const body: Reader = changetype<Reader>(memory.data(16, 4));
let replyEndpoint: u32 = 0;
let waiting: u32 = 0;
let tokens: u32 = 0;
let strays: u64 = 0;
let acknowledged: u64 = 0;

/** Frames whose answer is awaited. */
export function stateWriterWaiting(): u32 {
  return waiting;
}
/** Whether one more frame may be sent. */
export function stateWriterFree(): bool {
  return waiting < STATE_CLIENT_FRAMES_IN_FLIGHT_MAX;
}
/** Frames answered OK since start. */
export function stateWriterAcknowledged(): u64 {
  return acknowledged;
}
/** Answers that matched no frame (late ones). */
export function stateWriterStrays(): u64 {
  return strays;
}

/** Sends the batch under construction: its token (1 or more), STATE_WINDOW_FULL, or why nothing was sent. `lazy` as for stateBatch. */
export function stateWriterSend(route: Route, lazy: bool): i32 {
  if (!stateWriterFree()) return STATE_WINDOW_FULL;
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  return transmit(route, <u32>handle, SF_OP_BATCH, lazy && lazyRoom(route));
}

/** Sends a SYNC for the path `prefix` (length 0: `/state/`): its token, or why nothing was sent. */
export function stateWriterSync(route: Route, prefix: usize, prefixLen: u32): i32 {
  if (!stateWriterFree()) return STATE_WINDOW_FULL;
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  const frame = beginRequest(SF, SF_OP_SYNC);
  if (prefixLen != 0) frame.putU16(<u16>prefixLen).putBytes(prefix, prefixLen);
  return transmit(route, <u32>handle, SF_OP_SYNC, false);
}

// Sends the batch where it was built, or the SYNC just begun.
function transmit(route: Route, handle: u32, op: u8, lazy: bool): i32 {
  if (replyEndpoint == 0) {
    const made = sys_endpoint_create(REPLY_DEPTH);
    if (made < 0) return <i32>made;
    replyEndpoint = <u32>made;
  }
  const way = sys_cap_clone(replyEndpoint, RIGHT_SEND);
  if (way < 0) return <i32>way;
  let nonce: u64;
  let outcome: i32;
  if (op == SF_OP_BATCH) {
    nonce = sealBatchFrame(lazy);
    outcome = <i32>sys_send(handle, <u32>batchFrame(), <u64>batchFrameBytes() | (<u64>way << 32), 0);
  } else {
    nonce = requestNonce();
    outcome = sendRequest(handle, <u32>way);
  }
  if (outcome < 0) {
    sys_cap_close(<u32>way);
    route.dropIfDead(outcome);
    return outcome;
  }
  tokens = tokens == 0x7fffffff ? 1 : tokens + 1;
  for (let i: u32 = 0; i < STATE_CLIENT_FRAMES_IN_FLIGHT_MAX; i++) {
    const entry = asked + i * ENTRY_BYTES;
    if (load<u32>(entry, 16) != 0) continue;
    store<u64>(entry, nonce);
    store<u64>(entry, <u64>sys_time_ns(), 8);
    store<u32>(entry, tokens, 16);
    store<u8>(entry, op, 20);
    store<u8>(entry, u8(lazy), 21);
    store<u32>(entry, route.resolutions, 24);
    waiting++;
    break;
  }
  return <i32>tokens;
}

/** Gives every answer that came to `onAnswer`, and STATE_NO_ANSWER for frames that will never get one. `onAnswer` may send again. Waits at
 *  most `budget_ns` for the first. */
export function stateWriterTake(route: Route, onAnswer: (token: u32, status: u32, sequence: u64) => void, budget_ns: u64 = 0): void {
  if (waiting == 0) return;
  let deadline_ns = deadlineIn(budget_ns);
  const room = <u64>replyBuffer | (<u64>REPLY_BYTES_MAX << 32);
  for (let taken: u32 = 0; taken < REPLY_DEPTH; taken++) {
    const length = sys_recv(replyEndpoint, room, <u32>meta, deadline_ns, 0);
    if (length < 0) break;
    deadline_ns = 0;
    const moved = load<u32>(meta + 16);
    if (moved) sys_cap_close(moved);
    if (!accept(route, <u32>length, onAnswer)) strays++;
  }
  const now_ns = <u64>sys_time_ns();
  if (peerEnded(route)) {
    for (let i: u32 = 0; i < STATE_CLIENT_FRAMES_IN_FLIGHT_MAX; i++) store<u64>(asked + i * ENTRY_BYTES, LOST, 8);
  }
  for (let i: u32 = 0; i < STATE_CLIENT_FRAMES_IN_FLIGHT_MAX; i++) {
    const entry = asked + i * ENTRY_BYTES;
    const token = load<u32>(entry, 16);
    const sent_ns = load<u64>(entry, 8);
    if (token == 0 || (sent_ns != LOST && now_ns < sent_ns + STATE_CLIENT_ANSWER_WAIT_NS)) continue;
    store<u32>(entry, 0, 16);
    waiting--;
    onAnswer(token, STATE_NO_ANSWER, 0);
  }
}

/** Whether the statefsd that the route leads to ended: the route is given up then. */
function peerEnded(route: Route): bool {
  if (route.handle == 0) return true;
  const outcome = sys_cap_query(route.handle, <u32>meta);
  const ended = outcome == E_DEAD || outcome == E_BAD_HANDLE || (outcome >= 0 && load<u64>(meta, 16) != load<u64>(meta, 24));
  if (ended) route.drop();
  return ended;
}

// What an OK of statefsd means to the caller.
function settled(route: Route, entry: usize): u32 {
  const resolution = load<u32>(entry, 24);
  if (load<u8>(entry, 20) == SF_OP_SYNC) {
    const lost = lazyLost(route, resolution);
    lazySynced(route, resolution);
    return lost ? STATE_LOST_ANSWER : <u32>SF_OK;
  }
  return load<u8>(entry, 21) == 0 || lazyAccepted(route, resolution) ? <u32>SF_OK : STATE_NO_ANSWER;
}

function accept(route: Route, length: u32, onAnswer: (token: u32, status: u32, sequence: u64) => void): bool {
  for (let i: u32 = 0; i < STATE_CLIENT_FRAMES_IN_FLIGHT_MAX; i++) {
    const entry = asked + i * ENTRY_BYTES;
    const token = load<u32>(entry, 16);
    if (token == 0) continue;
    if (decodeReply(SF, load<u8>(entry, 20), load<u64>(entry), replyBuffer, length, body) != REPLY_OK) continue;
    let status = <u32>load<u8>(replyBuffer + SF.replyStatusOffset);
    const sequence = status == SF_OK ? body.takeU64() : 0;
    if (!body.finished) return false;
    if (status == SF_OK) status = settled(route, entry);
    store<u32>(entry, 0, 16);
    waiting--;
    if (status == SF_OK) acknowledged++;
    onAnswer(token, status, sequence);
    return true;
  }
  return false;
}
