// SPDX-License-Identifier: Apache-2.0
// scripts/test-os.ts as a process, with a stand-in where QEMU must misbehave: exit codes, last lines, evidence, signals.
// What the guest does is proved by the real boot alone; here the console is a transcript.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ledgerSchema, runSchema } from '../../scripts/gate/evidence.js';
import { lastOfPhase, readLadder } from '../../scripts/gate/ladder.js';
import { checkout, latest, type Checkout, type Ran } from './checkout.js';
import { NONCE, consoleOf, haltLine } from './transcript.js';

const ladder = readLadder('proof', 'modern');
const good = ladder.markers.map((marker) => marker.text);
const N = good.length;

/** A copy whose QEMU prints these lines. */
function prints(context: TestContext, bytes: Buffer): Checkout & { env: Record<string, string> } {
  const at = checkout(context);
  const file = join(at.root, 'console.bin');
  writeFileSync(file, bytes);
  return { ...at, env: { STAND_IN_CONSOLE: file, STAND_IN_PIDS: join(at.root, 'pids') } };
}

/** Every stand-in that was started is gone. */
function allGone(at: Checkout): void {
  for (const pid of readFileSync(join(at.root, 'pids'), 'utf8').trim().split('\n').map(Number)) {
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  }
}

const testOs = (at: Checkout, env: Record<string, string>, args: string[] = []): Promise<Ran> =>
  at.run('test-os', ['modern', '--nonce', NONCE, ...args], env);

test('a whole green console: PASS as the last line, status 0, the whole evidence', async (context) => {
  const at = prints(context, consoleOf(good));
  const ran = await testOs(at, at.env);
  assert.equal(ran.last, `PASS modern ${N}/${N} markers`, ran.stdout + ran.stderr);
  assert.equal(ran.status, 0);
  assert.equal(latest(at, 'uart.log'), [...good, haltLine(good)].map((text) => `${text}\n`).join(''));
  assert.match(latest(at, 'uart.raw.log'), /OpenSBI v1\.1/);
  const ledger = ledgerSchema.parse(JSON.parse(latest(at, 'ledger.json')));
  assert.deepEqual(ledger.markers.map(({ text, line }) => [text, line]), good.map((text, n) => [text, n + 1]));
  assert.equal(ledger.digest, /sha256=(\w+)/.exec(haltLine(good))![1]);
  assert.deepEqual([ledger.profile, ledger.nonce, ledger.result], ['modern', NONCE, 'pass']);
  const run = runSchema.parse(JSON.parse(latest(at, 'run.json')));
  assert.deepEqual([run.exit_code, run.result, run.image.bundle_identity], [0, 'pass', 'ab'.repeat(32)]);
  const append = run.qemu.argv[run.qemu.argv.indexOf('-append') + 1];
  assert.equal(append, `profile=proof nonce=${NONCE} bundle=${'ab'.repeat(32)} idle=poll`);
  assert.match(latest(at, 'junit.xml'), new RegExp(`tests="${N + 1}" failures="0" errors="0" skipped="0"`));
  allGone(at);
});

test('what the terminal loses at the end comes from the console log: the verdict is the same for every cut', async (context) => {
  const bytes = consoleOf(good);
  const at = prints(context, bytes);
  for (const kept of [0, Math.floor(bytes.length / 2)]) {
    const ran = await testOs(at, { ...at.env, STAND_IN_TERMINAL_BYTES: String(kept) });
    assert.deepEqual([ran.status, ran.last], [0, `PASS modern ${N}/${N} markers`], `${kept} bytes`);
    assert.equal(latest(at, 'uart.raw.log'), bytes.toString());
  }
});

test('RUN_UNTIL_MARKER=1 runs the whole ladder and passes', async (context) => {
  const at = prints(context, consoleOf(good));
  const ran = await testOs(at, { ...at.env, RUN_UNTIL_MARKER: '1' });
  assert.deepEqual([ran.status, ran.last], [0, `PASS modern ${N}/${N} markers`]);
});

test('a run stopped at a line ends with STOPPED and never with PASS, and QEMU is gone', async (context) => {
  const at = prints(context, consoleOf(good));
  const ran = await testOs(at, { ...at.env, RUN_UNTIL_MARKER: 'init: ready', STAND_IN_WAIT_MS: '30000' });
  assert.deepEqual([ran.status, ran.last], [0, `STOPPED at init: ready ${good.indexOf('init: ready') + 1}/${N}`]);
  assert.doesNotMatch(ran.stdout, /PASS/);
  assert.equal(JSON.parse(latest(at, 'ledger.json')).result, 'stopped');
  allGone(at);
});

