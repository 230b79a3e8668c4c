// SPDX-License-Identifier: Apache-2.0
// The bench's reporter on recorded lines: which figures are wanted and from whom, budgets and ratios, the golden file and its key.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BARE_PREFIX } from '../../scripts/bench/bare-image.js';
import { benchTable, compare, guestFigures, readBudgets, readGolden, toolchainKey, type Figures } from '../../scripts/gate/bench.js';
import { readLadder } from '../../scripts/gate/ladder.js';

const budgets = readBudgets();
const PREFIX = 'SELFTEST: bench ';
const keysOf = (source: string): string[] => budgets.filter((row) => row.source === source).map((row) => row.key);
/** Within every budget. */
const guestLines = keysOf('guest').map((key) => `${PREFIX}${key}=${key.startsWith('flushes') ? 20 : 50}`);
const hashLines = keysOf('hash').map((key) => `${BARE_PREFIX}${key}=50`);
const gpuLines = keysOf('gpu').map((key) => `${BARE_PREFIX}${key}=50`);
const figures: Figures = {
  ...guestFigures(guestLines, PREFIX, budgets), ...guestFigures(hashLines, BARE_PREFIX, budgets, 'hash'),
  ...guestFigures(gpuLines, BARE_PREFIX, budgets, 'gpu'), image_bytes: 1000,
};

