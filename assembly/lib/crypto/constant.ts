// SPDX-License-Identifier: Apache-2.0
// What every user of secrets shares: a compare that takes the same steps whatever the bytes are, a mask to choose by, and wiping.
// Invariant: no branch and no address here depends on the contents, only on lengths, which are public.
// Limit: this is a property of the source; the WebAssembly and the C compiler are trusted not to undo it (docs/keys.md).

/** True when both ranges of `length` bytes are equal. */
export function equalsSecret(a: usize, b: usize, length: u32): bool {
  let differ: u32 = 0;
  for (let i: u32 = 0; i < length; i++) differ |= <u32>(load<u8>(a + i) ^ load<u8>(b + i));
  return differ == 0;
}

/** All ones when `a` equals `b`, else 0. */
@inline
export function maskEqual(a: u64, b: u64): u64 {
  const differ = a ^ b;
  return 0 - ((~differ & (differ - 1)) >> 63);
}

/** Overwrites `length` bytes with zero. Static memory that later calls read, so no compiler may drop the stores. */
export function wipe(at: usize, length: u32): void {
  memory.fill(at, 0, length);
}
