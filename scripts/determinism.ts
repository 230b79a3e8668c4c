// SPDX-License-Identifier: Apache-2.0
// `just determinism [N]`: boots N times, each with its own nonce, compares the normalised transcripts byte by byte and writes
// build/determinism.json (scripts/gate/spread.ts). A red boot is counted and the rest still runs; trouble of the host ends it, and
// then no record is written. Last line on success: `identical N/N sha256=...`.
// Exit codes: 0 identical, 1 different or a red boot, 2 usage, 3 infrastructure.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { ledgerRows } from './gate/evidence.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { integerOf, parsed, transportOf } from './gate/options.js';
import { pool } from './gate/pool.js';
import { boot, interruptible, type BootResult } from './gate/session.js';
import { labelled } from './gate/show.js';
import { recordOf, type GreenRun } from './gate/spread.js';
import { runWhole } from './gate/stop.js';
import { digestOf, firstDifference, normalise } from './gate/transcript.js';
import { runMain } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

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
  const record = join(ROOT, 'build', 'determinism.json');
  rmSync(record, { force: true });
  const signal = interruptible();
  const stopAll = new AbortController();
  signal.addEventListener('abort', () => stopAll.abort());
  const green: GreenRun[] = [];
  let reference: { run: number; transcript: string } | null = null;
  let same = 0;
  let infraTrouble = false;
  await pool(Array.from({ length: runs }, (_, n) => n + 1), jobs, async (run) => {
    if (stopAll.signal.aborted) return;
    const result = await boot({ transport, profile, stop: () => runWhole(), signal: stopAll.signal });
    const transcript = normalise(result.lines, result.nonce);
    print(`run ${run}/${runs} ${result.verdict} sha256=${digestOf(transcript)} ${result.wallMs} ms`);
    if (result.result !== 'pass') return notGreen(result);
    green.push({ markers: ledgerRows(result.matcher.seen), wallMs: result.wallMs });
    reference ??= { run, transcript };
    const difference = firstDifference(reference.transcript, transcript);
    if (difference === null) {
      same++;
      return;
    }
    print(`run ${run} differs from run ${reference.run} at line ${difference.line}:`);
    print(`  run ${reference.run}: ${difference.a}`);
    print(`  run ${run}: ${difference.b}`);
  });
  function notGreen(result: BootResult): void {
    for (const line of result.report) print(line);
    if (result.result === 'fail') return;
    infraTrouble = true;
    stopAll.abort();
  }
  const sha256 = reference === null ? null : digestOf((reference as { transcript: string }).transcript);
  const over = signal.aborted || infraTrouble;
  if (!over) {
    mkdirSync(join(ROOT, 'build'), { recursive: true });
    writeFileSync(record, `${JSON.stringify(recordOf(runs, same, sha256, green), null, 2)}\n`);
  }
  print(`pass rate ${green.length}/${runs} (${((100 * green.length) / runs).toFixed(1)} %)${over ? ', cut short' : ''}`);
  const code = over ? 3 : same === runs ? 0 : 1;
  print(`${code === 0 ? 'identical' : 'DIFFERENT'} ${same}/${runs} sha256=${sha256 ?? 'none'}`);
  return code;
}

await runMain('determinism', main);