test("the seed's own command stops at the end of its phase; the first stop condition met wins", async (context) => {
  const at = prints(context, consoleOf(good));
  const seed = await testOs(at, { ...at.env, RUN_PHASE: 'mmio', RUN_UNTIL_MARKER: '1', RUN_TIMEOUT: '190s' });
  const mmio = lastOfPhase(ladder, 'mmio');
  assert.deepEqual([seed.status, seed.last], [0, `STOPPED at ${good[mmio]} ${mmio + 1}/${N}`]);
  const both = await testOs(at, { ...at.env, RUN_PHASE: 'policy', RUN_UNTIL_MARKER: 'init: start' });
  assert.equal(both.last, `STOPPED at init: start 2/${N}`);
  const end = await testOs(at, { ...at.env, RUN_PHASE: 'end' });
  assert.equal(end.last, `PASS modern ${N}/${N} markers`);
});

test('a red console: status 1, the phase, what was due and came, the three commands', async (context) => {
  const at = prints(context, consoleOf(good.filter((text) => text !== 'logd: reject over_limit')));
  const ran = await testOs(at, { ...at.env, GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: join(at.root, 'summary.md') });
  const index = good.indexOf('logd: reject over_limit');
  assert.equal(ran.status, 1, ran.stdout + ran.stderr);
  assert.equal(ran.last, `FAIL modern ${index}/${N} markers`);
  assert.match(ran.stdout, /RED modern: phase logd: missing line "logd: reject over_limit"/);
  assert.match(ran.stdout, new RegExp(`reproduce: {2}just test-os modern --nonce ${NONCE}\n`));
  assert.match(ran.stdout, new RegExp(`attach gdb: just gdb modern --nonce ${NONCE}\n`));
  assert.match(ran.stdout, /bisect: {5}just bisect \S+ HEAD 'logd: reject over_limit'\n/);
  assert.match(ran.stdout, /^::error file=markers\/50-logd\.toml,title=/m);
  assert.match(readFileSync(join(at.root, 'summary.md'), 'utf8'), /\| logd \| 1\//);
  assert.match(latest(at, 'junit.xml'), /failures="1"/);
  assert.equal(runSchema.parse(JSON.parse(latest(at, 'run.json'))).exit_code, 1);
  allGone(at);
});

test('legacy labels every line that it prints', async (context) => {
  const legacy = readLadder('proof', 'legacy').markers.map((marker) => marker.text);
  const at = prints(context, consoleOf(legacy, haltLine(legacy, 'legacy')));
  const ran = await at.run('test-os', ['legacy', '--nonce', NONCE], at.env);
  assert.equal(ran.last, `PASS legacy (debug only) ${legacy.length}/${legacy.length} markers`);
  for (const line of ran.stdout.trimEnd().split('\n')) assert.match(line, /legacy \(debug only\)/);
});

test('a guest that is silent until the host limit is infrastructure: QEMU goes, even when it ignores SIGTERM', async (context) => {
  const at = prints(context, consoleOf(good.slice(0, 3), null));
  const env = { ...at.env, RUN_TIMEOUT: '600ms', STAND_IN_WAIT_MS: '60000', STAND_IN_STUBBORN: '1' };
  const ran = await testOs(at, env);
  assert.deepEqual([ran.status, ran.last], [3, `INFRA modern 3/${N} markers`]);
  assert.match(ran.stdout, /no verdict within 600 ms of host time, after "init: up policyd" \(RUN_TIMEOUT\)/);
  assert.equal(JSON.parse(latest(at, 'ledger.json')).result, 'infra');
  allGone(at);
});

test('QEMU that refuses its arguments or is killed from outside is infrastructure', async (context) => {
  const at = prints(context, Buffer.alloc(0));
  const refused = await testOs(at, { ...at.env, STAND_IN_STATUS: '1', STAND_IN_STDERR: 'qemu: no such machine' });
  assert.equal(refused.status, 3);
  assert.match(refused.stdout, /status 1 before the kernel's first line: qemu: no such machine/);
  const killed = await testOs(at, { ...at.env, STAND_IN_SIGNAL: 'SIGKILL', STAND_IN_WAIT_MS: '100' });
  assert.equal(killed.status, 3);
  assert.match(killed.stdout, /QEMU was ended by signal 9 before the first marker/);
});

test('QEMU killed in the middle of a line is infrastructure; a guest that ends there by itself fails', async (context) => {
  const torn = Buffer.concat([consoleOf(good.slice(0, 3), null), Buffer.from('[00001.0')]);
  const at = prints(context, torn);
  const killed = await testOs(at, { ...at.env, STAND_IN_SIGNAL: 'SIGKILL' });
  assert.deepEqual([killed.status, killed.last], [3, `INFRA modern 3/${N} markers`], killed.stdout);
  const told = await testOs(at, { ...at.env, STAND_IN_STDERR: 'qemu: terminating on signal 15 from pid 1 (init)' });
  assert.equal(told.status, 3);
  assert.match(told.stdout, /QEMU was ended by signal 15 after/);
  assert.equal((await testOs(at, at.env)).status, 1);
});

test('a guest that powers off with another status than 0 fails, although every line came', async (context) => {
  const at = prints(context, consoleOf(good));
  const ran = await testOs(at, { ...at.env, STAND_IN_STATUS: '5' });
  assert.equal(ran.status, 1);
  assert.match(ran.stdout, /powered off with status 5 instead of 0/);
});

test('an interrupt ends QEMU and the run, status 3', async (context) => {
  const at = prints(context, consoleOf(good.slice(0, 3), null));
  const ran = await at.run('test-os', ['--nonce', NONCE], { ...at.env, STAND_IN_WAIT_MS: '60000' }, (pid) => {
    const poll = setInterval(() => {
      try {
        readFileSync(join(at.root, 'pids'));
      } catch {
        return;
      }
      clearInterval(poll);
      setTimeout(() => process.kill(pid, 'SIGINT'), 300);
    }, 50);
  });
  assert.equal(ran.status, 3);
  assert.match(ran.stdout, /interrupted/);
  allGone(at);
});

test('missing QEMU, a QEMU too old, a missing image: status 3 and one line that says what to do', async (context) => {
  const at = checkout(context);
  const nowhere = await at.run('test-os', [], { PATH: join(at.root, 'nowhere') });
  assert.equal(nowhere.status, 3);
  assert.match(nowhere.stderr, /^test-os: qemu-system-riscv64 is missing; install it with: .*\n$/m);
  const old = await at.run('test-os', [], { STAND_IN_VERSION: 'QEMU emulator version 6.2.0' });
  assert.equal(old.status, 3);
  assert.match(old.stderr, /QEMU 6\.2\.0 is older than 7\.2/);
  const bare = await checkout(context, { image: false }).run('test-os', []);
  assert.equal(bare.status, 3);
  assert.match(bare.stderr, /kernel\.elf is missing; run: /);
});

test('a full disk is infrastructure: status 3, one line, QEMU gone', async (context) => {
  const at = prints(context, consoleOf(good));
  const ran = await testOs(at, { ...at.env, STAND_IN_DISK_FULL: '1', STAND_IN_WAIT_MS: '30000' });
  assert.equal(ran.status, 3);
  assert.match(ran.stderr, /^test-os: the disk is full; .*\n$/);
  allGone(at);
});

test('usage: status 2 and nothing is booted', async (context) => {
  const at = checkout(context);
  const cases: [string[], Record<string, string>, RegExp][] = [
    [['sideways'], {}, /unknown transport "sideways"/],
    [['--profile', 'nothing'], {}, /unknown profile "nothing"/],
    [['--mutant', 'no_such_mutant'], {}, /names a mutant "no_such_mutant"/],
    [['--bogus'], {}, /unknown option/],
    [[], { RUN_PHASE: 'warmup' }, /RUN_PHASE="warmup" is unknown/],
    [['legacy'], { QEMU_FORCE_LEGACY: '0' }, /contradicts the legacy gate profile/],
  ];
  const runs = await Promise.all(cases.map(([args, env]) => at.run('test-os', args, env)));
  runs.forEach((ran, index) => {
    assert.equal(ran.status, 2, `${cases[index]![0].join(' ')}: ${ran.stdout}${ran.stderr}`);
    assert.match(ran.stderr, cases[index]![2]);
  });
  assert.throws(() => readdirSync(join(at.root, 'build/logs')));
});

test('runs in parallel have folders of their own, and latest is one of them', async (context) => {
  const at = prints(context, consoleOf(good));
  const runs = await Promise.all([1, 2].map(() => testOs(at, { ...at.env, STAND_IN_WAIT_MS: '200' })));
  assert.deepEqual(runs.map((ran) => ran.status), [0, 0]);
  const folders = readdirSync(join(at.root, 'build/logs')).filter((name) => name !== 'latest');
  assert.equal(folders.length, 2);
  assert.ok(folders.every((name) => /^\d{8}T\d{9}Z-modern-\d+$/.test(name)), folders.join(' '));
  assert.equal(JSON.parse(latest(at, 'run.json')).result, 'pass');
});
