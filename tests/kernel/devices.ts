// SPDX-License-Identifier: Apache-2.0
// The devices of the simulated machine: the interrupt controller and virtio-mmio devices in both transports. A test sets how a device
// behaves and answers its requests itself. Registers: virtio 1.2, section 4.2.2 and 4.2.4; PLIC specification 1.0.

export const SLOTS = 8;
const MAGIC = 0x74726976;
const FEATURES_OK = 8;
const USED_OFFSET = 4096;

/** What a device needs of the machine: bytes behind a physical address. */
export interface Memory { phys(at: number, bytes: number): Buffer }
export interface MmioDevice {
  attach(memory: Memory, raise: () => void): void;
  load(offset: number, width: number): number;
  store(offset: number, width: number, value: number): void;
}

/** Sources 1..8; claims give the lowest pending enabled one. */
export class Plic {
  private readonly raised = new Set<number>();
  private enabled = 0;
  readonly completed: number[] = [];
  raise(source: number): void { this.raised.add(source); }
  pending(): boolean { return [...this.raised].some((source) => this.enabled & (1 << source)); }
  load(offset: number): number {
    if (offset !== 0x20_1004) return 0;
    const source = [...this.raised].filter((n) => this.enabled & (1 << n)).sort((a, b) => a - b)[0] ?? 0;
    this.raised.delete(source);
    return source;
  }
  store(offset: number, _width: number, value: number): void {
    if (offset === 0x2080) this.enabled = value;
    if (offset === 0x20_1004) this.completed.push(value);
  }
}

/** An empty slot: magic and version, device id 0. */
export class NoDevice implements MmioDevice {
  constructor(private readonly version: number) {}
  attach(): void { /* nothing to reach */ }
  load(offset: number): number { return offset === 0 ? MAGIC : offset === 4 ? this.version : 0; }
  store(): void { /* ignored, as the specification says */ }
}

/** One buffer of a request. */
export interface Piece { phys: number; bytes: number; write: boolean }
export interface Request { head: number; pieces: Piece[] }
interface Ring { size: number; desc: number; avail: number; used: number; seen: number; done: number; ready: boolean }

/** A virtio device whose requests wait until the test completes them. */
export class VirtioDevice implements MmioDevice {
  status = 0;
  resets = 0;
  accepted = 0n;
  readonly rings = new Map<number, Ring>();
  readonly waiting: { queue: number; request: Request }[] = [];
  /** behaviours of a bad device */
  takesFeaturesBack = false;
  queueMax = 256;
  config = Buffer.alloc(256);
  notifications = 0;
  private select = 0;
  private featureWord = 0;
  private driverWord = 0;
  private interrupt = 0;
  private memory!: Memory;
  private raise!: () => void;

  constructor(readonly id: number, readonly version: 1 | 2, readonly offered: bigint) {}
  attach(memory: Memory, raise: () => void): void { this.memory = memory; this.raise = raise; }
  ring(queue: number): Ring {
    let ring = this.rings.get(queue);
    if (ring === undefined) this.rings.set(queue, (ring = { size: 0, desc: 0, avail: 0, used: 0, seen: 0, done: 0, ready: false }));
    return ring;
  }

  load(offset: number, width: number): number {
    if (offset >= 0x100) return this.config.readUIntLE(offset - 0x100, width);
    const ring = this.ring(this.select);
    switch (offset) {
      case 0x00: return MAGIC;
      case 0x04: return this.version;
      case 0x08: return this.id;
      case 0x10: return Number((this.offered >> BigInt(32 * this.featureWord)) & 0xffffffffn);
      case 0x34: return this.queueMax;
      case 0x40: return this.version === 1 ? ring.desc / 4096 : 0;
      case 0x44: return ring.ready ? 1 : 0;
      case 0x60: return this.interrupt;
      case 0x70: return this.status;
      default: return 0;
    }
  }

