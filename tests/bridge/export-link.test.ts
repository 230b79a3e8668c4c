// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that the host's end of the export port, on a real unix socket, takes each frame once, answers each request, finds the
// stream again after garbage, counts what never came, and comes back after every disconnect.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FrameDecoder, PAYLOAD_BYTES_MAX, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { limit, sourceCode, statusName, streamCode, typeCode } from '../../runtime/bridge/protocol.js';
import { EXPORT_HEAD_BYTES, connectExport, type Batch, type ExportLink, type MetricsPart, type Verdict } from '../../runtime/export/link.js';
import { u16, u32, u64, u8 } from './wire.js';

const OTLP = Buffer.from('an OTLP request');
const clock = { wallNs: () => 1_800_000_000_000_000_000n, monoNs: () => 7n };

/** QEMU's side of the port: listens, and asks as the guest does. */
class Guest {
  private decoder = new FrameDecoder();
  private readonly waiting: ((frame: Frame) => void)[] = [];
  private nonce = 0;
  socket: Socket | null = null;
  private arrived: (() => void) | null = null;
  constructor(readonly server: Server, readonly path: string) {
    server.on('connection', (socket) => {
      this.decoder = new FrameDecoder();
      this.socket = socket;
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => { for (const frame of this.decoder.push(chunk as Buffer)) this.waiting.shift()?.(frame); });
      this.arrived?.();
    });
  }
  connection(): Promise<void> {
    return new Promise((resolve) => { this.arrived = () => { this.arrived = null; resolve(); }; });
  }
  frame(type: string, payload: Buffer): Buffer {
    this.nonce += 1;
    return encodeFrame({ type: typeCode(type), nonce: this.nonce, wallNs: 0n, monoNs: 0n, payload });
  }
  /** Sends these bytes (a request of ours by default) and waits for one reply. */
  ask(type: string, payload: Buffer, before: Uint8Array = Buffer.alloc(0)): Promise<Frame> {
    const bytes = this.frame(type, payload);
    const reply = new Promise<Frame>((resolve) => { this.waiting.push(resolve); });
    this.socket!.write(Buffer.concat([before, bytes]));
    return reply;
  }
  async status(type: string, payload: Buffer): Promise<string> {
    const reply = await this.ask(type, payload);
    assert.deepEqual([reply.type, reply.nonce, reply.wallNs, reply.monoNs], [typeCode(type) | 0x80, this.nonce, clock.wallNs(), 7n]);
    return statusName(reply.payload.readUInt8(0));
  }
}

const hello = (generation: bigint, low = 1, high = 1): Buffer => Buffer.concat([u16(low), u16(high), u64(generation)]);
const metrics = (seq: bigint, more: { stream?: number; source?: number; part?: number; parts?: number; zero?: number; otlp?: Buffer } = {}): Buffer =>
  Buffer.concat([u8(more.stream ?? streamCode('gpu'), more.source ?? sourceCode('replay')), u16(more.part ?? 0), u16(more.parts ?? 2), u16(more.zero ?? 0),
    u64(9n), u64(seq), more.otlp ?? OTLP]);
const batch = (seq: bigint, items = 3, zero = 0, lost = 5n, otlp = OTLP): Buffer => Buffer.concat([u64(seq), u32(items), u32(zero), u64(lost), otlp]);

interface World { guest: Guest; link: ExportLink; got: { what: string; frame: MetricsPart | Batch | bigint }[]; verdicts: (Verdict | Error)[] }
async function world(t: TestContext): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'vx-'));
  const path = join(folder, 'export.sock');
  const server = createServer();
  await new Promise<void>((resolve) => { server.listen(path, resolve); });
  const guest = new Guest(server, path);
  const got: World['got'] = [];
  const verdicts: World['verdicts'] = [];
  const judged = (what: string) => (frame: MetricsPart | Batch): Verdict => {
    got.push({ what, frame });
    const verdict = verdicts.shift() ?? 'ok';
    if (verdict instanceof Error) throw verdict;
    return verdict;
  };
  const here = guest.connection();
  const link = connectExport(path, {
    hello: (generation) => { got.push({ what: 'hello', frame: generation }); },
    metrics: judged('metrics'), traces: judged('traces'), logs: judged('logs'),
  }, { clock });
  t.after(() => { link.close(); guest.socket?.destroy(); server.close(); rmSync(folder, { recursive: true, force: true }); });
  await here;
  return { guest, link, got, verdicts };
}
const kinds = (w: World): string[] => w.got.map(({ what }) => what);