/** A checkout's boot/ with these files, removed after `body`. */
function withBoot(files: Record<string, string>, body: (root: string) => void): void {
  const root = mkdtempSync(join(tmpdir(), 'vigil-bench-'));
  try {
    mkdirSync(join(root, 'boot'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'boot', name), text);
    body(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test('every row that is asked for is there, with its budget', () => {
  assert.deepEqual(new Set(budgets.map((row) => row.key)), new Set([
    'null_syscall', 'ipc_call_64', 'ipc_send_64', 'preempt', 'counter_inc', 'counter_inc_batched_1_series',
    'counter_inc_batched_1024_series', 'log_append_64', 'crc32c_wasm', 'crc32c_native', 'sha256_wasm', 'sha256_native',
    'fault_to_restart', 'image_bytes', 'statefs_put_256', 'statefs_put_batched_256', 'flushes_per_1k_puts_batched', 'wal_append',
    'recovery_per_1k_records', 'recovery_churned_per_1k_records', 'statefs_put_batched_fresh_256', 'statefs_put_batched_worn_256',
    'dcgm_emit_8x12', 'dcgm_emit_8xh100_full', 'otlp_bytes_8x12',
  ]));
  const max = Object.fromEntries(budgets.map((row) => [row.key, row.max ?? row.ratio_max]));
  assert.deepEqual(max, {
    null_syscall: 80, ipc_call_64: 700, ipc_send_64: 300, preempt: 450, counter_inc: 2500, counter_inc_batched_1_series: 150,
    counter_inc_batched_1024_series: 150, log_append_64: 2500, crc32c_native: undefined, crc32c_wasm: 1.25, sha256_native: undefined,
    sha256_wasm: 1.25, fault_to_restart: 200_000, image_bytes: 2_097_152,
    statefs_put_256: undefined, statefs_put_batched_256: 3000, flushes_per_1k_puts_batched: 20, wal_append: undefined,
    recovery_per_1k_records: 6_000_000, recovery_churned_per_1k_records: 6_000_000, statefs_put_batched_fresh_256: undefined,
    statefs_put_batched_worn_256: undefined, dcgm_emit_8x12: 60_000, dcgm_emit_8xh100_full: undefined, otlp_bytes_8x12: undefined,
  });
  assert.equal(readLadder('bench', 'modern').figures, PREFIX);
});

test('each figure exactly once, from the boot that measures it', () => {
  const fails = (lines: string[], message: RegExp): void => {
    assert.throws(() => guestFigures(lines, PREFIX, budgets), { exitCode: 1, message });
  };
  fails(guestLines.slice(1), /no figure for null_syscall/);
  fails([], /no figure for .*null_syscall.*fault_to_restart/);
  fails([...guestLines, guestLines[0]!], /"null_syscall" twice/);
  fails([...guestLines, `${PREFIX}speed=1`], /"speed", which is no row/);
  fails([...guestLines, `${PREFIX}crc32c_wasm=1`], /no row of source "guest"/);
  for (const bad of ['preempt=fast', 'preempt=-1', 'preempt=1.5', 'preempt= 1', 'preempt', '=1', 'preempt=9999999999999999']) {
    fails([...guestLines.filter((line) => !line.includes('preempt')), `${PREFIX}${bad}`], /malformed/);
  }
  assert.throws(() => guestFigures(hashLines.slice(1), BARE_PREFIX, budgets, 'hash'), /no figure for crc32c_native/);
  assert.equal(guestFigures(['init: ready', ...guestLines, 'SELFTEST: end'], PREFIX, budgets).preempt, 50);
});

test('a budget is met at its edge and missed one above it; a ratio too', () => {
  const over = (changed: Record<string, number>): string[] =>
    compare({ ...figures, ...changed }, budgets, null).filter((row) => row.overBudget).map((row) => row.key);
  for (const { key, max } of budgets) {
    if (max === undefined) continue;
    assert.deepEqual(over({ [key]: max }), []);
    assert.deepEqual(over({ [key]: max + 1 }), [key]);
  }
  assert.deepEqual(over({ sha256_native: 400, sha256_wasm: 500 }), []);
  assert.deepEqual(over({ sha256_native: 400, sha256_wasm: 501 }), ['sha256_wasm']);
  assert.deepEqual(over({ crc32c_native: 0 }), ['crc32c_wasm'], 'no ratio of nothing');
});

test('golden: instruction counts exactly, bytes only against their budget, a row that is not recorded differs', () => {
  const moved = (golden: Record<string, number>): string[] =>
    compare(figures, budgets, golden).filter((row) => row.differs).map((row) => row.key);
  assert.deepEqual(moved(figures), []);
  assert.deepEqual(moved({ ...figures, preempt: 49 }), ['preempt']);
  assert.deepEqual(moved({ ...figures, preempt: 51, image_bytes: 1 }), ['preempt']);
  const { preempt, ...less } = figures;
  assert.equal(preempt, 50);
  assert.deepEqual(moved(less), ['preempt']);
  const table = benchTable(compare({ ...figures, null_syscall: 81 }, budgets, { ...figures, preempt: 47 }));
  assert.equal(table.length, budgets.length + 1);
  assert.match(table.find((line) => line.startsWith('preempt'))!, / 50 .* ok .* 47 \(\+3\)/);
  assert.match(table.find((line) => line.startsWith('null_syscall'))!, / 81 .* OVER /);
});

test('an unknown toolchain has no golden figures: compared with the budgets alone', () => {
  const key = toolchainKey({ gcc: '12.2.0', asc: '0.28.20', wabt: '1.0.39' });
  assert.equal(key, 'gcc 12.2.0, asc 0.28.20, wabt 1.0.39');
  const entry = { qemu: '7.2.22', recorded_utc: '2026-01-01T00:00:00.000Z', figures };
  withBoot({ 'bench.golden.json': JSON.stringify({ [key]: entry }) }, (root) => {
    assert.deepEqual(readGolden(root)[key]!.figures, figures);
    assert.equal(readGolden(root)[toolchainKey({ gcc: '13.1.0', asc: '0.28.20', wabt: '1.0.39' })], undefined);
  });
  assert.ok(compare(figures, budgets, null).every((row) => row.golden === null && !row.differs));
  withBoot({}, (root) => assert.deepEqual(readGolden(root), {}));
  for (const bad of ['{', '[]', '{"x":{"figures":{}}}', '{"x":{"qemu":"7","recorded_utc":"t","figures":{"a":-1}}}']) {
    withBoot({ 'bench.golden.json': bad }, (root) => assert.throws(() => readGolden(root), { exitCode: 1 }));
  }
});

test('the committed golden file has exactly the rows of the budgets in every entry', () => {
  const golden = readGolden();
  assert.ok(Object.keys(golden).length > 0, 'no toolchain is recorded; run: just bench --refresh');
  for (const [key, entry] of Object.entries(golden)) {
    assert.deepEqual(Object.keys(entry.figures).sort(), budgets.map((row) => row.key).sort(), key);
    const rows = compare(entry.figures, budgets, null);
    assert.deepEqual(rows.filter((row) => row.overBudget).map((row) => row.key), [], `${key} was recorded over budget`);
  }
});

test('a malformed budget table is refused, naming the row', () => {
  const row = (text: string): string => `[[row]]\nwhat = "w"\nunit = "bytes"\n${text}\n`;
  const cases: [string, RegExp][] = [
    [row('key = "a"\nmax = 1') + row('key = "a"\nmax = 1'), /twice/],
    [row('key = "a"\nratio_of = "b"\nratio_max = 1.0'), /no row b/],
    [row('key = "a"\nratio_of = "a"'), /belong together/],
    [row('key = "a"\nmax = 0'), /max/],
    [row('key = "A b"'), /key/],
    [row('key = "a"\nsource = "nowhere"'), /source/],
    [row('key = "a"\nspeed = 1'), /speed/],
    ['', /row/],
  ];
  for (const [text, message] of cases) {
    withBoot({ 'budgets.toml': text }, (root) => assert.throws(() => readBudgets(root), { exitCode: 1, message }));
  }
});
