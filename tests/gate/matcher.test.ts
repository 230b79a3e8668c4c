// SPDX-License-Identifier: Apache-2.0
// The matcher on transcripts of the real ladder: the green run, and each way to go red.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readLadder } from '../../scripts/gate/ladder.js';
import { redClass, type Failure } from '../../scripts/gate/matcher.js';
import { failureTitle } from '../../scripts/gate/report.js';
import { property } from './random.js';
import { NONCE, consoleOf, haltLine, judge, prefix } from './transcript.js';

const ladder = readLadder('proof', 'modern');
const good = ladder.markers.map((marker) => marker.text);
const MIDDLE = Math.floor(good.length / 2);

/** Judges a console of these lines (with a halt line that fits them unless given) and returns the failure. */
function fails(texts: readonly string[], halt?: string | null, status = 0): Failure {
  const { matcher } = judge(ladder, consoleOf(texts, halt === undefined ? haltLine(texts) : halt), status);
  assert.notEqual(matcher.failure, null, 'expected a red run');
  assert.ok(failureTitle(matcher.failure!).length > 10);
  return matcher.failure!;
}

const insert = (index: number, text: string): string[] => [...good.slice(0, index), text, ...good.slice(index)];

test('a correct console is green: every marker once, each phase reported once, a halt line that agrees', () => {
  const { matcher, events } = judge(ladder, consoleOf(good));
  assert.equal(matcher.failure, null);
  assert.equal(matcher.halted, true);
  assert.deepEqual(matcher.seen.map(({ marker }) => marker.text), good);
  assert.deepEqual(events.filter((event) => event.kind === 'phase').map((event) => event.phase), ladder.phases);
  assert.equal(events.filter((event) => event.kind === 'halt').length, 1);
  assert.deepEqual(matcher.seen.map(({ uartLine }) => uartLine), good.map((_, index) => index + 1));
});

test('firmware output is not matched, even where it looks like a marker', () => {
  const { events } = judge(ladder, consoleOf(good));
  assert.ok(events.some((event) => event.kind === 'firmware' && event.text === 'logd: ready'));
});

test('each marker left out is missing, at that marker', () => {
  for (let index = 0; index < good.length; index++) {
    const failure = fails(good.filter((_, other) => other !== index));
    assert.equal(failure.expected!.index, index);
    assert.equal(failure.kind, index === good.length - 1 ? 'halt_early' : 'missing');
    assert.equal(redClass(failure), 'missing');
  }
});

test('two neighbours swapped are out of order, at each place', () => {
  for (let index = 0; index + 1 < good.length; index++) {
    const swapped = good.with(index, good[index + 1]!).with(index + 1, good[index]!);
    const failure = fails(swapped);
    const once = good.indexOf(good[index]!) === good.lastIndexOf(good[index]!);
    assert.deepEqual([failure.kind, failure.expected!.index], [once ? 'out_of_order' : 'missing', index]);
  }
});

test('each marker printed twice is a duplicate', () => {
  for (let index = 0; index < good.length; index++) {
    const later = good.includes(good[index]!, index + 1);
    const failure = fails(insert(index + 1, good[index]!));
    if (later) assert.equal(redClass(failure), 'missing');
    else assert.equal(failure.kind, good[index]!.startsWith('kernel: trap ') ? 'trap' : 'duplicate');
  }
});

test('an unlisted line is unexpected at every place, also one that only resembles a marker', () => {
  for (let index = 1; index < good.length; index++) assert.equal(fails(insert(index, 'logd: hello')).kind, 'unexpected');
  for (const near of [`${good[MIDDLE]} `, ` ${good[MIDDLE]}`, good[MIDDLE]!.toUpperCase(), `${good[MIDDLE]}\x1b[0m`, '']) {
    assert.equal(fails(good.with(MIDDLE, near)).kind, 'unexpected', JSON.stringify(near));
  }
});

test('FAIL, PANIC and a trap line are named as such wherever they come', () => {
  assert.equal(fails(insert(MIDDLE, 'SELFTEST: FAIL logd status=3')).kind, 'fail');
  assert.equal(fails(insert(MIDDLE, 'kernel: PANIC bad frame')).kind, 'fail');
  assert.equal(fails(insert(5, 'kernel: trap logd oob_read')).kind, 'trap');
  assert.equal(fails(['kernel: PANIC no memory', ...good]).kind, 'fail');
});

test('a trap line of the ladder that comes early, late or for another service is red', () => {
  const traps = good.filter((text) => text.startsWith('kernel: trap '));
  assert.ok(traps.length >= 7, 'one line a trap class');
  for (const trap of traps) {
    assert.equal(fails([...good.slice(0, 3), trap, ...good.slice(3).filter((text) => text !== trap)]).kind, 'trap');
    assert.equal(redClass(fails(good.with(good.indexOf(trap), `${trap}x`))), 'trap');
  }
});

test('the end of the guest without a halt line is red, with what was due', () => {
  const failure = fails(good.slice(0, MIDDLE), null, 0);
  assert.deepEqual([failure.kind, failure.expected!.index], ['ended', MIDDLE]);
  assert.equal(fails(good, null).expected, null);
  assert.equal(fails([], null).kind, 'ended');
});

