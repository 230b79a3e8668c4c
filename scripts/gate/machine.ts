// SPDX-License-Identifier: Apache-2.0
// Starting and ending one QEMU of ours. Owns: finding the binary, judging its version, the pseudo-terminal, its private directory.
// Invariant: only the process that this object started is ever signalled; its directory (images, sockets) goes when it ends.
// If this process dies, the terminal hangs up and QEMU ends with it.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { spawn, type IPty } from 'node-pty';
import { QEMU, socketsIn, type Sockets } from '../../boot/machines.js';
import { judgeVersion, type Verdict } from '../../boot/versions.js';
import { sha256 } from '../lib/cache.js';
import { infra, wrong } from '../lib/fail.js';
import { alive } from '../lib/lock.js';
import { ROOT, pathsOf, type Flavour } from '../lib/paths.js';

/** How long QEMU may take to end after SIGTERM before SIGKILL. */
const TERM_GRACE_MS = 2000;
const VERSION_TIMEOUT_MS = 10_000;

export interface QemuBinary {
  path: string;
  /** the first line of --version */
  banner: string;
  verdict: Verdict;
}

/** Finds an executable on PATH; null when there is none. */
export function onPath(name: string, env: NodeJS.ProcessEnv = process.env): string | null {
  for (const dir of (env.PATH ?? '').split(delimiter).filter((part) => part !== '')) {
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this directory
    }
  }
  return null;
}

/** @throws Failure 3 when QEMU is missing, does not answer, or is a version known not to work. */
export function findQemu(): QemuBinary {
  const path = onPath(QEMU) ?? infra(`${QEMU} is missing; install it with: sudo apt-get install qemu-system-misc`);
  const run = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: VERSION_TIMEOUT_MS });
  if (run.error !== undefined || run.status !== 0) infra(`${path} --version failed (${run.error?.message ?? `status ${run.status}`})`);
  const banner = run.stdout.split('\n')[0]!.trim();
  const verdict = judgeVersion(banner);
  if (verdict.kind === 'broken') infra(verdict.message);
  return { path, banner, verdict };
}

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

export interface Exit {
  status: number;
  /** the signal that ended it, 0 for none */
  signal: number;
  /** true when the signal was ours */
  ours: boolean;
}

/** One running QEMU. */
export class Qemu {
  readonly exited: Promise<Exit>;
  private readonly pty: IPty;
  private ours = false;
  private gone = false;
  private killer: NodeJS.Timeout | null = null;

  /** Starts QEMU on a terminal of its own; its stderr goes to a file, so that it never mixes with the guest's console. */
  constructor(path: string, argv: string[], stderrPath: string, onData: (bytes: Buffer) => void) {
    const script = 'exec 2>"$0"; exec "$@"';
    this.pty = spawn('/bin/sh', ['-c', script, stderrPath, path, ...argv], {
      name: 'dumb',
      cols: 240,
      rows: 50,
      encoding: null,
      env: process.env as Record<string, string>,
    });
    // With encoding null the data are Buffers, whatever the type says.
    this.pty.onData((data) => onData(data as unknown as Buffer));
    this.exited = new Promise((resolve) => {
      this.pty.onExit(({ exitCode, signal }) => {
        this.gone = true;
        if (this.killer !== null) clearTimeout(this.killer);
        resolve({ status: exitCode, signal: signal ?? 0, ours: this.ours });
      });
    });
  }

  get pid(): number {
    return this.pty.pid;
  }

  /** Ends it: SIGTERM, then SIGKILL after TERM_GRACE_MS. Does nothing when it is gone. */
  stop(): void {
    if (this.gone || this.ours) return;
    this.ours = true;
    this.signal('SIGTERM');
    this.killer = setTimeout(() => this.signal('SIGKILL'), TERM_GRACE_MS);
  }

  /** Ends it at once, as a power cut would: nothing of QEMU runs on. */
  kill(): void {
    if (this.gone) return;
    this.ours = true;
    this.signal('SIGKILL');
  }

  private signal(name: NodeJS.Signals): void {
    if (this.gone) return;
    try {
      process.kill(this.pty.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
