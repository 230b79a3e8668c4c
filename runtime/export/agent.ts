// SPDX-License-Identifier: Apache-2.0
// Owns: what becomes of the telemetry that the guest exports: scrapes go to the store (for /metrics) and to the collector, spans and log
// records to the collector; who uses a GPU is put on its points on the way; and whether the host is ready.
// Invariant: every frame and request ends in a counter of abi/self-metrics.toml. /metrics never waits for a collector: `over_limit` is
// answered only while a full queue is being emptied (the collector took a request within PROGRESS_MS); with a collector that takes
// nothing, the oldest waiting request is dropped and counted, since guest frames come in order and newer samples would wait behind it.
// Limits: PARTS_MAX parts a scrape, POSTER_LIMITS a signal, points no older than `maxAgeMs`.
import { hostname } from 'node:os';
import type { Attributor, RunningAttributor } from '../attribution/attributor.js';
import type { SourceState } from '../bridge/answerer.js';
import { systemClock, type Clock } from '../bridge/session.js';
import { countAgent } from './agent-series.js';
import { enrich } from './enrich.js';
import { connectExport, type Batch, type ExportHandler, type ExportLink, type MetricsPart, type Verdict } from './link.js';
import { encodeMetrics } from './otlp/encode.js';
import type { Targets } from './otlp/env.js';
import { ModelError, decodeMetrics, pointCount, type Resource, type Value } from './otlp/model.js';
import { Poster, type PosterOptions } from './otlp/poster.js';
import { messageType, type Signal } from './otlp/schema.js';
import { stampResources } from './otlp/stamp.js';
import { OwnSeries } from './own-series.js';
import { Store } from './prometheus/store.js';
import { Assembler, type Scrape } from './scrapes.js';
import { worded } from './self-stream.js';
import { VERSION } from './version.js';

/** A collector that took nothing for so long is not waited for. */
export const PROGRESS_MS = 5_000;
/** What a whole scrape may need in the queue: PARTS_MAX frames. */
const SCRAPE_BYTES_MAX = 1 << 20;
/** Freshness: two intervals, and this for the way. */
const SLACK_MS = 10_000;
const CLOSE_GRACE_MS = 2_000;

/** How the source of the samples is now. `label`: row of [[source]] in abi/bridge.toml; `name` ready, or a degraded state. */
export interface AgentSource extends SourceState { readonly label: string }

export interface AgentOptions {
  /** the socket of the export port; absent: frames are handed to `handler` */
  readonly exportSocket?: string;
  readonly otlp: Targets;
  readonly source: () => AgentSource;
  readonly attribution?: Attributor & Partial<Pick<RunningAttributor, 'states' | 'counters' | 'seen'>>;
  /** What a hashed identity stands for (Bridge.rawIdentity): `attribution` is asked about the real GPU, everything else sees the hash. */
  readonly rawIdentity?: (name: string) => string | undefined;
  /** receivers.dcgm.collection_interval, guest.export_interval, receivers.dcgm.max_series_per_scrape; absent: the defaults */
  readonly intervalMs?: number; readonly selfIntervalMs?: number; readonly seriesMax?: number;
  /** `host.name` of every resource; absent: NODE_NAME (Kubernetes), else the system's */
  readonly hostName?: string;
  readonly clock?: Clock; readonly log?: (line: string) => void; readonly poster?: PosterOptions;
}

export interface Readiness { readonly ready: boolean; readonly why: string }

export interface Agent {
  readonly store: Store;
  /** the host's own series; the supervisor counts into it too */
  readonly own: OwnSeries;
  readonly handler: ExportHandler;
  readonly link: ExportLink | null;
  readonly posters: ReadonlyMap<Signal, Poster>;
  /** Whether a fresh sample of the source is exported; `why` says what is wrong, or 'ok'. */
  ready(nowMs?: number): Readiness;
  /** What is exported now: GPU telemetry and the guest's series no older than they may be, then the host's own series. */
  resources(): readonly Resource[];
  source(): AgentSource;
  /** The guest is down for this reason: its values are forgotten and nothing is ready; null: it is up. */
  hold(why: string | null): void;
  close(graceMs?: number): Promise<void>;
}

export function startAgent(options: AgentOptions): Agent {
  return new RunningAgent(options);
}

const REQUESTS = { traces: 'ExportTraceServiceRequest', logs: 'ExportLogsServiceRequest' } as const;

