// SPDX-License-Identifier: Apache-2.0
// Reads the recipe file from the bundle into limits.ts, or says what is wrong with it.
//
// Invariant: a key that is unknown, of the wrong type, given twice, zero (but retention.enabled), above its maximum or missing refuses
// the whole file;
// there are no defaults to fall back to. scripts/lib/recipe.ts is the same check at build time; a test holds the two together.
// Limits: recipe_bytes_max, and those of lib/toml.
import {
  METRICSD_BUCKETS_MAX, METRICSD_RECIPE_BYTES_MAX, METRICSD_RECIPE_NAME_BYTES_MAX, METRICSD_RETENTION_RAW_INTERVAL_NS_MAX,
  METRICSD_RETENTION_RAW_INTERVAL_NS_MIN, METRICSD_RETENTION_SEGMENTS_MIN,
  METRICSD_RETENTION_WINDOWS_10S_MIN,
} from "../../gen/limits";
import { E_NOT_FOUND } from "../../gen/errors";
import { sys_boot_arg, sys_bundle_find, sys_bundle_read, sys_bundle_stat, sys_console_line } from "../../gen/syscalls";
import { crc32c } from "../../lib/bounded/crc32c";
import { copyLiteral } from "../../lib/bounded/text";
import { Writer } from "../../lib/bounded/writer";
import {
  TOML_ARRAY_U64, TOML_END, TOML_ERROR, TOML_STRING, TOML_TABLE, TOML_TABLE_ARRAY, TOML_U64, tomlError, tomlItemCount,
  tomlItemU64, tomlLine, tomlNameIs, tomlNameLen, tomlNamePtr, tomlNext, tomlOpen, tomlTextLen, tomlTextPtr, tomlU64,
} from "../../lib/toml/reader";
import { tomlReason } from "../../lib/toml/reason";
import { MT_UNIT_BYTES, MT_UNIT_NS } from "../../lib/wire/metricsd";
import {
  KEYS, OVERRIDE_KEYS, OVERRIDE_NAMES, RAW_INTERVAL_NS, RETENTION_ENABLED, SEGMENTS, TTL_WINDOWS_10S, addOverride,
  boundCount, limit, limitGiven, limitMaximum, limitName, limitNameLength, overrideMaximum, setBound, setLimit, setOverride,
} from "./limits";

const KIND_FILE: u32 = 1;
const file: usize = memory.data(METRICSD_RECIPE_BYTES_MAX, 8);
const path: usize = memory.data(128);
const record: usize = memory.data(256, 8);
const line: usize = memory.data(200);
const lineWriter: Writer = changetype<Writer>(memory.data(16, 4));

let fileLen: u32 = 0;
let nameLenUsed: u32 = 0;
let digest: u32 = 0;

// What is wrong: the key (table.key, bytes in keyText) and one word.
const keyText: usize = memory.data(128);
const keyWriter: Writer = changetype<Writer>(memory.data(16, 4));
let reason: string = "none";

// The table that keys belong to: start and length of its name in the file, and whether it is [[sender]].
let tablePtr: u32 = 0;
let tableLen: u32 = 0;
let inSender: bool = false;
let senderNumber: i32 = -1;
let senderKeysSeen: u32 = 0;

/** CRC-32C of the recipe file. */
export function recipeDigest(): u32 {
  return digest;
}
/** Bytes of the recipe's name (without folder and suffix). */
export function recipeName(): usize {
  return path + PREFIX_BYTES;
}
export function recipeNameLength(): u32 {
  return nameLenUsed;
}
const PREFIX: string = "recipes/observability/";
const PREFIX_BYTES: u32 = 22;

/** Finds, reads and applies the recipe that the boot argument names. False: the console line says why. */
export function loadRecipe(): bool {
  keyWriter.reset(keyText, 128);
  const read = readFile();
  if (read && apply()) return true;
  say(read ? tomlLine() : 0);
  return false;
}

/** Refuses a recipe that is well formed but cannot be served. */
export function refuseRecipe(key: string, why: string): void {
  keyWriter.reset(keyText, 128).putText(key);
  reason = why;
  say(0);
}

/** `metricsd: FAIL recipe KEY REASON line N`; the recipe's own name where no key is to blame. */
function say(lineNumber: u32): void {
  const w = lineWriter.reset(line, 200).putText("metricsd: FAIL recipe ");
  if (keyWriter.length == 0) w.putBytes(recipeName(), nameLenUsed);
  else w.putBytes(keyText, keyWriter.length);
  w.putText(" ").putText(reason).putText(" line ").putDecimal(lineNumber);
  sys_console_line(<u32>line, w.length);
}

