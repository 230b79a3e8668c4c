// SPDX-License-Identifier: Apache-2.0
// Redaction before storage: what logd and metricsd call on every record before they keep it.
//
// Invariant: works in place on the caller's bytes, never makes them longer, allocates nothing, and takes time linear in
// their length. A value that is denied by its key (taxonomy.ts) or by its shape (shapes.ts) becomes the one byte `*`;
// nothing of it, its length included, remains. Each replacement is counted.
// Limits: docs/redaction.md says what this cannot see.
import { MUT_REDACTION_OFF, mutant } from "../../gen/mutants";
import { KEY_CLASS_MASK, KEY_IS_TOKEN, judgeKey } from "./memo";
import { KEY_DENIED_LINE, KEY_DIGEST, KEY_PLAIN, classifyKey } from "./taxonomy";
import { SHAPE_BYTES_MIN, TEXT_PLAIN, scanText } from "./scan";
import { isPlainToken, isSecretShape, isTokenByte, wordIs } from "./shapes";

const NEWLINE: u32 = 10;
const BLANK: u32 = 32;
const QUOTE: u32 = 34;
const APOSTROPHE: u32 = 39;
const STAR: u8 = 42;
const DASH: u32 = 45;
const COLON: u32 = 58;
const EQUALS: u32 = 61;
const AT: u32 = 64;
const SLASH: u32 = 47;
const BACKSLASH: u32 = 92;
/** Shortest credential after the word Bearer or Basic. */
const CREDENTIAL_BYTES_MIN: u32 = 8;

let replaced: u64 = 0;

/** Replacements since the module started. */
export function redactionCount(): u64 {
  return replaced;
}

/**
 * Redacts `key=value` lines separated by newlines (logd fields, metric labels, span attributes), in place.
 * Returns the new length, at most len. A line without `=` is treated as free text.
 */
export function redactFields(ptr: usize, len: u32): u32 {
  if (mutant(MUT_REDACTION_OFF)) return len;
  let read: u32 = 0;
  let write: u32 = 0;
  while (read < len) {
    const equals = findEither(ptr, read, len, EQUALS, NEWLINE); // where the key ends, or the line if it has none
    const keyed = equals < len && <u32>load<u8>(ptr + equals) == EQUALS;
    const end = keyed ? findEither(ptr, equals, len, NEWLINE, NEWLINE) : equals;
    let digestKey = false;
    if (keyed) {
      const valueLen = end - equals - 1;
      const judged = judgeKey(ptr + read, equals - read, ptr + equals + 1, valueLen);
      const kind = judged & KEY_CLASS_MASK;
      // What stands before the `=` may hold a secret of its own when it is no plain key.
      if (judged & KEY_IS_TOKEN) write = copyDown(ptr, write, read, equals);
      else write = redactSpan(ptr, write, read, equals, false);
      store<u8>(ptr + write, <u8>EQUALS);
      write += 1;
      read = equals + 1;
      const replacedBefore = valueLen == 1 && load<u8>(ptr + equals + 1) == STAR;
      if (kind != KEY_PLAIN && kind != KEY_DIGEST && valueLen != 0 && !replacedBefore) {
        // A PEM block spans lines: all of it goes, not only this line.
        read = endOfSecretLines(ptr, read, end, len);
        write = putStar(ptr, write);
        if (read < len) write = copyDown(ptr, write, read, read + 1);
        read += 1;
        continue;
      }
      digestKey = kind == KEY_DIGEST;
    }
    // Free text: to the end of the line, or of a PEM block that starts in it (a plain one holds no two dashes).
    let stop = end;
    if ((end - read >= 8 && isPlainToken(ptr + read, end - read)) || scanText(ptr + read, end - read, true) == TEXT_PLAIN) {
      write = copyDown(ptr, write, read, end);
    } else {
      stop = endOfSecretLines(ptr, read, end, len);
      write = redactClosely(ptr, write, read, stop, digestKey);
    }
    if (stop < len) write = copyDown(ptr, write, stop, stop + 1);
    read = stop + 1;
  }
  return write;
}

