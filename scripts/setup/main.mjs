// SPDX-License-Identifier: Apache-2.0
//
// Owns: the course of a set-up: what is missing, in which order it is installed, and how a failure is told.
// Invariant: Node built-ins alone; prints nothing when nothing is missing; changes nothing that is already right.
// Limits: Debian and Ubuntu for system packages; elsewhere it names what is missing. Every failure is one line on
//         standard error and exit code 3 (the machine) or 2 (wrong usage).
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installNeeds } from './apt.mjs';
import { installModules, staleReason } from './modules.mjs';
import { findMissing } from './needs.mjs';
import { fetchPeers, missingPeers } from './peers.mjs';
import { SetupError } from './step.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const LOG = join(ROOT, 'build', 'setup.log');
const LOCK = join(ROOT, 'build', 'setup.lock');
const LOCK_WAIT_MS = 10 * 60_000;
/** A lock file that still names nobody after this is the trace of a set-up that was killed while it wrote it. */
const LOCK_WRITE_MS = 5_000;
const USAGE = `usage: node scripts/setup.mjs [--test]
  Installs what is missing on this machine to build and boot Vigil, then node_modules.
  Does nothing when nothing is missing.
  --test   also what only the tests need; with CI=true also the programs of others that some tests talk to`;

const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** The process that holds the lock, 0 for one that is writing its name just now; null when the lock is nobody's. */
function lockHolder() {
  try {
    const pid = Number(readFileSync(LOCK, 'utf8'));
    if (Number.isInteger(pid) && pid > 0) return alive(pid) ? pid : null;
    return Date.now() - statSync(LOCK).mtimeMs < LOCK_WRITE_MS ? 0 : null;
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

/** One set-up at a time in this folder: waits for another one, bounded; takes over from one that died. */
async function withLock(work) {
  const deadlineMs = Date.now() + LOCK_WAIT_MS;
  mkdirSync(dirname(LOCK), { recursive: true });
  for (;;) {
    try {
      writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      const holder = lockHolder();
      if (holder === null) rmSync(LOCK, { force: true });
      else if (Date.now() > deadlineMs) {
        throw new SetupError(
          `another set-up (process ${holder}) holds build/setup.lock`,
          'wait for it, or remove the file',
        );
      } else await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
  try {
    return await work();
  } finally {
    rmSync(LOCK, { force: true });
  }
}

async function installMissing(kinds) {
  let missing = findMissing(kinds);
  // Twice at most: the firmware is looked for again once QEMU, which may bring its own, is there.
  for (let round = 0; round < 2 && missing.length > 0; round++) {
    const firmwareLater = missing.length > 1 && round === 0;
    await installNeeds(firmwareLater ? missing.filter((need) => need.programs.length > 0) : missing, LOG);
    missing = findMissing(kinds);
  }
  if (missing.length > 0) {
    throw new SetupError(`${missing[0].name} is still missing`, 'see build/setup.log and run `just doctor`');
  }
}

async function main(args) {
  const unknown = args.filter((arg) => arg !== '--test');
  if (unknown.length > 0) {
    process.stderr.write(`${USAGE}\n`);
    return args.includes('--help') ? 0 : 2;
  }
  const kinds = args.includes('--test') ? ['run', 'test'] : ['run'];
  const peers = () => args.includes('--test') && process.env.CI === 'true' && missingPeers(ROOT).length > 0;
  if (findMissing(kinds).length === 0 && staleReason(ROOT) === null && !peers()) return 0;
  return await withLock(async () => {
    const stale = staleReason(ROOT);
    await installMissing(stale === null ? kinds : [...kinds, 'npm']);
    if (stale !== null) await installModules(ROOT, LOG);
    if (peers()) await fetchPeers(ROOT, LOG);
    process.stderr.write('setup: done\n');
    return 0;
  });
}

/** Runs a set-up; returns the process's exit code. */
export async function setup(args) {
  try {
    return await main(args);
  } catch (error) {
    const known = explain(error);
    process.stderr.write(`setup: ${known ? known.message : `unexpected: ${error?.stack ?? error}`}\n`);
    return known?.exitCode ?? 3;
  }
}

function explain(error) {
  if (error instanceof SetupError) return error;
  if (error?.code === 'ENOSPC') return new SetupError('the disk is full', 'free 2 GiB, then run this again');
  if (['EACCES', 'EPERM', 'EROFS'].includes(error?.code)) {
    return new SetupError(
      `no permission to write ${error.path ?? 'here'}`,
      'make this folder yours (chown), then run this again',
    );
  }
  return null;
}
