// SPDX-License-Identifier: Apache-2.0
// HMAC-SHA-256 (RFC 2104) and HKDF-SHA-256 (RFC 5869) over lib/hash: how keystored derives one key from another.
// Invariant: nothing is allocated; every buffer that held key material is wiped before the function returns (the block schedule of
// lib/hash keeps the last block hashed, which is a padded digest here, never a key).
// Limits: an HMAC key of at most 64 bytes (longer ones are never used here, and refused by assert); HKDF gives at most 64 bytes, info of
// at most HKDF_INFO_BYTES_MAX.
import { SHA256_STATE_BYTES, Sha256, sha256_add, sha256_begin, sha256_end } from "../hash/sha256";
import { wipe } from "./constant";

const BLOCK_BYTES: u32 = 64;
export const HMAC_BYTES: u32 = 32;
export const HKDF_INFO_BYTES_MAX: u32 = 128;
const HKDF_BYTES_MAX: u32 = 64;
const pad: usize = memory.data(64, 8);
const inner: usize = memory.data(32, 8);
const extracted: usize = memory.data(32, 8);
const round: usize = memory.data(192, 8);
const state: Sha256 = changetype<Sha256>(memory.data(SHA256_STATE_BYTES, 8));

function padKey(key: usize, keyBytes: u32, mask: u8): void {
  memory.fill(pad, 0, BLOCK_BYTES);
  memory.copy(pad, key, keyBytes);
  for (let i: u32 = 0; i < BLOCK_BYTES; i++) store<u8>(pad + i, load<u8>(pad + i) ^ mask);
}

/** HMAC-SHA-256 of [from, from + bytes) under the key: 32 bytes to `mac`, which may lie over either input. */
export function hmacSha256(key: usize, keyBytes: u32, from: usize, bytes: u32, mac: usize): void {
  assert(keyBytes <= BLOCK_BYTES);
  padKey(key, keyBytes, 0x36);
  sha256_begin(state);
  sha256_add(state, <u32>pad, BLOCK_BYTES);
  sha256_add(state, <u32>from, bytes);
  sha256_end(state, <u32>inner);
  padKey(key, keyBytes, 0x5c);
  sha256_begin(state);
  sha256_add(state, <u32>pad, BLOCK_BYTES);
  sha256_add(state, <u32>inner, HMAC_BYTES);
  sha256_end(state, <u32>mac);
  wipe(pad, BLOCK_BYTES);
  wipe(inner, HMAC_BYTES);
  wipe(changetype<usize>(state), SHA256_STATE_BYTES);
}

/** HKDF-SHA-256: `bytes` (1 to 64) of key material to `to`. The salt has at most 64 bytes, as an HMAC key. */
export function hkdfSha256(
  secret: usize, secretBytes: u32, salt: usize, saltBytes: u32, info: usize, infoBytes: u32, to: usize, bytes: u32,
): void {
  assert(bytes != 0 && bytes <= HKDF_BYTES_MAX && infoBytes <= HKDF_INFO_BYTES_MAX);
  hmacSha256(salt, saltBytes, secret, secretBytes, extracted);
  let done: u32 = 0;
  let carried: u32 = 0;
  for (let n: u8 = 1; done < bytes; n++) {
    // `round` holds T(n - 1), info, n.
    memory.copy(round + carried, info, infoBytes);
    store<u8>(round + carried + infoBytes, n);
    hmacSha256(extracted, HMAC_BYTES, round, carried + infoBytes + 1, round);
    carried = HMAC_BYTES;
    const piece = min<u32>(HMAC_BYTES, bytes - done);
    memory.copy(to + done, round, piece);
    done += piece;
  }
  wipe(extracted, HMAC_BYTES);
  wipe(round, 192);
}
