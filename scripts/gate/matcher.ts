// SPDX-License-Identifier: Apache-2.0
// The gate's state machine: console lines in, events out. Pure: no clock, no file, no process.
// Invariant: a run is green only if every marker came once, in order, with nothing between, then a halt line whose nonce, count
// and digest agree with what was read here. The first deviation decides; nothing that follows can mend it.
// Limits: AFTER_LINES_MAX lines are kept after the first deviation, for the report.
import { createHash, type Hash } from 'node:crypto';
import { FAILURE_WORDS, type Ladder, type Marker, type Phase, type RedClass } from './ladder.js';
import type { ConsoleLine } from './line-splitter.js';

export const AFTER_LINES_MAX = 12;

/** Why the guest failed. `line` is what arrived, `expected` the marker that was due (null: the halt line or nothing). */
export type Failure = { expected: Marker | null; line: string; uartLine: number } & (
  | { kind: 'missing'; cameInstead: Marker }
  | { kind: 'out_of_order'; cameInstead: Marker }
  | { kind: 'duplicate'; first: Marker }
  | { kind: 'unexpected' }
  | { kind: 'unprefixed' }
  | { kind: 'too_long'; bytes: number }
  | { kind: 'torn' }
  | { kind: 'time_backwards'; beforeNs: number; guestNs: number }
  | { kind: 'fail' }
  | { kind: 'trap' }
  | { kind: 'ended'; how: string }
  | { kind: 'after_halt' }
  | { kind: 'halt_early' }
  | { kind: 'halt_malformed' }
  | { kind: 'halt_transport'; said: string }
  | { kind: 'halt_nonce'; said: string; ours: string }
  | { kind: 'halt_count'; said: number; counted: number }
  | { kind: 'halt_digest'; said: string; computed: string }
  | { kind: 'exit_status'; status: number }
);

/** What one line meant. */
export type GateEvent =
  | { kind: 'firmware'; text: string }
  | { kind: 'marker'; marker: Marker; guestNs: number; uartLine: number }
  | { kind: 'phase'; phase: Phase }
  | { kind: 'figure'; text: string }
  | { kind: 'halt'; lines: number; sha256: string; guestNs: number }
  | { kind: 'red'; failure: Failure }
  | { kind: 'after'; text: string };

/** A marker that was seen. */
export interface Seen {
  marker: Marker;
  guestNs: number;
  uartLine: number;
}

const HALT = /^kernel: halt transport=(\S+) nonce=([0-9a-f]+) lines=(\d+) sha256=([0-9a-f]{64})$/;
/** What the kernel's runtime prints when it cannot even print a time: it is the guest's, not firmware's. */
const EARLY_PANIC = /^PANIC kernel: /;
const TRAP = /^kernel: trap /;

/** The class of a failure, in the words of a canary's `expect`. */
export function redClass(failure: Failure): RedClass {
  switch (failure.kind) {
    case 'missing':
    case 'out_of_order':
    case 'ended':
    case 'halt_early':
      return 'missing';
    case 'duplicate':
    case 'unexpected':
    case 'unprefixed':
    case 'too_long':
    case 'torn':
    case 'time_backwards':
    case 'after_halt':
      return 'unexpected';
    case 'fail':
      return 'fail';
    case 'trap':
      return 'trap';
    case 'halt_malformed':
    case 'halt_transport':
    case 'halt_nonce':
    case 'halt_count':
    case 'halt_digest':
    case 'exit_status':
      return 'halt';
  }
}

type State = 'firmware' | 'ladder' | 'halted' | 'red';

/** Feeds on lines of one boot. */
export class Matcher {
  readonly seen: Seen[] = [];
  readonly after: string[] = [];
  /** lines after the first deviation that `after` had no room for */
  afterDropped = 0;
  failure: Failure | null = null;
  /** kernel lines so far, the halt line included: line numbers of uart.log */
  uartLines = 0;
  private state: State = 'firmware';
  private readonly hash: Hash = createHash('sha256');
  /** lines of ladder.may that came */
  private readonly came = new Set<string>();
  private digestHex: string | null = null;
  private lastNs = 0;
  constructor(
    readonly ladder: Ladder,
    private readonly nonce: string,
  ) {}

  get halted(): boolean {
    return this.state === 'halted';
  }

  /** SHA-256 over every kernel line so far but the halt line, each with a line feed. */
  get digest(): string {
    return this.digestHex ?? this.hash.copy().digest('hex');
  }

  /** True once a line with the kernel's prefix was seen. */
  get started(): boolean {
    return this.state !== 'firmware';
  }

  /** One line of the console. */
  push(line: ConsoleLine): GateEvent[] {
    if (this.state === 'firmware') {
      if (line.guestNs === null && !EARLY_PANIC.test(line.text)) return [{ kind: 'firmware', text: line.text }];
      this.state = 'ladder';
    }
    if (!line.complete && line.bytes.length === 0 && line.dropped === 0) return [];
    this.uartLines++;
    if (this.state === 'red') return this.collect(line.text);
    const events = this.state === 'halted' ? this.red({ kind: 'after_halt' }, line) : this.judge(line);
    if (this.state !== 'halted') {
      this.hash.update(line.bytes);
      this.hash.update('\n');
    }
    return events;
  }

