// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of lib/bounded: thin exports over one bucket, one ring, one sender table and the text helpers.
import { crc32c } from "../../assembly/lib/bounded/crc32c";
import { fnv1a64, fnv1a64Literal } from "../../assembly/lib/bounded/fnv";
import { ByteRing } from "../../assembly/lib/bounded/ring";
import { SenderTable } from "../../assembly/lib/bounded/senders";
import * as text from "../../assembly/lib/bounded/text";
import { TokenBucket } from "../../assembly/lib/bounded/token_bucket";
import { Reader, Writer } from "../../assembly/lib/bounded/writer";

const scratch: usize = memory.data(65536, 16);
const bucket: TokenBucket = changetype<TokenBucket>(memory.data(24, 8));
const ring: ByteRing = changetype<ByteRing>(memory.data(40, 8));
const senders: SenderTable = changetype<SenderTable>(memory.data(40, 8));
const writer: Writer = changetype<Writer>(memory.data(16, 4));
const reader: Reader = changetype<Reader>(memory.data(16, 4));

export function address(): usize { return scratch; }

export function bucketBegin(capacity: u32, perSecond: u32, now: u64): void { bucket.begin(capacity, perSecond, now); }
export function bucketTake(tokens: u32, now: u64): bool { return bucket.take(tokens, now); }
export function bucketLeft(now: u64): u32 { return bucket.left(now); }

export function ringReset(capacity: u32): void { ring.reset(scratch + 32768, capacity); }
export function ringPush(bytes: u32): bool { return ring.push(scratch, bytes); }
export function ringOldest(): i32 {
  if (ring.entries == 0) return -1;
  const length = ring.lengthAt(ring.head);
  ring.copyEntry(ring.head, 0, length, scratch);
  return length;
}
export function ringAt(index: u32): i32 {
  if (index >= ring.entries) return -1;
  let position = ring.head;
  for (let i: u32 = 0; i < index; i++) position = ring.after(position);
  const length = ring.lengthAt(position);
  ring.copyEntry(position, 0, length, scratch);
  return length;
}
export function ringPop(): void { ring.pop(); }
export function ringEntries(): u32 { return ring.entries; }
export function ringUsed(): u32 { return ring.used; }
export function ringDropped(): u64 { return ring.dropped; }

export function sendersReset(capacity: u32): void { senders.reset(scratch, capacity, 8); }
/** Adds one to the payload of `id` and returns it; fresh entries start at 0. */
export function sendersCount(id: u64): u64 {
  const at = senders.claim(id);
  store<u64>(at, load<u64>(at) + 1);
  return load<u64>(at);
}
export function sendersFind(id: u64): bool { return senders.find(id) != 0; }
export function sendersEvictions(): u64 { return senders.evictions; }
export function sendersEntries(): u32 { return senders.count; }

export function hash(length: u32): u64 { return fnv1a64(scratch, length); }
export function hashLogd(): u64 { return fnv1a64Literal("logd"); }
export function crc(length: u32, seed: u32): u32 { return crc32c(scratch, length, seed); }

export function decimal(value: u64): u32 { return text.writeDecimal(scratch, value); }
export function hex(value: u64, digits: u32): u32 { return text.writeHex(scratch, value, digits); }
export function parse(length: u32): bool { return text.parseDecimal(scratch, length); }
export function parsed(): u64 { return text.parsedDecimal; }
export function isLogd(length: u32): bool { return text.equalsLiteral(scratch, length, "logd"); }
export function findLogd(length: u32): i32 { return text.indexOfLiteral(scratch, length, "logd"); }
export function compare(aLength: u32, bLength: u32): i32 { return text.compareBytes(scratch, aLength, scratch + 1024, bLength); }

/** Writes one value of each kind into `capacity` bytes; returns the length, negative on overflow. */
export function writeAll(capacity: u32, signed: i64): i32 {
  writer.reset(scratch, capacity);
  writer.putU8(1).putU16(0x0302).putU32(0x07060504).putU64(0x0f0e0d0c0b0a0908).putText("ab").putDecimal(42);
  writer.putSignedDecimal(signed).putHex(0xbeef, 4);
  return writer.ok ? <i32>writer.length : -<i32>writer.length;
}
export function fieldsAll(capacity: u32): i32 {
  writer.reset(scratch, capacity);
  writer.fieldLiteral("a", "x").fieldDecimal("n", 7).fieldSigned("s", -7).fieldHex("h", 255);
  return writer.ok ? <i32>writer.length : -<i32>writer.length;
}
/** Reads u8, u16, u32, u64 from `length` bytes; their sum, or -1 unless exactly 15 bytes were there. */
export function readAll(length: u32): i64 {
  reader.reset(scratch, length);
  const sum = <u64>reader.takeU8() + reader.takeU16() + reader.takeU32() + reader.takeU64();
  return reader.finished ? <i64>sum : -1;
}
