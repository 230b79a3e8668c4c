// SPDX-License-Identifier: Apache-2.0
// All entries in key order: blocks of sorted entry numbers, and a directory of the blocks. Two binary searches and one short move a change.
// Invariant: no block is empty. A removal joins neighbours that fit into BLOCK_MERGED together and a split leaves halves, so two neighbours
// always hold more than half a block, and the number of blocks stays within BLOCKS.
import { STATEFS_KEYS_MAX } from "../../gen/limits";
import { entryAt } from "./entries";
import { keysCompare, NO_ENTRY } from "./keys";

const BLOCK_ENTRIES: u32 = 128;
const BLOCK_MERGED: u32 = 96;
/** count u16, then the numbers */
const BLOCK_BYTES: u32 = 258;
/** Half a block and its neighbour hold at least 65: keys_max * 2 / 65 blocks, and two more for the ends and a split. */
const BLOCKS: u32 = 508;
const blocks: usize = memory.data(131064, 16);
const directory: usize = memory.data(1016, 8);
const spare: usize = memory.data(1016, 8);
let blockCount: u32 = 0;
let spareCount: u32 = 0;

@inline function blockOf(place: u32): usize { return blocks + <usize>load<u16>(directory + (place << 1)) * BLOCK_BYTES; }
@inline function countOf(block: usize): u32 { return <u32>load<u16>(block); }
@inline function numberAt(block: usize, index: u32): u32 { return <u32>load<u16>(block + 2 + (index << 1)); }

export function orderReset(): void {
  assert(STATEFS_KEYS_MAX * 2 / (BLOCK_ENTRIES / 2 + 1) + 2 <= BLOCKS);
  blockCount = 0;
  spareCount = BLOCKS;
  for (let i: u32 = 0; i < BLOCKS; i++) store<u16>(spare + (i << 1), <u16>i);
}

