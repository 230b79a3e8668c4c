// SPDX-License-Identifier: Apache-2.0
// What IPC means, told once more in the plainest way: lists, maps and no limits but the table's. It answers, for each call, what the
// caller must find and who runs next; model.test.ts holds the kernel to it. Time in ticks of 100 ns. Written from abi/syscalls.toml.
import { limit } from '../../scripts/lib/abi.js';
import { E } from './machine.js';
import { Endpoint, Thread, type Cap, type Outcome, type State } from './model-state.js';
import { abi } from './modules.js';

const kernel = (key: string): number => limit(abi, 'kernel', key);
const SLICE = kernel('slice_ns') / 100;
const WAIT_MAX = kernel('wait_max_ns') / 100;
const MESSAGE_MAX = kernel('message_bytes_max');
const SMALL = kernel('message_small_bytes');
const SMALL_QUOTA = kernel('message_small_count') / 4;
const LARGE_QUOTA = kernel('message_large_count') / 4;
/** What a wait that ended in `dead` tells: the generation of now. */
const ENDED_META = (generation: number): (bigint | null)[] => [BigInt(generation)];

export class Model {
  threads: Thread[] = [];
  ready: Thread[] = [];
  running!: Thread;
  now = 0;
  sliceEnd = Infinity;
  dropped = 0;
  endpoints = new Set<Endpoint>();
  private readonly ages = new Map<number, { generation: number }>();
  delivered = 0;

  // --- scheduling ---
  makeReady(t: Thread): void {
    t.state = 'ready';
    t.deadline = Infinity;
    this.ready.push(t);
    if (this.sliceEnd === Infinity) this.sliceEnd = this.now + SLICE;
  }
  wake(t: Thread, outcome: Outcome): void {
    this.forget(t);
    t.server = null;
    t.outcome = outcome;
    this.makeReady(t);
  }
  schedule(): null {
    while (this.ready.length === 0) {
      this.sliceEnd = Infinity;
      const first = Math.min(...this.threads.filter((t) => t.waits()).map((t) => t.deadline));
      this.now = Math.max(this.now, first);
      this.expire();
    }
    const next = this.ready.shift()!;
    this.sliceEnd = this.ready.length === 0 ? Infinity : this.now + SLICE;
    return this.switchTo(next);
  }
  switchTo(t: Thread): null {
    t.state = 'running';
    this.running = t;
    return null;
  }
  expire(): void {
    for (const t of this.threads) if (t.waits() && t.deadline <= this.now) this.wake(t, { a0: E.timeout! });
  }
  pass(ticks: number): void {
    this.now += ticks;
    const over = this.sliceEnd <= this.now;
    if (over) this.sliceEnd = Infinity;
    this.expire();
    if (over && this.ready.length > 0) {
      this.makeReady(this.running);
      this.schedule();
    }
  }
  yield(): Outcome | null {
    if (this.ready.length === 0) return { a0: 0n };
    this.running.outcome = { a0: 0n };
    this.makeReady(this.running);
    return this.schedule();
  }
  private block(t: Thread, state: State, deadline: number): void { t.state = state; t.deadline = deadline; }
  /** No list names the thread any more. */
  private forget(t: Thread): void {
    const e = t.endpoint;
    t.endpoint = null;
    if (e === null) return;
    if (e.waiter === t) e.waiter = null;
    e.line = e.line.filter((other) => other !== t);
    e.queue = e.queue.filter((entry) => entry.kind !== 'caller' || entry.thread !== t);
  }

  // --- buffers ---
  get queued(): number { return this.threads.reduce((sum, t) => sum + t.small + t.large, 0); }
  private charge(t: Thread, bytes: number, by: 1 | -1): boolean {
    const field = bytes <= SMALL ? 'small' : 'large';
    if (by === 1 && (t[field] >= (bytes <= SMALL ? SMALL_QUOTA : LARGE_QUOTA) || this.pool(field) === 0)) return false;
    t[field] += by;
    return true;
  }
  private pool(field: 'small' | 'large'): number {
    return kernel(field === 'small' ? 'message_small_count' : 'message_large_count') - this.threads.reduce((sum, t) => sum + t[field], 0);
  }
  private movable(t: Thread, handle: number): Cap | null {
    const cap = t.find(handle);
    return cap !== null && !(cap.rights & 2) ? cap : null;
  }

