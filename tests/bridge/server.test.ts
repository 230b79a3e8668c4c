// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that the bridge answers over its socket what the capture holds, labelled, and survives a bad client.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { LocalAnswerer } from '../../runtime/bridge/answerer.js';
import { FrameDecoder, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { defaultFixture, startReplayBridge } from '../../runtime/bridge/index.js';
import { sourceCode, statusCode, typeCode, valueType } from '../../runtime/bridge/protocol.js';
import { startServer } from '../../runtime/bridge/server.js';
import { ReplaySource, loadCapture } from '../../runtime/bridge/sources/replay.js';
import { StubSource } from '../../runtime/bridge/sources/stub.js';

const folder = mkdtempSync(join(tmpdir(), 'vigil-bridge-'));
after(() => { rmSync(folder, { recursive: true }); });
let sockets = 0;
const newPath = (): string => join(folder, `${sockets++}.sock`);

/** A client that asks one thing at a time and fails after two seconds. */
class Client {
  private readonly decoder = new FrameDecoder();
  private readonly waiting: ((frame: Frame) => void)[] = [];
  private nonce = 0;
  constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => { for (const frame of this.decoder.push(chunk as Buffer)) this.waiting.shift()?.(frame); });
  }
  static open(path: string): Promise<Client> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => { resolve(new Client(socket)); });
      socket.once('error', reject);
    });
  }
  async ask(type: string | number, payload: Buffer = Buffer.alloc(0)): Promise<Frame> {
    const nonce = ++this.nonce;
    const code = typeof type === 'string' ? typeCode(type) : type;
    const frame = await this.raw(encodeFrame({ type: code, nonce, payload, wallNs: 0n, monoNs: 0n }));
    assert.equal(frame.nonce, nonce);
    assert.equal(frame.type, code | 0x80);
    return frame;
  }
  raw(bytes: Buffer): Promise<Frame> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { reject(new Error('no reply in 2 s')); }, 2000);
      this.waiting.push((frame) => { clearTimeout(timer); resolve(frame); });
      this.socket.write(bytes);
    });
  }
  close(): void { this.socket.destroy(); }
}

const u32 = (...values: number[]): Buffer => { const out = Buffer.alloc(values.length * 4); values.forEach((v, i) => out.writeUInt32LE(v, i * 4)); return out; };
const CONNECT = Buffer.from([1, 0, 1, 0]);
function watchPayload(fieldIds: number[]): Buffer {
  const out = Buffer.alloc(16 + fieldIds.length * 2);
  out.writeBigUInt64LE(1_000_000n, 0);
  out.writeUInt32LE(30, 8);
  out.writeUInt16LE(fieldIds.length, 12);
  fieldIds.forEach((id, i) => out.writeUInt16LE(id, 16 + i * 2));
  return out;
}
const status = (frame: Frame): number => frame.payload.readUInt8(0);

test('replay: connect, version, enumerate, watch, latest values, close', async () => {
  const socketPath = newPath();
  const bridge = await startReplayBridge({ socketPath });
  const client = await Client.open(socketPath);
  const connected = await client.ask('connect', CONNECT);
  assert.equal(status(connected), statusCode('ok'));
  assert.equal(connected.payload.readUInt8(1), sourceCode('replay'));
  assert.equal(connected.payload.subarray(9).toString(), 'replay');
  assert.ok(connected.wallNs > 1_600_000_000_000_000_000n && connected.monoNs > 0n);
  const version = await client.ask('version');
  assert.match(version.payload.subarray(4).toString(), /^source:replay;/);
  const entities = await client.ask('enumerate', u32(0));
  assert.equal(entities.payload.readUInt16LE(2), 8);
  assert.equal(entities.payload.readUInt32LE(4), 0);
  const watch = await client.ask('watch', watchPayload([150, 204]));
  const values = await client.ask('latest_values', u32(watch.payload.readUInt32LE(4), 0));
  assert.equal(values.payload.readUInt8(1), sourceCode('replay'));
  assert.equal(values.payload.readUInt16LE(2), 16);
  const capture = loadCapture(defaultFixture);
  for (let i = 0; i < 16; i++) {
    const at = 8 + i * 32;
    const id = values.payload.readUInt32LE(at + 4);
    const fieldId = values.payload.readUInt16LE(at + 2);
    const recorded = capture.samples.find((sample) => sample.entityId === id && sample.fieldId === fieldId);
    assert.equal(values.payload.readUInt8(at + 1), valueType('int64'));
    if (recorded === undefined) {
      assert.equal(values.payload.readInt32LE(at + 8), -14);
      assert.equal(values.payload.readBigInt64LE(at + 24), 0x7ffffffffffffff1n);
    } else {
      assert.equal(values.payload.readInt32LE(at + 8), 0);
      assert.equal(values.payload.readBigInt64LE(at + 24), BigInt(recorded.value));
      const ageUs = values.wallNs / 1000n - values.payload.readBigInt64LE(at + 16);
      assert.ok(ageUs >= 0n && ageUs < 1_000_000n, `rebased to now: ${ageUs} us old`);
    }
  }
  assert.equal(status(await client.ask('close')), statusCode('ok'));
  assert.equal(status(await client.ask('close')), statusCode('ok'));
  assert.equal(status(await client.ask('enumerate', u32(0))), statusCode('not_connected'));
  client.close();
  await bridge.close();
});

