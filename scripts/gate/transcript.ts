// SPDX-License-Identifier: Apache-2.0
// The normalised transcript of a boot: the kernel's lines without guest time and with the nonce replaced. Two green boots of one
// image give the same bytes. Firmware output and times are left out: device completions move them.
import { createHash } from 'node:crypto';

/** One line each, with a line feed. */
export function normalise(lines: readonly string[], nonce: string): string {
  return lines.map((line) => `${line.replaceAll(`nonce=${nonce}`, 'nonce=NONCE')}\n`).join('');
}

export function digestOf(transcript: string): string {
  return createHash('sha256').update(transcript).digest('hex');
}

/** The first line in which two transcripts differ, counted from 1; null when they are the same. */
export function firstDifference(a: string, b: string): { line: number; a: string; b: string } | null {
  const [left, right] = [a.split('\n'), b.split('\n')];
  for (let n = 0; n < Math.max(left.length, right.length); n++) {
    if (left[n] !== right[n]) return { line: n + 1, a: left[n] ?? '(end)', b: right[n] ?? '(end)' };
  }
  return null;
}
