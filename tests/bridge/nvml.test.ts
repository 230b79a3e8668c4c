// SPDX-License-Identifier: Apache-2.0
// Owns: the proof of the nvml source through koffi and a child process, against a fake libnvidia-ml compiled for it; of recording, replay and
// hashing of identities; and of the choice of a source, honest about what cannot be had.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LocalAnswerer } from '../../runtime/bridge/answerer.js';
import { makeAnswerer, probeSources, renderProbes } from '../../runtime/bridge/choose.js';
import { BridgeClient } from '../../runtime/bridge/client.js';
import { defaultFixture } from '../../runtime/bridge/index.js';
import { limit } from '../../runtime/bridge/protocol.js';
import { recordCapture } from '../../runtime/bridge/record.js';
import { ReplaySource, loadCapture, renderCapture } from '../../runtime/bridge/sources/replay.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { FakeEngine, compile, fakeLibrary, folder, hold, skip, stopAll, type Held, type PlainSample } from './fake-dcgm.js';

const library = compile('fake-nvml.c', 'libnvidia-ml.so.1', '-shared', '-fPIC') ?? undefined;
afterEach(async () => {
  delete process.env['VIGIL_FAKE_NVML'];
  await stopAll();
});
const start = (mode?: string): Promise<Held> => {
  if (mode !== undefined) process.env['VIGIL_FAKE_NVML'] = mode;
  return hold({ source: 'nvml', library });
};

test('nvml: devices, and values in the units of DCGM\'s fields', { skip }, async () => {
  const { guest, supervisor } = await start();
  assert.equal(await guest.connect(), 'ok');
  assert.equal(guest.last!.payload.readUInt8(1), 4);
  assert.match(await guest.version(), /^source:nvml;driver:580\.1\.2;/);
  const entities = await guest.enumerate();
  assert.ok(typeof entities !== 'string');
  assert.deepEqual(entities.map(({ uuid, model, bdf, driver }) => [uuid, model, bdf, driver]),
    [0, 1].map((i) => [`GPU-fake-${i}`, `Fake NVML ${i}`, `00000000:0${i + 1}:00.0`, '580.1.2']));
  const wanted: [number, bigint | number | null, number?][] = [[150, 41n], [155, 123.457], [156, 9007199254740993n], [158, 87n], [159, 95n], [203, 71n], [204, 33n],
    [206, 5n], [250, 81_920n], [251, 61_440n], [252, 20_480n], [100, 1001n], [101, 1002n], [102, 1003n], [310, 0n], [311, 10n], [312, 1n], [313, 11n],
    [393, 3n], [394, 4n], [395, 0n], [396, 1n], [67, 1n], [140, 55n], [191, null, -6], [207, null, -20], [1001, null, -6], [230, null, -6]];
  const samples = (await guest.read((await guest.watch(wanted.map(([id]) => id))) as number)) as PlainSample[];
  for (const [id, value, status] of wanted) {
    const cell = samples.find((sample) => sample.id === 1 && sample.fieldId === id)!;
    assert.equal(cell.status, status ?? 0, `${id}`);
    if (value !== null) assert.equal(cell.value, value, `${id}`);
  }
  assert.equal(supervisor.state().name, 'ready');
  assert.equal((await guest.ask('start_embedded')).status, 'unsupported');
});

test('nvml: a lost device says so in its cells, a crash costs one reply, no driver has a name', { skip }, async () => {
  const lost = await start('lost');
  const samples = (await lost.guest.read(await lost.guest.open([150]))) as PlainSample[];
  assert.deepEqual(samples.map(({ status }) => status), [0, -18]);
  const crashed = await start('crash');
  assert.equal(await crashed.guest.read(await crashed.guest.open([150])), 'connection_lost');
  assert.equal(crashed.supervisor.state().name, 'library_crashed');
  for (const [code, status] of [[9, 'unavailable'], [4, 'permission_denied'], [18, 'insufficient_driver'], [999, 'connection_lost']] as const) {
    const refused = await start(`init-${code}`);
    assert.equal(await refused.guest.connect(), status, `${code}`);
    assert.equal(refused.supervisor.state().name, 'no_driver');
  }
});

test('the hardware lane reads what is there and says what is not', { skip, timeout: 90_000 }, async () => {
  const engine = new FakeEngine('gpus 2', 'links 2');
  const lane = fileURLToPath(new URL('../../runtime/bridge/hardware.ts', import.meta.url));
  const env = { ...process.env, VIGIL_NVML_LIBRARY: library!, VIGIL_DCGM_LIBRARY: fakeLibrary!, VIGIL_FAKE_DCGM: engine.path };
  const run = (environment: NodeJS.ProcessEnv) => spawnSync(process.execPath, ['--import', 'tsx', lane, '--rounds', '2'], { encoding: 'utf8', env: environment });
  const full = run(env);
  assert.equal(full.status, 0, full.stderr);
  const { sources } = JSON.parse(full.stdout) as { sources: { ok: boolean; cells: number; values: number; fields: { status: number; value: string | null }[]; stopMs: number }[] };
  assert.deepEqual(sources.map(({ ok }) => ok), [true, true, true]);
  for (const source of sources) {
    assert.equal(source.fields.filter(({ status }) => status === 0).length, source.values);
    assert.equal(source.fields.length, source.cells);
    assert.ok(source.values > 0 && source.stopMs < 1000);
  }
  const none = run({ ...env, VIGIL_NVML_LIBRARY: '/nonexistent.so', VIGIL_DCGM_LIBRARY: '/nonexistent.so' });
  assert.equal(none.status, 3);
  assert.match(none.stdout, /library_absent/);
});