  store(offset: number, _width: number, value: number): void {
    const ring = this.ring(this.select);
    const low = (field: 'desc' | 'avail' | 'used', high: boolean): void => {
      ring[field] = high ? (ring[field] % 2 ** 32) + value * 2 ** 32 : Math.floor(ring[field] / 2 ** 32) * 2 ** 32 + value;
    };
    switch (offset) {
      case 0x14: this.featureWord = value; break;
      case 0x20: this.accepted = (this.accepted & ~(0xffffffffn << BigInt(32 * this.driverWord))) | (BigInt(value) << BigInt(32 * this.driverWord)); break;
      case 0x24: this.driverWord = value; break;
      case 0x30: this.select = value; break;
      case 0x38: ring.size = value; break;
      case 0x40:
        ring.desc = value * 4096;
        ring.avail = ring.desc + 16 * ring.size;
        ring.used = ring.desc + USED_OFFSET;
        ring.ready = value !== 0;
        break;
      case 0x44: ring.ready = value === 1; break;
      case 0x50: this.notified(value); break;
      case 0x64: this.interrupt &= ~value; break;
      case 0x70: this.setStatus(value); break;
      case 0x80: case 0x84: low('desc', offset === 0x84); break;
      case 0x90: case 0x94: low('avail', offset === 0x94); break;
      case 0xa0: case 0xa4: low('used', offset === 0xa4); break;
      default: break;
    }
  }

  private setStatus(value: number): void {
    if (value === 0) {
      this.resets++;
      this.rings.clear();
      this.waiting.length = 0;
      this.interrupt = 0;
      this.accepted = 0n;
    }
    this.status = this.takesFeaturesBack ? value & ~FEATURES_OK : value;
  }

  /** Reads every new chain; a chain outside memory, a loop or a bad index is an error of the kernel. */
  private notified(queue: number): void {
    this.notifications++;
    const ring = this.ring(queue);
    if (!ring.ready || !(this.status & 4)) throw new Error(`queue ${queue} was notified before it was ready`);
    const newest = this.memory.phys(ring.avail, 4).readUInt16LE(2);
    for (; ring.seen !== newest; ring.seen = (ring.seen + 1) & 0xffff) {
      const head = this.memory.phys(ring.avail + 4 + 2 * (ring.seen % ring.size), 2).readUInt16LE(0);
      this.waiting.push({ queue, request: { head, pieces: this.chain(ring, head) } });
    }
  }
  private chain(ring: Ring, head: number): Piece[] {
    const pieces: Piece[] = [];
    for (let at = head; ; ) {
      if (at >= ring.size || pieces.length >= ring.size) throw new Error(`descriptor ${at} of ${ring.size}: not a chain`);
      const row = this.memory.phys(ring.desc + 16 * at, 16);
      const flags = row.readUInt16LE(12);
      const piece = { phys: Number(row.readBigUInt64LE(0)), bytes: row.readUInt32LE(8), write: (flags & 2) !== 0 };
      this.memory.phys(piece.phys, piece.bytes);
      pieces.push(piece);
      if (!(flags & 1)) return pieces;
      at = row.readUInt16LE(14);
    }
  }

  /** Puts one element into the used ring, whatever it says, and raises the interrupt. */
  complete(queue: number, head: number, bytes: number): void {
    const ring = this.ring(queue);
    const element = this.memory.phys(ring.used + 4 + 8 * (ring.done % ring.size), 8);
    element.writeUInt32LE(head >>> 0, 0);
    element.writeUInt32LE(bytes, 4);
    ring.done = (ring.done + 1) & 0xffff;
    this.memory.phys(ring.used, 4).writeUInt16LE(ring.done, 2);
    this.interrupt |= 1;
    this.raise();
  }
  /** Answers the oldest request by filling its writable pieces with `fill`. */
  answer(fill: number): void {
    const { queue, request } = this.waiting.shift()!;
    let bytes = 0;
    for (const piece of request.pieces) {
      if (!piece.write) continue;
      this.memory.phys(piece.phys, piece.bytes).fill(fill);
      bytes += piece.bytes;
    }
    this.complete(queue, request.head, bytes);
  }
}
