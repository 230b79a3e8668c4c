// SPDX-License-Identifier: Apache-2.0
// Runs the engine of assembly/lib/statefs under Node over a disk in memory, and speaks keys and values as strings and bytes.
// The disk holds its writes until flush when asked to (`volatile`), counts operations, and fails or stops at a chosen one.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildEntry } from '../../runtime/node/index.js';
import { ASC_FLAGS } from '../../scripts/lib/asc.js';
import { ROOT } from '../../scripts/lib/paths.js';

export const SECTOR = 512;
export const ENTRY = 'tests/statefs/guest-engine.ts';
export const FAULTS = 'assembly/lib/statefs/faults.ts';

/** Statuses by name, read from the engine's own table. */
export const S = constants('status.ts', /export const S_(\w+): i32 = (-?\d+)/g);
export const BAD = constants('report.ts', /export const BAD_(\w+): u32 = (\d+)/g);

function constants(file: string, pattern: RegExp): Record<string, number> {
  const source = readFileSync(join(ROOT, 'assembly/lib/statefs', file), 'utf8');
  return Object.fromEntries([...source.matchAll(pattern)].map(([, name, value]) => [name!, Number(value)]));
}

/** The machine lost power: thrown out of a disk operation, and out of the engine. */
export class PowerCut extends Error {}

export class MemoryDisk {
  /** what survives */
  readonly data: Buffer;
  /** written, not flushed: sector -> bytes */
  readonly cache = new Map<number, Buffer>();
  operations = 0;
  flushes = 0;
  /** operation (write or flush, from 0) that answers with an error; every later one too when `stuck` */
  failAt = -1;
  stuck = false;
  /** operation before which the power fails */
  cutAt = -1;
  /** reads that answer with an error */
  failReads = false;
  constructor(readonly sectors: number, data?: Buffer) { this.data = data ?? Buffer.alloc(sectors * SECTOR); }

  read(sector: number, count: number, to: Uint8Array): number {
    if (this.failReads) return -1;
    to.set(this.data.subarray(sector * SECTOR, (sector + count) * SECTOR));
    for (let i = 0; i < count; i++) {
      const held = this.cache.get(sector + i);
      if (held) to.set(held, i * SECTOR);
    }
    return 0;
  }
  private operation(): boolean {
    const number = this.operations++;
    if (number === this.cutAt) throw new PowerCut();
    return number === this.failAt || (this.stuck && this.failAt >= 0 && number > this.failAt);
  }
  write(sector: number, count: number, from: Uint8Array): number {
    if (this.operation()) return -1;
    for (let i = 0; i < count; i++) this.cache.set(sector + i, Buffer.from(from.subarray(i * SECTOR, (i + 1) * SECTOR)));
    return 0;
  }
  flush(): number {
    if (this.operation()) return -1;
    this.settle();
    this.flushes++;
    return 0;
  }
  /** Everything held reaches the disk. */
  settle(): void {
    for (const [sector, bytes] of this.cache) this.data.set(bytes, sector * SECTOR);
    this.cache.clear();
  }
  /** Another disk with the same bytes, cache included as if flushed. */
  copy(): MemoryDisk {
    const disk = new MemoryDisk(this.sectors, Buffer.from(this.data));
    for (const [sector, bytes] of this.cache) disk.data.set(bytes, sector * SECTOR);
    return disk;
  }
}

export interface Report {
  recordsKept: bigint; recordsDropped: bigint; bytesDropped: bigint; sequence: bigint; durable: bigint; reads: bigint; readBytes: bigint;
  writes: bigint; writtenBytes: bigint; flushes: bigint; compactions: bigint; epoch: number; badKind: number; badSector: number; badByte: number;
  groupsBehind: number; liveKeys: number; lostKeys: number; liveBytes: number; journalBytes: number; capacityBytes: number; superblocks: number;
  active: number; regionSectors: number;
}

let module_: WebAssembly.Module | null = null;
/** Compiles the engine once a process. */
export async function loadEngine(): Promise<WebAssembly.Module> {
  module_ ??= new WebAssembly.Module((await buildEntry(ENTRY)) as BufferSource);
  return module_;
}
/** The engine with one fault of faults.ts switched on. */
export async function loadFaulty(fault: string): Promise<WebAssembly.Module> {
  const source = readFileSync(join(ROOT, FAULTS), 'utf8');
  const changed = source.replace(new RegExp(`(FAULT_${fault}: bool = )false`), '$1true');
  if (changed === source) throw new Error(`${FAULTS} has no FAULT_${fault}`);
  return new WebAssembly.Module((await buildEntry(ENTRY, ASC_FLAGS, { [FAULTS]: changed })) as BufferSource);
}

const WIDE = 11;
const FIELDS: readonly (keyof Report)[] = [
  'recordsKept', 'recordsDropped', 'bytesDropped', 'sequence', 'durable', 'reads', 'readBytes', 'writes', 'writtenBytes', 'flushes',
  'compactions', 'epoch', 'badKind', 'badSector', 'badByte', 'groupsBehind', 'liveKeys', 'lostKeys', 'liveBytes', 'journalBytes',
  'capacityBytes', 'superblocks', 'active', 'regionSectors',
];

