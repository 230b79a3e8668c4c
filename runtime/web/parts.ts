// SPDX-License-Identifier: Apache-2.0
// Owns: what the sections of the page are built from: tables, missing values, links to this page with another choice.
// Invariant: a table has a caption and headings with a scope, scrolls by keyboard, and is named for those who do not see it.
// Limits: none of its own.
import type { Level } from './history.js';
import { html, type Html } from './html.js';
import type { Count } from './model.js';
import { number } from './units.js';

export const REFRESHES = [0, 10, 30, 60] as const;
/** Seconds between reloads; 0: off. */
export type RefreshS = (typeof REFRESHES)[number];
/** What a reader chose in the address. */
export interface Choice { readonly refreshS: RefreshS; readonly level: Level }

/** A column: its heading, and whether it holds numbers. */
export type Heading = readonly [text: string, numeric: boolean];
/** A row; the first cell is its heading. */
export type Row = readonly (Html | string)[];

export const MISSING = html`<span class="soft">none</span>`;
export const orMissing = (value: number | null, show: (value: number) => string): Html => (value === null ? MISSING : html`${show(value)}`);
export const yesNo = (value: boolean | null, yes: string, no: string): string => (value === null ? 'unknown' : value ? yes : no);

export function table(caption: string, headings: readonly Heading[], rows: readonly Row[]): Html {
  const aligned = (at: number): Html | null => (headings[at]?.[1] === true ? html` class="n"` : null);
  const head = headings.map(([text], at) => html`<th scope="col"${aligned(at)}>${text}</th>`);
  const body = rows.map(([first, ...rest]) => html`<tr><th scope="row">${first ?? ''}</th>${
    rest.map((cell, at) => html`<td${aligned(at + 1)}>${cell}</td>`)}</tr>
`);
  return html`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table><caption>${caption}</caption>
<thead><tr>${head}</tr></thead>
<tbody>${body}</tbody></table></div>`;
}

export const countTable = (caption: string, what: string, rows: readonly Count[]): Html =>
  table(caption, [[what, false], ['Count', true]], rows.map(({ name, value }) => [name, orMissing(value, number)]));

const queryOf = ({ refreshS, level }: Choice): string => `?refresh=${refreshS}&window=${level === 1 ? '10s' : '60s'}`;

/** A link to this page with that choice; the current one is marked. */
export function choiceLink(text: string, choice: Choice, current: boolean): Html {
  return html`<li><a href="${queryOf(choice)}"${current ? html` aria-current="true"` : null}>${text}</a></li>`;
}
