// SPDX-License-Identifier: Apache-2.0
// Owns: the page through a real HTML parser: strict, so that a parse error fails a test, and a few ways to look at the tree.
// Invariant: what a test asserts is what a browser's parser builds, not what a pattern finds in a text.
import assert from 'node:assert/strict';
import { parse, type DefaultTreeAdapterMap, type ParserError } from 'parse5';

type Node = DefaultTreeAdapterMap['node'];
export type Element = DefaultTreeAdapterMap['element'];

const isElement = (node: Node): node is Element => 'tagName' in node;

export class Document {
  readonly errors: string[] = [];
  private readonly root: Node;

  constructor(readonly source: string) {
    const onParseError = ({ code, startLine, startCol }: ParserError): void => void this.errors.push(`${startLine}:${startCol} ${code}`);
    this.root = parse(source, { onParseError, sourceCodeLocationInfo: true });
    assert.deepEqual(this.errors, []);
  }

  /** Every element, in document order. */
  all(tag?: string): Element[] {
    const out: Element[] = [];
    const visit = (node: Node): void => {
      if (isElement(node) && (tag === undefined || node.tagName === tag)) out.push(node);
      if ('childNodes' in node) node.childNodes.forEach(visit);
    };
    visit(this.root);
    return out;
  }
  one(tag: string): Element {
    const [first, ...more] = this.all(tag);
    assert.ok(first !== undefined && more.length === 0, `one <${tag}>, not ${more.length + (first === undefined ? 0 : 1)}`);
    return first;
  }
  byId(id: string): Element | undefined { return this.all().find((element) => attribute(element, 'id') === id); }
  /** The table with a caption that begins so: headings and rows as texts. */
  table(caption: string): { headings: string[]; rows: string[][] } | undefined {
    const found = this.all('table').find((table) => text(below(table, 'caption')[0]!).startsWith(caption));
    if (found === undefined) return undefined;
    const [head, ...rows] = below(found, 'tr').map((row) => [...below(row, 'th', 'td')].map(text));
    return { headings: head!, rows };
  }
  get text(): string { return text(this.one('body')); }
}

export const attribute = (element: Element, name: string): string | undefined => element.attrs.find((one) => one.name === name)?.value;

export function below(element: Element, ...tags: string[]): Element[] {
  const out: Element[] = [];
  const visit = (node: Node): void => {
    if (isElement(node) && tags.includes(node.tagName)) out.push(node);
    if ('childNodes' in node) node.childNodes.forEach(visit);
  };
  element.childNodes.forEach(visit);
  return out;
}

/** The text of a node as it reads. */
export function text(node: Node): string {
  if ('value' in node && typeof node.value === 'string' && node.nodeName === '#text') return node.value;
  return 'childNodes' in node ? node.childNodes.map(text).join('') : '';
}
