// SPDX-License-Identifier: Apache-2.0
// `vigil traces`: the finished spans in the running guest's journal, as trees. Invariant: a span whose parent is not in the journal is
// shown as a root; a span of which one half was let go is counted, not shown. Exit codes: 0 done, 1 a wrong configuration, 2 usage, 3 no
// machine runs or its guest does not answer.
import type { Command } from 'commander';
import { CONFIG_OPTION } from '../command/config.js';
import { RUN_OPTION, askGuest, nameOfSender, readJournal, type GuestOptions } from '../command/guest.js';
import { colors, examples, note, print, printJson, safe } from '../command/output.js';
import { spansOf, type Span } from '../command/spans.js';
import type { Job } from '../vigil.js';

interface Options extends GuestOptions { json?: boolean }

/** Deeper spans are shown at this depth; a circle of parents ends there too. */
const DEPTH_MAX = 16;

const text = (ns: bigint): string => `${(Number(ns) / 1e6).toFixed(3)} ms`;

/** Lines of a span and of what it is the parent of, by start. */
function tree(span: Span, children: ReadonlyMap<string, readonly Span[]>, depth: number): string[] {
  const attributes = Object.entries(span.attributes).map(([key, value]) => ` ${safe(key)}=${safe(value)}`).join('');
  const status = span.status === 'ok' ? span.status : colors.red(safe(span.status));
  const own = `${'  '.repeat(depth)}${safe(span.name)} ${text(span.durationNs)} ${status} ${safe(span.producer)}${colors.dim(attributes)}`;
  const below = depth >= DEPTH_MAX ? [] : (children.get(`${span.trace}/${span.span}`) ?? [])
    .flatMap((child) => tree(child, children, depth + 1));
  return [own, ...below];
}

async function traces(options: Options): Promise<number> {
  const journal = await askGuest(options, (client) => readJournal(client, 0n));
  const nameOf = nameOfSender();
  const { spans: raw, incomplete } = spansOf(journal.records);
  const spans = raw.map((span) => ({ ...span,
    producer: /^[0-9a-f]{16}$/.test(span.producer) ? nameOf(BigInt(`0x${span.producer}`)) : span.producer }));
  if (options.json === true) printJson({ spans, incomplete, lostRecords: journal.lost });
  else {
    const known = new Set(spans.map(({ trace, span }) => `${trace}/${span}`));
    const children = new Map<string, Span[]>();
    const roots: Span[] = [];
    for (const span of [...spans].sort((a, b) => (a.startNs < b.startNs ? -1 : 1))) {
      const parent = `${span.trace}/${span.parent}`;
      if (span.parent === '' || span.parent === span.span || !known.has(parent)) roots.push(span);
      else children.set(parent, [...(children.get(parent) ?? []), span]);
    }
    for (const root of roots) {
      print(colors.dim(`trace ${safe(root.trace)} at ${text(root.startNs)}`));
      for (const line of tree(root, children, 1)) print(line);
    }
    if (spans.length === 0) note('no finished span is in the journal');
  }
  if (journal.lost > 0n) note(`${journal.lost} records were let go before they could be read`);
  if (incomplete > 0) note(`${incomplete} spans are not whole in the journal any more`);
  return 0;
}

/** Registers `vigil traces`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('traces').description("Print the finished spans in the running guest's journal, as trees.")
    .option('--json', 'print JSON')
    .option(...CONFIG_OPTION)
    .option(...RUN_OPTION)
    .addHelpText('after', examples('traces', 'traces --json'))
    .action((options: Options) => run(() => traces(options)));
}
