// SPDX-License-Identifier: Apache-2.0
// nexus-metrics, the producer's side, as WebAssembly: registers once, batches, keeps what was refused, counts what is lost; by call
// and, where the manifest has no edge, by messages with a moved reply capability; deterministic ids; guards.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host, buildEntry, senderId, type Peer, type PeerMessage } from '../../runtime/node/index.js';
import { OP, spanIdOf, traceIdOf } from './metricsd-frames.js';

/** Stands where metricsd stands and speaks its wire format; `statuses` overrules the next answers. */
class MetricsPeer {
  generation = 1;
  readonly series: string[] = [];
  readonly values = new Map<string, bigint[]>();
  readonly spans: string[] = [];
  statuses: number[] = [];
  frames: number[] = [];
  edge = true;
  silent = false;
  dead = false;

  readonly peer: Peer = (message: PeerMessage) => {
    if (this.dead) return { error: 'dead' };
    if (message.call && !this.edge) return { error: 'not_declared' };
    const answer = this.answer(Buffer.from(message.bytes));
    if (message.call) return this.silent ? null : answer;
    assert.ok(message.replyEndpoint > 0, 'a message moves a reply capability');
    if (!this.silent) message.host.deliver(message.replyEndpoint, 'metricsd', answer);
    return null;
  };

  private answer(frame: Buffer): Buffer {
    const op = frame[3]!;
    this.frames.push(op);
    const forced = this.statuses.shift() ?? 0;
    const reply = (status: number, body: Buffer = Buffer.alloc(0)): Buffer =>
      Buffer.concat([Buffer.from([0x4d, 0x54, 1, op | 0x80, status]), frame.subarray(4, 8), body]);
    if (forced !== 0) return reply(forced);
    if (op === OP.register) {
      const [nameLen, labelsLen] = [frame[10]!, frame.readUInt16LE(12)];
      const name = frame.toString('latin1', 14, 14 + nameLen + labelsLen);
      if (!this.series.includes(name)) this.series.push(name);
      const handle = Buffer.alloc(4);
      handle.writeUInt32LE(this.series.indexOf(name) | (this.generation << 16));
      return reply(0, handle);
    }
    if (op === OP.batch) {
      const items: [number, bigint][] = [];
      for (let at = 12; at < frame.length; at += 12) items.push([frame.readUInt32LE(at), frame.readBigUInt64LE(at + 4)]);
      if (items.some(([handle]) => handle >>> 16 !== this.generation)) return reply(6, Buffer.from([0, 0]));
      for (const [handle, value] of items) {
        const name = this.series[handle & 0xffff]!;
        this.values.set(name, [...(this.values.get(name) ?? []), value]);
      }
      return reply(0, Buffer.from([items.length, 0]));
    }
    if (op === OP.spanStart) this.spans.push(`start ${frame.readBigUInt64LE(8)} of ${frame.readBigUInt64LE(16)} under ${frame.readBigUInt64LE(24)}`);
    if (op === OP.spanEnd) this.spans.push(`end ${frame.readBigUInt64LE(8)} at ${frame.readBigUInt64LE(16)} ${frame.toString('latin1', 27)}`);
    return reply(0);
  }
  sum(name: string): bigint {
    return (this.values.get(name) ?? []).reduce((a, b) => a + b, 0n);
  }
}

interface Client {
  host: Host;
  metricsd: MetricsPeer;
  do(name: string, ...args: (number | bigint)[]): bigint;
  flush(times?: number): void;
}
async function client(set: Partial<MetricsPeer> = {}, generation = 1n): Promise<Client> {
  const metricsd = Object.assign(new MetricsPeer(), set);
  const wasm = await buildEntry('assembly/lib/nexus-metrics/harness.ts');
  const host = new Host({ name: 'timed', wasm, peers: { metricsd: metricsd.peer }, counters: { own_generation: generation } });
  const act = (name: string, ...args: (number | bigint)[]): bigint => BigInt.asUintN(64, BigInt(host.fn(name)(...args) ?? 0));
  act('init');
  return { host, metricsd, do: act, flush: (times = 1) => { for (let i = 0; i < times; i++) act('flush'); } };
}

