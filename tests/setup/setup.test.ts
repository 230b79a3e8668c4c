// SPDX-License-Identifier: Apache-2.0
// The set-up as a process on stand-in machines: each way it can fail is one line with what to do, and its exit code.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Machine } from './machine.js';

const A = { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' } };
const APT_CACHE = 'echo "$2:"; echo "  Candidate: 1.0"';

/** A machine that has everything but these programs, with an apt-get that behaves as `apt` says. */
function machineWithout(names: string[], apt: string): Machine {
  const machine = new Machine();
  machine.complete();
  machine.remove(...names);
  machine.program('apt-cache', APT_CACHE);
  machine.program('apt-get', apt);
  return machine;
}

/** Runs set-up; it must say exactly one error line (progress lines aside) and end with `code`. */
function failsWith(machine: Machine, code: number, line: RegExp, options: { unprivileged?: boolean } = {}): void {
  try {
    const outcome = machine.run('setup.mjs', [], options);
    const lines = outcome.stderr.split('\n').filter((text) => text !== '' && !/\.\.\. \d+ s$/.test(text));
    assert.equal(lines.length, 1, outcome.stderr);
    assert.match(lines[0] ?? '', line);
    assert.equal(outcome.code, code);
  } finally {
    machine.dispose();
  }
}

test('says and does nothing when nothing is missing', () => {
  const machine = new Machine();
  machine.complete();
  const outcome = machine.run('setup.mjs', ['--test']);
  assert.deepEqual(outcome, { code: 0, stderr: '', stdout: '' });
  assert.equal(existsSync(machine.file('build')), false);
  machine.dispose();
});

test('installs exactly what is missing, without recommended packages, then is silent', () => {
  const apt = 'echo "$@" >> $CHECKOUT/apt-calls; printf "#!/bin/sh\\n" > $BIN/riscv64-unknown-elf-gcc; /bin/chmod +x $BIN/*';
  const machine = machineWithout(['riscv64-unknown-elf-gcc'], apt);
  assert.equal(machine.run('setup.mjs').code, 0);
  const calls = readFileSync(machine.file('apt-calls'), 'utf8').trim().split('\n');
  assert.equal(calls.length, 1);
  assert.match(calls[0] ?? '', /^install -y --no-install-recommends gcc-riscv64-unknown-elf -o DPkg::Lock::Timeout=60$/);
  assert.equal(machine.run('setup.mjs').stderr, '');
  machine.dispose();
});

test('fetches fresh package lists once when the first install cannot find its files', () => {
  const apt = `case "$1" in
    update) : > $CHECKOUT/updated ;;
    install) if [ -e $CHECKOUT/updated ]; then printf "#!/bin/sh\\n" > $BIN/git; /bin/chmod +x $BIN/git
             else echo "E: Failed to fetch x  404  Not Found"; exit 100; fi ;;
    esac`;
  const machine = machineWithout(['git'], apt);
  assert.equal(machine.run('setup.mjs', ['--test']).code, 0);
  machine.dispose();
});

test('with CI=true the peers of tests are unpacked below build, nothing is installed, and a failure is one line that stops nothing', () => {
  const machine = new Machine();
  machine.complete();
  machine.program('google-chrome');
  machine.program('apt-get', 'echo "$@" >> $CHECKOUT/apt-calls; : > prometheus_2.42.0_amd64.deb');
  machine.program('dpkg-deb', `[ "$1 $2" = "-x prometheus_2.42.0_amd64.deb" ] || exit 9; /bin/mkdir -p "$3/usr/bin"
    for p in prometheus promtool; do printf "#!/bin/sh\\n" > "$3/usr/bin/$p"; /bin/chmod +x "$3/usr/bin/$p"; done`);
  assert.deepEqual(machine.run('setup.mjs', ['--test']), { code: 0, stderr: '', stdout: '' });
  const outcome = machine.run('setup.mjs', ['--test'], { env: { CI: 'true' } });
  assert.equal(outcome.code, 0, outcome.stderr);
  assert.match(outcome.stderr, /setup: done\n$/);
  assert.equal(readFileSync(machine.file('apt-calls'), 'utf8'), 'download prometheus\n');
  assert.ok(existsSync(machine.file('build/peers/usr/bin/promtool')));
  assert.ok(!existsSync(machine.file('build/peers/prometheus_2.42.0_amd64.deb')));
  assert.equal(machine.run('setup.mjs', ['--test'], { env: { CI: 'true' } }).stderr, '', 'once is enough');
  rmSync(machine.file('build/peers'), { recursive: true });
  machine.program('apt-get', 'echo "E: no network"; exit 100');
  const without = machine.run('setup.mjs', ['--test'], { env: { CI: 'true' } });
  assert.equal(without.code, 0);
  assert.match(without.stderr, /^setup: no Prometheus \(apt-get download prometheus failed\): tests against Prometheus are skipped by name$/m);
  machine.dispose();
});

test('with CI=true a browser is installed where none is, and a failure is one line that stops nothing', () => {
  const machine = new Machine();
  machine.complete();
  for (const name of ['prometheus', 'promtool']) machine.program(name);
  machine.program('sudo', 'exit 1');
  machine.program('apt-cache', 'echo "  Candidate: 1.0"');
  machine.program('apt-get', 'echo "E: no network"; exit 100');
  const without = machine.run('setup.mjs', ['--test'], { env: { CI: 'true' } });
  assert.equal(without.code, 0, without.stderr);
  assert.match(without.stderr, /^setup: no Chromium \(.+\): tests of the page in a browser are skipped by name\nsetup: done\n$/m);
  if (process.getuid?.() === 0) {
    machine.program('apt-get', 'echo "$@" >> $CHECKOUT/apt-calls; printf "#!/bin/sh\\n" > $BIN/chromium; /bin/chmod +x $BIN/chromium');
    assert.match(machine.run('setup.mjs', ['--test'], { env: { CI: 'true' } }).stderr, /^setup: done\n$/m);
    assert.match(readFileSync(machine.file('apt-calls'), 'utf8'), /^install -y --no-install-recommends chromium /);
  }
  machine.program('chromium');
  assert.equal(machine.run('setup.mjs', ['--test'], { env: { CI: 'true' } }).stderr, '', 'once is enough');
  machine.dispose();
});

test('runs npm ci when the lock changed, with the compilers that node-pty needs', () => {
  const machine = new Machine();
  machine.complete();
  machine.lock({ 'node_modules/a': { version: '2.0.0', integrity: 'sha512-b' } });
  machine.program('npm', `echo "$@" > $CHECKOUT/npm-calls`);
  assert.equal(machine.run('setup.mjs').code, 0);
  assert.match(readFileSync(machine.file('npm-calls'), 'utf8'), /^ci /);
  machine.dispose();
});

test('apt locked', () => {
  const apt = 'echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1"; exit 100';
  failsWith(machineWithout(['qemu-system-riscv64'], apt), 3, /^setup: another apt-get is running: wait /);
});

test('no network to the archive', () => {
  const apt = 'echo "E: Failed to fetch  Temporary failure resolving"; exit 100';
  failsWith(machineWithout(['qemu-system-riscv64'], apt), 3, /^setup: no network to the package archive: connect/);
});

test('disk full during apt', () => {
  const apt = 'echo "E: You don\'t have enough free space in /var/cache/apt/archives/."; exit 100';
  failsWith(machineWithout(['riscv64-unknown-elf-gcc'], apt), 3, /^setup: the disk is full: free /);
});

test('apt succeeds but the program is still missing', () => {
  failsWith(machineWithout(['qemu-system-riscv64'], 'exit 0'), 3, /^setup: QEMU for RISC-V is still missing: /);
});

test('no permission: not root, no sudo', () => {
  const machine = machineWithout(['qemu-system-riscv64'], 'exit 0');
  failsWith(machine, 3, /^setup: no permission to install packages: run `sudo apt-get install .*qemu-system-misc`/, {
    unprivileged: true,
  });
});

test('no permission: sudo wants a password', () => {
  const machine = machineWithout(['qemu-system-riscv64'], 'exit 0');
  machine.program('sudo', 'echo "sudo: a password is required" >&2; exit 1');
  failsWith(machine, 3, /^setup: no permission to install packages: run `sudo apt-get install /, { unprivileged: true });
});

test('no apt-get: names the programs', () => {
  const machine = machineWithout(['qemu-system-riscv64'], 'exit 0');
  machine.remove('apt-get');
  failsWith(machine, 3, /^setup: missing qemu-system-riscv64.* no apt-get: install them with your own package manager$/);
});

for (const [name, said, line] of [
  ['network', 'npm error code ENOTFOUND', /^setup: no network to the npm registry: connect/],
  ['disk', 'npm error code ENOSPC', /^setup: the disk is full: free /],
  ['owner', 'npm error code EACCES', /^setup: npm may not write here: /],
  ['lock', 'npm error `npm ci` can only install packages when they are in sync.', /^setup: package.json and package-lock/],
  ['compiler', 'gyp ERR! build error', /^setup: node-pty did not compile: /],
] as const) {
  test(`npm ci fails: ${name}`, () => {
    const machine = new Machine();
    machine.complete();
    machine.lock({ ...A, 'node_modules/b': { version: '1.0.0' } });
    machine.program('npm', `echo '${said}' >&2; exit 1`);
    failsWith(machine, 3, line);
  });
}

test('npm that skips install scripts is noticed', () => {
  const machine = new Machine();
  for (const name of ['qemu-system-riscv64', 'riscv64-unknown-elf-gcc', 'python3', 'make', 'g++']) machine.program(name);
  mkdirSync(`${machine.root}/share/qemu`, { recursive: true });
  writeFileSync(`${machine.root}/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin`, '');
  machine.program('npm', 'exit 0');
  failsWith(machine, 3, /^setup: npm skipped node-pty's install script: run /);
});

test('wrong usage is exit code 2', () => {
  const machine = new Machine();
  assert.equal(machine.run('setup.mjs', ['--frobnicate']).code, 2);
  assert.equal(machine.run('doctor.mjs', ['--frobnicate']).code, 2);
  assert.equal(machine.run('clean.mjs', ['all']).code, 2);
  machine.dispose();
});

test('takes over from a set-up that died', () => {
  const machine = machineWithout(['git'], 'printf "#!/bin/sh\\n" > $BIN/git; /bin/chmod +x $BIN/git');
  mkdirSync(machine.file('build'));
  writeFileSync(machine.file('build/setup.lock'), '999999999');
  assert.equal(machine.run('setup.mjs', ['--test']).code, 0);
  assert.equal(existsSync(machine.file('build/setup.lock')), false);
  machine.remove('git');
  writeFileSync(machine.file('build/setup.lock'), ''); // killed between making the file and writing its name
  utimesSync(machine.file('build/setup.lock'), 0, 0);
  assert.equal(machine.run('setup.mjs', ['--test']).code, 0);
  machine.dispose();
});

for (const part of ['node_modules/a', 'node_modules/.bin']) {
  test(`doctor sees that ${part} was deleted, whatever npm's record says`, () => {
    const machine = new Machine();
    machine.complete();
    machine.program('npm');
    rmSync(machine.file(part), { recursive: true });
    const outcome = machine.run('doctor.mjs');
    assert.equal(outcome.code, 3);
    assert.match(outcome.stdout, new RegExp(`MISSING +node_modules +${part.replace('.', '\\.')} is not there\n +-> npm ci`));
    machine.dispose();
  });
}

test('doctor: all well, then a missing compiler with the command that mends it', () => {
  const machine = new Machine();
  machine.complete();
  machine.program('npm');
  assert.equal(machine.run('doctor.mjs').code, 0);
  machine.remove('riscv64-unknown-elf-gcc');
  const outcome = machine.run('doctor.mjs', ['--json']);
  assert.equal(outcome.code, 3);
  const report = JSON.parse(outcome.stdout) as { ok: boolean; checks: { name: string; ok: boolean; mend: string }[] };
  assert.equal(report.ok, false);
  const gcc = report.checks.find((check) => check.name === 'RISC-V GCC');
  assert.equal(gcc?.ok, false);
  assert.match(gcc?.mend ?? '', /apt-get install .* gcc-riscv64-unknown-elf$/);
  machine.dispose();
});

test('clean removes what was written and keeps node_modules', () => {
  const machine = new Machine();
  machine.complete();
  mkdirSync(machine.file('build/image'), { recursive: true });
  assert.match(machine.run('clean.mjs').stdout, /removed build/);
  assert.equal(existsSync(machine.file('build')), false);
  assert.equal(existsSync(machine.file('node_modules')), true);
  machine.dispose();
});

test('clean waits for the living: a build or set-up that runs keeps its files, the lock of a dead one does not', () => {
  const machine = new Machine();
  machine.complete();
  mkdirSync(machine.file('build'));
  for (const lock of ['build/lock', 'build/setup.lock']) {
    writeFileSync(machine.file(lock), String(process.pid));
    const refused = machine.run('clean.mjs');
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, new RegExp(`^clean: a (build|set-up) is running here \\(${lock}\\)`));
    for (const dead of ['999999999', '', 'x']) writeFileSync(machine.file(lock), dead);
  }
  assert.equal(machine.run('clean.mjs').code, 0);
  assert.equal(existsSync(machine.file('build')), false);
  machine.dispose();
});