/** One instance of the engine; `disk` may be replaced before `open`. */
export class Engine {
  private readonly fn: Record<string, (...args: number[]) => number>;
  private readonly memory: WebAssembly.Memory;
  private readonly base: number;
  constructor(compiled: WebAssembly.Module, public disk: MemoryDisk) {
    const at = (address: number, count: number): Uint8Array => new Uint8Array(this.memory.buffer, address >>> 0, count * SECTOR);
    const instance = new WebAssembly.Instance(compiled, {
      disk: {
        read: (sector: number, count: number, to: number) => this.disk.read(sector >>> 0, count, at(to, count)),
        write: (sector: number, count: number, from: number) => this.disk.write(sector >>> 0, count, at(from, count)),
        flush: () => this.disk.flush(),
      },
      env: { abort: (_m: number, _f: number, line: number, column: number) => { throw new Error(`engine assert at ${line}:${column}`); } },
    } as unknown as WebAssembly.Imports);
    this.fn = instance.exports as never;
    this.memory = instance.exports.memory as WebAssembly.Memory;
    (this.fn._init as () => void)?.();
    this.base = this.fn.address!();
  }
  private at(offset: number, bytes: Uint8Array | string): number {
    const given = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    new Uint8Array(this.memory.buffer).set(given, this.base + offset);
    return given.length;
  }
  private bytes(offset: number, length: number): Buffer {
    return Buffer.from(new Uint8Array(this.memory.buffer, this.base + offset, length));
  }
  open(readOnly = false): number { return this.fn.open!(this.disk.sectors, readOnly ? 1 : 0); }
  close(): void { this.fn.close!(); }
  put(key: string | Uint8Array, value: string | Uint8Array): number {
    const length = this.at(4096, value);
    return this.fn.put!(this.at(0, key), length);
  }
  /** A put with lengths of its own, for what is over a limit. */
  putLengths(keyLength: number, valueLength: number): number { return this.fn.put!(keyLength, valueLength); }
  del(key: string | Uint8Array): number { return this.fn.del!(this.at(0, key)); }
  begin(): number { return this.fn.begin!(); }
  end(): number { return this.fn.end!(); }
  abort(): void { this.fn.abort_!(); }
  commit(): number { return this.fn.commit!(); }
  staged(): number { return this.fn.staged!(); }
  sequence(): bigint { return this.fn.sequence!() as unknown as bigint; }
  find(key: string | Uint8Array): number { return this.fn.find!(this.at(0, key)); }
  /** A piece of a value, or the status. */
  read(key: string | Uint8Array, offset = 0, cap = 70_000): Buffer | number {
    const length = this.fn.read!(this.at(0, key), offset, cap);
    return length < 0 ? length : this.bytes(4096, length);
  }
  /** A whole value as text, or the status. */
  get(key: string): string | number {
    const value = this.read(key);
    return typeof value === 'number' ? value : value.toString('latin1');
  }
  list(prefix = '', after = '', cap = 200_000, countMax = 100_000): { keys: string[]; lengths: number[]; more: boolean } {
    const afterLength = this.at(1024, after);
    const written = this.fn.list!(this.at(0, prefix), afterLength, cap, countMax);
    if (written < 0) throw new Error(`list ${written}`);
    const bytes = this.bytes(4096, written);
    const keys: string[] = [];
    const lengths: number[] = [];
    for (let at = 0; at < written; ) {
      const length = bytes[at]!;
      lengths.push(bytes.readUInt32LE(at + 1));
      keys.push(bytes.toString('latin1', at + 5, at + 5 + length));
      at += 5 + length;
    }
    if (keys.length !== this.fn.listed!()) throw new Error('list count');
    return { keys, lengths, more: this.fn.more!() !== 0 };
  }
  /** Every key and value. */
  all(): Map<string, string | number> {
    const result = new Map<string, string | number>();
    for (let after = ''; ; ) {
      const { keys, more } = this.list('', after);
      for (const key of keys) result.set(key, this.get(key));
      if (!more) return result;
      after = keys.at(-1)!;
    }
  }
  report(): Report {
    const view = new DataView(this.memory.buffer, this.fn.report!());
    return Object.fromEntries(FIELDS.map((name, i) =>
      [name, i < WIDE ? view.getBigUint64(8 * i, true) : view.getUint32(8 * WIDE + 4 * (i - WIDE), true)])) as unknown as Report;
  }
  crc(kind: 'narrow' | 'wide', bytes: Uint8Array, at = 0, seed = 0): number {
    this.at(at, bytes);
    return this.fn[kind === 'wide' ? 'crcWide' : 'crcNarrow']!(at, bytes.length, seed) >>> 0;
  }
}

/** A fresh engine over a blank disk, opened. */
export async function fresh(sectors = 2048): Promise<Engine> {
  const engine = new Engine(await loadEngine(), new MemoryDisk(sectors));
  const status = engine.open();
  if (status !== 0) throw new Error(`open ${status}`);
  return engine;
}
/** A second engine over a copy of the disk, as after a reboot. */
export async function reboot(engine: Engine, change: (disk: MemoryDisk) => void = () => {}): Promise<{ engine: Engine; status: number }> {
  const disk = engine.disk.copy();
  change(disk);
  const next = new Engine(await loadEngine(), disk);
  return { engine: next, status: next.open() };
}
