// SPDX-License-Identifier: Apache-2.0
// Points of -x^2 + y^2 = 1 + d x^2 y^2 modulo p (RFC 8032 section 5.1), in extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z,
// x y = T/Z: four field numbers in a row, 320 bytes. Formulas: RFC 8032 section 5.1.4, complete for every pair of points.
// Invariant: pointMultiply takes the same steps and touches the same addresses for every scalar: four doublings and one addition a
// nibble, the addend picked by masks from all sixteen multiples.
// Limit: static scratch, so one operation at a time.
import { maskEqual, wipe } from "./constant";
import {
  FE_BYTES, FE_ENCODED_BYTES, feAdd, feCopy, feDecode, feEncode, feInvert, feMove, feMul, fePow58, feSmall, feSquare, feSub,
} from "./field25519";

export const POINT_BYTES: u32 = 320;
export const POINT_ENCODED_BYTES: u32 = 32;
const Y: u32 = 80;
const Z: u32 = 160;
const T: u32 = 240;
const TABLE_POINTS: u32 = 16;
// d = -121665 / 121666, its double, and a square root of -1, all modulo p.
const D: usize = memory.data<i64>([
  0x35978a3, 0x2d37284, 0x18ab75e, 0x1350507, 0x000700a, 0x1de7a26, 0x0740797, 0x3f9ce33, 0x0ee2b6f, 0x01480db,
]);
const D2: usize = memory.data<i64>([
  0x2b2f159, 0x1a6e509, 0x3156ebd, 0x26a0a0e, 0x000e014, 0x3bcf44c, 0x0e80f2e, 0x3f39c66, 0x1dc56df, 0x00901b6,
]);
const SQRT_M1: usize = memory.data<i64>([
  0x20ea0b0, 0x386c9d2, 0x2478c4e, 0x01ab4bf, 0x32f4318, 0x37ef5e9, 0x0d00993, 0x37c2cad, 0x0804fc1, 0x00ae0c9,
]);
// The base point: y = 4/5, x even.
const BASE_X: usize = memory.data<i64>([
  0x325d51a, 0x18b5823, 0x27b2c95, 0x1825496, 0x0692cc7, 0x375b717, 0x24e231f, 0x14ffb02, 0x2d3cd6e, 0x0085a4d,
]);
const BASE_Y: usize = memory.data<i64>([
  0x2666658, 0x1999999, 0x2666666, 0x1999999, 0x2666666, 0x1999999, 0x2666666, 0x1999999, 0x2666666, 0x0199999,
]);
// Eight field numbers of scratch, and sixteen multiples with the one picked.
const s: usize = memory.data(640, 16);
const table: usize = memory.data(5120, 16);
const picked: usize = memory.data(320, 16);
const sum: usize = memory.data(320, 16);
const encoded: usize = memory.data(64, 8);

/** The neutral element. */
export function pointZero(to: usize): void {
  memory.fill(to, 0, POINT_BYTES);
  store<i64>(to, 1, Y);
  store<i64>(to, 1, Z);
}
export function pointBase(to: usize): void {
  feCopy(to, BASE_X);
  feCopy(to + Y, BASE_Y);
  feSmall(to + Z, 1);
  feMul(to + T, BASE_X, BASE_Y);
}
/** to = -a. */
export function pointNegate(to: usize, a: usize): void {
  feSmall(s, 0);
  feSub(to, s, a);
  feCopy(to + Y, a + Y);
  feCopy(to + Z, a + Z);
  feSub(to + T, s, a + T);
}

// From E, F, G, H in s + 320 ..: X = E F, Y = G H, Z = F G, T = E H.
function finish(to: usize): void {
  const e = s + 320, f = s + 400, g = s + 480, h = s + 560;
  feMul(to, e, f);
  feMul(to + Y, g, h);
  feMul(to + Z, f, g);
  feMul(to + T, e, h);
}

/** to = a + b; all three may be the same. */
export function pointAdd(to: usize, a: usize, b: usize): void {
  const s1 = s + 80, s2 = s + 160, s3 = s + 240;
  feSub(s, a + Y, a);
  feSub(s1, b + Y, b);
  feMul(s, s, s1);
  feAdd(s1, a + Y, a);
  feAdd(s2, b + Y, b);
  feMul(s1, s1, s2);
  feMul(s2, a + T, b + T);
  feMul(s2, s2, D2);
  feMul(s3, a + Z, b + Z);
  feAdd(s3, s3, s3);
  feSub(s + 320, s1, s);
  feSub(s + 400, s3, s2);
  feAdd(s + 480, s3, s2);
  feAdd(s + 560, s1, s);
  finish(to);
}

