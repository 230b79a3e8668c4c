// SPDX-License-Identifier: Apache-2.0
// Owns: running promtool (Debian's package prometheus) for the operators' rules. Not a test by itself.
// Invariant: where it is not installed the tests are skipped by name, never passed. Limits: one run of 60 s.
import { spawnSync } from 'node:child_process';

const RUN_MS_MAX = 60_000;
const there = spawnSync('promtool', ['--version'], { encoding: 'utf8' }).status === 0;

/** What node:test wants: false, or why the test is skipped. */
export const promtoolMissing: string | false = there ? false : 'promtool is not installed (package prometheus)';

export function promtool(args: readonly string[], cwd?: string): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', cwd, timeout: RUN_MS_MAX });
  return { status, output: stdout + stderr };
}