for (const edge of [true, false]) {
  const how = edge ? 'by call' : 'by message';
  test(`registers once and batches, ${how}`, async () => {
    const c = await client({ edge });
    for (let i = 0; i < 10; i++) c.do('add', 3n);
    c.do('set', 7n);
    c.do('set', -3n);
    for (const value of [5n, 6n, 7n]) c.do('see', value);
    assert.deepEqual(c.metricsd.frames, [], 'nothing is sent by an update');
    const handles = c.host.handles.size;
    c.flush(edge ? 1 : 6);
    assert.equal(c.metricsd.sum('test.hitsa=1'), 30n);
    assert.deepEqual(c.metricsd.values.get('test.hitsa=1'), [30n], 'coalesced');
    assert.deepEqual(c.metricsd.values.get('test.level'), [BigInt.asUintN(64, -3n)]);
    assert.deepEqual(c.metricsd.values.get('test.delta'), [5n, 6n, 7n]);
    c.do('add', 1n);
    c.flush(3);
    assert.equal(c.do('registrations'), 3n);
    assert.equal(c.metricsd.frames.filter((op) => op === OP.register).length, 3);
    assert.deepEqual([c.do('lost'), c.do('waiting')], [0n, 0n]);
    assert.equal(c.host.handles.size, handles + (edge ? 0 : 1), 'no slot leaks: one reply endpoint at most');
  });

  test(`what was refused for now is kept, ${how}`, async () => {
    const c = await client({ edge });
    c.do('add', 5n);
    c.metricsd.statuses = [3];
    c.flush();
    assert.equal(c.metricsd.series.length, 0);
    c.flush(edge ? 1 : 4);
    assert.equal(c.metricsd.sum('test.hitsa=1'), 5n);
    c.do('add', 6n);
    c.do('see', 9n);
    c.flush(4);
    c.do('add', 7n);
    c.do('see', 10n);
    c.metricsd.statuses = [3, 3];
    c.flush(8);
    assert.equal(c.metricsd.sum('test.hitsa=1'), 18n);
    assert.deepEqual(c.metricsd.values.get('test.delta'), [9n, 10n]);
    assert.equal(c.do('lost'), 0n);
  });

  test(`a restarted metricsd: stale handles register again and nothing is lost, ${how}`, async () => {
    const c = await client({ edge });
    c.do('add', 5n);
    c.flush(4);
    c.metricsd.generation = 2;
    c.do('add', 6n);
    c.flush(8);
    assert.equal(c.metricsd.sum('test.hitsa=1'), 11n);
    assert.equal(c.do('registrations'), 2n);
    assert.equal(c.do('lost'), 0n);
  });

  test(`a refusal for good is lost and counted, ${how}`, async () => {
    const c = await client({ edge });
    c.metricsd.statuses = [2];
    c.do('add', 5n);
    c.flush(3);
    assert.equal(c.do('lost'), 1n);
    c.do('add', 5n);
    c.flush(3);
    assert.equal(c.do('lost'), 2n);
    assert.deepEqual([c.metricsd.values.size, c.do('waiting')], [0, 0n]);
  });
}

test('an answer that never comes is given up and counted, not counted twice', async () => {
  const c = await client({ edge: false });
  c.do('add', 5n);
  c.flush(4);
  c.metricsd.silent = true;
  c.do('add', 6n);
  c.flush(20);
  assert.equal(c.do('lost'), 1n);
  c.metricsd.silent = false;
  c.do('add', 7n);
  c.flush(4);
  assert.equal(c.metricsd.sum('test.hitsa=1'), 18n, 'the peer did apply 6, and the client did not send it again');
  assert.equal(c.do('waiting'), 0n);
});

test('the ring of observations is bounded; what does not fit is counted', async () => {
  const c = await client();
  for (let i = 0; i < 128; i++) assert.equal(c.do('see', BigInt(i)), 1n);
  assert.equal(c.do('see', 128n), 0n);
  assert.equal(c.do('see', 2n ** 63n), 0n);
  assert.equal(c.do('lost'), 2n);
  c.flush();
  assert.equal(c.metricsd.values.get('test.delta')!.length, 128);
});

test('ids are deterministic, the sender\'s own, unique over restarts', async () => {
  const ids = async (generation: bigint): Promise<bigint[]> => {
    const c = await client({}, generation);
    return Array.from({ length: 5 }, () => [c.do('newSpanId'), c.do('newTraceId')]).flat();
  };
  const first = await ids(1n);
  assert.deepEqual(await ids(1n), first, 'two runs, the same ids');
  assert.deepEqual(first.slice(0, 4), [spanIdOf('timed', 1), traceIdOf('timed', 1), spanIdOf('timed', 2), traceIdOf('timed', 2)]);
  const second = await ids(2n);
  assert.equal(new Set([...first, ...second]).size, 20);
  assert.ok([...first, ...second].filter((_id, i) => i % 2 === 0).every((id) => id >> 32n === (senderId('timed') & 0xffffffffn)));
});

test('guards: nested, ended once, and by the scope with the real time when left open', async () => {
  const c = await client();
  const outer = Number(c.do('openGuard', 0));
  const inner = Number(c.do('openGuard', 1));
  assert.equal(c.do('guardTrace', inner), c.do('guardTrace', outer));
  const [outerId, innerId] = [c.do('guardId', outer), c.do('guardId', inner)];
  c.host.advance(1000);
  assert.equal(c.do('closeGuard', inner), 1n);
  assert.equal(c.do('closeGuard', inner), 0n, 'once');
  c.host.advance(500);
  const end = c.host.now_ns;
  assert.equal(c.do('scopeEnd'), 1n);
  assert.equal(c.do('scopeEnd'), 0n);
  assert.equal(c.do('leftOpen'), 1n);
  c.flush(4);
  const trace = traceIdOf('timed', 1);
  assert.deepEqual(c.metricsd.spans, [
    `start ${outerId} of ${trace} under 0`, `start ${innerId} of ${trace} under ${outerId}`,
    `end ${innerId} at ${end - 500n} `, `end ${outerId} at ${end} ended_by=scope`,
  ]);
  for (let i = 0; i < 16; i++) assert.notEqual(c.do('openGuard', 0), 0xffffffffn);
  assert.equal(BigInt.asUintN(32, c.do('openGuard', 0)), 0xffffffffn, 'the 17th is none');
  assert.ok(c.do('lost') >= 1n);
});

test('a dead metricsd and no way to ask for another: everything waits, nothing is lost, nothing spins', async () => {
  const c = await client({ dead: true });
  c.do('add', 5n);
  c.flush(5);
  assert.deepEqual([c.do('waiting'), c.do('lost')], [1n, 0n]);
  c.metricsd.dead = false;
  c.flush(3);
  assert.equal(c.metricsd.sum('test.hitsa=1'), 5n);
});
