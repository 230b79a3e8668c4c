// SPDX-License-Identifier: Apache-2.0
// Series: their keys, values and handles, and the queue of those that changed since their last export.
//
// Invariant: a series is (sender, kind, name, canonical labels) and lives until metricsd ends, so its index in a handle never
// names another; a value is changed only after everything about the update was checked. A series stands in the dirty queue at
// most once, so that queue cannot overflow. Updating by index touches one 48-byte entry: the cost does not depend on how many
// series there are.
// A restored series (docs/format/retention.md) is history until its sender uses it: it has its place and its value, but counts in no
// cap and answers to no handle before it is claimed, which is refused like a new series when a cap is reached.
// Limits: limits.metricsd series_max, metrics_max, histograms_max, text_bytes_max; the recipe's caps.
import { METRICSD_BUCKETS_MAX, METRICSD_HISTOGRAMS_MAX, METRICSD_METRICS_MAX, METRICSD_SERIES_MAX,
  METRICSD_TEXT_BYTES_MAX } from "../../gen/limits";
import {
  MUT_METRICSD_BUCKET_OFF_BY_ONE, MUT_METRICSD_COUNTER_OVERWRITES, MUT_METRICSD_RESTORE_FORGETS_VALUE,
  MUT_METRICSD_RETENTION_FEEDS_ITSELF, mutant,
} from "../../gen/mutants";
import {
  MT_INVALID_ARGS, MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_OK, MT_OVER_LIMIT,
} from "../../lib/wire/metricsd";
import { SVC_STATEFSD_ID } from "../../gen/services";
import { equalsBytes } from "../../lib/bounded/text";
import {
  LABELS_LEN, OWN_SERIES, OWN_SERIES_PER_METRIC, SERIES_TOTAL, boundAt, boundCount, limit32, senderLimit,
} from "./limits";
import { canonicalLabels, canonicalLength, canonicalise } from "./labels";
import { noteSeries } from "./retention/order";
import { NO_BUCKETS, feedPoint, pointsFed } from "./retention/points";
import { Sender, inQuarantine, noteCapReject } from "./senders";

const NONE: u32 = 0xffff;
const METRIC_HEADS: u32 = 2048;
const SERIES_HEADS: u32 = 4096;
const SERIES_BYTES: u32 = 48;
const METRIC_BYTES: u32 = 24;
/** count u64, sum u64, then the buckets and the overflow bucket. */
const HISTOGRAM_BYTES: u32 = 16 + (METRICSD_BUCKETS_MAX + 1) * 8;

/** One series, 48 bytes. */
@unmanaged
export class Series {
  /** Counter or gauge: the value; histogram: its address. */
  value: u64;
  sender: u64;
  updates: u64;
  kind: u8;
  unit: u8;
  dirty: u8;
  labelsLen: u8;
  metric: u16;
  next: u16;
  labels: u32;
  hash: u32;
  /** Last raw segment of /state that names it, plus 1; 0: none. */
  segment: u32;
  origin: u8;
  pad0: u8;
  pad1: u16;
}
/** What Series.origin says: made in this life of metricsd; restored and not used yet; restored and used again. */
export const ORIGIN_HERE: u8 = 0;
export const ORIGIN_UNCLAIMED: u8 = 1;
export const ORIGIN_CLAIMED: u8 = 2;

/** One (sender, kind, name), 24 bytes. */
@unmanaged
export class Metric {
  sender: u64;
  hash: u32;
  name: u32;
  series: u16;
  next: u16;
  kind: u8;
  unit: u8;
  nameLen: u8;
  pad: u8;
}

const seriesTable: usize = memory.data(METRICSD_SERIES_MAX * 48, 8);
const metricTable: usize = memory.data(METRICSD_METRICS_MAX * 24, 8);
const histograms: usize = memory.data(METRICSD_HISTOGRAMS_MAX * (16 + (METRICSD_BUCKETS_MAX + 1) * 8), 8);
const text: usize = memory.data(METRICSD_TEXT_BYTES_MAX);
const seriesHeads: usize = memory.data(8192, 2);
const metricHeads: usize = memory.data(4096, 2);
const dirtyQueue: usize = memory.data(METRICSD_SERIES_MAX * 2, 2);
let seriesCount: u32 = 0;
let unclaimed: u32 = 0;
let metricCount: u32 = 0;
let histogramCount: u32 = 0;
let textUsed: u32 = 0;
let dirtyHead: u32 = 0;
let dirtyCount: u32 = 0;
let updates: u64 = 0;

memory.fill(seriesHeads, 0xff, 8192);
memory.fill(metricHeads, 0xff, 4096);

