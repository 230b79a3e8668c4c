// SPDX-License-Identifier: Apache-2.0
// The page of a whole machine: the image under QEMU with a kept disk, a scripted node, the exporter's `/` with the history that metricsd
// kept. Needs a built image and QEMU; skipped by name without them.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseConfig } from '../../runtime/config/load.js';
import { receiverLines } from '../../runtime/config/receiver.js';
import { startMachine } from '../../runtime/up/machine.js';
import { skip } from '../bridge/running-image.js';
import { Document } from './document.js';

const PATIENCE_MS = 60_000;

test('a running node: its GPU, what metricsd kept of it, the receiver, the guest', { skip, timeout: 3 * PATIENCE_MS }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vigil-page-'));
  const loaded = parseConfig(`[source]
kind = "replay"
fleet = "consumer"
[receivers.dcgm]
collection_interval = "1s"
[exporters.prometheus]
listen = "127.0.0.1:0"
[guest]
state = "${dir}/state.img"
export_interval = "1s"
`);
  assert.ok('config' in loaded, JSON.stringify(loaded));
  const machine = await startMachine(loaded.config, { receiverLines: receiverLines(loaded.config) });
  try {
    const end = performance.now() + PATIENCE_MS;
    let document = new Document(await (await fetch(machine.exporter.url)).text());
    const history = (): string[][] => document.table('The last 5 min in windows of 10 s')?.rows ?? [];
    while (history().length < 4 || !document.text.includes('Ready: fresh samples')) {
      assert.ok(performance.now() < end, document.text);
      await sleep(1_000);
      document = new Document(await (await fetch(machine.exporter.url)).text());
    }
    assert.match(document.text, /Source: REPLAY\..*They are NOT measurements of this machine/);
    assert.match(document.text, /Guestup, booted 1 time/);
    const [gpu] = document.table('GPUs, their instances')!.rows;
    assert.deepEqual([gpu![0], gpu![1]], ['GPU 0', 'replay']);
    for (const cell of gpu!.slice(3, 7)) assert.match(cell, /\d/);
    assert.deepEqual(history().map(([device, metric]) => `${device} ${metric}`), [
      'GPU 0 hw.gpu.utilization hw.gpu.task=general', 'GPU 0 hw.gpu.memory.usage hw.gpu.memory.state=used', 'GPU 0 hw.power', 'GPU 0 hw.temperature hw.sensor_location=gpu',
    ]);
    for (const row of history()) for (const cell of row.slice(3, 7)) assert.match(cell, /^\d.* (%|GiB|W|°C)$/);
    const watts = (cell: string): number => Number(cell.replace(' W', ''));
    const power = history().find(([, metric]) => metric === 'hw.power')!;
    const exported = watts(gpu![5]!);
    assert.ok(Math.abs(watts(power[4]!) - exported) < 0.2 * exported, `history ${power[4]}, exported ${exported} W: the same unit`);
    const samples = document.table('What became of samples')!.rows.find(([status]) => status === 'ok');
    assert.ok(Number(samples![1]) > 0);
  } finally {
    await machine.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});
