// SPDX-License-Identifier: Apache-2.0
// The shortcuts in front of redaction and of the identity check, run as WebAssembly against the slow rule that they stand for: a text that
// scanText calls plain is one that redaction leaves alone, a control character is never missed, an identity claim neither.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildEntry } from '../../runtime/node/index.js';
import { randomBelow } from '../random.js';

const PLAIN = 0;
const LOOK = 1;
const CONTROL = 2;
/** Far above the modules' own data, below their first page's end. */
const AT = 40_000;
const AREA_BYTES = 2048;
const KEY_BYTES_MAX = 64;

type Call = (name: string, text: string, ...more: number[]) => number;
let scan: Call;
let redact: Call;
let redacted: (length: number) => string;
let identity: Call;
let memo: Call;
let taxonomy: Call;

/** Starts a module whose functions take an address and a length; every byte around the text is `fill`. */
async function start(entry: string, fill: number): Promise<{ call: Call; raw: Call; read: (length: number) => string }> {
  const wasm = await buildEntry(entry);
  const imports = { env: { abort: () => { throw new Error('abort'); } } };
  const { instance } = await WebAssembly.instantiate(wasm as BufferSource, imports) as unknown as WebAssembly.WebAssemblyInstantiatedSource;
  const exports = instance.exports as Record<string, (...args: number[]) => number>;
  (exports._init as unknown as (() => void) | undefined)?.();
  const memory = instance.exports.memory as WebAssembly.Memory;
  const raw: Call = (name, text, ...args) => {
    new Uint8Array(memory.buffer, AT - 64, AREA_BYTES).fill(fill);
    new Uint8Array(memory.buffer, AT, AREA_BYTES).set(Buffer.from(text, 'latin1'));
    return exports[name]!(...args);
  };
  const call: Call = (name, text, ...more) => raw(name, text, AT, text.length, ...more);
  return { call, raw, read: (length) => Buffer.from(new Uint8Array(memory.buffer, AT, length)).toString('latin1') };
}

before(async () => {
  scan = (await start('assembly/lib/redact/scan.ts', 0x3a)).call; // colons around: a byte read beyond the text would show
  const redaction = await start('assembly/lib/redact/redact.ts', 0x41);
  redact = redaction.call;
  redacted = redaction.read;
  memo = (await start('assembly/lib/redact/memo.ts', 0x5f)).raw;
  taxonomy = (await start('assembly/lib/redact/taxonomy.ts', 0x20)).raw;
  identity = (await start('assembly/lib/redact/identity.ts', 0x76)).call;
});

const seed = Number(process.env.FUZZ_SEED ?? 41);

function controlIn(text: string, lines: boolean): boolean {
  return [...text].some((c) => c === '\x7f' || (c < ' ' && !(lines && c === '\n')));
}

test('plain means that redaction replaces nothing, at every length and place', () => {
  const next = randomBelow(seed);
  const parts = ['a', ' ', 'gpu', 'blue', 'B', 'bearer', 'Basic', 'Bear', '-', '--', '--password', '-----BEGIN', 'x=1', ':', '\n', ', ', 'ok',
    'abcdefgh', '0123456789', 'ghp_0123456789abcd', 'deadbeefdeadbeefdeadbeefdeadbeef', '\u00e9', '\u00ff', '_', '/', 'session', 'token'];
  const seen = [0, 0, 0];
  for (let round = 0; round < 12_000; round++) {
    let text = '';
    for (let i = next(14); i > 0; i--) text += parts[next(next(3) === 0 ? parts.length : 8)]! + (next(2) === 0 ? ' ' : '');
    const found = scan('scanText', text, 1);
    seen[found]!++;
    const note = `seed ${seed} round ${round}: ${JSON.stringify(text)}`;
    assert.notEqual(found, CONTROL, note);
    if (found !== PLAIN) continue;
    const length = redact('redactLooked', text);
    assert.equal(redacted(length), text, note);
  }
  assert.ok(seen[PLAIN]! > 1000 && seen[LOOK]! > 1000, `both outcomes occur: ${seen.join(' ')}`);
});

test('each sign is seen at each place of a text of each length', () => {
  const filler = 'in the gpu it is up as we go to see in on at of my so if no do he '.repeat(2);
  const signs = [':', '=', '--', 'bearer', 'BASIC', 'Bear', 'basi', 'abcdefghijklmnop'];
  for (let length = 0; length <= 72; length++) {
    assert.equal(scan('scanText', filler.slice(0, length), 1), PLAIN, `${length} bytes, and colons around them`);
    for (const sign of signs) {
      for (let at = 0; at + sign.length <= length; at++) {
        const text = filler.slice(0, at) + sign + filler.slice(at + sign.length, length);
        assert.equal(scan('scanText', text, 1), LOOK, JSON.stringify(text));
      }
    }
  }
});