/** Redacts free text (a log message, a span name) in place. Returns the new length, at most len. */
export function redactText(ptr: usize, len: u32): u32 {
  if (mutant(MUT_REDACTION_OFF)) return len;
  return scanText(ptr, len, true) == TEXT_PLAIN ? len : redactClosely(ptr, 0, 0, len, false);
}

/** redactText for a text that scanText did not find plain. */
export function redactLooked(ptr: usize, len: u32): u32 {
  if (mutant(MUT_REDACTION_OFF)) return len;
  return redactClosely(ptr, 0, 0, len, false);
}

const ONES: u64 = 0x0101010101010101;
const HIGH_BITS: u64 = 0x8080808080808080;

/** The first offset in [from, len) of one of two bytes, or len. */
function findEither(ptr: usize, from: u32, len: u32, a: u32, b: u32): u32 {
  let i = from;
  for (; i + 8 <= len; i += 8) {
    const eight = load<u64>(ptr + i);
    const x = eight ^ (ONES * a);
    const y = eight ^ (ONES * b);
    const hits = (((x - ONES) & ~x) | ((y - ONES) & ~y)) & HIGH_BITS; // the lowest is exact
    if (hits != 0) return i + (<u32>ctz(hits) >> 3);
  }
  for (; i < len; i++) {
    const c = <u32>load<u8>(ptr + i);
    if (c == a || c == b) break;
  }
  return i;
}

/** Copies bytes [from, to) down to `write`; returns where writing goes on. */
@inline function copyDown(ptr: usize, write: u32, from: u32, to: u32): u32 {
  if (write != from) memory.copy(ptr + write, ptr + from, to - from);
  return write + (to - from);
}

@inline function putStar(ptr: usize, write: u32): u32 {
  store<u8>(ptr + write, STAR);
  replaced += 1;
  return write + 1;
}

/** Whether `-----BEGIN` or `-----END` (five dashes and the first letter) stands at `at`. */
function armourAt(ptr: usize, at: u32, len: u32, letter: u32): bool {
  if (at + 6 > len) return false;
  for (let i: u32 = 0; i < 5; i++) if (<u32>load<u8>(ptr + at + i) != DASH) return false;
  return <u32>load<u8>(ptr + at + 5) == letter;
}

/** Where a PEM block that starts at `at` ends (after the closing dashes), or len when it is cut off. */
function endOfArmour(ptr: usize, at: u32, len: u32): u32 {
  let i = at + 5;
  while (i < len && !armourAt(ptr, i, len, 69)) i += 1; // E of END
  i += 5;
  while (i < len && !armourAt5(ptr, i, len)) i += 1;
  i += 5;
  return i < len ? i : len;
}

@inline function armourAt5(ptr: usize, at: u32, len: u32): bool {
  if (at + 5 > len) return false;
  for (let i: u32 = 0; i < 5; i++) if (<u32>load<u8>(ptr + at + i) != DASH) return false;
  return true;
}

/** The end of this line, or of the last line of a PEM block that begins in it. */
function endOfSecretLines(ptr: usize, from: u32, end: u32, len: u32): u32 {
  for (let i = from; i + 6 <= end; i++) {
    if (<u32>load<u8>(ptr + i) == DASH && armourAt(ptr, i, len, 66)) { // B of BEGIN
      let stop = endOfArmour(ptr, i, len);
      while (stop < len && <u32>load<u8>(ptr + stop) != NEWLINE) stop += 1;
      return stop;
    }
  }
  return end;
}

/** Whether c may stand between a key and its `=` or `:` (JSON, YAML, escaped quotes). */
@inline function isKeyGap(c: u32): bool {
  return c == BLANK || c == QUOTE || c == APOSTROPHE || c == BACKSLASH || c == 9;
}