  // --- sending ---
  private sendable(t: Thread, handle: number, bytes: number): Cap | Outcome {
    const cap = t.find(handle);
    if (cap === null) return { a0: E.bad_handle! };
    if (!(cap.rights & 1)) return { a0: E.no_right! };
    return bytes > MESSAGE_MAX ? { a0: E.too_large! } : cap;
  }
  /** Straight into a waiting receiver; false when it cannot take this. */
  private deliver(e: Endpoint, from: Thread, text: Buffer, move: number, rights: number, reply: number): boolean {
    const to = e.waiter!;
    if (text.length > to.inCap) return false;
    let moved = 0;
    if (move !== 0) {
      const cap = this.movable(from, move)!;
      const handle = to.insert(cap);
      if (handle === null) return false;
      from.remove(move);
      moved = handle;
    }
    e.waiter = null;
    to.endpoint = null;
    this.delivered++;
    to.outcome = { a0: BigInt(text.length), meta: [from.id, BigInt(reply), BigInt(moved) | (BigInt(rights) << 32n), 0n], text };
    return true;
  }
  private enqueue(e: Endpoint, t: Thread, text: Buffer, move: number, rights: number): boolean {
    if (e.queue.length >= e.depth || !this.charge(t, text.length, 1)) return false;
    const cap = move === 0 ? null : this.movable(t, move);
    if (cap !== null) t.remove(move);
    e.queue.push({ kind: 'message', from: t, text, cap, badge: rights });
    return true;
  }
  /** A receiver that could not be served directly looks for itself. */
  private nudge(e: Endpoint): void {
    const r = e.waiter;
    if (r === null) return;
    const outcome = this.take(e, r, r.inCap);
    if (outcome !== null) this.wake(r, outcome);
  }
  send(handle: number, text: Buffer, move: number, deadline: number): Outcome | null {
    const t = this.running;
    const cap = this.sendable(t, handle, text.length);
    if ('a0' in cap) return cap;
    const e = cap.endpoint;
    if (cap.generation !== e.generation) return { a0: E.dead! };
    if (move !== 0 && this.movable(t, move) === null) return { a0: E.bad_handle! };
    const receiver = e.waiter;
    if (receiver !== null && this.deliver(e, t, text, move, cap.rights, 0)) {
      this.makeReady(receiver);
      return { a0: 0n };
    }
    if (e.line.length === 0 && this.enqueue(e, t, text, move, cap.rights)) {
      this.nudge(e);
      return { a0: 0n };
    }
    if (deadline === 0) return { a0: E.full! };
    if (e.owner === t) return { a0: E.not_declared! };
    if (deadline <= this.now) return { a0: E.timeout! };
    if (deadline - this.now > WAIT_MAX) return { a0: E.bad_argument! };
    t.out = { text, move, rights: cap.rights };
    t.endpoint = e;
    e.line.push(t);
    this.block(t, 'sending', deadline);
    this.nudge(e);
    return this.schedule();
  }
  call(handle: number, text: Buffer, move: number, inCap: number, deadline: number): Outcome | null {
    const t = this.running;
    const cap = this.sendable(t, handle, text.length);
    if ('a0' in cap) return cap;
    const e = cap.endpoint;
    if (cap.generation !== e.generation) return { a0: E.dead!, meta: ENDED_META(e.generation) };
    if (e.owner === t) return { a0: E.not_declared! };
    if (move !== 0 && this.movable(t, move) === null) return { a0: E.bad_handle! };
    if (deadline <= this.now) return { a0: E.timeout! };
    if (deadline - this.now > WAIT_MAX) return { a0: E.bad_argument! };
    t.inCap = inCap;
    t.calls++;
    t.replyHandle = (0x80000000 | ((t.calls & 0x7fffff) << 8) | t.index) >>> 0;
    const receiver = e.waiter;
    if (receiver !== null && this.deliver(e, t, text, move, cap.rights, t.replyHandle)) {
      t.server = receiver;
      t.endpoint = null;
      this.block(t, 'calling', deadline);
      return this.switchTo(receiver);
    }
    t.out = { text, move, rights: cap.rights };
    t.server = null;
    t.endpoint = e;
    this.block(t, 'calling', deadline);
    if (e.queue.length < e.depth && e.line.length === 0) {
      e.queue.push({ kind: 'caller', thread: t });
      this.nudge(e);
    } else {
      e.line.push(t);
    }
    return this.schedule();
  }

