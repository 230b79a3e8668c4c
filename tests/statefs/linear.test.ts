// SPDX-License-Identifier: Apache-2.0
// Time linear in what is live: after heavy overwriting, recovery reads at most twice the live bytes and a constant, and compaction writes a bounded
// multiple of what was put, at 1,000 to 8,000 keys alike. Counted in bytes and records; instructions are boot/budgets.toml's rows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { Random } from '../random.js';
import { Engine, loadEngine, MemoryDisk, S, SECTOR } from './engine.js';

const abi = loadAbi();
const SLACK_BYTES = limit(abi, 'statefs', 'compact_slack_bytes');
const GROUP_BYTES_MAX = limit(abi, 'statefs', 'group_bytes_max');
const LOOKAHEAD_BYTES = limit(abi, 'statefs', 'lookahead_sectors_max') * SECTOR;
const COPY_BYTES_MAX = limit(abi, 'statefs', 'copy_bytes_max');
/** Read ahead of the end, the superblocks. */
const EXTRA_BYTES = 128 * SECTOR + 16 * SECTOR;
const VALUE = 'v'.repeat(256);
const OVERWRITES = 10;

interface Figures { live: number; read: number; kept: number; putBytes: number; written: number }

async function churned(keys: number, seed: number): Promise<Figures> {
  const random = new Random(seed);
  const engine = new Engine(await loadEngine(), new MemoryDisk(60_000));
  assert.equal(engine.open(), S.OK);
  let puts = 0;
  const put = (i: number): void => {
    assert.equal(engine.put(`/state/bench/k${String(i).padStart(4, '0')}`, VALUE), S.OK);
    if (++puts % 200 === 0) assert.equal(engine.commit(), S.OK);
  };
  for (let i = 0; i < keys; i++) put(i);
  for (let i = 0; i < keys * OVERWRITES; i++) put(random.below(keys));
  assert.equal(engine.commit(), S.OK);
  const { writtenBytes } = engine.report();
  const next = new Engine(await loadEngine(), engine.disk.copy());
  assert.equal(next.open(), S.OK);
  const { liveBytes, readBytes, recordsKept, liveKeys } = next.report();
  assert.equal(liveKeys, keys);
  return { live: liveBytes, read: Number(readBytes), kept: Number(recordsKept), putBytes: puts * (liveBytes / keys), written: Number(writtenBytes) };
}

test('recovery and compaction stay linear in what is live at 1,000, 2,000, 4,000 and 8,000 keys', async () => {
  for (const keys of [1000, 2000, 4000, 8000]) {
    const { live, read, kept, putBytes, written } = await churned(keys, keys);
    assert.ok(read <= 2 * live + SLACK_BYTES + GROUP_BYTES_MAX + LOOKAHEAD_BYTES + EXTRA_BYTES, `${keys} keys: ${read} bytes read for ${live} live`);
    assert.ok(kept <= 2 * keys + (SLACK_BYTES + GROUP_BYTES_MAX) / (live / keys), `${keys} keys: ${kept} records`);
    // Each put is written once, and copied at most once more for each put that made as much garbage.
    assert.ok(written <= 2.3 * putBytes + 4 * COPY_BYTES_MAX, `${keys} keys: ${written} bytes written for ${putBytes} put`);
  }
});

test('garbage alone does not grow the journal: one key overwritten 20,000 times', async () => {
  const engine = new Engine(await loadEngine(), new MemoryDisk(60_000));
  assert.equal(engine.open(), S.OK);
  let longest = 0;
  for (let i = 0; i < 20_000; i++) {
    engine.put('/k', VALUE);
    if (i % 50 === 0) assert.equal(engine.commit(), S.OK);
    longest = Math.max(longest, engine.report().journalBytes);
  }
  assert.ok(longest <= SLACK_BYTES + 2 * 300 + SECTOR, `${longest}`);
  assert.ok(engine.report().compactions > 10n);
});
