// SPDX-License-Identifier: Apache-2.0
// Owns: the supervisor's own series: the rows of abi/self-metrics.toml that are counted `by = "supervisor"`.
// Invariant: read when somebody looks, from what the supervisor knows; a value that is not known is absent, never zero.
// Limits: one series a cause, a service and an outcome.
import type { GuestStatus } from '../bridge/control.js';
import type { OwnSeries, Reading } from '../export/own-series.js';
import type { Relay } from './control-relay.js';
import { CAUSES } from './lifecycle.js';
import type { Supervisor } from './supervisor.js';
import type { Transcripts } from './transcripts.js';

export interface Supervised {
  readonly supervisor: Supervisor; readonly transcripts: Transcripts; readonly relay: Relay;
  status(): GuestStatus | null;
  /** of the newest boot that came up; null before the first */
  bootMs(): number | null;
}

/** Adds the readers. `nowMs`: the supervisor's clock. */
export function readSupervisor(own: OwnSeries, supervised: Supervised, nowMs = () => performance.now()): void {
  const { supervisor, transcripts, relay, status, bootMs } = supervised;
  const one = (value: number): Reading[] => [[{}, value]];
  const seconds = (ms: number | null): Reading[] => (ms === null ? [] : one(ms / 1000));
  own.read('vigil.guest.up', () => one(supervisor.lifecycle.phase.kind === 'up' ? 1 : 0));
  own.read('vigil.guest.boots', () => one(supervisor.lifecycle.boots));
  own.read('vigil.guest.restarts', () => CAUSES.map((cause): Reading => [{ cause }, supervisor.lifecycle.restarts[cause]]));
  own.read('vigil.guest.heartbeats.missed', () => one(supervisor.missed));
  own.read('vigil.guest.heartbeat.age', () => seconds(supervisor.answeredMs === null ? null : nowMs() - supervisor.answeredMs));
  own.read('vigil.guest.boot.duration', () => seconds(bootMs()));
  own.read('vigil.guest.service.starts', () =>
    (status()?.services ?? []).map(({ name, registrations }): Reading => [{ service: name }, registrations]));
  own.read('vigil.guest.transcripts', () => Object.entries(transcripts.counters).map(([outcome, count]): Reading => [{ outcome }, count]));
  own.read('vigil.control.questions', () => {
    const { questions, unanswered } = relay.counters;
    return [[{ outcome: 'answered' }, questions - unanswered], [{ outcome: 'unanswered' }, unanswered]];
  });
}
