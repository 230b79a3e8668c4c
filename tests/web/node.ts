// SPDX-License-Identifier: Apache-2.0
// Owns: a node for the tests of the page: a real agent fed with scrapes that the published definitions encode, and a guest's history.
// Invariant: nothing of the page's own model is used to make its input. Limits: one replayed board of `gpus` GPUs, a switch and a MIG instance.
import { startAgent, type Agent, type AgentSource } from '../../runtime/export/agent.js';
import { targetsFrom } from '../../runtime/export/otlp/env.js';
import type { HistoryPoint } from '../../runtime/bridge/control.js';
import type { HistorySource } from '../../runtime/web/history.js';
import { NOW_NS, gpuRequest, type TestMetric } from '../export/requests.js';

export { NOW_NS };
export const NOW_MS = Number(NOW_NS / 1_000_000n);
export const uuid = (n: number): string => `GPU-5c819ed0-0000-0000-0000-${String(n).padStart(12, '0')}`;

export interface NodeOptions {
  source?: AgentSource; hostName?: string;
  /** who uses GPU 0 */
  users?: ReadonlyMap<string, string>[];
  attributes?: Record<string, string>;
}

export interface TestNode {
  readonly agent: Agent;
  /** moves the clock */
  readonly time: { now: bigint };
  sendGpus(gpus: number, more?: { attributes: Record<string, string>; metrics: TestMetric[] }[]): void;
  sendSelf(metrics: TestMetric[]): void;
}

export function gpuMetrics(n: number, timeNs = NOW_NS): TestMetric[] {
  const one = (name: string, unit: string, value: number, attributes: Record<string, string> = {}, kind: TestMetric['kind'] = 'gauge'): TestMetric =>
    ({ name, unit, kind, points: [{ value, attributes, timeNs }] });
  return [
    one('hw.gpu.utilization', '1', 0.5 + n / 100, { 'hw.gpu.task': 'general' }), one('hw.gpu.utilization', '1', 0, { 'hw.gpu.task': 'encoder' }),
    one('hw.gpu.memory.usage', 'By', (10 + n) * 2 ** 30, { 'hw.gpu.memory.state': 'used' }, 'updown'), one('hw.gpu.memory.limit', 'By', 80 * 2 ** 30, {}, 'updown'),
    one('hw.power', 'W', 400.25 + n), one('hw.temperature', 'Cel', 60 + n, { 'hw.sensor_location': 'gpu' }),
    one('hw.gpu.xid.errors', '{error}', 1, { 'hw.gpu.xid': '79' }, 'counter'), one('hw.gpu.xid.errors', '{error}', 2, { 'hw.gpu.xid': '48' }, 'counter'),
    one('hw.errors', '{error}', 3, { 'error.type': 'uncorrected', 'hw.gpu.ecc.scope': 'volatile' }, 'counter'),
    one('hw.status', '1', 1, { 'hw.state': 'ok' }, 'updown'), one('hw.gpu.clock.frequency', 'Hz', 1.98e9, { 'hw.gpu.clock.domain': 'sm' }),
  ];
}

export function makeNode({ source = { label: 'replay', name: 'ready', detail: '' }, hostName = 'gpu-node-1', users = [], attributes = {} }: NodeOptions = {}): TestNode {
  const time = { now: NOW_NS };
  const agent = startAgent({
    otlp: targetsFrom({}), source: () => source, hostName, clock: { wallNs: () => time.now, monoNs: () => time.now },
    attribution: { attributes: (entity) => (entity.get('hw.id') === uuid(0) ? users : []), states: () => [
      { source: 'kubernetes', name: 'ok', detail: '', attributing: true, sinceMs: 0, answerMs: 0 },
    ] },
  });
  agent.handler.hello(1n);
  agent.own.add('vigil.otlp.requests', { signal: 'metrics', outcome: 'not_configured' }, 2);
  let scrape = 0n;
  const send = (stream: 'gpu' | 'self', request: Uint8Array): void => {
    const verdict = agent.handler.metrics({ stream, source: stream === 'gpu' ? source.label : '', part: 0, parts: 1, scrape: ++scrape, seq: scrape, request: Buffer.from(request) });
    if (verdict !== 'ok') throw new Error(verdict);
  };
  const about = (index: number): Record<string, string> => ({
    'hw.id': uuid(index), 'hw.type': 'gpu', 'hw.gpu.index': String(index), 'hw.model': 'NVIDIA H100 80GB HBM3', 'hw.gpu.pci.bdf': '00000000:53:00.0',
    'hw.driver_version': '580.105.08', 'vigil.source': source.label, ...attributes,
  });
  return {
    agent, time,
    sendGpus: (gpus, more = []) => {
      send('gpu', gpuRequest([...Array.from({ length: gpus }, (_, i) => ({ attributes: about(i), metrics: gpuMetrics(i, time.now) })), ...more]));
    },
    sendSelf: (metrics) => { send('self', gpuRequest([{ attributes: { 'service.name': 'vigil', 'vigil.producer': 'guest' }, metrics }])); },
  };
}

