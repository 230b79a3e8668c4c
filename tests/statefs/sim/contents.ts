// SPDX-License-Identifier: Apache-2.0
// Owns: the values that a simulation stores, each known by a number, so that a value read back is either exactly one of them or wrong.
// Invariant: two values of at least ID_BYTES differ; shorter ones may be equal and then have one number.
// Limit: values up to limits of statefsd (65,536 bytes).
import type { Random } from '../../random.js';

const ID_BYTES = 4;
const NOISE_BYTES = 1 << 17;
export const VALUE_BYTES_MAX = 65_536;

export class Contents {
  private readonly values: Uint8Array[] = [];
  private readonly short = new Map<string, number>();
  private readonly noise: Uint8Array;

  constructor(random: Random) {
    this.noise = new Uint8Array(NOISE_BYTES);
    for (let at = 0; at < NOISE_BYTES; at += 4) new DataView(this.noise.buffer).setUint32(at, random.next(), true);
  }

  /** A new value of `bytes` bytes, or the old one of that few. `like`: what its bytes after the number are, when not noise. */
  make(bytes: number, random: Random, like?: Uint8Array): number {
    const number = this.values.length;
    const from = random.below(NOISE_BYTES - bytes + 1);
    const value = this.noise.slice(from, from + bytes);
    if (like !== undefined && bytes > ID_BYTES) value.set(like.subarray(0, bytes - ID_BYTES), ID_BYTES);
    if (bytes >= ID_BYTES) new DataView(value.buffer).setUint32(0, number, true);
    else {
      const text = Buffer.from(value).toString('latin1');
      const known = this.short.get(text);
      if (known !== undefined) return known;
      this.short.set(text, number);
    }
    this.values.push(value);
    return number;
  }

  bytesOf(number: number): Uint8Array {
    return this.values[number]!;
  }

  /** Number of exactly these bytes, or -1: nobody ever stored them. */
  numberOf(value: Uint8Array): number {
    if (value.length < ID_BYTES) return this.short.get(Buffer.from(value).toString('latin1')) ?? -1;
    const number = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
    const known = this.values[number];
    return known !== undefined && Buffer.compare(known, value) === 0 ? number : -1;
  }
}
