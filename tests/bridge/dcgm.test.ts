// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of what the dcgm source makes of an engine's answers, through koffi and a real child process, against the fake
// library of tests/fixtures/gpu: entities, cells, blanks, statuses, limits. Faults of the library itself are in dcgm-faults.test.ts.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { catalog } from '../../runtime/bridge/catalog.js';
import { limit } from '../../runtime/bridge/protocol.js';
import { FakeEngine, hold, skip, stopAll, type Held, type PlainSample } from './fake-dcgm.js';

const engine = new FakeEngine();
let held: Held;
before(async () => { if (skip === false) held = await hold({ endpoint: engine.endpoint }); });
after(stopAll);

const TEMP = 150;
const POWER = 155;
const FB_USED = 252;

/** A fresh session with an engine of this description, and its watch. */
async function open(fieldIds: number[], ...lines: string[]): Promise<number> {
  engine.set(...lines);
  await held.guest.close();
  const id = await held.guest.open(fieldIds);
  return id;
}

async function values(watch: number): Promise<PlainSample[]> {
  const samples = await held.guest.read(watch);
  if (typeof samples === 'string') throw new Error(samples);
  return samples;
}

const cell = (samples: readonly PlainSample[], group: number, id: number, fieldId: number): PlainSample | undefined =>
  samples.find((sample) => sample.group === group && sample.id === id && sample.fieldId === fieldId);
const intOf = (group: number, id: number, fieldId: number): bigint => BigInt(fieldId) * 1_000_000n + BigInt(group * 10_000 + id);

test('values travel unscaled, with type, kind and the engine\'s time', { skip }, async () => {
  const samples = await values(await open([TEMP, POWER, 156, 1009, 230], 'gpus 2'));
  assert.equal(samples.length, 10);
  for (const id of [0, 1]) {
    assert.equal(cell(samples, 1, id, TEMP)?.value, intOf(1, id, TEMP));
    assert.equal(cell(samples, 1, id, POWER)?.value, POWER + id / 16 + 4096);
    assert.deepEqual([TEMP, 156, 1009, 230].map((field) => cell(samples, 1, id, field)?.kind), [0, 1, 2, 3]);
  }
  const wallUs = held.guest.last!.wallNs / 1000n;
  for (const { tsUs, status } of samples) {
    assert.equal(status, 0);
    assert.ok(wallUs - tsUs >= 0n && wallUs - tsUs < 2_000_000n, `${wallUs - tsUs} us old`);
  }
});

test('one call a tick for GPUs, whatever the number of fields; a watch has at most 128', { skip }, async () => {
  const gpuFields = catalog.filter(({ level }) => level === 'gpu').map(({ id }) => id);
  assert.ok(gpuFields.length >= 60);
  const watch = await open(gpuFields.slice(0, 60), 'gpus 8');
  engine.forget();
  await values(watch);
  await values(watch);
  assert.deepEqual(engine.calls().filter((line) => line.startsWith('read ')), ['read 8 60', 'read 8 60']);
  assert.equal(limit('engine_fields_max'), 128);
  const most = [...gpuFields, ...gpuFields].slice(0, 128);
  assert.equal(typeof (await held.guest.watch(most)), 'number');
  assert.equal(await held.guest.watch([...most, TEMP]), 'over_limit');
});

test('a read of more values than the buffer holds is split by entities', { skip }, async () => {
  const gpuFields = catalog.filter(({ level }) => level === 'gpu').map(({ id }) => id).slice(0, 80);
  const watch = await open(gpuFields, 'gpus 32');
  engine.forget();
  const samples = await values(watch);
  assert.equal(samples.length, 32 * 80);
  assert.equal(samples.filter(({ status }) => status === 0).length, 32 * 80);
  assert.deepEqual(engine.calls().filter((line) => line.startsWith('read ')), ['read 25 80', 'read 7 80']);
});

