// SPDX-License-Identifier: Apache-2.0
// The shared recipe reader (assembly/lib/toml) under Node: what it takes it reads as smol-toml does, and what it
// refuses it refuses with a code and the right line; limits at and over their edge; random documents and noise.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { parse } from 'smol-toml';
import { buildEntry } from '../../runtime/node/index.js';
import { Random } from '../random.js';

const BYTES_MAX = 65536;
const NAMES_MAX = 256;
const ITEMS_MAX = 64;
const KIND = { end: 0, table: 1, tableArray: 2, u64: 3, string: 4, arrayU64: 5, arrayString: 6, error: 7 };
const E = {
  tooLong: 1, character: 2, table: 3, key: 4, equals: 5, value: 6, integer: 7, range: 8, string: 9, array: 10, mixed: 11, items: 12,
  rest: 13, duplicate: 14, names: 15,
};
interface Exports {
  memory: WebAssembly.Memory;
  tomlOpen(ptr: number, length: number): void;
  tomlNext(): number;
  tomlLine(): number;
  tomlError(): number;
  tomlNamePtr(): number;
  tomlNameLen(): number;
  tomlU64(): bigint;
  tomlTextPtr(): number;
  tomlTextLen(): number;
  tomlItemCount(): number;
  tomlItemU64(index: number): bigint;
  tomlItemPtr(index: number): number;
  tomlItemLen(index: number): number;
}
let reader: Exports;
before(async () => {
  const wasm = await buildEntry('assembly/lib/toml/reader.ts');
  const module = new WebAssembly.Module(wasm as BufferSource);
  const abort = (): never => { throw new Error('abort'); };
  reader = new WebAssembly.Instance(module, { env: { abort } }).exports as unknown as Exports;
  reader.memory.grow(4);
});

type Value = bigint | string | Value[] | { [key: string]: Value };
type Table = { [key: string]: Value };
/** The whole document as an object, or the error. */
function read(text: string | Uint8Array): { value?: Table; error?: number; line: number } {
  const bytes = Buffer.from(text as string, 'latin1');
  const at = reader.memory.buffer.byteLength - 3 * 65536;
  new Uint8Array(reader.memory.buffer).set(bytes, at);
  const string = (ptr: number, length: number): string => Buffer.from(reader.memory.buffer, ptr, length).toString('latin1');
  reader.tomlOpen(at, bytes.length);
  const root: Table = {};
  let table = root;
  for (let calls = 0; calls <= bytes.length + 1; calls++) {
    const kind = reader.tomlNext();
    if (kind === KIND.end) return { value: root, line: reader.tomlLine() };
    if (kind === KIND.error) {
      assert.equal(reader.tomlNext(), KIND.error, 'an error stays');
      return { error: reader.tomlError(), line: reader.tomlLine() };
    }
    const name = string(reader.tomlNamePtr(), reader.tomlNameLen());
    if (kind === KIND.table) root[name] = table = {};
    else if (kind === KIND.tableArray) ((root[name] ??= []) as Value[]).push((table = {}));
    else if (kind === KIND.u64) table[name] = BigInt.asUintN(64, reader.tomlU64());
    else if (kind === KIND.string) table[name] = string(reader.tomlTextPtr(), reader.tomlTextLen());
    else table[name] = Array.from({ length: reader.tomlItemCount() }, (_, i) =>
      kind === KIND.arrayU64 ? BigInt.asUintN(64, reader.tomlItemU64(i)) : string(reader.tomlItemPtr(i), reader.tomlItemLen(i)));
  }
  throw new Error('the reader does not end');
}
/** smol-toml's view, null where it refuses. */
function model(text: string): unknown {
  try {
    return parse(text, { integersAsBigInt: true });
  } catch {
    return null;
  }
}
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value, (_key, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v)));

test('reads what the recipes use, as the library does', () => {
  const document = [
    '# head', 'version = 1', '', '[metrics]', 'max = 1_000_000 # note', 'name = "a b#c"', 'empty = ""', '[buckets]',
    'ns = [1, 2_000,', '  # inside', '  3,', ']', 'none = []', 'names = [ "x" , "y" ]', '[[subject]]', 'name = "one"', '[[subject]]',
    'name = "two"', 'max = 9223372036854775807', '',
  ].join('\n');
  assert.deepEqual(plain(read(document).value), plain(model(document)));
  assert.deepEqual(plain(read(document.replaceAll('\n', '\r\n')).value), plain(model(document)));
  assert.deepEqual(read('a = 18446744073709551615').value, { a: 18446744073709551615n });
  assert.deepEqual(read('').value, {});
});

