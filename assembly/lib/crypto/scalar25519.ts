// SPDX-License-Identifier: Apache-2.0
// Arithmetic modulo the order L of edwards25519's base point (RFC 8032 section 5.1), little-endian, eight words of 32 bits.
// Reduction goes bit by bit: twice the remainder plus the next bit, minus L where that is not negative, chosen by a mask. 512 short
// steps, about 50,000 instructions: small beside a point multiplication, and plainly right.
// Invariant: no branch or address depends on a value; scratch is wiped.
import { wipe } from "./constant";

const WORDS_BYTES: u32 = 32;
export const SCALAR_BYTES: u32 = 32;
const WIDE_BYTES: u32 = 64;
// L = 2^252 + 27742317777372353535851937790883648493
const L: usize = memory.data<u32>([
  0x5cf5d3ed, 0x5812631a, 0xa2f79cd6, 0x14def9de, 0x00000000, 0x00000000, 0x00000000, 0x10000000,
]);
const rest: usize = memory.data(32, 8);
const less: usize = memory.data(32, 8);
const wide: usize = memory.data(72, 8);

/** to = the 64-byte number at `from` modulo L. */
export function scalarReduce(to: usize, from: usize): void {
  memory.fill(rest, 0, WORDS_BYTES);
  for (let n: u32 = 0; n < 512; n++) {
    const place = 511 - n;
    let over = <u64>((load<u8>(from + (place >> 3)) >> <u8>(place & 7)) & 1);
    let borrow: u64 = 0;
    for (let at: u32 = 0; at < WORDS_BYTES; at += 4) {
      const word = (<u64>load<u32>(rest + at) << 1) | over;
      over = word >> 32;
      store<u32>(rest + at, <u32>word);
      const left = (word & 0xffffffff) - <u64>load<u32>(L + at) - borrow;
      borrow = left >> 63;
      store<u32>(less + at, <u32>left);
    }
    // The remainder was below L < 2^253, so its double fits 256 bits. `keep`: the subtraction went below zero.
    const keep = <u32>(0 - borrow);
    for (let at: u32 = 0; at < WORDS_BYTES; at += 4) {
      store<u32>(rest + at, (load<u32>(rest + at) & keep) | (load<u32>(less + at) & ~keep));
    }
  }
  memory.copy(to, rest, SCALAR_BYTES);
  wipe(rest, WORDS_BYTES);
  wipe(less, WORDS_BYTES);
}

/** to = (a * b + c) modulo L, for 32-byte numbers of any value. */
export function scalarMulAdd(to: usize, a: usize, b: usize, c: usize): void {
  memory.fill(wide, 0, 72);
  memory.copy(wide, c, SCALAR_BYTES);
  for (let i: u32 = 0; i < WORDS_BYTES; i += 4) {
    const factor = <u64>load<u32>(a + i);
    let over: u64 = 0;
    for (let j: u32 = 0; j < WORDS_BYTES; j += 4) {
      const sum = factor * <u64>load<u32>(b + j) + <u64>load<u32>(wide + i + j) + over;
      store<u32>(wide + i + j, <u32>sum);
      over = sum >> 32;
    }
    // Above this word only earlier rounds carried: (2^256 - 1)^2 + 2^256 - 1 < 2^512.
    const sum = <u64>load<u32>(wide + i + WORDS_BYTES) + over;
    store<u32>(wide + i + WORDS_BYTES, <u32>sum);
    store<u32>(wide + i + WORDS_BYTES + 4, load<u32>(wide + i + WORDS_BYTES + 4) + <u32>(sum >> 32));
  }
  scalarReduce(to, wide);
  wipe(wide, 72);
}

/** Whether the 32-byte number is below L: what RFC 8032 section 5.1.7 wants of a signature's second half. Public data. */
export function scalarIsReduced(at: usize): bool {
  let borrow: u64 = 0;
  for (let i: u32 = 0; i < WORDS_BYTES; i += 4) borrow = (<u64>load<u32>(at + i) - <u64>load<u32>(L + i) - borrow) >> 63;
  return borrow != 0;
}
