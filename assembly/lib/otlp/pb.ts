// SPDX-License-Identifier: Apache-2.0
// Owns: protobuf's wire format in a bounded buffer: tags, varints, fixed64, length-delimited fields and nested messages.
// Invariant: nothing outside the buffer is touched; the first refusal is remembered (`overflow`) and every later put does nothing. A
// message inside another is opened and closed; its length is a varint of the least size, so the bytes are canonical.
// Limits: a nested message has at most PB_NESTED_BYTES_MAX bytes (a varint of two bytes); a larger one is an overflow.
// Source: protobuf encoding specification (wire types 0 varint, 1 64 bits, 2 length-delimited).
import { copyLiteral, isPrintable } from "../bounded/text";
import { Writer } from "../bounded/writer";

export const PB_NESTED_BYTES_MAX: u32 = 16383;
export const PB_WIRE_VARINT: u32 = 0;
export const PB_WIRE_FIXED64: u32 = 1;
export const PB_WIRE_BYTES: u32 = 2;

/** Bytes of `value` as a varint, 1 to 10. */
@inline
export function varintBytes(value: u64): u32 {
  return value < 128 ? 1 : (70 - <u32>clz(value)) / 7;
}

/** Appends protobuf to a fixed buffer. 16 bytes of memory: place it with `changetype<PbWriter>(memory.data(16, 4))`; `reset` begins. */
@unmanaged
export class PbWriter extends Writer {
  /** A bare varint. */
  varint(value: u64): void {
    const bytes = varintBytes(value);
    const at = this.reserve(bytes);
    if (at == 0) return;
    const last = bytes - 1;
    for (let i: u32 = 0; i < last; i++) {
      store<u8>(at + i, <u8>value | 128);
      value >>= 7;
    }
    store<u8>(at + last, <u8>value);
  }
  tag(field: u32, wire: u32): void {
    this.varint(<u64>((field << 3) | wire));
  }
  /** A varint field: uint32, uint64, bool, enum; a negative int64 takes 10 bytes. */
  uint(field: u32, value: u64): void {
    this.tag(field, PB_WIRE_VARINT);
    this.varint(value);
  }
  bool(field: u32, value: bool): void {
    this.uint(field, value ? 1 : 0);
  }
  /** A fixed64 or sfixed64 field. */
  fixed64(field: u32, value: u64): void {
    this.tag(field, PB_WIRE_FIXED64);
    this.putU64(value);
  }
  double(field: u32, value: f64): void {
    this.fixed64(field, reinterpret<u64>(value));
  }
  /** A bytes or string field. */
  bytes(field: u32, from: usize, length: u32): void {
    this.tag(field, PB_WIRE_BYTES);
    this.varint(length);
    this.putBytes(from, length);
  }
  /** A string field of an ASCII literal. */
  literal(field: u32, text: string): void {
    this.tag(field, PB_WIRE_BYTES);
    this.varint(<u64>text.length);
    const at = this.reserve(<u32>text.length);
    if (at) copyLiteral(at, text);
  }
  /** A string field of bytes from elsewhere: what is not printable ASCII, newline or tab becomes `?`, so that it is valid UTF-8. */
  ascii(field: u32, from: usize, length: u32): void {
    this.tag(field, PB_WIRE_BYTES);
    this.varint(length);
    const at = this.reserve(length);
    if (at == 0) return;
    for (let i: u32 = 0; i < length; i++) {
      const byte = load<u8>(from + i);
      store<u8>(at + i, isPrintable(byte) || byte == 10 || byte == 9 ? byte : 63);
    }
  }
  /** Begins a nested message; give the result to `close`. Close in the reverse order of opening. */
  open(field: u32): u32 {
    this.tag(field, PB_WIRE_BYTES);
    this.reserve(2);
    return this.length;
  }
  /** Ends the nested message that began at `start`. */
  close(start: u32): void {
    if (this.overflow) return;
    const length = this.length - start;
    if (length > PB_NESTED_BYTES_MAX) {
      this.overflow = 1;
      return;
    }
    const at = this.base + start;
    if (length < 128) {
      store<u8>(at - 2, <u8>length);
      memory.copy(at - 1, at, length);
      this.length--;
      return;
    }
    store<u8>(at - 2, <u8>length | 128);
    store<u8>(at - 1, <u8>(length >> 7));
  }
  /** Forgets everything behind `length`, an overflow too: for an item that did not fit. No message opened behind it may be open. */
  rewind(length: u32): void {
    this.length = length;
    this.overflow = 0;
  }
}
