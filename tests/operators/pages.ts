// SPDX-License-Identifier: Apache-2.0
// Owns: the operators' pages and what they name: paths, texts, fenced blocks, quoted words. Not a test by itself.
// Invariant: every page below docs/operators is in it, and the README's section for operators.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../scripts/lib/paths.js';
import { section } from './headings.js';

export interface PageText { readonly path: string; readonly text: string }
export const FOLDER = 'docs/operators';
export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Every page of the folder; the paths are from the root. */
export const operatorPages = (): PageText[] => readdirSync(join(ROOT, FOLDER), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.md')).sort().map((name) => ({ path: `${FOLDER}/${name}`, text: read(`${FOLDER}/${name}`) }));

/** The pages, and what the README says to operators. */
export const everyText = (): PageText[] =>
  [...operatorPages(), { path: 'README.md', text: section(read('README.md'), 'For operators of GPU nodes') }];

/** Fenced blocks of a language; '' for those without one. */
export const blocks = (text: string, language: string): string[] =>
  [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].filter(([, name]) => name === language).map(([, , body]) => body!);

/** What stands in backquotes or fenced blocks. */
export const codes = (text: string): string[] =>
  [...text.matchAll(/^```\w*\n([\s\S]*?)^```$/gm), ...text.replaceAll(/^```[\s\S]*?^```$/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);
