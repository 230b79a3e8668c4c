// SPDX-License-Identifier: Apache-2.0
// Finds identity claims in a record's fields: keys by which a producer would state who it is. The sender is what the kernel
// stamped, so such a claim can only mislead a reader and is refused.
// Rule: a key is lower-cased and loses every byte that is neither letter nor digit (blanks, `_`, `-`, `.`, quotes); it claims an
// identity when the rest contains senderserviceid, serviceid or requesterid, or is exactly service. So case, blanks, separators
// and prefixes or suffixes do not get past it, while `service.name` and `producer` stay usable.
// Limit: one pass over the fields; a key is compared by its first limits.redaction key_bytes_max letters and digits, and a
// longer one is refused as a claim (fail closed).
import { REDACTION_KEY_BYTES_MAX } from "../../gen/limits";
import { equalsLiteral, indexOfLiteral, lowerCase, ASCII_EQUALS, ASCII_NEWLINE } from "../../lib/bounded/text";

const folded: usize = memory.data(64);

/** True when a key of `key=value` lines (or a line without `=`) claims an identity. */
export function claimsIdentity(fields: usize, bytes: u32): bool {
  assert(REDACTION_KEY_BYTES_MAX == 64);
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
