// SPDX-License-Identifier: Apache-2.0
// Owns: DCGM as a source: the seven client methods over one engine. Invariant: what the guest watches are entities of the last listing;
// when the set of entities has changed, a read answers `entity_not_found` once, so that the guest enumerates anew.
// Limits: watches_max watches a session; the listing is compared every reenumerate_ms while values are read.
import { limit } from '../protocol.js';
import { SourceError, type Entity, type Sample, type Source, type WatchRequest } from '../source.js';
import { Engine, type EngineHooks, type EngineOptions } from './engine.js';
import { Enumerator } from './enumerate.js';
import { Watch } from './watch.js';

export class DcgmSource implements Source {
  readonly label = 'dcgm';
  private readonly engine: Engine;
  private readonly enumerator: Enumerator;
  private watches = new Map<number, Watch>();
  private nextWatch = 1;
  private entities: readonly Entity[] | null = null;
  private listedAtMs = 0;

  constructor(options: EngineOptions, private readonly hooks: EngineHooks) {
    this.engine = new Engine(options, hooks);
    this.enumerator = new Enumerator(this.engine);
  }

  async connect(): Promise<void> {
    if (this.engine.connected) throw new SourceError('already_connected', 'one session at a time');
    this.forget();
    await this.engine.connect();
  }

  async startEmbedded(): Promise<void> { await this.engine.startEmbedded(); }

  async enumerate(): Promise<readonly Entity[]> {
    this.entities = await this.enumerator.list();
    this.listedAtMs = Date.now();
    if (this.entities.length === 0) this.hooks.state('no_gpus', 'the engine has no entity');
    else this.hooks.state('ready', `${this.entities.length} entities`);
    return this.entities;
  }

  async watch(request: WatchRequest): Promise<number> {
    if (!this.engine.connected) throw new SourceError('not_connected', 'connect first');
    if (this.watches.size >= limit('watches_max')) throw new SourceError('over_limit', 'too many watches');
    if (request.fieldIds.length === 0) throw new SourceError('bad_request', 'a watch names at least one field');
    const listed = this.entities ?? (await this.enumerate());
    for (const { group, id } of request.entities) {
      const there = listed.some((entity) => entity.group === group && entity.id === id);
      if (!there) throw new SourceError('entity_not_found', `entity ${group}:${id}`);
    }
    const watch = await Watch.create(this.engine, request, request.entities.length > 0 ? request.entities : listed);
    const id = this.nextWatch++;
    this.watches.set(id, watch);
    return id;
  }

  async latestValues(watchId: number): Promise<readonly Sample[]> {
    if (!this.engine.connected) throw new SourceError('not_connected', 'connect first');
    const watch = this.watches.get(watchId);
    if (watch === undefined) throw new SourceError('bad_request', `watch ${watchId} is not known`);
    if (Date.now() - this.listedAtMs >= limit('reenumerate_ms')) await this.compareListing();
    return watch.read();
  }

  private async compareListing(): Promise<void> {
    const before = this.entities ?? [];
    const now = await this.enumerate();
    const same = before.length === now.length && before.every((entity, i) => {
      const other = now[i]!;
      return entity.group === other.group && entity.id === other.id && entity.uuid === other.uuid;
    });
    if (!same) throw new SourceError('entity_not_found', 'the entities have changed');
  }

  version(): string {
    const { versions, libraryPath, options } = this.engine;
    if (versions === null) throw new SourceError('not_connected', 'connect first');
    return `source:dcgm;dcgm:${versions.engine};client:${versions.client};library:${libraryPath ?? ''};mode:${options.mode};`;
  }

  async close(): Promise<void> {
    if (this.engine.embeddedRuns && this.engine.connected) for (const watch of this.watches.values()) await watch.drop();
    this.forget();
    await this.engine.disconnect();
  }

  /** Gives back the library as well; afterwards the process ends. */
  stop(): Promise<void> { return this.engine.stop(); }

  private forget(): void {
    this.watches.clear();
    this.entities = null;
    this.enumerator.forget();
  }
}

