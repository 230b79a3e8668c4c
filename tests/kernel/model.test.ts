// SPDX-License-Identifier: Apache-2.0
// Random services against the model of ipc-model.ts: the same calls go to the shipping kernel and to the model, and every result, every
// received byte, who runs, what time it is, how long each queue is and how many handles, buffers and endpoints are held must agree.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { fnv1a64 } from '../../scripts/lib/abi.js';
import { Model } from './ipc-model.js';
import { loadKernel, TRAP, type Kernel } from './machine.js';
import { Endpoint, Thread, type Outcome } from './model-state.js';
import { Random } from '../random.js';
import { search } from './random.js';
import { IN, INIT_WAIT, nameOf, OUT, OWN, PEERS, RIGHT, to, TO_INIT, World } from './world.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });

const COUNT = 5;
const STEPS = 700;
const DEPTHS = [4, 1, 2, 3, 4, 6];

/** One random run: the machine, the model beside it, and what each service remembers. */
class Run {
  readonly world: World;
  readonly model = new Model();
  private readonly replies = new Map<number, number[]>();
  private sent = 0;
  seen = { calls: 0, timeouts: 0, dead: 0, full: 0, moved: 0 };

  constructor(private readonly random: Random) {
    this.world = new World(kernel, COUNT, { entries: Object.fromEntries(DEPTHS.map((depth, i) => [i, { depth, fixture: true }])) });
    for (let i = 0; i <= COUNT; i++) {
      const t = new Thread(i, fnv1a64(nameOf(i)));
      t.own = this.endpoint(new Endpoint(t, DEPTHS[i]!, 1), i);
      this.model.endpoints.add(t.own);
      t.slots[OWN] = { endpoint: t.own, rights: 15, generation: 1 };
      this.model.threads.push(t);
    }
    const init = this.model.threads[0]!;
    for (let n = 0; n < COUNT * (COUNT - 1); n++) init.generations[10]!++; // introductions passed through slot 10
    for (let i = 1; i <= COUNT; i++) this.introduce(this.model.threads[i]!);
    // World left init-lite waiting and the children ready in order; the first of them runs.
    this.model.now = Number(this.world.machine.time);
    init.state = 'receiving';
    init.deadline = this.model.now + INIT_WAIT;
    init.endpoint = init.own;
    init.own.waiter = init;
    for (let i = 1; i <= COUNT; i++) this.model.makeReady(this.model.threads[i]!);
    this.model.schedule();
  }
  private endpoint(e: Endpoint, place: number): Endpoint {
    e.place = Number(kernel.layout.ENDPOINTS) + place * Number(kernel.layout.ENDPOINT_BYTES);
    return e;
  }
  private introduce(t: Thread): void {
    for (let peer = 1; peer <= Math.min(COUNT, PEERS); peer++) {
      const e = this.model.threads[peer]!.own;
      if (peer !== t.index) t.slots[to(peer)] = { endpoint: e, rights: RIGHT.send | RIGHT.clone, generation: e.generation };
    }
    const init = this.model.threads[0]!.own;
    t.slots[TO_INIT] = { endpoint: init, rights: RIGHT.send, generation: init.generation };
  }

