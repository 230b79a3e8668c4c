// SPDX-License-Identifier: Apache-2.0
// The whole way on the real machine: a running image (profile run, recipe gpu) over a scripted node of eight H100, the agent on its export
// port, /metrics and an OTLP receiver; then the bridge goes and comes back. Needs a built image and QEMU; skipped by name without them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { startAgent, type AgentSource } from '../../runtime/export/agent.js';
import { startExporter } from '../../runtime/export/exporter.js';
import { metricName } from '../../runtime/export/prometheus/names.js';
import { gpuMetrics } from '../../runtime/export/gpu-metrics.js';
import { selfMetrics } from '../../runtime/export/self-metrics.js';
import { VIEW_RECEIVER_CONFIG, startBridge } from '../../runtime/bridge/index.js';
import type { BridgeServer } from '../../runtime/bridge/server.js';
import { skip, start } from '../bridge/running-image.js';
import { Collector, flatten, until, type FlatPoint } from './collector.js';
import { PROMETHEUS } from './fixtures.js';

const promtool = spawnSync('promtool', ['--version']).status === 0; // what it judges without an image is in exporter.test.ts
const PATIENCE_MS = 60_000;
const MAX_AGE_MS = 12_000; // two intervals of a second, and ten
const bridgeAt = (socketPath: string): Promise<BridgeServer> =>
  startBridge({ socketPath, source: 'replay', fleet: 'h100x8', scenario: 'steady', receiverConfig: VIEW_RECEIVER_CONFIG });

/** name{labels} of the samples of a page, labels that are not the point's own left out, by value. */
function samples(body: string, prefix: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const line of body.split('\n').filter((row) => row.startsWith(prefix))) {
    const [, name, labels, value] = /^([^{]+)\{(.*)\} (\S+)$/.exec(line)!;
    out.set(`${name}{${[...labels!.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => `${key}=${text}`).filter((pair) => !pair.startsWith('otel_scope')).sort().join(',')}}`, Number(value));
  }
  return out;
}

/** The same of OTLP points, by the rules of names that the specification has, told here once more. */
function expected(points: readonly FlatPoint[]): Map<string, number> {
  const promoted = ['hw.id', 'hw.type', 'hw.gpu.index', 'hw.gpu.mig.instance_id', 'hw.gpu.mig.compute_instance_id', 'hw.switch.index'];
  return new Map(points.map(({ name, value, attributes, resource }) => {
    const { unit, instrument } = gpuMetrics.find((row) => row.name === name)!;
    const labels = { ...Object.fromEntries(promoted.filter((key) => key in resource).map((key) => [key, resource[key]])), ...attributes, source: resource['vigil.source'] };
    const text = Object.entries(labels).map(([key, of]) => `${key.replaceAll('.', '_')}=${of}`).sort().join(',');
    return [`${metricName({ name, unit, kind: instrument === 'gauge' ? 'gauge' : 'sum', monotonic: instrument === 'counter' })}{${text}}`, value];
  }));
}

/** Names of a row's families on the page. */
function familiesOf({ name, unit, instrument }: (typeof selfMetrics)[number]): string[] {
  const family = metricName({ name, unit, kind: instrument === 'gauge' || instrument === 'histogram' ? instrument : 'sum', monotonic: instrument === 'counter' });
  return instrument === 'histogram' ? ['_bucket', '_sum', '_count'].map((suffix) => family + suffix) : [family];
}

