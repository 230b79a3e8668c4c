// SPDX-License-Identifier: Apache-2.0
// docs/format/retention.md, the code and the bytes: the page's numbers are the code's, and a record is decoded here by the page alone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { senderId } from '../../runtime/node/index.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { counter, expect, gauge, histogram, type Steps } from './metricsd-frames.js';
import { SECOND, at, life, settle } from './metricsd-history.js';
import { FOLDER, StatePeer } from './metricsd-state.js';

const page = readFileSync(join(ROOT, 'docs/format/retention.md'), 'utf8');
const source = (file: string): string => readFileSync(join(ROOT, `assembly/services/metricsd/retention/${file}.ts`), 'utf8');
const abi = loadAbi();
const most = (key: string): number => limit(abi, 'metricsd', key);
const grouped = (n: number): string => n.toLocaleString('en-US');

test('the page\'s limits are those of abi/limits.toml, its constants those of the code', () => {
  const rows = Object.fromEntries(
    [...page.slice(page.indexOf('## Limits')).matchAll(/^\| (\w+) \| ([\d,]+) \| ([\d,]+) \|/gm)].map(([, key, least, top]) => [key!, [least!, top!].map((n) => Number(n.replaceAll(',', '')))]),
  );
  assert.deepEqual(rows, {
    enabled: [0, 1],
    raw_interval_ns: [most('retention_raw_interval_ns_min'), most('retention_raw_interval_ns_max')],
    max_segments: [most('retention_segments_min'), most('retention_segments_max')],
    max_records_per_segment: [1, most('retention_segment_records_max')],
    max_samples_per_record: [1, most('retention_record_samples_max')],
    ttl_windows_10s: [most('retention_windows_10s_min'), most('retention_windows_max')],
    ttl_windows_60s: [1, most('retention_windows_max')],
    gc_batch: [1, most('retention_gc_batch_max')],
    best_effort_retries: [1, most('retention_retries_max')],
    critical_retries: [1, most('retention_retries_max')],
  });
  assert.ok(page.includes(`pass ${grouped(most('retention_record_bytes_max'))} bytes`));
  assert.ok(page.includes(`at most ${most('retention_pending_max')}, then are written`) && page.includes(`more than ${most('retention_pending_max')} records wait`));
  assert.ok(page.includes(`at most ${grouped(most('series_max'))} less max_series_total`));
  assert.match(source('entry'), /RECORD_MAGIC: u16 = 0x524d;\n.*RECORD_VERSION: u8 = 1;\n.*RECORD_HEAD_BYTES: u32 = 32;/);
  assert.match(source('builder'), /PARTS_MAX: u32 = 255;/);
  assert.match(source('windows'), /level == 1 \? 10 \* SECOND_NS : 60 \* SECOND_NS/);
  assert.ok(source('keys').includes(`"${FOLDER}"`) && page.includes(`\`${FOLDER}\``));
});

/** Decodes a record by the page. */
function decode(bytes: Buffer): { head: Record<string, unknown>; entries: Record<string, unknown>[] } {
  let at = 32;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[at]!);
      at += 1;
      value |= (byte & 0x7fn) << shift;
      if (byte < 0x80n) return value;
    }
  };
  const entries = Array.from({ length: bytes.readUInt16LE(6) }, () => {
    const [kind, unit, nameLen, labelsLen] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
    const [buckets, sender] = [bytes.readUInt32LE(at + 4), bytes.readBigUInt64LE(at + 8)];
    at += 16;
    const value = (): bigint => {
      const raw = varint();
      return kind !== 2 ? raw : raw & 1n ? -(raw >> 1n) - 1n : raw >> 1n;
    };
    const count = varint();
    const numbers = count === 0n ? [] : [value(), value(), value()];
    const last = value();
    const totals = buckets === 0 ? [] : [varint(), varint()];
    const rows = Array.from({ length: buckets }, () => [varint(), varint()]);
    const text = bytes.toString('latin1', at, at + nameLen + labelsLen);
    at += nameLen + labelsLen;
    return { kind, unit, sender, count, numbers, last, totals, rows, name: text.slice(0, nameLen), labels: text.slice(nameLen) };
  });
  assert.equal(at, bytes.length, 'bytes to spare');
  const head = {
    magic: bytes.toString('latin1', 0, 2), version: bytes[2], level: bytes[3], part: bytes[4], flags: bytes[5], start: bytes.readBigUInt64LE(8),
    width: bytes.readBigUInt64LE(16), segment: bytes.readUInt32LE(24),
  };
  return { head, entries };
}

test('a raw record and a roll-up decode by the page alone; a planted secret is in no byte of the disk', async () => {
  const state = new StatePeer();
  const secret = 'vigil-canary-7f3a9c51';
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('c', 300, `note=Bearer ${secret}\npassword=${secret}`), 'ok');
    yield* expect(host, 'timed', gauge('g', -70_000n), 'ok');
    yield* expect(host, 'execd', histogram('h', 6_000_000), 'ok');
    yield* at(host, 12n * SECOND);
    yield* expect(host, 'execd', histogram('h', 1), 'ok');
    yield* at(host, 14n * SECOND);
    yield* settle(host);
  });
  const own = (key: string): unknown[] => decode(state.value(key)).entries.filter(({ sender }) => sender !== senderId('metricsd'))
    .map(({ kind, unit, count, numbers, last, totals, rows, name, labels }) => [kind, unit, count, numbers, last, totals, rows, name, labels])
    .sort((a, b) => Number(a[0]) - Number(b[0]));
  const { head } = decode(state.value('wal/seg_00/0000'));
  assert.deepEqual(head, { magic: 'MR', version: 1, level: 0, part: 0, flags: 1, start: 0n, width: SECOND, segment: 0 });
  const zero = [0n, 0n];
  const first = [
    [1, 0, 1n, [300n, 300n, 300n], 300n, [], [], 'c', 'note=Bearer *\npassword=*'],
    [2, 0, 1n, [-70_000n, -70_000n, -70_000n], -70_000n, [], [], 'g', ''],
    [3, 1, 1n, [6_000_000n, 6_000_000n, 6_000_000n], 6_000_000n, [1n, 6_000_000n], [zero, zero, [1n, 1n], zero, zero], 'h', ''],
  ];
  assert.deepEqual(own('wal/seg_00/0000'), first);
  assert.deepEqual(own('wal/seg_00/0001'), [[3, 1, 1n, [1n, 1n, 1n], 1n, [2n, 6_000_001n], [[1n, 1n], zero, [0n, 1n], zero, zero], 'h', '']]);
  const rolled = decode(state.value('rollup/10s/w_0000000000.000'));
  assert.deepEqual(rolled.head, { magic: 'MR', version: 1, level: 1, part: 0, flags: 1, start: 0n, width: 10n * SECOND, segment: 0 });
  // A roll-up has no state of a histogram.
  const zeros = [zero, zero, [1n, 0n], zero, zero];
  assert.deepEqual(own('rollup/10s/w_0000000000.000'), [first[0], first[1], [...first[2]!.slice(0, 5), [0n, 0n], zeros, 'h', '']]);
  for (const [key, bytes] of state.values) assert.ok(!bytes.includes(secret), `${key} holds the secret`);
});
