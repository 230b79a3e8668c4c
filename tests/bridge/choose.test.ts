// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of where `auto` ends: where an engine was named or the driver is, in that source, degraded until it answers, and never
// in a replay; a replay where nothing points to a GPU. Through real library processes, with the fake libdcgm where one must be there.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answerer } from '../../runtime/bridge/answerer.js';
import { makeAnswerer, type SourceOptions } from '../../runtime/bridge/choose.js';
import { defaultFixture } from '../../runtime/bridge/index.js';
import { FakeEngine, Guest, fakeLibrary, skip } from './fake-dcgm.js';

const ABSENT = '/nonexistent/library.so';
const VARIABLES = ['VIGIL_DCGM_LIBRARY', 'VIGIL_NVML_LIBRARY', 'VIGIL_FAKE_DCGM'] as const;
const before = VARIABLES.map((name) => process.env[name]);
const made: Answerer[] = [];
afterEach(async () => {
  await Promise.all(made.splice(0).map((answerer) => answerer.stop()));
  VARIABLES.forEach((name, i) => {
    if (before[i] === undefined) delete process.env[name];
    else process.env[name] = before[i];
  });
});

interface Chosen { readonly answerer: Answerer; readonly log: string[] }

/** @param dcgm the library; NVML's is nowhere @param driver whether the device nodes are */
async function choose(options: SourceOptions, dcgm: string, driver: boolean): Promise<Chosen> {
  process.env.VIGIL_DCGM_LIBRARY = dcgm;
  process.env.VIGIL_NVML_LIBRARY = ABSENT;
  const log: string[] = [];
  const answerer = await makeAnswerer({ fixture: defaultFixture, log: (line) => { log.push(line); }, ...options }, driver);
  made.push(answerer);
  return { answerer, log };
}

test('auto: nothing points to a GPU: the replay, at once and without a try', async () => {
  const { answerer, log } = await choose({}, ABSENT, false);
  assert.equal(answerer.label, 'replay');
  assert.deepEqual(log, []);
});

test('auto: an endpoint, a mode, or the driver: no replay though neither library is here', async () => {
  const cases: [SourceOptions, boolean, string][] = [
    [{ endpoint: 'localhost:5556' }, false, 'dcgm'], [{ mode: 'embedded' }, false, 'dcgm'], [{ mode: 'standalone' }, false, 'dcgm'],
    [{ endpoint: 'localhost:5556' }, true, 'dcgm'], [{}, true, 'nvml'],
  ];
  for (const [options, driver, label] of cases) {
    const { answerer, log } = await choose(options, ABSENT, driver);
    assert.equal(answerer.label, label, JSON.stringify([options, driver]));
    assert.equal(await new Guest(answerer).connect(), 'unavailable');
    assert.equal(answerer.state().name, 'library_absent');
    assert.ok(log.some((line) => line.startsWith('bridge: dcgm is not used: library_absent')), log.join('\n'));
    assert.ok(log.some((line) => line.startsWith(`bridge: ${label} is kept until it answers`)), log.join('\n'));
  }
});

test('auto: the driver and libdcgm are here, the engine is not: dcgm', { skip }, async () => {
  process.env.VIGIL_FAKE_DCGM = new FakeEngine('engine_down 1').path; // the engine at the default endpoint
  const { answerer } = await choose({}, fakeLibrary!, true);
  assert.equal(answerer.label, 'dcgm');
  assert.equal(await new Guest(answerer).connect(), 'unavailable');
  assert.equal(answerer.state().name, 'engine_absent');
});

test('auto: the engine comes up after the bridge: found by itself', { skip }, async () => {
  const engine = new FakeEngine('gpus 2', 'engine_down 1');
  const { answerer } = await choose({ endpoint: engine.endpoint }, fakeLibrary!, false);
  const guest = new Guest(answerer);
  assert.equal(answerer.label, 'dcgm');
  assert.equal(await guest.connect(), 'unavailable');
  engine.set('gpus 2');
  let status = '';
  for (let i = 0; i < 100 && status !== 'ok'; i++) {
    await sleep(100);
    status = await guest.connect();
  }
  assert.equal(status, 'ok');
  const entities = await guest.enumerate();
  assert.ok(typeof entities !== 'string' && entities.filter(({ group }) => group === 1).length === 2);
});
