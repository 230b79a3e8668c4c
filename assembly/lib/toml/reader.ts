// SPDX-License-Identifier: Apache-2.0
// The one reader of recipe files: a strict subset of TOML 1.0, pulled one item at a time. It owns the syntax; which
// keys exist and what they may hold is the caller's. Subset: `[table]`, `[[table]]`, `key = value` with bare keys,
// where a value is an unsigned integer (decimal, `_` between digits), a basic string without escapes, or an array of
// only integers or only strings (may span lines, may end in a comma). Whatever else TOML has is an error, never
// skipped.
// Invariant: the reader never reads outside [start, end) and each call advances or returns TOML_END or TOML_ERROR, so a
// caller's loop ends. Limits: text of TOML_BYTES_MAX bytes, TOML_NAMES_MAX names (tables and keys), TOML_ITEMS_MAX
// items. One document at a time: the state is the module's. No allocation.

/** End of the document. */
export const TOML_END: u32 = 0;
/** A `[table]` header: tomlName*. */
export const TOML_TABLE: u32 = 1;
/** A `[[table]]` header: tomlName*; its keys start afresh. */
export const TOML_TABLE_ARRAY: u32 = 2;
/** `key = 12`: tomlName*, tomlU64. */
export const TOML_U64: u32 = 3;
/** `key = "text"`: tomlName*, tomlText*. */
export const TOML_STRING: u32 = 4;
/** `key = [1, 2]`: tomlName*, tomlItemCount, tomlItemU64. An empty array is TOML_ARRAY_U64 with no item. */
export const TOML_ARRAY_U64: u32 = 5;
/** `key = ["a", "b"]`: tomlName*, tomlItemCount, tomlItemPtr, tomlItemLen. */
export const TOML_ARRAY_STRING: u32 = 6;
/** The document is refused: tomlError, tomlLine. Every later call answers the same. */
export const TOML_ERROR: u32 = 7;

export const TOML_E_TOO_LONG: u32 = 1;
export const TOML_E_CHARACTER: u32 = 2;
export const TOML_E_TABLE: u32 = 3;
export const TOML_E_KEY: u32 = 4;
export const TOML_E_EQUALS: u32 = 5;
export const TOML_E_VALUE: u32 = 6;
export const TOML_E_INTEGER: u32 = 7;
export const TOML_E_INTEGER_RANGE: u32 = 8;
export const TOML_E_STRING: u32 = 9;
export const TOML_E_ARRAY: u32 = 10;
export const TOML_E_ARRAY_MIXED: u32 = 11;
export const TOML_E_ITEMS: u32 = 12;
export const TOML_E_REST: u32 = 13;
export const TOML_E_DUPLICATE: u32 = 14;
export const TOML_E_NAMES: u32 = 15;

export const TOML_BYTES_MAX: u32 = 65536;
export const TOML_NAMES_MAX: u32 = 256;
export const TOML_ITEMS_MAX: u32 = 64;
const NAME_ENTRY_BYTES: u32 = 16;
const ITEM_BYTES: u32 = 8;

// Names seen: {ptr u32, len u32, scope u32, kind u32}; scope is 0 for tables and for keys above the
// first table, else the number of the table that holds the key.
const names = <u32>memory.data(256 * 16, 8);
// Items of the last array: u64, or {ptr u32, len u32}.
const items = <u32>memory.data(64 * 8, 8);

let at: u32 = 0;
let end: u32 = 0;
let line: u32 = 1;
let error: u32 = 0;
let nameCount: u32 = 0;
let tableNumber: u32 = 0;
let namePtr: u32 = 0;
let nameLen: u32 = 0;
let valueU64: u64 = 0;
let textPtr: u32 = 0;
let textLen: u32 = 0;
let itemCount: u32 = 0;

/** Starts on `len` bytes at `ptr`; they must stay unchanged while the reader or its results are in use. */
export function tomlOpen(ptr: u32, len: u32): void {
  at = ptr;
  end = ptr + len;
  line = 1;
  error = 0;
  nameCount = 0;
  tableNumber = 0;
  itemCount = 0;
  if (len > TOML_BYTES_MAX) error = TOML_E_TOO_LONG;
}

/** The next item's kind (TOML_*). */
export function tomlNext(): u32 {
  if (error != 0) return TOML_ERROR;
  while (at < end) {
    skipBlanks();
    if (at >= end) break;
    const c = load<u8>(at);
    if (c == 0x23) {
      if (!skipComment()) return TOML_ERROR;
    } else if (c == 0x0a || c == 0x0d) {
      if (!takeNewline()) return TOML_ERROR;
    } else if (c == 0x5b) {
      return readTable();
    } else {
      return readPair();
    }
  }
  return TOML_END;
}

