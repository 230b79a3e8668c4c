// SPDX-License-Identifier: Apache-2.0
// Owns: what becomes of a text that an engine sent before it travels. Invariant: printable ASCII, bounded; an identity never empty and
// never able to end a label (no blank, no `=`). Limits: limits.engine_text_bytes_max read, limits.text_bytes_max kept.
import { limit } from './protocol.js';

/** A text without control characters, `?` for what is not ASCII, cut to the source's bound and then to the wire's. */
export function cleanText(text: string): string {
  const seen = text.slice(0, limit('engine_text_bytes_max')).replace(/[\x00-\x1f\x7f]/g, '').replace(/[^\x20-\x7e]/g, '?');
  return seen.trim().slice(0, limit('text_bytes_max'));
}

/** The same as an identity; `fallback` when nothing is left. */
export function cleanIdentity(text: string, fallback: string): string {
  const clean = cleanText(text).replace(/[ =]/g, '_');
  return clean === '' ? fallback : clean;
}