const INSTANT = { sleep: async () => undefined, intervalMs: 1000 };

test('record: what was recorded replays to the last bit; identities hashed by a salt, the same again', async () => {
  let nowUs = 1_700_000_000_000_000n;
  const record = (salt?: string) => {
    const source = new ScriptedSource('a100-mig', 'steady', () => 0);
    return recordCapture(new BridgeClient(new LocalAnswerer(source)), { ...INSTANT, frames: 2, salt, nowUs: () => (nowUs += 1_000_000n) });
  };
  const capture = await record();
  const path = join(folder, 'capture.json');
  writeFileSync(path, renderCapture(capture));
  assert.deepEqual(JSON.parse(JSON.stringify(capture)), loadCapture(path));
  const ids = [...new Set(capture.samples.map(({ fieldId }) => fieldId))].slice(0, 100);
  const read = async (source: ScriptedSource | ReplaySource) => {
    const client = new BridgeClient(new LocalAnswerer(source));
    await client.connect();
    await client.enumerate();
    const samples = await client.latestValues(await client.watch({ updateUs: 1_000_000n, keepS: 30, fieldIds: ids, entities: [] }));
    return samples.map(({ tsUs: _, ...rest }) => rest);
  };
  assert.deepEqual(await read(new ReplaySource(loadCapture(path), () => 0)), await read(new ScriptedSource('a100-mig', 'steady', () => 0)));
  const [one, two, other] = [await record('pepper'), await record('pepper'), await record('salt')];
  const names = (of: typeof one) => of.entities.map(({ uuid, bdf }) => [uuid, bdf]);
  assert.deepEqual(names(one), names(two));
  assert.notDeepEqual(names(one), names(other));
  const text = renderCapture(one);
  for (const { uuid, bdf } of capture.entities) {
    if (uuid.startsWith('GPU-')) assert.ok(!text.includes(uuid.split('/')[0]!), uuid);
    if (bdf !== '') assert.ok(!text.includes(bdf), bdf);
  }
  assert.equal(new Set(one.entities.map(({ uuid }) => uuid)).size, one.entities.length);
  assert.ok(one.entities.some(({ uuid }) => /^hashed-[0-9a-f]{24}\/gi7\/ci0$/.test(uuid)));
  assert.match(one.provenance, /identities are hashed/);
});

test('record: bounds', async () => {
  const client = () => new BridgeClient(new LocalAnswerer(new ScriptedSource('consumer')));
  for (const frames of [0, limit('capture_frames_max') + 1]) {
    await assert.rejects(recordCapture(client(), { ...INSTANT, frames, nowUs: () => 1n }), RangeError);
  }
});

test('sources: each tried, and said honestly', { skip }, async () => {
  const engine = new FakeEngine('gpus 2');
  const without = await probeSources({ fixture: defaultFixture, library: '/nonexistent.so' });
  assert.deepEqual(without.filter(({ usable }) => usable).map(({ source }) => source), ['replay']);
  assert.match(renderProbes(without), /^dcgm \[dcgm\] {4}not usable: library_absent/m);
  process.env['VIGIL_DCGM_LIBRARY'] = fakeLibrary!;
  process.env['VIGIL_NVML_LIBRARY'] = library!;
  try {
    const found = await probeSources({ fixture: defaultFixture, endpoint: engine.endpoint });
    assert.deepEqual(found.filter(({ usable }) => usable).map(({ source }) => source), ['dcgm', 'replay', 'nvml']);
    assert.match(renderProbes(found), /^dcgm \[dcgm\] {4}usable: 2 GPUs/m);
    const chosen = await makeAnswerer({ fixture: defaultFixture, endpoint: engine.endpoint });
    assert.equal(chosen.label, 'dcgm');
    await chosen.stop();
    engine.set('engine_down 1');
    const second = await makeAnswerer({ fixture: defaultFixture, endpoint: engine.endpoint });
    assert.equal(second.label, 'nvml', 'auto looks further');
    await second.stop();
    const named = await makeAnswerer({ source: 'dcgm', fixture: defaultFixture, endpoint: engine.endpoint });
    assert.equal(named.label, 'dcgm', 'a source that was named is kept');
    await named.stop();
  } finally {
    delete process.env['VIGIL_DCGM_LIBRARY'];
    delete process.env['VIGIL_NVML_LIBRARY'];
  }
  await assert.rejects(makeAnswerer({ source: 'dcgm', endpoint: 'nonsense' }), /endpoint: "nonsense"/);
  await assert.rejects(makeAnswerer({ source: 'replay', fixture: defaultFixture, fleet: 'h100x8' }), /not both/);
});
