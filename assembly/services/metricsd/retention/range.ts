// SPDX-License-Identifier: Apache-2.0
// RANGE: the points of the chosen series in a span of the retention clock, from /state and, last, from the window that is still open.
//
// Invariant: points come in time order, each once; a page ends where its bytes or its reads end, and its cursor is where the next begins;
// what could not be read is flagged, never passed over in silence. What time has made due for deletion is not shown any more.
// Cursor: raw (segment, record, entry) or roll-up (window, part, entry), packed; the open window has a mark of its own.
// Limits: limits.metricsd retention_range_reads_max records and retention_range_page_bytes_max bytes a page.
import {
  METRICSD_RETENTION_CALL_BUDGET_NS, METRICSD_RETENTION_RANGE_PAGE_BYTES_MAX, METRICSD_RETENTION_RANGE_READS_MAX,
  METRICSD_RETENTION_RECORD_BYTES_MAX,
} from "../../../gen/limits";
import { MUT_METRICSD_RANGE_ENDS_EARLY, MUT_METRICSD_RANGE_SKIPS_OPEN, mutant } from "../../../gen/mutants";
import { equalsBytes } from "../../../lib/bounded/text";
import { Reader, Writer } from "../../../lib/nexus-ipc/frame";
import { SeriesHandle } from "../../../lib/nexus-ipc/types";
import { STATE_REFUSED, stateGet, stateStatus } from "../../../lib/nexus-state/index";
import { SF_NOT_FOUND } from "../../../lib/wire/statefsd";
import {
  MT_ANY_LABELS, MT_INVALID_ARGS, MT_KIND_GAUGE, MT_LEVEL_60S, MT_OK, MT_OVER_LIMIT, MT_POINT_HEAD_BYTES, MT_POINT_OPEN,
  MT_POINT_OTHER_BOUNDS, MT_RANGE_END, MT_RANGE_UNREADABLE, MT_RANGE_WAITING, MT_SELECT_HANDLE, MT_SELECT_NAME, MT_STALE_HANDLE,
} from "../../../lib/wire/metricsd";
import { seriesOfHandle } from "../handles";
import { LABELS_LEN, NAME_LEN, boundCount, limit32 } from "../limits";
import { histogramOf, metricAt, seriesAt, textAt } from "../registry";
import { boundsDigest } from "./builder";
import { RECORD_HEAD_BYTES, RecordHead, entry, entryRow, headOf, readEntry } from "./entry";
import { jobsWaiting, state } from "./jobs";
import { rawKey, rollupKey } from "./keys";
import { orderedSeries, seriesInOrder } from "./order";
import { NO_BUCKETS, Point, peekPoint, peekedRow } from "./points";
import { segmentAt, segmentCount } from "./segments";
import { oldestKept, widthOf, windowAt, windowCount, windowFrom } from "./windows";

/** Cursors from here on: positions in the open window. */
const OPEN: u64 = 0xffff000000000000;

const record: usize = memory.data(METRICSD_RETENTION_RECORD_BYTES_MAX, 8);
const wantedName: usize = memory.data(64);
const wantedLabels: usize = memory.data(256);
let level: u32 = 0;
let from_ns: u64 = 0;
let to_ns: u64 = 0;
let cursor: u64 = 0;
let wantedSender: u64 = 0;
let wantedKind: u8 = 0;
let nameLen: u32 = 0;
let labelsLen: u32 = 0;
let anyLabels: bool = false;

let out: Writer = changetype<Writer>(0);
let start: u32 = 0;
let count: u32 = 0;
let flags: u16 = 0;
let reads: u32 = 0;
let bounds: u32 = 0;

/** Takes a request apart; a wire status. */
export function readRange(body: Reader): u8 {
  level = <u32>body.takeU8();
  const select = body.takeU8();
  const zero = body.takeU16();
  from_ns = body.takeU64();
  to_ns = body.takeU64();
  cursor = body.takeU64();
  if (!body.ok || zero != 0 || level > <u32>MT_LEVEL_60S || from_ns > to_ns) return MT_INVALID_ARGS;
  if (select == MT_SELECT_HANDLE) return readHandle(body);
  if (select != MT_SELECT_NAME) return MT_INVALID_ARGS;
  wantedSender = body.takeU64();
  wantedKind = body.takeU8();
  nameLen = <u32>body.takeU8();
  const labels = body.takeU16();
  anyLabels = labels == MT_ANY_LABELS;
  labelsLen = anyLabels ? 0 : <u32>labels;
  if (!body.ok) return MT_INVALID_ARGS;
  if (nameLen > limit32(NAME_LEN) || labelsLen > limit32(LABELS_LEN)) return MT_OVER_LIMIT;
  const name = body.takeBytes(nameLen);
  const label = body.takeBytes(labelsLen);
  if (!body.finished || nameLen == 0) return MT_INVALID_ARGS;
  memory.copy(wantedName, name, nameLen);
  memory.copy(wantedLabels, label, labelsLen);
  return MT_OK;
}

