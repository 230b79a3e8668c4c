// SPDX-License-Identifier: Apache-2.0
// lib/bounded in its compiled form: bucket boundaries, ring and sender table against plain models, text, hashes, writer, reader.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { fnv1a64 } from '../../scripts/lib/abi.js';
import { buildEntry, Host } from '../../runtime/node/index.js';
import { randomBelow } from '../random.js';

let wasm: Uint8Array;
before(async () => { wasm = await buildEntry('tests/lib/guest-bounded.ts'); });

interface Bounded {
  host: Host;
  call: (name: string, ...args: (number | bigint)[]) => number | bigint;
  put: (text: string | Uint8Array, at?: number) => number;
  get: (length: number) => string;
}
function bounded(): Bounded {
  const host = new Host({ name: 'test', wasm });
  const address = Number(host.fn('address')());
  return {
    host,
    call: (name, ...args) => host.fn(name)(...args),
    put: (text, at = 0) => { const bytes = Buffer.from(text as string, 'latin1'); host.write(address + at, bytes); return bytes.length; },
    get: (length) => host.text(address, length),
  };
}
const u64 = (value: number | bigint): bigint => BigInt.asUintN(64, BigInt(value));

test('token bucket: burst, the last ns before a token and the token itself, no drift over a long time', () => {
  const { call } = bounded();
  const SECOND = 1_000_000_000n;
  call('bucketBegin', 3, 7, 5n);
  for (let i = 0; i < 3; i++) assert.equal(call('bucketTake', 1, 5n), 1);
  assert.equal(call('bucketTake', 1, 5n), 0);
  // 7 tokens a second: token k is whole after ceil(k * 10^9 / 7) ns.
  for (let k = 1n; k <= 70n; k++) {
    const due = 5n + (k * SECOND + 6n) / 7n;
    assert.equal(call('bucketTake', 1, due - 1n), 0, `token ${k} came a ns early`);
    assert.equal(call('bucketTake', 1, due), 1, `token ${k} is late`);
  }
  assert.equal(call('bucketLeft', 5n + 10n * SECOND), 0);
  assert.equal(call('bucketLeft', 5n + 10_000n * SECOND), 3, 'never above capacity');
});

test('token bucket: a clock that steps back neither refills nor drains; extremes do not overflow', () => {
  const { call } = bounded();
  call('bucketBegin', 10, 10, 1_000_000_000n);
  assert.equal(call('bucketTake', 10, 1_000_000_000n), 1);
  assert.equal(call('bucketTake', 1, 0n), 0);
  assert.equal(call('bucketTake', 1, 1_100_000_000n), 1);
  call('bucketBegin', 0xffffffff, 0xffffffff, 0n);
  assert.equal(call('bucketTake', 0xffffffff, 0n), 1);
  assert.equal(call('bucketTake', 0xffffffff, 0xffff_ffff_ffff_ffffn), 1);
  assert.equal(call('bucketTake', 1, 0xffff_ffff_ffff_ffffn), 0);
  call('bucketBegin', 5, 0, 0n);
  assert.equal(call('bucketTake', 5, 0n), 1);
  assert.equal(call('bucketTake', 1, 1n << 62n), 0, 'no refill at rate 0');
  assert.equal(call('bucketTake', 0, 0n), 1, 'nothing costs nothing');
});

test('byte ring: agrees with a list through 20000 pushes and pops, wrapping and dropping', () => {
  const { call, put, get } = bounded();
  const random = randomBelow(7);
  for (const capacity of [16, 61, 256]) {
    call('ringReset', capacity);
    const model: string[] = [];
    let dropped = 0n;
    for (let i = 0; i < 20_000; i++) {
      if (random(4) === 0) {
        assert.equal(call('ringOldest'), model[0]?.length ?? -1);
        if (model.length) assert.equal(get(model[0]!.length), model.shift());
        call('ringPop');
      } else {
        const text = String.fromCharCode(97 + (i % 26)).repeat(random(capacity));
        const fits = text.length + 4 <= capacity;
        put(text);
        assert.equal(call('ringPush', text.length), fits ? 1 : 0);
        if (!fits) continue;
        model.push(text);
        while (model.reduce((sum, t) => sum + 4 + t.length, 0) > capacity) { model.shift(); dropped++; }
      }
      assert.equal(call('ringEntries'), model.length);
      assert.equal(call('ringUsed'), model.reduce((sum, t) => sum + 4 + t.length, 0));
      const at = random(model.length + 1);
      const length = Number(call('ringAt', at));
      assert.equal(length < 0 ? undefined : get(length), model[at]);
    }
    assert.equal(u64(call('ringDropped')), dropped);
  }
});

