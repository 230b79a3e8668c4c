// SPDX-License-Identifier: Apache-2.0
// Builds one record without allocation: logInfo("timed").text("fired ").dec(3).field("qos", "idle").end().
// Invariant: one record is under construction at a time, in static memory; `end` hands it to the sink whole. What does not fit
// the wire limits is left out from the first put that overflows, and the record is counted in `logCut`, never silently.
// Limits: limits.logd scope, message and fields bytes.
import { LOGD_FIELDS_BYTES_MAX, LOGD_MESSAGE_BYTES_MAX, LOGD_SCOPE_BYTES_MAX } from "../../gen/limits";
import { MUT_NEXUS_LOG_DROPS_RECORD, mutant } from "../../gen/mutants";
import { copyLiteral } from "../bounded/text";
import { Writer } from "../bounded/writer";
import { LEVEL_DEBUG, LEVEL_ERROR, LEVEL_INFO, LEVEL_WARN, writeAppend } from "../wire/logd";
import { sinkPut } from "./sink";

const scope: usize = memory.data(LOGD_SCOPE_BYTES_MAX);
const message: usize = memory.data(LOGD_MESSAGE_BYTES_MAX);
const fields: usize = memory.data(LOGD_FIELDS_BYTES_MAX);
const body: usize = memory.data(1024, 8);
const messageWriter: Writer = changetype<Writer>(memory.data(16, 4));
const fieldsWriter: Writer = changetype<Writer>(memory.data(16, 4));
const bodyWriter: Writer = changetype<Writer>(memory.data(16, 4));
let scopeBytes: u32 = 0;
let cut: u64 = 0;

/** Records that did not fit the wire limits and were sent without what overflowed. */
export function logCut(): u64 {
  return cut;
}

/** The record under construction. */
@unmanaged
export class LogLine {
  level: u32;

  text(literal: string): LogLine {
    messageWriter.putText(literal);
    return this;
  }
  bytes(from: usize, length: u32): LogLine {
    messageWriter.putBytes(from, length);
    return this;
  }
  dec(value: u64): LogLine {
    messageWriter.putDecimal(value);
    return this;
  }
  signed(value: i64): LogLine {
    messageWriter.putSignedDecimal(value);
    return this;
  }
  hex(value: u64): LogLine {
    messageWriter.putHex(value);
    return this;
  }
  /** `key=value` fields, each on its own line. */
  field(key: string, value: string): LogLine {
    fieldsWriter.fieldLiteral(key, value);
    return this;
  }
  fieldBytes(key: string, from: usize, length: u32): LogLine {
    fieldsWriter.fieldText(key, from, length);
    return this;
  }
  fieldDec(key: string, value: u64): LogLine {
    fieldsWriter.fieldDecimal(key, value);
    return this;
  }
  fieldSigned(key: string, value: i64): LogLine {
    fieldsWriter.fieldSigned(key, value);
    return this;
  }
  fieldHex(key: string, value: u64): LogLine {
    fieldsWriter.fieldHex(key, value);
    return this;
  }
  /** Direct access for what the builder has no method for. */
  get fields(): Writer {
    return fieldsWriter;
  }
  /** Hands the record to the sink: true when it is on its way or waits in the ring. */
  end(): bool {
    if (!messageWriter.ok || !fieldsWriter.ok) cut++;
    if (mutant(MUT_NEXUS_LOG_DROPS_RECORD)) return true;
    bodyWriter.reset(body, 1024);
    writeAppend(
      bodyWriter, <u8>this.level, scope, scopeBytes, message, messageWriter.length, fields, fieldsWriter.length,
    );
    return sinkPut(body, bodyWriter.length);
  }
}
const line: LogLine = changetype<LogLine>(memory.data(8, 4));

/** Begins a record; a scope longer than its limit is cut and counted. */
export function log(level: u8, scopeName: string): LogLine {
  line.level = level;
  messageWriter.reset(message, LOGD_MESSAGE_BYTES_MAX);
  fieldsWriter.reset(fields, LOGD_FIELDS_BYTES_MAX);
  if (<u32>scopeName.length > LOGD_SCOPE_BYTES_MAX) {
    cut++;
    scopeBytes = 0;
  } else {
    scopeBytes = copyLiteral(scope, scopeName);
  }
  return line;
}
export function logError(scopeName: string): LogLine {
  return log(LEVEL_ERROR, scopeName);
}
export function logWarn(scopeName: string): LogLine {
  return log(LEVEL_WARN, scopeName);
}
export function logInfo(scopeName: string): LogLine {
  return log(LEVEL_INFO, scopeName);
}
export function logDebug(scopeName: string): LogLine {
  return log(LEVEL_DEBUG, scopeName);
}
