// SPDX-License-Identifier: Apache-2.0
// package.json, the lock and the justfile say what the set-up and the docs rely on.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';

interface Locked {
  version?: string;
  resolved?: string;
  hasInstallScript?: boolean;
  optionalDependencies?: Record<string, string>;
}

const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');
const manifest = JSON.parse(read('package.json')) as {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  allowScripts: Record<string, boolean>;
  engines: { node: string };
};
const locked = (JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> }).packages;

test('every direct dependency is pinned exactly', () => {
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
});

test('exactly the packages with install scripts that we need may run them', () => {
  const scripted = Object.entries(locked).filter(([, entry]) => entry.hasInstallScript === true);
  const names = scripted.map(([path]) => path.replace(/^.*node_modules\//, ''));
  assert.deepEqual([...new Set(names)].sort(), Object.keys(manifest.allowScripts).sort());
});

test('the lock lists each optional package of another platform, so that npm ci accepts it there', () => {
  for (const [path, entry] of Object.entries(locked)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const found = locked[`${path}/node_modules/${name}`] ?? locked[`node_modules/${name}`];
      assert.ok(found, `${name}, wanted by ${path}, is not in package-lock.json`);
      if (/^\d/.test(version)) assert.equal(found.version, version, name);
    }
  }
});

test('the lock names no download host', () => {
  const hosts = Object.entries(locked).filter(([, entry]) => entry.resolved !== undefined);
  assert.deepEqual(hosts.map(([path]) => path), []);
});

test('the Node floor is the same in package.json and in the set-up', () => {
  const floor = /NODE_MIN = \[(\d+), (\d+)\]/.exec(read('scripts/setup.mjs'));
  assert.equal(manifest.engines.node, `>=${floor?.[1]}.${floor?.[2]}`);
});

test('just lists every recipe with one line, and each script it runs is there', () => {
  const just = spawnSync(join(ROOT, 'node_modules/.bin/just'), ['--dump', '--dump-format', 'json'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.equal(just.status, 0, just.stderr);
  const { recipes } = JSON.parse(just.stdout) as { recipes: Record<string, { doc: string | null }> };
  const required = ['build', 'test', 'test-host', 'test-os', 'canary', 'determinism', 'bench', 'bisect', 'qemu', 'gdb'];
  for (const name of [...required, 'doctor', 'new-service', 'clean']) assert.ok(recipes[name], `recipe ${name}`);
  for (const [name, recipe] of Object.entries(recipes)) assert.ok((recipe.doc ?? '').length > 10, `${name} says what it does`);
  for (const [script] of read('justfile').matchAll(/scripts\/[\w-]+\.(?:ts|mjs)/g)) {
    assert.ok(existsSync(join(ROOT, script)), script);
  }
});

test('a Node that is too old gets its one line: the entry is parsed by old engines', () => {
  const entry = read('scripts/setup.mjs').replace(/^\/\/.*$/gm, '');
  assert.doesNotMatch(entry, /\?\.|\?\?|`|=>|\bawait\b|\bconst\b|\blet\b/);
});
