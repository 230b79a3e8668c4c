// SPDX-License-Identifier: Apache-2.0
// Owns: what series did in retained windows, read from the guest when somebody looks, kept for a while, for all who look.
// Invariant: one reading of a level at a time; a reading that fails leaves the last one, marked with the reason and its age; nobody waits
// longer than waitMs. Limits: HISTORY_LIMITS; what a reading leaves out is counted.
import { ControlClient, type HistoryAsk, type HistoryPage, type HistoryPoint } from '../bridge/control.js';

export const HISTORY_LIMITS = {
  /** one reading is good for this long */
  freshMs: 10_000,
  /** a failed one is not tried again before */
  retryMs: 5_000,
  /** a page waits this long for a reading under way */
  waitMs: 2_500,
  /** pages of one metric in one reading; series in all. A series has at most KEPT windows. */
  pages: 384, series: 512,
  /** so many questions at once, and then not before this time is over */
  burst: 32, burstMs: 100,
} as const;

/** The metrics whose history is shown, in the order of the page; with a label, only the series that has it. */
export const HISTORY_METRICS: readonly { readonly name: string; readonly label?: string }[] = [
  { name: 'hw.gpu.utilization', label: 'hw.gpu.task=general' }, { name: 'hw.gpu.pipe.utilization', label: 'hw.gpu.pipe=gr' },
  { name: 'hw.gpu.memory.usage', label: 'hw.gpu.memory.state=used' }, { name: 'hw.power' }, { name: 'hw.temperature' },
];

/** What the guest keeps, by level: 30 windows of 10 s, 30 of 60 s (image/recipes/observability/gpu.toml). */
export const KEPT: Readonly<Record<Level, { readonly widthS: number; readonly windows: number }>> = {
  1: { widthS: 10, windows: 30 }, 2: { widthS: 60, windows: 30 },
};

export type Level = 1 | 2;
export interface Window {
  readonly agoS: number; readonly widthS: number;
  readonly min: number; readonly mean: number; readonly max: number; readonly last: number;
}
export interface SeriesHistory {
  readonly metric: string; readonly labels: ReadonlyMap<string, string>; readonly unit: string;
  /** oldest first */
  readonly windows: readonly Window[];
}
export interface History {
  readonly series: readonly SeriesHistory[];
  readonly cut: number; readonly unreadable: boolean;
  readonly atMs: number;
}
/** Asks the guest for one page. */
export type HistoryProvider = (ask: HistoryAsk, cursor: bigint) => Promise<HistoryPage>;
/** One reading: opens what it needs, and gives it back. */
export type HistorySource = () => Promise<{ ask: HistoryProvider; close(): void }>;

/** Through the control port's socket, or the relay in its place. */
export const historyAt = (socketPath: string): HistorySource => async () => {
  const client = await ControlClient.open(socketPath);
  return { ask: (ask, cursor) => client.history(ask, cursor), close: () => { client.close(); } };
};

/** What was read so far: closed windows do not change, so the next reading asks for the newest alone. */
export interface Reading {
  readonly clockNs: bigint; readonly newestNs: bigint;
  /** windows by their start */
  readonly series: ReadonlyMap<string, { metric: string; labels: string; windows: ReadonlyMap<bigint, HistoryPoint> }>;
  readonly cut: number; readonly unreadable: boolean;
}

const SECOND_NS = 1_000_000_000n;
/** A window may be written a little after its end: the last ones are read again. */
const AGAIN_WINDOWS = 2n;