/** Line of the last item, or of the error; counted from 1. */
export function tomlLine(): u32 {
  return line;
}
/** The error (TOML_E_*), or 0. */
export function tomlError(): u32 {
  return error;
}
/** Address of the last table's or key's name. */
export function tomlNamePtr(): u32 {
  return namePtr;
}
/** Its length in bytes. */
export function tomlNameLen(): u32 {
  return nameLen;
}
/** Whether the last name is exactly `text` (ASCII literal). */
export function tomlNameIs(text: string): bool {
  return same(namePtr, nameLen, text);
}
/** The last TOML_U64 value. */
export function tomlU64(): u64 {
  return valueU64;
}
/** Address of the last TOML_STRING value, without quotes. */
export function tomlTextPtr(): u32 {
  return textPtr;
}
/** Its length in bytes; may be 0. */
export function tomlTextLen(): u32 {
  return textLen;
}
/** Items of the last array, 0 to TOML_ITEMS_MAX. */
export function tomlItemCount(): u32 {
  return itemCount;
}
/** Item `index` of the last TOML_ARRAY_U64; index < tomlItemCount(). */
export function tomlItemU64(index: u32): u64 {
  assert(index < itemCount);
  return load<u64>(items + index * ITEM_BYTES);
}
/** Address of item `index` of the last TOML_ARRAY_STRING; index < tomlItemCount(). */
export function tomlItemPtr(index: u32): u32 {
  assert(index < itemCount);
  return load<u32>(items + index * ITEM_BYTES);
}
/** Its length in bytes. */
export function tomlItemLen(index: u32): u32 {
  assert(index < itemCount);
  return load<u32>(items + index * ITEM_BYTES, 4);
}

function refuse(code: u32): u32 {
  error = code;
  return TOML_ERROR;
}

function same(ptr: u32, len: u32, text: string): bool {
  if (<u32>text.length != len) return false;
  const wide = <u32>changetype<usize>(text);
  for (let i: u32 = 0; i < len; i++) {
    if (<u16>load<u8>(ptr + i) != load<u16>(wide + (i << 1))) return false;
  }
  return true;
}

function isNameByte(c: u8): bool {
  if (c >= 0x61 && c <= 0x7a) return true;
  if (c >= 0x41 && c <= 0x5a) return true;
  if (c >= 0x30 && c <= 0x39) return true;
  return c == 0x5f || c == 0x2d;
}

function isDigit(c: u8): bool {
  return c >= 0x30 && c <= 0x39;
}

function skipBlanks(): void {
  while (at < end) {
    const c = load<u8>(at);
    if (c != 0x20 && c != 0x09) return;
    at++;
  }
}

// Comments hold printable ASCII and tabs; stops at the line's end.
function skipComment(): bool {
  while (at < end) {
    const c = load<u8>(at);
    if (c == 0x0a || c == 0x0d) return true;
    if (c != 0x09 && (c < 0x20 || c > 0x7e)) {
      refuse(TOML_E_CHARACTER);
      return false;
    }
    at++;
  }
  return true;
}

// LF or CR LF; a lone CR is refused.
function takeNewline(): bool {
  if (load<u8>(at) == 0x0d) {
    at++;
    if (at >= end || load<u8>(at) != 0x0a) {
      refuse(TOML_E_CHARACTER);
      return false;
    }
  }
  at++;
  line++;
  return true;
}

// Nothing but blanks and a comment may follow on the line; the newline itself is left for the next item, so that
// tomlLine() is the line of what was just read.
function endOfLine(kind: u32): u32 {
  skipBlanks();
  if (at >= end) return kind;
  const c = load<u8>(at);
  if (c == 0x23) return skipComment() ? kind : TOML_ERROR;
  if (c == 0x0a || c == 0x0d) return kind;
  return refuse(TOML_E_REST);
}

function readName(): bool {
  namePtr = at;
  while (at < end && isNameByte(load<u8>(at))) at++;
  nameLen = at - namePtr;
  return nameLen != 0;
}

// A name may stand once in its scope; a [[table]] name may repeat, but not beside a [table] of that name.
function remember(scope: u32, kind: u32): bool {
  for (let i: u32 = 0; i < nameCount; i++) {
    const entry = names + i * NAME_ENTRY_BYTES;
    if (load<u32>(entry, 8) != scope || load<u32>(entry, 4) != nameLen) continue;
    if (memory.compare(load<u32>(entry), namePtr, nameLen) != 0) continue;
    if (kind == TOML_TABLE_ARRAY && load<u32>(entry, 12) == TOML_TABLE_ARRAY) return true;
    refuse(TOML_E_DUPLICATE);
    return false;
  }
  if (nameCount == TOML_NAMES_MAX) {
    refuse(TOML_E_NAMES);
    return false;
  }
  const entry = names + nameCount * NAME_ENTRY_BYTES;
  store<u32>(entry, namePtr);
  store<u32>(entry, nameLen, 4);
  store<u32>(entry, scope, 8);
  store<u32>(entry, kind, 12);
  nameCount++;
  return true;
}

