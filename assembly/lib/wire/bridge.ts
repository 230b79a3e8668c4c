// SPDX-License-Identifier: Apache-2.0
// Owns: the guest's side of the host protocol (docs/format/bridge.md): its numbers, the frame encoder and the decoder.
// Invariant: a frame is handed out only if magic, version, length, header CRC and frame CRC all hold; every other byte is
// counted as skipped. The numbers are held to abi/bridge.toml by tests/bridge/tables.test.ts.
// Limits: one frame (16 KiB) of buffer in each decoder; resynchronising looks at each buffered byte once a frame.
import { crc32c } from "../bounded/crc32c";

/** "VGLB" as it lies in memory, little-endian. */
export const BRIDGE_MAGIC: u32 = 0x424c4756;
export const BRIDGE_VERSION: u8 = 1;
export const BRIDGE_REPLY_BIT: u8 = 0x80;
export const BRIDGE_HEADER_BYTES: u32 = 32;
export const BRIDGE_CRC_BYTES: u32 = 4;
export const BRIDGE_FRAME_BYTES_MAX: u32 = 16384;
export const BRIDGE_PAYLOAD_BYTES_MAX: u32 = 16348;
export const BRIDGE_SAMPLE_BYTES: u32 = 32;
export const BRIDGE_ENTITY_FIXED_BYTES: u32 = 12;
export const BRIDGE_TEXT_BYTES_MAX: u32 = 64;
export const BRIDGE_CONFIG_BYTES_MAX: u32 = 4096;

export const BRIDGE_TYPE_CONNECT: u8 = 0x01;
export const BRIDGE_TYPE_START_EMBEDDED: u8 = 0x02;
export const BRIDGE_TYPE_ENUMERATE: u8 = 0x03;
export const BRIDGE_TYPE_WATCH: u8 = 0x04;
export const BRIDGE_TYPE_LATEST_VALUES: u8 = 0x05;
export const BRIDGE_TYPE_VERSION: u8 = 0x06;
export const BRIDGE_TYPE_CLOSE: u8 = 0x07;
export const BRIDGE_TYPE_CONFIG: u8 = 0x08;
export const BRIDGE_TYPE_LOGS: u8 = 0x20;
export const BRIDGE_TYPE_SERIES: u8 = 0x21;
export const BRIDGE_TYPE_STATUS: u8 = 0x22;
export const BRIDGE_TYPE_HISTORY: u8 = 0x23;
export const BRIDGE_TYPE_HELLO: u8 = 0x30;
export const BRIDGE_TYPE_METRICS: u8 = 0x31;
export const BRIDGE_TYPE_TRACES: u8 = 0x32;
export const BRIDGE_TYPE_LOG_RECORDS: u8 = 0x33;

export const BRIDGE_STATUS_OK: u8 = 0;
export const BRIDGE_STATUS_UNAVAILABLE: u8 = 1;
export const BRIDGE_STATUS_NOT_CONNECTED: u8 = 2;
export const BRIDGE_STATUS_ALREADY_CONNECTED: u8 = 3;
export const BRIDGE_STATUS_PERMISSION_DENIED: u8 = 4;
export const BRIDGE_STATUS_INSUFFICIENT_DRIVER: u8 = 5;
export const BRIDGE_STATUS_FIELD_NOT_SUPPORTED: u8 = 6;
export const BRIDGE_STATUS_ENTITY_NOT_FOUND: u8 = 7;
export const BRIDGE_STATUS_CONNECTION_LOST: u8 = 8;
export const BRIDGE_STATUS_BAD_REQUEST: u8 = 9;
export const BRIDGE_STATUS_UNSUPPORTED: u8 = 10;
export const BRIDGE_STATUS_OVER_LIMIT: u8 = 11;

export const BRIDGE_SOURCE_REPLAY: u8 = 1;
export const BRIDGE_SOURCE_STUB: u8 = 2;
export const BRIDGE_SOURCE_DCGM: u8 = 3;
export const BRIDGE_SOURCE_NVML: u8 = 4;
/** Whose metrics a frame of the export port carries. */
export const BRIDGE_STREAM_GPU: u8 = 1;
export const BRIDGE_STREAM_SELF: u8 = 2;
/** What a sample's value is, in its bytes 12 to 15: a level, cumulative, per second, or the newest code. */
export const BRIDGE_SAMPLE_KIND_GAUGE: u32 = 0;
export const BRIDGE_SAMPLE_KIND_COUNTER: u32 = 1;
export const BRIDGE_SAMPLE_KIND_RATE: u32 = 2;
export const BRIDGE_SAMPLE_KIND_LAST: u32 = 3;
export const BRIDGE_VALUE_TYPE_INT64: u8 = 105;
export const BRIDGE_VALUE_TYPE_DOUBLE: u8 = 100;

const AT_VERSION: u32 = 4;
const AT_TYPE: u32 = 5;
const AT_LENGTH: u32 = 6;
const AT_NONCE: u32 = 8;
const AT_HEADER_CRC: u32 = 12;
const AT_WALL_NS: u32 = 16;
const AT_MONO_NS: u32 = 24;

/** CRC of the header but for its own field. */
function headerCrc(frame: usize): u32 {
  return crc32c(frame + AT_WALL_NS, BRIDGE_HEADER_BYTES - AT_WALL_NS, crc32c(frame, AT_HEADER_CRC));
}

/**
 * Completes a frame whose payload lies at `frame + BRIDGE_HEADER_BYTES`; the buffer must have room for header, payload and CRC.
 * Times are zero: only the host stamps them. Returns the frame's length in bytes, or 0 when the payload is too long.
 */
