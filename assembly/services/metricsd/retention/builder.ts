// SPDX-License-Identifier: Apache-2.0
// Builds the records of one window, part by part, straight into the job ring.
//
// Invariant: a record is ended only with whole entries; the last part of a window says so in its head; what finds no room is counted and
// refused to the caller, never cut.
// Limits: limits.metricsd retention_record_bytes_max; the recipe's max_samples_per_record; 255 parts a window.
import { METRICSD_RETENTION_RECORD_BYTES_MAX } from "../../../gen/limits";
import { crc32c } from "../../../lib/bounded/crc32c";
import { MT_KIND_HISTOGRAM, MT_UNIT_BYTES, MT_UNIT_NS } from "../../../lib/wire/metricsd";
import { RECORD_SAMPLES, boundAt, boundCount, limit32 } from "../limits";
import { Series, histogramCountOf, histogramSumOf, metricAt, textAt } from "../registry";
import { ENTRY_BYTES_MAX, RECORD_HEAD_BYTES, RECORD_LAST, RecordHead, putEntry, putHead } from "./entry";
import { JOB_RAW, JOB_ROLLUP, beginRecord, endRecord } from "./jobs";
import { rawKey, rollupKey } from "./keys";
import { BUCKETS, Point } from "./points";
import { roomForRecord, segmentAt, segmentCount, segmentNow, takeRecord } from "./segments";

const PARTS_MAX: u32 = 255;
const scratch: usize = memory.data(ENTRY_BYTES_MAX, 8);
const noTotals: usize = memory.data(BUCKETS * 8, 8);
const word: usize = memory.data(8, 8);
let level: u32 = 0;
let start_ns: u64 = 0;
let width_ns: u64 = 0;
let part: u32 = 0;
/** The record under construction, 0 for none; its bytes and entries so far. */
let record: usize = 0;
let used: u32 = 0;
let entries: u32 = 0;
let samplesLost: u64 = 0;
let refused: bool = false;

/** Entries that found no room on their way to /state. */
export function samplesDropped(): u64 {
  return samplesLost;
}
export function countDropped(samples: u32): void {
  samplesLost += samples;
}
/** Parts that the window begun last has so far. */
export function partsBuilt(): u32 {
  return part;
}

/** CRC-32C of the bounds in force: a record of other bounds has other buckets. */
export function boundsDigest(): u32 {
  let crc: u32 = 0;
  for (let row: u32 = 0; row < 2; row++) {
    const unit: u8 = row == 0 ? MT_UNIT_NS : MT_UNIT_BYTES;
    store<u64>(word, <u64>boundCount(unit));
    crc = crc32c(word, 8, crc);
    for (let i: u32 = 0; i < boundCount(unit); i++) {
      store<u64>(word, boundAt(unit, i));
      crc = crc32c(word, 8, crc);
    }
  }
  return crc;
}

/** Begins a window: 0 raw, 1 or 2 a roll-up. */
export function beginWindow(atLevel: u32, from_ns: u64, wide_ns: u64): void {
  level = atLevel;
  start_ns = from_ns;
  width_ns = wide_ns;
  part = 0;
  record = 0;
  refused = false;
}

function beginPart(): bool {
  if (part == PARTS_MAX || (level == 0 && !roomForRecord(start_ns))) return false;
  record = beginRecord();
  if (record == 0) return false;
  putHead(record, level, part, start_ns, width_ns, level == 0 ? segmentNow() : 0, boundsDigest());
  used = RECORD_HEAD_BYTES;
  entries = 0;
  return true;
}

function endPart(last: bool): void {
  const head = changetype<RecordHead>(record);
  head.entries = <u16>entries;
  head.flags = last ? RECORD_LAST : 0;
  if (level == 0) {
    const key = rawKey(segmentAt(segmentCount() - 1).slot, takeRecord(start_ns));
    endRecord(JOB_RAW, used, key.base, key.length);
  } else {
    const key = rollupKey(level, start_ns / width_ns, part);
    endRecord(JOB_ROLLUP, used, key.base, key.length);
  }
  part += 1;
  record = 0;
}

/** Adds a series with its point of the window (null: only its state); false when there is no room. */
export function addSample(s: Series, p: Point | null, row: usize): bool {
  const m = metricAt(<u32>s.metric);
  const isHistogram = s.kind == MT_KIND_HISTOGRAM;
  // A raw record has the histogram's state too; a roll-up, which is also made from records alone, has not.
  const totals = isHistogram && level == 0;
  const buckets: u32 = isHistogram ? boundCount(s.unit) + 1 : 0;
  const end = putEntry(
    scratch, s.kind, s.unit, s.sender, textAt(m.name), <u32>m.nameLen, textAt(s.labels), <u32>s.labelsLen, p,
    isHistogram ? 0 : s.value, buckets, row, totals ? <usize>s.value + 16 : noTotals, totals ? histogramCountOf(s) : 0,
    totals ? histogramSumOf(s) : 0,
  );
  const bytes = <u32>(end - scratch);
  if (record != 0 && (used + bytes > METRICSD_RETENTION_RECORD_BYTES_MAX || entries == limit32(RECORD_SAMPLES))) endPart(false);
  if (refused || (record == 0 && !beginPart())) {
    refused = true;
    samplesLost += 1;
    return false;
  }
  memory.copy(record + used, scratch, bytes);
  used += bytes;
  entries += 1;
  return true;
}

/** Ends the window; true when all of it is on its way. A window whose last part found no room has none that says so. */
export function endWindow(): bool {
  if (record != 0) endPart(!refused);
  return !refused;
}
