// SPDX-License-Identifier: Apache-2.0
// The `vigil` command line as commander has it: built here for the command itself, for docs/operators/command.md and for the tests.
// Invariant: each file of scripts/vigil/ is one subcommand that registers itself; building starts nothing.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { ROOT } from '../lib/paths.js';
import type { Job, Register } from '../vigil.js';

const HELP = `
Examples:
  vigil up --config vigil.toml
  vigil validate --config vigil.toml --show-emissions
  vigil inspect --probe-fields
  vigil logs -f --level warn
  vigil state fsck .vigil/state.img
  vigil help state

Exit codes: 0 done, 1 something is wrong, 2 usage, 3 this machine or a file cannot give what was asked for.`;

const versionOf = (): string => (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;

/** @param run gets the job that a parse chose; nothing runs before somebody calls it */
export async function buildProgram(run: (job: Job) => void): Promise<Command> {
  const program = new Command('vigil')
    .description('GPU telemetry of this node for OpenTelemetry and Prometheus, from a machine of its own; and a look into that machine.')
    .version(versionOf(), '--version', 'print the version')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined }) // the Failure says it, once
    .addHelpText('after', HELP);
  for (const file of readdirSync(join(ROOT, 'scripts/vigil')).filter((name) => /\.[jt]s$/.test(name)).sort()) {
    const { register } = (await import(`../vigil/${file}`)) as { register: Register };
    register(program, run);
  }
  return program;
}
