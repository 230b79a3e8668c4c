// SPDX-License-Identifier: Apache-2.0
// Which keys name a secret: the deny list and the one function that classifies a key.
//
// Invariant: a key is judged after normalisation (letters lowered, separators dropped, word starts kept), so case,
// separator and affix variants of a listed name are judged alike. A key longer than redaction.key_bytes_max is denied.
// Limits: ASCII letters only; a word in another script or spelled with look-alikes is not recognised.
// The policy, with its reasons and what it cannot see, is docs/redaction.md.
import { REDACTION_KEY_BYTES_MAX } from "../../gen/limits";

/** Not on the list. */
export const KEY_PLAIN: u32 = 0;
/** The value is a secret. */
export const KEY_DENIED: u32 = 1;
/** The value is a secret that runs to the end of its line (headers whose value holds blanks). */
export const KEY_DENIED_LINE: u32 = 2;
/** The value may be a long hexadecimal digest or identifier; the other value shapes still apply. */
export const KEY_DIGEST: u32 = 3;

// Strong names deny wherever they occur inside the normalised key.
const STRONG: string =
  "password passwd passwrd passphrase passcode passkey pwd secret credential apikey apitoken accesskey privatekey " +
  "privkey secretkey signingkey signkey encryptionkey encryptkey decryptionkey masterkey rootkey sshkey authkey " +
  "authtoken sharedkey presharedkey clientkey licensekey accountkey storagekey sealkey sealingkey wrappingkey " +
  "hostkey rsakey hmackey aeskey sessionkey devicekey userkey serverkey keymaterial bearer authorization " +
  "authorisation setcookie connectionstring mnemonic seedphrase recoverycode onetimecode";
// Weak names deny only as whole words of the key (singular or plural).
const WEAK: string =
  "token cookie session sess sid auth jwt otp totp pin pass psk cred nonceseed salt signature sig csrf xsrf oauth " +
  "saml sso mfa cvv cvc ssn iban pem pkcs csr dsn bearer pw";
// Header names: their value reaches to the end of the line.
const LINE: string = "authorization authorisation cookie setcookie";
// A key that ends in one of these may carry a long hexadecimal value.
const DIGEST: string = "sha256 sha512 sha1 md5 crc32c digest hash fingerprint commit uuid traceid spanid trace span";
// A weak name is harmless when the key ends in one of these and its value is a decimal number.
const MEASURE: string = "count total bytes ns us ms len length size max min limit rate used free live expired ok fail";

const WORDS_MAX: u32 = 160;
const POOL_BYTES: u32 = 2048;
const NONE: u32 = 0xff;

const SET_STRONG: u32 = 0;
const SET_WEAK: u32 = 1;
const SET_LINE: u32 = 2;
const SET_DIGEST: u32 = 3;
const SET_MEASURE: u32 = 4;

const pool: usize = memory.data(2048);
const wordOffset: usize = memory.data(320);
const wordLength: usize = memory.data(160);
const wordNext: usize = memory.data(160);
const wordSet: usize = memory.data(160);
/** First word that starts with a given character (36: letters and digits), one chain for all sets. */
const head: usize = memory.data(36);
/** For each first character, the set of second characters (a bit each, as in `head`) of words that start with it: u64 each. */
const seconds: usize = memory.data(288, 8);
let words: u32 = 0;
let poolUsed: u32 = 0;

/** The normalised key and, for each of its characters, whether a word starts there. */
const norm: usize = memory.data(66);
const starts: usize = memory.data(66);
let normLength: u32 = 0;

/** Index of a lower-case letter or digit in `head`, or NONE. */
@inline function slotOf(c: u32): u32 {
  if (c - 97 < 26) return c - 97;
  if (c - 48 < 10) return c - 22;
  return NONE;
}

function addWords(list: string, set: u32): void {
  let start = poolUsed;
  const length = <u32>list.length;
  for (let i: u32 = 0; i <= length; i++) {
    const c: u32 = i < length ? <u32>list.charCodeAt(i) : 32;
    if (c != 32) {
      assert(poolUsed < POOL_BYTES);
      store<u8>(pool + poolUsed, <u8>c);
      poolUsed += 1;
      continue;
    }
    assert(words < WORDS_MAX);
    store<u16>(wordOffset + (words << 1), <u16>start);
    store<u8>(wordLength + words, <u8>(poolUsed - start));
    store<u8>(wordSet + words, <u8>set);
    assert(poolUsed - start >= 2); // classifyKey looks at two characters at once
    const slot = slotOf(<u32>load<u8>(pool + start));
    const second = seconds + (slot << 3);
    store<u64>(second, load<u64>(second) | (<u64>1 << slotOf(<u32>load<u8>(pool + start + 1))));
    store<u8>(wordNext + words, load<u8>(head + slot));
    store<u8>(head + slot, <u8>words);
    words += 1;
    start = poolUsed;
  }
}

