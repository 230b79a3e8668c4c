// SPDX-License-Identifier: Apache-2.0
// `vigil`: the operator's command. Each subcommand is one file of scripts/vigil/, which registers itself; this file runs the one asked for.
// Invariant: a subcommand's file exports `register(program, run)`: it describes itself to commander and hands `run` the job that was asked
// for. Exit codes: 0 done, 1 the thing looked at is damaged or wrong, 2 usage, 3 this machine or file cannot be read.
import { CommanderError, type Command } from 'commander';
import { buildProgram } from './command/program.js';
import { Failure, runMain, usage } from './lib/fail.js';

/** What was asked for; resolves with the exit code. */
export type Job = () => Promise<number>;
export type Register = (program: Command, run: (job: Job) => void) => void;

async function main(argv: string[]): Promise<number> {
  let job: Job | null = null;
  const program = await buildProgram((chosen) => { job = chosen; });
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    const why = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ').replace('(outputHelp)', 'no command');
    throw new Failure(2, `${why} (see vigil --help)`);
  }
  return (job as Job | null)?.() ?? usage('no command (see vigil --help)');
}

await runMain('vigil', () => main(process.argv.slice(2)));
