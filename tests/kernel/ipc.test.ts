// SPDX-License-Identifier: Apache-2.0
// IPC on the shipping kernel, one situation a test: who waits for whom, what is lost, what wakes, and what a dying peer leaves behind.
// Random sequences are in model.test.ts.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { E, loadKernel, STATE, type Kernel } from './machine.js';
import { fnv1a64 } from '../../scripts/lib/abi.js';
import { FLAG, IN, OUT, OWN, RIGHT, to, World, type WorldOptions } from './world.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });
const world = (count: number, options: WorldOptions = {}): World => new World(kernel, count, options);

test('a call reaches a waiting server and its answer comes back', () => {
  const w = world(2);
  w.run(2).recv(5000);
  assert.equal(w.run(1).call(to(2), 'ping'), null);
  assert.equal(w.runs, 2, 'the server runs at once');
  assert.equal(w.taken(), 'ping');
  assert.equal(w.meta(0), fnv1a64('s1'));
  const reply = w.meta(1);
  assert.equal(w.replyRecv(reply, 'pong!', 5000), null);
  assert.equal(w.runs, 1);
  assert.equal(w.taken(), 'pong!');
  assert.equal(w.meta(0), fnv1a64('s2'));
});

test('a reply handle works once, and only for the service that received the call', () => {
  const w = world(3);
  w.run(2).recv(5000);
  w.run(1).call(to(2), 'ping', 1_000_000);
  const reply = w.run(2).meta(1);
  assert.equal(w.run(3).reply(reply, 'mine'), E.bad_handle);
  assert.equal(w.run(2).reply(reply, 'pong'), 0n);
  assert.equal(w.reply(reply, 'pong'), E.bad_handle);
  assert.equal(w.counter('dropped_replies'), 2);
});

test('a late caller hears timeout and its answer is dropped and counted', () => {
  const w = world(2);
  w.run(2).recv(5000);
  w.run(1).call(to(2), 'ping', 100);
  const reply = w.meta(1);
  w.machine.pass(99);
  assert.equal(w.machine.state(1), STATE.calling, 'not early');
  w.machine.pass(1);
  assert.equal(w.machine.state(1), STATE.ready);
  assert.equal(w.machine.result(1), E.timeout);
  assert.equal(w.run(2).reply(reply, 'pong'), E.bad_handle);
});

test('a deadline between two ticks is not early', () => {
  const w = world(2);
  const now = w.machine.time;
  w.run(1).machine.sys('recv', OWN, BigInt(IN) | (64n << 32n), now * 100n + 1050n, 0);
  w.machine.pass(10);
  assert.equal(w.machine.state(1), STATE.receiving, '1,000 ns passed of 1,050');
  w.machine.pass(1);
  assert.equal(w.machine.state(1), STATE.ready);
});

test('a caller that gives up leaves no place taken in the queue', () => {
  const w = world(4, { depth: 2 });
  for (const i of [1, 3]) w.run(i).call(to(2), `from ${i}`, 100);
  assert.equal(w.run(4).send(to(2), 'x'), E.full);
  w.machine.pass(100);
  assert.equal(w.run(4).send(to(2), 'one'), 0n);
  assert.equal(w.send(to(2), 'two'), 0n);
  assert.equal(w.send(to(2), 'three'), E.full);
  assert.equal(w.run(2).recv(), 3n);
  assert.equal(w.got(2, 3), 'one');
});

test('a receiver does not sleep while a sender waits in line', () => {
  // The queue holds one caller that gives up; a second one waits behind it. Nobody may sleep past the other.
  const w = world(3, { depth: 1 });
  w.run(1).call(to(2), 'first', 100);
  w.run(3).call(to(2), 'second', 100_000);
  w.machine.pass(100);
  const length = w.run(2).recv(1_000_000);
  assert.equal(length, 6n, 'the second caller is taken at once');
  assert.equal(w.got(2, 6), 'second');
});

