// SPDX-License-Identifier: Apache-2.0
// Transactions: puts and deletions of any size, staged here and committed as one. Nothing of them is in the store before TXN_COMMIT.
// Invariant: a transaction belongs to the kernel-stamped sender that began it; any other is told SF_NOT_FOUND. What is staged is whole
// items: the pieces of a value come in order, one value at a time, and a refused piece leaves the transaction as it was. The right to write
// is asked for once for each capability, when the first item below its path is staged, and once more by COMMIT: what was allowed then may
// have been taken back since. ABORT asks for nothing: it changes nothing. COMMIT ends the transaction whatever it answers, unless it is
// SF_MALFORMED (a value is not complete yet).
// Limits: limits.statefsd txns_max at a time, txns_per_sender_max of one sender, txn_bytes_max staged bytes each; one that nobody
// touches for txn_expiry_ns is dropped and counted.
import {
  STATEFSD_TXNS_MAX, STATEFSD_TXNS_PER_SENDER_MAX, STATEFSD_TXN_BYTES_MAX, STATEFSD_TXN_EXPIRY_NS,
} from "../../gen/limits";
import { MUT_STATEFSD_ABORT_COMMITS, mutant } from "../../gen/mutants";
import { sys_time_ns } from "../../gen/syscalls";
import { Request, SenderId } from "../../lib/nexus-ipc/index";
import { S_GROUP_FULL, S_OK, storeBegin, storeDel, storeEnd, storePut } from "../../lib/statefs/index";
import {
  SF_ACCESS_DENIED, SF_IO, SF_MALFORMED, SF_NOT_FOUND, SF_OK, SF_OP_DEL, SF_OP_PUT, SF_STATS_TXNS, SF_STATS_TXNS_EXPIRED, SF_TXN_LIMIT,
  SF_VALUE_BYTES_MAX, SF_VALUE_TOO_LARGE,
} from "../../lib/wire/statefsd";
import { AREA_OTHER, allowed, allowedArea, areaOf, checkKey } from "./access";
import { writeStatus } from "./backing";
import { answerWhenDurable, commitGroup } from "./group";
import { refuse, tally } from "./telemetry";
import { prefixAllowed, prefixArea, statusOf, takePrefix } from "./writes";

const COMMITS_MAX: u32 = 2;
/** Item: {op u8, 0 u8, key_len u16, val_len u32, key, value}, filled up to 4 bytes. */
const ITEM_HEAD_BYTES: u32 = 8;

@unmanaged
class Txn {
  owner: u64;
  expires_ns: u64;
  /** 0: free */
  id: u32;
  used: u32;
  /** Where the item whose value is not complete begins, and how much of the value is there; got == total: none. */
  openAt: u32;
  got: u32;
  total: u32;
  /** Areas that policyd allowed, one bit each. */
  areas: u32;
}
const TXN_BYTES: u32 = 48;
const txns: usize = memory.data(STATEFSD_TXNS_MAX * 48, 8);
const staged: usize = memory.data(STATEFSD_TXNS_MAX * STATEFSD_TXN_BYTES_MAX, 8);
let idLast: u32 = 0;
let found: Txn = changetype<Txn>(0);
let foundStaged: usize = 0;

@inline function txnAt(index: u32): Txn {
  return changetype<Txn>(txns + index * TXN_BYTES);
}

/** The sender's transaction of that number, into `found`. */
function find(request: Request, id: u32): bool {
  for (let i: u32 = 0; i < STATEFSD_TXNS_MAX; i++) {
    const txn = txnAt(i);
    if (id == 0 || txn.id != id || txn.owner != request.sender.value) continue;
    found = txn;
    foundStaged = staged + i * STATEFSD_TXN_BYTES_MAX;
    touch(txn);
    return true;
  }
  return false;
}

function touch(txn: Txn): void {
  txn.expires_ns = <u64>sys_time_ns() + STATEFSD_TXN_EXPIRY_NS;
}

