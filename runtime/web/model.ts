// SPDX-License-Identifier: Apache-2.0
// Owns: what the page shows, as plain data made from the exporter's resources. Pure: no clock, no socket, no HTML.
// Invariant: every figure is one that is exported; what is not there is null and shown as missing, never as zero; users (pods, jobs) are
// listed at their device and its values counted once. Limits: MODEL_ROWS.
import type { Agent, Readiness } from '../export/agent.js';
import { gpuMetrics } from '../export/gpu-metrics.js';
import type { Attributes, Metric, Point, Resource } from '../export/otlp/model.js';
import { RECEIVER_KINDS } from './kinds.js';

/** What is listed at most; the page says how much is not. */
export const MODEL_ROWS = { devices: 256, values: 4_096, users: 16 } as const;

/** `share`: a fraction of one. */
export interface ValueRow {
  readonly metric: string; readonly attributes: string; readonly value: number; readonly unit: string; readonly share: boolean;
}
export interface Device {
  readonly kind: 'gpu' | 'mig' | 'compute' | 'switch';
  /** short name: GPU 0, GPU 0 MIG 7, NVSwitch 1 */
  readonly name: string;
  readonly id: string; readonly model: string; readonly bdf: string; readonly source: string;
  readonly utilization: number | null; readonly memoryUsed: number | null; readonly memoryLimit: number | null;
  readonly powerW: number | null;
  readonly temperatureC: number | null; readonly xids: number | null; readonly uncorrected: number | null; readonly status: string | null;
  /** pods and jobs, as readable texts */
  readonly users: readonly string[]; readonly usersLeft: number;
  readonly values: readonly ValueRow[];
}
export interface Count { readonly name: string; readonly about: string; readonly value: number | null }

export interface PageModel {
  readonly host: string; readonly version: string;
  readonly ready: Readiness;
  readonly source: { readonly label: string; readonly name: string; readonly detail: string };
  readonly sampleAgeS: number | null;
  readonly devices: readonly Device[]; readonly devicesLeft: number; readonly valuesLeft: number;
  readonly guest: { readonly up: boolean | null; readonly boots: number | null; readonly restarts: readonly Count[] };
  readonly receiver: {
    readonly degraded: boolean | null; readonly emissions: number | null; readonly lastActivityS: number | null;
    readonly kinds: readonly (Count & { readonly degrades: boolean })[];
    readonly samples: readonly Count[]; readonly dropped: readonly Count[];
  };
  readonly exporter: {
    readonly connected: boolean | null; readonly scrapes: number | null; readonly series: number | null;
    readonly requests: readonly Count[]; readonly lost: readonly Count[]; readonly attributions: readonly Count[];
  };
}

const SHARES = new Set(gpuMetrics.filter(({ name, unit }) => unit === '1' && /utilization$/.test(name)).map(({ name }) => name));
/** Attributes that say who uses a device, not what was measured. */
const USER_KEYS = new Set(['k8s.pod.name', 'k8s.namespace.name', 'k8s.container.name', 'hpc.job.id']);

const textOf = (attributes: Attributes, key: string): string => String(attributes.get(key) ?? '');
const metricsOf = ({ scopes }: Resource): readonly Metric[] => scopes.flatMap(({ metrics }) => metrics);

function userOf(attributes: Attributes): string | null {
  const of = (key: string): string => textOf(attributes, key);
  const pod = attributes.get('k8s.pod.name');
  const job = attributes.get('hpc.job.id');
  const texts = [
    ...(pod === undefined ? [] : [`pod ${of('k8s.namespace.name')}/${String(pod)} (${of('k8s.container.name')})`]),
    ...(job === undefined ? [] : [`job ${String(job)}`]),
  ];
  return texts.length === 0 ? null : texts.join(', ');
}