  /** The stream ended: QEMU is gone. `status` is its exit status; `how` says in words how it ended. */
  end(status: number, how: string): GateEvent[] {
    const nothing = { text: '', uartLine: this.uartLines };
    if (this.state === 'red') return this.refine();
    if (this.state !== 'halted') return this.fail({ kind: 'ended', how, ...this.at(nothing) });
    if (status !== 0) return this.fail({ kind: 'exit_status', status, ...this.at(nothing) });
    return [];
  }

  private get expected(): Marker | null {
    return this.ladder.markers[this.seen.length] ?? null;
  }

  private at(line: { text: string; uartLine: number }): { expected: Marker | null; line: string; uartLine: number } {
    return { expected: this.expected, line: line.text, uartLine: line.uartLine };
  }

  private judge(line: ConsoleLine): GateEvent[] {
    const { text, guestNs } = line;
    if (!line.complete) return this.red({ kind: 'torn' }, line);
    if (line.dropped > 0) return this.red({ kind: 'too_long', bytes: line.bytes.length + line.dropped }, line);
    if (guestNs === null) return this.red({ kind: FAILURE_WORDS.test(text) ? 'fail' : 'unprefixed' }, line);
    if (guestNs < this.lastNs) return this.red({ kind: 'time_backwards', beforeNs: this.lastNs, guestNs }, line);
    this.lastNs = guestNs;
    const expected = this.expected;
    if (expected !== null && expected.text === text) return this.match(expected, guestNs);
    if (FAILURE_WORDS.test(text)) return this.red({ kind: 'fail' }, line);
    if (text.startsWith('kernel: halt')) return this.halt(line, guestNs);
    const { figures, may } = this.ladder;
    if (figures !== null && this.seen.length > 0 && text.startsWith(figures)) return [{ kind: 'figure', text }];
    if (may.includes(text) && this.seen.length > 0 && !this.came.has(text)) {
      this.came.add(text);
      return [{ kind: 'figure', text }];
    }
    const known = this.known(text);
    if (TRAP.test(text) && !this.near(known)) return this.red({ kind: 'trap' }, line);
    if (known !== undefined && known.index < this.seen.length) return this.red({ kind: 'duplicate', first: known }, line);
    if (known !== undefined) return this.red({ kind: 'missing', cameInstead: known }, line);
    return this.red({ kind: 'unexpected' }, line);
  }

  /** The next line of the ladder with this text; when none is left, the last one. */
  private known(text: string): Marker | undefined {
    const same = this.ladder.markers.filter((marker) => marker.text === text);
    return same.find((marker) => marker.index > this.seen.length) ?? same.at(-1);
  }

  /** A trap that the ladder lists next, or later in this phase, is a line like others; any other is a trap out of place. */
  private near(known: Marker | undefined): boolean {
    if (known === undefined || known.index < this.seen.length) return false;
    return known.phase === this.expected?.phase || known.index === this.seen.length + 1;
  }

  private match(marker: Marker, guestNs: number): GateEvent[] {
    const seen = { marker, guestNs, uartLine: this.uartLines };
    this.seen.push(seen);
    const events: GateEvent[] = [{ kind: 'marker', ...seen }];
    if (this.expected?.phase !== marker.phase) events.push({ kind: 'phase', phase: marker.phase });
    return events;
  }

  private halt(line: ConsoleLine, guestNs: number): GateEvent[] {
    if (this.expected !== null) return this.red({ kind: 'halt_early' }, line);
    const match = HALT.exec(line.text);
    if (match === null) return this.red({ kind: 'halt_malformed' }, line);
    const [transport, nonce, lines, sha256] = [match[1]!, match[2]!, Number(match[3]), match[4]!];
    const counted = this.uartLines - 1;
    if (transport !== this.ladder.transport) return this.red({ kind: 'halt_transport', said: transport }, line);
    if (nonce !== this.nonce) return this.red({ kind: 'halt_nonce', said: nonce, ours: this.nonce }, line);
    if (lines !== counted) return this.red({ kind: 'halt_count', said: lines, counted }, line);
    const computed = this.digest;
    if (sha256 !== computed) return this.red({ kind: 'halt_digest', said: sha256, computed }, line);
    this.digestHex = computed;
    this.state = 'halted';
    return [{ kind: 'halt', lines, sha256, guestNs }];
  }

  private red(why: DistributiveOmit<Failure, 'expected' | 'line' | 'uartLine'>, line: ConsoleLine): GateEvent[] {
    return this.fail({ ...why, ...this.at({ text: line.text, uartLine: this.uartLines }) } as Failure);
  }

  private fail(failure: Failure): GateEvent[] {
    this.digestHex = this.digest;
    this.failure = failure;
    this.state = 'red';
    return [{ kind: 'red', failure }];
  }

  private collect(text: string): GateEvent[] {
    if (this.after.length >= AFTER_LINES_MAX) {
      this.afterDropped++;
      return [];
    }
    this.after.push(text);
    return [{ kind: 'after', text }];
  }

  /** A marker that was missing when a later one came, but came after it, was out of order. */
  private refine(): GateEvent[] {
    const failure = this.failure;
    if (failure?.kind !== 'missing' || failure.expected === null) return [];
    const { text } = failure.expected;
    const once = this.ladder.markers.filter((marker) => marker.text === text).length === 1;
    if (once && this.after.includes(text)) {
      this.failure = { ...failure, kind: 'out_of_order' };
    }
    return [];
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
