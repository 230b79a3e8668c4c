// SPDX-License-Identifier: Apache-2.0
// Group commit: what is staged together is written once, flushed once, and only then answered.
// Invariant: an OK that promises durability leaves after storeCommit returned S_OK, never before. When it fails, every request of the group
// is answered SF_IO, and each sender of an accepted LAZY batch that was in it is told SF_ROLLBACK by its next SYNC.
// Limits: limits.statefsd group_requests_max requests waiting, group_moved_max of them as sends with a reply endpoint, group_bytes_max
// staged; lazy_senders_max senders with unsynced LAZY batches (beyond that a LAZY batch waits like any other); lazy_delay_ns until what is
// accepted is written by itself.
import {
  STATEFSD_GROUP_BYTES_MAX, STATEFSD_GROUP_MOVED_MAX, STATEFSD_GROUP_REQUESTS_MAX, STATEFSD_LAZY_DELAY_NS, STATEFSD_LAZY_SENDERS_MAX,
} from "../../gen/limits";
import { MUT_STATEFS_ACKS_BEFORE_FLUSH, mutant } from "../../gen/mutants";
import { sys_cap_close, sys_send, sys_time_ns } from "../../gen/syscalls";
import { Request, SF, SenderId, answerLater, beginAnswerLater, serverIdleSoon } from "../../lib/nexus-ipc/index";
import { S_OK, storeCommit, storeSequence, storeStagedBytes } from "../../lib/statefs/index";
import { SF_IO, SF_OK } from "../../lib/wire/statefsd";
import { backingFailed, noteLosses } from "./backing";
import { decisionsForget } from "./decisions";
import { observeGroup } from "./telemetry";

// Requests whose answer waits: {nonce u64, sequence u64, handle u32, op u8, moved u8, pad}.
const ENTRY_BYTES: u32 = 24;
const waitingEntries: usize = memory.data(STATEFSD_GROUP_REQUESTS_MAX * 24, 8);
let waiting: u32 = 0;
let movedWaiting: u32 = 0;
/** Requests handled since the first of the group was staged. */
let requestsSince: u32 = 0;

// Senders with LAZY batches that no SYNC covered yet: {id u64, lost u32, staged u32}; id 0: free. `lost`: one of them died with the device
// and its sender was not told; `staged`: one is in the group that is open now. Kept while either holds.
const LAZY_BYTES: u32 = 16;
const lazyEntries: usize = memory.data(STATEFSD_LAZY_SENDERS_MAX * 16, 8);
let lazyDue_ns: u64 = 0;

let requestsInGroup: u32 = 0;
let answersLost: u64 = 0;

/** Answers to sends that could not be delivered (those to calls are counted by the dispatcher). */
export function groupAnswersLost(): u64 {
  return answersLost;
}
/** When accepted LAZY batches are written by themselves (guest ns), 0 for never. */
export function lazyDueAt_ns(): u64 {
  return lazyDue_ns;
}

/** Sequence of the record staged last. */
export function stagedSequence(): u64 {
  return storeSequence();
}

/** Counts a request that staged something, and keeps its answer until the group is durable. */
export function answerWhenDurable(request: Request): void {
  requestsInGroup++;
  if (mutant(MUT_STATEFS_ACKS_BEFORE_FLUSH)) {
    if (lazyDue_ns == 0) lazyDue_ns = <u64>sys_time_ns() + STATEFSD_LAZY_DELAY_NS;
    request.answer(SF_OK).putU64(stagedSequence());
    return;
  }
  serverIdleSoon();
  const moved = request.replyHandle == 0;
  const handle = moved ? request.takeMoved() : request.defer();
  // A plain send: nobody hears of it.
  if (handle != 0) {
    const entry = waitingEntries + waiting * ENTRY_BYTES;
    store<u64>(entry, request.nonce);
    store<u64>(entry, stagedSequence(), 8);
    store<u32>(entry, handle, 16);
    store<u8>(entry, <u8>request.op, 20);
    store<u8>(entry, u8(moved), 21);
    waiting++;
    if (moved) movedWaiting++;
  }
  if (waiting == STATEFSD_GROUP_REQUESTS_MAX || movedWaiting == STATEFSD_GROUP_MOVED_MAX) commitGroup();
}

