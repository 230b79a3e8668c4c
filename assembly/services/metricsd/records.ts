// SPDX-License-Identifier: Apache-2.0
// What a series or a span looks like as a record of logd: one message and sorted `key=value` fields.
//
// Invariant: nothing is cut. Fields that would pass export_fields_bytes_max become two records, part=1 with the labels or start
// attributes and part=2 with the rest, both naming the same series or span.
// Limits: a message fits logd's for every allowed name and value; the test of the largest series and span holds that.
import { LOGD_MESSAGE_BYTES_MAX, METRICSD_EXPORT_FIELDS_BYTES_MAX } from "../../gen/limits";
import { MUT_METRICSD_GAUGE_UNSIGNED, mutant } from "../../gen/mutants";
import { Writer } from "../../lib/bounded/writer";
import { SeriesHandle } from "../../lib/nexus-ipc/types";
import { MT_KIND_COUNTER, MT_KIND_GAUGE, MT_UNIT_BYTES } from "../../lib/wire/metricsd";
import { boundAt, boundCount } from "./limits";
import {
  Series, histogramBucketOf, histogramCountOf, histogramSumOf, metricAt, textAt,
} from "./registry";
import { SpanRecord } from "./spans";

export const PART_ALL: u32 = 0;
export const PART_LABELS: u32 = 1;
export const PART_REST: u32 = 2;

const messageBuffer: usize = memory.data(LOGD_MESSAGE_BYTES_MAX);
const fieldsBuffer: usize = memory.data(METRICSD_EXPORT_FIELDS_BYTES_MAX);
export const message: Writer = changetype<Writer>(memory.data(16, 4));
export const fields: Writer = changetype<Writer>(memory.data(16, 4));

const NEWLINE: u8 = 10;

/** Puts each line of a canonical set as a field with a prefix before its key. */
function putSet(prefix: string, set: usize, length: u32): void {
  let start: u32 = 0;
  while (start < length) {
    let end = start;
    while (end < length && load<u8>(set + end) != NEWLINE) end += 1;
    if (fields.length) fields.putU8(NEWLINE);
    fields.putText(prefix).putBytes(set + start, end - start);
    start = end + 1;
  }
}

function putPart(part: u32): void {
  if (part != PART_ALL) fields.fieldDecimal("part", part);
}

/** Writes message and fields of a snapshot; false when they do not fit and the caller must ask for the two parts. */
export function writeSnapshot(s: Series, handle: SeriesHandle, part: u32): bool {
  const m = metricAt(<u32>s.metric);
  const name = textAt(m.name);
  const nameLen = <u32>m.nameLen;
  message.reset(messageBuffer, LOGD_MESSAGE_BYTES_MAX);
  fields.reset(fieldsBuffer, METRICSD_EXPORT_FIELDS_BYTES_MAX);
  const rest = part != PART_LABELS;
  if (s.kind == MT_KIND_COUNTER) {
    message.putText("metrics snapshot counter name=").putBytes(name, nameLen).putText(" value=").putDecimal(s.value);
    fields.fieldLiteral("kind", "counter");
  } else if (s.kind == MT_KIND_GAUGE) {
    message.putText("metrics snapshot gauge name=").putBytes(name, nameLen).putText(" value=");
    putGauge(message, s.value);
    fields.fieldLiteral("kind", "gauge");
  } else {
    message.putText("metrics snapshot histogram name=").putBytes(name, nameLen);
    message.putText(" count=").putDecimal(histogramCountOf(s)).putText(" sum=").putDecimal(histogramSumOf(s));
    if (rest) putBuckets(s);
    fields.fieldLiteral("kind", "histogram");
  }
  if (part != PART_REST) putSet("label.", textAt(s.labels), <u32>s.labelsLen);
  fields.fieldText("name", name, nameLen);
  putPart(part);
  fields.fieldHex("producer", s.sender).fieldKey("series").putHex(handle.raw, 8);
  if (!rest) return fields.ok;
  if (s.kind == MT_KIND_COUNTER) {
    fields.fieldDecimal("value", s.value);
  } else if (s.kind == MT_KIND_GAUGE) {
    fields.fieldKey("value");
    putGauge(fields, s.value);
  } else {
    fields.fieldDecimal("sum", histogramSumOf(s));
    fields.fieldLiteral("unit", s.unit == MT_UNIT_BYTES ? "bytes" : "ns");
  }
  return message.ok && fields.ok;
}

function putGauge(w: Writer, value: u64): void {
  if (mutant(MUT_METRICSD_GAUGE_UNSIGNED)) w.putDecimal(value);
  else w.putSignedDecimal(<i64>value);
}

/** `bounds` and `buckets` as comma-separated numbers; the last bucket is the overflow and has no bound. */
function putBuckets(s: Series): void {
  const count = boundCount(s.unit);
  fields.fieldKey("bounds");
  for (let i: u32 = 0; i < count; i++) {
    if (i) fields.putU8(44);
    fields.putDecimal(boundAt(s.unit, i));
  }
  fields.fieldKey("buckets");
  for (let i: u32 = 0; i <= count; i++) {
    if (i) fields.putU8(44);
    fields.putDecimal(histogramBucketOf(s, i));
  }
  fields.fieldDecimal("count", histogramCountOf(s));
}

/** Writes message and fields of an ended span; false when they do not fit and the caller must ask for the two parts. */
export function writeSpan(s: SpanRecord, part: u32): bool {
  const rest = part != PART_LABELS;
  message.reset(messageBuffer, LOGD_MESSAGE_BYTES_MAX);
  fields.reset(fieldsBuffer, METRICSD_EXPORT_FIELDS_BYTES_MAX);
  const status = s.status == 0 ? "ok" : s.status == 1 ? "error" : "timeout";
  message.putText("tracing span end name=").putBytes(s.name, <u32>s.nameLen).putText(" status=").putText(status);
  if (part != PART_REST) putSet("attr.", s.attrs, <u32>s.attrsLen);
  if (rest) {
    fields.fieldDecimal("duration_ns", s.end_ns - s.start_ns);
    putSet("end.", s.endAttrs, <u32>s.endAttrsLen);
    fields.fieldDecimal("end_ns", s.end_ns);
  }
  fields.fieldLiteral("kind", "span").fieldText("name", s.name, <u32>s.nameLen);
  if (rest) fields.fieldHex("parent", s.parent);
  putPart(part);
  fields.fieldHex("producer", s.sender).fieldHex("span", s.span);
  if (part != PART_REST) fields.fieldDecimal("start_ns", s.start_ns);
  if (rest) fields.fieldLiteral("status", status);
  fields.fieldHex("trace", s.trace);
  return message.ok && fields.ok;
}
