// SPDX-License-Identifier: Apache-2.0
// The console's rules, the bundle and boot-argument calls, SHA-256 and FNV-1a, and the orderly end with its count and digest.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, test } from 'node:test';
import { fnv1a64, limit } from '../../scripts/lib/abi.js';
import { E, Halted, idleImports, loadKernel, type Kernel } from './machine.js';
import { abi } from './modules.js';
import { Random } from '../random.js';
import { search } from './random.js';
import { FLAG, OUT, World } from './world.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });
const MAX = limit(abi, 'kernel', 'line_bytes_max');

function line(w: World, text: string | Uint8Array): bigint {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
  w.machine.poke(w.runs, OUT, bytes);
  return w.machine.sys('console_line', OUT, bytes.length)!;
}

test('a line is written whole, with guest time in front, or not at all', () => {
  const w = new World(kernel, 1);
  w.machine.time = 123_456_789n;
  const before = w.machine.console.length;
  assert.equal(line(w, 's1: hello'), 0n);
  assert.equal(w.machine.console.slice(before), '[00012.345678900] s1: hello\n');
  const after = w.machine.console.length;
  const bad = ['', 's1', 's1:\n', 's1: \x1f', 's1: \x7f', 's1: \x80', 's1: \xff', `s1:${'x'.repeat(MAX - 2)}`, 's1: \t', 's1: \0'];
  for (const text of bad) assert.ok(line(w, text) < 0n, JSON.stringify(text));
  assert.equal(w.machine.console.length, after, 'a refused line leaves nothing');
  assert.equal(line(w, ''), E['bad_argument']);
  assert.equal(line(w, `s1:${'x'.repeat(MAX - 2)}`), E['bad_argument'], 'one byte too many');
  assert.equal(line(w, `s1:${'x'.repeat(MAX - 3)}`), 0n, 'the longest line');
  assert.equal(w.machine.lines.at(-1)!.length, MAX);
  assert.equal(line(w, 's1:'), 0n, 'the shortest');
});

test('nobody writes in another\'s name', () => {
  const w = new World(kernel, 2, { entries: { 1: { console: '' }, 2: { console: 'child' } } });
  w.run(1);
  for (const text of ['s2: x', 's1x: x', 's: x', ' s1: x', 's1 : x', 'S1: x', 'kernel: x', 'init-lite: x', ': x', 's1', 'x s1: y', 's1;: x']) {
    assert.equal(line(w, text), E['denied'], text);
  }
  assert.equal(line(w, 's1: kernel: trap s2 oob_read'), 0n, 'what follows the name is free');
  w.run(2);
  assert.equal(line(w, 's2: x'), E['denied'], 'a console name takes the place of the service\'s');
  assert.equal(line(w, 'child: x'), 0n);
});

test('the last line counts and digests every line before it, and the power goes off with the code', () => {
  const w = new World(kernel, 1, { bootargs: 'nonce=00112233445566ff' });
  for (let n = 0; n < 50; n++) line(w, `s1: ${'y'.repeat(n)}`);
  w.machine.sys('trap', 8, 0);
  const all = w.machine.lines;
  const digest = createHash('sha256').update(all.map((text) => `${text}\n`).join('')).digest('hex');
  assert.equal(w.runs, 0);
  assert.throws(() => w.machine.sys('shutdown', 7), (error) => error instanceof Halted && error.code === 7);
  assert.equal(w.machine.lines.at(-1), `kernel: halt transport=modern nonce=00112233445566ff lines=${all.length} sha256=${digest}`);
  for (const [code, status] of [[0, 0], [255, 255], [256, 255], [65_536, 255], [0xffff_ffff, 255]] as const) {
    const last = new World(kernel, 1);
    assert.throws(() => last.run(0).machine.sys('shutdown', code), (error) => error instanceof Halted && error.code === status, `code ${code}`);
  }
  const other = new World(kernel, 1);
  assert.equal(other.machine.sys('shutdown', 0), E['denied'], 'only with the privilege');
});

