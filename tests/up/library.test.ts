// SPDX-License-Identifier: Apache-2.0
// The vendor's library under `vigil up`: its process killed, its engine gone and back. Each is a named state and not ready; each is
// overcome without a reboot of the guest. Through koffi, a real child process, the real QEMU and our own small libdcgm.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FakeEngine, fakeLibrary } from '../bridge/fake-dcgm.js';
import { childrenOf, skip, startUnderTest, until, valueOf, type UnderTest } from './machine-under-test.js';

const noFake = fakeLibrary === null ? 'no C compiler (cc)' : false;
const ready = (up: UnderTest): Promise<true> => until('ready', async () => ((await up.page('-/ready')).status === 200 ? true : null));

test('the library process is killed, the engine goes and comes back: not ready, named, and recovered', { skip: skip === false ? noFake : skip, timeout: 180_000 }, async () => {
  const engine = new FakeEngine('gpus 3');
  const up = await startUnderTest({ more: `[source]\nkind = "dcgm"\nlibrary = ${JSON.stringify(fakeLibrary)}`, dcgm: `endpoint = ${JSON.stringify(engine.endpoint)}` });
  try {
    const { pid: qemu } = await up.event('up');
    await ready(up);
    const { body } = await up.page('metrics');
    assert.ok(/^hw_temperature_celsius\{.*source="dcgm"/m.test(body), body.slice(0, 500));
    assert.equal(valueOf(body, 'vigil_source_up', 'source="dcgm"'), 1);
    const library = childrenOf().filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('library/child.'));
    assert.equal(library.length, 1);
    process.kill(library[0]!, 'SIGKILL');
    const down = await until('a named state', async () => {
      const page = await up.page('-/ready');
      return page.status === 503 ? page.body : null;
    });
    assert.match(down, /the dcgm source is (library_crashed|starting)/);
    await ready(up);
    engine.set('gpus 3', 'engine_down 1');
    assert.match(await until('a named state', async () => {
      const page = await up.page('-/ready');
      return page.status === 503 ? page.body : null;
    }), /the dcgm source is engine_\w+/);
    engine.set('gpus 3');
    await ready(up);
    assert.deepEqual([up.machine.supervisor.lifecycle.boots, up.machine.supervisor.pid], [1, qemu], 'one boot');
  } finally {
    await up.stop();
  }
});