test('a reply in another order than the question gives the same cells; a value nobody asked for is left out', { skip }, async () => {
  const straight = await values(await open([TEMP, POWER, FB_USED], 'gpus 3'));
  engine.set('gpus 3', 'reverse 1');
  const watch = await open([TEMP, POWER, FB_USED], 'gpus 3', 'reverse 1');
  const reversed = await values(watch);
  const plain = (list: readonly PlainSample[]) => list.map(({ group, id, fieldId, value }) => ({ group, id, fieldId, value }));
  assert.deepEqual(plain(reversed), plain(straight));
  engine.set('gpus 3', 'stray 1');
  const strayed = await values(watch);
  assert.equal(strayed.length, 9);
  assert.equal(strayed[0]?.status, -14, 'its own cell has no data');
});

test('a cell that the engine leaves out has no data', { skip }, async () => {
  const samples = await values(await open([TEMP, POWER], 'gpus 2', `silent ${POWER} 1`));
  assert.equal(cell(samples, 1, 0, TEMP)?.status, 0);
  assert.equal(cell(samples, 1, 0, POWER)?.status, -14);
  assert.ok((cell(samples, 1, 0, POWER)?.value as number) >= 2 ** 47);
});

for (const [field, base, statuses] of [
  [TEMP, 'i64', [-14, -14, -6, -17]], [TEMP, 'i32', [-14, -14, -6, -17]], [POWER, 'dbl', [-14, -14, -6, -17]],
] as const) {
  test(`a blank of kind ${base} is a status, never a value`, { skip }, async () => {
    const watch = await open([TEMP, POWER], 'gpus 1');
    for (const [k, status] of statuses.entries()) {
      engine.set('gpus 1', `blank ${field} ${base}+${k}`);
      const samples = await values(watch);
      assert.equal(cell(samples, 1, 0, field)?.status, status, `${base}+${k}`);
      assert.equal(cell(samples, 1, 0, field === TEMP ? POWER : TEMP)?.status, 0, 'the other cell flows');
    }
  });
}

test('NaN has no data; a value of another type says so; a status travels with its blank; time 0 is no value', { skip }, async () => {
  const watch = await open([TEMP, POWER], 'gpus 1');
  for (const [line, field, status] of [
    [`blank ${POWER} nan`, POWER, -14], [`type ${TEMP} 100`, TEMP, -32], [`type ${TEMP} 115`, TEMP, -32],
    [`status ${TEMP} -16`, TEMP, -16], [`status ${TEMP} -18`, TEMP, -18], ['ts_us 0', TEMP, -14],
  ] as const) {
    engine.set('gpus 1', line);
    assert.equal(cell(await values(watch), 1, 0, field)?.status, status, line);
  }
});

test('a frozen engine\'s values keep their old time', { skip }, async () => {
  const watch = await open([TEMP], 'gpus 1', 'ts_us 1600000000000000');
  assert.equal(cell(await values(watch), 1, 0, TEMP)?.tsUs, 1_600_000_000_000_000n);
});

test('MIG: a field is asked only of entities that have their own value', { skip }, async () => {
  const watch = await open([TEMP, FB_USED, 1004, 1005], 'gpus 1', 'mig 2');
  const samples = await values(watch);
  const fieldsOf = (group: number): number[] => samples.filter((sample) => sample.group === group && sample.id === 0).map(({ fieldId }) => fieldId);
  assert.deepEqual(fieldsOf(1), [TEMP, FB_USED, 1004, 1005]);
  assert.deepEqual(fieldsOf(4), [FB_USED, 1004, 1005]);
  assert.deepEqual(fieldsOf(5), [FB_USED, 1004]);
});

