// SPDX-License-Identifier: Apache-2.0
// The simulation goes red for each deliberate bug of the engine and for the mutant of statefsd, and stays green for what ships.
// Limit: CRASHES_MAX simulated crashes a bug; more means that the simulation has gone blind for it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bugNames, engineBugs, programWith } from './bugs.js';
import { PROFILES } from './profiles.js';
import { runUnit } from './units.js';

const SEED = 1;
const CRASHES_MAX = 30_000;
/** Bugs that only the forger's disks show: elsewhere another check of recovery stands in. */
const FORGER_ONLY = ['trusts_values'];
/** Bugs behind which the masks and the compaction of each doubtful end stand: no power cut shows them. Scenes do, in ../faults.test.ts. */
const SCENES_ONLY = ['no_epoch_bump', 'no_sequence_check'];
const FORGER = PROFILES.findIndex(({ name }) => name === 'forger');

for (const bug of bugNames().filter((name) => !SCENES_ONLY.includes(name))) {
  test(`a store with the bug ${bug} is found out`, async () => {
    const { program, mutant } = await programWith(bug);
    const [first, step] = FORGER_ONLY.includes(bug) ? [FORGER, PROFILES.length] : [0, 1];
    let crashes = 0;
    for (let unit = first; crashes < CRASHES_MAX; unit += step) {
      const { failure, tally } = runUnit(program, mutant, { seed: SEED, unit, stopAt: 0 });
      crashes += tally.crashes + tally.rotten;
      if (failure !== null) return;
    }
    assert.fail(`${crashes} crashes of seed ${SEED} and no failure: just crash-sim --seed ${SEED} --bug ${bug}`);
  });
}

test('the engine has switches, and the contract of each kind is among them', () => {
  const names = engineBugs();
  for (const name of ['no_epoch_bump', 'no_crc_check', 'no_sequence_check', 'rewrites_sector', 'keeps_half_commit']) {
    assert.ok(names.includes(name), `assembly/lib/statefs/faults.ts has no FAULT_${name.toUpperCase()}`);
  }
});

test('without a bug, one unit of each profile is green, compacts, and cuts recoveries', async () => {
  const { program } = await programWith('none');
  for (const [unit, profile] of PROFILES.entries()) {
    const { failure, tally } = runUnit(program, 0, { seed: SEED, unit, stopAt: 0 });
    assert.deepEqual(failure, null, profile.name);
    assert.ok(tally.compactions > 0, `${profile.name}: no compaction`);
    assert.ok(tally.damaged > 0 && tally.rolledBack > 0 && tally.inRecovery > 0, `${profile.name}: ${JSON.stringify(tally)}`);
  }
});

test('a unit repeats itself: the same seed gives the same crashes, another seed others', async () => {
  const { program } = await programWith('none');
  const tallyOf = (seed: number): unknown => runUnit(program, 0, { seed, unit: 0, stopAt: 0 }).tally;
  assert.deepEqual(tallyOf(3), tallyOf(3));
  assert.notDeepEqual(tallyOf(3), tallyOf(4));
});
