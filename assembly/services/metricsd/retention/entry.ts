// SPDX-License-Identifier: Apache-2.0
// The bytes of a retained record: its head, and one entry a series (docs/format/retention.md).
//
// Invariant: an entry names its series in full (sender, kind, unit, name, labels), so a record can be read without any other; the same
// points give the same bytes; reading refuses what does not follow from its own lengths and never touches a byte outside.
// Limits: limits.metricsd retention_record_bytes_max a record, ENTRY_BYTES_MAX an entry.
import { METRICSD_LABELS_BYTES_MAX, METRICSD_NAME_BYTES_MAX } from "../../../gen/limits";
import { MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_UNIT_BYTES } from "../../../lib/wire/metricsd";
import { BUCKETS, Point } from "./points";
import { VARINT_BYTES_MAX, putSigned, putVarint, takeSigned, takeVarint, taken } from "./varint";

/** `M` `R`, little-endian. */
export const RECORD_MAGIC: u16 = 0x524d;
export const RECORD_VERSION: u8 = 1;
export const RECORD_HEAD_BYTES: u32 = 32;
/** The last part of its window. */
export const RECORD_LAST: u8 = 1;
/** kind u8, unit u8, name_len u8, labels_len u8, buckets u8, 0 u8 x 3, sender u64. */
export const ENTRY_HEAD_BYTES: u32 = 16;
export const ENTRY_BYTES_MAX: u32 =
  ENTRY_HEAD_BYTES + 7 * VARINT_BYTES_MAX + 2 * BUCKETS * VARINT_BYTES_MAX + METRICSD_NAME_BYTES_MAX + METRICSD_LABELS_BYTES_MAX;

/** Head of a record, as it lies in memory and on /state. */
@unmanaged
export class RecordHead {
  magic: u16;
  version: u8;
  /** 0 raw, 1 a 10 s window, 2 a 60 s window. */
  level: u8;
  /** Number of this part of the window, from 0. */
  part: u8;
  flags: u8;
  entries: u16;
  /** Start of the window on the retention clock, ns. */
  start_ns: u64;
  width_ns: u64;
  /** Segment of a raw record; 0 in a roll-up. */
  segment: u32;
  /** CRC-32C of the histogram bounds in force when it was written. */
  bounds: u32;
}

/** Writes a head; `entries` and RECORD_LAST are set when the record is complete. */
export function putHead(at: usize, level: u32, part: u32, start_ns: u64, width_ns: u64, segment: u32, bounds: u32): void {
  const head = changetype<RecordHead>(at);
  head.magic = RECORD_MAGIC;
  head.version = RECORD_VERSION;
  head.level = <u8>level;
  head.part = <u8>part;
  head.flags = 0;
  head.entries = 0;
  head.start_ns = start_ns;
  head.width_ns = width_ns;
  head.segment = segment;
  head.bounds = bounds;
}

/** The head of a record of `length` bytes, or null when it is none of ours. */
export function headOf(at: usize, length: u32): RecordHead | null {
  assert(offsetof<RecordHead>() == RECORD_HEAD_BYTES);
  if (length < RECORD_HEAD_BYTES) return null;
  const head = changetype<RecordHead>(at);
  if (head.magic != RECORD_MAGIC || head.version != RECORD_VERSION || head.level > 2 || head.width_ns == 0) return null;
  if ((head.flags & ~RECORD_LAST) != 0 || head.start_ns % head.width_ns != 0) return null;
  return head;
}

/** Writes one entry at `at` (the caller owns ENTRY_BYTES_MAX) and returns the address behind it. `p` null: only the state. `row` and
 *  `totals` are a histogram's buckets in the window (0: none) and since ever; `count` and `sum` its observations since ever. */
export function putEntry(
  at: usize, kind: u8, unit: u8, sender: u64, name: usize, nameLen: u32, labels: usize, labelsLen: u32, p: Point | null, last: u64,
  buckets: u32, row: usize, totals: usize, count: u64, sum: u64,
): usize {
  store<u32>(at, <u32>kind | (<u32>unit << 8) | (nameLen << 16) | (labelsLen << 24));
  store<u32>(at, buckets, 4);
  store<u64>(at, sender, 8);
  at += ENTRY_HEAD_BYTES;
  const signed = kind == MT_KIND_GAUGE;
  at = putVarint(at, p === null ? 0 : p.count);
  if (p !== null && p.count != 0) {
    at = putValue(at, signed, p.sum);
    at = putValue(at, signed, p.min);
    at = putValue(at, signed, p.max);
  }
  at = putValue(at, signed, p === null ? last : p.last);
  if (buckets != 0) {
    at = putVarint(putVarint(at, count), sum);
    for (let i: u32 = 0; i < buckets; i++) {
      at = putVarint(at, p === null || row == 0 ? 0 : load<u64>(row + (i << 3)));
      at = putVarint(at, load<u64>(totals + (i << 3)));
    }
  }
  memory.copy(at, name, nameLen);
  memory.copy(at + nameLen, labels, labelsLen);
  return at + nameLen + labelsLen;
}

