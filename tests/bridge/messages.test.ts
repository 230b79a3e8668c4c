// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that both ends write and read the payloads of the seven methods as tests/vectors/bridge.json has them, and that damaged
// ones are refused by name. The vectors were written apart from the code. Limits: watch requests are read by the host alone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BridgeClient } from '../../runtime/bridge/client.js';
import { FrameDecoder, encodeFrame } from '../../runtime/bridge/codec.js';
import * as messages from '../../runtime/bridge/messages.js';
import { REPLY_BIT, limit, typeCode, valueType } from '../../runtime/bridge/protocol.js';
import { SourceError, type Entity, type Sample } from '../../runtime/bridge/source.js';
import { GuestDecoder, guestCodecWasm } from './guest-codec.js';
import { randomBelow } from '../random.js';

interface PlainSample { group: number; type: number; fieldId: number; entityId: number; status: number; kind: number; tsUs: string; value: string }
interface Message { name: string; type: string; reply?: boolean; payload: string; means?: Record<string, unknown> }
const vectors = (JSON.parse(readFileSync(new URL('../vectors/bridge.json', import.meta.url), 'utf8')) as { messages: Message[] }).messages;
const payloadOf = (name: string): Buffer => Buffer.from(vectors.find((message) => message.name === name)!.payload, 'hex');
const meansOf = <T>(name: string): T => vectors.find((message) => message.name === name)!.means as T;
const guest = new GuestDecoder(await guestCodecWasm());

const { label, entities } = meansOf<{ label: string; entities: Entity[] }>('enumerate reply');
const plain = meansOf<{ label: string; samples: PlainSample[] }>('latest_values reply');
const samples: Sample[] = plain.samples.map(({ kind: _, tsUs, value, ...rest }) =>
  ({ ...rest, tsUs: BigInt(tsUs), value: rest.type === valueType('double') ? Number(value) : BigInt(value) }));

test('each method has its request and its reply among the vectors, and both ends frame them alike', () => {
  assert.deepEqual(vectors.map(({ name }) => name), ['connect', 'start_embedded', 'enumerate', 'watch', 'latest_values', 'version', 'close', 'config']
    .flatMap((type) => [`${type} request`, `${type} reply`]));
  for (const [i, { name, type, reply, payload }] of vectors.entries()) {
    const bytes = Buffer.from(payload, 'hex');
    const code = typeCode(type) | (reply === true ? REPLY_BIT : 0);
    const framed = encodeFrame({ type: code, nonce: i, wallNs: 0n, monoNs: 0n, payload: bytes });
    assert.deepEqual(guest.encode(code, i, bytes), framed, name);
    for (const decoder of [new FrameDecoder(), guest]) assert.deepEqual(decoder.push(framed)[0]?.payload, bytes, name);
  }
});

test('the host writes the replies', () => {
  const connect = meansOf<{ label: string; protocol: number; session: number }>('connect reply');
  assert.deepEqual(messages.encodeConnectReply(connect.label, connect.protocol, connect.session), payloadOf('connect reply'));
  assert.deepEqual(messages.encodeEntities(label, entities, 0), payloadOf('enumerate reply'));
  assert.deepEqual(messages.encodeWatchReply(3, 2), payloadOf('watch reply'));
  assert.deepEqual(messages.encodeSamples(plain.label, samples, 0), payloadOf('latest_values reply'));
  const version = meansOf<{ label: string; text: string }>('version reply');
  assert.deepEqual(messages.encodeVersionReply(version.label, version.text), payloadOf('version reply'));
  assert.deepEqual(messages.statusReply('ok'), payloadOf('close reply'));
  assert.deepEqual(messages.encodeConfigReply(meansOf<{ text: string }>('config reply').text), payloadOf('config reply'));
});

test('a configuration that no reply can carry is refused before the bridge serves', () => {
  const most = limit('config_bytes_max');
  assert.equal(messages.encodeConfigReply('a'.repeat(most)).length, 3 + most);
  assert.equal(messages.encodeConfigReply('').length, 3);
  assert.throws(() => messages.encodeConfigReply('a'.repeat(most + 1)), RangeError);
  for (const bad of ['\t', '\r', '\0', '\x7f', '\u00e9', '\ud83d\ude00']) assert.throws(() => messages.encodeConfigReply(`mode=${bad}\n`), /character .* at 5/, bad);
});

test('the host reads the requests', () => {
  assert.deepEqual(messages.decodeConnect(payloadOf('connect request')), { min: 1, max: 1 });
  assert.equal(messages.decodeEnumerate(payloadOf('enumerate request')), 0);
  const { updateUs, ...watch } = meansOf<{ updateUs: string }>('watch request');
  assert.deepEqual(messages.decodeWatch(payloadOf('watch request')), { ...watch, updateUs: BigInt(updateUs) });
  assert.deepEqual(messages.decodeLatest(payloadOf('latest_values request')), meansOf('latest_values request'));
});

