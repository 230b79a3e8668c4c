// SPDX-License-Identifier: Apache-2.0
// logd's shipping module under Node: each limit at and over its edge, identity claims, rate, paging, ring, capability, replies.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildModule, Host, senderId, type HostOptions, type Script, type Step, type Outcome } from '../../runtime/node/index.js';
import { append, head, query, QUERY_BADGE, readAppend, readPage, readReply, readStats, STATUS, stats, type Append, type LogRecord } from './logd-frames.js';
import { randomBelow } from '../random.js';

const abi = loadAbi();
const LIMIT = (key: string): number => limit(abi, 'logd', key);
const SECOND = 1_000_000_000n;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('logd'); });

function logd(script: (io: Host) => Script, options: Partial<HostOptions> = {}): Host {
  const host = new Host({ name: 'logd', wasm, ...options });
  host.run(script);
  return host;
}
let nonce = 100n;
function* put(io: Host, record: Append, from = 'selftest'): Generator<Step, ReturnType<typeof readAppend>, Outcome> {
  const sent = ++nonce;
  const got = readAppend(yield* io.call(from, append(sent, record)));
  assert.equal(got.nonce, sent);
  return got;
}
function* getStats(io: Host): Generator<Step, ReturnType<typeof readStats>, Outcome> {
  return readStats(yield* io.call('selftest', stats(++nonce)));
}
function* page(io: Host, ask: Parameters<typeof query>[1]): Generator<Step, ReturnType<typeof readPage>, Outcome> {
  return readPage(yield* io.call('selftest', query(++nonce, ask), { badge: QUERY_BADGE }));
}
/** The journal by pages of at most `max`, through the cursor alone. */
function* journal(io: Host, max = 0): Generator<Step, LogRecord[], Outcome> {
  const all: LogRecord[] = [];
  for (let pages = 0; pages < 2000; pages++) {
    const { records } = yield* page(io, { max, after: all.at(-1)?.id ?? 0n });
    if (records.length === 0) return all;
    all.push(...records);
  }
  throw new Error('paging does not end');
}

test('stores what it accepts, whole, under the id of the kernel-stamped sender', () => {
  logd(function* (io) {
    const first = yield* put(io, { level: 0, scope: 's', message: 'hello', fields: 'a=1\nb=2' });
    assert.deepEqual([first.status, first.id, first.dropped], [0, 1n, 0n]);
    const records = yield* journal(io);
    assert.deepEqual(records, [{ id: 1n, ts_ns: io.now_ns, level: 0, sender: senderId('selftest'), scope: 's', message: 'hello', fields: 'a=1\nb=2' }]);
  });
});

test('takes each text at its limit and refuses one byte more as over_limit', () => {
  logd(function* (io) {
    for (const [key, field] of [['scope_bytes_max', 'scope'], ['message_bytes_max', 'message'], ['fields_bytes_max', 'fields']] as const) {
      const edge = LIMIT(key);
      // Blanks between letters, so that redaction has no token to look at.
      const text = (bytes: number): string => `k=${'v '.repeat(bytes)}`.slice(0, bytes);
      assert.equal((yield* put(io, { [field]: text(edge) })).status, STATUS.ok, `${field} ${edge}`);
      const last = (yield* journal(io)).at(-1)!;
      assert.equal(last[field], text(edge));
      const over = yield* put(io, { [field]: text(edge + 1) });
      assert.deepEqual([over.status, over.id], [STATUS.overLimit, 0n], `${field} ${edge + 1}`);
    }
    assert.equal((yield* getStats(io)).overLimit, 3n);
  });
});

