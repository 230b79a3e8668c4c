// SPDX-License-Identifier: Apache-2.0
// The engine against a Map: random puts, dels, commits, aborts, reopens and lists on small disks, so that compaction and every limit happen.
// A failure names its seed; STATEFS_SEED=N repeats it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../random.js';
import { Engine, loadEngine, MemoryDisk, reboot, S } from './engine.js';

const SEEDS = process.env.STATEFS_SEED === undefined ? [1, 2, 3, 4, 5, 6] : [Number(process.env.STATEFS_SEED)];
const STEPS = 3000;

for (const seed of SEEDS) {
  test(`model: ${STEPS} random steps agree with a Map (STATEFS_SEED=${seed})`, async () => {
    const random = new Random(seed);
    const keys = Array.from({ length: 20 + random.below(200) }, (_, i) => `/state/t${random.below(9)}/${'k'.repeat(random.below(40))}${i}`);
    let engine = new Engine(await loadEngine(), new MemoryDisk(random.pick([80, 256, 1024, 4096])));
    assert.equal(engine.open(), S.OK);
    const model = new Map<string, string>();
    const value = (): string => {
      const length = random.chance(5) ? random.below(20_000) : random.below(600);
      return Buffer.alloc(length, String.fromCharCode(33 + random.below(90)) + String(random.next())).toString('latin1');
    };
    const write = (into: Map<string, string>, atomic: boolean): void => {
      const key = random.pick(keys);
      if (random.chance(70)) {
        const next = value();
        const status = engine.put(key, next);
        if (status === S.OK) into.set(key, next);
        else assert.ok([S.NO_SPACE, S.GROUP_FULL, S.TXN_LIMIT].includes(status), `put ${status}`);
      } else {
        const status = engine.del(key);
        if (status === S.OK) into.delete(key);
        else if (status === S.NOT_FOUND) assert.ok(!atomic && !into.has(key));
        else assert.equal(status, atomic ? status : S.GROUP_FULL);
      }
    };
    let durable = new Map(model);
    for (let step = 0; step < STEPS; step++) {
      const dice = random.below(100);
      if (dice < 55) write(model, false);
      else if (dice < 65) {
        assert.equal(engine.begin(), S.OK);
        const shadow = new Map(model);
        for (let i = random.below(8); i > 0; i--) write(shadow, true);
        if (random.chance(30)) engine.abort();
        else if (engine.end() === S.OK) {
          model.clear();
          for (const [key, text] of shadow) model.set(key, text);
        }
      } else if (dice < 85) {
        assert.equal(engine.commit(), S.OK);
        durable = new Map(model);
      } else if (dice < 90) {
        // power off: what was staged is gone
        const next = await reboot(engine);
        assert.equal(next.status, S.OK);
        engine = next.engine;
        model.clear();
        for (const [key, text] of durable) model.set(key, text);
        assert.equal(engine.report().badKind, 0, 'a clean end');
        assert.deepEqual(engine.list().keys, [...model.keys()].sort());
      } else if (dice < 98) {
        const key = random.pick(keys);
        assert.equal(engine.get(key), model.get(key) ?? S.NOT_FOUND);
        assert.equal(engine.find(key), model.get(key)?.length ?? S.NOT_FOUND);
      } else {
        const prefix = random.pick(['', '/state/t1', '/state/t', '/state/t3/kkk', '/x']);
        const wanted = [...model.keys()].filter((key) => key.startsWith(prefix)).sort();
        const page = engine.list(prefix, '', 100_000, 7);
        assert.deepEqual(page.keys, wanted.slice(0, 7));
        assert.equal(page.more, wanted.length > 7);
        if (page.more) assert.deepEqual(engine.list(prefix, page.keys.at(-1)!).keys, wanted.slice(7));
      }
    }
    assert.equal(engine.commit(), S.OK);
    assert.deepEqual(engine.all(), new Map([...model].sort(([a], [b]) => (a < b ? -1 : 1))));
    const { engine: after } = await reboot(engine);
    assert.deepEqual(after.all(), engine.all());
    const { compactions, liveBytes } = engine.report();
    assert.ok(compactions > 0n || liveBytes > 0);
  });
}
