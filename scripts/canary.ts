// SPDX-License-Identifier: Apache-2.0
// `just canary`: boots each mutant of the mutant image and shows that the gate goes red at the line whose contract the mutant breaks,
// for the reason that line's canary names. A mutant that stays green, or goes red elsewhere, is a hole in the gate: exit code 1.
// Last line: `red N/N`. Before the mutants, the mutant image is booted once with none on and must pass.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { bootAfterPast } from './gate/after.js';
import { canaryCases, disagreement, uncovered, type CanaryCase } from './gate/canaries.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { integerOf, parsed } from './gate/options.js';
import { pool } from './gate/pool.js';
import { failureTitle, passLine } from './gate/report.js';
import { boot, interruptible } from './gate/session.js';
import { parseTimeout, runWhole } from './gate/stop.js';
import { infra, runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

const JOBS_MAX = 8;

interface Outcome {
  marker: string;
  profile: string;
  transport: string;
  mutant: string;
  expect: string;
  red: boolean;
  infra: boolean;
  detail: string;
  wall_ms: number;
}

function choose(cases: CanaryCase[], only: string | undefined): CanaryCase[] {
  if (only === undefined) return cases;
  const chosen = cases.filter(({ marker, canary }) => canary.mutant === only || marker.text === only || marker.phase === only);
  return chosen.length > 0 ? chosen : usage(`--only "${only}" is no mutant, line or phase of markers/`);
}

async function main(): Promise<number> {
  const program = new Command('canary')
    .description('Show that the gate goes red for every mutant.')
    .option('--only <name>', 'one mutant, the mutant of one line, or the mutants of one phase')
    .option('--jobs <n>', 'boots at a time', '2')
    .option('--timeout <duration>', 'host wall limit of each boot', '60s')
    .option('--keep-going', 'try the mutants even though the image is red without one; never ends with 0 then')
    .option('--list', 'print the canaries and boot nothing')
    .addHelpText('after', "\nExamples:\n  just canary\n  just canary --only logd\n  just canary --only 'init: ready'");
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<{ only?: string; jobs: string; timeout: string; list?: boolean; keepGoing?: boolean; build: boolean }>();
  const cases = choose(canaryCases(), options.only);
  if (options.list === true) {
    for (const { canary, marker } of cases) console.log(`${canary.mutant.padEnd(40)} ${canary.expect.padEnd(10)} ${marker.text}`);
    return 0;
  }
  const jobs = integerOf('--jobs', options.jobs, 1, JOBS_MAX);
  const timeoutMs = parseTimeout(options.timeout);
  await freshImage('mutant', options.build, (line) => console.log(line));
  const signal = interruptible();
  const none = await boot({ transport: 'modern', profile: 'proof', stop: () => runWhole(timeoutMs), flavour: 'mutant', signal });
  if (none.result !== 'pass') {
    for (const line of none.report) console.log(line);
    console.log(`the mutant image with no mutant on must pass first: ${none.verdict}`);
    if (options.keepGoing !== true) return none.exitCode;
  } else {
    console.log(`no mutant: ${passLine(none.label, none.ladder.markers.length)}`);
  }
  const outcomes = await pool(cases, jobs, (one) => tryOne(one, timeoutMs, signal));
  const red = outcomes.filter((outcome) => outcome.red).length;
  const logs = join(ROOT, 'build', 'logs');
  if (existsSync(logs)) writeFileSync(join(logs, 'canary.json'), `${JSON.stringify(outcomes, null, 2)}\n`);
  const holes = outcomes.filter((outcome) => !outcome.red).map((outcome) => outcome.mutant);
  if (holes.length > 0) console.log(`not red: ${holes.join(' ')}`);
  const bare = options.only === undefined ? uncovered() : [];
  for (const text of bare) console.log(`NO CANARY for ${text}`);
  console.log(`red ${red}/${outcomes.length + bare.length}`);
  if (outcomes.some((outcome) => outcome.infra)) return 3;
  return none.result === 'pass' && red === outcomes.length && bare.length === 0 ? 0 : 1;
}

async function tryOne(one: CanaryCase, timeoutMs: number, signal: AbortSignal): Promise<Outcome> {
  const { marker, canary, profile, transport } = one;
  if (signal.aborted) infra('interrupted');
  const result = await bootAfterPast({ transport, profile, stop: () => runWhole(timeoutMs), mutant: canary.mutant, signal });
  const broken = result.result === 'infra';
  const why = broken ? (result.report[0] ?? 'infra') : disagreement(one, result.failure);
  const detail = why ?? failureTitle(result.failure!);
  console.log(`${why === null ? 'red' : 'NOT RED'} ${canary.mutant}: ${detail}`);
  return {
    marker: marker.text, profile, transport, mutant: canary.mutant, expect: canary.expect, red: why === null, infra: broken, detail,
    wall_ms: result.wallMs,
  };
}

await runMain('canary', main);