@inline function putValue(at: usize, signed: bool, value: u64): usize {
  return signed ? putSigned(at, <i64>value) : putVarint(at, value);
}

/** The entry that readEntry read last. */
@unmanaged
export class Entry {
  count: u64;
  sum: u64;
  min: u64;
  max: u64;
  last: u64;
  sender: u64;
  /** A histogram's observations and their sum since ever. */
  totalCount: u64;
  totalSum: u64;
  kind: u8;
  unit: u8;
  nameLen: u8;
  labelsLen: u8;
  buckets: u32;
  name: usize;
  labels: usize;

  /** The first five fields. */
  @inline get point(): Point {
    return changetype<Point>(changetype<usize>(this));
  }
}
export const entry: Entry = changetype<Entry>(memory.data(88, 8));
/** The entry's buckets in its window, and since ever; BUCKETS words each, those past entry.buckets are 0. */
export const entryRow: usize = memory.data(BUCKETS * 8, 8);
export const entryTotals: usize = memory.data(BUCKETS * 8, 8);

function takeValue(at: usize, end: usize): usize {
  if (at == 0) return 0;
  return entry.kind == MT_KIND_GAUGE ? takeSigned(at, end) : takeVarint(at, end);
}

/** Reads the entry at `at` into `entry`, entryRow and entryTotals; the address behind it, or 0 when it is malformed. */
export function readEntry(at: usize, end: usize): usize {
  if (end < at || end - at < ENTRY_HEAD_BYTES) return 0;
  memory.fill(changetype<usize>(entry), 0, offsetof<Entry>());
  memory.fill(entryRow, 0, BUCKETS * 8);
  memory.fill(entryTotals, 0, BUCKETS * 8);
  entry.kind = load<u8>(at);
  entry.unit = load<u8>(at, 1);
  entry.nameLen = load<u8>(at, 2);
  entry.labelsLen = load<u8>(at, 3);
  entry.buckets = load<u32>(at, 4);
  entry.sender = load<u64>(at, 8);
  if (!plausible()) return 0;
  at = takeVarint(at + ENTRY_HEAD_BYTES, end);
  entry.count = taken;
  if (at != 0 && entry.count != 0) {
    at = takeValue(at, end);
    entry.sum = taken;
    at = takeValue(at, end);
    entry.min = taken;
    at = takeValue(at, end);
    entry.max = taken;
  }
  at = takeValue(at, end);
  entry.last = taken;
  if (at != 0 && entry.buckets != 0) at = takeBuckets(at, end);
  const text = <usize>entry.nameLen + <usize>entry.labelsLen;
  if (at == 0 || end - at < text) return 0;
  entry.name = at;
  entry.labels = at + <usize>entry.nameLen;
  return at + text;
}

function plausible(): bool {
  if (entry.kind < MT_KIND_COUNTER || entry.kind > MT_KIND_HISTOGRAM || entry.unit > MT_UNIT_BYTES) return false;
  if (entry.nameLen == 0 || <u32>entry.nameLen > METRICSD_NAME_BYTES_MAX || <u32>entry.labelsLen > METRICSD_LABELS_BYTES_MAX) return false;
  return entry.kind == MT_KIND_HISTOGRAM ? entry.buckets > 1 && entry.buckets <= BUCKETS : entry.buckets == 0;
}

function takeBuckets(at: usize, end: usize): usize {
  at = takeVarint(at, end);
  entry.totalCount = taken;
  if (at != 0) at = takeVarint(at, end);
  entry.totalSum = taken;
  for (let i: u32 = 0; i < entry.buckets && at != 0; i++) {
    at = takeVarint(at, end);
    store<u64>(entryRow + (i << 3), taken);
    if (at != 0) at = takeVarint(at, end);
    store<u64>(entryTotals + (i << 3), taken);
  }
  return at;
}