function compareAt(block: usize, index: u32, key: usize, length: u32): i32 {
  const entry = entryAt(numberAt(block, index));
  return keysCompare(entry.key, <u32>entry.keyLength, key, length);
}
/** The last block whose first key is not above `key`; 0 when all are. */
function findBlock(key: usize, length: u32): u32 {
  let low: u32 = 0;
  let high = blockCount;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (compareAt(blockOf(middle), 0, key, length) <= 0) low = middle;
    else high = middle;
  }
  return low;
}
/** Index in the block of the first key that is not below `key` (or, with `after`, that is above it). */
function findIndex(block: usize, key: usize, length: u32, after: bool): u32 {
  let low: u32 = 0;
  let high = countOf(block);
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = compareAt(block, middle, key, length);
    if (order < 0 || (after && order == 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Where the last insertion went: keys often come in order, and then three comparisons tell that the next one belongs behind it.
let fingerBlock: u32 = 0;
let fingerIndex: u32 = 0;
/** Whether `key` belongs right behind the finger. A change elsewhere may leave it anywhere: it is checked, never believed. */
function fingerHolds(key: usize, length: u32): bool {
  if (fingerBlock >= blockCount) return false;
  const block = blockOf(fingerBlock);
  const count = countOf(block);
  if (fingerIndex >= count || count == BLOCK_ENTRIES || compareAt(block, fingerIndex, key, length) >= 0) return false;
  if (fingerIndex + 1 < count) return compareAt(block, fingerIndex + 1, key, length) > 0;
  return fingerBlock + 1 == blockCount || compareAt(blockOf(fingerBlock + 1), 0, key, length) > 0;
}

export function orderInsert(index: u32): void {
  const entry = entryAt(index);
  const key = entry.key;
  const length = <u32>entry.keyLength;
  if (fingerHolds(key, length)) {
    fingerIndex++;
    return insertAt(blockOf(fingerBlock), fingerIndex, index);
  }
  if (blockCount == 0) openBlock(0);
  let place = findBlock(key, length);
  let block = blockOf(place);
  if (countOf(block) == BLOCK_ENTRIES) {
    split(place);
    place = findBlock(key, length);
    block = blockOf(place);
  }
  fingerBlock = place;
  fingerIndex = findIndex(block, key, length, false);
  insertAt(block, fingerIndex, index);
}
function insertAt(block: usize, at: u32, index: u32): void {
  const from = block + 2 + (at << 1);
  const count = countOf(block);
  memory.copy(from + 2, from, (count - at) << 1);
  store<u16>(from, <u16>index);
  store<u16>(block, <u16>(count + 1));
}

export function orderRemove(index: u32): void {
  const entry = entryAt(index);
  const place = findBlock(entry.key, <u32>entry.keyLength);
  const block = blockOf(place);
  const at = findIndex(block, entry.key, <u32>entry.keyLength, false);
  assert(numberAt(block, at) == index);
  const from = block + 2 + (at << 1);
  const count = countOf(block) - 1;
  memory.copy(from, from + 2, (count - at) << 1);
  store<u16>(block, <u16>count);
  if (count == 0) closeBlock(place);
  else if (place + 1 < blockCount && count + countOf(blockOf(place + 1)) <= BLOCK_MERGED) merge(place);
  else if (place > 0 && count + countOf(blockOf(place - 1)) <= BLOCK_MERGED) merge(place - 1);
}

/** First entry above `key` (length 0: the very first), or NO_ENTRY. The place is kept for orderNext. */
export function orderAfter(key: usize, length: u32): u32 {
  cursorBlock = 0;
  cursorIndex = 0;
  if (blockCount == 0) return NO_ENTRY;
  if (length != 0) {
    cursorBlock = findBlock(key, length);
    cursorIndex = findIndex(blockOf(cursorBlock), key, length, true);
  }
  return here();
}
/** First entry that is not below `key`. */
export function orderFrom(key: usize, length: u32): u32 {
  cursorBlock = 0;
  cursorIndex = 0;
  if (blockCount == 0) return NO_ENTRY;
  cursorBlock = findBlock(key, length);
  cursorIndex = findIndex(blockOf(cursorBlock), key, length, false);
  return here();
}
/** The entry after the one that orderAfter, orderFrom or orderNext gave last; valid until the next change. */
export function orderNext(): u32 {
  cursorIndex++;
  return here();
}
let cursorBlock: u32 = 0;
let cursorIndex: u32 = 0;
function here(): u32 {
  if (cursorBlock >= blockCount) return NO_ENTRY;
  if (cursorIndex == countOf(blockOf(cursorBlock))) {
    cursorBlock++;
    cursorIndex = 0;
  }
  return cursorBlock < blockCount ? numberAt(blockOf(cursorBlock), cursorIndex) : NO_ENTRY;
}

function openBlock(place: u32): void {
  assert(spareCount != 0);
  spareCount--;
  const number = load<u16>(spare + (spareCount << 1));
  const at = directory + (place << 1);
  memory.copy(at + 2, at, (blockCount - place) << 1);
  store<u16>(at, number);
  blockCount++;
  store<u16>(blockOf(place), 0);
}
function closeBlock(place: u32): void {
  const at = directory + (place << 1);
  store<u16>(spare + (spareCount << 1), load<u16>(at));
  spareCount++;
  blockCount--;
  memory.copy(at, at + 2, (blockCount - place) << 1);
}
function split(place: u32): void {
  openBlock(place + 1);
  const left = blockOf(place);
  const right = blockOf(place + 1);
  memory.copy(right + 2, left + 2 + BLOCK_ENTRIES, BLOCK_ENTRIES);
  store<u16>(left, <u16>(BLOCK_ENTRIES / 2));
  store<u16>(right, <u16>(BLOCK_ENTRIES / 2));
}
/** Takes the next block's entries over. */
function merge(place: u32): void {
  const left = blockOf(place);
  const right = blockOf(place + 1);
  const count = countOf(left);
  const more = countOf(right);
  memory.copy(left + 2 + (count << 1), right + 2, more << 1);
  store<u16>(left, <u16>(count + more));
  closeBlock(place + 1);
}
