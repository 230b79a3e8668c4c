// SPDX-License-Identifier: Apache-2.0
// What the live view of `vigil up` knows, and how events and glances change it. Pure: no clock, no terminal, no machine.
// Invariant: the state is a function of what came in; a trend gets one value a scrape, and a blank where a scrape had none.
// Limits: history_points_max values a trend, EVENTS_MAX events; the oldest go first.
import type { Cause, Phase } from '../../runtime/up/lifecycle.js';
import type { Unit } from './fleet.js';
import { span } from './marks.js';

export const EVENTS_MAX = 200;

/** The newest values of one unit; all lists are of one length. */
export interface Trend {
  readonly utilization: readonly (number | null)[]; readonly memory: readonly (number | null)[];
  readonly temperature: readonly (number | null)[]; readonly power: readonly (number | null)[];
  /** bytes/s between two scrapes */
  readonly nvlink: readonly (number | null)[]; readonly pcie: readonly (number | null)[];
}

/** The machine at one moment. */
export interface Glance {
  readonly atMs: number;
  readonly guest: { readonly kind: Phase['kind']; readonly sinceMs: number; readonly why: string; readonly untilMs: number };
  readonly boots: number;
  readonly restarts: Readonly<Record<Cause, number>>;
  readonly source: { readonly label: string; readonly name: string; readonly detail: string };
  readonly ready: { readonly ready: boolean; readonly why: string };
  readonly url: string;
  /** complete scrapes so far, the points of the newest, and when its newest point is from */
  readonly scrapes: number; readonly points: number; readonly newestMs: number | null;
  readonly units: readonly Unit[];
  /** the receiver's own counts: errors by kind, and whether it is degraded; null: not known yet */
  readonly receiver: { readonly errors: Readonly<Record<string, number>>; readonly degraded: boolean } | null;
  /** `not configured`, or how many requests went out, wait and were dropped */
  readonly collector: string;
}

export interface UpEventRow { readonly atMs: number; readonly text: string; readonly bad: boolean }

export interface UpState {
  readonly glance: Glance | null;
  readonly trends: ReadonlyMap<string, Trend>;
  readonly events: readonly UpEventRow[];
  /** the receiver's kind of error that was counted last */
  readonly lastError: { readonly kind: string; readonly atMs: number } | null;
  readonly scroll: number;
  readonly showEvents: boolean;
}

export type UpViewEvent =
  | { readonly kind: 'glance'; readonly glance: Glance }
  | { readonly kind: 'event'; readonly row: UpEventRow }
  | { readonly kind: 'scroll'; readonly rows: number }
  | { readonly kind: 'toggle' };

export const blankState = (): UpState => ({ glance: null, trends: new Map(), events: [], lastError: null, scroll: 0, showEvents: true });

const EMPTY: Trend = { utilization: [], memory: [], temperature: [], power: [], nvlink: [], pcie: [] };

/** Bytes per second between two readings of a counter; null where one is missing, time stood still or the counter fell. */
export function rate(before: number | null, after: number | null, elapsedNs: bigint): number | null {
  if (before === null || after === null || elapsedNs <= 0n || after < before) return null;
  return ((after - before) * 1e9) / Number(elapsedNs);
}

function extend(old: Trend, unit: Unit, previous: Unit | undefined, max: number): Trend {
  const push = (list: readonly (number | null)[], value: number | null): (number | null)[] => [...list, value].slice(-max);
  const elapsedNs = previous === undefined ? 0n : unit.timeNs - previous.timeNs;
  const { memoryUsedBytes: used, memoryTotalBytes: total } = unit;
  return {
    utilization: push(old.utilization, unit.utilization),
    memory: push(old.memory, used === null || total === null || total === 0 ? null : used / total),
    temperature: push(old.temperature, unit.temperatureC), power: push(old.power, unit.powerW),
    nvlink: push(old.nvlink, rate(previous?.nvlinkBytes ?? null, unit.nvlinkBytes, elapsedNs)),
    pcie: push(old.pcie, rate(previous?.pcieBytes ?? null, unit.pcieBytes, elapsedNs)),
  };
}

