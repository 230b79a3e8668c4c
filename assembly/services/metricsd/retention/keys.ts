// SPDX-License-Identifier: Apache-2.0
// The keys of retention below /state/observability/metricsd/, written and parsed in one place (docs/format/retention.md).
//   wal/seg_SS/RRRR              raw record R of the segment in slot S
//   rollup/10s/w_WWWWWWWWWW.PPP  part P of the 10 s window that begins at W x 10 s of the retention clock; rollup/60s/ likewise
// Invariant: fixed digits, so byte order is time order within a folder; what this file writes it parses, anything else it refuses.
// Limits: slots of two digits, records of four, windows of ten, parts of three.
import { Writer } from "../../../lib/bounded/writer";
import { parseDecimal, parsedDecimal } from "../../../lib/bounded/text";

const PREFIX: string = "/state/observability/metricsd/";
const buffer: usize = memory.data(64);
/** The key written last. */
export const key: Writer = changetype<Writer>(memory.data(16, 4));

/** What the last parse found. */
export let keySlot: u32 = 0;
export let keyRecord: u32 = 0;
export let keyWindow: u64 = 0;
export let keyPart: u32 = 0;

function digits(value: u64, count: u32): void {
  let scale: u64 = 1;
  for (let i: u32 = 1; i < count; i++) scale *= 10;
  for (let i: u32 = 0; i < count; i++) {
    key.putU8(<u8>(48 + (value / scale) % 10));
    scale /= 10;
  }
}

/** The folder of all keys. */
export function folderKey(): Writer {
  return key.reset(buffer, 64).putText(PREFIX);
}

/** Prefix of a level's keys. */
export function levelPrefix(level: u32): Writer {
  key.reset(buffer, 64).putText(PREFIX);
  return key.putText(level == 0 ? "wal/seg_" : level == 1 ? "rollup/10s/w_" : "rollup/60s/w_");
}

/** Key of a raw record. */
export function rawKey(slot: u32, record: u32): Writer {
  levelPrefix(0);
  digits(slot, 2);
  key.putU8(47);
  digits(record, 4);
  return key;
}

/** Key of a part of a roll-up window (level 1 or 2); `window` is its start divided by the level's width. */
export function rollupKey(level: u32, window: u64, part: u32): Writer {
  levelPrefix(level);
  digits(window, 10);
  key.putU8(46);
  digits(part, 3);
  return key;
}

/** Parses a raw record's key into keySlot and keyRecord. */
export function parseRawKey(text: usize, length: u32): bool {
  const prefix = levelPrefix(0).length;
  if (length != prefix + 7 || memory.compare(text, buffer, prefix) != 0 || load<u8>(text + prefix, 2) != 47) return false;
  if (!parseDecimal(text + prefix, 2)) return false;
  keySlot = <u32>parsedDecimal;
  if (!parseDecimal(text + prefix + 3, 4)) return false;
  keyRecord = <u32>parsedDecimal;
  return true;
}

/** Parses a roll-up's key into keyWindow and keyPart. */
export function parseRollupKey(level: u32, text: usize, length: u32): bool {
  const prefix = levelPrefix(level).length;
  if (length != prefix + 14 || memory.compare(text, buffer, prefix) != 0 || load<u8>(text + prefix, 10) != 46) return false;
  if (!parseDecimal(text + prefix, 10)) return false;
  keyWindow = parsedDecimal;
  if (!parseDecimal(text + prefix + 11, 3)) return false;
  keyPart = <u32>parsedDecimal;
  return true;
}
