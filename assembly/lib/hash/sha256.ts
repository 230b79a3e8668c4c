// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) over byte ranges of this module's memory. One shot for whole images; the streaming form for console lines.
// Schedule and one-shot state are static; nothing is allocated. Limit: 2^61 bytes.

const K: u32 = <u32>memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
  0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
  0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
  0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
  0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
  0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);
const W: u32 = <u32>memory.data(256, 16);

/** A running hash: 8 words of state, 64 bytes of partial block, bytes so far. 112 bytes. */
@unmanaged
export class Sha256 {
  h0: u32; h1: u32; h2: u32; h3: u32; h4: u32; h5: u32; h6: u32; h7: u32;
  b0: u64; b1: u64; b2: u64; b3: u64; b4: u64; b5: u64; b6: u64; b7: u64;
  bytes: u64;
}
export const SHA256_STATE_BYTES: i32 = 104;

export function sha256_begin(s: Sha256): void {
  s.h0 = 0x6a09e667; s.h1 = 0xbb67ae85; s.h2 = 0x3c6ef372; s.h3 = 0xa54ff53a;
  s.h4 = 0x510e527f; s.h5 = 0x9b05688c; s.h6 = 0x1f83d9ab; s.h7 = 0x5be0cd19;
  s.bytes = 0;
}

function block(s: Sha256, at: u32): void {
  for (let i: u32 = 0; i < 64; i += 4) store<u32>(W + i, bswap(load<u32>(at + i)));
  for (let i: u32 = 64; i < 256; i += 4) {
    const x = load<u32>(W + i - 60);
    const y = load<u32>(W + i - 8);
    const s0 = rotr(x, 7) ^ rotr(x, 18) ^ (x >> 3);
    const s1 = rotr(y, 17) ^ rotr(y, 19) ^ (y >> 10);
    store<u32>(W + i, load<u32>(W + i - 64) + s0 + load<u32>(W + i - 28) + s1);
  }
  let a = s.h0, b = s.h1, c = s.h2, d = s.h3, e = s.h4, f = s.h5, g = s.h6, h = s.h7;
  for (let i: u32 = 0; i < 256; i += 4) {
    const t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + load<u32>(K + i) + load<u32>(W + i);
    const t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g; g = f; f = e; e = d + t1;
    d = c; c = b; b = a; a = t1 + t2;
  }
  s.h0 += a; s.h1 += b; s.h2 += c; s.h3 += d; s.h4 += e; s.h5 += f; s.h6 += g; s.h7 += h;
}

export function sha256_add(s: Sha256, ptr: u32, bytes: u32): void {
  const partial = changetype<u32>(s) + offsetof<Sha256>("b0");
  let used = <u32>s.bytes & 63;
  s.bytes += bytes;
  while (bytes > 0) {
    if (used == 0 && bytes >= 64) {
      block(s, ptr);
      ptr += 64;
      bytes -= 64;
      continue;
    }
    const n = min(64 - used, bytes);
    memory.copy(partial + used, ptr, n);
    used += n;
    ptr += n;
    bytes -= n;
    if (used == 64) {
      block(s, partial);
      used = 0;
    }
  }
}

/** Writes the 32-byte digest. */
export function sha256_end(s: Sha256, digest: u32): void {
  const partial = changetype<u32>(s) + offsetof<Sha256>("b0");
  const bits = s.bytes << 3;
  let used = <u32>s.bytes & 63;
  store<u8>(partial + used, 0x80);
  used += 1;
  if (used > 56) {
    memory.fill(partial + used, 0, 64 - used);
    block(s, partial);
    used = 0;
  }
  memory.fill(partial + used, 0, 56 - used);
  store<u64>(partial + 56, bswap(bits));
  block(s, partial);
  for (let i: u32 = 0; i < 32; i += 4) store<u32>(digest + i, bswap(load<u32>(changetype<u32>(s) + i)));
}

const ONE_SHOT: u32 = <u32>memory.data(SHA256_STATE_BYTES, 8);

export function sha256(ptr: u32, bytes: u32, digest: u32): void {
  const s = changetype<Sha256>(ONE_SHOT);
  sha256_begin(s);
  sha256_add(s, ptr, bytes);
  sha256_end(s, digest);
}
