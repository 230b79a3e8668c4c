// SPDX-License-Identifier: Apache-2.0
// Writer and Reader: the one way to put bytes into, and take bytes out of, a bounded buffer (frames, lines and fields alike).
// Invariant: no byte outside [base, base + capacity) is touched; the first refusal is remembered (`overflow`, `bad`) and every
// later put or take does nothing, so one check at the end is enough.
// Layout: little-endian, no padding.
import { copyLiteral, decimalLength, writeDecimal, writeHex } from "./text";

/** Appends to a fixed buffer. 16 bytes of memory: place it with `changetype<Writer>(memory.data(16, 4))`. */
@unmanaged
export class Writer {
  base: usize;
  capacity: u32;
  length: u32;
  /** Non-zero once something did not fit; the buffer then holds what fitted before it. */
  overflow: u32;

  /** Starts over on a buffer of `capacity` bytes. */
  reset(base: usize, capacity: u32): Writer {
    this.base = base;
    this.capacity = capacity;
    this.length = 0;
    this.overflow = 0;
    return this;
  }
  get ok(): bool {
    return this.overflow == 0;
  }
  /** Room for `bytes` more: its address, or 0 and `overflow`. */
  @inline
  reserve(bytes: u32): usize {
    if (this.overflow | u32(bytes > this.capacity - this.length)) {
      this.overflow = 1;
      return 0;
    }
    const at = this.base + this.length;
    this.length += bytes;
    return at;
  }
  putU8(value: u8): Writer {
    const at = this.reserve(1);
    if (at) store<u8>(at, value);
    return this;
  }
  putU16(value: u16): Writer {
    const at = this.reserve(2);
    if (at) store<u16>(at, value);
    return this;
  }
  putU32(value: u32): Writer {
    const at = this.reserve(4);
    if (at) store<u32>(at, value);
    return this;
  }
  putU64(value: u64): Writer {
    const at = this.reserve(8);
    if (at) store<u64>(at, value);
    return this;
  }
  putI64(value: i64): Writer {
    return this.putU64(<u64>value);
  }
  putBytes(from: usize, bytes: u32): Writer {
    const at = this.reserve(bytes);
    if (at) memory.copy(at, from, bytes);
    return this;
  }
  /** An ASCII literal, without terminator. */
  putText(literal: string): Writer {
    const at = this.reserve(<u32>literal.length);
    if (at) copyLiteral(at, literal);
    return this;
  }
  putDecimal(value: u64): Writer {
    const at = this.reserve(decimalLength(value));
    if (at) writeDecimal(at, value);
    return this;
  }
  putSignedDecimal(value: i64): Writer {
    if (value < 0) {
      this.putU8(45);
      return this.putDecimal(<u64>(0 - value));
    }
    return this.putDecimal(<u64>value);
  }
  /** `digits` hexadecimal digits, zero padded (16 for a u64). */
  putHex(value: u64, digits: u32 = 16): Writer {
    const at = this.reserve(digits);
    if (at) writeHex(at, value, digits);
    return this;
  }
  /** `key=value` with a newline before it unless it is the first field: the form of a record's fields. */
  fieldText(key: string, value: usize, bytes: u32): Writer {
    return this.fieldKey(key).putBytes(value, bytes);
  }
  fieldLiteral(key: string, value: string): Writer {
    return this.fieldKey(key).putText(value);
  }
  fieldDecimal(key: string, value: u64): Writer {
    return this.fieldKey(key).putDecimal(value);
  }
  fieldSigned(key: string, value: i64): Writer {
    return this.fieldKey(key).putSignedDecimal(value);
  }
  fieldHex(key: string, value: u64): Writer {
    return this.fieldKey(key).putHex(value);
  }
  fieldKey(key: string): Writer {
    if (this.length) this.putU8(10);
    return this.putText(key).putU8(61);
  }
}

/** Takes from a fixed buffer. 16 bytes of memory: place it with `changetype<Reader>(memory.data(16, 4))`. */
@unmanaged
export class Reader {
  base: usize;
  length: u32;
  at: u32;
  /** Non-zero once more was asked for than is there; every take then yields 0. */
  bad: u32;

  reset(base: usize, length: u32): Reader {
    this.base = base;
    this.length = length;
    this.at = 0;
    this.bad = 0;
    return this;
  }
  get left(): u32 {
    return this.length - this.at;
  }
  /** True when every take succeeded and nothing is left over. */
  get finished(): bool {
    return this.bad == 0 && this.at == this.length;
  }
  get ok(): bool {
    return this.bad == 0;
  }
  /** Address of the next `bytes`, or 0 and `bad`. */
  @inline
  takeBytes(bytes: u32): usize {
    if (this.bad | u32(bytes > this.length - this.at)) {
      this.bad = 1;
      return 0;
    }
    const at = this.base + this.at;
    this.at += bytes;
    return at;
  }
  takeU8(): u8 {
    const at = this.takeBytes(1);
    return at ? load<u8>(at) : 0;
  }
  takeU16(): u16 {
    const at = this.takeBytes(2);
    return at ? load<u16>(at) : 0;
  }
  takeU32(): u32 {
    const at = this.takeBytes(4);
    return at ? load<u32>(at) : 0;
  }
  takeU64(): u64 {
    const at = this.takeBytes(8);
    return at ? load<u64>(at) : 0;
  }
  takeI64(): i64 {
    return <i64>this.takeU64();
  }
}
