// SPDX-License-Identifier: Apache-2.0
// Owns: finding the QEMU of this machine and judging its version.
// Invariant: nothing is started but `--version`. Limits: VERSION_TIMEOUT_MS for its answer.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { QEMU } from '../../boot/machines.js';
import { judgeVersion, type Verdict } from '../../boot/versions.js';
import { infra } from '../lib/fail.js';

const VERSION_TIMEOUT_MS = 10_000;

export interface QemuBinary {
  path: string;
  /** the first line of --version */
  banner: string;
  verdict: Verdict;
}

/** Finds an executable on PATH; null when there is none. */
export function onPath(name: string, env: NodeJS.ProcessEnv = process.env): string | null {
  for (const dir of (env.PATH ?? '').split(delimiter).filter((part) => part !== '')) {
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this directory
    }
  }
  return null;
}

/** @throws Failure 3 when QEMU is missing, does not answer, or is a version known not to work. */
export function findQemu(): QemuBinary {
  const path = onPath(QEMU) ?? infra(`${QEMU} is missing; install it with: sudo apt-get install qemu-system-misc`);
  const run = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: VERSION_TIMEOUT_MS });
  if (run.error !== undefined || run.status !== 0) infra(`${path} --version failed (${run.error?.message ?? `status ${run.status}`})`);
  const banner = run.stdout.split('\n')[0]!.trim();
  const verdict = judgeVersion(banner);
  if (verdict.kind === 'broken') infra(verdict.message);
  return { path, banner, verdict };
}
