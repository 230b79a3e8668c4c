// SPDX-License-Identifier: Apache-2.0
// Owns: reading logd's journal and making spans and log records of it (docs/format/export.md).
// Invariant: each record id up to the cursor is counted once, as XP_STAT_CURSOR says; ids that logd no longer had are lost, and told to the
// host. A restarted logd is read from its first record. Limits: limits.exportd records_per_pass a pass; while waiting_batches_max
// batches wait in the queue nothing is read, so that logd's own bound is the one that drops.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import {
  EXPORTD_PART_BYTES_MAX, EXPORTD_RECORDS_PER_PASS, EXPORTD_WAITING_BATCHES_MAX, LOGD_FIELDS_BYTES_MAX, LOGD_SCOPE_BYTES_MAX,
} from "../../gen/limits";
import { MUT_EXPORTD_SKIPS_RECORDS, MUT_EXPORTD_TAKES_SPANS_FOR_LOGS, mutant } from "../../gen/mutants";
import { SVC_DCGMD_ID, SVC_METRICSD_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { sys_cap_close, sys_time_ns } from "../../gen/syscalls";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";
import { lookupQuery } from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome } from "../../lib/nexus-log/index";
import {
  LOG_ATTRIBUTE, PbWriter, SEVERITY_DEBUG, SEVERITY_ERROR, SEVERITY_INFO, SEVERITY_TRACE, SEVERITY_WARN, SPAN_ATTRIBUTE, SPAN_STATUS_ERROR,
  SPAN_STATUS_OK, attrInt, attrText, openLog, openSpan, putId, spanStatus,
} from "../../lib/otlp/index";
import { LEVEL_DEBUG, LEVEL_ERROR, LEVEL_INFO, LEVEL_WARN, LogRecord } from "../../lib/wire/logd";
import {
  XP_STAT_CURSOR, XP_STAT_LOGD_RESTARTS, XP_STAT_LOGS, XP_STAT_RECORDS_LOST, XP_STAT_SNAPSHOTS_LEFT_OUT, XP_STAT_SPANS, XP_STAT_SPANS_HALF,
  XP_STAT_SPAN_PARTS, XP_STREAM_LOGS, XP_STREAM_TRACES,
} from "../../lib/wire/exportd";
import { Batch } from "./batch";
import { bootNonce } from "./boot";
import { decimalField, findField, hexField, putAttributes, value, valueBytes } from "./fields";
import { queuedBatches } from "./queue";
import { wallAt } from "./session";
import { addTally, countLost, setTally } from "./tally";

const SNAPSHOT_HEAD: string = "metrics snapshot ";
const SPAN_HEAD: string = "tracing span end ";
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
const spans: Batch = changetype<Batch>(memory.data(128, 8));
const logs: Batch = changetype<Batch>(memory.data(128, 8));
const spansBuffer: usize = memory.data(16000, 8);
const logsBuffer: usize = memory.data(16000, 8);
const spansScope: usize = memory.data(64);
const logsScope: usize = memory.data(64);
const scope: usize = memory.data(16);
const scopeBytes: u32 = copyLiteral(scope, "nexus-metrics");
const traceId: usize = memory.data(16, 8);
const spanId: usize = memory.data(8, 8);
const parentId: usize = memory.data(8, 8);
/** The first part of a span that came in two: its fields, until the second comes. */
const firstPart: usize = memory.data(512, 8);
let firstPartBytes: u32 = 0;
let firstPartSpan: u64 = 0;

let logQuery: u32 = SLOT_LOG_QUERY;

export function startRecords(): void {
  assert(EXPORTD_PART_BYTES_MAX <= 16000 && LOGD_SCOPE_BYTES_MAX <= 64 && LOGD_FIELDS_BYTES_MAX <= 512);
  spans.place(XP_STREAM_TRACES, spansBuffer, spansScope, changetype<PbWriter>(memory.data(16, 4)));
  logs.place(XP_STREAM_LOGS, logsBuffer, logsScope, changetype<PbWriter>(memory.data(16, 4)));
  cursor.begin(0);
}

/** Reads what is new and queues it, within one pass. */
export function takeRecords(): void {
  for (let i: u32 = 0; i < EXPORTD_RECORDS_PER_PASS && queuedBatches() < EXPORTD_WAITING_BATCHES_MAX; i++) {
    const before = cursor.afterRecordId;
    const record = nextRecord(logQuery, cursor);
    if (record === null) {
      if (queryOutcome == 0 && cursor.total < before) restarted();
      if (queryOutcome == <i32>E_DEAD || queryOutcome == <i32>E_BAD_HANDLE) resolveAgain();
      break;
    }
    const lost = record.recordId - before - 1;
    if (lost != 0) {
      addTally(XP_STAT_RECORDS_LOST, lost);
      countLost(lost);
    }
    setTally(XP_STAT_CURSOR, record.recordId);
    if (mutant(MUT_EXPORTD_SKIPS_RECORDS) && (record.recordId & 1) != 0) continue;
    take(record);
  }
  spans.flush();
  logs.flush();
}

/** logd was restarted: its ids begin at 1 again, and what it held is gone. The words up to the cursor begin anew with it. */
function restarted(): void {
  cursor.begin(0);
  addTally(XP_STAT_LOGD_RESTARTS, 1);
}

