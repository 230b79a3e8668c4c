// SPDX-License-Identifier: Apache-2.0
// Owns: what becomes of a text that an engine says about an entity. Invariant: the result is printable ASCII of at most `max` bytes.
// Limits: none but `max`; a text is read once.
import { isPrintable } from "../bounded/text";

/** Copies a text without its control characters, other bytes than ASCII as `?`, cut to `max` bytes; returns the length. */
export function sanitise(from: usize, bytes: u32, to: usize, max: u32): u32 {
  let length: u32 = 0;
  for (let i: u32 = 0; i < bytes && length < max; i++) {
    const byte = load<u8>(from + i);
    if (byte < 32 || byte == 127) continue;
    store<u8>(to + length, isPrintable(byte) ? byte : 63);
    length++;
  }
  return length;
}
