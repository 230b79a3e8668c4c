// SPDX-License-Identifier: Apache-2.0
// The operations of profile crash: what operation N of a boot is, from seed, round and N alone. scripts/crash/model.ts says the same in
// TypeScript, and tests/nbd/crash-model.test.ts holds the two together on one list of vectors.
// Invariant: pure; operation N does not depend on what happened before it. RUN_OPS operations in a row are of one kind.
// Limits: KEYS keys; values up to VALUE_BYTES_MAX; a batch fits one message, a transaction its staging room.
import { copyLiteral } from "../../lib/bounded/text";

export const KEY_PREFIX: string = "/state/test/crash/";
export const KEYS: u32 = 64;
export const OPS_MAX: u32 = 400;
export const RUN_OPS: u32 = 4;
export const VALUE_BYTES_MAX: u32 = 65_536;
export const KIND_PUT: u32 = 0;
export const KIND_DEL: u32 = 1;
export const KIND_TXN: u32 = 2;
export const KIND_BATCH: u32 = 3;

const TXN_VALUE_BYTES_MAX: u32 = 24_000;
const BATCH_VALUE_BYTES_MAX: u32 = 900;
const ITEMS_MAX: u32 = 8;
const SALT_KIND: u32 = 0x85ebca6b;
const SALT_OP: u32 = 0xc2b2ae35;
const SALT_VALUE: u32 = 0x27d4eb2f;

const keys: usize = memory.data(32, 4);
const lengths: usize = memory.data(32, 4);
let items: u32 = 0;
let base: u32 = 0;
let random: u32 = 1;

/** xorshift32 over a mixed seed, as scripts/lib/random.ts. */
function seeded(seed: u32): void {
  random = (seed + 1) * 0x9e3779b1;
  if (random == 0) random = 1;
}
function next(): u32 {
  random ^= random << 13;
  random ^= random >> 17;
  random ^= random << 5;
  return random;
}
function below(end: u32): u32 {
  return next() % end;
}

/** Chooses the boot whose operations follow. */
export function runSeeded(seed: u32, round: u32): void {
  base = seed ^ (round * 0x9e3779b1);
}

export function kindOf(op: u32): u32 {
  seeded(base ^ ((op / RUN_OPS) * SALT_KIND));
  const kind = below(100);
  if (kind < 36) return KIND_PUT;
  if (kind < 46) return KIND_DEL;
  return kind < 54 ? KIND_TXN : KIND_BATCH;
}

/** How a run of batches is sent: 0 one after another, 1 all at once, 2 lazily with one SYNC. */
export function deliveryOf(op: u32): u32 {
  seeded(base ^ ((op / RUN_OPS) * SALT_KIND));
  next();
  return below(3);
}

function length(): u32 {
  const size = below(100);
  if (size < 50) return below(200);
  if (size < 80) return 200 + below(1000);
  if (size < 97) return 1200 + below(6000);
  return 8000 + below(VALUE_BYTES_MAX - 8000 + 1);
}

/** Reads operation `op`: its items are then opKeyAt and opLengthAt. */
export function opRead(op: u32): void {
  const kind = kindOf(op);
  seeded(base ^ (op * SALT_OP));
  items = kind == KIND_TXN ? 2 + below(3) : kind == KIND_BATCH ? 2 + below(ITEMS_MAX - 1) : 1;
  for (let i: u32 = 0; i < items; i++) {
    store<u32>(keys + 4 * i, below(KEYS));
    let bytes = <i32>length();
    if (kind == KIND_TXN) bytes = min<i32>(bytes, TXN_VALUE_BYTES_MAX);
    if (kind == KIND_BATCH) bytes = bytes % BATCH_VALUE_BYTES_MAX;
    const gone = kind == KIND_DEL || (kind > KIND_DEL && below(100) < 25);
    store<i32>(lengths + 4 * i, gone ? -1 : bytes);
  }
}

export function opItems(): u32 {
  return items;
}
export function opKeyAt(i: u32): u32 {
  return load<u32>(keys + 4 * i);
}
/** Length of the value, or -1 for a deletion. */
export function opLengthAt(i: u32): i32 {
  return load<i32>(lengths + 4 * i);
}

/** Writes key number `key` and returns its length. */
export function putKey(to: usize, key: u32): u32 {
  const bytes = copyLiteral(to, KEY_PREFIX);
  store<u8>(to + bytes, 107); // k
  store<u8>(to + bytes + 1, <u8>(48 + key / 10));
  store<u8>(to + bytes + 2, <u8>(48 + key % 10));
  return bytes + 3;
}

/** Fills `to` with the value of item `item` of operation `op`, and returns `to`. Room: VALUE_BYTES_MAX, whole words. */
export function makeValue(to: usize, op: u32, item: u32, bytes: u32): usize {
  seeded(base ^ ((op * ITEMS_MAX + item) * SALT_VALUE));
  for (let at: u32 = 0; at < bytes; at += 4) store<u32>(to + at, next());
  return to;
}
