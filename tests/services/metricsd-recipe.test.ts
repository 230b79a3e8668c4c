// SPDX-License-Identifier: Apache-2.0
// Recipes: the guest's check and the build's agree on one table of good and bad files; what a good one says is what holds.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Host, ModuleEnd, buildModule, senderId } from '../../runtime/node/index.js';
import { loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { recipeFault } from '../../scripts/lib/recipe.js';
import { LogPeer, OP, RECIPES, counter, expect, metricsd, plain, recipeFile, recipeWith, registry, run, stats, type Steps } from './metricsd-frames.js';

const abi = loadAbi();
const base = recipeFile('metrics').toString('utf8');
const edit = (from: string | RegExp, to: string): string => {
  const text = base.replace(from, to);
  if (text === base) throw new Error(`${String(from)} is not in the default recipe`);
  return text;
};
const over = (table: string, key: string): string => `${(abi.limits.get(table)!.get(key)! + 1)}`;

interface Row {
  why: string;
  text: string;
  /** `key reason` as both say it; null: a good file. */
  fault: string | null;
  /** the guest's line, where the two can name it */
  line?: number;
}
const lineOf = (text: string, part: string): number => text.slice(0, text.indexOf(part)).split('\n').length;
const table: Row[] = [
  { why: 'the default', text: base, fault: null },
  { why: 'comments and blanks', text: `# x\r\n\n${base}\n# end`, fault: null },
  { why: 'no sender table', text: base.slice(0, base.indexOf('# One scrape')), fault: null },
  { why: 'values at their maximum', text: edit('max_series_total = 256', 'max_series_total = 4_096'), fault: null },
  { why: 'one above the maximum', text: edit('max_series_total = 256', `max_series_total = ${over('metricsd', 'series_max')}`), fault: 'metrics.max_series_total over_maximum' },
  { why: 'name length above the wire', text: edit('max_metric_name_len = 48', 'max_metric_name_len = 49'), fault: 'wire.max_metric_name_len over_maximum' },
  { why: 'labels length above the wire', text: edit('max_labels_len = 192', 'max_labels_len = 193'), fault: 'wire.max_labels_len over_maximum' },
  { why: 'more than 32 bits', text: edit('max_labels = 8', 'max_labels = 4_294_967_304'), fault: 'metrics.max_labels over_maximum' },
  { why: 'zero', text: edit('max_labels = 8', 'max_labels = 0'), fault: 'metrics.max_labels zero' },
  { why: 'a string for a number', text: edit('max_labels = 8', 'max_labels = "8"'), fault: 'metrics.max_labels wrong_type' },
  { why: 'an array for a number', text: edit('max_labels = 8', 'max_labels = [8]'), fault: 'metrics.max_labels wrong_type' },
  { why: 'unknown key', text: edit('max_labels = 8', 'max_labels = 8\nmax_lables = 8'), fault: 'metrics.max_lables unknown_key' },
  { why: 'a key of another table', text: edit('max_labels = 8', 'max_labels = 8\nexpiry_ns = 8'), fault: 'metrics.expiry_ns unknown_key' },
  { why: 'a key above every table', text: `max_labels = 8\n${base}`, fault: 'max_labels unknown_key' },
  { why: 'unknown table', text: `${base}\n[retentions]\nenabled = 1\n`, fault: 'retentions unknown_table' },
  { why: 'retention off', text: edit('enabled = 1', 'enabled = 0'), fault: null },
  { why: 'retention neither on nor off', text: edit('enabled = 1', 'enabled = 2'), fault: 'retention.enabled over_maximum' },
  { why: 'no switch', text: edit(/^enabled = 1$/m, ''), fault: 'retention.enabled missing' },
  { why: 'a raw interval at its least', text: edit('raw_interval_ns = 1_000_000_000', 'raw_interval_ns = 10_000_000'), fault: null },
  { why: 'a raw interval below it', text: edit('raw_interval_ns = 1_000_000_000', 'raw_interval_ns = 9_999_999'), fault: 'retention.raw_interval_ns too_small' },
  { why: 'a raw interval at its most', text: edit('raw_interval_ns = 1_000_000_000', 'raw_interval_ns = 10_000_000_000'), fault: null },
  { why: 'a raw interval above it', text: edit('raw_interval_ns = 1_000_000_000', 'raw_interval_ns = 10_000_000_001'), fault: 'retention.raw_interval_ns over_maximum' },
  { why: 'raw intervals that do not fill a window', text: edit('raw_interval_ns = 1_000_000_000', 'raw_interval_ns = 3_000_000_000'), fault: 'retention.raw_interval_ns not_a_divisor' },
  { why: 'three segments', text: edit('max_segments = 8', 'max_segments = 3'), fault: null },
  { why: 'two segments', text: edit('max_segments = 8', 'max_segments = 2'), fault: 'retention.max_segments too_small' },
  { why: 'more segments than there are slots', text: edit('max_segments = 8', `max_segments = ${over('metricsd', 'retention_segments_max')}`), fault: 'retention.max_segments over_maximum' },
  { why: 'a minute and a window of 10 s windows', text: edit('ttl_windows_10s = 60', 'ttl_windows_10s = 12'), fault: null },
  { why: 'one 10 s window less', text: edit('ttl_windows_10s = 60', 'ttl_windows_10s = 11'), fault: 'retention.ttl_windows_10s too_small' },
  { why: 'no key deleted in a step', text: edit('gc_batch = 4', 'gc_batch = 0'), fault: 'retention.gc_batch zero' },
  { why: 'as many retries as there may be', text: edit('critical_retries = 2', `critical_retries = ${over('metricsd', 'retention_retries_max')}`), fault: 'retention.critical_retries over_maximum' },
  { why: 'unknown table array', text: `${base}\n[[senders]]\nname = "x"\n`, fault: 'senders unknown_table' },
  { why: 'missing key', text: edit(/^expiry_ns.*$/m, ''), fault: 'spans.expiry_ns missing' },
  { why: 'missing buckets', text: edit(/^buckets_bytes.*$/m, ''), fault: 'histogram.buckets_bytes missing' },
  { why: 'too small for metricsd itself', text: edit('max_series_total = 256', 'max_series_total = 12'), fault: 'metrics.max_series_total too_small' },
  { why: 'buckets not ascending', text: edit('[1_000_000, 5_000_000', '[5_000_000, 1_000_000'), fault: 'histogram.buckets_ns not_ascending' },
  { why: 'two equal buckets', text: edit('[1_000_000, 5_000_000', '[5_000_000, 5_000_000'), fault: 'histogram.buckets_ns not_ascending' },
  { why: 'a bucket of zero', text: edit('[1_000_000, 5_000_000', '[0, 5_000_000'), fault: 'histogram.buckets_ns zero' },
  { why: 'no bucket', text: edit(/^buckets_ns.*$/m, 'buckets_ns = []'), fault: 'histogram.buckets_ns zero' },
  { why: '16 buckets', text: edit(/^buckets_ns.*$/m, `buckets_ns = [${Array.from({ length: 16 }, (_none, i) => i + 1).join(', ')}]`), fault: null },
  { why: '17 buckets', text: edit(/^buckets_ns.*$/m, `buckets_ns = [${Array.from({ length: 17 }, (_none, i) => i + 1).join(', ')}]`), fault: 'histogram.buckets_ns over_maximum' },
  { why: 'a bucket above i64', text: edit(/^buckets_ns.*$/m, 'buckets_ns = [9_223_372_036_854_775_808]'), fault: 'histogram.buckets_ns over_maximum' },
  { why: 'a number above u64', text: edit('max_labels = 8', 'max_labels = 18_446_744_073_709_551_616'), fault: ' syntax' },
  { why: 'buckets as a number', text: edit(/^buckets_ns.*$/m, 'buckets_ns = 5'), fault: 'histogram.buckets_ns wrong_type' },
  { why: 'the same key twice', text: edit('max_labels = 8', 'max_labels = 8\nmax_labels = 8'), fault: ' syntax' },
  { why: 'the same table twice', text: `${base.slice(0, base.indexOf('# One scrape'))}\n[spans]\nexpiry_ns = 5\n`, fault: ' syntax' },
  { why: 'no equals', text: edit('max_labels = 8', 'max_labels 8'), fault: ' syntax' },
  { why: 'half a number', text: edit('max_labels = 8', 'max_labels = 8_'), fault: ' syntax' },
  { why: 'a leading zero', text: edit('max_labels = 8', 'max_labels = 08'), fault: ' syntax' },
  { why: 'a negative number', text: edit('max_labels = 8', 'max_labels = -8'), fault: ' syntax' },
  { why: 'an open table', text: edit('[spans]', '[spans'), fault: ' syntax' },
  { why: 'an open array', text: `${base}\n[[sender]]\nname = "x"\nmax_series = [1`, fault: ' syntax' },
  { why: 'rest after a value', text: edit('max_labels = 8', 'max_labels = 8 8'), fault: ' syntax' },
  { why: 'sender without name first', text: `${base}\n[[sender]]\nmax_series = 1\nname = "x"\n`, fault: 'sender.max_series name_first' },
  { why: 'sender without a limit', text: `${base}\n[[sender]]\nname = "x"\n`, fault: 'sender missing' },
  { why: 'empty sender', text: `${base}\n[[sender]]\n`, fault: 'sender missing' },
  { why: 'sender twice', text: `${base}\n[[sender]]\nname = "dcgmd"\nmax_series = 1\n`, fault: 'sender.name duplicate_name' },
  { why: 'unknown sender key', text: `${base}\n[[sender]]\nname = "x"\nmax_labels = 1\n`, fault: 'sender.max_labels unknown_key' },
  { why: 'sender limit above the maximum', text: `${base}\n[[sender]]\nname = "x"\nmax_series = 4_097\n`, fault: 'sender.max_series over_maximum' },
  { why: 'sender name of 32 bytes', text: `${base}\n[[sender]]\nname = "${'x'.repeat(32)}"\nmax_series = 1\n`, fault: 'sender.name over_maximum' },
  { why: 'sender name as a number', text: `${base}\n[[sender]]\nname = 1\nmax_series = 1\n`, fault: 'sender.name wrong_type' },
  { why: 'empty file', text: '', fault: 'metrics.max_series_total missing' },
  { why: 'a file above its limit', text: base + '#'.repeat(8192), fault: ' file_too_long' },
];

/** A script that sends nothing. */
function* nothing(): Generator<never, void, never> {}

/** What metricsd says: null when it serves, else its console line taken apart. */
async function guestFault(text: string): Promise<{ key: string; reason: string; line: number } | null> {
  const wasm = await buildModule('metricsd');
  const host = new Host({ name: 'metricsd', wasm, files: { [`${RECIPES}/metrics.toml`]: Buffer.from(text) }, peers: { logd: new LogPeer().peer } });
  try {
    host.run(nothing);
  } catch (error) {
    assert.ok(error instanceof ModuleEnd && error.message === 'exit 1', String(error));
    assert.equal(host.console.length, 1);
    const found = /^metricsd: FAIL recipe (\S+) (\S+) line (\d+)$/.exec(host.console[0]!);
    assert.ok(found, host.console[0] ?? "");
    return { key: found[1]!, reason: found[2]!, line: Number(found[3]) };
  }
  assert.deepEqual(host.console, []);
  return null;
}

const SEMANTIC = new Set(['unknown_key', 'unknown_table', 'wrong_type', 'zero', 'over_maximum', 'missing', 'not_ascending', 'too_small', 'name_first', 'duplicate_name']);

test('guest and build agree on every file of the table', async () => {
  for (const { why, text, fault } of table) {
    const host = recipeFault(text, abi);
    assert.equal(host === null ? null : `${host.key} ${host.reason}`, fault, `build: ${why}`);
    const guest = await guestFault(text);
    if (fault === null) {
      assert.equal(guest, null, `guest: ${why}`);
    } else if (fault === ' syntax') {
      assert.ok(guest && (!SEMANTIC.has(guest.reason) || ['duplicate_name', 'over_maximum'].includes(guest.reason)), `guest: ${why}: ${guest?.reason}`);
    } else {
      const said = guest && `${guest.reason === 'file_too_long' ? '' : guest.key} ${guest.reason}`;
      assert.equal(said, fault, `guest: ${why}`);
    }
  }
});

test('the guest names the line of the fault', async () => {
  for (const [text, part] of [[edit('max_labels = 8', 'max_lables = 8'), 'max_lables'], [edit('[spans]', '[spams]'), '[spams]'], [edit('ttl_ns = 1_000_000_000', 'ttl_ns = 0'), 'ttl_ns']] as const) {
    assert.equal((await guestFault(text))!.line, lineOf(text, part), part);
  }
});

test('every recipe of the image passes both checks', async () => {
  const names = readdirSync(join(ROOT, 'image', RECIPES)).filter((name) => name.endsWith('.toml'));
  assert.ok(names.includes('metrics.toml') && names.includes('gpu.toml') && names.includes('bench.toml'));
  for (const name of names) {
    const text = recipeFile(name.slice(0, -5)).toString('utf8');
    assert.equal(recipeFault(text, abi), null, name);
    assert.equal(await guestFault(text), null, name);
  }
});

test('the boot argument chooses the recipe; what is not there or badly named is refused', async () => {
  const small = recipeWith({ max_metric_name_len: '4' });
  const files = { [`${RECIPES}/metrics.toml`]: recipeFile('metrics'), [`${RECIPES}/small.toml`]: small };
  const m = await metricsd(recipeFile('metrics'), { files, bootArgs: { recipe: 'small' } });
  run(m, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('four', 1), 'ok');
    yield* expect(host, 'timed', counter('fives', 1), 'over_limit');
    const { body } = yield* expect(host, 'timed', plain(OP.limits), 'ok');
    const lines = body.toString('latin1', 6, 6 + body.readUInt16LE(4)).split('\n');
    assert.equal(lines.length, 30);
    assert.ok(lines.includes('wire.max_metric_name_len=4') && lines.includes('spans.expiry_ns=5000000000'));
  });
  for (const [recipe, line] of [['none', 'none not_in_bundle'], ['../x', 'bad_recipe_name'], ['x'.repeat(33), 'bad_recipe_name']] as const) {
    const bad = await metricsd(recipeFile('metrics'), { files, bootArgs: { recipe } });
    assert.throws(() => run(bad, nothing), ModuleEnd);
    assert.ok(bad.host.console[0]!.includes(line), bad.host.console[0] ?? "");
  }
});

