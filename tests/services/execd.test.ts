// SPDX-License-Identifier: Apache-2.0
// execd's shipping module under Node with a simulated kernel side of processes: policy first, each loader refusal, ends
// from the kernel alone, waits, crash records, the child table's limit, leaks, fuzzed frames.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import {
  buildModule, Host, type HostOptions, type Outcome, type Peer, type Script, type Step,
} from '../../runtime/node/index.js';
import {
  frame, fuzzed, id, mute, named, policyd, POLICYD_FAULTS, readReply, request, u32, u64, u8, type Question, type Reply,
} from './frames.js';

const abi = loadAbi();
const CHILDREN = limit(abi, 'execd', 'children_max');
const WAIT_MAX = BigInt(limit(abi, 'execd', 'wait_max_ns'));
const S = {
  ok: 0, malformed: 1, unsupported: 2, failed: 3, denied: 4, notFound: 5, busy: 6, timeout: 7, refused: 8, over: 9, unavailable: 10,
};
const MS = 1_000_000n;
const BAD_MODULE = -16n;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('execd'); });

/** The bundle that the fake bundlemgrd knows: name -> index; odd ones are no exec entries. */
const INDEX: Record<string, number> = { hello: 20, crash: 22, slots: 24, service: 21, ...Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`n${n}`, 40 + 2 * n])) };
interface Event { index: number; cause: number; code: bigint; generation: number }
interface Machine {
  created: number[]; started: number[]; killed: number[]; granted: string[]; events: Event[];
  /** what process_create answers instead, by index: [result, meta word] */
  create: Map<number, [bigint, number]>;
  start: bigint;
  generations: Map<number, number>;
}
function calls(machine: Machine): NonNullable<HostOptions['sys']> {
  const words = (host: Host, at: number | bigint, ...values: (number | bigint)[]): void => host.write(Number(at), frame(...[0, 1, 2, 3].map((i) => u64(values[i] ?? 0))));
  return {
    process_create: (host, index, meta) => {
      const planned = machine.create.get(Number(index));
      if (planned) {
        words(host, meta!, planned[1]);
        return planned[0];
      }
      const generation = (machine.generations.get(Number(index)) ?? 0) + 1;
      machine.generations.set(Number(index), generation);
      machine.created.push(Number(index));
      words(host, meta!, generation);
      return BigInt(index!);
    },
    process_grant: (_host, index, slot, handle, rights) => {
      machine.granted.push(`${index}:${slot}=${handle}/${rights}`);
      return 0n;
    },
    process_start: (_host, index) => {
      if (machine.start < 0n) return machine.start;
      machine.started.push(Number(index));
      return 0n;
    },
    process_endpoint: (host) => BigInt(host.grantPeer('child', 1)),
    process_kill: (_host, index) => { machine.killed.push(Number(index)); return 0n; },
    process_event: (host, meta) => {
      const event = machine.events.shift();
      if (!event) return -15n;
      words(host, meta!, event.cause, event.code, 0x99, event.generation);
      return BigInt(event.index);
    },
  };
}
const bundlemgrd: Peer = ({ bytes }) => {
  const at = Buffer.from(bytes);
  const name = at.toString('latin1', 9, 9 + at[8]!);
  const index = INDEX[name];
  const head = (status: number): Buffer => frame('BN', u8(1), u8(0x85), u8(status), at.subarray(4, 8));
  if (index === undefined) return head(3);
  const slots = name === 'slots' ? (1 << 3) | (1 << 5) : 0;
  return frame(head(0), u32(index), u32(index % 2 === 0 ? 1 : 0), u32(9), u32(9), u32(1), u32(slots), Buffer.alloc(64));
};
const samgrd: Peer = ({ bytes }) => {
  const at = Buffer.from(bytes);
  return { bytes: frame('SM', u8(1), u8(0x82), u8(0), at.subarray(4, 8)), movedPeer: at.toString('latin1', 9, 9 + at[8]!), movedRights: 1 };
};
const allowed: Peer = policyd(() => true);

