// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of the dcgm source's tables and pure parts: structure offsets against a C compiler, return codes, sentinels, blanks,
// endpoints, texts, the version rule, backoff, the catalogue of fields.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { GROUP, catalog, catalogField, hasField, parseCatalog } from '../../runtime/bridge/catalog.js';
import { blankOf, doubleBlank, int64Blank } from '../../runtime/bridge/dcgm/blanks.js';
import { isNewer, versionOf } from '../../runtime/bridge/dcgm/engine.js';
import * as layout from '../../runtime/bridge/dcgm/layout.js';
import { knownCodes, returnOf } from '../../runtime/bridge/dcgm/returns.js';
import { parseEndpoint } from '../../runtime/bridge/endpoint.js';
import { Backoff } from '../../runtime/bridge/library/backoff.js';
import { fields, limit, statusCode } from '../../runtime/bridge/protocol.js';
import { cleanIdentity, cleanText } from '../../runtime/bridge/text.js';
import { compile, skip } from './fake-dcgm.js';

test('every offset, size and version word is what a C compiler makes of the same structures', { skip }, () => {
  const run = spawnSync(compile('dcgm-layout.c', 'layout')!, { encoding: 'utf8' });
  const compiled = JSON.parse(run.stdout) as Record<string, unknown>;
  const names = ['CONNECT_V2', 'START_EMBEDDED_V2', 'FIELD_VALUE_V2', 'ENTITY_PAIR', 'ATTRIBUTES_V3', 'HIERARCHY_V2', 'HIERARCHY_ENTRY',
    'VERSION_INFO_V2'] as const;
  assert.deepEqual(Object.keys(compiled).sort(), [...names].sort());
  for (const name of names) assert.deepEqual(layout[name], compiled[name], name);
  assert.equal(layout.HIERARCHY_V2.bytes, layout.HIERARCHY_V2.at.list + limit('engine_hierarchy_max') * layout.HIERARCHY_ENTRY.bytes);
});

test('a link\'s id and its parts', () => {
  assert.deepEqual(layout.linkParts(layout.linkId(1, 17, 31)), { group: 1, port: 17, owner: 31 });
  assert.deepEqual(layout.linkParts(layout.linkId(3, 65_535, 255)), { group: 3, port: 65_535, owner: 255 });
});

test('the eight sentinels have distinct codes, and every return code maps to a status of the protocol', () => {
  const sentinels = ['unavailable', 'not_connected', 'already_connected', 'permission_denied', 'insufficient_driver', 'field_not_supported',
    'entity_not_found', 'connection_lost'];
  assert.equal(new Set(sentinels.map(statusCode)).size, 8);
  for (const code of knownCodes()) assert.ok(statusCode(returnOf(code).status) > 0, `${code}`);
  const reached = new Set(knownCodes().map((code) => returnOf(code).status));
  for (const sentinel of sentinels) assert.ok(reached.has(sentinel), sentinel);
  assert.equal(returnOf(-999).status, 'connection_lost');
});

test('blanks: each kind, its neighbours below and above', () => {
  assert.deepEqual([0x7fffffffffffffefn, 0x7ffffffffffffff0n, 0x7ffffffffffffff1n, 0x7ffffffffffffff2n, 0x7ffffffffffffff3n, 0x7fffffffffffffffn]
    .map(int64Blank), [0, -14, -14, -6, -17, -14]);
  assert.deepEqual([0x7fffffefn, 0x7ffffff0n, 0x7ffffff1n, 0x7ffffff2n, 0x7ffffff3n, 0x7ffffff4n, -1n, 0n].map(int64Blank), [0, -14, -14, -6, -17, 0, 0, 0]);
  assert.deepEqual([2 ** 47 - 1, 2 ** 47, 2 ** 47 + 1, 2 ** 47 + 2, 2 ** 47 + 3, 2 ** 60, NaN, Infinity, -Infinity, 0]
    .map(doubleBlank), [0, -14, -14, -6, -17, -14, -14, -14, -14, 0]);
  assert.notEqual(int64Blank(blankOf('int64') as bigint), 0);
  assert.notEqual(doubleBlank(blankOf('double') as number), 0);
});

