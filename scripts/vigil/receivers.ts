// SPDX-License-Identifier: Apache-2.0
// `vigil receivers list`: where the receiver could get its samples on this machine: each source tried for real, in its own process.
// Invariant: what cannot be had says why; only [dcgm] and [nvml] show this machine. Exit codes: 0 listed, 1 a wrong configuration,
// 2 usage, 3 the configuration or the capture it names cannot be read.
import type { Command } from 'commander';
import { sourceOptions } from '../../runtime/config/source.js';
import { CONFIG_OPTION, readConfig } from '../command/config.js';
import { examples, printJson } from '../command/output.js';
import { infra } from '../lib/fail.js';
import type { Job } from '../vigil.js';

interface Options { config?: string; json?: boolean }

/** Variables that name a source's library to everything that tries sources. */
const LIBRARY_VARIABLES = { dcgm: 'VIGIL_DCGM_LIBRARY', nvml: 'VIGIL_NVML_LIBRARY' } as const;

async function list(options: Options): Promise<number> {
  const { probeSources, renderProbes } = await import('../../runtime/bridge/choose.js');
  const { withFixture } = await import('../../runtime/bridge/index.js');
  const { source, library, ...rest } = sourceOptions(readConfig(options.config));
  // a library is of one source; the others keep the name that the system knows
  if (library !== undefined && (source === 'dcgm' || source === 'nvml')) process.env[LIBRARY_VARIABLES[source]] = library;
  const probes = await probeSources(withFixture(rest)).catch((error: unknown) => infra((error as Error).message));
  if (options.json === true) printJson({ receivers: probes.map((probe) => ({ receiver: 'dcgm', ...probe })) });
  else process.stdout.write(renderProbes(probes));
  return 0;
}

/** Registers `vigil receivers`. */
export function register(program: Command, run: (job: Job) => void): void {
  const receivers = program.command('receivers').description('The receivers of this build and where their samples can come from.');
  receivers.command('list').description('Try every source and say what it has: dcgm [dcgm], [nvml], [replay], [stub].')
    .option(...CONFIG_OPTION)
    .option('--json', 'print JSON')
    .addHelpText('after', examples('receivers list', 'receivers list --config vigil.toml --json'))
    .action((options: Options) => run(() => list(options)));
}
