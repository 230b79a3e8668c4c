// SPDX-License-Identifier: Apache-2.0
// A booted machine with services that the test plays: init-lite (index 0) and 1..count, each holding a send capability to every other in
// slot 1 + index (up to 7), init-lite's in slot 9 and its own in slot 1. Messages are texts at fixed places of each service's memory.
import type { BundleFile, BundleService } from '../../image/pack.js';
import { Machine, STATE, type Kernel, type MachineOptions } from './machine.js';
import { makeService, pack } from './modules.js';

export const OUT = 0x1000;
export const IN = 0x8000;
export const OWN = 1;
/** Slot of init-lite's endpoint. */
export const TO_INIT = 9;
/** Ticks that init-lite waits at first. */
export const INIT_WAIT = 500_000_000;
/** Peers that have a slot. */
export const PEERS = 7;
export const RIGHT = { send: 1, recv: 2, clone: 4, grant: 8, query: 16 } as const;
export const FLAG = { exec: 1, fixture: 2, spawn: 4, spawnExec: 8, bundle: 16, shutdown: 32, crashWithheld: 128 } as const;
/** Names of the played services. */
export const nameOf = (index: number): string => (index === 0 ? 'init-lite' : `s${index}`);
/** The slot that holds a send capability to service `index`. */
export const to = (index: number): number => 1 + index;

export interface WorldOptions extends Partial<MachineOptions> {
  /** changes to a service's manifest entry, by index */
  entries?: Record<number, Partial<BundleService> & { module?: number }>;
  depth?: number;
  files?: BundleFile[];
  /** entries after the played ones, not started */
  more?: BundleService[];
}

export class World {
  readonly machine: Machine;
  constructor(kernel: Kernel, readonly count: number, options: WorldOptions = {}) {
    const { entries = {}, depth = 4, files = [], more = [], ...rest } = options;
    const services = Array.from({ length: count + 1 }, (_, i) => makeService(nameOf(i), {
      depth, callsMask: ((1n << BigInt(count + 1)) - 1n) & ~(1n << BigInt(i)), flags: i === 0 ? FLAG.spawn | FLAG.bundle | FLAG.shutdown : FLAG.fixture,
      stackBytes: 4096, module: i, ...entries[i],
    }));
    this.machine = new Machine(kernel, { bundle: pack([...services, ...more], files), ...rest }).boot();
    for (let i = 1; i <= count; i++) this.good('process_create', i);
    for (let i = 1; i <= count; i++) this.introduce(i);
    for (let i = 1; i <= count; i++) this.good('process_start', i);
    this.good('recv', OWN, BigInt(IN), this.in(INIT_WAIT), 0);
  }
  /** Fills the peer slots of a created service. */
  introduce(index: number): void {
    for (let peer = 1; peer <= Math.min(this.count, PEERS); peer++) {
      if (peer === index) continue;
      const handle = this.good('process_endpoint', peer, RIGHT.send | RIGHT.clone)!;
      this.good('process_grant', index, to(peer), handle, RIGHT.send | RIGHT.clone);
      this.good('cap_close', handle);
    }
    this.good('process_grant', index, TO_INIT, OWN, RIGHT.send);
  }
  /** A call of whoever runs that must not fail; null when it switched. */
  good(name: string, ...args: (bigint | number)[]): bigint | null {
    const result = this.machine.sys(name, ...args);
    if (result !== null && result < 0n) throw new Error(`${name}(${args.join(', ')}) = ${result}`);
    return result;
  }
  get runs(): number { return this.machine.current; }
  /** Absolute time in ns, `ticks` of 100 ns from now. */
  in(ticks: number): bigint { return (this.machine.time + BigInt(ticks)) * 100n; }
  /** Yields until `index` runs. */
  run(index: number): this {
    if (index === 0 && this.machine.state(0) === STATE.receiving) this.rouse();
    for (let n = 0; n < 64 && this.runs !== index; n++) this.machine.sys('yield');
    if (this.runs !== index) throw new Error(`service ${index} does not run: state ${this.machine.state(index)}`);
    return this;
  }
  /** A message from whoever runs wakes init-lite, and init-lite takes it. */
  private rouse(): void {
    this.send(TO_INIT, '');
    if (this.machine.result(0) !== 0n) throw new Error(`init-lite woke with ${this.machine.result(0)}`);
  }
  waits(index: number): boolean { return this.machine.state(index) >= STATE.receiving && this.machine.state(index) <= STATE.calling; }

  send(handle: bigint | number, text: string | Uint8Array, ticks = 0, move: bigint | number = 0): bigint | null {
    return this.machine.sys('send', handle, OUT, this.out(text) | (BigInt(move) << 32n), ticks === 0 ? 0n : this.in(ticks));
  }
  recv(ticks = 0, cap = 4096, handle: bigint | number = OWN): bigint | null {
    return this.machine.sys('recv', handle, BigInt(IN) | (BigInt(cap) << 32n), ticks === 0 ? 0n : this.in(ticks), 0);
  }
  call(handle: bigint | number, text: string | Uint8Array, ticks = 1000, cap = 4096, move: bigint | number = 0): bigint | null {
    return this.machine.sys('call', handle, OUT, this.out(text) | (BigInt(move) << 32n), BigInt(IN) | (BigInt(cap) << 32n), this.in(ticks));
  }
  reply(handle: bigint | number, text: string | Uint8Array, move: bigint | number = 0): bigint | null {
    return this.machine.sys('reply', handle, OUT, this.out(text) | (BigInt(move) << 32n));
  }
  replyRecv(handle: bigint | number, text: string | Uint8Array, ticks: number, endpoint: bigint | number = OWN, buffer = BigInt(IN) | (4096n << 32n)): bigint | null {
    return this.machine.sys('reply_recv', BigInt(handle) | (BigInt(endpoint) << 32n), OUT, this.out(text), buffer, this.in(ticks));
  }
  private out(text: string | Uint8Array): bigint {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
    this.machine.poke(this.runs, OUT, bytes);
    return BigInt(bytes.length);
  }
  /** What a service received, given its length. */
  got(index: number, bytes: bigint | number): string { return this.machine.peek(index, IN, Number(bytes)).toString('latin1'); }
  /** The text that the running service finds after a switch. */
  taken(): string { return this.got(this.runs, this.machine.result(this.runs)); }
  /** meta word `n` of the running service. */
  meta(n: 0 | 1 | 2 | 3): bigint { return this.machine.meta(this.runs)[n]; }
  /** Moved handle of the last receive, low half of meta word 2. */
  moved(): number { return Number(this.meta(2) & 0xffffffffn); }
  counter(name: string): number { return this.machine.counter(name); }
}
