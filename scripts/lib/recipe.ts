// SPDX-License-Identifier: Apache-2.0
// The build-time check of recipes/observability/*.toml: the same rules as metricsd's own (assembly/services/metricsd/recipe.ts).
// Invariant: a file that passes here is accepted at boot and the other way round; tests/services/metricsd-recipe.test.ts runs both
// over one table. The TOML itself is read by a library here and by lib/toml in the guest, so a syntax error is one class, `syntax`.
import { parse, TomlError } from 'smol-toml';
import type { Abi } from './abi.js';

/** What is wrong with a recipe. `key` is `table.key`, or the table's name. */
export interface RecipeFault {
  key: string;
  reason: string;
}

/** Recipe key -> the key of abi/limits.toml [metricsd] that is its maximum. */
const KEYS: Record<string, string> = {
  'metrics.max_series_total': 'series_max',
  'metrics.max_series_per_sender': 'series_max',
  'metrics.max_series_per_metric': 'series_max',
  'metrics.max_labels': 'labels_max',
  'metrics.max_live_spans': 'live_spans_max',
  'metrics.max_live_spans_per_sender': 'live_spans_max',
  'ingest.rate_window_ns': 'rate_window_ns_max',
  'ingest.max_events_per_window': 'events_per_window_max',
  'ingest.max_bytes_per_window': 'bytes_per_window_max',
  'ingest.max_subjects': 'senders_max',
  'wire.max_metric_name_len': 'name_bytes_max',
  'wire.max_labels_len': 'labels_bytes_max',
  'wire.max_span_name_len': 'name_bytes_max',
  'wire.max_attrs_len': 'labels_bytes_max',
  'wire.max_batch_items': 'batch_items_max',
  'spans.expiry_ns': 'span_expiry_ns_max',
  'quarantine.after_rejects': 'events_per_window_max',
  'quarantine.ttl_ns': 'quarantine_ttl_ns_max',
  'export.interval_ns': 'export_interval_ns_max',
  'export.max_records': 'export_records_max',
  'retention.enabled': '',
  'retention.raw_interval_ns': 'retention_raw_interval_ns_max',
  'retention.max_segments': 'retention_segments_max',
  'retention.max_records_per_segment': 'retention_segment_records_max',
  'retention.max_samples_per_record': 'retention_record_samples_max',
  'retention.ttl_windows_10s': 'retention_windows_max',
  'retention.ttl_windows_60s': 'retention_windows_max',
  'retention.gc_batch': 'retention_gc_batch_max',
  'retention.best_effort_retries': 'retention_retries_max',
  'retention.critical_retries': 'retention_retries_max',
};
/** 0 or 1; the only key that may be 0. */
const SWITCH = 'retention.enabled';
const SENDER_KEYS: Record<string, string> = {
  max_series: 'series_max',
  max_series_per_metric: 'series_max',
  max_live_spans: 'live_spans_max',
  max_events_per_window: 'events_per_window_max',
  max_bytes_per_window: 'bytes_per_window_max',
};
const TABLES = [...new Set(Object.keys(KEYS).map((key) => key.split('.')[0]!)), 'histogram'];
const BOUND_MAX = 2n ** 63n - 1n;
const U64_MAX = 2n ** 64n - 1n;
const SENDER_NAME_BYTES_MAX = 31;
/** Series that metricsd keeps of itself (assembly/services/metricsd/self.ts). */
export const SELF_SERIES = 13;

class Refusal extends Error {
  constructor(readonly fault: RecipeFault) {
    super(`${fault.key} ${fault.reason}`);
  }
}
const refuse = (key: string, reason: string): never => {
  throw new Refusal({ key, reason });
};

/** The first fault of a recipe file, or null. @throws nothing. */
export function recipeFault(text: string, abi: Abi): RecipeFault | null {
  const limits = abi.limits.get('metricsd');
  if (!limits) return { key: 'abi/limits.toml', reason: 'no [metricsd]' };
  const maximum = (key: string): bigint => BigInt(limits.get(key) ?? refuse(key, 'not in abi/limits.toml'));
  try {
    if (Buffer.byteLength(text) > Number(maximum('recipe_bytes_max'))) return { key: '', reason: 'file_too_long' };
    check(parse(text, { integersAsBigInt: true }) as Record<string, unknown>, maximum);
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error.fault;
    if (error instanceof TomlError) return { key: '', reason: 'syntax' };
    throw error;
  }
}