  // --- choices ---
  private text(): Buffer {
    const size = this.random.pick([0, 1, 7, 8, 9, 64, 512, 513, 600, 2000, 8192, 8193]);
    const bytes = Buffer.alloc(this.random.chance(70) ? 8 + this.random.below(60) : size);
    for (let i = 0; i < bytes.length; i += 509) bytes[i] = this.random.below(256);
    if (bytes.length >= 8) bytes.writeUInt32LE(++this.sent, 0);
    this.world.machine.poke(this.model.running.index, OUT, bytes);
    return bytes;
  }
  private handle(t: Thread, wanted: (rights: number) => boolean): number {
    const held = t.slots.map((cap, slot) => ({ cap, slot })).filter(({ cap }) => cap !== null && wanted(cap.rights)).map(({ slot }) => t.handle(slot));
    if (held.length > 0 && this.random.chance(94)) return this.random.pick(held);
    return this.random.pick([0, 5, 63, 64, 0x10a, 0x8000_0001, 0xffff_ffff, 10 | (this.random.below(4) << 8)]);
  }
  private deadline(t: Thread): number {
    const kind = this.random.below(10);
    if (kind < 3) return 0;
    if (kind < 6) return this.model.now + 1 + this.random.below(200);
    if (kind < 9) return this.model.now + 1 + this.random.below(20_000);
    return this.random.pick([this.model.now, this.model.now - 1, this.model.now + 600_000_000, this.model.now + 600_000_001, t.index === 0 ? 0 : 1]);
  }
  private cap(): number { return this.random.pick([8192, 4096, 4096, 4096, 64, 8]); }
  private move(t: Thread): number { return this.random.chance(15) ? this.handle(t, () => true) : 0; }
  private replyHandle(t: Thread): number {
    const held = this.replies.get(t.index) ?? [];
    if (held.length === 0 || this.random.chance(5)) return this.random.pick([0x8000_0001, 0x8000_0100, 0xffff_ffff, 0x8000_00ff, 0x1000]);
    const at = this.random.below(held.length);
    return this.random.chance(90) ? held.splice(at, 1)[0]! : held[at]!; // some are used twice
  }

