// SPDX-License-Identifier: Apache-2.0
// Owns: how a host tool gets the bytes of a module of assembly/host: made anew in a checkout, as shipped in a distribution.
// Invariant: the compilers are loaded only where there are sources to compile; a distribution has neither.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { infra } from './fail.js';
import { ROOT } from './paths.js';

/** The bytes of a host module. @throws Failure 1 when it does not compile, 3 without the tools or the shipped file. */
export async function hostModule(name: string, root: string = ROOT): Promise<Uint8Array> {
  if (existsSync(join(root, 'assembly/host'))) {
    const { freshHostModule } = await import('./host-modules.js');
    return readFileSync(join(root, await freshHostModule(name, root)));
  }
  const path = join(root, 'build/host', `${name}.wasm`);
  return existsSync(path) ? readFileSync(path) : infra(`${path} is missing; unpack the distribution again`);
}
