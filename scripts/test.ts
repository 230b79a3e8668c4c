// SPDX-License-Identifier: Apache-2.0
// `npm test`: every check, one after another, each with its own log; then a table and `N passed, N failed`.
// Invariant: exit code 0 only if every step ran and passed; a step whose image did not build counts as failed, never as skipped.
// Limits: STEP_LIMIT_MS a step; one step at a time, so that two cores suffice and timings mean something.
import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { Command } from 'commander';
import { parsed } from './gate/options.js';
import { runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';
import { SETTLED, steps, type Step } from './test/steps.js';

/** With the peers of tests that setup/peers.mjs unpacked, last: what is installed wins. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH ?? ''}${delimiter}${join(ROOT, 'build', 'peers', 'usr', 'bin')}` };
const STEP_LIMIT_MS = 20 * 60_000;
const FAILURE_TAIL_LINES = 60;
const PROGRESS_MS = 30_000;
const HELP = `
Examples:
  npm test                                        everything
  npm test -- --only host                         one step (names: npm test -- --list)
  just test-host tests/gate/matcher.test.ts       some host tests, with their own output`;

interface Outcome {
  step: Step;
  passed: boolean;
  /** seconds */
  tookS: number;
  note: string;
}

/** Every host test file, in order of their names. */
export function testFiles(root: string = ROOT): string[] {
  const below = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : below(path);
      return entry.name.endsWith('.test.ts') ? [relative(root, path)] : [];
    });
  return below(join(root, 'tests')).sort();
}

/** Runs a command with its output in `log`; resolves with its exit code, or null when it was ended for taking too long. */
function runLogged(argv: string[], log: string): Promise<number | null> {
  return new Promise((resolve) => {
    const out = createWriteStream(log);
    const child = spawn(process.execPath, argv, { cwd: ROOT, env: ENVIRONMENT, stdio: ['ignore', 'pipe', 'pipe'] });
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      child.kill('SIGTERM');
    }, STEP_LIMIT_MS);
    const startedMs = Date.now();
    const progress = setInterval(() => {
      console.log(`     still running (${Math.round((Date.now() - startedMs) / 1000)} s)`);
    }, PROGRESS_MS);
    child.stdout.on('data', (chunk: Buffer) => out.write(chunk));
    child.stderr.on('data', (chunk: Buffer) => out.write(chunk));
    child.on('close', (code) => {
      clearTimeout(limit);
      clearInterval(progress);
      out.end(() => resolve(late ? null : (code ?? 1)));
    });
  });
}

async function runStep(step: Step, place: string, failed: ReadonlySet<string>): Promise<Outcome> {
  const broken = step.needs.filter((name) => failed.has(name));
  if (broken.length > 0) {
    console.log(`${place} ${step.name}: not run, ${broken.join(' and ')} failed`);
    return { step, passed: false, tookS: 0, note: `not run: ${broken.join(', ')} failed` };
  }
  console.log(`${place} ${step.name}: ${step.what}`);
  const log = join(ROOT, 'build', 'test', `${step.name}.log`);
  const startedMs = Date.now();
  const code = await runLogged(step.argv(testFiles()), log);
  const tookS = (Date.now() - startedMs) / 1000;
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  const passed = code === 0;
  const shown = passed ? lines.slice(-step.closingLines) : lines.slice(-FAILURE_TAIL_LINES);
  for (const line of shown) console.log(`     ${line}`);
  const why = code === null ? `ended after ${STEP_LIMIT_MS / 60_000} minutes` : `exit code ${code}`;
  if (!passed) console.log(`     ${step.name} FAILED (${why}); whole output: ${relative(ROOT, log)}`);
  return { step, passed, tookS, note: passed ? (lines.at(-1) ?? '').slice(0, 60) : why };
}

function passThrough(files: string[]): Promise<number> {
  const absent = files.find((file) => !existsSync(join(ROOT, file)));
  if (absent !== undefined) usage(`${absent}: no such test file`);
  const chosen = files.length > 0 ? files : testFiles();
  const argv = ['--import', 'tsx', '--test', ...SETTLED, ...chosen];
  const child = spawn(process.execPath, argv, { cwd: ROOT, env: ENVIRONMENT, stdio: 'inherit' });
  return new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
}

function report(outcomes: Outcome[]): number {
  console.log('');
  for (const { step, passed, tookS, note } of outcomes) {
    console.log(`${passed ? 'ok    ' : 'FAILED'} ${step.name.padEnd(14)} ${tookS.toFixed(1).padStart(6)} s  ${note}`);
  }
  const failures = outcomes.filter(({ passed }) => !passed).length;
  console.log(`${outcomes.length - failures} passed, ${failures} failed`);
  return failures === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const program = new Command('test')
    .description('Runs every check; exits 0 only if all passed.')
    .argument('[files...]', 'with --host: the test files to run')
    .option('--host', 'host tests alone, with their own output')
    .option('--only <names>', 'only these steps, separated by commas')
    .option('--list', 'list the steps')
    .addHelpText('after', HELP);
  if (!parsed(program)) return 0;
  const options = program.opts<{ host?: boolean; only?: string; list?: boolean }>();
  if (options.host === true) return passThrough(program.args);
  if (program.args.length > 0) usage('test files need --host');
  const all = steps(ROOT);
  if (options.list === true) {
    for (const step of all) console.log(`${step.name.padEnd(14)} ${step.what}`);
    return 0;
  }
  const names = options.only?.split(',') ?? all.map(({ name }) => name);
  const unknown = names.find((name) => !all.some((step) => step.name === name));
  if (unknown !== undefined) usage(`no step "${unknown}" (${all.map(({ name }) => name).join(', ')})`);
  const chosen = all.filter(({ name }) => names.includes(name));
  mkdirSync(join(ROOT, 'build', 'test'), { recursive: true });
  const outcomes: Outcome[] = [];
  const failed = new Set<string>();
  for (const [index, step] of chosen.entries()) {
    const outcome = await runStep(step, `[${index + 1}/${chosen.length}]`, failed);
    outcomes.push(outcome);
    if (!outcome.passed) failed.add(step.name);
  }
  return report(outcomes);
}

await runMain('test', main);
