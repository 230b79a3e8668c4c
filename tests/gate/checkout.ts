// SPDX-License-Identifier: Apache-2.0
// A copy of this checkout in a temporary directory, with a stand-in for QEMU first on PATH, so that tests of exit codes can run the
// real scripts without touching build/. Not a test by itself. Everything is removed at the end of the test that made it.
import { spawn } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';

/** What the scripts need to run: our sources and tables, not the build. */
const COPIED = [
  'scripts', 'boot', 'markers', 'abi', 'image', 'runtime/attribution', 'runtime/bridge', 'runtime/config', 'runtime/crash', 'runtime/export',
  'runtime/nbd', 'runtime/node', 'runtime/up', 'runtime/web', 'tests/fixtures', 'package.json', 'tsconfig.json',
];
const SCRIPT_TIMEOUT_MS = 60_000;

export interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
  /** the last line of stdout that is not empty */
  last: string;
}

export interface Checkout {
  root: string;
  /** directory that holds only the stand-in `qemu-system-riscv64` */
  bin: string;
  /** runs scripts/NAME.ts of the copy */
  run(script: string, args: string[], env?: Record<string, string>, onStart?: (pid: number) => void): Promise<Ran>;
}

/** A bundle that has only the header the gate reads; the stand-in does not load it. */
function fakeBundle(): Buffer {
  const bytes = Buffer.alloc(96);
  bytes.write('VIGILBN1', 'latin1');
  bytes.fill(0xab, 64, 96);
  return bytes;
}

/** Makes the copy. With `image: false` there is no built image in it. */
export function checkout(context: TestContext, options: { image?: boolean } = {}): Checkout {
  const root = mkdtempSync(join(tmpdir(), 'vg-'));
  context.after(() => rmSync(root, { recursive: true, force: true }));
  for (const name of COPIED) {
    if (!existsSync(join(ROOT, name))) continue;
    mkdirSync(dirname(join(root, name)), { recursive: true });
    cpSync(join(ROOT, name), join(root, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  const bin = join(root, 'bin');
  mkdirSync(bin);
  copyFileSync(join(ROOT, 'tests/gate/stand-in.mjs'), join(bin, 'stand-in.mjs'));
  writeFileSync(join(bin, 'qemu-system-riscv64'), `#!/bin/sh\nexec "${process.execPath}" "${bin}/stand-in.mjs" "$@"\n`, { mode: 0o755 });
  if (options.image !== false) {
    for (const dir of ['build/image', 'build/mutant']) {
      mkdirSync(join(root, dir), { recursive: true });
      writeFileSync(join(root, dir, 'kernel.elf'), 'not a kernel');
      writeFileSync(join(root, dir, 'bundle.vgb'), fakeBundle());
    }
  }
  return {
    root,
    bin,
    run: (script, args, env = {}, onStart = () => undefined) =>
      new Promise((resolve) => {
        const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'scripts', `${script}.ts`), ...args, ...(script === 'bisect' ? [] : ['--no-build'])], {
          cwd: root,
          env: { PATH: `${bin}:${process.env.PATH}`, HOME: process.env.HOME, ...env },
          timeout: SCRIPT_TIMEOUT_MS,
        });
        const out = { stdout: '', stderr: '' };
        child.stdout.on('data', (bytes: Buffer) => (out.stdout += bytes.toString()));
        child.stderr.on('data', (bytes: Buffer) => (out.stderr += bytes.toString()));
        child.on('spawn', () => onStart(child.pid!));
        child.on('close', (status) => resolve({ status, ...out, last: out.stdout.trimEnd().split('\n').at(-1) ?? '' }));
      }),
  };
}

/** Reads a file of the newest run of a copy. */
export function latest(at: Checkout, name: string): string {
  return readFileSync(join(at.root, 'build/logs/latest', name), 'utf8');
}
