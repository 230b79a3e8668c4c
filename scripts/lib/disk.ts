// SPDX-License-Identifier: Apache-2.0
// The disk of /state on the host: a blank private image for a boot of the gate, and the image that a person keeps between runs.
// Invariant: a kept image is created once, claimed by one process at a time, and never wiped, shrunk or replaced by this file.
// Limits: a multiple of SECTOR_BYTES, from DISK_BYTES_MIN to DISK_BYTES_MAX; the claim is a lock file beside the image (QEMU's own lock of
// the image is the second wall).
import {
  closeSync, existsSync, ftruncateSync, lstatSync, mkdirSync, openSync, realpathSync, renameSync, rmSync, statSync, writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Drive } from '../../boot/machines.js';
import { faultsOnDemand, startNbd } from '../../runtime/nbd/index.js';
import { infra, usage } from './fail.js';
import { claimLock } from './lock.js';
import { ROOT } from './paths.js';

export const SECTOR_BYTES = 512;
export const GATE_DISK_BYTES = 16 * 1024 * 1024;
export const KEPT_DISK_BYTES = 64 * 1024 * 1024;
export const DISK_BYTES_MIN = SECTOR_BYTES;
export const DISK_BYTES_MAX = 1024 * 1024 * 1024;
const FOREIGN_BYTES = 64 * 1024;

/** Which disk a boot gets, and how the device behaves. */
export type DiskRequest = { readOnly?: boolean; noFlush?: boolean } & (
  | { kind: 'blank'; bytes?: number; foreign?: boolean }
  | { kind: 'file'; path: string }
  | { kind: 'nbd'; socketPath: string }
  | { kind: 'absent' }
  /** a disk over NBD that fails when the guest asks it to (runtime/nbd/on-demand.ts) */
  | { kind: 'failing' }
);

/** Profiles whose machine has another disk than the blank one: each shows how statefsd names what it cannot use. */
const PROFILE_DISKS: Readonly<Record<string, DiskRequest>> = {
  'state-refused-no-flush': { kind: 'blank', noFlush: true },
  'state-refused-read-only': { kind: 'blank', readOnly: true },
  'state-refused-foreign': { kind: 'blank', foreign: true },
  'state-refused-small': { kind: 'blank', bytes: 8 * SECTOR_BYTES },
  'state-refused-absent': { kind: 'absent' },
  'disk-errors': { kind: 'failing' },
  'disk-read-only': { kind: 'blank', readOnly: true },
};

/** The disk that a profile owns; undefined: the blank one. */
export function diskOf(profile: string): DiskRequest | undefined {
  return Object.hasOwn(PROFILE_DISKS, profile) ? PROFILE_DISKS[profile] : undefined;
}

/** Makes a sparse image of zeroes. @throws an error with code EEXIST when there is a file already. */
export function createImage(path: string, bytes: number): void {
  if (bytes < DISK_BYTES_MIN || bytes > DISK_BYTES_MAX || bytes % SECTOR_BYTES !== 0) {
    usage(`a disk has a multiple of ${SECTOR_BYTES} bytes, at most ${DISK_BYTES_MAX}, not ${bytes}`);
  }
  const file = openSync(path, 'wx', 0o600);
  try {
    ftruncateSync(file, bytes);
  } finally {
    closeSync(file);
  }
}

/** Bytes that no store of ours begins with, and that are not zero: somebody else's disk. */
function writeForeign(path: string): void {
  const bytes = Buffer.alloc(FOREIGN_BYTES);
  for (let at = 0; at < bytes.length; at++) bytes[at] = ((at * 167) ^ (at >> 8)) | 1;
  const file = openSync(path, 'r+');
  try {
    writeSync(file, bytes);
  } finally {
    closeSync(file);
  }
}

/** Where the server of a failing disk listens. */
function failingSocket(dir: string): string {
  return join(dir, 'disk.sock');
}

