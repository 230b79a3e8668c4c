// SPDX-License-Identifier: Apache-2.0
// The reading half: page through logd's journal, read its STATS, append by call. For services whose manifest declares the edge
// to logd and (for QUERY) grants slot log_query.
// Invariant: pages are asked for by record id, so their union is the journal as it was passed; a gap (records dropped between
// two pages) shows as `missed`. Limits: one page is held at a time; each call waits at most its budget.
import { Reader } from "../bounded/writer";
import { beginRequest, callRequest, reply } from "../nexus-ipc/client";
import { LO, REPLY_OK } from "../nexus-ipc/frame";
import {
  LO_APPEND, LO_OK, LO_QUERY, LO_STATS, LogRecord, LogStats, readRecord, readStats, writeAppend, writeQuery,
} from "../wire/logd";

export const QUERY_BUDGET_NS: u64 = 500_000_000;
/** The page is malformed although its head is not. */
export const QUERY_BROKEN: i32 = -150;

/** A position in the journal; 40 bytes of memory, placed by the owner. */
@unmanaged
export class LogCursor {
  afterRecordId: u64;
  /** records ever accepted and dropped, as the last page said */
  total: u64;
  dropped: u64;
  /** records between the cursor and the first of a page that logd no longer had */
  missed: u64;
  /** records of the page not yet taken */
  left: u32;
  /** pages fetched */
  pages: u32;

  static readonly BYTES: u32 = 40;

  /** Starts after a record id; 0: at the oldest kept. */
  begin(afterRecordId: u64): LogCursor {
    this.afterRecordId = afterRecordId;
    this.total = 0;
    this.dropped = 0;
    this.missed = 0;
    this.left = 0;
    this.pages = 0;
    return this;
  }
}

/** Result of the last nextRecord that was not a record: 0 (the end), a kernel error, REPLY_*, QUERY_BROKEN or logd's status. */
export let queryOutcome: i32 = 0;
const record: LogRecord = changetype<LogRecord>(memory.data(56, 8));
const page: usize = memory.data(4096, 8);
const pageReader: Reader = changetype<Reader>(memory.data(16, 4));
let pageOwner: usize = 0;

/** The next record after the cursor, or null at the end or on a failure (queryOutcome tells). The record's texts stay valid
 *  until the next page is fetched; one cursor is read at a time. `handle` must carry the query right. */
export function nextRecord(handle: u32, cursor: LogCursor): LogRecord | null {
  if (cursor.left == 0 || pageOwner != changetype<usize>(cursor)) {
    queryOutcome = fetchPage(handle, cursor);
    if (queryOutcome != 0 || cursor.left == 0) return null;
  }
  if (!readRecord(pageReader, record) || record.recordId <= cursor.afterRecordId) {
    cursor.left = 0;
    queryOutcome = QUERY_BROKEN;
    return null;
  }
  cursor.left--;
  if (cursor.afterRecordId != 0) cursor.missed += record.recordId - cursor.afterRecordId - 1;
  cursor.afterRecordId = record.recordId;
  return record;
}

function fetchPage(handle: u32, cursor: LogCursor): i32 {
  cursor.left = 0;
  writeQuery(beginRequest(LO, LO_QUERY), 0, 0, cursor.afterRecordId);
  const outcome = callRequest(handle, QUERY_BUDGET_NS);
  if (outcome != REPLY_OK) return outcome;
  if (reply.status != LO_OK) return <i32>reply.status;
  const body = reply.body;
  cursor.total = body.takeU64();
  cursor.dropped = body.takeU64();
  const count = <u32>body.takeU16();
  const bytes = body.left;
  const from = body.takeBytes(bytes);
  if (!body.finished || bytes > 4096) return QUERY_BROKEN;
  memory.copy(page, from, bytes);
  pageReader.reset(page, bytes);
  pageOwner = changetype<usize>(cursor);
  cursor.left = count;
  cursor.pages++;
  return 0;
}

/** Reads STATS: 0, or a negative kernel error, REPLY_*, QUERY_BROKEN, or logd's status. */
export function readLogStats(handle: u32, stats: LogStats): i32 {
  beginRequest(LO, LO_STATS);
  const outcome = callRequest(handle, QUERY_BUDGET_NS);
  if (outcome != REPLY_OK) return outcome;
  if (reply.status != LO_OK) return <i32>reply.status;
  return readStats(reply.body, stats) ? 0 : QUERY_BROKEN;
}

/** Record id of the last callAppend that logd took. */
export let appendedRecordId: u64 = 0;

/** Appends by call and waits for the verdict: logd's status (0: stored, see appendedRecordId), or a negative error. */
export function callAppend(
  handle: u32,
  level: u8,
  scope: usize,
  scopeBytes: u32,
  message: usize,
  messageBytes: u32,
  fields: usize,
  fieldsBytes: u32,
): i32 {
  writeAppend(beginRequest(LO, LO_APPEND), level, scope, scopeBytes, message, messageBytes, fields, fieldsBytes);
  const outcome = callRequest(handle, QUERY_BUDGET_NS);
  if (outcome != REPLY_OK) return outcome;
  if (reply.status == LO_OK) appendedRecordId = reply.body.takeU64();
  return <i32>reply.status;
}