test('endpoints', () => {
  for (const [text, address, unixSocket] of [
    ['localhost:5555', 'localhost:5555', false], ['10.0.0.1:1', '10.0.0.1:1', false], ['[::1]:65535', '[::1]:65535', false],
    ['unix:///tmp/nv-hostengine', '/tmp/nv-hostengine', true], [`unix:///${'a'.repeat(106)}`, `/${'a'.repeat(106)}`, true],
  ] as const) assert.deepEqual(parseEndpoint(text), { address, unixSocket }, text);
  for (const [text, why] of [
    ['localhost', /write host:port/], ['localhost:0', /1\.\.65535/], ['localhost:65536', /1\.\.65535/], ['::1:5555', /write host:port/],
    ['host:', /write host:port/], ['', /write host:port/], ['user@host:1', /no user/], ['unix://tmp/x', /three slashes/],
    ['unix:/tmp/x', /three slashes/], ['unix:///', /path is empty.*unix:\/\/\/tmp/], [`unix:///${'a'.repeat(107)}`, /at most 107/], ['a b:1', /write host:port/],
  ] as const) assert.throws(() => parseEndpoint(text), why, text);
});

test('texts: empty, clean, control bytes, long, mixed', () => {
  const max = limit('text_bytes_max');
  assert.equal(cleanText(''), '');
  assert.equal(cleanText('NVIDIA H100'), 'NVIDIA H100');
  assert.equal(cleanText('a\x00\x1b[31mb\x7f'), 'a[31mb');
  assert.equal(cleanText('x'.repeat(max)).length, max);
  assert.equal(cleanText('x'.repeat(300)).length, max);
  assert.equal(cleanText('\u00e9\u20ac'), '??');
  assert.equal(cleanIdentity('\t\n', 'gpu-0'), 'gpu-0');
  assert.equal(cleanIdentity('a b=c', 'x'), 'a_b_c');
});

test('versions', () => {
  assert.equal(versionOf('version:4.6.0;arch:x86_64;'), '4.6.0');
  assert.equal(versionOf('arch:x;version: 3.3.9 ;'), '3.3.9');
  assert.equal(versionOf('subversion:1;'), 'unknown');
  for (const [client, engine, newer] of [['4.6.0', '4.5.9', true], ['4.5.9', '4.6.0', false], ['5.0.0', '4.9.9', true], ['4.6.9', '4.6.0', false],
    ['unknown', '4.6.0', false], ['4.6.0', 'unknown', false], ['4.10', '4.9', true]] as const) assert.equal(isNewer(client, engine), newer, `${client} at ${engine}`);
});

test('backoff doubles to its bound, stays within half and whole, and starts over', () => {
  const whole = new Backoff(1000, 30_000, () => 1);
  assert.deepEqual(Array.from({ length: 7 }, () => whole.next()), [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  whole.reset();
  assert.equal(whole.next(), 1000);
  assert.equal(new Backoff(1000, 30_000, () => 0).next(), 500);
});

test('catalogue: rules of the table, levels, and the guest\'s fields in it', () => {
  assert.equal(catalogField(1075)?.name, 'prof_nvlink_lane_35');
  assert.equal(new Set(catalog.map(({ name }) => name)).size, catalog.length, 'names are distinct');
  for (const field of fields) assert.equal(catalogField(field.id)?.type, field.type, field.name);
  for (const field of fields) assert.equal(catalogField(field.id)?.prom, field.prom, field.name);
  const groupsOf = (id: number): number[] => Object.values(GROUP).filter((group) => hasField(group, catalogField(id)!));
  assert.deepEqual([150, 252, 1005, 858, 1525].map(groupsOf), [[1], [1, 4, 5], [1, 4], [3], [6]]);
  const row = (text: string): string => `field = [{ ${text} }]`;
  const good = 'id = 1, name = "a", type = "int64", level = "gpu", kind = "gauge", unit = "1"';
  assert.equal(parseCatalog(row(good)).length, 1);
  for (const [from, to, why] of [['id = 1', 'id = 0', /ascend/], ['id = 1', 'id = 65536', /16-bit/], ['int64', 'string', /type/], ['"gpu"', '"cpu"', /level/],
    ['"gauge"', '"sum"', /kind/], ['id = 1,', 'id = 1, last = 200,', /last/], ['id = 1,', 'id = 3, last = 2,', /last/]] as const) {
    assert.throws(() => parseCatalog(row(good.replace(from, to))), why, to);
  }
});
