// SPDX-License-Identifier: Apache-2.0
// ChaCha20-Poly1305 (RFC 8439 section 2.8): seals bytes under a key and a nonce, bound to associated data that stays readable.
// Invariant: aeadOpen writes plaintext only after the tag held; a tag is compared without a branch on its bytes. A nonce must never
// serve twice under one key: who calls states how (docs/keys.md).
// Limit: lengths are u32.
import { CHACHA20_KEY_BYTES, CHACHA20_NONCE_BYTES, chacha20 } from "./chacha20";
import { equalsSecret, wipe } from "./constant";
import { POLY1305_TAG_BYTES, poly1305Add, poly1305Begin, poly1305End, poly1305Pad } from "./poly1305";

export const AEAD_KEY_BYTES: u32 = CHACHA20_KEY_BYTES;
export const AEAD_NONCE_BYTES: u32 = CHACHA20_NONCE_BYTES;
export const AEAD_TAG_BYTES: u32 = POLY1305_TAG_BYTES;
const oneTimeKey: usize = memory.data(32, 8);
const lengths: usize = memory.data(16, 8);
const tagFound: usize = memory.data(16, 8);

function tagOf(key: usize, nonce: usize, ad: usize, adBytes: u32, sealed: usize, bytes: u32, tag: usize): void {
  wipe(oneTimeKey, 32);
  chacha20(key, nonce, 0, oneTimeKey, 32, oneTimeKey);
  poly1305Begin(oneTimeKey);
  wipe(oneTimeKey, 32);
  poly1305Add(ad, adBytes);
  poly1305Pad();
  poly1305Add(sealed, bytes);
  poly1305Pad();
  store<u64>(lengths, adBytes);
  store<u64>(lengths, bytes, 8);
  poly1305Add(lengths, 16);
  poly1305End(tag);
}

/** Seals `bytes` at `from` into `to` (may be `from`) and writes 16 bytes of tag. */
export function aeadSeal(
  key: usize, nonce: usize, ad: usize, adBytes: u32, from: usize, bytes: u32, to: usize, tag: usize,
): void {
  chacha20(key, nonce, 1, from, bytes, to);
  tagOf(key, nonce, ad, adBytes, to, bytes, tag);
}

/** Opens `bytes` at `from` into `to` (may be `from`) when the tag holds; false, and nothing written, when not. */
export function aeadOpen(
  key: usize, nonce: usize, ad: usize, adBytes: u32, from: usize, bytes: u32, tag: usize, to: usize,
): bool {
  tagOf(key, nonce, ad, adBytes, from, bytes, tagFound);
  const holds = equalsSecret(tagFound, tag, AEAD_TAG_BYTES);
  wipe(tagFound, AEAD_TAG_BYTES);
  if (!holds) return false;
  chacha20(key, nonce, 1, from, bytes, to);
  return true;
}