test('sender table: agrees with a least-recently-used map', () => {
  const { call } = bounded();
  const random = randomBelow(11);
  call('sendersReset', 8);
  const model = new Map<bigint, bigint>();
  let evictions = 0n;
  for (let i = 0; i < 5000; i++) {
    const id = BigInt(random(20)) * 0x1234_5678_9abc_def1n & 0xffff_ffff_ffff_ffffn;
    const held = model.get(id);
    if (held === undefined && model.size === 8) { model.delete(model.keys().next().value!); evictions++; }
    model.delete(id);
    model.set(id, (held ?? 0n) + 1n);
    assert.equal(u64(call('sendersCount', id)), model.get(id));
    assert.equal(u64(call('sendersEvictions')), evictions);
    assert.equal(call('sendersEntries'), model.size);
  }
  for (let n = 0n; n < 20n; n++) {
    const id = n * 0x1234_5678_9abc_def1n & 0xffff_ffff_ffff_ffffn;
    assert.equal(call('sendersFind', id), model.has(id) ? 1 : 0);
  }
});

test('text: decimal, hexadecimal, parse, compare', () => {
  const { call, put, get } = bounded();
  for (const value of [0n, 9n, 10n, 1234567890n, 0xffff_ffff_ffff_ffffn]) {
    const length = Number(call('decimal', value));
    assert.equal(get(length), String(value));
    assert.equal(call('parse', length), 1);
    assert.equal(u64(call('parsed')), value);
    assert.equal(get(Number(call('hex', value, 16))), value.toString(16).padStart(16, '0'));
  }
  for (const bad of ['', '-1', '1a', ' 1', '18446744073709551616', '99999999999999999999', '000000000000000000001']) {
    assert.equal(call('parse', put(bad)), 0, bad);
  }
  assert.equal(call('isLogd', put('logd')), 1);
  for (const other of ['log', 'logdx', 'lOgd', '']) assert.equal(call('isLogd', put(other)), 0);
  assert.equal(call('findLogd', put('a logd b')), 2);
  assert.equal(call('findLogd', put('a log d')), -1);
  for (const [a, b] of [['', ''], ['a', ''], ['', 'a'], ['ab', 'abc'], ['b', 'abc'], ['\xff', 'a']] as const) {
    put(a);
    put(b, 1024);
    assert.equal(Math.sign(Number(call('compare', a.length, b.length))), Math.sign(Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'))));
  }
});

test('hashes: FNV-1a 64 of service names as the host computes it; CRC-32C check values', () => {
  const { call, put } = bounded();
  for (const name of ['logd', 'init-lite', 'selftest', '']) assert.equal(u64(call('hash', put(name))), fnv1a64(name));
  assert.equal(u64(call('hashLogd')), fnv1a64('logd'));
  assert.equal(Number(call('crc', put('123456789'), 0)) >>> 0, 0xe3069283);
  assert.equal(Number(call('crc', put(new Uint8Array(32)), 0)) >>> 0, 0x8a9136aa);
});

test('writer: exact at its capacity, remembers the first refusal, writes nothing beyond', () => {
  const { call, get } = bounded();
  const wanted = '\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0fab42-5beef';
  assert.equal(call('writeAll', wanted.length, -5n), wanted.length);
  assert.equal(get(wanted.length), wanted);
  assert.equal(call('writeAll', wanted.length - 1, -5n), -(wanted.length - 4), 'the last put is left out whole');
  for (let capacity = 0; capacity < wanted.length; capacity++) assert.ok(Number(call('writeAll', capacity, -5n)) <= 0);
  const smallest = Number(call('writeAll', 100, -(1n << 63n)));
  assert.ok(get(smallest).includes('-9223372036854775808'));
  const fields = 'a=x\nn=7\ns=-7\nh=00000000000000ff';
  assert.equal(call('fieldsAll', 100), fields.length);
  assert.equal(get(fields.length), fields);
});

test('reader: exactly the bytes that are there', () => {
  const { call, put } = bounded();
  put(new Uint8Array(32).fill(1));
  assert.equal(call('readAll', 15), 1n + 0x101n + 0x1010101n + 0x101010101010101n);
  for (const length of [0, 1, 14, 16, 32]) assert.equal(call('readAll', length), -1n, `${length} bytes`);
});