test('a sender that is over its quota of buffers is served from the line', () => {
  const w = world(4, { depth: 64 });
  w.run(1);
  for (let n = 0; n < 64; n++) for (const peer of [3, 4]) assert.equal(w.send(to(peer), 'flood'), 0n);
  assert.equal(w.send(to(2), 'over'), E.full, 'a quarter of the small buffers');
  assert.equal(w.send(to(2), 'patient', 100_000), null);
  assert.equal(w.machine.state(1), STATE.sending);
  assert.equal(w.run(2).recv(1_000_000), 7n);
  assert.equal(w.got(2, 7), 'patient');
  assert.equal(w.meta(1), 0n, 'a send has no reply handle');
  assert.equal(w.machine.state(1), STATE.ready);
  assert.equal(w.machine.result(1), 0n);
});

test('large messages have a quota of their own', () => {
  const w = world(3, { depth: 64 });
  const large = new Uint8Array(513).fill(7);
  w.run(1);
  for (let n = 0; n < 16; n++) assert.equal(w.send(to(2), large), 0n);
  assert.equal(w.send(to(2), large), E.full);
  assert.equal(w.send(to(2), large.subarray(0, 512)), 0n);
  assert.equal(w.counter('queued_messages'), 17);
  assert.equal(w.run(3).send(to(2), large), 0n);
});

test('a waiting receiver whose buffer is too small hears it, and the message stays', () => {
  for (const how of ['send', 'call'] as const) {
    const w = world(2);
    w.run(2).recv(1_000_000, 3);
    w.run(1);
    if (how === 'send') assert.equal(w.send(to(2), 'four'), 0n);
    else assert.equal(w.call(to(2), 'four', 100_000), null);
    assert.equal(w.machine.result(2), E.too_large);
    assert.equal(w.run(2).meta(0), 4n);
    assert.equal(w.recv(0, 4), 4n);
    assert.equal(w.got(2, 4), 'four');
  }
});

test('a waiting receiver without a free slot hears it; the capability is not lost', () => {
  const w = world(2);
  w.run(2);
  const handles: bigint[] = [];
  for (;;) {
    const handle = w.machine.sys('cap_clone', to(1), RIGHT.send)!;
    if (handle === E.no_slot) break;
    handles.push(handle);
  }
  assert.equal(handles.length, 54);
  w.recv(1_000_000);
  w.run(1);
  const gift = w.good('cap_clone', OWN, RIGHT.send)!;
  const held = w.counter('own_handles');
  assert.equal(w.send(to(2), 'gift', 0, gift), 0n);
  assert.equal(w.counter('own_handles'), held - 1);
  assert.equal(w.machine.result(2), E.no_slot);
  assert.equal(w.run(2).recv(), E.no_slot);
  w.good('cap_close', handles[0]!);
  assert.equal(w.recv(), 4n);
  w.good('cap_query', w.moved());
  assert.deepEqual(w.machine.meta(2).slice(0, 2), [1n, 1n]);
});

test('a failed send leaves the capability with the sender', () => {
  const w = world(2, { depth: 1 });
  w.run(1);
  const gift = w.good('cap_clone', OWN, RIGHT.send)!;
  assert.equal(w.send(to(2), 'fills'), 0n);
  assert.equal(w.send(to(2), 'gift', 0, gift), E.full);
  assert.equal(w.send(to(2), 'gift', 100, gift), null);
  w.machine.pass(100);
  assert.equal(w.machine.result(1), E.timeout);
  assert.equal(w.run(1).machine.sys('cap_query', gift), 0n);
  assert.equal(w.call(to(2), 'gift', 100, 4096, gift), null);
  w.machine.pass(100);
  assert.equal(w.run(1).machine.sys('cap_query', gift), 0n);
});

