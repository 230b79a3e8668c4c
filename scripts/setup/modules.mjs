// SPDX-License-Identifier: Apache-2.0
//
// Owns: whether node_modules is what package-lock.json says, and `npm ci` when it is not.
// Invariant: no stamp of ours can lie: the comparison is between the lock and npm's own record of what it installed.
// Limits: compares versions and integrity, and that each folder is there, not file contents;
//         one `npm ci` an attempt, INSTALL_LIMIT_MS at most.
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runStep, SetupError } from './step.mjs';

const INSTALL_LIMIT_MS = 15 * 60_000;
const NEEDED_MIB = 600;
const PTY = join('node_modules', 'node-pty', 'build', 'Release', 'pty.node');

/** Names of packages that differ between a lock's `packages` and npm's record of the installed ones. Pure. */
export function differing(locked, installed) {
  const names = [];
  for (const [key, want] of Object.entries(locked)) {
    if (key === '') continue;
    const have = installed[key];
    if (have === undefined) {
      if (want.optional !== true && want.devOptional !== true) names.push(key);
    } else if (have.version !== want.version || (want.integrity && have.integrity !== want.integrity)) {
      names.push(key);
    }
  }
  for (const key of Object.keys(installed)) if (locked[key] === undefined) names.push(key);
  return names;
}

/** Why node_modules must be installed anew, or null when it matches the lock. */
export function staleReason(root) {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record)) return 'node_modules is not there';
  let installed;
  try {
    installed = JSON.parse(readFileSync(record, 'utf8')).packages ?? {};
  } catch {
    return "npm's record of node_modules cannot be read";
  }
  const names = differing(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages, installed);
  if (names.length > 0) return `${names.length} packages differ from package-lock.json`;
  const gone = Object.keys(installed).filter((key) => !existsSync(join(root, key, 'package.json')));
  if (gone.length > 0) return `${gone[0]} is not there`;
  if (!existsSync(join(root, 'node_modules', '.bin'))) return 'node_modules/.bin is not there';
  return existsSync(join(root, PTY)) ? null : 'node-pty is not compiled';
}

/** Turns npm's output into a SetupError. Pure. */
export function explainNpmFailure(output) {
  const again = 'then run this again';
  if (/ENOSPC|No space left on device/i.test(output)) {
    return new SetupError('the disk is full', `free ${NEEDED_MIB} MiB, ${again}`);
  }
  if (/EACCES|EPERM|EROFS/.test(output)) {
    return new SetupError('npm may not write here', `make this folder and ~/.npm yours (chown), ${again}`);
  }
  if (
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|network/i.test(output) &&
    !/gyp ERR!/.test(output)
  ) {
    return new SetupError('no network to the npm registry', `connect, ${again}`);
  }
  if (/in sync/.test(output)) {
    return new SetupError('package.json and package-lock.json differ', 'run `npm install` and commit the lock');
  }
  if (/gyp ERR!/.test(output)) {
    return new SetupError('node-pty did not compile', 'see build/setup.log; it needs python3, make and g++');
  }
  return new SetupError('npm ci failed', 'see build/setup.log, or run `npm ci`');
}

/** The npm that runs us, as [command, ...args]; falls back to the one on PATH. */
function npmCommand() {
  const cli = process.env.npm_execpath;
  return cli && /npm-cli\.[cm]?js$/.test(cli) ? [process.execPath, cli] : ['npm'];
}

/** Runs `npm ci`. Throws SetupError. */
export async function installModules(root, logFile) {
  const disk = statfsSync(root);
  const freeMib = Math.floor((disk.bavail * disk.bsize) / 1_048_576);
  if (freeMib < NEEDED_MIB) {
    throw new SetupError(`the disk is full (${freeMib} MiB free)`, `free ${NEEDED_MIB} MiB, then run this again`);
  }
  const env = { ...process.env };
  // node-gyp would download Node's headers; most installs have them beside the binary.
  const prefix = join(dirname(process.execPath), '..');
  if (env.npm_config_nodedir === undefined && existsSync(join(prefix, 'include', 'node', 'node.h'))) {
    env.npm_config_nodedir = prefix;
  }
  const [command, ...args] = [...npmCommand(), 'ci', '--no-audit', '--no-fund'];
  const result = await runStep({ label: 'npm ci', command, args, env, cwd: root, logFile, limitMs: INSTALL_LIMIT_MS });
  if (result.code === 127)
    throw new SetupError('npm is missing', 'install it (Debian/Ubuntu: `sudo apt-get install npm`)');
  if (result.timedOut) throw new SetupError('npm ci took longer than 15 minutes', 'see build/setup.log');
  if (result.code !== 0) throw explainNpmFailure(result.output);
  if (!existsSync(join(root, PTY))) {
    throw new SetupError("npm skipped node-pty's install script", 'run `npm rebuild node-pty --ignore-scripts=false`');
  }
}
