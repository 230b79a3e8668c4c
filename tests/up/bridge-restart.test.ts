// SPDX-License-Identifier: Apache-2.0
// A bridge that ends and is started anew: QEMU comes back to its socket by itself, the receiver opens a new session, and the guest goes
// on without a reboot. With the real QEMU and the shipping image.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startReplayBridge, VIEW_RECEIVER_CONFIG } from '../../runtime/bridge/index.js';
import type { BridgeServer } from '../../runtime/bridge/server.js';
import { skip, start, until } from '../bridge/running-image.js';

const DOWN_MS = 2_500;

test('a bridge that is started anew is found again, twice', { skip, timeout: 180_000 }, async () => {
  let path = '';
  const make = (socketPath: string): Promise<BridgeServer> => {
    path = socketPath;
    return startReplayBridge({ socketPath, receiverConfig: VIEW_RECEIVER_CONFIG });
  };
  let bridge: BridgeServer | null = null;
  const image = await start(async (socketPath) => (bridge = await make(socketPath)));
  const port = async (): Promise<{ connected: boolean; connections: bigint }> =>
    (await image.control.status()).ports.find(({ name }) => name === 'org.vigil.dcgm')!;
  try {
    const served = (): Promise<true> => until('a scrape', async () => (bridge!.counters.requests > 5 ? true : null));
    await served();
    for (let round = 1n; round <= 2n; round++) {
      await bridge!.close();
      await sleep(DOWN_MS);
      assert.equal((await port()).connected, false, 'the guest sees that nobody is there');
      bridge = await make(path);
      await until('the connection', async () => ((await port()).connected ? true : null));
      await served();
      assert.equal((await port()).connections, round + 1n);
    }
    assert.equal(image.console().match(/kernel: boot /g)?.length, 1, 'one boot');
    assert.doesNotMatch(image.console(), /FAIL|PANIC|trap/);
  } finally {
    await image.stop();
    await bridge?.close();
  }
});
