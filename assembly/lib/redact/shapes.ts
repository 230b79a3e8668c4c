// SPDX-License-Identifier: Apache-2.0
// Which values look like a secret whatever their key says: prefixes of known key formats, JWT, long hex, long base64.
//
// Invariant: pure functions of the token's bytes; each call reads a token at most three times.
// Limits: a secret that looks like a word or a number is invisible here (its key must give it away). UUIDs pass.

/** Shortest token that a known prefix makes a secret. */
const PREFIXED_BYTES_MIN: u32 = 16;
const HEX_BYTES_MIN: u32 = 32;
const BASE64_BYTES_MIN: u32 = 32;
const JWT_BYTES_MIN: u32 = 20;

// Prefixes of published key formats: cloud, source forge, package registry, chat and model-hub keys.
const PREFIXES: string =
  "AKIA ASIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- glrt- nvapi- nvcf- sk- sk_live_ sk_test_ rk_live_ pk_live_ " +
  "xoxb- xoxp- xoxa- xoxr- xoxs- xapp- hf_ npm_ pypi- AIza ya29. dop_v1_ SG. shpat_ dckr_pat_ tskey- " +
  "AGE-SECRET-KEY- hvs. hvb.";

const TOKEN: u8 = 1;
const HEX: u8 = 2;
const UPPER: u8 = 4;
const LOWER: u8 = 8;
const DIGIT: u8 = 16;
const JOINT: u8 = 32; // + / - _ : rare inside base64, frequent in paths and names
const DOT: u8 = 64;

const classes: usize = memory.data(256);

function fillClasses(): bool {
  for (let c: u32 = 0; c < 128; c++) {
    let k: u8 = 0;
    if (c - 97 < 26) k = TOKEN | LOWER;
    else if (c - 65 < 26) k = TOKEN | UPPER;
    else if (c - 48 < 10) k = TOKEN | DIGIT | HEX;
    else if (c == 43 || c == 47 || c == 45 || c == 95) k = TOKEN | JOINT;
    else if (c == 46) k = TOKEN | DOT;
    else if (c == 126) k = TOKEN;
    if (c - 97 < 6 || c - 65 < 6) k |= HEX;
    store<u8>(classes + c, k);
  }
  return true;
}
const filled: bool = fillClasses();

/** Whether c belongs to a token: letters, digits and + / - _ . ~ */
@inline export function isTokenByte(c: u32): bool {
  return load<u8>(classes + c) != 0;
}

/** Whether the len bytes at ptr spell `word` (given in lower case), in any case. */
export function wordIs(ptr: usize, len: u32, word: string): bool {
  if (len != <u32>word.length) return false;
  const text = changetype<usize>(word);
  for (let i: u32 = 0; i < len; i++) {
    if ((<u32>load<u8>(ptr + i) | 32) != <u32>load<u16>(text + (i << 1))) return false;
  }
  return true;
}

/** 1 for each byte with which some prefix begins: most tokens are none at their first byte. */
const starts: usize = memory.data(256);
function fillStarts(): bool {
  const list = changetype<usize>(PREFIXES);
  for (let i: u32 = 0; i < <u32>PREFIXES.length; i++) {
    if (i == 0 || load<u16>(list + ((i - 1) << 1)) == 32) store<u8>(starts + load<u16>(list + (i << 1)), 1);
  }
  return true;
}
const startsFilled: bool = fillStarts();

function hasKnownPrefix(ptr: usize, len: u32): bool {
  if (load<u8>(starts + load<u8>(ptr)) == 0) return false;
  const list = changetype<usize>(PREFIXES);
  const listLen = <u32>PREFIXES.length;
  let at: u32 = 0;
  let same = true;
  for (let i: u32 = 0; i <= listLen; i++) {
    const c: u32 = i < listLen ? <u32>load<u16>(list + (i << 1)) : 32;
    if (c == 32) {
      if (same && at != 0) return true;
      at = 0;
      same = true;
    } else {
      if (same && (at >= len || <u32>load<u8>(ptr + at) != c)) same = false;
      at += 1;
    }
  }
  return false;
}

/** Whether a token so short, with such a first byte, is surely no secret: of all shapes only a known prefix and a JWT are below
 *  SHORT_BYTES, and each tells by its first byte. */
const SHORT_BYTES: u32 = 32;
assert(HEX_BYTES_MIN >= SHORT_BYTES && BASE64_BYTES_MIN >= SHORT_BYTES);
@inline function surelyNone(ptr: usize, len: u32): bool {
  if (len >= SHORT_BYTES) return false;
  return len < PREFIXED_BYTES_MIN || (load<u8>(starts + load<u8>(ptr)) == 0 && <u32>load<u8>(ptr) != 101);
}

/** Whether the text is one token without dashes (armour, options) that is no secret by its shape: nothing in it is to be replaced. False
 *  promises nothing. */
export function isPlainToken(ptr: usize, len: u32): bool {
  if (len == 0 || !surelyNone(ptr, len)) return false;
  for (let i: u32 = 0; i < len; i++) {
    const c = <u32>load<u8>(ptr + i);
    if (!isTokenByte(c) || c == 45) return false;
  }
  return true;
}

/** Whether the token ends in a UUID (8-4-4-4-12 hexadecimal digits). */
function endsInUuid(ptr: usize, len: u32): bool {
  if (len < 36) return false;
  const uuid = ptr + (len - 36);
  for (let i: u32 = 0; i < 36; i++) {
    const c = <u32>load<u8>(uuid + i);
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != 45) return false;
    } else if (!(load<u8>(classes + c) & HEX)) {
      return false;
    }
  }
  return true;
}

/**
 * Whether the token (len bytes of token class) is a secret by its shape. digestKey: its key names a digest or an
 * identifier, so a long hexadecimal number is no secret.
 */
export function isSecretShape(ptr: usize, len: u32, digestKey: bool): bool {
  if (surelyNone(ptr, len)) return false;
  let hexRun: u32 = 0;
  let hexRunMax: u32 = 0;
  let joints: u32 = 0;
  let dots: u32 = 0;
  let seen: u8 = 0;
  for (let i: u32 = 0; i < len; i++) {
    const k = load<u8>(classes + <u32>load<u8>(ptr + i));
    seen |= k;
    if (k & HEX) {
      hexRun += 1;
      if (hexRun > hexRunMax) hexRunMax = hexRun;
    } else {
      hexRun = 0;
    }
    if (k & JOINT) joints += 1;
    if (k & DOT) dots += 1;
  }
  if (len >= PREFIXED_BYTES_MIN && (seen & (DIGIT | UPPER)) && hasKnownPrefix(ptr, len)) return true;
  if (dots >= 2 && len >= JWT_BYTES_MIN && <u32>load<u8>(ptr) == 101 && <u32>load<u8>(ptr + 1) == 121
      && <u32>load<u8>(ptr + 2) == 74) return true; // eyJ: base64 of {"
  if (digestKey && hexRunMax == len) return false;
  if (hexRunMax >= HEX_BYTES_MIN && (seen & DIGIT)) return true;
  if (len < BASE64_BYTES_MIN || dots != 0) return false;
  if (endsInUuid(ptr, len)) return false;
  const mixed: u8 = UPPER | LOWER | DIGIT;
  return (seen & mixed) == mixed && joints * 6 <= len;
}
