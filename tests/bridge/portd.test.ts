// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that portd (the shipping wasm) drives the multiport device, lets in whom policy allows, loses and invents no
// byte, pushes back, and answers the host's control questions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameDecoder, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { ControlProtocol } from '../../runtime/bridge/control.js';
import { statusCode, typeCode } from '../../runtime/bridge/protocol.js';
import { Host, buildModule, senderId, type HostOptions, type Outcome, type Peer, type Script, type Step } from '../../runtime/node/index.js';
import { SerialDevice } from './serial-device.js';
import { answer, logAnswer, policyAnswer, reply, request, text8, u16, u32, u64, u8, type Reply } from './wire.js';

const wasm = await buildModule('portd');
const [OPEN, WRITE, READ, CLOSE, STATS] = [1, 2, 3, 4, 5];
const [OK, MALFORMED, , NOT_FOUND, DENIED, BUSY, AGAIN, DISCONNECTED, UNAVAILABLE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const DCGM = 1;
const CONTROL = 3;

const policyd: Peer = ({ bytes }) => policyAnswer(bytes, (subject, capability) =>
  subject === senderId('dcgmd') && capability === 'port.dcgm');

function start(device: SerialDevice, extra: Partial<HostOptions> = {}): Host {
  return new Host({ name: 'portd', wasm, sys: device.sys, ...extra, peers: { policyd, ...extra.peers } });
}

let nonce = 0;
function* ask(host: Host, op: number, body: Buffer, from = 'dcgmd'): Generator<Step, Reply, Outcome> {
  nonce += 1;
  return reply(yield* host.call(from, request('PD', op, nonce, body)), 'PD', op, nonce);
}
function* openDcgm(host: Host): Generator<Step, number, Outcome> {
  const opened = yield* ask(host, OPEN, text8('org.vigil.dcgm'));
  assert.equal(opened.status, OK);
  return opened.body.readUInt32LE(0);
}
const read = (port: number, max = 4096, until = 0n): Buffer => Buffer.concat([u32(port), u16(max), u64(until)]);

/** Runs a script and makes sure that it ran to its end. */
function run(host: Host, body: (host: Host) => Generator<Step, void, Outcome>): void {
  let ended = false;
  host.run(function* (h): Script { yield* body(h); ended = true; });
  assert.ok(ended, 'the script ran to its end');
}

test('handshake, ping, policy: only dcgmd gets the dcgm port, nobody the control port', () => {
  const device = new SerialDevice();
  device.hostConnected.add(DCGM);
  run(start(device), function* (host) {
    const ping = yield* host.call('init-lite', request('IN', 2, 7));
    assert.deepEqual(Buffer.from(ping!).subarray(0, 9), Buffer.concat([Buffer.from('IN\x01'), u8(0x82), u32(7), u8(0)]));
    assert.deepEqual(host.console, ['portd: ready']);
    assert.deepEqual([...device.guestOpen], [CONTROL]);
    assert.equal((yield* ask(host, OPEN, text8('org.vigil.dcgm'), 'selftest')).status, DENIED);
    assert.equal((yield* ask(host, OPEN, text8('org.vigil.export'))).status, DENIED);
    assert.equal((yield* ask(host, OPEN, text8('org.vigil.control'))).status, DENIED);
    assert.equal((yield* ask(host, OPEN, text8('nothing'))).status, DENIED);
    assert.equal((yield* ask(host, OPEN, text8(''))).status, MALFORMED);
    assert.equal((yield* ask(host, OPEN, u8(9, 65))).status, MALFORMED);
    const opened = yield* ask(host, OPEN, text8('org.vigil.dcgm'));
    assert.deepEqual([opened.status, opened.body.readUInt8(4)], [OK, 1]);
    assert.ok(device.guestOpen.has(DCGM));
    const port = opened.body.readUInt32LE(0);
    for (const op of [WRITE, READ, CLOSE]) {
      assert.equal((yield* ask(host, op, read(port), 'selftest')).status, DENIED, `op ${op} of a stranger`);
      assert.equal((yield* ask(host, op, u8(1))).status, MALFORMED);
      assert.equal((yield* ask(host, op, read(99))).status, NOT_FOUND);
    }
  });
});

test('policyd silent, late, malformed or gone: denied', () => {
  const wrongNonce: Peer = (message) => { const out = policyd(message) as Buffer; out.writeUInt8(out.readUInt8(4) ^ 1, 4); return out; };
  const short: Peer = (message) => (policyd(message) as Buffer).subarray(0, 9);
  for (const broken of [() => null, () => ({ error: 'dead' }), wrongNonce, short] as Peer[]) {
    run(start(new SerialDevice(), { peers: { policyd: broken } }), function* (host) {
      assert.equal((yield* ask(host, OPEN, text8('org.vigil.dcgm'))).status, DENIED);
    });
  }
});

test('bytes go out whole and come in whole, in order, at any read size', () => {
  const device = new SerialDevice();
  device.hostConnected.add(DCGM);
  run(start(device), function* (host) {
    const port = yield* openDcgm(host);
    const out = Buffer.from(Array.from({ length: 5000 }, (_, i) => i * 7 & 255));
    assert.equal((yield* ask(host, WRITE, Buffer.concat([u32(port), out]))).status, OK);
    assert.deepEqual(device.takeTransmitted(DCGM), out);
    const sent = Buffer.from(Array.from({ length: 50_000 }, (_, i) => i * 31 + (i >> 8) & 255));
    device.hostSend(host, DCGM, sent);
    assert.ok(device.waitingBytes(DCGM) > 0, 'more than the posted buffers hold: the host waits');
    const got: Buffer[] = [];
    for (const max of Array.from({ length: 400 }, (_, i) => 1 + (i * 97) % 4096)) {
      const part = yield* ask(host, READ, read(port, max));
      assert.equal(part.status, OK);
      if (part.body.length === 4) break;
      got.push(part.body.subarray(4));
    }
    assert.deepEqual(Buffer.concat(got), sent);
    const stats = yield* ask(host, STATS, u32(port), 'selftest');
    assert.deepEqual([1, 9, 17, 25].map((at) => stats.body.readBigUInt64LE(at)), [50_000n, 5000n, 0n, 0n]);
  });
});

test('back-pressure: a write without room is refused whole and works once there is room', () => {
  const device = new SerialDevice();
  device.hostConnected.add(DCGM);
  run(start(device), function* (host) {
    const port = yield* openDcgm(host);
    device.stalled = true;
    for (let i = 0; i < 4; i++) assert.equal((yield* ask(host, WRITE, Buffer.concat([u32(port), u8(i)]))).status, OK);
    assert.equal((yield* ask(host, WRITE, Buffer.concat([u32(port), u8(9)]))).status, AGAIN);
    device.release();
    yield* host.notify(1n);
    assert.equal((yield* ask(host, WRITE, Buffer.concat([u32(port), u8(9)]))).status, OK);
    assert.deepEqual(device.takeTransmitted(DCGM), u8(0, 1, 2, 3, 9));
    device.full = true;
    assert.equal((yield* ask(host, WRITE, Buffer.concat([u32(port), u8(9)]))).status, UNAVAILABLE);
    const stats = yield* ask(host, STATS, u32(port));
    assert.equal(stats.body.readBigUInt64LE(25), 1n, 'the refused byte is counted');
  });
});

test('a waiting read is answered by bytes, by the deadline, or by the host leaving; a second one is busy', () => {
  const device = new SerialDevice();
  device.hostConnected.add(DCGM);
  run(start(device), function* (host) {
    const port = yield* openDcgm(host);
    const until = host.now_ns + 1_000_000n;
    const pend = function* (): Generator<Step, number, Outcome> {
      const outcome = yield { kind: 'message', from: senderId('dcgmd'), bytes: request('PD', READ, 500, read(port, 64, host.now_ns + 1_000_000n)),
        call: true, moved: 0, badge: 1 };
      assert.equal(outcome.reply, null);
      return outcome.replyHandle;
    };
    const late = (handle: number): Reply => reply(host.lateReplies.get(handle) ?? null, 'PD', READ, 500);
    let handle = yield* pend();
    assert.equal((yield* ask(host, READ, read(port, 64, until))).status, BUSY);
    device.hostSend(host, DCGM, Buffer.from('late bytes'));
    yield* host.notify(1n);
    assert.deepEqual([late(handle).status, late(handle).body.subarray(4).toString()], [OK, 'late bytes']);
    handle = yield* pend();
    yield* host.idle();
    assert.deepEqual([late(handle).status, late(handle).body.length], [OK, 4]);
    handle = yield* pend();
    device.setHost(host, DCGM, false);
    yield* host.notify(1n);
    assert.equal(late(handle).status, DISCONNECTED);
    assert.equal((yield* ask(host, READ, read(port, 64, host.now_ns + 1_000_000n))).status, DISCONNECTED);
    assert.equal((yield* ask(host, WRITE, Buffer.concat([u32(port), u8(1)]))).status, DISCONNECTED);
    assert.equal((yield* ask(host, READ, read(port, 64, host.now_ns + 61_000_000_000n))).status, MALFORMED);
  });
});

test('the owner again after a restart: what its predecessor left unread is counted lost, not handed over', () => {
  const device = new SerialDevice();
  device.hostConnected.add(DCGM);
  run(start(device), function* (host) {
    const port = yield* openDcgm(host);
    device.hostSend(host, DCGM, Buffer.alloc(100));
    yield* host.notify(1n);
    assert.equal(yield* openDcgm(host), port);
    assert.equal((yield* ask(host, READ, read(port))).body.length, 4);
    assert.equal((yield* ask(host, STATS, u32(port))).body.readBigUInt64LE(17), 100n);
    assert.equal((yield* ask(host, CLOSE, u32(port))).status, OK);
    assert.ok(!device.guestOpen.has(DCGM));
    assert.equal((yield* ask(host, READ, read(port))).status, DENIED);
  });
});

test('no device: ready all the same, every port unavailable', () => {
  const device = new SerialDevice();
  device.present = false;
  run(start(device), function* (host) {
    assert.equal(Buffer.from((yield* host.call('init-lite', request('IN', 2, 1)))!).readUInt8(8), 0);
    assert.equal((yield* ask(host, OPEN, text8('org.vigil.dcgm'))).status, UNAVAILABLE);
  });
});

test('a device that names too few ports: not ready', () => {
  run(start(new SerialDevice(['org.vigil.dcgm'])), function* (host) {
    assert.equal(Buffer.from((yield* host.call('init-lite', request('IN', 2, 1)))!).readUInt8(8), 1);
    assert.deepEqual(host.console, []);
  });
});

const control = (type: string, number: number, payload: Buffer): Buffer =>
  encodeFrame({ type: typeCode(type), nonce: number, payload, wallNs: 1n, monoNs: 1n });

test('control port: LOGS, SERIES and STATUS are answered by their owners; garbage and a reconnect do no harm', () => {
  const device = new SerialDevice();
  device.hostConnected.add(CONTROL);
  const record = Buffer.concat([u64(5n), u64(99n), u8(2), u64(7n), u8(1), u16(2), u16(0), Buffer.from('shi')]);
  const logd: Peer = ({ bytes }) => {
    assert.deepEqual(Buffer.from(bytes).subarray(12), Buffer.concat([u64(0n), u16(10), u64(4n)]));
    return logAnswer(bytes, 0, Buffer.concat([u64(9n), u64(1n), u16(1), record]));
  };
  const metricsd: Peer = ({ bytes }) => answer(bytes, 0, Buffer.concat([Buffer.from('page'), Buffer.from(bytes).subarray(8)]));
  const samgrd: Peer = ({ bytes }) => (Buffer.from(bytes).subarray(9).toString() === 'logd'
    ? answer(bytes, 0, Buffer.concat([u8(1, 0), u32(2)])) : answer(bytes, 3));
  const decoder = new FrameDecoder();
  const drain = (): Frame[] => decoder.push(device.takeTransmitted(CONTROL));
  const host = start(device, { peers: { logd, metricsd, samgrd }, counters: { running: 11n, free_frames: 4000n } });
  run(host, function* () {
    device.hostSend(host, CONTROL, Buffer.concat([Buffer.from('noise'), control('logs', 1, Buffer.concat([u64(4n), u16(10)]))]));
    yield* host.notify(1n);
    const [logs] = drain();
    assert.equal(logs!.nonce, 1);
    const page = ControlProtocol.decodeLogs(logs!.payload);
    assert.deepEqual(page, { total: 9n, dropped: 1n,
      records: [{ id: 5n, tsNs: 99n, level: 2, sender: 7n, scope: 's', message: 'hi', fields: '' }] });
    device.hostSend(host, CONTROL, Buffer.concat([control('series', 2, Buffer.concat([u32(3), u16(20)])),
      control('status', 3, Buffer.concat([u8(2), text8('logd'), text8('ghost')])), control('connect', 4, u8(1, 0, 1, 0)),
      control('logs', 5, u8(1)), control('status', 6, u8(33))]));
    yield* host.notify(1n);
    const frames = drain();
    assert.deepEqual(frames.map(({ nonce: n }) => n), [2, 3, 4, 5].slice(0, frames.length), 'as many as there are transmit buffers');
    yield* host.notify(1n);
    frames.push(...drain());
    assert.deepEqual(frames.map(({ nonce: n }) => n), [2, 3, 4, 5, 6]);
    assert.deepEqual(frames[0]!.payload, Buffer.concat([u8(0), Buffer.from('page'), u32(3), u16(20)]));
    const status = ControlProtocol.decodeStatus(frames[1]!.payload, ['logd', 'ghost']);
    assert.equal(status.counters['running'], 11n);
    assert.equal(status.counters['free_frames'], 4000n);
    assert.deepEqual(status.services, [{ name: 'logd', registered: true, dead: false, registrations: 2 },
      { name: 'ghost', registered: false, dead: false, registrations: 0 }]);
    assert.deepEqual(status.ports.map(({ name, connected }) => [name, connected]),
      [['org.vigil.dcgm', false], ['org.vigil.export', false], ['org.vigil.control', true]]);
    assert.deepEqual(frames.slice(2).map(({ payload }) => payload.readUInt8(0)),
      [statusCode('unsupported'), statusCode('bad_request'), statusCode('bad_request')]);
    device.hostSend(host, CONTROL, control('logs', 7, Buffer.concat([u64(4n), u16(10)])).subarray(0, 30));
    yield* host.notify(1n);
    device.setHost(host, CONTROL, false);
    device.setHost(host, CONTROL, true);
    device.hostSend(host, CONTROL, control('status', 8, u8(0)));
    yield* host.notify(1n);
    assert.deepEqual(drain().map(({ nonce: n }) => n), [8]);
    assert.deepEqual(host.console, [], 'a watching host causes no line');
  });
});

test('control port: a service that does not answer is unavailable, one that refuses is permission_denied', () => {
  const device = new SerialDevice();
  device.hostConnected.add(CONTROL);
  const host = start(device, { peers: { logd: ({ bytes }) => logAnswer(bytes, 7, Buffer.alloc(18)), metricsd: () => null } });
  run(host, function* () {
    device.hostSend(host, CONTROL, Buffer.concat([control('logs', 1, Buffer.concat([u64(0n), u16(1)])),
      control('series', 2, Buffer.concat([u32(0), u16(1)]))]));
    yield* host.notify(1n);
    assert.deepEqual(new FrameDecoder().push(device.takeTransmitted(CONTROL)).map(({ payload }) => payload),
      [u8(statusCode('permission_denied')), u8(statusCode('unavailable'))]);
  });
});

test('control port: history hands the question to metricsd as it is, and its refusals have names', () => {
  const device = new SerialDevice();
  device.hostConnected.add(CONTROL);
  let status = 0;
  const metricsd: Peer = ({ bytes }) => {
    assert.equal(bytes[3], 13, 'RANGE');
    return answer(bytes, status, status === 0 ? Buffer.concat([Buffer.from('points'), Buffer.from(bytes).subarray(8)]) : Buffer.alloc(0));
  };
  const host = start(device, { peers: { metricsd } });
  const decoder = new FrameDecoder();
  const asked = ControlProtocol.encodeHistory({ level: 1, name: 'c' }, 7n);
  run(host, function* () {
    for (const [answered, name] of [[0, ''], [7, 'unavailable'], [5, 'permission_denied'], [1, 'bad_request'], [6, 'bad_request']] as const) {
      status = answered;
      device.hostSend(host, CONTROL, control('history', answered + 1, asked));
      yield* host.notify(1n);
      const [frame] = decoder.push(device.takeTransmitted(CONTROL));
      const wanted = answered === 0 ? Buffer.concat([u8(0), Buffer.from('points'), asked]) : u8(statusCode(name));
      assert.deepEqual(frame!.payload, wanted);
    }
  });
});
