// SPDX-License-Identifier: Apache-2.0
// The bench's further boots: bare images (runtime/guest/bench), each built below build/bench and run under icount.
//   hash: WASM beside C (assembly/bench/hash.ts). gpu: scrapes of lib/gpu (assembly/bench/gpu.ts).
// Invariant: an image is built anew each time, from the sources of the moment, with the flags of the services; it is part of no image that
// ships. Limit: BARE_TIMEOUT_MS of host time for a boot.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bareArgv } from '../../boot/machines.js';
import { ASC_FLAGS } from '../lib/asc.js';
import { Compilers } from '../lib/compilers.js';
import { infra, wrong } from '../lib/fail.js';
import { buildBenchElf } from '../lib/native.js';
import { ROOT } from '../lib/paths.js';

/** The images, with their pages of memory (MEMORY_BYTES in their C). They are the sources of rows in boot/budgets.toml. */
export const BARE_IMAGES = { hash: 4, gpu: 90 } as const;
export type BareImage = keyof typeof BARE_IMAGES;
/** How their lines begin; firmware lines have another start. */
export const BARE_PREFIX = 'bench: ';
const BARE_TIMEOUT_MS = 30_000;

/** Compiles the module and links the image; its path. @throws Failure as the build does. */
export async function buildBareImage(name: BareImage, root: string = ROOT): Promise<string> {
  const folder = join(root, 'build/bench', name);
  mkdirSync(folder, { recursive: true });
  const compilers = new Compilers();
  try {
    const pages = String(BARE_IMAGES[name]);
    const flags = [...ASC_FLAGS, '--initialMemory', pages, '--maximumMemory', pages];
    const { wasm } = await compilers.compile({ root, source: `assembly/bench/${name}.ts`, flags, replace: {} });
    writeFileSync(join(folder, `${name}.wasm`), wasm);
  } finally {
    await compilers.close();
  }
  return buildBenchElf(root, folder, ['build/gen'], name);
}

/** Boots one and returns its lines without the firmware's. @throws Failure 1 when the guest failed, 3 when QEMU did. */
export function runBareImage(qemuPath: string, image: string): string[] {
  const run = spawnSync(qemuPath, bareArgv(image), { encoding: 'utf8', timeout: BARE_TIMEOUT_MS, stdio: ['ignore', 'pipe', 'pipe'] });
  if (run.error !== undefined) return infra(`${image} did not end: ${run.error.message}`);
  const lines = run.stdout.split(/\r?\n/).filter((line) => line.startsWith(BARE_PREFIX));
  const failed = lines.find((line) => line.startsWith(`${BARE_PREFIX}FAIL`));
  if (failed !== undefined) return wrong(`${image} says: ${failed}`);
  if (run.status !== 0) return infra(`QEMU ended with status ${run.status}: ${run.stderr.trim().split('\n').at(-1) ?? ''}`);
  if (lines.at(-1) !== `${BARE_PREFIX}end`) return wrong(`${image} stopped before its last line`);
  return lines.slice(0, -1);
}
