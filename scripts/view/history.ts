// SPDX-License-Identifier: Apache-2.0
// What the GPUs did before: windows of 10 s that the guest keeps on /state, asked over the control port, as trends for sparklines.
// Invariant: a window without a measurement is a gap (null); values come back in the metric's own unit (dcgmd's gauges are whole numbers
// of a smaller unit, which their label `unit` names). Limits: WINDOWS windows back, PAGES_MAX pages a metric.
import type { ControlClient, HistoryPoint } from '../../runtime/bridge/control.js';

export const WINDOW_NS = 10_000_000_000n;
export const WINDOWS = 60;
const LEVEL = 1;
const PAGES_MAX = 64;
const SCALES: Readonly<Record<string, number>> = { '%': 0.01, mW: 0.001, mJ: 0.001, ms: 0.001 };

export type Values = readonly (number | null)[];
/** Of one GPU, oldest window first. */
export interface Past { readonly utilization: Values; readonly temperature: Values; readonly power: Values }

const ASKED: readonly { readonly key: keyof Past; readonly name: string; readonly label: readonly [string, string] | null }[] = [
  { key: 'utilization', name: 'hw.gpu.utilization', label: ['hw.gpu.task', 'general'] },
  { key: 'temperature', name: 'hw.temperature', label: ['hw.sensor_location', 'gpu'] },
  { key: 'power', name: 'hw.power', label: null },
];

function labelsOf(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line.includes('='));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

/** Windows from `fromNs` up to `toNs` by GPU (hw.id): the mean of each. Pure. */
export function windowsOf(
  points: readonly HistoryPoint[], label: readonly [string, string] | null, fromNs: bigint, toNs: bigint,
): Map<string, (number | null)[]> {
  const first = fromNs / WINDOW_NS;
  const count = Number((toNs + WINDOW_NS - 1n) / WINDOW_NS - first);
  const rows = new Map<string, (number | null)[]>();
  for (const { startNs, labels: text, sum, count: updates } of points) {
    const labels = labelsOf(text);
    const id = labels.get('hw.id');
    if (id === undefined || updates === 0n || (label !== null && labels.get(label[0]) !== label[1])) continue;
    const at = Number(startNs / WINDOW_NS - first);
    if (at < 0 || at >= count) continue;
    const row = rows.get(id) ?? Array.from({ length: count }, () => null);
    row[at] = (Number(sum) / Number(updates)) * (SCALES[labels.get('unit') ?? ''] ?? 1);
    rows.set(id, row);
  }
  return rows;
}

/** The last WINDOWS windows of every GPU. Rejects when the guest does not answer or has no retention. */
export async function readPast(client: ControlClient): Promise<Map<string, Past>> {
  const found = new Map<string, Past>();
  for (const { key, name, label } of ASKED) {
    const points: HistoryPoint[] = [];
    const { clockNs } = await client.history({ level: LEVEL, name, fromNs: 0n, toNs: 0n });
    const back = BigInt(WINDOWS) * WINDOW_NS;
    const fromNs = clockNs > back ? ((clockNs - back) / WINDOW_NS) * WINDOW_NS : 0n;
    let cursor: bigint | null = 0n;
    for (let pages = 0; cursor !== null && pages < PAGES_MAX; pages++) {
      const page = await client.history({ level: LEVEL, name, fromNs }, cursor);
      points.push(...page.points);
      cursor = page.next;
    }
    for (const [id, values] of windowsOf(points, label, fromNs, clockNs)) {
      found.set(id, { utilization: [], temperature: [], power: [], ...found.get(id), [key]: values });
    }
  }
  return found;
}
