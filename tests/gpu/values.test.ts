// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that a sample becomes a point only when it is a value: blanks of every kind, not a number, stale, of another type, from
// the future, unknown; each counted under its name, and none of them changes anything.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from '../../runtime/bridge/source.js';
import { NOW_US, TALLY, newGuest, type Tally } from './guest.js';
import { gpu, guestOf, link, sample } from './nodes.js';

const [INT, DOUBLE] = [105, 100];
const board = gpu(0);
const KINDS = ['values', 'blanks', 'unsupported', 'denied', 'stale', 'errors', 'bad', 'homeless'] as const;

/** Under which name a lone sample is counted. */
function verdict(one: Sample, wallUs = NOW_US): string {
  const tally = guestOf([board, link(0, board)]).scrape([one], wallUs);
  assert.equal(tally.samples, 1);
  const counted = KINDS.filter((kind) => tally[kind] > 0);
  assert.equal(KINDS.reduce((sum, kind) => sum + tally[kind], 0), 1, 'a sample is counted once');
  assert.equal(tally.series, counted[0] === 'values' ? 1 : 0);
  return counted[0]!;
}
const int = (value: bigint, more: Partial<Sample> = {}): string => verdict(sample(board, 150, value, more));
const double = (value: number, more: Partial<Sample> = {}): string => verdict(sample(board, 155, value, more));

test('blanks are finite numbers, and come with status 0 too', () => {
  const kinds = ['blanks', 'blanks', 'unsupported', 'denied'];
  assert.deepEqual([0n, 1n, 2n, 3n].map((k) => int(0x7ffffffffffffff0n + k)), kinds);
  assert.deepEqual([0n, 1n, 2n, 3n].map((k) => int(0x7ffffff0n + k)), kinds, 'the 32-bit blank in a 64-bit field');
  assert.deepEqual([0, 1, 2, 3].map((k) => double(2 ** 47 + k)), kinds);
  assert.deepEqual([4n, 15n].map((k) => int(0x7ffffffffffffff0n + k)), ['blanks', 'blanks'], 'compared with >=');
  assert.deepEqual([double(2 ** 47 + 4), double(2 ** 50), double(1e300)], ['blanks', 'blanks', 'blanks']);
  assert.deepEqual([int(0x7fffffefn), int(0x7ffffff4n)], ['values', 'values'], 'the neighbours of the 32-bit blanks are values');
  assert.equal(double(2 ** 47 - 1), 'values');
});

test('not a number and infinities never, whatever the status', () => {
  for (const value of [NaN, Infinity, -Infinity]) for (const status of [0, -14]) assert.equal(double(value, { status }), status === 0 ? 'bad' : 'blanks');
});

test('the engine\'s status by its meaning', () => {
  const by: [string, number[]][] = [['blanks', [-9, -14, -16]], ['stale', [-15]], ['unsupported', [-6, -13, -20, -32, -34, -36, -37, -38]],
    ['denied', [-17, -29]], ['errors', [-1, -3, -5, -18, -21, -22, -45, -46, -48, -67, 1, -2_147_483_648]]];
  for (const [kind, codes] of by) for (const status of codes) assert.equal(int(40n, { status }), kind, `status ${status}`);
  const gone = (status: number): number => guestOf([board]).scrape([sample(board, 150, 1, { status })]).gone;
  assert.deepEqual([-5, -18, -22, -45, -46, -3].map(gone), [1, 1, 1, 1, 1, 0]);
});

test('type, sign, range and time at their edges', () => {
  assert.equal(int(40n, { type: DOUBLE, value: 40 }), 'bad', 'another type than the field\'s');
  assert.equal(double(40, { type: INT, value: 40n }), 'bad');
  assert.equal(int(40n, { type: 115 }), 'bad', 'a string');
  assert.deepEqual([int(-5n), int(0n)], ['values', 'values'], 'a temperature may be below zero');
  assert.deepEqual([verdict(sample(board, 310, -1)), verdict(sample(board, 1009, -1)), verdict(sample(board, 230, -1))], ['bad', 'bad', 'bad']);
  assert.deepEqual([verdict(sample(board, 230, 0xffffffffn)), verdict(sample(board, 230, 0x100000000n))], ['values', 'bad'], 'codes are of 32 bits');
  // 9.0e18 after scaling: clocks are in MHz.
  assert.deepEqual([verdict(sample(board, 100, 9_000_000_000_000n)), verdict(sample(board, 100, 9_000_000_000_001n))], ['values', 'bad']);
  assert.deepEqual([0n, -1n].map((tsUs) => int(40n, { tsUs })), ['bad', 'bad'], 'without a time');
  // Two intervals of 15 s and 10 s.
  const aged = (us: bigint): string => int(40n, { tsUs: NOW_US - us });
  assert.deepEqual([aged(40_000_000n), aged(40_000_001n)], ['values', 'stale']);
  assert.deepEqual([aged(-10_000_000n), aged(-10_000_001n)], ['values', 'bad'], 'from the future');
  assert.equal(verdict(sample(board, 230, 79, { tsUs: NOW_US - 86_400_000_000n })), 'values', 'an event is never stale');
});

