// SPDX-License-Identifier: Apache-2.0
// What is kept of a guest's console: bounded in bytes and in files, whole files alone, and a full or wrong disk stops nothing.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Transcript } from '../../runtime/up/transcript.js';
import { Transcripts, type Ended } from '../../runtime/up/transcripts.js';

const folder = (context: TestContext): string => {
  const path = mkdtempSync(join(tmpdir(), 'vigil-up-'));
  context.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
};
const ended = (second: number, text = 'console\n'): Ended => ({
  at: new Date(Date.UTC(2026, 0, 1, 0, 0, second)), cause: 'hang', detail: 'no\nheartbeat', boot: second, about: 'QEMU', console: Buffer.from(text),
});

test('a console that fits is kept byte for byte, however it was cut', () => {
  const text = Buffer.from('0123456789'.repeat(10));
  for (const size of [1, 3, 7, 50, 100]) {
    const transcript = new Transcript(100);
    for (let at = 0; at < text.length; at += size) transcript.push(text.subarray(at, at + size));
    assert.equal(transcript.bytes().toString(), text.toString(), `pieces of ${size}`);
    assert.equal(transcript.droppedBytes, 0);
  }
});

test('one byte more is counted, said, and taken from the middle', () => {
  const transcript = new Transcript(10);
  transcript.push(Buffer.from('abcdeFGHIJK'));
  assert.equal(transcript.droppedBytes, 1);
  assert.equal(transcript.bytes().toString(), 'abcde\n[1 bytes left out]\nGHIJK');
  for (let i = 0; i < 1000; i++) transcript.push(Buffer.from('xyz'));
  assert.equal(transcript.bytes().toString(), 'abcde\n[3001 bytes left out]\nyzxyz');
});

test('files are whole, private, named by time and cause; the oldest go first', (context) => {
  const kept = new Transcripts(join(folder(context), 'transcripts'), 3);
  const paths = [1, 2, 3, 4].map((second) => (kept.keep(ended(second)) as { path: string }).path);
  assert.deepEqual(kept.list(), paths.slice(1));
  assert.equal(existsSync(paths[0]!), false);
  assert.equal(paths[3]!.split('/').at(-1), '2026-01-01T00-00-04.000Z-hang.log');
  assert.equal(readFileSync(paths[3]!, 'utf8'), '# 2026-01-01T00:00:04.000Z boot 4: hang: no heartbeat\n# QEMU\nconsole\n');
  assert.equal(statSync(paths[3]!).mode & 0o777, 0o600);
  assert.deepEqual(kept.counters, { kept: 4, lost: 0 });
});

test('what is not ours in the folder is never removed', (context) => {
  const kept = new Transcripts(folder(context), 1);
  const mine = join(kept.folder, 'notes.log');
  writeFileSync(mine, 'mine');
  for (const second of [1, 2, 3]) kept.keep(ended(second));
  assert.equal(readFileSync(mine, 'utf8'), 'mine');
  assert.equal(kept.list().length, 1);
});

test('a full disk: counted, with the reason, and the next one is kept when there is room again', (context) => {
  const kept = new Transcripts(folder(context), 3);
  const partial = join(kept.folder, '.partial');
  symlinkSync('/dev/full', partial);
  const lost = kept.keep(ended(1)) as { lost: string };
  assert.match(lost.lost, /ENOSPC/);
  assert.deepEqual(kept.counters, { kept: 0, lost: 1 });
  assert.deepEqual(kept.list(), [], 'no half file under a good name');
  rmSync(partial);
  assert.ok('path' in kept.keep(ended(2)));
  assert.deepEqual(kept.counters, { kept: 1, lost: 1 });
});

test('a file where the folder belongs: counted too', (context) => {
  const at = join(folder(context), 'transcripts');
  writeFileSync(at, '');
  const kept = new Transcripts(at, 3);
  assert.match((kept.keep(ended(1)) as { lost: string }).lost, /EEXIST|ENOTDIR/);
  assert.equal(kept.counters.lost, 1);
  rmSync(at);
  mkdirSync(at);
  assert.ok('path' in kept.keep(ended(2)));
});
