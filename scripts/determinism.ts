// SPDX-License-Identifier: Apache-2.0
// `just determinism [N]`: boots N times, each with its own nonce, and compares the normalised transcripts byte by byte.
// Last line on success: `identical N/N sha256=...`. Exit codes: 0 identical, 1 different or a red boot, 2 usage, 3 infrastructure.
import { Command } from 'commander';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { integerOf, parsed, transportOf } from './gate/options.js';
import { pool } from './gate/pool.js';
import { boot, interruptible, type BootResult } from './gate/session.js';
import { labelled } from './gate/show.js';
import { runWhole } from './gate/stop.js';
import { digestOf, firstDifference, normalise } from './gate/transcript.js';
import { runMain } from './lib/fail.js';

const RUNS_DEFAULT = '5';
const RUNS_MAX = 1000;
const JOBS_MAX = 8;

async function main(): Promise<number> {
  const program = new Command('determinism')
    .description('Boot N times and compare the transcripts.')
    .argument('[runs]', 'how many boots', RUNS_DEFAULT)
    .option('--transport <name>', 'modern, or legacy (debug only)', 'modern')
    .option('--profile <name>', 'the ladder', 'proof')
    .option('--jobs <n>', 'boots at a time', '2')
    .addHelpText('after', '\nExamples:\n  just determinism\n  just determinism 20\n  just determinism 20 --jobs 1');
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<{ transport: string; profile: string; jobs: string; build: boolean }>();
  const { transport: name, profile, jobs: jobsText } = options;
  const transport = transportOf(name);
  const runs = integerOf('runs', program.args[0] ?? RUNS_DEFAULT, 2, RUNS_MAX);
  const jobs = integerOf('--jobs', jobsText, 1, JOBS_MAX);
  const print = (line: string): void => console.log(labelled(transport, line));
  await freshImage('shipping', options.build, print);
  const signal = interruptible();
  const stopAll = new AbortController();
  signal.addEventListener('abort', () => stopAll.abort());
  let reference: { run: number; transcript: string } | null = null;
  let same = 0;
  let worst: 0 | 1 | 2 | 3 = 0;
  await pool(Array.from({ length: runs }, (_, n) => n + 1), jobs, async (run) => {
    if (stopAll.signal.aborted) return;
    const result = await boot({ transport, profile, stop: () => runWhole(), signal: stopAll.signal });
    const transcript = normalise(result.lines, result.nonce);
    print(`run ${run}/${runs} ${result.verdict} sha256=${digestOf(transcript)} ${result.wallMs} ms`);
    if (result.result !== 'pass') return stop(result);
    reference ??= { run, transcript };
    const difference = firstDifference(reference.transcript, transcript);
    if (difference === null) {
      same++;
      return;
    }
    print(`run ${run} differs from run ${reference.run} at line ${difference.line}:`);
    print(`  run ${reference.run}: ${difference.a}`);
    print(`  run ${run}: ${difference.b}`);
    worst = worst === 3 ? 3 : 1;
  });
  function stop(result: BootResult): void {
    for (const line of result.report) print(line);
    if (!stopAll.signal.aborted) worst = result.exitCode;
    stopAll.abort();
  }
  const sha256 = reference === null ? 'none' : digestOf((reference as { transcript: string }).transcript);
  const code: number = signal.aborted ? 3 : worst;
  print(`${same === runs && code === 0 ? 'identical' : 'DIFFERENT'} ${same}/${runs} sha256=${sha256}`);
  return code;
}

await runMain('determinism', main);
