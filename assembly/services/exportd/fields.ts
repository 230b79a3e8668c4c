// SPDX-License-Identifier: Apache-2.0
// Owns: reading a record's fields (`key=value` lines): as attributes, and by key. Invariant: a line becomes one attribute; one without
// a key goes under `vigil.text`, and of a key that stands twice the first wins (OTLP wants keys unique). Limits: limits.logd
// fields_bytes_max.
import { equalsBytes, equalsLiteral } from "../../lib/bounded/text";
import { PbWriter, attrBytes, attrText } from "../../lib/otlp/index";

const NEWLINE: u8 = 10;
const EQUALS: u8 = 61;

/** The line taken last: key, value. */
export let key: usize = 0;
export let keyBytes: u32 = 0;
export let value: usize = 0;
export let valueBytes: u32 = 0;

/** Takes the line at `from` apart; returns where the next begins, at most one behind `end`. A line without `=` has no key. */
export function takeLine(from: usize, end: usize): usize {
  let stop = from;
  let split: usize = 0;
  for (; stop < end && load<u8>(stop) != NEWLINE; stop++) if (split == 0 && load<u8>(stop) == EQUALS) split = stop;
  key = from;
  keyBytes = split == 0 ? 0 : <u32>(split - from);
  value = keyBytes == 0 ? from : split + 1;
  valueBytes = <u32>(stop - value);
  return stop + 1;
}

/** The value of a key: its bytes are in `value`, `valueBytes`; false when there is none. */
export function findField(fields: usize, bytes: u32, wanted: string): bool {
  const end = fields + bytes;
  for (let at = fields; at < end;) {
    at = takeLine(at, end);
    if (keyBytes != 0 && equalsLiteral(key, keyBytes, wanted)) return true;
  }
  return false;
}

/** A decimal field; 0 when it is not there or no number. */
export function decimalField(fields: usize, bytes: u32, wanted: string): u64 {
  if (!findField(fields, bytes, wanted)) return 0;
  let number: u64 = 0;
  for (let i: u32 = 0; i < valueBytes; i++) {
    const digit = load<u8>(value + i) - 48;
    if (digit > 9) return 0;
    number = number * 10 + digit;
  }
  return number;
}

/** A field of hexadecimal digits; 0 when it is not there or none. */
export function hexField(fields: usize, bytes: u32, wanted: string): u64 {
  if (!findField(fields, bytes, wanted) || valueBytes > 16) return 0;
  let number: u64 = 0;
  for (let i: u32 = 0; i < valueBytes; i++) {
    const byte = load<u8>(value + i);
    const digit: u8 = byte >= 97 ? byte - 87 : byte - 48;
    if (digit > 15) return 0;
    number = (number << 4) | digit;
  }
  return number;
}

/** Every line as an attribute. `prefix`: those alone whose key begins so, without it; not those that `others` has behind `otherPrefix`. */
export function putAttributes(
  w: PbWriter, field: u32, fields: usize, bytes: u32, prefix: string = "", others: usize = 0, othersBytes: u32 = 0,
  otherPrefix: string = "",
): void {
  const end = fields + bytes;
  const skip = <u32>prefix.length;
  for (let at = fields; at < end;) {
    const line = at;
    at = takeLine(at, end);
    if (keyBytes == 0) {
      if (skip == 0 && valueBytes != 0) attrText(w, field, "vigil.text", value, valueBytes);
      continue;
    }
    if (keyBytes <= skip || (skip != 0 && !equalsLiteral(key, skip, prefix))) continue;
    const found = key + skip;
    const foundBytes = keyBytes - skip;
    const text = value;
    const textBytes = valueBytes;
    if (stands(fields, line, prefix, found, foundBytes) || stands(others, others + othersBytes, otherPrefix, found, foundBytes)) continue;
    attrBytes(w, field, found, foundBytes, text, textBytes);
  }
}

/** Whether a line in [from, end) has the key `prefix` + wanted. */
function stands(from: usize, end: usize, prefix: string, wanted: usize, wantedBytes: u32): bool {
  const skip = <u32>prefix.length;
  for (let at = from; at < end;) {
    at = takeLine(at, end);
    if (keyBytes != skip + wantedBytes || (skip != 0 && !equalsLiteral(key, skip, prefix))) continue;
    if (equalsBytes(key + skip, wantedBytes, wanted, wantedBytes)) return true;
  }
  return false;
}
