// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78, RFC 3720 appendix B.4), a byte a step over one table.
// Invariant: agrees with the host on tests/vectors/bridge.json; the table is filled once, before main.
// Limit: 1 KiB of static memory in each module that imports it.

const POLYNOMIAL: u32 = 0x82f63b78;
const TABLE: usize = memory.data(1024, 4);

function fillTable(): bool {
  for (let index: u32 = 0; index < 256; index++) {
    let crc = index;
    for (let bit: u32 = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
    store<u32>(TABLE + (index << 2), crc);
  }
  return true;
}
const filled = fillTable();

/** CRC-32C of `length` bytes at `from`; pass an earlier result as `seed` to go on. */
export function crc32c(from: usize, length: u32, seed: u32 = 0): u32 {
  let crc = ~seed;
  const end = from + length;
  for (let at = from; at < end; at++) {
    crc = load<u32>(TABLE + (<usize>((crc ^ load<u8>(at)) & 0xff) << 2)) ^ (crc >> 8);
  }
  return ~crc;
}
