// SPDX-License-Identifier: Apache-2.0
// `just soak`: hours of guest time at the highest rates that logd, metricsd and statefsd accept, then every high-water mark, journal size
// and drop counter beside its limit. An idle guest jumps to its next timer, so an hour costs seconds.
// With --mutant, the mutant image: then the row that --red names must be broken.
// Exit codes: 0 all held (with --mutant: that row did not), 1 the opposite (or the guest failed), 2 usage, 3 infrastructure.
// Last line: `PASS soak ...`, `FAIL soak ...`; with --mutant `red NAME: ...` or `NOT RED NAME: ...`.
import { join } from 'node:path';
import { Command } from 'commander';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { integerOf, parsed } from './gate/options.js';
import { boot, interruptible, mutantNumber } from './gate/session.js';
import { parseTimeout, runWhole } from './gate/stop.js';
import { limit, loadAbi } from './lib/abi.js';
import { GATE_DISK_BYTES } from './lib/disk.js';
import { runMain, usage, wrong } from './lib/fail.js';
import { loadServices } from './lib/services.js';
import { ROOT } from './lib/paths.js';
import { int, readToml, type Table } from './lib/table.js';
import { canaryFault, judgeRow, readReports, rowsOf, soakTable, type Report, type SoakLimits } from './soak/rows.js';

const HOURS_DEFAULT = '24';
const HOURS_MAX = 168;
/** Keys of the workload (selftest/soak.ts), and what other services keep on /state: retention, keys, crash records, the boot counter. */
const SOAK_KEYS = 512;
const OTHER_KEYS_MAX = 1024;

/** The recipe that a boot without another one has. */
const RECIPE = 'image/recipes/observability/metrics.toml';
const SECOND_NS = 1_000_000_000;

function limitsOf(minutes: number): SoakLimits {
  const abi = loadAbi(ROOT);
  const retention = readToml(join(ROOT, RECIPE)).retention as Table;
  const kept = (key: string): number => int(retention, key, RECIPE, 1, SECOND_NS * 60);
  const of = (section: string, key: string): number => limit(abi, section, key);
  return {
    logRecords: of('logd', 'records_max'),
    logBytes: of('logd', 'journal_bytes_max'),
    endpoints: of('kernel', 'endpoints_max'),
    handles: of('kernel', 'handles_per_thread'),
    queued: of('kernel', 'message_small_count') + of('kernel', 'message_large_count'),
    series: of('metricsd', 'series_max'),
    liveSpans: of('metricsd', 'live_spans_max'),
    stateKeys: of('statefs', 'keys_max'),
    stateKeysExpected: SOAK_KEYS + OTHER_KEYS_MAX,
    regionBytes: GATE_DISK_BYTES / 2,
    groupRequests: of('statefsd', 'group_requests_max'),
    retentionFrames: of('state_client', 'frames_in_flight_max'),
    exportsWaiting: of('metricsd', 'series_max') + of('metricsd', 'span_exports_max'),
    segmentRecords: kept('max_records_per_segment'),
    retentionRecords: kept('max_segments') * kept('max_records_per_segment'),
    intervals: minutes * 60 * SECOND_NS / kept('raw_interval_ns'),
  };
}

/** Linear memory: what was mapped when a service started, and the most that the kernel lets it grow to. That none grew is measured: growing
 *  takes page frames, and the row of frames taken since the start comes from the kernel's own low-water mark. */
function memoryLines(last: Report | undefined): string[] {
  const free = (key: string): number => last?.get(key) ?? NaN;
  const services = loadServices(ROOT).filter(({ exec, fixture }) => !exec && !fixture);
  const text = services.map(({ name, memoryPages, memoryPagesMax }) => `${name} ${memoryPages} of ${memoryPagesMax}`).join(', ');
  return [
    `free page frames: ${free('free_frames_at_start')} at the start, ${free('free_frames_least')} the fewest ever, `
      + `${free('free_frames')} at the end`,
    `linear memory at start, and at most, in pages of 64 KiB: ${text}`,
  ];
}

async function main(): Promise<number> {
  const program = new Command('soak')
    .description('Run at the highest accepted rates for hours of guest time, and hold every limit.')
    .option('--hours <n>', 'guest time', HOURS_DEFAULT)
    .option('--minutes <n>', 'guest time, instead of hours')
    .option('--timeout <duration>', 'host wall limit', '60m')
    .option('--mutant <name>', 'boot the mutant image with this mutant on: then the row of --red must be broken')
    .option('--red <row>', 'the row, by its text in the table')
    .addHelpText('after', '\nExamples:\n  just soak\n  just soak --hours 1\n  just soak --minutes 10'
      + "\n  just soak --minutes 5 --mutant metricsd_wal_never_rotates --red 'retention: records in the segment'");
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<{ hours: string; minutes?: string; timeout: string; mutant?: string; red?: string; build: boolean }>();
  const minutes = options.minutes === undefined
    ? 60 * integerOf('--hours', options.hours, 1, HOURS_MAX)
    : integerOf('--minutes', options.minutes, 1, 60 * HOURS_MAX);
  const timeoutMs = parseTimeout(options.timeout);
  const { mutant, red } = options;
  if ((mutant === undefined) !== (red === undefined)) usage('--mutant and --red go together');
  if (mutant !== undefined) mutantNumber(mutant);
  await freshImage(mutant === undefined ? 'shipping' : 'mutant', options.build, (line) => console.log(line));
  const result = await boot(
    { transport: 'modern', profile: 'soak', stop: () => runWhole(timeoutMs), args: { minutes }, mutant, signal: interruptible() },
    (event) => {
      if (event.kind === 'figure' && event.text.includes('soak second=')) console.log(event.text);
    },
  );
  if (result.result !== 'pass') {
    for (const line of result.report) console.log(line);
    console.log(result.verdict);
    return result.exitCode;
  }
  const reports = readReports(result.lines, result.ladder.figures ?? wrong('markers/profiles/soak.toml names no figures'));
  const judged = rowsOf(limitsOf(minutes)).map((row) => judgeRow(row, reports));
  const bad = judged.filter(({ broken }) => broken !== null);
  for (const line of [...soakTable(judged), ...memoryLines(reports.at(-1))]) console.log(line);
  const wall = `${(result.wallMs / 1000).toFixed(1)} s on the host`;
  if (mutant !== undefined) {
    const fault = canaryFault(judged, red!);
    console.log(`${fault === null ? 'red' : 'NOT RED'} ${mutant}: ${fault ?? `"${red!}" is broken`}, ${wall}`);
    return fault === null ? 0 : 1;
  }
  const held = `${judged.length - bad.length}/${judged.length} rows`;
  console.log(`${bad.length === 0 ? 'PASS' : 'FAIL'} soak ${held} over ${minutes} minutes of guest time, ${wall}`);
  return bad.length === 0 ? 0 : 1;
}

await runMain('soak', main);