function resolveAgain(): void {
  const handle = lookupQuery("logd");
  if (handle < 0) return;
  if (logQuery != SLOT_LOG_QUERY) sys_cap_close(logQuery);
  logQuery = <u32>handle;
  restarted();
}

function begins(record: LogRecord, head: string): bool {
  return record.messageBytes >= <u32>head.length && equalsLiteral(record.message, <u32>head.length, head);
}

function take(record: LogRecord): void {
  if (record.sender == SVC_METRICSD_ID) {
    if (begins(record, SNAPSHOT_HEAD)) return addTally(XP_STAT_SNAPSHOTS_LEFT_OUT, 1);
    if (begins(record, SPAN_HEAD) && hasIds(record) && !mutant(MUT_EXPORTD_TAKES_SPANS_FOR_LOGS)) return takeSpan(record);
  }
  addTally(XP_STAT_LOGS, 1);
  if (!putLog(record) && !putLog(record)) logs.cut();
}

/** OTLP has no id of zeros: without both a record is no span. */
function hasIds(record: LogRecord): bool {
  return hexField(record.fields, record.fieldsBytes, "span") != 0 && hexField(record.fields, record.fieldsBytes, "trace") != 0;
}

function severity(level: u32): u32 {
  if (level == LEVEL_ERROR) return SEVERITY_ERROR;
  if (level == LEVEL_WARN) return SEVERITY_WARN;
  if (level == LEVEL_INFO) return SEVERITY_INFO;
  return level == LEVEL_DEBUG ? SEVERITY_DEBUG : SEVERITY_TRACE;
}
function severityText(level: u32): string {
  if (level == LEVEL_ERROR) return "ERROR";
  if (level == LEVEL_WARN) return "WARN";
  if (level == LEVEL_INFO) return "INFO";
  return level == LEVEL_DEBUG ? "DEBUG" : "TRACE";
}

function putLog(record: LogRecord): bool {
  const w = logs.begin(record.sender, record.scope, record.scopeBytes);
  const observedNs = wallAt(<u64>sys_time_ns());
  const level = record.level;
  const start = openLog(w, wallAt(record.ts_ns), observedNs, severity(level), severityText(level), record.message, record.messageBytes);
  attrInt(w, LOG_ATTRIBUTE, "vigil.record.id", <i64>record.recordId);
  putAttributes(w, LOG_ATTRIBUTE, record.fields, record.fieldsBytes);
  putSource(w, LOG_ATTRIBUTE, record.sender, record.fields, record.fieldsBytes, "source");
  w.close(start);
  return logs.end();
}

/** What dcgmd says of its source goes under the label that its metrics have, too. */
function putSource(w: PbWriter, field: u32, sender: u64, fields: usize, bytes: u32, key: string): void {
  if (sender != SVC_DCGMD_ID || !findField(fields, bytes, key)) return;
  attrText(w, field, "vigil.source", value, valueBytes);
}

/** A span of one record, or of two: the first has the attributes of its start, the second the rest. */
function takeSpan(record: LogRecord): void {
  const span = hexField(record.fields, record.fieldsBytes, "span");
  const part = decimalField(record.fields, record.fieldsBytes, "part");
  if (part == 1) {
    addTally(XP_STAT_SPAN_PARTS, 1);
    firstPartSpan = span;
    firstPartBytes = record.fieldsBytes;
    memory.copy(firstPart, record.fields, record.fieldsBytes);
    return;
  }
  addTally(XP_STAT_SPANS, 1);
  const whole = part == 2 && span == firstPartSpan && firstPartBytes != 0;
  if (part == 2 && !whole) addTally(XP_STAT_SPANS_HALF, 1);
  if (!putSpan(record, span, whole) && !putSpan(record, span, whole)) spans.cut();
  if (whole) firstPartBytes = 0;
}

function putSpan(record: LogRecord, span: u64, whole: bool): bool {
  const fields = record.fields;
  const bytes = record.fieldsBytes;
  const endNs = decimalField(fields, bytes, "end_ns");
  const startNs = endNs - decimalField(fields, bytes, "duration_ns");
  putId(traceId, bootNonce());
  putId(traceId + 8, hexField(fields, bytes, "trace"));
  putId(spanId, span);
  const parent = hexField(fields, bytes, "parent");
  putId(parentId, parent);
  const named = findField(fields, bytes, "name");
  const name = value;
  const nameBytes = named ? valueBytes : 0;
  const producer = hexField(fields, bytes, "producer");
  const w = spans.begin(producer, scope, scopeBytes);
  const start = openSpan(w, traceId, spanId, parent == 0 ? 0 : parentId, name, nameBytes, wallAt(startNs), wallAt(endNs));
  const first = whole ? firstPart : fields;
  const firstBytes = whole ? firstPartBytes : bytes;
  putAttributes(w, SPAN_ATTRIBUTE, first, firstBytes, "attr.");
  putAttributes(w, SPAN_ATTRIBUTE, fields, bytes, "end.", first, firstBytes, "attr.");
  putSource(w, SPAN_ATTRIBUTE, producer, fields, bytes, "end.source");
  findField(fields, bytes, "status");
  if (equalsLiteral(value, valueBytes, "ok")) spanStatus(w, SPAN_STATUS_OK, "");
  else spanStatus(w, SPAN_STATUS_ERROR, equalsLiteral(value, valueBytes, "timeout") ? "timeout" : "");
  w.close(start);
  return spans.end();
}
