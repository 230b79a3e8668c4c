// SPDX-License-Identifier: Apache-2.0
// Owns: the pages that people read, for the exporter's HTTP server: `/`.
// Invariant: a page is made anew for each request from what is exported now; it never fails because the guest does. Nothing is run in the
// browser and nothing is loaded from elsewhere, as the server's Content-Security-Policy demands. Limits: those of model and history.
import type { Agent } from '../export/agent.js';
import type { Page } from '../export/http/server.js';
import { HistoryCache, type HistorySource, type Level } from './history.js';
import { pageModel } from './model.js';
import { renderPage } from './page.js';
import { REFRESHES, type RefreshS } from './parts.js';

export { historyAt, type HistorySource } from './history.js';

export interface WebOptions {
  readonly agent: Pick<Agent, 'resources' | 'ready' | 'source'>;
  /** who keeps the history (historyAt of the relay's socket); absent: the page says that there is none */
  readonly history?: HistorySource;
  /** wall clock and monotonic clock, ms */
  readonly wallMs?: () => number; readonly monoMs?: () => number;
}

/** `/` with `?refresh=0|10|30|60` (seconds, 0: off) and `?window=10s|60s` (width of the history's windows). Other values: the defaults. */
export function webPages({ agent, history, wallMs = Date.now, monoMs = () => performance.now() }: WebOptions): Map<string, Page> {
  const cache = new HistoryCache(history ?? null, monoMs);
  const page: Page = async ({ query }) => {
    const wanted = Number(query.get('refresh') ?? 0);
    const refreshS: RefreshS = REFRESHES.find((every) => every === wanted) ?? 0;
    const level: Level = query.get('window') === '60s' ? 2 : 1;
    const answer = await cache.get(level);
    const ageS = answer.history === null ? null : (monoMs() - answer.history.atMs) / 1000;
    const nowMs = wallMs();
    const model = pageModel(agent.resources(), { ready: agent.ready(), source: agent.source() }, nowMs);
    const body = renderPage({ model, history: { level, answer, ageS }, refreshS, nowMs });
    return { status: 200, type: 'text/html; charset=utf-8', body };
  };
  return new Map([['/', page]]);
}
