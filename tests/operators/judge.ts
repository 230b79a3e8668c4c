// SPDX-License-Identifier: Apache-2.0
// Owns: promtool's verdict on a played node: which alerts fired on which GPU at any time, and whether a query found something at the end.
// Invariant: the alerts are the shipping rules, and exactly the expected ones may fire. Limits: the series of the rules and the query alone;
// `up` and `vigil_ready` are a healthy machine's, and the guest's own series are absent, as they are until there is something to count.
// Not a test by itself.
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { stringify } from 'yaml';
import { parseQuery } from './promql.js';
import { promtool } from './promtool.js';
import { FOLDER, alertRules } from './rules.js';
import { inputSeries, type Played } from './scripted-node.js';

export interface Fired { readonly alertname: string; readonly gpu: string }

/** Without `query` the alerts alone are judged; with it, it must find something exactly when an alert is expected. */
export function judge(context: TestContext, played: Played, fired: readonly Fired[], query?: string): { status: number | null; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-replay-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  copyFileSync(join(FOLDER, 'alerts.yaml'), join(folder, 'alerts.yaml'));
  const queries = [...(query === undefined ? [] : [query]), ...alertRules().map(({ expr }) => expr)];
  const named = new Set(queries.flatMap((expr) => parseQuery(expr).selectors.map(({ metric }) => metric)));
  const healthy = (name: string, value: number): object => ({ series: `${name}{instance="node-1",job="vigil"}`, values: `${value}x${played.scrapes}` });
  const end = `${(played.scrapes - 1) * played.intervalS}s`;
  const tests = [
    { expr: `max by (alertname, hw_gpu_index) (max_over_time(ALERTS{alertstate="firing"}[${end}]))`, eval_time: end,
      exp_samples: fired.map(({ alertname, gpu }) => ({ labels: `{alertname="${alertname}",hw_gpu_index="${gpu}"}`, value: 1 })) },
    ...(query === undefined ? [] : [{ expr: `(count(${query}) > bool 0) or vector(0)`, eval_time: end, exp_samples: [{ labels: '{}', value: fired.length > 0 ? 1 : 0 }] }]),
  ];
  writeFileSync(join(folder, 'test.yaml'), stringify({
    rule_files: ['alerts.yaml'], evaluation_interval: `${played.intervalS}s`,
    tests: [{
      interval: `${played.intervalS}s`, promql_expr_test: tests,
      input_series: [healthy('up', 1), healthy('vigil_ready', 1), ...played.tracks.filter(({ name }) => named.has(name)).map(inputSeries)],
    }],
  }, { lineWidth: 0 }));
  return promtool(['test', 'rules', 'test.yaml'], folder);
}
