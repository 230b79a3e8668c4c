// SPDX-License-Identifier: Apache-2.0
// Owns: the host's reading of abi/gpu-fields.toml: which fields exist, their type, level and kind, and which entities have them.
// Invariant: a field is asked only of entities whose kind has a value of its own for it; asked of a smaller entity DCGM hands
// out the parent's value, which would be counted twice. Limits: read once, at import; a malformed row throws here.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';

/** DCGM's entity group numbers (dcgm_structs.h, dcgm_field_entity_group_t). */
export const GROUP = { gpu: 1, vgpu: 2, switch: 3, gpuInstance: 4, computeInstance: 5, link: 6 } as const;

export type Level = 'gpu' | 'gi' | 'ci' | 'switch' | 'link';
export type FieldKind = 'gauge' | 'counter' | 'rate' | 'last';

/** One field id: `type` is the wire type, `unit` UCUM of the raw value, `prom` dcgm-exporter's name where there is one. */
export interface CatalogField {
  readonly id: number; readonly name: string; readonly type: 'int64' | 'double'; readonly level: Level; readonly kind: FieldKind;
  readonly unit: string; readonly prom?: string;
}

const LEVELS: readonly Level[] = ['gpu', 'gi', 'ci', 'switch', 'link'];
const KINDS: readonly FieldKind[] = ['gauge', 'counter', 'rate', 'last'];

/** Which entity groups have a value of their own, by the field's level. */
const GROUPS_OF_LEVEL: Readonly<Record<Level, readonly number[]>> = {
  gpu: [GROUP.gpu],
  gi: [GROUP.gpu, GROUP.gpuInstance],
  ci: [GROUP.gpu, GROUP.gpuInstance, GROUP.computeInstance],
  switch: [GROUP.switch],
  link: [GROUP.link],
};

/** Rows of a catalog text, ranges expanded. Throws Error with the row at fault. */
export function parseCatalog(text: string): CatalogField[] {
  const rows = (parse(text) as { field?: (CatalogField & { last?: number })[] }).field ?? [];
  const out: CatalogField[] = [];
  let previous = 0;
  for (const { last, ...row } of rows) {
    const at = `abi/gpu-fields.toml: field ${row.id}`;
    if (!Number.isInteger(row.id) || row.id <= previous || row.id > 0xffff) throw new Error(`${at}: ids ascend and are 16-bit`);
    if (row.type !== 'int64' && row.type !== 'double') throw new Error(`${at}: type ${String(row.type)}`);
    if (!LEVELS.includes(row.level)) throw new Error(`${at}: level ${row.level}`);
    if (!KINDS.includes(row.kind)) throw new Error(`${at}: kind ${row.kind}`);
    const end = last ?? row.id;
    if (end < row.id || end - row.id > 127) throw new Error(`${at}: last ${end}`);
    for (let id = row.id; id <= end; id++) out.push(last === undefined ? row : { ...row, id, name: `${row.name}_${id - row.id}` });
    previous = end;
  }
  return out;
}

const path = fileURLToPath(new URL('../../abi/gpu-fields.toml', import.meta.url));
/** Every field, by ascending id. */
export const catalog: readonly CatalogField[] = parseCatalog(readFileSync(path, 'utf8'));
const byId = new Map(catalog.map((field) => [field.id, field]));

/** The field of an id, or undefined. */
export const catalogField = (id: number): CatalogField | undefined => byId.get(id);

/** True when entities of `group` have a value of their own for `field`. */
export const hasField = (group: number, field: CatalogField): boolean => GROUPS_OF_LEVEL[field.level].includes(group);

/** Profiling fields (1001..1096) may be refused as a whole: one user a host on GPUs before Hopper. */
export const isProfiling = (id: number): boolean => id >= 1001 && id <= 1096;
