// SPDX-License-Identifier: Apache-2.0
// The terminal: the alternate screen, raw keys, resize, and painting at most once a frame.
// Invariant: the terminal is given back as it was (cursor, raw mode, main screen) however the process ends in JavaScript.
// Limits: FRAME_MS between two paintings; paints nothing after close().
import { emitKeypressEvents, type Key } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';
import type { Size } from './render.js';

const FRAME_MS = 50;
const ENTER = '\u001b[?1049h\u001b[H';
const LEAVE = '\u001b[?1049l\u001b[?25h';
const HIDE_CURSOR = '\u001b[?25l';
/** A terminal that knows mode 2026 shows a frame at once; others ignore it. */
const FRAME_BEGIN = '\u001b[?2026h\u001b[H';
const FRAME_END = '\u001b[J\u001b[?2026l';
const CLEAR_REST_OF_LINE = '\u001b[K';

/** Colour unless NO_COLOR is set to anything (https://no-color.org) or the terminal cannot. */
export function wantsColour(env: NodeJS.ProcessEnv): boolean {
  return (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

export class Screen {
  private timer: NodeJS.Timeout | null = null;
  private open = true;
  private readonly restore = (): void => this.close();
  private readonly onKey: (text: string | undefined, key: Key) => void;

  /** @param draw gives the lines for a size; @param onKey hears every key */
  constructor(
    private readonly input: ReadStream,
    private readonly output: WriteStream,
    private readonly draw: (size: Size) => string[],
    onKey: (key: Key) => void,
  ) {
    this.onKey = (_text, key) => onKey(key);
    output.write(ENTER + HIDE_CURSOR);
    emitKeypressEvents(input);
    input.setRawMode(true);
    input.on('keypress', this.onKey);
    input.resume();
    output.on('resize', this.resized);
    process.on('exit', this.restore);
  }

  private readonly resized = (): void => {
    // What is on the screen was laid out for another size: begin anew.
    if (this.open) this.output.write('\u001b[2J');
    this.refresh();
  };

  /** Paints soon: calls within one frame are one painting. */
  refresh(): void {
    if (this.timer !== null || !this.open) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.paint();
    }, FRAME_MS);
  }

  private paint(): void {
    if (!this.open) return;
    const { columns, rows } = this.output;
    const lines = this.draw({ columns, rows, colour: wantsColour(process.env) });
    // No line feed after the last line: it would scroll the screen.
    this.output.write(FRAME_BEGIN + lines.join(`${CLEAR_REST_OF_LINE}\r\n`) + CLEAR_REST_OF_LINE + FRAME_END);
  }

  /** Gives the terminal back. Safe to call twice. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    if (this.timer !== null) clearTimeout(this.timer);
    process.off('exit', this.restore);
    this.output.off('resize', this.resized);
    this.input.off('keypress', this.onKey);
    this.input.setRawMode(false);
    this.input.pause();
    this.output.write(LEAVE);
  }
}