function readTable(): u32 {
  at++;
  let kind = TOML_TABLE;
  if (at < end && load<u8>(at) == 0x5b) {
    at++;
    kind = TOML_TABLE_ARRAY;
  }
  skipBlanks();
  if (!readName()) return refuse(TOML_E_TABLE);
  skipBlanks();
  const brackets: u32 = kind == TOML_TABLE ? 1 : 2;
  for (let i: u32 = 0; i < brackets; i++) {
    if (at >= end || load<u8>(at) != 0x5d) return refuse(TOML_E_TABLE);
    at++;
  }
  if (!remember(0, kind)) return TOML_ERROR;
  tableNumber++;
  return endOfLine(kind);
}

function readPair(): u32 {
  if (!readName()) return refuse(TOML_E_KEY);
  skipBlanks();
  if (at >= end || load<u8>(at) != 0x3d) return refuse(TOML_E_EQUALS);
  at++;
  skipBlanks();
  if (!remember(tableNumber, TOML_U64)) return TOML_ERROR;
  if (at >= end) return refuse(TOML_E_VALUE);
  const c = load<u8>(at);
  if (c == 0x22) return readString() ? endOfLine(TOML_STRING) : TOML_ERROR;
  if (c == 0x5b) return readArray();
  if (isDigit(c)) return readInteger() ? endOfLine(TOML_U64) : TOML_ERROR;
  return refuse(TOML_E_VALUE);
}

function readInteger(): bool {
  const first = at;
  let value: u64 = 0;
  let underscore = true;
  while (at < end) {
    const c = load<u8>(at);
    if (c == 0x5f) {
      if (underscore) break;
      underscore = true;
    } else if (isDigit(c)) {
      const digit = <u64>(c - 0x30);
      if (value > (u64.MAX_VALUE - digit) / 10) {
        refuse(TOML_E_INTEGER_RANGE);
        return false;
      }
      value = value * 10 + digit;
      underscore = false;
    } else {
      break;
    }
    at++;
  }
  const leadingZero = load<u8>(first) == 0x30 && at - first > 1;
  const glued = at < end && isNameByte(load<u8>(at));
  if (underscore || leadingZero || glued || (at < end && load<u8>(at) == 0x2e)) {
    refuse(TOML_E_INTEGER);
    return false;
  }
  valueU64 = value;
  return true;
}

function readString(): bool {
  at++;
  textPtr = at;
  while (at < end) {
    const c = load<u8>(at);
    if (c == 0x22) {
      textLen = at - textPtr;
      at++;
      return true;
    }
    if (c < 0x20 || c > 0x7e || c == 0x5c) break;
    at++;
  }
  refuse(TOML_E_STRING);
  return false;
}

function readArray(): u32 {
  at++;
  itemCount = 0;
  let kind: u32 = 0;
  let comma = true;
  while (at < end) {
    skipBlanks();
    if (at >= end) break;
    const c = load<u8>(at);
    if (c == 0x5d) {
      at++;
      return endOfLine(kind == 0 ? TOML_ARRAY_U64 : kind);
    }
    if (c == 0x23) {
      if (!skipComment()) return TOML_ERROR;
    } else if (c == 0x0a || c == 0x0d) {
      if (!takeNewline()) return TOML_ERROR;
    } else if (c == 0x2c) {
      if (comma) return refuse(TOML_E_ARRAY);
      comma = true;
      at++;
    } else {
      if (!comma) return refuse(TOML_E_ARRAY);
      comma = false;
      const itemKind = c == 0x22 ? TOML_ARRAY_STRING : TOML_ARRAY_U64;
      if (kind != 0 && kind != itemKind) return refuse(TOML_E_ARRAY_MIXED);
      kind = itemKind;
      if (!readItem(c)) return TOML_ERROR;
    }
  }
  return refuse(TOML_E_ARRAY);
}

function readItem(first: u8): bool {
  if (itemCount == TOML_ITEMS_MAX) {
    refuse(TOML_E_ITEMS);
    return false;
  }
  const slot = items + itemCount * ITEM_BYTES;
  if (first == 0x22) {
    if (!readString()) return false;
    store<u32>(slot, textPtr);
    store<u32>(slot, textLen, 4);
  } else {
    if (!isDigit(first)) {
      refuse(TOML_E_VALUE);
      return false;
    }
    if (!readInteger()) return false;
    store<u64>(slot, valueU64);
  }
  itemCount++;
  return true;
}
