// SPDX-License-Identifier: Apache-2.0
// The guest's logd codec against frames built byte by byte from the published tables, and against every cut and mutation of them.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildEntry, Host } from '../../runtime/node/index.js';
import { append, query } from './logd-frames.js';

let wasm: Uint8Array;
before(async () => { wasm = await buildEntry('tests/services/logd-codec.ts'); });

function codec(): { call: (name: string, ...args: (number | bigint)[]) => number | bigint; put: (bytes: Uint8Array) => number; frame: (length: number) => Buffer; texts: (text: string) => void } {
  const host = new Host({ name: 'codec', wasm });
  const address = Number(host.fn('address')());
  return {
    call: (name, ...args) => host.fn(name)(...args),
    put: (bytes) => { host.write(address, bytes); return bytes.length; },
    frame: (length) => Buffer.from(host.bytes(address, length)),
    texts: (text) => host.write(Number(host.fn('textAddress')()), Buffer.from(text, 'latin1')),
  };
}

test('encodes APPEND and QUERY as the tables say', () => {
  const { call, frame, texts } = codec();
  for (const [scope, message, fields] of [['', '', ''], ['s', 'hello', 'a=1\nb=2'], ['s'.repeat(64), 'm'.repeat(256), 'f'.repeat(512)]] as const) {
    texts(scope + message + fields);
    const length = Number(call('encodeAppend', 0x0102030405060708n, 3, scope.length, message.length, fields.length));
    assert.ok(frame(length).equals(append(0x0102030405060708n, { level: 3, scope, message, fields })));
    assert.equal(length, 18 + scope.length + message.length + fields.length);
  }
  const length = Number(call('encodeQuery', 9n, 7n, 65535, 11n));
  assert.ok(frame(length).equals(query(9n, { since: 7n, max: 65535, after: 11n })));
});

test('decodes each length of an APPEND: the whole frame alone is accepted', () => {
  const { call, put } = codec();
  const body = append(0n, { level: 4, scope: 'ab', message: 'cde', fields: 'k=v' }).subarray(12);
  put(Buffer.concat([body, Buffer.alloc(8)]));
  for (let length = 0; length <= body.length + 8; length++) {
    assert.equal(call('decodeAppend', length), length === body.length ? 4 << 8 : 4, `${length} bytes`);
  }
});

test('APPEND limits: at the edge accepted, one more is over_limit, whatever else is wrong with the length', () => {
  const { call, put } = codec();
  const edges = { scope: 64, message: 256, fields: 512 };
  for (const [field, edge] of Object.entries(edges)) {
    const at = append(0n, { scope: '', [field]: 'x'.repeat(edge) }).subarray(12);
    assert.equal(call('decodeAppend', put(at)), 2 << 8);
    const over = append(0n, { scope: '', [field]: 'x'.repeat(edge + 1) }).subarray(12);
    assert.equal(call('decodeAppend', put(over)), 5);
    assert.equal(call('decodeAppend', 6), 5, 'the claim is judged before the bytes are looked for');
  }
});

test('QUERY in both lengths; a record and STATS at their exact length', () => {
  const { call, put } = codec();
  assert.equal(call('decodeQuery', put(query(1n, { since: 5n, max: 6 }).subarray(12))), 1);
  assert.deepEqual([call('querySince'), call('queryMax'), call('queryAfter')], [5n, 6, 0n]);
  assert.equal(call('decodeQuery', put(query(1n, { since: 5n, max: 6, after: 7n }).subarray(12))), 1);
  assert.equal(call('queryAfter'), 7n);
  for (const length of [0, 9, 11, 17, 19, 26]) assert.equal(call('decodeQuery', length), 0, `${length} bytes`);
  const record = Buffer.alloc(30 + 6);
  record.writeBigUInt64LE(1n, 0);
  record.writeBigUInt64LE(2n, 8);
  record[16] = 1;
  record.writeBigUInt64LE(3n, 17);
  record[25] = 1;
  record.writeUInt16LE(2, 26);
  record.writeUInt16LE(3, 28);
  put(record);
  for (let length = 0; length <= 40; length++) assert.equal(call('decodeRecord', length), length === 36 ? 1 : 0);
  assert.equal(call('decodeRecord', 36), 1);
  assert.deepEqual([call('recordId'), call('recordTime'), call('recordSender'), call('recordLengths')], [1n, 2n, 3n, 1 | (2 << 8) | (3 << 20)]);
  const words = Buffer.alloc(96);
  for (let i = 0; i < 12; i++) words.writeBigUInt64LE(BigInt(i + 1), 8 * i);
  put(words);
  assert.equal(call('decodeStats', 95), 0);
  assert.equal(call('decodeStats', 97), 0);
  assert.equal(call('decodeStats', 96), 1);
  for (let i = 0; i < 12; i++) assert.equal(call('statsWord', i), BigInt(i + 1));
});
