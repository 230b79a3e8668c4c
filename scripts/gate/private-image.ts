// SPDX-License-Identifier: Apache-2.0
// Owns: the private copy of an image and its sockets that one QEMU runs on.
// Invariant: a folder goes when its machine ends; what a killed process left is swept once it is older than STALE_AGE_MS and its
// process is gone. Limits: socket paths as boot/machines.ts says.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { socketsIn, type Sockets } from '../../boot/machines.js';
import { sha256 } from '../lib/cache.js';
import { infra, wrong } from '../lib/fail.js';
import { alive } from '../lib/lock.js';
import { ROOT, pathsOf, type Flavour } from '../lib/paths.js';

/** Private copies of one image, and what they are. */
export interface PrivateImage {
  dir: string;
  kernelPath: string;
  bundlePath: string;
  sockets: Sockets;
  kernelSha256: string;
  bundleSha256: string;
  /** SHA-256 of the manifest: the bundle's identity, read from its header */
  bundleIdentity: string;
}

const HEADER_BYTES = 96;
const IDENTITY_OFFSET = 64;

/** The identity in a bundle's header (docs/format/bundle.md). @throws Failure 1 when the file is no bundle. */
export function bundleIdentity(bytes: Buffer, name: string): string {
  if (bytes.length < HEADER_BYTES || bytes.subarray(0, 8).toString('latin1') !== 'VIGILBN1') {
    wrong(`${name} is not a bundle; build it anew: just build`);
  }
  return bytes.subarray(IDENTITY_OFFSET, IDENTITY_OFFSET + 32).toString('hex');
}

/** A folder younger than this is left alone, so that two machines that share one /tmp do not judge each other's processes. */
const STALE_AGE_MS = 600_000;
const PRIVATE_NAME = /^vigil-(\d+)-/;

/** Removes private folders whose process was killed before it could. What another user owns stays. */
export function sweepPrivate(folder: string = tmpdir(), nowMs: number = Date.now()): void {
  for (const name of readdirSync(folder)) {
    const pid = PRIVATE_NAME.exec(name)?.[1];
    if (pid === undefined || alive(Number(pid))) continue;
    try {
      const path = join(folder, name);
      const { mtimeMs, uid } = statSync(path);
      if (uid === process.getuid?.() && nowMs - mtimeMs > STALE_AGE_MS) rmSync(path, { recursive: true, force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** A short private directory, which sweepPrivate() removes if this process cannot. */
export function privateFolder(): string {
  return mkdtempSync(join(tmpdir(), `vigil-${process.pid}-`));
}

/** Copies an image into a short private directory. @throws Failure 3 when it was not built. */
export function privateImage(flavour: Flavour, root: string = ROOT): PrivateImage {
  const from = pathsOf(root, flavour).image;
  for (const name of ['kernel.elf', 'bundle.vgb']) {
    const build = `npm run build${flavour === 'mutant' ? ' -- --mutant' : ''}`;
    if (!existsSync(join(from, name))) infra(`${join(from, name)} is missing; run: ${build}`);
  }
  sweepPrivate();
  const dir = privateFolder();
  try {
    const [kernelPath, bundlePath] = [join(dir, 'kernel.elf'), join(dir, 'bundle.vgb')];
    copyFileSync(join(from, 'kernel.elf'), kernelPath);
    copyFileSync(join(from, 'bundle.vgb'), bundlePath);
    const bundle = readFileSync(bundlePath);
    return {
      dir,
      kernelPath,
      bundlePath,
      sockets: socketsIn(dir),
      kernelSha256: sha256(readFileSync(kernelPath)),
      bundleSha256: sha256(bundle),
      bundleIdentity: bundleIdentity(bundle, 'bundle.vgb'),
    };
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

/** Removes what privateImage() made. */
export function dropImage(image: PrivateImage): void {
  rmSync(image.dir, { recursive: true, force: true });
}
