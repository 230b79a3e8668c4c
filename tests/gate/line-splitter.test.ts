// SPDX-License-Identifier: Apache-2.0
// The splitter: line ends, caps, the time prefix, and that no cut of the stream changes its lines.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LINE_BYTES_MAX, LineSplitter, guestTime, printable, splitPrefix } from '../../scripts/gate/line-splitter.js';
import { property } from './random.js';

const texts = (splitter: LineSplitter, input: string): string[] => splitter.push(Buffer.from(input)).map((line) => line.bytes.toString());

test('a line ends at its line feed and loses the carriage returns that a terminal added', () => {
  const splitter = new LineSplitter();
  assert.deepEqual(texts(splitter, 'one\r\ntwo\r\r\nth'), ['one', 'two']);
  assert.deepEqual(texts(splitter, 'ree\n\n'), ['three', '']);
  assert.equal(splitter.flush(), null);
});

test('a carriage return inside a line stays', () => {
  assert.deepEqual(texts(new LineSplitter(), 'a\rb\n'), ['a\rb']);
});

test('a UTF-8 character cut between two reads is one character', () => {
  const splitter = new LineSplitter();
  const bytes = Buffer.from('[00000.000000001] gr\u00fc\u00df\n');
  const lines = [...bytes].flatMap((byte) => splitter.push(Buffer.from([byte])));
  assert.equal(splitPrefix(lines[0]!).text, 'gr\u00fc\u00df');
});

test('a line at the cap is whole, one byte more is marked and counted', () => {
  const splitter = new LineSplitter();
  const [whole] = splitter.push(Buffer.from(`${'x'.repeat(LINE_BYTES_MAX)}\n`));
  assert.deepEqual([whole!.bytes.length, whole!.dropped], [LINE_BYTES_MAX, 0]);
  const [cut] = splitter.push(Buffer.from(`${'x'.repeat(LINE_BYTES_MAX + 1)}\n`));
  assert.deepEqual([cut!.bytes.length, cut!.dropped], [LINE_BYTES_MAX, 1]);
  const [next] = splitter.push(Buffer.from('next\n'));
  assert.deepEqual([next!.bytes.toString(), next!.dropped], ['next', 0]);
});

test('what is left without a line feed is given once, marked incomplete', () => {
  const splitter = new LineSplitter();
  splitter.push(Buffer.from('a\nrest'));
  const rest = splitter.flush();
  assert.deepEqual([rest!.bytes.toString(), rest!.complete], ['rest', false]);
  assert.equal(splitter.flush(), null);
});

test('only the kernel prefix in its exact form is split off', () => {
  const split = (text: string): { text: string; guestNs: number | null } => {
    const { text: after, guestNs } = splitPrefix({ bytes: Buffer.from(text), dropped: 0, complete: true });
    return { text: after, guestNs };
  };
  assert.deepEqual(split('[00001.000000002] init: start'), { text: 'init: start', guestNs: 1_000_000_002 });
  assert.deepEqual(split('[100000.000000000] x'), { text: 'x', guestNs: 1e14 });
  for (const bad of ['[0001.000000002] x', '[00001.00000002] x', '[00001.000000002]x', ' [00001.000000002] x', '(00001.000000002) x']) {
    assert.deepEqual(split(bad), { text: bad, guestNs: null });
  }
});

test('guest time prints as it is read', () => {
  for (const ns of [0, 1, 999_999_999, 1_000_000_000, 12_345_678_901_234]) {
    const { guestNs } = splitPrefix({ bytes: Buffer.from(`[${guestTime(ns)}] x`), dropped: 0, complete: true });
    assert.equal(guestNs, ns);
  }
});

test('printable spells control characters and bounds the length', () => {
  assert.equal(printable('\x1b[31mred\x07'), '\\x1b[31mred\\x07');
  assert.match(printable('y'.repeat(300)), /^y{240}\.\.\. \(300 characters\)$/);
});

test('property: cutting the stream anywhere gives the same lines, and no byte is lost or made', () => {
  property('splitter', 300, (random) => {
    const parts: Buffer[] = [];
    for (let n = random.below(20); n >= 0; n--) {
      const length = random.below(8) === 0 ? LINE_BYTES_MAX - 2 + random.below(6) : random.below(40);
      const line = Buffer.alloc(length, 0).map(() => random.pick([0x41, 0x0d, 0x1b, 0xc3, 0xa9, 0xff, 0x00, 0x20]));
      parts.push(Buffer.concat([line, Buffer.from(random.pick(['\n', '\r\n', '\r\r\n']))]));
    }
    const bytes = Buffer.concat(parts);
    const whole = new LineSplitter().push(bytes);
    const splitter = new LineSplitter();
    const cut: typeof whole = [];
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random.below(random.pick([3, 50, 5000]));
      cut.push(...splitter.push(bytes.subarray(at, end)));
      at = end;
    }
    assert.deepEqual(cut, whole);
    assert.equal(whole.length, parts.length);
    whole.forEach((line, index) => {
      const original = parts[index]!.subarray(0, -1);
      if (line.dropped > 0) assert.equal(line.bytes.length + line.dropped, original.length);
      else assert.equal(line.bytes.toString('latin1'), original.toString('latin1').replace(/\r+$/, ''));
    });
  });
});
