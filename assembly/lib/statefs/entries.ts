// SPDX-License-Identifier: Apache-2.0
// One entry for each live key: where its record lies, and its place in the list of all entries in journal order, oldest first, so that
// compaction reads the journal once from its start to its end. Found by hash (open addressing, at most half full).
// Invariant: an entry is in use, hashed, listed and ordered (order.ts), or free. Limits: keys_max entries.
import { STATEFS_KEYS_MAX } from "../../gen/limits";
import { arenaAdd, arenaFree, arenaKey, arenaReset, keyHash, keysEqual, NO_ENTRY } from "./keys";
import { orderInsert, orderRemove, orderReset } from "./order";

const ENTRY_BYTES: u32 = 24;
const SLOTS: u32 = 32768;
const table: usize = memory.data(393216, 16);
const slots: usize = memory.data(65536, 16);
let count: u32 = 0;
let freeFirst: u32 = NO_ENTRY;
let unused: u32 = 0;
let oldest: u32 = NO_ENTRY;
let newest: u32 = NO_ENTRY;

/** What is known of a live key; 24 bytes. */
@unmanaged
export class Entry {
  /** its record: bytes from the start of the disk, divided by 8 */
  place: u32;
  valueLength: u32;
  keyOffset: u32;
  hash: u32;
  /** neighbours in journal order */
  before: u16;
  after: u16;
  keyLength: u8;
  /** 1: its value had rotted when compaction came by */
  lost: u8;
  spare: u16;

  get key(): usize { return arenaKey(this.keyOffset); }
}

@inline export function entryAt(index: u32): Entry { return changetype<Entry>(table + index * ENTRY_BYTES); }
export function entryCount(): u32 { return count; }
/** First in journal order, or NO_ENTRY; go on with `after`. */
export function entryOldest(): u32 { return oldest; }

export function entriesReset(): void {
  assert(STATEFS_KEYS_MAX * ENTRY_BYTES == 393216 && STATEFS_KEYS_MAX * 2 == SLOTS && STATEFS_KEYS_MAX < NO_ENTRY);
  memory.fill(slots, 0, SLOTS << 1);
  count = 0;
  freeFirst = NO_ENTRY;
  unused = 0;
  oldest = NO_ENTRY;
  newest = NO_ENTRY;
  arenaReset();
  orderReset();
}

/** Hash of the key that entryFind looked for last: entryAdd of that same key needs it again. */
let hashFound: u32 = 0;

/** The entry of a key, or NO_ENTRY. */
export function entryFind(key: usize, length: u32): u32 {
  const hash = keyHash(key, length);
  hashFound = hash;
  let slot = hash & (SLOTS - 1);
  for (let tries: u32 = 0; tries < SLOTS; tries++) {
    const held = <u32>load<u16>(slots + (slot << 1));
    if (held == 0) return NO_ENTRY;
    const entry = entryAt(held - 1);
    if (entry.hash == hash && <u32>entry.keyLength == length && keysEqual(entry.key, key, length)) return held - 1;
    slot = (slot + 1) & (SLOTS - 1);
  }
  return NO_ENTRY;
}

/** A new entry for the key that entryFind just did not find; keys_max and keys_bytes_max were checked. Newest in journal order. */
export function entryAdd(key: usize, length: u32): u32 {
  let index = freeFirst;
  if (index != NO_ENTRY) freeFirst = <u32>entryAt(index).after;
  else index = unused++;
  assert(index < STATEFS_KEYS_MAX);
  const entry = entryAt(index);
  entry.hash = hashFound;
  entry.keyLength = <u8>length;
  entry.lost = 0;
  entry.keyOffset = arenaAdd(index, key, length, (moved: u32, offset: u32) => { entryAt(moved).keyOffset = offset; });
  let slot = entry.hash & (SLOTS - 1);
  while (load<u16>(slots + (slot << 1)) != 0) slot = (slot + 1) & (SLOTS - 1);
  store<u16>(slots + (slot << 1), <u16>(index + 1));
  append(index);
  orderInsert(index);
  count++;
  return index;
}

/** Makes an entry the newest in journal order. */
export function entryTouch(index: u32): void {
  if (index == newest) return;
  unlink(index);
  append(index);
}

export function entryRemove(index: u32): void {
  orderRemove(index);
  unlink(index);
  const entry = entryAt(index);
  unhash(index, entry.hash);
  arenaFree(entry.keyOffset);
  entry.after = <u16>freeFirst;
  freeFirst = index;
  count--;
}

function append(index: u32): void {
  const entry = entryAt(index);
  entry.before = <u16>newest;
  entry.after = <u16>NO_ENTRY;
  if (newest != NO_ENTRY) entryAt(newest).after = <u16>index;
  else oldest = index;
  newest = index;
}

function unlink(index: u32): void {
  const entry = entryAt(index);
  if (<u32>entry.before != NO_ENTRY) entryAt(<u32>entry.before).after = entry.after;
  else oldest = <u32>entry.after;
  if (<u32>entry.after != NO_ENTRY) entryAt(<u32>entry.after).before = entry.before;
  else newest = <u32>entry.before;
}

// Closes the gap: each follower that the gap cuts off from its own slot moves into it. Bounded, because half of the slots are empty.
function unhash(index: u32, hash: u32): void {
  let gap = hash & (SLOTS - 1);
  while (<u32>load<u16>(slots + (gap << 1)) != index + 1) gap = (gap + 1) & (SLOTS - 1);
  let slot = gap;
  for (;;) {
    slot = (slot + 1) & (SLOTS - 1);
    const held = <u32>load<u16>(slots + (slot << 1));
    if (held == 0) break;
    const home = entryAt(held - 1).hash & (SLOTS - 1);
    if (((slot - home) & (SLOTS - 1)) < ((slot - gap) & (SLOTS - 1))) continue;
    store<u16>(slots + (gap << 1), <u16>held);
    gap = slot;
  }
  store<u16>(slots + (gap << 1), 0);
}
