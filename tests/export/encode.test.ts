// SPDX-License-Identifier: Apache-2.0
// What the host writes itself: a request from plain values and back, and attributes put into resources without touching the rest.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeMetrics } from '../../runtime/export/otlp/encode.js';
import { decodeMetrics, type Resource, type Value } from '../../runtime/export/otlp/model.js';
import { stampResources } from '../../runtime/export/otlp/stamp.js';
import { GPU0, gpuRequest, published } from './requests.js';

const BIG = 2n ** 53n + 1n;
const every: Resource[] = [{
  attributes: new Map<string, Value>([['text', 'a'], ['flag', true], ['whole', -5n], ['part', 0.25]]),
  scopes: [{
    name: 's', version: '2', attributes: new Map(), metrics: [
      { name: 'g', description: 'd', unit: 'W', kind: 'gauge', monotonic: false, temporality: 0, histograms: [], points: [
        { attributes: new Map([['k', 'v']]), startNs: 0n, timeNs: 1_800_000_000_000_000_001n, value: 1.5 }, { attributes: new Map(), startNs: 0n, timeNs: 1n, value: -BIG },
      ] },
      { name: 'c', description: '', unit: '', kind: 'sum', monotonic: true, temporality: 2, histograms: [], points: [{ attributes: new Map(), startNs: 5n, timeNs: 6n, value: BIG }] },
      { name: 'h', description: '', unit: 's', kind: 'histogram', monotonic: false, temporality: 2, points: [], histograms: [
        { attributes: new Map(), startNs: 1n, timeNs: 2n, count: 3n, sum: 4.5, bounds: [1, 2], buckets: [1n, 1n, 1n] },
      ] },
    ],
  }],
}];

test('values, whole numbers and times survive the way to a request and back, also by the published definitions', () => {
  const bytes = encodeMetrics(every);
  assert.deepEqual(decodeMetrics(bytes), every);
  const theirs = published('metrics', 'ExportMetricsServiceRequest');
  const told = JSON.stringify(theirs.toObject(theirs.decode(bytes), { longs: String }));
  for (const part of [
    `"asInt":"${BIG}"`, `"asInt":"${-BIG}"`, '"timeUnixNano":"1800000000000000001"', '"isMonotonic":true', '"aggregationTemporality":2', '"bucketCounts":["1","1","1"]',
  ]) assert.ok(told.includes(part), part);
});

test('a stamped request differs by the attribute alone; what a resource has already stays; unknown fields survive', () => {
  const host = new Map([['host.name', 'node-a']]);
  const { 'host.name': _, ...bare } = GPU0;
  const gpu = (attributes: Record<string, string>): Uint8Array => gpuRequest([{ attributes, metrics: [{ name: 'hw.power', points: [{ value: 1 }] }] }]);
  assert.deepEqual(Buffer.from(stampResources(gpu(bare), host)), Buffer.from(gpu({ ...bare, 'host.name': 'node-a' })));
  assert.deepEqual(Buffer.from(stampResources(gpu(GPU0), host)), Buffer.from(gpu(GPU0)));
  assert.equal(stampResources(gpu(bare), new Map()).length, gpu(bare).length);
  // A ResourceMetrics without a Resource gets one; field 100 (of each wire type) of a later protocol is carried along.
  const unknown = [0xa0, 6, 1, 0xa1, 6, ...new Array<number>(8).fill(7), 0xa5, 6, 1, 2, 3, 4, 0xa2, 6, 2, 9, 9];
  const stamped = stampResources(Uint8Array.of(0x0a, unknown.length, ...unknown, ...unknown), host);
  assert.equal(String(decodeMetrics(stamped)[0]!.attributes.get('host.name')), 'node-a');
  assert.equal(Buffer.from(stamped).toString('hex').split(Buffer.from(unknown).toString('hex')).length - 1, 2);
  const long = 'x'.repeat(1000);
  assert.equal(decodeMetrics(stampResources(gpu({ ...bare, long }), new Map([['host.name', long]])))[0]!.attributes.get('host.name'), long);
});

test('what is no protobuf is refused, at every length that cuts a request short', () => {
  const bytes = gpuRequest([{ attributes: GPU0, metrics: [{ name: 'hw.power', points: [{ value: 1 }] }] }]);
  const host = new Map([['host.name', 'node-a']]);
  for (let cut = 1; cut < bytes.length; cut++) assert.throws(() => stampResources(bytes.subarray(0, cut), host), RangeError, `cut at ${cut}`);
  for (const bad of [[0x0b], [0x0a, 0x05, 1], new Array<number>(11).fill(0x80), [0x0a, 0x02, 0x0a, 0x7f]]) assert.throws(() => stampResources(Uint8Array.from(bad), host), RangeError, String(bad));
});