test('the halt line is checked: form, transport, nonce, count, digest, and that nothing follows', () => {
  assert.equal(fails(good, 'kernel: halt').kind, 'halt_malformed');
  assert.equal(fails(good, haltLine(good, 'legacy')).kind, 'halt_transport');
  assert.equal(fails(good, haltLine(good, 'modern', 'fedcba9876543210')).kind, 'halt_nonce');
  assert.equal(fails(good, haltLine(good).replace(/lines=\d+/, `lines=${good.length - 1}`)).kind, 'halt_count');
  assert.equal(fails(good, haltLine(good.toReversed())).kind, 'halt_digest');
  assert.equal(fails([...good, haltLine(good)], 'init: start').kind, 'after_halt');
  assert.equal(fails(good, haltLine(good), 1).kind, 'exit_status');
});

test('a torn, endless or unprefixed line is red', () => {
  const head = consoleOf(good.slice(0, MIDDLE), null);
  const after = (tail: string): Failure => judge(ladder, Buffer.concat([head, Buffer.from(tail)])).matcher.failure!;
  assert.equal(after(`${prefix(MIDDLE)}${good[MIDDLE]}`).kind, 'torn');
  assert.equal(after(`${prefix(MIDDLE)}${'x'.repeat(100_000)}\n`).kind, 'too_long');
  assert.equal(after(`${good[MIDDLE]}\n`).kind, 'unprefixed');
  assert.equal(after(`${prefix(MIDDLE)}init: ${prefix(MIDDLE)}logd: ready\n`).kind, 'unexpected');
});

test('a panic without a time prefix is the guest failing, before its first line as well as later', () => {
  const panic = Buffer.from('PANIC kernel: assert 0x1 0x2\r\n');
  const early = judge(ladder, Buffer.concat([Buffer.from('OpenSBI\r\n'), panic]), 1).matcher;
  assert.deepEqual([early.failure!.kind, early.failure!.expected!.index], ['fail', 0]);
  assert.equal(judge(ladder, Buffer.concat([consoleOf(good.slice(0, 4), null), panic]), 1).matcher.failure!.kind, 'fail');
});

test('guest time never goes back', () => {
  const lines = consoleOf(good.slice(0, 5), null).toString().trimEnd().split('\r\n');
  const swapped = [...lines.slice(0, -1), lines.at(-1)!.replace(/^\[\S+\]/, '[00000.000000001]')];
  assert.equal(judge(ladder, Buffer.from(`${swapped.join('\n')}\n`)).matcher.failure!.kind, 'time_backwards');
});

test('the first deviation decides; what follows is kept, bounded and counted', () => {
  const { matcher } = judge(ladder, consoleOf(insert(2, 'logd: noise')));
  assert.equal(matcher.failure!.kind, 'unexpected');
  assert.equal(matcher.after.length, 12);
  assert.equal(matcher.afterDropped, good.length - 2 + 1 - 12);
});

test('property: one random edit anywhere is never green, however the stream is cut', () => {
  property('matcher', 150, (random) => {
    const index = random.below(good.length);
    const other = (index + 1 + random.below(good.length - 1)) % good.length;
    const text = good[index]!;
    const at = random.below(text.length);
    const edits = [
      (): string[] => good.filter((_, n) => n !== index),
      (): string[] => insert(index, good[other]!),
      (): string[] => good.with(index, good[other]!).with(other, text),
      (): string[] => good.with(index, text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1)),
      (): string[] => good.with(index, text.slice(0, at)),
      (): string[] => insert(index, `kernel: trap ${text}`),
    ];
    const edited = random.pick(edits)();
    if (edited.join() === good.join()) return; // two lines of the same text changed places
    const { matcher } = judge(ladder, consoleOf(edited), 0, [1 + random.below(7), 1 + random.below(900)]);
    assert.notEqual(matcher.failure, null, edited.join('\n'));
  });
});

test('property: a green console stays green however it is cut', () => {
  property('cuts', 40, (random) => {
    const { matcher } = judge(ladder, consoleOf(good), 0, [1 + random.below(9), 1 + random.below(300), 1 + random.below(4096)]);
    assert.equal(matcher.failure, null);
    assert.equal(matcher.halted, true);
  });
});

test('property: noise after the kernel started never throws and never turns green', () => {
  property('noise', 100, (random) => {
    const noise = Buffer.from(Array.from({ length: 1 + random.below(3000) }, () => random.below(256)));
    const { matcher } = judge(ladder, Buffer.concat([consoleOf(good.slice(0, 1 + random.below(9)), null), noise]));
    assert.notEqual(matcher.failure, null);
  });
});

test('the nonce of another run is never accepted', () => {
  property('nonce', 50, (random) => {
    const at = random.below(16);
    const other = NONCE.slice(0, at) + ((parseInt(NONCE[at]!, 16) + 1 + random.below(15)) % 16).toString(16) + NONCE.slice(at + 1);
    assert.equal(fails(good, haltLine(good, 'modern', other)).kind, 'halt_nonce');
  });
});

test('a line that may come: anywhere after the first marker, once, whole; elsewhere it is unexpected', () => {
  const crash = readLadder('crash', 'modern');
  const texts = crash.markers.map((marker) => marker.text);
  const may = crash.may[0]!;
  const run = (lines: string[]): Failure | null => judge(crash, consoleOf(lines, haltLine(lines)), 0).matcher.failure;
  const at = (index: number, ...extra: string[]): string[] => [...texts.slice(0, index), ...extra, ...texts.slice(index)];
  assert.equal(run(texts), null);
  for (const index of [1, Math.floor(texts.length / 2), texts.length]) assert.equal(run(at(index, may)), null, `at ${index}`);
  assert.notEqual(run(at(0, may)), null);
  assert.notEqual(run(at(3, may, may)), null);
  assert.notEqual(run(at(3, `${may} more`)), null);
  assert.deepEqual(readLadder('proof', 'modern').may, []);
});
