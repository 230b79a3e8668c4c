// SPDX-License-Identifier: Apache-2.0
// `npm start`: builds what changed, boots, shows the proof ladder, then stays as a view of the running image until Ctrl-C.
// Without a terminal: plain lines, the gate's own boot, and the gate's exit code (0 passed, 1 the guest failed, 2 usage,
// 3 infrastructure). With one: 0 when the ladder came whole, 1 when it went red or the guest ended.
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from './build.js';
import { boot, interruptible } from './gate/session.js';
import { showEvent } from './gate/show.js';
import { readStop } from './gate/stop.js';
import { runMain, usage } from './lib/fail.js';
import { actionOf } from './view/keys.js';
import { Live } from './view/live.js';
import { initialState, reduce, type ViewEvent } from './view/model.js';
import { pollControl } from './view/poll.js';
import { render } from './view/render.js';
import { Screen } from './view/screen.js';

const TICK_MS = 1_000;
const USAGE = `usage: npm start [-- --plain]
  Builds what changed, boots the image in QEMU and shows its proof. In a terminal it then stays as a view of the running
  image (Ctrl-C ends it); elsewhere, or with --plain, it prints plain lines and exits after the proof.`;

async function plain(): Promise<number> {
  let count = 0;
  const request = { transport: 'modern', profile: 'proof', stop: readStopFromEnv, signal: interruptible() } as const;
  const result = await boot(request, (event) => {
    if (event.kind === 'starting') count = event.ladder.markers.length;
    for (const line of showEvent(event, count)) console.log(line);
  });
  for (const line of result.report) console.log(line);
  console.log(result.verdict);
  return result.exitCode;
}

const readStopFromEnv = (ladder: Parameters<typeof readStop>[1]): ReturnType<typeof readStop> => readStop(process.env, ladder);

async function interactive(): Promise<number> {
  let state = initialState();
  let screen: Screen | null = null;
  const stopAsked = new AbortController();
  const say = (event: ViewEvent): void => {
    state = reduce(state, event);
    screen?.refresh();
  };
  const live = await Live.start(say);
  const startedMs = Date.now();
  const clock = setInterval(() => say({ kind: 'tick', wallMs: Date.now() - startedMs }), TICK_MS);
  const quit = (): void => stopAsked.abort();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, quit);
  screen = new Screen(process.stdin, process.stdout, (size) => render(state, size), (key) => {
    const action = actionOf(key, state.tab);
    if (action === 'quit') quit();
    else if (action !== null) say(action);
  });
  screen.refresh();
  let outcome;
  try {
    outcome = await Promise.race([live.decided, untilAborted(stopAsked.signal)]);
    if (outcome === 'proved' || outcome === 'red') await pollControl(live.controlSocket, say, stopAsked.signal);
    await untilAborted(stopAsked.signal);
  } finally {
    clearInterval(clock);
    screen.close();
    await live.stop();
  }
  for (const line of closing(state)) console.log(line);
  return outcome === 'proved' && state.phase.kind === 'proved' ? 0 : outcome === undefined ? 0 : 1;
}

/** What stays on the terminal after the view is gone. */
function closing(state: ReturnType<typeof initialState>): string[] {
  const place = `${state.seen.length}/${state.ladder?.markers.length ?? 0} markers`;
  switch (state.phase.kind) {
    case 'proved':
      return [`PROVED modern ${place}; stopped by you (logs ${state.runDir})`];
    case 'red':
      return [`RED modern ${place}: ${state.phase.title}`, `evidence: ${state.runDir}`, 'reproduce: just test-os'];
    case 'ended':
      return [`ENDED modern ${place}: ${state.phase.how}`, `evidence: ${state.runDir}`];
    case 'proving':
      return [`stopped by you at ${place}`];
  }
}

async function untilAborted(signal: AbortSignal): Promise<undefined> {
  while (!signal.aborted) await sleep(60_000, undefined, { signal, ref: true }).catch(() => undefined);
  return undefined;
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
  const terminal = process.stdin.isTTY && process.stdout.isTTY && !args.includes('--plain');
  return terminal ? interactive() : plain();
}

await runMain('start', main);
