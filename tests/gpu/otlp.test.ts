// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of lib/otlp: what it writes, the published definitions read; lengths are of least size; nothing is written past a buffer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { published } from '../export/requests.js';
import { buildEntry } from '../../runtime/node/index.js';

const instance = new WebAssembly.Instance(new WebAssembly.Module(await buildEntry('tests/gpu/otlp-module.ts') as BufferSource),
  { env: { abort: (): never => { throw new Error('guest abort'); } } });
const call = instance.exports as unknown as Record<string, (...args: (number | bigint)[]) => number>;
call['_init']!();
const memory = (): Buffer => Buffer.from((instance.exports['memory'] as WebAssembly.Memory).buffer);
const written = (length: number): Buffer => { assert.ok(length > 0); const at = call['buffer']!(); return Buffer.from(memory().subarray(at, at + length)); };

/** What the published definitions read; the bytes are also what they would have written. */
function read(signal: 'metrics' | 'trace' | 'logs', name: string, bytes: Buffer): unknown {
  const type = published(signal, name);
  const message = type.decode(bytes);
  assert.equal(Buffer.from(type.encode(message).finish()).length, bytes.length, 'canonical lengths');
  return type.toObject(message, { longs: String, bytes: String });
}
const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
const resource = { attributes: [text('service.name', 'vigil'), text('odd', 'a??b')] };
const hex = (value: string): string => Buffer.from(value, 'hex').toString('base64');

test('metrics: gauges, sums, histograms', () => {
  const length = call['metrics']!(65536);
  const point = (i: number): object => ({ attributes: [{ key: 'i', value: { intValue: String(i) } }], startTimeUnixNano: '1700000000000000000',
    timeUnixNano: '1800000000000000000', asInt: String(i - 1) });
  assert.deepEqual(read('metrics', 'ExportMetricsServiceRequest', written(length)), { resourceMetrics: [{ resource, scopeMetrics: [{
    scope: { name: 'vigil/test', version: '1.2' },
    metrics: [
      { name: 'up', description: 'about up', unit: '1', gauge: { dataPoints: [{ timeUnixNano: '1800000000000000001', asDouble: -2.5, attributes: [
        { key: 'n', value: { intValue: '-5' } }, { key: 'yes', value: { boolValue: true } }, { key: 'half', value: { doubleValue: 0.5 } }] }] } },
      { name: 'sent', unit: 'By', sum: { dataPoints: Array.from({ length: 40 }, (_, i) => point(i)), aggregationTemporality: 2, isMonotonic: true } },
      { name: 'took', unit: 's', histogram: { aggregationTemporality: 2, dataPoints: [{ startTimeUnixNano: '1', timeUnixNano: '2', count: '9', sum: 12.5,
        bucketCounts: ['4', '3', '2'], explicitBounds: [0.5, 2.5], attributes: [text('k', 'v')] }] } },
    ] }] }] });
});

test('no byte is written past a buffer, whatever its size', () => {
  const whole = call['metrics']!(65536);
  for (let capacity = 0; capacity <= whole + 1; capacity++) {
    const from = call['buffer']!() + capacity;
    memory().fill(0xa5, from, from + 64);
    const length = call['metrics']!(capacity);
    assert.ok(memory().subarray(from, from + 64).every((byte) => byte === 0xa5), `capacity ${capacity}`);
    // Nested messages need their two bytes of length until they are closed.
    if (capacity < whole) assert.equal(length, -1, `capacity ${capacity}`);
  }
  assert.equal(call['metrics']!(whole + 64), whole);
});

test('logs', () => {
  assert.deepEqual(read('logs', 'ExportLogsServiceRequest', written(call['logs']!())), { resourceLogs: [{ resource, scopeLogs: [{
    scope: { name: 'dcgmd', version: '1.2' },
    logRecords: [
      { timeUnixNano: '5', observedTimeUnixNano: '6', severityNumber: 13, severityText: 'warn', body: { stringValue: 'line\none' }, attributes: [text('key', 'value')],
        traceId: hex('01020304050607081112131415161718'), spanId: hex('1112131415161718') },
      { observedTimeUnixNano: '7', severityNumber: 9, body: { stringValue: '' } },
    ].map((row) => ({ attributes: [], ...row })).map((row) => (row.attributes.length === 0 ? (({ attributes: _, ...rest }) => rest)(row) : row)),
  }] }] });
});

test('traces', () => {
  const ids = { traceId: hex('01020304050607081112131415161718'), startTimeUnixNano: '10', endTimeUnixNano: '20', kind: 1 };
  assert.deepEqual(read('trace', 'ExportTraceServiceRequest', written(call['traces']!())), { resourceSpans: [{ resource, scopeSpans: [{
    scope: { name: 'vigil/test', version: '1.2' },
    spans: [
      { ...ids, spanId: hex('2122232425262728'), parentSpanId: hex('1112131415161718'), name: 'scrape',
        attributes: [{ key: 'samples', value: { intValue: '-9223372036854775808' } }], status: { message: 'timed out', code: 2 } },
      { ...ids, spanId: hex('1112131415161718'), name: 'root', status: { code: 1 } },
    ] }] }] });
});

test('a nested message has 0 to 16,383 bytes', () => {
  const lengths = [0, 1, 127, 128, 16_383, 16_384].map((bytes) => call['nested']!(bytes));
  assert.deepEqual(lengths, [2, 3, 129, 131, 16_386, -1]);
});

test('varints of every length, and without room', () => {
  for (const [value, bytes] of [[0n, 1], [127n, 1], [128n, 2], [16_383n, 2], [16_384n, 3], [2n ** 35n - 1n, 5], [2n ** 35n, 6], [2n ** 63n - 1n, 9], [2n ** 63n, 10], [2n ** 64n - 1n, 10]] as const) {
    assert.equal(call['varint']!(value, 16), bytes, String(value));
    let read_ = 0n;
    written(bytes).forEach((byte, i) => { read_ |= BigInt(byte & 127) << BigInt(7 * i); });
    assert.equal(read_, value);
    assert.equal(call['varint']!(value, bytes), bytes);
    assert.equal(call['varint']!(value, bytes - 1), -1);
  }
});

test('what did not fit can be forgotten', () => {
  assert.deepEqual([...written(call['rewound']!())], [0x08, 1, 0x18, 3]);
});
