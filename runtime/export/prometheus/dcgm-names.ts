// SPDX-License-Identifier: Apache-2.0
// The same values under dcgm-exporter's names, units and labels, so that dashboards written for it go on working.
// Invariant: only what the receiver has is shown, scaled back to the raw field's unit (abi/gpu-fields.toml, abi/gpu-metrics.toml); nothing
// is invented. Two differences are meant: blanks are left out, and byte rates are integrated counters (dcgm-exporter calls them counters
// too).
import { catalogField } from '../../bridge/catalog.js';
import { gpuMetrics, gpuPoints, type GpuPoint } from '../gpu-metrics.js';
import type { Attributes, Point, Resource } from '../otlp/model.js';
import { SOURCE_LABEL, type Family } from './families.js';

const XID_METRIC = 'hw.gpu.xid.errors';
const STATUS_METRIC = 'hw.status';

/** Attributes that say who the entity or its user is, by dcgm-exporter's label. */
export const LABELS: readonly (readonly [label: string, attribute: string])[] = [
  ['gpu', 'hw.gpu.index'], ['UUID', 'hw.id'], ['pci_bus_id', 'hw.gpu.pci.bdf'], ['modelName', 'hw.model'], ['Hostname', 'host.name'],
  ['DCGM_FI_DRIVER_VERSION', 'hw.driver_version'], ['GPU_I_ID', 'hw.gpu.mig.instance_id'],
  ['nvswitch', 'hw.switch.index'], ['namespace', 'k8s.namespace.name'], ['pod', 'k8s.pod.name'], ['container', 'k8s.container.name'],
  ['hpc_job', 'hpc.job.id'], [SOURCE_LABEL, 'vigil.source'],
];

function labelsOf(resource: Attributes, point: Attributes): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [label, attribute] of LABELS) {
    const value = point.get(attribute) ?? resource.get(attribute);
    if (value !== undefined) labels[label] = String(value);
  }
  // An instance's own id is behind its board's: GPU-.../gi7.
  if (labels.UUID !== undefined) labels.UUID = labels.UUID.split('/')[0]!;
  if (labels.gpu !== undefined) labels.device = `nvidia${labels.gpu}`;
  return labels;
}

/** The row that made a point: same metric, same attributes where the row has fixed ones. */
function rowOf(metric: string, attributes: Attributes): GpuPoint | undefined {
  return gpuPoints.find((row) => {
    if (row.metric !== metric || catalogField(row.field)?.prom === undefined) return false;
    const same = ([key, value]: [string, string]): boolean => (value === '*' ? attributes.has(key) : String(attributes.get(key)) === value);
    return Object.entries(row.attributes).every(same);
  });
}

function raw(point: Point, { mul, div, field }: GpuPoint): number {
  const value = (Number(point.value) * div) / mul;
  return catalogField(field)!.type === 'int64' ? Math.round(value) : value;
}

function typeOf(metric: string): Family['type'] {
  return gpuMetrics.find(({ name }) => name === metric)?.instrument === 'counter' ? 'counter' : 'gauge';
}

/** Families named DCGM_FI_*, in the order of their names. */
export function dcgmFamilies(resources: readonly Resource[]): Family[] {
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  const add = (name: string, type: Family['type'], help: string, labels: Record<string, string>, value: number): void => {
    const family: Family = families.get(name) ?? { name, help, type, samples: [] };
    families.set(name, family);
    const key = `${name}${JSON.stringify(labels)}`;
    if (seen.has(key)) return;
    seen.add(key);
    family.samples.push({ suffix: '', labels, value });
  };
  for (const { attributes, scopes } of resources) {
    for (const metric of scopes.flatMap((scope) => scope.metrics)) {
      if (metric.name === XID_METRIC) {
        const last = metric.points.reduce<Point | null>((a, b) => (a === null || b.timeNs > a.timeNs ? b : a), null);
        if (last === null) continue;
        const code = Number(last.attributes.get('hw.gpu.xid') ?? 0);
        add('DCGM_FI_DEV_XID_ERRORS', 'gauge', 'The last XID seen', labelsOf(attributes, last.attributes), code);
        continue;
      }
      if (metric.name === STATUS_METRIC) continue;
      for (const point of metric.points) {
        const row = rowOf(metric.name, point.attributes);
        if (row === undefined) continue;
        const labels = labelsOf(attributes, point.attributes);
        add(catalogField(row.field)!.prom!, typeOf(metric.name), metric.description, labels, raw(point, row));
      }
    }
  }
  return [...families.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
