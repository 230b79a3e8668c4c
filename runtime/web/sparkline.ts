// SPDX-License-Identifier: Apache-2.0
// Owns: a small drawing of one series, and the same in words.
// Invariant: the drawing says nothing that the words beside it do not; where a window is missing the line is interrupted; no colour has
// a meaning. Limits: as many points as the series has windows.
import { coordinates, html, type Html } from './html.js';
import type { SeriesHistory, Window } from './history.js';

const WIDTH = 160;
const HEIGHT = 32;
const EDGE = 2;

/** Lowest, mean and highest of all windows, and the newest value. Null without windows. */
export function summary({ windows }: SeriesHistory): { min: number; mean: number; max: number; last: number } | null {
  const newest = windows.at(-1);
  if (newest === undefined) return null;
  return {
    min: Math.min(...windows.map(({ min }) => min)), max: Math.max(...windows.map(({ max }) => max)),
    mean: windows.reduce((sum, { mean }) => sum + mean, 0) / windows.length, last: newest.last,
  };
}

/** Points of the lines: one list for each run of windows without a gap. */
export function runs(windows: readonly Window[]): (readonly Window[])[] {
  const out: Window[][] = [];
  let before: Window | undefined;
  for (const window of windows) {
    const gap = before === undefined || before.agoS - window.agoS > 1.5 * window.widthS;
    if (gap) out.push([]);
    out.at(-1)!.push(window);
    before = window;
  }
  return out;
}

/** `words`: what a screen reader says. `id` is unique on the page. */
export function sparkline(series: SeriesHistory, spanS: number, words: string, id: string): Html {
  const { windows } = series;
  const low = Math.min(...windows.map(({ mean }) => mean));
  const high = Math.max(...windows.map(({ mean }) => mean));
  const x = ({ agoS }: Window): number => EDGE + (WIDTH - 2 * EDGE) * Math.max(0, 1 - agoS / spanS);
  const y = ({ mean }: Window): number => (high === low ? HEIGHT / 2 : HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * ((mean - low) / (high - low)));
  const lines = runs(windows).map((run) => (run.length === 1
    ? html`<circle cx="${x(run[0]!).toFixed(1)}" cy="${y(run[0]!).toFixed(1)}" r="1.5"/>`
    : html`<polyline points="${coordinates(run.map((window) => [x(window), y(window)]))}"/>`));
  const box = html`width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}"`;
  return html`<svg class="spark" role="img" aria-labelledby="${id}" ${box}><title id="${id}">${words}</title>${lines}</svg>`;
}
