// SPDX-License-Identifier: Apache-2.0
// Owns: metricsd's series as OTLP requests: the pages of SNAPSHOT, each series a point of its producer's resource.
// Invariant: every series of the snapshot but dcgmd's hw.* is in exactly one part, or counted as cut; the parts are queued together, so
// that each says how many there are. A series' start time never moves while its metricsd lives. Limits: limits.exportd self_parts_max.
import {
  EXPORTD_CALL_WAIT_NS, EXPORTD_PART_BYTES_MAX, EXPORTD_SELF_PARTS_MAX, EXPORTD_SNAPSHOT_PASSES_MAX,
  METRICSD_BUCKETS_MAX, METRICSD_SERIES_MAX,
} from "../../gen/limits";
import { SVC_DCGMD_ID } from "../../gen/services";
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_cap_close, sys_time_ns } from "../../gen/syscalls";
import { E_DEAD } from "../../gen/errors";
import { equalsBytes, equalsLiteral } from "../../lib/bounded/text";
import { MT, REPLY_OK, Reader, beginRequest, callRequest, lookupQuery, reply } from "../../lib/nexus-ipc/index";
import {
  HISTOGRAM_POINT_ATTRIBUTE, NUMBER_POINT_ATTRIBUTE, PbWriter, RESOURCE_ATTRIBUTE, attrBytes, attrLiteral, attrText,
  closeGauge, closeHistogram, closeSum,
  histogramPoint, openGauge, openHistogram, openMetric, openPoint, openResource, openResourceEntry, openScopeEntry, openSum, pointInt,
} from "../../lib/otlp/index";
import {
  MT_CURSOR_END, MT_KIND_COUNTER, MT_KIND_GAUGE, MT_KIND_HISTOGRAM, MT_OK, MT_OP_SNAPSHOT, MT_RATE_LIMITED, MT_UNIT_BYTES, MT_UNIT_NS,
  MT_UNIT_RESTORED, putSnapshot,
} from "../../lib/wire/metricsd";
import { XP_STAT_SERIES_CUT, XP_STAT_SNAPSHOTS_FAILED, XP_STREAM_SELF } from "../../lib/wire/exportd";
import { nonceBytes, nonceText } from "./boot";
import { queueMetrics } from "./queue";
import { CLOSE_BYTES, SCOPE_VERSION, attrService } from "./resource";
import { wallAt } from "./session";
import { addTally } from "./tally";

const PAGE_BYTES: u32 = 4096;
const NAME_BYTES_MAX: u32 = 48;
const NEWLINE: u8 = 10;
const EQUALS: u8 = 61;
const page: usize = memory.data(4096, 8);
const pageReader: Reader = changetype<Reader>(memory.data(16, 4));
const PART_STRIDE: u32 = 16384;
/** The parts of one snapshot, each with its length before it. */
const parts: usize = memory.data(EXPORTD_SELF_PARTS_MAX * 16384, 8);
const w: PbWriter = changetype<PbWriter>(memory.data(16, 4));
const buckets: usize = memory.data((METRICSD_BUCKETS_MAX + 1) * 8, 8);
const bounds: usize = memory.data(METRICSD_BUCKETS_MAX * 8, 8);
/** What is open in the part being written; entry 0: nothing. */
const name: usize = memory.data(48);
let nameBytes: u32 = 0;
let kindOpen: u8 = 0;
let senderOpen: u64 = 0;
let entry: u32 = 0;
let scope: u32 = 0;
let metric: u32 = 0;
let data: u32 = 0;
let partCount: u32 = 0;

let metricsd: u32 = SLOT_METRICSD;
let snapshots: u64 = 0;
/** metricsd's own generation, from its handles, and since when its counters count, wall ns. */
let metricsdStarts: u32 = 0;
let startNs: u64 = 0;
let lastNs: u64 = 0;
let timeNs: u64 = 0;

/** One record of SNAPSHOT. */
let handle: u32 = 0;
let kind: u8 = 0;
let unit: u8 = 0;
let bucketCount: u32 = 0;
let sender: u64 = 0;
let value: u64 = 0;
let count: u64 = 0;
let ownName: usize = 0;
let ownNameBytes: u32 = 0;
let labels: usize = 0;
let labelsBytes: u32 = 0;

/** The snapshot under way: its next page, and passes that metricsd's bucket ended in a row; begun: 0 is the first page. */
let cursor: u32 = 0;
let begun: bool = false;
let putOff: u32 = 0;

