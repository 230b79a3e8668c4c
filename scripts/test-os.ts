// SPDX-License-Identifier: Apache-2.0
// `just test-os`: boots the image once and judges it marker by marker. Exit codes: 0 passed or stopped early (then the last line
// begins with STOPPED), 1 the guest failed, 2 usage, 3 infrastructure. The logic is in scripts/gate; this file reads options and prints.
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Transport } from '../boot/machines.js';
import { refuseContradictions } from '../boot/topology.js';
import { bootAfterPast } from './gate/after.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { readLadder } from './gate/ladder.js';
import { parsed, transportOf } from './gate/options.js';
import { failureTitle, githubError, stepSummary } from './gate/report.js';
import { interruptible, mutantNumber, type BootResult } from './gate/session.js';
import { labelled, showEvent } from './gate/show.js';
import { readStop } from './gate/stop.js';
import { runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

const HELP = `
Environment:
  RUN_UNTIL_MARKER  1: run to the end of the ladder; any other text: stop at that exact line
  RUN_PHASE         stop when that phase is complete (bring-up mmio ipc policy logd metrics tracing traps exec gpu end)
  RUN_TIMEOUT       the host's wall limit: 500ms, 60s, 2m (default 60s)
  The first stop condition that is met wins. A run stopped early ends with STOPPED, never with PASS.

Examples:
  just test-os
  just test-os legacy
  just test-os modern --profile invalid-only
  RUN_PHASE=mmio RUN_UNTIL_MARKER=1 RUN_TIMEOUT=190s just test-os
  RUN_UNTIL_MARKER='init: ready' just test-os`;

interface Options {
  profile: string;
  nonce?: string;
  recipe?: string;
  mutant?: string;
  quiet?: boolean;
  build: boolean;
}

function readOptions(): { transport: Transport; options: Options } | null {
  const program = new Command('test-os')
    .description('Boot the image and match its console against the ladder in markers/.')
    .argument('[transport]', 'modern, or legacy (debug only)', 'modern')
    .option('--profile <name>', 'the ladder: proof, or a name of markers/profiles', 'proof')
    .option('--nonce <hex16>', "this run's nonce; a fresh one when absent")
    .option('--recipe <name>', 'metrics recipe to boot with')
    .option('--mutant <name>', 'boot the mutant image with this mutant on')
    .option('--quiet', 'print only the verdict and what is wrong')
    .addHelpText('after', HELP);
  if (!parsed(withBuildOption(program))) return null;
  const transport = transportOf(program.args[0] ?? 'modern');
  const options = program.opts<Options>();
  if (options.nonce !== undefined && !/^[0-9a-f]{16}$/.test(options.nonce)) usage('--nonce wants 16 lower-case hex digits');
  if (options.recipe !== undefined) refuseUnknownRecipe(options.recipe);
  return { transport, options };
}

/** @throws Failure 2 when no metrics recipe of the image has this name. */
function refuseUnknownRecipe(name: string): void {
  const files = readdirSync(join(ROOT, 'image/recipes/observability')).filter((file) => file.endsWith('.toml'));
  const known = files.map((file) => file.slice(0, -'.toml'.length));
  if (!known.includes(name)) usage(`unknown recipe "${name}" (known: ${known.join(', ')})`);
}

function tellGithub(result: BootResult): void {
  if (process.env.GITHUB_ACTIONS !== 'true') return;
  if (result.report.length > 0) {
    const title = result.failure === null ? result.verdict : failureTitle(result.failure);
    console.log(githubError(title, result.report.join('\n'), result.failure?.expected?.file));
  }
  const summary = process.env.GITHUB_STEP_SUMMARY;
  if (summary !== undefined && summary !== '') {
    appendFileSync(summary, stepSummary(result.label, result.verdict, result.report, result.ladder, result.matcher));
  }
}

async function main(): Promise<number> {
  const asked = readOptions();
  if (asked === null) return 0;
  const { transport, options } = asked;
  if (options.mutant !== undefined) mutantNumber(options.mutant);
  refuseContradictions(process.env, transport, 'gate');
  readStop(process.env, readLadder(options.profile, transport)); // usage comes before a build
  await freshImage(options.mutant === undefined ? 'shipping' : 'mutant', options.build, (line) => console.log(labelled(transport, line)));
  let count = 0;
  const result = await bootAfterPast(
    {
      transport,
      profile: options.profile,
      stop: (ladder) => readStop(process.env, ladder),
      nonce: options.nonce,
      recipe: options.recipe,
      mutant: options.mutant,
      signal: interruptible(),
    },
    (event) => {
      if (event.kind === 'starting') count = event.ladder.markers.length;
      if (options.quiet !== true) for (const line of showEvent(event, count)) console.log(labelled(transport, line));
    },
  );
  for (const line of result.report) console.log(labelled(transport, line));
  tellGithub(result);
  console.log(result.result === 'stopped' ? labelled(transport, result.verdict) : result.verdict);
  return result.exitCode;
}

await runMain('test-os', main);
