// SPDX-License-Identifier: Apache-2.0
// The engine's CRC-32C by words: the published vector, every short length at every alignment, chaining, and the byte-wise one of lib/bounded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../random.js';
import { Engine, loadEngine, MemoryDisk } from './engine.js';
import { crc32c } from './image.js';

test('CRC-32C: 123456789, all zero, all ones, ascending (RFC 3720 B.4)', async () => {
  const engine = new Engine(await loadEngine(), new MemoryDisk(80));
  for (const kind of ['wide', 'narrow'] as const) {
    assert.equal(engine.crc(kind, Buffer.from('123456789')), 0xe3069283);
    assert.equal(engine.crc(kind, Buffer.alloc(32)), 0x8a9136aa);
    assert.equal(engine.crc(kind, Buffer.alloc(32, 0xff)), 0x62a8ab43);
    assert.equal(engine.crc(kind, Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
  }
});

test('CRC-32C by words equals CRC-32C by bits: every length to 80, every alignment, random bytes and seeds', async () => {
  const engine = new Engine(await loadEngine(), new MemoryDisk(80));
  const random = new Random(7);
  for (let length = 0; length <= 80; length++) {
    for (let at = 0; at < 8; at++) {
      const bytes = Buffer.from(Array.from({ length }, () => random.below(256)));
      const seed = random.next();
      assert.equal(engine.crc('wide', bytes, at, seed), crc32c(bytes, seed), `length ${length} at ${at}`);
    }
  }
});

test('CRC-32C by words equals the byte-wise one on long pieces, whole and cut in two', async () => {
  const engine = new Engine(await loadEngine(), new MemoryDisk(80));
  const random = new Random(8);
  for (let round = 0; round < 20; round++) {
    const bytes = Buffer.from(Array.from({ length: random.below(20_000) }, () => random.below(256)));
    const whole = engine.crc('narrow', bytes);
    assert.equal(engine.crc('wide', bytes), whole);
    const cut = random.below(bytes.length + 1);
    assert.equal(engine.crc('wide', bytes.subarray(cut), 0, engine.crc('wide', bytes.subarray(0, cut))), whole);
  }
});
