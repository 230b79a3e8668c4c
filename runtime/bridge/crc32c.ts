// SPDX-License-Identifier: Apache-2.0
// Owns: CRC-32C (Castagnoli, reflected polynomial 0x82f63b78, RFC 3720 appendix B.4) on the host.
// Invariant: agrees with the guest's codec on tests/vectors/bridge.json. Limits: one 256-entry table, a byte a step.
const POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C of `bytes`; pass an earlier result as `seed` to go on. */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed >>> 0;
  for (let i = 0; i < bytes.length; i++) crc = (TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8)) >>> 0;
  return ~crc >>> 0;
}
