// SPDX-License-Identifier: Apache-2.0
// `vigil`: the operator's command. Each subcommand is one file of scripts/vigil/, which registers itself; this file finds and runs them.
// Invariant: a subcommand's file exports `register(program, run)`: it describes itself to commander and hands `run` the job that was asked
// for. Exit codes: 0 done, 1 the thing looked at is damaged or wrong, 2 usage, 3 this machine or file cannot be read.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { Failure, runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

/** What was asked for; resolves with the exit code. */
export type Job = () => Promise<number>;
export type Register = (program: Command, run: (job: Job) => void) => void;

async function main(argv: string[]): Promise<number> {
  let job: Job | null = null;
  const program = new Command('vigil')
    .description('Look into what a Vigil machine left behind.')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined }) // the Failure says it, once
    .addHelpText('after', '\nExamples:\n  vigil state fsck .vigil/state.img\n  vigil state ls .vigil/state.img --json\n  vigil help state');
  for (const file of readdirSync(join(ROOT, 'scripts/vigil')).filter((name) => /\.[jt]s$/.test(name)).sort()) {
    const { register } = (await import(`./vigil/${file}`)) as { register: Register };
    register(program, (chosen) => { job = chosen; });
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    throw new Failure(2, `${error.message.replace(/^error: /, '').replace('(outputHelp)', 'no command')} (see vigil --help)`);
  }
  return (job as Job | null)?.() ?? usage('no command (see vigil --help)');
}

await runMain('vigil', () => main(process.argv.slice(2)));
