// SPDX-License-Identifier: Apache-2.0
// Bytes of the serial line to lines. Owns: where a line ends, its cap, and the split of the guest-time prefix.
// Invariant: every byte fed is in exactly one line (or counted as dropped); the result does not depend on how the bytes were cut.
// Limits: LINE_BYTES_MAX bytes a line are kept; what exceeds them is counted and the line is marked.

/** Above what the kernel may write (200) by far, so that firmware lines fit whole. */
export const LINE_BYTES_MAX = 4096;

/** One line, without its line end. */
export interface RawLine {
  bytes: Buffer;
  /** bytes beyond LINE_BYTES_MAX that were not kept */
  dropped: number;
  /** false for what was left without a line feed at the end of the stream */
  complete: boolean;
}

/** A line of the console, split. `guestNs` is null when the line carries no kernel prefix (firmware, or a torn line). */
export interface ConsoleLine {
  /** after the prefix; bytes that are no UTF-8 become U+FFFD */
  text: string;
  /** the same, exact */
  bytes: Buffer;
  guestNs: number | null;
  dropped: number;
  complete: boolean;
}

const LF = 0x0a;
const CR = 0x0d;
const PREFIX = /^\[(\d{5,6})\.(\d{9})\] /;

/** Splits a stream into lines. Trailing carriage returns belong to the line end: a terminal adds them. */
export class LineSplitter {
  private readonly kept = Buffer.alloc(LINE_BYTES_MAX);
  private used = 0;
  private dropped = 0;

  /** Feeds bytes; returns the lines that they completed. */
  push(chunk: Uint8Array): RawLine[] {
    const lines: RawLine[] = [];
    let from = 0;
    while (from < chunk.length) {
      const end = chunk.indexOf(LF, from);
      this.keep(chunk.subarray(from, end === -1 ? chunk.length : end));
      if (end === -1) break;
      lines.push(this.take(true));
      from = end + 1;
    }
    return lines;
  }

  /** The unterminated rest, if any. Call once, at the end of the stream. */
  flush(): RawLine | null {
    return this.used === 0 && this.dropped === 0 ? null : this.take(false);
  }

  private keep(part: Uint8Array): void {
    const room = Math.min(part.length, LINE_BYTES_MAX - this.used);
    this.kept.set(part.subarray(0, room), this.used);
    this.used += room;
    this.dropped += part.length - room;
  }

  private take(complete: boolean): RawLine {
    let end = this.used;
    while (complete && this.dropped === 0 && end > 0 && this.kept[end - 1] === CR) end--;
    const line = { bytes: Buffer.from(this.kept.subarray(0, end)), dropped: this.dropped, complete };
    this.used = 0;
    this.dropped = 0;
    return line;
  }
}

/** Splits `[sssss.nnnnnnnnn] ` off a line. */
export function splitPrefix(line: RawLine): ConsoleLine {
  const { dropped, complete } = line;
  const head = line.bytes.subarray(0, 20).toString('latin1');
  const match = PREFIX.exec(head);
  const bytes = match === null ? line.bytes : line.bytes.subarray(match[0].length);
  const guestNs = match === null ? null : Number(match[1]) * 1e9 + Number(match[2]);
  return { text: bytes.toString('utf8'), bytes, guestNs, dropped, complete };
}

/** A line as a person may see it: control characters spelled, cut at `max` characters. */
export function printable(text: string, max = 240): string {
  const safe = text.replace(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return safe.length > max ? `${safe.slice(0, max)}... (${safe.length} characters)` : safe;
}

/** Guest time as the kernel prints it: `00000.123456789`. */
export function guestTime(ns: number): string {
  const seconds = Math.floor(ns / 1e9);
  return `${String(seconds).padStart(5, '0')}.${String(ns - seconds * 1e9).padStart(9, '0')}`;
}
