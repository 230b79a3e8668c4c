// SPDX-License-Identifier: Apache-2.0
// Where things lie in the checkout. Every script takes the root from here, so that a test can build a copy elsewhere.
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

/** The root of this checkout, absolute, without a trailing slash. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Function names of every module built, below the root: one file a module, named by the digest of its ELF. */
export const SYMBOLS = 'build/symbols';

/** The two flavours of an image: what ships, and the one that holds the mutants of the canaries. */
export type Flavour = 'shipping' | 'mutant';

/** Paths of a build below one root. */
export interface Paths {
  root: string;
  flavour: Flavour;
  /** per module: NAME.wasm, module.c, NAME.elf */
  modules: string;
  kernel: string;
  /** kernel.elf, bundle.vgb, manifest.json */
  image: string;
  cache: string;
  /** generated headers; the mutant flavour has its own syscall_table.inc */
  gen: string;
}

/** Paths of one flavour. */
export function pathsOf(root: string, flavour: Flavour): Paths {
  const base = join(root, 'build');
  const mutant = flavour === 'mutant';
  return {
    root,
    flavour,
    modules: join(base, mutant ? 'mutant/modules' : 'modules'),
    kernel: join(base, mutant ? 'mutant/kernel' : 'kernel'),
    image: join(base, mutant ? 'mutant' : 'image'),
    cache: join(base, 'cache'),
    gen: join(base, mutant ? 'gen-mutant' : 'gen'),
  };
}