function fillTables(): bool {
  memory.fill(head, <u8>NONE, 36);
  addWords(STRONG, SET_STRONG);
  addWords(WEAK, SET_WEAK);
  addWords(LINE, SET_LINE);
  addWords(DIGEST, SET_DIGEST);
  addWords(MEASURE, SET_MEASURE);
  return true;
}
const filled: bool = fillTables();

/** Lowers letters, drops everything that is no letter or digit, and marks where words start (separator or camel case). */
function normalise(ptr: usize, len: u32): void {
  let n: u32 = 0;
  let boundary = true;
  let wasLower = false;
  for (let i: u32 = 0; i < len; i++) {
    let c = <u32>load<u8>(ptr + i);
    if (c - 97 < 26) {
      wasLower = true;
    } else if (c - 65 < 26) {
      if (wasLower) boundary = true;
      wasLower = false;
      c += 32;
    } else if (c - 48 < 10) {
      wasLower = true;
    } else {
      boundary = true;
      wasLower = false;
      continue;
    }
    store<u8>(norm + n, <u8>c);
    store<u8>(starts + n, boundary ? 1 : 0);
    boundary = false;
    n += 1;
  }
  store<u8>(starts + n, 1);
  normLength = n;
}

/** Whether the word ends at a word boundary: at once, after a plural s, or before trailing digits. */
function endsWord(at: u32): bool {
  let end = at;
  if (load<u8>(starts + end)) return true;
  if (<u32>load<u8>(norm + end) == 115) end += 1; // s
  while (end < normLength && <u32>load<u8>(norm + end) - 48 < 10) end += 1;
  return load<u8>(starts + end) != 0;
}

/** Whether the word, whose letters are at `text`, stands at `at`; its first two are known to. */
function matches(word: u32, text: usize, at: u32): bool {
  const length = <u32>load<u8>(wordLength + word);
  if (at + length > normLength) return false;
  for (let i: u32 = 2; i < length; i++) {
    if (load<u8>(text + i) != load<u8>(norm + at + i)) return false;
  }
  return true;
}

function isDecimal(ptr: usize, len: u32): bool {
  for (let i: u32 = 0; i < len; i++) {
    if (<u32>load<u8>(ptr + i) - 48 >= 10) return false;
  }
  return len != 0;
}

/** Whether the last classifyKey would have judged the same key otherwise beside another value. */
export let judgedByValue: bool = false;

/**
 * Judges the key at ptr (len bytes). value/valueLen is its value where known (valueLen 0: unknown), which only serves
 * to let numbers such as token_count=3 through. Returns a KEY_* class. Bounded by redaction.key_bytes_max.
 */
export function classifyKey(ptr: usize, len: u32, value: usize, valueLen: u32): u32 {
  judgedByValue = false;
  if (len > REDACTION_KEY_BYTES_MAX) return KEY_DENIED;
  normalise(ptr, len);
  const n = normLength;
  let strong = false;
  let weak = false;
  let line = false;
  let digest = false;
  let measure = false;
  let second = n == 0 ? NONE : slotOf(<u32>load<u8>(norm));
  for (let at: u32 = 0; at + 1 < n; at++) {
    const slot = second;
    second = slotOf(<u32>load<u8>(norm + at + 1));
    if (((load<u64>(seconds + (slot << 3)) >> second) & 1) == 0) continue;
    let word = <u32>load<u8>(head + slot);
    while (word != NONE) {
      const text = pool + <u32>load<u16>(wordOffset + (word << 1));
      if (load<u8>(text, 1) == load<u8>(norm + at, 1) && matches(word, text, at)) {
        const set = <u32>load<u8>(wordSet + word);
        const end = at + <u32>load<u8>(wordLength + word);
        if (set == SET_STRONG) {
          strong = true;
        } else if (load<u8>(starts + at) && (end == n || endsWord(end))) {
          if (set == SET_WEAK) weak = true;
          else if (set == SET_LINE) line = true;
          else if (end == n && set == SET_DIGEST) digest = true;
          else if (end == n && set == SET_MEASURE) measure = true;
        }
      }
      word = <u32>load<u8>(wordNext + word);
    }
  }
  if (line) return KEY_DENIED_LINE;
  if (strong) return KEY_DENIED;
  if (weak) {
    judgedByValue = measure;
    if (measure && valueLen != 0 && isDecimal(value, valueLen)) return KEY_PLAIN;
    return KEY_DENIED;
  }
  return digest ? KEY_DIGEST : KEY_PLAIN;
}
