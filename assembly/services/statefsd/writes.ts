// SPDX-License-Identifier: Apache-2.0
// PUT, DEL, BATCH, SYNC: checked whole, decided by policyd, staged, answered when durable (group.ts).
// Invariant: a request is refused before anything of it is staged, or staged whole: a BATCH is one atomic commit. The shape is checked
// first, then the keys, then the right (once for each capability that a BATCH needs), then the device's state, then room.
// Limits: limits.statefsd batch_items_max items a BATCH; values of SF_VALUE_BYTES_MAX bytes.
import { STATEFSD_BATCH_ITEMS_MAX } from "../../gen/limits";
import { MUT_STATEFSD_BATCH_KEEPS_HALF, MUT_STATEFSD_DEL_KEEPS, mutant } from "../../gen/mutants";
import { Request, SenderId } from "../../lib/nexus-ipc/index";
import {
  S_FAILED, S_GROUP_FULL, S_IO, S_OK, report, storeBegin, storeDel, storeEnd, storePut, storeStagedBytes,
} from "../../lib/statefs/index";
import {
  SF_ACCESS_DENIED, SF_BATCH_ITEM_HEAD_BYTES, SF_BATCH_LAZY, SF_INVALID_KEY, SF_IO, SF_MALFORMED, SF_OK, SF_OP_DEL, SF_OP_PUT,
  SF_ROLLBACK, SF_STATS_BATCHES, SF_STATS_DELS, SF_STATS_PUTS, SF_STATS_SYNCS, SF_TXN_LIMIT, SF_VALUE_BYTES_MAX, SF_VALUE_TOO_LARGE,
} from "../../lib/wire/statefsd";
import { allowed, allowedToStage, areaOf, checkKey, checkPrefix } from "./access";
import { writeStatus } from "./backing";
import { acceptLazy, answerWhenDurable, commitGroup, failGroup, stagedSequence, takeRollback } from "./group";
import { refuse, tally } from "./telemetry";

/** An empty group that is still full: the commit is larger than any group. */
const COMMITS_MAX: u32 = 2;
/** Where in a BATCH the first item of each area begins, in the order in which they are asked for. */
const firstOfArea: usize = memory.data(16, 4);
let prefixAt: usize = 0;
let prefixBytes: u32 = 0;
const defaultPrefix: usize = memory.data<u8>([47, 115, 116, 97, 116, 101, 47]);

/** The engine's answer as a status of the wire. A failed store fails the group. */
export function statusOf(outcome: i32): u32 {
  if (outcome >= 0) return SF_OK;
  if (outcome == S_IO || outcome == S_FAILED) {
    failGroup();
    return SF_IO;
  }
  if (outcome == S_GROUP_FULL) return SF_TXN_LIMIT;
  return outcome >= -17 ? <u32>-outcome : <u32>SF_IO;
}

export function onPut(request: Request): void {
  const keyLen = <u32>request.body.takeU16();
  const valueLen = request.body.takeU32();
  const key = request.body.takeBytes(keyLen);
  if (!request.body.ok) return refuse(request, SF_MALFORMED);
  const bad = checkKey(key, keyLen);
  if (bad != SF_OK) return refuse(request, bad);
  if (valueLen > SF_VALUE_BYTES_MAX) return refuse(request, SF_VALUE_TOO_LARGE);
  const value = request.body.takeBytes(valueLen);
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  if (!allowedToStage(request.sender, key, keyLen)) return refuse(request, SF_ACCESS_DENIED);
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  let outcome = storePut(key, keyLen, value, valueLen);
  if (outcome == S_GROUP_FULL) {
    if (commitGroup() != SF_OK) return refuse(request, SF_IO);
    outcome = storePut(key, keyLen, value, valueLen);
  }
  if (outcome != S_OK) return refuse(request, statusOf(outcome));
  tally(SF_STATS_PUTS);
  answerWhenDurable(request);
}

export function onDel(request: Request): void {
  const keyLen = <u32>request.body.takeU16();
  const key = request.body.takeBytes(keyLen);
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  const bad = checkKey(key, keyLen);
  if (bad != SF_OK) return refuse(request, bad);
  if (!allowedToStage(request.sender, key, keyLen)) return refuse(request, SF_ACCESS_DENIED);
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  let outcome = mutant(MUT_STATEFSD_DEL_KEEPS) ? S_OK : storeDel(key, keyLen);
  if (outcome == S_GROUP_FULL) {
    if (commitGroup() != SF_OK) return refuse(request, SF_IO);
    outcome = storeDel(key, keyLen);
  }
  if (outcome != S_OK) return refuse(request, statusOf(outcome));
  tally(SF_STATS_DELS);
  answerWhenDurable(request);
}