  // --- one step ---
  /** Checks what a thread that runs again finds, then what it does next. */
  step(): void {
    const t = this.model.running;
    assert.equal(this.world.runs, t.index, 'who runs');
    assert.equal(this.world.machine.time, BigInt(this.model.now), 'what time it is');
    if (t.outcome !== null) this.compare(t, t.outcome, this.world.machine.result(t.index));
    t.outcome = null;
    this.act(t);
    if (this.random.chance(30)) this.pass(1 + this.random.below(this.random.chance(5) ? 12_000 : 300));
    assert.equal(this.world.machine.time, BigInt(this.model.now), 'what time it is');
    this.invariants();
  }
  private pass(ticks: number): void {
    this.world.machine.pass(ticks);
    this.model.pass(ticks);
  }
  private compare(t: Thread, outcome: Outcome, result: bigint): void {
    assert.equal(result, outcome.a0, `result of service ${t.index}`);
    const meta = this.world.machine.meta(t.index);
    outcome.meta?.forEach((word, n) => { if (word !== null) assert.equal(meta[n], word, `meta word ${n} of service ${t.index}`); });
    if (outcome.text !== undefined) {
      assert.ok(this.world.machine.peek(t.index, IN, outcome.text.length).equals(outcome.text), `bytes of service ${t.index}`);
      const reply = Number(outcome.meta![1]);
      if (reply !== 0) this.replies.set(t.index, [...(this.replies.get(t.index) ?? []).slice(-20), reply]);
      if (outcome.meta![2]! & 0xffffffffn) this.seen.moved++;
    }
  }
  private both(t: Thread, decided: Outcome | null, result: bigint | null): void {
    // A thread that waited and is the next to run returns from its call without a switch.
    const outcome = decided ?? (this.model.running === t ? t.outcome : null);
    if (decided === null && outcome !== null) t.outcome = null;
    assert.equal(result === null, outcome === null, `whether service ${t.index} goes on: kernel ${result}, model ${outcome?.a0}`);
    if (outcome !== null) this.compare(t, outcome, result!);
  }
  private act(t: Thread): void {
    const { random, model } = this;
    const m = this.world.machine;
    const at = (ticks: number): bigint => BigInt(ticks) * 100n;
    const kind = random.below(100);
    if (t.index === 0 && kind < 30) return this.supervise();
    if (kind < 18) {
      const [handle, text, move, deadline] = [this.handle(t, (r) => (r & 1) !== 0), this.text(), this.move(t), this.deadline(t)];
      const result = m.sys('send', handle, OUT, BigInt(text.length) | (BigInt(move >>> 0) << 32n), at(deadline));
      return this.both(t, model.send(handle, text, move, deadline), result);
    }
    if (kind < 36) {
      const [handle, text, move, deadline, cap] = [this.handle(t, (r) => (r & 1) !== 0), this.text(), this.move(t), this.deadline(t), this.cap()];
      const result = m.sys('call', handle, OUT, BigInt(text.length) | (BigInt(move >>> 0) << 32n), BigInt(IN) | (BigInt(cap) << 32n), at(deadline));
      this.seen.calls++;
      return this.both(t, model.call(handle, text, move, cap, deadline), result);
    }
    if (kind < 55) {
      const [handle, deadline, cap] = [this.handle(t, (r) => (r & 2) !== 0), this.deadline(t), this.cap()];
      const result = m.sys('recv', handle, BigInt(IN) | (BigInt(cap) << 32n), at(deadline), 0);
      return this.both(t, model.recv(handle, cap, deadline), result);
    }
    if (kind < 66) {
      const [reply, text, move] = [this.replyHandle(t), this.text(), this.move(t)];
      const result = m.sys('reply', reply, OUT, BigInt(text.length) | (BigInt(move >>> 0) << 32n));
      return this.both(t, model.reply(reply, text, move), result);
    }
    if (kind < 78) {
      const [reply, endpoint, text, move] = [this.random.chance(85) ? this.replyHandle(t) : 0, this.handle(t, (r) => (r & 2) !== 0), this.text(), this.move(t)];
      const [cap, deadline] = [this.cap(), this.deadline(t)];
      const handles = BigInt(reply >>> 0) | (BigInt(endpoint >>> 0) << 32n);
      const result = m.sys('reply_recv', handles, OUT, BigInt(text.length) | (BigInt(move >>> 0) << 32n), BigInt(IN) | (BigInt(cap) << 32n), at(deadline));
      return this.both(t, model.replyRecv(reply, endpoint, text, move, cap, deadline), result);
    }
    this.capabilities(t, kind);
  }
  private capabilities(t: Thread, kind: number): void {
    const { random, model } = this;
    const m = this.world.machine;
    if (kind < 82) {
      const [handle, rights] = [this.handle(t, () => true), random.pick([1, 1, 5, 0, 2, 8, 16, 0x10001])];
      return this.both(t, model.clone(handle, rights), m.sys('cap_clone', handle, rights));
    }
    if (kind < 86) {
      const handle = this.handle(t, (rights) => random.chance(10) || !(rights & 2));
      if (handle === t.handle(OWN) && random.chance(90)) return;
      return this.both(t, model.close(handle), m.sys('cap_close', handle));
    }
    if (kind < 89) {
      const handle = this.handle(t, () => true);
      return this.both(t, model.query(handle), m.sys('cap_query', handle));
    }
    if (kind < 92) {
      const depth = random.pick([1, 2, 4, 64, 0, 65]);
      const result = m.sys('endpoint_create', depth);
      return this.both(t, model.create(depth, (handle) => this.where(t, handle)), result);
    }
    if (kind < 97) return this.both(t, model.yield(), m.sys('yield'));
    if (kind < 98 && t.index !== 0) {
      m.sys('exit', 5);
      model.endThread(t, 0, 5n);
      model.schedule();
    }
  }
  /** Object and generation of a handle, from the kernel's table. */
  private where(t: Thread, handle: number): { place: number; generation: number } {
    const at = Number(kernel.layout.CAPS) + (t.index * 64 + (handle & 63)) * Number(kernel.layout.CAP_BYTES);
    return { place: this.world.machine.bytes.readUInt32LE(at + 8), generation: this.world.machine.bytes.readUInt32LE(at + 12) };
  }
  /** init-lite kills somebody, or brings everybody back who ended. */
  private supervise(): void {
    const { random, model } = this;
    const init = model.running;
    const child = model.threads[1 + random.below(COUNT)]!;
    if (child.state !== 'ended' && random.chance(30)) {
      assert.equal(this.world.machine.sys('process_kill', child.index), 0n);
      model.endThread(child, TRAP['killed']!, this.world.machine.word(child.index, 'pc'));
      return;
    }
    for (const t of model.threads.filter(({ end }) => end !== null)) {
      assert.equal(this.world.machine.sys('process_event'), BigInt(t.index));
      const meta = this.world.machine.meta(0);
      assert.deepEqual([meta[0], meta[1], meta[3]], [BigInt(t.end!.cause), t.end!.code, BigInt(t.end!.generation)]);
      t.end = null;
      if (this.free(init) > 1) this.revive(t, init);
    }
  }
  private free(t: Thread): number { return t.slots.slice(10).filter((cap) => cap === null).length; }
  private revive(t: Thread, init: Thread): void {
    if (init.slots[OWN] === null || init.generations[OWN] !== 0) return; // it closed its own endpoint: nobody can be introduced
    t.generation++;
    assert.equal(this.world.machine.sys('process_create', t.index), BigInt(t.index));
    t.slots[OWN] = { endpoint: t.own, rights: 15, generation: t.own.generation };
    t.state = 'created';
    for (let peer = 1; peer <= COUNT; peer++) {
      const other = model(this).threads[peer]!;
      if (peer === t.index) continue;
      if (other.state === 'ended') {
        assert.ok(this.world.machine.sys('process_endpoint', peer, 5)! < 0n, 'the endpoint of a service that ended');
        continue;
      }
      const handle = init.insert({ endpoint: other.own, rights: 5, generation: other.own.generation })!;
      assert.equal(this.world.good('process_endpoint', peer, 5), BigInt(handle));
      this.world.good('process_grant', t.index, to(peer), handle, 5);
      t.slots[to(peer)] = { endpoint: other.own, rights: 5, generation: other.own.generation };
      this.world.good('cap_close', handle);
      init.remove(handle);
    }
    this.world.good('process_grant', t.index, TO_INIT, OWN, 1);
    t.slots[TO_INIT] = { endpoint: init.own, rights: 1, generation: init.own.generation };
    this.world.good('process_start', t.index);
    model(this).makeReady(t);
  }

