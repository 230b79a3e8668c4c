// SPDX-License-Identifier: Apache-2.0
// Arithmetic modulo p = 2^255 - 19. A number is ten signed limbs of 26 bits (weight 2^(26 i)) in i64, 80 bytes, placed by the owner.
// Since 2^260 = 32 * 2^255 = 608 modulo p, what a product puts beyond the tenth limb comes back times 608.
// Invariant: feMul leaves limbs in [0, 2^26], but the first two may pass 2^26 by a few. It takes limbs below 2^29 in size (ten products
// of 2^58 stay below 2^62), so up to three sums or differences of products may be put together without a carry.
// No branch and no address depends on a value. Limit: static scratch, so one operation at a time.
import { wipe } from "./constant";

export const FE_BYTES: u32 = 80;
export const FE_ENCODED_BYTES: u32 = 32;
const LIMBS: u32 = 10;
const MASK: i64 = 0x3ffffff;
const TOP_BITS: i64 = 21;
const TOP_MASK: i64 = 0x1fffff;
const FOLD: i64 = 608;
// Columns of a product: 19, and what the last one carries.
const column: usize = memory.data(160, 16);
const scratch: usize = memory.data(80, 16);
const bytesPadded: usize = memory.data(40, 8);
const power: usize = memory.data(400, 16);

@inline
export function feCopy(to: usize, from: usize): void {
  memory.copy(to, from, FE_BYTES);
}
/** A small non-negative number. */
export function feSmall(to: usize, value: i64): void {
  memory.fill(to, 0, FE_BYTES);
  store<i64>(to, value);
}
export function feAdd(to: usize, a: usize, b: usize): void {
  for (let at: u32 = 0; at < FE_BYTES; at += 8) store<i64>(to + at, load<i64>(a + at) + load<i64>(b + at));
}
export function feSub(to: usize, a: usize, b: usize): void {
  for (let at: u32 = 0; at < FE_BYTES; at += 8) store<i64>(to + at, load<i64>(a + at) - load<i64>(b + at));
}
/** `to` becomes `from` where mask is all ones, and stays where it is 0. */
export function feMove(to: usize, from: usize, mask: i64): void {
  for (let at: u32 = 0; at < FE_BYTES; at += 8) {
    store<i64>(to + at, (load<i64>(from + at) & mask) | (load<i64>(to + at) & ~mask));
  }
}

/** to = a * b; all three may be the same. */
export function feMul(to: usize, a: usize, b: usize): void {
  const b0 = load<i64>(b), b1 = load<i64>(b, 8), b2 = load<i64>(b, 16), b3 = load<i64>(b, 24), b4 = load<i64>(b, 32);
  const b5 = load<i64>(b, 40), b6 = load<i64>(b, 48), b7 = load<i64>(b, 56), b8 = load<i64>(b, 64), b9 = load<i64>(b, 72);
  memory.fill(column, 0, 160);
  for (let i: u32 = 0; i < FE_BYTES; i += 8) {
    const factor = load<i64>(a + i);
    const at = column + i;
    store<i64>(at, load<i64>(at) + factor * b0);
    store<i64>(at, load<i64>(at, 8) + factor * b1, 8);
    store<i64>(at, load<i64>(at, 16) + factor * b2, 16);
    store<i64>(at, load<i64>(at, 24) + factor * b3, 24);
    store<i64>(at, load<i64>(at, 32) + factor * b4, 32);
    store<i64>(at, load<i64>(at, 40) + factor * b5, 40);
    store<i64>(at, load<i64>(at, 48) + factor * b6, 48);
    store<i64>(at, load<i64>(at, 56) + factor * b7, 56);
    store<i64>(at, load<i64>(at, 64) + factor * b8, 64);
    store<i64>(at, load<i64>(at, 72) + factor * b9, 72);
  }
  let over: i64 = 0;
  for (let at: u32 = 0; at < 152; at += 8) {
    const value = load<i64>(column + at) + over;
    store<i64>(column + at, value & MASK);
    over = value >> 26;
  }
  store<i64>(column, over, 152);
  over = 0;
  for (let at: u32 = 0; at < FE_BYTES; at += 8) {
    const value = load<i64>(column + at) + FOLD * load<i64>(column + at, FE_BYTES) + over;
    store<i64>(to + at, value & MASK);
    over = value >> 26;
  }
  const first = load<i64>(to) + FOLD * over;
  store<i64>(to, first & MASK);
  store<i64>(to, load<i64>(to, 8) + (first >> 26), 8);
}

