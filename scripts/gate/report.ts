// SPDX-License-Identifier: Apache-2.0
// What a person reads after a run: the verdict line, and for a red run what was due, what came, its neighbours, and what to do.
// Invariant: pure text from values; every kind of failure has a sentence here, or this file does not compile.
import type { Transport } from '../../boot/machines.js';
import type { Ladder } from './ladder.js';
import { printable } from './line-splitter.js';
import type { Failure, Matcher } from './matcher.js';

const NEIGHBOURS = 3;

/** `modern`, `legacy (debug only)`, `modern invalid-only`: how a run is named in everything that is printed. */
export function labelOf(transport: Transport, profile: string): string {
  const name = transport === 'legacy' ? 'legacy (debug only)' : transport;
  return profile === 'proof' ? name : `${name} ${profile}`;
}

/** What the run folder's name carries. */
export function folderLabel(transport: Transport, profile: string): string {
  return profile === 'proof' ? transport : `${transport}-${profile}`;
}

export function passLine(label: string, count: number): string {
  return `PASS ${label} ${count}/${count} markers`;
}

export function stoppedLine(text: string, seen: number, count: number): string {
  return `STOPPED at ${text} ${seen}/${count}`;
}

export function failLine(label: string, seen: number, count: number): string {
  return `FAIL ${label} ${seen}/${count} markers`;
}

/** One sentence that says what is wrong. */
export function failureTitle(failure: Failure): string {
  const line = `"${printable(failure.line)}"`;
  const due = failure.expected === null ? 'the halt line' : `"${failure.expected.text}"`;
  switch (failure.kind) {
    case 'missing':
      return `missing line ${due}: ${line} came instead`;
    case 'out_of_order':
      return `line out of order: ${line} came before ${due}`;
    case 'duplicate':
      return `line came twice: ${line}`;
    case 'unexpected':
      return `unexpected line ${line}, due was ${due}`;
    case 'unprefixed':
      return `line without the kernel's time prefix: ${line}, due was ${due}`;
    case 'too_long':
      return `line of ${failure.bytes} bytes: ${line}, due was ${due}`;
    case 'torn':
      return `line without an end: ${line}, due was ${due}`;
    case 'time_backwards':
      return `guest time went back from ${failure.beforeNs} ns to ${failure.guestNs} ns at ${line}`;
    case 'fail':
      return `the guest reports ${line}, due was ${due}`;
    case 'trap':
      return `unexpected trap ${line}, due was ${due}`;
    case 'ended':
      return `missing line ${due}: the guest ended (${failure.how})`;
    case 'after_halt':
      return `line after the halt line: ${line}`;
    case 'halt_early':
      return `missing line ${due}: the kernel halted`;
    case 'halt_malformed':
      return `malformed halt line ${line}`;
    case 'halt_transport':
      return `the halt line names transport ${printable(failure.said)}`;
    case 'halt_nonce':
      return `the halt line has nonce ${failure.said}, this run's is ${failure.ours}`;
    case 'halt_count':
      return `the halt line counts ${failure.said} lines, ${failure.counted} came`;
    case 'halt_digest':
      return `the halt line has digest ${failure.said}, the lines have ${failure.computed}`;
    case 'exit_status':
      return `the guest powered off with status ${failure.status} instead of 0`;
  }
}

/** The phase in which a run failed: of the marker that was due, `end` after the last. */
export function failurePhase(failure: Failure): string {
  return failure.expected?.phase ?? 'end';
}

/** A word for a POSIX shell. */
export function quote(word: string): string {
  return /^[A-Za-z0-9._/:=-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`;
}

/** What the three commands need. */
export interface Reproduction {
  transport: Transport;
  profile: string;
  nonce: string;
  mutant: string | null;
  recipe: string | null;
  /** a commit that passed, or null */
  good: string | null;
}

/** Commands to reproduce, to attach gdb, to bisect. */
export function commands(failure: Failure, how: Reproduction): { reproduce: string; gdb: string; bisect: string } {
  const options = [
    how.profile === 'proof' ? '' : ` --profile ${quote(how.profile)}`,
    how.recipe === null ? '' : ` --recipe ${quote(how.recipe)}`,
    how.mutant === null ? '' : ` --mutant ${how.mutant}`,
    ` --nonce ${how.nonce}`,
  ].join('');
  const marker = failure.expected === null ? '' : ` ${quote(failure.expected.text)}`;
  const transport = how.transport === 'legacy' ? ' --transport legacy' : '';
  return {
    reproduce: `just test-os ${how.transport}${options}`,
    gdb: `just gdb ${how.transport}${options}`,
    bisect: `just bisect ${how.good ?? 'GOOD'} HEAD${marker}${transport}`,
  };
}

/** The red report: phase, line, neighbours, commands. Lines without a line end. */
export function redReport(label: string, ladder: Ladder, matcher: Matcher, failure: Failure, how: Reproduction, runDir: string): string[] {
  const at = matcher.seen.length;
  const count = ladder.markers.length;
  const next = ladder.markers.slice(at, at + NEIGHBOURS);
  const before = matcher.seen.slice(-NEIGHBOURS).map(({ marker }) => marker.text);
  const { reproduce, gdb, bisect } = commands(failure, how);
  const due = failure.expected;
  const dueText = due === null ? '' : `${due.text} (${at + 1}/${count}, by ${due.by}, ${due.file})`;
  return [
    `RED ${label}: phase ${failurePhase(failure)}: ${failureTitle(failure)}`,
    `  due:      ${due === null ? `the halt line, after ${count} markers` : dueText}`,
    failure.line === '' ? '  came:     nothing' : `  came:     ${printable(failure.line)} (uart.log:${failure.uartLine})`,
    ...before.map((text) => `  before:   ${text}`),
    ...next.slice(1).map(({ text }) => `  then due: ${text}`),
    ...matcher.after.slice(0, NEIGHBOURS).map((text) => `  after it: ${printable(text)}`),
    `  reproduce:  ${reproduce}`,
    `  attach gdb: ${gdb}`,
    `  bisect:     ${bisect}`,
    `  evidence:   ${runDir}`,
  ];
}

/** A GitHub Actions annotation. Newlines and percent signs as the runner wants them. */
export function githubError(title: string, message: string, file?: string): string {
  const value = (text: string): string => text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  const property = (text: string): string => value(text).replace(/:/g, '%3A').replace(/,/g, '%2C');
  const where = file === undefined ? '' : `file=${property(file)},`;
  return `::error ${where}title=${property(title)}::${value(message)}`;
}

/** Markdown for the step summary. */
export function stepSummary(label: string, verdict: string, report: readonly string[], ladder: Ladder, matcher: Matcher): string {
  const rows = ladder.phases.map((phase) => {
    const all = ladder.markers.filter((marker) => marker.phase === phase);
    const seen = all.filter((marker) => marker.index < matcher.seen.length);
    return `| ${phase} | ${seen.length}/${all.length} |`;
  });
  const block = report.length === 0 ? [] : ['', '```text', ...report.map((line) => line.replace(/`/g, "'")), '```'];
  return [`### Boot proof: ${label}`, '', `\`${verdict}\``, '', '| phase | markers |', '|---|---|', ...rows, ...block, ''].join('\n');
}