test('refuses the rest with its code and line', () => {
  const bad: [string, number, number][] = [
    ['a = 1\n\n b', E.equals, 3], ['= 1', E.key, 1], ['"a" = 1', E.key, 1], ['a.b = 1', E.equals, 1], ['a 1', E.equals, 1],
    ['a =', E.value, 1], ['a = true', E.value, 1], ['a = -1', E.value, 1], ['a = +1', E.value, 1], ['a = \'x\'', E.value, 1],
    ['a = { b = 1 }', E.value, 1], ['a = 1.5', E.integer, 1], ['a = 01', E.integer, 1], ['a = 1_', E.integer, 1], ['a = 1__0', E.integer, 1],
    ['a = 0x10', E.integer, 1], ['a = 1e3', E.integer, 1], ['a = 18446744073709551616', E.range, 1], ['a = 99999999999999999999', E.range, 1],
    ['a = "x', E.string, 1], ['a = "x\ny"', E.string, 1], ['a = "\\n"', E.string, 1], ['a = "\xe9"', E.string, 1], ['a = """x"""', E.rest, 1],
    ['a = [1', E.array, 1], ['a = [1 2]', E.array, 1], ['a = [,]', E.array, 1], ['a = [1,,2]', E.array, 1], ['a = [1,\n"x"]', E.mixed, 2],
    ['a = [[1]]', E.value, 1], ['a = [true]', E.value, 1], ['a = 1 b = 2', E.rest, 1], ['a = "x" y', E.rest, 1], ['[t] x', E.rest, 1],
    ['[t', E.table, 1], ['[]', E.table, 1], ['[a.b]', E.table, 1], ['[[a]', E.table, 1], ['a = 1\na = 2', E.duplicate, 2],
    ['[t]\n[t]', E.duplicate, 2], ['[t]\n[[t]]', E.duplicate, 2], ['[[t]]\n[t]', E.duplicate, 2], ['a = 1\n[a]', E.duplicate, 2],
    ['[t]\na = 1\na = 1', E.duplicate, 3], ['a = 1\rb = 2', E.character, 1], ['# \x00', E.character, 1], ['\x00', E.key, 1],
  ];
  for (const [text, error, line] of bad) assert.deepEqual(read(text), { error, line }, JSON.stringify(text));
  assert.deepEqual(read('[t]\na = 1\n[u]\na = 1\n[[v]]\na = 1\n[[v]]\na = 1').error, undefined, 'a name may stand once in each table');
});

test('keeps its limits: bytes, names, items', () => {
  const pad = (bytes: number): string => `a = 1\n${'#'.repeat(bytes - 6)}`;
  assert.deepEqual(read(pad(BYTES_MAX)).value, { a: 1n });
  assert.equal(read(pad(BYTES_MAX + 1)).error, E.tooLong);
  const keys = (count: number): string => Array.from({ length: count }, (_, i) => `k${i} = ${i}\n`).join('');
  assert.equal(Object.keys(read(keys(NAMES_MAX)).value!).length, NAMES_MAX);
  assert.deepEqual(read(keys(NAMES_MAX + 1)), { error: E.names, line: NAMES_MAX + 1 });
  const list = (count: number): string => `a = [${Array.from({ length: count }, (_, i) => i).join(', ')}]`;
  assert.equal((read(list(ITEMS_MAX)).value!['a'] as Value[]).length, ITEMS_MAX);
  assert.equal(read(list(ITEMS_MAX + 1)).error, E.items);
});

test('whatever it takes, the library takes too and reads the same (random documents)', () => {
  const seed = 20240711;
  const random = new Random(seed);
  const next = (end: number): number => random.below(end);
  const pick = <T>(from: readonly T[]): T => random.pick(from);
  const scalars = ['0', '7', '1_000', '42', '"x"', '"a b"', '""', '01', '-1', '1_', 'true', '"\\t"', '9007199254740993'];
  const value = (): string => (next(3) === 0 ? `[${Array.from({ length: next(4) }, () => pick(scalars)).join(pick([', ', ',\n', ' ']))}${pick(['', ','])}]` : pick(scalars));
  const line = (): string => pick([
    () => `${pick(['a', 'b', 'c-d', 'e_f', '9'])} = ${value()}`, () => `[${pick(['t', 'u', 'v'])}]`, () => `[[${pick(['t', 'w'])}]]`,
    () => '# note', () => '', () => `${pick(['a', 'b'])}=${value()}${pick(['', ' # c', ' x'])}`,
  ])();
  let taken = 0;
  for (let round = 0; round < 4000; round++) {
    let text = Array.from({ length: 1 + next(6) }, line).join(pick(['\n', '\n', '\r\n']));
    if (next(4) === 0 && text.length > 0) {
      const at = next(text.length);
      text = text.slice(0, at) + pick(['[', ']', '"', '=', ',', '\n', '#', '_', '\x00', '\xff']) + text.slice(at + next(2));
    }
    const got = read(text);
    if (got.error !== undefined) {
      assert.ok(got.error >= 1 && got.error <= 15 && got.line >= 1 && got.line <= text.split('\n').length);
      continue;
    }
    taken++;
    const want = model(text);
    assert.notEqual(want, null, `seed ${seed} round ${round}: taken, but no TOML: ${JSON.stringify(text)}`);
    assert.deepEqual(plain(got.value), plain(want), `seed ${seed} round ${round}: ${JSON.stringify(text)}`);
  }
  assert.ok(taken > 300, `only ${taken} documents were taken: the generator tests nothing`);
});
