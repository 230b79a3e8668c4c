// SPDX-License-Identifier: Apache-2.0
// `just crash-test`: cuts the power of the guest's disk at seeded points of a workload, boots on what survived, and compares with
// everything that was acknowledged (docs/power-cuts.md). Last line: `lost L of A acknowledged over N cuts`.
// Exit codes: 0 nothing lost (with --mutant: something was), 1 the opposite, 2 usage, 3 infrastructure.
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import { campaign, type CutEvent, type Outcome } from './crash/campaign.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { integerOf, parsed } from './gate/options.js';
import { interruptible, mutantNumber } from './gate/session.js';
import { runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

const RUNS_DEFAULT = '20';
const RUNS_MAX = 100_000;
/** Fixed, so that `npm test` repeats; --seed random for another one. */
const SEED_DEFAULT = '1';

const EXAMPLES = `
Examples:
  just crash-test
  just crash-test --runs 200 --seed random
  just crash-test --mutant statefs_acks_before_flush`;

function seedOf(text: string): number {
  if (text === 'random') return randomBytes(4).readUInt32BE(0);
  const good = /^\d{1,10}$/.test(text) && Number(text) <= 0xffffffff;
  return good ? Number(text) : usage(`--seed wants 0 to 4294967295 or "random", not "${text}"`);
}

function describe({ cut, plan, report, stage, acknowledged, judgement }: CutEvent, runs: number): string {
  const kept = judgement?.kind === 'kept' ? `all kept, and ${judgement.inFlight} in flight` : judgement?.kind;
  const found = kept ?? 'cut before it was read';
  const fate = `${report.sectors} sectors unflushed: ${report.kept} kept, ${report.dropped} dropped, ${report.torn} torn`;
  const where = `${plan.moment} request ${plan.at}${plan.aim === 'boot' ? '' : ' of a compaction'}`;
  return `cut ${cut + 1}/${runs} ${where} in ${stage}, ${plan.mode}: ${fate}; `
    + `${acknowledged} acknowledged; before it: ${found}`;
}

function summary({ stages, trouble }: Outcome): string[] {
  const where = Object.entries(stages).map(([stage, count]) => `${count} in ${stage}`).join(', ');
  return [...trouble, `cuts: ${where}`];
}

async function main(): Promise<number> {
  const program = new Command('crash-test')
    .description('Cut the power again and again, and check that everything acknowledged is still there.')
    .option('--runs <n>', 'cuts', RUNS_DEFAULT)
    .option('--seed <n>', 'decides operations, cuts and fates; "random" for a new one', SEED_DEFAULT)
    .option('--mutant <name>', 'boot the mutant image with this mutant on: then something must be lost')
    .option('--keep', 'keep the images of every cut, not only those of a loss, in build/crash')
    .addHelpText('after', EXAMPLES);
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<{ runs: string; seed: string; mutant?: string; keep?: boolean; build: boolean }>();
  const runs = integerOf('--runs', options.runs, 1, RUNS_MAX);
  const seed = seedOf(options.seed);
  const { mutant } = options;
  if (mutant !== undefined) mutantNumber(mutant);
  await freshImage(mutant === undefined ? 'shipping' : 'mutant', options.build, (line) => console.log(line));
  const repeat = `just crash-test --runs ${runs} --seed ${seed}${mutant === undefined ? '' : ` --mutant ${mutant}`}`;
  console.log(`seed ${seed}; repeat with: ${repeat}`);
  const folder = join(ROOT, 'build', 'crash');
  const outcome = await campaign(
    { runs, seed, mutant, folder, keepAll: options.keep === true, signal: interruptible() },
    (event) => console.log(describe(event, runs)),
  );
  for (const line of summary(outcome)) console.log(line);
  const { lost, acknowledged, cuts } = outcome;
  if (lost > 0) console.log(`seed ${seed}; repeat with: ${repeat}; images of the cuts: build/crash`);
  console.log(`lost ${lost} of ${acknowledged} acknowledged over ${cuts} cuts`);
  return mutant === undefined ? (lost === 0 && outcome.trouble.length === 0 ? 0 : 1) : lost > 0 ? 0 : 1;
}

await runMain('crash-test', main);
