// SPDX-License-Identifier: Apache-2.0
// SHA-512 (FIPS 180-4 section 6.4), streaming: what Ed25519 hashes with.
// The round constants are the first 64 bits of the fractional parts of the cube roots of the first 80 primes, the initial words those of
// the square roots of the first 8 (sections 4.2.3 and 5.3.5).
// Invariant: nothing is allocated; no branch depends on the bytes hashed. One schedule for all states, so one hash is updated at a time.
// sha512End wipes state and schedule. Limit: 2^61 bytes.
import { wipe } from "./constant";

const K: usize = memory.data<u64>([
  0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538, 0x59f111f1b605d019,
  0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
  0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3,
  0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65, 0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
  0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
  0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
  0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b, 0xa2bfe8a14cf10364, 0xa81a664bbc423001,
  0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
  0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb,
  0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
  0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c, 0xd186b8c721c0c207,
  0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
  0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a,
  0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
]);
const INITIAL: usize = memory.data<u64>([
  0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
  0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
]);
const SCHEDULE_BYTES: u32 = 640;
const W: usize = memory.data(640, 16);

/** A running hash: 8 words of state, 128 bytes of partial block, bytes so far. */
@unmanaged
export class Sha512 {
  h0: u64; h1: u64; h2: u64; h3: u64; h4: u64; h5: u64; h6: u64; h7: u64;
  bytes: u64;
}
const PARTIAL_OFFSET: u32 = 72;
/** Bytes of memory behind a Sha512: place it with `changetype<Sha512>(memory.data(200, 8))`. */
export const SHA512_STATE_BYTES: u32 = 200;
export const SHA512_BYTES: u32 = 64;

export function sha512Begin(s: Sha512): void {
  memory.copy(changetype<usize>(s), INITIAL, 64);
  s.bytes = 0;
}

function block(s: Sha512, at: usize): void {
  for (let i: u32 = 0; i < 128; i += 8) store<u64>(W + i, bswap(load<u64>(at + i)));
  for (let i: u32 = 128; i < SCHEDULE_BYTES; i += 8) {
    const x = load<u64>(W + i - 120);
    const y = load<u64>(W + i - 16);
    const s0 = rotr(x, 1) ^ rotr(x, 8) ^ (x >> 7);
    const s1 = rotr(y, 19) ^ rotr(y, 61) ^ (y >> 6);
    store<u64>(W + i, load<u64>(W + i - 128) + s0 + load<u64>(W + i - 56) + s1);
  }
  let a = s.h0, b = s.h1, c = s.h2, d = s.h3, e = s.h4, f = s.h5, g = s.h6, h = s.h7;
  for (let i: u32 = 0; i < SCHEDULE_BYTES; i += 8) {
    const t1 = h + (rotr(e, 14) ^ rotr(e, 18) ^ rotr(e, 41)) + ((e & f) ^ (~e & g)) + load<u64>(K + i) + load<u64>(W + i);
    const t2 = (rotr(a, 28) ^ rotr(a, 34) ^ rotr(a, 39)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g; g = f; f = e; e = d + t1;
    d = c; c = b; b = a; a = t1 + t2;
  }
  s.h0 += a; s.h1 += b; s.h2 += c; s.h3 += d; s.h4 += e; s.h5 += f; s.h6 += g; s.h7 += h;
}

export function sha512Add(s: Sha512, from: usize, bytes: u32): void {
  const partial = changetype<usize>(s) + PARTIAL_OFFSET;
  let used = <u32>s.bytes & 127;
  s.bytes += bytes;
  while (bytes > 0) {
    const n = min<u32>(128 - used, bytes);
    memory.copy(partial + used, from, n);
    used += n;
    from += n;
    bytes -= n;
    if (used == 128) {
      block(s, partial);
      used = 0;
    }
  }
}

/** Writes the 64-byte digest and wipes the state and the schedule. */
export function sha512End(s: Sha512, digest: usize): void {
  const partial = changetype<usize>(s) + PARTIAL_OFFSET;
  const bits = s.bytes << 3;
  let used = <u32>s.bytes & 127;
  store<u8>(partial + used, 0x80);
  used += 1;
  if (used > 112) {
    memory.fill(partial + used, 0, 128 - used);
    block(s, partial);
    used = 0;
  }
  memory.fill(partial + used, 0, 120 - used);
  store<u64>(partial + 120, bswap(bits));
  block(s, partial);
  for (let i: u32 = 0; i < 64; i += 8) store<u64>(digest + i, bswap(load<u64>(changetype<usize>(s) + i)));
  wipe(changetype<usize>(s), SHA512_STATE_BYTES);
  wipe(W, SCHEDULE_BYTES);
}
