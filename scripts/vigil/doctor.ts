// SPDX-License-Identifier: Apache-2.0
// `vigil doctor`: what this machine has and lacks: tools (scripts/doctor.mjs, in a checkout), GPU, engine, ports, configuration,
// neighbours. Invariant: changes nothing. Exit codes: 0 nothing needed is missing, 1 the configuration is wrong, 2 usage, 3 something
// needed is missing.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { checkFiles } from '../../runtime/config/files.js';
import { loadConfig, renderError } from '../../runtime/config/load.js';
import type { Config } from '../../runtime/config/schema.js';
import type { Check } from '../command/checks.js';
import { CONFIG_OPTION, faultLines, readConfig } from '../command/config.js';
import { colors, examples, print, printJson, safe } from '../command/output.js';
import { infra } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import type { Job } from '../vigil.js';

interface Options { config?: string; json?: boolean }

const TOOLS_MS = 60_000;

/** The tools of a build. A distribution has no compiler and no such list; of QEMU it needs the one program. */
async function toolChecks(): Promise<Check[]> {
  const script = join(ROOT, 'scripts/doctor.mjs');
  if (existsSync(script)) {
    const { stdout, error } = spawnSync(process.execPath, [script, '--json'], { encoding: 'utf8', timeout: TOOLS_MS });
    if (error !== undefined) infra(`scripts/doctor.mjs cannot be run: ${error.message}`);
    const { checks } = JSON.parse(stdout) as { checks: (Omit<Check, 'found'> & { found: string | null; why: string })[] };
    return checks.map(({ name, ok, needed, found, mend, why }) => ({ name, ok, needed, mend, found: found ?? why }));
  }
  const { findQemu } = await import('../gate/find-qemu.js');
  try {
    return [{ name: 'QEMU', ok: true, needed: true, found: findQemu().path, mend: null }];
  } catch (error) {
    return [{ name: 'QEMU', ok: false, needed: true, found: (error as Error).message, mend: 'sudo apt-get install -y qemu-system-misc' }];
  }
}

/** The check of the file, and the configuration that the other checks go by: the file's, or the defaults where it is at fault. */
function configCheck(path: string | undefined): { check: Check; config: Config } {
  const name = 'configuration';
  const loaded = loadConfig(path);
  if ('errors' in loaded) {
    const found = faultLines(path ?? '', loaded.errors).join('; ').replaceAll('  ', ' ');
    return { check: { name, ok: false, needed: true, found, mend: 'vigil validate --config FILE says each fault' },
      config: readConfig(undefined) };
  }
  const { errors } = checkFiles(loaded.config);
  const bad = errors.length > 0 ? errors.map(renderError).join('; ') : null;
  const fine = path === undefined ? 'none was named: the defaults' : `${path} is valid`;
  return { check: { name, ok: bad === null, needed: true, found: bad ?? fine,
    mend: bad === null ? null : 'mend the file that it names' }, config: loaded.config };
}

async function doctor(options: Options): Promise<number> {
  const { operatorChecks } = await import('../command/checks.js');
  const { check, config } = configCheck(options.config);
  const checks = [...(await toolChecks()), check, ...(await operatorChecks(config))];
  const lacks = checks.filter(({ ok, needed }) => !ok && needed);
  const code = lacks.length === 0 ? 0 : lacks.every((one) => one === check) ? 1 : 3;
  if (options.json === true) {
    printJson({ ok: lacks.length === 0, checks });
    return code;
  }
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, ok, needed, found, mend } of checks) {
    const word = ok ? colors.green('ok'.padEnd(8)) : needed ? colors.red('MISSING'.padEnd(8)) : colors.dim('absent'.padEnd(8));
    print(`${word} ${name.padEnd(width)}  ${safe(found)}`);
    if (mend !== null && !ok) print(`${' '.repeat(9)}-> ${mend}`);
  }
  print(lacks.length === 0 ? 'nothing needed is missing' : `${lacks.length} missing: ${lacks.map(({ name }) => name).join(', ')}`);
  return code;
}

/** Registers `vigil doctor`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('doctor').description('Say what this machine has and lacks: tools, GPU driver, DCGM, ports, configuration, neighbours.')
    .option(...CONFIG_OPTION)
    .option('--json', 'print JSON')
    .addHelpText('after', examples('doctor', 'doctor --config vigil.toml --json'))
    .action((options: Options) => run(() => doctor(options)));
}