  // --- receiving ---
  /** The oldest message, from the queue or else from the line; null when there is none. */
  private take(e: Endpoint, t: Thread, cap: number): Outcome | null {
    const entry = e.queue[0] ?? (e.line[0] === undefined ? undefined : { kind: 'caller' as const, thread: e.line[0] });
    if (entry === undefined) return null;
    const text = entry.kind === 'message' ? entry.text : entry.thread.out.text;
    if (text.length > cap) return { a0: E.too_large!, meta: [BigInt(text.length)] };
    const gift = entry.kind === 'message' ? entry.cap : entry.thread.out.move === 0 ? null : this.movable(entry.thread, entry.thread.out.move);
    let moved = 0;
    if (gift !== null) {
      const handle = t.insert(gift);
      if (handle === null) return { a0: E.no_slot! };
      moved = handle;
    }
    const queued = e.queue.length > 0;
    if (queued) e.queue.shift();
    else e.line.shift();
    let reply = 0;
    const from = entry.kind === 'message' ? entry.from : entry.thread;
    const badge = entry.kind === 'message' ? entry.badge : from.out.rights;
    if (entry.kind === 'message') {
      this.charge(from, text.length, -1);
    } else {
      if (gift !== null) from.remove(from.out.move);
      from.endpoint = null;
      if (from.state === 'calling') {
        from.server = t;
        reply = from.replyHandle;
      } else {
        this.wake(from, { a0: 0n });
      }
    }
    this.admit(e);
    this.delivered++;
    return { a0: BigInt(text.length), meta: [from.id, BigInt(reply), BigInt(moved) | (BigInt(badge) << 32n), 0n], text };
  }
  private admit(e: Endpoint): void {
    const t = e.line[0];
    if (t === undefined || e.queue.length >= e.depth) return;
    if (t.state === 'calling') {
      e.line.shift();
      e.queue.push({ kind: 'caller', thread: t });
    } else if (this.enqueue(e, t, t.out.text, t.out.move, t.out.rights)) {
      e.line.shift();
      t.endpoint = null;
      this.wake(t, { a0: 0n });
    }
  }
  recv(handle: number, inCap: number, deadline: number): Outcome | null { return this.receive(this.running.find(handle), inCap, deadline, null); }
  private receive(cap: Cap | null, inCap: number, deadline: number, next: Thread | null): Outcome | null {
    const t = this.running;
    const later = (outcome: Outcome): Outcome => {
      if (next !== null) this.makeReady(next);
      return outcome;
    };
    if (cap === null) return { a0: E.bad_handle! };
    if (!(cap.rights & 2)) return { a0: E.no_right! };
    if (t.notify !== 0 && (deadline !== 0 || cap.endpoint === t.own)) {
      const bits = BigInt(t.notify);
      t.notify = 0;
      return later({ a0: 0n, meta: [0n, 0n, 0n, bits] });
    }
    const taken = this.take(cap.endpoint, t, inCap);
    if (taken !== null) return later(taken);
    if (deadline <= this.now) return later({ a0: E.timeout! });
    if (deadline - this.now > WAIT_MAX) return later({ a0: E.bad_argument! });
    t.inCap = inCap;
    t.endpoint = cap.endpoint;
    cap.endpoint.waiter = t;
    this.block(t, 'receiving', deadline);
    return next === null ? this.schedule() : this.switchTo(next);
  }
  private callerOf(t: Thread, reply: number): Thread | null {
    return this.threads.find((c) => c.state === 'calling' && c.replyHandle === reply && c.server === t) ?? null;
  }
  private answer(t: Thread, c: Thread, text: Buffer, move: number): bigint {
    if (text.length > c.inCap || text.length > MESSAGE_MAX) return E.too_large!;
    let moved = 0;
    if (move !== 0) {
      const cap = this.movable(t, move);
      if (cap === null) return E.bad_handle!;
      const handle = c.insert(cap);
      if (handle === null) return E.no_slot!;
      t.remove(move);
      moved = handle;
    }
    c.outcome = { a0: BigInt(text.length), meta: [t.id, 0n, BigInt(moved), 0n], text };
    c.server = null;
    this.delivered++;
    return 0n;
  }
  reply(reply: number, text: Buffer, move: number): Outcome {
    const c = this.callerOf(this.running, reply);
    if (c === null) {
      this.dropped++;
      return { a0: E.bad_handle! };
    }
    const result = this.answer(this.running, c, text, move);
    if (result === 0n) this.makeReady(c);
    return { a0: result };
  }
  replyRecv(reply: number, endpoint: number, text: Buffer, move: number, inCap: number, deadline: number): Outcome | null {
    const t = this.running;
    const cap = t.find(endpoint);
    if (cap === null) return { a0: E.bad_handle! };
    if (!(cap.rights & 2)) return { a0: E.no_right! };
    if (reply === 0) return this.receive(cap, inCap, deadline, null);
    const c = this.callerOf(t, reply);
    if (c === null) {
      this.dropped++;
      return this.receive(cap, inCap, deadline, null);
    }
    const result = this.answer(t, c, text, move);
    if (result === 0n) return this.receive(cap, inCap, deadline, c);
    this.dropped++;
    this.wake(c, { a0: result });
    return this.receive(cap, inCap, deadline, null);
  }