/** Accepts a LAZY batch: true when it may be answered now, false when it has to wait like any other. */
export function acceptLazy(sender: SenderId): bool {
  const entry = lazyEntry(sender.value, true);
  if (entry == 0) return false;
  store<u32>(entry, 1, 12);
  requestsInGroup++;
  if (lazyDue_ns == 0) lazyDue_ns = <u64>sys_time_ns() + STATEFSD_LAZY_DELAY_NS;
  return true;
}

/** Whether something that this sender was told is accepted was lost; asked once, then forgotten. What it has staged since is not. */
export function takeRollback(sender: SenderId): bool {
  const entry = lazyEntry(sender.value, false);
  if (entry == 0 || load<u32>(entry, 8) == 0) return false;
  store<u32>(entry, 0, 8);
  if (load<u32>(entry, 12) == 0) store<u64>(entry, 0);
  return true;
}

function lazyEntry(id: u64, make: bool): usize {
  let free: usize = 0;
  for (let i: u32 = 0; i < STATEFSD_LAZY_SENDERS_MAX; i++) {
    const entry = lazyEntries + i * LAZY_BYTES;
    const held = load<u64>(entry);
    if (held == id) return entry;
    if (held == 0 && free == 0) free = entry;
  }
  if (!make || free == 0) return 0;
  store<u64>(free, id);
  store<u64>(free, 0, 8);
  return free;
}

/** After a commit no accepted batch is open; after a failure each one is lost. What was lost earlier stays until its sender asks. */
function settleLazy(lost: bool): void {
  lazyDue_ns = 0;
  for (let i: u32 = 0; i < STATEFSD_LAZY_SENDERS_MAX; i++) {
    const entry = lazyEntries + i * LAZY_BYTES;
    if (load<u64>(entry) == 0) continue;
    if (lost && load<u32>(entry, 12) != 0) store<u32>(entry, 1, 8);
    store<u32>(entry, 0, 12);
    if (load<u32>(entry, 8) == 0) store<u64>(entry, 0);
  }
}

/** Makes everything staged durable and answers who waits: SF_OK or SF_IO. Does nothing when nothing is staged. */
export function commitGroup(): u32 {
  if (storeStagedBytes() == 0 && waiting == 0) return SF_OK;
  const bytes = storeStagedBytes();
  noteLosses();
  const done = storeCommit() == S_OK;
  if (done) noteLosses();
  return endGroup(done, bytes);
}

/** The store failed outside of a commit: what was staged is lost. */
export function failGroup(): void {
  endGroup(false, 0);
}

function endGroup(done: bool, bytes: u32): u32 {
  if (done) observeGroup(requestsInGroup, bytes);
  requestsInGroup = 0;
  requestsSince = 0;
  decisionsForget();
  settleLazy(!done);
  const status = done ? SF_OK : SF_IO;
  for (let i: u32 = 0; i < waiting; i++) answer(waitingEntries + i * ENTRY_BYTES, status);
  waiting = 0;
  movedWaiting = 0;
  if (!done) backingFailed();
  return status;
}

function answer(entry: usize, status: u8): void {
  const writer = beginAnswerLater(SF, load<u8>(entry, 20), status, load<u64>(entry));
  if (status == SF_OK) writer.putU64(load<u64>(entry, 8));
  const handle = load<u32>(entry, 16);
  if (load<u8>(entry, 21) == 0) {
    answerLater(handle, writer);
    return;
  }
  if (sys_send(handle, <u32>writer.base, <u64>writer.length, 0) < 0) answersLost++;
  sys_cap_close(handle);
}

/** After each request: a group does not wait for an end of the queue that never comes, nor grow past its bytes. */
export function groupStep(): void {
  const bytes = storeStagedBytes();
  if (bytes >= STATEFSD_GROUP_BYTES_MAX) commitGroup();
  else if (bytes == 0) decisionsForget();
  if (waiting == 0) return;
  requestsSince++;
  if (requestsSince >= STATEFSD_GROUP_REQUESTS_MAX) commitGroup();
}

/** The queue is empty: who waits is served. LAZY batches alone wait for lazy_delay_ns. */
export function groupIdle(): void {
  decisionsForget();
  if (waiting != 0) commitGroup();
}

/** The tick. */
export function lazyIfDue(now_ns: u64): void {
  if (lazyDue_ns != 0 && now_ns >= lazyDue_ns) commitGroup();
}
