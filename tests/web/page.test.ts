// SPDX-License-Identifier: Apache-2.0
// The page through a real parser: what it shows in each state, that every text is escaped, and the structure that assistive programs need.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import type { HistoryPoint } from '../../runtime/bridge/control.js';
import type { AgentSource } from '../../runtime/export/agent.js';
import { HISTORY_LIMITS, HISTORY_METRICS, HistoryCache, KEPT, readHistory, type HistorySource } from '../../runtime/web/history.js';
import { escapeText, html, TEXT_CHARS_MAX } from '../../runtime/web/html.js';
import { webPages, type WebOptions } from '../../runtime/web/index.js';
import { MODEL_ROWS } from '../../runtime/web/model.js';
import { runs } from '../../runtime/web/sparkline.js';
import { duration, number, quantity } from '../../runtime/web/units.js';
import { Document, attribute, below, text } from './document.js';
import { CLOCK_NS, NOW_MS, fakeHistory, gpuMetrics, makeNode, receiverMetrics, uuid, windowPoint, type NodeOptions, type TestNode } from './node.js';

const nodes: TestNode[] = [];
after(async () => { await Promise.all(nodes.map(({ agent }) => agent.close(0))); });
function node(options: NodeOptions = {}): TestNode {
  const made = makeNode(options);
  nodes.push(made);
  return made;
}
async function open(made: Pick<TestNode, 'agent'>, query = '', more: Partial<WebOptions> = {}): Promise<Document> {
  const page = webPages({ agent: made.agent, wallMs: () => NOW_MS, ...more }).get('/')!;
  const answer = await page({ query: new URLSearchParams(query), accept: undefined });
  assert.deepEqual([answer.status, answer.type], [200, 'text/html; charset=utf-8']);
  return new Document(answer.body);
}
const links = (document: Document): (string | undefined)[] => document.all('a').map((link) => attribute(link, 'href'));
const MIG = (id: string): { attributes: Record<string, string>; metrics: ReturnType<typeof gpuMetrics> } => ({
  attributes: { 'hw.id': id, 'hw.type': 'gpu', 'hw.gpu.index': '0', 'hw.gpu.mig.instance_id': '7', 'hw.model': 'slice', 'vigil.source': 'replay' }, metrics: gpuMetrics(30),
});
const SWITCH = { attributes: { 'hw.id': 'nvswitch-0', 'hw.type': 'switch', 'hw.switch.index': '0', 'vigil.source': 'replay' }, metrics: [
  { name: 'hw.temperature', unit: 'Cel', points: [{ value: 44, attributes: { 'hw.sensor_location': 'switch' } }] },
] };

