// SPDX-License-Identifier: Apache-2.0
// Owns: the bridge as a command. Invariant: it says its source before it serves. Limits: runs until SIGINT or SIGTERM.
// Exit codes: 0 stopped, 2 usage, 3 the socket or the fixture is unusable.
import { Command, Option } from 'commander';
import { defaultFixture } from './index.js';
import { startServer, type BridgeServer } from './server.js';
import { ReplaySource, loadCapture } from './sources/replay.js';
import { StubSource } from './sources/stub.js';

const program = new Command('bridge')
  .description('serves GPU samples to the guest over a unix socket')
  .requiredOption('--socket <path>', 'unix socket to listen on')
  .addOption(new Option('--source <name>', 'where samples come from').choices(['replay', 'stub']).default('replay'))
  .option('--fixture <path>', 'capture file for replay', defaultFixture)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse();
const options = program.opts<{ socket: string; source: string; fixture: string }>();

let server: BridgeServer;
try {
  const source = options.source === 'stub' ? new StubSource() : new ReplaySource(loadCapture(options.fixture));
  server = await startServer({ socketPath: options.socket, source, log: (line) => { console.error(line); } });
} catch (error) {
  console.error(`bridge: ${(error as Error).message}`);
  process.exit(3);
}
console.log(`bridge: source ${options.source} on ${options.socket}`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void server.close().then(() => process.exit(0)); });
