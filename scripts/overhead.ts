// SPDX-License-Identifier: Apache-2.0
// `just overhead`: what `vigil up` costs a node that does nothing else: CPU share and memory of every process that it consists of, over
// minutes of steady state, against the budget of issue 4.
// Invariant: measured from /proc of the real command with the real QEMU; what came and went meanwhile is counted. Memory together is
// resident memory with the pages that processes of one program share counted once; RSS and PSS of each process stand beside it.
// Limits: MINUTES_MAX; Linux.
// Exit codes: 0 within the budget, 1 over it, 2 usage, 3 infrastructure.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { SOURCES } from '../runtime/bridge/choose.js';
import { FLEETS } from '../runtime/bridge/sources/fleets.js';
import { parsed } from './gate/options.js';
import { infra, runMain, usage } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

const BUDGET = { cpuPercent: 2, memoryMiB: 250 } as const;
const MINUTES_MAX = 1_440;
const SAID_CHARS_MAX = 65_536;
const READY_MS = 120_000;
/** Between the first complete scrape and the measurement: the compiler's and the cache's first work is over. */
const SETTLE_MS = 20_000;

interface Reading {
  readonly pid: number; readonly name: string; readonly program: string; readonly cpuTicks: number;
  readonly rssKiB: number; readonly pssKiB: number; readonly sharedKiB: number;
}

function childrenOf(pid: number): number[] {
  try {
    const listed = (task: string): string[] => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ');
    return readdirSync(`/proc/${pid}/task`).flatMap(listed).filter((text) => text !== '').map(Number);
  } catch {
    return []; // it ended meanwhile
  }
}
const treeOf = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(treeOf)];

function nameOf(pid: number): string {
  const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const program = basename(argv[0] ?? '');
  const scripts = argv.slice(1).map((text) => basename(text)).filter((text) => /\.[cm]?[jt]s$/.test(text));
  if (scripts.some((text) => /^child\.[jt]s$/.test(text))) return 'library process';
  if (scripts.some((text) => /^vigil\./.test(text))) return 'vigil up (bridge, agent, exporter)';
  const [script] = scripts;
  return program === 'sh' ? 'sh (ends QEMU with vigil)' : script === undefined ? program : `${program} ${script}`;
}

function read(pid: number): Reading | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const kib = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0);
    return {
      pid, name: nameOf(pid), program: readlinkSync(`/proc/${pid}/exe`), cpuTicks: Number(fields[11]) + Number(fields[12]),
      rssKiB: kib('Rss'), pssKiB: kib('Pss'), sharedKiB: kib('Shared_Clean') + kib('Shared_Dirty'),
    };
  } catch {
    return null; // it ended meanwhile
  }
}

/** Waits until the exporter says ready. @throws Failure 3 with what the command said */
async function ready(url: () => string | null, child: ChildProcess, said: () => string): Promise<void> {
  for (const until = Date.now() + READY_MS; Date.now() < until; await sleep(200)) {
    if (child.exitCode !== null) infra(`vigil up ended: ${said().trim().split('\n').at(-1)}`);
    const at = url();
    if (at !== null && (await fetch(`${at}-/ready`).then(({ status }) => status, () => 0)) === 200) return;
  }
  infra(`vigil up was not ready within ${READY_MS / 1000} s: ${said().trim().split('\n').at(-1)}`);
}

interface Row { name: string; pid: number; cpu_percent: number; rss_mib: number; pss_mib: number }
const round = (value: number, digits: number): number => Number(value.toFixed(digits));
function rowLine({ name, cpu_percent: cpu, rss_mib: rss, pss_mib: pss }: Omit<Row, 'pid'>): string {
  const memory = `${rss.toFixed(1).padStart(8)} MiB RSS ${pss.toFixed(1).padStart(8)} MiB PSS`;
  return `${name.padEnd(36)} ${cpu.toFixed(2).padStart(7)} % of a core ${memory}`;
}

/** Resident memory of all: what each has alone, and for each program what its processes share, once. */
function together(readings: readonly Reading[]): number {
  const shared = new Map<string, number>();
  for (const { program, sharedKiB } of readings) shared.set(program, Math.max(shared.get(program) ?? 0, sharedKiB));
  const alone = readings.reduce((sum, { rssKiB, sharedKiB }) => sum + rssKiB - sharedKiB, 0);
  return (alone + [...shared.values()].reduce((a, b) => a + b, 0)) / 1024;
}

interface Measured { readonly rows: Row[]; readonly memoryMiB: number; readonly wentAway: number; readonly seconds: number }

async function measure(root: number, minutes: number): Promise<Measured> {
  const ticksPerSecond = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100;
  const before = new Map(treeOf(root).map((pid) => [pid, read(pid)]));
  const from = performance.now();
  await sleep(minutes * 60_000);
  const seconds = (performance.now() - from) / 1000;
  const after = treeOf(root).map(read).filter((reading): reading is Reading => reading !== null);
  const rows = after.map(({ pid, name, cpuTicks, rssKiB, pssKiB }) => ({
    name, pid, cpu_percent: round(((cpuTicks - (before.get(pid)?.cpuTicks ?? 0)) / ticksPerSecond / seconds) * 100, 3),
    rss_mib: round(rssKiB / 1024, 1), pss_mib: round(pssKiB / 1024, 1),
  }));
  const wentAway = [...before.keys()].filter((pid) => !after.some((reading) => reading.pid === pid)).length;
  return { rows, memoryMiB: round(together(after), 1), wentAway, seconds };
}

