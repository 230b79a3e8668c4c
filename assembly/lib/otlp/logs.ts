// SPDX-License-Identifier: Apache-2.0
// Owns: OTLP log records. Order of calls: openResourceEntry, openResource .. close, openScopeEntry, then for each record openLog,
// attributes (LOG_ATTRIBUTE), logTrace where known, close; then the scope's entry, then the resource's.
// Invariant: severity numbers are those of the logs data model. Limits: those of PbWriter.
// Source: opentelemetry-proto 1.x, logs/v1/logs.proto.
import { anyText } from "./common";
import { PbWriter } from "./pb";

export const SEVERITY_TRACE: u32 = 1;
export const SEVERITY_DEBUG: u32 = 5;
export const SEVERITY_INFO: u32 = 9;
export const SEVERITY_WARN: u32 = 13;
export const SEVERITY_ERROR: u32 = 17;
export const SEVERITY_FATAL: u32 = 21;

/** A record; `timeNs` 0: not known. Times: ns since 1970. */
export function openLog(w: PbWriter, timeNs: u64, observedNs: u64, severity: u32, severityText: string, body: usize, bytes: u32): u32 {
  const start = w.open(2);
  if (timeNs != 0) w.fixed64(1, timeNs);
  w.uint(2, severity);
  if (severityText.length != 0) w.literal(3, severityText);
  anyText(w, 5, body, bytes);
  w.fixed64(11, observedNs);
  return start;
}
/** Trace id (16 bytes) and span id (8 bytes) of the open record, by address. */
export function logTrace(w: PbWriter, traceId: usize, spanId: usize): void {
  w.bytes(9, traceId, 16);
  w.bytes(10, spanId, 8);
}