test('refusals: each with its status, and the session goes on', async () => {
  const socketPath = newPath();
  const bridge = await startReplayBridge({ socketPath });
  const client = await Client.open(socketPath);
  const expect = async (wanted: string, type: string | number, payload?: Buffer): Promise<void> => {
    assert.equal(status(await client.ask(type, payload)), statusCode(wanted), `${type} ${payload?.toString('hex') ?? ''}`);
  };
  await expect('not_connected', 'enumerate', u32(0));
  await expect('unsupported', 'connect', Buffer.from([2, 0, 9, 0]));
  await expect('bad_request', 'connect', Buffer.from([1]));
  await expect('ok', 'connect', CONNECT);
  await expect('already_connected', 'connect', CONNECT);
  await expect('unsupported', 'start_embedded');
  await expect('unsupported', 0x55);
  await expect('unsupported', 'logs');
  await expect('bad_request', 'enumerate');
  await expect('bad_request', 'enumerate', u32(9));
  await expect('bad_request', 'watch', Buffer.alloc(15));
  await expect('bad_request', 'watch', watchPayload([]));
  await expect('field_not_supported', 'watch', watchPayload([150, 65535]));
  await expect('over_limit', 'watch', watchPayload(Array.from({ length: 129 }, () => 150)));
  await expect('bad_request', 'latest_values', u32(99, 0));
  for (let i = 0; i < 16; i++) await expect('ok', 'watch', watchPayload([150]));
  await expect('over_limit', 'watch', watchPayload([150]));
  await expect('ok', 'version');
  client.close();
  await bridge.close();
});

test('a client that dies in mid-frame leaves a clean bridge; garbage is skipped; a second client waits its turn', async () => {
  const socketPath = newPath();
  const bridge = await startReplayBridge({ socketPath });
  const first = await Client.open(socketPath);
  await first.ask('connect', CONNECT);
  const second = await Client.open(socketPath);
  await new Promise((resolve) => { second.socket.once('close', resolve); });
  assert.equal(bridge.counters.refused, 1);
  const whole = encodeFrame({ type: 1, nonce: 9, payload: CONNECT, wallNs: 0n, monoNs: 0n });
  first.socket.write(whole.subarray(0, 20));
  first.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const third = await Client.open(socketPath);
  const reply = await third.raw(Buffer.concat([Buffer.from('garbage VGLB'), whole]));
  assert.equal(status(reply), statusCode('ok'), 'the dead client\'s session ended with it');
  third.close();
  await bridge.close();
});

test('a partial frame is given up after its time and what follows is read', async () => {
  const socketPath = newPath();
  const bridge = await startReplayBridge({ socketPath });
  const client = await Client.open(socketPath);
  const whole = encodeFrame({ type: 1, nonce: 5, payload: CONNECT, wallNs: 0n, monoNs: 0n });
  const big = encodeFrame({ type: 1, nonce: 4, payload: Buffer.alloc(9000), wallNs: 0n, monoNs: 0n });
  const reply = await client.raw(Buffer.concat([big.subarray(0, 500), whole]));
  assert.equal(reply.nonce, 5);
  client.close();
  await bridge.close();
});

test('stub: everything but close is unavailable', async () => {
  const socketPath = newPath();
  const bridge = await startServer({ socketPath, answerer: new LocalAnswerer(new StubSource()) });
  const client = await Client.open(socketPath);
  for (const [type, payload] of [['connect', CONNECT], ['start_embedded'], ['enumerate', u32(0)], ['watch', watchPayload([150])],
    ['latest_values', u32(1, 0)], ['version']] as [string, Buffer?][]) {
    assert.equal(status(await client.ask(type, payload)), statusCode('unavailable'), type);
  }
  assert.equal(status(await client.ask('close')), statusCode('ok'));
  client.close();
  await bridge.close();
});

test('config: the receiver\'s lines, in any state and of any source; none: an empty text; a text that no reply can carry: no bridge', async () => {
  const lines = 'mode=standalone\ncollection_interval_ms=1000\n';
  for (const source of [new StubSource(), new ReplaySource(loadCapture(defaultFixture))]) {
    const socketPath = newPath();
    const bridge = await startServer({ socketPath, answerer: new LocalAnswerer(source), receiverConfig: lines });
    assert.equal(bridge.source, source.label);
    const client = await Client.open(socketPath);
    const expected = Buffer.concat([Buffer.from([0, lines.length, 0]), Buffer.from(lines)]);
    assert.deepEqual((await client.ask('config')).payload, expected, 'before connect');
    await client.ask('connect', CONNECT);
    const again = await client.ask('config');
    assert.deepEqual(again.payload, expected, 'after it');
    assert.ok(again.wallNs > 0n && again.monoNs > 0n);
    assert.equal(status(await client.ask('config', Buffer.from([0]))), statusCode('bad_request'));
    assert.equal(bridge.counters.requests, 4);
    client.close();
    await bridge.close();
  }
  const socketPath = newPath();
  const bridge = await startReplayBridge({ socketPath });
  const client = await Client.open(socketPath);
  assert.deepEqual((await client.ask('config')).payload, Buffer.from([0, 0, 0]));
  client.close();
  await bridge.close();
  await assert.rejects(startReplayBridge({ socketPath: newPath(), receiverConfig: 'a\r\n' }), /character/);
});

test('a path that is no socket is refused, a stale socket replaced', async () => {
  const file = join(folder, 'plain');
  writeFileSync(file, '');
  await assert.rejects(startReplayBridge({ socketPath: file }), /is not a socket/);
  await assert.rejects(startReplayBridge({ socketPath: newPath(), fixture: join(folder, 'none.json') }), /ENOENT/);
});