function refuse(why: string): bool {
  reason = why;
  return false;
}

function readFile(): bool {
  assert(copyLiteral(path, PREFIX) == PREFIX_BYTES);
  const key = path + 100;
  const keyLen = copyLiteral(key, "recipe");
  const given = sys_boot_arg(<u32>key, keyLen, <u32>(path + PREFIX_BYTES), METRICSD_RECIPE_NAME_BYTES_MAX);
  if (given == E_NOT_FOUND) nameLenUsed = copyLiteral(path + PREFIX_BYTES, "metrics");
  else if (given <= 0) return refuse("bad_recipe_name");
  else nameLenUsed = <u32>given;
  for (let i: u32 = 0; i < nameLenUsed; i++) {
    const c = <u32>load<u8>(path + PREFIX_BYTES + i);
    if (!(c - 97 < 26 || c - 48 < 10 || c == 45)) {
      nameLenUsed = 0;
      return refuse("bad_recipe_name");
    }
  }
  const pathLen = PREFIX_BYTES + nameLenUsed + copyLiteral(path + PREFIX_BYTES + nameLenUsed, ".toml");
  const index = sys_bundle_find(KIND_FILE, <u32>path, pathLen);
  if (index < 0) return refuse("not_in_bundle");
  if (sys_bundle_stat(KIND_FILE, <u32>index, <u32>record, 256) < 72) return refuse("unreadable");
  const size = load<u32>(record + 68);
  if (size > METRICSD_RECIPE_BYTES_MAX) return refuse("file_too_long");
  fileLen = 0;
  while (fileLen < size) {
    const got = sys_bundle_read(KIND_FILE, <u32>index, fileLen, <u32>(file + fileLen), size - fileLen);
    if (got <= 0) return refuse("unreadable");
    fileLen += <u32>got;
  }
  digest = crc32c(file, fileLen);
  return true;
}

function apply(): bool {
  tomlOpen(<u32>file, fileLen);
  tableLen = 0;
  for (;;) {
    const item = tomlNext();
    keyWriter.reset(keyText, 128);
    if (item == TOML_END) break;
    if (item == TOML_ERROR) return refuse(tomlReason(tomlError()));
    if (item == TOML_TABLE || item == TOML_TABLE_ARRAY) {
      if (!senderComplete()) return false;
      tablePtr = tomlNamePtr();
      tableLen = tomlNameLen();
      keyWriter.putBytes(tablePtr, tableLen);
      inSender = item == TOML_TABLE_ARRAY;
      senderNumber = -1;
      senderKeysSeen = 0;
      if (!(inSender ? tomlNameIs("sender") : knownTable())) return refuse("unknown_table");
      continue;
    }
    if (tableLen) keyWriter.putBytes(tablePtr, tableLen).putText(".");
    keyWriter.putBytes(tomlNamePtr(), tomlNameLen());
    if (!(inSender ? senderKey(item) : plainKey(item))) return false;
  }
  if (!senderComplete()) return false;
  return allPresent();
}

/** A [[sender]] needs a name and at least one limit. */
function senderComplete(): bool {
  if (!inSender || senderKeysSeen > 0) return true;
  keyWriter.reset(keyText, 128).putText("sender");
  return refuse("missing");
}

function knownTable(): bool {
  return tomlNameIs("metrics") || tomlNameIs("ingest") || tomlNameIs("wire") || tomlNameIs("spans")
    || tomlNameIs("quarantine") || tomlNameIs("export") || tomlNameIs("retention") || tomlNameIs("histogram");
}

/** Whether keyText is the key's full name. */
function keyIs(key: u32): bool {
  const length = limitNameLength(key);
  if (keyWriter.length != length) return false;
  const name = limitName(key);
  for (let i: u32 = 0; i < length; i++) if (load<u8>(keyText + i) != <u8>load<u16>(name + (i << 1))) return false;
  return true;
}

function number(item: u32, maximum: u64, least: u64 = 1): bool {
  if (item != TOML_U64) return refuse("wrong_type");
  if (tomlU64() < least) return refuse("zero");
  if (tomlU64() > maximum) return refuse("over_maximum");
  return true;
}

function plainKey(item: u32): bool {
  for (let key: u32 = 0; key < KEYS; key++) {
    if (!keyIs(key)) continue;
    if (!number(item, limitMaximum(key), key == RETENTION_ENABLED ? 0 : 1)) return false;
    setLimit(key, tomlU64());
    return true;
  }
  const inHistogram = tableLen == 9 && load<u8>(tablePtr) == 104; // h: the only table of nine letters with it
  if (inHistogram && tomlNameIs("buckets_ns")) return buckets(item, MT_UNIT_NS);
  if (inHistogram && tomlNameIs("buckets_bytes")) return buckets(item, MT_UNIT_BYTES);
  return refuse("unknown_key");
}

