// SPDX-License-Identifier: Apache-2.0
// Owns: a series' point in OTLP, encoded once and patched with times and value in every scrape.
// Layout: tag and length of the point; for sums the start time; the time; the value; the attributes. All but the numbers is fixed.
// Invariant: the length is one byte (scripts/lib/gen-gpu.ts refuses a row that would need two). A gauge has no start time.
import { Writer } from "../bounded/writer";
import { writeDecimal } from "../bounded/text";
import { NUMBER_POINT_ATTRIBUTE } from "../otlp/common";
import { PbWriter } from "../otlp/pb";
import { POINT_BYTES_MAX, Slot, pointOf } from "./slots";
import { INSTRUMENT_GAUGE, PointRow, STAR_STATE, metricRow, pointRow } from "./tables";

const TAG_POINT: u32 = 1;
const TAG_START: u32 = 2;
const TAG_TIME: u32 = 3;
const TAG_DOUBLE: u32 = 4;
const TAG_INT: u32 = 6;
const COMMA: u8 = 44;
const EQUALS: u8 = 61;
const STAR: u8 = 42;
const writer: PbWriter = changetype<PbWriter>(memory.data(16, 4));
const digits: usize = memory.data(24);

export const STATE_OK: u32 = 0;
export const STATE_DEGRADED: u32 = 1;
export const STATE_FAILED: u32 = 2;

function stateName(state: u32): string {
  return state == STATE_OK ? "ok" : state == STATE_FAILED ? "failed" : "degraded";
}

/** Encodes the point of a new slot: field, point and code are set. */
export function encodePoint(slot: Slot): void {
  const row = pointRow(slot.point);
  const w = writer;
  w.reset(pointOf(slot), POINT_BYTES_MAX);
  const start = w.open(TAG_POINT);
  const sum = metricRow(row.metric).instrument != INSTRUMENT_GAUGE;
  if (sum) w.fixed64(TAG_START, 0);
  w.fixed64(TAG_TIME, 0);
  w.fixed64(row.whole != 0 ? TAG_INT : TAG_DOUBLE, 0);
  let at: u32 = 0;
  for (let i: u32 = 0; i < 8 && at < row.textBytes; i++) at = attribute(w, row, at, slot.code);
  w.close(start);
  assert(w.ok && load<u8>(pointOf(slot), 1) < 128);
  slot.pointBytes = <u8>w.length;
  // Behind tag and length, and for sums behind tag and start: the tag of the time.
  slot.timeAt = sum ? 12 : 3;
}

/** One `key=value` of the row's text; returns where the next begins. */
function attribute(w: PbWriter, row: PointRow, from: u32, code: u32): u32 {
  const text = row.text;
  let equals = from;
  while (equals < row.textBytes && load<u8>(text + equals) != EQUALS) equals++;
  let end = equals;
  while (end < row.textBytes && load<u8>(text + end) != COMMA) end++;
  const start = w.open(NUMBER_POINT_ATTRIBUTE);
  w.bytes(1, text + from, equals - from);
  const value = w.open(2);
  const isStar = end == equals + 2 && load<u8>(text + equals + 1) == STAR;
  if (!isStar) w.bytes(1, text + equals + 1, end - equals - 1);
  else if (row.star == STAR_STATE) w.literal(1, stateName(code));
  else w.bytes(1, digits, writeDecimal(digits, code));
  w.close(value);
  w.close(start);
  return end + 1;
}

/** The point's own attributes as fields `key=value`, one a line, for metricsd's labels. */
export function putPointLabels(w: Writer, point: u32, code: u32): void {
  const row = pointRow(point);
  if (row.textBytes == 0) return;
  if (w.length != 0) w.putU8(10);
  for (let i: u32 = 0; i < row.textBytes; i++) {
    const byte = load<u8>(row.text + i);
    if (byte == COMMA) w.putU8(10);
    else if (byte != STAR) w.putU8(byte);
    else if (row.star == STAR_STATE) w.putText(stateName(code));
    else w.putDecimal(code);
  }
}

@inline
export function patchStart(slot: Slot): void {
  store<u64>(pointOf(slot) + 3, slot.startNs);
}
@inline
export function patchTime(slot: Slot, timeNs: u64): void {
  store<u64>(pointOf(slot) + slot.timeAt, timeNs);
}
@inline
export function patchDouble(slot: Slot, value: f64): void {
  store<f64>(pointOf(slot) + slot.timeAt + 9, value);
}
@inline
export function patchInt(slot: Slot, value: i64): void {
  store<i64>(pointOf(slot) + slot.timeAt + 9, value);
}
/** The value that the point has now. */
export function pointValue(slot: Slot): f64 {
  const at = pointOf(slot) + slot.timeAt + 9;
  return pointRow(slot.point).whole != 0 ? <f64>load<i64>(at) : load<f64>(at);
}
export function pointTimeNs(slot: Slot): u64 {
  return load<u64>(pointOf(slot) + slot.timeAt);
}
