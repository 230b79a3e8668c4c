// SPDX-License-Identifier: Apache-2.0
// A stand-in machine for set-up tests: a folder with our set-up scripts, a PATH of its own, and stub system programs.
// Invariant: a set-up run in it can reach no real apt-get, npm or sudo; everything lies in one temporary folder.
// Limits: proves decisions, messages and exit codes; a real install is proved on a fresh machine, not here.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../scripts/lib/paths.js';

const NOBODY = 65534;

/** What a run of scripts/setup.mjs (or another of our scripts) said. */
export interface Outcome {
  code: number | null;
  stderr: string;
  stdout: string;
}

export class Machine {
  readonly root = mkdtempSync(join(tmpdir(), 'vigil-setup-'));
  private readonly bin = join(this.root, 'bin');
  private readonly checkout = join(this.root, 'checkout');

  constructor() {
    mkdirSync(join(this.checkout, 'scripts'), { recursive: true });
    mkdirSync(this.bin);
    cpSync(join(ROOT, 'scripts/setup'), join(this.checkout, 'scripts/setup'), { recursive: true });
    for (const name of ['setup.mjs', 'doctor.mjs', 'clean.mjs']) {
      cpSync(join(ROOT, 'scripts', name), join(this.checkout, 'scripts', name));
    }
    this.lock({ 'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' } });
    for (const folder of [this.root, this.bin, this.checkout]) chmodSync(folder, 0o777);
  }

  /** Writes package-lock.json with these packages. */
  lock(packages: Record<string, object>): void {
    writeFileSync(join(this.checkout, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...packages } }));
  }

  /** Makes node_modules look as npm leaves it after installing these packages. */
  installed(packages: Record<string, object>): void {
    const pty = join(this.checkout, 'node_modules/node-pty/build/Release');
    mkdirSync(pty, { recursive: true });
    writeFileSync(join(pty, 'pty.node'), '');
    mkdirSync(join(this.checkout, 'node_modules/.bin'), { recursive: true });
    for (const name of Object.keys(packages)) {
      mkdirSync(join(this.checkout, name), { recursive: true });
      writeFileSync(join(this.checkout, name, 'package.json'), '{}');
    }
    writeFileSync(join(this.checkout, 'node_modules/.package-lock.json'), JSON.stringify({ packages }));
  }

  /** Puts a shell script of this name on the machine's PATH. `$BIN` is the PATH folder, `$CHECKOUT` the checkout. */
  program(name: string, script = 'exit 0'): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\nBIN=${this.bin}\nCHECKOUT=${this.checkout}\n${script}\n`, { mode: 0o755 });
  }

  /** Every program that build, boot, test and npm need, as stubs. */
  complete(): void {
    this.installed({ 'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' } });
    for (const name of ['qemu-system-riscv64', 'riscv64-unknown-elf-gcc', 'git', 'python3', 'make', 'g++', 'cc', 'openssl']) this.program(name);
    const firmware = join(this.root, 'share/qemu');
    mkdirSync(firmware, { recursive: true });
    writeFileSync(join(firmware, 'opensbi-riscv64-generic-fw_dynamic.bin'), '');
  }

  remove(...names: string[]): void {
    for (const name of names) rmSync(join(this.bin, name), { force: true });
  }

  file(path: string): string {
    return join(this.checkout, path);
  }

  /** Runs one of our scripts here. `unprivileged` runs it as nobody when the tests themselves run as root. */
  run(script: string, args: string[] = [], options: { unprivileged?: boolean; env?: Record<string, string> } = {}): Outcome {
    const asNobody = options.unprivileged === true && process.getuid?.() === 0;
    const answer = spawnSync(process.execPath, [join(this.checkout, 'scripts', script), ...args], {
      cwd: this.checkout,
      encoding: 'utf8',
      timeout: 20_000,
      env: { PATH: this.bin, HOME: this.root, ...options.env },
      ...(asNobody ? { uid: NOBODY, gid: NOBODY } : {}),
    });
    return { code: answer.status, stderr: answer.stderr, stdout: answer.stdout };
  }

  dispose(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
