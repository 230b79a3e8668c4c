// SPDX-License-Identifier: Apache-2.0
// Links of what operators read: every relative link leads to a file, every anchor to a heading, every page is in the index.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { anchors, links } from './headings.js';
import { FOLDER, operatorPages, read } from './pages.js';

/** Links of a page that lead nowhere. */
function broken(path: string, text: string): string[] {
  return links(text).filter((target) => {
    const [file, anchor] = target.split('#');
    const page = file === '' ? join(ROOT, path) : join(ROOT, dirname(path), decodeURIComponent(file!));
    if (file !== '' && !existsSync(page)) return true;
    if (anchor === undefined || !page.endsWith('.md')) return false;
    return !anchors(file === '' ? text : readFileSync(page, 'utf8')).has(anchor);
  });
}

for (const path of ['README.md', 'docs/gpu/hardware-testing.md', 'docs/gpu/tried.md', 'docs/gpu/scenarios.md', ...operatorPages().map((page) => page.path)]) {
  test(`links of ${path}`, () => { assert.deepEqual(broken(path, read(path)), []); });
}

test('a link to no file, and one to no heading, are seen', () => {
  assert.deepEqual(broken(`${FOLDER}/x.md`, '# A\n[a](none.md) [b](#b) [c](#a) [d](README.md#nothing) [e](README.md)'), ['none.md', '#b', 'README.md#nothing']);
});

test('the index links every page of the folder', () => {
  const index = operatorPages().find(({ path }) => path === `${FOLDER}/README.md`)!;
  const linked = new Set(links(index.text).map((target) => relative('.', join(FOLDER, target.split('#')[0]!))));
  for (const { path } of operatorPages()) assert.ok(path === index.path || linked.has(path), path);
});

test('the index links every file to take, and the issue form', () => {
  const index = operatorPages().find(({ path }) => path === `${FOLDER}/README.md`)!;
  const linked = new Set(links(index.text).map((target) => relative('.', join(FOLDER, target))));
  const files = ['prometheus', 'grafana'].flatMap((folder) => readdirSync(join(ROOT, 'deploy', folder)).map((name) => `deploy/${folder}/${name}`));
  for (const path of [...files, '.github/ISSUE_TEMPLATE/gpu-telemetry.yml']) assert.ok(linked.has(path), path);
});
