// SPDX-License-Identifier: Apache-2.0
// Reads an image of /state offline, with the engine that statefsd runs (assembly/host/state.ts), never writing a byte of it.
// Invariant: the file is opened for reading alone; a value is handed out whole and checked or not at all.
// Limits: one module an image; the image is read sector by sector as the engine asks, so its size does not matter.
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync, type Stats } from 'node:fs';
import { Failure, infra } from './fail.js';
import { hostModule } from './host-module.js';
import { alive, holder } from './lock.js';

export const SECTOR_BYTES = 512;
const KEY_ROOM = 256;
/** more sectors than any store uses: the engine counts them in 32 bits */
const SECTORS_MAX = 0xffffffff;
export const KEY_BYTES_MAX = 255;

/** What opening may end with beside success: the engine's statuses by name (assembly/lib/statefs/status.ts). */
const STATUS = {
  '0': 'ok', '-1': 'not_found', '-4': 'key_too_long', '-5': 'invalid_key', '-7': 'io', '-9': 'integrity', '-15': 'foreign',
  '-17': 'keys_limit', '-35': 'newer', '-36': 'shrunk', '-37': 'too_small', '-38': 'blank',
} as const;
export type ImageStatus = (typeof STATUS)[keyof typeof STATUS];

/** Why recovery stopped, by number (assembly/lib/statefs/report.ts BAD_*). */
export const BAD_KINDS = ['none', 'magic', 'length', 'crc', 'place', 'sequence', 'epoch', 'group', 'hole'] as const;

/** The engine's report, in the order in which assembly/host/state.ts writes it. */
export const REPORT_FIELDS = [
  'recordsKept', 'recordsDropped', 'bytesDropped', 'sequence', 'epoch', 'badKind', 'badSector', 'badByte', 'groupsBehind', 'liveKeys',
  'lostKeys', 'liveBytes', 'journalBytes', 'capacityBytes', 'superblocks', 'active', 'regionSectors',
] as const;
export type ImageReport = Record<(typeof REPORT_FIELDS)[number], number>;

interface Exports {
  memory: WebAssembly.Memory;
  _init?(): void;
  open(sectors: number): number;
  keyAt(): number;
  dataAt(): number;
  find(keyLength: number): number;
  read(keyLength: number, offset: number): number;
  list(prefixLength: number, afterLength: number): number;
  listed(): number;
  more(): number;
  writesRefused(): number;
  summary(): number;
}

export interface ListedKey {
  key: string;
  bytes: number;
}

export class StateImage {
  private constructor(
    private readonly engine: Exports, private readonly file: number, readonly bytes: number,
    /** what the engine said to opening it; nothing can be read unless it is `ok` */
    readonly status: ImageStatus,
    readonly report: ImageReport,
  ) {}

  /** Opens an image. `live`: even one that a running machine uses, whose last bytes may be on their way.
   *  @throws Failure 3 when there is no such file, it is none, is empty, in use, or cannot be read. */
  static async open(path: string, { live = false } = {}): Promise<StateImage> {
    const file = openImage(path);
    try {
      const bytes = imageBytes(path, fstatSync(file));
      if (!live) refuseUsed(path);
      return StateImage.start(new WebAssembly.Module((await hostModule('state')) as BufferSource), path, file, bytes);
    } catch (error) {
      closeSync(file);
      throw error;
    }
  }

  private static start(module: WebAssembly.Module, path: string, file: number, bytes: number): StateImage {
    let unreadable: Error | null = null;
    const read = (sector: number, count: number, to: number): number => {
      const wanted = count * SECTOR_BYTES;
      try {
        const got = readSync(file, new Uint8Array(engine.memory.buffer), to >>> 0, wanted, (sector >>> 0) * SECTOR_BYTES);
        return got === wanted ? 0 : -1;
      } catch (error) {
        unreadable = error as Error;
        return -1;
      }
    };
    const abort = (): never => { throw new Error(`the engine ended on ${path}: a bug, keep the image`); };
    const instance = new WebAssembly.Instance(module, { host: { read }, env: { abort } });
    const engine = instance.exports as unknown as Exports;
    engine._init?.();
    const status = statusName(engine.open(Math.min(Math.floor(bytes / SECTOR_BYTES), SECTORS_MAX)));
    if (unreadable !== null) infra(`${path} cannot be read: ${(unreadable as Error).message}`);
    const words = new DataView(engine.memory.buffer);
    const at = engine.summary() >>> 0;
    const report = Object.fromEntries(REPORT_FIELDS.map((name, i) => [name, Number(words.getBigUint64(at + 8 * i, true))])) as ImageReport;
    return new StateImage(engine, file, bytes, status, report);
  }

