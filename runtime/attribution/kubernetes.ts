// SPDX-License-Identifier: Apache-2.0
// Owns: which pods hold which GPU, as attributes of OpenTelemetry's Kubernetes conventions.
// Invariant: only what the kubelet says; a pod stands once at an entity however many shares of it it holds; what is unknown, unhealthy,
// cut or claimed otherwise is counted. Limits: ATTRIBUTION_LIMITS; a claim of dynamic resource allocation names a device of a driver's
// own pool, which only the API server can place: such claims are counted, not attributed.
import type { Value } from '../export/otlp/model.js';
import { cleanValue, prefixed, type RunningAttributor } from './attributor.js';
import { keysOfDevice, keysOfEntity, parseDeviceId, type Device } from './devices.js';
import { ATTRIBUTION_LIMITS } from './limits.js';
import type { MigNames } from './mig-names.js';
import { readPodResources, type ContainerDevices, type PodResourcesAnswer } from './pod-resources.js';
import { Refresher, type RefreshOptions } from './refresh.js';

export interface KubernetesOptions extends RefreshOptions {
  readonly socket: string;
  /** resource names that are ours: those that begin with one of these */
  readonly prefixes: readonly string[];
  /** who can place MIG UUIDs; without it they are counted as unknown */
  readonly mig?: MigNames;
  readonly callMs?: number;
}

type Sets = ReadonlyMap<string, readonly ReadonlyMap<string, string>[]>;

/** Counted over one answer: gauges, not sums. */
interface Tally {
  pods: number; devices: number; unknown: number; unhealthy: number;
  /** 1: this kubelet does not say which devices are healthy */
  health_unknown: number;
  claims: number; cut: number; sets_cut: number;
}
export interface PodTable extends Tally { readonly sets: Sets }

/** The sets by key, from one answer. Pure; `place` finds a MIG UUID's instance. */
export function podTable(
  answer: PodResourcesAnswer, prefixes: readonly string[], place: (migUuid: string) => Device | null,
): PodTable {
  const ours = ({ resourceName }: ContainerDevices): boolean => prefixes.some((prefix) => resourceName.startsWith(prefix));
  const healthy = answer.allocatable === null ? null : new Set(answer.allocatable.filter(ours).flatMap(({ deviceIds }) => deviceIds));
  const tally: Tally = {
    pods: 0, devices: 0, unknown: 0, unhealthy: 0, health_unknown: healthy === null ? 1 : 0, claims: 0, cut: 0, sets_cut: 0,
  };
  const found = new Map<string, Map<string, ReadonlyMap<string, string>>>();
  for (const pod of answer.pods) {
    let holds = false;
    for (const container of pod.containers) {
      tally.claims += container.dynamicResources.length;
      const set = new Map([
        ['k8s.pod.name', cleanValue(pod.name)], ['k8s.namespace.name', cleanValue(pod.namespace)],
        ['k8s.container.name', cleanValue(container.name)],
      ]);
      const same = JSON.stringify([...set.values()]);
      for (const id of container.devices.filter(ours).flatMap(({ deviceIds }) => deviceIds)) {
        if (tally.devices >= ATTRIBUTION_LIMITS.entries) { tally.cut++; continue; }
        tally.devices++;
        holds = true;
        if (healthy !== null && !healthy.has(id)) tally.unhealthy++;
        const said = parseDeviceId(id);
        const device = 'device' in said ? said.device : 'migUuid' in said ? place(said.migUuid) : null;
        if (device === null) { tally.unknown++; continue; }
        for (const key of keysOfDevice(device)) {
          const sets = found.get(key) ?? new Map<string, ReadonlyMap<string, string>>();
          found.set(key, sets);
          if (sets.size < ATTRIBUTION_LIMITS.setsPerEntity) sets.set(same, set);
          else if (!sets.has(same)) tally.sets_cut++;
        }
      }
    }
    if (holds) tally.pods++;
  }
  const inOrder = (sets: Map<string, ReadonlyMap<string, string>>): ReadonlyMap<string, string>[] =>
    [...sets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, set]) => set);
  return { ...tally, sets: new Map([...found].map(([key, sets]) => [key, inOrder(sets)])) };
}

/** The MIG UUIDs of an answer. */
function migUuids(answer: PodResourcesAnswer, prefixes: readonly string[]): string[] {
  const ids = answer.pods.flatMap(({ containers }) => containers.flatMap(({ devices }) => devices))
    .filter(({ resourceName }) => prefixes.some((prefix) => resourceName.startsWith(prefix))).flatMap(({ deviceIds }) => deviceIds);
  const said = ids.slice(0, ATTRIBUTION_LIMITS.entries).map(parseDeviceId);
  return [...new Set(said.flatMap((id) => ('migUuid' in id ? [id.migUuid] : [])))];
}

export class KubernetesAttributor implements RunningAttributor {
  private readonly refresher: Refresher<PodTable>;
  private lookups = 0;
  private hits = 0;

  constructor(private readonly options: KubernetesOptions) {
    this.refresher = new Refresher('kubernetes', (signal) => this.read(signal), options);
  }

  attributes(entity: ReadonlyMap<string, Value>): readonly ReadonlyMap<string, string>[] {
    this.lookups++;
    const sets = this.refresher.value()?.sets;
    if (sets === undefined) return [];
    const found = keysOfEntity(entity).flatMap((key) => sets.get(key) ?? []);
    if (found.length > 0) this.hits++;
    const unique = new Map(found.map((set) => [JSON.stringify([...set.values()]), set]));
    return [...unique.values()].slice(0, ATTRIBUTION_LIMITS.setsPerEntity);
  }

  get counters(): Readonly<Record<string, number>> {
    return {
      ...prefixed('kubernetes', { ...this.refresher.counters, lookups: this.lookups, hits: this.hits }),
      ...prefixed('kubernetes_failures', this.refresher.failuresByState()), ...prefixed('kubernetes_mig', this.options.mig?.counters ?? {}),
    };
  }
  get seen(): Readonly<Record<string, number>> {
    const { sets: _, ...tally } = this.refresher.value() ?? { sets: null };
    return { ...prefixed('kubernetes', tally), ...prefixed('kubernetes_mig', this.options.mig?.seen ?? {}) };
  }
  states() { return [this.refresher.state()]; }
  start(): Promise<void> { return this.refresher.start(); }
  async close(): Promise<void> {
    await Promise.all([this.refresher.close(), this.options.mig?.close()]);
  }
  /** Reads again now; for tests and for a person who asks. */
  refresh(): Promise<void> { return this.refresher.once(); }

  private async read(signal: AbortSignal): Promise<PodTable> {
    const { socket, prefixes, mig, callMs } = this.options;
    const answer = await readPodResources(socket, signal, callMs);
    const wanted = migUuids(answer, prefixes);
    if (wanted.length > 0) await mig?.learn(wanted, signal);
    return podTable(answer, prefixes, (uuid) => mig?.place(uuid) ?? null);
  }
}
