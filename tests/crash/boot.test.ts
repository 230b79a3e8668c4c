// SPDX-License-Identifier: Apache-2.0
// A whole machine: the boot proof faults services on a disk that is kept, and `vigil crash` names on it what faulted, where, and in which
// function. Then the same disk is damaged, and the command says so.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { boot } from '../../scripts/gate/session.js';
import { runWhole } from '../../scripts/gate/stop.js';
import { createImage, GATE_DISK_BYTES } from '../../scripts/lib/disk.js';
import { ROOT } from '../../scripts/lib/paths.js';

interface Shown { sequence: number; service: string; trap: string; culprit: string; function: string; address_meaning: string; calls: { text: string }[] }

/** Runs the command. */
function vigil(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts/vigil.ts'), ...args], { cwd: ROOT }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : 1, stdout, stderr });
    });
  });
}

test('boot, fault, read the disk: the report names service, trap and function', async (t) => {
  if (!existsSync(join(ROOT, 'build/image/bundle.vgb'))) return t.skip('no image was built');
  const folder = mkdtempSync(join(tmpdir(), 'vigil-crash-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const disk = join(folder, 'state.img');
  createImage(disk, GATE_DISK_BYTES);
  const ran = await boot({ transport: 'modern', profile: 'proof', stop: () => runWhole(), disk: { kind: 'file', path: disk } });
  assert.equal(ran.exitCode, 0, ran.verdict);

  const listed = await vigil('crash', 'ls', disk, '--json');
  assert.equal(listed.code, 0, listed.stderr);
  const { crashes } = JSON.parse(listed.stdout) as { crashes: Shown[] };
  assert.equal(crashes.length, 16, 'the ring is full');
  crashes.slice(1).forEach(({ sequence }, n) => assert.equal(sequence, crashes[n]!.sequence + 1, 'without a gap'));
  const last = (service: string, trap: string): Shown => crashes.findLast((one) => one.service === service && one.trap === trap)!;

  const probe = last('probe-b', 'oob_write');
  assert.equal(probe.function, 'assembly/services/fixtures/probe/trap');
  assert.match(probe.address_meaning, /: 0 bytes past the end of its linear memory \(8 pages, 524288 bytes\)$/);
  assert.match(probe.calls.at(-1)!.text, /^reply_recv\(0x[0-9a-f]+\) = 9$/);
  assert.equal(last('child-crash', 'abort').culprit, '_start', 'the compiler put its main, called once, into the start');
  assert.equal(last('child-wild', 'wild_access').culprit, '_start');
  assert.match(last('statefsd', 'killed').calls.at(-1)!.text, /: it ended here$/);

  const shown = await vigil('crash', 'show', disk, String(probe.sequence));
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^crash \d+: probe-b oob_write, [\d.]+ s into its boot\n/);
  assert.match(shown.stdout, /\n  in +assembly\/services\/fixtures\/probe\/trap \+ 0x[0-9a-f]+ \(0x[0-9a-f]+\)\n/);
  assert.match(shown.stdout, /\n  waiting for it +selftest\n/);
  const newest = await vigil('crash', 'show', disk);
  assert.ok(newest.stdout.startsWith(`crash ${crashes.at(-1)!.sequence}: `));
  const raw = await vigil('crash', 'show', disk, String(probe.sequence), '--symbols', folder);
  assert.match(raw.stdout, /\n  names +none: .*it is of another build\n/, 'without names the numbers are shown');

  assert.deepEqual(await vigil('crash', 'show', disk, '999999').then(({ code, stderr }) => [code, /holds no crash record 999999/.test(stderr)]), [1, true]);
  assert.equal((await vigil('crash', 'show', disk, 'x')).code, 2);
  assert.equal((await vigil('crash', 'ls', join(folder, 'none.img'))).code, 3);
});
