// SPDX-License-Identifier: Apache-2.0
//
// Owns: `just doctor`: what this machine lacks for Vigil, and for each lack the one command that mends it.
// Invariant: changes nothing; Node built-ins alone, so that it works before `npm ci`.
// Limits: exit code 0 nothing lacks, 3 something needed for build, boot or test lacks (a missing debugger is only said).
import { spawnSync } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aptCommand } from './setup/apt.mjs';
import { staleReason } from './setup/modules.mjs';
import { findNeed, findProgram, NEEDS } from './setup/needs.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const FREE_MIB_MIN = 500;
const USAGE = `usage: just doctor [--json]
  Says what this machine has and lacks for building, booting and testing Vigil, and how to mend it.
  --json   one JSON object: {ok, checks: [{name, ok, needed, found, mend}]}
  exit code 0: nothing needed is missing, 3: something is, 2: wrong usage`;

/** First line of `PROGRAM --version`, or null when the program does not answer in 5 s. */
function versionOf(program) {
  const answer = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 5_000 });
  return answer.status === 0 ? answer.stdout.split('\n')[0].trim() : null;
}

function checkNeed(need) {
  const found = findNeed(need);
  // node-pty is compiled once: its compilers are needed only while it is not.
  const needed = need.when === 'debug' ? false : need.when === 'npm' ? staleReason(ROOT) !== null : true;
  const shown = found !== null && need.programs.length > 0 ? (versionOf(found) ?? found) : found;
  // The oldest name is the one that every supported release has.
  const mend = found === null ? aptCommand([need.packages[need.packages.length - 1]]) : null;
  return { name: need.name, ok: found !== null, needed, found: shown, mend, why: need.why };
}

function checkModules() {
  const reason = staleReason(ROOT);
  return {
    name: 'node_modules',
    ok: reason === null,
    needed: true,
    found: reason ?? 'as package-lock.json says',
    mend: reason === null ? null : 'npm ci',
    why: 'compilers and libraries, pinned',
  };
}

function checkDisk() {
  const disk = statfsSync(ROOT);
  const freeMib = Math.floor((disk.bavail * disk.bsize) / 1_048_576);
  const ok = freeMib >= FREE_MIB_MIN;
  const mend = ok ? null : 'npx just clean, or free space on this disk';
  return { name: 'disk space', ok, needed: true, found: `${freeMib} MiB free`, mend, why: 'builds, logs and images' };
}

function checkNode() {
  const npm = findProgram('npm') === null ? 'npm is missing' : 'with npm';
  const ok = findProgram('npm') !== null;
  const mend = ok ? null : 'sudo apt-get install -y npm';
  return { name: 'Node', ok, needed: true, found: `${process.version} ${npm}`, mend, why: 'runs every script' };
}

function main(args) {
  if (args.includes('--help')) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  if (args.some((arg) => arg !== '--json')) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const checks = [checkNode(), checkModules(), ...NEEDS.map(checkNeed), checkDisk()];
  const lacks = checks.filter((check) => !check.ok && check.needed);
  if (args.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ ok: lacks.length === 0, checks }, null, 2)}\n`);
    return lacks.length === 0 ? 0 : 3;
  }
  for (const check of checks) {
    const word = check.ok ? 'ok' : check.needed ? 'MISSING' : 'absent';
    process.stdout.write(`${word.padEnd(8)} ${check.name.padEnd(18)} ${check.found ?? check.why}\n`);
    if (check.mend !== null && (check.needed || !check.ok)) process.stdout.write(`${' '.repeat(9)}-> ${check.mend}\n`);
  }
  process.stdout.write(lacks.length === 0 ? 'nothing needed is missing\n' : `${lacks.length} missing; npm start mends it\n`);
  return lacks.length === 0 ? 0 : 3;
}

process.exitCode = main(process.argv.slice(2));