test('lines of many callers in any order: each whole, each caller\'s in order, count and digest those of what came out', () => {
  let lines = 0;
  const done = search(200, 5, (random) => {
    const callers = 1 + random.below(7);
    const w = new World(kernel, callers);
    const before = w.machine.lines.length;
    const said: string[] = [];
    for (let step = 0; step < 120; step++) {
      const who = 1 + random.below(callers);
      w.run(who);
      for (let burst = 1 + random.below(3); burst > 0 && w.runs === who; burst--) {
        const longest = MAX - `s${who}: ${said.length} `.length;
        const room = random.chance(10) ? longest : random.below(longest + 1);
        const text = `s${who}: ${said.length} ${Array.from({ length: room }, () => String.fromCharCode(0x20 + random.below(0x5f))).join('')}`;
        const size = w.machine.console.length;
        if (random.chance(20)) {
          const at = random.below(text.length);
          const torn = random.pick([`s${who % 7 + 1}${text.slice(2)}`.replace(`s${who}:`, 'kernel:'), `${text.slice(0, at)}\n${text.slice(at)}`, text.padEnd(MAX + 1, 'x')]);
          assert.ok(line(w, torn) < 0n, JSON.stringify(torn));
          assert.equal(w.machine.console.length, size, 'a refused line leaves nothing');
        } else {
          assert.equal(line(w, text), 0n);
          assert.equal(w.machine.console.length, size + '[00000.000000000] \n'.length + text.length, 'whole when the call returns');
          said.push(text);
        }
        w.machine.pass(random.below(random.chance(20) ? 200_000 : 100)); // a time slice may end between two lines
      }
    }
    const all = w.machine.lines;
    assert.ok(w.machine.console.split('\n').slice(0, -1).every((text) => /^\[\d{5}\.\d{9}\] [\x20-\x7e]+$/.test(text)));
    assert.deepEqual(all.slice(before), said);
    for (let who = 1; who <= callers; who++) {
      const own = all.filter((text) => text.startsWith(`s${who}: `)).map((text) => Number(text.split(' ')[1]));
      assert.ok(own.every((number, n) => n === 0 || number > own[n - 1]!), `s${who}`);
    }
    const digest = createHash('sha256').update(all.map((text) => `${text}\n`).join('')).digest('hex');
    assert.throws(() => w.run(0).machine.sys('shutdown', 0), Halted);
    assert.equal(w.machine.lines.length, all.length + 1);
    assert.ok(w.machine.lines.at(-1)!.endsWith(` lines=${all.length} sha256=${digest}`), w.machine.lines.at(-1)!);
    lines += said.length;
  }, 1500);
  assert.ok(done >= 5 && lines > 100 * done, `${done} seeds, ${lines} lines`);
});

