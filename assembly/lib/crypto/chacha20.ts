// SPDX-License-Identifier: Apache-2.0
// ChaCha20 (RFC 8439 section 2.4): a key stream that is XORed over bytes.
// Invariant: additions, rotations and XORs on static memory only, so no timing depends on key or text. The state is wiped at the end.
// Limit: a 32-bit block counter, 256 GiB a nonce; callers here pass less than a kilobyte.
import { wipe } from "./constant";

export const CHACHA20_KEY_BYTES: u32 = 32;
export const CHACHA20_NONCE_BYTES: u32 = 12;
const BLOCK_BYTES: u32 = 64;
const DOUBLE_ROUNDS: u32 = 10;
const state: usize = memory.data(64, 16);
const work: usize = memory.data(64, 16);

@inline
function quarter(a: u32, b: u32, c: u32, d: u32): void {
  let wa = load<u32>(work + (a << 2));
  let wb = load<u32>(work + (b << 2));
  let wc = load<u32>(work + (c << 2));
  let wd = load<u32>(work + (d << 2));
  wa += wb; wd = rotl(wd ^ wa, 16);
  wc += wd; wb = rotl(wb ^ wc, 12);
  wa += wb; wd = rotl(wd ^ wa, 8);
  wc += wd; wb = rotl(wb ^ wc, 7);
  store<u32>(work + (a << 2), wa);
  store<u32>(work + (b << 2), wb);
  store<u32>(work + (c << 2), wc);
  store<u32>(work + (d << 2), wd);
}

// One block of key stream into `work`; the state stays.
function stream(): void {
  memory.copy(work, state, BLOCK_BYTES);
  for (let n: u32 = 0; n < DOUBLE_ROUNDS; n++) {
    quarter(0, 4, 8, 12);
    quarter(1, 5, 9, 13);
    quarter(2, 6, 10, 14);
    quarter(3, 7, 11, 15);
    quarter(0, 5, 10, 15);
    quarter(1, 6, 11, 12);
    quarter(2, 7, 8, 13);
    quarter(3, 4, 9, 14);
  }
  for (let i: u32 = 0; i < BLOCK_BYTES; i += 4) store<u32>(work + i, load<u32>(work + i) + load<u32>(state + i));
}

/** XORs the key stream from block `counter` on over [from, from + bytes) into `to` (which may be `from`). */
export function chacha20(key: usize, nonce: usize, counter: u32, from: usize, bytes: u32, to: usize): void {
  // "expand 32-byte k"
  store<u32>(state, 0x61707865);
  store<u32>(state, 0x3320646e, 4);
  store<u32>(state, 0x79622d32, 8);
  store<u32>(state, 0x6b206574, 12);
  memory.copy(state + 16, key, CHACHA20_KEY_BYTES);
  store<u32>(state, counter, 48);
  memory.copy(state + 52, nonce, CHACHA20_NONCE_BYTES);
  for (let at: u32 = 0; at < bytes; at += BLOCK_BYTES) {
    stream();
    const piece = min<u32>(BLOCK_BYTES, bytes - at);
    for (let i: u32 = 0; i < piece; i++) store<u8>(to + at + i, load<u8>(from + at + i) ^ load<u8>(work + i));
    store<u32>(state, load<u32>(state, 48) + 1, 48);
  }
  wipe(state, BLOCK_BYTES);
  wipe(work, BLOCK_BYTES);
}
