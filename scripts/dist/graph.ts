// SPDX-License-Identifier: Apache-2.0
// Owns: which compiled files and which npm packages a program needs.
// Invariant: every static and dynamic import with a literal name is followed, but for the files of `leave`; an import whose name is
// computed is followed by nobody, so its files must be entries. A file that is missing is an error.
// Limits: JavaScript modules of one folder; packages are named, not walked.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { init, parse } from 'es-module-lexer';
import { wrong } from '../lib/fail.js';

export interface Graph { readonly files: readonly string[]; readonly packages: readonly string[] }

/** `@scope/name/path` and `name/path` without their path. */
function packageOf(specifier: string): string {
  return specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}

/** Walks from `entries` (paths below `root`). @throws Failure 1 naming the file that imports what is not there. */
export async function importGraph(root: string, entries: readonly string[], leave: ReadonlySet<string>): Promise<Graph> {
  await init;
  const files = new Set<string>();
  const packages = new Set<string>();
  const open = entries.map((file) => ({ file, by: 'the list of entries' }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { file, by } = next;
    if (files.has(file) || leave.has(file)) continue;
    if (!existsSync(join(root, file))) wrong(`dist: ${file} is missing; ${by} needs it`);
    files.add(file);
    const [imports] = parse(readFileSync(join(root, file), 'utf8'), file);
    for (const found of imports) {
      const literal = found.type === 'static' || found.type === 'reexport-star' || (found.type === 'dynamic' && !found.glob);
      const specifier = literal ? found.specifier : undefined;
      if (specifier === undefined || specifier.startsWith('node:')) continue;
      if (specifier.startsWith('.')) open.push({ file: normalize(join(dirname(file), specifier)), by: file });
      else packages.add(packageOf(specifier));
    }
  }
  return { files: [...files].sort(), packages: [...packages].sort() };
}

interface PackageJson {
  readonly dependencies?: Record<string, string>; readonly optionalDependencies?: Record<string, string>;
}

/** Reads a package's own description. */
function describe(root: string, name: string): PackageJson {
  return JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')) as PackageJson;
}

/** The packages and all that they depend on, as npm laid them out (flat). Optional ones come along where they are installed. */
export function withDependencies(root: string, names: readonly string[]): string[] {
  const all = new Set<string>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (all.has(name)) continue;
    if (!existsSync(join(root, 'node_modules', name, 'package.json'))) wrong(`dist: the package ${name} is not installed; run: npm ci`);
    all.add(name);
    const { dependencies = {}, optionalDependencies = {} } = describe(root, name);
    open.push(...Object.keys(dependencies).filter((other) => !(other in optionalDependencies)));
    open.push(...Object.keys(optionalDependencies).filter((other) => existsSync(join(root, 'node_modules', other))));
  }
  return [...all].sort();
}
