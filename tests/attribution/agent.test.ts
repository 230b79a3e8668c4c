// SPDX-License-Identifier: Apache-2.0
// From a kubelet and a job mapping directory to the exporter's page: labels on the points, what the attribution counts, and what is left when
// the kubelet goes.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { combineAttributors } from '../../runtime/attribution/attributor.js';
import { JobMappingAttributor } from '../../runtime/attribution/job-mapping.js';
import { KubernetesAttributor } from '../../runtime/attribution/kubernetes.js';
import { ATTRIBUTION_LIMITS } from '../../runtime/attribution/limits.js';
import { startAgent } from '../../runtime/export/agent.js';
import { startExporter } from '../../runtime/export/exporter.js';
import { targetsFrom } from '../../runtime/export/otlp/env.js';
import { GPU0, NOW_NS, gpuRequest } from '../export/requests.js';
import { FakeKubelet, pod } from './fake-kubelet.js';

const uuid = (n: number): string => `GPU-5c819ed0-0000-0000-0000-${String(n).padStart(12, '0')}`;

test('pods and jobs reach /metrics under OpenTelemetry\'s names and dcgm-exporter\'s', async (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'vigil-attribution-'));
  const kubelet = new FakeKubelet(join(dir, 'kubelet.sock'));
  kubelet.pods = [pod('train', [`${uuid(0)}::0`]), pod('eval', [`${uuid(0)}::1`])];
  await kubelet.start();
  writeFileSync(join(dir, '1'), '4711\n');
  let nowMs = 0;
  const kubernetes = new KubernetesAttributor({ socket: kubelet.socket, prefixes: ['nvidia.com/'], now: () => nowMs, refreshMs: 600_000 });
  const attribution = combineAttributors([kubernetes, new JobMappingAttributor({ directory: dir, now: () => nowMs, refreshMs: 600_000 })]);
  const clock = { wallNs: () => NOW_NS, monoNs: () => NOW_NS };
  const agent = startAgent({ otlp: targetsFrom({}), source: () => ({ label: 'replay', name: 'ready', detail: '' }), attribution, clock, hostName: 'n' });
  const exporter = await startExporter(agent, { listen: '127.0.0.1:0', webConfigFile: '', dcgmNames: true, translation: 'UnderscoreEscapingWithSuffixes' });
  context.after(async () => {
    await exporter.close();
    await agent.close(0);
    await attribution.close();
    await kubelet.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  await attribution.start();
  let scrape = 0n;
  const lines = async (name: string): Promise<string[]> => {
    const gpus = [0, 1, 2].map((n) => ({ attributes: { ...GPU0, 'hw.id': uuid(n), 'hw.gpu.index': String(n) }, metrics: [{ name: 'hw.power', unit: 'W', points: [{ value: 100 + n }] }] }));
    const part = { stream: 'gpu' as const, source: 'replay', part: 0, parts: 1, scrape: ++scrape, seq: scrape, request: Buffer.from(gpuRequest(gpus)) };
    assert.equal(agent.handler.metrics(part), 'ok');
    return (await (await fetch(`${exporter.url}metrics`)).text()).split('\n').filter((line) => line.startsWith(`${name}{`));
  };
  const having = (rows: string[], ...labels: string[]): number => rows.filter((row) => labels.every((label) => row.includes(label))).length;
  const power = await lines('hw_power_watts');
  assert.equal(power.length, 4, 'two users of GPU 0, one of GPU 1, none of GPU 2');
  for (const name of ['train', 'eval']) assert.equal(having(power, `k8s_pod_name="${name}"`, 'k8s_namespace_name="ml"', `k8s_container_name="${name}-main"`, 'hw_gpu_index="0"'), 1);
  assert.equal(having(power, 'hpc_job_id="4711"', 'hw_gpu_index="1"'), 1);
  assert.equal(having(power, 'k8s_pod_name'), 2);
  const dcgm = await lines('DCGM_FI_DEV_POWER_USAGE');
  assert.equal(having(dcgm, 'pod="train"', 'namespace="ml"', 'container="train-main"', 'gpu="0"'), 1);
  assert.equal(having(dcgm, 'hpc_job="4711"', 'gpu="1"'), 1);
  const seen = await lines('vigil_attribution_seen');
  assert.equal(having(seen, 'item="kubernetes_devices"', '} 2'), 1);
  assert.equal(having(await lines('vigil_attribution_up'), 'attribution="kubernetes"', 'state="ok"', '} 1'), 1);
  await kubelet.stop();
  await kubernetes.refresh();
  assert.equal(having(await lines('hw_power_watts'), 'k8s_pod_name'), 2, 'for a while the last answer counts');
  nowMs = ATTRIBUTION_LIMITS.holdMs + 1;
  assert.deepEqual([(await lines('hw_power_watts')).length, having(await lines('hw_power_watts'), 'k8s_pod_name')], [3, 0]);
  assert.equal(having(await lines('vigil_attribution_up'), 'attribution="kubernetes"', 'state="socket_absent"', '} 0'), 1);
  assert.equal(having(await lines('vigil_attribution_events_total'), 'event="kubernetes_failures_socket_absent"', '} 1'), 1);
});
