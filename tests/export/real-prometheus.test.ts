// SPDX-License-Identifier: Apache-2.0
// A real Prometheus scrapes a running exporter, over HTTP and over TLS with basic authentication, and its API answers with our series.
// Skipped by name where Prometheus is not installed (package prometheus; scripts/setup/peers.mjs fetches it for CI).
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import bcrypt from 'bcryptjs';
import { onPath } from '../../scripts/gate/find-qemu.js';
import { until } from './collector.js';
import { startNode, type Node } from './fixtures.js';

const prometheus = onPath('prometheus');
const skip = prometheus === null ? 'prometheus is not installed' : false;
const PATIENCE_MS = 60_000;
const dir = mkdtempSync(join(tmpdir(), 'vigil-prometheus-'));
const ends: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
  rmSync(dir, { recursive: true, force: true });
});
const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/** A certificate for 127.0.0.1, a password file, and the exporter's web configuration over them. */
function webConfig(): string {
  const made = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=vigil', '-addext', 'subjectAltName=IP:127.0.0.1',
    '-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem'),
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  file('password', 'secret');
  return file('web.yml', `tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  scraper: ${bcrypt.hashSync('secret', 4)}\n`);
}

interface Sample { metric: Record<string, string>; value: [number, string] }
class Prometheus {
  private child: ChildProcess | null = null;
  private log = '';
  private port = 0;
  async start(config: string): Promise<void> {
    this.port = await freePort();
    this.child = spawn(prometheus!, [
      `--config.file=${config}`, `--storage.tsdb.path=${join(dir, 'tsdb')}`, `--web.listen-address=127.0.0.1:${this.port}`, '--log.level=warn',
    ], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr!.on('data', (chunk: Buffer) => { this.log += String(chunk); });
    await until('Prometheus is ready', async () => (await fetch(`http://127.0.0.1:${this.port}/-/ready`).then(({ ok }) => ok, () => false)), PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${this.log}`);
    });
  }
  async stop(): Promise<void> {
    if (this.child === null) return;
    const ended = new Promise((resolve) => { this.child!.once('close', resolve); });
    this.child.kill('SIGTERM');
    await ended;
  }
  private async api(path: string): Promise<never> {
    const answer = await fetch(`http://127.0.0.1:${this.port}/api/v1/${path}`);
    const { status, data } = (await answer.json()) as { status: string; data: never };
    assert.equal(status, 'success');
    return data;
  }
  async query(text: string): Promise<Sample[]> { return ((await this.api(`query?query=${encodeURIComponent(text)}`)) as { result: Sample[] }).result; }
  async targets(): Promise<{ health: string; lastError: string; labels: Record<string, string> }[]> { return ((await this.api('targets')) as { activeTargets: never }).activeTargets; }
  async metadata(name: string): Promise<{ type: string; help: string }[]> { return ((await this.api(`metadata?metric=${name}`)) as Record<string, never>)[name] ?? []; }
}

test('Prometheus scrapes the exporter over HTTP, and over TLS with a password; its answers are our values', { skip, timeout: 3 * PATIENCE_MS }, async () => {
  const open: Node = await startNode({}, { dcgmNames: true });
  const closed: Node = await startNode({}, { webConfigFile: webConfig() });
  ends.push(() => open.close(), () => closed.close());
  const feed = setInterval(() => { for (const node of [open, closed]) node.scrape(BigInt(Date.now())); }, 250);
  ends.push(() => { clearInterval(feed); return Promise.resolve(); });
  const job = (name: string, more: string, port: number): string => `  - job_name: ${name}\n${more}    static_configs:\n      - targets: ['127.0.0.1:${port}']\n`;
  const tls = `    scheme: https\n    tls_config:\n      ca_file: ${join(dir, 'cert.pem')}\n`;
  const config = file('prometheus.yml', `global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n${
    job('open', '', open.exporter.port)
  }${job('closed', `${tls}    basic_auth:\n      username: scraper\n      password_file: ${join(dir, 'password')}\n`, closed.exporter.port)
  }${job('stranger', tls, closed.exporter.port)}`);
  const peer = new Prometheus();
  ends.push(() => peer.stop());
  await peer.start(config);
  await until('two good targets and one that is refused', async () => (await peer.query('up == 1')).length === 2 && (await peer.query('up == 0')).length === 1, PATIENCE_MS);

  const targets = new Map((await peer.targets()).map((target) => [target.labels.job!, target]));
  assert.deepEqual(['open', 'closed', 'stranger'].map((name) => targets.get(name)!.health), ['up', 'up', 'down']);
  assert.match(targets.get('stranger')!.lastError, /401/);
  const values = async (query: string): Promise<[string, string, number][]> =>
    (await peer.query(query)).map(({ metric, value }): [string, string, number] => [metric.job!, metric.hw_id ?? metric.UUID ?? '', Number(value[1])]).sort();
  for (const [query, each] of [
    ['hw_power_watts{source="replay"}', [100, 101]], ['hw_energy_joules_total', [5000, 5000]], ['hw_gpu_utilization_ratio{hw_gpu_task="general"}', [0.5, 0.5]],
  ] as const) {
    assert.deepEqual(await values(query), ['closed', 'open'].flatMap((name) => each.map((value, i): [string, string, number] => [name, `GPU-000${i}`, value])), query);
  }
  assert.deepEqual(await values('DCGM_FI_DEV_POWER_USAGE'), [['open', 'GPU-0000', 100], ['open', 'GPU-0001', 101]]);
  const joined = await peer.query('hw_power_watts{job="open"} * on (hw_id) group_left (hw_model) vigil_gpu_info{job="open"}');
  assert.deepEqual(joined.map(({ metric, value }) => [metric.hw_model, value[1]]), [['NVIDIA H100 80GB HBM3', '100'], ['NVIDIA H100 80GB HBM3', '101']]);
  assert.deepEqual((await peer.query('vigil_ready')).map(({ value }) => value[1]), ['1', '1']);
  assert.deepEqual((await peer.query('{__name__=~".+", source="", hw_id!=""}')).filter(({ metric }) => metric.source === undefined), [], 'every GPU series says its source');
  assert.deepEqual((await peer.query('{__name__=~".+", exported_job!=""}')), [], 'nothing of ours collides with the labels of the scrape');
  assert.deepEqual((await peer.metadata('hw_power_watts')).map(({ type }) => type), ['gauge']);
  // Prometheus negotiates OpenMetrics, which names a counter's family without _total.
  assert.deepEqual((await peer.metadata('hw_energy_joules')).map(({ type }) => type), ['counter']);
  open.agent.hold('panic');
  await until('the old values are gone', async () => (await peer.query('hw_power_watts{job="open"}')).length === 0, PATIENCE_MS);
  assert.deepEqual((await peer.query('up{job="open"}')).map(({ value }) => value[1]), ['1']);
  assert.deepEqual((await peer.query('vigil_ready{job="open"}')).map(({ value }) => value[1]), ['0']);
});
