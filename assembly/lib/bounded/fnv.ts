// SPDX-License-Identifier: Apache-2.0
// FNV-1a 64: the hash that turns a service's name into its sender_service_id.
// Not a cryptographic hash; two names of the image colliding is refused at build.
import { literalByte } from "./text";

const OFFSET: u64 = 0xcbf29ce484222325;
const PRIME: u64 = 0x100000001b3;

/** FNV-1a 64 of `length` bytes. */
export function fnv1a64(bytes: usize, length: u32): u64 {
  let hash = OFFSET;
  for (let i: u32 = 0; i < length; i++) hash = (hash ^ <u64>load<u8>(bytes + i)) * PRIME;
  return hash;
}

/** FNV-1a 64 of an ASCII literal. */
export function fnv1a64Literal(literal: string): u64 {
  let hash = OFFSET;
  const length = <u32>literal.length;
  for (let i: u32 = 0; i < length; i++) hash = (hash ^ <u64>literalByte(literal, i)) * PRIME;
  return hash;
}
