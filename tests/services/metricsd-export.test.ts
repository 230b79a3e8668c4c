// SPDX-License-Identifier: Apache-2.0
// From metricsd to logd: readiness by evidence, back-pressure, failures that show, records that the real logd takes, and secrets
// that do not get there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host, buildModule } from '../../runtime/node/index.js';
import { BASE64, JWT } from '../lib/redact-vectors.js';
import {
  LogPeer, UNHURRIED, counter, expect, fieldsOf, flush, gauge, histogram, metricsd, recipeWith, registry, run, spanEnd, spanIdOf, spanStart,
  stats, traceIdOf, type Steps,
} from './metricsd-frames.js';
import { crc32c } from '../../runtime/bridge/crc32c.js';

const ping = Buffer.concat([Buffer.from('IN\x01\x02', 'latin1'), Buffer.from([9, 0, 0, 0])]);
function* pinged(host: Host): Steps<number> {
  const reply = yield* host.call('init-lite', ping);
  assert.ok(reply);
  return reply[8] ?? 0;
}

test('ready only after one record was exported and read back; the limits are logged with their digest', async () => {
  const m = await metricsd();
  run(m, function* (host): Steps<void> {
    assert.equal(yield* pinged(host), 0);
  });
  assert.deepEqual(m.host.console, ['metricsd: ready']);
  const limits = m.log.records.filter(({ message }) => message.startsWith('metricsd limits recipe=metrics crc32c='));
  assert.ok(limits.length >= 2);
  const logged = Object.assign({}, ...limits.map(fieldsOf)) as Record<string, string>;
  assert.equal(logged['metrics.max_series_total'], '256');
  assert.equal(logged['export.max_records'], '64');
  assert.equal(Object.keys(logged).length, 30);
  assert.match(limits[0]!.message, new RegExp(`crc32c=${crc32c(recipeWith({})).toString(16).padStart(8, '0')}$`));
  assert.equal(m.log.snapshots('metricsd.start').length, 1);
});

test('not ready when logd is silent, refuses, answers another record, or keeps something else', async () => {
  const faults: ((log: LogPeer) => void)[] = [
    (log) => { log.silent = true; },
    (log) => { log.refuse = 6; },
    (log) => { log.refuse = 4; },
    (log) => { log.room = 2; },
  ];
  for (const fault of faults) {
    const m = await metricsd();
    fault(m.log);
    run(m, function* (host): Steps<void> {
      assert.notEqual(yield* pinged(host), 0);
    });
    assert.deepEqual(m.host.console, []);
  }
  for (const spoil of [(b: Buffer) => b.writeUInt8(b[b.length - 1]! ^ 1, b.length - 1), (b: Buffer) => b.writeUInt16LE(0, 29), (b: Buffer) => b.writeUInt8(b[48]! ^ 1, 48)]) {
    const log = new LogPeer();
    const peer: LogPeer['peer'] = (message) => {
      const answer = log.peer(message);
      if (message.bytes[3] === 2 && answer instanceof Uint8Array) {
        const copy = Buffer.from(answer);
        spoil(copy);
        return copy;
      }
      return answer;
    };
    const m = await metricsd(recipeWith({}), { peers: { logd: peer } });
    run(m, function* (host): Steps<void> {
      assert.notEqual(yield* pinged(host), 0);
    });
    assert.deepEqual(m.host.console, []);
  }
});

test('export is deferred to the interval, coalesced, and goes on after logd was busy: nothing acknowledged is lost', async () => {
  const m = await metricsd(recipeWith({ ...UNHURRIED, max_series_per_metric: '64' }));
  run(m, function* (host): Steps<void> {
    for (let i = 0; i < 50; i++) yield* expect(host, 'timed', counter('many', 1, `k=${i}`), 'ok');
    assert.equal(m.log.records.length, 0, 'nothing before the interval');
    m.log.room = 20;
    const armed = host.now_ns;
    yield* host.idle();
    assert.equal(host.now_ns - armed, 100_000_000n);
    assert.equal((yield* stats(host)).pending, 30n);
    assert.equal(m.log.records.length, 20);
    yield* expect(host, 'timed', counter('many', 5, 'k=49'), 'ok', 'updates go on meanwhile');
    m.log.room = Infinity;
    yield* host.idle();
    const after = yield* stats(host);
    assert.deepEqual([after.pending, after.exportFailed, after.deferred > 0n], [0n, 0n, true]);
  });
  const values = new Map(m.log.snapshots('many').map((f) => [f['label.k'], f.value]));
  assert.equal(values.size, 50);
  assert.equal(values.get('49'), '6');
});

test('a logd that stays away blocks nobody, and what waited arrives when it is back', async () => {
  const m = await metricsd(recipeWith(UNHURRIED));
  m.log.silent = true;
  run(m, function* (host): Steps<void> {
    const waits: bigint[] = [];
    for (let i = 0; i < 20; i++) {
      yield* expect(host, 'timed', counter('c', 1), 'ok');
      const before = host.now_ns;
      yield* host.idle();
      waits.push(host.now_ns - before);
    }
    const away = yield* stats(host);
    assert.ok(away.deferred >= 20n);
    // 100 ms and a call of 50 ms that nobody answers; then doubled each time, from tick to tick, to 64 times at most.
    assert.deepEqual(waits.slice(0, 4), [150_000_000n, 200_000_000n, 400_000_000n, 800_000_000n]);
    assert.equal(waits.at(-1), 6_400_000_000n);
    assert.equal(away.exported, 0n);
    m.log.silent = false;
    assert.equal((yield* flush(host)).waiting, 0);
  });
  assert.equal(m.log.snapshots('c').at(-1)!.value, '20');
});