class RunningAgent implements Agent {
  readonly store = new Store();
  readonly own: OwnSeries;
  readonly posters: ReadonlyMap<Signal, Poster>;
  readonly link: ExportLink | null;
  readonly handler: ExportHandler = {
    hello: (generation) => { this.hello(generation); },
    metrics: (part) => this.counted(part.stream, this.metrics(part)),
    traces: (batch) => this.counted('traces', this.items('traces', batch)),
    logs: (batch) => this.counted('logs', this.items('logs', batch)),
  };
  readonly assembler = new Assembler();
  readonly clock: Clock;
  readonly startNs: bigint;
  readonly maxAgeMs: number;
  private readonly selfMaxAgeMs: number;
  private readonly host: ReadonlyMap<string, string>;
  private readonly about: ReadonlyMap<string, Value>;
  private readonly ownTimer: NodeJS.Timeout;
  private generation: bigint | null = null;
  private lost = 0n;
  private held: string | null = null;
  /** when the newest scrape of each stream came, on the clock that nobody sets: sample times alone would look fresh after a step back */
  private readonly arrivedNs = { gpu: 0n, self: 0n };
  /** label of the newest scrape's source; '' before the first */
  private shownSource = '';

  constructor(readonly options: AgentOptions) {
    const { intervalMs = 15_000, selfIntervalMs = 15_000, exportSocket, log } = options;
    this.clock = options.clock ?? systemClock;
    this.startNs = this.clock.wallNs();
    this.maxAgeMs = 2 * intervalMs + SLACK_MS;
    this.selfMaxAgeMs = 2 * selfIntervalMs + SLACK_MS;
    this.host = new Map([['host.name', options.hostName ?? (process.env.NODE_NAME || hostname())]]);
    this.about = new Map<string, Value>([
      ...this.host, ['service.name', 'vigil'], ['service.version', VERSION], ['service.instance.id', `${process.pid}-${this.startNs}`],
      ['vigil.producer', 'host'],
    ]);
    const targets = (Object.entries(options.otlp) as [Signal, Targets[Signal]][]).flatMap(([signal, target]) =>
      (target === null ? [] : [[signal, target] as const]));
    const posting = { ...options.poster, ...(log === undefined ? {} : { log }) };
    this.posters = new Map(targets.map(([signal, target]) => [signal, new Poster(signal, target, posting)]));
    this.own = new OwnSeries(this.startNs);
    countAgent(this);
    const linking = { clock: this.clock, ...(log === undefined ? {} : { log }) };
    this.link = exportSocket === undefined ? null : connectExport(exportSocket, this.handler, linking);
    this.ownTimer = setInterval(() => { this.postOwn(); }, selfIntervalMs);
    this.ownTimer.unref();
  }

  source(): AgentSource { return this.options.source(); }

  ready(nowMs = Number(this.clock.wallNs() / 1_000_000n)): Readiness {
    const not = (why: string): Readiness => ({ ready: false, why });
    if (this.held !== null) return not(`the guest is down: ${this.held}`);
    const { label, name, detail } = this.source();
    if (name !== 'ready') return not(`the ${label} source is ${name}${detail === '' ? '' : `: ${detail}`}`);
    const { newestNs } = this.store.state('gpu');
    if (newestNs === 0n) return not(`no sample of the ${label} source was exported yet`);
    if (this.shownSource !== label) return not(`the newest sample is of ${this.shownSource}, the source is ${label}`);
    const ageMs = nowMs - Number(newestNs / 1_000_000n);
    if (ageMs > this.maxAgeMs) return not(`the newest sample is ${(ageMs / 1000).toFixed(1)} s old, at most ${this.maxAgeMs / 1000} s`);
    const silentMs = this.silentMs('gpu');
    if (silentMs > this.maxAgeMs) return not(`no scrape came for ${(silentMs / 1000).toFixed(1)} s, at most ${this.maxAgeMs / 1000} s`);
    return { ready: true, why: 'ok' };
  }

  /** Age of the newest GPU sample in seconds; null before the first. */
  sampleAgeS(): number | null {
    const { newestNs } = this.store.state('gpu');
    return newestNs === 0n ? null : Number((this.clock.wallNs() - newestNs) / 1_000_000n) / 1000;
  }

  resources(): readonly Resource[] {
    return [...this.shown('gpu'), ...this.shown('self'), this.ownResource()];
  }

  /** The visible scrape of a stream without what is too old; nothing while the guest is down. */
  shown(stream: 'gpu' | 'self'): Resource[] {
    const maxAgeMs = stream === 'gpu' ? this.maxAgeMs : this.selfMaxAgeMs;
    if (this.held !== null || this.silentMs(stream) > maxAgeMs) return [];
    return this.store.shown(stream, this.clock.wallNs(), BigInt(maxAgeMs) * 1_000_000n);
  }

  private silentMs(stream: 'gpu' | 'self'): number {
    return Number((this.clock.monoNs() - this.arrivedNs[stream]) / 1_000_000n);
  }

  hold(why: string | null): void {
    if (why !== null) this.store.clear();
    this.held = why;
  }

