// SPDX-License-Identifier: Apache-2.0
// Variable-length integers: seven bits a byte, low bits first, the top bit says that more follow (unsigned LEB128 as the
// WebAssembly binary format defines it); signed values are folded so that small magnitudes stay short.
// Invariant: a value has one encoding here (the shortest); reading refuses an encoding that runs past its end or 64 bits.
// Limit: VARINT_BYTES_MAX bytes a value.

export const VARINT_BYTES_MAX: u32 = 10;

/** Writes `value` at `at` and returns the address behind it; the caller owns VARINT_BYTES_MAX bytes. */
export function putVarint(at: usize, value: u64): usize {
  while (value >= 0x80) {
    store<u8>(at, <u8>value | 0x80);
    value >>= 7;
    at += 1;
  }
  store<u8>(at, <u8>value);
  return at + 1;
}

/** The same for a signed value: 0, -1, 1, -2, ... become 0, 1, 2, 3, ... */
export function putSigned(at: usize, value: i64): usize {
  return putVarint(at, (<u64>value << 1) ^ <u64>(value >> 63));
}

/** What the last takeVarint read. */
export let taken: u64 = 0;

/** Reads a value from [at, end) into `taken`; returns the address behind it, 0 when it is malformed. */
export function takeVarint(at: usize, end: usize): usize {
  let value: u64 = 0;
  let shift: u64 = 0;
  for (let i: u32 = 0; i < VARINT_BYTES_MAX; i++) {
    if (at >= end) return 0;
    const byte = <u64>load<u8>(at);
    at += 1;
    if (shift == 63 && byte > 1) return 0;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (byte == 0 && i != 0) return 0;
      taken = value;
      return at;
    }
    shift += 7;
  }
  return 0;
}

/** Reads a signed value; `taken` holds its 64 bits. */
export function takeSigned(at: usize, end: usize): usize {
  const next = takeVarint(at, end);
  if (next != 0) taken = (taken >> 1) ^ (0 - (taken & 1));
  return next;
}