function execd(script: (io: Host, machine: Machine) => Script, peers: Record<string, Peer> = {}): Host {
  const machine: Machine = { created: [], started: [], killed: [], granted: [], events: [], create: new Map(), start: 0n, generations: new Map() };
  const host = new Host({
    name: 'execd', wasm, sys: calls(machine),
    peers: { policyd: allowed, bundlemgrd, samgrd, logd: mute, metricsd: mute, child: mute, ...peers },
  });
  host.run((io) => script(io, machine));
  return host;
}
let nonce = 0;
interface Started { status: number; index: number; generation: number; detail: number; moved: number }
function* exec(io: Host, name: string, from = 'selftest'): Generator<Step, Started, Outcome> {
  nonce++;
  const outcome: Outcome = yield { kind: 'message', from: id(from), bytes: request('EX', 1, 1, nonce, named(name)), call: true, moved: 0, badge: 1 };
  const { status, nonce: echoed, body } = readReply(outcome.reply, 'EX', 1);
  assert.equal(echoed, nonce);
  assert.equal(body.length, 12);
  return { status, index: body.readUInt32LE(0), generation: body.readUInt32LE(4), detail: body.readUInt32LE(8), moved: outcome.replyMoved };
}
const waitFrame = (child: { index: number; generation: number }, deadline: bigint): Uint8Array =>
  request('EX', 1, 3, ++nonce, u32(child.index), u32(child.generation), u64(deadline));
function* wait(io: Host, child: { index: number; generation: number }, from = 'selftest', deadline = io.now_ns + MS): Generator<Step, Outcome, Outcome> {
  return yield { kind: 'message', from: id(from), bytes: waitFrame(child, deadline), call: true, moved: 0, badge: 1 };
}
function verdict(bytes: Uint8Array | null | undefined): { status: number; cause?: number; code?: bigint } {
  const { status, body } = readReply(bytes ?? null, 'EX', 3);
  return body.length === 0 ? { status } : { status, cause: body.readUInt32LE(0), code: body.readBigUInt64LE(4) };
}
function* end(io: Host, machine: Machine, ...events: Event[]): Generator<Step, Outcome, Outcome> {
  machine.events.push(...events);
  return yield* io.notify(2n);
}

test('runs what policyd allows: asks about sender and image, starts it, hands its endpoint out', () => {
  const asked: Question[] = [];
  execd(function* (io, machine) {
    const handles = io.handles.size;
    const child = yield* exec(io, 'hello');
    assert.deepEqual([child.status, child.index, child.generation], [S.ok, 20, 1]);
    assert.ok(child.moved >= 10);
    assert.equal(io.handles.size, handles + 1, 'the route to bundlemgrd is kept, the child\'s endpoint left');
    assert.deepEqual([machine.created, machine.started, machine.granted], [[20], [20], []]);
  }, { policyd: policyd(() => true, asked) });
  assert.deepEqual(asked.map(({ op, subject, target }) => [op, subject, target]), [[3, id('selftest'), id('hello')]]);
});

test('creates nothing for whom policyd denies, whatever the image', () => {
  execd(function* (io, machine) {
    for (const name of ['hello', 'service', 'no-such']) assert.equal((yield* exec(io, name)).status, S.denied);
    assert.deepEqual(machine.created, []);
  }, { policyd: policyd(() => false) });
});

for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
  test(`fails closed when policyd is at fault: ${name}`, () => {
    execd(function* (io, machine) {
      const got = yield* exec(io, 'hello');
      assert.deepEqual([got.status, got.moved], [S.unavailable, 0]);
      assert.deepEqual(machine.created, []);
    }, { policyd: fault });
  });
}

test('runs exec entries alone, and only what bundlemgrd knows', () => {
  execd(function* (io, machine) {
    assert.equal((yield* exec(io, 'service')).status, S.notFound, 'an entry that init-lite starts');
    assert.equal((yield* exec(io, 'no-such')).status, S.notFound);
    assert.deepEqual(machine.created, []);
  });
  for (const peer of [(() => null) as Peer, (({ bytes }) => frame('BN', u8(1), u8(0x85), u8(0), Buffer.from(bytes).subarray(4, 8), Buffer.alloc(87))) as Peer]) {
    execd(function* (io, machine) {
      assert.equal((yield* exec(io, 'hello')).status, S.unavailable, 'silent, or a frame of the wrong length');
      assert.deepEqual(machine.created, []);
    }, { bundlemgrd: peer });
  }
});

