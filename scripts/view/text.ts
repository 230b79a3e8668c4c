// SPDX-License-Identifier: Apache-2.0
// Text that fits a terminal: cutting and padding by visible columns, tables, and the colours.
// Invariant: every function's result is at most as wide as asked; control characters from the guest never reach the terminal.
// Limits: colours are off when told so (NO_COLOR, or no terminal); a wide character counts two columns.
import pico from 'picocolors';
import sliceAnsi from 'slice-ansi';
import stringWidth from 'string-width';
import { printable } from '../gate/line-splitter.js';

/** The meanings that the view colours. */
export interface Paint {
  good: (text: string) => string;
  bad: (text: string) => string;
  wait: (text: string) => string;
  dim: (text: string) => string;
  head: (text: string) => string;
  chosen: (text: string) => string;
}

/** Colours, or none. */
export function painter(colour: boolean): Paint {
  const c = pico.createColors(colour);
  return {
    good: c.green, bad: (text) => c.bold(c.red(text)), wait: c.yellow, dim: c.dim, head: c.bold,
    // Without colour the chosen tab is still told apart.
    chosen: (text) => (colour ? c.inverse(text) : `[${text.trim()}]`),
  };
}

/** Text as lines of at most `width` columns, broken at blanks where there are any. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (stringWidth(longer) <= width) {
      line = longer;
      continue;
    }
    if (line !== '') lines.push(line);
    line = word;
    // One column less than there is: a wide character may straddle the cut.
    const part = Math.max(1, width - 1);
    for (; stringWidth(line) > width; line = sliceAnsi(line, part)) lines.push(sliceAnsi(line, 0, part));
  }
  return [...lines, line];
}

/** Text from the guest, safe to show. */
export const safe = (text: string): string => printable(text, 1000);

/** Exactly `width` columns: cut with an ellipsis, or padded with blanks. */
export function fit(text: string, width: number): string {
  if (width <= 0) return '';
  const wide = stringWidth(text);
  if (wide <= width) return text + ' '.repeat(width - wide);
  // A wide character that straddles the cut is kept by the slice: cut once more before it.
  const cut = [width - 1, width - 2].map((end) => sliceAnsi(text, 0, Math.max(0, end))).find((part) => stringWidth(part) < width);
  const kept = `${cut ?? ''}…`;
  return kept + ' '.repeat(width - stringWidth(kept));
}

/** Left text and right text on one line of `width` columns; the left is cut when both do not fit. */
export function ends(left: string, right: string, width: number): string {
  const room = Math.max(0, width - stringWidth(right) - 1);
  return fit(`${fit(left, room)} ${right}`, width);
}

/** Rows as columns as wide as their widest cell, two blanks apart; numbers (columns in `right`) to the right. */
export function columns(rows: readonly (readonly string[])[], right: ReadonlySet<number> = new Set()): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, at) => (widths[at] = Math.max(widths[at] ?? 0, stringWidth(cell))));
  return rows.map((row) =>
    row
      .map((cell, at) => {
        const gap = ' '.repeat((widths[at] ?? 0) - stringWidth(cell));
        return right.has(at) ? gap + cell : cell + gap;
      })
      .join('  ')
      .trimEnd(),
  );
}

/** A window of `height` rows that ends `scroll` rows before the newest. */
export function tail<T>(rows: readonly T[], height: number, scroll: number): T[] {
  const end = Math.max(Math.min(rows.length, height), rows.length - scroll);
  return rows.slice(Math.max(0, end - height), end);
}

/** A window of `height` rows that begins `scroll` rows after the first. */
export function page<T>(rows: readonly T[], height: number, scroll: number): T[] {
  const from = Math.max(0, Math.min(scroll, rows.length - height));
  return rows.slice(from, from + height);
}
