// SPDX-License-Identifier: Apache-2.0
// Owns: an agent with two GPUs, spans' worth of own series and an exporter on it, for tests of the pages. Not a test by itself.
// Invariant: values are told by GPU and second, so that a test can say what must come back. Limits: two GPUs, one scrape.
import { startAgent, type Agent, type AgentOptions } from '../../runtime/export/agent.js';
import { startExporter, type Exporter } from '../../runtime/export/exporter.js';
import { targetsFrom } from '../../runtime/export/otlp/env.js';
import type { Page } from '../../runtime/export/http/server.js';
import { GPU0, gpuRequest } from './requests.js';

export const PROMETHEUS = { listen: '127.0.0.1:0', webConfigFile: '', dcgmNames: false, translation: 'UnderscoreEscapingWithSuffixes' } as const;
const SOURCE = { label: 'replay', name: 'ready', detail: '' };

export interface Node { readonly agent: Agent; readonly exporter: Exporter; scrape(scrape: bigint, timeNs?: bigint): void; close(): Promise<void> }

/** GPU 0 draws 100 W and GPU 1 101 W; both have used 5000 J. */
export function gpus(timeNs: bigint): Buffer {
  return Buffer.from(gpuRequest([0, 1].map((index) => ({
    attributes: { ...GPU0, 'hw.id': `GPU-000${index}`, 'hw.gpu.index': String(index), 'hw.gpu.pci.bdf': `00000000:5${index}:00.0` },
    metrics: [
      { name: 'hw.power', unit: 'W', points: [{ value: 100 + index, timeNs }] },
      { name: 'hw.energy', unit: 'J', kind: 'counter', points: [{ value: 5000, timeNs, startNs: timeNs - 1000n }] },
      { name: 'hw.gpu.utilization', unit: '1', points: [{ value: 0.5, timeNs, attributes: { 'hw.gpu.task': 'general' } }] },
    ],
  }))));
}

export async function startNode(options: Partial<AgentOptions> = {}, config: Partial<Parameters<typeof startExporter>[1]> = {}, pages?: Map<string, Page>): Promise<Node> {
  const agent = startAgent({ otlp: targetsFrom({}), source: () => SOURCE, hostName: 'node-a', ...options });
  const exporter = await startExporter(agent, { ...PROMETHEUS, ...config }, pages, options.log ? { log: options.log } : {});
  agent.handler.hello(1n);
  let seq = 0n;
  return {
    agent, exporter,
    scrape: (scrape, timeNs = BigInt(Date.now()) * 1_000_000n) => {
      agent.handler.metrics({ stream: 'gpu', source: 'replay', part: 0, parts: 1, scrape, seq: ++seq, request: gpus(timeNs) });
    },
    close: async () => { await exporter.close(); await agent.close(0); },
  };
}
