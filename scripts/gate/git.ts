// SPDX-License-Identifier: Apache-2.0
// What commit a run was made from. Limit: read-only; outside a git checkout, or before the first commit, both answers are null.
import { spawnSync } from 'node:child_process';

const GIT_TIMEOUT_MS = 10_000;

function git(root: string, args: string[]): string | null {
  const run = spawnSync('git', ['-C', root, ...args], { encoding: 'utf8', timeout: GIT_TIMEOUT_MS });
  return run.status === 0 ? run.stdout.trim() : null;
}

/** The commit of the working tree, and whether the tree differs from it. */
export function commitOf(root: string): { commit: string | null; dirty: boolean | null } {
  const commit = git(root, ['rev-parse', 'HEAD']);
  if (commit === null) return { commit: null, dirty: null };
  const status = git(root, ['status', '--porcelain']);
  return { commit, dirty: status === null ? null : status !== '' };
}
