// SPDX-License-Identifier: Apache-2.0
// dcgm-exporter's counters files: which fields they choose, and what is said of every line that chooses none.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { catalog, catalogField } from '../../runtime/bridge/catalog.js';
import { COUNTERS_LIMITS, COUNTER_NAMES, CountersFileError, countersReport, loadCounters, parseCounters } from '../../runtime/config/counters-csv.js';

const dir = mkdtempSync(join(tmpdir(), 'vigil-counters-'));
after(() => { rmSync(dir, { recursive: true, force: true }); });
const fixture = fileURLToPath(new URL('../fixtures/gpu/counters.csv', import.meta.url));
const lanes = Array.from({ length: 36 }, (_, i) => 1040 + i);

test('a file of somebody who ran dcgm-exporter', () => {
  const file = loadCounters(fixture);
  assert.deepEqual(file.fields, [100, 101, 140, 150, 155, 156, 202, 203, 206, 230, 251, 252, ...lanes, 1532, 1533]);
  assert.deepEqual(countersReport(file), [
    'line 21: DCGM_EXP_XID_ERRORS_COUNT is ignored: made by dcgm-exporter; here hw.gpu.xid.errors counts XIDs (name DCGM_FI_DEV_XID_ERRORS)',
    'line 22: DCGM_EXP_SOMETHING_NEW is ignored: made by dcgm-exporter, not by DCGM',
    'line 27: DCGM_FI_DEV_FB_USED is ignored: named twice, first in line 26',
    'line 34: DCGM_FI_DRIVER_VERSION is ignored: a label; the resource attributes have model, driver, address and index already',
    'line 35: DCGM_FI_DEV_CLOCK_THROTTLE_REASONS is ignored: field 112 (clocks_event_reasons) is known, but no metric is made of it',
    `line 36: unknown field DCGM_FI_DEV_VGPU_LICENSE_STATUS${file.unknown[0]!.hint === null ? '' : `; did you mean ${file.unknown[0]!.hint}?`}`,
    'line 39: unknown field DCGM_FI_DEV_GPU_TMEP; did you mean DCGM_FI_DEV_GPU_TEMP?',
    'line 40: DCGM_FI_DEV_MEM_COPY_UTIL is ignored: type "guage" is none of gauge, counter, histogram, label',
    'line 41: DCGM_FI_PROF_PCIE_TX_BYTES is ignored: 2 of 3 columns: name, type, help',
    'line 42: DCGM_FI_PROF_PCIE_RX_BYTES, counter, "A quote that is not closed. is ignored: not a CSV row: a quote is not closed',
  ]);
});

test('every line is in one list', () => {
  const text = [...COUNTER_NAMES.keys()].map((name) => `${name}, gauge, x`).join('\n');
  const file = parseCounters(text);
  const lines = [...file.unknown, ...file.ignored].map(({ line }) => line);
  assert.equal(new Set(lines).size, lines.length);
  assert.deepEqual(file.unknown, []);
  const chosen = [...COUNTER_NAMES.keys()].filter((_, index) => !lines.includes(index + 1));
  for (const name of chosen) assert.ok(parseCounters(`${name},gauge,x`).fields.length > 0, name);
  assert.ok(chosen.length > 60, String(chosen.length));
});

test('every field of the catalogue has a name here, and each name one field', () => {
  const named = new Set(COUNTER_NAMES.values());
  assert.deepEqual(catalog.map(({ id }) => id).filter((id) => !named.has(id) && ![1091, 1092].includes(id)), []);
  for (const [name, id] of COUNTER_NAMES) assert.ok(catalogField(id) !== undefined, name);
});

test('links: a sum is watched as its links, a lane as itself', () => {
  assert.deepEqual(parseCounters('DCGM_FI_PROF_NVLINK_TX_BYTES,counter,x').fields, [...lanes.filter((id) => id % 2 === 0), 1532]);
  assert.deepEqual(parseCounters('DCGM_FI_PROF_NVLINK_L17_RX_BYTES,counter,x').fields, [1075]);
  assert.equal(parseCounters('DCGM_FI_PROF_NVLINK_L18_RX_BYTES,counter,x').unknown.length, 1);
});

test('line ends, a byte order mark, case of the type, spaces and empty files', () => {
  assert.deepEqual(parseCounters('\ufeffDCGM_FI_DEV_GPU_TEMP,GAUGE,x\r\n\r\n  # y\r\n\tDCGM_FI_DEV_POWER_USAGE\t,gauge,\r\n').fields, [150, 155]);
  assert.deepEqual(parseCounters(''), { fields: [], unknown: [], ignored: [] });
  assert.deepEqual(parseCounters('DCGM_FI_DEV_GPU_TEMP,gauge,help, with, commas').fields, [150]);
  assert.match(countersReport(parseCounters('\u001b[31mX\u0000,gauge,x'))[0]!, /unknown field \?\[31mX\?/);
  assert.match(countersReport(parseCounters('__proto__,gauge,x\nconstructor,gauge,x')).join(), /unknown field __proto__.*unknown field constructor/);
});

test('limits on both sides, and files that cannot be read', () => {
  parseCounters('\n'.repeat(COUNTERS_LIMITS.lines - 1));
  assert.throws(() => parseCounters('\n'.repeat(COUNTERS_LIMITS.lines)), CountersFileError);
  const path = join(dir, 'big.csv');
  writeFileSync(path, `#${'x'.repeat(COUNTERS_LIMITS.fileBytes - 1)}`);
  assert.deepEqual(loadCounters(path).fields, []);
  writeFileSync(path, `#${'x'.repeat(COUNTERS_LIMITS.fileBytes)}`);
  assert.throws(() => loadCounters(path), /big\.csv: larger than 1048576 bytes/);
  assert.throws(() => loadCounters(join(dir, 'none.csv')), /none\.csv: ENOENT: no such file or directory$/);
  assert.throws(() => loadCounters(dir), CountersFileError);
});