/** Whether a snapshot was begun and waits for metricsd's bucket. */
export function snapshotUnderWay(): bool {
  return begun;
}

/** Takes a snapshot, or goes on with the one under way, and queues it once it is whole. False when it is not: metricsd's bucket is empty (a
 *  later call goes on), or it failed, counted. */
export function takeSnapshot(): bool {
  if (!begun) {
    timeNs = wallAt(<u64>sys_time_ns());
    partCount = 0;
    cursor = 0;
    putOff = 0;
    begun = true;
    beginPart();
  }
  // Each page has a series, or is the last.
  for (let turn: u32 = 0; turn <= METRICSD_SERIES_MAX && cursor != MT_CURSOR_END; turn++) {
    const next = readPage(cursor);
    if (next == PAGE_LATER && putOff < EXPORTD_SNAPSHOT_PASSES_MAX) {
      putOff++;
      return false;
    }
    if (next == PAGE_LATER || next <= cursor) {
      begun = false;
      addTally(XP_STAT_SNAPSHOTS_FAILED, 1);
      return false;
    }
    cursor = next;
    putOff = 0;
  }
  begun = false;
  if (partCount < EXPORTD_SELF_PARTS_MAX) endPart();
  snapshots++;
  lastNs = timeNs;
  for (let i: u32 = 0; i < partCount; i++) {
    const at = parts + i * PART_STRIDE;
    queueMetrics(XP_STREAM_SELF, 0, i, partCount, snapshots, at + 4, load<u32>(at));
  }
  return true;
}

/** No page begins here: metricsd's bucket was empty. */
const PAGE_LATER: u32 = 0xfffffffe;

/** Reads one page and writes its series; the cursor of the next, PAGE_LATER, or 0 on a failure. */
function readPage(from: u32): u32 {
  putSnapshot(beginRequest(MT, MT_OP_SNAPSHOT), from, 0);
  const outcome = callRequest(metricsd, EXPORTD_CALL_WAIT_NS);
  if (outcome == <i32>E_DEAD) {
    const fresh = lookupQuery("metricsd");
    if (fresh >= 0) {
      if (metricsd != SLOT_METRICSD) sys_cap_close(metricsd);
      metricsd = <u32>fresh;
    }
  }
  if (outcome == REPLY_OK && reply.status == MT_RATE_LIMITED) return PAGE_LATER;
  if (outcome != REPLY_OK || reply.status != MT_OK) return 0;
  const next = reply.body.takeU32();
  reply.body.takeU32();
  const records = <u32>reply.body.takeU16();
  const bytes = reply.body.left;
  if (!reply.body.ok || bytes > PAGE_BYTES) return 0;
  memory.copy(page, reply.body.takeBytes(bytes), bytes);
  pageReader.reset(page, bytes);
  for (let i: u32 = 0; i < records; i++) {
    if (!readRecord()) return 0;
    if (sender == SVC_DCGMD_ID && ownNameBytes > 3 && equalsLiteral(ownName, 3, "hw.")) continue;
    putSeries();
  }
  return pageReader.finished ? next : 0;
}

function readRecord(): bool {
  handle = pageReader.takeU32();
  kind = pageReader.takeU8();
  unit = pageReader.takeU8() & ~MT_UNIT_RESTORED;
  bucketCount = <u32>pageReader.takeU8();
  ownNameBytes = <u32>pageReader.takeU8();
  labelsBytes = <u32>pageReader.takeU16();
  sender = pageReader.takeU64();
  value = pageReader.takeU64();
  count = pageReader.takeU64();
  const pairs = pageReader.takeBytes(bucketCount << 4);
  ownName = pageReader.takeBytes(ownNameBytes);
  labels = pageReader.takeBytes(labelsBytes);
  if (!pageReader.ok || ownNameBytes > NAME_BYTES_MAX || bucketCount > METRICSD_BUCKETS_MAX + 1) return false;
  if (kind < MT_KIND_COUNTER || kind > MT_KIND_HISTOGRAM || (kind == MT_KIND_HISTOGRAM) != (bucketCount != 0)) return false;
  for (let i: u32 = 0; i < bucketCount; i++) {
    if (i + 1 < bucketCount) store<f64>(bounds + (i << 3), <f64>load<u64>(pairs + (i << 4)));
    store<u64>(buckets + (i << 3), load<u64>(pairs + (i << 4) + 8));
  }
  noteGeneration();
  return true;
}