test('hello, then each type once, with what its head says', async (t) => {
  const w = await world(t);
  assert.equal(w.link.connected, false);
  assert.equal(await w.guest.status('metrics', metrics(1n)), 'not_connected');
  const answered = await w.guest.ask('hello', hello(0xabc0001n, 0, 3));
  assert.deepEqual(answered.payload, Buffer.concat([u8(0), u16(1), u32(0)]));
  assert.deepEqual([w.link.connected, w.link.generation], [true, 0xabc0001n]);
  assert.equal(await w.guest.status('metrics', metrics(1n, { part: 1 })), 'ok');
  assert.equal(await w.guest.status('metrics', metrics(2n, { stream: streamCode('self'), source: 0, parts: 1 })), 'ok');
  assert.equal(await w.guest.status('traces', batch(3n)), 'ok');
  assert.equal(await w.guest.status('log_records', batch(4n, 1, 0, 0n)), 'ok');
  assert.deepEqual(w.got, [
    { what: 'hello', frame: 0xabc0001n },
    { what: 'metrics', frame: { stream: 'gpu', source: 'replay', part: 1, parts: 2, scrape: 9n, seq: 1n, request: OTLP } },
    { what: 'metrics', frame: { stream: 'self', source: '', part: 0, parts: 1, scrape: 9n, seq: 2n, request: OTLP } },
    { what: 'traces', frame: { seq: 3n, items: 3, lost: 5n, request: OTLP } },
    { what: 'logs', frame: { seq: 4n, items: 1, lost: 0n, request: OTLP } },
  ]);
  assert.equal(w.link.counters.ok, 4);
});

test('versions: 1 must be among them', async (t) => {
  const { guest } = await world(t);
  for (const [low, high, status] of [[0, 0, 'unsupported'], [2, 9, 'unsupported'], [1, 1, 'ok'], [0, 9, 'ok']] as const) {
    assert.equal(await guest.status('hello', hello(1n, low, high)), status);
  }
  assert.equal(await guest.status('hello', Buffer.concat([hello(1n), u8(0)])), 'bad_request');
  assert.equal(await guest.status('hello', Buffer.alloc(0)), 'bad_request');
});

test('malformed payloads are refused, unknown types unsupported, and nothing of it reaches the handler', async (t) => {
  const w = await world(t);
  await w.guest.status('hello', hello(1n));
  const bad: [string, Buffer][] = [
    ['metrics', metrics(1n, { otlp: Buffer.alloc(0) })], ['metrics', metrics(0n)], ['metrics', metrics(1n, { part: 2 })], ['metrics', metrics(1n, { zero: 1 })],
    ['metrics', metrics(1n, { stream: 3 })], ['metrics', metrics(1n, { source: 9 })], ['metrics', metrics(1n, { source: 0 })],
    ['metrics', metrics(1n, { stream: streamCode('self') })], ['metrics', Buffer.alloc(EXPORT_HEAD_BYTES - 1)], ['metrics', Buffer.alloc(0)],
    ['traces', batch(0n)], ['traces', batch(1n, 0)], ['traces', batch(1n, 1, 1)], ['log_records', batch(1n, 1, 0, 0n, Buffer.alloc(0))],
  ];
  for (const [type, payload] of bad) assert.equal(await w.guest.status(type, payload), 'bad_request', payload.toString('hex'));
  assert.equal(await w.guest.status('connect', hello(1n)), 'unsupported');
  assert.deepEqual(kinds(w), ['hello']);
  assert.equal(w.link.counters.badRequest, bad.length);
  assert.equal(await w.guest.status('metrics', metrics(1n, { otlp: Buffer.alloc(PAYLOAD_BYTES_MAX - EXPORT_HEAD_BYTES, 7) })), 'ok', 'the largest');
});

test('verdicts: over_limit comes again and is taken, bad_request is final, a throw is unavailable, a repeat is not handed on', async (t) => {
  const w = await world(t);
  await w.guest.status('hello', hello(1n));
  w.verdicts.push('over_limit', 'ok', 'bad_request', new Error('broken'), 'ok');
  assert.equal(await w.guest.status('metrics', metrics(1n)), 'over_limit');
  assert.equal(await w.guest.status('metrics', metrics(1n)), 'ok');
  assert.equal(await w.guest.status('metrics', metrics(1n)), 'ok', 'a repeat');
  assert.equal(await w.guest.status('traces', batch(2n)), 'bad_request');
  assert.equal(await w.guest.status('traces', batch(3n)), 'unavailable');
  assert.equal(await w.guest.status('traces', batch(3n)), 'ok');
  assert.deepEqual(kinds(w), ['hello', 'metrics', 'metrics', 'traces', 'traces', 'traces']);
  const { overLimit, badRequest, failed, repeats, gaps, ok } = w.link.counters;
  assert.deepEqual({ overLimit, badRequest, failed, repeats, gaps, ok }, { overLimit: 1, badRequest: 1, failed: 1, repeats: 1, gaps: 0n, ok: 2 });
});

