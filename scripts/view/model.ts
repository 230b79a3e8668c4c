// SPDX-License-Identifier: Apache-2.0
// What the interactive view knows, and how each event changes it. Pure: no clock, no terminal, no socket.
// Invariant: the state is a function of the events alone; nothing is shown that no event brought.
// Limits: LOG_ROWS_MAX log rows and CONSOLE_ROWS_MAX console lines are kept, the oldest go first and are counted.
import type { Ladder, Marker } from '../gate/ladder.js';
import type { Failure, Seen } from '../gate/matcher.js';
import { UP } from '../../runtime/up/limits.js';
import type { Past } from './history.js';
import { blankState, reduceUp, type UpState, type UpViewEvent } from './up-model.js';

export const LOG_ROWS_MAX = 500;
export const CONSOLE_ROWS_MAX = 200;

export const TABS = ['proof', 'logs', 'series', 'gpus', 'system'] as const;
export type Tab = (typeof TABS)[number];

/** One record of logd's journal. */
export interface LogRow {
  id: bigint;
  guestNs: bigint;
  level: string;
  /** service name when the id is known, else 16 hex digits */
  sender: string;
  scope: string;
  message: string;
  /** sorted key=value pairs, joined by a blank */
  fields: string;
}

/** One series of metricsd. */
export interface SeriesRow {
  name: string;
  kind: 'counter' | 'gauge' | 'histogram';
  producer: string;
  labels: Readonly<Record<string, string>>;
  /** counter: the sum; gauge: the last value; histogram: the sum of observations */
  value: bigint;
  /** histogram: observations; else updates */
  count: bigint;
}

/** What the kernel and portd say about themselves: label and value, in the order to show. */
export interface SystemRow {
  label: string;
  value: string;
}

/** Where things stand: the proof first, then the same image in real time. */
export type Phase =
  | { kind: 'proving' }
  | { kind: 'passed'; wallMs: number }
  | { kind: 'red'; failure: Failure; title: string }
  | { kind: 'ended'; how: string };

export interface ViewState {
  ladder: Ladder | null;
  label: string;
  runDir: string;
  seen: Seen[];
  phase: Phase;
  tab: Tab;
  /** rows scrolled up from the newest (logs, proof) or down from the first (tables) */
  scroll: number;
  logs: LogRow[];
  logsDropped: number;
  /** records that logd itself dropped as the oldest */
  journalDropped: bigint;
  console: string[];
  consoleDropped: number;
  series: SeriesRow[];
  system: SystemRow[];
  /** the GPUs, as `vigil up` shows them */
  up: UpState;
  /** by hw.id: windows of 10 s from the disk */
  past: ReadonlyMap<string, Past>;
  /** why the control port gives nothing yet; null when it answers */
  control: string | null;
  /** guest time of the running image, at its last answer */
  guestNs: number;
  wallMs: number;
}

export type ViewEvent =
  | { kind: 'starting'; ladder: Ladder; label: string; runDir: string }
  | { kind: 'marker'; seen: Seen }
  | { kind: 'passed'; wallMs: number }
  | { kind: 'red'; failure: Failure; title: string }
  | { kind: 'ended'; how: string }
  | { kind: 'console'; text: string }
  | { kind: 'logs'; rows: LogRow[]; dropped: bigint }
  | { kind: 'series'; rows: SeriesRow[] }
  | { kind: 'system'; rows: SystemRow[]; guestNs: number }
  | { kind: 'up'; event: UpViewEvent }
  | { kind: 'past'; past: ReadonlyMap<string, Past> }
  | { kind: 'control'; trouble: string | null }
  | { kind: 'tick'; wallMs: number }
  | { kind: 'tab'; tab: Tab }
  | { kind: 'scroll'; rows: number };

export function initialState(): ViewState {
  return {
    ladder: null, label: '', runDir: '', seen: [], phase: { kind: 'proving' }, tab: 'proof', scroll: 0,
    logs: [], logsDropped: 0, journalDropped: 0n, console: [], consoleDropped: 0, series: [], system: [], up: blankState(), past: new Map(),
    control: 'waiting for the proof', guestNs: 0, wallMs: 0,
  };
}

/** The newest `max` of old and new rows, and how many older ones went. */
function keepNewest<T>(old: T[], more: T[], max: number): { rows: T[]; gone: number } {
  const all = [...old, ...more];
  const gone = Math.max(0, all.length - max);
  return { rows: gone === 0 ? all : all.slice(gone), gone };
}

/** The marker that is awaited; null when the ladder is complete or unknown. */
export function awaited(state: ViewState): Marker | null {
  return state.ladder?.markers[state.seen.length] ?? null;
}

/** Rows that the current tab could scroll over. */
export function rowsOf(state: ViewState): number {
  switch (state.tab) {
    case 'proof':
      return state.seen.length;
    case 'logs':
      return state.logs.length;
    case 'series':
      return state.series.length;
    case 'gpus':
      return state.up.glance?.units.length ?? 0;
    case 'system':
      return state.system.length + state.console.length;
  }
}

function clampScroll(state: ViewState, scroll: number): number {
  return Math.max(0, Math.min(scroll, Math.max(0, rowsOf(state) - 1)));
}

/** The state after one event. */
export function reduce(state: ViewState, event: ViewEvent): ViewState {
  switch (event.kind) {
    case 'starting':
      return { ...state, ladder: event.ladder, label: event.label, runDir: event.runDir };
    case 'marker':
      return { ...state, seen: [...state.seen, event.seen] };
    case 'passed':
      return { ...state, phase: { kind: 'passed', wallMs: event.wallMs }, control: 'starting the image in real time' };
    case 'red': {
      const phase = { kind: 'red', failure: event.failure, title: event.title } as const;
      return { ...state, phase, tab: 'proof', scroll: 0, control: 'the proof went red: nothing is running' };
    }
    case 'ended':
      if (state.phase.kind === 'red') return state;
      return { ...state, phase: { kind: 'ended', how: event.how }, control: `nothing is running: ${event.how}` };
    case 'console': {
      const { rows, gone } = keepNewest(state.console, [event.text], CONSOLE_ROWS_MAX);
      return { ...state, console: rows, consoleDropped: state.consoleDropped + gone };
    }
    case 'logs': {
      const { rows, gone } = keepNewest(state.logs, event.rows, LOG_ROWS_MAX);
      // A reader who scrolled up keeps his place while new rows arrive.
      const scroll = state.tab === 'logs' && state.scroll > 0 ? state.scroll + event.rows.length : state.scroll;
      const next = { ...state, logs: rows, logsDropped: state.logsDropped + gone, journalDropped: event.dropped };
      return { ...next, scroll: clampScroll(next, scroll) };
    }
    case 'series':
      return { ...state, series: event.rows };
    case 'system':
      return { ...state, system: event.rows, guestNs: event.guestNs };
    case 'up':
      return { ...state, up: reduceUp(state.up, event.event, UP.historyPointsMax) };
    case 'past':
      return { ...state, past: event.past };
    case 'control':
      return { ...state, control: event.trouble };
    case 'tick':
      return { ...state, wallMs: event.wallMs };
    case 'tab':
      return { ...state, tab: event.tab, scroll: 0 };
    case 'scroll':
      return { ...state, scroll: clampScroll(state, state.scroll + event.rows) };
  }
}
