// SPDX-License-Identifier: Apache-2.0
// One build at a time in a checkout: a lock file that names its holder. A second build waits; the lock of a process that is
// gone, or a lock that names none, is taken over. Bound: LOCK_WAIT_MS, then a Failure that names the holder.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { infra } from './fail.js';

const LOCK_WAIT_MS = 600_000;
const POLL_MS = 50;
const CLAIM_ATTEMPTS = 16;
let attempts = 0;

/** Whether a lock's holder lives. An empty or damaged file names 0 or NaN: nobody. */
export function alive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
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

/** The process that a lock names; null when there is no lock. */
export function holder(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    return infra(`${path} is no lock file (${(error as NodeJS.ErrnoException).code}); remove it`);
  }
}

/** Takes a dead process's lock away. Of two that do so at once, neither removes the other's new lock: it is put back. */
function removeStale(path: string): void {
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
    const pid = holder(aside);
    if (pid !== null && alive(pid)) linkSync(aside, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Takes the lock at `path` at once, or says which living process holds it; null: taken. The caller removes the file when done. */
export function claimLock(path: string): number | null {
  for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
    if (tryTake(path)) return null;
    const pid = holder(path);
    if (pid === null) continue;
    if (alive(pid)) return pid;
    removeStale(path);
  }
  return infra(`${path} is taken and given up over and over; end the runs that do so`);
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
      removeStale(path);
      continue;
    }
    if (performance.now() > until) return infra(`another build (process ${pid}) holds ${path}; end it, or remove that file`);
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