export function finishBridgeFrame(frame: usize, type: u8, nonce: u32, payloadBytes: u32): u32 {
  if (payloadBytes > BRIDGE_PAYLOAD_BYTES_MAX) return 0;
  store<u32>(frame, BRIDGE_MAGIC);
  store<u8>(frame + AT_VERSION, BRIDGE_VERSION);
  store<u8>(frame + AT_TYPE, type);
  store<u16>(frame + AT_LENGTH, <u16>payloadBytes);
  store<u32>(frame + AT_NONCE, nonce);
  store<u64>(frame + AT_WALL_NS, 0);
  store<u64>(frame + AT_MONO_NS, 0);
  store<u32>(frame + AT_HEADER_CRC, headerCrc(frame));
  const end = BRIDGE_HEADER_BYTES + payloadBytes;
  store<u32>(frame + end, crc32c(frame, end));
  return end + BRIDGE_CRC_BYTES;
}

/** Finds frames in a stream. Place it with `changetype<BridgeDecoder>(memory.data(offsetof<BridgeDecoder>(), 8))`. */
@unmanaged
export class BridgeDecoder {
  /** Buffer of BRIDGE_FRAME_BYTES_MAX bytes. */
  base: usize;
  /** Address of the first byte not yet disposed of, and how many follow it. */
  head: usize;
  length: u32;
  /** Bytes of the frame that `next` handed out; they go at the following call. */
  taken: u32;
  frames: u32;
  skippedBytes: u32;
  badHeader: u32;
  badVersion: u32;
  badCrc: u32;
  oversize: u32;
  /** Frame that `next` handed out; `payload` is valid until the following call of any method. */
  type: u8;
  nonce: u32;
  payload: usize;
  payloadBytes: u32;
  wallNs: u64;
  monoNs: u64;

  /** Forgets what is buffered; the counters stay. */
  reset(base: usize): void {
    this.base = base;
    this.head = base;
    this.skippedBytes += this.length - this.taken;
    this.length = 0;
    this.taken = 0;
  }

  /** Takes up to `bytes` stream bytes; returns how many (less when the buffer is full: call `next` first). */
  push(from: usize, bytes: u32): u32 {
    this.dropTaken();
    if (this.head != this.base) memory.copy(this.base, this.head, this.length);
    this.head = this.base;
    const count = min(bytes, BRIDGE_FRAME_BYTES_MAX - this.length);
    memory.copy(this.base + this.length, from, count);
    this.length += count;
    return count;
  }

  /** The next whole frame, or false when more bytes are needed. */
  next(): bool {
    this.dropTaken();
    for (;;) {
      this.findMagic();
      if (this.length < BRIDGE_HEADER_BYTES) return false;
      if (!this.headerHolds()) {
        this.skip(1);
        continue;
      }
      const end = BRIDGE_HEADER_BYTES + <u32>load<u16>(this.head + AT_LENGTH);
      if (this.length < end + BRIDGE_CRC_BYTES) return false;
      if (load<u32>(this.head + end) != crc32c(this.head, end)) {
        this.badCrc++;
        this.skip(1);
        continue;
      }
      this.hand(end);
      return true;
    }
  }

  /** Gives a partial frame's first byte up, because its rest is not coming; `next` then looks behind it. */
  expire(): void {
    this.dropTaken();
    if (this.length != 0) this.skip(1);
  }

  private hand(end: u32): void {
    this.type = load<u8>(this.head + AT_TYPE);
    this.nonce = load<u32>(this.head + AT_NONCE);
    this.wallNs = load<u64>(this.head + AT_WALL_NS);
    this.monoNs = load<u64>(this.head + AT_MONO_NS);
    this.payload = this.head + BRIDGE_HEADER_BYTES;
    this.payloadBytes = end - BRIDGE_HEADER_BYTES;
    this.taken = end + BRIDGE_CRC_BYTES;
    this.frames++;
  }

  private headerHolds(): bool {
    if (load<u32>(this.head + AT_HEADER_CRC) != headerCrc(this.head)) {
      this.badHeader++;
      return false;
    }
    if (load<u8>(this.head + AT_VERSION) != BRIDGE_VERSION) {
      this.badVersion++;
      return false;
    }
    if (<u32>load<u16>(this.head + AT_LENGTH) > BRIDGE_PAYLOAD_BYTES_MAX) {
      this.oversize++;
      return false;
    }
    return true;
  }

  /** Moves the first whole or partial magic to the front. */
  private findMagic(): void {
    let at: u32 = 0;
    for (; at < this.length; at++) {
      const left = this.length - at;
      if (left >= 4) {
        if (load<u32>(this.head + at) == BRIDGE_MAGIC) break;
      } else if (this.tailIsMagic(at, left)) {
        break;
      }
    }
    if (at != 0) this.skip(at);
  }

  private tailIsMagic(at: u32, left: u32): bool {
    for (let i: u32 = 0; i < left; i++) {
      if (load<u8>(this.head + at + i) != <u8>(BRIDGE_MAGIC >> (i << 3))) return false;
    }
    return true;
  }

  private skip(bytes: u32): void {
    this.skippedBytes += bytes;
    this.discard(bytes);
  }

  private dropTaken(): void {
    if (this.taken == 0) return;
    const bytes = this.taken;
    this.taken = 0;
    this.discard(bytes);
  }

  private discard(bytes: u32): void {
    this.length -= bytes;
    this.head += bytes;
  }
}
