// SPDX-License-Identifier: Apache-2.0
// The engine against a disk that fails: an error of each write and flush, the power cut before each of them (what was not flushed lost, kept, or
// kept in part), and a cut in each step of compaction. Everything committed is there, what was not is there whole or not at all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../random.js';
import { BAD, Engine, loadEngine, loadFaulty, MemoryDisk, PowerCut, reboot, S, SECTOR } from './engine.js';

type Step = { kind: 'put'; key: string; value: string } | { kind: 'del'; key: string } | { kind: 'commit' } | { kind: 'begin' } | { kind: 'end' };
type State = Map<string, string>;

/** A workload on few keys, with atomic commits; on 80 sectors it compacts again and again. */
function workload(seed: number, steps: number): Step[] {
  const random = new Random(seed);
  const list: Step[] = [];
  let open = 0;
  for (let i = 0; i < steps; i++) {
    const key = `/k${random.below(12)}`;
    if (open > 0 && --open === 0) list.push({ kind: 'end' });
    else if (open === 0 && random.chance(25)) list.push({ kind: 'commit' });
    else if (open === 0 && random.chance(15)) {
      list.push({ kind: 'begin' });
      open = 2 + random.below(4);
    } else if (random.chance(25)) list.push({ kind: 'del', key });
    else list.push({ kind: 'put', key, value: String.fromCharCode(97 + (i % 26)).repeat(random.below(500)) });
  }
  if (open > 0) list.push({ kind: 'end' });
  list.push({ kind: 'commit' });
  return list;
}

interface Run { engine: Engine; states: State[]; durable: number; cut: boolean; failed: boolean }

/** Runs a workload; `states` holds the contents after each atomic commit, `durable` the index of the last acknowledged one. */
async function run(disk: MemoryDisk, steps: Step[], compiled?: WebAssembly.Module): Promise<Run> {
  const engine = new Engine(compiled ?? (await loadEngine()), disk);
  const result: Run = { engine, states: [new Map()], durable: 0, cut: false, failed: false };
  let shadow: State = new Map();
  let open = false;
  try {
    if (engine.open() !== S.OK) return { ...result, failed: true };
    for (const step of steps) {
      let status: number = S.OK!;
      if (step.kind === 'begin') {
        engine.begin();
        shadow = new Map(result.states.at(-1)!);
        open = true;
      } else if (step.kind === 'end') {
        status = engine.end();
        open = false;
        if (status === S.OK) result.states.push(shadow);
      } else if (step.kind === 'commit') {
        status = engine.commit();
        if (status === S.OK) result.durable = result.states.length - 1;
      } else {
        if (!open) shadow = new Map(result.states.at(-1)!);
        status = step.kind === 'put' ? engine.put(step.key, step.value) : engine.del(step.key);
        if (step.kind === 'put') shadow.set(step.key, step.value);
        else shadow.delete(step.key);
        if (!open && status === S.OK) result.states.push(shadow);
        if (!open && status === S.NOT_FOUND) status = S.OK!;
      }
      if (status === S.IO || status === S.FAILED) return { ...result, failed: true };
      assert.equal(status, S.OK, step.kind);
    }
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
    result.cut = true;
  }
  return result;
}

/** The index of the state that the disk holds: a prefix of what was done, and not one before what was acknowledged. */
async function recovered(disk: MemoryDisk, { states, durable }: Run, where: string): Promise<Engine> {
  const engine = new Engine(await loadEngine(), disk);
  assert.equal(engine.open(), S.OK, where);
  const found = JSON.stringify([...engine.all()]);
  const index = states.findLastIndex((state) => JSON.stringify([...state].sort(([a], [b]) => (a < b ? -1 : 1))) === found);
  assert.ok(index >= durable, `${where}: state ${index} of ${states.length}, acknowledged ${durable}`);
  return engine;
}

/** What a power cut may leave: of the held sectors none, all, each by chance, a prefix; one torn inside. */
function survivors(disk: MemoryDisk, random: Random): [string, MemoryDisk][] {
  const held = [...disk.cache];
  const make = (keep: (index: number) => boolean, torn = -1): MemoryDisk => {
    const after = new MemoryDisk(disk.sectors, Buffer.from(disk.data));
    held.forEach(([sector, bytes], index) => {
      if (keep(index)) after.data.set(bytes, sector * SECTOR);
      if (index === torn) after.data.set(bytes.subarray(0, 8 + random.below(500)), sector * SECTOR);
    });
    return after;
  };
  const prefix = random.below(held.length + 1);
  return [
    ['none', make(() => false)], ['all', make(() => true)], ['some', make(() => random.chance(50))],
    ['prefix, torn', make((index) => index < prefix, prefix)], ['suffix', make((index) => index >= prefix)],
  ];
}

