// SPDX-License-Identifier: Apache-2.0
// MIG UUIDs asked of the driver's library in a process of its own, against a fake libnvidia-ml compiled for it: answers, a crash, a hang.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { ATTRIBUTION_LIMITS } from '../../runtime/attribution/limits.js';
import { MigNames, askDriver } from '../../runtime/attribution/mig-names.js';
import { compile } from '../bridge/fake-dcgm.js';

const library = compile('fake-nvml.c', 'libnvidia-ml-mig.so.1', '-shared', '-fPIC') ?? undefined;
const skip = library === undefined ? 'no C compiler (cc)' : false;
afterEach(() => { delete process.env['VIGIL_FAKE_NVML']; });
const mig = (gpu: number, instance: number): string => `MIG-${String(gpu).padStart(8, '0')}-0000-0000-0000-${String(instance).padStart(12, '0')}`;
const forever = new AbortController().signal;

test('the driver\'s answer, and its refusal of a device that is gone', { skip }, async () => {
  const names = new MigNames(askDriver(library));
  await names.learn([mig(0, 7), mig(1, 3), mig(5, 1)], forever);
  assert.deepEqual(names.place(mig(0, 7)), { gpu: { uuid: 'GPU-fake-0' }, instance: 7, compute: 0 });
  assert.deepEqual(names.place(mig(1, 3)), { gpu: { uuid: 'GPU-fake-1' }, instance: 3, compute: 0 });
  assert.equal(names.place(mig(5, 1)), null);
  assert.match(names.why, /nvmlDeviceGetHandleByUUID: 6$/);
  assert.deepEqual([names.counters, names.seen], [{ questions: 1, failures: 0 }, { placed: 2, unplaced: 1 }]);
});

test('a library that is not there, crashes, hangs or refuses: counted, nothing placed, this process lives', { skip }, async () => {
  for (const [mode, ask, why] of [
    ['', askDriver('/nowhere/libnvidia-ml.so.1'), /cannot open shared object/], ['init-9', askDriver(library), /^nvmlInit: 9$/],
    ['mig-crash', askDriver(library), /the process ended without an answer/], ['mig-hang', askDriver(library, 1_500), /no answer in 1500 ms/],
  ] as const) {
    process.env['VIGIL_FAKE_NVML'] = mode;
    const names = new MigNames(ask);
    await names.learn([mig(0, 7)], forever);
    assert.equal(names.place(mig(0, 7)), null);
    assert.match(names.why, why, mode);
    assert.deepEqual([names.counters, names.seen], [{ questions: 1, failures: 1 }, { placed: 0, unplaced: 1 }]);
  }
});

test('a cancelled question ends at once', { skip }, async () => {
  process.env['VIGIL_FAKE_NVML'] = 'mig-hang';
  const names = new MigNames(askDriver(library));
  const abort = new AbortController();
  setTimeout(() => { abort.abort(); }, 100);
  const before = performance.now();
  await names.learn([mig(0, 7)], abort.signal);
  assert.ok(performance.now() - before < 2_000);
  assert.equal(names.why, 'cancelled');
});

test('what is known is kept while it is asked for; what is not known is asked again later; the number is bounded', async () => {
  let nowMs = 0;
  const asked: number[] = [];
  const names = new MigNames(async (uuids) => {
    asked.push(uuids.length);
    return Object.fromEntries(uuids.map((uuid) => [uuid, uuid === mig(0, 0) ? { gpu: 'GPU-x', instance: 0, compute: 0 } : 'gone']));
  }, () => nowMs);
  await names.learn([mig(0, 0), mig(0, 1)], forever);
  nowMs = ATTRIBUTION_LIMITS.migRetryMs - 1;
  await names.learn([mig(0, 0), mig(0, 1)], forever);
  nowMs = ATTRIBUTION_LIMITS.migRetryMs;
  await names.learn([mig(0, 0), mig(0, 1)], forever);
  await names.learn([mig(0, 1)], forever);
  assert.equal(names.place(mig(0, 0)), null, 'forgotten when nobody holds it');
  await names.learn([mig(0, 0), mig(0, 1)], forever);
  assert.deepEqual(asked, [2, 1, 1]);
  await names.learn(Array.from({ length: ATTRIBUTION_LIMITS.migNames + 1 }, (_, i) => mig(1, i)), forever);
  assert.equal(asked.at(-1), ATTRIBUTION_LIMITS.migNames);
});
