// SPDX-License-Identifier: Apache-2.0
// The exporter's pages: both formats, what is ready and healthy, the label of the source, dcgm-exporter's names, and the table of own series
// held to what is served, in both directions.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { AgentSource } from '../../runtime/export/agent.js';
import { ListenError, parseListen } from '../../runtime/export/exporter.js';
import { plain, type Page } from '../../runtime/export/http/server.js';
import { OwnSeries, SERIES_MAX } from '../../runtime/export/own-series.js';
import { targetsFrom } from '../../runtime/export/otlp/env.js';
import { metricName } from '../../runtime/export/prometheus/names.js';
import { parseSelfMetrics, selfMetrics } from '../../runtime/export/self-metrics.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { startNode, type Node } from './fixtures.js';

const nodes: Node[] = [];
after(() => Promise.all(nodes.map((node) => node.close())));
async function node(...how: Parameters<typeof startNode>): Promise<Node> {
  const made = await startNode(...how);
  nodes.push(made);
  return made;
}
const ask = async ({ exporter }: Node, path: string, accept = 'text/plain'): Promise<{ status: number; type: string; body: string }> => {
  const answer = await fetch(new URL(path, exporter.url), { headers: { accept } });
  return { status: answer.status, type: answer.headers.get('content-type') ?? '', body: await answer.text() };
};
const lines = (body: string, name: string): string[] => body.split('\n').filter((line) => line.startsWith(`${name}{`));

