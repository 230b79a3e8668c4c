// SPDX-License-Identifier: Apache-2.0
// Owns: the bridge as a command: serve, sources, record. Invariant: it says its source before it serves. Limits: serve runs until SIGINT or
// SIGTERM. Exit codes: 0 done or stopped, 1 the source refused, 2 usage, 3 the socket, the fixture or the output is unusable.
import { Command, Option } from 'commander';
import { SOURCES, probeSources, renderProbes, type SourceOptions } from './choose.js';
import { startBridge, withFixture } from './index.js';
import { recordFile } from './record-file.js';
import { SourceError } from './source.js';
import { FLEETS } from './sources/fleets.js';
import { SCENARIOS } from './sources/scenarios.js';

const log = (line: string): void => { console.error(line); };
const fail = (error: unknown): never => {
  console.error(`bridge: ${(error as Error).message}`);
  process.exit(error instanceof SourceError ? 1 : error instanceof RangeError ? 2 : 3);
};

function withSource(command: Command): Command {
  return command
    .addOption(new Option('--source <name>', 'where samples come from').choices(['auto', ...SOURCES]).default('auto'))
    .option('--endpoint <address>', 'dcgm: host:port or unix:///path (default localhost:5555)')
    .addOption(new Option('--mode <mode>', 'dcgm: an engine of its own, or one in the bridge').choices(['standalone', 'embedded']))
    .option('--library <path>', 'dcgm, nvml: the library, instead of its soname')
    .option('--fixture <path>', 'replay: a capture file')
    .addOption(new Option('--fleet <name>', 'replay: a scripted node').choices(Object.keys(FLEETS)))
    .addOption(new Option('--scenario <name>', 'replay: what happens on it').choices(Object.keys(SCENARIOS)));
}

const program = new Command('bridge').description('GPU samples for the guest')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
const inherit = (command: Command): Command => command.copyInheritedSettings(program);

withSource(inherit(program.command('serve', { isDefault: true }))
  .description('serves samples over a unix socket').requiredOption('--socket <path>', 'unix socket to listen on'))
  .action(async (options: SourceOptions & { socket: string }) => {
    const server = await startBridge({ ...options, socketPath: options.socket, log }).catch(fail);
    console.log(`bridge: source ${server.source} on ${options.socket}`);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void server.close().then(() => process.exit(0)); });
  });

withSource(inherit(program.command('sources')).description('tries every source and says what each has').option('--json', 'as JSON'))
  .action(async (options: SourceOptions & { json?: boolean }) => {
    const probes = await probeSources(withFixture(options)).catch(fail);
    process.stdout.write(options.json === true ? `${JSON.stringify(probes, null, 2)}\n` : renderProbes(probes));
  });

withSource(inherit(program.command('record')).description('records a source into a capture file that replay plays')
  .requiredOption('--output <path>', 'file to write').option('--frames <n>', 'how many', '1')
  .option('--interval <seconds>', 'between them', '1')
  .option('--hash-identities', 'replace UUIDs and bus addresses; the secret is in VIGIL_RECORD_SALT'))
  .action(async (options: SourceOptions & { output: string; frames: string; interval: string; hashIdentities?: boolean }) => {
    const salt = options.hashIdentities === true ? process.env['VIGIL_RECORD_SALT'] : undefined;
    if (options.hashIdentities === true && (salt === undefined || salt === '')) fail(new RangeError('VIGIL_RECORD_SALT is not set'));
    const [frames, intervalMs] = [Number(options.frames), Number(options.interval) * 1000];
    const recording = { output: options.output, frames, intervalMs, salt };
    const { entities, label } = await recordFile(withFixture({ ...options, log }), recording).catch(fail);
    console.log(`bridge: ${entities} entities, ${frames} frames of source ${label} in ${options.output}`);
  });

await program.parseAsync();