test('staleness follows the interval', () => {
  const guest = guestOf([board]);
  assert.equal(guest.intervalMs(1000), true);
  const stale = (us: bigint): number => guest.scrape([sample(board, 150, 1, { tsUs: NOW_US - us })]).stale;
  assert.deepEqual([stale(12_000_000n), stale(12_000_001n)], [0, 1]);
  assert.equal(guest.call('interval', 0n), 0, 'no interval of nothing');
  assert.equal(stale(12_000_001n), 1, 'and nothing was changed');
});

test('a sample of another kind than the field\'s is bad', () => {
  const guest = guestOf([board]);
  const record = Buffer.alloc(32);
  record.writeUInt8(1, 0);
  record.writeUInt8(INT, 1);
  record.writeUInt16LE(1009, 2);
  record.writeBigInt64LE(NOW_US, 16);
  for (const [kind, bad] of [[0, 1], [1, 1], [2, 0], [3, 1], [4, 1], [0xffffffff, 1]] as const) {
    record.writeUInt32LE(kind, 12);
    guest.begin();
    guest.takeRaw(record);
    assert.equal(guest.end().bad, bad, `kind ${kind}`);
  }
});

test('no bad sample changes a series: with and without them, the bytes are the same', () => {
  const good = (second: bigint): Sample[] => [1009, 310, 230, 150, 156].map((field) =>
    sample(board, field, 100n + second, { tsUs: NOW_US + second * 1_000_000n, ...(field === 230 ? { value: 43n, tsUs: NOW_US } : {}) }));
  const bad: Sample[] = [1009, 310, 230, 156, 150].flatMap((field) => [
    sample(board, field, 5, { status: -14 }), sample(board, field, 0x7ffffffffffffff0n), sample(board, field, 5, { type: DOUBLE, value: NaN }),
    sample(board, field, 5, { tsUs: -1n }), sample(board, field, 5, { tsUs: NOW_US + 3_600_000_000n }), sample(gpu(9), field, 5),
    sample({ group: 2, id: 0 }, field, 5), sample({ group: 255, id: 0 }, field, 5), sample(board, field, -3, { tsUs: 0n }),
  ]);
  const run = (extra: Sample[]): [Buffer[], Tally] => {
    const guest = guestOf([board]);
    let tally = guest.scrape([]);
    for (let second = 0n; second < 5n; second++) tally = guest.scrape([...extra, ...good(second), ...extra], NOW_US + second * 1_000_000n);
    return [guest.parts(), tally];
  };
  const [[clean], [dirty, tally]] = [run([]), run(bad)];
  assert.deepEqual(dirty, clean);
  assert.equal(tally.values, 5);
  assert.equal(TALLY.slice(1, 9).reduce((sum, name) => sum + tally[name], 0), tally.samples);
});

test('the same cell twice in a scrape: the first stands', () => {
  const guest = guestOf([board]);
  for (const [field, first, second] of [[150, 40, 50], [310, 3, 4], [1523, 0, 1]] as const) {
    const tally = guest.scrape([sample(board, field, first), sample(board, field, second)]);
    assert.deepEqual([tally.values, tally.bad, tally.series], [1, 1, 1], `field ${field}`);
  }
});

test('texts of entities are cleaned and cut; a UUID that cannot be a label is malformed', () => {
  const guest = newGuest();
  const clean = (text: string, max = 256): string => guest.clean(Buffer.from(text, 'latin1'), max);
  assert.deepEqual([clean(''), clean('NVIDIA H100'), clean('\x00a\x1fb\x7f\n\tc'), clean('\xe9t\xe9'), clean('\x01\x02')], ['', 'NVIDIA H100', 'abc', '?t?', '']);
  assert.deepEqual([clean('x'.repeat(255)).length, clean('x'.repeat(256)).length, clean('x'.repeat(257)).length, clean('x'.repeat(3000)).length], [255, 256, 256, 256]);
  assert.equal(clean(`\x00${'y'.repeat(300)}`).length, 256, 'cut after cleaning');
  assert.equal(clean('abcdef', 3), 'abc');
  const record = (uuid: string, model = 'm'): Buffer => Buffer.concat([Buffer.from([1, uuid.length, model.length, 0, 0, 0, 0, 0, 9, 0, 0, 0]), Buffer.from(uuid + model, 'latin1')]);
  const take = (bytes: Buffer): number => { guest.call('beginEnumeration'); return guest.takeEntities(bytes); };
  assert.equal(take(record('GPU-\x00\x1b1', 'a\x07b')), 1);
  guest.call('endEnumeration');
  assert.deepEqual([guest.entityText(1, 9, 'uuid'), guest.entityText(1, 9, 'model')], ['GPU-1', 'ab']);
  for (const bad of [record(''), record('\x01\x02'), record('a b'), record('a=b'), record('GPU-1').subarray(0, 14), Buffer.from([1])]) assert.equal(take(bad), -1);
  const long = record('u'.repeat(255), 'm'.repeat(255));
  assert.equal(take(long), 1);
  guest.call('endEnumeration');
  assert.equal(guest.entityText(1, 9, 'model').length, 255);
});
