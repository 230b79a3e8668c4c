// SPDX-License-Identifier: Apache-2.0
// Deliberate bugs that the simulation must find: the engine's own (assembly/lib/statefs/faults.ts) and the mutants of statefsd. Each is
// the shipping source with one switch on; `none` is what ships.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildModule, mutantSources, Recycled } from '../../../runtime/node/index.js';
import { ROOT } from '../../../scripts/lib/paths.js';

const FAULTS = 'assembly/lib/statefs/faults.ts';
/** Mutants of statefsd that a crash shows, in lower case as markers/ names them. */
const MUTANTS = ['statefs_acks_before_flush'];

/** Names of the engine's switches, lower case without their prefix. */
export function engineBugs(): string[] {
  const text = readFileSync(join(ROOT, FAULTS), 'utf8');
  return [...text.matchAll(/^export const FAULT_([A-Z_]+): bool = false;$/gm)].map(([, name]) => name!.toLowerCase());
}
export function bugNames(): string[] {
  return [...MUTANTS, ...engineBugs()];
}

/** The program to simulate and the number of its mutant. @throws Error for a name that is none of bugNames(). */
export async function programWith(bug: string): Promise<{ program: Recycled; mutant: number }> {
  if (bug === 'none') return { program: new Recycled(await buildModule('statefsd')), mutant: 0 };
  if (MUTANTS.includes(bug)) {
    const { replace, numbers } = mutantSources();
    return { program: new Recycled(await buildModule('statefsd', { replace })), mutant: numbers.get(bug)! };
  }
  if (!engineBugs().includes(bug)) throw new Error(`no bug is called ${bug} (${bugNames().join(', ')})`);
  const text = readFileSync(join(ROOT, FAULTS), 'utf8');
  const broken = text.replace(`FAULT_${bug.toUpperCase()}: bool = false`, `FAULT_${bug.toUpperCase()}: bool = true`);
  return { program: new Recycled(await buildModule('statefsd', { replace: { [FAULTS]: broken } })), mutant: 0 };
}
