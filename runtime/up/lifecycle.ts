// SPDX-License-Identifier: Apache-2.0
// Owns: when a guest counts as up, hung or ended, and when it is booted again. Pure: times come in, effects go out.
// States: starting (booted, has not answered yet) -> up (answers heartbeats) -> ending (its end is decided, QEMU not yet gone) -> down
// (waits out the back-off) -> starting ...; stopped from any of them, for good.
// Invariant: there is at most one QEMU: `boot` is asked for only when the one before is gone; every end has exactly one cause, the first
// that was seen; time in which this process itself did not run is not held against the guest.
// Limits: Rules.

/** Why a guest ended. `service`: one of its services is dead for good; `refused`: it could not be started at all. */
export const CAUSES = ['hang', 'panic', 'halt', 'exit', 'signal', 'boot_timeout', 'service', 'refused'] as const;
export type Cause = (typeof CAUSES)[number];

/** Times in ms. */
export interface Rules {
  readonly heartbeatIntervalMs: number; readonly heartbeatTimeoutMs: number;
  readonly backoffFirstMs: number; readonly backoffMaxMs: number;
  readonly bootLimitMs: number; readonly panicGraceMs: number; readonly steadyMs: number;
}

export type Phase =
  | { readonly kind: 'starting'; readonly sinceMs: number; readonly ready: boolean; readonly askedMs: number }
  /** `answeredMs`: of the last heartbeat; `deadMs`: since when a service is dead, null: none is */
  | { readonly kind: 'up'; readonly sinceMs: number; readonly askedMs: number; readonly answeredMs: number; readonly deadMs: number | null }
  | { readonly kind: 'ending'; readonly cause: Cause; readonly detail: string; readonly killMs: number; readonly steady: boolean }
  | { readonly kind: 'down'; readonly cause: Cause; readonly detail: string; readonly untilMs: number }
  | { readonly kind: 'stopped' };

export interface Lifecycle {
  readonly phase: Phase;
  /** QEMUs started */
  readonly boots: number;
  /** ends in a row without a steady time between them */
  readonly failures: number;
  /** ends by cause: each was, or will be, followed by another boot */
  readonly restarts: Readonly<Record<Cause, number>>;
  /** when `step` was called last */
  readonly seenMs: number;
}

export type Input =
  | { readonly kind: 'tick' }
  /** the guest printed that all its services are up */
  | { readonly kind: 'ready' }
  /** it answered a heartbeat; `dead`: the first service that is dead now, or null */
  | { readonly kind: 'answer'; readonly dead: string | null }
  | { readonly kind: 'panic'; readonly line: string }
  | { readonly kind: 'halt'; readonly line: string }
  /** QEMU is gone. `signal` 0: none */
  | { readonly kind: 'exit'; readonly status: number; readonly signal: number; readonly said: string }
  /** it could not be started */
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'stop' };

export type Effect =
  | { readonly kind: 'boot' }
  | { readonly kind: 'ask' }
  | { readonly kind: 'kill' }
  /** the guest ended: keep its console, say so; `retryMs` until the next boot */
  | { readonly kind: 'ended'; readonly cause: Cause; readonly detail: string; readonly retryMs: number }
  | { readonly kind: 'up'; readonly tookMs: number };

export interface Step { readonly state: Lifecycle; readonly effects: readonly Effect[] }

const none = Object.fromEntries(CAUSES.map((cause) => [cause, 0])) as Record<Cause, number>;
const NEVER = Number.NEGATIVE_INFINITY;

/** The first boot. */
export function begin(nowMs: number): Step {
  const phase: Phase = { kind: 'starting', sinceMs: nowMs, ready: false, askedMs: NEVER };
  return { state: { phase, boots: 1, failures: 0, restarts: none, seenMs: nowMs }, effects: [{ kind: 'boot' }] };
}

/** The wait before boot n + 1 after `failures` ends in a row: first, twice that, ..., at most max. */
export function backoffMs(failures: number, { backoffFirstMs, backoffMaxMs }: Rules): number {
  return Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(failures, 30));
}

/** When `tick` is due next; null: not by time. */
export function dueMs({ phase }: Lifecycle, rules: Rules): number | null {
  switch (phase.kind) {
    case 'starting': {
      const limit = phase.sinceMs + rules.bootLimitMs;
      return phase.ready ? Math.min(limit, phase.askedMs + rules.heartbeatIntervalMs) : limit;
    }
    case 'up':
      return Math.min(phase.askedMs + rules.heartbeatIntervalMs, phase.answeredMs + rules.heartbeatTimeoutMs);
    case 'ending':
      return phase.killMs;
    case 'down':
      return phase.untilMs;
    case 'stopped':
      return null;
  }
}

/** What happens on `input` at `nowMs`. */
export function step(state: Lifecycle, input: Input, nowMs: number, rules: Rules): Step {
  if (state.phase.kind === 'stopped') return { state, effects: [] };
  const seen = { ...state, seenMs: nowMs };
  switch (input.kind) {
    case 'stop':
      return { state: { ...seen, phase: { kind: 'stopped' } }, effects: [] };
    case 'exit':
      return gone(seen, ...endOf(input), nowMs, rules);
    case 'refused':
      return gone(seen, 'refused', input.why, nowMs, rules);
    case 'panic':
      return end(seen, 'panic', input.line, nowMs + rules.panicGraceMs, nowMs, rules);
    case 'halt':
      return end(seen, 'halt', input.line, nowMs + rules.panicGraceMs, nowMs, rules);
    case 'ready':
      return ready(seen, nowMs);
    case 'answer':
      return answered(seen, input.dead, nowMs, rules);
    case 'tick':
      return tick(late(seen, state, nowMs, rules), nowMs, rules);
  }
}

