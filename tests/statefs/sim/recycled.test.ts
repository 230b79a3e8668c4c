// SPDX-License-Identifier: Apache-2.0
// A recycled instance is as good as a fresh one: same code, same first state, same outcome of a run after any number of others.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Program, Recycled, buildModule, exportGlobals } from '../../../runtime/node/index.js';
import { sections } from '../../../runtime/node/sections.js';
import { Random } from '../../random.js';
import { Contents } from './contents.js';
import { BlkDevice } from './device.js';
import { SimDisk } from './disk.js';
import { History } from './history.js';
import { PROFILES } from './profiles.js';
import { Session } from './session.js';
import { Workload } from './workload.js';

const EXPORTS = 7;
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

test('the module that is recycled differs from the shipping one in its exports alone, and only by globals', async () => {
  const wasm = await buildModule('statefsd');
  const [shipped, changed] = [sections(wasm), sections(exportGlobals(wasm))];
  assert.deepEqual(changed.map(({ id }) => id), shipped.map(({ id }) => id));
  for (const [index, { id, body }] of shipped.entries()) if (id !== EXPORTS) assert.deepEqual(changed[index]!.body, body, `section ${id}`);
  const names = (bytes: Uint8Array): string[] => WebAssembly.Module.exports(new WebAssembly.Module(bytes as BufferSource)).map(({ name, kind }) => `${kind} ${name}`);
  const added = names(exportGlobals(wasm)).slice(names(wasm).length);
  assert.deepEqual(names(exportGlobals(wasm)).slice(0, names(wasm).length), names(wasm));
  assert.ok(added.length > 10 && added.every((name) => name.startsWith('global ~global ')));
});

test('the same work gives the same memory, console and disk on a fresh instance and on one that others used', async () => {
  const wasm = await buildModule('statefsd');
  const outcome = (program: Program, seed: number): string[] => {
    const random = new Random(seed);
    const device = new BlkDevice(new SimDisk(PROFILES[0]!.diskSectors));
    const workload = new Workload(PROFILES[0]!, new Contents(random), new History(new Map()), random);
    const session = new Session(program, device);
    session.run((io) => workload.run(io, 20));
    return [digest(new Uint8Array(session.host.memory.buffer)), digest(device.disk.current), session.host.console.join('\n')];
  };
  const recycled = new Recycled(wasm);
  const expected = [1, 2].map((seed) => outcome(new Program(wasm), seed));
  assert.notDeepEqual(expected[0], expected[1]);
  for (const round of [1, 2, 3]) {
    assert.deepEqual([1, 2].map((seed) => outcome(recycled, seed)), expected, `round ${round}`);
  }
});

test('the same bytes are compiled once, other bytes anew, and a foreign import is refused', async () => {
  const wasm = await buildModule('statefsd');
  assert.equal(Program.of(wasm), Program.of(wasm));
  assert.notEqual(Program.of(wasm), Program.of(wasm.slice()));
  const foreign = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 2, 7, 1, 1, 0x78, 1, 0x79, 0, 0]);
  assert.throws(() => new Program(foreign), /import x.y is not allowed/);
  assert.throws(() => exportGlobals(Uint8Array.from([1, 2, 3])), /not a module/);
  assert.throws(() => exportGlobals(wasm.subarray(0, wasm.length - 10)), /beyond the end|ends too early/);
});