export function seriesUsed(): u32 {
  return seriesCount;
}
/** Series that count in the caps: all but the restored ones that nobody used yet. */
export function seriesInUse(): u32 {
  return seriesCount - unclaimed;
}
export function updatesApplied(): u64 {
  return updates;
}
export function dirtyWaiting(): u32 {
  return dirtyCount;
}
@inline export function seriesAt(index: u32): Series {
  return changetype<Series>(seriesTable + <usize>index * SERIES_BYTES);
}
@inline export function metricAt(index: u32): Metric {
  return changetype<Metric>(metricTable + <usize>index * METRIC_BYTES);
}
@inline export function textAt(offset: u32): usize {
  return text + offset;
}

function hash32(seed: u32, ptr: usize, len: u32): u32 {
  let hash = seed;
  for (let i: u32 = 0; i < len; i++) hash = (hash ^ <u32>load<u8>(ptr + i)) * 16777619; // FNV-1a 32
  return hash;
}

function findMetric(sender: u64, kind: u8, hash: u32, name: usize, nameLen: u32): u32 {
  let index = <u32>load<u16>(metricHeads + ((hash & (METRIC_HEADS - 1)) << 1));
  while (index != NONE) {
    const m = metricAt(index);
    if (m.hash == hash && m.sender == sender && m.kind == kind && <u32>m.nameLen == nameLen
        && memory.compare(text + m.name, name, nameLen) == 0) return index;
    index = <u32>m.next;
  }
  return NONE;
}

function findSeries(metric: u32, hash: u32, labels: usize, labelsLen: u32): u32 {
  let index = <u32>load<u16>(seriesHeads + ((hash & (SERIES_HEADS - 1)) << 1));
  while (index != NONE) {
    const s = seriesAt(index);
    if (s.hash == hash && <u32>s.metric == metric && <u32>s.labelsLen == labelsLen
        && memory.compare(text + s.labels, labels, labelsLen) == 0) return index;
    index = <u32>s.next;
  }
  return NONE;
}

/** Index of the last series that resolve found or made. */
export let resolved: u32 = 0;

/**
 * Finds the series of this sender, or makes it. The name was checked; labels are the sender's bytes. On MT_OK its index is in
 * `resolved`. A set that is stored already, byte for byte, needs no parsing: only canonical, redacted bytes are ever stored.
 */
export function resolve(
  sender: Sender, kind: u8, unit: u8, name: usize, nameLen: u32, labels: usize, labelsLen: u32, now_ns: u64,
): u8 {
  const metricHash = hash32(<u32>sender.id ^ <u32>kind, name, nameLen);
  let metric = findMetric(sender.id, kind, metricHash, name, nameLen);
  if (metric != NONE) {
    if (metricAt(metric).unit != unit) return MT_INVALID_ARGS;
    const found = findSeries(metric, hash32(metricHash, labels, labelsLen), labels, labelsLen);
    if (found != NONE) return use(sender, found, now_ns);
  }
  const status = canonicalise(labels, labelsLen, limit32(LABELS_LEN));
  if (status != MT_OK) return status;
  const hash = hash32(metricHash, canonicalLabels(), canonicalLength());
  if (metric != NONE) {
    const found = findSeries(metric, hash, canonicalLabels(), canonicalLength());
    if (found != NONE) return use(sender, found, now_ns);
  }
  return create(sender, metric, metricHash, kind, unit, name, nameLen, hash, now_ns);
}

/** A series that is there: claimed if it was restored, unless a cap is reached. */
function use(sender: Sender, index: u32, now_ns: u64): u8 {
  const s = seriesAt(index);
  resolved = index;
  if (s.origin != ORIGIN_UNCLAIMED) return MT_OK;
  const m = metricAt(<u32>s.metric);
  if (!admits(sender, <u32>m.series, now_ns)) return MT_OVER_LIMIT;
  s.origin = ORIGIN_CLAIMED;
  unclaimed -= 1;
  m.series += 1;
  sender.series += 1;
  return MT_OK;
}

/** Whether the caps let this sender have one more series of a metric of which it has `inMetric`; a refusal is noted. */
function admits(sender: Sender, inMetric: u32, now_ns: u64): bool {
  if (inQuarantine(sender, now_ns)) return false;
  if (seriesInUse() < limit32(SERIES_TOTAL) && sender.series < sender.seriesMax && inMetric < sender.seriesPerMetricMax) return true;
  noteCapReject(sender, now_ns);
  return false;
}

function create(
  sender: Sender, known: u32, metricHash: u32, kind: u8, unit: u8, name: usize, nameLen: u32, hash: u32, now_ns: u64,
): u8 {
  if (!admits(sender, known == NONE ? 0 : <u32>metricAt(known).series, now_ns)) return MT_OVER_LIMIT;
  // The fixed tables: refusals here count like any other cap.
  if (!tablesHold(known, kind, nameLen, 1)) {
    noteCapReject(sender, now_ns);
    return MT_OVER_LIMIT;
  }
  add(sender.id, known, metricHash, kind, unit, name, nameLen, hash);
  metricAt(<u32>seriesAt(resolved).metric).series += 1;
  sender.series += 1;
  return MT_OK;
}