function check(file: Record<string, unknown>, maximum: (key: string) => bigint): void {
  const seen = new Set<string>();
  for (const [table, content] of Object.entries(file)) {
    if (table === 'sender' && Array.isArray(content)) {
      checkSenders(content as Record<string, unknown>[], maximum);
      continue;
    }
    if (typeof content !== 'object' || content === null || Array.isArray(content)) {
      refuse(table, Array.isArray(content) && content.some((row) => typeof row === 'object') ? 'unknown_table' : 'unknown_key');
    }
    if (!TABLES.includes(table)) refuse(table, 'unknown_table');
    for (const [key, value] of Object.entries(content as Record<string, unknown>)) {
      const name = `${table}.${key}`;
      seen.add(name);
      if (name === 'histogram.buckets_ns' || name === 'histogram.buckets_bytes') checkBounds(name, value, maximum);
      else if (name === SWITCH) checkNumber(name, value, 1n, 0n);
      else checkNumber(name, value, maximum(KEYS[name] ?? refuse(name, 'unknown_key')));
    }
  }
  for (const name of [...Object.keys(KEYS), 'histogram.buckets_ns', 'histogram.buckets_bytes']) {
    if (!seen.has(name)) refuse(name, 'missing');
  }
  checkRetention(file.retention as Record<string, bigint>, maximum);
  const total = (file.metrics as Record<string, bigint>).max_series_total!;
  if (total < BigInt(SELF_SERIES)) refuse('metrics.max_series_total', 'too_small');
}

/** Raw intervals fill the 10 s windows exactly, and there is a segment to write, one to keep and one to drop. */
function checkRetention(table: Record<string, bigint>, maximum: (key: string) => bigint): void {
  const interval = table.raw_interval_ns!;
  if (interval < maximum('retention_raw_interval_ns_min')) refuse('retention.raw_interval_ns', 'too_small');
  if (maximum('retention_raw_interval_ns_max') % interval !== 0n) refuse('retention.raw_interval_ns', 'not_a_divisor');
  if (table.ttl_windows_10s! < maximum('retention_windows_10s_min')) refuse('retention.ttl_windows_10s', 'too_small');
  if (table.max_segments! < maximum('retention_segments_min')) refuse('retention.max_segments', 'too_small');
}

function checkNumber(name: string, value: unknown, most: bigint, least = 1n): void {
  if (typeof value !== 'bigint') refuse(name, 'wrong_type');
  if (value === 0n && least > 0n) refuse(name, 'zero');
  if ((value as bigint) < 0n || (value as bigint) > U64_MAX) refuse('', 'syntax'); // the guest's subset: unsigned, 64 bits
  if ((value as bigint) > most) refuse(name, 'over_maximum');
}

function checkBounds(name: string, value: unknown, maximum: (key: string) => bigint): void {
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'bigint')) refuse(name, 'wrong_type');
  const bounds = value as bigint[];
  if (bounds.length === 0) refuse(name, 'zero');
  if (BigInt(bounds.length) > maximum('buckets_max')) refuse(name, 'over_maximum');
  bounds.forEach((bound, index) => {
    if (bound === 0n) refuse(name, 'zero');
    if (bound > BOUND_MAX) refuse(name, 'over_maximum');
    if (index > 0 && bound <= bounds[index - 1]!) refuse(name, 'not_ascending');
  });
}

function checkSenders(rows: Record<string, unknown>[], maximum: (key: string) => bigint): void {
  const names = new Set<string>();
  for (const row of rows) {
    let named = false;
    let limits = 0;
    for (const [key, value] of Object.entries(row)) {
      const name = `sender.${key}`;
      if (key === 'name') {
        if (typeof value !== 'string') refuse(name, 'wrong_type');
        const service = value as string;
        if (service.length === 0 || service.length > SENDER_NAME_BYTES_MAX) refuse(name, 'over_maximum');
        if (names.has(service) || names.size === Number(maximum('sender_overrides_max'))) refuse(name, 'duplicate_name');
        names.add(service);
        named = true;
        continue;
      }
      const most = SENDER_KEYS[key] ?? refuse(name, 'unknown_key');
      if (!named) refuse(name, 'name_first');
      checkNumber(name, value, maximum(most));
      limits += 1;
    }
    if (limits === 0) refuse('sender', 'missing');
  }
}