/** Starts what a disk needs beside its drive; the caller closes it when the boot is over. */
export async function startDisk(request: DiskRequest | undefined, dir: string): Promise<{ close(): Promise<void> } | null> {
  if (request?.kind !== 'failing') return null;
  return startNbd(failingSocket(dir), faultsOnDemand(Buffer.alloc(GATE_DISK_BYTES)));
}

/** The drive of one boot; a blank image is made in `dir`, which goes when the boot ends. @returns undefined for an empty slot */
export function prepareDrive(request: DiskRequest = { kind: 'blank' }, dir: string): Drive | undefined {
  const { readOnly, noFlush } = request;
  switch (request.kind) {
    case 'absent':
      return undefined;
    case 'nbd':
      return { source: { nbd: request.socketPath }, readOnly, noFlush };
    case 'failing':
      return { source: { nbd: failingSocket(dir) }, readOnly, noFlush };
    case 'file':
      return { source: { file: request.path, throwaway: false }, readOnly, noFlush };
    case 'blank': {
      const file = join(dir, 'state.img');
      createImage(file, request.bytes ?? GATE_DISK_BYTES);
      if (request.foreign === true) writeForeign(file);
      return { source: { file, throwaway: true }, readOnly, noFlush };
    }
  }
}

/** A kept image, claimed by this process. */
export interface KeptDisk {
  path: string;
  /** true when this call made it */
  created: boolean;
  drive: Drive;
  /** lets the claim name the QEMU that has the image, which may outlive this process */
  usedBy: (pid: number) => void;
  /** gives the claim up; safe to call twice */
  release: () => void;
}

/** Where the kept image lies: VIGIL_STATE, or .vigil/state.img of the checkout. */
export function keptPath(env: NodeJS.ProcessEnv = process.env, root: string = ROOT): string {
  const named = env.VIGIL_STATE;
  return named === undefined || named === '' ? join(root, '.vigil', 'state.img') : resolve(named);
}

/** The file itself: a link and its target are one image with one claim. */
function linked(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return path;
    return infra(`${path} is a link that leads nowhere; remove it, or name another image with VIGIL_STATE`);
  }
}

/** Claims the kept image, and makes it when there is none. @throws Failure 3 when it is in use, is no image, or cannot be written. */
export function openKept(named: string = keptPath()): KeptDisk {
  let path = named;
  let claim = '';
  try {
    mkdirSync(dirname(path), { recursive: true });
    path = linked(path);
    claim = `${path}.lock`;
    const taken = claimLock(claim);
    if (taken !== null) infra(`${path} is in use by process ${taken}; end that run, or name another image with VIGIL_STATE`);
  } catch (error) {
    return refuse(path, error);
  }
  const release = (): void => rmSync(claim, { force: true });
  const usedBy = (pid: number): void => {
    writeFileSync(`${claim}.${process.pid}`, `${pid}`);
    renameSync(`${claim}.${process.pid}`, claim);
  };
  try {
    const created = !existsSync(path);
    if (created) createImage(path, KEPT_DISK_BYTES);
    const stat = statSync(path);
    if (!stat.isFile()) infra(`${path} is no file; VIGIL_STATE names an image`);
    if (stat.size < DISK_BYTES_MIN || stat.size % SECTOR_BYTES !== 0) {
      infra(`${path} has ${stat.size} bytes, which is no number of whole sectors; move it away to begin with a new image`);
    }
    closeSync(openSync(path, 'r+'));
    return { path, created, drive: { source: { file: path, throwaway: false } }, usedBy, release };
  } catch (error) {
    release();
    return refuse(path, error);
  }
}

const REASONS: Record<string, string> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  ENOENT: 'its folder cannot be written',
  ELOOP: 'its links lead nowhere',
  ENAMETOOLONG: 'its name is too long',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'a file lies where a folder belongs',
  ENOTDIR: 'a file lies where a folder belongs',
  EISDIR: 'a folder lies where the image belongs',
};

function refuse(path: string, error: unknown): never {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (!Object.hasOwn(REASONS, code)) throw error;
  return infra(`the kept disk ${path} cannot be used: ${REASONS[code]}; mend that, or name another image with VIGIL_STATE`);
}