export function onBatch(request: Request): void {
  const count = <u32>request.body.takeU16();
  const flags = request.body.takeU16();
  const bytes = request.body.left;
  const from = request.body.takeBytes(bytes);
  if (!request.body.finished || (flags & ~SF_BATCH_LAZY) != 0 || count == 0 || count > STATEFSD_BATCH_ITEMS_MAX) {
    return refuse(request, SF_MALFORMED);
  }
  const bad = checkItems(request.sender, count, from, bytes);
  if (mutant(MUT_STATEFSD_BATCH_KEEPS_HALF) && bad == SF_INVALID_KEY) commitItems(1, from);
  if (bad != SF_OK) return refuse(request, bad);
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  const status = commitItems(count, from);
  if (status != SF_OK) return refuse(request, status);
  tally(SF_STATS_BATCHES);
  if ((flags & SF_BATCH_LAZY) != 0 && acceptLazy(request.sender)) request.answer(SF_OK).putU64(stagedSequence());
  else answerWhenDurable(request);
}

// Shape and keys of all items, then the right for each area among them. Plain loads: a frame of small puts spends its time here.
function checkItems(sender: SenderId, count: u32, from: usize, bytes: u32): u32 {
  const end = from + bytes;
  let at = from;
  let areas: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    if (<u32>(end - at) < SF_BATCH_ITEM_HEAD_BYTES) return SF_MALFORMED;
    const op = load<u8>(at);
    const keyLen = <u32>load<u8>(at, 1);
    const valueLen = <u32>load<u16>(at, 2);
    const key = at + SF_BATCH_ITEM_HEAD_BYTES;
    if (<u32>(end - key) < keyLen + valueLen) return SF_MALFORMED;
    if (op != SF_OP_PUT && (op != SF_OP_DEL || valueLen != 0)) return SF_MALFORMED;
    const bad = checkKey(key, keyLen);
    if (bad != SF_OK) return bad;
    const area: u32 = 1 << areaOf(key, keyLen);
    if ((areas & area) == 0) {
      store<u16>(firstOfArea + (popcnt(areas) << 1), <u16>(at - from));
      areas |= area;
    }
    at = key + keyLen + valueLen;
  }
  if (at != end) return SF_MALFORMED;
  const asks = popcnt(areas);
  for (let i: u32 = 0; i < asks; i++) {
    at = from + load<u16>(firstOfArea + (i << 1));
    if (!allowedToStage(sender, at + SF_BATCH_ITEM_HEAD_BYTES, load<u8>(at, 1))) return SF_ACCESS_DENIED;
  }
  return SF_OK;
}

// Items that checkItems passed.
function commitItems(count: u32, from: usize): u32 {
  let outcome: i32 = S_GROUP_FULL;
  for (let n: u32 = 0; n < COMMITS_MAX && outcome == S_GROUP_FULL; n++) {
    if (n != 0 && commitGroup() != SF_OK) return SF_IO;
    storeBegin();
    let at = from;
    for (let i: u32 = 0; i < count; i++) {
      const keyLen = <u32>load<u8>(at, 1);
      const valueLen = <u32>load<u16>(at, 2);
      const key = at + SF_BATCH_ITEM_HEAD_BYTES;
      const value = key + keyLen;
      if ((load<u8>(at) == SF_OP_PUT ? storePut(key, keyLen, value, valueLen) : storeDel(key, keyLen)) != S_OK) break;
      at = value + valueLen;
    }
    outcome = storeEnd();
  }
  return statusOf(outcome);
}

/** The optional path of SYNC and TXN_BEGIN: SF_OK with prefixOf, SF_MALFORMED, SF_KEY_TOO_LONG or SF_INVALID_KEY. */
export function takePrefix(request: Request): u32 {
  prefixAt = defaultPrefix;
  prefixBytes = 7;
  if (request.body.left == 0) return SF_OK;
  const bytes = <u32>request.body.takeU16();
  const at = request.body.takeBytes(bytes);
  if (!request.body.finished) return SF_MALFORMED;
  prefixAt = at;
  prefixBytes = bytes;
  return checkPrefix(at, bytes);
}
/** Area of the path that takePrefix took. */
export function prefixArea(): u32 {
  return areaOf(prefixAt, prefixBytes);
}
/** Whether the sender may write there. */
export function prefixAllowed(sender: SenderId): bool {
  return allowed(sender, prefixAt, prefixBytes, true);
}

export function onSync(request: Request): void {
  const bad = takePrefix(request);
  if (bad != SF_OK) return refuse(request, bad);
  if (!allowedToStage(request.sender, prefixAt, prefixBytes)) return refuse(request, SF_ACCESS_DENIED);
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  if (takeRollback(request.sender)) return refuse(request, SF_ROLLBACK);
  tally(SF_STATS_SYNCS);
  if (storeStagedBytes() == 0) request.answer(SF_OK).putU64(report.durable);
  else answerWhenDurable(request);
}