function readHandle(body: Reader): u8 {
  const handle = SeriesHandle.of(body.takeU32());
  if (!body.finished) return MT_INVALID_ARGS;
  const index = seriesOfHandle(handle);
  if (index < 0) return MT_STALE_HANDLE;
  const s = seriesAt(<u32>index);
  const m = metricAt(<u32>s.metric);
  wantedSender = s.sender;
  wantedKind = s.kind;
  nameLen = <u32>m.nameLen;
  labelsLen = <u32>s.labelsLen;
  anyLabels = false;
  memory.copy(wantedName, textAt(m.name), nameLen);
  memory.copy(wantedLabels, textAt(s.labels), labelsLen);
  return MT_OK;
}

function wanted(sender: u64, kind: u8, name: usize, nameBytes: u32, labels: usize, labelBytes: u32): bool {
  if ((wantedSender != 0 && sender != wantedSender) || (wantedKind != 0 && kind != wantedKind)) return false;
  if (!equalsBytes(name, nameBytes, wantedName, nameLen)) return false;
  return anyLabels || equalsBytes(labels, labelBytes, wantedLabels, labelsLen);
}

/** Puts one page into a reply whose head is written; readRange said MT_OK. `open_ns` is the start of the open raw interval. */
export function putRange(w: Writer, now_ns: u64, offset_ns: u64, open_ns: u64, interval_ns: u64): void {
  out = w;
  start = w.length;
  count = 0;
  reads = 0;
  bounds = boundsDigest();
  flags = jobsWaiting() != 0 ? MT_RANGE_WAITING : 0;
  const nextAt = w.reserve(8);
  w.putU64(now_ns).putU64(offset_ns);
  const countAt = w.reserve(4);
  const next = walk(now_ns, open_ns, interval_ns);
  store<u64>(nextAt, next);
  store<u16>(countAt, <u16>count);
  store<u16>(countAt, flags, 2);
}

/** Puts points until the end, or until the page is full; the cursor of what comes next. */
function walk(now_ns: u64, open_ns: u64, interval_ns: u64): u64 {
  if (cursor < OPEN) {
    const stopped = level == 0 ? walkRaw() : walkWindows(now_ns);
    if (stopped != MT_RANGE_END) return stopped;
    cursor = OPEN;
  }
  const width_ns = level == 0 ? interval_ns : widthOf(level);
  return mutant(MUT_METRICSD_RANGE_SKIPS_OPEN) ? MT_RANGE_END : walkOpen(open_ns - open_ns % width_ns, width_ns);
}

function walkRaw(): u64 {
  const fromSegment = <u32>(cursor >> 32);
  for (let i: u32 = 0; i < segmentCount(); i++) {
    const s = segmentAt(i);
    if (s.number < fromSegment || s.last_ns < from_ns && i + 1 < segmentCount()) continue;
    const resumed = s.number == fromSegment && cursor != 0;
    for (let n = max<u32>(s.from, resumed ? <u32>(cursor >> 16) & 0xffff : 0); n < s.records; n++) {
      const here = (<u64>s.number << 32) | (<u64>n << 16);
      if (reads == METRICSD_RETENTION_RANGE_READS_MAX) return here;
      const key = rawKey(s.slot, n);
      const head = readRecord(key.base, key.length);
      if (head === null || head.segment != s.number) continue;
      if (head.start_ns >= (mutant(MUT_METRICSD_RANGE_ENDS_EARLY) ? from_ns : to_ns)) return MT_RANGE_END;
      if (head.start_ns + head.width_ns <= from_ns) continue;
      const stopped = putEntries(head, here == (cursor & ~(<u64>0xffff)) ? <u32>cursor & 0xffff : 0);
      if (stopped >= 0) return here | <u64>stopped;
    }
  }
  return MT_RANGE_END;
}

