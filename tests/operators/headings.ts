// SPDX-License-Identifier: Apache-2.0
// Owns: headings of a Markdown page as their anchors (as GitHub makes them), its links, and the first cells of its tables. Not a test by itself.
// Invariant: what stands in a fenced block is no heading and no link. Limits: ATX headings, inline links.

const FENCED = /^```[\s\S]*?^```$/gm;
const withoutCode = (text: string): string => text.replaceAll(FENCED, '');

export function anchors(text: string): Set<string> {
  const out = new Set<string>();
  for (const [, heading] of withoutCode(text).matchAll(/^#{1,6} (.+)$/gm)) {
    const base = heading!.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-');
    let anchor = base;
    for (let n = 1; out.has(anchor); n++) anchor = `${base}-${n}`;
    out.add(anchor);
  }
  return out;
}

/** Targets of links that are no address of the web. */
export const links = (text: string): string[] =>
  [...withoutCode(text).replaceAll(/`[^`\n]*`/g, '').matchAll(/\]\((?!https?:|mailto:)([^)\s]+)\)/g)].map(([, target]) => target!);

/** Text below a heading, to the next one of its level or a higher one; '' when there is none. */
export function section(text: string, heading: string): string {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.replace(/^#+ /, '') === heading && line.startsWith('#'));
  if (at < 0) return '';
  const level = /^#+/.exec(lines[at]!)![0].length;
  const end = lines.findIndex((line, i) => i > at && /^#+ /.test(line) && /^#+/.exec(line)![0].length <= level);
  return lines.slice(at + 1, end < 0 ? lines.length : end).join('\n');
}

/** First cells of every table row below a header that begins with `first`, without backquotes. */
export function firstCells(text: string, first: string): string[] {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(`| ${first} |`));
  if (at < 0) throw new Error(`no table "${first}"`);
  const end = lines.findIndex((line, i) => i > at && !line.startsWith('|'));
  return lines.slice(at + 2, end < 0 ? lines.length : end).map((line) => line.split('|')[1]!.trim().replaceAll('`', ''));
}