function buckets(item: u32, unit: u8): bool {
  if (item != TOML_ARRAY_U64) return refuse("wrong_type");
  const count = tomlItemCount();
  if (count == 0) return refuse("zero");
  if (count > METRICSD_BUCKETS_MAX) return refuse("over_maximum");
  for (let i: u32 = 0; i < count; i++) {
    const bound = tomlItemU64(i);
    if (bound == 0) return refuse("zero");
    if (bound > <u64>i64.MAX_VALUE) return refuse("over_maximum");
    if (i != 0 && bound <= tomlItemU64(i - 1)) return refuse("not_ascending");
    setBound(unit, i, bound);
  }
  return true;
}

function senderKey(item: u32): bool {
  if (tomlNameIs("name")) {
    if (item != TOML_STRING) return refuse("wrong_type");
    if (tomlTextLen() == 0 || tomlTextLen() > 31) return refuse("over_maximum");
    senderNumber = addOverride(tomlTextPtr(), tomlTextLen());
    return senderNumber >= 0 ? true : refuse("duplicate_name");
  }
  let key: u32 = 0;
  let start: u32 = 0;
  const length = <u32>OVERRIDE_NAMES.length;
  for (let i: u32 = 0; i <= length; i++) {
    if (i < length && OVERRIDE_NAMES.charCodeAt(i) != 32) continue;
    if (overrideNamed(start, i - start)) {
      if (senderNumber < 0) return refuse("name_first");
      if (!number(item, overrideMaximum(key))) return false;
      setOverride(<u32>senderNumber, key, tomlU64());
      senderKeysSeen += 1;
      return true;
    }
    key += 1;
    start = i + 1;
  }
  assert(key == OVERRIDE_KEYS);
  return refuse("unknown_key");
}

function overrideNamed(start: u32, length: u32): bool {
  if (tomlNameLen() != length) return false;
  const name = changetype<usize>(OVERRIDE_NAMES) + (start << 1);
  for (let i: u32 = 0; i < length; i++) {
    if (load<u8>(tomlNamePtr() + i) != <u8>load<u16>(name + (i << 1))) return false;
  }
  return true;
}

function allPresent(): bool {
  for (let key: u32 = 0; key < KEYS; key++) if (!limitGiven(key)) return blame(key, "missing");
  keyWriter.reset(keyText, 128).putText("histogram.buckets_ns");
  if (boundCount(MT_UNIT_NS) == 0) return refuse("missing");
  keyWriter.reset(keyText, 128).putText("histogram.buckets_bytes");
  if (boundCount(MT_UNIT_BYTES) == 0) return refuse("missing");
  return retentionFits();
}

/** Refuses the file because of this key. */
function blame(key: u32, why: string): bool {
  keyWriter.reset(keyText, 128);
  const name = limitName(key);
  for (let i: u32 = 0; i < limitNameLength(key); i++) keyWriter.putU8(<u8>load<u16>(name + (i << 1)));
  return refuse(why);
}

/** Raw intervals fill the 10 s windows exactly, and there is a segment to write, one to keep and one to drop. */
function retentionFits(): bool {
  const interval_ns = limit(RAW_INTERVAL_NS);
  if (interval_ns < METRICSD_RETENTION_RAW_INTERVAL_NS_MIN) return blame(RAW_INTERVAL_NS, "too_small");
  if (METRICSD_RETENTION_RAW_INTERVAL_NS_MAX % interval_ns != 0) return blame(RAW_INTERVAL_NS, "not_a_divisor");
  if (limit(TTL_WINDOWS_10S) < METRICSD_RETENTION_WINDOWS_10S_MIN) return blame(TTL_WINDOWS_10S, "too_small");
  if (limit(SEGMENTS) < METRICSD_RETENTION_SEGMENTS_MIN) return blame(SEGMENTS, "too_small");
  return true;
}

/** Writes the effective limits as `key=value` lines, from key `from` on, into w; returns the first key that did not fit. */
export function putLimits(w: Writer, from: u32): u32 {
  for (let key = from; key < KEYS; key++) {
    const before = w.length;
    if (before) w.putU8(10);
    const name = limitName(key);
    for (let i: u32 = 0; i < limitNameLength(key); i++) w.putU8(<u8>load<u16>(name + (i << 1)));
    w.putU8(61).putDecimal(limit(key));
    if (w.ok) continue;
    w.length = before;
    w.overflow = 0;
    return key;
  }
  return KEYS;
}
