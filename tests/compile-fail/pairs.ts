// SPDX-License-Identifier: Apache-2.0
// The pairs of contract types that a slip could confuse. Each becomes one AssemblyScript program that passes the second where
// the first is wanted, and must not compile; its twin, which passes the right one, must.
export interface Pair {
  /** type that the function takes, and the one that is passed */
  wanted: string;
  given: string;
}
const WIDE = ['SenderId', 'Nonce', 'RecordId', 'SpanId', 'TraceId', 'GuestTimeNs'];
const NARROW = ['SeriesHandle', 'CapHandle', 'ReplyHandle'];

/** Every ordered pair within each form: those share a representation, so only the type keeps them apart. */
export const PAIRS: Pair[] = [WIDE, NARROW].flatMap((names) =>
  names.flatMap((wanted) => names.filter((given) => given !== wanted).map((given) => ({ wanted, given }))),
).concat([
  { wanted: 'BoundedText', given: 'SenderId' },
  { wanted: 'SpanId', given: 'SeriesHandle' },
  { wanted: 'CapHandle', given: 'SenderId' },
]);

const make = (name: string): string => (NARROW.includes(name) ? `${name}.of(1)` : `${name}.at(8)`);

/** The program of one pair; `right` passes the wanted type. */
export function program({ wanted, given }: Pair, right: boolean): string {
  const used = [...new Set([wanted, given])].join(', ');
  return `import { ${used} } from "../../../assembly/lib/nexus-ipc/types";
function take(id: ${wanted}): usize { return changetype<usize>(id); }
export function run(): usize { return take(${make(right ? wanted : given)}); }
`;
}

/** Raw numbers must not pass for an id either. */
export const RAW: { name: string; source: string }[] = [...WIDE, ...NARROW, 'BoundedText'].map((name) => ({
  name: `a number as ${name}`,
  source: `import { ${name} } from "../../../assembly/lib/nexus-ipc/types";
function take(id: ${name}): usize { return changetype<usize>(id); }
export function run(value: u64): usize { return take(value); }
`,
}));
