// SPDX-License-Identifier: Apache-2.0
// `vigil state ls|get|fsck|dump IMAGE`: reads and checks an image of /state offline. It never writes to the image.
// Invariant: fsck is clean only if the engine kept everything it saw, both superblocks are whole, and every value read back whole.
// Exit codes: 0 clean or done, 1 damage (or no such key), 2 usage, 3 the image cannot be read.
import { createHash } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { infra, usage, wrong } from '../lib/fail.js';
import { BAD_KINDS, KEY_BYTES_MAX, StateImage, type ImageStatus } from '../lib/state-image.js';
import { note, print, printJson, safe } from '../command/output.js';
import type { Job } from '../vigil.js';

interface Options { json?: boolean; prefix?: string; live?: boolean; output?: string }

const HEX_BYTES_A_LINE = 16;
const NO_STORE: Partial<Record<ImageStatus, string>> = {
  foreign: 'it holds no store of ours (both superblocks are missing or destroyed): nothing of it was or will be written',
  newer: 'it was made by a later version; read it with that version',
  too_small: 'it is too small to hold a store',
  keys_limit: 'it holds more keys than this build can index',
  io: 'its sectors could not all be read',
};

/** What is wrong with an image, for people and for --json. */
interface Damage {
  kind: string;
  text: string;
  sector?: number;
  byte?: number;
  key?: string;
}

/** Opens an image whose keys can be read. @throws Failure 1 when it is cut short, 3 when it holds no store. */
export async function openStore(path: string, options: Options): Promise<StateImage> {
  const image = await StateImage.open(path, options);
  const { status } = image;
  if (status === 'ok' || status === 'blank') return image;
  image.close();
  if (status === 'shrunk') wrong(`${path} is shorter than its superblock says: a part of the image is missing`);
  return infra(`${path} cannot be read: ${NO_STORE[status] ?? status}`);
}

async function ls(path: string, options: Options): Promise<number> {
  const image = await openStore(path, options);
  const keys = image.status === 'blank' ? [] : [...image.keys(bytesOf(options.prefix))];
  if (options.json === true) printJson({ image: path, status: image.status, keys });
  else {
    for (const { key, bytes } of keys) print(`${String(bytes).padStart(6)}  ${safe(key)}`);
    if (keys.length === 0) note(`no keys${image.status === 'blank' ? ': a blank image' : ''}`);
  }
  image.close();
  return warnOfDamage(path, image);
}

/** Reading goes on on a damaged image; that it is one is said, and is the exit code. */
export function warnOfDamage(path: string, image: StateImage): number {
  if (image.status === 'blank' || journalDamage(image).length === 0) return 0;
  note(`${path} is damaged; what is shown is what the engine kept (vigil state fsck says more)`);
  return 1;
}

/** A key as typed, one character a byte, which is how StateImage spells keys. @throws Failure 2 when no key has that length. */
function bytesOf(typed = ''): string {
  const bytes = Buffer.from(typed);
  return bytes.length <= KEY_BYTES_MAX ? bytes.toString('latin1') : usage(`a key has at most ${KEY_BYTES_MAX} bytes, not ${bytes.length}`);
}

/** Writes a value to a file. @throws Failure 2 when the file is the image, 3 when it cannot be written. */
function writeOut(file: string, path: string, value: Buffer): void {
  const [to, from] = [statSync(file, { throwIfNoEntry: false }), statSync(path)];
  if (to?.ino === from.ino && to.dev === from.dev) usage(`--output ${file} is the image itself; name another file`);
  try {
    writeFileSync(file, value);
  } catch (error) {
    infra(`${file} cannot be written: ${(error as Error).message}`);
  }
}

async function get(path: string, typed: string, options: Options): Promise<number> {
  const key = typed === '' ? usage('a key has at least 1 byte (vigil state ls prints them)') : bytesOf(typed);
  const image = await openStore(path, options);
  const value = image.status === 'blank' ? 'not_found' : image.get(key);
  image.close();
  if (typeof value === 'string') {
    return wrong(value === 'not_found' ? `${path} holds no key ${safe(key)}` : `${safe(key)} cannot be read: ${value}`);
  }
  if (options.output !== undefined) writeOut(options.output, path, value);
  else if (options.json === true) printJson({ image: path, ...described(key, value) });
  else if (process.stdout.isTTY && /[^\x20-\x7e\n]/.test(value.toString('latin1'))) hexDump(value);
  else process.stdout.write(value);
  return warnOfDamage(path, image);
}

