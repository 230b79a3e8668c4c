// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of the receiver's lifecycle on the shipping wasm: start without a host, recovery, one connect a session, instances that
// come and go, loss, refusals of each step by kind, what is said once and what is counted each time, the clock of profile=run, restarts,
// and a hundred sessions without growth. Limits: a double start and a second process are the kernel's to refuse, and its tests'.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame } from '../../runtime/bridge/codec.js';
import { statusCode, typeCode } from '../../runtime/bridge/protocol.js';
import { SourceError, type Source } from '../../runtime/bridge/source.js';
import { ReplaySource } from '../../runtime/bridge/sources/replay.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { OK, UNAVAILABLE, capture, latest, ping, run, scrape, stats, world, type World } from './dcgmd-world.js';

const SERIES = 24;
const SECOND = 1_000_000_000n;
const codes = (...names: string[]): number[] => names.map(typeCode);
const countOf = (w: World, type: string): number => w.port.requests.filter((code) => code === typeCode(type)).length;

/** A replay of which a test replaces methods. */
class Faulty implements Source {
  readonly label = 'replay';
  readonly inner = new ReplaySource(capture);
  constructor(private readonly faults: Partial<Record<'connect' | 'enumerate' | 'watch' | 'latestValues' | 'version', () => string | null>>) {}
  private check(method: keyof Faulty['faults']): void {
    const status = this.faults[method]?.();
    if (status !== undefined && status !== null) throw new SourceError(status, 'as the test says');
  }
  connect(): void { this.check('connect'); this.inner.connect(); }
  startEmbedded(): void { this.inner.startEmbedded(); }
  enumerate() { this.check('enumerate'); return this.inner.enumerate(); }
  watch(request: Parameters<Source['watch']>[0]): number { this.check('watch'); return this.inner.watch(request); }
  latestValues(id: number, wallNs: bigint) { this.check('latestValues'); return this.inner.latestValues(id, wallNs); }
  version(): string { this.check('version'); return this.inner.version(); }
  close(): void { this.inner.close(); }
}

test('no host, no port, no policy: up and degraded where there is no device or nobody connected, not ready where policy denies', () => {
  for (const [openStatus, ready, kind] of [[8, true, 'init'], [3, true, 'init'], [4, false, 'init'], [0, true, 'connect']] as const) {
    const w = world();
    w.port.openStatus = openStatus;
    w.port.writeStatus = openStatus === 0 ? 7 : 0;
    run(w, function* () {
      assert.equal(yield* ping(w), ready);
      assert.equal((yield* scrape(w)).status, UNAVAILABLE);
      const now = yield* stats(w);
      assert.deepEqual([now.degraded, now.kind, now.kinds[kind]], [true, kind, 1n]);
    });
    assert.equal(w.metrics.own('vigil.receiver.degraded'), 1n);
    assert.deepEqual(w.logged('gpu degraded').map((fields) => fields['kind']), [kind]);
    assert.deepEqual(w.metrics.spans.map(({ status, attrs }) => [status, attrs]), [[1, `kind=${kind}\nsource=none`]]);
  }
});