/** A point without its user, as text; attributes in the order of their names. */
function plainAttributes(attributes: Attributes): string {
  return [...attributes].filter(([key]) => !USER_KEYS.has(key)).sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${String(value)}`).join(' ');
}

function nameOf(attributes: Attributes): Pick<Device, 'kind' | 'name'> {
  const at = (key: string): string | null => (attributes.has(key) ? textOf(attributes, key) : null);
  const isSwitch = at('hw.type') === 'switch' || at('hw.switch.index') !== null;
  if (isSwitch) return { kind: 'switch', name: `NVSwitch ${at('hw.switch.index') ?? '?'}` };
  const gpu = `GPU ${at('hw.gpu.index') ?? '?'}`;
  const [instance, compute] = [at('hw.gpu.mig.instance_id'), at('hw.gpu.mig.compute_instance_id')];
  if (compute !== null) return { kind: 'compute', name: `${gpu} MIG ${instance ?? '?'} CI ${compute}` };
  return instance === null ? { kind: 'gpu', name: gpu } : { kind: 'mig', name: `${gpu} MIG ${instance}` };
}

function device(resource: Resource): Device {
  const { attributes } = resource;
  const users = new Set<string>();
  const seen = new Map<string, ValueRow>();
  const points = new Map<string, readonly Point[]>();
  for (const metric of metricsOf(resource)) {
    const once: Point[] = [];
    for (const point of metric.points) {
      const user = userOf(point.attributes) ?? userOf(attributes);
      if (user !== null) users.add(user);
      const said = plainAttributes(point.attributes);
      const key = `${metric.name}\n${said}`;
      if (seen.has(key)) continue;
      once.push(point);
      const share = SHARES.has(metric.name);
      seen.set(key, { metric: metric.name, attributes: said, value: Number(point.value), unit: metric.unit, share });
    }
    points.set(metric.name, [...(points.get(metric.name) ?? []), ...once]);
  }
  const of = (name: string, key?: string, value?: string): readonly Point[] =>
    (points.get(name) ?? []).filter((point) => key === undefined || String(point.attributes.get(key)) === value);
  const first = (rows: readonly Point[]): number | null => (rows[0] === undefined ? null : Number(rows[0].value));
  const sum = (rows: readonly Point[]): number | null =>
    (rows.length === 0 ? null : rows.reduce((all, { value }) => all + Number(value), 0));
  const holds = of('hw.status').find(({ value }) => Number(value) === 1);
  return {
    ...nameOf(attributes),
    id: textOf(attributes, 'hw.id'), model: textOf(attributes, 'hw.model') || textOf(attributes, 'hw.name'),
    bdf: textOf(attributes, 'hw.gpu.pci.bdf'), source: textOf(attributes, 'vigil.source'),
    utilization: first(of('hw.gpu.utilization', 'hw.gpu.task', 'general')) ?? first(of('hw.gpu.pipe.utilization', 'hw.gpu.pipe', 'gr')),
    memoryUsed: first(of('hw.gpu.memory.usage', 'hw.gpu.memory.state', 'used')), memoryLimit: first(of('hw.gpu.memory.limit')),
    powerW: sum(of('hw.power')), xids: sum(of('hw.gpu.xid.errors')), uncorrected: sum(of('hw.errors', 'error.type', 'uncorrected')),
    temperatureC: first(of('hw.temperature', 'hw.sensor_location', 'gpu')) ?? first(of('hw.temperature', 'hw.sensor_location', 'switch')),
    status: holds === undefined ? null : textOf(holds.attributes, 'hw.state'),
    users: [...users].sort().slice(0, MODEL_ROWS.users), usersLeft: Math.max(0, users.size - MODEL_ROWS.users),
    values: [...seen.values()].sort((a, b) => (`${a.metric}\n${a.attributes}` < `${b.metric}\n${b.attributes}` ? -1 : 1)),
  };
}

const inOrder = (a: Device, b: Device): number =>
  Number(a.kind === 'switch') - Number(b.kind === 'switch') ||
  a.name.localeCompare(b.name, 'en', { numeric: true }) || (a.id < b.id ? -1 : 1);

const IDENTITY = ['hw.type', 'hw.id', 'hw.gpu.mig.instance_id', 'hw.gpu.mig.compute_instance_id', 'hw.switch.index'];

/** Several resources of one device (a scrape may split it) as one. */
function together(resources: readonly Resource[]): Resource[] {
  const found = new Map<string, Resource>();
  for (const resource of resources) {
    const key = JSON.stringify(IDENTITY.map((name) => textOf(resource.attributes, name)));
    const before = found.get(key);
    found.set(key, before === undefined ? resource : { ...before, scopes: [...before.scopes, ...resource.scopes] });
  }
  return [...found.values()];
}

/** `vigil.*` series by name, whoever made them. */
function ownSeries(resources: readonly Resource[]): (name: string) => readonly Point[] {
  const found = new Map<string, Point[]>();
  for (const metric of resources.flatMap(metricsOf)) {
    if (metric.name.startsWith('vigil.')) found.set(metric.name, [...(found.get(metric.name) ?? []), ...metric.points]);
  }
  return (name) => found.get(name) ?? [];
}

/** The page's data at `nowMs` (wall clock). */
export function pageModel(
  resources: readonly Resource[], state: { readonly ready: Readiness; readonly source: ReturnType<Agent['source']> }, nowMs: number,
): PageModel {
  const all = together(resources.filter(({ attributes }) => attributes.has('hw.type') || attributes.has('hw.id')));
  let left: number = MODEL_ROWS.values;
  let valuesLeft = 0;
  const devices = all.map(device).sort(inOrder).slice(0, MODEL_ROWS.devices).map((one) => {
    const values = one.values.slice(0, left);
    left -= values.length;
    valuesLeft += one.values.length - values.length;
    return { ...one, values };
  });
  const own = ownSeries(resources);
  const value = (name: string): number | null => { const [point] = own(name); return point === undefined ? null : Number(point.value); };
  const flag = (name: string): boolean | null => { const read = value(name); return read === null ? null : read !== 0; };
  const counts = (name: string, ...keys: string[]): Count[] => own(name).map((point) =>
    ({ name: keys.map((key) => textOf(point.attributes, key)).join(' '), about: '', value: Number(point.value) }));
  const activity = value('vigil.receiver.last_activity');
  const errors = new Map(counts('vigil.receiver.errors', 'kind').map((row) => [row.name, row.value]));
  const host = resources.find(({ attributes }) => attributes.has('host.name'));
  const about = resources.find(({ attributes }) => attributes.get('vigil.producer') === 'host');
  return {
    host: host === undefined ? '' : textOf(host.attributes, 'host.name'),
    version: about === undefined ? '' : textOf(about.attributes, 'service.version'),
    ready: state.ready, source: state.source, sampleAgeS: value('vigil.sample.age'),
    devices, devicesLeft: Math.max(0, all.length - MODEL_ROWS.devices), valuesLeft,
    guest: { up: flag('vigil.guest.up'), boots: value('vigil.guest.boots'), restarts: counts('vigil.guest.restarts', 'cause') },
    receiver: {
      degraded: flag('vigil.receiver.degraded'), emissions: value('vigil.receiver.emissions'),
      lastActivityS: activity === null || activity === 0 ? null : nowMs / 1000 - activity,
      kinds: [
        ...RECEIVER_KINDS.map(({ name, degraded, brief }) => ({ name, about: brief, degrades: degraded, value: errors.get(name) ?? null })),
        ...[...errors].filter(([name]) => !RECEIVER_KINDS.some((kind) => kind.name === name))
          .map(([name, count]) => ({ name, about: '', degrades: false, value: count })),
      ],
      samples: counts('vigil.receiver.samples', 'status'),
      dropped: counts('vigil.receiver.series.dropped', 'group').filter((row) => row.value !== 0),
    },
    exporter: {
      connected: flag('vigil.export.connected'),
      scrapes: sumOf(own('vigil.export.scrapes'), 'gpu'), series: sumOf(own('vigil.export.series'), 'gpu'),
      requests: counts('vigil.otlp.requests', 'signal', 'outcome'),
      lost: ['vigil.exporter.dropped', 'vigil.export.refused'].flatMap((name) => counts(name, 'signal', 'reason'))
        .filter((row) => row.value !== 0),
      attributions: counts('vigil.attribution.up', 'attribution', 'state'),
    },
  };
}

function sumOf(points: readonly Point[], stream: string): number | null {
  const rows = points.filter(({ attributes }) => attributes.get('stream') === stream);
  return rows.length === 0 ? null : rows.reduce((all, { value }) => all + Number(value), 0);
}
