// SPDX-License-Identifier: Apache-2.0
// image/services.toml: what it may say, and that everything else is refused by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'smol-toml';
import { fnv1a64, loadAbi } from '../../scripts/lib/abi.js';
import { loadServices, modulesOf, readServices } from '../../scripts/lib/services.js';

const ABI = loadAbi();
const read = (text: string) => readServices(parse(text), ABI, () => true);
const entry = (name: string, more = ''): string => `[[service]]\nname = "${name}"\nmemory_pages = 2\n${more}\n`;

test('the list of this tree is accepted, with the edges that the kernel enforces', () => {
  const services = loadServices();
  const by = (name: string) => services.find((service) => service.name === name)!;
  assert.deepEqual(by('logd').calls, [], 'logd waits on nobody');
  assert.deepEqual(by('policyd').calls, [], 'policyd waits on nobody');
  assert.equal(by('init-lite').index, 0, 'the kernel starts entry 0');
  assert.equal(by('init-lite').calls.length, services.length - 1);
  for (const { name, id } of services) assert.equal(id, fnv1a64(name));
});

test('FNV-1a 64 agrees with published vectors', () => {
  assert.equal(fnv1a64(''), 0xcbf29ce484222325n);
  assert.equal(fnv1a64('a'), 0xaf63dc4c8601ec8cn);
  assert.equal(fnv1a64('foobar'), 0x85944171f73967e8n);
});

test('a cycle of blocking edges is refused and named in full', () => {
  const text = entry('a', 'calls = ["b"]') + entry('b', 'calls = ["c"]') + entry('c', 'calls = ["a"]') + entry('d');
  assert.throws(() => read(text), /calls form a cycle: a -> b -> c -> a/);
  assert.throws(() => read(entry('a', 'calls = ["*"]') + entry('b', 'calls = ["a"]')), /cycle: a -> b -> a/);
  assert.throws(() => read(entry('a', 'calls = ["a"]')), /calls itself/);
  const diamond = entry('a', 'calls = ["b", "c"]') + entry('b', 'calls = ["d"]') + entry('c', 'calls = ["d"]') + entry('d');
  assert.equal(read(diamond).length, 4);
});

const REFUSED: [string, string, RegExp][] = [
  ['an unknown key', entry('a', 'memmory = 3'), /a: unknown key "memmory"/],
  ['an unknown slot', entry('a', 'slots = ["nobody"]'), /unknown slot "nobody"/],
  ['a slot that follows from another key', entry('a', 'slots = ["device0"]'), /slot "device0" follows from other keys/],
  ['an unknown privilege', entry('a', 'privileges = ["root"]'), /unknown privilege "root"/],
  ['an unknown device', entry('a', 'devices = ["net"]'), /unknown device "net"/],
  ['a call to nobody', entry('a', 'calls = ["b"]'), /calls unknown service "b"/],
  ['a repeated call', entry('a', 'calls = ["b", "b"]') + entry('b'), /names "b" twice/],
  ['a name twice', entry('a') + entry('a'), /service "a" appears twice/],
  ['a bad name', entry('A'), /a name is/],
  ['a bad start', entry('a', 'start = "later"'), /start must be boot or exec/],
  ['too much memory', entry('a').replace('= 2', '= 257'), /"memory_pages" = 257 is outside 1..256/],
  ['a maximum below the start', entry('a', 'memory_pages_max = 1'), /"memory_pages_max" = 1 is outside 2..256/],
  ['a stack that is no page', entry('a', 'stack_bytes = 5000'), /multiple of 4096/],
  ['too deep an endpoint', entry('a', 'depth = 65'), /outside 1..64/],
  ['a text for a number', entry('a', 'depth = "8"'), /"depth" must be an integer/],
  ['damage to a boot service', entry('a', 'corrupt = "wasm_digest"'), /only an exec entry may be corrupt/],
  ['unknown damage', entry('a', 'start = "exec"\ncorrupt = "rust"'), /unknown damage "rust"/],
  ['instances that disagree', entry('a', 'module = "m"') + entry('b', 'module = "m"').replace('= 2', '= 3'), /memory pages differ/],
];
for (const [what, text, message] of REFUSED) {
  test(`${what} is refused`, () => {
    assert.throws(() => read(text), message);
  });
}

test('more services than the limit are refused', () => {
  const max = ABI.limits.get('kernel')!.get('services_max')!;
  const list = (count: number): string => Array.from({ length: count }, (_, i) => entry(`s${i}`)).join('');
  assert.equal(read(list(max)).length, max);
  assert.throws(() => read(list(max + 1)), /at most/);
});

test('two instances of one module share one module record', () => {
  const services = read(entry('a', 'module = "twin"') + entry('b', 'module = "twin"') + entry('c'));
  const modules = modulesOf(services, (path) => path);
  assert.deepEqual(modules.map(({ path, index }) => [path, index]), [['twin', 0], ['c', 1]]);
});

test('implied slots: self always, device0 with a device, log_query with its key', () => {
  const [plain, full] = read(entry('a') + entry('b', 'slots = ["logd"]\ndevices = ["rng"]\nlog_query = true'));
  assert.equal(plain!.slotsMask, 1 << 1);
  assert.equal(full!.slotsMask, (1 << 1) | (1 << 5) | (1 << 7) | (1 << 8));
});