test('profile run: starts without a host, comes up when there is one, waits the initial delay, then keeps the interval', () => {
  const w = world({ profile: 'run', config: 'collection_interval_ms=2000\ninitial_delay_ms=5000\n' });
  run(w, function* () {
    const start = w.host.now_ns;
    w.port.writeStatus = 7;
    yield* w.host.idle();
    assert.deepEqual([(yield* stats(w)).kind, countOf(w, 'connect')], ['connect', 0]);
    w.port.writeStatus = 0;
    yield* w.host.idle();
    assert.deepEqual(w.port.requests, codes('config'), 'the delay is known, nothing else is asked yet');
    yield* w.host.idle();
    assert.ok(w.host.now_ns - start >= 5n * SECOND && w.host.now_ns - start < 6n * SECOND, String(w.host.now_ns - start));
    assert.equal(w.metrics.gpu.length, SERIES);
    assert.equal((yield* stats(w)).degraded, false);
    for (let i = 0; i < 4; i++) {
      const before = w.host.now_ns;
      const read = countOf(w, 'latest_values');
      yield* w.host.idle();
      assert.ok(countOf(w, 'latest_values') > read);
      assert.ok(w.host.now_ns - before > 1_900_000_000n && w.host.now_ns - before <= 2n * SECOND, String(w.host.now_ns - before));
    }
    assert.equal(countOf(w, 'connect'), 1, 'one connect in five scrapes');
    assert.equal(countOf(w, 'config'), 1);
    const watch = w.port.payloads.get(typeCode('watch'))!;
    assert.deepEqual([watch.readBigUInt64LE(0), watch.readUInt32LE(8)], [1_000_000n, 14], 'never faster than a second; 2 x 2 s and 10 s');
  });
  assert.deepEqual(w.records.map(({ message }) => message),
    ['gpu failure', 'gpu degraded', 'gpu config', 'gpu recovered', ...Array.from({ length: 5 }, () => 'gpu scrape')]);
  assert.deepEqual(w.host.console, []);
});

test('profile run: backs off 1, 2, 4 ... 32 s while the host is silent, says it once, counts it each time, and recovers', () => {
  const w = world({ profile: 'run', config: 'collection_interval_ms=1000\ninitial_delay_ms=0\n' });
  run(w, function* () {
    yield* w.host.idle();
    w.port.writeStatus = 7;
    let last = 0n;
    const gaps: bigint[] = [];
    w.port.onWrite = (nowNs) => { gaps.push((nowNs - last) / SECOND); last = nowNs; };
    // a receive waits 30 s at most, so 32 s take two
    for (let i = 0; i < 12; i++) yield* w.host.idle();
    assert.deepEqual(gaps.slice(1), [1n, 2n, 4n, 8n, 16n, 32n, 32n, 32n]);
    assert.deepEqual((yield* stats(w)).kinds, { init: 0n, connect: 8n, watch: 0n, mig: 0n, enumerate: 0n, read: 1n, cardinality: 0n, downstream: 0n, panic: 0n });
    assert.deepEqual(w.logged('gpu degraded').map((fields) => fields['kind']), ['read'], 'only when it changes');
    assert.deepEqual(w.logged('gpu failure').map((fields) => fields['kind']), ['read', 'connect'], 'each kind once');
    w.port.writeStatus = 0;
    for (let i = 0; i < 2; i++) yield* w.host.idle();
    assert.equal((yield* stats(w)).degraded, false);
    assert.deepEqual(w.logged('gpu recovered').map((fields) => fields['kind']), ['connect']);
    w.port.writeStatus = 7;
    yield* w.host.idle();
    assert.deepEqual(w.logged('gpu failure').map((fields) => fields['kind']), ['read', 'connect', 'read'], 'recovery re-arms');
  });
});

test('proof: no scrape by the clock, before or after the asked one', () => {
  const w = world();
  run(w, function* () {
    yield* w.host.idle();
    assert.equal(w.port.requests.length, 0);
    yield* scrape(w);
    const read = countOf(w, 'latest_values');
    for (let i = 0; i < 3; i++) yield* w.host.idle();
    assert.equal(countOf(w, 'latest_values'), read);
  });
});

test('kinds that take turns are said once each, and again after an hour; the count goes on', () => {
  let turn = 0;
  const w = world({ source: new Faulty({ enumerate: () => (turn % 2 === 0 ? 'permission_denied' : null), watch: () => 'permission_denied' }) });
  run(w, function* () {
    for (turn = 0; turn < 6; turn++) yield* scrape(w);
    const { kinds } = yield* stats(w);
    assert.deepEqual([kinds.enumerate, kinds.watch], [1n, 5n], 'what is enumerated stays');
    w.port.connections += 1;
    for (turn = 6; turn < 12; turn++) { yield* scrape(w); w.port.source.close(); w.port.connections += 1; }
    const before = w.logged('gpu failure').length;
    assert.deepEqual([...new Set(w.logged('gpu failure').map((fields) => fields['kind']))].length, before, 'each kind once');
    w.host.advance(3_600n * SECOND);
    const counted = (yield* stats(w)).kinds.connect;
    yield* scrape(w);
    const again = w.logged('gpu failure').slice(before);
    assert.equal(again.length, 1);
    assert.ok(Number(again[0]!['silent']) > 0 || (yield* stats(w)).kinds.connect === counted);
  });
});

