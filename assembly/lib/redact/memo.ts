// SPDX-License-Identifier: Apache-2.0
// A memory of judged keys: producers repeat the same few keys for ever, and judging one costs hundreds of instructions.
//
// Invariant: the answer is what classifyKey would say: an entry is the whole key (up to 16 bytes, its length beside it), and a key whose
// judgement depends on its value is never remembered.
// Limits: KEYS_MAX keys of at most KEY_BYTES_MAX bytes; a key takes the place of the one that shares its hash.
import { SHAPE_BYTES_MIN } from "./scan";
import { isTokenByte } from "./shapes";
import { classifyKey, judgedByValue } from "./taxonomy";

const KEYS_MAX: u32 = 64;
const KEY_BYTES_MAX: u32 = 16;
const HASH_SHIFT: u64 = 58; // leaves 0 .. KEYS_MAX - 1

/** In the result of judgeKey beside KEY_*: the key is one token and too short for any value shape. */
export const KEY_IS_TOKEN: u32 = 4;
export const KEY_CLASS_MASK: u32 = 3;

/** First eight bytes u64, last eight bytes u64, length u32 (0: empty), result u32. */
const ENTRY_BYTES: u32 = 24;
const entries: usize = memory.data(1536, 8);
assert(KEYS_MAX * ENTRY_BYTES == 1536);

/** classifyKey, with KEY_IS_TOKEN. */
export function judgeKey(key: usize, len: u32, value: usize, valueLen: u32): u32 {
  if (len == 0 || len > KEY_BYTES_MAX) return judge(key, len, value, valueLen);
  let first: u64;
  let last: u64 = 0;
  if (len >= 8) {
    first = load<u64>(key);
    last = load<u64>(key + len - 8);
  } else if (len >= 4) {
    first = <u64>load<u32>(key) | (<u64>load<u32>(key + len - 4) << 32);
  } else {
    first = <u64>load<u8>(key) | (<u64>load<u8>(key + (len >> 1)) << 8) | (<u64>load<u8>(key + len - 1) << 16);
  }
  const hash = ((first ^ (last << 1) ^ len) * 0x9e3779b97f4a7c15) >> HASH_SHIFT;
  const entry = entries + <usize>hash * ENTRY_BYTES;
  if (load<u64>(entry) == first && load<u64>(entry, 8) == last && load<u32>(entry, 16) == len) return load<u32>(entry, 20);
  const result = judge(key, len, value, valueLen);
  if (!judgedByValue) {
    store<u64>(entry, first);
    store<u64>(entry, last, 8);
    store<u32>(entry, len, 16);
    store<u32>(entry, result, 20);
  }
  return result;
}

function judge(key: usize, len: u32, value: usize, valueLen: u32): u32 {
  const result = classifyKey(key, len, value, valueLen);
  return isToken(key, len) ? result | KEY_IS_TOKEN : result;
}

function isToken(key: usize, len: u32): bool {
  if (len >= SHAPE_BYTES_MIN) return false;
  for (let i: u32 = 0; i < len; i++) if (!isTokenByte(<u32>load<u8>(key + i))) return false;
  return true;
}