export function onTxnBegin(request: Request): void {
  assert(offsetof<Txn>() <= TXN_BYTES);
  const bad = takePrefix(request);
  if (bad != SF_OK) return refuse(request, bad);
  if (!prefixAllowed(request.sender)) return refuse(request, SF_ACCESS_DENIED);
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  const now_ns = <u64>sys_time_ns();
  txnsExpire(now_ns);
  let free: Txn = changetype<Txn>(0);
  let own: u32 = 0;
  for (let i: u32 = 0; i < STATEFSD_TXNS_MAX; i++) {
    const txn = txnAt(i);
    if (txn.id == 0) free = txn;
    else if (txn.owner == request.sender.value) own++;
  }
  if (changetype<usize>(free) == 0 || own == STATEFSD_TXNS_PER_SENDER_MAX) return refuse(request, SF_TXN_LIMIT);
  idLast = idLast == 0x7fffffff ? 1 : idLast + 1;
  free.owner = request.sender.value;
  free.id = idLast;
  free.used = 0;
  free.got = 0;
  free.total = 0;
  free.areas = 1 << prefixArea();
  touch(free);
  request.answer(SF_OK).putU32(free.id);
}

export function onTxnPut(request: Request): void {
  const id = request.body.takeU32();
  const keyLen = <u32>request.body.takeU16();
  const total = request.body.takeU32();
  const offset = request.body.takeU32();
  const length = <u32>request.body.takeU16();
  const key = request.body.takeBytes(keyLen);
  const bytes = request.body.takeBytes(length);
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  const bad = checkItem(request, id, key, keyLen);
  if (bad != SF_OK) return refuse(request, bad);
  if (total > SF_VALUE_BYTES_MAX) return refuse(request, SF_VALUE_TOO_LARGE);
  const status = offset == 0 ? firstPiece(key, keyLen, total, bytes, length) : nextPiece(key, keyLen, total, offset, bytes, length);
  if (status != SF_OK) return refuse(request, status);
  request.answer(SF_OK);
}

export function onTxnDel(request: Request): void {
  const id = request.body.takeU32();
  const keyLen = <u32>request.body.takeU16();
  const key = request.body.takeBytes(keyLen);
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  const bad = checkItem(request, id, key, keyLen);
  if (bad != SF_OK) return refuse(request, bad);
  if (found.got != found.total) return refuse(request, SF_MALFORMED);
  if (!addItem(SF_OP_DEL, key, keyLen, 0)) return refuse(request, SF_TXN_LIMIT);
  found.total = 0;
  found.got = 0;
  request.answer(SF_OK);
}

// Key, transaction, right; `found` is the sender's then.
function checkItem(request: Request, id: u32, key: usize, keyLen: u32): u32 {
  const bad = checkKey(key, keyLen);
  if (bad != SF_OK) return bad;
  if (!find(request, id)) return SF_NOT_FOUND;
  const area: u32 = 1 << areaOf(key, keyLen);
  if ((found.areas & area) == 0 && !allowed(request.sender, key, keyLen, true)) return SF_ACCESS_DENIED;
  found.areas |= area;
  return SF_OK;
}

function firstPiece(key: usize, keyLen: u32, total: u32, bytes: usize, length: u32): u32 {
  if (found.got != found.total || length > total || (length == 0 && total != 0)) return SF_MALFORMED;
  if (!addItem(SF_OP_PUT, key, keyLen, total)) return SF_TXN_LIMIT;
  found.total = total;
  found.got = length;
  memory.copy(foundStaged + found.openAt + ITEM_HEAD_BYTES + keyLen, bytes, length);
  return SF_OK;
}

function nextPiece(key: usize, keyLen: u32, total: u32, offset: u32, bytes: usize, length: u32): u32 {
  const item = foundStaged + found.openAt;
  if (found.got == found.total || total != found.total || offset != found.got) return SF_MALFORMED;
  if (length == 0 || length > total - offset) return SF_MALFORMED;
  if (<u32>load<u16>(item, 2) != keyLen || memory.compare(item + ITEM_HEAD_BYTES, key, keyLen) != 0) return SF_MALFORMED;
  memory.copy(item + ITEM_HEAD_BYTES + keyLen + offset, bytes, length);
  found.got += length;
  return SF_OK;
}

function itemBytes(keyLen: u32, valueLen: u32): u32 {
  return (ITEM_HEAD_BYTES + keyLen + valueLen + 3) & ~3;
}

