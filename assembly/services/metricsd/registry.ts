// SPDX-License-Identifier: Apache-2.0
// Series: their keys, values and handles, and the queue of those that changed since their last export.
//
// Invariant: a series is (sender, kind, name, canonical labels) and lives until metricsd ends, so its index in a handle never
// names another; a value is changed only after everything about the update was checked. A series stands in the dirty queue at
// most once, so that queue cannot overflow. Updating by index touches one 48-byte entry: the cost does not depend on how many
// series there are.
// Limits: limits.metricsd series_max, metrics_max, histograms_max, text_bytes_max; the recipe's caps.
import { METRICSD_BUCKETS_MAX, METRICSD_HISTOGRAMS_MAX, METRICSD_METRICS_MAX, METRICSD_SERIES_MAX,
  METRICSD_TEXT_BYTES_MAX } from "../../gen/limits";
import {
  MUT_METRICSD_BUCKET_OFF_BY_ONE, MUT_METRICSD_COUNTER_OVERWRITES, mutant,
} from "../../gen/mutants";
import {
  MT_INVALID_ARGS, MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_OK, MT_OVER_LIMIT,
} from "../../lib/wire/metricsd";
import { LABELS_LEN, SERIES_TOTAL, boundAt, boundCount, limit32 } from "./limits";
import { canonicalLabels, canonicalLength, canonicalise } from "./labels";
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
  pad: u64;
}

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
    if (found != NONE) {
      resolved = found;
      return MT_OK;
    }
  }
  const status = canonicalise(labels, labelsLen, limit32(LABELS_LEN));
  if (status != MT_OK) return status;
  const hash = hash32(metricHash, canonicalLabels(), canonicalLength());
  if (metric != NONE) {
    const found = findSeries(metric, hash, canonicalLabels(), canonicalLength());
    if (found != NONE) {
      resolved = found;
      return MT_OK;
    }
  }
  return create(sender, metric, metricHash, kind, unit, name, nameLen, hash, now_ns);
}

function create(
  sender: Sender, known: u32, metricHash: u32, kind: u8, unit: u8, name: usize, nameLen: u32, hash: u32, now_ns: u64,
): u8 {
  if (inQuarantine(sender, now_ns)) return MT_OVER_LIMIT;
  const inMetric: u32 = known == NONE ? 0 : <u32>metricAt(known).series;
  if (seriesCount >= limit32(SERIES_TOTAL) || sender.series >= sender.seriesMax || inMetric >= sender.seriesPerMetricMax) {
    noteCapReject(sender, now_ns);
    return MT_OVER_LIMIT;
  }
  const labelsLen = canonicalLength();
  const newText = labelsLen + (known == NONE ? nameLen : 0);
  // The fixed tables: refusals here count like any other cap.
  if (seriesCount == METRICSD_SERIES_MAX || textUsed + newText > METRICSD_TEXT_BYTES_MAX
      || (known == NONE && metricCount == METRICSD_METRICS_MAX)
      || (kind == MT_KIND_HISTOGRAM && histogramCount == METRICSD_HISTOGRAMS_MAX)) {
    noteCapReject(sender, now_ns);
    return MT_OVER_LIMIT;
  }
  const metric = known == NONE ? addMetric(sender.id, metricHash, kind, unit, name, nameLen) : known;
  const index = seriesCount;
  seriesCount += 1;
  const s = seriesAt(index);
  s.sender = sender.id;
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
  metricAt(metric).series += 1;
  sender.series += 1;
  resolved = index;
  return MT_OK;
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
    observe(<usize>s.value, s.unit, value);
  }
  if (!s.dirty) markDirty(s, index);
}

function observe(histogram: usize, unit: u8, value: u64): void {
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
