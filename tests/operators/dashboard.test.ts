// SPDX-License-Identifier: Apache-2.0
// The Grafana dashboard: every query parses and names metrics and labels that exist, panels have units, the source is shown.
// Invariant: nothing is tied to one Grafana: every data source is the variable. Limits: Grafana itself is not run.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { knownFamilies } from './families.js';
import { parseQuery, plainQuery } from './promql.js';

interface Source { type: string; uid: string }
interface Panel {
  id: number; type: string; title: string; datasource?: Source; gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig?: { defaults: { unit?: string } }; targets?: { expr: string; legendFormat: string; datasource: Source; format?: string }[];
}
interface Variable { name: string; type: string; query: string | { query: string } }
const board = JSON.parse(readFileSync(join(ROOT, 'deploy/grafana/vigil-gpu.json'), 'utf8')) as
  { title: string; uid: string; panels: Panel[]; templating: { list: Variable[] } };
const panels = board.panels.filter(({ type }) => type !== 'row');
const families = knownFamilies();

/** Metrics of a query; checks every name and label in it. */
function checked(where: string, query: string): string[] {
  const { selectors, grouped } = parseQuery(plainQuery(query));
  const known = new Set(selectors.flatMap(({ metric }) => [...(families.get(metric)?.labels ?? [])]));
  for (const { metric, labels } of selectors) {
    assert.ok(families.has(metric), `${where}: no metric ${metric}`);
    for (const label of labels.keys()) assert.ok(families.get(metric)!.labels.has(label), `${where}: ${metric} has no label ${label}`);
  }
  for (const label of grouped) assert.ok(known.has(label), `${where}: no label ${label}`);
  return selectors.map(({ metric }) => metric);
}

test('every query names metrics and labels that exist', () => {
  for (const { title, targets = [] } of panels) {
    assert.ok(targets.length > 0, title);
    for (const { expr } of targets) assert.ok(checked(title, expr).length > 0, title);
  }
  assert.throws(() => checked('a query of a metric that is not there', 'rate(hw_gpu_bogus_total[5m])'), /no metric/);
  assert.throws(() => checked('a label that is not there', 'hw_power_watts{flavour="x"}'), /no label flavour/);
});

test('labels of a legend are labels of its query\'s result', () => {
  for (const { title, targets = [] } of panels) {
    for (const { expr, legendFormat } of targets) {
      const { selectors, grouped } = parseQuery(plainQuery(expr));
      const left = grouped.length > 0 ? new Set(grouped) : families.get(selectors[0]!.metric)!.labels;
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(left.has(label!), `${title}: legend names ${label}`);
    }
  }
});

test('every panel has a unit and a place of its own, and asks the variable data source', () => {
  assert.equal(new Set(board.panels.map(({ id }) => id)).size, board.panels.length);
  for (const panel of panels) {
    assert.ok(panel.fieldConfig?.defaults.unit, `${panel.title} has no unit`);
    for (const { uid, type } of [panel.datasource!, ...panel.targets!.map(({ datasource }) => datasource)]) {
      assert.deepEqual({ uid, type }, { uid: '${datasource}', type: 'prometheus' }, panel.title);
    }
    const { x, y, w, h } = panel.gridPos;
    assert.ok(x + w <= 24, panel.title);
    const over = panels.filter(({ id, gridPos: g }) => id !== panel.id && g.x < x + w && x < g.x + g.w && g.y < y + h && y < g.y + g.h);
    assert.deepEqual(over.map(({ title }) => title), [], panel.title);
  }
});

/** Grafana's units for a metric's unit: of the value, and of its rate. What is counted (`{error}`, no unit) is short or a rate. */
const UNITS: Readonly<Record<string, { value: readonly string[]; rate: readonly string[] }>> = {
  'By': { value: ['bytes'], rate: ['Bps'] }, 'Cel': { value: ['celsius'], rate: [] }, 'W': { value: ['watt'], rate: [] },
  'J': { value: ['joule'], rate: ['watt'] }, 'Hz': { value: ['hertz'], rate: [] }, 's': { value: ['s'], rate: ['percentunit'] },
  '1': { value: ['percentunit', 'short'], rate: [] },
};
const COUNTED = { value: ['short', 'bool_yes_no'], rate: ['cps'] };

test('a panel\'s unit fits its metric: a rate of bytes is bytes a second, a share is a percentage', () => {
  for (const { title, fieldConfig, targets = [] } of panels) {
    for (const { expr } of targets) {
      const { selectors, windows } = parseQuery(plainQuery(expr));
      const fits = UNITS[families.get(selectors[0]!.metric)?.unit ?? ''] ?? COUNTED;
      const share = / \/ /.test(expr);
      const counted = /^count\b/.test(expr);
      const wanted = share ? ['percentunit'] : counted ? ['short'] : windows.some(({ fn }) => fn === 'rate') ? fits.rate : fits.value;
      assert.ok(wanted.includes(fieldConfig!.defaults.unit!), `${title}: ${fieldConfig!.defaults.unit} for ${expr}`);
    }
  }
});

test('who looks at a value of a GPU sees its source', () => {
  for (const { title, targets = [] } of panels) {
    for (const { expr, legendFormat, format } of targets) {
      const gpu = parseQuery(plainQuery(expr)).selectors.some(({ metric }) => metric.startsWith('hw_'));
      const counted = expr.startsWith('count(');
      if (gpu && !counted && format !== 'table') assert.match(legendFormat, /\{\{source\}\}/, title);
      if (gpu) assert.match(expr, /source=~"\$source"/, title);
    }
  }
});

test('the variables are data source, node, source and GPU, and theirs are queries of metrics that exist', () => {
  assert.deepEqual(board.templating.list.map(({ name }) => name), ['datasource', 'instance', 'source', 'gpu']);
  for (const { name, query } of board.templating.list.slice(1)) {
    const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec((query as { query: string }).query)!;
    const [metric] = checked(name, selector!);
    assert.ok(families.get(metric!)!.labels.has(label!), `${name}: ${metric} has no label ${label}`);
  }
});

test('every metric that is on by default is on the dashboard or listed as left out', () => {
  const leftOut = new Set(['hw_gpu_memory_limit_bytes']);
  const shown = new Set(panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => parseQuery(plainQuery(expr)).selectors.map(({ metric }) => metric))));
  const optional = /^hw_gpu_(retired_pages|pipe_|memory_copy)|^hw_temperature_limit/;
  for (const [name, { otel }] of families) {
    if (!otel.startsWith('hw.') || optional.test(name)) continue;
    assert.ok(shown.has(name) !== leftOut.has(name), name);
  }
});