test('entities: kinds, parents, identities, order', { skip }, async () => {
  engine.set('gpus 2', 'mig 1', 'switches 2', 'links 2');
  await held.guest.close();
  await held.guest.connect();
  const entities = await held.guest.enumerate();
  assert.ok(typeof entities !== 'string');
  assert.deepEqual(entities.map(({ group, id, parent }) => `${group}:${id}<${parent}`), [
    '1:0<0:0', '1:1<0:0', '4:0<1:0', '4:8<1:1', '5:0<4:0', '5:8<4:8', '3:0<0:0', '3:1<0:0',
    '6:1<1:0', '6:257<1:0', '6:16777217<1:1', '6:16777473<1:1',
  ]);
  const gpu0 = 'GPU-00000000-0000-0000-0000-000000000000';
  assert.deepEqual([0, 2, 4, 6, 8].map((i) => entities[i]!.uuid), [gpu0, `${gpu0}/gi7`, `${gpu0}/gi7/ci0`, 'nvswitch-0', `${gpu0}/link0`]);
  assert.equal(new Set(entities.map(({ uuid }) => uuid)).size, entities.length, 'identities are distinct');
  const first = engine.count('dcgmGetDeviceAttributes');
  await held.guest.enumerate();
  assert.equal(engine.count('dcgmGetDeviceAttributes'), first, 'attributes are asked once');
  engine.set('gpus 3');
  await held.guest.enumerate();
  assert.equal(engine.count('dcgmGetDeviceAttributes'), first + 3, 'and again when the GPUs have changed');
});

test('wild texts: control bytes, no end, a label\'s separators', { skip }, async () => {
  engine.set('gpus 1', 'wild_texts 1');
  await held.guest.close();
  await held.guest.connect();
  const [gpu] = (await held.guest.enumerate()) as { uuid: string; model: string }[];
  assert.equal(gpu!.uuid, `GPU__?${'u'.repeat(limit('text_bytes_max') - 6)}`);
  assert.equal(gpu!.model, '');
});

test('limits: 0 GPUs, 32 and 33; 448 MIG entries and 449; an instance that is not there', { skip }, async () => {
  engine.set('gpus 0');
  await held.guest.close();
  await held.guest.connect();
  assert.deepEqual(await held.guest.enumerate(), []);
  assert.equal(held.supervisor.state().name, 'no_gpus');
  engine.set('gpus 32');
  assert.equal((await held.guest.enumerate()).length, 32);
  assert.equal(held.supervisor.state().name, 'ready');
  engine.set('gpus 33');
  assert.equal(await held.guest.enumerate(), 'over_limit');
  engine.set('gpus 32', 'mig 7');
  assert.equal((await held.guest.enumerate()).length, 32 + 448);
  engine.set('gpus 32', 'mig 7', 'hierarchy_count 449');
  assert.equal(await held.guest.enumerate(), 'over_limit');
  engine.set('gpus 1', 'gone 1:0 1');
  assert.equal(await held.guest.watch([TEMP]), 'entity_not_found');
});

test('profiling held by another tool: those cells are refused, the others flow', { skip }, async () => {
  for (const code of [-34, -36, -37, -38, -33]) {
    const samples = await values(await open([TEMP, 1001, 1004], 'gpus 1', `profiling_rc ${code}`));
    assert.deepEqual(samples.map(({ status }) => status), [0, code, code]);
  }
});

test('an engine without the module for switches and links: their cells say so, the others flow', { skip }, async () => {
  for (const [line, group] of [['add_group 3 -33', 3], ['add_group 6 -6', 6], ['add_group 6 -1', 6], ['read_group 3 -33', 3], ['read_group 6 -6', 6]] as const) {
    const samples = await values(await open([TEMP, 858, 1525], 'gpus 1', 'links 1', 'switches 1', line));
    const code = Number(line.split(' ')[2]);
    assert.deepEqual(samples.map((sample) => [sample.group, sample.status]), [1, 3, 6].map((each) => [each, each === group ? code : 0]), line);
  }
  engine.set('gpus 1', 'read_group 1 -33');
  await held.guest.close();
  const watch = await held.guest.open([TEMP]);
  assert.equal(await held.guest.read(watch), 'field_not_supported', 'of GPUs it is the whole reading');
});

