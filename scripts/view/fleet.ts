// SPDX-License-Identifier: Apache-2.0
// The node's GPUs, instances and switches as rows, from the scrape that the host has (OTLP as plain values). Pure.
// Invariant: what no point brought is null, never zero; the source is the resource's own `vigil.source`, never assumed.
// Limits: the metric names are those of abi/gpu-metrics.toml; what is not among the columns is left to /metrics.
import type { Attributes, Metric, Point, Resource } from '../../runtime/export/otlp/model.js';

export interface Unit {
  /** the same from scrape to scrape */
  readonly key: string;
  readonly kind: 'gpu' | 'instance' | 'compute' | 'switch';
  /** `0`, `0:7` for instance 7 of GPU 0, `0:7/1` for compute instance 1 in it, `switch 0` */
  readonly label: string;
  readonly id: string; readonly model: string; readonly source: string;
  /** newest point, Unix ns */
  readonly timeNs: bigint;
  /** 0..1 */
  readonly utilization: number | null;
  readonly memoryUsedBytes: number | null; readonly memoryTotalBytes: number | null;
  readonly temperatureC: number | null; readonly powerW: number | null; readonly clockHz: number | null;
  /** counters, summed over links and directions */
  readonly nvlinkBytes: number | null; readonly pcieBytes: number | null;
  readonly correctedErrors: number | null; readonly uncorrectedErrors: number | null;
  /** XID codes seen since the receiver began, with how often */
  readonly xids: ReadonlyMap<string, number>;
  /** what hw.status says when it is not `ok` */
  readonly trouble: string | null;
}

type Match = Readonly<Record<string, string>>;

class Points {
  private readonly metrics = new Map<string, Metric[]>();
  timeNs = 0n;

  constructor({ scopes }: Resource) {
    for (const metric of scopes.flatMap((scope) => scope.metrics)) {
      this.metrics.set(metric.name, [...(this.metrics.get(metric.name) ?? []), metric]);
      for (const { timeNs } of metric.points) if (timeNs > this.timeNs) this.timeNs = timeNs;
    }
  }

  of(name: string, match: Match = {}): Point[] {
    const fits = ({ attributes }: Point): boolean => Object.entries(match).every(([key, value]) => String(attributes.get(key)) === value);
    return (this.metrics.get(name) ?? []).flatMap(({ points }) => points.filter(fits));
  }
  first(name: string, match: Match = {}): number | null {
    const [point] = this.of(name, match);
    return point === undefined ? null : Number(point.value);
  }
  sum(name: string, match: Match = {}): number | null {
    const points = this.of(name, match);
    return points.length === 0 ? null : points.reduce((total, { value }) => total + Number(value), 0);
  }
}

const text = (attributes: Attributes, key: string): string => {
  const value = attributes.get(key);
  return value === undefined ? '' : String(value);
};

function kindOf(attributes: Attributes): Unit['kind'] | null {
  const type = text(attributes, 'hw.type');
  if (type === 'switch') return 'switch';
  if (type !== 'gpu') return null;
  if (!attributes.has('hw.gpu.mig.instance_id')) return 'gpu';
  return attributes.has('hw.gpu.mig.compute_instance_id') ? 'compute' : 'instance';
}

function labelOf(kind: Unit['kind'], attributes: Attributes): string {
  if (kind === 'switch') return `switch ${text(attributes, 'hw.switch.index')}`.trim();
  const gpu = text(attributes, 'hw.gpu.index') || text(attributes, 'hw.id');
  if (kind === 'gpu') return gpu;
  const instance = `${gpu}:${text(attributes, 'hw.gpu.mig.instance_id')}`;
  return kind === 'instance' ? instance : `${instance}/${text(attributes, 'hw.gpu.mig.compute_instance_id')}`;
}

function unitOf(resource: Resource): Unit | null {
  const { attributes } = resource;
  const kind = kindOf(attributes);
  if (kind === null) return null;
  const points = new Points(resource);
  const ecc = (type: string): number | null => points.sum('hw.errors', { 'error.type': type, 'hw.gpu.ecc.scope': 'volatile' });
  const switchErrors = (type: string): number | null => points.sum('hw.errors', { 'error.type': type });
  const states = points.of('hw.status').filter(({ value, attributes: about }) => Number(value) !== 0 && text(about, 'hw.state') !== 'ok');
  const label = labelOf(kind, attributes);
  return {
    key: `${kind} ${label} ${text(attributes, 'hw.id')}`, kind, label,
    id: text(attributes, 'hw.id'), model: text(attributes, 'hw.model') || text(attributes, 'hw.name'),
    source: text(attributes, 'vigil.source') || 'unlabelled', timeNs: points.timeNs,
    utilization: points.first('hw.gpu.utilization', { 'hw.gpu.task': 'general' }),
    memoryUsedBytes: points.first('hw.gpu.memory.usage', { 'hw.gpu.memory.state': 'used' }),
    memoryTotalBytes: points.first('hw.gpu.memory.limit'),
    temperatureC: points.first('hw.temperature', { 'hw.sensor_location': kind === 'switch' ? 'switch' : 'gpu' }),
    powerW: kind === 'switch' ? points.sum('hw.power') : points.first('hw.power'),
    clockHz: points.first('hw.gpu.clock.frequency', { 'hw.gpu.clock.domain': 'sm' }),
    nvlinkBytes: points.sum('hw.gpu.nvlink.io'), pcieBytes: points.sum('hw.gpu.io'),
    correctedErrors: kind === 'switch' ? switchErrors('sxid_non_fatal') : ecc('corrected'),
    uncorrectedErrors: kind === 'switch' ? switchErrors('sxid_fatal') : ecc('uncorrected'),
    xids: new Map(points.of('hw.gpu.xid.errors').map((point) => [text(point.attributes, 'hw.gpu.xid'), Number(point.value)])),
    trouble: states.map(({ attributes: about }) => text(about, 'hw.state')).sort().join(', ') || null,
  };
}

const ORDER: Readonly<Record<Unit['kind'], number>> = { gpu: 0, instance: 1, compute: 2, switch: 3 };

/** Rows in numeric order: each GPU, its instances and their compute instances, then the switches. What comes in parts is one row. */
export function unitsOf(resources: readonly Resource[]): Unit[] {
  const whole = new Map<string, Resource>();
  for (const resource of resources) {
    const kind = kindOf(resource.attributes);
    if (kind === null) continue;
    const key = `${kind} ${labelOf(kind, resource.attributes)} ${text(resource.attributes, 'hw.id')}`;
    const known = whole.get(key);
    // With attribution a GPU that several pods share comes once for each, with the same points: the first stands for all.
    const again = known !== undefined && text(known.attributes, 'k8s.pod.name') !== text(resource.attributes, 'k8s.pod.name');
    if (again) continue;
    whole.set(key, known === undefined ? resource : { ...known, scopes: [...known.scopes, ...resource.scopes] });
  }
  const units = [...whole.values()].map(unitOf).filter((unit): unit is Unit => unit !== null);
  const late = ({ kind }: Unit): number => (kind === 'switch' ? 1 : 0);
  const byLabel = (a: Unit, b: Unit): number => a.label.localeCompare(b.label, 'en', { numeric: true });
  return units.sort((a, b) => late(a) - late(b) || byLabel(a, b) || ORDER[a.kind] - ORDER[b.kind]);
}