test('bundle calls need the privilege and stay inside their entry', () => {
  const content = Buffer.from('0123456789');
  const files = [{ name: 'recipes/a.toml', bytes: content }, { name: 'recipes/b.toml', bytes: Buffer.alloc(0) }];
  const w = new World(kernel, 1, { files, entries: { 1: { flags: FLAG.bundle | FLAG.fixture } } });
  const find = (kind: number, name: string): bigint => {
    w.machine.poke(1, OUT, Buffer.from(name));
    return w.machine.sys('bundle_find', kind, OUT, name.length)!;
  };
  assert.deepEqual(['init-lite', 's1', 's', 's11', 'init-lit', 'x'.repeat(32), 'x'.repeat(64)].map((name) => find(0, name)), [0n, 1n, ...new Array(5).fill(E['not_found'])]);
  assert.deepEqual(['recipes/a.toml', 'recipes/b.toml', 'recipes/', 'a.toml'].map((name) => find(1, name)), [0n, 1n, E['not_found'], E['not_found']]);
  assert.equal(find(2, 'x'), E['bad_argument']);
  assert.equal(find(0, ''), E['bad_argument']);
  assert.equal(find(0, 'x'.repeat(65)), E['bad_argument']);
  const read = (kind: number, index: number, offset: number, bytes: number): bigint => w.machine.sys('bundle_read', kind, index, offset, 0x2000, bytes)!;
  for (const [offset, bytes, wanted] of [[0, 100, 10], [3, 4, 4], [9, 5, 1], [10, 5, 0], [11, 5, 0], [0xffff_ffff, 5, 0], [0, 0, 0]] as const) {
    w.machine.poke(1, 0x2000, Buffer.alloc(32, 0x2e));
    assert.equal(read(1, 0, offset, bytes), BigInt(wanted), `${bytes} at ${offset}`);
    assert.equal(w.machine.peek(1, 0x2000, 32).toString(), `${content.toString().slice(offset, offset + wanted)}`.padEnd(32, '.'));
  }
  assert.equal(read(1, 2, 0, 5), E['not_found']);
  assert.equal(read(0, 2, 0, 5), E['not_found']);
  assert.equal(read(2, 0, 0, 5), E['bad_argument']);
  assert.equal(w.machine.sys('bundle_stat', 0, 1, 0x3000, 256), 256n);
  assert.equal(w.machine.peek(1, 0x3000, 3).toString(), 's1\0');
  assert.equal(w.machine.sys('bundle_stat', 1, 0, 0x3000, 128), 128n);
  assert.equal(w.machine.peek(1, 0x3000, 14).toString(), 'recipes/a.toml');
  assert.equal(w.machine.sys('bundle_stat', 0, 1, 0x3000, 255), E['bad_argument']);
  assert.equal(w.machine.sys('bundle_stat', 1, 2, 0x3000, 256), E['not_found']);
  const plain = new World(kernel, 1, { files });
  for (const name of ['bundle_find', 'bundle_stat', 'bundle_read']) assert.equal(plain.machine.sys(name, 0, 0, 0, 0, 0), E['denied'], name);
});

test('a boot argument is found by its whole key and fits or is refused', () => {
  const w = new World(kernel, 1, { bootargs: 'profile=proof empty= recipe=gpu profile=second' });
  const arg = (key: string, cap: number): bigint | string => {
    w.machine.poke(1, OUT, Buffer.from(key));
    const result = w.machine.sys('boot_arg', OUT, key.length, 0x2000, cap)!;
    return result < 0n ? result : w.machine.peek(1, 0x2000, Number(result)).toString();
  };
  assert.equal(arg('profile', 32), 'proof', 'the first of two');
  assert.equal(arg('recipe', 3), 'gpu');
  assert.equal(arg('recipe', 2), E['too_large']);
  assert.equal(arg('empty', 0), '');
  for (const key of ['prof', 'rofile', 'x', '', 'profile=proof', 'k'.repeat(65)]) assert.equal(arg(key, 32), E['not_found'], key);
});

interface Pure { memory: WebAssembly.Memory; sha256(at: number, bytes: number, digest: number): void; fnv1a(at: number, max: number): bigint }
const AT = 0x300000;

test('SHA-256 agrees with the reference at every length up to 300 and at large ones', () => {
  const pure = new WebAssembly.Instance(kernel.guest, idleImports(kernel.guest)).exports as unknown as Pure;
  const memory = Buffer.from(pure.memory.buffer);
  const random = new Random(7);
  for (const bytes of [...Array.from({ length: 301 }, (_, i) => i), 4096, 65_535, 65_536, 1_048_577]) {
    for (let i = 0; i < Math.min(bytes, 600); i++) memory[AT + i] = random.below(256);
    const at = AT + (bytes % 4); // at every alignment
    pure.sha256(at, bytes, 0x200);
    assert.equal(memory.toString('hex', 0x200, 0x220), createHash('sha256').update(memory.subarray(at, at + bytes)).digest('hex'), `${bytes} bytes`);
  }
});

test('FNV-1a agrees with the one that names services', () => {
  const pure = new WebAssembly.Instance(kernel.guest, idleImports(kernel.guest)).exports as unknown as Pure;
  const memory = Buffer.from(pure.memory.buffer);
  for (const name of ['', 'a', 'init-lite', 'selftest', 'x'.repeat(31), '\x7f~!']) {
    memory.fill(0, AT, AT + 64);
    memory.write(name, AT, 'latin1');
    assert.equal(BigInt.asUintN(64, pure.fnv1a(AT, 32)), fnv1a64(name));
  }
});