export function feSquare(to: usize, a: usize): void {
  feMul(to, a, a);
}
// to = a^(2^times)
function squares(to: usize, a: usize, times: u32): void {
  feMul(to, a, a);
  for (let n: u32 = 1; n < times; n++) feMul(to, to, to);
}

// power + 0: z^11, + 80: z^(2^250 - 1); both exponents are public.
function chain(z: usize): void {
  const eleven = power, all = power + 80, one = power + 160, two = power + 240, three = power + 320;
  feSquare(one, z);
  squares(two, one, 2);
  feMul(two, two, z);
  feMul(eleven, two, one);
  feSquare(one, eleven);
  feMul(one, one, two);
  // `one` is z^(2^5 - 1); each step below doubles the length of the run of ones.
  squares(two, one, 5);
  feMul(two, two, one);
  squares(three, two, 10);
  feMul(three, three, two);
  squares(all, three, 20);
  feMul(three, all, three);
  squares(three, three, 10);
  feMul(three, three, two);
  // `three` is z^(2^50 - 1).
  squares(one, three, 50);
  feMul(one, one, three);
  squares(all, one, 100);
  feMul(all, all, one);
  squares(all, all, 50);
  feMul(all, all, three);
}

/** to = a^(p - 2), the inverse; of 0 it is 0. */
export function feInvert(to: usize, a: usize): void {
  chain(a);
  squares(to, power + 80, 5);
  feMul(to, to, power);
  wipe(power, 400);
}
/** to = a^((p - 5) / 8), on the way to a square root; `to` is not `a`. */
export function fePow58(to: usize, a: usize): void {
  chain(a);
  squares(to, power + 80, 2);
  feMul(to, to, a);
  wipe(power, 400);
}

// One pass of carries over `scratch`, the last one back to the first.
function pass(): void {
  let over: i64 = 0;
  for (let at: u32 = 0; at < FE_BYTES; at += 8) {
    const value = load<i64>(scratch + at) + over;
    store<i64>(scratch + at, value & MASK);
    over = value >> 26;
  }
  store<i64>(scratch, load<i64>(scratch) + FOLD * over);
}

/** The one encoding of a number: 32 bytes, little-endian, below p (RFC 8032 section 5.1.2). */
export function feEncode(to: usize, a: usize): void {
  feCopy(scratch, a);
  // After three passes the value is in [0, 2^260), whatever signs the limbs had; the fourth makes every limb its digit.
  for (let n: u32 = 0; n < 4; n++) pass();
  const top = load<i64>(scratch, 72);
  store<i64>(scratch, top & TOP_MASK, 72);
  store<i64>(scratch, load<i64>(scratch) + 19 * (top >> TOP_BITS));
  pass();
  // Now below 2 p: it is p or more exactly if adding 19 reaches 2^255.
  let over: i64 = 19;
  for (let at: u32 = 0; at < 72; at += 8) over = (load<i64>(scratch + at) + over) >> 26;
  const reach = (load<i64>(scratch, 72) + over) >> TOP_BITS;
  store<i64>(scratch, load<i64>(scratch) + 19 * reach);
  pass();
  store<i64>(scratch, load<i64>(scratch, 72) & TOP_MASK, 72);
  memory.fill(bytesPadded, 0, 40);
  for (let n: u32 = 0; n < LIMBS; n++) {
    const bit = n * 26;
    const at = bytesPadded + (bit >> 3);
    store<u64>(at, load<u64>(at) | (load<u64>(scratch + (n << 3)) << <u64>(bit & 7)));
  }
  memory.copy(to, bytesPadded, FE_ENCODED_BYTES);
  wipe(scratch, FE_BYTES);
  wipe(bytesPadded, 40);
}

/** Reads 32 bytes; the highest bit is not part of the number. */
export function feDecode(to: usize, from: usize): void {
  memory.fill(bytesPadded, 0, 40);
  memory.copy(bytesPadded, from, FE_ENCODED_BYTES);
  for (let n: u32 = 0; n < LIMBS; n++) {
    const bit = n * 26;
    const word = load<u64>(bytesPadded + (bit >> 3)) >> <u64>(bit & 7);
    store<i64>(to + (n << 3), <i64>word & (n == LIMBS - 1 ? TOP_MASK : MASK));
  }
  wipe(bytesPadded, 40);
}
