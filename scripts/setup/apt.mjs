// SPDX-License-Identifier: Apache-2.0
//
// Owns: installing Debian/Ubuntu packages politely: only what is missing, nothing recommended, no questions.
// Invariant: every way that apt-get fails ends in one line that says what to do.
// Limits: LOCK_WAIT_S for another apt to finish; one list update and one retry; never asks for a password (sudo -n).
import { spawnSync } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { findProgram } from './needs.mjs';
import { runStep, SetupError } from './step.mjs';

const LOCK_WAIT_S = 60;
const INSTALL_LIMIT_MS = 20 * 60_000;

/** The apt-get command a person would type for these packages. */
export const aptCommand = (packages) => `sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`;

/** Turns apt-get's output into a SetupError. Pure. */
export function explainAptFailure(output, packages) {
  const again = 'then run this again';
  if (/No space left on device|don't have enough free space/i.test(output)) {
    return new SetupError('the disk is full', `free about 1.5 GiB, ${again}`);
  }
  if (/Could not get lock|Unable to acquire the dpkg frontend lock|is held by process/i.test(output)) {
    return new SetupError('another apt-get is running', `wait until it has finished, ${again}`);
  }
  if (/Permission denied|are you root|password is required|not in the sudoers|no new privileges/i.test(output)) {
    return new SetupError('no permission to install packages', `run \`${aptCommand(packages)}\`, ${again}`);
  }
  if (/dpkg was interrupted/i.test(output)) {
    return new SetupError('an earlier install was interrupted', `run \`sudo dpkg --configure -a\`, ${again}`);
  }
  if (
    /Temporary failure resolving|Could not (resolve|connect)|Network is unreachable/i.test(output) ||
    /Connection (timed out|refused|failed)/i.test(output)
  ) {
    return new SetupError('no network to the package archive', `connect, ${again}; missing: ${packages.join(' ')}`);
  }
  const absent = /Unable to locate package (\S+)|Package '?([\w.+-]+)'? has no installation candidate/.exec(output);
  if (absent) {
    return new SetupError(
      `this system's archive has no package ${absent[1] ?? absent[2]}`,
      "enable the archive's universe/main section or install that program yourself",
    );
  }
  return new SetupError('apt-get failed', `see build/setup.log, or run \`${aptCommand(packages)}\``);
}

/** Name of the first alternative that apt can install, or null. */
function installable(alternatives) {
  for (const name of alternatives) {
    const policy = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
    const candidate = /Candidate: (\S+)/.exec(policy.stdout ?? '');
    if (candidate && candidate[1] !== '(none)') return name;
  }
  return null;
}

/** How to become root here: [] when we are, ["sudo", "-n"] when that works without a password. */
function rootPrefix(packages) {
  if (process.getuid?.() === 0) return [];
  const problem = new SetupError(
    'no permission to install packages',
    `run \`${aptCommand(packages)}\`, then run this again`,
  );
  if (findProgram('sudo') === null) throw problem;
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status !== 0) throw problem;
  return ['sudo', '-n'];
}

/** Installs what meets these needs. Throws SetupError. */
export async function installNeeds(needs, logFile) {
  const firstChoices = needs.map((need) => need.packages[0]);
  if (findProgram('apt-get') === null) {
    const what = needs.map((need) => need.programs[0] ?? need.name).join(', ');
    throw new SetupError(
      `missing ${what} and this system has no apt-get`,
      'install them with your own package manager',
    );
  }
  const prefix = rootPrefix(needs.map((need) => need.packages.at(-1)));
  const neededMib = needs.reduce((sum, need) => sum + need.mib, 0);
  const disk = statfsSync('/');
  const freeMib = Math.floor((disk.bavail * disk.bsize) / 1_048_576);
  if (freeMib < neededMib) {
    throw new SetupError(`the disk is full (${freeMib} MiB free)`, `free ${neededMib} MiB on /, then run this again`);
  }
  const env = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (label, args) => {
    const [command, ...rest] = [...prefix, 'apt-get', ...args, '-o', `DPkg::Lock::Timeout=${LOCK_WAIT_S}`];
    return runStep({ label, command, args: rest, env, logFile, limitMs: INSTALL_LIMIT_MS });
  };
  const update = () => apt('apt-get update', ['update']);
  const choose = () => needs.map((need) => installable(need.packages));
  let packages = choose();
  let updated = false;
  if (packages.includes(null)) {
    updated = true;
    const result = await update();
    packages = choose();
    if (packages.includes(null) && result.code !== 0) throw explainAptFailure(result.output, firstChoices);
  }
  const gone = needs.find((_, index) => packages[index] === null);
  if (gone) throw explainAptFailure(`E: Unable to locate package ${gone.packages.at(-1)}`, firstChoices);
  const install = () =>
    apt(`apt-get install ${packages.join(' ')}`, ['install', '-y', '--no-install-recommends', ...packages]);
  let result = await install();
  if (result.code !== 0 && !updated && /404|Failed to fetch|Hash Sum mismatch|Unable to locate/i.test(result.output)) {
    await update();
    result = await install();
  }
  if (result.timedOut) throw new SetupError('apt-get took longer than 20 minutes', 'see build/setup.log');
  if (result.code !== 0) throw explainAptFailure(result.output, packages);
}