test('reply_recv that cannot receive answers nobody', () => {
  const w = world(2);
  w.run(2).recv(1_000_000);
  w.run(1).call(to(2), 'ping', 100_000);
  const reply = w.meta(1);
  assert.equal(w.replyRecv(reply, 'pong', 1000, to(1)), E.no_right);
  assert.equal(w.replyRecv(reply, 'pong', 1000, 10), E.bad_handle, 'a slot that was never filled');
  assert.equal(w.replyRecv(reply, 'pong', 1000, 0), E.bad_handle);
  assert.equal(w.machine.state(1), STATE.calling, 'the caller still waits');
  assert.equal(w.reply(reply, 'pong'), 0n, 'and can still be answered');
  assert.equal(w.run(1).taken(), 'pong');
});

test('a server that dies in reply_recv is dead to the caller that it meant to answer', () => {
  const w = world(2);
  w.run(2).recv(1_000_000);
  w.run(1).call(to(2), 'ping', 100_000);
  w.replyRecv(w.meta(1), 'pong', 1000, OWN, 0xffff_0000n | (4096n << 32n));
  assert.equal(w.machine.state(2), STATE.ended);
  assert.equal(w.machine.result(1), E.dead);
  assert.notEqual(w.machine.state(1), STATE.calling);
});

test('a message and an answer hold 8,192 bytes and no more', () => {
  const w = world(2);
  const most = new Uint8Array(8192).fill(1);
  const over = new Uint8Array(8193).fill(1);
  w.run(2).recv(1_000_000, 20_000);
  assert.equal(w.run(1).send(to(2), over), E.too_large);
  assert.equal(w.call(to(2), over), E.too_large);
  assert.equal(w.call(to(2), most, 100_000, 20_000), null);
  const reply = w.meta(1);
  assert.equal(w.machine.result(2), 8192n);
  assert.equal(w.reply(reply, over), E.too_large, 'a reply is a message');
  assert.equal(w.reply(reply, most), 0n);
});

test('the end of a server tells everybody who waits for it', () => {
  const w = world(5, { depth: 1 });
  w.run(2).recv(1_000_000);
  w.run(1).call(to(2), 'taken', 1_000_000);
  w.run(3).call(to(2), 'queued', 1_000_000);
  w.run(4).send(to(2), 'in line', 1_000_000);
  w.run(5).call(to(2), 'in line too', 1_000_000);
  w.run(2).machine.sys('exit', 7);
  for (const i of [1, 3, 4, 5]) {
    assert.equal(w.machine.state(i) === STATE.ready || w.machine.state(i) === STATE.running, true, `service ${i}`);
    assert.equal(w.machine.result(i), E.dead, `service ${i}`);
    assert.equal(w.machine.meta(i)[0], 2n, `service ${i}: the new generation`);
  }
  assert.equal(w.run(1).send(to(2), 'x'), E.dead);
  assert.equal(w.call(to(2), 'x'), E.dead);
  assert.equal(w.machine.sys('cap_query', to(2)), 0n);
  assert.deepEqual(w.machine.meta(1), [1n, BigInt(RIGHT.send | RIGHT.clone), 1n, 2n]);
});

test('a restarted server starts empty, and old handles and old reply handles stay dead', () => {
  const w = world(3);
  w.run(1).send(to(2), 'lost');
  w.run(2).recv(1_000_000);
  w.run(2).recv(1_000_000);
  w.run(1).call(to(2), 'ping', 1_000_000);
  const stale = w.run(2).meta(1);
  w.machine.sys('exit', 0);
  assert.equal(w.machine.result(1), E.dead);
  w.run(0);
  assert.equal(w.machine.sys('process_event'), 2n);
  w.good('process_create', 2);
  w.good('process_start', 2);
  w.run(1);
  assert.equal(w.send(to(2), 'old handle'), E.dead);
  w.run(2);
  assert.equal(w.reply(stale, 'ghost'), E.bad_handle);
  assert.equal(w.recv(), E.timeout);
  assert.equal(w.counter('own_generation'), 2);
});