test('refuses a wrong level, a wrong length and control characters as invalid_args', () => {
  logd(function* (io) {
    for (const level of [0, 1, 2, 3, 4]) assert.equal((yield* put(io, { level })).status, STATUS.ok);
    for (const level of [5, 255]) assert.equal((yield* put(io, { level })).status, STATUS.invalidArgs);
    const whole = append(7n, { message: 'abc', fields: 'k=v' });
    for (const frame of [whole.subarray(0, whole.length - 1), Buffer.concat([whole, Buffer.alloc(1)]), whole.subarray(0, 17), whole.subarray(0, 12)]) {
      assert.equal(readAppend(yield* io.call('a', frame)).status, STATUS.invalidArgs);
    }
    for (const text of ['\x1b[2J', 'a\0b', 'a\tb', '\x7f', 'a\rb']) {
      assert.equal((yield* put(io, { message: text })).status, STATUS.invalidArgs, JSON.stringify(text));
      assert.equal((yield* put(io, { fields: `k=${text}` })).status, STATUS.invalidArgs);
    }
    assert.equal((yield* put(io, { scope: 'a\nb' })).status, STATUS.invalidArgs);
    assert.equal((yield* put(io, { message: 'a\nb', fields: 'a=1\nb=2' })).status, STATUS.ok);
    assert.equal((yield* getStats(io)).invalidArgs, 17n);
  });
});

test('refuses identity claims in any case, spacing, separator, prefix or suffix, on any line', () => {
  const claims = [
    'sender_service_id=9999', 'service_id=1', 'requester_id=1', 'service=logd', 'SENDER_SERVICE_ID=1', 'Service_Id=1',
    ' service_id =1', 'service id=1', 'service-id=1', 'service.id=1', 'serviceId=1', 'x_sender_service_id=1', 'my.service_id=1',
    'service_id2=1', '_service_=logd', '"service_id"=1', 'ok=1\nservice_id=1', 'service_id', 'ok=1\n SERVICE\n', `${'a'.repeat(65)}=1`,
  ];
  const fine = ['service.name=a', 'producer=7', 'server=b', 'note=service_id', 'services=2', 'sender=x', `${'a'.repeat(64)}=1`];
  logd(function* (io) {
    for (const fields of claims) assert.equal((yield* put(io, { fields })).status, STATUS.invalidArgs, JSON.stringify(fields));
    for (const fields of fine) assert.equal((yield* put(io, { fields })).status, STATUS.ok, JSON.stringify(fields));
    assert.equal((yield* getStats(io)).invalidArgs, BigInt(claims.length));
  });
});

test('rate: a burst, then one record a token, exact at the refill boundary, and per sender', () => {
  const burst = LIMIT('append_burst');
  const tokenNs = SECOND / BigInt(LIMIT('append_per_second'));
  logd(function* (io) {
    for (let i = 0; i < burst; i++) assert.equal((yield* put(io, {})).status, STATUS.ok);
    assert.equal((yield* put(io, {})).status, STATUS.rateLimited);
    assert.equal((yield* put(io, {}, 'timed')).status, STATUS.ok, 'another sender is not touched');
    io.advance(tokenNs - 1n);
    assert.equal((yield* put(io, {})).status, STATUS.rateLimited, 'one ns too early');
    io.advance(1n);
    assert.equal((yield* put(io, {})).status, STATUS.ok, 'exactly one token');
    assert.equal((yield* put(io, {})).status, STATUS.rateLimited);
    io.advance(3600n * SECOND);
    for (let i = 0; i < burst; i++) assert.equal((yield* put(io, {})).status, STATUS.ok);
    assert.equal((yield* put(io, {})).status, STATUS.rateLimited, 'never more than the burst');
    assert.equal((yield* getStats(io)).rateLimited, 4n);
  });
});

test('rate: the trusted burst is for metricsd and policyd alone', () => {
  const trusted = LIMIT('trusted_append_burst');
  for (const name of ['metricsd', 'policyd']) {
    logd(function* (io) {
      for (let i = 0; i < trusted; i++) assert.equal((yield* put(io, {}, name)).status, STATUS.ok);
      assert.equal((yield* put(io, {}, name)).status, STATUS.rateLimited);
    });
  }
});

