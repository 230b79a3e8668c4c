// SPDX-License-Identifier: Apache-2.0
// Owns: the frame of docs/format/bridge.md on the host: encode one, and find frames in a byte stream.
// Invariant: a frame is handed out only if magic, version, reserved bits, length, header CRC and frame CRC all hold;
// every byte that is not part of such a frame is counted in `skippedBytes`. Limits: the decoder buffers at most one frame.
import { crc32c } from './crc32c.js';
import { MAGIC, VERSION, limit } from './protocol.js';

export const HEADER_BYTES = limit('header_bytes');
export const CRC_BYTES = limit('crc_bytes');
export const FRAME_BYTES_MAX = limit('frame_bytes_max');
export const PAYLOAD_BYTES_MAX = limit('payload_bytes_max');

/** One decoded frame. Times are the host's, in ns; a frame from the guest carries zeros. */
export interface Frame {
  readonly type: number; readonly nonce: number; readonly wallNs: bigint; readonly monoNs: bigint; readonly payload: Buffer;
}

/** What the decoder refused, by cause. `skippedBytes` also counts garbage between frames. */
export interface DecoderCounters {
  frames: number; skippedBytes: number; badHeader: number; badVersion: number; badCrc: number; oversize: number; expired: number;
}

/** Encodes one frame. Throws RangeError when the payload exceeds PAYLOAD_BYTES_MAX. */
export function encodeFrame(frame: Frame): Buffer {
  if (frame.payload.length > PAYLOAD_BYTES_MAX) {
    throw new RangeError(`payload of ${frame.payload.length} bytes exceeds ${PAYLOAD_BYTES_MAX}`);
  }
  const out = Buffer.alloc(HEADER_BYTES + frame.payload.length + CRC_BYTES);
  MAGIC.copy(out, 0);
  out.writeUInt8(VERSION, 4);
  out.writeUInt8(frame.type, 5);
  out.writeUInt16LE(frame.payload.length, 6);
  out.writeUInt32LE(frame.nonce >>> 0, 8);
  out.writeBigUInt64LE(frame.wallNs, 16);
  out.writeBigUInt64LE(frame.monoNs, 24);
  out.writeUInt32LE(headerCrc(out), 12);
  frame.payload.copy(out, HEADER_BYTES);
  const end = HEADER_BYTES + frame.payload.length;
  out.writeUInt32LE(crc32c(out.subarray(0, end)), end);
  return out;
}

/** CRC-32C of the header but for its own field (bytes 12..15). */
function headerCrc(header: Buffer): number {
  return crc32c(header.subarray(16, HEADER_BYTES), crc32c(header.subarray(0, 12)));
}

/** Finds frames in a stream; resynchronises by skipping one byte at a time. */
export class FrameDecoder {
  private buffer = Buffer.alloc(0);
  readonly counters: DecoderCounters =
    { frames: 0, skippedBytes: 0, badHeader: 0, badVersion: 0, badCrc: 0, oversize: 0, expired: 0 };

  /** Bytes held of a frame that is not complete. */
  get pendingBytes(): number { return this.buffer.length; }

  /** Takes stream bytes and returns the frames they complete. */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    for (let at = 0; at < chunk.length;) {
      const room = FRAME_BYTES_MAX - this.buffer.length;
      this.buffer = Buffer.concat([this.buffer, chunk.subarray(at, at + room)]);
      at += room;
      this.drain(frames);
    }
    return frames;
  }

  /** Gives a partial frame up (its rest is not coming) and looks for a frame behind its first byte. */
  expire(): Frame[] {
    const frames: Frame[] = [];
    while (this.buffer.length > 0) {
      this.counters.expired += 1;
      this.skip(1);
      this.drain(frames);
    }
    return frames;
  }

  private drain(frames: Frame[]): void {
    for (;;) {
      const start = findMagic(this.buffer);
      if (start > 0) this.skip(start);
      if (this.buffer.length < HEADER_BYTES) return;
      if (!this.headerHolds()) { this.skip(1); continue; }
      const total = HEADER_BYTES + this.buffer.readUInt16LE(6) + CRC_BYTES;
      if (this.buffer.length < total) return;
      const raw = this.buffer.subarray(0, total);
      if (raw.readUInt32LE(total - CRC_BYTES) !== crc32c(raw.subarray(0, total - CRC_BYTES))) {
        this.counters.badCrc += 1;
        this.skip(1);
        continue;
      }
      this.counters.frames += 1;
      frames.push({
        type: raw.readUInt8(5), nonce: raw.readUInt32LE(8), wallNs: raw.readBigUInt64LE(16), monoNs: raw.readBigUInt64LE(24),
        payload: Buffer.from(raw.subarray(HEADER_BYTES, total - CRC_BYTES)),
      });
      this.buffer = this.buffer.subarray(total);
    }
  }

  private headerHolds(): boolean {
    if (this.buffer.readUInt32LE(12) !== headerCrc(this.buffer)) { this.counters.badHeader += 1; return false; }
    if (this.buffer.readUInt8(4) !== VERSION) { this.counters.badVersion += 1; return false; }
    if (this.buffer.readUInt16LE(6) > PAYLOAD_BYTES_MAX) { this.counters.oversize += 1; return false; }
    return true;
  }

  private skip(count: number): void {
    this.counters.skippedBytes += count;
    this.buffer = this.buffer.subarray(count);
  }
}

/** Offset of the first whole or partial magic in `buffer`; its length when there is none. */
function findMagic(buffer: Buffer): number {
  const whole = buffer.indexOf(MAGIC);
  if (whole >= 0) return whole;
  for (let keep = Math.min(MAGIC.length - 1, buffer.length); keep > 0; keep--) {
    if (buffer.subarray(buffer.length - keep).equals(MAGIC.subarray(0, keep))) return buffer.length - keep;
  }
  return buffer.length;
}
