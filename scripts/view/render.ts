// SPDX-License-Identifier: Apache-2.0
// The screen as lines of text: a pure function of the view's state and the terminal's size.
// Invariant: exactly `rows` lines of at most `columns` columns; what GPU data came from a replay says so in every place.
// Limits: below COLUMNS_MIN x ROWS_MIN it says that the terminal is too small and nothing else.
import { guestTime } from '../gate/line-splitter.js';
import { lastOfPhase } from '../gate/ladder.js';
import { awaited, TABS, type Tab, type ViewState } from './model.js';
import { unitTable, upHead } from './unit-table.js';
import type { Trend } from './up-model.js';
import { columns as table, ends, fit, page, painter, safe, tail, wrap, type Paint } from './text.js';

export const COLUMNS_MIN = 40;
export const ROWS_MIN = 8;
const PHASES_WIDTH = 24;

export interface Size {
  columns: number;
  rows: number;
  colour: boolean;
}

const TAB_TITLES: Record<Tab, string> = { proof: 'Proof', logs: 'Logs', series: 'Series', gpus: 'GPUs', system: 'System' };

const seconds = (ns: number): string => `${(ns / 1e9).toFixed(3)} s`;

function verdict(state: ViewState, paint: Paint): string {
  const count = state.ladder?.markers.length ?? 0;
  const place = `${state.seen.length}/${count}`;
  switch (state.phase.kind) {
    case 'proving':
      return paint.wait(`PROVING ${place}`);
    case 'passed': {
      const passed = `${paint.good(`PASS ${place}`)} in ${(state.phase.wallMs / 1000).toFixed(2)} s`;
      return state.guestNs === 0 ? passed : `${passed}, running ${seconds(state.guestNs)}`;
    }
    case 'red':
      return paint.bad(`RED ${place}`);
    case 'ended':
      return paint.bad(`ENDED ${place}`);
  }
}

function tabs(state: ViewState, paint: Paint): string {
  return TABS.map((tab, index) => {
    const text = ` ${index + 1} ${TAB_TITLES[tab]} `;
    return tab === state.tab ? paint.chosen(text) : text;
  }).join('');
}

/** One line a phase: done, under way or to come, with its count. */
function phaseList(state: ViewState, paint: Paint): string[] {
  const ladder = state.ladder;
  if (ladder === null) return [];
  const at = awaited(state)?.phase ?? null;
  return ladder.phases.map((phase) => {
    const total = ladder.markers.filter((marker) => marker.phase === phase).length;
    const seen = state.seen.filter(({ marker }) => marker.phase === phase).length;
    const done = state.seen.length > lastOfPhase(ladder, phase);
    const name = `${phase.padEnd(10)} ${String(seen).padStart(3)}/${total}`;
    if (done) return paint.good(`✓ ${name}`);
    if (phase !== at) return paint.dim(`  ${name}`);
    return state.phase.kind === 'red' || state.phase.kind === 'ended' ? paint.bad(`✗ ${name}`) : paint.wait(`> ${name}`);
  });
}

/** The markers, newest last, then what is awaited or what went wrong. */
function markerList(state: ViewState, width: number, height: number, paint: Paint): string[] {
  const next = awaited(state);
  const footer: string[] = [];
  if (state.phase.kind === 'red') {
    footer.push(...wrap(safe(state.phase.title), width).map(paint.bad), paint.dim(`evidence: ${state.runDir}`));
  } else if (state.phase.kind === 'ended') footer.push(...wrap(safe(state.phase.how), width).map(paint.bad));
  else if (next !== null) footer.push(paint.wait(`… awaiting ${next.text}`));
  else footer.push(paint.good('every marker came, once and in order'));
  const rows = state.seen.map(({ marker, guestNs }) => `${paint.dim(guestTime(guestNs))} ${marker.text}`);
  return [...tail(rows, Math.max(0, height - footer.length), state.scroll), ...footer];
}

function proofTab(state: ViewState, size: Size, height: number, paint: Paint): string[] {
  const phases = phaseList(state, paint);
  const markers = markerList(state, size.columns - PHASES_WIDTH, height, paint);
  return Array.from({ length: height }, (_, row) => fit(phases[row] ?? '', PHASES_WIDTH) + (markers[row] ?? ''));
}