test('a refused record costs no token, and refusals come in order: bounds, identity, rate', () => {
  const burst = LIMIT('append_burst');
  logd(function* (io) {
    for (let i = 0; i < 3 * burst; i++) assert.equal((yield* put(io, { level: 9 })).status, STATUS.invalidArgs);
    for (let i = 0; i < burst; i++) assert.equal((yield* put(io, {})).status, STATUS.ok);
    assert.equal((yield* put(io, {})).status, STATUS.rateLimited);
    assert.equal((yield* put(io, { fields: 'service=a' })).status, STATUS.invalidArgs);
    assert.equal((yield* put(io, { scope: 'x'.repeat(65) })).status, STATUS.overLimit);
  });
});

test('the sender after the last table place is served, and the least recently used one is evicted', () => {
  const places = LIMIT('senders_max');
  logd(function* (io) {
    for (let i = 0; i < places; i++) assert.equal((yield* put(io, {}, `sender ${i}`)).status, STATUS.ok);
    assert.equal((yield* getStats(io)).evictions, 0n);
    yield* put(io, {}, 'sender 0');
    assert.equal((yield* put(io, {}, 'one more')).status, STATUS.ok);
    assert.equal((yield* getStats(io)).evictions, 1n);
    // sender 0 was used again, so its bucket is still there: burst - 2 are left. sender 1 went.
    for (let i = 2; i < LIMIT('append_burst'); i++) assert.equal((yield* put(io, {}, 'sender 0')).status, STATUS.ok);
    assert.equal((yield* put(io, {}, 'sender 0')).status, STATUS.rateLimited);
    assert.equal((yield* getStats(io)).evictions, 1n);
    yield* put(io, {}, 'sender 1');
    assert.equal((yield* getStats(io)).evictions, 2n);
  });
});

test('each reject class prints its line once, before its reply', () => {
  const host = logd(function* (io) {
    for (let i = 0; i < 2; i++) {
      const lines = (yield* io.send('a', append(0n, { level: 9 }))).lines;
      assert.deepEqual(lines, i === 0 ? ['logd: reject invalid_args'] : []);
    }
    for (let i = 0; i < 2; i++) yield* put(io, { scope: 'x'.repeat(65) });
    for (let i = 0; i < LIMIT('append_burst') + 2; i++) yield* put(io, {});
  });
  assert.deepEqual(host.console, ['logd: reject invalid_args', 'logd: reject over_limit', 'logd: reject rate_limited']);
});

test('ready: printed once, after the journal gave the probe back, in the first generation only, for init alone', () => {
  const ping = Buffer.from([0x49, 0x4e, 1, 2, 5, 0, 0, 0]);
  const host = logd(function* (io) {
    assert.equal(readReply(yield* io.call('selftest', ping)).status, STATUS.malformed);
    assert.deepEqual([...(yield* io.call('init-lite', ping))!], [0x49, 0x4e, 1, 0x82, 5, 0, 0, 0, 0]);
    yield* io.call('init-lite', ping);
    assert.equal((yield* journal(io))[0]?.message, 'journal open');
  });
  assert.deepEqual(host.console, ['logd: ready']);
  const again = logd(function* (io) {
    assert.equal((yield* io.call('init-lite', ping))?.[8], 0);
  }, { counters: { own_generation: 2n } });
  assert.deepEqual(again.console, []);
});

test('QUERY needs the query right; without it the answer is denied and counted', () => {
  logd(function* (io) {
    yield* put(io, {});
    const refused = readReply(yield* io.call('selftest', query(9n), { badge: 5 }));
    assert.deepEqual([refused.status, refused.nonce, refused.body.length], [STATUS.denied, 9n, 0]);
    assert.equal((yield* getStats(io)).denied, 1n);
    assert.equal(readPage(yield* io.call('selftest', query(9n), { badge: QUERY_BADGE })).records.length, 1);
  });
});

