// SPDX-License-Identifier: Apache-2.0
// canary and bisect as processes, with a stand-in for QEMU: that they see a hole in the gate, a bad commit.
// That the canaries of the real image are red is shown by the real command alone.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { canaryCases } from '../../scripts/gate/canaries.js';
import { readLadder } from '../../scripts/gate/ladder.js';
import { checkout, type Checkout } from './checkout.js';
import { consoleOf, haltLine } from './transcript.js';

const good = readLadder('proof', 'modern').markers.map((marker) => marker.text);
const greenHalt = haltLine(good, 'modern', '@NONCE@');

function prepared(context: TestContext): { at: Checkout; file: (name: string, bytes: Buffer) => string; env: Record<string, string> } {
  const at = checkout(context);
  const file = (name: string, bytes: Buffer): string => {
    writeFileSync(join(at.root, name), bytes);
    return join(at.root, name);
  };
  return { at, file, env: { STAND_IN_CONSOLE: file('good.bin', consoleOf(good, greenHalt)), STAND_IN_PIDS: join(at.root, 'pids') } };
}

test('canary: red for the reason that is named; a mutant that stays green or goes red elsewhere is a hole', async (context) => {
  const { at, env, file } = prepared(context);
  const one = canaryCases().find(({ canary, profile }) => canary.expect === 'fail' && profile === 'proof')!;
  const index = good.indexOf(one.marker.text);
  const says = `SELFTEST: FAIL ${one.canary.says ?? 'it'}`;
  const run = (mutant: Buffer): ReturnType<Checkout['run']> =>
    at.run('canary', ['--only', one.canary.mutant], { ...env, STAND_IN_MUTANT_CONSOLE: file('mutant.bin', mutant) });
  const red = await run(consoleOf([...good.slice(0, index), says], null));
  assert.deepEqual([red.status, red.last], [0, 'red 1/1'], red.stdout + red.stderr);
  const green = await run(consoleOf(good, greenHalt));
  assert.deepEqual([green.status, green.last], [1, 'red 0/1']);
  assert.match(green.stdout, /stayed green/);
  const elsewhere = await run(consoleOf([...good.slice(0, index - 1), says], null));
  assert.deepEqual([elsewhere.status, elsewhere.last], [1, 'red 0/1']);
  const other = await run(consoleOf([...good.slice(0, index), 'logd: noise'], null));
  assert.match(other.stdout, /expected fail, got unexpected/);
  assert.equal((await at.run('canary', ['--only', 'no such thing'])).status, 2);
});

test('canary: a mutant image that is red without a mutant proves nothing', async (context) => {
  const { at, env, file } = prepared(context);
  const ran = await at.run('canary', ['--only', 'bring-up'], { ...env, STAND_IN_CONSOLE: file('red.bin', consoleOf(good.slice(1), null)) });
  assert.equal(ran.status, 1);
  assert.match(ran.last, /with no mutant on must pass first/);
});

/** A build that takes no time: it makes what the gate needs of an image, and fails where the tree says so. */
const TINY_BUILD = `
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
export const build = async () => 0;
if (existsSync('broken')) process.exit(1);
mkdirSync('build/image', { recursive: true });
const bundle = Buffer.alloc(96, 0xab);
bundle.write('VIGILBN1', 'latin1');
writeFileSync('build/image/kernel.elf', 'kernel');
writeFileSync('build/image/bundle.vgb', bundle);
`;

test('bisect: finds the commit after which a line no longer came, past one that does not build', async (context) => {
  const at = checkout(context);
  const git = (...args: string[]): string => {
    const ran = spawnSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], { cwd: at.root, encoding: 'utf8' });
    assert.equal(ran.status, 0, ran.stderr);
    return ran.stdout.trim();
  };
  const missing = 'init: up logd';
  writeFileSync(join(at.root, 'scripts/build.ts'), TINY_BUILD);
  writeFileSync(join(at.root, 'package-lock.json'), '{}\n');
  writeFileSync(join(at.root, '.gitignore'), 'node_modules\nbuild/\nbin/\n');
  const commit = (name: string, lines: string[]): string => {
    writeFileSync(join(at.root, 'console.bin'), consoleOf(lines, null));
    appendFileSync(join(at.root, 'note'), `${name}\n`);
    git('add', '-A');
    git('commit', '-q', '-m', name);
    return git('rev-parse', 'HEAD');
  };
  git('init', '-q', '-b', 'main');
  const first = commit('first', good);
  writeFileSync(join(at.root, 'broken'), '');
  commit('does not build', good);
  rmSync(join(at.root, 'broken'));
  commit('still good', good);
  const culprit = commit('breaks it', good.filter((text) => text !== missing));
  commit('later', good.filter((text) => text !== missing));
  const before = [git('status', '--porcelain'), git('for-each-ref'), git('rev-parse', 'HEAD')];
  const env = { STAND_IN_CONSOLE: 'console.bin', STAND_IN_WAIT_MS: '20' };
  const ran = await at.run('bisect', [first, 'HEAD', missing], env);
  assert.deepEqual([ran.status, ran.last], [0, `first bad commit ${culprit} breaks it`], ran.stdout + ran.stderr);
  assert.deepEqual([git('status', '--porcelain'), git('for-each-ref'), git('rev-parse', 'HEAD')], before);
  assert.deepEqual(readdirSync(join(at.root, 'build')).filter((name) => name.startsWith('bisect-')), []);
  const swapped = await at.run('bisect', ['HEAD', first, missing], env);
  assert.equal(swapped.status, 2);
  assert.match(swapped.stderr, /GOOD must be an ancestor of BAD/);
  const unknown = await at.run('bisect', ['nowhere', 'HEAD']);
  assert.equal(unknown.status, 2);
});
