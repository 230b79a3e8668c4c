// SPDX-License-Identifier: Apache-2.0
// Ed25519 (RFC 8032 section 5.1): key pair from a seed, sign, verify. Deterministic: a signature needs no entropy.
// Invariant: seed and nonce pass only through steps whose time does not depend on them, and every copy is wiped before the functions
// return. Verification is strict: the second half below L, both points in their one encoding, without the cofactor.
// Limit: about 4 million instructions a point multiplication: one a public key or signature, two a verification. Static scratch, so one
// operation at a time.
import { equalsSecret, wipe } from "./constant";
import { POINT_BYTES, pointAdd, pointBase, pointDecode, pointEncode, pointMultiply, pointNegate } from "./edwards25519";
import { SCALAR_BYTES, scalarIsReduced, scalarMulAdd, scalarReduce } from "./scalar25519";
import { SHA512_BYTES, SHA512_STATE_BYTES, Sha512, sha512Add, sha512Begin, sha512End } from "./sha512";

export const ED25519_SEED_BYTES: u32 = 32;
export const ED25519_PUBLIC_BYTES: u32 = 32;
export const ED25519_SIGNATURE_BYTES: u32 = 64;
const hash: Sha512 = changetype<Sha512>(memory.data(200, 8));
// The expanded seed: the secret scalar, and the prefix that nonces are derived from.
const expanded: usize = memory.data(64, 8);
const wide: usize = memory.data(64, 8);
const nonce: usize = memory.data(32, 8);
const challenge: usize = memory.data(32, 8);
const point: usize = memory.data(320, 16);
const other: usize = memory.data(320, 16);
const found: usize = memory.data(32, 8);

function expand(seed: usize): void {
  assert(SHA512_STATE_BYTES == 200 && POINT_BYTES == 320);
  sha512Begin(hash);
  sha512Add(hash, seed, ED25519_SEED_BYTES);
  sha512End(hash, expanded);
  store<u8>(expanded, load<u8>(expanded) & 0xf8);
  store<u8>(expanded, (load<u8>(expanded, 31) & 0x7f) | 0x40, 31);
}

/** The public key of a seed: 32 bytes to `to`. */
export function ed25519Public(to: usize, seed: usize): void {
  expand(seed);
  pointBase(point);
  pointMultiply(point, expanded, point);
  pointEncode(to, point);
  wipe(point, POINT_BYTES);
  wipe(expanded, 64);
}

// challenge = SHA-512(R, A, message) modulo L
function challengeOf(r: usize, a: usize, message: usize, bytes: u32): void {
  sha512Begin(hash);
  sha512Add(hash, r, 32);
  sha512Add(hash, a, ED25519_PUBLIC_BYTES);
  sha512Add(hash, message, bytes);
  sha512End(hash, wide);
  scalarReduce(challenge, wide);
}

/** Signs a message with a seed and the public key that belongs to it (the caller keeps it; a wrong one would leak the seed, so it must
 *  come from ed25519Public of this seed). 64 bytes to `to`, which overlaps neither. */
export function ed25519Sign(to: usize, seed: usize, publicKey: usize, message: usize, bytes: u32): void {
  expand(seed);
  sha512Begin(hash);
  sha512Add(hash, expanded + 32, 32);
  sha512Add(hash, message, bytes);
  sha512End(hash, wide);
  scalarReduce(nonce, wide);
  wipe(wide, SHA512_BYTES);
  pointBase(point);
  pointMultiply(point, nonce, point);
  pointEncode(to, point);
  challengeOf(to, publicKey, message, bytes);
  scalarMulAdd(to + 32, challenge, expanded, nonce);
  wipe(point, POINT_BYTES);
  wipe(nonce, SCALAR_BYTES);
  wipe(expanded, 64);
}

/** Whether the signature (64 bytes) of the message holds under the public key. Public data. */
export function ed25519Verify(signature: usize, publicKey: usize, message: usize, bytes: u32): bool {
  if (!scalarIsReduced(signature + 32)) return false;
  if (!pointDecode(other, publicKey)) return false;
  challengeOf(signature, publicKey, message, bytes);
  // R = s B - k A
  pointNegate(other, other);
  pointMultiply(other, challenge, other);
  pointBase(point);
  pointMultiply(point, signature + 32, point);
  pointAdd(point, point, other);
  pointEncode(found, point);
  return equalsSecret(found, signature, 32);
}