test('the engine refuses to watch (profiling is in use): kind watch, degraded, keeps trying on the same session', () => {
  let refused = true;
  const w = world({ source: new Faulty({ watch: () => (refused ? 'permission_denied' : null) }) });
  run(w, function* () {
    for (let i = 1; i <= 3; i++) {
      assert.equal((yield* scrape(w)).status, UNAVAILABLE);
      const now = yield* stats(w);
      assert.deepEqual([now.degraded, now.kind, now.kinds.watch, now.sessions], [true, 'watch', BigInt(i), 1n]);
    }
    refused = false;
    assert.equal((yield* scrape(w)).status, OK);
    assert.deepEqual([countOf(w, 'connect'), countOf(w, 'enumerate')], [1, 1]);
  });
});

test('each refusal of each step has its kind; connect and version count as connect', () => {
  for (const status of ['unavailable', 'permission_denied', 'insufficient_driver', 'connection_lost', 'not_connected', 'over_limit', 'unsupported']) {
    for (const [step, kind] of [['connect', 'connect'], ['version', 'connect'], ['enumerate', 'enumerate'], ['watch', 'watch'], ['latestValues', 'read']] as const) {
      let broken = true;
      const w = world({ source: new Faulty({ [step]: () => (broken ? status : null) }) });
      run(w, function* () {
        assert.equal((yield* scrape(w)).status, UNAVAILABLE, `${step} ${status}`);
        const now = yield* stats(w);
        assert.deepEqual([now.degraded, now.kind, now.kinds[kind]], [true, kind, 1n], `${step} ${status}`);
        broken = false;
        assert.equal((yield* scrape(w)).status, OK, `${step} ${status}`);
        assert.deepEqual([(yield* stats(w)).degraded, w.metrics.own('vigil.receiver.degraded')], [false, 0n]);
      });
      assert.deepEqual(w.logged('gpu failure'), [{ kind, detail: String(statusCode(status)), silent: '0' }]);
    }
  }
});

test('no entity at all: kind enumerate and degraded, asked again each time', () => {
  let hidden = true;
  const source = new Faulty({});
  const list = source.enumerate.bind(source);
  source.enumerate = () => (hidden ? (list(), []) : list());
  const w = world({ source });
  run(w, function* () {
    for (let i = 1; i <= 2; i++) {
      assert.deepEqual((yield* scrape(w)).status, UNAVAILABLE);
      assert.deepEqual([(yield* stats(w)).kind, (yield* stats(w)).kinds.enumerate], ['enumerate', BigInt(i)]);
    }
    hidden = false;
    assert.equal((yield* scrape(w)).entities, 8);
    assert.equal(countOf(w, 'connect'), 1);
  });
});

test('instances change (MIG): kind mig, entities listed anew on the same session, and the scrape succeeds at once', () => {
  let now = 0;
  const w = world({ source: new ScriptedSource('a100-mig', 'mig-reconfigured', () => now) });
  run(w, function* () {
    assert.equal((yield* scrape(w)).status, OK);
    const before = (yield* stats(w)).kinds.mig;
    const pages = countOf(w, 'enumerate');
    let changed = 0n;
    for (now = 1_000; now < 120_000 && changed === 0n; now += 5_000) {
      w.port.wallNs += 5n * SECOND;
      assert.equal((yield* scrape(w)).status, OK, `at ${now} ms`);
      changed = (yield* stats(w)).kinds.mig - before;
    }
    assert.equal(changed, 1n);
    assert.deepEqual([(yield* stats(w)).degraded, countOf(w, 'connect'), countOf(w, 'enumerate')], [false, 1, 2 * pages]);
    assert.deepEqual(w.logged('gpu degraded').map((fields) => fields['kind']), ['mig']);
    assert.deepEqual(w.logged('gpu recovered').map((fields) => fields['kind']), ['mig']);
  });
});