/** metricsd's labels: key=value, a line each. */
export function parseLabels(text: string): Map<string, string> {
  return new Map(text.split('\n').filter((line) => line.includes('=')).map((line) => {
    const at = line.indexOf('=');
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** Slows a run of questions down to what the guest's recipe grants portd. */
function pacer(): () => Promise<void> {
  let asked = 0;
  let since = performance.now();
  return async () => {
    if (asked++ % HISTORY_LIMITS.burst !== 0 || asked === 1) return;
    const left = HISTORY_LIMITS.burstMs - (performance.now() - since);
    if (left > 0) await new Promise((resolve) => { setTimeout(resolve, left); });
    since = performance.now();
  };
}

/** Reads every metric of one level, or what is new since `before`. Rejects when the guest does not answer, or keeps nothing and says so. */
export async function readHistory(source: HistorySource, level: Level, before: Reading | null = null): Promise<Reading> {
  const { ask, close } = await source();
  try {
    const widthNs = BigInt(KEPT[level].widthS) * SECOND_NS;
    const found = new Map([...(before?.series ?? [])].map(([key, one]) => [key, { ...one, windows: new Map(one.windows) }]));
    const fromNs = before === null || before.newestNs <= AGAIN_WINDOWS * widthNs ? 0n : before.newestNs - AGAIN_WINDOWS * widthNs;
    let [clockNs, newestNs, cut, unreadable] = [0n, before?.newestNs ?? 0n, 0, false];
    const pace = pacer();
    for (const { name, label } of HISTORY_METRICS) {
      let cursor: bigint | null = 0n;
      for (let page = 0; cursor !== null; page++) {
        if (page >= HISTORY_LIMITS.pages) { cut++; break; }
        await pace();
        const answer: HistoryPage = await ask({ level, name, fromNs }, cursor);
        unreadable ||= answer.unreadable;
        clockNs = answer.clockNs;
        for (const point of answer.points) {
          if (label !== undefined && !point.labels.split('\n').includes(label)) continue;
          if (point.widthNs !== widthNs || point.startNs % widthNs !== 0n || point.startNs > clockNs) { cut++; continue; }
          const key = `${name}\n${point.sender}\n${point.labels}`;
          const entry = found.get(key) ?? { metric: name, labels: point.labels, windows: new Map<bigint, HistoryPoint>() };
          if (!found.has(key) && found.size >= HISTORY_LIMITS.series) { cut++; continue; }
          found.set(key, entry);
          entry.windows.set(point.startNs, point);
          if (point.startNs > newestNs) newestNs = point.startNs;
        }
        cursor = answer.next;
      }
    }
    // The guest's clock never goes back on one disk: this is another disk, and what was read before is not its history.
    if (before !== null && clockNs < before.clockNs) return await readHistory(async () => ({ ask, close: () => undefined }), level);
    const oldestNs = clockNs - BigInt(KEPT[level].windows + 1) * widthNs;
    for (const [key, { windows }] of found) {
      for (const startNs of windows.keys()) if (startNs < oldestNs) windows.delete(startNs);
      if (windows.size === 0) found.delete(key);
    }
    return { clockNs, newestNs, series: found, cut, unreadable };
  } finally {
    close();
  }
}

function windowOf({ startNs, widthNs, count, sum, min, max, last }: HistoryPoint, clockNs: bigint): Window {
  const mean = count === 0n ? Number(last) : Number(sum) / Number(count);
  return {
    agoS: Number(clockNs - startNs) / Number(SECOND_NS), widthS: Number(widthNs) / Number(SECOND_NS),
    min: Number(min), mean, max: Number(max), last: Number(last),
  };
}

/** A reading as the page shows it. */
export function historyOf({ series, clockNs, cut, unreadable }: Reading, atMs: number): History {
  return {
    series: [...series.values()].map(({ metric, labels, windows }): SeriesHistory => {
      const parsed = parseLabels(labels);
      const inOrder = [...windows.values()].map((point) => windowOf(point, clockNs)).sort((a, b) => b.agoS - a.agoS);
      return { metric, labels: parsed, unit: parsed.get('unit') ?? '', windows: inOrder };
    }),
    cut, unreadable, atMs,
  };
}

/** What the page gets: the newest reading there is, and why it is not a new one. */
export interface HistoryAnswer { readonly history: History | null; readonly why: string | null }

interface Slot { reading: Reading | null; history: History | null; why: string | null; triedMs: number; turn: Promise<void> | null }

export class HistoryCache {
  readonly counters = { readings: 0, failures: 0 };
  private readonly slots: Record<Level, Slot> = { 1: emptySlot(), 2: emptySlot() };

  constructor(private readonly source: HistorySource | null, private readonly nowMs: () => number = () => performance.now()) {}

  async get(level: Level): Promise<HistoryAnswer> {
    if (this.source === null) return { history: null, why: 'no guest to ask' };
    const slot = this.slots[level];
    const wait = slot.why === null && slot.history !== null ? HISTORY_LIMITS.freshMs : HISTORY_LIMITS.retryMs;
    if (slot.turn === null && this.nowMs() - slot.triedMs >= wait) {
      slot.triedMs = this.nowMs();
      slot.turn = this.read(this.source, level, slot).finally(() => { slot.turn = null; });
    }
    if (slot.turn !== null) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, HISTORY_LIMITS.waitMs); });
      await Promise.race([slot.turn, late]);
      clearTimeout(timer);
      if (slot.turn !== null) return { history: slot.history, why: 'the guest is still being asked' };
    }
    return { history: slot.history, why: slot.why };
  }

  private async read(source: HistorySource, level: Level, slot: Slot): Promise<void> {
    this.counters.readings++;
    try {
      slot.reading = await readHistory(source, level, slot.reading);
      slot.history = historyOf(slot.reading, this.nowMs());
      slot.why = null;
    } catch (error) {
      this.counters.failures++;
      slot.why = (error as Error).message;
    }
  }
}

const emptySlot = (): Slot => ({ reading: null, history: null, why: null, triedMs: Number.NEGATIVE_INFINITY, turn: null });
