// SPDX-License-Identifier: Apache-2.0
// The alert rules: names and labels that exist, a runbook entry each, no dwell doubled, and promtool's own verdict.
// Invariant: every alert has one case in which it fires and one in which it does not (alerts.test.yaml).
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { ROOT } from '../../scripts/lib/paths.js';
import { knownFamilies } from './families.js';
import { anchors } from './headings.js';
import { parseQuery, seconds } from './promql.js';
import { promtool, promtoolMissing } from './promtool.js';
import { FOLDER, alertRules, parseRules, type Rule } from './rules.js';

const RUNBOOK = 'docs/operators/RUNBOOK.md';
const runbook = readFileSync(join(ROOT, RUNBOOK), 'utf8');
const rules = alertRules();

/** Ranges that are waits: a rule whose `for` equals one of them waits twice. */
function doubled({ expr, for: dwell }: Rule): string[] {
  if (dwell === undefined) return [];
  return parseQuery(expr).windows.filter(({ window }) => seconds(window) === seconds(dwell)).map(({ fn, window }) => `${fn}[${window}]`);
}

test('alert names are one each, and every one has a heading in the runbook and the link to it', () => {
  const names = rules.map(({ alert }) => alert);
  assert.equal(new Set(names).size, names.length);
  const known = anchors(runbook);
  for (const { alert, annotations } of rules) {
    assert.equal(annotations.runbook_url, `${RUNBOOK}#${alert.toLowerCase()}`);
    assert.ok(known.has(alert.toLowerCase()), `${RUNBOOK} has no heading ${alert}`);
  }
  const written = [...runbook.matchAll(/^### ((?:Vigil|Gpu)[A-Za-z]+)$/gm)].map(([, name]) => name!);
  assert.deepEqual(written.sort(), [...names].sort(), 'the runbook explains alerts that exist, and no other');
});

test('every metric and label of a rule exists', () => {
  const families = knownFamilies();
  for (const { alert, expr } of rules) {
    const { selectors, grouped } = parseQuery(expr);
    assert.ok(selectors.length > 0, alert);
    const all = new Set(selectors.flatMap(({ metric }) => [...(families.get(metric)?.labels ?? [])]));
    for (const { metric, labels } of selectors) {
      const family = families.get(metric);
      assert.ok(family, `${alert}: no metric ${metric}`);
      for (const label of labels.keys()) assert.ok(family.labels.has(label), `${alert}: ${metric} has no label ${label}`);
    }
    for (const label of grouped) assert.ok(all.has(label), `${alert}: no metric of the rule has a label ${label}`);
  }
});

test('labels of the summaries survive the rule\'s aggregation', () => {
  for (const { alert, expr, annotations } of rules) {
    const by = /^(?:sum|max|count) by \(([^)]*)\)/.exec(expr.trim())?.[1]?.split(', ');
    for (const [, label] of annotations.summary.matchAll(/\$labels\.(\w+)/g)) {
      if (by !== undefined) assert.ok(by.includes(label ?? ''), `${alert}: ${label} is aggregated away`);
    }
  }
});

test('no rule waits twice: a range window with a `for` of the same length', () => {
  for (const rule of rules) assert.deepEqual(doubled(rule), [], rule.alert);
  const bad = 'groups: [{ name: g, rules: [{ alert: A, expr: "increase(x[5m]) > 1", for: 300s, labels: { severity: warning }, annotations: { summary: "ten letters", runbook_url: u } }] }]';
  assert.deepEqual(doubled(parseRules(bad)[0]!), ['increase[5m]'], 'the check sees a doubled wait');
});

test('a rule about a counter looks at a range of it', () => {
  const families = knownFamilies();
  for (const { alert, expr } of rules) {
    const { selectors, windows } = parseQuery(expr);
    const counted = selectors.some(({ metric }) => families.get(metric)?.instrument === 'counter');
    assert.ok(!counted || windows.length > 0, `${alert} compares a counter as it is`);
  }
});

test('alerts.test.yaml has a firing and a quiet case for every alert', () => {
  interface Case { name: string; alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }
  const { tests } = parse(readFileSync(join(FOLDER, 'alerts.test.yaml'), 'utf8')) as { tests: Case[] };
  for (const { alert } of rules) {
    const own = tests.flatMap(({ alert_rule_test: cases }) => cases).filter(({ alertname }) => alertname === alert);
    assert.ok(own.some(({ exp_alerts: expected }) => expected.length > 0), `${alert} never fires in a test`);
    assert.ok(own.some(({ exp_alerts: expected }) => expected.length === 0), `${alert} never stays quiet in a test`);
  }
});

test('promtool accepts the rules and the scrape example', { skip: promtoolMissing }, () => {
  for (const args of [['check', 'rules', 'alerts.yaml'], ['check', 'config', 'scrape.example.yaml']]) {
    const { status, output } = promtool(args, FOLDER);
    assert.equal(status, 0, output);
  }
});

test('promtool runs the rule tests, and a wrong threshold turns them red', { skip: promtoolMissing }, (context) => {
  const { status, output } = promtool(['test', 'rules', 'alerts.test.yaml'], FOLDER);
  assert.equal(status, 0, output);
  const folder = mkdtempSync(join(tmpdir(), 'vigil-rules-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'alerts.yaml'), readFileSync(join(FOLDER, 'alerts.yaml'), 'utf8').replace('[5m])) > 5', '[5m])) > 500'));
  writeFileSync(join(folder, 'alerts.test.yaml'), readFileSync(join(FOLDER, 'alerts.test.yaml')));
  const red = promtool(['test', 'rules', 'alerts.test.yaml'], folder);
  assert.notEqual(red.status, 0);
  assert.match(red.output, /VigilReceiverHighErrorRate fires/);
});
