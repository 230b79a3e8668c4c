// SPDX-License-Identifier: Apache-2.0
// The host's reading of abi/self-metrics.toml: what Vigil counts about itself.
// Invariant: a row has a legal name and attribute keys, and a name comes once; a malformed row throws here, at import.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { z } from 'zod';

const key = z.string().regex(/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$/);
const row = z.strictObject({
  name: key, instrument: z.enum(['counter', 'updown', 'gauge', 'histogram']), unit: z.string().regex(/^[A-Za-z0-9%/{}_]*$/),
  attributes: z.array(key), by: z.string().min(1), brief: z.string().min(1),
});
const table = z.strictObject({ metric: z.array(row) });

export type SelfMetric = Readonly<z.infer<typeof row>>;

/** @throws Error naming the row at fault. */
export function parseSelfMetrics(text: string): SelfMetric[] {
  const { metric } = table.parse(parse(text));
  const seen = new Set<string>();
  for (const { name, attributes } of metric) {
    if (seen.has(name)) throw new Error(`abi/self-metrics.toml: ${name} comes twice`);
    if (new Set(attributes).size !== attributes.length) throw new Error(`abi/self-metrics.toml: ${name}: an attribute comes twice`);
    seen.add(name);
  }
  return metric;
}

const path = fileURLToPath(new URL('../../abi/self-metrics.toml', import.meta.url));
export const selfMetrics: readonly SelfMetric[] = parseSelfMetrics(readFileSync(path, 'utf8'));