test('a record that logd refuses for good is counted and visible, and does not block the rest', async () => {
  const m = await metricsd(recipeWith(UNHURRIED));
  run(m, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('bad', 1), 'ok');
    m.log.refuse = 5;
    const first = yield* flush(host);
    assert.ok(first.failed >= 1 && first.waiting === 0);
    m.log.refuse = 0;
    assert.ok((yield* stats(host)).exportFailed >= 1n);
    yield* expect(host, 'timed', counter('bad', 1), 'ok');
    yield* flush(host);
  });
  assert.equal(m.log.snapshots('bad').at(-1)!.value, '2');
  assert.ok(Number(m.log.snapshots('metricsd.export.failed').at(-1)!.value) >= 1, 'its own metric says so');
});

test('rejects show as metricsd\'s own series, and exporting them causes no further export', async () => {
  const m = await metricsd(recipeWith(UNHURRIED));
  run(m, function* (host): Steps<void> {
    for (let i = 0; i < 3; i++) yield* expect(host, 'timed', counter('', 1), 'invalid_args');
    yield* flush(host);
    const before = m.log.records.length;
    for (let i = 0; i < 5; i++) yield* flush(host);
    assert.equal(m.log.records.length, before, 'quiet once it is said');
  });
  assert.equal(m.log.snapshots('metricsd.reject.invalid_args').at(-1)!.value, '3');
});

/** The largest series and span that the wire allows, and everything that an export can look like. */
function* everything(host: Host): Steps<void> {
  const labels = Array.from({ length: 8 }, (_none, i) => `${'k'.repeat(10)}${i}=${'v'.repeat(11)}`).join('\n');
  assert.ok(labels.length <= 192 && labels.length > 180);
  const name = 'n'.repeat(48);
  yield* expect(host, 'timed', counter(name, 2n ** 64n - 1n, labels), 'ok');
  yield* expect(host, 'timed', gauge(name, -(2n ** 63n), labels), 'ok');
  for (let i = 0; i < 3; i++) yield* expect(host, 'timed', histogram(name, 2n ** 63n - 1n, labels), 'ok');
  for (const labelled of ['password=x', 'note=Bearer abcdefghij', 'session_id=1']) yield* expect(host, 'timed', counter('r', 1, labelled), 'ok');
  const span = spanIdOf('timed', 1);
  yield* expect(host, 'timed', spanStart({ span, trace: traceIdOf('timed', 1), start_ns: 0n, name, attrs: labels }), 'ok');
  yield* expect(host, 'timed', spanEnd(span, 2n ** 64n - 1n, 0, labels), 'ok');
  yield* expect(host, 'timed', counter('', 1), 'invalid_args');
  assert.equal((yield* flush(host)).waiting, 0);
  assert.equal((yield* stats(host)).exportFailed, 0n);
}

test('the real logd takes every record whole: the largest series and span, in two parts where they must be', async () => {
  const bounds = Array.from({ length: 16 }, (_none, i) => (2n ** 62n + BigInt(i)).toString()).join(', ');
  const m = await metricsd(recipeWith({ ...UNHURRIED, buckets_ns: `[${bounds}]` }));
  run(m, function* (host): Steps<void> {
    assert.equal(yield* pinged(host), 0);
    yield* everything(host);
  });
  const largest = m.log.snapshots('n'.repeat(48));
  assert.ok(largest.some(({ kind, part }) => kind === 'histogram' && part === '1'));
  const rest = largest.find(({ kind, part }) => kind === 'histogram' && part === '2')!;
  assert.equal(rest.buckets!.split(',').length, 17);
  assert.ok(largest.some(({ kind, part }) => kind === 'span' && part === '2'));
  const logd = new Host({ name: 'logd', wasm: await buildModule('logd') });
  let taken = 0;
  logd.run(function* (host) {
    for (const frame of m.log.appends) {
      const reply = yield* host.call('metricsd', frame);
      assert.equal(reply![4], 0, `status ${reply![4]} for ${frame.toString('latin1', 18)}`);
      taken += 1;
    }
  });
  assert.equal(taken, m.log.records.length);
});

test('redaction before storage: a planted secret is in no record and in no page of the registry', async () => {
  const secrets = ['c4nary-7f3a9c51', JWT, BASE64];
  const m = await metricsd(recipeWith(UNHURRIED));
  run(m, function* (host): Steps<void> {
    let n = 0;
    for (const secret of secrets) {
      n += 1;
      const set = `password=${secret}\nb=Bearer ${secret}`;
      for (const make of [counter, gauge, histogram]) yield* expect(host, 'timed', make(`s${n}`, 1, set), 'ok');
      const span = spanIdOf('timed', n);
      yield* expect(host, 'timed', spanStart({ span, trace: traceIdOf('timed', n), attrs: `Auth-Token=${secret}` }), 'ok');
      yield* expect(host, 'timed', spanEnd(span, 200n, 0, `api.key=${secret}`), 'ok');
    }
    yield* flush(host);
    const { records } = yield* registry(host);
    for (const secret of secrets) assert.ok(!JSON.stringify(records, (_key, v: unknown) => (typeof v === 'bigint' ? v.toString() : v)).includes(secret));
    assert.equal((yield* stats(host)).redactions, 24n);
    yield* expect(host, 'timed', counter(BASE64, 1), 'invalid_args', 'a secret as a name');
  });
  const stored = m.log.records.map(({ message, fields }) => `${message}\n${fields}`).join('\n') + m.host.console.join('\n');
  for (const secret of secrets) assert.ok(!stored.includes(secret), secret);
  assert.ok(stored.includes('label.password=*') && stored.includes('attr.Auth-Token=*') && stored.includes('end.api.key=*'));
});