for (const sectors of [80, 400]) {
  test(`power cut before each operation, ${sectors} sectors: acknowledged is there, the rest whole or absent, and it goes on`, async () => {
    const steps = workload(sectors, sectors === 80 ? 400 : 220);
    const total = new MemoryDisk(sectors);
    const whole = await run(total, steps);
    const { compactions } = whole.engine.report();
    assert.ok(sectors > 80 || compactions >= 5n, `compactions ${compactions}`);
    const random = new Random(sectors);
    for (let cut = 0; cut < total.operations; cut++) {
      const disk = new MemoryDisk(sectors);
      disk.cutAt = cut;
      const result = await run(disk, steps);
      assert.ok(result.cut);
      for (const [how, after] of survivors(disk, random)) {
        const engine = await recovered(after, result, `cut ${cut} ${how}`);
        assert.equal(engine.report().groupsBehind, 0, 'no acknowledged group is seen behind the end');
        const before = engine.all();
        assert.equal(engine.put('/more', 'm'), S.OK);
        assert.equal(engine.commit(), S.OK);
        const next = await reboot(engine);
        assert.equal(next.engine.report().badKind, BAD.NONE);
        assert.deepEqual(next.engine.all(), new Map([...before, ['/more', 'm'] as const].sort(([a], [b]) => (a < b ? -1 : 1))));
      }
    }
  });
}

test('an error of each write and flush: the commit says so, nothing but open works, and open finds what was acknowledged', async () => {
  for (const sectors of [80, 400]) {
    const steps = workload(sectors + 1, 200);
    const total = new MemoryDisk(sectors);
    await run(total, steps);
    for (let failAt = 0; failAt < total.operations; failAt++) {
      for (const stuck of [false, true]) {
        const disk = new MemoryDisk(sectors);
        disk.failAt = failAt;
        disk.stuck = stuck;
        const result = await run(disk, steps);
        assert.ok(result.failed, `operation ${failAt}`);
        const { engine } = result;
        const opening = engine.report().sequence === 0n || engine.find('x') === S.CLOSED;
        for (const status of [engine.put('a', 'b'), engine.del('a'), engine.begin(), engine.commit(), engine.find('a'), engine.read('a')]) {
          assert.equal(status, opening ? S.CLOSED : S.FAILED);
        }
        if (stuck) {
          assert.equal(engine.open(), S.IO);
          assert.ok([S.OK, S.BLANK].includes(engine.open(true)), 'reading needs no write');
        }
        disk.failAt = -1;
        await recovered(disk, result, `error ${failAt}`);
      }
    }
  }
});

test('read errors: a read says io and the store goes on; in compaction the commit fails and open brings it back', async () => {
  const disk = new MemoryDisk(80);
  const engine = new Engine(await loadEngine(), disk);
  assert.equal(engine.open(), S.OK);
  for (let i = 0; i < 10; i++) engine.put(`/k${i}`, 'v'.repeat(600));
  assert.equal(engine.commit(), S.OK);
  disk.failReads = true;
  assert.equal(engine.get('/k1'), S.IO);
  disk.failReads = false;
  assert.equal(engine.get('/k1'), 'v'.repeat(600));
  disk.failReads = true;
  let status = S.OK!;
  for (let i = 0; status === S.OK && i < 50; i++) {
    engine.put('/k1', String(i).repeat(200));
    status = engine.commit();
  }
  assert.equal(status, S.IO);
  assert.equal(engine.get('/k2'), S.FAILED);
  disk.failReads = false;
  assert.equal(engine.open(), S.OK);
  assert.equal(engine.get('/k2'), 'v'.repeat(600));
});

test('a commit is one write and one flush; nothing staged is neither', async () => {
  const disk = new MemoryDisk(2048);
  const engine = new Engine(await loadEngine(), disk);
  engine.open();
  const start = disk.operations;
  for (let i = 0; i < 100; i++) engine.put(`/k${i}`, 'v'.repeat(256));
  assert.equal(disk.operations, start);
  assert.equal(engine.commit(), S.OK);
  assert.equal(disk.operations, start + 2);
  assert.equal(engine.commit(), S.OK);
  assert.equal(disk.operations, start + 2);
});

/** Faults that losing power shows, by the workload above: each must turn it red. */
for (const fault of ['NO_FLUSH', 'COMPACTION_UNFLUSHED', 'KEEPS_HALF_COMMIT']) {
  test(`canary: with FAULT_${fault} a power cut loses or halves something acknowledged`, async () => {
    const compiled = await loadFaulty(fault);
    const steps = workload(80, 220);
    const total = new MemoryDisk(80);
    await run(total, steps, compiled);
    const random = new Random(3);
    let wrong = 0;
    for (let cut = 0; cut < total.operations; cut++) {
      const disk = new MemoryDisk(80);
      disk.cutAt = cut;
      const result = await run(disk, steps, compiled);
      for (const [, after] of survivors(disk, random)) {
        const engine = new Engine(compiled, after);
        const status = engine.open();
        const found = status === S.OK ? JSON.stringify([...engine.all()]) : '';
        const index = result.states.findLastIndex((state) => JSON.stringify([...state].sort(([a], [b]) => (a < b ? -1 : 1))) === found);
        if (status !== S.OK || index < result.durable) wrong++;
      }
    }
    assert.ok(wrong > 0);
  });
}
