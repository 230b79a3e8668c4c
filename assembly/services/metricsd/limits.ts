// SPDX-License-Identifier: Apache-2.0
// The effective limits: one table of every recipe key with its maximum, and the values that the recipe gave.
//
// Invariant: after loadRecipe returned true every key has a value between 1 (retention.enabled: 0) and its maximum; before that, or
// after false, nothing may use them. A recipe may only tighten what the wire allows.
import {
  METRICSD_BATCH_ITEMS_MAX, METRICSD_BUCKETS_MAX, METRICSD_BYTES_PER_WINDOW_MAX, METRICSD_EVENTS_PER_WINDOW_MAX,
  METRICSD_EXPORT_INTERVAL_NS_MAX, METRICSD_EXPORT_RECORDS_MAX, METRICSD_LABELS_BYTES_MAX, METRICSD_LABELS_MAX,
  METRICSD_LIVE_SPANS_MAX, METRICSD_NAME_BYTES_MAX, METRICSD_QUARANTINE_TTL_NS_MAX, METRICSD_RATE_WINDOW_NS_MAX,
  METRICSD_RETENTION_GC_BATCH_MAX, METRICSD_RETENTION_RAW_INTERVAL_NS_MAX, METRICSD_RETENTION_RECORD_SAMPLES_MAX,
  METRICSD_RETENTION_RETRIES_MAX, METRICSD_RETENTION_SEGMENTS_MAX, METRICSD_RETENTION_SEGMENT_RECORDS_MAX,
  METRICSD_RETENTION_WINDOWS_MAX, METRICSD_SENDERS_MAX, METRICSD_SENDER_OVERRIDES_MAX, METRICSD_SERIES_MAX,
  METRICSD_SPAN_EXPIRY_NS_MAX,
} from "../../gen/limits";
import { fnv1a64 } from "../../lib/bounded/fnv";
import { MT_UNIT_BYTES } from "../../lib/wire/metricsd";

// Index of each key; the order is that of the names below.
export const SERIES_TOTAL: u32 = 0;
export const SERIES_PER_SENDER: u32 = 1;
export const SERIES_PER_METRIC: u32 = 2;
export const LABELS_COUNT: u32 = 3;
export const LIVE_SPANS: u32 = 4;
export const LIVE_SPANS_PER_SENDER: u32 = 5;
export const RATE_WINDOW_NS: u32 = 6;
export const EVENTS_PER_WINDOW: u32 = 7;
export const BYTES_PER_WINDOW: u32 = 8;
export const SUBJECTS: u32 = 9;
export const NAME_LEN: u32 = 10;
export const LABELS_LEN: u32 = 11;
export const SPAN_NAME_LEN: u32 = 12;
export const ATTRS_LEN: u32 = 13;
export const BATCH_ITEMS: u32 = 14;
export const SPAN_EXPIRY_NS: u32 = 15;
export const QUARANTINE_AFTER: u32 = 16;
export const QUARANTINE_TTL_NS: u32 = 17;
export const EXPORT_INTERVAL_NS: u32 = 18;
export const EXPORT_RECORDS: u32 = 19;
/** 0: nothing is kept; the only key that may be 0. */
export const RETENTION_ENABLED: u32 = 20;
export const RAW_INTERVAL_NS: u32 = 21;
export const SEGMENTS: u32 = 22;
export const SEGMENT_RECORDS: u32 = 23;
export const RECORD_SAMPLES: u32 = 24;
export const TTL_WINDOWS_10S: u32 = 25;
export const TTL_WINDOWS_60S: u32 = 26;
export const GC_BATCH: u32 = 27;
export const BEST_EFFORT_RETRIES: u32 = 28;
export const CRITICAL_RETRIES: u32 = 29;
export const KEYS: u32 = 30;
const NAMES: string =
  "metrics.max_series_total metrics.max_series_per_sender metrics.max_series_per_metric metrics.max_labels " +
  "metrics.max_live_spans metrics.max_live_spans_per_sender " +
  "ingest.rate_window_ns ingest.max_events_per_window ingest.max_bytes_per_window ingest.max_subjects " +
  "wire.max_metric_name_len wire.max_labels_len wire.max_span_name_len wire.max_attrs_len wire.max_batch_items " +
  "spans.expiry_ns quarantine.after_rejects quarantine.ttl_ns export.interval_ns export.max_records " +
  "retention.enabled retention.raw_interval_ns retention.max_segments retention.max_records_per_segment " +
  "retention.max_samples_per_record retention.ttl_windows_10s retention.ttl_windows_60s retention.gc_batch " +
  "retention.best_effort_retries retention.critical_retries";

const MAXIMA: StaticArray<u64> = [
  METRICSD_SERIES_MAX, METRICSD_SERIES_MAX, METRICSD_SERIES_MAX, METRICSD_LABELS_MAX,
  METRICSD_LIVE_SPANS_MAX, METRICSD_LIVE_SPANS_MAX,
  METRICSD_RATE_WINDOW_NS_MAX, METRICSD_EVENTS_PER_WINDOW_MAX, METRICSD_BYTES_PER_WINDOW_MAX, METRICSD_SENDERS_MAX,
  METRICSD_NAME_BYTES_MAX, METRICSD_LABELS_BYTES_MAX, METRICSD_NAME_BYTES_MAX, METRICSD_LABELS_BYTES_MAX,
  METRICSD_BATCH_ITEMS_MAX,
  METRICSD_SPAN_EXPIRY_NS_MAX, METRICSD_EVENTS_PER_WINDOW_MAX, METRICSD_QUARANTINE_TTL_NS_MAX,
  METRICSD_EXPORT_INTERVAL_NS_MAX, METRICSD_EXPORT_RECORDS_MAX,
  1, METRICSD_RETENTION_RAW_INTERVAL_NS_MAX, METRICSD_RETENTION_SEGMENTS_MAX, METRICSD_RETENTION_SEGMENT_RECORDS_MAX,
  METRICSD_RETENTION_RECORD_SAMPLES_MAX, METRICSD_RETENTION_WINDOWS_MAX, METRICSD_RETENTION_WINDOWS_MAX,
  METRICSD_RETENTION_GC_BATCH_MAX, METRICSD_RETENTION_RETRIES_MAX, METRICSD_RETENTION_RETRIES_MAX,
];

