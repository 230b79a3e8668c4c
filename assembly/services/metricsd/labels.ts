// SPDX-License-Identifier: Apache-2.0
// Labels and span attributes: from a sender's bytes to the canonical set that is stored.
//
// Invariant: canonical labels are `key=value` lines, sorted by key, each key once, secrets replaced, without a newline at the
// end; the same set in any order gives the same bytes. Nothing is stored from a set that was refused.
// Limits: the recipe's max_labels and length, label_key_bytes_max. Values are printable ASCII.
import { METRICSD_LABELS_MAX, METRICSD_LABEL_KEY_BYTES_MAX } from "../../gen/limits";
import { compareBytes, isPrintable } from "../../lib/bounded/text";
import { redactFields } from "../../lib/redact/redact";
import { isSecretShape } from "../../lib/redact/shapes";
import { MT_INVALID_ARGS, MT_OK, MT_OVER_LIMIT } from "../../lib/wire/metricsd";
import { claimsIdentity } from "../../lib/redact/identity";
import { LABELS_COUNT, limit32 } from "./limits";

const NEWLINE: u8 = 10;
const EQUALS: u8 = 61;
const work: usize = memory.data(256);
const sorted: usize = memory.data(256);
// The lines: start u16, length u16, key length u16.
const lines: usize = memory.data(METRICSD_LABELS_MAX * 6, 2);

let canonicalLen: u32 = 0;

/** The canonical set of the last call that returned MT_OK; valid until the next call. */
export function canonicalLabels(): usize {
  return sorted;
}
export function canonicalLength(): u32 {
  return canonicalLen;
}

@inline function isNameStart(c: u32): bool {
  return (c | 32) - 97 < 26;
}
@inline function isNameByte(c: u32): bool {
  return (c | 32) - 97 < 26 || c - 48 < 10 || c == 46 || c == 95 || c == 45;
}

/** Whether the bytes are a name: a letter, then letters, digits, `.`, `_` or `-`; and no secret by their shape. */
export function isName(ptr: usize, len: u32): bool {
  if (len == 0 || !isNameStart(<u32>load<u8>(ptr))) return false;
  for (let i: u32 = 1; i < len; i++) if (!isNameByte(<u32>load<u8>(ptr + i))) return false;
  return len < 16 || !isSecretShape(ptr, len, false);
}

/** Parses, checks, redacts, sorts and deduplicates. Returns a wire status; on MT_OK read canonicalLabels. */
export function canonicalise(ptr: usize, len: u32, bytesMax: u32): u8 {
  canonicalLen = 0;
  if (len == 0) return MT_OK;
  if (len > bytesMax) return MT_OVER_LIMIT;
  memory.copy(work, ptr, len);
  const checked = check(len);
  if (checked != MT_OK) return checked;
  return sortLines(redactFields(work, len));
}

/** Checks keys, character set and count on the sender's own bytes. */
function check(len: u32): u8 {
  let start: u32 = 0;
  let count: u32 = 0;
  while (start < len) {
    let equals = start;
    while (equals < len && load<u8>(work + equals) != EQUALS && load<u8>(work + equals) != NEWLINE) equals += 1;
    if (equals == len || load<u8>(work + equals) != EQUALS) return MT_INVALID_ARGS;
    const keyLen = equals - start;
    if (keyLen > METRICSD_LABEL_KEY_BYTES_MAX) return MT_OVER_LIMIT;
    if (!isName(work + start, keyLen) || claimsIdentity(work + start, keyLen)) return MT_INVALID_ARGS;
    let end = equals + 1;
    while (end < len && load<u8>(work + end) != NEWLINE) {
      if (!isPrintable(load<u8>(work + end))) return MT_INVALID_ARGS;
      end += 1;
    }
    if (end == equals + 1) return MT_INVALID_ARGS;
    count += 1;
    start = end + 1;
  }
  return count > limit32(LABELS_COUNT) ? MT_OVER_LIMIT : MT_OK;
}

@inline function lineAt(index: u32): usize {
  return lines + index * 6;
}

/** Inserts each line in key order; equal lines once, two values for one key refused. */
function sortLines(len: u32): u8 {
  let count: u32 = 0;
  let start: u32 = 0;
  while (start < len) {
    let end = start;
    let keyLen: u32 = 0;
    while (end < len && load<u8>(work + end) != NEWLINE) {
      if (keyLen == 0 && load<u8>(work + end) == EQUALS) keyLen = end - start;
      end += 1;
    }
    let place = count;
    let same = false;
    while (place > 0) {
      const before = lineAt(place - 1);
      const order = compareBytes(
        work + start, keyLen, work + <u32>load<u16>(before), <u32>load<u16>(before, 4),
      );
      if (order > 0) break;
      if (order == 0) {
        const length = <u32>load<u16>(before, 2);
        same = compareBytes(work + start, end - start, work + <u32>load<u16>(before), length) == 0;
        if (!same) return MT_INVALID_ARGS;
        break;
      }
      place -= 1;
    }
    if (!same) {
      // The count of lines was bounded before redaction, which adds none.
      memory.copy(lineAt(place + 1), lineAt(place), (count - place) * 6);
      store<u16>(lineAt(place), <u16>start);
      store<u16>(lineAt(place), <u16>(end - start), 2);
      store<u16>(lineAt(place), <u16>keyLen, 4);
      count += 1;
    }
    start = end + 1;
  }
  let out: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    if (i) {
      store<u8>(sorted + out, NEWLINE);
      out += 1;
    }
    const length = <u32>load<u16>(lineAt(i), 2);
    memory.copy(sorted + out, work + <u32>load<u16>(lineAt(i)), length);
    out += length;
  }
  canonicalLen = out;
  return MT_OK;
}
