// SPDX-License-Identifier: Apache-2.0
// Owns: the proof on the real machine that a running image (profile=run, real time) scrapes the bridge by itself and answers the
// host's questions on the control port. Needs a built image and QEMU; skipped by name without them (the gate covers profile=proof).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ControlError, LogRecord } from '../../runtime/bridge/control.js';
import { VIEW_RECEIVER_CONFIG, startBridge } from '../../runtime/bridge/index.js';
import { FakeEngine, fakeLibrary } from './fake-dcgm.js';
import { gpuSeries, journal, skip, start, until } from './running-image.js';

const scrapesIn = (records: readonly LogRecord[]): LogRecord[] =>
  records.filter(({ scope, message }) => scope === 'dcgmd' && message === 'gpu scrape');

type Series = Awaited<ReturnType<typeof gpuSeries>>;
/** Temperatures in the order of the GPUs. */
const temperatures = (rows: Series): number[] => rows.filter(({ name }) => name === 'hw.temperature')
  .sort((a, b) => Number(a.labels['hw.gpu.index']) - Number(b.labels['hw.gpu.index'])).map(({ value }) => Number(value));
/** The rows once there are `count` and every thermometer was set: a series is registered one frame before its first value. */
const measured = (rows: Series, count: number): Series | null =>
  (rows.length >= count && temperatures(rows).every((value) => value !== 0) ? rows : null);

test('profile run: the image scrapes by itself and the control port tells', { skip, timeout: 120_000 }, async () => {
  const image = await start();
  const { control } = image;
  try {
    const gpu = await until('30 series of dcgmd', async () => measured(await gpuSeries(control), 30));
    assert.equal(gpu.length, 30);
    assert.ok(gpu.every(({ labels }) => labels['source'] === 'replay'));
    assert.deepEqual(temperatures(gpu), [30, 29, 26, 29, 28, 26, 28, 26]);
    const scrapes = await until('two scrapes in the journal', async () => {
      const records = await journal(control);
      const ids = records.map(({ id }) => id);
      assert.deepEqual(ids, [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1)), 'every record once, in order');
      return scrapesIn(records).length >= 2 ? scrapesIn(records) : null;
    });
    assert.ok(scrapes.every(({ fields }) => fields.includes('source=replay')));
    const status = await control.status(['logd', 'dcgmd', 'nobody']);
    assert.deepEqual(status.services.map(({ registered }) => registered), [true, true, false]);
    assert.ok(status.ports.find(({ name }) => name === 'org.vigil.dcgm')!.connected);
    await assert.rejects(control.logs(0n, 0), (error: ControlError) => error.status === 'bad_request');
    assert.ok(!/FAIL|PANIC|trap/.test(image.console()), image.console());
  } finally {
    await image.stop();
  }
});

/** A scrape a second of five series a GPU. */
const FIVE_A_GPU = ['collection_interval_ms=1000', 'initial_delay_ms=0', 'field.140=disabled', 'group.nvswitch=disabled',
  ...['hw.temperature', 'hw.power', 'hw.energy', 'hw.gpu.memory.limit', 'hw.gpu.memory.copy.utilization'].map((name) => `include=${name}`),
  'group.memory_copy=enabled'].map((line) => `${line}\n`).join('');
const noFake = fakeLibrary === null ? 'no C compiler (cc)' : false;
test('profile run, recipe gpu: metricsd takes every series of a whole node of eight H100, and nothing is lost', { skip, timeout: 120_000 }, async () => {
  const image = await start((socketPath) => startBridge({ socketPath, source: 'replay', fleet: 'h100x8', receiverConfig: VIEW_RECEIVER_CONFIG }), { recipe: 'gpu' });
  const { control } = image;
  try {
    const summary = await until('two scrapes of a whole node', async () => {
      const seen = scrapesIn(await journal(control));
      return seen.length >= 2 ? new Map(seen.at(-1)!.fields.split('\n').map((line) => line.split('=') as [string, string])) : null;
    });
    const series = Number(summary.get('series'));
    assert.ok(series > 400, String(series));
    assert.deepEqual([summary.get('dropped'), summary.get('errors'), summary.get('stale')], ['0', '0', '0']);
    const gpu = await until('all its series', async () => { const rows = await gpuSeries(control); return rows.length >= series ? rows : null; });
    assert.equal(gpu.length, series);
    const records = await journal(control);
    assert.deepEqual(records.filter(({ scope, message }) => scope === 'dcgmd' && message === 'gpu failure'), []);
    assert.ok(!/FAIL|PANIC|trap/.test(image.console()), image.console());
  } finally {
    await image.stop();
  }
});

test('profile run over libdcgm (ours, through koffi): labelled dcgm; the engine goes and comes back', { skip: skip === false ? noFake : skip, timeout: 180_000 }, async () => {
  const engine = new FakeEngine('gpus 3');
  const image = await start((socketPath) => startBridge({ socketPath, source: 'dcgm', endpoint: engine.endpoint,
    library: fakeLibrary!, receiverConfig: FIVE_A_GPU }));
  const { control } = image;
  const scrapes = async (): Promise<number> => scrapesIn(await journal(control)).length;
  try {
    const gpu = await until('15 series of dcgmd', async () => measured(await gpuSeries(control), 15));
    assert.equal(gpu.length, 15);
    assert.ok(gpu.every(({ labels }) => labels['source'] === 'dcgm'));
    assert.deepEqual(temperatures(gpu), [150_010_000, 150_010_001, 150_010_002]);
    engine.set('gpus 3', 'engine_down 1');
    const down = engine.count('dcgmConnect_v2');
    await until('an attempt to connect', async () => (engine.count('dcgmConnect_v2') > down ? true : null));
    const before = await scrapes();
    engine.set('gpus 3');
    await until('scrapes again', async () => ((await scrapes()) >= before + 2 ? true : null));
    assert.ok(!/FAIL|PANIC|trap/.test(image.console()), image.console());
  } finally {
    await image.stop();
  }
});
