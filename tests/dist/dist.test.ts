// SPDX-License-Identifier: Apache-2.0
// The tarball: the same bytes twice, what it holds is what its sums say, it runs where there is no checkout, and no build tool is in it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { QEMU } from '../../boot/machines.js';
import { importGraph } from '../../scripts/dist/graph.js';
import { onPath } from '../../scripts/gate/find-qemu.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { FakeEngine, fakeLibrary } from '../bridge/fake-dcgm.js';

const folder = mkdtempSync(join(tmpdir(), 'vigil-dist-'));
after(() => { rmSync(folder, { recursive: true, force: true }); });
const put = (path: string, text: string): void => {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
};

test('the graph follows static, dynamic and re-exported imports, names packages, and leaves what it is told to', async () => {
  put('g/a.js', `import './b.js'; export * from './c/d.js'; const later = () => import('./e.js'); import koffi from 'koffi'; import 'node:fs';`);
  put('g/b.js', `import { x } from '@scope/pkg/deep/path'; const s = "import './never.js'"; const glob = (n) => import(\`./x/\${n}.js\`);`);
  put('g/c/d.js', `import '../b.js';`);
  put('g/e.js', `import './gone.js';`);
  const root = join(folder, 'g');
  const { files, packages } = await importGraph(root, ['a.js'], new Set(['e.js']));
  assert.deepEqual(files, ['a.js', 'b.js', 'c/d.js']);
  assert.deepEqual(packages, ['@scope/pkg', 'koffi']);
  await assert.rejects(importGraph(root, ['a.js'], new Set()), /gone\.js is missing; e\.js needs it/);
});

/** Of what `inspect --json` says: the source's label and how many entities it has. */
function pick(json: string): [string, number] {
  const { source, entities } = JSON.parse(json) as { source: string; entities: unknown[] };
  return [source, entities.length];
}

const built = existsSync(join(ROOT, 'build/image/manifest.json')) && existsSync(join(ROOT, 'build/host/state.wasm'));
const skip = built ? false : 'the image is not built';

test('two runs give the same tarball, and it runs by itself', { skip, timeout: 300_000 }, () => {
  const make = (output: string): string => {
    const run = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/dist.ts', '--no-build', '--output', join(folder, output)], {
      cwd: ROOT, encoding: 'utf8', env: { ...process.env, SOURCE_DATE_EPOCH: '1767225600' },
    });
    assert.equal(run.status, 0, run.stderr + run.stdout);
    return readFileSync(join(folder, output, 'SHA256SUMS'), 'utf8');
  };
  assert.equal(make('one'), make('two'));
  const [name] = readdirSync(join(folder, 'one')).filter((file) => file.endsWith('.tar.gz'));
  assert.equal(spawnSync('tar', ['-xzf', join(folder, 'one', name!), '-C', folder]).status, 0);
  const at = join(folder, name!.replace('.tar.gz', ''));
  const shell = (command: string) =>
    spawnSync('/bin/sh', ['-c', command], { cwd: at, encoding: 'utf8', env: { PATH: `${dirname(process.execPath)}:/usr/bin:/bin`, HOME: folder } });
  assert.equal(shell('sha256sum --check --quiet SHA256SUMS').status, 0);
  const listed = readFileSync(join(at, 'SHA256SUMS'), 'utf8').trim().split('\n').map((line) => line.split('  ')[1]!);
  assert.deepEqual(shell('find . -type f | sed s,^./,, | LC_ALL=C sort').stdout.trim().split('\n').filter((path) => path !== 'SHA256SUMS'), [...listed].sort());
  assert.ok(!listed.some((path) => /^node_modules\/(assemblyscript|binaryen|esbuild|node-pty|tsx|typescript|wabt)\//.test(path)), 'a build tool is in it');
  assert.match(shell('./vigil --help').stdout, /^Usage: vigil/);
  writeFileSync(join(folder, 'blank.img'), Buffer.alloc(8 << 20));
  const fsck = shell(`./vigil state fsck ${join(folder, 'blank.img')}`);
  assert.deepEqual([fsck.status, fsck.stderr], [0, ''], fsck.stdout);
  if (fakeLibrary !== null) {
    // The vendor's library runs in a process of its own, through koffi, which the tarball carries.
    const engine = new FakeEngine('gpus 2');
    writeFileSync(join(folder, 'dcgm.toml'),
      `[source]\nkind = "dcgm"\nlibrary = "${fakeLibrary}"\n[receivers.dcgm]\nendpoint = "${engine.endpoint}"\n`);
    const inspected = shell(`./vigil inspect --config ${join(folder, 'dcgm.toml')} --json`);
    assert.equal(inspected.status, 0, inspected.stderr);
    assert.deepEqual(pick(inspected.stdout), ['dcgm', 2]);
  }
  if (onPath(QEMU) !== null) {
    const once = shell(`VIGIL_STATE=${join(folder, 'once.img')} ./vigil up --once --json --source replay`);
    assert.equal(once.status, 0, once.stderr);
    assert.match(once.stdout, /"replay"/);
  }
  const refused = shell('./vigil nonsense');
  assert.deepEqual([refused.status, refused.stderr.includes('at ')], [2, false], refused.stderr);
});

test('a usage error and a missing image are named', () => {
  const run = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/dist.ts', '--nonsense'], { cwd: ROOT, encoding: 'utf8' });
  assert.equal(run.status, 2);
  const epoch = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/dist.ts', '--help'], { cwd: ROOT, encoding: 'utf8' });
  assert.deepEqual([epoch.status, /--output/.test(epoch.stdout)], [0, true]);
});
