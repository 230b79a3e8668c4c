// SPDX-License-Identifier: Apache-2.0
// CRC-32C by 8 bytes a step: the same function as lib/bounded/crc32c.ts at a third of its instructions. A second file because its tables
// are 144 KiB and cost 100,000 instructions when the module starts: worth it where every record is checked, not in a small service.
// Invariant: equal to crc32c for every length and seed (tests/statefs/crc.test.ts).
import { crc32c } from "../bounded/crc32c";

const POLYNOMIAL: u32 = 0x82f63b78;
/** The word is looked up in four pieces of 13 bits and one of 12. */
const BITS: u32 = 13;
const LAST_BITS: u32 = 12;
/** A piece, times the 4 bytes of an entry. */
const MASK: u64 = 0x7ffc;
const T0: usize = memory.data(32768, 8);
const T1: usize = memory.data(32768, 8);
const T2: usize = memory.data(32768, 8);
const T3: usize = memory.data(32768, 8);
const T4: usize = memory.data(16384, 8);
const basis: usize = memory.data(256, 8);

/** One table from the CRCs of its single bits: each bit doubles what is filled, by the entries below it. */
function fillTable(table: usize, bits: u32, firstBit: u32): void {
  store<u32>(table, 0);
  for (let bit: u32 = 0; bit < bits; bit++) {
    const crc = <u64>load<u32>(basis + (<usize>(firstBit + bit) << 2));
    const half: usize = 4 << bit;
    if (bit == 0) store<u32>(table, <u32>crc, 4);
    else for (let at = table; at < table + half; at += 8) store<u64>(at + half, load<u64>(at) ^ crc ^ (crc << 32));
  }
}
/** Bit 63 leaves the register last: it has met the polynomial once; each bit before it once more. */
function fill(): bool {
  let crc = POLYNOMIAL;
  for (let bit: i32 = 63; bit >= 0; bit--) {
    store<u32>(basis + (<usize>bit << 2), crc);
    crc = (crc & 1) != 0 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
  }
  fillTable(T0, BITS, 0);
  fillTable(T1, BITS, BITS);
  fillTable(T2, BITS, 2 * BITS);
  fillTable(T3, BITS, 3 * BITS);
  fillTable(T4, LAST_BITS, 4 * BITS);
  return true;
}
const filled = fill();

@inline function step(word: u64): u64 {
  let crc = <u64>load<u32>(<usize>((word & 0x1fff) << 2), T0) ^ <u64>load<u32>(<usize>((word >> 11) & MASK), T1);
  crc ^= <u64>load<u32>(<usize>((word >> 24) & MASK), T2) ^ <u64>load<u32>(<usize>((word >> 37) & MASK), T3);
  return crc ^ <u64>load<u32>(<usize>((word >> 52) << 2), T4);
}

/** CRC-32C of `length` bytes at `from`; pass an earlier result as `seed` to go on. */
export function crc32cWide(from: usize, length: u32, seed: u32 = 0): u32 {
  let crc = <u64>~seed;
  const end = from + (length & ~7);
  for (; from + 32 <= end; from += 32) {
    crc = step(load<u64>(from) ^ crc);
    crc = step(load<u64>(from, 8) ^ crc);
    crc = step(load<u64>(from, 16) ^ crc);
    crc = step(load<u64>(from, 24) ^ crc);
  }
  for (; from < end; from += 8) crc = step(load<u64>(from) ^ crc);
  return (length & 7) == 0 ? ~<u32>crc : crc32c(from, length & 7, ~<u32>crc);
}
