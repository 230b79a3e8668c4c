// SPDX-License-Identifier: Apache-2.0
//
// Owns: `just clean`: removing what builds, tests and boots wrote.
// Invariant: removes nothing that git tracks and nothing outside this checkout; node_modules stays (npm ci renews it).
// Limits: refuses while a set-up holds build/setup.lock.
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const WRITTEN = ['build', join('assembly', 'gen')];

if (process.argv.length > 2) {
  process.stderr.write(`usage: just clean\n  Removes ${WRITTEN.join(' and ')}; keeps node_modules.\n`);
  process.exitCode = process.argv.includes('--help') ? 0 : 2;
} else if (existsSync(join(ROOT, 'build', 'setup.lock'))) {
  process.stderr.write('clean: a set-up is running here (build/setup.lock): wait for it, or remove that file\n');
  process.exitCode = 3;
} else {
  const there = WRITTEN.filter((folder) => existsSync(join(ROOT, folder)));
  for (const folder of there) rmSync(join(ROOT, folder), { recursive: true, force: true });
  process.stdout.write(there.length === 0 ? 'clean: nothing to remove\n' : `clean: removed ${there.join(', ')}\n`);
}