/** Where an unquoted or quoted value that starts at `at` ends. */
function endOfValue(ptr: usize, at: u32, end: u32, quote: u32, wholeLine: bool): u32 {
  let i = at;
  while (i < end) {
    const c = <u32>load<u8>(ptr + i);
    if (c == NEWLINE || c == 13) break;
    if (quote) {
      if (c == quote && <u32>load<u8>(ptr + i - 1) != BACKSLASH) break;
    } else if (!wholeLine) {
      // blank , ; & ) ] } > and quotes end a bare value
      if (c == BLANK || c == 9 || c == 44 || c == 59 || c == 38 || c == 41 || c == 93 || c == 125 || c == 62) break;
      if (c == QUOTE || c == APOSTROPHE) break;
    }
    i += 1;
  }
  return i;
}

/** Redacts [read, end) into [write, ...) of the same bytes; write <= read always. Returns the new write position. */
function redactSpan(ptr: usize, writeFrom: u32, readFrom: u32, end: u32, digestKey: bool): u32 {
  if (scanText(ptr + readFrom, end - readFrom, true) == TEXT_PLAIN) return copyDown(ptr, writeFrom, readFrom, end);
  return redactClosely(ptr, writeFrom, readFrom, end, digestKey);
}

/** redactSpan for bytes that are not plain. */
function redactClosely(ptr: usize, writeFrom: u32, readFrom: u32, end: u32, digestKey: bool): u32 {
  let write = writeFrom;
  let read = readFrom;
  let token = write; // where the current token starts in the output
  let last = write; // the token before, if only key gaps lie between
  let lastLen: u32 = 0;
  let digest = digestKey;
  while (read < end) {
    const c = <u32>load<u8>(ptr + read);
    if (isTokenByte(c)) {
      if (c == DASH && armourAt(ptr, read, end, 66)) {
        read = endOfArmour(ptr, read, end);
        write = putStar(ptr, write);
        token = write;
        lastLen = 0;
        continue;
      }
      store<u8>(ptr + write, <u8>c);
      write += 1;
      read += 1;
      continue;
    }
    let n = write - token;
    if (n >= SHAPE_BYTES_MIN && isSecretShape(ptr + token, n, digest)) {
      write = putStar(ptr, token);
      while (read < end && <u32>load<u8>(ptr + read) == EQUALS) read += 1; // base64 padding
      n = 0;
      token = write;
      lastLen = 0;
      if (read == end) return write;
      continue;
    }
    if (n != 0) {
      last = token;
      lastLen = n;
      digest = false;
    }
    store<u8>(ptr + write, <u8>c);
    write += 1;
    read += 1;
    if (c == BLANK && n != 0 && startsSecretArgument(ptr, last, lastLen, read, end)) {
      const stop = endOfValue(ptr, read, end, 0, false);
      write = putStar(ptr, write);
      read = stop;
      lastLen = 0;
    } else if (c == COLON && read + 1 < end && <u32>load<u8>(ptr + read) == SLASH
        && <u32>load<u8>(ptr + read + 1) == SLASH) {
      // scheme://user:password@host
      store<u16>(ptr + write, 0x2f2f);
      write += 2;
      read += 2;
      const stop = endOfUserInfo(ptr, read, end);
      if (stop != read) write = putStar(ptr, write);
      read = stop;
      lastLen = 0;
    } else if ((c == COLON || c == EQUALS) && lastLen != 0) {
      const key = keyStart(ptr, last, lastLen, writeFrom);
      let from = read;
      let quote: u32 = 0;
      while (from < end && isKeyGap(<u32>load<u8>(ptr + from))) {
        const g = <u32>load<u8>(ptr + from);
        if (g == QUOTE || g == APOSTROPHE) quote = g;
        from += 1;
      }
      const probe = endOfValue(ptr, from, end, quote, false);
      const kind = judgeKey(ptr + key, last + lastLen - key, ptr + from, probe - from) & KEY_CLASS_MASK;
      if (kind == KEY_DIGEST) {
        digest = true;
      } else if (kind != KEY_PLAIN && from < end) {
        let stop = kind == KEY_DENIED_LINE ? endOfValue(ptr, from, end, quote, true) : probe;
        if (stop - from <= 6 && isScheme(ptr + from, stop - from) && stop < end) {
          stop = endOfValue(ptr, skipBlanks(ptr, stop, end), end, quote, false);
        }
        write = copyDown(ptr, write, read, from);
        read = from;
        if (stop != from && !(stop == from + 1 && load<u8>(ptr + from) == STAR)) {
          write = putStar(ptr, write);
          read = stop;
        }
      }
      lastLen = 0;
    } else if (!isKeyGap(c)) {
      lastLen = 0;
      digest = false;
    }
    token = write;
  }
  const n = write - token;
  if (n >= SHAPE_BYTES_MIN && isSecretShape(ptr + token, n, digest)) write = putStar(ptr, token);
  return write;
}

