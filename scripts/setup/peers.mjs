// SPDX-License-Identifier: Apache-2.0
//
// Owns: programs of others that some tests talk to, fetched for CI: unpacked below build/peers, not installed, so that no package script
// runs and no daemon is started, and no root is needed; a program that needs a hundred libraries (a browser) is installed.
// Invariant: optional: what cannot be had is one line, and its tests are skipped by name; Node built-ins alone.
// Limits: Debian and Ubuntu; what is unpacked needs nothing but libc; FETCH_LIMIT_MS a package.
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { installNeeds } from './apt.mjs';
import { findProgram } from './needs.mjs';
import { runStep } from './step.mjs';

const FETCH_LIMIT_MS = 5 * 60_000;

/** `programs`: all of them are needed, or with `mib` (its size; it is installed) any one. */
export const PEERS = [
  { name: 'Prometheus', programs: ['prometheus', 'promtool'], package: 'prometheus', tests: 'tests against Prometheus' },
  {
    name: 'Chromium', programs: ['chromium', 'chromium-browser', 'google-chrome'], package: 'chromium', mib: 500,
    tests: 'tests of the page in a browser',
  },
];

const folderOf = (root) => join(root, 'build', 'peers');
/** Where unpacked programs lie; scripts/test.ts puts the same folder last on PATH. */
const programsOf = (root) => join(folderOf(root), 'usr', 'bin');

/** The peers that are neither on PATH nor unpacked. */
export function missingPeers(root, path = process.env.PATH ?? '') {
  const places = `${path}${delimiter}${programsOf(root)}`;
  const lacks = (program) => findProgram(program, places) === null;
  return PEERS.filter(({ programs, mib }) => (mib === undefined ? programs.some(lacks) : programs.every(lacks)));
}

/** Installs one package; what went wrong in a few words, or null. */
async function installPeer({ name, programs, package: packageName, mib }, logFile) {
  try {
    await installNeeds([{ name, programs, packages: [packageName], mib }], logFile);
    return null;
  } catch (error) {
    return error.message.split('\n')[0];
  }
}

/** Fetches and unpacks one package; what went wrong in a few words, or null. */
async function fetchPeer(root, peer, logFile) {
  const folder = folderOf(root);
  mkdirSync(folder, { recursive: true });
  const packages = () => readdirSync(folder).filter((name) => name.startsWith(`${peer.package}_`) && name.endsWith('.deb'));
  for (const name of packages()) rmSync(join(folder, name));
  const env = { ...process.env, LC_ALL: 'C' };
  const step = (label, command, args) => runStep({ label, command, args, env, cwd: folder, logFile, limitMs: FETCH_LIMIT_MS });
  const fetched = await step(`apt-get download ${peer.package}`, 'apt-get', ['download', peer.package]);
  const [file] = packages();
  if (fetched.code !== 0 || file === undefined) return `apt-get download ${peer.package} failed`;
  const unpacked = await step(`unpack ${peer.package}`, 'dpkg-deb', ['-x', file, folder]);
  rmSync(join(folder, file));
  return unpacked.code === 0 ? null : `dpkg-deb -x ${file} failed`;
}

/** Fetches what is missing. Never throws for a peer that cannot be had. */
export async function fetchPeers(root, logFile) {
  for (const peer of missingPeers(root)) {
    const problem = peer.mib === undefined ? await fetchPeer(root, peer, logFile) : await installPeer(peer, logFile);
    const missing = problem ?? (missingPeers(root).includes(peer) ? 'the package has not its programs' : null);
    if (missing !== null) process.stderr.write(`setup: no ${peer.name} (${missing}): ${peer.tests} are skipped by name\n`);
  }
}