function logsTab(state: ViewState, height: number, paint: Paint): string[] {
  const lost = state.logsDropped > 0 ? `, ${state.logsDropped} older ones left this view` : '';
  const head = `${state.logs.length} records${lost}; logd dropped ${state.journalDropped} as the oldest`;
  const rows = state.logs.map((row) => {
    const level = /error|fatal/.test(row.level) ? paint.bad(row.level.padEnd(5)) : row.level.padEnd(5);
    const text = `${safe(row.message)} ${paint.dim(safe(row.fields))}`;
    return `${paint.dim(guestTime(Number(row.guestNs)))} ${level} ${row.sender.padEnd(10)} ${safe(row.scope).padEnd(10)} ${text}`;
  });
  return [paint.head(head), ...tail(rows, height - 1, state.scroll)];
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(' ');
}

function seriesTab(state: ViewState, height: number, paint: Paint): string[] {
  const rows = state.series.map((row) => {
    const value = row.kind === 'histogram' ? `sum ${row.value} of ${row.count}` : String(row.value);
    return [row.producer, row.kind, safe(row.name), value, safe(labelText(row.labels))];
  });
  const [head, ...lines] = table([['PRODUCER', 'KIND', 'NAME', 'VALUE', 'LABELS'], ...rows], new Set([3]));
  return [paint.head(head ?? ''), ...page(lines, height - 1, state.scroll)];
}

/** The trends of the scrapes, with the windows that the guest kept in place of those that it has. */
function withPast({ up, past }: ViewState): ReadonlyMap<string, Trend> {
  const units = up.glance?.units ?? [];
  return new Map(units.flatMap(({ key, id }): [string, Trend][] => {
    const trend = up.trends.get(key);
    return trend === undefined ? [] : [[key, { ...trend, ...past.get(id) }]];
  }));
}

function gpusTab(state: ViewState, size: Size, height: number, paint: Paint): string[] {
  const above = upHead(state.up, paint);
  const units = state.up.glance?.units ?? [];
  if (units.length === 0) return [...above, paint.dim('no GPU yet: the first scrape is on its way')];
  if (state.past.size > 0) above.push(paint.dim('sparklines: windows of 10 s, newest to the right, from /state'));
  const [head, ...lines] = unitTable(units, withPast(state), size.columns, paint);
  return [...above, paint.head(head ?? ''), ...page(lines, Math.max(0, height - above.length - 1), state.scroll)];
}

function systemTab(state: ViewState, height: number, paint: Paint): string[] {
  const facts = table(state.system.map((row) => [safe(row.label), safe(row.value)]), new Set([1]));
  const lost = state.consoleDropped > 0 ? ` (${state.consoleDropped} older ones left this view)` : '';
  const console = state.console.map(safe);
  const lines = console.length === 0 ? facts : [...facts, '', paint.head(`console since bring-up${lost}`), ...console];
  return page(lines, height, state.scroll);
}

function body(state: ViewState, size: Size, height: number, paint: Paint): string[] {
  if (state.tab === 'proof') return proofTab(state, size, height, paint);
  if (state.control !== null) return [paint.wait(safe(state.control))];
  switch (state.tab) {
    case 'logs':
      return logsTab(state, height, paint);
    case 'series':
      return seriesTab(state, height, paint);
    case 'gpus':
      return gpusTab(state, size, height, paint);
    case 'system':
      return systemTab(state, height, paint);
  }
}

/** The whole screen. */
export function render(state: ViewState, size: Size): string[] {
  const paint = painter(size.colour);
  if (size.columns < COLUMNS_MIN || size.rows < ROWS_MIN) {
    return [fit(`terminal too small (${COLUMNS_MIN}x${ROWS_MIN} at least)`, size.columns)];
  }
  const height = size.rows - 4;
  const lines = body(state, size, height, paint).slice(0, height);
  while (lines.length < height) lines.push('');
  const hint = paint.dim('1-5 or Tab: view   up/down PgUp/PgDn Home/End: scroll   q or Ctrl-C: stop');
  return [
    ends(paint.head(`Vigil ${state.label}`), verdict(state, paint), size.columns),
    fit(tabs(state, paint), size.columns),
    '',
    ...lines.map((line) => fit(line, size.columns).trimEnd()),
    fit(hint, size.columns).trimEnd(),
  ];
}
