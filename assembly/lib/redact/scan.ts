// SPDX-License-Identifier: Apache-2.0
// The first look at a text: may it be stored as it is, must redaction look closely, does it hold a control character. One pass, eight
// bytes at a time, because nearly every text of a log is plain.
//
// Invariant: TEXT_PLAIN means that redaction would surely replace nothing: no token long enough for a value shape, no `:` or `=`, no
// two dashes in a row, no word that begins like an authentication scheme. TEXT_LOOK promises nothing. A control character is found
// wherever it stands. Only bytes of the text are read.
// Limits: bytes over 127 are no letters here and end a token.
import { isTokenByte } from "./shapes";

export const TEXT_PLAIN: u32 = 0;
export const TEXT_LOOK: u32 = 1;
/** A byte below 32 (a newline only where lines are not allowed) or 127. */
export const TEXT_CONTROL: u32 = 2;

/** Shortest token that any value shape can match. */
export const SHAPE_BYTES_MIN: u32 = 16;

const NEWLINE: u32 = 10;
const DASH: u32 = 45;
const COLON: u32 = 58;
const EQUALS: u32 = 61;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const BLANKS: u64 = ONES * 32;

/** Sets the high bit of some byte when one of eight bytes is no ASCII, a control character, : or = or -. Where it finds none, no byte has
 *  its high bit set in the result; which of several bytes it was, the lowest set bit alone tells. */
@inline function signs(eight: u64): u64 {
  const equalsOrDash = ((eight | (ONES * 16)) ^ (ONES * 61)) - ONES; // 0x3d and 0x2d
  return controls(eight) | equalsOrDash | ((eight ^ (ONES * 58)) - ONES);
}
/** As signs, for no ASCII and control characters alone. */
@inline function controls(eight: u64): u64 {
  return eight | (eight - BLANKS) | (eight + ONES);
}
/** The eight bytes with * for each newline. */
@inline function withoutNewlines(eight: u64): u64 {
  const others = eight ^ (ONES * NEWLINE);
  const newlines = ~(((others & ~HIGH_BITS) + ~HIGH_BITS) | others | ~HIGH_BITS); // the high bit of each, and no other
  return eight + (newlines >> 2);
}
/** As signs, for b and B, if all bytes are ASCII. */
@inline function lettersB(eight: u64): u64 {
  return ((eight | BLANKS) ^ (ONES * 98)) - ONES;
}
/** As signs, for a blank, if all bytes are ASCII. */
@inline function blanks(eight: u64): u64 {
  return (eight ^ BLANKS) - ONES;
}

/** Looks at `bytes` of text; `lines`: newlines are no control characters. Returns TEXT_*. */
@inline export function scanText(text: usize, bytes: u32, lines: bool): u32 {
  return bytes < 8 ? scanShort(text, bytes, lines) : scanLong(text, bytes, lines);
}

function scanLong(text: usize, bytes: u32, lines: bool): u32 {
  const stop = text + bytes;
  let found = TEXT_PLAIN;
  for (let at = text; at < stop; at += 8) {
    // The last eight bytes overlap those before them. A long token holds eight bytes without a blank, wherever it begins.
    if (at + 8 > stop) at = stop - 8;
    const eight = load<u64>(at);
    const letters = lettersB(eight) & HIGH_BITS;
    if ((signs(eight) & HIGH_BITS) == 0 && (blanks(eight) & HIGH_BITS) != 0) {
      if (letters == 0 || !schemesAt(at, letters, stop)) continue;
      found = TEXT_LOOK;
      continue;
    }
    if (hasControl(at, at + 8, lines)) return TEXT_CONTROL;
    if (found == TEXT_PLAIN && !isPlainPart(text, at, at + 8, stop)) found = TEXT_LOOK;
  }
  return found;
}

/** scanText for less than eight bytes: too short for a long token. */
function scanShort(text: usize, bytes: u32, lines: bool): u32 {
  if (bytes >= 4) {
    const eight = <u64>load<u32>(text) | (<u64>load<u32>(text + bytes - 4) << 32);
    if ((signs(eight) & HIGH_BITS) == 0) {
      for (let at = text, last = text + bytes - 4; at <= last; at++) if (isScheme(at)) return TEXT_LOOK;
      return TEXT_PLAIN;
    }
  }
  if (hasControl(text, text + bytes, lines)) return TEXT_CONTROL;
  return isPlainPart(text, text, text + bytes, text + bytes) ? TEXT_PLAIN : TEXT_LOOK;
}

/** Whether a b of the eight bytes at `at` begins a scheme; `letters` has the high bits of (at least) those bytes. */
function schemesAt(at: usize, letters: u64, stop: usize): bool {
  for (; letters != 0; letters &= letters - 1) {
    const b = at + (<usize>ctz(letters) >> 3);
    if (b + 4 <= stop && isScheme(b)) return true;
  }
  return false;
}

/** Whether the four letters at `at` begin `bearer` or `basic`, in any case. */
@inline function isScheme(at: usize): bool {
  const letters = load<u32>(at) | 0x20202020;
  return letters == 0x72616562 || letters == 0x69736162;
}

/** Whether a control character stands in the text: scanText's answer alone, for fields, which are never plain. */
export function holdsControl(text: usize, bytes: u32, lines: bool): bool {
  const stop = text + bytes;
  let at = text;
  for (; at + 8 <= stop; at += 8) {
    const eight = load<u64>(at);
    if ((controls(eight) & HIGH_BITS) == 0) continue;
    if (lines && (controls(withoutNewlines(eight)) & HIGH_BITS) == 0) continue;
    if (hasControl(at, at + 8, lines)) return true;
  }
  return hasControl(at, stop, lines);
}

function hasControl(from: usize, to: usize, lines: bool): bool {
  for (let at = from; at < to; at++) {
    const c = <u32>load<u8>(at);
    if (c < 32 ? !lines || c != NEWLINE : c == 127) return true;
  }
  return false;
}

/** Looks at each byte of [from, to), and at the whole tokens at its ends, of a text [start, stop): whether the part is surely plain. */
function isPlainPart(start: usize, from: usize, to: usize, stop: usize): bool {
  let at = from;
  while (at > start && from - at < SHAPE_BYTES_MIN && isTokenByte(<u32>load<u8>(at - 1))) at--;
  let run: u32 = 0;
  for (; at < stop && (at < to || run != 0); at++) {
    const c = <u32>load<u8>(at);
    if (!isTokenByte(c)) {
      if (c == COLON || c == EQUALS) return false;
      run = 0;
      continue;
    }
    run++;
    if (run >= SHAPE_BYTES_MIN) return false;
    if (at + 1 < stop && c == DASH && <u32>load<u8>(at + 1) == DASH) return false;
    if ((c | 32) == 98 && at + 4 <= stop && isScheme(at)) return false;
  }
  return true;
}
