// SPDX-License-Identifier: Apache-2.0
// Builds the image: tables -> assembly/gen and build/gen -> .wasm -> ELF -> bundle, each step only when its inputs changed.
// Use: `npx tsx scripts/build.ts [--mutant] [--only kernel|MODULE] [--partial] [--watch]`. Prints one line a step done,
// `up to date` when there was none. Exit codes: 0 built, 1 the sources are wrong, 2 usage, 3 a tool or the disk is missing.
import { watch } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Command } from 'commander';
import { codegen } from './codegen.js';
import { parsed } from './gate/options.js';
import { loadAbi } from './lib/abi.js';
import { writeBundle } from './lib/bundle.js';
import { Compilers } from './lib/compilers.js';
import { Failure, runMain, usage, wrong } from './lib/fail.js';
import { buildHostModule, hostModules } from './lib/host-modules.js';
import { withLock } from './lib/lock.js';
import { loadMarkers } from './lib/markers.js';
import { ROOT, type Flavour } from './lib/paths.js';
import { loadServices, modulesOf, moduleSource, type Module } from './lib/services.js';
import { buildKernel, buildModule, newContext, type Context, type ModuleFacts } from './lib/steps.js';

export interface BuildOptions {
  root?: string;
  flavour?: Flavour;
  /** kernel, or one module's name: builds that alone, no bundle */
  only?: string | undefined;
  /** leaves out services whose module has no source yet, and says so */
  partial?: boolean;
  /** warm compilers to reuse; without them the build makes and closes its own */
  compilers?: Compilers;
  log?: (line: string) => void;
}

/** Modules compiled or linked at once: gcc of one overlaps asc of the next. */
const MODULES_AT_ONCE = 3;

/** Builds one flavour, one build at a time. Returns how many steps ran (0: up to date). @throws Failure. */
export function build(options: BuildOptions = {}): Promise<number> {
  const waiting = (pid: number): void => options.log?.(`waiting for another build (process ${pid})`);
  return withLock(join(options.root ?? ROOT, 'build/lock'), waiting, () => buildLocked(options));
}

async function buildLocked(options: BuildOptions): Promise<number> {
  const { root = ROOT, flavour = 'shipping', only, partial = false } = options;
  let steps = 0;
  const log = (line: string): void => {
    steps++;
    options.log?.(line);
  };
  const changed = codegen(root);
  if (changed.length > 0) log(`codegen ${changed.length} files`);
  const compilers = options.compilers ?? new Compilers();
  try {
    const abi = loadAbi(root);
    const context = await newContext(root, flavour, abi, loadMarkers(root).mutants, compilers, log);
    const services = loadServices(root, { partial, abi });
    const modules = modulesOf(services, (path) => moduleSource(root, path) ?? missing(path));
    if (partial) reportLeftOut(root, services.length, options.log);
    if (only === 'kernel') {
      await buildKernel(context);
      return steps;
    }
    const wanted = only === undefined ? modules : modules.filter(({ name, path }) => name === only || path === only);
    if (wanted.length === 0) usage(`--only ${only}: no such module; known: kernel, ${modules.map((m) => m.name).join(', ')}`);
    const facts = await buildAll(context, wanted, only === undefined);
    if (only === undefined) writeBundle(context, services, modules, facts);
    if (only === undefined && flavour === 'shipping') {
      for (const name of hostModules(root)) await buildHostModule(root, name, compilers, log, context.files);
    }
    return steps;
  } finally {
    if (options.compilers === undefined) await compilers.close();
  }
}

function missing(path: string): never {
  return wrong(`image/services.toml: module ${path}: no assembly/services/${path}/index.ts`);
}

function reportLeftOut(root: string, kept: number, log: BuildOptions['log']): void {
  const all = loadServices(root).filter(({ module }) => moduleSource(root, module) === null);
  if (all.length > 0) log?.(`partial image: ${kept} services; without ${all.map(({ name }) => name).join(', ')}`);
}

/** Builds the modules (and the kernel) a few at a time; the first failures end it, with every message. */
async function buildAll(context: Context, modules: Module[], kernel: boolean): Promise<Map<string, ModuleFacts>> {
  const facts = new Map<string, ModuleFacts>();
  const jobs: (() => Promise<void>)[] = modules.map((module) => async () => {
    facts.set(module.name, await buildModule(context, module));
  });
  if (kernel) jobs.unshift(() => buildKernel(context));
  const failures: Failure[] = [];
  const lane = async (): Promise<void> => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      try {
        await job();
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: MODULES_AT_ONCE }, lane));
  if (failures.length > 0) {
    const lines = new Set(failures.flatMap(({ message }) => message.split('\n')));
    throw new Failure(Math.max(...failures.map(({ exitCode }) => exitCode)) as 1 | 2 | 3, [...lines].join('\n'));
  }
  return facts;
}

/** Rebuilds after each change of a source, with warm compilers, until interrupted. */
async function buildForever(options: BuildOptions): Promise<never> {
  const compilers = new Compilers();
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  for (;;) {
    const changed = nextChange(options.root ?? ROOT); // before the build, so that an edit during it counts
    try {
      const steps = await build({ ...options, compilers, log: print });
      if (steps === 0) print('up to date');
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      print(error.message);
    }
    await changed;
  }
}

/** Resolves after something under the source folders changed and then stayed still for SETTLE_MS. */
function nextChange(root: string): Promise<void> {
  const SETTLE_MS = 100;
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | null = null;
    const folders = ['abi', 'assembly', 'image', 'markers', 'runtime/guest'];
    const watchers = folders.map((folder) =>
      watch(join(root, folder), { recursive: true }, (_event, name) => {
        if (folder === 'assembly' && name?.startsWith('gen')) return;
        if (timer !== null) clearTimeout(timer);
        timer = setTimeout(() => {
          for (const watcher of watchers) watcher.close();
          resolve();
        }, SETTLE_MS);
      }),
    );
  });
}

async function main(): Promise<number> {
  const program = new Command('build')
    .description('Builds the image (build/image), or with --mutant the image of the canaries (build/mutant).')
    .option('--mutant', 'the mutant image')
    .option('--only <part>', 'kernel, or one module by name; writes no bundle')
    .option('--partial', 'leave out services whose module has no source yet, and say which')
    .option('--watch', 'stay, and rebuild after each change')
    .allowExcessArguments(false);
  if (!parsed(program)) return 0;
  const given = program.opts<{ mutant?: boolean; only?: string; partial?: boolean; watch?: boolean }>();
  const flavour: Flavour = given.mutant ? 'mutant' : 'shipping';
  const options: BuildOptions = { flavour, only: given.only, partial: given.partial ?? false };
  if (given.watch) return buildForever(options);
  const steps = await build({ ...options, log: (line) => void process.stdout.write(`${line}\n`) });
  if (steps === 0) process.stdout.write('up to date\n');
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain('build', main);