test('a control character is found wherever it stands, and nothing else is one', () => {
  const next = randomBelow(seed);
  for (let round = 0; round < 12_000; round++) {
    let text = '';
    for (let i = next(40); i > 0; i--) text += String.fromCharCode(next(40) === 0 ? next(256) : 32 + next(95));
    for (const lines of [true, false]) {
      const note = `seed ${seed} round ${round} lines ${lines}: ${JSON.stringify(text)}`;
      const wanted = controlIn(text, lines);
      assert.equal(scan('scanText', text, Number(lines)) === CONTROL, wanted, note);
      assert.equal(Boolean(scan('holdsControl', text, Number(lines))), wanted, note);
    }
  }
  for (let code = 0; code < 256; code++) {
    for (let at = 0; at < 20; at++) {
      const text = 'a'.repeat(at) + String.fromCharCode(code) + ' b'.repeat(10);
      const wanted = code === 127 || (code < 32 && code !== 10);
      assert.equal(scan('scanText', text, 1) === CONTROL, wanted, `byte ${code} at ${at}`);
      assert.equal(Boolean(scan('holdsControl', text, 1)), wanted, `byte ${code} at ${at}`);
    }
  }
});

/** The rule of identity.ts, as its head states it. */
function claims(fields: string): boolean {
  return fields.split('\n').some((line) => {
    const key = line.split('=')[0]!.toLowerCase().replace(/[^a-z0-9]/g, '');
    return key.length > KEY_BYTES_MAX || key === 'service' || key.includes('serviceid') || key.includes('requesterid');
  });
}

test('an identity claim is found whatever surrounds it, and nothing else is one', () => {
  const next = randomBelow(seed);
  const parts = ['service', 'Service', 'service_id', 'SERVICE-ID', 'sender.service.id', 'requester id', 'RequesterID', 'id', '=', '\n', '=1\n', 'gpu',
    'tenant=blue', 'hop=3', '\u00f6', '\u00bd', '\u008a', 'a'.repeat(31), 'b'.repeat(32), 'c'.repeat(33), '0123456789012345', '\n', '='];
  let found = 0;
  for (let round = 0; round < 12_000; round++) {
    let fields = '';
    for (let i = next(9); i > 0; i--) fields += parts[next(parts.length)]!;
    const wanted = claims(fields);
    if (wanted) found++;
    assert.equal(Boolean(identity('claimsIdentity', fields)), wanted, `seed ${seed} round ${round}: ${JSON.stringify(fields)}`);
  }
  assert.ok(found > 1000 && found < 11_000, `both outcomes occur: ${found}`);
  for (let before = 0; before < 24; before++) {
    for (let length = KEY_BYTES_MAX - 2; length <= KEY_BYTES_MAX + 3; length++) {
      const fields = `${'x'.repeat(before)}=\n${'k'.repeat(length)}`;
      assert.equal(Boolean(identity('claimsIdentity', fields)), length > KEY_BYTES_MAX, `key of ${length} after ${before}`);
      assert.equal(Boolean(identity('claimsIdentity', `${fields}=1`)), length > KEY_BYTES_MAX, `key of ${length} with a value after ${before}`);
    }
  }
});

test('a remembered key is judged as a new one, whatever value stands beside it', () => {
  const next = randomBelow(seed);
  const keys = ['a', 'ab', 'aba', 'abc', 'pw', 'pin', 'token', 'token_count', 'tokens', 'gpu', 'tenant', 'tenants', 'sha256', 'x_sha256', 'cookie',
    'set-cookie', 'api key', 'session_id', 'session_bytes', 'a:b', 'abcdefgh', 'abcdefghi', 'abcdefghijklmnop', 'abcdefghijklmnopq', 'ab\0', ''];
  const KEY_IS_TOKEN = 4;
  for (let round = 0; round < 12_000; round++) {
    const key = next(3) === 0 ? String.fromCharCode(97 + next(26), 97 + next(26), 97 + next(26)) : keys[next(keys.length)]!;
    const value = ['', '1', '12', 'x', '1x'][next(5)]!;
    const judge = (call: Call, name: string): number => // the value follows the key, as in a line of fields
      call(name, `${key}=${value}`, AT, key.length, AT + key.length + 1, value.length);
    const note = `seed ${seed} round ${round}: ${JSON.stringify(key)}=${value}`;
    const wanted = judge(taxonomy, 'classifyKey');
    const found = judge(memo, 'judgeKey');
    assert.equal(found & 3, wanted, note);
    assert.equal((found & KEY_IS_TOKEN) !== 0, key.length < 16 && /^[\w+/.~-]*$/.test(key), note);
  }
});