/** The counters of the first metricsd count since the boot; those of a later one since the last snapshot before it, at the latest. */
function noteGeneration(): void {
  const starts = handle >> 16;
  if (starts == metricsdStarts) return;
  startNs = metricsdStarts == 0 && starts <= 1 ? wallAt(0) : lastNs != 0 ? lastNs : timeNs;
  metricsdStarts = starts;
}

function beginPart(): void {
  w.reset(parts + partCount * PART_STRIDE + 4, EXPORTD_PART_BYTES_MAX - CLOSE_BYTES);
  entry = 0;
  metric = 0;
}

/** Closes what is open; a part without a series is none. */
function endPart(): void {
  closeProducer();
  if (w.length == 0) return;
  store<u32>(parts + partCount * PART_STRIDE, w.length);
  partCount++;
}

/** Closing may use the room that nothing else does; the capacity is never below what is written. */
function closeMetric(): void {
  if (metric == 0) return;
  w.capacity = EXPORTD_PART_BYTES_MAX;
  if (kindOpen == MT_KIND_COUNTER) closeSum(w, data, true);
  else if (kindOpen == MT_KIND_GAUGE) closeGauge(w, data);
  else closeHistogram(w, data);
  w.close(metric);
  metric = 0;
  w.capacity = max<u32>(EXPORTD_PART_BYTES_MAX - CLOSE_BYTES, w.length);
}

function closeProducer(): void {
  closeMetric();
  if (entry == 0) return;
  w.close(scope);
  w.close(entry);
  entry = 0;
}

/** Writes the series of the record read last; in the next part where this one has no room. */
function putSeries(): void {
  if (partCount < EXPORTD_SELF_PARTS_MAX) {
    if (writeSeries()) return;
    endPart();
    if (partCount < EXPORTD_SELF_PARTS_MAX) {
      beginPart();
      if (writeSeries()) return;
    }
  }
  addTally(XP_STAT_SERIES_CUT, 1);
}

/** False when it did not fit: then the part is as it was before. */
function writeSeries(): bool {
  const sameProducer = entry != 0 && sender == senderOpen;
  const sameMetric = sameProducer && metric != 0 && kind == kindOpen && equalsBytes(name, nameBytes, ownName, ownNameBytes);
  if (!sameProducer) closeProducer();
  else if (!sameMetric) closeMetric();
  const before = w.length;
  if (!sameProducer) openProducer();
  if (!sameMetric) beginMetric();
  const point = openPoint(w, kind == MT_KIND_GAUGE ? 0 : startNs, timeNs);
  putLabels(kind == MT_KIND_HISTOGRAM ? HISTOGRAM_POINT_ATTRIBUTE : NUMBER_POINT_ATTRIBUTE);
  if (kind == MT_KIND_HISTOGRAM) histogramPoint(w, count, <f64>value, buckets, bounds, bucketCount - 1);
  else pointInt(w, kind == MT_KIND_COUNTER ? <i64>min<u64>(value, i64.MAX_VALUE) : <i64>value);
  w.close(point);
  if (w.ok) return true;
  w.rewind(before);
  if (!sameProducer) entry = 0;
  if (!sameMetric) metric = 0;
  return false;
}

function openProducer(): void {
  entry = openResourceEntry(w);
  senderOpen = sender;
  const resource = openResource(w);
  attrLiteral(w, RESOURCE_ATTRIBUTE, "service.name", "vigil");
  attrText(w, RESOURCE_ATTRIBUTE, "service.instance.id", nonceText, nonceBytes);
  attrService(w, "vigil.producer", sender);
  w.close(resource);
  scope = openScopeEntry(w, "vigil/metricsd", SCOPE_VERSION);
}

function beginMetric(): void {
  memory.copy(name, ownName, ownNameBytes);
  nameBytes = ownNameBytes;
  kindOpen = kind;
  metric = openMetric(w, ownName, ownNameBytes, "", unit == MT_UNIT_NS ? "ns" : unit == MT_UNIT_BYTES ? "By" : "");
  data = kind == MT_KIND_COUNTER ? openSum(w) : kind == MT_KIND_GAUGE ? openGauge(w) : openHistogram(w);
}

/** Each `key=value` line as an attribute. */
function putLabels(field: u32): void {
  let start: u32 = 0;
  while (start < labelsBytes) {
    let end = start;
    let split = labelsBytes;
    for (; end < labelsBytes && load<u8>(labels + end) != NEWLINE; end++) {
      if (split == labelsBytes && load<u8>(labels + end) == EQUALS) split = end;
    }
    if (split < end) attrBytes(w, field, labels + start, split - start, labels + split + 1, end - split - 1);
    start = end + 1;
  }
}
