// SPDX-License-Identifier: Apache-2.0
// Keys as bytes: hash, equality and order, eight bytes at a time, and the arena that holds those of all entries.
// Invariant: a chunk of the arena is its entry's number u16 (NO_ENTRY once freed), length u8, key; chunks lie one behind the other. Packing
// moves live chunks down and tells `moved`. Limits: live chunks take at most keys_bytes_max; a quarter of the arena is for freed ones.
import { STATEFS_KEYS_BYTES_MAX } from "../../gen/limits";

export const NO_ENTRY: u32 = 0xffff;
export const CHUNK_HEAD_BYTES: u32 = 3;
const ARENA_BYTES: u32 = 1048576;
const arena: usize = memory.data(1048576, 16);
let used: u32 = 0;
let live: u32 = 0;

const MULTIPLIER: u64 = 0x9e3779b97f4a7c15;

/** A 32-bit hash of a key. Keys come from services that policyd let in: this spreads, it does not resist an attacker. */
export function keyHash(key: usize, length: u32): u32 {
  let hash: u64 = <u64>length * MULTIPLIER;
  const end = key + length;
  for (; key + 8 <= end; key += 8) {
    hash = (hash ^ load<u64>(key)) * MULTIPLIER;
    hash ^= hash >> 29;
  }
  let tail: u64 = 0;
  for (; key < end; key++) tail = (tail << 8) | load<u8>(key);
  hash = (hash ^ tail) * MULTIPLIER;
  return <u32>(hash >> 32);
}

export function keysEqual(a: usize, b: usize, length: u32): bool {
  const end = a + length;
  for (; a + 8 <= end; a += 8, b += 8) if (load<u64>(a) != load<u64>(b)) return false;
  for (; a < end; a++, b++) if (load<u8>(a) != load<u8>(b)) return false;
  return true;
}

/** Order of two keys by unsigned bytes, the shorter first on a common start: negative, 0 or positive. */
export function keysCompare(a: usize, aLength: u32, b: usize, bLength: u32): i32 {
  const end = a + min(aLength, bLength);
  for (; a + 8 <= end; a += 8, b += 8) {
    const left = load<u64>(a);
    const right = load<u64>(b);
    if (left != right) return bswap(left) < bswap(right) ? -1 : 1;
  }
  for (; a < end; a++, b++) {
    const left = load<u8>(a);
    const right = load<u8>(b);
    if (left != right) return left < right ? -1 : 1;
  }
  return aLength == bLength ? 0 : aLength < bLength ? -1 : 1;
}

export function arenaReset(): void {
  assert(STATEFS_KEYS_BYTES_MAX <= ARENA_BYTES / 4 * 3);
  used = 0;
  live = 0;
}
/** Bytes that live chunks take. */
export function arenaLive(): u32 { return live; }
/** Address of a key by the offset that arenaAdd returned. */
@inline export function arenaKey(offset: u32): usize { return arena + offset; }

/** Copies a key in and returns its offset; the caller has checked keys_bytes_max. `moved` learns of other keys' new offsets. */
export function arenaAdd(entry: u32, key: usize, length: u32, moved: (entry: u32, offset: u32) => void): u32 {
  const bytes = CHUNK_HEAD_BYTES + length;
  if (used + bytes > ARENA_BYTES) pack(moved);
  assert(used + bytes <= ARENA_BYTES);
  const at = arena + used;
  store<u16>(at, <u16>entry);
  store<u8>(at + 2, <u8>length);
  memory.copy(at + CHUNK_HEAD_BYTES, key, length);
  const offset = used + CHUNK_HEAD_BYTES;
  used += bytes;
  live += bytes;
  return offset;
}
/** Frees the key at an offset. */
export function arenaFree(offset: u32): void {
  const at = arena + offset - CHUNK_HEAD_BYTES;
  live -= CHUNK_HEAD_BYTES + load<u8>(at + 2);
  store<u16>(at, <u16>NO_ENTRY);
}

// At most one pass over the arena; the next one comes after a quarter of it was freed.
function pack(moved: (entry: u32, offset: u32) => void): void {
  let to: u32 = 0;
  for (let from: u32 = 0; from < used; ) {
    const bytes = CHUNK_HEAD_BYTES + <u32>load<u8>(arena + from + 2);
    const entry = <u32>load<u16>(arena + from);
    if (entry != NO_ENTRY) {
      if (to != from) {
        memory.copy(arena + to, arena + from, bytes);
        moved(entry, to + CHUNK_HEAD_BYTES);
      }
      to += bytes;
    }
    from += bytes;
  }
  used = to;
}
