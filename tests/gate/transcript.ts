// SPDX-License-Identifier: Apache-2.0
// Transcripts for the gate's tests: what a correct kernel would print for a ladder, and ways to spoil it. Not a test by itself.
// The digest here is computed a second time, on its own, so that a mistake in the matcher's digest shows.
import { createHash } from 'node:crypto';
import type { Ladder } from '../../scripts/gate/ladder.js';
import { LineSplitter, splitPrefix } from '../../scripts/gate/line-splitter.js';
import { Matcher, type GateEvent } from '../../scripts/gate/matcher.js';

export const NONCE = '0123456789abcdef';
export const FIRMWARE = ['', 'OpenSBI v1.1', 'Platform Name             : riscv-virtio,qemu', 'logd: ready', ''];

/** Guest time prefix of the n-th line: one microsecond a line. */
export function prefix(n: number): string {
  return `[00000.${String(1000 * (n + 1)).padStart(9, '0')}] `;
}

/** The halt line that a correct kernel prints after `texts`. */
export function haltLine(texts: readonly string[], transport = 'modern', nonce = NONCE): string {
  const sha256 = createHash('sha256').update(texts.map((text) => `${text}\n`).join('')).digest('hex');
  return `kernel: halt transport=${transport} nonce=${nonce} lines=${texts.length} sha256=${sha256}`;
}

/** The whole console of a green boot. `edit` may change the kernel's lines before the halt line is made for them. */
export function consoleOf(texts: readonly string[], halt: string | null = haltLine(texts)): Buffer {
  const lines = [...texts, ...(halt === null ? [] : [halt])].map((text, n) => `${prefix(n)}${text}`);
  return Buffer.from([...FIRMWARE, ...lines].map((line) => `${line}\r\n`).join(''));
}

export interface Judged {
  matcher: Matcher;
  events: GateEvent[];
}

/** Feeds a console to a matcher in chunks of the given sizes (cycled), then ends it with `status`. */
export function judge(ladder: Ladder, bytes: Buffer, status = 0, sizes: readonly number[] = [65536]): Judged {
  const splitter = new LineSplitter();
  const matcher = new Matcher(ladder, NONCE);
  const events: GateEvent[] = [];
  let at = 0;
  for (let n = 0; at < bytes.length; n++) {
    const end = at + Math.max(1, sizes[n % sizes.length]!);
    for (const raw of splitter.push(bytes.subarray(at, end))) events.push(...matcher.push(splitPrefix(raw)));
    at = end;
  }
  const rest = splitter.flush();
  if (rest !== null) events.push(...matcher.push(splitPrefix(rest)));
  events.push(...matcher.end(status, `QEMU exit status ${status}`));
  return { matcher, events };
}
