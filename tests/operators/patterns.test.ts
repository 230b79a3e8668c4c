// SPDX-License-Identifier: Apache-2.0
// Each pattern page has its seven sections, and its replay is played through the receiver: the metrics of the page's signal change on the
// failing GPU and nowhere else, its query finds it, its alerts fire and no others, and a healthy node shows nothing.
// Limits: the last two with promtool alone.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseConfig } from '../../runtime/config/load.js';
import type { Config } from '../../runtime/config/schema.js';
import { prometheusName } from '../../scripts/docs/metric-tables.js';
import { gpuMetrics } from '../../runtime/export/gpu-metrics.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { knownFamilies } from './families.js';
import { section } from './headings.js';
import { blocks, read } from './pages.js';
import { parseQuery } from './promql.js';
import { promtoolMissing } from './promtool.js';
import { alertRules } from './rules.js';
import { judge } from './judge.js';
import { play, type Played } from './scripted-node.js';

const PAGES = 'docs/operators/patterns';
const SECTIONS = ['Symptom', 'Why', 'Signal', 'Query', 'Alert', 'Escalation', 'Replay'];
const MINUTES = 12;
/** Seen on hardware; the scripted node does not slow its PCIe down. */
const NOT_SCRIPTED: Readonly<Record<string, string>> = { 'pcie.md': 'hw.gpu.io' };

/** The failing GPU, the alerts that a replay fires, and those that its page names and the replay does not reach. */
const EXPECTED: Readonly<Record<string, { gpu: string; fires: readonly string[]; besides?: readonly string[]; notReached?: readonly string[] }>> = {
  'nvlink.md': { gpu: '2', fires: ['GpuNvlinkErrors', 'GpuNvlinkSilentLoss'] },
  'hbm-ecc.md': { gpu: '3', fires: ['GpuEccCorrectedRising', 'GpuEccUncorrected', 'GpuRowRemapPending', 'GpuXid'], besides: ['GpuStatusNotOk'], notReached: ['GpuRowRemapFailed'] },
  'thermal.md': { gpu: '1', fires: ['GpuThermalThrottle'] },
  'pcie.md': { gpu: '4', fires: ['GpuPcieErrors'] },
};

function configOf(page: string): Config {
  const [toml] = blocks(section(page, 'Replay'), 'toml');
  const loaded = parseConfig(toml!);
  if (!('config' in loaded)) throw new Error(JSON.stringify(loaded.errors));
  return loaded.config;
}

/** A page's replay, or the same node well; played once. */
const plays = new Map<string, Promise<Played>>();
function played(page: string, scenario?: string): Promise<Played> {
  const config = configOf(page);
  const key = `${scenario ?? config.source.scenario}/${JSON.stringify(config.receivers)}`;
  if (!plays.has(key)) plays.set(key, play(config, MINUTES * 60, scenario));
  return plays.get(key)!;
}

/** GPUs on which a family of `names` ends with another value in `a` than in `b`. */
function changed(a: Played, b: Played, names: readonly string[]): Set<string> {
  const last = (played: Played): Map<string, number | null> => new Map(played.tracks.filter(({ name }) => names.includes(name))
    .map(({ name, labels, values }) => [`${name}${JSON.stringify(labels)}`, values.at(-1)!]));
  const [one, other] = [last(a), last(b)];
  const keys = [...new Set([...one.keys(), ...other.keys()])].filter((key) => one.get(key) !== other.get(key));
  return new Set(keys.map((key) => (JSON.parse(key.slice(key.indexOf('{'))) as Record<string, string>)['hw_gpu_index']!));
}

test('there is one page a pattern, and each is expected here', () => {
  const pages = readdirSync(join(ROOT, PAGES)).filter((name) => name !== 'README.md');
  assert.deepEqual(pages.sort(), Object.keys(EXPECTED).sort());
});

for (const [name, { gpu, fires, besides = [], notReached = [] }] of Object.entries(EXPECTED)) {
  const page = read(`${PAGES}/${name}`);
  const [query] = blocks(section(page, 'Query'), 'promql');
  const fired = [...fires, ...besides].sort().map((alertname) => ({ alertname, gpu }));

  test(`${name}: seven sections, a query of metrics that exist, alerts that exist`, () => {
    assert.deepEqual([...page.matchAll(/^## (.+)$/gm)].map(([, title]) => title), SECTIONS);
    for (const title of SECTIONS) assert.ok(section(page, title).trim().length > 40, title);
    for (const { metric, labels } of parseQuery(query!).selectors) {
      for (const label of labels.keys()) assert.ok(knownFamilies().get(metric)!.labels.has(label), `${metric}: ${label}`);
    }
    const alerts = [...section(page, 'Alert').matchAll(/`(Gpu\w+)`/g)].map(([, alert]) => alert!);
    assert.deepEqual(alerts.sort(), [...fires, ...notReached].sort());
    for (const alert of alerts) assert.ok(alertRules().some((rule) => rule.alert === alert), alert);
  });

  test(`${name}: the replay changes the metrics of the signal, on GPU ${gpu} alone`, async () => {
    const signal = gpuMetrics.filter((metric) => section(page, 'Signal').includes(`\`${metric.name}\``));
    const [sick, well] = [await played(page), await played(page, 'steady')];
    assert.ok(signal.length > 0);
    assert.equal(sick.tallies.reduce((sum, { dropped }) => sum + dropped, 0), 0, 'the cap drops nothing of what the page needs');
    for (const metric of signal.filter((one) => one.name !== NOT_SCRIPTED[name])) {
      assert.deepEqual([...changed(sick, well, [prometheusName(metric)])], [gpu], metric.name);
    }
  });

  test(`${name}: its query and alerts see the replay`, { skip: promtoolMissing }, async (context) => {
    const { status, output } = judge(context, await played(page), fired, query);
    assert.equal(status, 0, output.slice(0, 4000));
  });

  test(`${name}: a healthy node shows nothing, and promtool would have seen it`, { skip: promtoolMissing }, async (context) => {
    const well = await played(page, 'steady');
    const { status, output } = judge(context, well, [], query);
    assert.equal(status, 0, output.slice(0, 4000));
    assert.notEqual(judge(context, well, fired, query).status, 0);
  });
}

/** Scenarios without a page of their own: what fires, and that an engine which comes and goes wakes nobody. */
const OTHERS: readonly { fleet: string; scenario: string; fired: readonly { alertname: string; gpu: string }[] }[] = [
  { fleet: 'h100x8', scenario: 'xid', fired: [{ alertname: 'GpuXid', gpu: '0' }] },
  // Its XID 79 stands for 2 s, between two scrapes: docs/operators/failure-modes.md.
  { fleet: 'h100x8', scenario: 'gpu-lost', fired: [{ alertname: 'GpuGone', gpu: '7' }] },
  { fleet: 'h100x8', scenario: 'engine-restart', fired: [] },
  { fleet: 'a100-mig', scenario: 'mig-reconfigured', fired: [] },
  { fleet: 'consumer', scenario: 'steady', fired: [] },
];
for (const { fleet, scenario, fired } of OTHERS) {
  test(`${fleet}, ${scenario}: ${fired.map(({ alertname }) => alertname).join(', ') || 'no alert'}`, { skip: promtoolMissing }, async (context) => {
    const loaded = parseConfig(`[source]\nkind = "replay"\nfleet = "${fleet}"\nscenario = "${scenario}"\n`);
    assert.ok('config' in loaded);
    const { status, output } = judge(context, await play(loaded.config, MINUTES * 60), fired);
    assert.equal(status, 0, output.slice(0, 4000));
  });
}
