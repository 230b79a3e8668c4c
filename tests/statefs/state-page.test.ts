// SPDX-License-Identifier: Apache-2.0
// The sizes that docs/state.md promises follow from abi/limits.toml, and one of them is tried on the engine.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { fresh, S, SECTOR } from './engine.js';

const abi = loadAbi();
const of = (name: string): number => limit(abi, 'statefs', name);
const page = readFileSync(join(ROOT, 'docs/state.md'), 'utf8');
const MIB = 1024 * 1024;
const KEY_BYTES = 100;
const VALUE_BYTES = 256;
/** Of a key in the index: its length and its entry's number. */
const CHUNK_HEAD_BYTES = 3;
const REGION_FIRST = 16;
const keysOf = (keyBytes: number): number => Math.min(of('keys_max'), Math.floor(of('keys_bytes_max') / (keyBytes + CHUNK_HEAD_BYTES)));
const text = (value: number): string => value.toLocaleString('en-US');

test('the table of sizes in docs/state.md follows from the limits', () => {
  const rows = [...page.matchAll(/^\| (\d+) (MiB|GiB)[^|]*\| (\d+) MiB \| ([\d,]+) \|$/gm)];
  assert.equal(rows.length, 4);
  for (const [, size, unit, live, keys] of rows) {
    const sectors = Number(size) * (unit === 'GiB' ? 1024 : 1) * MIB / SECTOR;
    const region = Math.min(Math.floor((sectors - REGION_FIRST) / 2), of('region_sectors_max')) & ~7;
    const capacity = region / 8 * 7 * SECTOR;
    assert.equal(Number(live), Math.round(capacity / MIB));
    const record = (32 + KEY_BYTES + VALUE_BYTES + 7) & ~7;
    assert.equal(keys, text(Math.min(keysOf(KEY_BYTES), Math.floor(capacity / record))));
  }
});

test('the limits in the text of docs/state.md are those of the engine', () => {
  const average = Math.floor(of('keys_bytes_max') / of('keys_max')) - CHUNK_HEAD_BYTES;
  for (const promise of [
    `${text(of('keys_max'))} keys, and ${text(of('keys_bytes_max'))} bytes for the keys together`, `its length and ${CHUNK_HEAD_BYTES}`,
    `they have ${average} bytes on average`, `keys of ${KEY_BYTES} bytes end at ${text(keysOf(KEY_BYTES))}`,
    `${of('value_bytes_max') / 1024} KiB a value`,
  ]) assert.ok(page.includes(promise), promise);
});

for (const keyBytes of [KEY_BYTES, 45, 46]) {
  test(`keys of ${keyBytes} bytes end where the page says`, async () => {
    const engine = await fresh(32_768);
    const key = (i: number): string => `/k${i}`.padEnd(keyBytes, '_');
    for (let i = 0; i < keysOf(keyBytes); i++) {
      assert.equal(engine.put(key(i), ''), S.OK);
      if (i % 1000 === 0) assert.equal(engine.commit(), S.OK);
    }
    assert.equal(engine.put(key(-1), ''), S.KEYS_LIMIT);
  });
}
