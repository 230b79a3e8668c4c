// SPDX-License-Identifier: Apache-2.0
// The live view of `vigil up`: rows from a scrape as the host decodes it, bars and sparklines, trends, and a screen that fits any
// terminal and never passes a replay off as this machine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import stringWidth from 'string-width';
import { decodeMetrics, type Resource } from '../../runtime/export/otlp/model.js';
import { CAUSES } from '../../runtime/up/lifecycle.js';
import { unitsOf } from '../../scripts/view/fleet.js';
import type { HistoryPoint } from '../../runtime/bridge/control.js';
import { WINDOW_NS, windowsOf } from '../../scripts/view/history.js';
import { bar, gib, si, span, spark } from '../../scripts/view/marks.js';
import { eventLine, summaryJson, summaryLine } from '../../scripts/view/up-glance.js';
import { blankState, EVENTS_MAX, rate, reduceUp, restartText, type Glance, type UpState } from '../../scripts/view/up-model.js';
import { unitTable } from '../../scripts/view/unit-table.js';
import { renderUp } from '../../scripts/view/up-render.js';
import { painter } from '../../scripts/view/text.js';
import { GPU0, gpuRequest, NOW_NS, type TestMetric } from '../export/requests.js';

const HISTORY_MAX = 20;
const NOW_MS = Number(NOW_NS / 1_000_000n);

const gauge = (name: string, value: number, attributes: Record<string, string> = {}): TestMetric => ({ name, points: [{ value, attributes }] });
const metricsOf = (value: number, timeNs = NOW_NS): TestMetric[] => [
  gauge('hw.gpu.utilization', value, { 'hw.gpu.task': 'general' }), gauge('hw.gpu.utilization', 0.9, { 'hw.gpu.task': 'encoder' }),
  { name: 'hw.gpu.memory.usage', kind: 'updown', points: [{ value: 40 * 2 ** 30, attributes: { 'hw.gpu.memory.state': 'used' } }, { value: 1, attributes: { 'hw.gpu.memory.state': 'free' } }] },
  { name: 'hw.gpu.memory.limit', kind: 'updown', points: [{ value: 80 * 2 ** 30 }] },
  gauge('hw.temperature', 61, { 'hw.sensor_location': 'gpu' }), gauge('hw.temperature', 99, { 'hw.sensor_location': 'memory' }),
  gauge('hw.power', 350.5), gauge('hw.gpu.clock.frequency', 1.98e9, { 'hw.gpu.clock.domain': 'sm' }),
  { name: 'hw.gpu.nvlink.io', kind: 'counter', points: [0, 1].map((link) => ({ value: 1e9 * value, timeNs, attributes: { 'hw.gpu.nvlink.link': String(link) } })) },
  { name: 'hw.errors', kind: 'counter', points: [{ value: 3, attributes: { 'error.type': 'uncorrected', 'hw.gpu.ecc.scope': 'volatile' } },
    { value: 900, attributes: { 'error.type': 'uncorrected', 'hw.gpu.ecc.scope': 'aggregate' } }] },
  { name: 'hw.gpu.xid.errors', kind: 'counter', points: [{ value: 2, attributes: { 'hw.gpu.xid': '79' } }] },
];
const instance = { ...GPU0, 'hw.gpu.mig.instance_id': '7', 'hw.id': 'MIG-7' };
const compute = { ...instance, 'hw.gpu.mig.compute_instance_id': '1', 'hw.id': 'MIG-7-1' };
const theSwitch = { 'hw.id': 'switch-0', 'hw.type': 'switch', 'hw.switch.index': '0', 'vigil.source': 'replay' };
const scrape = (value = 0.5, timeNs = NOW_NS): Resource[] => decodeMetrics(gpuRequest([
  { attributes: theSwitch, metrics: [gauge('hw.temperature', 40, { 'hw.sensor_location': 'switch' })] },
  { attributes: { ...GPU0, 'hw.gpu.index': '10', 'hw.id': 'GPU-10' }, metrics: [gauge('hw.power', 80)] },
  { attributes: instance, metrics: [{ name: 'hw.gpu.memory.usage', points: [{ value: 2 ** 30, attributes: { 'hw.gpu.memory.state': 'used' } }] }] },
  { attributes: compute, metrics: [gauge('hw.power', 1)] },
  { attributes: GPU0, metrics: metricsOf(value, timeNs) },
]));