// Room for a whole item is taken when it begins.
function addItem(op: u8, key: usize, keyLen: u32, valueLen: u32): bool {
  const bytes = itemBytes(keyLen, valueLen);
  if (bytes > STATEFSD_TXN_BYTES_MAX - found.used) return false;
  const item = foundStaged + found.used;
  store<u8>(item, op);
  store<u8>(item, 0, 1);
  store<u16>(item, <u16>keyLen, 2);
  store<u32>(item, valueLen, 4);
  memory.copy(item + ITEM_HEAD_BYTES, key, keyLen);
  found.openAt = found.used;
  found.used += bytes;
  return true;
}

export function onTxnCommit(request: Request): void {
  const id = request.body.takeU32();
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  if (!find(request, id)) return refuse(request, SF_NOT_FOUND);
  if (found.got != found.total) return refuse(request, SF_MALFORMED);
  found.id = 0;
  if (!stillAllowed(request.sender)) return refuse(request, SF_ACCESS_DENIED);
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  const status = commitFound();
  if (status != SF_OK) return refuse(request, status);
  tally(SF_STATS_TXNS);
  answerWhenDurable(request);
}

// Whether the owner may write in each area of `found` now; a denial is logged with the first path there.
function stillAllowed(owner: SenderId): bool {
  for (let area: u32 = 0; area <= AREA_OTHER; area++) {
    if ((found.areas & (1 << area)) == 0) continue;
    const item = firstItem(area);
    if (item == 0) {
      if (!allowedArea(owner, area)) return false;
    } else if (!allowed(owner, item + ITEM_HEAD_BYTES, load<u16>(item, 2), true)) {
      return false;
    }
  }
  return true;
}

// The first item whose key lies in the area, 0 for none.
function firstItem(area: u32): usize {
  for (let at: u32 = 0; at < found.used; ) {
    const item = foundStaged + at;
    const keyLen = <u32>load<u16>(item, 2);
    if (areaOf(item + ITEM_HEAD_BYTES, keyLen) == area) return item;
    at += itemBytes(keyLen, load<u32>(item, 4));
  }
  return 0;
}

function commitFound(): u32 {
  let outcome: i32 = S_GROUP_FULL;
  for (let n: u32 = 0; n < COMMITS_MAX && outcome == S_GROUP_FULL; n++) {
    if (n != 0 && commitGroup() != SF_OK) return SF_IO;
    storeBegin();
    for (let at: u32 = 0; at < found.used; ) {
      const item = foundStaged + at;
      const keyLen = <u32>load<u16>(item, 2);
      const valueLen = load<u32>(item, 4);
      const key = item + ITEM_HEAD_BYTES;
      const one = load<u8>(item) == SF_OP_PUT ? storePut(key, keyLen, key + keyLen, valueLen) : storeDel(key, keyLen);
      if (one != S_OK) break;
      at += itemBytes(keyLen, valueLen);
    }
    outcome = storeEnd();
  }
  return statusOf(outcome);
}

export function onTxnAbort(request: Request): void {
  const id = request.body.takeU32();
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  if (!find(request, id)) return refuse(request, SF_NOT_FOUND);
  found.id = 0;
  if (mutant(MUT_STATEFSD_ABORT_COMMITS)) commitFound();
  request.answer(SF_OK);
}

/** Drops what nobody touched in time. */
export function txnsExpire(now_ns: u64): void {
  for (let i: u32 = 0; i < STATEFSD_TXNS_MAX; i++) {
    const txn = txnAt(i);
    if (txn.id == 0 || now_ns < txn.expires_ns) continue;
    txn.id = 0;
    tally(SF_STATS_TXNS_EXPIRED);
  }
}

/** When the next one expires (guest ns), 0 for none. */
export function txnsDue_ns(): u64 {
  let due_ns: u64 = 0;
  for (let i: u32 = 0; i < STATEFSD_TXNS_MAX; i++) {
    const txn = txnAt(i);
    if (txn.id != 0 && (due_ns == 0 || txn.expires_ns < due_ns)) due_ns = txn.expires_ns;
  }
  return due_ns;
}
