// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that the guest's numbers are those of abi/bridge.toml, that the expected GPU table of selftest is the
// fixture's, and that the fixture is what the converter makes of its text form.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'smol-toml';
import { convert, parseLabels, render } from '../../scripts/convert-capture.js';
import { defaultFixture } from '../../runtime/bridge/index.js';
import { fields } from '../../runtime/bridge/protocol.js';
import { gpuGroups, gpuMetrics, gpuPoints } from '../../runtime/export/gpu-metrics.js';
import { loadCapture } from '../../runtime/bridge/sources/replay.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const table = parse(read('abi/bridge.toml')) as unknown as {
  version: number; magic: string; limits: Record<string, number>;
  type: { code: number; name: string }[]; status: { code: number; name: string }[]; source: { code: number; name: string }[];
  value_type: { code: number; name: string }[]; sample_kind: { code: number; name: string }[]; stream: { code: number; name: string }[];
};

/** Constants `export const PREFIX_NAME: type = number;` of a source file. */
function constants(source: string, prefix: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const [, name, value] of source.matchAll(new RegExp(`export const ${prefix}([A-Z0-9_]+): \\w+ = (0x[0-9a-f]+|\\d+);`, 'g'))) {
    out.set(name!.toLowerCase(), Number(value));
  }
  return out;
}

const guest = read('assembly/lib/wire/bridge.ts');
for (const [key, prefix] of [['type', 'BRIDGE_TYPE_'], ['status', 'BRIDGE_STATUS_'], ['source', 'BRIDGE_SOURCE_'],
  ['value_type', 'BRIDGE_VALUE_TYPE_'], ['sample_kind', 'BRIDGE_SAMPLE_KIND_'], ['stream', 'BRIDGE_STREAM_']] as const) {
  test(`guest ${key} codes are the table's`, () => {
    assert.deepEqual(constants(guest, prefix), new Map(table[key].map(({ name, code }) => [name, code])));
  });
}

test('guest limits, magic and version are the table\'s', () => {
  const all = constants(guest, 'BRIDGE_');
  for (const key of ['header_bytes', 'crc_bytes', 'frame_bytes_max', 'payload_bytes_max', 'sample_bytes', 'entity_fixed_bytes', 'text_bytes_max', 'config_bytes_max']) {
    assert.equal(all.get(key), table.limits[key], key);
  }
  assert.equal(all.get('version'), table.version);
  assert.equal(all.get('magic'), Buffer.from(table.magic, 'ascii').readUInt32LE(0));
  assert.equal(table.limits['header_bytes']! + table.limits['payload_bytes_max']! + table.limits['crc_bytes']!, table.limits['frame_bytes_max']);
});

test('guest kinds of failure are the table\'s, and have the names that it gives them', () => {
  const rows = (table as unknown as { receiver_kind: { code: number; name: string; degraded: boolean }[] }).receiver_kind;
  const wire = constants(read('assembly/lib/wire/dcgmd.ts'), 'DG_KIND_');
  assert.deepEqual(wire, new Map([['none', 0], ...rows.map(({ name, code }) => [name, code] as const)]));
  const named = [...read('assembly/services/dcgmd/kinds.ts').matchAll(/kind == (\d+)\) return "(\w+)"|kind == (\d+) \? "(\w+)"/g)];
  assert.deepEqual(named.map(([, a, b, c, d]) => [Number(a ?? c), b ?? d]), rows.map(({ code, name }) => [code, name]));
  const documented = [...read('docs/format/wire-dcgmd.md').matchAll(/^\| (\d+) \| (\w+) \| (yes|no) \|/gm)].map(([, code, name, degrades]) => [Number(code), name, degrades === 'yes']);
  assert.deepEqual(documented, rows.map(({ code, name, degraded }) => [code, name, degraded]));
});

