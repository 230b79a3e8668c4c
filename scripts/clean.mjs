// SPDX-License-Identifier: Apache-2.0
//
// Owns: `just clean`: removing what builds, tests and boots wrote.
// Invariant: removes nothing that git tracks and nothing outside this checkout; node_modules stays (npm ci renews it).
// Limits: refuses while a living set-up or build holds its lock; the lock of a dead one goes with the rest.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const WRITTEN = ['build', join('assembly', 'gen')];

/** The living process that a lock of build/ names; 0 when there is none. */
function holderOf(name) {
  try {
    const pid = Number(readFileSync(join(ROOT, 'build', name), 'utf8'));
    if (!Number.isInteger(pid) || pid <= 0) return 0;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return error.code === 'EPERM' ? -1 : 0;
  }
}

const busy = ['setup.lock', 'lock'].find((name) => holderOf(name) !== 0);

if (process.argv.length > 2) {
  process.stderr.write(`usage: just clean\n  Removes ${WRITTEN.join(' and ')}; keeps node_modules.\n`);
  process.exitCode = process.argv.includes('--help') ? 0 : 2;
} else if (busy !== undefined) {
  process.stderr.write(`clean: a ${busy === 'lock' ? 'build' : 'set-up'} is running here (build/${busy}): wait for it, or end it\n`);
  process.exitCode = 3;
} else {
  const there = WRITTEN.filter((folder) => existsSync(join(ROOT, folder)));
  for (const folder of there) rmSync(join(ROOT, folder), { recursive: true, force: true });
  process.stdout.write(there.length === 0 ? 'clean: nothing to remove\n' : `clean: removed ${there.join(', ')}\n`);
}
