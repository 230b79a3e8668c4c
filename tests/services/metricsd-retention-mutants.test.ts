// SPDX-License-Identifier: Apache-2.0
// The mutants of metricsd's retention that markers/host.toml names: each breaks one promise, and the check of that promise goes red with it and
// only with it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildModule, mutantSources, type Host, type HostOptions } from '../../runtime/node/index.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { counter, expect, gauge, registry, run, stats, type Steps } from './metricsd-frames.js';
import { SECOND, at, brief, range, settle } from './metricsd-history.js';
import { StatePeer, booted, rangeFrame } from './metricsd-state.js';

type Lives = (script: (host: Host) => Steps<void>, changes?: Record<string, string>) => Promise<void>;
const SMALL = { max_segments: '3', max_records_per_segment: '4' };

const CHECKS: Record<string, (lives: Lives, state: StatePeer) => Promise<void>> = {
  async metricsd_retention_forgets_failure(lives, state) {
    await lives(function* (host): Steps<void> {
      yield* expect(host, 'timed', counter('c', 1), 'ok');
      state.refuseWrites = 7;
      yield* at(host, 2n * SECOND);
      assert.ok((yield* stats(host)).writeFailures > 0n);
    });
  },
  async metricsd_carry_nothing(lives) {
    await lives(function* (host): Steps<void> {
      yield* expect(host, 'execd', counter('idle', 41), 'ok');
      for (let second = 1n; second < 30n; second++) {
        yield* at(host, second * SECOND + 1n);
        yield* expect(host, 'timed', counter('busy', 1), 'ok');
      }
      yield* at(host, 35n * SECOND);
      yield* settle(host);
    }, SMALL);
    await lives(function* (host): Steps<void> {
      assert.equal((yield* registry(host)).records.find(({ name }) => name === 'idle')?.value, 41n);
    }, SMALL);
  },
  async metricsd_range_skips_open(lives) {
    await lives(function* (host): Steps<void> {
      yield* expect(host, 'timed', counter('c', 1), 'ok');
      assert.equal((yield* range(host, { name: 'c' })).length, 1);
    });
  },
  async metricsd_rollup_loses_min(lives) {
    await lives(function* (host): Steps<void> {
      for (const value of [5n, -3n, 4n]) {
        yield* expect(host, 'timed', gauge('g', value), 'ok');
        yield* at(host, host.now_ns + SECOND);
      }
      assert.deepEqual((yield* range(host, { level: 1, name: 'g' })).map(brief), [[0, 3, 6, -3, 5, 4]]);
    });
  },
  async metricsd_history_open(lives) {
    await lives(function* (host): Steps<void> {
      yield* expect(host, 'timed', rangeFrame({ name: 'c' }), 'denied');
    });
  },
  async metricsd_retention_feeds_itself(lives, state) {
    await lives(function* (host): Steps<void> {
      yield* at(host, 3n * SECOND);
      yield* settle(host);
      const before = state.puts.length;
      yield* expect(host, 'statefsd', counter('statefsd.puts', 1), 'ok');
      yield* at(host, 5n * SECOND);
      assert.equal(state.puts.length, before);
    });
  },
};

const named = [...readFileSync(join(ROOT, 'markers/host.toml'), 'utf8').matchAll(/^mutant = "(metricsd_\w+)"$/gm)].map(([, name]) => name!);
test('every mutant of metricsd that no boot covers has its check here', () => {
  assert.deepEqual(named.toSorted(), Object.keys(CHECKS).toSorted());
});

for (const [name, check] of Object.entries(CHECKS)) {
  test(`${name}: its check is green without it and red with it`, async () => {
    const { replace, numbers } = mutantSources();
    const wasm = await buildModule('metricsd', { replace });
    const attempt = async (options: Partial<HostOptions>): Promise<void> => {
      const state = new StatePeer();
      await check(async (script, changes) => run(await booted(state, changes, options), script), state);
    };
    await attempt({ wasm });
    await assert.rejects(attempt({ wasm, mutant: numbers.get(name)! }));
  });
}