test('gaps: a number that never came is counted; where we came in is none; a restarted exporter begins at 1', async (t) => {
  const w = await world(t);
  await w.guest.status('hello', hello(1n));
  await w.guest.status('metrics', metrics(40n));
  assert.equal(w.link.counters.gaps, 0n, 'what an earlier host took');
  await w.guest.status('metrics', metrics(44n));
  assert.equal(w.link.counters.gaps, 3n);
  await w.guest.status('hello', hello(1n));
  await w.guest.status('metrics', metrics(45n));
  assert.equal(w.link.counters.gaps, 3n, 'the same exporter greets again');
  await w.guest.status('hello', hello(2n));
  await w.guest.status('metrics', metrics(3n));
  assert.equal(w.link.counters.gaps, 5n, 'the first two of the new one');
  assert.equal(w.link.counters.generations, 2);
});

test('garbage, a torn frame and a flipped bit: found again, counted, and the next frame is answered', async (t) => {
  const w = await world(t);
  await w.guest.status('hello', hello(1n));
  const torn = w.guest.frame('metrics', metrics(1n)).subarray(0, 50);
  const flipped = w.guest.frame('metrics', metrics(1n));
  flipped.writeUInt8(flipped.readUInt8(40) ^ 1, 40);
  for (const [seq, garbage] of [[1n, Buffer.from('VGLB garbage VGL')], [2n, torn], [3n, flipped]] as const) {
    const reply = await w.guest.ask('metrics', metrics(seq), garbage);
    assert.equal(statusName(reply.payload.readUInt8(0)), 'ok');
  }
  assert.deepEqual(kinds(w), ['hello', 'metrics', 'metrics', 'metrics']);
  assert.ok(w.link.counters.resyncs >= 2 && w.link.counters.skippedBytes >= 16 + 50 + flipped.length);
});

test('a partial frame whose rest never comes is given up after its limit', async (t) => {
  const w = await world(t);
  await w.guest.status('hello', hello(1n));
  const large = w.guest.frame('metrics', metrics(1n, { otlp: Buffer.alloc(9000) })).subarray(0, 60);
  const began = Date.now();
  const answered = await w.guest.ask('metrics', metrics(3n), large);
  assert.equal(statusName(answered.payload.readUInt8(0)), 'ok');
  assert.ok(Date.now() - began >= limit('partial_frame_ns_max') / 1e6 - 50);
  assert.ok(Date.now() - began < limit('partial_frame_ns_max') / 1e6 + 1500);
});

test('disconnects: it comes back each time, must be greeted again, and no frame is handed on twice', async (t) => {
  const w = await world(t);
  await w.guest.status('hello', hello(1n));
  await w.guest.status('metrics', metrics(1n));
  for (let round = 0; round < 3; round++) {
    const again = w.guest.connection();
    w.guest.socket!.destroy();
    await again;
    assert.equal(await w.guest.status('metrics', metrics(2n)), 'not_connected', `round ${round}`);
    await w.guest.status('hello', hello(1n));
    assert.equal(await w.guest.status('metrics', metrics(1n)), 'ok');
  }
  assert.equal(w.link.counters.repeats, 3);
  assert.equal(w.link.counters.connections, 4);
  assert.equal(w.got.filter(({ what }) => what === 'metrics').length, 1);
});

test('it waits for a socket that is not there yet, and closes for good', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vx-'));
  const path = join(folder, 'late.sock');
  const link = connectExport(path, { hello: () => undefined, metrics: () => 'ok', traces: () => 'ok', logs: () => 'ok' }, { clock });
  t.after(() => { link.close(); rmSync(folder, { recursive: true, force: true }); });
  await new Promise((resolve) => { setTimeout(resolve, 100); });
  assert.equal(link.counters.connections, 0);
  const server = createServer();
  const guest = new Guest(server, path);
  const here = guest.connection();
  await new Promise<void>((resolve) => { server.listen(path, resolve); });
  await here;
  assert.equal(await guest.status('hello', hello(5n)), 'ok');
  const gone = new Promise((resolve) => { guest.socket!.once('close', resolve); });
  link.close();
  await gone;
  await new Promise((resolve) => { setTimeout(resolve, 100); });
  assert.equal(link.counters.connections, 1, 'closed means closed');
  await new Promise((resolve) => { server.close(resolve); });
});
