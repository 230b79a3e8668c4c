// SPDX-License-Identifier: Apache-2.0
// The screen of `vigil up` as lines of text: a pure function of its state and the terminal's size.
// Invariant: exactly `rows` lines of at most `columns` columns; replayed values are labelled in the head and in every row.
// Limits: below COLUMNS_MIN x ROWS_MIN it says that the terminal is too small and nothing else.
import { COLUMNS_MIN, ROWS_MIN, type Size } from './render.js';
import { ends, fit, page, painter, safe, type Paint } from './text.js';
import { unitTable, upHead } from './unit-table.js';
import { guestText, restartText, type UpState } from './up-model.js';

const HINT = 'up/down PgUp/PgDn: scroll   e: events   q or Ctrl-C: stop';
const EVENT_ROWS = 5;
function head(state: UpState, size: Size, paint: Paint): string[] {
  const { glance } = state;
  if (glance === null) return [paint.head('Vigil up')];
  const guest = guestText(glance);
  const [source = '', ...more] = upHead(state, paint);
  return [
    ends(`${paint.head('Vigil up')}  ${source}`, guest.bad ? paint.bad(safe(guest.text)) : paint.good(guest.text), size.columns),
    ...more,
    `collector: ${safe(glance.collector)}; boots ${glance.boots}, ${restartText(glance.restarts)}`,
    '',
  ];
}

/** `02:41:07` in UTC. */
export const clock = (atMs: number): string => new Date(atMs).toISOString().slice(11, 19);

function eventLines({ events, showEvents }: UpState, paint: Paint): string[] {
  if (!showEvents) return [];
  const line = (text: string, bad: boolean): string => (bad ? paint.bad(safe(text)) : safe(text));
  const rows = events.slice(-EVENT_ROWS).map(({ atMs, text, bad }) => `${paint.dim(clock(atMs))} ${line(text, bad)}`);
  return ['', ...rows];
}

export function renderUp(state: UpState, size: Size): string[] {
  const paint = painter(size.colour);
  if (size.columns < COLUMNS_MIN || size.rows < ROWS_MIN) {
    return [fit(`terminal too small (${COLUMNS_MIN}x${ROWS_MIN} at least)`, size.columns)];
  }
  const above = head(state, size, paint);
  const room = size.rows - above.length - 1;
  const units = state.glance?.units ?? [];
  const [titles = '', ...rows] = units.length === 0 ? [paint.dim('no GPU yet: the first scrape is on its way')]
    : unitTable(units, state.trends, size.columns, paint);
  const below = eventLines(state, paint).slice(0, Math.max(0, room - Math.min(rows.length + 1, Math.max(3, room - EVENT_ROWS - 1))));
  const height = Math.max(0, room - below.length);
  const shown = page(rows, Math.max(0, height - 1), state.scroll);
  const body = [units.length === 0 ? titles : paint.head(titles), ...shown].slice(0, height);
  while (body.length < height) body.push('');
  return [...above, ...body, ...below, paint.dim(HINT)].slice(0, size.rows).map((line) => fit(line, size.columns).trimEnd());
}
