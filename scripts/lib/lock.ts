// SPDX-License-Identifier: Apache-2.0
// One build at a time in a checkout: a lock file that names its holder. A second build waits; the lock of a process that is
// gone is taken over. Bound: LOCK_WAIT_MS, then a Failure that names the holder.
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { infra } from './fail.js';

const LOCK_WAIT_MS = 600_000;
const POLL_MS = 50;
let attempts = 0;

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Takes the lock if nobody alive holds it. The file appears whole (link), so a reader never sees it empty. */
function tryTake(path: string): boolean {
  const mine = `${path}.${process.pid}.${attempts++}`;
  writeFileSync(mine, `${process.pid}`);
  try {
    linkSync(mine, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(mine, { force: true });
  }
}

function holder(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

/** Runs `work` while holding the lock at `path`. @throws Failure 3 when a live holder keeps it for LOCK_WAIT_MS. */
export async function withLock<T>(path: string, onWait: (pid: number) => void, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(path), { recursive: true });
  const until = performance.now() + LOCK_WAIT_MS;
  let told = false;
  while (!tryTake(path)) {
    const pid = holder(path);
    if (pid === null) continue;
    if (!alive(pid)) {
      rmSync(path, { force: true });
      continue;
    }
    if (performance.now() > until) return infra(`another build (process ${pid}) holds ${path}`);
    if (!told) onWait(pid);
    told = true;
    await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}
