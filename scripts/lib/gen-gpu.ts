// SPDX-License-Identifier: Apache-2.0
// Writes assembly/gen/gpu.ts: the groups, metrics, points and fields of abi/gpu-metrics.toml and abi/gpu-fields.toml as packed rows, so
// that the guest reads at run time what the host reads from the tables. Pure: tables in, text out.
// Invariant: rows are in the tables' order but for two: fields ascend by id, and a point row that stands for lanes becomes two, transmit
// and receive. Limits: FIELDS_MAX (as many as a watch may name), POINT_BYTES_MAX (the length of an encoded point is one byte).
import type { CatalogField } from '../../runtime/bridge/catalog.js';
import type { GpuGroup, GpuMetric, GpuPoint } from '../../runtime/export/gpu-metrics.js';
import { wrong } from './fail.js';

export const FIELDS_MAX = 128;
const POINT_BYTES_MAX = 127;
/** A number point's bytes before its attributes: start, time, value, a tag each. */
const POINT_FIXED_BYTES = 27;
/** The longest text that stands for a `*`: a code of 20 digits. */
const STAR_BYTES_MAX = 20;
const NONE = 255;

const INSTRUMENTS = ['gauge', 'counter', 'updown'];
const DEFAULTS = ['disabled', 'enabled', 'auto'];
const KINDS = ['gauge', 'counter', 'rate', 'last'];
const TYPES = { int64: 105, double: 100 };
/** Bit n: entities of DCGM's group n have a value of their own (docs/format/bridge.md, Fields and entities). */
const LEVELS = { gpu: 1 << 1, gi: (1 << 1) | (1 << 4), ci: (1 << 1) | (1 << 4) | (1 << 5), switch: 1 << 3, link: 1 << 6 };
/** What a `*` stands for, by its key. */
const STARS: Readonly<Record<string, number>> = { 'hw.gpu.nvlink.link': 1, 'hw.gpu.xid': 2, 'hw.state': 3 };
const DIRECTION = 'network.io.direction';

export interface GpuTables {
  readonly groups: readonly GpuGroup[]; readonly metrics: readonly GpuMetric[]; readonly points: readonly GpuPoint[];
  readonly catalog: readonly CatalogField[];
}

/** A point row of the guest: a row of the table, or the half of one that stands for lanes. `row` is the table's. */
export interface GuestPoint { readonly row: GpuPoint; readonly attributes: Readonly<Record<string, string>> }
/** A field of the guest: `lane` is its link's number, `replaces` the index of the field that it stands in for, `stride` its step a port. */
export interface GuestField {
  readonly field: CatalogField; readonly point: number; readonly lane: number; readonly replaces: number; readonly stride: number;
}

const lanes = (row: GpuPoint): boolean => row.last !== undefined;
const halves = ['transmit', 'receive'];

/** Point rows in the guest's order. */
export function guestPoints(points: readonly GpuPoint[]): GuestPoint[] {
  return points.flatMap((row) => (lanes(row)
    ? halves.map((half) => ({ row, attributes: { ...row.attributes, [DIRECTION]: half } }))
    : [{ row, attributes: row.attributes }]));
}

/** Every field that makes points, by ascending id. @throws Failure for a field of two rows, an unknown replaced field, or too many. */
export function guestFields({ points, catalog }: GpuTables): GuestField[] {
  const rows = guestPoints(points);
  const known = new Map(catalog.map((field) => [field.id, field]));
  const found: { field: CatalogField; point: number; lane: number; row: GpuPoint }[] = [];
  for (const row of points) {
    const first = rows.findIndex((point) => point.row === row);
    for (let id = row.field; id <= (row.last ?? row.field); id++) {
      const at = id - row.field;
      found.push({ field: known.get(id)!, row, point: lanes(row) ? first + (at & 1) : first, lane: lanes(row) ? at >> 1 : NONE });
    }
  }
  found.sort((a, b) => a.field.id - b.field.id);
  const index = new Map(found.map(({ field }, i) => [field.id, i]));
  if (index.size !== found.length) wrong('abi/gpu-metrics.toml: a field has two rows');
  if (found.length > FIELDS_MAX) wrong(`abi/gpu-metrics.toml: ${found.length} fields, at most ${FIELDS_MAX}`);
  return found.map(({ row, ...rest }) => ({ ...rest, ...replaced(row, points, index) }));
}

function replaced(row: GpuPoint, points: readonly GpuPoint[], index: Map<number, number>): { replaces: number; stride: number } {
  const [other, ...more] = row.instead_of ?? [];
  if (other === undefined) return { replaces: NONE, stride: 0 };
  const range = points.find(({ field }) => field === other);
  if (more.length > 0 || range === undefined) return wrong(`abi/gpu-metrics.toml: field ${row.field}: instead_of names one field of a row`);
  const half = lanes(range) ? Math.max(0, halves.indexOf(row.attributes[DIRECTION] ?? '')) : 0;
  return { replaces: index.get(other + half)!, stride: lanes(range) ? 2 : 0 };
}

/** Bytes of a tag, a length and a text: all shorter than 128. */
const lengthDelimited = (field: number, bytes: number[]): number[] => {
  if (bytes.length > 127) wrong('abi/gpu-metrics.toml: a text is longer than 127 bytes');
  return [(field << 3) | 2, bytes.length, ...bytes];
};
const ascii = (text: string): number[] => [...Buffer.from(text, 'ascii')];

