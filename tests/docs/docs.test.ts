// SPDX-License-Identifier: Apache-2.0
// The docs and what they describe are held together: generated pages, links, recipes and files that a page names.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { pages, stalePages } from '../../scripts/docs.js';
import { loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { steps } from '../../scripts/test/steps.js';

const TOP = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md'];

function below(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? below(path) : entry.name.endsWith('.md') ? [path] : [];
  });
}

const manuals = [...TOP.map((name) => join(ROOT, name)), ...below(join(ROOT, 'docs'))];
const read = (path: string): string => readFileSync(path, 'utf8');
const recipes = new Set([...read(join(ROOT, 'justfile')).matchAll(/^([a-z][a-z-]*)(?: \*ARGS)?:/gm)].map((match) => match[1]));

test('docs/syscalls is what abi/*.toml says (else: just docs)', () => {
  assert.deepEqual(stalePages(), []);
});

test('there is one page a system call, and each names every error with its cause', () => {
  const all = pages();
  for (const call of loadAbi().syscalls) {
    const page = [...all].find(([path]) => path.endsWith(`_${call.name}.md`))?.[1];
    assert.ok(page, call.name);
    for (const error of call.errors) assert.match(page, new RegExp(`\\| -\\d+ \\| \`${error}\` \\| \\w`), call.name);
  }
});

test('every link between pages leads to a file', () => {
  for (const manual of manuals) {
    for (const [, target] of read(manual).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)/g)) {
      const path = join(dirname(manual), decodeURIComponent(target ?? ''));
      assert.ok(existsSync(path), `${relative(ROOT, manual)}: ${target}`);
    }
  }
});

test('every `just RECIPE` that a page names is in the justfile', () => {
  for (const manual of manuals) {
    for (const [, recipe] of read(manual).matchAll(/`(?:npx )?just ([a-z][a-z-]*)/g)) {
      assert.ok(recipes.has(recipe ?? ''), `${relative(ROOT, manual)}: just ${recipe}`);
    }
  }
});

test('every path of this checkout that a page puts in code quotes is there', () => {
  const folders = 'abi|assembly|boot|docs|image|markers|runtime|scripts|tests';
  const quoted = new RegExp(`\`((?:${folders})/[\\w./-]*\\w)\``, 'g');
  const built = /^(assembly\/gen|build)\b/;
  for (const manual of manuals) {
    for (const [, path] of read(manual).matchAll(quoted)) {
      if (path === undefined || built.test(path) || /NAME|NN|PHASE/.test(path)) continue;
      assert.ok(existsSync(join(ROOT, path)), `${relative(ROOT, manual)}: ${path}`);
    }
  }
});

test('CI runs npm test and nothing else', () => {
  assert.match(read(join(ROOT, '.ci/run')), /^exec npm test$/m);
  assert.match(read(join(ROOT, '.github/workflows/ci.yml')), /- run: bash \.ci\/run$/m);
});

test('the steps of npm test name each gate of the project once', () => {
  const names = steps(ROOT).map(({ name }) => name).filter((name) => name !== 'as-pect');
  assert.deepEqual(names, [
    'lint', 'types', 'build', 'build-mutant', 'host', 'crash-sim', 'os-modern', 'os-recipe-gpu', 'os-invalid',
    'os-state-no-flush', 'os-state-read-only', 'os-state-foreign', 'os-state-small', 'os-state-absent', 'os-disk-errors', 'os-disk-ro', 'os-persist',
    'os-legacy', 'crash-test', 'crash-canary', 'soak', 'soak-canary', 'canary', 'determinism', 'bench',
  ]);
});

test('the sizes in docs/architecture.md are within a tenth of the truth', () => {
  const countLines = (folder: string, ending: RegExp): number[] =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => ending.test(name) && !name.startsWith('bench/'))
      .map((name) => read(join(ROOT, folder, name)).split('\n').length - 1);
  const sum = (counts: number[]): number => counts.reduce((total, count) => total + count, 0);
  const kernel = countLines('assembly/kernel', /\.ts$/);
  const truth = [sum(kernel), Math.max(...kernel), sum(countLines('runtime/guest', /\.[chS]$/))];
  const table = read(join(ROOT, 'docs/architecture.md')).split('## Size')[1] ?? '';
  const said = [...table.matchAll(/^\| .* \| ([\d,]+)/gm)].map(([, figure]) => Number(figure?.replaceAll(',', '')));
  assert.equal(said.length, truth.length);
  truth.forEach((figure, at) => assert.ok(Math.abs(said[at]! - figure) <= figure / 10, `says ${said[at]}, is ${figure}`));
});

test('the index of decisions lists each once', () => {
  const folder = join(ROOT, 'docs/adr');
  const index = read(join(folder, 'README.md'));
  for (const name of readdirSync(folder).filter((file) => /^\d/.test(file))) {
    assert.equal(index.split(`](${name})`).length - 1, 1, name);
  }
});