test('a node in order: devices, their figures and units, users once, receiver, exporter', async () => {
  const made = node({ users: [
    new Map([['k8s.pod.name', 'train'], ['k8s.namespace.name', 'ml'], ['k8s.container.name', 'main']]),
    new Map([['k8s.pod.name', 'eval'], ['k8s.namespace.name', 'ml'], ['k8s.container.name', 'main'], ['hpc.job.id', '77']]),
  ] });
  made.sendGpus(2, [SWITCH, MIG(`${uuid(0)}/gi7`)]);
  made.sendSelf(receiverMetrics(0, { read: 3, connect: 0 }));
  made.agent.own.add('vigil.guest.restarts', { cause: 'panic' }, 2);
  made.agent.own.read('vigil.guest.boots', () => [[{}, 3]]);
  made.agent.own.read('vigil.guest.up', () => [[{}, 1]]);
  const document = await open(made, '', { history: fakeHistory(2).source });
  const devices = document.table('GPUs, their instances')!;
  assert.deepEqual(devices.headings.slice(0, 9), ['Device', 'Source', 'Model', 'Busy, %', 'Memory used', 'Power, W', 'Temperature, °C', 'Uncorrected ECC errors', 'XIDs seen']);
  assert.deepEqual(devices.rows.map((row) => row.slice(0, 10)), [
    ['GPU 0', 'replay', 'NVIDIA H100 80GB HBM3', '50', '10 GiB of 80 GiB', '400.3', '60', '3', '3', 'ok'],
    ['GPU 0 MIG 7', 'replay', 'slice', '80', '40 GiB of 80 GiB', '430.3', '90', '3', '3', 'ok'],
    ['GPU 1', 'replay', 'NVIDIA H100 80GB HBM3', '51', '11 GiB of 80 GiB', '401.3', '61', '3', '3', 'ok'],
    ['NVSwitch 0', 'replay', '', 'none', 'none', 'none', '44', 'none', 'none', 'none'],
  ]);
  assert.deepEqual(devices.rows[0]!.slice(10), ['pod ml/eval (main), job 77pod ml/train (main)', uuid(0), '00000000:53:00.0']);
  const values = document.table('All values of GPU 0, source replay')!;
  assert.equal(values.rows.length, 11, 'the values of two users once');
  assert.deepEqual(values.rows.find(([name]) => name === 'hw.gpu.clock.frequency'), ['hw.gpu.clock.frequency', 'hw.gpu.clock.domain=sm', '1.98 GHz']);
  const kinds = document.table('Errors of the receiver by kind')!;
  assert.deepEqual(kinds.rows.map(([name, count]) => `${name} ${count}`),
    ['init none', 'connect 0', 'watch none', 'mig none', 'enumerate none', 'read 3', 'cardinality none', 'downstream none', 'panic none']);
  assert.deepEqual(document.table('What became of samples')!.rows, [['ok', '960'], ['no_data', '4']]);
  assert.deepEqual(document.table('Series left out')!.rows, [['nvlink', '9']]);
  assert.deepEqual(document.table('Requests to the collector')!.rows.map((row) => row.join(' ')).filter((row) => !row.endsWith(' 0')), ['metrics not_configured 4']);
  assert.deepEqual(document.table('Who uses the GPUs')!.rows, [['kubernetes ok', 'yes']]);
  assert.match(document.text, /Ready: fresh samples are exported\..*Guestup, booted 3 times.*Restarts of the guest2 \(panic 2\).*Last activity7 s ago/s);
});