/** Bytes of a point's attributes once every `*` is filled in, at most. */
function attributeBytes(attributes: Readonly<Record<string, string>>): number {
  return Object.entries(attributes).map(([key, value]) => 2 + 2 + key.length + 4 + (value === '*' ? STAR_BYTES_MAX : value.length))
    .reduce((a, b) => a + b, 0);
}

class Rows {
  readonly bytes: number[] = [];
  u8(...values: number[]): this { this.bytes.push(...values.map((value) => value & 255)); return this; }
  u16(value: number): this { return this.u8(value, value >> 8); }
  u32(value: number): this { return this.u16(value & 0xffff).u16(value >>> 16); }
  f64(value: number): this { return this.u8(...new Uint8Array(new Float64Array([value]).buffer)); }
}

/** assembly/gen/gpu.ts. */
export function gpuFile(tables: GpuTables, head: string): string {
  const { groups, metrics, points } = tables;
  const texts = new Rows();
  const text = (bytes: number[]): number => {
    const at = texts.bytes.length;
    texts.u8(...bytes);
    if (texts.bytes.length > 0xffff) wrong('abi/gpu-metrics.toml: more than 64 KiB of text');
    return at;
  };
  const groupRows = new Rows();
  for (const { name, default: initial, tier, toggle } of groups) {
    const own = toggle === 'seed' || toggle === 'own';
    const follows = toggle === '' ? NONE : groups.findIndex((group) => group.name === (own ? name : toggle));
    if (follows < 0) wrong(`abi/gpu-metrics.toml: group ${name}: toggle ${toggle} is no group`);
    groupRows.u8(tier, DEFAULTS.indexOf(initial), follows, name.length).u16(text(ascii(name))).u16(0);
  }
  const metricRows = new Rows();
  for (const { name, instrument, unit, brief } of metrics) {
    const bytes = [...lengthDelimited(1, ascii(name)), ...lengthDelimited(2, ascii(brief)), ...lengthDelimited(3, ascii(unit))];
    if (bytes.length > 255) wrong(`abi/gpu-metrics.toml: metric ${name}: its texts are too long`);
    metricRows.u8(INSTRUMENTS.indexOf(instrument), name.length, unit.length, bytes.length);
    metricRows.u16(text(ascii(name))).u16(text(ascii(unit))).u16(text(bytes)).u8(0, 0, 0, 0, 0, 0);
  }
  const pointRows = new Rows();
  const guest = guestPoints(points);
  for (const { row, attributes } of guest) {
    const at = `abi/gpu-metrics.toml: field ${row.field}`;
    const stars = Object.entries(attributes).filter(([, value]) => value === '*')
      .map(([key]) => STARS[key] ?? wrong(`${at}: what is ${key}=*?`));
    if (stars.length > 1) wrong(`${at}: two unknown attributes`);
    if (POINT_FIXED_BYTES + attributeBytes(attributes) > POINT_BYTES_MAX) wrong(`${at}: its attributes are too long`);
    const whole = Object.entries(attributes).map(([key, value]) => `${key}=${value}`).join(',');
    const { kind, type } = tables.catalog.find(({ id }) => id === row.field)!;
    const metric = metrics.findIndex(({ name }) => name === row.metric);
    const counts = metrics[metric]!.instrument === 'counter' && type === 'int64' && row.div === 1 && kind !== 'rate';
    pointRows.f64(row.mul).f64(row.div).u8(metric, groups.findIndex(({ name }) => name === row.group), stars[0] ?? 0, counts ? 1 : 0);
    pointRows.u8(whole.length, 0).u16(text(ascii(whole))).u32(row.mul).u32(0);
  }
  const fieldRows = new Rows();
  const fields = guestFields(tables);
  for (const { field, point, lane, replaces, stride } of fields) {
    fieldRows.u16(field.id).u8(TYPES[field.type], KINDS.indexOf(field.kind), LEVELS[field.level], point, lane, replaces);
    fieldRows.u8(stride, 0, 0, 0, 0, 0, 0, 0);
  }
  const data = (name: string, rows: Rows): string => `@lazy export const ${name}: usize = memory.data<u8>([${rows.bytes.join(',')}], 8);\n`;
  const numbers = (prefix: string, names: string[]): string =>
    names.map((name, i) => `export const ${prefix}_${name.toUpperCase().replace(/[.-]/g, '_')}: u32 = ${i};\n`).join('');
  return (
    head +
    `export const GPU_GROUPS: u32 = ${groups.length};\nexport const GPU_METRICS: u32 = ${metrics.length};\n` +
    `export const GPU_POINTS: u32 = ${guest.length};\nexport const GPU_FIELDS: u32 = ${fields.length};\n` +
    numbers('GPU_GROUP', groups.map(({ name }) => name)) +
    '/** Texts, addressed by offset. */\n' + data('GPU_TEXT', texts) +
    '/** 8 bytes: tier, default, group whose switch it follows (255: none), name length, u8 each; name u16, 0 u16. */\n' +
    data('GPU_GROUP_ROWS', groupRows) +
    '/** 16 bytes: instrument, lengths of name, unit, encoded head, u8 each; name, unit, encoded head, u16 each; 0. */\n' +
    data('GPU_METRIC_ROWS', metricRows) +
    '/** 32 bytes: mul, div, f64 each; metric, group, what * is, whole, attribute length, 0, u8 each; attributes u16; mul u32; 0. */\n' +
    data('GPU_POINT_ROWS', pointRows) +
    '/** 16 bytes: id u16; type, kind, levels, point, lane (255: none), field it replaces (255: none), its step a port, u8 each; 0. */\n' +
    data('GPU_FIELD_ROWS', fieldRows)
  );
}