  async close(graceMs = CLOSE_GRACE_MS): Promise<void> {
    clearInterval(this.ownTimer);
    this.link?.close();
    await Promise.all([...this.posters.values()].map((poster) => poster.close(graceMs)));
  }

  private hello(generation: bigint): void {
    if (generation === this.generation) return;
    this.generation = generation;
    this.lost = 0n;
    this.assembler.restart();
    this.own.add('vigil.export.generations');
  }

  private counted(signal: string, verdict: Verdict): Verdict {
    this.own.add('vigil.export.answers', { signal, verdict });
    return verdict;
  }

  private refuse(signal: string, reason: string): Verdict {
    this.own.add('vigil.export.refused', { signal, reason });
    return 'bad_request';
  }

  /** No room now, and worth waiting for. */
  private waits(signal: Signal, sizeBytes: number): boolean {
    const poster = this.posters.get(signal);
    return poster !== undefined && !poster.hasRoom(sizeBytes) && poster.sinceSentMs() < PROGRESS_MS;
  }

  private post(signal: Signal, bytes: Uint8Array): void {
    const poster = this.posters.get(signal);
    if (poster === undefined) this.own.add('vigil.otlp.requests', { signal, outcome: 'not_configured' });
    else poster.post(bytes);
  }

  private metrics(part: MetricsPart): Verdict {
    if (this.waits('metrics', SCRAPE_BYTES_MAX)) return 'over_limit';
    let resources: Resource[];
    try {
      resources = decodeMetrics(part.request);
    } catch (error) {
      if (error instanceof ModelError) return this.refuse(part.stream, error.reason);
      throw error;
    }
    const taken = this.assembler.take({ ...part, resources });
    if (taken.kind === 'refused') return this.refuse(part.stream, 'part');
    if (taken.kind !== 'duplicate') this.own.add('vigil.export.items', { signal: part.stream }, pointCount(resources));
    if (taken.kind === 'complete') this.complete(part.stream, taken.scrape);
    return 'ok';
  }

  private complete(stream: 'gpu' | 'self', scrape: Scrape): void {
    const { attribution, seriesMax = 1024 } = this.options;
    const here = scrape.resources.map((resource) =>
      ({ ...resource, attributes: new Map<string, Value>([...this.host, ...resource.attributes]) }));
    this.own.add('vigil.export.scrapes', { stream });
    this.arrivedNs[stream] = this.clock.monoNs();
    if (stream === 'gpu') this.shownSource = scrape.source;
    if (stream === 'self') {
      const resources = here.map(worded);
      this.store.take(stream, resources);
      this.post('metrics', encodeMetrics(resources));
      return;
    }
    if (attribution === undefined) {
      this.store.take(stream, here);
      this.post('metrics', stampResources(scrape.bytes, this.host));
      return;
    }
    const users = { attributes: (entity: ReadonlyMap<string, Value>) => attribution.attributes(this.unhashed(entity)) };
    const { resources, attributed, leftOut } = enrich(here, users, seriesMax);
    this.own.add('vigil.attribution.points', {}, attributed);
    this.own.add('vigil.attribution.dropped', {}, leftOut);
    this.store.take(stream, resources);
    this.post('metrics', encodeMetrics(resources));
  }

  private unhashed(entity: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
    const { rawIdentity } = this.options;
    if (rawIdentity === undefined) return entity;
    return new Map([...entity].map(([key, value]) => [key, typeof value === 'string' ? (rawIdentity(value) ?? value) : value]));
  }

  private items(signal: 'traces' | 'logs', { items, lost, request }: Batch): Verdict {
    if (this.waits(signal, request.length)) return 'over_limit';
    let stamped: Uint8Array;
    try {
      messageType(REQUESTS[signal]).decode(request);
      stamped = stampResources(request, this.host);
    } catch {
      return this.refuse(signal, 'malformed');
    }
    this.own.add('vigil.export.items', { signal }, items);
    if (lost > this.lost) this.own.add('vigil.export.lost', {}, Number(lost - this.lost));
    if (lost > this.lost) this.lost = lost;
    this.post(signal, stamped);
    return 'ok';
  }

  private ownResource(): Resource {
    return this.own.resource(this.about, VERSION, this.clock.wallNs());
  }

  /** The host's own series go to the collector too; while its queue is full they are left out: the next says the same and more. */
  private postOwn(): void {
    const poster = this.posters.get('metrics');
    if (poster === undefined) return;
    const bytes = encodeMetrics([this.ownResource()]);
    if (poster.hasRoom(bytes.length)) poster.post(bytes);
    else this.own.add('vigil.exporter.dropped', { signal: 'metrics', reason: 'superseded' });
  }
}

export type { RunningAgent };

/** The source of a bridge that runs in this process. */
export function bridgeSource(bridge: { readonly source: string; state(): SourceState }): AgentSource {
  return { label: bridge.source, ...bridge.state() };
}
