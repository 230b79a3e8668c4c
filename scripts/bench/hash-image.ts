// SPDX-License-Identifier: Apache-2.0
// The bench's second boot: builds the bare hash image (WASM beside C, runtime/guest/bench) below build/bench and runs it under icount.
// Invariant: it is built anew each time, from the sources of the moment, with the flags of the services; it is part of no image that
// ships. Limit: HASH_TIMEOUT_MS of host time for the boot.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bareArgv } from '../../boot/machines.js';
import { ASC_FLAGS } from '../lib/asc.js';
import { Compilers } from '../lib/compilers.js';
import { infra, wrong } from '../lib/fail.js';
import { buildBenchElf } from '../lib/native.js';
import { ROOT } from '../lib/paths.js';

export const HASH_SOURCE = 'assembly/bench/hash.ts';
/** How its lines begin; firmware lines have another start. */
export const HASH_PREFIX = 'bench: ';
const MEMORY_PAGES = '4';
const HASH_TIMEOUT_MS = 30_000;

/** Compiles the module and links the image; its path. @throws Failure as the build does. */
export async function buildHashImage(root: string = ROOT): Promise<string> {
  const folder = join(root, 'build/bench');
  mkdirSync(folder, { recursive: true });
  const compilers = new Compilers();
  try {
    const flags = [...ASC_FLAGS, '--initialMemory', MEMORY_PAGES, '--maximumMemory', MEMORY_PAGES];
    const { wasm } = await compilers.compile({ root, source: HASH_SOURCE, flags, replace: {} });
    writeFileSync(join(folder, 'hash.wasm'), wasm);
  } finally {
    await compilers.close();
  }
  return buildBenchElf(root, folder, ['build/gen']);
}

/** Boots it and returns its lines without the firmware's. @throws Failure 1 when the guest failed, 3 when QEMU did. */
export function runHashImage(qemuPath: string, image: string): string[] {
  const run = spawnSync(qemuPath, bareArgv(image), { encoding: 'utf8', timeout: HASH_TIMEOUT_MS, stdio: ['ignore', 'pipe', 'pipe'] });
  if (run.error !== undefined) return infra(`the hash image did not end: ${run.error.message}`);
  const lines = run.stdout.split(/\r?\n/).filter((line) => line.startsWith(HASH_PREFIX));
  const failed = lines.find((line) => line.startsWith(`${HASH_PREFIX}FAIL`));
  if (failed !== undefined) return wrong(`the hash image says: ${failed}`);
  if (run.status !== 0) return infra(`QEMU ended with status ${run.status}: ${run.stderr.trim().split('\n').at(-1) ?? ''}`);
  if (lines.at(-1) !== `${HASH_PREFIX}end`) return wrong('the hash image stopped before its last line');
  return lines.slice(0, -1);
}