/** Whether the fixed tables take the canonical labels (and the name, if it is new) within 1 / `share` of their size. */
function tablesHold(known: u32, kind: u8, nameLen: u32, share: u32): bool {
  const newText = canonicalLength() + (known == NONE ? nameLen : 0);
  if (seriesCount == METRICSD_SERIES_MAX || textUsed + newText > METRICSD_TEXT_BYTES_MAX / share) return false;
  if (known == NONE && metricCount == METRICSD_METRICS_MAX) return false;
  return kind != MT_KIND_HISTOGRAM || histogramCount < METRICSD_HISTOGRAMS_MAX / share;
}

/** Makes the series of the canonical labels, which the tables hold; its index is in `resolved`. */
function add(sender: u64, known: u32, metricHash: u32, kind: u8, unit: u8, name: usize, nameLen: u32, hash: u32): void {
  const labelsLen = canonicalLength();
  const metric = known == NONE ? addMetric(sender, metricHash, kind, unit, name, nameLen) : known;
  const index = seriesCount;
  seriesCount += 1;
  const s = seriesAt(index);
  s.sender = sender;
  s.kind = kind;
  s.unit = unit;
  s.metric = <u16>metric;
  s.hash = hash;
  s.labelsLen = <u8>labelsLen;
  s.labels = keep(canonicalLabels(), labelsLen);
  if (kind == MT_KIND_HISTOGRAM) {
    s.value = <u64>(histograms + histogramCount * HISTOGRAM_BYTES);
    histogramCount += 1;
  }
  const head = seriesHeads + ((hash & (SERIES_HEADS - 1)) << 1);
  s.next = load<u16>(head);
  store<u16>(head, <u16>index);
  resolved = index;
  noteSeries(index, sender, kind, textAt(metricAt(metric).name), nameLen, textAt(s.labels), labelsLen);
}

/** A series that /state holds, found or made; its index is in `resolved`. False when it is not what metricsd would store, or when
 *  restored series fill their room: the same caps as series in use (per sender, per metric, in all), and half of each fixed table. */
export function restore(sender: u64, kind: u8, unit: u8, name: usize, nameLen: u32, labels: usize, labelsLen: u32): bool {
  if (canonicalise(labels, labelsLen, limit32(LABELS_LEN)) != MT_OK) return false;
  if (!equalsBytes(labels, labelsLen, canonicalLabels(), canonicalLength())) return false;
  const metricHash = hash32(<u32>sender ^ <u32>kind, name, nameLen);
  const hash = hash32(metricHash, labels, labelsLen);
  const known = findMetric(sender, kind, metricHash, name, nameLen);
  if (known != NONE) {
    if (metricAt(known).unit != unit) return false;
    const found = findSeries(known, hash, labels, labelsLen);
    if (found != NONE) {
      resolved = found;
      return true;
    }
  }
  if (!roomToRestore(sender, known) || !tablesHold(known, kind, nameLen, 2)) return false;
  add(sender, known, metricHash, kind, unit, name, nameLen, hash);
  seriesAt(resolved).origin = ORIGIN_UNCLAIMED;
  unclaimed += 1;
  return true;
}

function roomToRestore(sender: u64, metric: u32): bool {
  const total = limit32(SERIES_TOTAL);
  if (unclaimed >= min<u32>(total, METRICSD_SERIES_MAX - total)) return false;
  let own: u32 = 0;
  let inMetric: u32 = 0;
  for (let i: u32 = 0; i < seriesCount; i++) {
    const s = seriesAt(i);
    if (s.origin != ORIGIN_UNCLAIMED || s.sender != sender) continue;
    own += 1;
    if (<u32>s.metric == metric) inMetric += 1;
  }
  return <u64>own < senderLimit(sender, OWN_SERIES) && <u64>inMetric < senderLimit(sender, OWN_SERIES_PER_METRIC);
}

/** Gives a restored series its value (counter, gauge), or a histogram its totals: `buckets` counts at `row`. */
export function restoreValue(index: u32, value: u64, count: u64, sum: u64, row: usize, buckets: u32): void {
  const s = seriesAt(index);
  if (mutant(MUT_METRICSD_RESTORE_FORGETS_VALUE)) return;
  if (s.kind != MT_KIND_HISTOGRAM) {
    s.value = value;
    return;
  }
  const histogram = <usize>s.value;
  store<u64>(histogram, count);
  store<u64>(histogram, sum, 8);
  memory.copy(histogram + 16, row, buckets << 3);
}

