// SPDX-License-Identifier: Apache-2.0
// `vigil record`: a source, recorded into a capture file that replay plays. Options win over the configuration.
// Invariant: with --hash-identities (or identity.hash in the configuration) no UUID and no bus address of the node is in the file.
// Exit codes: 0 done, 1 the source refused, 2 usage, 3 the source or a file cannot be had.
import { Option, type Command } from 'commander';
import { SOURCES, type SourceOptions } from '../../runtime/bridge/choose.js';
import { parseEndpoint } from '../../runtime/bridge/endpoint.js';
import { SourceError } from '../../runtime/bridge/source.js';
import { FLEETS } from '../../runtime/bridge/sources/fleets.js';
import { SCENARIOS } from '../../runtime/bridge/sources/scenarios.js';
import { sourceOptions } from '../../runtime/config/source.js';
import { CONFIG_OPTION, readConfig, saltOf } from '../command/config.js';
import { examples, note, print, printJson } from '../command/output.js';
import { infra, usage, wrong } from '../lib/fail.js';
import type { Job } from '../vigil.js';

interface Options extends SourceOptions {
  config?: string; output: string; frames: string; interval: string; hashIdentities?: boolean; json?: boolean;
}

/** The configuration's source with what the command line says instead. */
function chosen(options: Options, fromFile: SourceOptions): SourceOptions {
  const { source, endpoint, mode, library, fixture, fleet, scenario } = options;
  const replay = fixture !== undefined || fleet !== undefined || scenario !== undefined;
  const base: Record<string, unknown> = { ...fromFile };
  // another source than the file's has none of the file's details
  if (source !== undefined && source !== fromFile.source) for (const key of Object.keys(base)) delete base[key];
  if (replay) for (const key of ['fixture', 'fleet', 'scenario']) delete base[key];
  const said = Object.entries({ source, endpoint, mode, library, fixture, fleet, scenario }).filter(([, value]) => value !== undefined);
  return { ...base, ...Object.fromEntries(said) };
}

async function record(options: Options): Promise<number> {
  const { withFixture } = await import('../../runtime/bridge/index.js');
  const { recordFile } = await import('../../runtime/bridge/record-file.js');
  const config = readConfig(options.config);
  const salt = options.hashIdentities === true ? process.env['VIGIL_RECORD_SALT'] : saltOf(config);
  if (options.hashIdentities === true && (salt === undefined || salt === ''))
    usage('--hash-identities needs its secret in VIGIL_RECORD_SALT');
  if (options.endpoint !== undefined) {
    try {
      parseEndpoint(options.endpoint);
    } catch (error) {
      usage(`--${(error as Error).message}`);
    }
  }
  const recording = { output: options.output, frames: Number(options.frames), intervalMs: Number(options.interval) * 1000, salt };
  try {
    const { entities, label } = await recordFile(withFixture({ ...chosen(options, sourceOptions(config)), log: note }), recording);
    if (options.json === true)
      printJson({ output: options.output, source: label, entities, frames: recording.frames, hashed: salt !== undefined });
    else {
      const how = salt === undefined ? '' : ', identities hashed';
      print(`${options.output}: ${entities} entities, ${recording.frames} frames of source [${label}]${how}`);
    }
    return 0;
  } catch (error) {
    if (error instanceof RangeError) return usage(error.message);
    if (error instanceof SourceError) return wrong(`the source refused: ${error.message}`);
    return infra((error as Error).message);
  }
}

/** Registers `vigil record`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('record').description('Record a source into a capture file that a replay plays (source.capture).')
    .requiredOption('--output <file>', 'the file to write')
    .option('--frames <n>', 'how many readings', '1')
    .option('--interval <seconds>', 'time between them', '1')
    .option('--hash-identities', 'replace UUIDs and bus addresses; the secret is in VIGIL_RECORD_SALT')
    .addOption(new Option('--source <name>', "where samples come from (default: the configuration's)").choices(['auto', ...SOURCES]))
    .option('--endpoint <address>', 'dcgm: host:port or unix:///path')
    .addOption(new Option('--mode <mode>', 'dcgm: an engine of its own, or one in the bridge').choices(['standalone', 'embedded']))
    .option('--library <path>', 'dcgm, nvml: the library, instead of its soname')
    .option('--fixture <path>', 'replay: a capture file')
    .addOption(new Option('--fleet <name>', 'replay: a scripted node').choices(Object.keys(FLEETS)))
    .addOption(new Option('--scenario <name>', 'replay: what happens on it').choices(Object.keys(SCENARIOS)))
    .option('--json', 'print JSON')
    .option(...CONFIG_OPTION)
    .addHelpText('after', examples('record --output node.json --frames 10', 'record --source nvml --output node.json --hash-identities'))
    .action((options: Options) => run(() => record(options)));
}
