// SPDX-License-Identifier: Apache-2.0
// The bundle format: what is written reads back, equal inputs give equal bytes, and every damaged byte is noticed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  FLAG_EXEC, FILE_RECORD_BYTES, HEADER_BYTES, packBundle, readBundle, SERVICE_RECORD_BYTES, type Bundle, type BundleService,
} from '../../image/pack.js';
import { fnv1a64 } from '../../scripts/lib/abi.js';

function service(name: string, wasm: string, elf: string): BundleService {
  return {
    name, id: fnv1a64(name), wasm: Buffer.from(wasm), elf: Buffer.from(elf), memoryPages: 4, memoryPagesMax: 8,
    stackBytes: 32768, depth: 16, restartBudget: 3, flags: FLAG_EXEC, callsMask: 0x8000_0000_0000_0001n, slotsMask: 0x3fe,
    devices: [4, 3], console: 'child', textBase: 0x1000_1000_0000n, instanceBytes: 4096, tableEntries: 7,
    importsMask: 0x3_0000_0001n, wrongWasmDigest: false, wrongElfDigest: false,
  };
}

const SAMPLE: Bundle = {
  services: [service('alpha', 'wasm-a', 'elf-a'), service('beta', 'wasm-a', 'elf-a'), service('gamma', 'wasm-longer-than-16', 'elf-g')],
  files: [
    { name: 'recipes/observability/metrics.toml', bytes: Buffer.from('[limits]\n') },
    { name: 'recipes/empty.toml', bytes: Buffer.alloc(0) },
  ],
};

test('a bundle reads back as it was written', () => {
  const { bytes, manifestSha256 } = packBundle(SAMPLE);
  const back = readBundle(bytes);
  assert.equal(back.manifestSha256, manifestSha256);
  assert.deepEqual(back.services, SAMPLE.services);
  assert.deepEqual(back.files, SAMPLE.files);
});

test('equal inputs give equal bytes; the identity covers the blobs', () => {
  assert.deepEqual(packBundle(SAMPLE).bytes, packBundle(structuredClone(SAMPLE)).bytes);
  const other = { ...SAMPLE, files: [{ ...SAMPLE.files[0]!, bytes: Buffer.from('[limitz]\n') }, SAMPLE.files[1]!] };
  assert.notEqual(packBundle(other).manifestSha256, packBundle(SAMPLE).manifestSha256);
});

test('a module of two services is stored once', () => {
  const { bytes } = packBundle(SAMPLE);
  assert.equal(bytes.readUInt32LE(HEADER_BYTES + 40), bytes.readUInt32LE(HEADER_BYTES + SERVICE_RECORD_BYTES + 40));
  assert.equal(bytes.toString('latin1').split('elf-a').length, 2);
});

test('offsets and widths are those of the format page', () => {
  const { bytes } = packBundle(SAMPLE);
  assert.equal(bytes.toString('latin1', 0, 8), 'VIGILBN1');
  assert.deepEqual([8, 12, 16, 20, 24, 28].map((at) => bytes.readUInt32LE(at)), [
    1, bytes.length, 3, 2, 96, 3 * SERVICE_RECORD_BYTES + 2 * FILE_RECORD_BYTES,
  ]);
  const record = bytes.subarray(HEADER_BYTES + SERVICE_RECORD_BYTES);
  assert.equal(record.toString('latin1', 0, 5), 'beta\0');
  assert.equal(record.readBigUInt64LE(32), fnv1a64('beta'));
  assert.equal(record.readBigUInt64LE(80), 0x8000_0000_0000_0001n);
  assert.deepEqual([...record.subarray(92, 96)], [4, 3, 0, 0]);
  assert.equal(record.readBigUInt64LE(176), 0x1000_1000_0000n);
  assert.equal(record.readBigUInt64LE(192), 0x3_0000_0001n);
  for (let i = 0; i < 3; i++) assert.equal(bytes.readUInt32LE(HEADER_BYTES + i * SERVICE_RECORD_BYTES + 40) % 16, 0);
});

test('every single damaged byte is refused or reported', () => {
  const { bytes } = packBundle(SAMPLE);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 0x40;
    let noticed = false;
    try {
      const { services } = readBundle(damaged);
      noticed = services.some(({ wrongWasmDigest, wrongElfDigest }) => wrongWasmDigest === true || wrongElfDigest === true);
    } catch {
      noticed = true;
    }
    assert.ok(noticed, `damage at byte ${at} passed`);
  }
});

test('truncation at any length is refused', () => {
  const { bytes } = packBundle(SAMPLE);
  for (let length = 0; length < bytes.length; length++) assert.throws(() => readBundle(bytes.subarray(0, length)), /bundle/);
});

test('names that do not fit their field are refused', () => {
  assert.throws(() => packBundle({ services: [service('x'.repeat(32), 'w', 'e')], files: [] }), /longer than 31 bytes/);
  assert.throws(() => packBundle({ services: [], files: [{ name: 'f'.repeat(64), bytes: Buffer.alloc(1) }] }), /longer than 63/);
  assert.throws(() => packBundle({ services: [], files: [{ name: 'gr\u00fcn', bytes: Buffer.alloc(1) }] }), /ASCII/);
});
