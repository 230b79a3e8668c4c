// SPDX-License-Identifier: Apache-2.0
// `npm start`: builds what changed, boots, shows the proof ladder, then runs the same image in real time as a view until Ctrl-C.
// Without a terminal: plain lines and an end after the proof. Exit code: the gate's (0 passed, 1 the guest failed, 2 usage,
// 3 infrastructure); 1 also when the image that passed did not come up, or ended, in the view.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from './build.js';
import { runSchema } from './gate/evidence.js';
import { boot, interruptible, type BootResult } from './gate/session.js';
import { showEvent } from './gate/show.js';
import { readStop } from './gate/stop.js';
import { failureTitle } from './gate/report.js';
import { runMain, usage } from './lib/fail.js';
import { actionOf } from './view/keys.js';
import { Live } from './view/live.js';
import { initialState, reduce, type ViewEvent, type ViewState } from './view/model.js';
import { pollControl } from './view/poll.js';
import { render } from './view/render.js';
import { Screen } from './view/screen.js';

const TICK_MS = 1_000;
const USAGE = `usage: npm start [-- --plain]
  Builds what changed, boots the image in QEMU and shows its proof. In a terminal it then runs the same image in real time
  and shows its logs, series and GPUs until Ctrl-C; elsewhere, on a dumb TERM, or with --plain, it
  prints plain lines and ends after the proof.`;

const proof = (signal: AbortSignal) => ({
  transport: 'modern' as const, profile: 'proof', signal, stop: (ladder: Parameters<typeof readStop>[1]) => readStop(process.env, ladder),
});

async function plain(): Promise<number> {
  let count = 0;
  const result = await boot(proof(interruptible()), (event) => {
    if (event.kind === 'starting') count = event.ladder.markers.length;
    for (const line of showEvent(event, count)) console.log(line);
  });
  for (const line of result.report) console.log(line);
  console.log(result.verdict);
  return result.exitCode;
}

/** The proof, told to the view as it goes. */
function prove(say: (event: ViewEvent) => void, signal: AbortSignal): Promise<BootResult> {
  return boot(proof(signal), (event) => {
    if (event.kind === 'starting') say({ kind: 'starting', ladder: event.ladder, label: event.label, runDir: event.runDir });
    if (event.kind === 'marker') say({ kind: 'marker', seen: event });
    if (event.kind === 'red') say({ kind: 'red', failure: event.failure, title: failureTitle(event.failure) });
  });
}

/** The bundle that a run booted, from its record. */
function bundleOf(result: BootResult): string {
  return runSchema.parse(JSON.parse(readFileSync(join(result.runDir, 'run.json'), 'utf8'))).image.bundle_identity;
}

async function interactive(): Promise<number> {
  let state = initialState();
  const stop = new AbortController();
  const quit = (): void => stop.abort();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, quit);
  const screen = new Screen(process.stdin, process.stdout, (size) => render(state, size), (key) => {
    const action = actionOf(key, state.tab);
    if (action === 'quit') quit();
    else if (action !== null) say(action);
  });
  function say(event: ViewEvent): void {
    state = reduce(state, event);
    screen.refresh();
  }
  const startedMs = Date.now();
  const clock = setInterval(() => say({ kind: 'tick', wallMs: Date.now() - startedMs }), TICK_MS);
  let live: Live | null = null;
  let result: BootResult | null = null;
  try {
    result = await prove(say, stop.signal);
    if (result.result === 'pass') {
      say({ kind: 'passed', wallMs: result.wallMs });
      if (!stop.signal.aborted) live = await Live.start(bundleOf(result), say, undefined);
      if (live !== null && (await Promise.race([live.up, aborted(stop.signal)]))) await pollControl(live.controlSocket, say, stop.signal);
    } else if (result.result !== 'fail') say({ kind: 'ended', how: result.report[0] ?? result.verdict });
    await aborted(stop.signal);
  } finally {
    clearInterval(clock);
    screen.close();
    await live?.stop();
  }
  for (const line of result.report) console.log(line);
  console.log(result.verdict);
  if (state.phase.kind === 'ended' && result.result === 'pass') console.log(`then ${state.phase.how}`);
  return result.exitCode !== 0 ? result.exitCode : exitOf(state);
}

/** After a pass: 1 when the image did not keep running until it was stopped. */
function exitOf(state: ViewState): number {
  return state.phase.kind === 'ended' || state.phase.kind === 'red' ? 1 : 0;
}

/** Resolves with false once the signal aborts. */
async function aborted(signal: AbortSignal): Promise<false> {
  while (!signal.aborted) await sleep(60_000, undefined, { signal }).catch(() => undefined);
  return false;
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    console.log(USAGE);
    return 0;
  }
  const unknown = args.find((arg) => arg !== '--plain');
  if (unknown !== undefined) usage(`unknown option ${unknown}; see npm start -- --help`);
  const steps = await build({ log: (line) => console.log(`build: ${line}`) });
  console.log(steps === 0 ? 'build: up to date' : `build: ${steps} steps`);
  const dumb = process.env.TERM === undefined || process.env.TERM === '' || process.env.TERM === 'dumb'; // cannot place text
  const terminal = process.stdin.isTTY && process.stdout.isTTY && !dumb && !args.includes('--plain');
  return terminal ? interactive() : plain();
}

await runMain('start', main);
