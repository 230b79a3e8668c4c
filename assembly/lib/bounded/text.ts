// SPDX-License-Identifier: Apache-2.0
// ASCII text as bytes in fixed memory: compare, search, parse, and the decimal and hexadecimal digits.
// Invariant: nothing here allocates; a `literal` is a constant string of ASCII characters, read in place (UTF-16, low bytes).
// Limit: lengths are u32 byte counts that the caller has bounded.

export const ASCII_NEWLINE: u8 = 10;
export const ASCII_EQUALS: u8 = 61;

/** Byte `index` of an ASCII literal. */
@inline
export function literalByte(literal: string, index: u32): u8 {
  return load<u8>(changetype<usize>(literal) + (index << 1));
}

/** Copies an ASCII literal to `to` and returns its length in bytes; the caller owns that much room. */
export function copyLiteral(to: usize, literal: string): u32 {
  const length = <u32>literal.length;
  for (let i: u32 = 0; i < length; i++) store<u8>(to + i, literalByte(literal, i));
  return length;
}

/** True when the bytes are exactly the literal. */
export function equalsLiteral(text: usize, length: u32, literal: string): bool {
  return length == <u32>literal.length && startsWithLiteral(text, length, literal);
}

/** True when the bytes begin with the literal. */
export function startsWithLiteral(text: usize, length: u32, literal: string): bool {
  const wanted = <u32>literal.length;
  if (length < wanted) return false;
  for (let i: u32 = 0; i < wanted; i++) if (load<u8>(text + i) != literalByte(literal, i)) return false;
  return true;
}

/** True when both byte strings are equal. */
export function equalsBytes(a: usize, aLength: u32, b: usize, bLength: u32): bool {
  if (aLength != bLength) return false;
  return memory.compare(a, b, aLength) == 0;
}

/** Order of two byte strings, shorter first on a common prefix: negative, 0 or positive. */
export function compareBytes(a: usize, aLength: u32, b: usize, bLength: u32): i32 {
  const order = memory.compare(a, b, min(aLength, bLength));
  if (order != 0) return order;
  return aLength == bLength ? 0 : aLength < bLength ? -1 : 1;
}

/** Offset of the first occurrence of the literal, or -1. */
export function indexOfLiteral(text: usize, length: u32, literal: string): i32 {
  const wanted = <u32>literal.length;
  if (wanted > length) return -1;
  for (let at: u32 = 0; at <= length - wanted; at++) {
    if (startsWithLiteral(text + at, length - at, literal)) return <i32>at;
  }
  return -1;
}

/** ASCII lower case of one byte; other bytes are unchanged. */
@inline
export function lowerCase(byte: u8): u8 {
  return <u8>(byte - 65) < 26 ? byte + 32 : byte;
}

/** True for a byte that may appear in text: printable ASCII. */
@inline
export function isPrintable(byte: u8): bool {
  return <u8>(byte - 32) < 95;
}

/** Number of decimal digits of `value`, 1 to 20. */
export function decimalLength(value: u64): u32 {
  let digits: u32 = 1;
  while (value >= 10) {
    value /= 10;
    digits++;
  }
  return digits;
}

/** Writes `value` in decimal at `to` and returns the length, at most 20 bytes. */
export function writeDecimal(to: usize, value: u64): u32 {
  const length = decimalLength(value);
  let at = to + length;
  for (let i: u32 = 0; i < length; i++) {
    at--;
    store<u8>(at, <u8>(48 + (value % 10)));
    value /= 10;
  }
  return length;
}

/** Writes `value` as exactly `digits` lower-case hexadecimal digits (1 to 16) at `to`; returns `digits`. */
export function writeHex(to: usize, value: u64, digits: u32): u32 {
  for (let i: u32 = 0; i < digits; i++) {
    const nibble = <u8>(value >> (<u64>(digits - 1 - i) << 2)) & 15;
    store<u8>(to + i, nibble < 10 ? 48 + nibble : 87 + nibble);
  }
  return digits;
}

/** Result of the last parseDecimal. */
export let parsedDecimal: u64 = 0;

/** Parses a whole text of decimal digits into `parsedDecimal`; false on an empty text, another byte, or more than u64. */
export function parseDecimal(text: usize, length: u32): bool {
  parsedDecimal = 0;
  if (length == 0 || length > 20) return false;
  let value: u64 = 0;
  for (let i: u32 = 0; i < length; i++) {
    const digit = <u64>load<u8>(text + i) - 48;
    if (digit > 9) return false;
    if (value > (u64.MAX_VALUE - digit) / 10) return false;
    value = value * 10 + digit;
  }
  parsedDecimal = value;
  return true;
}
