// SPDX-License-Identifier: Apache-2.0
// Owns: a virtio-blk device as a service sees it through the device_* system calls (virtio 1.2, section 5.2), in front of a SimDisk.
// Invariant: it answers as the kernel does (abi/syscalls.toml) and as QEMU's device does, at its strictest: no two pages of a buffer
// are physically contiguous, a chain has at most limits.kernel chain_max pieces, and no buffer is touched after a reset.
// Faults are chosen request by request (`fault`); a request's number counts from 0 over the device's life.
// Limits: one request queue; completions come in order, at once or `delay_ns` later.
import { limit, loadAbi } from '../../../scripts/lib/abi.js';
import { hostErrors, type Host, type HostOptions } from '../../../runtime/node/index.js';
import { SECTOR_BYTES, SimDisk } from './disk.js';

export const BLK_IN = 0;
export const BLK_OUT = 1;
export const BLK_FLUSH = 4;
export const STATUS_OK = 0;
export const STATUS_IOERR = 1;
export const STATUS_UNSUPP = 2;
/** Feature bits: read-only disk, block size in the configuration, FLUSH, virtio 1. */
export const F_RO = 1n << 5n;
export const F_BLK_SIZE = 1n << 6n;
export const F_FLUSH = 1n << 9n;
export const F_VERSION_1 = 1n << 32n;

/** One request as the device read it. */
export interface BlkRequest {
  /** counts from 0 over the device's life */
  number: number;
  /** BLK_IN, BLK_OUT, BLK_FLUSH, or what the driver wrote there */
  type: number;
  sector: number;
  /** data bytes */
  bytes: number;
}

/** What goes wrong with a request. `status` answers with that byte and does nothing; `applied` answers so after having done it (a disk
 *  that did write and says it did not); `never` does not answer; `swallow` answers ok without doing anything (a lost write, a lying
 *  flush); `misdirect` does it at another sector; `used` answers with that many bytes instead; `torn` writes only some bytes, then EIO. */
export type Fault =
  | { kind: 'status' | 'applied'; status: number }
  | { kind: 'never' }
  | { kind: 'swallow' }
  | { kind: 'misdirect'; sector: number }
  | { kind: 'used'; bytes: number }
  | { kind: 'torn'; bytes: number };

interface Buffer_ { address: number; bytes: number; write: boolean }
interface InFlight { token: number; pieces: number; used: number; due_ns: bigint | null }

const abi = loadAbi();
const error = hostErrors(abi);
const CHAIN_MAX = limit(abi, 'kernel', 'chain_max');
const QUEUE_SIZE_MAX = limit(abi, 'kernel', 'queue_size_max');
const PAGE = 4096;
const E = {
  again: error('again'), badArgument: error('bad_argument'), badHandle: error('bad_handle'), busy: error('busy'), full: error('full'),
  io: error('io'),
};

export class BlkDevice {
  features = F_FLUSH | F_BLK_SIZE | F_VERSION_1;
  /** Virtio device id: 2 is a block device. */
  id = 2n;
  /** False: the service holds no device. */
  present = true;
  transport = 2n;
  /** Capacity in the configuration, when it is not the disk's. */
  claimedSectors: number | null = null;
  /** Guest time that one request takes. */
  delay_ns = 0n;
  /** Guest time that one empty look at the queue takes, so that a driver that waits gets on. */
  look_ns = 1_000_000n;
  /** What goes wrong with a request; null: nothing. */
  fault: (request: BlkRequest) => Fault | null = () => null;
  /** Each request, before it is carried out. */
  watch: (request: BlkRequest) => void = () => undefined;
  requests = 0;
  opens = 0;
  private agreed = 0n;
  private state: 'closed' | 'open' | 'running' = 'closed';
  private queueSize = 0;
  private token = 1;
  private inFlight: InFlight[] = [];

  constructor(readonly disk: SimDisk) {}

  /** The device of another boot on what is on the disk now: closed, nothing in flight, requests counted anew. */
  powerOn(): void {
    this.state = 'closed';
    this.queueSize = 0;
    this.inFlight = [];
    this.requests = 0;
    this.opens = 0;
  }

  /** Replacements for the host's system calls (HostOptions.sys). */
  readonly sys: NonNullable<HostOptions['sys']> = {
    device_open: (host, _device, features, meta) => {
      if (!this.present) return E.badHandle;
      this.opens++;
      this.inFlight = [];
      this.queueSize = 0;
      this.agreed = (BigInt(features) | F_VERSION_1) & this.features;
      this.state = 'open';
      words(host, Number(meta), this.id, this.transport, this.agreed);
      return 0n;
    },
    device_config: (_host, _device, offset, width) => this.config(Number(offset), Number(width)),
    device_queue: (_host, _device, queue, size) => {
      const wanted = Number(size);
      if (!this.present) return E.badHandle;
      if (this.state !== 'open' || this.queueSize !== 0 || wanted < 1 || wanted > QUEUE_SIZE_MAX) return E.badArgument;
      if ((wanted & (wanted - 1)) !== 0) return E.badArgument;
      if (Number(queue) !== 0) return E.io;
      this.queueSize = wanted;
      return 0n;
    },
    device_ready: () => {
      if (!this.present) return E.badHandle;
      if (this.state !== 'open') return E.busy;
      this.state = 'running';
      return 0n;
    },
    device_submit: (host, _device, queue, list, count) => this.submit(host, Number(queue), Number(list), Number(count)),
    device_take: (host, _device, queue, meta) => this.take(host, Number(queue), Number(meta)),
  };

