// SPDX-License-Identifier: Apache-2.0
// The things of the IPC model: capabilities, endpoints, threads and what a thread finds when its call returns. Rules are in ipc-model.ts.
import { limit } from '../../scripts/lib/abi.js';
import { abi } from './modules.js';

/** Slots that init-lite fills lie below; received capabilities land from here up. */
const FIXED_SLOTS = 10;
const SLOTS = limit(abi, 'kernel', 'handles_per_thread');

export interface Cap { endpoint: Endpoint; rights: number; generation: number }
/** `from` is the sending thread for the quota; its name is what the receiver sees. */
export interface Message { kind: 'message'; from: Thread; text: Buffer; cap: Cap | null; badge: number }
export interface Caller { kind: 'caller'; thread: Thread }
export class Endpoint {
  queue: (Message | Caller)[] = [];
  line: Thread[] = [];
  waiter: Thread | null = null;
  /** where the kernel keeps it, which is the order in which a dying owner's endpoints end */
  place = 0;
  /** shared by whatever is at the same place later: an old handle is told the place's generation of now */
  age: { generation: number };
  constructor(readonly owner: Thread, readonly depth: number, generation: number) { this.age = { generation }; }
  get generation(): number { return this.age.generation; }
  set generation(value: number) { this.age.generation = value; }
}
/** What a thread finds when its call returns; meta words that are not promised are left out. */
export interface Outcome { a0: bigint; meta?: (bigint | null)[]; text?: Buffer }
export type State = 'created' | 'ready' | 'running' | 'receiving' | 'sending' | 'calling' | 'ended';

export class Thread {
  state: State = 'created';
  slots: (Cap | null)[] = new Array<Cap | null>(SLOTS).fill(null);
  generations: number[] = new Array<number>(SLOTS).fill(0);
  deadline = Infinity;
  endpoint: Endpoint | null = null;
  server: Thread | null = null;
  out: { text: Buffer; move: number; rights: number } = { text: Buffer.alloc(0), move: 0, rights: 0 };
  inCap = 0;
  calls = 0;
  replyHandle = 0;
  notify = 0;
  small = 0;
  large = 0;
  generation = 1;
  end: { cause: number; code: bigint; generation: number } | null = null;
  /** set when a waiting call was decided, until the thread runs and looks */
  outcome: Outcome | null = null;
  own!: Endpoint;
  constructor(readonly index: number, readonly id: bigint) {}
  handle(slot: number): number { return slot | (this.generations[slot]! << 8); }
  find(handle: number): Cap | null {
    const slot = handle & (SLOTS - 1);
    return slot !== 0 && this.handle(slot) === handle ? this.slots[slot]! : null;
  }
  insert(cap: Cap): number | null {
    for (let slot = FIXED_SLOTS; slot < SLOTS; slot++) {
      if (this.slots[slot] !== null) continue;
      this.slots[slot] = cap;
      return this.handle(slot);
    }
    return null;
  }
  remove(handle: number): void {
    const slot = handle & (SLOTS - 1);
    this.slots[slot] = null;
    this.generations[slot] = (this.generations[slot]! + 1) & 0x7fffff;
  }
  get handles(): number { return this.slots.filter((cap) => cap !== null).length; }
  waits(): boolean { return this.state === 'receiving' || this.state === 'sending' || this.state === 'calling'; }
}
