// SPDX-License-Identifier: Apache-2.0
// Poly1305 (RFC 8439 section 2.5): a one-time authenticator, sum of c_i * r^(q - i) modulo 2^130 - 5, plus s.
// Numbers are five limbs of 26 bits in u64, so that a column of products stays below 2^63: (5 * 2^26 + small) * 2^27 * 5 < 2^58.
// Invariant: no branch or address depends on the key or the bytes. Everything but the tag is wiped at the end.
// Limit: one message at a time (static state); a key is used once.
import { wipe } from "./constant";

const MASK: u64 = 0x3ffffff;
const BLOCK_BYTES: u32 = 16;
export const POLY1305_TAG_BYTES: u32 = 16;
// h: accumulator, r: clamped multiplier, r5: 5 * r, g and column: scratch. Five u64 each.
const h: usize = memory.data(40, 8);
const r: usize = memory.data(40, 8);
const r5: usize = memory.data(40, 8);
const column: usize = memory.data(40, 8);
const pad: usize = memory.data(16, 8);
const partial: usize = memory.data(24, 8);
let used: u32 = 0;

// Limb n of a 130-bit number of 17 bytes (24 readable).
function limb(at: usize, n: u32): u64 {
  const bit = n * 26;
  return (load<u64>(at + (bit >> 3)) >> <u64>(bit & 7)) & MASK;
}

/** Starts with a one-time key of 32 bytes. */
export function poly1305Begin(key: usize): void {
  wipe(h, 40);
  wipe(partial, 24);
  used = 0;
  memory.copy(partial, key, 16);
  store<u64>(partial, load<u64>(partial) & 0x0ffffffc0fffffff);
  store<u64>(partial, load<u64>(partial, 8) & 0x0ffffffc0ffffffc, 8);
  for (let n: u32 = 0; n < 5; n++) {
    store<u64>(r + (n << 3), limb(partial, n));
    store<u64>(r5 + (n << 3), 5 * limb(partial, n));
  }
  memory.copy(pad, key + 16, 16);
  wipe(partial, 24);
}

// h = (h + the block in `partial`) * r, limbs below 2^26 but the second, which may have one bit more.
function block(): void {
  for (let n: u32 = 0; n < 5; n++) store<u64>(h + (n << 3), load<u64>(h + (n << 3)) + limb(partial, n));
  for (let k: u32 = 0; k < 5; k++) {
    let sum: u64 = 0;
    for (let i: u32 = 0; i < 5; i++) {
      // What passes 2^130 comes back times 5.
      const factor = i <= k ? load<u64>(r + ((k - i) << 3)) : load<u64>(r5 + ((k + 5 - i) << 3));
      sum += load<u64>(h + (i << 3)) * factor;
    }
    store<u64>(column + (k << 3), sum);
  }
  memory.copy(h, column, 40);
  carry();
  wipe(partial, 24);
}

function carry(): void {
  let over: u64 = 0;
  for (let n: u32 = 0; n < 5; n++) {
    const value = load<u64>(h + (n << 3)) + over;
    store<u64>(h + (n << 3), value & MASK);
    over = value >> 26;
  }
  const first = load<u64>(h) + 5 * over;
  store<u64>(h, first & MASK);
  store<u64>(h, load<u64>(h, 8) + (first >> 26), 8);
}

export function poly1305Add(from: usize, bytes: u32): void {
  while (bytes > 0) {
    const piece = min<u32>(BLOCK_BYTES - used, bytes);
    memory.copy(partial + used, from, piece);
    used += piece;
    from += piece;
    bytes -= piece;
    if (used == BLOCK_BYTES) {
      store<u8>(partial + BLOCK_BYTES, 1);
      block();
      used = 0;
    }
  }
}

/** Zero bytes up to the next whole block, as RFC 8439 section 2.8 pads. */
export function poly1305Pad(): void {
  if (used == 0) return;
  store<u8>(partial + BLOCK_BYTES, 1);
  block();
  used = 0;
}

/** Writes the 16-byte tag and wipes the state. */
export function poly1305End(tag: usize): void {
  if (used != 0) {
    store<u8>(partial + used, 1);
    block();
    used = 0;
  }
  carry();
  carry();
  // g = h + 5 - 2^130; where that is not negative, it is the reduced value.
  let over: u64 = 5;
  for (let n: u32 = 0; n < 5; n++) {
    const value = load<u64>(h + (n << 3)) + over;
    store<u64>(column + (n << 3), value & MASK);
    over = value >> 26;
  }
  const take: u64 = 0 - over;
  for (let n: u32 = 0; n < 5; n++) {
    const at = n << 3;
    store<u64>(h + at, (load<u64>(column + at) & take) | (load<u64>(h + at) & ~take));
  }
  const low = load<u64>(h) | (load<u64>(h, 8) << 26) | (load<u64>(h, 16) << 52);
  const high = (load<u64>(h, 16) >> 12) | (load<u64>(h, 24) << 14) | (load<u64>(h, 32) << 40);
  const sum = low + load<u64>(pad);
  store<u64>(tag, sum);
  store<u64>(tag, high + load<u64>(pad, 8) + u64(sum < low), 8);
  wipe(h, 40);
  wipe(r, 40);
  wipe(r5, 40);
  wipe(column, 40);
  wipe(pad, 16);
}