test('the shipped default recipe at its own numbers: a sender has exactly max_series_per_sender series and not one more', async () => {
  const text = base;
  const shipped = (key: string): number => Number(new RegExp(`^${key} = ([0-9_]+)$`, 'm').exec(text)![1]!.replaceAll('_', ''));
  const [perSender, perMetric, events] = [shipped('max_series_per_sender'), shipped('max_series_per_metric'), shipped('max_events_per_window')];
  const m = await metricsd();
  run(m, function* (host): Steps<void> {
    const nth = (n: number): Buffer => counter(`m${Math.floor(n / perMetric)}`, 1, `n=${n}`);
    for (let n = 0; n < perSender; n++) {
      if (n > 0 && n % (events / 2) === 0) host.advance(shipped('rate_window_ns'));
      yield* expect(host, 'timed', nth(n), 'ok', `series ${n + 1}`);
    }
    host.advance(2 * shipped('rate_window_ns'));
    const before = yield* stats(host);
    yield* expect(host, 'timed', counter('fresh', 1), 'over_limit', 'one more, of a metric of its own');
    const after = yield* stats(host);
    assert.deepEqual([after.over_limit - before.over_limit, after.accepted - before.accepted], [1n, 1n], 'one refusal; the stats call is the one accepted');
    yield* expect(host, 'timed', nth(0), 'ok', 'a series that is held still counts');
    yield* expect(host, 'rngd', counter('fresh', 1), 'ok', 'the cap is per sender');
    const { records } = yield* registry(host);
    const of = (name: string): typeof records => records.filter(({ sender }) => sender === senderId(name));
    assert.deepEqual([of('timed').length, of('rngd').length], [perSender, 1]);
    assert.equal(of('timed').reduce((sum, { value }) => sum + Number(value), 0), perSender + 1);
  });
});
