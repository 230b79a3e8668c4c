// SPDX-License-Identifier: Apache-2.0
// `just bisect GOOD BAD [MARKER]`: finds the commit that broke a marker (or the whole proof) by `git bisect run` in a private clone
// under build/, so that this working tree and its refs stay as they are. Last line: `first bad commit HASH SUBJECT`.
// Exit codes: 0 found, 1 not found (skips in the way, or an end is not what it was said to be), 2 usage, 3 infrastructure.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { $ } from 'zx';
import { findQemu } from './gate/find-qemu.js';
import { parsed, transportOf } from './gate/options.js';
import { infra, runMain, usage, wrong } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

const EXAMPLES = `
Examples:
  just bisect v0.1 HEAD
  just bisect HEAD~20 HEAD 'logd: reject over_limit'
  just bisect v0.1 HEAD 'init: ready' --transport legacy`;

interface Options {
  transport: string;
  verify: boolean;
  timeoutIsBad?: boolean;
}

/** Full hash of a commit. @throws Failure 2. */
async function commit(name: string): Promise<string> {
  const found = await $({ cwd: ROOT, nothrow: true, quiet: true })`git rev-parse --verify --quiet --end-of-options ${`${name}^{commit}`}`;
  return found.exitCode === 0 ? found.stdout.trim() : usage(`"${name}" is no commit of this repository`);
}

async function main(): Promise<number> {
  const program = new Command('bisect')
    .description('Find the commit that broke a marker.')
    .argument('<good>', 'a commit on which the marker came')
    .argument('<bad>', 'a later commit on which it did not')
    .argument('[marker]', 'the exact line; without it, the whole proof')
    .option('--transport <name>', 'modern, or legacy (debug only)', 'modern')
    .option('--no-verify', 'do not boot GOOD and BAD themselves first')
    .option('--timeout-is-bad', 'count a boot that runs into RUN_TIMEOUT as bad, for a guest that hangs')
    .addHelpText('after', EXAMPLES);
  if (!parsed(program)) return 0;
  const options = program.opts<Options>();
  const transport = transportOf(options.transport);
  const [good, bad] = [await commit(program.args[0]!), await commit(program.args[1]!)];
  const marker = program.args[2] ?? '';
  const above = await $({ cwd: ROOT, nothrow: true, quiet: true })`git merge-base --is-ancestor ${good} ${bad}`;
  if (above.exitCode !== 0 || good === bad) usage('GOOD must be an ancestor of BAD');
  findQemu();
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  const clone = mkdtempSync(join(ROOT, 'build', 'bisect-'));
  const inClone = $({ cwd: clone, nothrow: true, quiet: true });
  const script = [
    process.execPath, '--import', import.meta.resolve('tsx'), join(ROOT, 'scripts/gate/bisect-step.ts'),
    transport, marker, options.timeoutIsBad === true ? 'timeout-is-bad' : '',
  ];
  const show = $({ cwd: clone, nothrow: true, stdio: ['ignore', 'inherit', 'inherit'] });
  try {
    const cloned = await $({ cwd: ROOT, nothrow: true, quiet: true })`git clone --quiet --shared --no-checkout ${ROOT} ${clone}`;
    if (cloned.exitCode !== 0) infra(`git clone failed: ${cloned.stderr.trim()}`);
    if (options.verify) {
      for (const [name, at, want] of [['GOOD', good, 0], ['BAD', bad, 1]] as const) {
        console.log(`bisect: ${name} ${at}`);
        await inClone`git checkout --quiet --detach ${at}`;
        const { exitCode } = await show`${script}`;
        const verdict = exitCode === 0 ? 'good' : exitCode === 1 ? 'bad' : 'not to be judged';
        if (exitCode !== want) wrong(`${name} (${at}) is ${verdict}: nothing to bisect`);
      }
    }
    const started = await inClone`git bisect start ${bad} ${good}`;
    if (started.exitCode !== 0) infra(`git bisect start failed: ${started.stderr.trim()}`);
    await show`git bisect run ${script}`;
    const log = (await inClone`git bisect log`).stdout;
    const found = /^# first bad commit: \[([0-9a-f]+)\] (.*)$/m.exec(log);
    if (found === null) {
      console.log(log);
      return wrong('no single commit found; the log above says which could not be judged');
    }
    console.log(`\nfirst bad commit ${found[1]} ${found[2]}`);
    return 0;
  } finally {
    rmSync(clone, { recursive: true, force: true });
  }
}

await runMain('bisect', main);
