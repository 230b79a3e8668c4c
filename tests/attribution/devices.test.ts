// SPDX-License-Identifier: Apache-2.0
// Device ids of kubelets and schedulers, and which of our entities they reach.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keysOfDevice, keysOfEntity, parseDeviceId } from '../../runtime/attribution/devices.js';

const UUID = 'GPU-5c819ed0-0000-0000-0000-000000000003';
const BARE = UUID.slice(4);
const entity = (...pairs: [string, string | number][]): Map<string, string | number> => new Map([['hw.type', 'gpu'], ...pairs]);
const gpu = entity(['hw.id', UUID], ['hw.gpu.index', 3], ['hw.gpu.pci.bdf', '00000000:4B:00.0']);
const instance = entity(['hw.id', `${UUID}/gi7`], ['hw.gpu.mig.instance_id', 7], ['hw.gpu.index', 3]);
const other = entity(['hw.id', `${UUID}/gi8`], ['hw.gpu.mig.instance_id', 8], ['hw.gpu.index', 3]);
const compute = entity(['hw.id', `${UUID}/gi7/ci0`], ['hw.gpu.mig.instance_id', 7], ['hw.gpu.mig.compute_instance_id', 0]);
const compute1 = entity(['hw.id', `${UUID}/gi7/ci1`], ['hw.gpu.mig.instance_id', 7], ['hw.gpu.mig.compute_instance_id', 1]);
const names = { gpu, instance, other, compute, compute1 };

/** The entities that an id reaches. */
function reached(id: string): string[] | 'mig' | 'unknown' {
  const said = parseDeviceId(id);
  if ('migUuid' in said) return 'mig';
  if ('unknown' in said) return 'unknown';
  const keys = new Set(keysOfDevice(said.device));
  return Object.entries(names).filter(([, attributes]) => keysOfEntity(attributes).some((key) => keys.has(key))).map(([name]) => name);
}

test('each way to write a device reaches its entity and no other', () => {
  const cases: [string, string[] | 'mig' | 'unknown'][] = [
    [UUID, ['gpu']], [UUID.toUpperCase().replace('GPU', 'GPU'), ['gpu']], [`${UUID}::0`, ['gpu']], [`${UUID}::19`, ['gpu']],
    [`MIG-${UUID}/7/0`, ['instance', 'compute']], [`MIG-${UUID}/7/1`, ['instance', 'compute1']], [`MIG-${UUID}/7/0::3`, ['instance', 'compute']],
    [`MIG-${BARE}`, 'mig'], [`MIG-${BARE}::2`, 'mig'],
    ['nvidia3', ['gpu']], ['nvidia3/gi7', ['instance', 'compute', 'compute1']], ['nvidia3/gi7/ci0', ['instance', 'compute']],
    ['nvidia3/vgpu4', ['gpu']], ['nvidia3/gi7/vgpu4', ['instance', 'compute', 'compute1']],
    ['nvidia4', []], ['nvidia3/gi9', []], ['0000:4b:00.0', ['gpu']], ['00000000:4B:00.0', ['gpu']], ['0001:4b:00.0', []],
    ['', 'unknown'], ['nvidia3/ci0', 'unknown'], ['nvidia', 'unknown'], ['nvidia3/gi', 'unknown'], [`${UUID}/7`, 'unknown'], ['GPU-1', 'unknown'], ['3', 'unknown'],
    [`${UUID}::`, 'unknown'], [`${UUID}::x`, 'unknown'], [`${UUID}\n`, 'unknown'], [`x${UUID}`, 'unknown'], ['MIG-GPU-1/2/3', 'unknown'], ['a'.repeat(129), 'unknown'],
    ['nvidia3333', 'unknown'], ['nvidia3/gi7777', 'unknown'], ['__proto__', 'unknown'], ['mlx5_0', 'unknown'],
  ];
  // An instance found by index needs the index among its attributes: the fixture's compute instances have a UUID alone.
  const byIndex = new Set(['nvidia3/gi7', 'nvidia3/gi7/ci0', 'nvidia3/gi7/vgpu4']);
  for (const [id, expected] of cases) {
    const seen = reached(id);
    const want = byIndex.has(id) ? (expected as string[]).filter((name) => !name.startsWith('compute')) : expected;
    assert.deepEqual(seen, want, id);
  }
});

test('entities without a GPU have no keys; odd numbers are no numbers', () => {
  assert.deepEqual(keysOfEntity(new Map([['hw.type', 'switch'], ['hw.id', 'nvswitch-0'], ['hw.switch.index', '0']])), []);
  assert.deepEqual(keysOfEntity(new Map()), []);
  assert.deepEqual(keysOfEntity(entity(['hw.gpu.index', 'x'])), []);
  assert.deepEqual(keysOfEntity(entity(['hw.gpu.index', -1])), []);
  assert.deepEqual(keysOfEntity(new Map<string, bigint | string>([['hw.gpu.index', 3n], ['hw.gpu.mig.instance_id', '7']])), ['index:3/gi7']);
});