function trendsOf({ glance: before, trends }: UpState, glance: Glance, max: number): ReadonlyMap<string, Trend> {
  if (before !== null && before.scrapes === glance.scrapes) return trends;
  const old = new Map(before?.units.map((unit) => [unit.key, unit]));
  return new Map(glance.units.map((unit) => [unit.key, extend(trends.get(unit.key) ?? EMPTY, unit, old.get(unit.key), max)]));
}

/** The kind whose count rose. */
function risen(before: Glance | null, { receiver }: Glance): string | null {
  const old = before?.receiver?.errors ?? {};
  return Object.entries(receiver?.errors ?? {}).find(([kind, count]) => count > (old[kind] ?? 0))?.[0] ?? null;
}

export function reduceUp(state: UpState, event: UpViewEvent, historyMax: number): UpState {
  switch (event.kind) {
    case 'glance': {
      const { glance } = event;
      const kind = risen(state.glance, glance);
      // While the guest is down its units stay on the screen, marked by the header, until it exports again.
      const units = glance.units.length === 0 && glance.guest.kind !== 'up' ? (state.glance?.units ?? []) : glance.units;
      return {
        ...state, glance: { ...glance, units }, trends: trendsOf(state, { ...glance, units }, historyMax),
        lastError: kind === null ? state.lastError : { kind, atMs: glance.atMs },
        scroll: Math.max(0, Math.min(state.scroll, units.length - 1)),
      };
    }
    case 'event':
      return { ...state, events: [...state.events, event.row].slice(-EVENTS_MAX) };
    case 'scroll':
      return { ...state, scroll: Math.max(0, Math.min(state.scroll + event.rows, (state.glance?.units.length ?? 1) - 1)) };
    case 'toggle':
      return { ...state, showEvents: !state.showEvents };
  }
}

/** `no restart`, or `3 restarts (hang 2, panic 1)`. */
export function restartText(restarts: Readonly<Record<Cause, number>>): string {
  const some = Object.entries(restarts).filter(([, count]) => count > 0);
  const total = some.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return 'no restart';
  return `${total} ${total === 1 ? 'restart' : 'restarts'} (${some.map(([cause, count]) => `${cause} ${count}`).join(', ')})`;
}

/** Where the values come from, said so that nobody takes a replay for this machine. */
export function sourceText({ label, name, detail }: Glance['source']): string {
  const state = name === 'ready' ? '' : `: ${name}${detail === '' ? '' : `, ${detail}`}`;
  if (label === 'replay') return `source: REPLAY (recorded values, not this machine's GPUs)${state}`;
  if (label === 'stub') return `source: STUB (no values)${state}`;
  return `source: ${label}${state}`;
}

/** How the guest is, in a few words. */
export function guestText({ guest, atMs }: Glance): { text: string; bad: boolean } {
  switch (guest.kind) {
    case 'starting':
      return { text: `STARTING ${span(atMs - guest.sinceMs)}`, bad: false };
    case 'up':
      return { text: `UP ${span(atMs - guest.sinceMs)}`, bad: false };
    case 'ending':
      return { text: `DOWN ${guest.why}`, bad: true };
    case 'down':
      return { text: `DOWN ${guest.why}, again in ${span(Math.max(0, guest.untilMs - atMs) + 999)}`, bad: true };
    case 'stopped':
      return { text: 'STOPPING', bad: false };
  }
}

/** The receiver in a few words: fresh, degraded, and what went wrong last. */
export function receiverText({ glance, lastError }: UpState): { text: string; bad: boolean } {
  if (glance === null) return { text: 'receiver: not heard of yet', bad: false };
  const { receiver, newestMs, atMs, scrapes, points } = glance;
  const fresh = newestMs === null ? 'no scrape yet' : `${points} series, ${span(atMs - newestMs)} old, ${scrapes} scrapes`;
  const total = Object.values(receiver?.errors ?? {}).reduce((sum, count) => sum + count, 0);
  const last = lastError === null ? '' : `, last ${lastError.kind} ${span(atMs - lastError.atMs)} ago`;
  const errors = receiver === null ? '' : `; ${total} ${total === 1 ? 'error' : 'errors'}${last}`;
  const degraded = receiver?.degraded === true;
  return { text: `receiver: ${degraded ? 'DEGRADED; ' : ''}${fresh}${errors}`, bad: degraded };
}