test('a request that is shorter or longer by a byte is refused by name, over a limit too', () => {
  const decoders: Record<string, (payload: Buffer) => unknown> = { connect: messages.decodeConnect, enumerate: messages.decodeEnumerate,
    watch: messages.decodeWatch, latest_values: messages.decodeLatest, version: messages.decodeEmpty, close: messages.decodeEmpty, start_embedded: messages.decodeEmpty };
  const bad = (error: unknown): boolean => error instanceof SourceError && error.status === 'bad_request';
  for (const [type, decode] of Object.entries(decoders)) {
    const payload = payloadOf(`${type} request`);
    if (payload.length > 0) assert.throws(() => decode(payload.subarray(0, -1)), bad, type);
    assert.throws(() => decode(Buffer.concat([payload, Buffer.alloc(1)])), bad, type);
  }
  const watch = (fieldCount: number, entityCount: number): Buffer => {
    const out = Buffer.alloc(16 + fieldCount * 2 + entityCount * 8);
    out.writeUInt16LE(fieldCount, 12);
    out.writeUInt16LE(entityCount, 14);
    return out;
  };
  const [fields, places] = [limit('fields_max'), limit('entities_max')];
  assert.equal(messages.decodeWatch(watch(fields, places)).entities.length, places);
  for (const over of [watch(fields + 1, 0), watch(1, places + 1)]) {
    assert.throws(() => messages.decodeWatch(over), (error) => error instanceof SourceError && error.status === 'over_limit');
  }
});

test('random payloads are refused by name or read within their bounds, never anything else', (t) => {
  const seed = Number(process.env['VIGIL_FUZZ_SEED'] ?? Date.now() % 1_000_000);
  t.diagnostic(`VIGIL_FUZZ_SEED=${seed}`);
  const random = randomBelow(seed);
  for (let round = 0; round < 3000; round++) {
    const payload = Buffer.from(Array.from({ length: random(60) }, () => (random(3) === 0 ? 0 : random(256))));
    for (const decode of [messages.decodeConnect, messages.decodeEnumerate, messages.decodeWatch, messages.decodeLatest, messages.decodeEmpty]) {
      try {
        decode(payload);
      } catch (error) {
        assert.ok(error instanceof SourceError, `seed ${seed} round ${round}: ${String(error)}`);
      }
    }
  }
});

test('dcgmd reads entities and samples as they were written', () => {
  assert.deepEqual(guest.entities(payloadOf('enumerate reply').subarray(8), entities), entities.map(({ uuid }) => uuid));
  assert.equal(guest.entities(payloadOf('enumerate reply').subarray(8, -1), entities), null);
  const bytes = payloadOf('latest_values reply');
  const float = Buffer.alloc(8);
  for (const [i, sample] of plain.samples.entries()) {
    float.writeDoubleLE(Number(sample.value), 0);
    const value = sample.type === valueType('double') ? float.readBigInt64LE(0) : BigInt(sample.value);
    const record = bytes.subarray(8 + i * limit('sample_bytes'), 8 + (i + 1) * limit('sample_bytes'));
    assert.deepEqual(guest.sample(record), [sample.group, sample.type, sample.fieldId, sample.entityId, sample.status, sample.kind, sample.tsUs, value].map(BigInt));
  }
});

test('the host\'s own client asks as dcgmd does and reads the replies', async () => {
  const asked: string[] = [];
  const client = new BridgeClient({
    answer: async (request) => {
      const message = vectors.find(({ type, reply }) => typeCode(type) === request.type && reply === true)!;
      asked.push(`${message.type} ${request.payload.toString('hex')}`);
      return { ...request, type: request.type | REPLY_BIT, payload: Buffer.from(message.payload, 'hex') };
    },
  });
  assert.equal(await client.connect(), 'nvml');
  assert.equal(await client.version(), 'source:dcgm;');
  assert.deepEqual(await client.enumerate(), entities);
  assert.equal(await client.watch({ updateUs: 1_000_000n, keepS: 30, fieldIds: [150, 65535], entities: [{ group: 4, id: 9 }] }), 3);
  assert.deepEqual(await client.latestValues(3), samples);
  await client.close();
  assert.deepEqual(asked, ['connect', 'version', 'enumerate', 'watch', 'latest_values', 'close'].map((type) => `${type} ${payloadOf(`${type} request`).toString('hex')}`));
});