  /** Keys that begin with `prefix`, in byte order. */
  *keys(prefix = ''): Generator<ListedKey> {
    const from = this.put(0, prefix);
    for (let after = '', again = true; again;) {
      const filled = this.engine.list(from, this.put(KEY_ROOM, after));
      if (filled < 0) throw new Failure(1, `listing ends with ${statusName(filled)}`);
      const page = this.data(filled);
      again = this.engine.more() !== 0;
      for (let at = 0, left = this.engine.listed(); left > 0; left--) {
        const length = page[at]!;
        after = page.toString('latin1', at + 5, at + 5 + length);
        yield { key: after, bytes: page.readUInt32LE(at + 1) };
        at += 5 + length;
      }
      if (filled === 0) again = false;
      this.put(0, prefix);
    }
  }

  /** A value whole, or why there is none: not_found, or integrity for one that is known to be lost. */
  get(key: string): Buffer | ImageStatus {
    if (key.length === 0 || key.length > KEY_BYTES_MAX) return key.length === 0 ? 'invalid_key' : 'key_too_long';
    const length = this.put(0, key);
    const total = this.engine.find(length);
    if (total < 0) return statusName(total);
    const value = Buffer.alloc(total);
    for (let at = 0; at < total;) {
      const got = this.engine.read(length, at);
      if (got < 0) return statusName(got);
      if (got === 0) return 'integrity';
      this.data(got).copy(value, at);
      at += got;
    }
    return value;
  }

  /** Writes that the engine asked for: 0, or it broke its promise. */
  get writesRefused(): number {
    return this.engine.writesRefused();
  }
  close(): void {
    closeSync(this.file);
  }

  private put(at: number, text: string): number {
    const bytes = Buffer.from(text, 'latin1');
    if (bytes.length > KEY_BYTES_MAX) throw new Failure(2, `a key has at most ${KEY_BYTES_MAX} bytes`);
    new Uint8Array(this.engine.memory.buffer).set(bytes, (this.engine.keyAt() >>> 0) + at);
    return bytes.length;
  }
  private data(bytes: number): Buffer {
    const at = this.engine.dataAt() >>> 0;
    return Buffer.from(new Uint8Array(this.engine.memory.buffer, at, bytes).slice());
  }
}

function statusName(status: number): ImageStatus {
  const name = (STATUS as Record<string, ImageStatus>)[`${Math.min(status, 0)}`];
  if (name === undefined) throw new Error(`the engine answered ${status}, which no tool knows`);
  return name;
}

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file', EACCES: 'permission denied', EPERM: 'permission denied', ENOTDIR: 'a part of its path is a file',
  ELOOP: 'its links lead nowhere', EISDIR: 'it is a folder', ENAMETOOLONG: 'its name is too long',
};

function openImage(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // a pipe must be refused, not waited for
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    return infra(`${path === '' ? 'an image without a name' : path} cannot be read: ${REASONS[code] ?? (error as Error).message}`);
  }
}

/** scripts/lib/disk.ts locks a kept image while a machine uses it. */
function refuseUsed(path: string): void {
  const user = holder(`${realpathSync(path)}.lock`);
  if (user === null || !alive(user)) return;
  infra(`${path} is in use by process ${user}; end that run, or read it as it is with --live (its last bytes may be on their way)`);
}

function imageBytes(path: string, stat: Stats): number {
  if (stat.isDirectory()) infra(`${path} is a folder, not an image`);
  if (!stat.isFile()) infra(`${path} is no regular file`);
  if (stat.size === 0) infra(`${path} is empty: no image has 0 bytes`);
  return stat.size;
}
