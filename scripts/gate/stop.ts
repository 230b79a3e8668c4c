// SPDX-License-Identifier: Apache-2.0
// RUN_UNTIL_MARKER, RUN_PHASE and RUN_TIMEOUT: when a run ends early. The first condition that is met wins.
// Invariant: a run stopped early never counts as passed; a condition that can never be met is refused before the boot.
import { usage } from '../lib/fail.js';
import { PHASES, lastOfPhase, type Ladder, type Phase } from './ladder.js';

type Environment = Readonly<Record<string, string | undefined>>;

export const TIMEOUT_DEFAULT_MS = 60_000;
/** An hour: above it, a timeout is a typing error. */
export const TIMEOUT_MAX_MS = 3_600_000;

export interface StopConditions {
  /** the host's wall limit for one boot */
  timeoutMs: number;
  /** stop right after this marker (ladder index); null: run to the halt line */
  atIndex: number | null;
  /** the settings as given, for the command that reproduces a run */
  until: string | null;
  phase: Phase | null;
}

/** `500ms`, `60s`, `2m` to milliseconds. @throws Failure 2. */
export function parseTimeout(text: string): number {
  const match = /^(\d{1,7})(ms|s|m)$/.exec(text);
  if (match === null) return usage(`RUN_TIMEOUT="${text}" is not a duration such as 500ms, 60s or 2m`);
  const ms = Number(match[1]) * (match[2] === 'ms' ? 1 : match[2] === 's' ? 1000 : 60_000);
  if (ms < 1 || ms > TIMEOUT_MAX_MS) usage(`RUN_TIMEOUT="${text}" is outside 1ms..60m`);
  return ms;
}

function nearest(wanted: string, texts: string[]): string {
  const words = new Set(wanted.toLowerCase().split(/\W+/));
  const score = (text: string): number => text.toLowerCase().split(/\W+/).filter((word) => words.has(word)).length;
  const best = texts.map((text) => ({ text, score: score(text) })).sort((a, b) => b.score - a.score)[0];
  return best !== undefined && best.score > 0 ? `; did you mean "${best.text}"?` : '';
}

function untilIndex(until: string, ladder: Ladder): number {
  const index = ladder.markers.findIndex((marker) => marker.text === until);
  if (index !== -1) return index;
  const hint = nearest(until, ladder.markers.map((marker) => marker.text));
  return usage(`RUN_UNTIL_MARKER="${until}" is no line of the ${ladder.profile} ladder${hint}`);
}

/** The end of phase `end` is the halt line, which is past every marker: such a run is a whole run. */
function phaseIndex(phase: string, ladder: Ladder): number | null {
  if (!(PHASES as readonly string[]).includes(phase)) usage(`RUN_PHASE="${phase}" is unknown (phases: ${PHASES.join(' ')})`);
  const index = lastOfPhase(ladder, phase as Phase);
  if (index === -1) usage(`RUN_PHASE="${phase}" is no phase of the ${ladder.profile} ladder (${ladder.phases.join(' ')})`);
  return index === ladder.markers.length - 1 ? null : index;
}

/** Reads the RUN_* variables; an empty one counts as unset. @throws Failure 2 naming the variable. */
export function readStop(env: Environment, ladder: Ladder): StopConditions {
  const until = env.RUN_UNTIL_MARKER || null;
  const phase = env.RUN_PHASE || null;
  const found = [
    until === null || until === '1' ? null : untilIndex(until, ladder),
    phase === null ? null : phaseIndex(phase, ladder),
  ].filter((index): index is number => index !== null);
  return {
    timeoutMs: env.RUN_TIMEOUT ? parseTimeout(env.RUN_TIMEOUT) : TIMEOUT_DEFAULT_MS,
    atIndex: found.length === 0 ? null : Math.min(...found),
    until,
    phase: phase as Phase | null,
  };
}

/** A run to the halt line with the default timeout. */
export function runWhole(timeoutMs: number = TIMEOUT_DEFAULT_MS): StopConditions {
  return { timeoutMs, atIndex: null, until: null, phase: null };
}