function walkWindows(now_ns: u64): u64 {
  const width_ns = widthOf(level);
  const first = max(oldestKept(level, now_ns), max(from_ns / width_ns, cursor >> 24));
  for (let i = windowFrom(level, first); i < windowCount(level); i++) {
    const w = windowAt(level, i);
    if (w.number * width_ns >= to_ns) break;
    const resumed = w.number == cursor >> 24;
    for (let part: u32 = resumed ? <u32>(cursor >> 16) & 0xff : 0; part < <u32>w.parts; part++) {
      const here = (w.number << 24) | (<u64>part << 16);
      if (reads == METRICSD_RETENTION_RANGE_READS_MAX) return here;
      const key = rollupKey(level, w.number, part);
      const head = readRecord(key.base, key.length);
      if (head === null || <u32>head.level != level) continue;
      const stopped = putEntries(head, here == (cursor & ~(<u64>0xffff)) ? <u32>cursor & 0xffff : 0);
      if (stopped >= 0) return here | <u64>stopped;
    }
  }
  return MT_RANGE_END;
}

let recordLength: u32 = 0;

/** Reads a record; null when there is none (its write was lost, or waits: then the reply says so) or it cannot be read. */
function readRecord(keyAt: usize, keyLen: u32): RecordHead | null {
  reads += 1;
  const length = stateGet(state, keyAt, keyLen, record, METRICSD_RETENTION_RECORD_BYTES_MAX, METRICSD_RETENTION_CALL_BUDGET_NS);
  if (length == STATE_REFUSED && stateStatus() == SF_NOT_FOUND) return null;
  const head: RecordHead | null = headOf(record, length < 0 ? 0 : <u32>length);
  if (head === null) flags |= MT_RANGE_UNREADABLE;
  recordLength = length < 0 ? 0 : <u32>length;
  return head;
}

/** Puts the wanted entries from number `first` on; -1 when all are through, else the number of the one that found no room. */
function putEntries(head: RecordHead, first: u32): i32 {
  let at = record + RECORD_HEAD_BYTES;
  for (let n: u32 = 0; n < <u32>head.entries; n++) {
    at = readEntry(at, record + recordLength);
    if (at == 0) {
      flags |= MT_RANGE_UNREADABLE;
      return -1;
    }
    if (n < first || entry.count == 0) continue;
    if (!wanted(entry.sender, entry.kind, entry.name, <u32>entry.nameLen, entry.labels, <u32>entry.labelsLen)) continue;
    const other: u8 = entry.buckets != 0 && head.bounds != bounds ? MT_POINT_OTHER_BOUNDS : 0;
    const put = putPoint(
      head.start_ns, head.width_ns, entry.sender, entry.kind, entry.unit, other, entry.point, entry.buckets, entryRow, entry.labels,
      <u32>entry.labelsLen,
    );
    if (!put) return <i32>n;
  }
  return -1;
}

/** The window that is still open, by position in the order of series. */
function walkOpen(start_ns: u64, width_ns: u64): u64 {
  if (start_ns >= to_ns || start_ns + width_ns <= from_ns) return MT_RANGE_END;
  for (let n = <u32>(cursor - OPEN); n < orderedSeries(); n++) {
    const index = seriesInOrder(n);
    const s = seriesAt(index);
    const m = metricAt(<u32>s.metric);
    if (!wanted(s.sender, s.kind, textAt(m.name), <u32>m.nameLen, textAt(s.labels), <u32>s.labelsLen)) continue;
    const histogram = histogramOf(s);
    const p = peekPoint(level, index, s.kind == MT_KIND_GAUGE, histogram);
    if (p === null) continue;
    const buckets: u32 = histogram == NO_BUCKETS ? 0 : boundCount(s.unit) + 1;
    const put = putPoint(
      start_ns, width_ns, s.sender, s.kind, s.unit, MT_POINT_OPEN, p, buckets, peekedRow, textAt(s.labels), <u32>s.labelsLen,
    );
    if (!put) return OPEN + <u64>n;
  }
  return MT_RANGE_END;
}

function putPoint(
  start_ns: u64, width_ns: u64, sender: u64, kind: u8, unit: u8, flag: u8, p: Point, buckets: u32, row: usize, labels: usize,
  labelBytes: u32,
): bool {
  const bytes = MT_POINT_HEAD_BYTES + (buckets << 3) + labelBytes;
  if (out.length - start + bytes > METRICSD_RETENTION_RANGE_PAGE_BYTES_MAX) return false;
  out.putU64(start_ns).putU64(width_ns).putU64(sender);
  out.putU8(kind).putU8(unit).putU8(<u8>buckets).putU8(flag).putU16(<u16>labelBytes).putU16(0);
  out.putU64(p.count).putU64(p.sum).putU64(p.min).putU64(p.max).putU64(p.last);
  for (let i: u32 = 0; i < buckets; i++) out.putU64(load<u64>(row + (i << 3)));
  out.putBytes(labels, labelBytes);
  count += 1;
  return true;
}
