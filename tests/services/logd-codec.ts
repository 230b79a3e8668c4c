// SPDX-License-Identifier: Apache-2.0
// A module around the guest's logd codec, for the host test that holds it against the tables of docs/format/wire-logd.md.
import { Reader, Writer } from "../../assembly/lib/bounded/writer";
import { LO, writeRequestHead } from "../../assembly/lib/nexus-ipc/frame";
import { LO_APPEND, LO_QUERY, LogQuery, LogRecord, LogStats, readAppend, readQuery, readRecord, readStats, writeAppend, writeQuery } from "../../assembly/lib/wire/logd";

const scratch: usize = memory.data(8192, 8);
const texts: usize = memory.data(4096, 8);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
const reader: Reader = changetype<Reader>(memory.data(16, 4));
const record: LogRecord = changetype<LogRecord>(memory.data(56, 8));
const query: LogQuery = changetype<LogQuery>(memory.data(24, 8));
const stats: LogStats = changetype<LogStats>(memory.data(96, 8));

export function address(): usize { return scratch; }
export function textAddress(): usize { return texts; }
/** Encodes an APPEND whose texts lie one after another at textAddress; the frame's length. */
export function encodeAppend(nonce: u64, level: u32, scope: u32, message: u32, fields: u32): u32 {
  writeRequestHead(writer.reset(scratch, 8192), LO, LO_APPEND, nonce);
  writeAppend(writer, <u8>level, texts, scope, texts + scope, message, texts + scope + message, fields);
  return writer.length;
}
export function encodeQuery(nonce: u64, since: u64, max: u32, after: u64): u32 {
  return writeQuery(writeRequestHead(writer.reset(scratch, 8192), LO, LO_QUERY, nonce), since, <u16>max, after).length;
}
/** Decodes an APPEND body; status | level << 8. */
export function decodeAppend(length: u32): u32 {
  const status = readAppend(reader.reset(scratch, length), record);
  return <u32>status | (status == 0 ? record.level << 8 : 0);
}
export function decodeQuery(length: u32): bool { return readQuery(reader.reset(scratch, length), query); }
export function querySince(): u64 { return query.since_ns; }
export function queryAfter(): u64 { return query.afterRecordId; }
export function queryMax(): u32 { return query.countMax; }
export function decodeRecord(length: u32): bool { return readRecord(reader.reset(scratch, length), record) && reader.finished; }
export function recordId(): u64 { return record.recordId; }
export function recordTime(): u64 { return record.ts_ns; }
export function recordSender(): u64 { return record.sender; }
export function recordLengths(): u32 { return record.scopeBytes | (record.messageBytes << 8) | (record.fieldsBytes << 20); }
export function decodeStats(length: u32): bool { return readStats(reader.reset(scratch, length), stats); }
export function statsWord(index: u32): u64 { return load<u64>(changetype<usize>(stats) + (index << 3)); }