test('resolves a restarted bundlemgrd again', () => {
  execd(function* (io) {
    assert.equal((yield* exec(io, 'hello')).status, S.ok);
    io.killPeer('bundlemgrd');
    const handles = io.handles.size;
    assert.equal((yield* exec(io, 'n1')).status, S.ok);
    assert.equal(io.handles.size, handles, 'the dead route was closed');
  });
});

test('says why the loader refused, and leaves nothing half made', () => {
  execd(function* (io, machine) {
    for (let reason = 1; reason <= 16; reason++) {
      machine.create.set(20, [BAD_MODULE, reason]);
      const got = yield* exec(io, 'hello');
      assert.deepEqual([got.status, got.detail, got.moved], [S.refused, reason, 0]);
    }
    machine.create.set(20, [-12n, 0]);
    assert.equal((yield* exec(io, 'hello')).status, S.busy);
    machine.create.set(20, [-13n, 0]);
    assert.equal((yield* exec(io, 'hello')).status, S.failed);
    machine.create.clear();
    const handles = io.handles.size;
    machine.start = -12n;
    assert.equal((yield* exec(io, 'hello')).status, S.failed);
    assert.deepEqual(machine.killed, [20], 'a child that could not be started is ended');
    assert.equal(io.handles.size, handles, 'its endpoint was closed');
  });
});

test('grants exactly the slots of the manifest, with SEND alone', () => {
  execd(function* (io, machine) {
    assert.equal((yield* exec(io, 'slots')).status, S.ok);
    assert.deepEqual(machine.granted, ['24:3=3/1', '24:5=5/1']);
  });
});

test('tells the requester how its child ended, before or after it asks, and nobody else', () => {
  execd(function* (io, machine) {
    const child = yield* exec(io, 'hello');
    const early = yield* wait(io, child);
    assert.equal(early.reply, null, 'deferred');
    assert.equal(verdict((yield* wait(io, child)).reply).status, S.busy, 'one wait at a time');
    assert.equal(verdict((yield* wait(io, child, 'mallory')).reply).status, S.notFound);
    yield* end(io, machine, { index: 20, cause: 0, code: 42n, generation: 1 });
    assert.deepEqual(verdict(io.lateReplies.get(early.replyHandle)), { status: S.ok, cause: 0, code: 42n });
    assert.deepEqual(verdict((yield* wait(io, child)).reply), { status: S.ok, cause: 0, code: 42n }, 'an end is kept');
    assert.equal(verdict((yield* wait(io, { ...child, generation: 2 })).reply).status, S.notFound);
    assert.equal(verdict((yield* wait(io, child, 'mallory')).reply).status, S.notFound);
    const again = yield* exec(io, 'hello');
    assert.equal(again.generation, 2);
    assert.equal((yield* wait(io, again)).reply, null, 'the end of generation 1 is not that of 2');
  });
});

test('gives up a wait at its deadline and bounds it', () => {
  execd(function* (io, machine) {
    const child = yield* exec(io, 'hello');
    assert.equal(verdict((yield* wait(io, child, 'selftest', io.now_ns + WAIT_MAX + 1n)).reply).status, S.malformed);
    const patient = yield* wait(io, child, 'selftest', io.now_ns + WAIT_MAX);
    assert.equal(patient.reply, null);
    for (let n = 0; n < 5000 && !io.lateReplies.has(patient.replyHandle); n++) yield* io.idle();
    assert.equal(verdict(io.lateReplies.get(patient.replyHandle)).status, S.timeout);
    yield* end(io, machine, { index: 20, cause: 0, code: 0n, generation: 1 });
    assert.equal(verdict((yield* wait(io, child)).reply).status, S.ok);
  });
});

