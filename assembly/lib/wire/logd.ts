// SPDX-License-Identifier: Apache-2.0
// logd's wire layout, protocol LO version 2 (docs/format/wire-logd.md has the tables). One codec for both sides and both worlds:
// logd decodes with it, clients encode and read with it, and host tests call it through a module.
// Invariant: a frame decodes only if every length agrees with the frame's end; nothing is cut or padded.
// Limits: limits.logd scope, message and fields bytes; a reply of at most query_page_bytes_max.
import { LOGD_FIELDS_BYTES_MAX, LOGD_MESSAGE_BYTES_MAX, LOGD_SCOPE_BYTES_MAX } from "../../gen/limits";
import { Reader, Writer } from "../bounded/writer";

export const LO_APPEND: u8 = 1;
export const LO_QUERY: u8 = 2;
export const LO_STATS: u8 = 3;

export const LO_OK: u8 = 0;
export const LO_MALFORMED: u8 = 1;
export const LO_UNSUPPORTED: u8 = 2;
export const LO_TOO_LARGE: u8 = 3;
export const LO_INVALID_ARGS: u8 = 4;
export const LO_OVER_LIMIT: u8 = 5;
export const LO_RATE_LIMITED: u8 = 6;
/** QUERY over a capability without the query right. */
export const LO_DENIED: u8 = 7;

export const LEVEL_ERROR: u8 = 0;
export const LEVEL_WARN: u8 = 1;
export const LEVEL_INFO: u8 = 2;
export const LEVEL_DEBUG: u8 = 3;
export const LEVEL_TRACE: u8 = 4;

/** Right that a capability to logd must carry for QUERY: the kernel's badge shows it. */
export const RIGHT_QUERY: u32 = 16;

export const APPEND_HEAD_BYTES: u32 = 6;
export const RECORD_HEAD_BYTES: u32 = 30;
export const QUERY_REPLY_HEAD_BYTES: u32 = 18;
/** Bytes of a QUERY body: as published, and with the cursor. */
export const QUERY_BYTES: u32 = 10;
export const QUERY_CURSOR_BYTES: u32 = 18;

/** An APPEND body or a stored record, taken apart; its texts point into the decoded buffer. */
@unmanaged
export class LogRecord {
  recordId: u64;
  ts_ns: u64;
  sender: u64;
  level: u32;
  scope: usize;
  scopeBytes: u32;
  message: usize;
  messageBytes: u32;
  fields: usize;
  fieldsBytes: u32;
  static readonly BYTES: u32 = 56;
}

/** Writes an APPEND body. The texts must keep the limits, else logd refuses the frame. */
export function writeAppend(
  writer: Writer,
  level: u8,
  scope: usize,
  scopeBytes: u32,
  message: usize,
  messageBytes: u32,
  fields: usize,
  fieldsBytes: u32,
): Writer {
  const at = writer.reserve(APPEND_HEAD_BYTES + scopeBytes + messageBytes + fieldsBytes);
  if (at == 0) return writer;
  store<u8>(at, level);
  store<u8>(at, <u8>scopeBytes, 1);
  store<u16>(at, <u16>messageBytes, 2);
  store<u16>(at, <u16>fieldsBytes, 4);
  copyTexts(at + APPEND_HEAD_BYTES, scope, scopeBytes, message, messageBytes, fields, fieldsBytes);
  return writer;
}

/** Puts the three texts one after the other. */
@inline
export function copyTexts(
  at: usize, scope: usize, scopeBytes: u32, message: usize, messageBytes: u32, fields: usize, fieldsBytes: u32,
): void {
  memory.copy(at, scope, scopeBytes);
  memory.copy(at + scopeBytes, message, messageBytes);
  if (fieldsBytes != 0) memory.copy(at + scopeBytes + messageBytes, fields, fieldsBytes);
}