test('a scrape as rows: GPUs in numeric order, each with its instances, then switches; what no point brought is null', () => {
  const units = unitsOf(scrape());
  assert.deepEqual(units.map(({ kind, label }) => [kind, label]), [['gpu', '0'], ['instance', '0:7'], ['compute', '0:7/1'], ['gpu', '10'], ['switch', 'switch 0']]);
  const { timeNs: _at, xids, ...first } = units[0]!;
  assert.deepEqual({ ...first, key: '' }, {
    key: '', kind: 'gpu', label: '0', id: 'GPU-0000', model: 'NVIDIA H100 80GB HBM3', source: 'replay', utilization: 0.5,
    memoryUsedBytes: 40 * 2 ** 30, memoryTotalBytes: 80 * 2 ** 30, temperatureC: 61, powerW: 350.5, clockHz: 1.98e9, nvlinkBytes: 1e9,
    pcieBytes: null, correctedErrors: null, uncorrectedErrors: 3, trouble: null,
  });
  assert.deepEqual([...xids], [['79', 2]]);
  assert.deepEqual([units[3]!.utilization, units[3]!.powerW, units[3]!.uncorrectedErrors], [null, 80, null]);
  assert.equal(units[4]!.temperatureC, 40);
});

test('parts of one entity are one row; with attribution each entity is shown once; other resources are no rows', () => {
  const parts = decodeMetrics(gpuRequest([
    { attributes: GPU0, metrics: [gauge('hw.power', 1)] }, { attributes: GPU0, metrics: [gauge('hw.temperature', 2, { 'hw.sensor_location': 'gpu' })] },
    { attributes: { 'service.name': 'vigil' }, metrics: [gauge('vigil.ready', 1)] },
  ]));
  const [unit, ...more] = unitsOf(parts);
  assert.deepEqual([unit!.powerW, unit!.temperatureC, more.length], [1, 2, 0]);
  const nvlink = (pod: string): { attributes: Record<string, string>; metrics: TestMetric[] } =>
    ({ attributes: { ...GPU0, 'k8s.pod.name': pod }, metrics: [{ name: 'hw.gpu.nvlink.io', kind: 'counter', points: [{ value: 5 }] }] });
  const shared = unitsOf(decodeMetrics(gpuRequest([nvlink('a'), nvlink('b')])));
  assert.deepEqual(shared.map(({ nvlinkBytes }) => nvlinkBytes), [5], 'a shared GPU is not counted twice');
});

test('bars, sparklines and numbers: exact widths, edges, gaps', () => {
  assert.equal(bar(0, 4), '····');
  assert.equal(bar(1, 4), '████');
  assert.equal(bar(0.5, 4), '██··');
  assert.equal(bar(1 / 32, 4), '▏···');
  assert.deepEqual([bar(-1, 2), bar(7, 2), bar(null, 2), bar(Number.NaN, 2)], ['··', '██', '  ', '  ']);
  assert.equal(spark([0, 0.5, 1], 3, 0, 1), '▁▅█');
  assert.equal(spark([1, null, 0], 5, 0, 1), '  █ ▁', 'a gap is a blank');
  assert.equal(spark([0, 1, 2, 3], 2, 0, 3), '▆█', 'the newest');
  assert.equal(spark([5, 5], 2, 5, 5), '▁▁');
  assert.deepEqual([si(null, 'W'), si(0, 'W'), si(999, 'W'), si(1000, 'W'), si(-12_345, 'B'), si(1.98e9, 'Hz'), si(4e20, 'B')],
    ['-', '0W', '999W', '1.0kW', '-12kB', '2.0GHz', '400000PB']);
  assert.deepEqual([gib(null), gib(2 ** 30)], ['-', '1.0']);
  assert.deepEqual([0, 59_999, 60_000, 3_600_000, 90_000_000].map(span), ['0 s', '59 s', '1 min 0 s', '1 h 0 min', '1 d 1 h']);
});

const glance = (change: Partial<Glance> = {}): Glance => ({
  atMs: NOW_MS, guest: { kind: 'up', sinceMs: NOW_MS - 60_000, why: '', untilMs: 0 }, boots: 1,
  restarts: Object.fromEntries(CAUSES.map((cause) => [cause, 0])) as Glance['restarts'], source: { label: 'replay', name: 'ready', detail: '' },
  ready: { ready: true, why: 'ok' }, url: 'http://127.0.0.1:9400/', scrapes: 1, points: 20, newestMs: NOW_MS - 2_000, units: unitsOf(scrape()),
  receiver: { errors: { read: 0 }, degraded: false }, collector: 'not configured', ...change,
});
const after = (...glances: Glance[]): UpState => glances.reduce<UpState>((state, each) => reduceUp(state, { kind: 'glance', glance: each }, HISTORY_MAX), blankState());
const screen = (state: UpState, columns = 160, rows = 24): string => renderUp(state, { columns, rows, colour: false }).join('\n');

