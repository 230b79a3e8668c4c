// SPDX-License-Identifier: Apache-2.0
// One step of `just bisect`: builds the commit that is checked out in the working directory and boots it up to a marker.
// Exit codes are git's: 0 good, 1 bad, 125 cannot be judged (skip). The build and the gate are those of that commit.
// Invariant: a commit is bad only if its guest failed; a commit that does not build, or lacks the marker, is skipped and says why.
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/paths.js';

const GOOD = 0;
const BAD = 1;
const SKIP = 125;
const STEP_TIMEOUT_MS = 15 * 60_000;

/** What a gate's exit code means to git. A host timeout counts as bad only where the caller said so: a hang may be the machine's. */
export function stepCode(status: number | null, timeoutIsBad: boolean): number {
  if (status === 0) return GOOD;
  if (status === 1) return BAD;
  return status === 3 && timeoutIsBad ? BAD : SKIP;
}

function run(command: string, args: string[], env: NodeJS.ProcessEnv = process.env): number | null {
  const ran = spawnSync(command, args, { stdio: 'inherit', env, timeout: STEP_TIMEOUT_MS });
  return ran.status;
}

/** The packages of this checkout where the lock file is the same, else a fresh install. */
function dependencies(): boolean {
  const same = readFileSync('package-lock.json', 'utf8') === readFileSync(join(ROOT, 'package-lock.json'), 'utf8');
  const linked = existsSync('node_modules') && lstatSync('node_modules').isSymbolicLink();
  if (same && linked) return true;
  rmSync('node_modules', { recursive: true, force: true });
  if (!same) return run('npm', ['ci']) === 0;
  symlinkSync(join(ROOT, 'node_modules'), 'node_modules');
  return true;
}

/** Judges the working directory. */
export function step(transport: string, marker: string, timeoutIsBad: boolean): number {
  const skip = (why: string): number => {
    console.log(`bisect: skipped: ${why}`);
    return SKIP;
  };
  if (!dependencies()) return skip('its packages cannot be installed');
  if (run('node', ['--import', 'tsx', 'scripts/build.ts']) !== 0) return skip('it does not build');
  const env = { ...process.env, RUN_UNTIL_MARKER: marker === '' ? '1' : marker };
  const status = run('node', ['--import', 'tsx', 'scripts/test-os.ts', transport, '--quiet'], env);
  const code = stepCode(status, timeoutIsBad);
  if (code === SKIP) return skip(status === 2 ? 'its ladder lacks the marker' : `its gate ended with status ${status}`);
  console.log(`bisect: ${code === GOOD ? 'good' : 'bad'}`);
  return code;
}

if (process.argv[1]?.endsWith('bisect-step.ts') === true) {
  const [transport = 'modern', marker = '', timeoutIsBad = ''] = process.argv.slice(2);
  process.exitCode = step(transport, marker, timeoutIsBad === 'timeout-is-bad');
}