test('the source is said at the top, in the title, in captions and rows', async () => {
  for (const [source, title, note] of [
    [{ label: 'replay', name: 'ready', detail: '' }, /^\[REPLAY\] GPUs of /, /Source: REPLAY\. These figures are recorded or scripted\. They are NOT measurements/],
    [{ label: 'nvml', name: 'ready', detail: '' }, /^\[NVML\] /, /Source: NVML\. Read from the driver's own library/],
    [{ label: 'stub', name: 'unavailable', detail: 'the stub has no engine' }, /^\[STUB\] /, /Source: STUB\. .* Its state is unavailable: the stub has no engine\./],
    [{ label: 'dcgm', name: 'engine_lost', detail: 'closed' }, /^GPUs of /, /Source: DCGM\. Its state is engine_lost: closed\./],
    [{ label: 'dcgm', name: 'ready', detail: 'engine 4.5.1' }, /^GPUs of /, /Source: dcgm\./],
  ] as [AgentSource, RegExp, RegExp][]) {
    const made = node({ source });
    made.sendGpus(1);
    const document = await open(made);
    assert.match(text(document.one('title')), title);
    assert.match(document.text, note);
    assert.ok(text(document.all('caption')[0]!).endsWith(`source ${source.label}`));
    assert.equal(document.table('GPUs, their')!.rows[0]![1], source.label);
  }
});

test('empty, degraded and restarting nodes say so and show nothing old', async () => {
  const empty = await open(node());
  assert.match(empty.text, /Not ready\. no sample of the replay source was exported yet/);
  assert.match(empty.text, /Newest samplenone yet.*ReceiverunknownGuestunknown|Newest samplenone yet/s);
  assert.match(empty.text, /No GPU is exported now\./);
  assert.match(empty.text, /No history can be shown: no guest to ask\./);
  assert.match(empty.text, /Restarts of the guestunknown/);
  const degraded = node({ source: { label: 'dcgm', name: 'engine_stalled', detail: 'no answer' } });
  degraded.sendGpus(1);
  degraded.sendSelf(receiverMetrics(1, { read: 5 }));
  const second = await open(degraded);
  assert.match(second.text, /Not ready\. the dcgm source is engine_stalled: no answer/);
  assert.match(second.text, /Receiverdegraded/);
  const restarting = node();
  restarting.sendGpus(2);
  restarting.agent.own.add('vigil.guest.restarts', { cause: 'hang' }, 1);
  restarting.agent.own.read('vigil.guest.up', () => [[{}, 0]]);
  restarting.agent.hold('hang: no heartbeat in 15 s');
  const third = await open(restarting, '', { history: async () => { throw new Error('connect ECONNREFUSED'); } });
  assert.match(third.text, /Not ready\. the guest is down: hang: no heartbeat in 15 s/);
  assert.match(third.text, /Guestdown or starting.*Restarts of the guest1 \(hang 1\)/s);
  assert.match(third.text, /No GPU is exported now\./);
  assert.match(third.text, /No history can be shown: connect ECONNREFUSED\./);
});

test('hostile labels, names and reasons stay text', async () => {
  const evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>\'`&amp;\u202egnp\u0000\u001b[31m';
  const made = node({
    source: { label: 'replay', name: evil, detail: evil }, hostName: evil, attributes: { 'hw.model': evil, 'hw.gpu.pci.bdf': evil, 'vigil.source': evil, 'hw.gpu.index': evil },
    users: [new Map([['k8s.pod.name', evil], ['k8s.namespace.name', evil], ['k8s.container.name', evil], ['hpc.job.id', evil]])],
  });
  made.sendGpus(1, [{ attributes: { 'hw.id': evil, 'hw.type': evil }, metrics: [{ name: `hw.${evil}`, unit: evil, points: [{ value: 1, attributes: { [evil]: evil } }] }] }]);
  made.sendSelf([...receiverMetrics(1, { [evil]: 1 }), { name: 'vigil.receiver.samples', points: [{ value: 1, attributes: { status: evil } }] }]);
  made.agent.hold(evil);
  const held = await open(made);
  made.agent.hold(null);
  made.sendGpus(1, [{ attributes: { 'hw.id': evil, 'hw.type': evil }, metrics: [{ name: `hw.${evil}`, unit: evil, points: [{ value: 1, attributes: { [evil]: evil } }] }] }]);
  made.sendSelf(receiverMetrics(1, { [evil]: 1 }));
  const history = fakeHistory(1, 5, () => `hw.gpu.index=${evil.replaceAll('\n', '')}\nhw.id=${evil}\nsource=${evil}`);
  const document = await open(made, `refresh=${evil}&window=${evil}`, { history: history.source });
  for (const page of [held, document]) {
    assert.deepEqual(page.all('script'), []);
    assert.deepEqual(page.all('img'), []);
    assert.deepEqual(page.all('iframe'), []);
    for (const element of page.all()) {
      assert.ok(!element.attrs.some(({ name }) => name.startsWith('on')), element.tagName);
      const href = attribute(element, 'href');
      if (href !== undefined) assert.match(href, /^(#|\?refresh=(0|10|30|60)&window=(10|60)s$|\/(metrics|-\/ready|-\/healthy)$|data:,$)/);
    }
    assert.ok(!/[\u202a-\u202e\u2066-\u2069\u0000\u001b]/.test(page.source));
    assert.ok(page.text.includes('<script>alert(1)</script>'), 'shown as text');
  }
  assert.ok(document.all('title').some((title) => text(title).includes('<script>')), 'also in the title');
});

test('the structure: language, landmarks, headings, captions, scopes, unique ids, names of drawings', async () => {
  const made = node();
  made.sendGpus(3, [SWITCH]);
  made.sendSelf(receiverMetrics(0, {}));
  const document = await open(made, '', { history: fakeHistory(3).source });
  assert.equal(attribute(document.one('html'), 'lang'), 'en');
  assert.equal(attribute(document.all('a')[0]!, 'href'), '#main');
  assert.equal(attribute(document.one('main'), 'id'), 'main');
  for (const tag of ['header', 'footer', 'h1']) document.one(tag);
  const ids = document.all().map((element) => attribute(element, 'id')).filter((id) => id !== undefined);
  assert.equal(new Set(ids).size, ids.length);
  for (const element of document.all()) {
    const label = attribute(element, 'aria-labelledby');
    if (label !== undefined) assert.ok(text(document.byId(label)!).trim() !== '', label);
  }
  for (const href of links(document)) if (href!.startsWith('#')) assert.ok(document.byId(href!.slice(1)) !== undefined);
  const navs = document.all('nav').map((nav) => attribute(nav, 'aria-label'));
  assert.equal(new Set(navs).size, navs.length);
  assert.ok(document.all('table').length >= 6);
  for (const table of document.all('table')) {
    assert.ok(text(below(table, 'caption')[0]!).length > 5);
    for (const heading of below(table, 'th')) assert.match(attribute(heading, 'scope') ?? '', /^(col|row)$/);
    const wrapper = document.all('div').find((div) => below(div, 'table').includes(table))!;
    assert.deepEqual([attribute(wrapper, 'tabindex'), attribute(wrapper, 'role')], ['0', 'region']);
  }
  const drawings = document.all('svg');
  assert.equal(drawings.length, 12);
  for (const drawing of drawings) assert.match(text(document.byId(attribute(drawing, 'aria-labelledby')!)!), /^GPU \d, hw\..*: lowest .*, mean .*, highest .*, newest /);
  const levels = document.all().filter(({ tagName }) => /^h[1-6]$/.test(tagName)).map(({ tagName }) => Number(tagName[1]));
  levels.forEach((level, i) => { assert.ok(level - (levels[i - 1] ?? 0) <= 1, levels.join()); });
  assert.deepEqual(document.all().filter((element) => ['src', 'srcset', 'data', 'poster'].some((name) => attribute(element, name) !== undefined)), [], 'nothing is loaded');
  assert.ok(!/url\(|@import/.test(text(document.one('style'))));
});

test('refresh is off unless chosen, and can be switched off; other choices are kept; nonsense is the default', async () => {
  const made = node();
  const refresh = (document: Document): string | undefined => document.all('meta').filter((meta) => attribute(meta, 'http-equiv') === 'refresh').map((meta) => attribute(meta, 'content'))[0];
  const current = (document: Document): string[] => document.all('a').filter((link) => attribute(link, 'aria-current') === 'true').map(text);
  const plain = await open(made);
  assert.equal(refresh(plain), undefined);
  assert.deepEqual(current(plain), ['off', 'last 5 minutes']);
  const chosen = await open(made, 'refresh=30&window=60s');
  assert.equal(refresh(chosen), '30');
  assert.deepEqual(current(chosen), ['every 30 s', 'last 30 minutes']);
  assert.ok(links(chosen).includes('?refresh=0&window=60s') && links(chosen).includes('?refresh=30&window=10s'));
  for (const query of ['refresh=1', 'refresh=-10', 'refresh=', 'refresh=1e1x', 'window=1h', 'refresh=10&refresh=30']) {
    assert.ok([undefined, '10'].includes(refresh(await open(made, query))), query);
  }
});

test('history: numbers, drawings with gaps, devices by name and never by the guest\'s own ids', async () => {
  const made = node();
  made.sendGpus(1);
  const fake = fakeHistory(1);
  const labels = `hw.gpu.index=0\nhw.id=${uuid(0)}\nsource=replay\nunit=mW`;
  const other = 'hw.gpu.index=5\nhw.id=GPU-secret\nsource=replay\nunit=mW';
  fake.points = [windowPoint(5, 10, [100_000, 1_000_000, 200_000, 150_000, 10], labels), windowPoint(4, 10, [90_000, 900_000, 300_000, 90_000, 10], labels),
    windowPoint(1, 10, [50_000, 500_000, 60_000, 55_000, 10], labels), windowPoint(1, 10, [1, 1, 1, 1, 1], other)];
  const document = await open(made, '', { history: fake.source });
  const { rows } = document.table('The last 5 min in windows of 10 s')!;
  assert.deepEqual(rows[0], ['GPU 0', 'hw.power', rows[0]![2], '50 W', '80 W', '300 W', '55 W', 'replay']);
  assert.equal(rows[2]![0], 'GPU 5 (not in the newest scrape)');
  assert.ok(!document.source.includes('GPU-secret'));
  const [drawing] = document.all('svg');
  assert.deepEqual([below(drawing!, 'polyline').length, below(drawing!, 'circle').length], [1, 1], 'a run of two, a gap, one alone');
  assert.equal(fake.open, 0);
  assert.equal((await open(made, 'window=60s', { history: fakeHistory(1).source })).table('The last 30 min in windows of 60 s')!.rows.length, 4);
  const none = fakeHistory(0, 0);
  assert.match((await open(made, '', { history: none.source })).text, /The guest keeps no history of GPUs yet\./);
  assert.deepEqual(runs([]), []);
});

test('history is asked of the guest only when it is due, once for all who look; an old one is shown with its age and the reason', async () => {
  const made = node();
  made.sendGpus(2);
  let nowMs = 0;
  const fake = fakeHistory(2);
  const pages = webPages({ agent: made.agent, history: fake.source, wallMs: () => NOW_MS, monoMs: () => nowMs });
  const look = async (): Promise<string> => new Document((await pages.get('/')!({ query: new URLSearchParams(), accept: undefined })).body).text;
  await Promise.all([look(), look(), look()]);
  const first = fake.asked.length;
  assert.equal(first, 4 * Math.ceil(40 / 7) + 1, 'pages of four metrics, and one of what there is nothing of');
  nowMs = HISTORY_LIMITS.freshMs - 1;
  await look();
  assert.equal(fake.asked.length, first);
  fake.fail = 'the guest answered unavailable';
  nowMs = HISTORY_LIMITS.freshMs;
  assert.match(await look(), /This history is 10 s old: the guest answered unavailable\./);
  fake.fail = null;
  nowMs += HISTORY_LIMITS.retryMs - 1;
  assert.match(await look(), /unavailable/);
  nowMs += 1;
  assert.doesNotMatch(await look(), /This history is/);
  fake.delayMs = 10_000;
  nowMs += HISTORY_LIMITS.freshMs;
  const before = performance.now();
  assert.match(await look(), /This history is 10 s old: the guest is still being asked\./);
  assert.ok(performance.now() - before < HISTORY_LIMITS.waitMs + 1_000);
  fake.delayMs = 0;
});

test('a reading of the history is bounded: pages, series, windows; odd windows are counted', async () => {
  const answering = (next: bigint | null, points: () => HistoryPoint[], unreadable = false): HistorySource => async () =>
    ({ ask: async () => ({ next, clockNs: CLOCK_NS, offsetNs: 0n, unreadable, waiting: false, points: points() }), close: () => undefined });
  const one = (labels: string, ago = 1): HistoryPoint => windowPoint(ago, 10, [1, 1, 1, 1, 1], labels);
  const [all, unlabelled] = [HISTORY_METRICS.length, HISTORY_METRICS.filter(({ label }) => label === undefined).length];
  const read = await readHistory(answering(1n, () => [one('unit=W')], true), 1);
  assert.deepEqual([read.cut, read.unreadable, read.series.size], [all, true, unlabelled], 'the further pages of each metric');
  let at = 0;
  const second = await readHistory(answering(null, () => Array.from({ length: HISTORY_LIMITS.series }, () => one(`n=${at++}`))), 1);
  assert.deepEqual([second.series.size, second.cut], [HISTORY_LIMITS.series, (unlabelled - 1) * HISTORY_LIMITS.series]);
  const third = await readHistory(answering(null, () => Array.from({ length: 100 }, (_, i) => one('a=1', i))), 1);
  assert.deepEqual([[...third.series.values()][0]!.windows.size, third.cut], [KEPT[1].windows + 2, 0], 'older ones are not kept');
  const odd = [{ ...one('a=1'), widthNs: 1n }, { ...one('a=1'), startNs: 5n }, { ...one('a=1'), startNs: CLOCK_NS + 10_000_000_000n }];
  assert.deepEqual((({ series, cut }) => [series.size, cut])(await readHistory(answering(null, () => odd), 1)), [0, 3 * unlabelled]);
  assert.equal((await new HistoryCache(null).get(1)).why, 'no guest to ask');
});

test('a further reading asks for what is new, keeps the rest, and starts anew on another disk', async () => {
  const fake = fakeHistory(2, 30);
  const first = await readHistory(fake.source, 1);
  const full = fake.asked.length;
  assert.equal(fake.from, 0n);
  fake.clockNs += 5_000_000_000n;
  const second = await readHistory(fake.source, 1, first);
  assert.equal(fake.from, CLOCK_NS - 30_000_000_000n, 'the newest window and two before it');
  assert.ok(fake.asked.length - full <= HISTORY_METRICS.length, `${fake.asked.length - full} pages`);
  assert.deepEqual([...second.series.values()].map(({ windows }) => windows.size), [...first.series.values()].map(({ windows }) => windows.size));
  fake.clockNs += 200_000_000_000n;
  assert.ok([...(await readHistory(fake.source, 1, second)).series.values()].every(({ windows }) => windows.size < 30 && windows.size >= 10), 'old ones are dropped');
  fake.clockNs = CLOCK_NS - 100_000_000_000n;
  fake.points = [windowPoint(20, 10, [1, 1, 1, 1, 1], 'a=1')];
  const anew = await readHistory(fake.source, 1, second);
  assert.deepEqual([...anew.series.values()].map(({ labels }) => labels), ['a=1', 'a=1']);
  assert.equal(fake.from, 0n);
  assert.equal(fake.open, 0);
});

test('what is asked fits the guest: the recipe keeps these windows, and grants portd the rate', () => {
  const recipe = parseToml(readFileSync(new URL('../../image/recipes/observability/gpu.toml', import.meta.url), 'utf8')) as
    { retention: Record<string, number>; sender: { name: string; max_events_per_window: number }[]; ingest: { rate_window_ns: number } };
  assert.deepEqual([recipe.retention.ttl_windows_10s, recipe.retention.ttl_windows_60s], [KEPT[1].windows, KEPT[2].windows]);
  const perWindow = (HISTORY_LIMITS.burst / HISTORY_LIMITS.burstMs) * (recipe.ingest.rate_window_ns / 1e6) + HISTORY_LIMITS.burst;
  assert.ok(recipe.sender.find(({ name }) => name === 'portd')!.max_events_per_window >= 1.25 * perWindow, `${perWindow} questions a window`);
});

test('a page is bounded: devices, values, users, length of a text', async () => {
  const users = Array.from({ length: MODEL_ROWS.users + 2 }, (_, i) => new Map([['hpc.job.id', `job${i}`]]));
  const shared = node({ users });
  shared.sendGpus(1);
  assert.match((await open(shared)).table('GPUs, their')!.rows[0]![10]!, /^job job0job job1.*and 2 more$/);
  const made = node();
  made.sendGpus(MODEL_ROWS.devices + 2);
  const document = await open(made);
  assert.equal(document.table('GPUs, their')!.rows.length, MODEL_ROWS.devices);
  assert.match(document.text, /2 more devices are exported and not listed here/);
  const exactly = node();
  exactly.sendGpus(MODEL_ROWS.devices);
  assert.doesNotMatch((await open(exactly)).text, /more devices/);
  const values = node();
  const points = Array.from({ length: MODEL_ROWS.values - 11 + 3 }, (_, i) => ({ value: i, attributes: { i: String(i) } }));
  values.sendGpus(1, [{ attributes: { 'hw.id': 'x', 'hw.type': 'gpu' }, metrics: [{ name: 'hw.many', points }] }]);
  assert.match((await open(values)).text, /3 more values are exported and not listed here/);
});

test('escaping and units, on their edges', () => {
  assert.equal(html`<b>${'<&>"\'`'}</b>${null}${[html`<i>`, '<']}`.text, '<b>&lt;&amp;&gt;&quot;&#39;&#96;</b><i>&lt;');
  assert.equal(escapeText('a'.repeat(TEXT_CHARS_MAX)).length, TEXT_CHARS_MAX);
  assert.equal(escapeText('a'.repeat(TEXT_CHARS_MAX + 1)), `${'a'.repeat(TEXT_CHARS_MAX - 1)}…`);
  assert.equal(escapeText('\ud800x\udc00\u200b\u2066\ufeff'), '\ufffdx\ufffd\ufffd\ufffd\ufffd');
  assert.equal(escapeText('\u{1f600}'), '\u{1f600}');
  assert.deepEqual([0, 0.123456, 12.3456, 9999.4, 123456, -1234567, NaN, Infinity].map(number),
    ['0', '0.1235', '12.35', '9999', '123\u202f456', '-1\u202f234\u202f567', 'NaN', 'Infinity']);
  const read: [number, string, string][] = [[2048, 'By', '2 KiB'], [1.5e9, 'Hz', '1.5 GHz'], [1234, 'mW', '1.234 W'], [3, '{error}', '3 errors'], [1, '{row}', '1 row'],
    [50, 'Cel', '50 °C'], [2, '1', '2'], [9, 'W', '9 W'], [1e4, 'J', '10 kJ'], [83, '%', '83 %'], [1023, 'By', '1023 B'], [1024, 'By', '1 KiB']];
  for (const [value, unit, words] of read) assert.equal(quantity(value, unit), words);
  assert.equal(quantity(0.5, '1', true), '50 %');
  assert.deepEqual([0, 119.94, 120, 7199, 7200, 172_799, 172_800, -1, NaN].map(duration), ['0 s', '119.9 s', '2 min', '120 min', '2 h', '48 h', '2 days', 'unknown', 'unknown']);
});