test('what a person is shown of a field is a point of the receiver, in the unit of metricsd\'s copy', () => {
  const smaller: Record<string, [string, number]> = { W: ['mW', 1000], J: ['mJ', 1000], s: ['ms', 1000], '1': ['%', 100] };
  for (const { id, name, metric, unit, scale, label } of fields) {
    const point = gpuPoints.find(({ field }) => field === id)!;
    assert.equal(metric, point.metric, name);
    const own = gpuMetrics.find((row) => row.name === metric)!.unit;
    const [copied, factor] = smaller[own] ?? [own, 1];
    assert.deepEqual([unit, scale], [copied, (point.mul / point.div) * factor], name);
    for (const pair of label === '' ? [] : [label.split('=')]) if (pair[0]! in point.attributes) assert.equal(pair[1], point.attributes[pair[0]!], name);
  }
});

test('selftest expects the fixture\'s temperatures and entities', () => {
  const capture = loadCapture(defaultFixture);
  const source = read('assembly/services/selftest/gpu.ts');
  const found = [...source.matchAll(/^ {2}gpu\((\d+), "([^"]+)", (-?\d+)\);$/gm)].map(([, id, uuid, celsius]) => ({ id: Number(id), uuid, celsius: Number(celsius) }));
  const wanted = capture.entities.map(({ id, uuid }) => ({
    id, uuid, celsius: Number(capture.samples.find((sample) => sample.entityId === id && sample.fieldId === 150)!.value),
  }));
  assert.equal(wanted.length, 8);
  assert.deepEqual(found, wanted);
  const series = /const SERIES_EXPECTED: u32 = (\d+);/.exec(source);
  const on = new Set(gpuGroups.filter((group) => group.default === 'enabled').map(({ name }) => name));
  const watched = new Set(gpuPoints.filter(({ group }) => on.has(group)).map(({ field }) => field));
  assert.equal(Number(series?.[1]), capture.samples.filter(({ status, fieldId }) => status === 0 && watched.has(fieldId)).length);
});

/** The scrape that a capture came from, as far as a capture keeps it. */
function toProm(capture: ReturnType<typeof loadCapture>): string {
  return capture.samples.map((sample) => {
    const entity = capture.entities.find(({ id }) => id === sample.entityId)!;
    const field = fields.find(({ id }) => id === sample.fieldId)!;
    return `${field.prom}{gpu="${entity.id}",UUID="${entity.uuid}",pci_bus_id="${entity.bdf}",modelName="${entity.model}",` +
      `DCGM_FI_DRIVER_VERSION="${entity.driver}",pod="a\\"b\\\\c"} ${sample.value}`;
  }).join('\n');
}

test('converter round trip: capture to scrape to capture', () => {
  const capture = loadCapture(defaultFixture);
  const again = convert(toProm(capture), capture.provenance);
  assert.equal(render(again), readFileSync(defaultFixture, 'utf8'));
});

const scrape = new URL('../shared/fixtures/dcgm-exporter-8xh100.prom', root);
test('the original scrape converts to the fixture', { skip: existsSync(scrape) ? false : 'the original scrape is not here' }, () => {
  assert.equal(render(convert(readFileSync(scrape, 'utf8'), loadCapture(defaultFixture).provenance)), readFileSync(defaultFixture, 'utf8'));
});

test('converter names the line it does not understand', () => {
  const good = 'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="u",pci_bus_id="b",modelName="m",DCGM_FI_DRIVER_VERSION="d"} 30';
  assert.equal(convert(good, '').samples.length, 1);
  for (const [bad, why] of [
    [good.replace('30', '30.5'), /line 2: 30.5 is not int64/],
    [good.replace('30', 'NaN'), /line 2: NaN is not int64/],
    [good.replace('GPU_TEMP', 'NOT_KNOWN'), /line 2: DCGM_FI_DEV_NOT_KNOWN is not a field/],
    [good.replace('UUID="u"', 'UUID="u'), /line 2: bad label/],
    [good.replace('gpu="0"', 'gpu="x"'), /line 2: label gpu is not a number/],
    [good.replace('modelName', 'other'), /line 2: label modelName is missing/],
    ['nonsense', /line 2: not NAME/],
    [`${good}\n${good}`, /line 3: DCGM_FI_DEV_GPU_TEMP of gpu 0 twice/],
  ] as const) {
    assert.throws(() => convert(`# comment\n${bad}`, ''), why);
  }
  assert.throws(() => parseLabels('a="1",a="2"'), /twice/);
});
