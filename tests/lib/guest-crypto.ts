// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of lib/crypto: thin exports over each primitive, and a count of what stays in memory.
import * as ae from "../../assembly/lib/crypto/aead";
import * as ct from "../../assembly/lib/crypto/constant";
import * as ed from "../../assembly/lib/crypto/ed25519";
import * as kd from "../../assembly/lib/crypto/hmac";
import * as po from "../../assembly/lib/crypto/poly1305";
import * as sc from "../../assembly/lib/crypto/scalar25519";
import * as sh from "../../assembly/lib/crypto/sha512";
import { chacha20 } from "../../assembly/lib/crypto/chacha20";

const scratch: usize = memory.data(16384, 16);
const hash: sh.Sha512 = changetype<sh.Sha512>(memory.data(200, 8));

export function address(): usize { return scratch; }
export function sha512(at: u32, bytes: u32, piece: u32, to: u32): void {
  sh.sha512Begin(hash);
  for (let n: u32 = 0; n < bytes; n += piece) sh.sha512Add(hash, scratch + at + n, min<u32>(piece, bytes - n));
  sh.sha512End(hash, scratch + to);
}
export function hmac(key: u32, keyBytes: u32, at: u32, bytes: u32, to: u32): void {
  kd.hmacSha256(scratch + key, keyBytes, scratch + at, bytes, scratch + to);
}
export function hkdf(secret: u32, secretBytes: u32, salt: u32, saltBytes: u32, info: u32, infoBytes: u32, to: u32, bytes: u32): void {
  kd.hkdfSha256(scratch + secret, secretBytes, scratch + salt, saltBytes, scratch + info, infoBytes, scratch + to, bytes);
}
export function stream(key: u32, nonce: u32, counter: u32, at: u32, bytes: u32, to: u32): void {
  chacha20(scratch + key, scratch + nonce, counter, scratch + at, bytes, scratch + to);
}
export function poly(key: u32, at: u32, bytes: u32, piece: u32, to: u32): void {
  po.poly1305Begin(scratch + key);
  for (let n: u32 = 0; n < bytes; n += piece) po.poly1305Add(scratch + at + n, min<u32>(piece, bytes - n));
  po.poly1305End(scratch + to);
}
export function seal(key: u32, nonce: u32, ad: u32, adBytes: u32, at: u32, bytes: u32, to: u32, tag: u32): void {
  ae.aeadSeal(scratch + key, scratch + nonce, scratch + ad, adBytes, scratch + at, bytes, scratch + to, scratch + tag);
}
export function open(key: u32, nonce: u32, ad: u32, adBytes: u32, at: u32, bytes: u32, tag: u32, to: u32): bool {
  return ae.aeadOpen(scratch + key, scratch + nonce, scratch + ad, adBytes, scratch + at, bytes, scratch + tag, scratch + to);
}
export function equals(a: u32, b: u32, bytes: u32): bool { return ct.equalsSecret(scratch + a, scratch + b, bytes); }
export function mask(a: u64, b: u64): u64 { return ct.maskEqual(a, b); }
export function reduce(to: u32, from: u32): void { sc.scalarReduce(scratch + to, scratch + from); }
export function mulAdd(to: u32, a: u32, b: u32, c: u32): void { sc.scalarMulAdd(scratch + to, scratch + a, scratch + b, scratch + c); }
export function isReduced(at: u32): bool { return sc.scalarIsReduced(scratch + at); }
export function publicKey(to: u32, seed: u32): void { ed.ed25519Public(scratch + to, scratch + seed); }
export function sign(to: u32, seed: u32, key: u32, at: u32, bytes: u32): void {
  ed.ed25519Sign(scratch + to, scratch + seed, scratch + key, scratch + at, bytes);
}
export function verify(signature: u32, key: u32, at: u32, bytes: u32): bool {
  return ed.ed25519Verify(scratch + signature, scratch + key, scratch + at, bytes);
}