test('a field that library or engine does not know is refused alone', { skip }, async () => {
  const samples = await values(await open([TEMP, 1501, 1523], 'gpus 1', 'library_unknown 1501 1', 'engine_unknown 1523 1'));
  assert.deepEqual(samples.map(({ fieldId, status }) => [fieldId, status]), [[TEMP, 0], [1501, -13], [1523, -13]]);
  assert.equal(await held.guest.watch([9999]), 'field_not_supported', 'a field that the bridge does not know');
});

test('names that are taken are replaced, a bounded number of times', { skip }, async () => {
  const times = limit('engine_names_max');
  const own = await hold({ endpoint: engine.endpoint });
  engine.set('gpus 1', `duplicates ${times - 1}`);
  assert.equal(typeof (await own.guest.open([TEMP])), 'number');
  await own.stop();
  const other = await hold({ endpoint: engine.endpoint });
  engine.set('gpus 1', `duplicates ${times}`);
  await assert.rejects(other.guest.open([TEMP]), /already_connected/);
  await other.stop();
});

test('an instance that vanishes, or another set of entities, makes the guest enumerate anew', { skip }, async () => {
  const watch = await open([TEMP, FB_USED], 'gpus 1', 'mig 1');
  engine.set('gpus 1', 'mig 1', 'entity_status 4:0 -45');
  assert.equal(await held.guest.read(watch), 'entity_not_found');
  engine.set('gpus 1', 'mig 2', 'rc dcgmEntitiesGetLatestValues -5');
  assert.equal(await held.guest.read(watch), 'entity_not_found');
  assert.equal((await values(await open([FB_USED], 'gpus 1', 'mig 2'))).length, 5);
});

test('a GPU that fell off the bus says so in its cells; the others flow', { skip }, async () => {
  const watch = await open([TEMP], 'gpus 2');
  engine.set('gpus 2', 'entity_status 1:1 -18');
  assert.deepEqual((await values(watch)).map(({ status }) => status), [0, -18]);
});

test('a hundred sessions leave no thread, no descriptor and no group behind', { skip }, async () => {
  const inside = (): { threads: number; files: number } => ({
    threads: Number(/^Threads:\s+(\d+)/m.exec(readFileSync(`/proc/${held.supervisor.pid}/status`, 'utf8'))?.[1]),
    files: readdirSync(`/proc/${held.supervisor.pid}/fd`).length,
  });
  await values(await open([TEMP, POWER], 'gpus 2'));
  const before = inside();
  for (let i = 0; i < 100; i++) await values(await open([TEMP, POWER], 'gpus 2'));
  const afterwards = inside();
  assert.ok(afterwards.threads <= before.threads + 5, `${before.threads} threads, then ${afterwards.threads}`);
  assert.ok(afterwards.files <= before.files + 2, `${before.files} files, then ${afterwards.files}`);
  assert.equal(held.supervisor.counters.starts, 1);
});

test('refusals: no session, no such watch, cursor out of place, too many watches, driver missing', { skip }, async () => {
  const { guest } = held;
  await guest.close();
  assert.equal((await guest.ask('version')).status, 'not_connected');
  assert.equal(await guest.enumerate(), 'not_connected');
  assert.equal(await guest.read(1), 'not_connected');
  const watch = await open([TEMP], 'gpus 1');
  assert.equal(await guest.connect(), 'already_connected');
  assert.equal(await guest.read(watch + 1), 'bad_request');
  assert.equal(await guest.watch([]), 'bad_request');
  assert.equal(await guest.watch([TEMP], [[1, 7]]), 'entity_not_found');
  for (let i = 1; i < limit('watches_max'); i++) assert.equal(typeof (await guest.watch([TEMP])), 'number');
  assert.equal(await guest.watch([TEMP]), 'over_limit');
  engine.set('gpus 1', 'rc dcgmWatchFields -56');
  await guest.close();
  await guest.connect();
  assert.equal(await guest.watch([TEMP]), 'unavailable');
  assert.equal(held.supervisor.state().name, 'no_driver');
});
