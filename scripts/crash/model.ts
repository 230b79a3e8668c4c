// SPDX-License-Identifier: Apache-2.0
// What a boot of profile crash writes, and what may be found after a power cut. Pure. The operations are those of
// assembly/services/selftest/power-ops.ts, said again in TypeScript; tests/nbd/crash-model.test.ts holds the two together.
// Invariant: statefsd's journal is one sequence, so what survives is a prefix of the operations sent: every acknowledged one, then none or
// some of those in flight, in order, each whole.
// Limits: at most IN_FLIGHT_MAX operations are in flight.
import { createHash } from 'node:crypto';
import { Random } from '../lib/random.js';

export const KEYS = 64;
export const OPS_MAX = 400;
export const RUN_OPS = 4;
export const IN_FLIGHT_MAX = RUN_OPS;
export const VALUE_BYTES_MAX = 65_536;
const TXN_VALUE_BYTES_MAX = 24_000;
const BATCH_VALUE_BYTES_MAX = 900;
const ITEMS_MAX = 8;
const [SALT_KIND, SALT_OP, SALT_VALUE, SALT_ROUND] = [0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f, 0x9e3779b1];

export type Kind = 'put' | 'del' | 'txn' | 'batch';

/** One key of an operation; length -1 deletes it. */
export interface Item {
  key: string;
  length: number;
}

const salted = (base: number, n: number, salt: number): Random => new Random((base ^ Math.imul(n, salt)) >>> 0);

/** The number that decides every operation of one boot. */
export function baseOf(seed: number, round: number): number {
  return (seed ^ Math.imul(round, SALT_ROUND)) >>> 0;
}

export function kindOf(base: number, op: number): Kind {
  const kind = salted(base, Math.floor(op / RUN_OPS), SALT_KIND).below(100);
  return kind < 36 ? 'put' : kind < 46 ? 'del' : kind < 54 ? 'txn' : 'batch';
}

function lengthFrom(random: Random): number {
  const size = random.below(100);
  if (size < 50) return random.below(200);
  if (size < 80) return 200 + random.below(1000);
  if (size < 97) return 1200 + random.below(6000);
  return 8000 + random.below(VALUE_BYTES_MAX - 8000 + 1);
}

/** The items of operation `op`, in order; a later one of the same key wins. */
export function itemsOf(base: number, op: number): Item[] {
  const kind = kindOf(base, op);
  const random = salted(base, op, SALT_OP);
  const count = kind === 'txn' ? 2 + random.below(3) : kind === 'batch' ? 2 + random.below(ITEMS_MAX - 1) : 1;
  return Array.from({ length: count }, () => {
    const key = `k${String(random.below(KEYS)).padStart(2, '0')}`;
    const any = lengthFrom(random);
    const bytes = kind === 'txn' ? Math.min(any, TXN_VALUE_BYTES_MAX) : kind === 'batch' ? any % BATCH_VALUE_BYTES_MAX : any;
    const gone = kind === 'del' || ((kind === 'txn' || kind === 'batch') && random.below(100) < 25);
    return { key, length: gone ? -1 : bytes };
  });
}

export function valueOf(base: number, op: number, item: number, length: number): Buffer {
  const random = salted(base, op * ITEMS_MAX + item, SALT_VALUE);
  const bytes = Buffer.alloc(Math.ceil(length / 4) * 4);
  for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(random.next(), at);
  return bytes.subarray(0, length);
}

/** Length and the first digits of the SHA-256 of a value, as the guest prints them. */
export function fingerprint(value: Buffer): string {
  return `${value.length} ${createHash('sha256').update(value).digest('hex').slice(0, 16)}`;
}

/** What is in the store: fingerprints by key. */
export type Contents = ReadonlyMap<string, string>;

/** Applies one operation. */
export function applied(contents: Contents, base: number, op: number): Map<string, string> {
  const next = new Map(contents);
  for (const [n, { key, length }] of itemsOf(base, op).entries()) {
    if (length < 0) next.delete(key);
    else next.set(key, fingerprint(valueOf(base, op, n, length)));
  }
  return next;
}

/** Keys whose contents differ. */
export function differing(a: Contents, b: Contents): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key)).sort();
}

export type Judgement =
  /** everything acknowledged is there, and `inFlight` operations beyond it */
  | { kind: 'kept'; inFlight: number }
  /** the store is what it was after an earlier operation: `lost` acknowledged ones are gone */
  | { kind: 'lost'; lost: number; keys: string[] }
  /** no prefix of the operations gives this store */
  | { kind: 'mixed'; lost: number; keys: string[] };

/**
 * Judges what a boot found.
 * @param before what the store held when the workload began
 * @param acknowledged the highest operation that was acknowledged, -1 for none
 * @param inFlightMax how many operations beyond it may have been sent
 */
export function judge(
  before: Contents, base: number, acknowledged: number, found: Contents, inFlightMax: number = IN_FLIGHT_MAX,
): Judgement {
  const states: Map<string, string>[] = [new Map(before)];
  const last = Math.min(OPS_MAX - 1, acknowledged + inFlightMax);
  for (let op = 0; op <= last; op++) states.push(applied(states[op]!, base, op));
  const due = acknowledged + 1;
  for (let n = due; n < states.length; n++) {
    if (differing(states[n]!, found).length === 0) return { kind: 'kept', inFlight: n - due };
  }
  const keys = differing(states[due]!, found);
  for (let n = due - 1; n >= 0; n--) {
    if (differing(states[n]!, found).length === 0) return { kind: 'lost', lost: due - n, keys };
  }
  return { kind: 'mixed', lost: Math.min(...states.slice(due).map((one) => differing(one, found).length)), keys };
}
