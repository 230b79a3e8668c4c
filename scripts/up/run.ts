// SPDX-License-Identifier: Apache-2.0
// Owns: how `vigil up` runs in each of its manners: live in a terminal, as plain or JSON lines, or once.
// Invariant: SIGTERM, SIGINT and SIGHUP end it in order; the machine is stopped before this returns or throws.
// Limits: a glance a second in a terminal, one every PLAIN_GLANCE_MS elsewhere; --once waits as long as onceLimitMs says.
import { setTimeout as sleep } from 'node:timers/promises';
import { UP } from '../../runtime/up/limits.js';
import { startMachine, type Machine, type MachineEvent } from '../../runtime/up/machine.js';
import { EnvError } from '../../runtime/export/otlp/env.js';
import { ListenError } from '../../runtime/export/exporter.js';
import { WebConfigError } from '../../runtime/export/http/web-config.js';
import type { Config } from '../../runtime/config/schema.js';
import { saltOf } from '../command/config.js';
import { infra, usage, wrong } from '../lib/fail.js';
import { actionOf } from '../view/keys.js';
import { Screen } from '../view/screen.js';
import { painter } from '../view/text.js';
import { eventLine, glanceOf, summaryJson, summaryLine } from '../view/up-glance.js';
import { blankState, reduceUp, sourceText, type Glance, type UpState, type UpViewEvent } from '../view/up-model.js';
import { unitTable } from '../view/unit-table.js';
import { renderUp } from '../view/up-render.js';
import { settingsOf, type Choices } from './settings.js';

export interface UpOptions extends Choices { readonly json?: boolean; readonly plain?: boolean }

const LIVE_GLANCE_MS = 1_000;
const PLAIN_GLANCE_MS = 1_000;
const ONCE_GLANCE_MS = 100;
const TABLE_COLUMNS = 200;

/** Ends of the first boot that no other boot will mend. */
type Refused = Extract<MachineEvent, { kind: 'ended' }>;

interface Run { readonly machine: Machine; readonly stop: AbortSignal; refused(): Refused | null }

/** What the listeners and readers throw for a person's mistake, with the exit code that belongs to it. */
async function start(config: Config, receiverLines: string, say: (event: MachineEvent) => void): Promise<Machine> {
  try {
    return await startMachine(config, { receiverLines, identitySalt: saltOf(config), say });
  } catch (error) {
    if (error instanceof EnvError) return usage(error.message);
    if (error instanceof WebConfigError) return wrong(`exporters.prometheus.web_config_file: ${error.message}`);
    if (error instanceof ListenError) return wrong(`exporters.prometheus.listen: ${error.message}`);
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') {
      return infra(`${config.exporters.prometheus.listen} is in use; end what listens there, or choose another with --listen`);
    }
    throw error;
  }
}

/** Starts the machine, runs `job` over it, and stops it, whatever happens. */
async function withMachine(options: UpOptions, say: (event: MachineEvent) => void, job: (run: Run) => Promise<number>): Promise<number> {
  const { config, receiverLines, warnings } = settingsOf(options);
  const stop = new AbortController();
  const quit = (): void => stop.abort();
  const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of SIGNALS) process.on(name, quit);
  let refused: Refused | null = null;
  try {
    for (const line of warnings) say({ kind: 'log', line });
    const machine = await start(config, receiverLines, (event) => {
      say(event);
      const early = event.kind === 'ended' && event.boot === 1 && (event.cause === 'refused' || event.cause === 'exit') && !event.spoke;
      if (!early) return;
      refused = event;
      quit();
    });
    try {
      return await job({ machine, stop: stop.signal, refused: () => refused });
    } finally {
      await machine.stop();
    }
  } finally {
    for (const name of SIGNALS) process.off(name, quit);
  }
}

/** Waits, or less when `signal` aborts; false then. */
async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
  return !signal.aborted;
}

/** How it ended: 0, or why the first boot was refused. */
function endOf({ refused }: Run): number {
  const why = refused();
  return why === null ? 0 : infra(`QEMU did not start the guest: ${why.detail}`);
}

const print = (line: string): void => { process.stdout.write(`${line}\n`); };