test('believes no client about an end, and no event about a child that is not its own', () => {
  execd(function* (io, machine) {
    const child = yield* exec(io, 'hello');
    const claim = readReply(yield* io.call('selftest', request('EX', 1, 2, 9, u32(20), u32(1))), 'EX', 2);
    assert.equal(claim.status, S.unsupported);
    yield* end(io, machine, { index: 31, cause: 8, code: 1n, generation: 1 }, { index: 20, cause: 8, code: 1n, generation: 9 });
    assert.equal((yield* wait(io, child)).reply, null, 'still running');
  });
});

test('logs a crash once, from the kernel\'s event, with child, trap and program counter; an exit is none', () => {
  const crashes: string[] = [];
  const logd: Peer = ({ bytes, call }) => {
    if (call) return { error: 'not_declared' };
    const at = Buffer.from(bytes);
    const [scope, message] = [at[13]!, at.readUInt16LE(14)];
    if (at.toString('latin1', 18, 18 + scope) === 'execd.crash') {
      assert.equal(at[12], 0, 'level error');
      crashes.push(at.toString('latin1', 18 + scope, 18 + scope + message), at.toString('latin1', 18 + scope + message));
    }
    return null;
  };
  execd(function* (io, machine) {
    const child = yield* exec(io, 'crash');
    yield* exec(io, 'hello');
    yield* end(io, machine, { index: 20, cause: 0, code: 3n, generation: 1 }, { index: 22, cause: 8, code: 0x1234n, generation: 1 });
    assert.deepEqual(verdict((yield* wait(io, child)).reply), { status: S.ok, cause: 8, code: 0x1234n });
  }, { logd });
  assert.deepEqual(crashes, ['crash crash abort', 'child=crash\nevent=crash.v1\ngeneration=1\npc=0000000000001234\ntrap=abort']);
});

test('keeps a crash record that logd does not take, and sends it later', () => {
  let full = true;
  let taken = 0;
  const logd: Peer = ({ call }) => {
    if (call) return { error: 'not_declared' };
    if (full) return { error: 'full' };
    taken++;
    return null;
  };
  execd(function* (io, machine) {
    yield* exec(io, 'crash');
    yield* end(io, machine, { index: 22, cause: 1, code: 1n, generation: 1 });
    yield* io.idle();
    assert.equal(taken, 0);
    full = false;
    yield* io.idle();
    assert.equal(taken, 1);
  }, { logd });
});

test(`remembers ${CHILDREN} children: running ones are kept, ended ones make room, oldest first`, () => {
  execd(function* (io, machine) {
    const children: Started[] = [];
    for (let n = 0; n < CHILDREN; n++) {
      children.push(yield* exec(io, `n${n}`));
      assert.equal(children[n]!.status, S.ok);
    }
    assert.equal((yield* exec(io, 'hello')).status, S.over);
    const ends = [3, 1].map((n): Event => ({ index: children[n]!.index, cause: 0, code: BigInt(n), generation: 1 }));
    yield* end(io, machine, ...ends);
    assert.equal((yield* exec(io, 'hello')).status, S.ok);
    assert.equal(verdict((yield* wait(io, children[3]!)).reply).status, S.notFound, 'the oldest end went');
    assert.equal(verdict((yield* wait(io, children[1]!)).reply).status, S.ok);
  });
});

test('is ready only when policyd answers, and answers no', () => {
  const ping = request('IN', 1, 2, 1);
  const lines = (peer: Peer): string[] => execd(function* (io) { yield* io.call('init-lite', ping); }, { policyd: peer }).console;
  assert.deepEqual(lines(policyd(() => false)), ['execd: ready']);
  assert.deepEqual(lines(allowed), []);
  for (const fault of Object.values(POLICYD_FAULTS)) assert.deepEqual(lines(fault), []);
});

test('survives fuzzed frames: one reply each, nothing runs', () => {
  const seed = 2024;
  execd(function* (io, machine) {
    for (const bytes of fuzzed(request('EX', 1, 1, 1, named('hello')), 1000, seed)) {
      const outcome: Outcome = yield { kind: 'message', from: id('mallory'), bytes, call: true, moved: 0, badge: 1 };
      assert.ok(outcome.reply, `seed ${seed}: ${bytes.toString('hex')}`);
    }
    assert.deepEqual(machine.created, []);
  }, { policyd: policyd(() => false) });
});
