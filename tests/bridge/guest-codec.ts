// SPDX-License-Identifier: Apache-2.0
// Owns: the guest's codec (tests/bridge/codec-module.ts as wasm) behind the shape of the host's FrameDecoder.
// Invariant: no logic of its own, so whatever a test sees is the guest's. Limits: none beyond the module's.
import type { Frame } from '../../runtime/bridge/codec.js';
import { buildEntry } from '../../runtime/node/index.js';

type Call = (...args: number[]) => number;

export interface GuestCounters {
  frames: number; skippedBytes: number; badHeader: number; badVersion: number; badCrc: number; oversize: number;
}

export class GuestDecoder {
  private readonly exports: Record<string, Call>;
  private readonly memory: WebAssembly.Memory;

  constructor(wasm: Uint8Array) {
    const abort = (): never => { throw new Error('guest abort'); };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm as BufferSource), { env: { abort } });
    this.exports = instance.exports as Record<string, Call>;
    this.memory = instance.exports['memory'] as WebAssembly.Memory;
    this.exports['_init']!();
    this.exports['reset']!();
  }

  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + 16384);
      this.bytes(this.exports['input']!(), part.length).set(part);
      at += this.exports['push']!(part.length);
      this.drain(frames);
    }
    return frames;
  }

  expire(): Frame[] {
    const frames: Frame[] = [];
    while (this.pendingBytes > 0) {
      this.exports['expire']!();
      this.drain(frames);
    }
    return frames;
  }

  get pendingBytes(): number { return this.exports['pending']!(); }

  get counters(): GuestCounters {
    const [frames, skippedBytes, badHeader, badVersion, badCrc, oversize] =
      [0, 1, 2, 3, 4, 5].map((which) => this.exports['counter']!(which) >>> 0) as [number, number, number, number, number, number];
    return { frames, skippedBytes, badHeader, badVersion, badCrc, oversize };
  }

  encode(type: number, nonce: number, payload: Uint8Array): Buffer {
    const at = this.exports['input']!();
    if (payload.length <= 16384 - 36) this.bytes(at + 32, payload.length).set(payload);
    return Buffer.from(this.bytes(at, this.exports['encode']!(type, nonce, payload.length)));
  }

  crc(bytes: Uint8Array): number {
    this.bytes(this.exports['input']!(), bytes.length).set(bytes);
    return this.exports['crc']!(bytes.length) >>> 0;
  }

  /** The UUIDs that dcgmd keeps of entity records, by `group:id`; null when it finds them malformed. */
  entities(records: Uint8Array, places: readonly { group: number; id: number }[]): string[] | null {
    this.bytes(this.exports['input']!(), records.length).set(records);
    if (this.exports['takeEntities']!(records.length, places.length) !== places.length) return null;
    return places.map(({ group, id }) =>
      Buffer.from(this.bytes(this.exports['entityUuid']!(group, id), this.exports['entityUuidBytes']!(group, id))).toString('latin1'));
  }

  /** The eight fields of one sample as dcgmd reads them. */
  sample(record: Uint8Array): bigint[] {
    this.bytes(this.exports['input']!(), record.length).set(record);
    return Array.from({ length: 8 }, (_, which) => this.exports['sampleField']!(0, which) as unknown as bigint);
  }

  private drain(frames: Frame[]): void {
    const call = (name: string): number => this.exports[name]!();
    while (call('next') !== 0) {
      frames.push({
        type: call('frameType'), nonce: call('frameNonce') >>> 0,
        wallNs: BigInt.asUintN(64, call('frameWallNs') as unknown as bigint),
        monoNs: BigInt.asUintN(64, call('frameMonoNs') as unknown as bigint),
        payload: Buffer.from(this.bytes(call('framePayload'), call('framePayloadBytes'))),
      });
    }
  }

  private bytes(at: number, length: number): Uint8Array { return new Uint8Array(this.memory.buffer, at >>> 0, length); }
}

export const guestCodecWasm = (): Promise<Uint8Array> => buildEntry('tests/bridge/codec-module.ts');