/** Lines: an event as it comes, a summary whenever a scrape is complete. */
async function lines(options: UpOptions): Promise<number> {
  const json = options.json === true;
  const tell = (kind: string, text: string, more: Record<string, unknown> = {}): void => {
    print(json ? JSON.stringify({ time: new Date().toISOString(), event: kind, text, ...more }) : `${new Date().toISOString()} ${text}`);
  };
  const say = (event: MachineEvent): void => {
    const line = eventLine(event);
    if (line !== null) tell(event.kind, line.text, event.kind === 'ended' ? { cause: event.cause, boot: event.boot } : {});
  };
  return withMachine(options, say, async (run) => {
    const { machine, stop } = run;
    tell('serving', `${sourceText(machine.agent.source())}; ${machine.exporter.url}metrics`);
    let shown = 0;
    let wasReady = true;
    while (await pause(PLAIN_GLANCE_MS, stop)) {
      const { scrapes } = machine.agent.store.state('gpu');
      const { ready, why } = machine.agent.ready();
      if (scrapes !== shown) {
        shown = scrapes;
        const glance = glanceOf(machine);
        if (json) print(JSON.stringify({ event: 'scrape', ...summaryJson(glance) }));
        else tell('scrape', summaryLine(glance));
      } else if (ready !== wasReady && !ready && shown > 0) tell('not_ready', `not ready: ${why}`);
      wasReady = ready;
    }
    tell('stopping', 'stopping');
    return endOf(run);
  });
}

/** The longest that one scrape may take: a boot, the delay, two intervals and the slack. */
function onceLimitMs({ receivers: { dcgm } }: Config): number {
  return UP.bootLimitMs + dcgm.initialDelayMs + 2 * dcgm.collectionIntervalMs + UP.onceSlackMs;
}

function printScrape(glance: Glance, json: boolean): void {
  if (json) {
    print(JSON.stringify(summaryJson(glance), null, 2));
    return;
  }
  print(summaryLine(glance));
  const width = process.stdout.isTTY ? process.stdout.columns : TABLE_COLUMNS;
  for (const line of unitTable(glance.units, new Map(), width, painter(false))) print(line);
}

/** One complete scrape, or why there is none. */
async function once(options: UpOptions): Promise<number> {
  const say = (event: MachineEvent): void => {
    const line = eventLine(event);
    if (line !== null && (line.bad || event.kind === 'log')) process.stderr.write(`vigil: ${line.text}\n`);
  };
  return withMachine(options, say, async (run) => {
    const { machine, stop } = run;
    const limitMs = onceLimitMs(machine.config);
    const until = performance.now() + limitMs;
    while (await pause(ONCE_GLANCE_MS, stop)) {
      const glance = glanceOf(machine);
      if (glance.ready.ready) {
        printScrape(glance, options.json === true);
        return 0;
      }
      if (performance.now() > until) return wrong(`no fresh sample within ${Math.round(limitMs / 1000)} s: ${glance.ready.why}`);
    }
    endOf(run);
    return wrong('stopped before a fresh sample came');
  });
}

/** The live table until a key or a signal ends it. */
async function live(options: UpOptions): Promise<number> {
  let state: UpState = blankState();
  const keys = new AbortController();
  let screen: Screen | null = null;
  const take = (event: UpViewEvent): void => {
    state = reduceUp(state, event, UP.historyPointsMax);
    screen?.refresh();
  };
  const early: string[] = [];
  const say = (event: MachineEvent): void => {
    const line = eventLine(event);
    if (line === null) return;
    if (line.bad) early.push(line.text);
    take({ kind: 'event', row: { atMs: Date.now(), ...line } });
  };
  try {
    return await withMachine(options, say, async (run) => {
      const { machine, stop } = run;
      const glance = (): void => take({ kind: 'glance', glance: glanceOf(machine) });
      screen = new Screen(process.stdin, process.stdout, (size) => renderUp(state, size), (key) => {
        if (key.name === 'e') take({ kind: 'toggle' });
        const action = actionOf(key, 'series');
        if (action === 'quit') keys.abort();
        else if (action !== null && action.kind === 'scroll') take(action);
      });
      const either = AbortSignal.any([stop, keys.signal]);
      glance();
      while (await pause(LIVE_GLANCE_MS, either)) glance();
      return endOf(run);
    });
  } finally {
    screen = closed(screen);
    for (const text of early) print(text);
  }
}

/** Gives the terminal back. */
function closed(screen: Screen | null): null {
  screen?.close();
  return null;
}

/** Runs `vigil up`; resolves with the exit code. */
export function runUp(options: UpOptions): Promise<number> {
  if (options.once === true) return once(options);
  const term = process.env.TERM ?? '';
  const terminal = process.stdin.isTTY && process.stdout.isTTY && term !== '' && term !== 'dumb';
  return terminal && options.plain !== true && options.json !== true ? live(options) : lines(options);
}