test('/metrics in both formats; every GPU series names its source and node; the join target and build info are there', async () => {
  const at = await node();
  at.scrape(1n);
  const text = await ask(at, 'metrics');
  assert.match(text.type, /^text\/plain; version=0\.0\.4/);
  const power = lines(text.body, 'hw_power_watts');
  assert.equal(power.length, 2);
  for (const line of text.body.split('\n').filter((row) => row.startsWith('hw_'))) assert.match(line, /[{,]source="replay"[,}]/, line);
  assert.match(power[1]!, /hw_id="GPU-0001".* 101$/);
  assert.match(lines(text.body, 'hw_energy_joules_total')[0]!, / 5000$/);
  const info = lines(text.body, 'vigil_gpu_info');
  assert.equal(info.length, 2);
  for (const part of [
    'hw_id="GPU-0000"', 'hw_model="NVIDIA H100 80GB HBM3"', 'hw_driver_version="580.105.08"', 'hw_gpu_pci_bdf="00000000:50:00.0"', 'source="replay"', 'dcgm_version=""',
  ]) assert.ok(info[0]!.includes(part), part);
  assert.match(lines(text.body, 'target_info').join('\n'), /host_name="gpu-node-1"/);
  assert.equal(lines(text.body, 'vigil_build_info').length, 1);
  assert.doesNotMatch(text.body, /[{,](job|instance)="/);
  const open = await ask(at, 'metrics', 'application/openmetrics-text;version=1.0.0;q=0.9,text/plain;q=0.1');
  assert.match(open.type, /^application\/openmetrics-text/);
  assert.match(open.body, /# TYPE hw_energy_joules counter\nhw_energy_joules_total\{.*\} 5000\n/);
  assert.ok(open.body.endsWith('# EOF\n'));
});

test('names that are not escaped are in quotes for a scraper that takes them, and escaped for every other', async () => {
  const PROM3 = 'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1';
  const at = await node({}, { translation: 'NoTranslation' });
  at.scrape(1n);
  const utf8 = await ask(at, 'metrics', PROM3);
  assert.match(utf8.type, /escaping=allow-utf-8/);
  assert.match(utf8.body, /^# TYPE "hw\.power" gauge\n\{"hw\.power",.*"hw\.id"="GPU-0000".*source="replay".*\} 100$/m);
  assert.match(utf8.body, /^# TYPE "hw\.energy" counter\n\{"hw\.energy",/m);
  for (const line of utf8.body.split('\n').filter((row) => row !== '' && !row.startsWith('#'))) assert.match(line, /^([A-Za-z_:][\w:]*\{|\{"[^"]+",).*\} \S+$/, line);
  const plainly = await ask(at, 'metrics');
  assert.match(plainly.body, /^# TYPE hw_power gauge\nhw_power\{.*hw_id="GPU-0000"/m);
  assert.match((await ask(at, 'metrics', 'text/plain;escaping=allow-utf-8;q=0')).type, /version=0\.0\.4/);
  const suffixed = await node({}, { translation: 'NoUTF8EscapingWithSuffixes' });
  suffixed.scrape(1n);
  assert.match((await ask(suffixed, 'metrics', PROM3)).body, /^\{"hw\.power_watts",/m);
  assert.match((await ask(suffixed, 'metrics')).body, /^hw_power_watts\{/m);
});

test('a long page is compressed for those who ask, and only for them', async () => {
  const at = await node();
  at.scrape(1n);
  const raw = (accept: string): Promise<{ encoding: string | undefined; body: Buffer; vary: string | undefined }> => new Promise((resolve, reject) => {
    import('node:http').then(({ get }) => get(new URL('metrics', at.exporter.url), { headers: { 'accept-encoding': accept } }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      resolve({ encoding: response.headers['content-encoding'], body: Buffer.concat(chunks), vary: response.headers.vary });
    }).on('error', reject), reject);
  });
  const zipped = await raw('gzip;q=1, br;q=0.5');
  assert.equal(zipped.encoding, 'gzip');
  assert.match(gunzipSync(zipped.body).toString(), /hw_power_watts/);
  assert.match(zipped.vary ?? '', /accept-encoding/i);
  for (const accept of ['identity', 'gzip;q=0', '']) {
    const plainly = await raw(accept);
    assert.equal(plainly.encoding, undefined, accept);
    assert.match(plainly.body.toString(), /hw_power_watts/);
  }
});

test('/-/healthy serves, /-/ready and /health are about samples; /metrics keeps its own series', async () => {
  let source: AgentSource = { label: 'replay', name: 'ready', detail: '' };
  const at = await node({ source: () => source, intervalMs: 1000 });
  const statuses = async (): Promise<number[]> => Promise.all(['-/healthy', '-/ready', 'health'].map(async (path) => (await ask(at, path)).status));
  assert.deepEqual(await statuses(), [200, 503, 503]);
  assert.equal((await ask(at, '-/ready')).body, 'no sample of the replay source was exported yet\n');
  at.scrape(1n);
  assert.deepEqual(await statuses(), [200, 200, 200]);
  source = { label: 'replay', name: 'connection_lost', detail: 'the engine is gone' };
  assert.deepEqual(await statuses(), [200, 503, 503]);
  assert.equal((await ask(at, 'health')).body, 'the replay source is connection_lost: the engine is gone\n');
  source = { label: 'replay', name: 'ready', detail: '' };
  at.scrape(2n, BigInt(Date.now() - 12_100) * 1_000_000n);
  assert.deepEqual(await statuses(), [200, 503, 503]);
  const { status, body } = await ask(at, 'metrics');
  assert.deepEqual([status, lines(body, 'hw_power_watts').length, lines(body, 'target_info').length, lines(body, 'vigil_gpu_info').length], [200, 0, 1, 0]);
  assert.match(lines(body, 'vigil_ready')[0]!, / 0$/);
  at.scrape(3n);
  at.agent.hold('panic');
  assert.deepEqual(await statuses(), [200, 503, 503]);
  assert.equal(lines((await ask(at, 'metrics')).body, 'hw_power_watts').length, 0);
});

test('with dcgm_names the same values come under dcgm-exporter\'s names and labels too', async () => {
  const without = await node();
  without.scrape(1n);
  assert.doesNotMatch((await ask(without, 'metrics')).body, /DCGM_FI_DEV_/);
  const user: ReadonlyMap<string, string> = new Map([['k8s.pod.name', 'train-0'], ['k8s.namespace.name', 'ml'], ['k8s.container.name', 'main']]);
  const at = await node({ attribution: { attributes: (entity) => (entity.get('hw.id') === 'GPU-0000' ? [user] : []) } }, { dcgmNames: true });
  at.scrape(1n);
  const { body } = await ask(at, 'metrics');
  const [first, second] = lines(body, 'DCGM_FI_DEV_POWER_USAGE');
  for (const part of [
    'gpu="0"', 'UUID="GPU-0000"', 'pci_bus_id="00000000:50:00.0"', 'device="nvidia0"', 'modelName="NVIDIA H100 80GB HBM3"', 'Hostname="gpu-node-1"',
    'DCGM_FI_DRIVER_VERSION="580.105.08"', 'pod="train-0"', 'namespace="ml"', 'container="main"', 'source="replay"',
  ]) assert.ok(first!.includes(part), part);
  assert.doesNotMatch(second!, /pod=/);
  assert.match(first!, / 100$/);
  assert.match(lines(body, 'DCGM_FI_DEV_GPU_UTIL')[0]!, / 50$/);
  assert.match(body, /# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\nDCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION\{.*\} 5000000\n/);
  assert.match(lines(body, 'hw_power_watts')[0]!, /k8s_pod_name="train-0"/);
  // Some back ends refuse series with more than 30 labels (dcgm-exporter#585).
  for (const line of body.split('\n')) assert.ok((line.match(/[{,][A-Za-z_]+="/g) ?? []).length <= 24, line);
});

test('pages of others are served, and cannot take the place of ours', async () => {
  const pages = new Map<string, Page>([['/', () => plain(200, 'the table')], ['/-/ready', () => plain(200, 'always')]]);
  const at = await node({}, {}, pages);
  assert.equal((await ask(at, '')).body, 'the table\n');
  assert.equal((await ask(at, '-/ready')).status, 503);
});

test('where it listens: loopback is quiet, the network without authentication is said; what is no address is refused', async () => {
  assert.deepEqual(['127.0.0.1:9400', '[::1]:80', ':9400', 'node-a:0'].map(parseListen), [
    { host: '127.0.0.1', port: 9400 }, { host: '::1', port: 80 }, { host: '::', port: 9400 }, { host: 'node-a', port: 0 },
  ]);
  for (const bad of ['9400', 'localhost', 'localhost:', 'a:b', '1.2.3.4:65536', '[1.2.3.4]:80', '::1:80', '']) assert.throws(() => parseListen(bad), ListenError, bad);
  const said: string[] = [];
  await node({ log: (line) => { said.push(line); } });
  assert.equal(said.length, 0);
  await node({ log: (line) => { said.push(line); } }, { listen: '0.0.0.0:0' });
  assert.match(said.join('\n'), /0\.0\.0\.0:0 is open to the network without authentication/);
});

test("the table of own series is what /metrics serves of the host, in both directions", async () => {
  const at = await node({
    otlp: targetsFrom({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }),
    attribution: {
      attributes: () => [], states: () => [{ source: 'kubernetes', name: 'attributing', detail: '', attributing: true, sinceMs: 0, answerMs: 0 }],
      counters: { readings: 1 }, seen: { devices: 8 },
    },
  });
  at.scrape(1n);
  const { body } = await ask(at, 'metrics');
  const served = new Map<string, Set<string>>();
  for (const line of body.split('\n').filter((row) => row.includes('otel_scope_name="vigil/host"'))) {
    const [, name, labels] = /^([^{]+)\{(.*)\} /.exec(line)!;
    served.set(name!, new Set([...labels!.matchAll(/([a-zA-Z_]+)="/g)].map(([, label]) => label!)));
  }
  const rows = selfMetrics.filter(({ by }) => by === 'host');
  const expected = rows.map(({ name, unit, instrument }) => metricName({ name, unit, kind: instrument === 'gauge' ? 'gauge' : 'sum', monotonic: instrument === 'counter' }));
  assert.deepEqual([...served.keys()].sort(), expected.sort());
  for (const { name, unit, instrument, attributes } of rows) {
    const labels = served.get(metricName({ name, unit, kind: instrument === 'gauge' ? 'gauge' : 'sum', monotonic: instrument === 'counter' }))!;
    const mine = attributes.map((key) => (key === 'vigil.source' ? 'source' : key.replaceAll('.', '_')));
    assert.deepEqual([...labels].sort(), [...mine, 'otel_scope_name', 'otel_scope_version', 'vigil_producer'].sort(), name);
  }
});

test('own series: what is not in the table throws; the registry is bounded; a counter does not fall', () => {
  const own = new OwnSeries(0n);
  assert.throws(() => { own.add('vigil.nothing'); }, /no row/);
  assert.throws(() => { own.add('vigil.ready'); }, /is a gauge/);
  assert.throws(() => { own.set('vigil.otlp.retries', { signal: 'metrics' }, 1); }, /is a counter/);
  assert.throws(() => { own.add('vigil.otlp.retries', { signal: 'metrics', more: '1' }); }, /attributes/);
  assert.throws(() => { own.add('vigil.otlp.retries', { signal: 'metrics' }, -1); }, /fall/);
  assert.throws(() => { own.read('vigil.nothing', () => []); }, /no row/);
  for (let i = 0; i <= SERIES_MAX; i++) own.add('vigil.otlp.retries', { signal: String(i) });
  const points = own.resource(new Map(), '1', 0n).scopes[0]!.metrics[0]!.points;
  assert.deepEqual([points.length, own.refused], [SERIES_MAX, 1]);
  own.forget('vigil.otlp.retries');
  own.add('vigil.otlp.retries', { signal: 'metrics' }, 2);
  own.add('vigil.otlp.retries', { signal: 'metrics' });
  assert.equal(own.resource(new Map(), '1', 0n).scopes[0]!.metrics[0]!.points[0]!.value, 3);
  const row = '{ name = "a.b", instrument = "gauge", unit = "", attributes = ["x", "x"], by = "host", brief = "b" }';
  assert.throws(() => parseSelfMetrics(`metric = [${row}]`), /attribute comes twice/);
  const good = row.replace('"x", "x"', '"x"');
  assert.throws(() => parseSelfMetrics(`metric = [${good}, ${good}]`), /a\.b comes twice/);
  assert.throws(() => parseSelfMetrics(`metric = [${good.replace('a.b', 'A')}]`));
  assert.equal(parseSelfMetrics(readFileSync(join(ROOT, 'abi', 'self-metrics.toml'), 'utf8')).length, selfMetrics.length);
});

const promtool = spawnSync('promtool', ['--version']).status === 0;
test('promtool accepts /metrics as it is served, with dcgm-exporter\'s names and without', { skip: promtool ? false : 'promtool is not installed (package prometheus)' }, async () => {
  for (const dcgmNames of [false, true]) {
    const at = await node({ otlp: targetsFrom({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }) }, { dcgmNames });
    at.scrape(1n);
    const judged = spawnSync('promtool', ['check', 'metrics'], { input: (await ask(at, 'metrics')).body, encoding: 'utf8' });
    // Names of others are not ours to change: promtool's lint of style (status 3) may speak of DCGM_FI_* alone.
    const ours = judged.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('DCGM_FI_'));
    assert.deepEqual(ours, []);
    assert.ok(judged.status === 0 || (dcgmNames && judged.status === 3), `status ${judged.status}`);
  }
});
