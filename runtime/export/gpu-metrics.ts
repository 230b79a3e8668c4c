// SPDX-License-Identifier: Apache-2.0
// The host's reading of abi/gpu-metrics.toml: groups, metrics and the field behind each point.
// Invariant: every point names a known field, metric and group; a malformed row throws here, at import.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { catalogField } from '../bridge/catalog.js';

const group = z.strictObject({
  name: z.string(), default: z.enum(['enabled', 'disabled', 'auto']), tier: z.int().min(1).max(32), toggle: z.string(), brief: z.string(),
});
const metric = z.strictObject({
  name: z.string(), instrument: z.enum(['gauge', 'counter', 'updown']), unit: z.string(), semconv: z.boolean(), brief: z.string(),
});
const point = z.strictObject({
  field: z.int(), last: z.int().optional(), metric: z.string(), group: z.string(), mul: z.int().min(1), div: z.int().min(1),
  attr: z.string(), instead_of: z.array(z.int()).optional(),
});
const table = z.strictObject({ group: z.array(group), metric: z.array(metric), point: z.array(point) });

export type GpuGroup = z.infer<typeof group>;
export type GpuMetric = z.infer<typeof metric>;
/** `attributes`: `*` stands for a value that the receiver fills in. */
export interface GpuPoint extends Omit<z.infer<typeof point>, 'attr'> { readonly attributes: Readonly<Record<string, string>> }

function attributesOf(text: string): Record<string, string> {
  return Object.fromEntries(text === '' ? [] : text.split(',').map((pair) => pair.split('=') as [string, string]));
}

/** @throws Error naming the row at fault. */
export function parseGpuMetrics(text: string): { groups: GpuGroup[]; metrics: GpuMetric[]; points: GpuPoint[] } {
  const { group: groups, metric: metrics, point: rows } = table.parse(parse(text));
  for (const row of rows) {
    const at = `abi/gpu-metrics.toml: field ${row.field}`;
    const known = catalogField(row.field) !== undefined && catalogField(row.last ?? row.field) !== undefined;
    if (!known) throw new Error(`${at} is not in abi/gpu-fields.toml`);
    if (!metrics.some(({ name }) => name === row.metric)) throw new Error(`${at}: metric ${row.metric} has no row`);
    if (!groups.some(({ name }) => name === row.group)) throw new Error(`${at}: group ${row.group} has no row`);
  }
  return { groups, metrics, points: rows.map(({ attr, ...row }) => ({ ...row, attributes: attributesOf(attr) })) };
}

const path = fileURLToPath(new URL('../../abi/gpu-metrics.toml', import.meta.url));
export const { groups: gpuGroups, metrics: gpuMetrics, points: gpuPoints } = parseGpuMetrics(readFileSync(path, 'utf8'));
