// SPDX-License-Identifier: Apache-2.0
// `just gdb`: boots the gate's machine halted before its first instruction and attaches GDB with the kernel's symbols, with the
// arguments that a red report prints. The console goes to a file, whose name is printed. Exit code: GDB's, 2 usage, 3 infrastructure.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, openSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Command } from 'commander';
import { bootArgs, partsOf, qemuArgv } from '../boot/machines.js';
import { refuseContradictions } from '../boot/topology.js';
import { startReplayBridge } from '../runtime/bridge/index.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { findQemu, onPath } from './gate/find-qemu.js';
import { dropImage, privateImage } from './gate/private-image.js';
import { parsed, transportOf } from './gate/options.js';
import { mutantNumber } from './gate/session.js';
import { labelled } from './gate/show.js';
import { diskOf, prepareDrive } from './lib/disk.js';
import { infra, runMain, usage } from './lib/fail.js';
import { ROOT, pathsOf } from './lib/paths.js';

const GDBS = ['riscv64-unknown-elf-gdb', 'gdb-multiarch'];
const SOCKET_WAIT_MS = 5000;
const POLL_MS = 20;

const EXAMPLES = `
Examples:
  just gdb
  just gdb modern --nonce 0123456789abcdef
  just gdb --batch --ex 'break kernel_start' --ex continue --ex bt`;

interface Options {
  profile: string;
  nonce?: string;
  recipe?: string;
  mutant?: string;
  batch?: boolean;
  build: boolean;
  ex: string[];
}

async function main(): Promise<number> {
  const program = new Command('gdb')
    .description("Boot the gate's machine halted, and attach GDB.")
    .argument('[transport]', 'modern, or legacy (debug only)', 'modern')
    .option('--profile <name>', 'the boot profile', 'proof')
    .option('--nonce <hex16>', 'the nonce of the run to repeat')
    .option('--recipe <name>', 'metrics recipe to boot with')
    .option('--mutant <name>', 'boot the mutant image with this mutant on')
    .option('--batch', 'end after the commands of --ex')
    .option('--ex <command>', 'GDB command to run after attaching; may be repeated', (text: string, all: string[]) => [...all, text], [])
    .addHelpText('after', EXAMPLES);
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<Options>();
  const transport = transportOf(program.args[0] ?? 'modern');
  if (options.nonce !== undefined && !/^[0-9a-f]{16}$/.test(options.nonce)) usage('--nonce wants 16 lower-case hex digits');
  refuseContradictions(process.env, transport, 'gdb');
  const mutant = options.mutant === undefined ? undefined : mutantNumber(options.mutant);
  const found = GDBS.map((name) => onPath(name)).find((path) => path !== null);
  const gdb = found ?? infra('no GDB for RISC-V; install it with: sudo apt-get install gdb-multiarch');
  const flavour = mutant === undefined ? 'shipping' : 'mutant';
  await freshImage(flavour, options.build, (line) => console.log(labelled(transport, line)));
  // What ships is stripped; the build keeps the same kernel with its symbols.
  const symbols = join(pathsOf(ROOT, flavour).kernel, 'kernel.full.elf');
  if (!existsSync(symbols)) infra(`${symbols} is missing; run: npm run build`);
  const qemu = findQemu();
  const image = privateImage(flavour);
  const logs = join(ROOT, 'build', 'logs');
  mkdirSync(logs, { recursive: true });
  const consolePath = join(logs, `gdb-${process.pid}.uart.raw.log`);
  const output = openSync(consolePath, 'w');
  const bridge = await startReplayBridge({ socketPath: image.sockets.dcgm });
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => undefined);
  try {
    const { devices, without } = partsOf(options.profile);
    const append = bootArgs({
      profile: options.profile, nonce: options.nonce ?? randomBytes(8).toString('hex'), bundle: image.bundleIdentity, idle: 'poll',
      recipe: options.recipe, mutant, without,
    });
    const argv = qemuArgv({
      transport, mode: 'gdb', kernelPath: image.kernelPath, bundlePath: image.bundlePath, append, sockets: image.sockets,
      console: 'pty', devices, drive: prepareDrive(diskOf(options.profile), image.dir),
    });
    // Its own process group, so that Ctrl-C in GDB interrupts the guest and does not end QEMU.
    const machine = spawn(qemu.path, argv, { stdio: ['ignore', output, output], detached: true });
    const gone = new Promise<void>((resolve) => machine.on('close', () => resolve()));
    try {
      for (let waited = 0; !existsSync(image.sockets.gdb); waited += POLL_MS) {
        if (machine.exitCode !== null || waited >= SOCKET_WAIT_MS) infra(`QEMU did not start; see ${consolePath}`);
        await wait(POLL_MS);
      }
      console.log(labelled(transport, `console: ${consolePath}`));
      const commands = [`target remote ${image.sockets.gdb}`, ...options.ex].flatMap((command) => ['-ex', command]);
      const batch = options.batch === true ? ['-batch'] : [];
      const child = spawn(gdb, ['-q', ...batch, '-ex', 'set architecture riscv:rv64', ...commands, symbols], { stdio: 'inherit' });
      return await new Promise<number>((resolve, reject) => {
        child.on('error', reject);
        child.on('close', (code) => resolve(code ?? 3));
      });
    } finally {
      if (machine.exitCode === null) machine.kill('SIGKILL');
      await gone;
    }
  } finally {
    closeSync(output);
    await bridge.close();
    dropImage(image);
  }
}

await runMain('gdb', main);
