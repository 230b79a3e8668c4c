// SPDX-License-Identifier: Apache-2.0
// What a boot leaves on the host holds none of its secrets: the proof boots once on a kept disk, then every byte of the image and of the
// run's files (console as read and as received, exported telemetry, ledger, reports) is searched for the planted redaction secret and for what the proofs give
// keystored. The texts come from the proofs' own sources. A mutant whose keystored stores plaintext shows that the search finds.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { boot, type BootResult } from '../../scripts/gate/session.js';
import { runWhole } from '../../scripts/gate/stop.js';
import { createImage, GATE_DISK_BYTES } from '../../scripts/lib/disk.js';
import { ROOT } from '../../scripts/lib/paths.js';

const SELFTEST = join(ROOT, 'assembly/services/selftest');

/** The secrets, by what they are. @throws when a source has none where it had one */
function secrets(): Map<string, string> {
  const of = (file: string, pattern: RegExp): string => {
    const found = pattern.exec(readFileSync(join(SELFTEST, file), 'utf8'));
    assert.ok(found, `${file} has no ${pattern}`);
    return found[1]!;
  };
  return new Map([
    ['the planted secret', of('metrics.ts', /^const CANARY: string = "([^"]{16,})";/m)],
    ['the planted digits', of('metrics.ts', /^const CANARY_HEX: string = "([^"]{16,})";/m)],
    ['the value of a key', of('keys.ts', /^const SCOPE_VALUE = "([^"]{16,})";/m)],
    ['a signing seed', of('keys.ts', /put\(SEED_KEY, "([^"]{32})"\)/)],
  ]);
}

interface Left { ran: BootResult; files: Map<string, Buffer> }
/** Boots the proof on a disk of its own; everything that it left. */
async function left(t: TestContext, mutant?: string): Promise<Left> {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-plaintext-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const disk = join(folder, 'state.img');
  createImage(disk, GATE_DISK_BYTES);
  const ran = await boot({ transport: 'modern', profile: 'proof', stop: () => runWhole(), disk: { kind: 'file', path: disk }, ...(mutant === undefined ? {} : { mutant }) });
  const files = new Map([['disk', readFileSync(disk)]]);
  for (const name of readdirSync(ran.runDir, { recursive: true, withFileTypes: true })) {
    if (name.isFile()) files.set(name.name, readFileSync(join(name.parentPath, name.name)));
  }
  return { ran, files };
}

/** Where a secret stands: its bytes, its hexadecimal digits, or every second byte (UTF-16). */
function found({ files }: Left): string[] {
  return [...secrets()].flatMap(([what, text]) => {
    const forms = [Buffer.from(text), Buffer.from(Buffer.from(text).toString('hex')), Buffer.from(text, 'utf16le')];
    return [...files].filter(([, bytes]) => forms.some((form) => bytes.includes(form))).map(([name]) => `${what} in ${name}`);
  });
}

test('no secret of the proof is on the disk, in the console\'s log, in exported telemetry or in what came over the wire', async (t) => {
  if (!existsSync(join(ROOT, 'build/image/bundle.vgb'))) return t.skip('no image was built');
  const after = await left(t);
  assert.equal(after.ran.exitCode, 0, after.ran.verdict);
  // The search sees what is there: keys on the disk, lines in the log.
  assert.ok(after.files.get('disk')!.includes('/state/keystore/root') && after.files.get('disk')!.includes('proof.scope'), 'the disk was written');
  assert.ok(after.files.get('uart.raw.log')!.includes('keystored: ready'), 'the log was kept');
  assert.ok(after.files.get('exported.bin')!.includes('selftest.export') && after.files.get('exported.bin')!.includes('policyd.audit'), 'telemetry was exported');
  assert.deepEqual(found(after), []);
});

test('a keystored that stores plaintext is found by it', async (t) => {
  if (!existsSync(join(ROOT, 'build/mutant/bundle.vgb'))) return t.skip('no mutant image was built');
  assert.ok(found(await left(t, 'keystored_seals_nothing')).includes('the value of a key in disk'));
});