test('an entity that stays gone: two tries a scrape, not an endless loop', () => {
  const w = world({ source: new Faulty({ latestValues: () => 'entity_not_found' }) });
  run(w, function* () {
    for (let i = 1; i <= 3; i++) {
      assert.equal((yield* scrape(w)).status, UNAVAILABLE);
      assert.equal(countOf(w, 'latest_values'), 2 * i);
      assert.equal((yield* stats(w)).kinds.mig, BigInt(2 * i));
    }
  });
});

test('the bridge restarts: the session is taken up anew, the series stay', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w);
    w.port.source.close();
    w.port.connections += 1;
    assert.equal((yield* scrape(w)).status, UNAVAILABLE);
    assert.equal((yield* scrape(w)).status, OK);
    assert.equal(w.metrics.gpu.length, SERIES);
    const now = yield* stats(w);
    assert.deepEqual([now.scrapes, now.failures, now.sessions, now.latest], [3n, 1n, 2n, 2n]);
    assert.equal(countOf(w, 'config'), 2);
  });
});

test('dcgmd restarted while the host still has its session: closed and connected again, counted as panic, no initial delay', () => {
  const source = new ReplaySource(capture);
  source.connect();
  const w = world({ source, generation: 2, profile: 'run', config: 'initial_delay_ms=600000\n' });
  run(w, function* () {
    assert.equal(yield* ping(w), true);
    yield* w.host.idle();
    assert.deepEqual(w.port.requests.slice(0, 5), codes('config', 'connect', 'close', 'connect', 'version'));
    const now = yield* stats(w);
    assert.deepEqual([now.kinds.panic, now.degraded, now.latest], [1n, false, 1n]);
    assert.equal((yield* latest(w)).points, SERIES);
  });
  assert.deepEqual(w.logged('gpu receiver up'), [{ port_status: '0', generation: '2' }]);
  assert.equal(w.metrics.own('vigil.receiver.errors', 'kind=panic'), 1n);
  assert.deepEqual(w.host.console, [], 'ready is said in generation 1 alone');
});

test('portd has no room: the request is offered again a bounded number of times, while the host drains the port', () => {
  for (const [full, works] of [[7, true], [8, false]] as const) {
    const w = world();
    let left = full as number;
    w.port.writeStatus = 6;
    w.port.onWrite = () => { if (left === 0) w.port.writeStatus = 0; left -= 1; };
    run(w, function* () {
      assert.equal((yield* scrape(w)).status, works ? OK : UNAVAILABLE, `${full} times`);
      assert.equal((yield* stats(w)).kind, works ? 'none' : 'connect');
    });
  }
});

test('a session that even a close does not end counts as ours', () => {
  const w = world();
  let connects = 0;
  w.port.mangle = (frame) => {
    if (frame.type !== (typeCode('connect') | 0x80)) return [encodeFrame(frame)];
    connects += 1;
    return [encodeFrame({ ...frame, payload: Buffer.from([statusCode('already_connected')]) })];
  };
  run(w, function* () { assert.equal((yield* scrape(w)).status, OK); });
  assert.equal(connects, 2);
});

test('a hundred sessions: no series, no capability, no gauge more than after the first', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w);
    const [series, handles] = [w.metrics.series.length, w.host.handles.size];
    for (let i = 0; i < 100; i++) {
      w.port.source = new ReplaySource(capture);
      w.port.connections += 1;
      assert.equal((yield* scrape(w)).status, UNAVAILABLE);
      assert.equal((yield* scrape(w)).series, SERIES, `session ${i}`);
    }
    assert.equal((yield* stats(w)).sessions, 101n);
    assert.equal(w.metrics.gpu.length, SERIES);
    assert.ok(w.metrics.series.length <= series + 2, 'the error of kind read and the degraded state came with the first loss');
    assert.equal(w.host.handles.size, handles);
  });
});
