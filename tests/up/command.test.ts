// SPDX-License-Identifier: Apache-2.0
// `vigil up` as a process, with the real QEMU: each signal ends it in order and soon, and leaves nothing; killed, it takes QEMU along;
// what a person can get wrong is said in one line with its exit code.
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { childrenOf, makeDir, skip, until } from './machine-under-test.js';

const LIMIT_MS = 120_000;
const ENDS_MS = 2_500;
const VIGIL = ['--import', 'tsx', join(ROOT, 'scripts/vigil.ts')];

interface Up { child: ChildProcess; dir: string; out: () => string; err: () => string; ended: Promise<number | string> }

/** The private folder is below `dir`, so that what is left in it shows. */
function start(dir: string, args: string[], config = ''): Up {
  mkdirSync(join(dir, 'tmp'), { recursive: true });
  writeFileSync(join(dir, 'vigil.toml'), `[source]\nkind = "replay"\n[exporters.prometheus]\nlisten = "127.0.0.1:0"\n[guest]\nstate = "${dir}/state.img"\n${config}`);
  const { NODE_TEST_CONTEXT: _nested, VIGIL_STATE: _state, ...env } = process.env;
  const child = spawn(process.execPath, [...VIGIL, 'up', '--config', join(dir, 'vigil.toml'), ...args], {
    cwd: ROOT, env: { ...env, TMPDIR: join(dir, 'tmp') }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { out: '', err: '' };
  child.stdout!.on('data', (bytes: Buffer) => { text.out += bytes.toString(); });
  child.stderr!.on('data', (bytes: Buffer) => { text.err += bytes.toString(); });
  const ended = new Promise<number | string>((resolve) => { child.once('close', (code, signal) => { resolve(code ?? signal ?? ''); }); });
  return { child, dir, out: () => text.out, err: () => text.err, ended };
}

const qemuOf = (up: Up): Promise<number> => until('a guest that is up', () => {
  if (up.child.exitCode !== null) throw new Error(up.out() + up.err());
  const match = /guest: up after .*QEMU is process (\d+)/.exec(up.out());
  return match === null ? null : Number(match[1]);
});

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
};

/** No process, no private folder, no socket, no lock, no run file: the disk and nothing else. */
function nothingLeft(up: Up, pids: readonly number[]): void {
  assert.deepEqual(pids.filter((pid) => !isGone(pid)), [], 'processes');
  assert.deepEqual(readdirSync(join(up.dir, 'tmp')).filter((name) => name.startsWith('vigil-')), [], 'private folders');
  assert.deepEqual(readdirSync(up.dir).sort(), ['state.img', 'tmp', 'vigil.toml']);
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  test(`${signal}: ends in order, soon, with nothing left behind`, { skip, timeout: LIMIT_MS }, async () => {
    const dir = makeDir();
    const up = start(dir, ['--plain']);
    try {
      const qemu = await qemuOf(up);
      const pids = [qemu, ...childrenOf(up.child.pid!)];
      assert.ok(pids.length > 1 && existsSync(join(dir, 'run.json')));
      const from = performance.now();
      up.child.kill(signal);
      assert.equal(await up.ended, 0, up.err());
      assert.ok(performance.now() - from < ENDS_MS, `${performance.now() - from} ms`);
      assert.match(up.out(), /stopping\n$/);
      nothingLeft(up, pids);
    } finally {
      up.child.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    }
  });
}

test('SIGTERM while QEMU is stopped: as soon', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const up = start(dir, ['--plain']);
  try {
    const qemu = await qemuOf(up);
    process.kill(qemu, 'SIGSTOP');
    const from = performance.now();
    up.child.kill('SIGTERM');
    assert.equal(await up.ended, 0, up.err());
    assert.ok(performance.now() - from < ENDS_MS, `${performance.now() - from} ms`);
    nothingLeft(up, [qemu]);
  } finally {
    up.child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
});

test('kill -9: QEMU goes with it, and the next one starts on the same disk', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const up = start(dir, ['--plain']);
  let next: Up | null = null;
  try {
    const qemu = await qemuOf(up);
    up.child.kill('SIGKILL');
    assert.equal(await up.ended, 'SIGKILL');
    await until('the end of QEMU', () => (isGone(qemu) ? true : null), 5_000);
    next = start(dir, ['--plain']);
    await qemuOf(next);
    next.child.kill('SIGTERM');
    assert.equal(await next.ended, 0, next.err());
  } finally {
    for (const each of [up, next]) each?.child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a reader that leaves ends it in order', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const up = start(dir, ['--plain', '--json']);
  try {
    const qemu = await until('the pid', () => {
      const line = up.out().split('\n').find((each) => each.includes('"event":"up"'));
      return line === undefined ? null : Number(/process (\d+)/.exec(line)?.[1]);
    });
    up.child.stdout!.destroy();
    process.kill(qemu, 'SIGKILL'); // something to say
    assert.equal(await up.ended, 0, up.err());
  } finally {
    up.child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
});

test('what a person gets wrong is one line and an exit code', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const { NODE_TEST_CONTEXT: _nested, ...env } = process.env;
  const run = (args: string[], more: Record<string, string> = {}): { status: number | null; stderr: string } =>
    spawnSync(process.execPath, [...VIGIL, 'up', ...args], {
      cwd: ROOT, encoding: 'utf8', timeout: 60_000, env: { ...env, VIGIL_STATE: join(dir, 'state.img'), TMPDIR: dir, ...more },
    });
  writeFileSync(join(dir, 'other.json'), '{}');
  writeFileSync(join(dir, 'no-capture.toml'), `[source]\nkind = "replay"\ncapture = "${dir}/other.json"\n`);
  try {
    const cases: [string[], number, RegExp, Record<string, string>?][] = [
      [['--source', 'real'], 2, /'real' is invalid/],
      [['--fleet', 'h100x8', '--source', 'dcgm'], 2, /--fleet and --scenario are of a replay/],
      [['--listen', 'nowhere'], 2, /--listen: "nowhere" is not host:port/],
      [['--listen', `127.0.0.1:${port}`], 3, new RegExp(`127\\.0\\.0\\.1:${port} is in use`)],
      [['--config', join(dir, 'missing.toml')], 3, /missing\.toml: no such file/],
      [['--config', join(dir, 'no-capture.toml')], 1, /source\.capture: .*schema is not vigil-gpu-capture-1/],
      [['--fields', join(dir, 'missing.csv')], 1, /receivers\.dcgm\.fields_file: .*missing\.csv/],
      [['--listen', '127.0.0.1:0'], 2, /OTEL_EXPORTER_OTLP_TIMEOUT: "soon"/, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318', OTEL_EXPORTER_OTLP_TIMEOUT: 'soon' }],
      [['--listen', '127.0.0.1:0'], 3, /qemu-system-riscv64 is missing; install it with/, { PATH: dir }],
    ];
    for (const [args, status, says, more] of cases) {
      const got = run(args, more);
      assert.equal(got.status, status, `${args.join(' ')}: ${got.stderr}`);
      assert.match(got.stderr, says);
      assert.equal(got.stderr.trim().split('\n').filter((line) => !line.startsWith('  ')).length, 1, got.stderr);
    }
    assert.deepEqual(readdirSync(dir).filter((name) => name.startsWith('vigil-') || name.endsWith('.lock')), [], 'nothing is left');
  } finally {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test('QEMU that refuses its first boot ends the command with what it said', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const bin = join(dir, 'bin');
  mkdirSync(bin);
  const script = '#!/bin/sh\ncase "$1" in --version) echo "QEMU emulator version 7.2.22 (test)";; *) echo "qemu: out of luck" >&2; exit 1;; esac\n';
  writeFileSync(join(bin, 'qemu-system-riscv64'), script, { mode: 0o755 });
  const path = process.env.PATH;
  process.env.PATH = `${bin}:${path}`;
  const up = start(dir, ['--plain']);
  process.env.PATH = path;
  try {
    assert.equal(await up.ended, 3);
    assert.match(up.err(), /^vigil: QEMU did not start the guest: QEMU ended with status 1: qemu: out of luck\n$/);
  } finally {
    up.child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
});

test('--once: an engine that the file names and that is not there is a failure with its reason, and no replay', { skip, timeout: LIMIT_MS }, () => {
  const dir = makeDir();
  const { NODE_TEST_CONTEXT: _nested, ...env } = process.env;
  const text = `[receivers.dcgm]\nendpoint = "localhost:5556"\ncollection_interval = "1s"\ninitial_delay = "0s"\n[guest]\nstate = "${dir}/state.img"\n`;
  writeFileSync(join(dir, 'vigil.toml'), text);
  const absent = { VIGIL_DCGM_LIBRARY: '/nonexistent/libdcgm.so', VIGIL_NVML_LIBRARY: '/nonexistent/libnvidia-ml.so' };
  try {
    const { status, stdout, stderr } = spawnSync(process.execPath, [...VIGIL, 'up', '--once', '--config', join(dir, 'vigil.toml')], {
      cwd: ROOT, encoding: 'utf8', timeout: LIMIT_MS, env: { ...env, TMPDIR: dir, ...absent },
    });
    assert.equal(status, 1, stdout + stderr);
    assert.equal(stdout, '');
    assert.match(stderr, /^vigil: no fresh sample within \d+ s: the dcgm source is library_absent: .*libdcgm\.so/m);
    assert.match(stderr, /^vigil: bridge: dcgm is kept until it answers: the options name an engine, so nothing is replayed$/m);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