const values: usize = memory.data(240, 8);
const nameAt: usize = memory.data(60, 2);
const nameLen: usize = memory.data(30);
let given: u64 = 0;
// Two rows of bounds: ns, then bytes.
const bounds: usize = memory.data(2 * METRICSD_BUCKETS_MAX * 8, 8);
const boundCounts: usize = memory.data(2);

/** What a [[sender]] table may set, and the key whose general value it replaces. */
export const OVERRIDE_KEYS: u32 = 5;
export const OVERRIDE_NAMES: string =
  "max_series max_series_per_metric max_live_spans max_events_per_window max_bytes_per_window";
const OVERRIDE_OF: StaticArray<u32> = [
  SERIES_PER_SENDER, SERIES_PER_METRIC, LIVE_SPANS_PER_SENDER, EVENTS_PER_WINDOW, BYTES_PER_WINDOW,
];
// One override: {sender u64, 5 x u64 (0: not set)}.
const overrides: usize = memory.data(METRICSD_SENDER_OVERRIDES_MAX * 48, 8);
let overrideCount: u32 = 0;

function indexNames(): bool {
  let key: u32 = 0;
  let start: u32 = 0;
  const length = <u32>NAMES.length;
  for (let i: u32 = 0; i <= length; i++) {
    if (i < length && NAMES.charCodeAt(i) != 32) continue;
    store<u16>(nameAt + (key << 1), <u16>start);
    store<u8>(nameLen + key, <u8>(i - start));
    key += 1;
    start = i + 1;
  }
  assert(key == KEYS);
  return true;
}
const indexed: bool = indexNames();

/** The effective value of a key. */
@inline export function limit(key: u32): u64 {
  return load<u64>(values + (key << 3));
}
/** The same as u32; every such key's maximum fits. */
@inline export function limit32(key: u32): u32 {
  return <u32>load<u64>(values + (key << 3));
}
export function setLimit(key: u32, value: u64): void {
  store<u64>(values + (key << 3), value);
  given |= <u64>1 << key;
}
/** Whether the recipe gave the key. */
export function limitGiven(key: u32): bool {
  return (given & (<u64>1 << key)) != 0;
}
export function limitMaximum(key: u32): u64 {
  return MAXIMA[key];
}
/** Address of the key's full name as UTF-16 (two bytes a character), and its length in characters. */
export function limitName(key: u32): usize {
  return changetype<usize>(NAMES) + (<usize>load<u16>(nameAt + (key << 1)) << 1);
}
export function limitNameLength(key: u32): u32 {
  return <u32>load<u8>(nameLen + key);
}

@inline function row(unit: u8): u32 {
  return unit == MT_UNIT_BYTES ? 1 : 0;
}
/** Upper bounds of a unit (MT_UNIT_NS or MT_UNIT_BYTES), ascending; a value equal to a bound belongs to it. */
export function boundCount(unit: u8): u32 {
  return <u32>load<u8>(boundCounts + row(unit));
}
@inline export function boundAt(unit: u8, index: u32): u64 {
  return load<u64>(bounds + ((row(unit) * METRICSD_BUCKETS_MAX + index) << 3));
}
export function setBound(unit: u8, index: u32, value: u64): void {
  store<u64>(bounds + ((row(unit) * METRICSD_BUCKETS_MAX + index) << 3), value);
  store<u8>(boundCounts + row(unit), <u8>(index + 1));
}

/** Starts an override for a service name; returns its number, or -1 when the table is full or the name is there already. */
export function addOverride(name: usize, length: u32): i32 {
  const sender = fnv1a64(name, length);
  if (overrideCount == METRICSD_SENDER_OVERRIDES_MAX) return -1;
  for (let i: u32 = 0; i < overrideCount; i++) if (load<u64>(overrides + i * 48) == sender) return -1;
  const at = overrides + overrideCount * 48;
  memory.fill(at, 0, 48);
  store<u64>(at, sender);
  overrideCount += 1;
  return <i32>(overrideCount - 1);
}
export function setOverride(number: u32, key: u32, value: u64): void {
  store<u64>(overrides + number * 48 + 8 + (key << 3), value);
}
export function overrideMaximum(key: u32): u64 {
  return MAXIMA[OVERRIDE_OF[key]];
}
/** The value of an override key (0..4) for this sender: its own, or the general one. */
export function senderLimit(sender: u64, key: u32): u64 {
  for (let i: u32 = 0; i < overrideCount; i++) {
    const at = overrides + i * 48;
    if (load<u64>(at) != sender) continue;
    const own = load<u64>(at + 8 + (key << 3));
    if (own != 0) return own;
  }
  return limit(OVERRIDE_OF[key]);
}
export const OWN_SERIES: u32 = 0;
export const OWN_SERIES_PER_METRIC: u32 = 1;
export const OWN_LIVE_SPANS: u32 = 2;
export const OWN_EVENTS: u32 = 3;
export const OWN_BYTES: u32 = 4;