@inline function skipBlanks(ptr: usize, at: u32, end: u32): u32 {
  let i = at;
  while (i < end && <u32>load<u8>(ptr + i) == BLANK) i += 1;
  return i;
}

/** Bearer or Basic, in any case. */
@inline function isScheme(ptr: usize, len: u32): bool {
  return wordIs(ptr, len, "bearer") || wordIs(ptr, len, "basic") || wordIs(ptr, len, "digest");
}

/** Whether the blank after this token separates it from a secret: `Bearer XXXX`, `Basic dXNl...`, `--password XXXX`. */
function startsSecretArgument(ptr: usize, token: u32, len: u32, next: u32, end: u32): bool {
  const first = <u32>load<u8>(ptr + token) | 32;
  if (first != 98 && <u32>load<u8>(ptr + token) != DASH) return false;
  const stop = endOfValue(ptr, next, end, 0, false);
  if (stop - next == 0) return false;
  if (first == 98 && stop - next >= CREDENTIAL_BYTES_MIN) { // b
    if (wordIs(ptr + token, len, "bearer")) return true;
    if (wordIs(ptr + token, len, "basic")) {
      for (let i = next; i < stop; i++) {
        const c = <u32>load<u8>(ptr + i);
        if (c - 48 < 10 || c == EQUALS || (c - 65 < 26 && i != next)) return true;
      }
    }
    return false;
  }
  if (len > 2 && <u32>load<u8>(ptr + token) == DASH && <u32>load<u8>(ptr + token + 1) == DASH) {
    if (<u32>load<u8>(ptr + next) == DASH) return false; // another option follows
    const kind = classifyKey(ptr + token, len, ptr + next, stop - next);
    return kind != KEY_PLAIN && kind != KEY_DIGEST;
  }
  return false;
}

/** Where `user:password` of a URL ends (at the @), or `at` when there is none. */
function endOfUserInfo(ptr: usize, at: u32, end: u32): u32 {
  for (let i = at; i < end; i++) {
    const c = <u32>load<u8>(ptr + i);
    if (c == AT) return i;
    if (c <= BLANK || c == SLASH || c == QUOTE || c == 63 || c == 35) return at;
  }
  return at;
}

/** The key's start: one word further back for two-word names such as `api key`. */
function keyStart(ptr: usize, last: u32, lastLen: u32, floor: u32): u32 {
  if (!wordIs(ptr + last, lastLen, "key") && !wordIs(ptr + last, lastLen, "phrase")) return last;
  let i = last;
  if (i == floor || <u32>load<u8>(ptr + i - 1) != BLANK) return last;
  i -= 1;
  while (i > floor && last - i < 24 && isTokenByte(<u32>load<u8>(ptr + i - 1))) i -= 1;
  return i;
}
