// SPDX-License-Identifier: Apache-2.0
// Owns: what every replayed source shares: the session, watches, and reading cells of a node whose state is a function of elapsed time.
// Invariant: the label is `replay`; a read after the set of entities changed answers `entity_not_found`, one while the engine is away
// `connection_lost`, as the real ones do. Limits: entities, fields and watches as in abi/bridge.toml.
import { catalogField, hasField, type CatalogField } from '../catalog.js';
import { limit } from '../protocol.js';
import { SourceError, type Entity, type EntityRef, type Sample, type Source, type WatchRequest } from '../source.js';

/** Milliseconds from any origin, never going back. */
export type MonotonicMs = () => number;

export abstract class TimelineSource implements Source {
  readonly label = 'replay';
  private connected = false;
  private listed: readonly Entity[] | null = null;
  private watches = new Map<number, WatchRequest>();
  private nextWatch = 1;
  private originMs: number | null = null;

  constructor(private readonly nowMs: MonotonicMs = () => performance.now()) {}

  /** Entities at an instant; the same array as long as they are the same. */
  protected abstract entitiesAt(elapsedMs: number): readonly Entity[];
  /** One cell. `nowUs` is the host's wall time, which sample times are rebased to. */
  protected abstract cell(entity: EntityRef, field: CatalogField, elapsedMs: number, nowUs: bigint): Sample;
  /** True while the engine of this node does not answer. */
  protected down(_elapsedMs: number): boolean { return false; }
  abstract version(): string;

  connect(): void {
    if (this.connected) throw new SourceError('already_connected', 'one session at a time');
    if (this.down(this.elapsedMs())) throw new SourceError('unavailable', 'the engine is away');
    this.connected = true;
  }

  startEmbedded(): void {
    throw new SourceError('unsupported', 'a replay has no engine to start');
  }

  enumerate(): readonly Entity[] {
    this.needSession();
    this.listed = this.entitiesAt(this.elapsedMs());
    return this.listed;
  }

  watch(request: WatchRequest): number {
    this.needSession();
    if (this.watches.size >= limit('watches_max')) throw new SourceError('over_limit', 'too many watches');
    if (request.fieldIds.length === 0) throw new SourceError('bad_request', 'a watch names at least one field');
    for (const fieldId of request.fieldIds) {
      if (catalogField(fieldId) === undefined) throw new SourceError('field_not_supported', `field ${fieldId}`);
    }
    const listed = this.listed ?? this.enumerate();
    for (const { group, id } of request.entities) {
      const there = listed.some((entity) => entity.group === group && entity.id === id);
      if (!there) throw new SourceError('entity_not_found', `entity ${group}:${id}`);
    }
    const id = this.nextWatch++;
    this.watches.set(id, request);
    return id;
  }

  latestValues(watchId: number, wallNs: bigint): readonly Sample[] {
    this.needSession();
    const watch = this.watches.get(watchId);
    if (watch === undefined) throw new SourceError('bad_request', `watch ${watchId} is not known`);
    const elapsedMs = this.elapsedMs();
    if (this.entitiesAt(elapsedMs) !== this.listed) throw new SourceError('entity_not_found', 'the entities have changed');
    const entities = watch.entities.length > 0 ? watch.entities : this.listed;
    const fields = watch.fieldIds.map((id) => catalogField(id)!);
    return entities.flatMap((entity) => fields.filter((field) => hasField(entity.group, field))
      .map((field) => this.cell(entity, field, elapsedMs, wallNs / 1000n)));
  }

  close(): void {
    this.connected = false;
    this.listed = null;
    this.watches.clear();
  }

  /** Time since the first connect of this source's life. */
  private elapsedMs(): number {
    this.originMs ??= this.nowMs();
    return this.nowMs() - this.originMs;
  }

  protected needSession(): void {
    if (!this.connected) throw new SourceError('not_connected', 'connect first');
    if (!this.down(this.elapsedMs())) return;
    this.close();
    throw new SourceError('connection_lost', 'the engine is away');
  }
}
