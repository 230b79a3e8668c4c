// SPDX-License-Identifier: Apache-2.0
// `just dist`: the tarball for machines that have Node and QEMU and no compiler: image, symbols, `vigil` as plain JavaScript, its npm
// packages, unit file, examples and the operators' docs, with SHA256SUMS inside and beside it.
// Invariant: the same commit and the same npm lock give the same bytes (sorted names, owner 0, one time for all: SOURCE_DATE_EPOCH, else
// that of the commit); nothing of the build tools is in it. Exit codes: 0 done, 1 the product is wrong, 2 usage, 3 infrastructure.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Command } from 'commander';
import { build } from './build.js';
import { importGraph, withDependencies } from './dist/graph.js';
import { parsed } from './gate/options.js';
import { sha256 } from './lib/cache.js';
import { infra, runMain, usage, wrong } from './lib/fail.js';
import { ROOT, SYMBOLS } from './lib/paths.js';
import { listFiles } from './lib/steps.js';

/** What runs, beside the subcommands: the process of the vendor's library, which the bridge starts by its path. */
const ENTRIES = ['scripts/vigil.js', 'runtime/bridge/library/child.js', 'runtime/attribution/mig-child.js', 'runtime/bridge/cli.js'];
/** Loaded in a checkout alone, to compile. */
const LEAVE = new Set(['scripts/lib/host-modules.js']);
/** Read at run time by the files above. */
const DATA = [
  'abi', 'markers', 'image/services.toml', 'build/image', 'build/host', 'docs', 'deploy', 'tests/fixtures/gpu/h100x8.capture.json',
  'LICENSE', 'README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'vigil.example.toml', 'vigil.full.example.toml',
];
/** Of a package: sources of its native half and its docs, which nothing reads. */
const UNUSED =
  /^node_modules\/koffi\/((doc|vendor|cnoke\.cjs)|src\/.*\.(cc|hh|S|asm|inc|def|txt)$)|\.(map|md|markdown)$|\/(test|tests|__tests__)\//;

const LAUNCHER = `#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# vigil: needs Node 20.19 or newer and qemu-system-riscv64 (Debian and Ubuntu: qemu-system-misc).
here=$(dirname "$(readlink -f "$0")")
command -v node > /dev/null || { echo "vigil: node is missing; install Node.js 20.19 or newer" >&2; exit 3; }
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \\
  || { echo "vigil: node $(node --version) is too old; install 20.19 or newer" >&2; exit 3; }
exec node "$here/scripts/vigil.js" "$@"
`;

interface Manifest { readonly name: string; readonly version: string }
function manifestOf(root: string): Manifest {
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
  return { name, version };
}

/** Runs a tool. @throws Failure 3 when it is missing, 1 when it fails. */
function tool(command: string, args: readonly string[], cwd: string): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, maxBuffer: 1 << 30 });
  if (error !== undefined) infra(`${command} cannot be run: ${error.message}`);
  const said = `${stderr}${stdout.subarray(0, 400)}`.trim().split('\n').slice(0, 5).join('; ');
  return status === 0 ? stdout : wrong(`${command} ${args[0] ?? ''} failed: ${said}`);
}

/** Seconds since 1970 for every file in the tarball. */
function epoch(root: string, env: NodeJS.ProcessEnv): number {
  const { SOURCE_DATE_EPOCH: given } = env;
  if (given !== undefined && !/^\d{1,11}$/.test(given)) usage(`SOURCE_DATE_EPOCH "${given}" is not a number of seconds`);
  return Number(given ?? tool('git', ['log', '-1', '--format=%ct'], root).toString().trim());
}

/** Symbols of the modules that this image holds; the folder keeps those of older builds too. */
function copySymbols(root: string, to: string): void {
  const text = readFileSync(join(root, 'build/image/manifest.json'), 'utf8');
  mkdirSync(join(to, SYMBOLS), { recursive: true });
  for (const name of readdirSync(join(root, SYMBOLS))) {
    if (text.includes(basename(name, '.json'))) cpSync(join(root, SYMBOLS, name), join(to, SYMBOLS, name));
  }
}

function copyPackages(root: string, to: string, names: readonly string[]): void {
  for (const name of names) {
    const from = join(root, 'node_modules', name);
    const wanted = (path: string): boolean => !UNUSED.test(relative(root, path)) || /licen[cs]e/i.test(basename(path));
    cpSync(from, join(to, 'node_modules', name), { recursive: true, dereference: true, filter: wanted });
  }
}

/** Lays the distribution out in `to`. Returns the number of files. */
async function stage(root: string, to: string): Promise<number> {
  rmSync(to, { recursive: true, force: true });
  const emitted = join(root, 'build/dist/emit');
  rmSync(emitted, { recursive: true, force: true });
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  tool(process.execPath, [compiler, '-p', root, '--noEmit', 'false', '--outDir', emitted], root);
  const commands = readdirSync(join(emitted, 'scripts/vigil')).filter((name) => name.endsWith('.js'));
  const { files, packages } = await importGraph(emitted, [...ENTRIES, ...commands.map((name) => `scripts/vigil/${name}`)], LEAVE);
  for (const file of files) {
    mkdirSync(join(to, dirname(file)), { recursive: true });
    cpSync(join(emitted, file), join(to, file));
  }
  for (const path of DATA) if (existsSync(join(root, path))) cpSync(join(root, path), join(to, path), { recursive: true });
  copySymbols(root, to);
  copyPackages(root, to, withDependencies(root, packages));
  const about = { ...manifestOf(root), private: true, type: 'module', license: 'Apache-2.0' };
  writeFileSync(join(to, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
  writeFileSync(join(to, 'vigil'), LAUNCHER);
  const paths = listFiles(to).map((path) => relative(to, path)).sort();
  for (const path of paths) chmodSync(join(to, path), path === 'vigil' ? 0o755 : 0o644);
  const sums = paths.map((path) => `${sha256(readFileSync(join(to, path)))}  ${path}\n`).join('');
  writeFileSync(join(to, 'SHA256SUMS'), sums, { mode: 0o644 });
  return paths.length + 1;
}

async function main(): Promise<number> {
  const program = new Command('dist')
    .description('Make the tarball for machines with Node and QEMU and no compiler.')
    .option('--output <dir>', 'where the tarball and SHA256SUMS go', join(ROOT, 'build/dist'))
    .option('--no-build', 'take build/image as it is')
    .addHelpText('after', '\nExamples:\n  just dist\n  just dist --output /srv/releases');
  if (!parsed(program)) return 0;
  const { output, build: fresh } = program.opts<{ output: string; build: boolean }>();
  if (fresh) await build({ log: (line) => console.log(`build: ${line}`) });
  const name = `vigil-${manifestOf(ROOT).version}-linux-${process.arch}`;
  const folder = join(ROOT, 'build/dist', name);
  console.log('dist: compile and gather');
  const count = await stage(ROOT, folder);
  const same = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mode=u+rwX,go+rX,go-w', '--format=gnu'];
  const tar = tool('tar', [...same, `--mtime=@${epoch(ROOT, process.env)}`, '-cf', '-', name], dirname(folder));
  const bytes = gzipSync(tar, { level: 9 });
  mkdirSync(output, { recursive: true });
  writeFileSync(join(output, `${name}.tar.gz`), bytes);
  const digest = sha256(bytes);
  writeFileSync(join(output, 'SHA256SUMS'), `${digest}  ${name}.tar.gz\n`);
  console.log(`dist: ${relative(process.cwd(), join(output, `${name}.tar.gz`))} ${bytes.length} bytes, ${count} files, sha256=${digest}`);
  return 0;
}

await runMain('dist', main);
