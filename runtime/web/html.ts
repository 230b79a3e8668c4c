// SPDX-License-Identifier: Apache-2.0
// Owns: how text becomes HTML: a template tag that escapes everything that is not HTML already.
// Invariant: only this file makes `Html`; whatever else stands in a template is text, and text cannot open a tag, end an attribute, reorder
// what follows it or hide. Limits: TEXT_CHARS_MAX characters of one text are shown, the rest is replaced by an ellipsis.
export const TEXT_CHARS_MAX = 256;

/** HTML that may stand as it is. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = Html | string | number | bigint | null | readonly Part[];

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;', '`': '&#96;' };
/** Controls, and what changes the direction of text or has no width: shown as a replacement character. */
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]/g;

/** A text from outside as HTML text, also fit for a quoted attribute. */
export function escapeText(text: string): string {
  const cut = text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX - 1)}…` : text;
  return cut.replace(HIDDEN, '\ufffd').replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
    .replace(/[&<>"'`]/g, (character) => ENTITIES[character]!);
}

function render(part: Part): string {
  if (part instanceof Html) return part.text;
  if (part === null) return '';
  if (typeof part === 'object') return part.map(render).join('');
  return escapeText(String(part));
}

/** Escapes every value that is no Html; lists are joined, null is nothing. */
export function html(texts: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(texts.map((text, i) => text + (i < values.length ? render(values[i]!) : '')).join(''));
}

/** A text of this program's own source, as it stands: a style sheet. Never for a text from outside. */
export const sourceText = (text: string): Html => new Html(text);

/** Coordinates for a drawing: numbers alone, with one decimal. */
export function coordinates(points: readonly (readonly [x: number, y: number])[]): Html {
  return new Html(points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' '));
}
