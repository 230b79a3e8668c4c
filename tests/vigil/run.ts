// SPDX-License-Identifier: Apache-2.0
// Runs the real `vigil` in a process of its own, as a person does: no terminal, a given environment. Not a test by itself.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';

export const VIGIL = ['--import', 'tsx', join(ROOT, 'scripts/vigil.ts')];
const TIMEOUT_MS = 120_000;

export interface Ran { readonly code: number | null; readonly out: string; readonly err: string }

/** What surrounds a command: nothing of the caller's that would change what it does. */
export function environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME', 'TMPDIR'].flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  return { ...Object.fromEntries(kept) as NodeJS.ProcessEnv, ...more };
}

/** Ends by itself or is ended after TIMEOUT_MS (code null). */
export function vigil(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...VIGIL, ...args], { cwd: ROOT, env: environment(env), stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
    let [out, err] = ['', ''];
    child.stdout.on('data', (bytes: Buffer) => { out += bytes.toString(); });
    child.stderr.on('data', (bytes: Buffer) => { err += bytes.toString(); });
    child.on('close', (code) => { resolve({ code, out, err }); });
  });
}

/** A folder that is gone when the test has ended. */
export function folderOf(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-command-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