  private invariants(): void {
    const { model } = this;
    const m = this.world.machine;
    assert.equal(m.current, model.running.index, 'who runs next');
    for (const t of model.threads) {
      assert.equal(m.word32(t.index, 'handles'), t.handles, `handles of service ${t.index}`);
      assert.equal(m.bytes.readUInt32LE(t.own.place + kernel.offsets.e_count), t.own.queue.length, `queue of service ${t.index}`);
      if (t.waits()) assert.ok(m.timer <= BigInt(t.deadline), `the timer is armed for the deadline of service ${t.index}`);
    }
    if (model.ready.length > 0) assert.ok(m.timer <= BigInt(model.sliceEnd), 'a slice is running while somebody else is ready');
  }
  counters(): void {
    assert.equal(this.world.counter('queued_messages'), this.model.queued, 'buffers in use');
    assert.equal(this.world.counter('endpoints'), this.model.endpoints.size, 'endpoints in use');
    assert.equal(this.world.counter('dropped_replies'), this.model.dropped, 'replies dropped');
  }
  /** Everybody ends; then nothing may be held any more but what waits for init-lite itself. */
  drain(): void {
    for (let n = 0; n < 200 && this.model.running.index !== 0; n++) {
      const t = this.model.running;
      this.world.machine.sys('exit', 0);
      this.model.endThread(t, 0, 0n);
      this.model.schedule();
    }
    for (const t of this.model.threads.slice(1)) {
      if (t.state === 'ended') continue;
      this.world.good('process_kill', t.index);
      this.model.endThread(t, TRAP['killed']!, 0n);
    }
    this.model.running.notify = 0;
    this.counters();
    const own = this.model.threads[0]!;
    assert.equal(this.model.queued, [...this.model.endpoints].filter((e) => e.owner === own).reduce((sum, e) => sum + e.queue.length, 0));
    assert.equal(this.world.counter('running'), 1);
  }
}
const model = (run: Run): Model => run.model;

test('random services find what the model says', () => {
  const total = { calls: 0, moved: 0, delivered: 0 };
  const runs = search(60, 6, (random) => {
    const run = new Run(random);
    for (let n = 0; n < STEPS; n++) {
      try {
        run.step();
        if (n % 16 === 0) run.counters();
      } catch (error) {
        throw new Error(`step ${n}: ${(error as Error).message}`, { cause: error });
      }
    }
    run.drain();
    total.calls += run.seen.calls;
    total.moved += run.seen.moved;
    total.delivered += run.model.delivered;
  }, 3000);
  // A search that reaches nothing proves nothing.
  assert.ok(total.delivered > runs * 50 && total.calls > runs * 50 && total.moved > runs, JSON.stringify(total));
});
