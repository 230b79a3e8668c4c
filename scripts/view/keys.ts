// SPDX-License-Identifier: Apache-2.0
// Keys of the interactive view: one table from a key to what it does. Pure.
// Limits: unknown keys do nothing; PAGE_ROWS rows a page.
import type { Key } from 'node:readline';
import { TABS, type Tab, type ViewEvent } from './model.js';

const PAGE_ROWS = 10;
/** More rows than any tab holds: scrolls to an end. */
const ALL_ROWS = 1_000_000;

/** Tabs whose newest row is at the bottom: up means older, which is more scroll. */
const NEWEST_LAST: ReadonlySet<Tab> = new Set(['proof', 'logs']);

/** What a key does: an event, `quit`, or nothing. */
export function actionOf(key: Key, tab: Tab): ViewEvent | 'quit' | null {
  const name = key.name ?? '';
  if ((key.ctrl === true && name === 'c') || name === 'q') return 'quit';
  const digit = Number(key.sequence) - 1;
  const byDigit = TABS[digit];
  if (byDigit !== undefined) return { kind: 'tab', tab: byDigit };
  if (name === 'tab') {
    const step = key.shift === true ? TABS.length - 1 : 1;
    return { kind: 'tab', tab: TABS[(TABS.indexOf(tab) + step) % TABS.length] ?? 'proof' };
  }
  const up = NEWEST_LAST.has(tab) ? 1 : -1;
  const rows: Record<string, number> = {
    up, down: -up, pageup: up * PAGE_ROWS, pagedown: -up * PAGE_ROWS, home: up * ALL_ROWS, end: -up * ALL_ROWS,
  };
  const moved = rows[name];
  return moved === undefined ? null : { kind: 'scroll', rows: moved };
}