  // --- capabilities and ends ---
  clone(handle: number, rights: number): Outcome {
    const t = this.running;
    const cap = t.find(handle);
    if (cap === null) return { a0: E.bad_handle! };
    if (!(cap.rights & 4) || rights & (~cap.rights | 2)) return { a0: E.no_right! };
    const made = t.insert({ ...cap, rights });
    return { a0: made === null ? E.no_slot! : BigInt(made) };
  }
  close(handle: number): Outcome {
    const t = this.running;
    const cap = t.find(handle);
    if (cap === null) return { a0: E.bad_handle! };
    if (cap.rights & 2) this.endEndpoint(cap.endpoint);
    t.remove(handle);
    return { a0: 0n };
  }
  query(handle: number): Outcome {
    const cap = this.running.find(handle);
    if (cap === null) return { a0: E.bad_handle! };
    return { a0: 0n, meta: [1n, BigInt(cap.rights), BigInt(cap.generation), BigInt(cap.endpoint.generation)] };
  }
  /** `where` is what the kernel's new handle says: which of the free ones it took is its own affair. */
  create(depth: number, where: (handle: number) => { place: number; generation: number }): Outcome {
    const t = this.running;
    if (depth < 1 || depth > kernel('endpoint_depth_max')) return { a0: E.bad_argument! };
    const owned = [...this.endpoints].filter((e) => e.owner === t && e !== t.own).length;
    const made = this.endpoints.size - this.threads.length;
    if (owned >= kernel('endpoints_per_service_max') || made >= kernel('endpoints_max') - kernel('threads_max')) return { a0: E.full! };
    const e = new Endpoint(t, depth, 0);
    const handle = t.insert({ endpoint: e, rights: 15, generation: 0 });
    if (handle === null) return { a0: E.no_slot! };
    this.endpoints.add(e);
    const { place, generation } = where(handle);
    e.place = place;
    e.age = this.ages.get(place) ?? e.age;
    this.ages.set(place, e.age);
    e.generation = generation;
    t.find(handle)!.generation = e.generation;
    return { a0: BigInt(handle) };
  }
  endEndpoint(e: Endpoint): void {
    e.generation++;
    e.waiter = null;
    for (const entry of e.queue.splice(0)) {
      if (entry.kind === 'message') this.charge(entry.from, entry.text.length, -1);
      else this.tellDead(e, entry.thread);
    }
    for (const t of e.line.splice(0)) this.tellDead(e, t);
    if (e !== e.owner.own) this.endpoints.delete(e);
  }
  private tellDead(e: Endpoint, t: Thread): void {
    t.endpoint = null;
    this.wake(t, { a0: E.dead!, meta: ENDED_META(e.generation) });
  }
  endThread(t: Thread, cause: number, code: bigint): void {
    this.ready = this.ready.filter((other) => other !== t);
    this.forget(t);
    t.state = 'ended';
    t.server = null;
    t.outcome = null;
    t.end = { cause, code, generation: t.generation };
    for (const c of this.threads) {
      if (c.state === 'calling' && c.server === t) this.wake(c, { a0: E.dead!, meta: ENDED_META(t.own.generation + 1) });
    }
    const owned = [...this.endpoints].filter((e) => e.owner === t).sort((a, b) => a.place - b.place);
    for (const e of owned) this.endEndpoint(e);
    t.slots.fill(null);
    t.generations.fill(0);
    const creator = this.threads[0]!;
    creator.notify |= 2;
    if (creator.state === 'receiving') {
      const bits = BigInt(creator.notify);
      creator.notify = 0;
      this.wake(creator, { a0: 0n, meta: [0n, 0n, 0n, bits] });
    }
  }
}
