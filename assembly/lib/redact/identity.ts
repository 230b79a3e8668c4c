// SPDX-License-Identifier: Apache-2.0
// Finds identity claims in a record's fields: keys by which a producer would state who it is. The sender is what the kernel
// stamped, so such a claim can only mislead a reader and is refused.
// Rule: a key is lower-cased and loses every byte that is neither letter nor digit (blanks, `_`, `-`, `.`, quotes); it claims an
// identity when the rest contains senderserviceid, serviceid or requesterid, or is exactly service. So case, blanks, separators
// and prefixes or suffixes do not get past it, while `service.name` and `producer` stay usable.
// Limit: at most two passes over the fields; a key is compared by its first limits.redaction key_bytes_max letters and digits, and a
// longer one is refused as a claim (fail closed).
import { REDACTION_KEY_BYTES_MAX } from "../../gen/limits";
import { equalsLiteral, indexOfLiteral, lowerCase, ASCII_EQUALS, ASCII_NEWLINE } from "../bounded/text";

const folded: usize = memory.data(64);

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/** Any REDACTION_KEY_BYTES_MAX + 1 bytes in a row hold as many whole steps of eight bytes, wherever they begin. */
const STEPS_MAX: u32 = 7;

/** Sets the high bit of each byte of `eight` that is `byte`, and of some others. */
@inline function marks(eight: u64, byte: u64): u64 {
  return (eight ^ (ONES * byte)) - ONES;
}

/** Whether the fields surely claim nothing: eight bytes at a time, no v and no q anywhere and no key as long as the limit. */
function claimsNothing(fields: usize, bytes: u32): bool {
  if (bytes < 8) return false;
  const stop = fields + bytes;
  let steps: u32 = 0;
  for (let at = fields; at < stop; at += 8) {
    if (at + 8 > stop) at = stop - 8;
    const eight = load<u64>(at);
    const lower = eight | (ONES * 32);
    if (((marks(lower, 118) | marks(lower, 113)) & HIGH_BITS) != 0) return false;
    // A byte over 127 may look like an end of a key here, so it must be looked at closely too.
    if ((eight & HIGH_BITS) != 0) return false;
    steps = ((marks(eight, ASCII_EQUALS) | marks(eight, ASCII_NEWLINE)) & HIGH_BITS) != 0 ? 0 : steps + 1;
    if (steps == STEPS_MAX) return false;
  }
  return true;
}

/** True when a key of `key=value` lines (or a line without `=`) claims an identity. */
export function claimsIdentity(fields: usize, bytes: u32): bool {
  assert(REDACTION_KEY_BYTES_MAX == 64);
  if (claimsNothing(fields, bytes)) return false;
  let length: u32 = 0;
  let rare = false;
  let inKey = true;
  for (let i: u32 = 0; i < bytes; i++) {
    const byte = load<u8>(fields + i);
    if (byte == ASCII_NEWLINE) {
      if (inKey && rare && isClaim(length)) return true;
      inKey = true;
      rare = false;
      length = 0;
      continue;
    }
    if (!inKey) continue;
    if (byte == ASCII_EQUALS) {
      if (rare && isClaim(length)) return true;
      inKey = false;
      continue;
    }
    const c = lowerCase(byte);
    if (<u8>(c - 97) >= 26 && <u8>(c - 48) >= 10) continue;
    if (c == 118 || c == 113) rare = true; // v of service, q of requester: most keys have neither
    if (length == REDACTION_KEY_BYTES_MAX) return true;
    store<u8>(folded + length, c);
    length++;
  }
  return inKey && rare && isClaim(length);
}

function isClaim(length: u32): bool {
  if (length < 7) return false;
  if (equalsLiteral(folded, length, "service")) return true;
  if (indexOfLiteral(folded, length, "serviceid") >= 0) return true;
  return indexOfLiteral(folded, length, "requesterid") >= 0;
}
