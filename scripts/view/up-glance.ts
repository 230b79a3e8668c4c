// SPDX-License-Identifier: Apache-2.0
// From a running machine to what its views show: one glance, and a line for each of its events.
// Invariant: reads only; the same glance feeds the terminal, the plain lines and the JSON. Limits: none of its own.
import type { Machine, MachineEvent } from '../../runtime/up/machine.js';
import type { Point, Resource } from '../../runtime/export/otlp/model.js';
import { unitsOf, type Unit } from './fleet.js';
import { gib, si } from './marks.js';
import { restartText, sourceText, type Glance } from './up-model.js';

const ERRORS = 'vigil.receiver.errors';
const DEGRADED = 'vigil.receiver.degraded';

function pointsOf(resources: readonly Resource[], name: string): Point[] {
  const metrics = resources.flatMap(({ scopes }) => scopes.flatMap((scope) => scope.metrics));
  return metrics.filter((metric) => metric.name === name).flatMap(({ points }) => points);
}

/** The receiver's own counts, which the guest exports with its other series. */
function receiverOf(resources: readonly Resource[]): Glance['receiver'] {
  const errors = pointsOf(resources, ERRORS);
  const degraded = pointsOf(resources, DEGRADED);
  if (errors.length === 0 && degraded.length === 0) return null;
  return {
    errors: Object.fromEntries(errors.map(({ attributes, value }) => [String(attributes.get('kind') ?? ''), Number(value)])),
    degraded: degraded.some(({ value }) => Number(value) !== 0),
  };
}

function collectorText({ agent }: Machine): string {
  if (agent.posters.size === 0) return 'not configured';
  const sum = { sent: 0, queued: 0, dropped: 0 };
  for (const { counters } of agent.posters.values()) {
    sum.sent += counters.sent;
    sum.queued += counters.queued;
    sum.dropped += Object.values(counters.droppedBy).reduce((total, count) => total + count, 0);
  }
  return `${[...agent.posters.keys()].join(', ')}: ${sum.sent} sent, ${sum.queued} waiting, ${sum.dropped} dropped`;
}

/** @param upSinceMs wall time at which the phase began */
export function glanceOf(machine: Machine, atMs = Date.now(), monoMs = performance.now()): Glance {
  const { agent, supervisor, exporter } = machine;
  const { phase, boots, restarts } = supervisor.lifecycle;
  const wall = (ms: number): number => atMs - (monoMs - ms);
  const state = agent.store.state('gpu');
  const resources = agent.resources();
  return {
    atMs, boots, restarts, url: exporter.url,
    guest: {
      kind: phase.kind, sinceMs: 'sinceMs' in phase ? wall(phase.sinceMs) : atMs,
      why: 'cause' in phase ? `${phase.cause}: ${phase.detail}` : '', untilMs: phase.kind === 'down' ? wall(phase.untilMs) : atMs,
    },
    source: agent.source(), ready: agent.ready(atMs),
    scrapes: state.scrapes, points: state.points, newestMs: state.newestNs === 0n ? null : Number(state.newestNs / 1_000_000n),
    units: unitsOf(resources), receiver: receiverOf(resources), collector: collectorText(machine),
  };
}

const ms = (value: number): string => (value < 10_000 ? `${(value / 1000).toFixed(2)} s` : `${Math.round(value / 1000)} s`);

/** One line for an event; null for what is not told (the guest's console goes into its transcript). */
export function eventLine(event: MachineEvent): { text: string; bad: boolean } | null {
  switch (event.kind) {
    case 'booting':
      return { text: `guest: boot ${event.boot}`, bad: false };
    case 'up':
      return { text: `guest: up after ${ms(event.tookMs)} (boot ${event.boot}, QEMU is process ${event.pid})`, bad: false };
    case 'ended': {
      const { transcript } = event;
      const kept = 'path' in transcript ? `console kept in ${transcript.path}` : `its console is lost: ${transcript.lost}`;
      return { text: `guest: down: ${event.cause}: ${event.detail}; ${kept}; again in ${ms(event.retryMs)}`, bad: true };
    }
    case 'log':
      return { text: event.line, bad: false };
    case 'console':
      return null;
  }
}

function range(values: readonly (number | null)[], show: (value: number) => string): string | null {
  const known = values.filter((value): value is number => value !== null);
  if (known.length === 0) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return show(low) === show(high) ? show(low) : `${show(low)}..${show(high)}`;
}

/** One line about a scrape, for a journal. */
export function summaryLine(glance: Glance): string {
  const { units, points, ready, restarts } = glance;
  const gpus = units.filter(({ kind }) => kind === 'gpu');
  const count = (kind: Unit['kind'], one: string, many: string): string | null => {
    const some = units.filter((unit) => unit.kind === kind).length;
    return some === 0 ? null : `${some} ${some === 1 ? one : many}`;
  };
  const sum = (values: readonly (number | null)[]): number | null => {
    const known = values.filter((value): value is number => value !== null);
    return known.length === 0 ? null : known.reduce((a, b) => a + b, 0);
  };
  const util = range(gpus.map(({ utilization }) => utilization), (value) => String(Math.round(value * 100)));
  const temp = range(gpus.map(({ temperatureC }) => temperatureC), (value) => String(Math.round(value)));
  const power = sum(gpus.map(({ powerW }) => powerW));
  const used = sum(gpus.map(({ memoryUsedBytes }) => memoryUsedBytes));
  const isBad = ({ uncorrectedErrors, xids, trouble }: Unit): boolean => (uncorrectedErrors ?? 0) > 0 || xids.size > 0 || trouble !== null;
  const bad = units.filter(isBad).length;
  const parts = [
    count('gpu', 'GPU', 'GPUs'), count('instance', 'instance', 'instances'),
    count('compute', 'compute instance', 'compute instances'), count('switch', 'switch', 'switches'), `${points} series`,
    util === null ? null : `util ${util}%`, used === null ? null : `memory ${gib(used)} GiB`, temp === null ? null : `${temp} C`,
    power === null ? null : si(power, 'W'), bad === 0 ? null : `${bad} with errors`,
    ready.ready ? 'ready' : `not ready: ${ready.why}`, restartText(restarts),
  ];
  return `${sourceText(glance.source)}; ${parts.filter((part) => part !== null).join(', ')}`;
}

/** The same for a machine that reads it. Numbers are in the units of their names; what is not known is null. */
export function summaryJson(glance: Glance): Record<string, unknown> {
  const { units, atMs, guest, source, ready, scrapes, points, restarts, boots, url, receiver, newestMs } = glance;
  return {
    time: new Date(atMs).toISOString(), source: source.label, source_state: source.name, ready: ready.ready, why: ready.why,
    guest: guest.kind, boots, restarts, metrics_url: `${url}metrics`, scrapes, series: points,
    newest_sample: newestMs === null ? null : new Date(newestMs).toISOString(), receiver,
    units: units.map((unit) => ({
      kind: unit.kind, label: unit.label, id: unit.id, model: unit.model, source: unit.source, utilization: unit.utilization,
      memory_used_bytes: unit.memoryUsedBytes, memory_total_bytes: unit.memoryTotalBytes, temperature_celsius: unit.temperatureC,
      power_watts: unit.powerW, sm_clock_hertz: unit.clockHz, nvlink_bytes: unit.nvlinkBytes, pcie_bytes: unit.pcieBytes,
      corrected_errors: unit.correctedErrors, uncorrected_errors: unit.uncorrectedErrors, xids: Object.fromEntries(unit.xids),
      trouble: unit.trouble,
    })),
  };
}