test('the union of pages is the journal, whatever the page size and the record sizes', () => {
  const random = randomBelow(12345);
  logd(function* (io) {
    const sent: string[] = [];
    for (let i = 0; i < 300; i++) {
      const message = 'm '.repeat(random(128));
      const fields = random(3) ? 'k=v\n'.repeat(random(128)) : '';
      assert.equal((yield* put(io, { message, fields }, `s${i % 50}`)).status, STATUS.ok);
      sent.push(`${i + 1} ${message}|${fields}`);
      if (i % 7 === 0) io.advance(random(1000));
    }
    const kept = (yield* getStats(io)).recordsUsed;
    for (const max of [0, 1, 2, 3, 7, 65535]) {
      const all = yield* journal(io, max);
      assert.equal(all.length, kept);
      assert.deepEqual(all.map((r) => `${r.id} ${r.message}|${r.fields}`), sent.slice(-kept), `pages of ${max}`);
    }
    for (let i = 0; i < 20; i++) {
      const after = BigInt(random(310));
      const { records } = yield* page(io, { after, max: 1 });
      const wanted = after < 300n - BigInt(kept) ? 301n - BigInt(kept) : after + 1n;
      assert.equal(records[0]?.id, after >= 300n ? undefined : wanted);
    }
  });
});

test('QUERY by time finds the first record at or after it, in the published frame too', () => {
  logd(function* (io) {
    const times: bigint[] = [];
    for (let i = 0; i < 20; i++) {
      yield* put(io, {});
      times.push(io.now_ns);
      io.advance(100n);
    }
    const published = readPage(yield* io.call('selftest', query(1n, { since: times[5]! }), { badge: QUERY_BADGE }));
    assert.deepEqual([published.records.length, published.records[0]!.id, published.total], [15, 6n, 20n]);
    assert.equal((yield* page(io, { since: times[5]! + 1n })).records[0]!.id, 7n);
    assert.equal((yield* page(io, { since: times[5]!, after: 10n })).records[0]!.id, 11n);
    assert.equal((yield* page(io, { since: 1n << 63n })).records.length, 0);
    assert.equal((yield* page(io, { after: 0xffff_ffff_ffff_ffffn })).records.length, 0);
  });
});

test('times increase strictly when the clock stands still or steps back', () => {
  logd(function* (io) {
    for (let i = 0; i < 10; i++) {
      yield* put(io, {});
      if (i === 4) io.now_ns -= 500n;
    }
    const records = yield* journal(io);
    assert.equal(records.length, 10);
    for (let i = 1; i < 10; i++) assert.ok(records[i]!.ts_ns > records[i - 1]!.ts_ns);
  });
});

test('soak: ten times the capacity passes through; the newest records stay, whole, and every loss is counted', () => {
  const capacity = LIMIT('records_max');
  logd(function* (io) {
    const rounds = 10 * capacity;
    for (let i = 1; i <= rounds; i++) {
      const { status, id } = yield* put(io, { message: `record ${i}`, fields: 'pad=' + ' x'.repeat(i % 100) });
      assert.deepEqual([status, id], [STATUS.ok, BigInt(i)]);
      io.advance(SECOND / 64n);
    }
    const now = yield* getStats(io);
    assert.equal(now.total, BigInt(rounds));
    assert.equal(now.dropped + BigInt(now.recordsUsed), now.total);
    assert.ok(now.recordsUsed <= capacity && now.bytesUsed <= LIMIT('journal_bytes_max'));
    const records = yield* journal(io);
    assert.equal(records.length, now.recordsUsed);
    records.forEach((r, i) => assert.equal(r.message, `record ${rounds - records.length + 1 + i}`));
  });
});

test('soak by bytes: large records drop as many of the oldest as they need', () => {
  logd(function* (io) {
    for (let i = 1; i <= 600; i++) {
      assert.equal((yield* put(io, { message: ' m'.repeat(128), fields: 'k=' + ' f'.repeat(255) })).status, STATUS.ok);
      io.advance(SECOND / 64n);
    }
    const now = yield* getStats(io);
    assert.ok(now.bytesUsed <= LIMIT('journal_bytes_max') && now.bytesUsed > LIMIT('journal_bytes_max') - 900);
    assert.equal(now.dropped + BigInt(now.recordsUsed), 600n);
    assert.equal((yield* journal(io)).length, now.recordsUsed);
  });
});