  private config(offset: number, width: number): bigint {
    if (!this.present) return E.badHandle;
    if (![1, 2, 4, 8].includes(width) || offset % width !== 0 || offset >= 256) return E.badArgument;
    const space = Buffer.alloc(264);
    space.writeBigUInt64LE(BigInt(this.claimedSectors ?? this.disk.sectors), 0);
    space.writeUInt32LE(QUEUE_SIZE_MAX - 2, 12);
    space.writeUInt32LE(SECTOR_BYTES, 20);
    let value = 0n;
    for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(space[offset + i]!);
    return value;
  }

  private submit(host: Host, queue: number, list: number, count: number): bigint {
    if (!this.present) return E.badHandle;
    if (this.state !== 'running' || queue !== 0 || this.queueSize === 0 || count < 1 || count > CHAIN_MAX) return E.badArgument;
    const view = new DataView(host.memory.buffer);
    const chain: Buffer_[] = [];
    let pieces = 0;
    for (let i = 0; i < count; i++) {
      const at = list + 16 * i;
      const one = { address: view.getUint32(at, true), bytes: view.getUint32(at + 4, true), write: view.getUint32(at + 8, true) !== 0 };
      if (one.bytes === 0) return E.badArgument;
      if (one.address + one.bytes > host.memory.buffer.byteLength) throw new Error('a buffer outside the memory: the kernel ends the caller');
      pieces += Math.floor((one.address + one.bytes - 1) / PAGE) - Math.floor(one.address / PAGE) + 1;
      chain.push(one);
    }
    if (pieces > CHAIN_MAX) return E.badArgument;
    const free = this.queueSize - this.inFlight.reduce((sum, one) => sum + one.pieces, 0);
    if (pieces > free) return E.full;
    const token = this.token++;
    const used = this.carryOut(new Uint8Array(host.memory.buffer), chain);
    this.inFlight.push({ token, pieces, used: used ?? 0, due_ns: used === null ? null : host.now_ns + this.delay_ns });
    return BigInt(token);
  }

  /** Does what the chain asks. Returns the used length, or null when no answer will come. */
  private carryOut(memory: Uint8Array, chain: Buffer_[]): number | null {
    const readable = Buffer.concat(chain.filter(({ write }) => !write).map(({ address, bytes }) => memory.subarray(address, address + bytes)));
    const writable = chain.filter(({ write }) => write);
    const room = writable.reduce((sum, { bytes }) => sum + bytes, 0);
    if (readable.length < 16 || room < 1) throw new Error('a chain without header or status: QEMU would stop the device');
    const type = readable.readUInt32LE(0);
    const data = readable.subarray(16);
    const bytes = type === BLK_IN ? room - 1 : data.length;
    const request: BlkRequest = { number: this.requests++, type, sector: Number(readable.readBigUInt64LE(8)), bytes };
    this.watch(request);
    const fault = this.fault(request);
    if (fault?.kind === 'never') return null;
    const status = this.perform(memory, request, data, writable, fault);
    const end = writable.at(-1)!;
    memory[end.address + end.bytes - 1] = status;
    if (fault?.kind === 'used') return fault.bytes;
    return type === BLK_IN && status === STATUS_OK ? room : 1;
  }

  private perform(memory: Uint8Array, request: BlkRequest, data: Uint8Array, writable: Buffer_[], fault: Fault | null): number {
    if (fault?.kind === 'status') return fault.status;
    if (fault?.kind === 'swallow') return STATUS_OK;
    if (request.type === BLK_FLUSH) {
      if (!(this.agreed & F_FLUSH)) return STATUS_UNSUPP;
      this.disk.flush();
      return fault?.kind === 'applied' ? fault.status : STATUS_OK;
    }
    if (request.type !== BLK_IN && request.type !== BLK_OUT) return STATUS_UNSUPP;
    const sector = fault?.kind === 'misdirect' ? fault.sector : request.sector;
    const count = request.bytes / SECTOR_BYTES;
    if (!Number.isInteger(count) || count === 0 || sector + count > this.disk.sectors) return STATUS_IOERR;
    if (request.type === BLK_OUT) {
      if (this.features & F_RO) return STATUS_IOERR;
      if (fault?.kind === 'torn') {
        const half = Buffer.from(this.disk.read(sector, count));
        half.set(data.subarray(0, fault.bytes));
        this.disk.write(sector, half);
        return STATUS_IOERR;
      }
      this.disk.write(sector, data);
    } else {
      let at = 0;
      const from = this.disk.read(sector, count);
      for (const { address, bytes } of writable) {
        const piece = from.subarray(at, at + bytes);
        memory.set(piece, address);
        at += piece.length;
      }
    }
    return fault?.kind === 'applied' ? fault.status : STATUS_OK;
  }

  private take(host: Host, queue: number, meta: number): bigint {
    if (!this.present) return E.badHandle;
    if (this.state !== 'running' || queue !== 0 || this.queueSize === 0) return E.badArgument;
    const at = this.inFlight.findIndex(({ due_ns }) => due_ns !== null && due_ns <= host.now_ns);
    if (at < 0) {
      host.advance(this.look_ns);
      return E.again;
    }
    const [done] = this.inFlight.splice(at, 1);
    words(host, meta, BigInt(done!.token), BigInt(done!.used), 0n);
    return 0n;
  }
}

function words(host: Host, address: number, a: bigint, b: bigint, c: bigint): void {
  const view = new DataView(host.memory.buffer);
  [a, b, c, 0n].forEach((word, i) => { view.setBigUint64(address + 8 * i, word, true); });
}
