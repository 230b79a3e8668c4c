// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that both ends of the bridge read and write the same frames: vectors, cuts at every byte, limits, and a
// seeded fuzz in which every intact frame among garbage must come out. Set VIGIL_FUZZ_SEED to repeat a failure.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FrameDecoder, FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { crc32c } from '../../runtime/bridge/crc32c.js';
import { GuestDecoder, guestCodecWasm } from './guest-codec.js';
import { randomBelow } from '../random.js';

interface Stream {
  name: string; hex: string; frames: { type: number; nonce: number; wallNs: string; monoNs: string; payload: string }[];
  skippedBytes: number; badHeader: number; badVersion: number; badCrc: number; oversize: number; pendingBytes: number;
}
const vectors = JSON.parse(readFileSync(new URL('../vectors/bridge.json', import.meta.url), 'utf8')) as {
  crc32c: { hex: string; crc: number }[]; streams: Stream[];
};
const wasm = await guestCodecWasm();
const ends = { host: () => new FrameDecoder(), guest: () => new GuestDecoder(wasm) };
const plain = (frames: readonly Frame[]): Stream['frames'] => frames.map((frame) => ({
  type: frame.type, nonce: frame.nonce, wallNs: String(frame.wallNs), monoNs: String(frame.monoNs), payload: frame.payload.toString('hex'),
}));
const request = (type: number, nonce: number, payload: Buffer): Buffer =>
  encodeFrame({ type, nonce, payload, wallNs: 0n, monoNs: 0n });

for (const [end, make] of Object.entries(ends)) {
  for (const stream of vectors.streams) {
    test(`${end}: ${stream.name}`, () => {
      const decoder = make();
      assert.deepEqual(plain(decoder.push(Buffer.from(stream.hex, 'hex'))), stream.frames);
      const { skippedBytes, badHeader, badVersion, badCrc, oversize } = decoder.counters;
      assert.deepEqual({ skippedBytes, badHeader, badVersion, badCrc, oversize }, {
        skippedBytes: stream.skippedBytes, badHeader: stream.badHeader, badVersion: stream.badVersion, badCrc: stream.badCrc,
        oversize: stream.oversize,
      });
      assert.equal(decoder.pendingBytes, stream.pendingBytes);
    });
  }

  test(`${end}: every vector cut at every byte gives the same frames`, () => {
    for (const stream of vectors.streams) {
      const bytes = Buffer.from(stream.hex, 'hex');
      for (let cut = 1; cut < bytes.length; cut++) {
        const decoder = make();
        const frames = [...decoder.push(bytes.subarray(0, cut)), ...decoder.push(bytes.subarray(cut))];
        assert.deepEqual(plain(frames), stream.frames, `${stream.name} cut at ${cut}`);
      }
    }
  });

  test(`${end}: byte by byte`, () => {
    const decoder = make();
    const bytes = Buffer.concat(vectors.streams.slice(0, 5).map(({ hex }) => Buffer.from(hex, 'hex')));
    const frames = [...bytes].flatMap((_, at) => decoder.push(bytes.subarray(at, at + 1)));
    assert.deepEqual(plain(frames), vectors.streams.slice(0, 5).flatMap((stream) => stream.frames));
  });

  test(`${end}: a frame behind a truncated one comes out once the rest is given up`, () => {
    const decoder = make();
    const big = request(0x85, 1, Buffer.alloc(4000, 0x56));
    const next = request(1, 2, Buffer.from([1, 0, 1, 0]));
    assert.deepEqual(decoder.push(Buffer.concat([big.subarray(0, 1000), next])), []);
    assert.deepEqual(plain(decoder.expire()).map(({ nonce }) => nonce), [2]);
    assert.equal(decoder.counters.skippedBytes, 1000);
    assert.equal(decoder.pendingBytes, 0);
  });

  test(`${end}: the largest frame passes`, () => {
    const decoder = make();
    const bytes = request(0x85, 3, Buffer.alloc(PAYLOAD_BYTES_MAX, 7));
    assert.equal(bytes.length, FRAME_BYTES_MAX);
    assert.equal(decoder.push(bytes)[0]?.payload.length, PAYLOAD_BYTES_MAX);
  });

  test(`${end}: fuzz: no intact frame is lost, no damaged one accepted`, (t) => {
    const seed = Number(process.env['VIGIL_FUZZ_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`VIGIL_FUZZ_SEED=${seed}`);
    const random = randomBelow(seed);
    for (let round = 0; round < 60; round++) {
      const decoder = make();
      const wanted: number[] = [];
      const parts: Buffer[] = [];
      for (let nonce = 1; nonce <= 12; nonce++) {
        const kind = random(4);
        const frame = request(random(256), nonce, Buffer.from(Array.from({ length: random(400) }, () => random(256))));
        if (kind === 0) parts.push(Buffer.from(Array.from({ length: random(60) }, () => random(256))));
        else if (kind === 1) {
          frame[random(frame.length)]! ^= 1 << random(8);
          parts.push(frame);
        } else {
          parts.push(frame);
          wanted.push(nonce);
        }
      }
      const bytes = Buffer.concat(parts);
      const got: Frame[] = [];
      for (let at = 0; at < bytes.length;) {
        const size = 1 + random(700);
        got.push(...decoder.push(bytes.subarray(at, at + size)));
        at += size;
      }
      got.push(...decoder.expire());
      assert.deepEqual(got.map(({ nonce }) => nonce), wanted, `seed ${seed} round ${round}`);
    }
  });
}

test('both ends compute the published CRC-32C values', () => {
  const guest = new GuestDecoder(wasm);
  for (const { hex, crc } of vectors.crc32c) {
    assert.equal(crc32c(Buffer.from(hex, 'hex')), crc, `host ${hex}`);
    assert.equal(guest.crc(Buffer.from(hex, 'hex')), crc, `guest ${hex}`);
  }
});

test('both ends encode the same bytes', () => {
  const guest = new GuestDecoder(wasm);
  for (const bytes of [0, 1, 31, 500, PAYLOAD_BYTES_MAX]) {
    const payload = Buffer.alloc(bytes, 0xa5);
    assert.deepEqual(guest.encode(5, 77, payload), request(5, 77, payload));
  }
});

test('a payload over the limit is refused at the sender', () => {
  const payload = Buffer.alloc(PAYLOAD_BYTES_MAX + 1);
  assert.throws(() => request(5, 1, payload), RangeError);
  assert.equal(new GuestDecoder(wasm).encode(5, 1, payload).length, 0);
});