function endOf({ status, signal, said }: Extract<Input, { kind: 'exit' }>): [Cause, string] {
  const words = said === '' ? '' : `: ${said}`;
  return signal !== 0 ? ['signal', `QEMU was ended by signal ${signal}${words}`] : ['exit', `QEMU ended with status ${status}${words}`];
}

function ready(state: Lifecycle, nowMs: number): Step {
  const { phase } = state;
  if (phase.kind !== 'starting' || phase.ready) return { state, effects: [] };
  return { state: { ...state, phase: { ...phase, ready: true, askedMs: nowMs } }, effects: [{ kind: 'ask' }] };
}

function answered(state: Lifecycle, dead: string | null, nowMs: number, rules: Rules): Step {
  const { phase } = state;
  if (phase.kind === 'starting') {
    const up: Phase = { kind: 'up', sinceMs: nowMs, askedMs: phase.askedMs, answeredMs: nowMs, deadMs: dead === null ? null : nowMs };
    return { state: { ...state, phase: up }, effects: [{ kind: 'up', tookMs: nowMs - phase.sinceMs }] };
  }
  if (phase.kind !== 'up') return { state, effects: [] };
  const deadMs = dead === null ? null : (phase.deadMs ?? nowMs);
  if (dead !== null && deadMs !== null && nowMs - deadMs >= rules.heartbeatTimeoutMs) {
    return end(state, 'service', `service ${dead} is dead`, nowMs, nowMs, rules);
  }
  return { state: { ...state, phase: { ...phase, answeredMs: nowMs, deadMs } }, effects: [] };
}

/** A tick that comes late by more than an interval: this process slept. The guest gets one interval more to answer. */
function late(state: Lifecycle, before: Lifecycle, nowMs: number, rules: Rules): Lifecycle {
  const { phase } = state;
  if (phase.kind !== 'up') return state;
  const due = dueMs(before, rules) ?? nowMs;
  if (nowMs - due <= rules.heartbeatIntervalMs) return state;
  const grace = nowMs - rules.heartbeatTimeoutMs + rules.heartbeatIntervalMs;
  return { ...state, phase: { ...phase, answeredMs: Math.max(phase.answeredMs, grace) } };
}

function tick(state: Lifecycle, nowMs: number, rules: Rules): Step {
  const { phase } = state;
  switch (phase.kind) {
    case 'starting':
      if (nowMs - phase.sinceMs >= rules.bootLimitMs) {
        const what = phase.ready ? 'no answer on the control port' : 'no `init: ready`';
        return end(state, 'boot_timeout', `${what} within ${rules.bootLimitMs} ms of its start`, nowMs, nowMs, rules);
      }
      if (!phase.ready || nowMs - phase.askedMs < rules.heartbeatIntervalMs) return { state, effects: [] };
      return { state: { ...state, phase: { ...phase, askedMs: nowMs } }, effects: [{ kind: 'ask' }] };
    case 'up':
      if (nowMs - phase.answeredMs >= rules.heartbeatTimeoutMs) {
        return end(state, 'hang', `no heartbeat for ${Math.round(nowMs - phase.answeredMs)} ms`, nowMs, nowMs, rules);
      }
      if (nowMs - phase.askedMs < rules.heartbeatIntervalMs) return { state, effects: [] };
      return { state: { ...state, phase: { ...phase, askedMs: nowMs } }, effects: [{ kind: 'ask' }] };
    case 'ending':
      // Killed again until it is gone: a kill is never waited for.
      if (nowMs < phase.killMs) return { state, effects: [] };
      return { state: { ...state, phase: { ...phase, killMs: nowMs + rules.panicGraceMs } }, effects: [{ kind: 'kill' }] };
    case 'down': {
      if (nowMs < phase.untilMs) return { state, effects: [] };
      const starting: Phase = { kind: 'starting', sinceMs: nowMs, ready: false, askedMs: NEVER };
      return { state: { ...state, phase: starting, boots: state.boots + 1 }, effects: [{ kind: 'boot' }] };
    }
    case 'stopped':
      return { state, effects: [] };
  }
}

/** Its end is decided: QEMU is killed at `killMs` unless it goes by itself before. */
function end(state: Lifecycle, cause: Cause, detail: string, killMs: number, nowMs: number, rules: Rules): Step {
  const { phase } = state;
  if (phase.kind !== 'starting' && phase.kind !== 'up') return { state, effects: [] };
  const now = killMs <= nowMs;
  const ending: Phase = {
    kind: 'ending', cause, detail, killMs: now ? nowMs + rules.panicGraceMs : killMs,
    steady: phase.kind === 'up' && nowMs - phase.sinceMs >= rules.steadyMs,
  };
  return { state: { ...state, phase: ending }, effects: now ? [{ kind: 'kill' }] : [] };
}

/** QEMU is gone: the cause that was decided counts, else what its end itself says. */
function gone(state: Lifecycle, cause: Cause, detail: string, nowMs: number, rules: Rules): Step {
  const { phase } = state;
  if (phase.kind === 'down') return { state, effects: [] };
  const decided = phase.kind === 'ending' ? phase : null;
  const steady = decided?.steady ?? (phase.kind === 'up' && nowMs - phase.sinceMs >= rules.steadyMs);
  const failures = steady ? 0 : state.failures;
  const retryMs = backoffMs(failures, rules);
  const why = decided?.cause ?? cause;
  const said = decided?.detail ?? detail;
  const down: Phase = { kind: 'down', cause: why, detail: said, untilMs: nowMs + retryMs };
  return {
    state: { ...state, phase: down, failures: failures + 1, restarts: { ...state.restarts, [why]: state.restarts[why] + 1 } },
    effects: [{ kind: 'ended', cause: why, detail: said, retryMs }],
  };
}