/** What the receiver says of itself. */
export const receiverMetrics = (degraded: number, errors: Record<string, number>): TestMetric[] => [
  { name: 'vigil.receiver.degraded', unit: '', points: [{ value: degraded }] },
  { name: 'vigil.receiver.emissions', unit: '{scrape}', kind: 'counter', points: [{ value: 12 }] },
  { name: 'vigil.receiver.last_activity', unit: 's', points: [{ value: NOW_MS / 1000 - 7 }] },
  { name: 'vigil.receiver.errors', unit: '{error}', kind: 'counter', points: Object.entries(errors).map(([kind, value]) => ({ value, attributes: { kind } })) },
  { name: 'vigil.receiver.samples', unit: '{sample}', kind: 'counter', points: [{ value: 960, attributes: { status: 'ok' } }, { value: 4, attributes: { status: 'no_data' } }] },
  { name: 'vigil.receiver.series.dropped', unit: '{series}', kind: 'counter', points: [{ value: 9, attributes: { group: 'nvlink' } }, { value: 0, attributes: { group: 'ecc' } }] },
];

export interface FakeHistory { source: HistorySource; asked: string[]; open: number; fail: string | null; delayMs: number; points: HistoryPoint[]; from: bigint; clockNs: bigint }

/** One gauge's window; `ago` in windows. */
export function windowPoint(ago: number, widthS: number, values: [min: number, sum: number, max: number, last: number, count: number], labels: string): HistoryPoint {
  const [min, sum, max, last, count] = values.map(BigInt) as [bigint, bigint, bigint, bigint, bigint];
  return {
    startNs: CLOCK_NS - BigInt(ago * widthS) * 1_000_000_000n, widthNs: BigInt(widthS) * 1_000_000_000n, sender: 7n, kind: 2, unit: 0, open: ago === 1, otherBounds: false,
    count, sum, min, max, last, buckets: [], labels,
  };
}
export const CLOCK_NS = 3_600_000_000_000n;

/** A guest that keeps `windows` windows of each metric of `gpus` GPUs, in pages of 7 points. */
export function fakeHistory(gpus: number, windows = 20, labelsOf: (gpu: number) => string = (gpu) => `hw.gpu.index=${gpu}\nhw.id=${uuid(gpu)}\nsource=replay`): FakeHistory {
  const units: Record<string, [label: string, unit: string, value: number]> = {
    'hw.gpu.utilization': ['hw.gpu.task=general', '%', 80], 'hw.gpu.memory.usage': ['hw.gpu.memory.state=used', 'By', 20 * 2 ** 30],
    'hw.power': ['', 'mW', 500_000], 'hw.temperature': ['hw.sensor_location=gpu', 'Cel', 61],
  };
  const fake: FakeHistory = { asked: [], open: 0, fail: null, delayMs: 0, points: [], from: 0n, clockNs: CLOCK_NS, source: async () => {
    if (fake.fail !== null) throw new Error(fake.fail);
    fake.open++;
    return {
      close: () => { fake.open--; },
      ask: async ({ level, name, fromNs = 0n }, cursor) => {
        fake.asked.push(`${level} ${name} ${cursor}`);
        fake.from = fromNs;
        if (fake.delayMs > 0) await new Promise((resolve) => { setTimeout(resolve, fake.delayMs); });
        const [own, unit, value] = units[name] ?? ['', '', 0];
        if (unit === '') return { next: null, clockNs: fake.clockNs, offsetNs: 0n, unreadable: false, waiting: false, points: [] };
        const widthS = level === 1 ? 10 : 60;
        const all = (fake.points.length > 0 ? fake.points : Array.from({ length: windows * gpus }, (_, i) => {
          const [ago, gpu] = [windows - Math.floor(i / gpus), i % gpus];
          const labels = [labelsOf(gpu), ...(own === '' ? [] : [own]), `unit=${unit}`].join('\n');
          return windowPoint(ago, widthS, [value - ago, (value * 10), value + ago, value, 10], labels);
        })).filter((point) => point.startNs >= fromNs);
        const points = all.slice(Number(cursor), Number(cursor) + 7);
        const next = Number(cursor) + 7 < all.length ? cursor + 7n : null;
        return { next, clockNs: fake.clockNs, offsetNs: 0n, unreadable: false, waiting: false, points };
      },
    };
  } };
  return fake;
}
