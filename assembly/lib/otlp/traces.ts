// SPDX-License-Identifier: Apache-2.0
// Owns: OTLP spans. Order of calls: openResourceEntry, openResource .. close, openScopeEntry, then for each span openSpan, attributes
// (SPAN_ATTRIBUTE), spanStatus, close; then the scope's entry, then the resource's.
// Invariant: ids are big-endian byte strings of 16 and 8 bytes and never all zero. Limits: those of PbWriter.
// Source: opentelemetry-proto 1.x, trace/v1/trace.proto.
import { PbWriter } from "./pb";

export const SPAN_KIND_INTERNAL: u32 = 1;
export const SPAN_STATUS_UNSET: u32 = 0;
export const SPAN_STATUS_OK: u32 = 1;
export const SPAN_STATUS_ERROR: u32 = 2;

/** An id of 8 bytes: `value` big-endian. */
export function putId(at: usize, value: u64): void {
  store<u64>(at, bswap<u64>(value));
}

/** A span. traceId, spanId: addresses of 16 and 8 bytes; parentId: of 8 bytes, or 0. Times: ns since 1970. */
export function openSpan(
  w: PbWriter, traceId: usize, spanId: usize, parentId: usize, name: usize, nameBytes: u32, startNs: u64, endNs: u64,
): u32 {
  const start = w.open(2);
  w.bytes(1, traceId, 16);
  w.bytes(2, spanId, 8);
  if (parentId != 0) w.bytes(4, parentId, 8);
  w.ascii(5, name, nameBytes);
  w.uint(6, SPAN_KIND_INTERNAL);
  w.fixed64(7, startNs);
  w.fixed64(8, endNs);
  return start;
}
/** The status of the open span; an empty message is left out. */
export function spanStatus(w: PbWriter, code: u32, message: string): void {
  const start = w.open(15);
  if (message.length != 0) w.literal(2, message);
  if (code != SPAN_STATUS_UNSET) w.uint(3, code);
  w.close(start);
}
