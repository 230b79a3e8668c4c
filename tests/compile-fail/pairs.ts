// SPDX-License-Identifier: Apache-2.0
// The pairs of contract types that a slip could confuse. Each becomes one AssemblyScript program that passes the second where
// the first is wanted, and must not compile; its twin, which passes the right one, must.
export interface Pair {
  /** type that the function takes, and the one that is passed */
  wanted: string;
  given: string;
}
/** Module of each type and how one is made. Those of one form share a representation, so only the type keeps them apart. */
const IDS = 'nexus-ipc/types';
const CLIENT = 'nexus-metrics/types';
const WIDE = ['SenderId', 'RecordId', 'SpanId', 'TraceId'];
const NARROW = ['SeriesHandle', 'Counter', 'Gauge', 'Histogram', 'Span'];
const CLIENT_TYPES = NARROW.slice(1);

/** Every ordered pair within each form, and some across: a client's span is no id of one, a wide id no narrow one. */
export const PAIRS: Pair[] = [WIDE, NARROW].flatMap((names) =>
  names.flatMap((wanted) => names.filter((given) => given !== wanted).map((given) => ({ wanted, given }))),
).concat([
  { wanted: 'SpanId', given: 'SeriesHandle' },
  { wanted: 'SpanId', given: 'Span' },
  { wanted: 'Span', given: 'SpanId' },
]);

/** Every type that a pair covers, by the module that exports it; the test holds it against those files. */
export const TYPES: Record<string, string[]> = {
  [IDS]: [...WIDE, 'SeriesHandle'],
  [CLIENT]: CLIENT_TYPES,
};

const make = (name: string): string => (NARROW.includes(name) ? `${name}.of(1)` : `${name}.at(8)`);
const imports = (names: string[]): string => [...new Set(names)].map((name) =>
  `import { ${name} } from "../../../assembly/lib/${CLIENT_TYPES.includes(name) ? CLIENT : IDS}";\n`).join('');

/** The program of one pair; `right` passes the wanted type. */
export function program({ wanted, given }: Pair, right: boolean): string {
  return `${imports([wanted, given])}
function take(id: ${wanted}): usize { return changetype<usize>(id); }
export function run(): usize { return take(${make(right ? wanted : given)}); }
`;
}

/** Raw numbers must not pass for an id either. */
export const RAW: { name: string; source: string }[] = [...WIDE, ...NARROW].map((name) => ({
  name: `a number as ${name}`,
  source: `${imports([name])}
function take(id: ${name}): usize { return changetype<usize>(id); }
export function run(value: u64): usize { return take(value); }
`,
}));
