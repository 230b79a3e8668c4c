// SPDX-License-Identifier: Apache-2.0
// What the operators' pages name exists: series, configuration keys, configurations as a whole, commands and their options, tests.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { KNOBS, SETTABLE, TABLES } from '../../runtime/config/knobs.js';
import { loadConfig } from '../../runtime/config/load.js';
import { gpuMetrics, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { selfMetrics } from '../../runtime/export/self-metrics.js';
import { buildProgram } from '../../scripts/command/program.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { knownFamilies } from './families.js';
import { section } from './headings.js';
import { blocks, codes, everyText, operatorPages, read } from './pages.js';

const everyCode = everyText().flatMap(({ path, text }) => codes(text).map((code) => ({ path, code })));

test('every Prometheus name in a page is a family of ours', () => {
  const families = knownFamilies();
  const values = gpuPoints.flatMap(({ attributes }) => Object.values(attributes));
  const labels = new Set([...[...families.values()].flatMap((family) => [...family.labels]), ...values]);
  for (const { path, code } of everyCode) {
    for (const [name] of code.matchAll(/(?<![\w.{])(?:hw|vigil)_[a-z0-9_]+(?![\w(])/g)) {
      if (code.includes(`${name}*`)) continue;
      assert.ok(families.has(name) || families.has(`${name}_bucket`) || labels.has(name), `${path}: ${name}`);
    }
  }
});

test('every OpenTelemetry name of ours in a page is in the tables', () => {
  const known = new Set<string>([...gpuMetrics, ...selfMetrics].map(({ name }) => name));
  for (const { path, code } of everyCode) {
    if (/^vigil\.(receiver|export|otlp|guest|source\.|sample|ready|http|exporter|self|build|process|attribution|control)[a-z_.]*$/.test(code)) assert.ok(known.has(code), `${path}: ${code}`);
    if (/^hw\.gpu\.(nvlink|xid|throttle|clock|row_remap|retired_pages|pipe)\.?(io|errors|duration|frequency|state|pending|utilization)$/.test(code)) assert.ok(known.has(code), `${path}: ${code}`);
  }
});

test('the four names proposed upstream are metrics that the conventions lack', () => {
  const proposed = [...read('docs/operators/semconv.md').matchAll(/^## `(.+)`$/gm)].map(([, name]) => name);
  assert.deepEqual(proposed.sort(), ['hw.gpu.clock.frequency', 'hw.gpu.nvlink.io', 'hw.gpu.throttle.duration', 'hw.gpu.xid.errors']);
  for (const name of proposed) assert.equal(gpuMetrics.find((metric) => metric.name === name)?.semconv, false);
});

/** configuration.md shows wrong keys on purpose; tests/config/docs.test.ts holds it to the table. */
test('every configuration key in a page is one', () => {
  const switches = SETTABLE.map(({ name }) => `receivers.dcgm.metric_field_groups.${name}`);
  const known = new Set<string>([...switches, ...Object.keys(KNOBS), ...Object.keys(TABLES), ...Object.keys(KNOBS).map((key) => key.split('.').slice(0, -1).join('.'))]);
  for (const { path, code } of everyCode.filter((one) => !one.path.endsWith('configuration.md'))) {
    for (const [key] of code.matchAll(/(?<![\w./-])(?:source|receivers\.dcgm|exporters\.(?:otlp|prometheus)|attribution\.\w+|guest)\.[a-z_.]+[a-z]/g)) {
      assert.ok(known.has(key), `${path}: ${key}`);
    }
    for (const [, key] of code.matchAll(/^\[([a-z_.]+)\]$/gm)) assert.ok(known.has(key!), `${path}: [${key}]`);
  }
});

test('every configuration that a page shows is accepted', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-docs-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'vigil.toml');
  let shown = 0;
  for (const { path, text } of operatorPages().filter((page) => !page.path.endsWith('configuration.md'))) {
    for (const block of blocks(text, 'toml')) {
      writeFileSync(file, block);
      const loaded = loadConfig(file);
      assert.ok('config' in loaded, `${path}: ${JSON.stringify(loaded)}`);
      shown++;
    }
  }
  assert.ok(shown >= 6);
});

/** Every `vigil` command by its words, with its options. */
function commands(program: Command): Map<string, Set<string>> {
  const out = new Map<string, Set<string>>();
  const visit = (command: Command, words: string[]): void => {
    out.set(words.join(' '), new Set(command.options.flatMap(({ long, short }) => [long ?? '', short ?? ''])));
    for (const child of command.commands) visit(child, [...words, child.name()]);
  };
  visit(program, []);
  return out;
}

test('every `vigil` command in a page exists, with its options', async () => {
  const known = commands(await buildProgram(() => undefined));
  const template = read('.github/ISSUE_TEMPLATE/gpu-telemetry.yml');
  const all = [...everyCode, ...codes(template).map((code) => ({ path: 'gpu-telemetry.yml', code }))];
  let found = 0;
  for (const { path, code } of all) {
    for (const [line, rest] of code.matchAll(/(?:^|\s|`)vigil ((?:--?)?[a-z][^\n|#>;`]*)/gm)) {
      const words = rest!.trim().split(/\s+/);
      if (words[0] === '--version') continue;
      const at = known.has(words.slice(0, 2).join(' ')) ? 2 : 1;
      const options = known.get(words.slice(0, at).join(' '));
      assert.ok(options, `${path}: ${line.trim()}`);
      for (const option of words.filter((word) => word.startsWith('-'))) assert.ok(options.has(option), `${path}: ${line.trim()}: no ${option}`);
      found++;
    }
  }
  assert.ok(found > 10);
});

test('the quickstart has at most five commands', () => {
  const [quickstart] = blocks(section(read('README.md'), 'For operators of GPU nodes'), '');
  const lines = quickstart!.trim().split('\n');
  assert.ok(lines.length <= 5);
  for (const line of lines) assert.match(line, /^(npm|npx|cp) /);
  for (const [, file] of quickstart!.matchAll(/cp (\S+)/g)) assert.ok(existsSync(join(ROOT, file!)), String(file));
});

test('every test that failure-modes.md names exists', () => {
  const rows = [...read('docs/operators/failure-modes.md').matchAll(/\| (tests\/[\w/.-]+\.test\.ts): ([^|]*?) ?\|$/gm)];
  assert.ok(rows.length > 20);
  for (const [, file, title] of rows) {
    assert.ok(existsSync(join(ROOT, file!)), String(file));
    assert.ok(title !== '', `${file}: names no test`);
    const text = read(file!).replaceAll('\\\'', '\'');
    assert.ok(['\'', '`', '"'].some((quote) => text.includes(`test(${quote}${title}`)), `${file}: no test "${title}"`);
  }
});

test('the issue form asks for what is needed', () => {
  interface Field { type: string; id?: string; attributes: { label?: string; options?: string[] } }
  const { body } = parse(read('.github/ISSUE_TEMPLATE/gpu-telemetry.yml')) as { body: Field[] };
  const ids = body.flatMap(({ id }) => (id === undefined ? [] : [id]));
  assert.deepEqual(ids, ['what', 'version', 'gpus', 'driver', 'libdcgm', 'kernel', 'mig', 'source', 'config', 'dump', 'doctor', 'logs']);
  assert.equal(new Set(body.map(({ attributes }) => attributes.label)).size, body.length);
});