test('a trend has one value a scrape, rates from the samples\' own times, and a bound', () => {
  const at = (n: number): Glance => glance({ scrapes: n, units: unitsOf(scrape(n / 100, NOW_NS + BigInt(n) * 2_000_000_000n)) });
  const state = after(at(1), at(1), at(2), at(3));
  const trend = state.trends.get(state.glance!.units[0]!.key)!;
  assert.deepEqual(trend.utilization, [0.01, 0.02, 0.03], 'the same scrape seen twice is one value');
  assert.deepEqual(trend.nvlink.map((value) => value === null ? null : Math.round(value)), [null, 10_000_000, 10_000_000]);
  const long = after(...Array.from({ length: HISTORY_MAX + 5 }, (_, n) => at(n + 1)));
  assert.equal([...long.trends.values()][0]!.utilization.length, HISTORY_MAX);
  assert.deepEqual([rate(5, 4, 1n), rate(null, 4, 1n), rate(1, 4, 0n), rate(1, 4, 1_000_000_000n)], [null, null, null, 3]);
});

test('the screen labels a replay in head and rows, and says who is ready, restarted and at fault', () => {
  const text = screen(after(glance({ restarts: { ...glance().restarts, hang: 2, panic: 1 }, boots: 4 })));
  assert.match(text, /source: REPLAY \(recorded values, not this machine's GPUs\) +UP 1 min 0 s/);
  assert.match(text, /^0 +replay +.* 50% /m);
  assert.match(text, /UE 3 XID 79 x2/);
  assert.match(text, /receiver: 20 series, 2 s old, 1 scrapes; 0 errors/);
  assert.match(text, /http:\/\/127\.0\.0\.1:9400\/metrics ready/);
  assert.match(text, /boots 4, 3 restarts \(hang 2, panic 1\)/);
  assert.match(screen(after(glance({ source: { label: 'stub', name: 'unavailable', detail: 'no engine' } }))), /source: STUB \(no values\): unavailable, no engine/);
  assert.doesNotMatch(screen(after(glance({ source: { label: 'dcgm', name: 'ready', detail: '' }, units: [] }))), /replay|REPLAY/);
});

test('the kind of the receiver\'s last error is the one whose count rose, and when', () => {
  const at = (n: number, errors: Record<string, number>): Glance => glance({ atMs: NOW_MS + n * 1000, receiver: { errors, degraded: n === 2 } });
  const state = after(at(0, { read: 1 }), at(1, { read: 1, connect: 1 }), at(2, { read: 1, connect: 1 }));
  assert.deepEqual(state.lastError, { kind: 'connect', atMs: NOW_MS + 1000 });
  assert.match(screen(state), /receiver: DEGRADED; .*; 2 errors, last connect 1 s ago/);
});

test('while the guest is down: its cause, the wait, and the last rows stay', () => {
  const down = glance({ units: [], points: 0, newestMs: null, ready: { ready: false, why: 'the guest is down: hang' },
    guest: { kind: 'down', sinceMs: NOW_MS, why: 'hang: no heartbeat', untilMs: NOW_MS + 3_200 } });
  const text = screen(after(glance(), down));
  assert.match(text, /DOWN hang: no heartbeat, again in 4 s/);
  assert.match(text, /not ready: the guest is down: hang/);
  assert.match(text, /^0 +replay/m);
});

test('every size: as many lines as rows, none too wide; too small says so', () => {
  const state = reduceUp(after(glance()), { kind: 'event', row: { atMs: NOW_MS, text: 'guest: \u001b[2Jboo 語語', bad: true } }, HISTORY_MAX);
  for (const colour of [false, true]) {
    for (let columns = 1; columns < 230; columns += 7) {
      for (let rows = 1; rows < 40; rows += 3) {
        const lines = renderUp(state, { columns, rows, colour });
        assert.ok(lines.length === rows || (lines.length === 1 && (columns < 40 || rows < 8)), `${columns}x${rows}: ${lines.length} lines`);
        for (const line of lines) assert.ok(stringWidth(line) <= columns, `${columns}x${rows}: ${JSON.stringify(line)}`);
      }
    }
  }
  assert.doesNotMatch(screen(state), /\u001b/, 'what the guest or a library says cannot steer the terminal');
});

test('the table gives up its least wanted columns first, and keeps who it is about', () => {
  const { units } = glance();
  const heads = (width: number): string => unitTable(units, new Map(), width, painter(false))[0]!;
  assert.match(heads(400), /GPU +SOURCE +MODEL +UTIL .* ERRORS/);
  assert.match(heads(70), /GPU +SOURCE +UTIL .*ERRORS/);
  assert.doesNotMatch(heads(70), /MODEL/);
  assert.match(heads(20), /^GPU +SOURCE$/);
});

test('scrolling stays within the rows; events are bounded', () => {
  let state = after(glance());
  state = reduceUp(state, { kind: 'scroll', rows: 1_000 }, HISTORY_MAX);
  assert.equal(state.scroll, 4);
  state = reduceUp(state, { kind: 'scroll', rows: -1_000 }, HISTORY_MAX);
  assert.equal(state.scroll, 0);
  for (let n = 0; n < EVENTS_MAX + 3; n++) state = reduceUp(state, { kind: 'event', row: { atMs: n, text: `e${n}`, bad: false } }, HISTORY_MAX);
  assert.deepEqual([state.events.length, state.events[0]!.text], [EVENTS_MAX, 'e3']);
});

test('one line and one JSON for a scrape', () => {
  const line = summaryLine(glance());
  assert.equal(line, "source: REPLAY (recorded values, not this machine's GPUs); "
    + '2 GPUs, 1 instance, 1 compute instance, 1 switch, 20 series, util 50%, memory 40.0 GiB, 61 C, 431W, 1 with errors, ready, no restart');
  const json = JSON.parse(JSON.stringify(summaryJson(glance()))) as { source: string; units: Record<string, unknown>[] };
  assert.equal(json.source, 'replay');
  assert.deepEqual([json.units.length, json.units[0]!['source'], json.units[3]!['utilization']], [5, 'replay', null]);
  assert.match(restartText({ ...glance().restarts, exit: 1 }), /^1 restart \(exit 1\)$/);
});

test('every event has its line but the console', () => {
  const ended = { kind: 'ended', boot: 1, cause: 'hang', detail: 'no heartbeat', retryMs: 1000, spoke: true } as const;
  assert.equal(eventLine({ ...ended, transcript: { path: '/x/t.log' } })!.text, 'guest: down: hang: no heartbeat; console kept in /x/t.log; again in 1.00 s');
  assert.match(eventLine({ ...ended, transcript: { lost: 'ENOSPC' } })!.text, /its console is lost: ENOSPC/);
  assert.equal(eventLine({ kind: 'console', text: 'x' }), null);
  assert.equal(eventLine({ kind: 'up', boot: 2, tookMs: 431, pid: 7 })!.text, 'guest: up after 0.43 s (boot 2, QEMU is process 7)');
});

test('history: windows by GPU in the metric\'s own unit, gaps where nothing was measured', () => {
  const point = (startNs: bigint, sum: bigint, count: bigint, labels: string): HistoryPoint => ({
    startNs, widthNs: WINDOW_NS, sender: 0n, kind: 2, unit: 0, open: false, otherBounds: false, count, sum, min: 0n, max: 0n, last: 0n, buckets: [], labels,
  });
  const labels = 'hw.gpu.index=0\nhw.id=GPU-a\nhw.gpu.task=general\nsource=replay\nunit=%\n';
  const points = [
    point(0n, 900n, 10n, labels), point(2n * WINDOW_NS, 50n, 1n, labels), point(3n * WINDOW_NS, 1n, 0n, labels), point(9n * WINDOW_NS, 1n, 1n, labels),
    point(WINDOW_NS, 7n, 1n, labels.replace('general', 'encoder')), point(WINDOW_NS, 66_500n, 1n, 'hw.id=GPU-b\nunit=mW'),
  ];
  const rows = windowsOf(points, ['hw.gpu.task', 'general'], 0n, 4n * WINDOW_NS);
  assert.deepEqual([...rows], [['GPU-a', [0.9, null, 0.5, null]]]);
  assert.deepEqual(windowsOf(points, null, WINDOW_NS, 2n * WINDOW_NS).get('GPU-b'), [66.5]);
});