test('a caller that died and came back is not answered for its former self', () => {
  const w = world(3);
  w.run(2).recv(1_000_000);
  w.run(1).call(to(2), 'ping', 1_000_000);
  const stale = w.meta(1);
  w.run(0);
  w.good('process_kill', 1);
  assert.equal(w.machine.sys('process_event'), 1n);
  w.good('process_create', 1);
  w.introduce(1);
  w.good('process_start', 1);
  // The new one calls the same server, which takes the call but answers the old handle.
  w.run(1).call(to(2), 'again', 1_000_000);
  assert.equal(w.run(2).reply(stale, 'ghost'), E.bad_handle);
  assert.equal(w.machine.state(1), STATE.calling);
});

test('a caller that ends leaves nothing in the queue', () => {
  const w = world(3, { depth: 1 });
  w.run(1).call(to(2), 'gone', 1_000_000);
  w.run(3).call(to(2), 'kept', 1_000_000);
  w.run(0).good('process_kill', 1);
  assert.equal(w.run(2).recv(1_000_000), 4n);
  assert.equal(w.got(2, 4), 'kept');
});

test('a notification reaches a receiver at once and a caller when it next receives', () => {
  const w = world(2, { entries: { 1: { flags: FLAG.spawn } }, more: [] });
  w.run(0).recv(1_000_000);
  w.run(2).machine.sys('exit', 3);
  assert.equal(w.machine.result(0), 0n);
  assert.equal(w.run(0).meta(3), 2n);
  assert.equal(w.machine.sys('process_event'), 2n);
  assert.deepEqual(w.machine.meta(0), [0n, 3n, 0n, 1n]);
  assert.equal(w.machine.sys('process_event'), E.again);
  // While the parent waits in a call, the bit waits with it.
  const handle = w.good('process_endpoint', 1, RIGHT.send)!;
  w.good('process_create', 2);
  w.good('process_start', 2);
  w.call(handle, 'long', 1_000_000);
  w.run(2).machine.sys('exit', 4);
  assert.equal(w.machine.state(0), STATE.calling);
  assert.equal(w.run(1).recv(), 4n);
  w.reply(w.meta(1), 'done');
  assert.equal(w.run(0).recv(), 0n);
  assert.equal(w.meta(3), 2n);
});

test('waiting needs a declared edge; not waiting does not', () => {
  const w = world(2, { depth: 1, entries: { 1: { callsMask: 0n } } });
  w.run(1);
  assert.equal(w.send(to(2), 'fits'), 0n);
  assert.equal(w.send(to(2), 'does not', 100), E.not_declared);
  assert.equal(w.call(to(2), 'never'), E.not_declared);
  assert.equal(w.run(2).call(to(1), 'declared', 100), null);
});

test('deadlines: 0 and the past never wait, more than the limit ahead is refused', () => {
  const w = world(2, { depth: 1 });
  w.run(1);
  const buffer = BigInt(IN) | (64n << 32n);
  const now = w.machine.time * 100n;
  assert.equal(w.machine.sys('recv', OWN, buffer, 0n, 0), E.timeout);
  assert.equal(w.machine.sys('recv', OWN, buffer, now, 0), E.timeout);
  assert.equal(w.machine.sys('recv', OWN, buffer, now + 60_000_000_100n, 0), E.bad_argument);
  assert.equal(w.machine.sys('recv', OWN, buffer, (1n << 64n) - 1n, 0), E.bad_argument);
  assert.equal(w.machine.sys('call', to(2), OUT, 1n, buffer, now), E.timeout);
  assert.equal(w.machine.sys('call', to(2), OUT, 1n, buffer, (1n << 64n) - 1n), E.bad_argument);
  w.send(to(2), 'x');
  assert.equal(w.machine.sys('send', to(2), OUT, 1n, (1n << 64n) - 1n), E.bad_argument);
  assert.equal(w.machine.sys('recv', OWN, buffer, now + 60_000_000_000n, 0), null, 'the limit itself waits');
});