interface Options {
  minutes: string; interval: string; fleet: string; source?: string; library?: string; endpoint?: string; vigil?: string; json?: boolean;
}

const line = (key: string, value: string | undefined): string => (value === undefined ? '' : `\n${key} = ${JSON.stringify(value)}`);

async function main(): Promise<number> {
  const program = new Command('overhead')
    .description('Measure what vigil up costs in steady state: CPU share and memory of each of its processes.')
    .option('--minutes <n>', 'how long to measure', '5')
    .option('--interval <duration>', 'receivers.dcgm.collection_interval', '15s')
    .addOption(new Option('--fleet <name>', 'the node that is replayed').choices(Object.keys(FLEETS)).default('h100x8'))
    .addOption(new Option('--source <kind>', 'a real source instead').choices([...SOURCES]))
    .option('--library <path>', "the source's library, instead of its soname")
    .option('--endpoint <address>', 'where the engine of --source dcgm listens')
    .option('--vigil <program>', "measure this vigil (a distribution's) instead of the checkout's")
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  just overhead --minutes 5\n  just overhead --source dcgm --minutes 30 --json');
  if (!parsed(program)) return 0;
  const options = program.opts<Options>();
  const minutes = Number(options.minutes);
  if (!(minutes > 0 && minutes <= MINUTES_MAX)) usage(`--minutes "${options.minutes}" is not above 0 and at most ${MINUTES_MAX}`);
  const real = options.source !== undefined && options.source !== 'replay';
  const dir = mkdtempSync(join(tmpdir(), 'vigil-overhead-'));
  const config = join(dir, 'vigil.toml');
  writeFileSync(config, [
    `[source]${line('kind', options.source ?? 'replay')}${line('fleet', real ? undefined : options.fleet)}`,
    line('library', options.library).trim(),
    `[receivers.dcgm]${line('collection_interval', options.interval)}${line('endpoint', options.endpoint)}`,
    `[exporters.prometheus]\nlisten = "127.0.0.1:0"`, `[guest]\nstate = "${join(dir, 'state.img')}"`, '',
  ].join('\n'));
  const ours = [process.execPath, join(ROOT, 'scripts/vigil.mjs')];
  const [command, ...before] = options.vigil === undefined ? ours : [options.vigil];
  const { VIGIL_STATE: _state, ...env } = process.env;
  const child = spawn(command!, [...before, 'up', '--plain', '--config', config], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const hear = (bytes: Buffer): void => { said = (said + bytes.toString()).slice(-SAID_CHARS_MAX); };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', hear);
  const ended = new Promise((resolve) => { child.once('close', resolve).once('error', resolve); });
  const stop = (): void => { child.kill('SIGTERM'); };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, stop);
  try {
    const url = (): string | null => /(https?:\S+\/)metrics/.exec(said)?.[1] ?? null;
    await ready(url, child, () => said);
    await sleep(SETTLE_MS);
    const { rows, memoryMiB, wentAway, seconds } = await measure(child.pid!, minutes);
    const sum = (key: 'cpu_percent' | 'rss_mib' | 'pss_mib'): number => round(rows.reduce((total, row) => total + row[key], 0), 3);
    const total = { cpu_percent: sum('cpu_percent'), memory_mib: memoryMiB, rss_mib: sum('rss_mib'), pss_mib: sum('pss_mib') };
    const small = total.cpu_percent < BUDGET.cpuPercent && memoryMiB < BUDGET.memoryMiB;
    const within = small && wentAway === 0 && rows.length > 1;
    const source = real ? options.source! : `replay ${options.fleet}`;
    if (options.json === true) {
      const budget = { cpu_percent: BUDGET.cpuPercent, memory_mib: BUDGET.memoryMiB };
      const about = { seconds: round(seconds, 1), interval: options.interval, source };
      console.log(JSON.stringify({ ...about, processes: rows, went_away: wentAway, total, budget, within }, null, 2));
    } else {
      console.log(`overhead: ${source}, a scrape every ${options.interval}, ${seconds.toFixed(0)} s of steady state`);
      for (const row of [...rows, { name: 'sum', ...total }]) console.log(rowLine(row));
      console.log(`together ${total.cpu_percent.toFixed(2)} % of a core and ${memoryMiB.toFixed(1)} MiB, shared pages counted once`);
      if (wentAway > 0) console.log(`${wentAway} processes ended during the measurement`);
      const bounds = `under ${BUDGET.cpuPercent} % of a core and ${BUDGET.memoryMiB} MiB`;
      console.log(`${within ? 'within' : 'OVER'} the budget: ${bounds}`);
    }
    return within ? 0 : 1;
  } finally {
    stop();
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
}

await runMain('overhead', main);
