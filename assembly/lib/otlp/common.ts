// SPDX-License-Identifier: Apache-2.0
// Owns: what the three OTLP signals share: attributes (KeyValue), a resource, an instrumentation scope.
// Invariant: an attribute's field number is that of the message it stands in; every string is valid UTF-8 (PbWriter.ascii).
// Limits: those of PbWriter. Source: opentelemetry-proto 1.x, common/v1/common.proto, resource/v1/resource.proto.
import { PbWriter } from "./pb";

/** Field number of the attributes in each message that has them. */
export const RESOURCE_ATTRIBUTE: u32 = 1;
export const SCOPE_ATTRIBUTE: u32 = 3;
export const NUMBER_POINT_ATTRIBUTE: u32 = 7;
export const HISTOGRAM_POINT_ATTRIBUTE: u32 = 9;
export const SPAN_ATTRIBUTE: u32 = 9;
export const LOG_ATTRIBUTE: u32 = 6;

const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;
const BOOL_VALUE: u32 = 2;
const INT_VALUE: u32 = 3;
const DOUBLE_VALUE: u32 = 4;

/** key = text of `bytes` bytes. */
export function attrText(w: PbWriter, field: u32, key: string, text: usize, bytes: u32): void {
  const start = w.open(field);
  w.literal(KEY, key);
  anyText(w, VALUE, text, bytes);
  w.close(start);
}
/** The same with a key that is bytes too. */
export function attrBytes(w: PbWriter, field: u32, key: usize, keyBytes: u32, text: usize, bytes: u32): void {
  const start = w.open(field);
  w.ascii(KEY, key, keyBytes);
  anyText(w, VALUE, text, bytes);
  w.close(start);
}
export function attrLiteral(w: PbWriter, field: u32, key: string, text: string): void {
  const start = w.open(field);
  w.literal(KEY, key);
  const value = w.open(VALUE);
  w.literal(STRING_VALUE, text);
  w.close(value);
  w.close(start);
}
export function attrInt(w: PbWriter, field: u32, key: string, number: i64): void {
  const start = w.open(field);
  w.literal(KEY, key);
  const value = w.open(VALUE);
  w.uint(INT_VALUE, <u64>number);
  w.close(value);
  w.close(start);
}
export function attrDouble(w: PbWriter, field: u32, key: string, number: f64): void {
  const start = w.open(field);
  w.literal(KEY, key);
  const value = w.open(VALUE);
  w.double(DOUBLE_VALUE, number);
  w.close(value);
  w.close(start);
}
export function attrBool(w: PbWriter, field: u32, key: string, truth: bool): void {
  const start = w.open(field);
  w.literal(KEY, key);
  const value = w.open(VALUE);
  w.bool(BOOL_VALUE, truth);
  w.close(value);
  w.close(start);
}
/** An AnyValue of a text: a log record's body. */
export function anyText(w: PbWriter, field: u32, text: usize, bytes: u32): void {
  const value = w.open(field);
  w.ascii(STRING_VALUE, text, bytes);
  w.close(value);
}

/** The request's entry of one resource, field 1 in all three requests; close it last. */
export function openResourceEntry(w: PbWriter): u32 {
  return w.open(1);
}
/** The resource itself; then attributes with RESOURCE_ATTRIBUTE, then close. */
export function openResource(w: PbWriter): u32 {
  return w.open(1);
}
/** The entry of one scope in a resource's entry, field 2 in all three; name and version are written. Close it before the resource's. */
export function openScopeEntry(w: PbWriter, name: string, version: string): u32 {
  const start = w.open(2);
  const scope = w.open(1);
  w.literal(1, name);
  w.literal(2, version);
  w.close(scope);
  return start;
}
/** The same with a name that is bytes. */
export function openScopeEntryBytes(w: PbWriter, name: usize, nameBytes: u32, version: string): u32 {
  const start = w.open(2);
  const scope = w.open(1);
  w.ascii(1, name, nameBytes);
  w.literal(2, version);
  w.close(scope);
  return start;
}
