// SPDX-License-Identifier: Apache-2.0
// `just crash-sim`: the shipping statefsd under Node on simulated disks with a volatile cache. Workloads are cut after every request that
// reached the disk, each cut with several outcomes, and the module is booted on each outcome and checked (tests/statefs/sim/explore.ts).
// Runs whole units until at least --crashes crashes were simulated. Exit codes: 0 none failed, 1 one failed (its seed, unit and number
// and the command that repeats it are printed), 2 usage.
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { Command } from 'commander';
import { bugNames, programWith } from '../tests/statefs/sim/bugs.js';
import { emptyTally, type Tally } from '../tests/statefs/sim/unit.js';
import { runUnit, type Result } from '../tests/statefs/sim/units.js';
import { integerOf, parsed } from './gate/options.js';
import { runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

const CRASHES_MAX = 999_999_999;
const JOBS_MAX = 2;
/** Units in a row that simulate nothing: a broken plan, not a small one. */
const UNITS_MAX = 100_000;
const PROGRESS_MS = 10_000;

const EXAMPLES = `
Examples:
  just crash-sim
  just crash-sim --crashes 1000000 --seed 7 --jobs 2
  just crash-sim --seed 1 --unit 3 --crash 512`;

interface Options { crashes: string; seed: string; jobs: string; unit?: string; crash?: string; bug: string }

function add(sum: Tally, more: Tally): void {
  for (const key of Object.keys(sum) as (keyof Tally)[]) sum[key] += more[key];
}

function report(result: Result, seed: number, bug: string): void {
  const { failure, unit, profile } = result;
  if (failure === null) return;
  const repeat = `just crash-sim --seed ${seed} --unit ${unit} --crash ${failure.crash}${bug === 'none' ? '' : ` --bug ${bug}`}`;
  const where = `seed ${seed}, unit ${unit} (${profile}), crash ${failure.crash}, generation ${failure.generation}, cut ${failure.cut}`;
  console.log(`FAILED ${where}\n  ${failure.lines.join('\n  ')}\nrepeat it: ${repeat}`);
}

interface Explored { sum: Tally; units: number; failures: Result[] }

/** Units in order over `jobs` processes until enough crashes are done or one failed. */
async function explore(seed: number, crashes: number, jobs: number, bug: string): Promise<Explored> {
  const sum = emptyTally();
  const failures: Result[] = [];
  let [next, units] = [0, 0];
  const progress = setInterval(() => console.log(`  ${sum.crashes} crashes, ${units} units`), PROGRESS_MS);
  const lane = (): Promise<void> => new Promise((resolve, reject) => {
    const child: ChildProcess = fork(join(ROOT, 'tests/statefs/sim/units.ts'), [bug], { execArgv: ['--import', 'tsx'] });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (code === 0 || signal === 'SIGTERM') resolve(); else reject(new Error(`a worker ended with ${code ?? signal}`));
    });
    child.on('message', (message: Result | 'ready') => {
      if (message !== 'ready') {
        units++;
        add(sum, message.tally);
        if (message.failure !== null) failures.push(message);
      }
      if (failures.length > 0 || sum.crashes >= crashes || next >= UNITS_MAX) child.kill('SIGTERM');
      else child.send({ seed, unit: next++, stopAt: 0 });
    });
  });
  try {
    await Promise.all(Array.from({ length: jobs }, lane));
  } finally {
    clearInterval(progress);
  }
  return { sum, units, failures: failures.sort((a, b) => a.unit - b.unit) };
}

async function main(): Promise<number> {
  const program = new Command('crash-sim')
    .description('Simulate power cuts of /state: the shipping statefsd under Node on disks with a volatile write cache.')
    .option('--crashes <n>', 'simulate at least so many', '100000')
    .option('--seed <n>', 'what everything is chosen by', '1')
    .option('--jobs <n>', `processes, at most ${JOBS_MAX}`, '1')
    .option('--unit <n>', 'this unit alone')
    .option('--crash <n>', 'with --unit: up to this crash, whose failure is printed')
    .option('--bug <name>', `a deliberate bug, which must be found: ${bugNames().join(', ')}`, 'none')
    .addHelpText('after', EXAMPLES);
  if (!parsed(program)) return 0;
  const options = program.opts<Options>();
  const seed = integerOf('--seed', options.seed, 0, 65_535);
  const { bug } = options;
  if (bug !== 'none' && !bugNames().includes(bug)) usage(`no bug is called ${bug} (${bugNames().join(', ')})`);
  if (options.unit !== undefined) {
    const unit = integerOf('--unit', options.unit, 0, UNITS_MAX);
    const stopAt = options.crash === undefined ? 0 : integerOf('--crash', options.crash, 1, CRASHES_MAX);
    const { program: module, mutant } = await programWith(bug);
    const result = runUnit(module, mutant, { seed, unit, stopAt });
    report(result, seed, bug);
    console.log(`${result.failure === null ? 'ok' : 'FAILED'}: ${describe(result.tally)}, ${(result.ms / 1000).toFixed(1)} s`);
    return result.failure === null ? 0 : 1;
  }
  if (options.crash !== undefined) usage('--crash needs --unit');
  const crashes = integerOf('--crashes', options.crashes, 1, CRASHES_MAX);
  const from = performance.now();
  await programWith(bug); // compiled once, then cached for the processes
  const { sum, units, failures } = await explore(seed, crashes, integerOf('--jobs', options.jobs, 1, JOBS_MAX), bug);
  for (const failure of failures) report(failure, seed, bug);
  const seconds = ((performance.now() - from) / 1000).toFixed(1);
  console.log(`${failures.length === 0 ? 'ok' : 'FAILED'}: ${describe(sum)}, ${units} units, seed ${seed}, ${seconds} s`);
  return failures.length === 0 ? 0 : 1;
}

function describe(tally: Tally): string {
  return [
    `${tally.crashes} simulated crashes (${tally.damaged} with unflushed sectors, ${tally.inRecovery} in a recovery`,
    `${tally.later} of later generations, ${tally.rolledBack} lost what was not acknowledged)`,
    `${tally.acknowledged} of ${tally.operations} operations acknowledged`, `${tally.compactions} compactions`,
    `${tally.rotten} rotten disks (${tally.rotLost} cost something)`,
  ].join(', ');
}

await runMain('crash-sim', main);
