// SPDX-License-Identifier: Apache-2.0
// Steps of the retention tests: guest time moved with everything due on the way, and RANGE asked page by page.
import assert from 'node:assert/strict';
import type { Host } from '../../runtime/node/index.js';
import { OP, expect, plain, run, stats, type Steps } from './metricsd-frames.js';
import { StatePeer, booted, rangeFrame, rangePage, type Boot, type Point, type RangeAsk } from './metricsd-state.js';

export const SECOND = 1_000_000_000n;

const STEP_NS = 250_000_000n;

/** Moves guest time to `time_ns`, never past it, and lets metricsd do what is due on the way (a PING costs no event). */
export function* at(host: Host, time_ns: bigint): Steps<void> {
  while (host.now_ns < time_ns) {
    const step_ns = time_ns - host.now_ns;
    host.advance(step_ns < STEP_NS ? step_ns : STEP_NS);
    yield* expect(host, 'portd', plain(OP.ping), 'ok');
  }
}
/** Lets what is on its way arrive. */
export function* settle(host: Host): Steps<void> {
  for (let n = 0; n < 100 && (yield* stats(host)).writesWaiting !== 0n; n++) yield* at(host, host.now_ns + 5_000_000n);
}
export function* range(host: Host, what: RangeAsk): Steps<Point[]> {
  const points: Point[] = [];
  let cursor = 0n;
  for (let n = 0; n < 200; n++) {
    const page = rangePage((yield* expect(host, 'selftest', rangeFrame(what, cursor), 'ok', 'range')).body);
    points.push(...page.points);
    if (page.next === 0xffffffffffffffffn) return points;
    assert.notEqual(page.next, cursor, 'the cursor goes on');
    cursor = page.next;
  }
  throw new Error('more than 200 pages');
}
export const brief = ({ start, count, sum, min, max, last, buckets }: Point): unknown[] =>
  [Number(start / SECOND), Number(count), ...[sum, min, max, last].map((n) => Number(BigInt.asIntN(64, n))), ...(buckets.length ? [buckets.map(Number)] : [])];

export async function life(state: StatePeer, script: (host: Host) => Steps<void>, changes: Record<string, string> = {}, now_ns?: bigint): Promise<Boot> {
  const boot = await booted(state, changes, now_ns === undefined ? {} : { now_ns });
  run(boot, script);
  return boot;
}
