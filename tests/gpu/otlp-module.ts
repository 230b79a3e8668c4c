// SPDX-License-Identifier: Apache-2.0
// Owns: lib/otlp as a module of its own for a host test: one request of each signal, written with every function of the library.
// Invariant: thin calls over the shipping code. Limits: BUFFER_BYTES.
import * as otlp from "../../assembly/lib/otlp/index";
import { copyLiteral } from "../../assembly/lib/bounded/text";

const BUFFER: usize = memory.data(65536, 8);
const TEXT: usize = memory.data(4096);
const IDS: usize = memory.data(32, 8);
const BUCKETS: usize = memory.data<u64>([4, 3, 2]);
const BOUNDS: usize = memory.data<f64>([0.5, 2.5]);
const w: otlp.PbWriter = changetype<otlp.PbWriter>(memory.data(16, 4));

export function buffer(): usize { return BUFFER; }
export function text(): usize { return TEXT; }
function finish(): i32 { return w.ok ? <i32>w.length : -1; }

function openAll(): u32 {
  const entry = otlp.openResourceEntry(w);
  const resource = otlp.openResource(w);
  otlp.attrLiteral(w, otlp.RESOURCE_ATTRIBUTE, "service.name", "vigil");
  otlp.attrText(w, otlp.RESOURCE_ATTRIBUTE, "odd", TEXT, copyLiteral(TEXT, "a\x01\u00e9b"));
  w.close(resource);
  return entry;
}

export function metrics(capacity: u32): i32 {
  w.reset(BUFFER, capacity);
  const entry = openAll();
  const scope = otlp.openScopeEntry(w, "vigil/test", "1.2");
  let metric = otlp.openMetric(w, TEXT, copyLiteral(TEXT, "up"), "about up", "1");
  let data = otlp.openGauge(w);
  let point = otlp.openPoint(w, 0, 1800000000000000001);
  otlp.attrInt(w, otlp.NUMBER_POINT_ATTRIBUTE, "n", -5);
  otlp.attrBool(w, otlp.NUMBER_POINT_ATTRIBUTE, "yes", true);
  otlp.attrDouble(w, otlp.NUMBER_POINT_ATTRIBUTE, "half", 0.5);
  otlp.pointDouble(w, -2.5);
  w.close(point);
  otlp.closeGauge(w, data);
  w.close(metric);
  metric = otlp.openMetric(w, TEXT, copyLiteral(TEXT, "sent"), "", "By");
  data = otlp.openSum(w);
  for (let i: u32 = 0; i < 40; i++) {
    point = otlp.openPoint(w, 1700000000000000000, 1800000000000000000);
    otlp.attrInt(w, otlp.NUMBER_POINT_ATTRIBUTE, "i", i);
    otlp.pointInt(w, <i64>i - 1);
    w.close(point);
  }
  otlp.closeSum(w, data, true);
  w.close(metric);
  metric = otlp.openMetric(w, TEXT, copyLiteral(TEXT, "took"), "", "s");
  data = otlp.openHistogram(w);
  point = otlp.openPoint(w, 1, 2);
  otlp.attrLiteral(w, otlp.HISTOGRAM_POINT_ATTRIBUTE, "k", "v");
  otlp.histogramPoint(w, 9, 12.5, BUCKETS, BOUNDS, 2);
  w.close(point);
  otlp.closeHistogram(w, data);
  w.close(metric);
  w.close(scope);
  w.close(entry);
  return finish();
}

export function logs(): i32 {
  w.reset(BUFFER, 65536);
  const entry = openAll();
  const scope = otlp.openScopeEntryBytes(w, TEXT, copyLiteral(TEXT, "dcgmd"), "1.2");
  otlp.putId(IDS, 0x0102030405060708);
  otlp.putId(IDS + 8, 0x1112131415161718);
  const record = otlp.openLog(w, 5, 6, otlp.SEVERITY_WARN, "warn", TEXT, copyLiteral(TEXT, "line\none"));
  otlp.attrBytes(w, otlp.LOG_ATTRIBUTE, TEXT, copyLiteral(TEXT, "key"), TEXT + 64, copyLiteral(TEXT + 64, "value"));
  otlp.logTrace(w, IDS, IDS + 8);
  w.close(record);
  const bare = otlp.openLog(w, 0, 7, otlp.SEVERITY_INFO, "", TEXT, 0);
  w.close(bare);
  w.close(scope);
  w.close(entry);
  return finish();
}

export function traces(): i32 {
  w.reset(BUFFER, 65536);
  const entry = openAll();
  const scope = otlp.openScopeEntry(w, "vigil/test", "1.2");
  otlp.putId(IDS, 0x0102030405060708);
  otlp.putId(IDS + 8, 0x1112131415161718);
  otlp.putId(IDS + 16, 0x2122232425262728);
  let span = otlp.openSpan(w, IDS, IDS + 16, IDS + 8, TEXT, copyLiteral(TEXT, "scrape"), 10, 20);
  otlp.attrInt(w, otlp.SPAN_ATTRIBUTE, "samples", i64.MIN_VALUE);
  otlp.spanStatus(w, otlp.SPAN_STATUS_ERROR, "timed out");
  w.close(span);
  span = otlp.openSpan(w, IDS, IDS + 8, 0, TEXT, copyLiteral(TEXT, "root"), 10, 20);
  otlp.spanStatus(w, otlp.SPAN_STATUS_OK, "");
  w.close(span);
  w.close(scope);
  w.close(entry);
  return finish();
}

/** A message with a nested one of `bytes` bytes; its length, or -1 when it does not fit. */
export function nested(bytes: u32): i32 {
  w.reset(BUFFER, 65536);
  const open = w.open(1);
  w.reserve(bytes);
  w.close(open);
  return finish();
}
/** A varint in `capacity` bytes. */
export function varint(value: u64, capacity: u32): i32 {
  w.reset(BUFFER, capacity);
  w.varint(value);
  return finish();
}
/** Two fields, the second forgotten, a third in its place. */
export function rewound(): i32 {
  w.reset(BUFFER, 12);
  w.uint(1, 1);
  const keep = w.length;
  w.bytes(2, TEXT, 4096);
  const failed = !w.ok;
  w.rewind(keep);
  w.uint(3, 3);
  return failed ? finish() : -2;
}
