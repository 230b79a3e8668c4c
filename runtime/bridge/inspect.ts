// SPDX-License-Identifier: Apache-2.0
// Owns: what a source has for each entity and field at this moment, in words: `vigil inspect --probe-fields` and `vigil dump`.
// Invariant: it asks through the frames that the guest asks through (client.ts), so each status is what the guest meets; a value is shown
// raw, in the field's own unit, and a blank is never shown as a value. Limits: watches of fields_max fields; FRESH_MS_MAX of waiting.
import { GROUP, catalogField } from './catalog.js';
import type { BridgeClient } from './client.js';
import { doubleBlank, int64Blank } from './dcgm/blanks.js';
import { linkParts } from './dcgm/layout.js';
import { DCGM_NO_DATA, codeText, returnOf } from './dcgm/returns.js';
import { limit } from './protocol.js';
import type { Entity, EntityRef, Sample } from './source.js';

/** How long a fresh watch may take to show its first values: profiling fields take two passes of the engine. */
const FRESH_MS_MAX = 3_000;
const FRESH_STEP_MS = 500;

export const STATUSES = ['ok', 'no data', 'not supported', 'no permission', 'blank', 'stale', 'error'] as const;
export type CellStatus = (typeof STATUSES)[number];

export interface CellReport {
  readonly entity: EntityRef; readonly field: number; readonly name: string; readonly status: CellStatus;
  /** with status ok alone; `detail`: DCGM's code where there is one */
  readonly value: bigint | number | null; readonly unit: string; readonly detail: string;
  /** of the sample against the host's clock; null without a sample */
  readonly ageMs: number | null;
}
export interface Inspection {
  readonly label: string; readonly version: string; readonly entities: readonly Entity[]; readonly cells: readonly CellReport[];
}
export interface InspectOptions {
  /** none: entities alone */
  readonly fieldIds: readonly number[];
  /** a value older than this is stale */
  readonly staleMs: number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly nowMs: () => number;
}

/** One sample in words. */
export function cellOf(sample: Sample, staleMs: number, nowMs: number): CellReport {
  const { group, entityId, fieldId, status, value } = sample;
  const field = catalogField(fieldId);
  const ageMs = sample.tsUs > 0n ? Math.round(nowMs - Number(sample.tsUs) / 1000) : null;
  const said = (what: CellStatus, detail = ''): CellReport => ({
    entity: { group, id: entityId }, field: fieldId, name: field?.name ?? `field ${fieldId}`, status: what, detail, ageMs,
    value: what === 'ok' ? value : null, unit: field?.unit ?? '',
  });
  if (status === 0) {
    if ((typeof value === 'bigint' ? int64Blank(value) : doubleBlank(value)) !== 0) return said('blank');
    return ageMs !== null && ageMs > staleMs ? said('stale', `${ageMs} ms old`) : said('ok');
  }
  const { name, status: means } = returnOf(status);
  if (status === DCGM_NO_DATA) return said('no data');
  const detail = codeText(status);
  if (name === 'stale data') return said('stale', detail);
  if (means === 'field_not_supported') return said('not supported', detail);
  return said(means === 'permission_denied' ? 'no permission' : 'error', detail);
}

/** Connects, lists, reads, leaves. Throws SourceError when the source refuses. */
export async function inspectSource(client: BridgeClient, options: InspectOptions): Promise<Inspection> {
  const label = await client.connect();
  const version = await client.version();
  const entities = await client.enumerate();
  const watches: number[] = [];
  for (let at = 0; at < options.fieldIds.length; at += limit('fields_max')) {
    const fieldIds = options.fieldIds.slice(at, at + limit('fields_max'));
    watches.push(await client.watch({ updateUs: 1_000_000n, keepS: 60, fieldIds, entities: [] }));
  }
  let cells: CellReport[] = [];
  for (let waitedMs = 0; watches.length > 0; waitedMs += FRESH_STEP_MS) {
    const samples: Sample[] = [];
    for (const watch of watches) samples.push(...(await client.latestValues(watch)));
    cells = samples.map((sample) => cellOf(sample, options.staleMs, options.nowMs()));
    const real = label === 'dcgm' || label === 'nvml';
    if (!real || waitedMs >= FRESH_MS_MAX || !cells.some(({ status }) => status === 'no data')) break;
    await options.sleep(FRESH_STEP_MS);
  }
  await client.close();
  return { label, version, entities, cells };
}

/** An entity's name for people. */
export function entityName({ group, id }: EntityRef): string {
  if (group === GROUP.link) {
    const { owner, port, group: ownerGroup } = linkParts(id);
    return `${ownerGroup === GROUP.switch ? 'NVSwitch' : 'GPU'} ${owner} link ${port}`;
  }
  const names: Readonly<Record<number, string>> = {
    [GROUP.gpu]: 'GPU', [GROUP.switch]: 'NVSwitch', [GROUP.gpuInstance]: 'GPU instance', [GROUP.computeInstance]: 'compute instance',
  };
  return `${names[group] ?? `group ${group}`} ${id}`;
}
