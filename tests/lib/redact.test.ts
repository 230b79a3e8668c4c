// SPDX-License-Identifier: Apache-2.0
// Redaction, run as WebAssembly: vectors, key taxonomy, and properties under seeded random input.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildEntry } from '../../runtime/node/index.js';
import { BASE64, DENIED_KEYS, FIELD_VECTORS, HEX64, JWT, PEM, PLAIN_KEYS, TEXT_VECTORS } from './redact-vectors.js';
import { Random } from '../random.js';

interface Redactor {
  fields(text: string): { text: string; count: number };
  text(text: string): { text: string; count: number };
  keyClass(key: string): number;
}
let redactor: Redactor;

before(async () => {
  const wasm = await buildEntry('assembly/lib/redact/harness.ts');
  const imports = { env: { abort: () => { throw new Error('abort'); } } };
  const { instance } = await WebAssembly.instantiate(wasm as BufferSource, imports) as unknown as WebAssembly.WebAssemblyInstantiatedSource;
  const exports = instance.exports as Record<string, (...args: number[]) => number>;
  (exports._init as unknown as () => void)();
  const memory = instance.exports.memory as WebAssembly.Memory;
  const address = exports.bufferAddress!();
  const CAPACITY = 8192;
  const run = (name: 'fields' | 'text') => (text: string) => {
    const bytes = Buffer.from(text, 'latin1');
    const view = new Uint8Array(memory.buffer, address, CAPACITY);
    view.fill(0xee);
    view.set(bytes);
    const counted = (exports.count as unknown as () => bigint)();
    const length = exports[name]!(bytes.length);
    assert.ok(length <= bytes.length, 'redaction never makes a text longer');
    assert.ok(view.subarray(bytes.length).every((byte) => byte === 0xee), 'nothing beyond the text is written');
    const count = Number((exports.count as unknown as () => bigint)() - counted);
    return { text: Buffer.from(view.subarray(0, length)).toString('latin1'), count };
  };
  redactor = {
    fields: run('fields'),
    text: run('text'),
    keyClass: (key) => {
      new Uint8Array(memory.buffer, address, CAPACITY).set(Buffer.from(key, 'latin1'));
      return exports.keyClass!(key.length);
    },
  };
});

test('every field vector', () => {
  for (const { why, before: from, after, count } of FIELD_VECTORS) {
    assert.deepEqual(redactor.fields(from), { text: after, count }, why);
  }
});

test('every text vector', () => {
  for (const { why, before: from, after, count } of TEXT_VECTORS) {
    assert.deepEqual(redactor.text(from), { text: after, count }, why);
  }
});

test('denied keys deny, near misses do not', () => {
  for (const key of DENIED_KEYS) assert.ok([1, 2].includes(redactor.keyClass(key)), `${key} must be denied`);
  for (const key of PLAIN_KEYS) assert.equal(redactor.keyClass(key), 0, `${key} must be plain`);
  for (const key of ['sha256', 'wasm_sha256', 'trace', 'trace_id', 'commit', 'GPU.uuid']) {
    assert.equal(redactor.keyClass(key), 3, `${key} may hold a digest`);
  }
});

test('case, separators and affixes make no difference to a denied key', () => {
  const variants = (key: string): string[] => [
    key, key.toUpperCase(), `${key}_old`, `my_${key}`, key.replaceAll('_', '-'), key.replaceAll('_', '.'), key.replaceAll('_', ' '),
    key.replace(/_(\w)/g, (_all, c: string) => c.toUpperCase()), key.replaceAll('_', ''),
  ];
  for (const key of ['password', 'api_key', 'private_key', 'client_secret', 'credential', 'auth_token']) {
    for (const variant of variants(key)) assert.notEqual(redactor.keyClass(variant), 0, variant);
  }
});

test('a planted secret never survives, whatever surrounds it', () => {
  const seed = Number(process.env.FUZZ_SEED ?? 20261);
  const random = new Random(seed);
  const words = ['gpu', 'ok', 'session opened', '12:30', 'a=1', 'x', '"q"', 'sha256:ab', '\n', ', ', 'name=value', '--flag', '://', '@'];
  const secrets = [JWT, HEX64, BASE64, `Bearer ${BASE64}`, PEM, 'ghp_0123456789abcdefABCDEF0123456789abcd'];
  const cores = [JWT, HEX64, BASE64, BASE64, 'MIIEow', '0123456789abcdefABCDEF0123456789abcd'];
  for (let round = 0; round < 4000; round++) {
    const which = random.below(secrets.length);
    const parts: string[] = [];
    for (let i = random.below(5); i > 0; i--) parts.push(random.pick(words));
    const around = random.pick(['', 'note=', 'x: ']);
    const text = `${parts.join(' ')} ${around}${secrets[which]!} ${random.pick(words)}`;
    const note = `seed ${seed} round ${round}: ${JSON.stringify(text)}`;
    for (const result of [redactor.text(text), redactor.fields(text)]) {
      assert.ok(!result.text.includes(cores[which]!), note);
      assert.ok(result.count >= 1, note);
    }
  }
});

test('random bytes: bounded, never longer, stable under a second pass', () => {
  const seed = Number(process.env.FUZZ_SEED ?? 7);
  const random = new Random(seed);
  const alphabet = 'abAB01=:;,&"\'\\-_./@ \n\t{}\u0080\u00ff' + 'password token bearer -----BEGIN -----END eyJ';
  for (let round = 0; round < 4000; round++) {
    let text = '';
    for (let i = random.below(200); i > 0; i--) text += alphabet[random.below(alphabet.length)];
    const note = `seed ${seed} round ${round}: ${JSON.stringify(text)}`;
    const fields = redactor.fields(text);
    assert.equal(redactor.fields(fields.text).text, fields.text, `fields twice: ${note}`);
    const once = redactor.text(text);
    assert.ok(once.text.length <= text.length, note);
  }
});