/** Decodes an APPEND body: LO_OK, LO_INVALID_ARGS (lengths or level wrong) or LO_OVER_LIMIT. */
export function readAppend(body: Reader, record: LogRecord): u8 {
  const head = body.takeBytes(APPEND_HEAD_BYTES);
  if (head == 0) return LO_INVALID_ARGS;
  const level = load<u8>(head);
  const scopeBytes = <u32>load<u8>(head, 1);
  const messageBytes = <u32>load<u16>(head, 2);
  const fieldsBytes = <u32>load<u16>(head, 4);
  if (scopeBytes > LOGD_SCOPE_BYTES_MAX) return LO_OVER_LIMIT;
  if (messageBytes > LOGD_MESSAGE_BYTES_MAX) return LO_OVER_LIMIT;
  if (fieldsBytes > LOGD_FIELDS_BYTES_MAX) return LO_OVER_LIMIT;
  record.level = level;
  record.scopeBytes = scopeBytes;
  record.messageBytes = messageBytes;
  record.fieldsBytes = fieldsBytes;
  record.scope = body.takeBytes(scopeBytes + messageBytes + fieldsBytes);
  record.message = record.scope + scopeBytes;
  record.fields = record.message + messageBytes;
  if (!body.finished) return LO_INVALID_ARGS;
  return level > LEVEL_TRACE ? LO_INVALID_ARGS : LO_OK;
}

/** Writes a record's head, RECORD_HEAD_BYTES at `at`, as QUERY returns it; scope, message and fields follow. */
export function storeRecordHead(at: usize, record: LogRecord): void {
  store<u64>(at, record.recordId);
  store<u64>(at, record.ts_ns, 8);
  store<u8>(at, <u8>record.level, 16);
  store<u64>(at, record.sender, 17);
  store<u8>(at, <u8>record.scopeBytes, 25);
  store<u16>(at, <u16>record.messageBytes, 26);
  store<u16>(at, <u16>record.fieldsBytes, 28);
}

/** Takes one record of a QUERY reply; false when it is malformed. */
export function readRecord(body: Reader, record: LogRecord): bool {
  record.recordId = body.takeU64();
  record.ts_ns = body.takeU64();
  record.level = body.takeU8();
  record.sender = body.takeU64();
  record.scopeBytes = <u32>body.takeU8();
  record.messageBytes = <u32>body.takeU16();
  record.fieldsBytes = <u32>body.takeU16();
  record.scope = body.takeBytes(record.scopeBytes);
  record.message = body.takeBytes(record.messageBytes);
  record.fields = body.takeBytes(record.fieldsBytes);
  return body.ok;
}

/** Writes a QUERY body: at most `countMax` records with id > afterRecordId and time >= since_ns, oldest first. */
export function writeQuery(writer: Writer, since_ns: u64, countMax: u16, afterRecordId: u64): Writer {
  return writer.putU64(since_ns).putU16(countMax).putU64(afterRecordId);
}

/** A QUERY body, taken apart. */
@unmanaged
export class LogQuery {
  since_ns: u64;
  afterRecordId: u64;
  countMax: u32;
  static readonly BYTES: u32 = 24;
}

/** Decodes a QUERY body in either length; false when malformed. countMax 0: as many as fit the page. */
export function readQuery(body: Reader, query: LogQuery): bool {
  const withCursor = body.left == QUERY_CURSOR_BYTES;
  query.since_ns = body.takeU64();
  query.countMax = <u32>body.takeU16();
  query.afterRecordId = withCursor ? body.takeU64() : 0;
  return body.finished;
}

/** A STATS reply, taken apart: published fields first, ours after them. All counters since logd's start. */
@unmanaged
export class LogStats {
  /** records ever accepted */
  total: u64;
  /** records dropped as oldest */
  dropped: u64;
  recordsMax: u32;
  bytesMax: u32;
  recordsUsed: u32;
  bytesUsed: u32;
  rejectInvalidArgs: u64;
  rejectOverLimit: u64;
  rejectRateLimited: u64;
  /** frames that were no request of ours, and malformed QUERY and STATS */
  malformed: u64;
  /** QUERYs without the right */
  denied: u64;
  senderEvictions: u64;
  /** values that redaction replaced */
  redactions: u64;
  /** replies that their client did not take */
  repliesLost: u64;
  static readonly BYTES: u32 = 96;
}
/** Bytes of a STATS reply body: LogStats as it lies in memory (little-endian, no padding). */
export const STATS_BYTES: u32 = 96;

/** Copies a STATS reply body into `stats`; false when it has another length. */
export function readStats(body: Reader, stats: LogStats): bool {
  const from = body.takeBytes(STATS_BYTES);
  if (!body.finished) return false;
  memory.copy(changetype<usize>(stats), from, STATS_BYTES);
  return true;
}