test('answers over a moved capability with one send that never waits; a client that never drains costs a counted loss', () => {
  const got: Buffer[] = [];
  let full = false;
  const host = new Host({ name: 'logd', wasm, peers: { client: ({ bytes }) => { if (full) return { error: 'full' }; got.push(Buffer.from(bytes)); return null; } } });
  host.run(function* (io) {
    const before = io.handles.size;
    yield* io.send('client', append(77n, {}), { moved: io.grantPeer('client', 1) });
    assert.deepEqual([readAppend(got[0]!).nonce, readAppend(got[0]!).id], [77n, 1n]);
    assert.equal(io.handles.size, before, 'the moved capability was closed');
    full = true;
    for (let i = 0; i < 200; i++) yield* io.send('client', append(1n, {}), { moved: io.grantPeer('client', 1) });
    assert.equal(io.handles.size, before);
    const now = yield* getStats(io);
    assert.equal(now.repliesLost, 200n);
    assert.equal(io.now_ns, 1_000_000_000n, 'logd never waited');
  });
});

test('bad frames get the right status and their nonce back; the counters follow', () => {
  logd(function* (io) {
    const cases: [Buffer, number, bigint][] = [
      [head(1, 5n, 1), STATUS.unsupported, 5n], [head(9, 6n), STATUS.unsupported, 6n], [head(200, 6n), STATUS.unsupported, 6n],
      [Buffer.from('LO'), STATUS.malformed, 0n], [Buffer.alloc(0), STATUS.malformed, 0n], [Buffer.from('XY\x02\x01aaaaaaaa'), STATUS.malformed, 0n],
      [head(2, 7n).subarray(0, 9), STATUS.malformed, 0n], [Buffer.concat([stats(8n), Buffer.alloc(1)]), STATUS.malformed, 8n],
    ];
    for (const [frame, status, echoed] of cases) {
      const reply = readReply(yield* io.call('x', frame));
      assert.deepEqual([reply.status, reply.nonce], [status, echoed], frame.toString('hex'));
    }
    const bad = readReply(yield* io.call('x', head(2, 10n), { badge: QUERY_BADGE }));
    assert.deepEqual([bad.status, bad.nonce], [STATUS.malformed, 10n]);
    assert.equal((yield* getStats(io)).malformed, BigInt(cases.length + 1));
  });
});

test('fuzz: 20000 seeded frames neither stop logd nor change what it stored', () => {
  const random = randomBelow(99);
  logd(function* (io) {
    const keep = yield* put(io, { message: 'keep me' }, 'keeper');
    const valid = [append(1n, { message: 'abc', fields: 'k=v' }), query(2n, { after: 0n }), stats(3n)];
    for (let i = 0; i < 20_000; i++) {
      const frame = Buffer.from(valid[random(3)]!);
      const flips = random(4);
      for (let f = 0; f < flips; f++) frame[random(frame.length)] = random(256);
      const cut = random(4) === 0 ? frame.subarray(0, random(frame.length + 1)) : frame;
      const reply = yield* io.call('fuzzer', cut, { badge: random(32) });
      assert.ok(reply !== null && reply.length >= 13 && reply.length <= LIMIT('query_page_bytes_max'));
    }
    const { records } = yield* page(io, { after: 0n, max: 1 });
    assert.deepEqual([records[0]?.id, records[0]?.message], [keep.id, 'keep me']);
  });
});

test('redaction happens before storage and is counted', () => {
  logd(function* (io) {
    const secret = 'hunter2-canary-0xfeed';
    yield* put(io, { message: `login password=${secret} done`, fields: `user=bob\npassword=${secret}\nok=1` });
    const records = yield* journal(io);
    assert.ok(!JSON.stringify(records[0], (_, v) => (typeof v === 'bigint' ? String(v) : v)).includes(secret));
    assert.ok(records[0]!.fields.startsWith('user=bob\npassword='));
    assert.ok(records[0]!.fields.endsWith('ok=1'));
    assert.equal((yield* getStats(io)).redactions, 2n);
  });
});