function addMetric(sender: u64, hash: u32, kind: u8, unit: u8, name: usize, nameLen: u32): u32 {
  const index = metricCount;
  metricCount += 1;
  const m = metricAt(index);
  m.sender = sender;
  m.hash = hash;
  m.kind = kind;
  m.unit = unit;
  m.nameLen = <u8>nameLen;
  m.name = keep(name, nameLen);
  const head = metricHeads + ((hash & (METRIC_HEADS - 1)) << 1);
  m.next = load<u16>(head);
  store<u16>(head, <u16>index);
  return index;
}

function keep(ptr: usize, len: u32): u32 {
  const offset = textUsed;
  memory.copy(text + offset, ptr, len);
  textUsed += len;
  return offset;
}

/** Whether the value (the wire's 8 bytes) may be given to a series of this kind. */
@inline export function valueFits(kind: u8, value: u64): bool {
  return kind != MT_KIND_HISTOGRAM || <i64>value >= 0;
}

/** Applies a checked value: adds to a counter (saturating), replaces a gauge, puts a histogram's value into its bucket. */
export function apply(index: u32, value: u64): void {
  const s = seriesAt(index);
  s.updates += 1;
  updates += 1;
  if (s.kind == MT_KIND_COUNTER) {
    const sum = s.value + value;
    s.value = sum < value ? u64.MAX_VALUE : sum;
    if (mutant(MUT_METRICSD_COUNTER_OVERWRITES)) s.value = value;
  } else if (s.kind == MT_KIND_GAUGE) {
    s.value = value;
  } else {
    const bucket = observe(<usize>s.value, s.unit, value);
    if (pointsFed()) feedPoint(index, false, histogramOf(s), bucket, value, value, asksForRecord(s));
  }
  if (pointsFed() && s.kind != MT_KIND_HISTOGRAM) {
    feedPoint(index, s.kind == MT_KIND_GAUGE, NO_BUCKETS, 0, value, s.value, asksForRecord(s));
  }
  if (!s.dirty) markDirty(s, index);
}

/** What statefsd counts of our own writing must not make us write again, for ever: it waits for the record of something else. */
@inline function asksForRecord(s: Series): bool {
  return s.sender != SVC_STATEFSD_ID || mutant(MUT_METRICSD_RETENTION_FEEDS_ITSELF);
}

function observe(histogram: usize, unit: u8, value: u64): u32 {
  store<u64>(histogram, load<u64>(histogram) + 1);
  const sum = load<u64>(histogram, 8) + value;
  store<u64>(histogram, sum < value ? u64.MAX_VALUE : sum, 8);
  const count = boundCount(unit);
  let bucket: u32 = 0;
  if (mutant(MUT_METRICSD_BUCKET_OFF_BY_ONE)) {
    while (bucket < count && value >= boundAt(unit, bucket)) bucket += 1;
  } else {
    while (bucket < count && value > boundAt(unit, bucket)) bucket += 1;
  }
  const at = histogram + 16 + (bucket << 3);
  store<u64>(at, load<u64>(at) + 1);
  return bucket;
}

/** Number of a histogram's row among all histograms; NO_BUCKETS for another kind. */
@inline export function histogramOf(s: Series): u32 {
  return s.kind == MT_KIND_HISTOGRAM ? <u32>((<usize>s.value - histograms) / HISTOGRAM_BYTES) : NO_BUCKETS;
}

/** Observations, their sum, and one bucket's count (index boundCount: overflow). */
@inline export function histogramCountOf(s: Series): u64 {
  return load<u64>(<usize>s.value);
}
@inline export function histogramSumOf(s: Series): u64 {
  return load<u64>(<usize>s.value, 8);
}
@inline export function histogramBucketOf(s: Series, bucket: u32): u64 {
  return load<u64>(<usize>s.value + 16 + (bucket << 3));
}

export function markDirty(s: Series, index: u32): void {
  s.dirty = 1;
  let at = dirtyHead + dirtyCount;
  if (at >= METRICSD_SERIES_MAX) at -= METRICSD_SERIES_MAX;
  store<u16>(dirtyQueue + (at << 1), <u16>index);
  dirtyCount += 1;
}

/** The series that has waited longest; call only when dirtyWaiting() is not 0. */
export function oldestDirty(): u32 {
  return <u32>load<u16>(dirtyQueue + (dirtyHead << 1));
}
/** Takes it out of the queue: its snapshot reached logd, or was refused for good. */
export function dropOldestDirty(): void {
  seriesAt(oldestDirty()).dirty = 0;
  dirtyHead += 1;
  if (dirtyHead == METRICSD_SERIES_MAX) dirtyHead = 0;
  dirtyCount -= 1;
}
