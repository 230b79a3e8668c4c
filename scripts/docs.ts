// SPDX-License-Identifier: Apache-2.0
// `just docs`: writes docs/syscalls/ and the tables of docs/operators from abi/*.toml. `--check` writes nothing and fails when a page is
// not what it would write. Invariant: docs/syscalls holds exactly the generated pages; of the others only the blocks between their marks
// are ours. Exit codes: 0, 1 with --check when something differs, 2 usage.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { filledPages } from './docs/filled-pages.js';
import { pageName, syscallIndex, syscallPage } from './docs/syscall-pages.js';
import { loadAbi } from './lib/abi.js';
import { runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';
import { readToml, rows, text } from './lib/table.js';

const FOLDER = 'docs/syscalls';

/** Every generated page: path below the root, and its text. */
export function pages(root: string = ROOT): Map<string, string> {
  const abi = loadAbi(root);
  const where = 'abi/errors.toml';
  const causes = new Map(
    rows(readToml(join(root, where)), 'error', where).map((row) => [text(row, 'name', where), text(row, 'cause', where)]),
  );
  const all = new Map([[`${FOLDER}/README.md`, syscallIndex(abi, causes)]]);
  for (const call of abi.syscalls) all.set(`${FOLDER}/${pageName(call)}`, syscallPage(call, abi, causes));
  for (const [path, content] of filledPages(root)) all.set(path, content);
  return all;
}

/** Paths that differ from what would be written: missing, changed, or no page of ours. */
export function stalePages(root: string = ROOT): string[] {
  const wanted = pages(root);
  const stale = [...wanted].filter(([path, content]) => {
    const file = join(root, path);
    return !existsSync(file) || readFileSync(file, 'utf8') !== content;
  });
  const folder = join(root, FOLDER);
  const there = existsSync(folder) ? readdirSync(folder).map((name) => `${FOLDER}/${name}`) : [];
  return [...stale.map(([path]) => path), ...there.filter((path) => !wanted.has(path))];
}

function write(root: string): string[] {
  const stale = stalePages(root);
  const wanted = pages(root);
  mkdirSync(join(root, FOLDER), { recursive: true });
  for (const path of stale) {
    const content = wanted.get(path);
    if (content === undefined) rmSync(join(root, path));
    else writeFileSync(join(root, path), content);
  }
  return stale;
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => arg !== '--check');
  if (unknown !== undefined) usage(`unknown option ${unknown}; usage: just docs [--check]`);
  if (args.includes('--check')) {
    const stale = stalePages();
    for (const path of stale) console.log(`${path} is not what abi/*.toml says; run: just docs`);
    return stale.length === 0 ? 0 : 1;
  }
  const written = write(ROOT);
  console.log(written.length === 0 ? 'docs: up to date' : `docs: wrote ${written.join(' ')}`);
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain('docs', main);