test('from the bridge through the image to /metrics and OTLP; the bridge goes: 503, old values disappear; it comes back: ready', { skip, timeout: 5 * PATIENCE_MS }, async () => {
  let bridge: BridgeServer | null = null;
  let socketPath = '';
  const image = await start(async (path) => {
    socketPath = path;
    return (bridge = await bridgeAt(path));
  }, { recipe: 'gpu', exportMs: 1000 });
  const collector = new Collector();
  await collector.listen();
  const source = (): AgentSource => ({ label: 'replay', name: bridge === null ? 'connection_lost' : 'ready', detail: bridge === null ? 'the bridge is gone' : '' });
  const agent = startAgent({ exportSocket: image.exportSocket, otlp: collector.targets(), source, intervalMs: 1000, selfIntervalMs: 1000, hostName: 'node-a' });
  const exporter = await startExporter(agent, PROMETHEUS);
  const get = async (path: string): Promise<{ status: number; body: string }> => {
    const answer = await fetch(new URL(path, exporter.url));
    return { status: answer.status, body: await answer.text() };
  };
  try {
    await until('ready', async () => (await get('-/ready')).status === 200, PATIENCE_MS).catch(async (error: unknown) => {
      throw new Error(`${(error as Error).message}: ${(await get('-/ready')).body}\n${image.console()}`);
    });
    assert.equal((await get('health')).status, 200);
    await until('three scrapes', () => agent.store.state('gpu').scrapes >= 3, PATIENCE_MS);
    await until("the image's own series, spans and records", () => agent.store.state('self').scrapes >= 2 && collector.of('/v1/traces').length > 0 && collector.of('/v1/logs').length > 0, PATIENCE_MS);

    const page = (await get('metrics')).body;
    for (const name of ['hw_power_watts', 'hw_temperature_celsius', 'hw_gpu_utilization_ratio', 'hw_gpu_memory_usage_bytes', 'hw_energy_joules_total', 'hw_gpu_io_bytes_total', 'hw_errors_total']) {
      const gpus = new Set(page.split('\n').filter((line) => line.startsWith(`${name}{`) && line.includes('hw_type="gpu"')).map((line) => /hw_gpu_index="(\d+)"/.exec(line)?.[1]));
      assert.deepEqual([...gpus].sort(), ['0', '1', '2', '3', '4', '5', '6', '7'], name);
    }
    assert.ok(page.split('\n').filter((line) => line.startsWith('hw_gpu_nvlink_io_bytes_total{')).length >= 8 * 18);
    for (const line of page.split('\n').filter((row) => row.startsWith('hw_'))) assert.match(line, /[{,]source="replay"[,}]/);
    assert.equal(page.split('\n').filter((line) => line.startsWith('vigil_gpu_info{')).length, 8);
    const families = new Set(gpuMetrics.map(({ name, unit, instrument }) => metricName({ name, unit, kind: instrument === 'gauge' ? 'gauge' : 'sum', monotonic: instrument === 'counter' })));
    for (const [name] of page.matchAll(/^hw_\w+(?=\{)/gm)) assert.ok(families.has(name), `${name} is in abi/gpu-metrics.toml`);
    // The guest's own series are rows of the table, with its attributes (a counter that never counted is not there yet).
    const rows = new Map(selfMetrics.filter(({ by }) => !['host', 'supervisor'].includes(by)).flatMap((row) => familiesOf(row).map((name) => [name, row])));
    for (const line of page.split('\n').filter((text) => text.includes('vigil_producer="') && !text.includes('vigil_producer="host"') && !text.startsWith('target_info'))) {
      const name = /^\w+/.exec(line)![0];
      const row = rows.get(name);
      assert.ok(row !== undefined, `${line}: a row of abi/self-metrics.toml`);
      assert.ok(line.includes(`vigil_producer="${row.by}"`), line);
      for (const key of row.attributes) assert.ok(line.includes(`${key === 'vigil.source' ? 'source' : key.replaceAll('.', '_')}="`), `${line}: ${key}`);
    }
    for (const name of ['vigil_exportd_frames_total', 'vigil_receiver_emissions_total', 'vigil_receiver_samples_total']) assert.match(page, new RegExp(`^${name}\\{`, 'm'));

    if (promtool) {
      const judged = spawnSync('promtool', ['check', 'metrics'], { input: page, encoding: 'utf8' });
      assert.deepEqual([judged.status, judged.stderr], [0, '']);
    }

    const down = bridge!;
    bridge = null;
    await down.close();
    assert.deepEqual([(await get('health')).status, (await get('-/ready')).status, (await get('-/healthy')).status], [503, 503, 200]);
    assert.equal((await get('health')).body, 'the replay source is connection_lost: the bridge is gone\n');
    await until('the last requests to be taken', () => [...agent.posters.values()].every(({ counters }) => counters.queued === 0), PATIENCE_MS);
    // Two looks around the last request: no scrape came between them.
    let [shown, sent] = [new Map<string, number>(), new Map<string, number>()];
    await until('no more scrapes', async () => {
      const before = agent.store.state('gpu').scrapes;
      shown = samples((await get('metrics')).body, 'hw_');
      const last = collector.of('/v1/metrics').filter((message) => flatten([message]).some(({ name }) => name.startsWith('hw.')));
      sent = expected(flatten(last.slice(-1)));
      return before === agent.store.state('gpu').scrapes && before === last.length;
    }, MAX_AGE_MS);
    assert.ok(shown.size > 400, `${shown.size} series`);
    assert.deepEqual([...shown].sort(), [...sent].sort());

    await until('old values to disappear', async () => samples((await get('metrics')).body, 'hw_').size === 0, 2 * MAX_AGE_MS);
    const own = (await get('metrics')).body;
    assert.match(own, /^vigil_ready\{.*\} 0$/m);
    assert.match(own, /^vigil_source_up\{.*source="replay".*\} 0$/m);
    assert.match(own, /vigil_producer="dcgmd"/, "the guest's own series go on");

    bridge = await bridgeAt(socketPath);
    await until('ready again', async () => (await get('-/ready')).status === 200, PATIENCE_MS);
    assert.ok(samples((await get('metrics')).body, 'hw_').size > 400);
    assert.ok(!/FAIL|PANIC|trap/.test(image.console()), image.console());
    assert.deepEqual([agent.link!.counters.gaps, agent.link!.counters.badRequest], [0n, 0]);
  } finally {
    await exporter.close();
    await agent.close(0);
    await image.stop();
    await (bridge as BridgeServer | null)?.close().catch(() => undefined); // the first was closed with the image, or by this test
    await collector.close();
  }
});