/** to = 2 a; both may be the same. */
export function pointDouble(to: usize, a: usize): void {
  const s1 = s + 80, s2 = s + 160, s3 = s + 240;
  feSquare(s, a);
  feSquare(s1, a + Y);
  feSquare(s2, a + Z);
  feAdd(s2, s2, s2);
  feAdd(s3, a, a + Y);
  feSquare(s3, s3);
  // E = H - (X + Y)^2, G = A - B, F = C + G, H = A + B
  feAdd(s + 560, s, s1);
  feSub(s + 320, s + 560, s3);
  feSub(s + 480, s, s1);
  feAdd(s + 400, s2, s + 480);
  finish(to);
}

/** to = scalar * a for a 32-byte little-endian scalar; `to` may be `a`. */
export function pointMultiply(to: usize, scalar: usize, a: usize): void {
  pointZero(table);
  for (let n: u32 = 1; n < TABLE_POINTS; n++) pointAdd(table + n * POINT_BYTES, table + (n - 1) * POINT_BYTES, a);
  pointZero(sum);
  for (let n: u32 = 0; n < 64; n++) {
    const place = 63 - n;
    const nibble = (load<u8>(scalar + (place >> 1)) >> <u8>((place & 1) << 2)) & 15;
    for (let i: u32 = 0; i < 4; i++) pointDouble(sum, sum);
    for (let i: u32 = 0; i < TABLE_POINTS; i++) {
      const mask = <i64>maskEqual(i, nibble);
      for (let part: u32 = 0; part < POINT_BYTES; part += FE_BYTES) feMove(picked + part, table + i * POINT_BYTES + part, mask);
    }
    pointAdd(sum, sum, picked);
  }
  memory.copy(to, sum, POINT_BYTES);
  wipe(sum, POINT_BYTES);
  wipe(picked, POINT_BYTES);
  wipe(table, TABLE_POINTS * POINT_BYTES);
  wipe(s, 640);
}

/** y in 255 bits, the lowest bit of x above it (RFC 8032 section 5.1.2). */
export function pointEncode(to: usize, a: usize): void {
  feInvert(s, a + Z);
  feMul(s + 80, a, s);
  feMul(s + 160, a + Y, s);
  feEncode(encoded, s + 80);
  feEncode(to, s + 160);
  store<u8>(to, load<u8>(to, 31) | (load<u8>(encoded) << 7), 31);
  wipe(s, 240);
  wipe(encoded, FE_ENCODED_BYTES);
}

// Whether two field numbers are equal. For public data.
function equal(a: usize, b: usize): bool {
  feEncode(encoded, a);
  feEncode(encoded + 32, b);
  return memory.compare(encoded, encoded + 32, FE_ENCODED_BYTES) == 0;
}

/** The point of an encoding; false when there is none, or when this is not its one encoding (y at or over p, or x = 0 with its sign
 *  bit set). For public data (RFC 8032 section 5.1.3). */
export function pointDecode(to: usize, from: usize): bool {
  const sign = load<u8>(from, 31) >> 7;
  const x = to, y = to + Y, u = s, v = s + 80, w = s + 160, root = s + 240;
  feDecode(y, from);
  feEncode(encoded, y);
  store<u8>(encoded, load<u8>(encoded, 31) | (sign << 7), 31);
  if (memory.compare(encoded, from, POINT_ENCODED_BYTES) != 0) return false;
  feSmall(to + Z, 1);
  // x^2 = u / v with u = y^2 - 1, v = d y^2 + 1; the candidate is u v^3 (u v^7)^((p - 5) / 8).
  feSquare(u, y);
  feMul(v, u, D);
  feSub(u, u, to + Z);
  feAdd(v, v, to + Z);
  feSquare(w, v);
  feMul(w, w, v);
  feMul(root, w, u);
  feSquare(w, w);
  feMul(w, w, v);
  feMul(w, w, u);
  fePow58(x, w);
  feMul(x, x, root);
  feSquare(w, x);
  feMul(w, w, v);
  if (!equal(w, u)) {
    feSmall(root, 0);
    feSub(root, root, u);
    if (!equal(w, root)) return false;
    feMul(x, x, SQRT_M1);
  }
  feEncode(encoded, x);
  feSmall(root, 0);
  if ((load<u8>(encoded) & 1) != sign) {
    if (equal(x, root)) return false;
    feSub(x, root, x);
  }
  feMul(to + T, x, y);
  return true;
}
