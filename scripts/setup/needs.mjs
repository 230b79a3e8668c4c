// SPDX-License-Identifier: Apache-2.0
//
// Owns: the one table of what a machine needs to build, boot and test Vigil, and the look-up of what is missing.
// Invariant: Node built-ins alone (this runs before `npm ci`); a look-up starts no process, it only looks at files.
// Limits: knows Debian and Ubuntu package names; elsewhere it still says which program is missing.
import { accessSync, constants, existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

const FIRMWARE = 'opensbi-riscv64-generic-fw_dynamic.bin';
const FIRMWARE_ELSEWHERE = [
  `/usr/share/qemu/${FIRMWARE}`,
  '/usr/share/opensbi/lp64/generic/firmware/fw_dynamic.bin',
  '/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin',
];

/**
 * @typedef {object} Need
 * @property {string} name what a person calls it
 * @property {string[]} programs any one of these on PATH is enough; empty when `find` looks for something else
 * @property {string[]} packages Debian/Ubuntu packages that bring it, first choice first
 * @property {"run"|"npm"|"test"|"debug"} when run: build, boot; npm: compile node-pty; test: npm test; debug: just gdb
 * @property {string} why one clause
 * @property {number} mib disk space that its package takes, about
 */

/** @type {Need[]} */
export const NEEDS = [
  {
    name: 'QEMU for RISC-V',
    programs: ['qemu-system-riscv64'],
    packages: ['qemu-system-riscv', 'qemu-system-misc'],
    when: 'run',
    why: 'boots the image',
    mib: 450,
  },
  {
    name: 'OpenSBI firmware',
    programs: [],
    packages: ['opensbi'],
    when: 'run',
    why: 'starts the kernel in S-mode',
    mib: 10,
  },
  {
    name: 'RISC-V GCC',
    programs: ['riscv64-unknown-elf-gcc'],
    packages: ['gcc-riscv64-unknown-elf'],
    when: 'run',
    why: 'compiles what wasm2c writes',
    mib: 800,
  },
  { name: 'Python 3', programs: ['python3'], packages: ['python3'], when: 'npm', why: 'node-gyp runs on it', mib: 60 },
  { name: 'make', programs: ['make'], packages: ['make'], when: 'npm', why: 'compiles node-pty', mib: 2 },
  {
    name: 'C++ compiler',
    programs: ['g++', 'c++'],
    packages: ['g++'],
    when: 'npm',
    why: 'compiles node-pty',
    mib: 250,
  },
  {
    name: 'git',
    programs: ['git'],
    packages: ['git'],
    when: 'test',
    why: 'the bisect tests make a repository',
    mib: 50,
  },
  {
    name: 'C compiler',
    programs: ['cc'],
    packages: ['gcc'],
    when: 'test',
    why: 'the bridge tests compile a small libdcgm',
    mib: 150,
  },
  { name: 'OpenSSL', programs: ['openssl'], packages: ['openssl'], when: 'test', why: 'the TLS tests make a certificate', mib: 3 },
  {
    name: 'GDB for RISC-V',
    programs: ['gdb-multiarch', 'riscv64-unknown-elf-gdb'],
    packages: ['gdb-multiarch'],
    when: 'debug',
    why: '`just gdb`',
    mib: 60,
  },
];

/** The path of a program on `path` (a PATH value), or null. */
export function findProgram(name, path = process.env.PATH ?? '') {
  for (const folder of path.split(delimiter)) {
    if (folder === '') continue;
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // not in this folder
    }
  }
  return null;
}

/** The path of QEMU's own OpenSBI image, beside the QEMU on `path` or where Debian puts it, or null. */
export function findFirmware(path = process.env.PATH ?? '') {
  const qemu = findProgram('qemu-system-riscv64', path);
  const beside = qemu === null ? [] : [join(dirname(realpathSync(qemu)), '..', 'share', 'qemu', FIRMWARE)];
  return [...beside, ...FIRMWARE_ELSEWHERE].find((file) => existsSync(file)) ?? null;
}

/** Where a need is met (a path), or null. */
export function findNeed(need, path = process.env.PATH ?? '') {
  if (need.programs.length === 0) return findFirmware(path);
  for (const program of need.programs) {
    const file = findProgram(program, path);
    if (file !== null) return file;
  }
  return null;
}

/** The needs of these kinds that nothing on this machine meets. */
export function findMissing(kinds, path = process.env.PATH ?? '') {
  return NEEDS.filter((need) => kinds.includes(need.when) && findNeed(need, path) === null);
}
