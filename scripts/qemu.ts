// SPDX-License-Identifier: Apache-2.0
// `just qemu`: boots the image in real time with its console in this terminal (Ctrl-A x leaves, Ctrl-A c is QEMU's monitor).
// No icount and no verdict: this is for looking. Exit code: QEMU's own status, 2 usage, 3 infrastructure.
import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { Command } from 'commander';
import { bootArgs, partsOf, qemuArgv } from '../boot/machines.js';
import { refuseContradictions } from '../boot/topology.js';
import { startBridge } from '../runtime/bridge/index.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { findQemu } from './gate/find-qemu.js';
import { dropImage, privateImage } from './gate/private-image.js';
import { parsed, transportOf } from './gate/options.js';
import { labelled } from './gate/show.js';
import { quote } from './gate/report.js';
import { keptPath, openKept } from './lib/disk.js';
import { infra, runMain, usage } from './lib/fail.js';

async function main(): Promise<number> {
  const program = new Command('qemu')
    .description('Boot in real time with the console in this terminal.')
    .argument('[transport]', 'modern, or legacy (debug only)', 'modern')
    .option('--profile <name>', 'what the guest does: run, proof, invalid-only, bench', 'run')
    .option('--recipe <name>', 'metrics recipe to boot with')
    .option('--diag', 'more kernel lines')
    .option('--print', "print QEMU's command line and boot nothing")
    .addHelpText('after', '\nExamples:\n  just qemu\n  just qemu legacy --diag\n  just qemu --recipe gpu');
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<{ profile: string; recipe?: string; diag?: boolean; print?: boolean; build: boolean }>();
  const transport = transportOf(program.args[0] ?? 'modern');
  refuseContradictions(process.env, transport, 'run');
  if (options.print !== true) await freshImage('shipping', options.build, (line) => console.log(labelled(transport, line)));
  const qemu = findQemu();
  const image = privateImage('shipping');
  const cleanUp: (() => void | Promise<void>)[] = [];
  try {
    const { devices, without } = partsOf(options.profile);
    const append = bootArgs({
      profile: options.profile, nonce: randomBytes(8).toString('hex'), bundle: image.bundleIdentity, idle: 'sleep',
      recipe: options.recipe, diag: options.diag, without,
    });
    const argv = qemuArgv({
      transport, mode: 'run', kernelPath: image.kernelPath, bundlePath: image.bundlePath, append, sockets: image.sockets,
      console: 'monitor', devices, drive: { source: { file: keptPath(), throwaway: false } },
    });
    if (options.print === true) {
      console.log([qemu.path, ...argv].map(quote).join(' '));
      return 0;
    }
    if (!process.stdin.isTTY) usage('this is interactive and wants a terminal; use: just test-os');
    const disk = openKept();
    cleanUp.push(disk.release);
    const bridge = await startBridge({ socketPath: image.sockets.dcgm });
    cleanUp.push(() => bridge.close());
    console.log(labelled(transport, `/state is ${disk.path}${disk.created ? ' (new)' : ''}`));
    console.log(labelled(transport, `${qemu.banner}; Ctrl-A x leaves, Ctrl-A c is the monitor; the GPU source is ${bridge.source}`));
    const child = spawn(qemu.path, argv, { stdio: 'inherit' });
    for (const name of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) process.on(name, () => void child.kill('SIGTERM'));
    if (child.pid !== undefined) disk.usedBy(child.pid);
    const status = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve(signal === null ? (code ?? 1) : 3));
    });
    return status === 3 ? infra('QEMU was ended by a signal') : status;
  } finally {
    for (const end of cleanUp.reverse()) await end();
    dropImage(image);
  }
}

await runMain('qemu', main);