function described(key: string, value: Buffer): Record<string, unknown> {
  const text = value.toString('latin1');
  const sha256 = createHash('sha256').update(value).digest('hex');
  return { key, bytes: value.length, sha256, ...(/^[\x20-\x7e\n]*$/.test(text) ? { text } : { base64: value.toString('base64') }) };
}
function hexDump(value: Buffer): void {
  for (let at = 0; at < value.length; at += HEX_BYTES_A_LINE) {
    const piece = value.subarray(at, at + HEX_BYTES_A_LINE);
    const hex = [...piece].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const text = piece.toString('latin1').replace(/[^\x20-\x7e]/g, '.');
    print(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(3 * HEX_BYTES_A_LINE)} ${text}`);
  }
}

async function dump(path: string, options: Options): Promise<number> {
  const image = await openStore(path, options);
  const entries: Record<string, unknown>[] = [];
  for (const { key } of image.status === 'blank' ? [] : [...image.keys(bytesOf(options.prefix))]) {
    const value = image.get(key);
    const entry = typeof value === 'string' ? { key, error: value } : described(key, value);
    if (options.json === true) entries.push(entry);
    else {
      const what = typeof value === 'string' ? value : `${value.length} bytes, sha256 ${String(entry.sha256).slice(0, 16)}`;
      print(`${safe(key)}  ${what}`);
      if (typeof value !== 'string') hexDump(value);
    }
  }
  if (options.json === true) printJson({ image: path, status: image.status, report: image.report, entries });
  image.close();
  return warnOfDamage(path, image);
}

const KIND_TEXT: Record<string, string> = {
  magic: 'no record begins here',
  length: 'a record with an operation, length or flag that no record has',
  crc: 'a record whose checksum is wrong',
  place: 'a record that belongs elsewhere on the disk',
  sequence: 'a record whose number does not follow',
  epoch: 'a record of an earlier epoch',
  group: 'a group that does not begin or end as groups do',
  hole: 'an empty place with later groups behind it',
};

/** What the engine found when it opened the image. */
function journalDamage({ report, bytes }: StateImage): Damage[] {
  const found: Damage[] = [];
  if (bytes % 512 !== 0) found.push({ kind: 'size', text: `the image ends in the middle of a sector (${bytes} bytes)` });
  if (report.superblocks < 2) {
    found.push({ kind: 'superblock', text: 'one of the two superblocks is not whole; the other was used' });
  }
  if (report.badKind !== 0) {
    const kind = BAD_KINDS[report.badKind] ?? `number ${report.badKind}`;
    const lost = report.groupsBehind === 0
      ? 'nothing valid lies behind it: what a power cut leaves of a write that nobody was told of'
      : `${report.groupsBehind} groups lie behind it: something that had been acknowledged is lost`;
    const [sector, byte] = [report.badSector, report.badByte];
    const part = report.recordsDropped === 0 ? '' : `, among them ${report.recordsDropped} records of a commit without its end`;
    found.push({ kind, sector, byte, text: `${KIND_TEXT[kind] ?? kind}; ${report.bytesDropped} bytes dropped${part}; ${lost}` });
  }
  return found;
}

async function fsck(path: string, options: Options): Promise<number> {
  const image = await StateImage.open(path, options);
  const { status, report } = image;
  if (status !== 'ok' && status !== 'blank' && status !== 'shrunk') {
    image.close();
    infra(`${path} cannot be checked: ${NO_STORE[status] ?? status}`);
  }
  const damage: Damage[] = [];
  let [keys, valueBytes] = [0, 0];
  if (status === 'shrunk') damage.push({ kind: 'size', text: 'the image is shorter than its superblock says: a part of it is missing' });
  if (status === 'ok') {
    damage.push(...journalDamage(image));
    for (const { key } of image.keys()) {
      const value = image.get(key);
      if (typeof value === 'string') damage.push({ kind: 'value', key, text: `its value is lost (${value})` });
      else valueBytes += value.length;
      keys++;
    }
  }
  if (image.writesRefused !== 0) throw new Error(`the engine asked for ${image.writesRefused} writes of an image opened for reading`);
  image.close();
  const clean = damage.length === 0;
  if (options.json === true) {
    printJson({ image: path, clean, status, bytes: image.bytes, keys, valueBytes, damage, ...(status === 'ok' ? { report } : {}) });
    return clean ? 0 : 1;
  }
  if (status === 'blank') print(`${path}: clean, blank: no store was ever made on it`);
  for (const one of damage) {
    const where = one.sector === undefined ? '' : ` at sector ${one.sector} byte ${one.byte}`;
    print(`${path}: ${one.kind}${where}${one.key === undefined ? '' : ` ${safe(one.key)}`}: ${one.text}`);
  }
  if (status === 'ok') {
    const records = `${report.recordsKept} records, sequence ${report.sequence}, epoch ${report.epoch}`;
    const live = `${keys} keys, ${valueBytes} bytes of values, ${records}`;
    const used = `journal ${report.journalBytes} of ${report.regionSectors * 512} bytes`;
    print(`${path}: ${clean ? 'clean' : 'damaged, kept'}: ${live}, ${used}`);
  }
  return clean ? 0 : 1;
}

/** Registers `vigil state`. */
export function register(program: Command, run: (job: Job) => void): void {
  const state = program.command('state').description('Read and check an image of /state. Nothing is ever written to it.');
  const one = (name: string, what: string, examples: string[]): Command =>
    state.command(name).description(what).argument('<image>', 'the image file, for example .vigil/state.img')
      .option('--json', 'print JSON')
      .option('--live', 'read it although a running machine uses it: its last bytes may be on their way')
      .addHelpText('after', `\nExamples:\n${examples.map((line) => `  vigil state ${line}`).join('\n')}`);
  one('ls', 'List keys with the length of their values.', ['ls .vigil/state.img', 'ls .vigil/state.img --prefix /state/crash/'])
    .option('--prefix <prefix>', 'only keys that begin so')
    .action((image: string, options: Options) => run(() => ls(image, options)));
  one('get', 'Write the value of one key to the standard output.', ['get .vigil/state.img /state/boot/statefsd --output boots.bin'])
    .argument('<key>', 'the whole key')
    .option('--output <file>', 'write it to this file instead')
    .action((image: string, key: string, options: Options) => run(() => get(image, key, options)));
  one('fsck', 'Check everything: superblocks, every record, every value. 0 clean, 1 damaged, 3 not readable.', ['fsck .vigil/state.img'])
    .action((image: string, options: Options) => run(() => fsck(image, options)));
  one('dump', 'Print every key with its value.', ['dump .vigil/state.img', 'dump .vigil/state.img --json > state.json'])
    .option('--prefix <prefix>', 'only keys that begin so')
    .action((image: string, options: Options) => run(() => dump(image, options)));
}
