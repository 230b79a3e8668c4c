// SPDX-License-Identifier: Apache-2.0
// Owns: what the agent tells of itself, its link, its posters, its source and its process: readers of the rows with by = "host".
// Invariant: a counter of another part is read when somebody looks, never copied, so nothing can be counted twice.
// Limits: none of its own.
import type { RunningAgent } from './agent.js';
import { DROP_REASONS, type Poster } from './otlp/poster.js';
import type { Value } from './otlp/model.js';
import type { Labels, Reading } from './own-series.js';
import { STREAMS } from './prometheus/store.js';
import { VERSION } from './version.js';

const text = (value: Value | undefined): string => (value === undefined ? '' : String(value));

/** One series a GPU, to join others with. The engine's version is known while it answers. */
function* gpuInfo(agent: RunningAgent): Generator<Reading> {
  const { label, name, detail } = agent.source();
  const version = name === 'ready' && label === 'dcgm' ? /^engine (\S+)/.exec(detail)?.[1] : undefined;
  for (const { attributes } of agent.shown('gpu')) {
    if (attributes.get('hw.type') !== 'gpu' || attributes.get('hw.gpu.mig.instance_id') !== undefined) continue;
    const of = (key: string): string => text(attributes.get(key));
    yield [{
      'hw.id': of('hw.id'), 'hw.gpu.index': of('hw.gpu.index'), 'hw.model': of('hw.model') || of('hw.name'),
      'hw.gpu.pci.bdf': of('hw.gpu.pci.bdf'), 'hw.driver_version': of('hw.driver_version'), 'dcgm.version': version ?? '',
      'vigil.source': of('vigil.source'),
    }, 1];
  }
}

function countPosters({ own, posters }: RunningAgent): void {
  const each = (read: (signal: string, poster: Poster) => Reading[]) => (): Reading[] =>
     [...posters].flatMap(([signal, poster]) => read(signal, poster));
  own.read('vigil.otlp.requests', each((signal, { counters }) =>
    [[{ signal, outcome: 'sent' }, counters.sent], [{ signal, outcome: 'rejected' }, counters.rejected]]));
  own.read('vigil.exporter.dropped', each((signal, { counters }) =>
    DROP_REASONS.map((reason): Reading => [{ signal, reason }, counters.droppedBy[reason]])));
  own.read('vigil.otlp.retries', each((signal, { counters }) => [[{ signal }, counters.retries]]));
  own.read('vigil.otlp.items.rejected', each((signal, { counters }) => [[{ signal }, counters.rejectedItems]]));
  own.read('vigil.otlp.queue.requests', each((signal, { counters }) => [[{ signal }, counters.queued]]));
  own.read('vigil.otlp.queue.size', each((signal, { counters }) => [[{ signal }, counters.queuedBytes]]));
}

/** Registers every reader; the counters that start at zero are set, so that a rate over them has a beginning. */
export function countAgent(agent: RunningAgent): void {
  const { own } = agent;
  const one = (name: string, read: () => number | bigint | null, labels: Labels = {}): void => {
    own.read(name, () => { const value = read(); return value === null ? [] : [[labels, value]]; });
  };
  for (const name of ['vigil.export.generations', 'vigil.export.lost', 'vigil.attribution.points', 'vigil.attribution.dropped']) {
    own.add(name, {}, 0);
  }
  for (const stream of STREAMS) {
    own.add('vigil.export.scrapes', { stream }, 0);
    one('vigil.export.scrapes.incomplete', () => agent.assembler.incomplete(stream), { stream });
    one('vigil.export.series', () => agent.store.state(stream).points, { stream });
  }
  for (const signal of [...STREAMS, 'traces', 'logs']) {
    own.add('vigil.export.items', { signal }, 0);
    own.add('vigil.export.answers', { signal, verdict: 'ok' }, 0);
    own.add('vigil.export.refused', { signal, reason: 'malformed' }, 0);
  }
  one('vigil.export.connected', () => (agent.link?.connected === true ? 1 : 0));
  one('vigil.export.link.gaps', () => agent.link?.counters.gaps ?? 0);
  one('vigil.export.link.resyncs', () => agent.link?.counters.resyncs ?? 0);
  countPosters(agent);
  own.read('vigil.source.up', () => [[{ source: agent.source().label }, agent.source().name === 'ready' ? 1 : 0]]);
  own.read('vigil.source.state', () => [[{ source: agent.source().label, state: agent.source().name }, 1]]);
  own.read('vigil.gpu.info', () => gpuInfo(agent));
  own.read('vigil.attribution.up', () => (agent.options.attribution?.states?.() ?? []).map((state): Reading =>
    [{ attribution: state.source, state: state.name }, state.attributing ? 1 : 0]));
  const counted = (label: string, counts: Readonly<Record<string, number>> = {}): Reading[] =>
    Object.entries(counts).map(([name, count]) => [{ [label]: name }, count]);
  own.read('vigil.attribution.events', () => counted('event', agent.options.attribution?.counters));
  own.read('vigil.attribution.seen', () => counted('item', agent.options.attribution?.seen));
  one('vigil.sample.age', () => agent.sampleAgeS());
  one('vigil.ready', () => (agent.ready().ready ? 1 : 0));
  one('vigil.self.series.refused', () => own.refused);
  one('vigil.build.info', () => 1, { version: VERSION, node: process.versions.node });
  one('vigil.process.memory', () => process.memoryUsage.rss());
  one('vigil.process.cpu', () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6; });
  one('vigil.process.start', () => Number(agent.startNs / 1_000_000n) / 1000);
}
