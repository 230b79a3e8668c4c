// SPDX-License-Identifier: Apache-2.0
// The guest's supervision as a state machine: each cause, each limit on both sides of its edge, the back-off, and what is never done.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMs, begin, dueMs, step, type Effect, type Input, type Lifecycle, type Rules } from '../../runtime/up/lifecycle.js';

const RULES: Rules = {
  heartbeatIntervalMs: 100, heartbeatTimeoutMs: 1_000, backoffFirstMs: 50, backoffMaxMs: 300, bootLimitMs: 2_000, panicGraceMs: 40, steadyMs: 5_000,
};

/** A supervisor without a machine: what happened and what was asked for. */
class Bench {
  state: Lifecycle;
  effects: Effect[];
  constructor(readonly rules: Rules = RULES) {
    const first = begin(0);
    this.state = first.state;
    this.effects = [...first.effects];
  }
  at(nowMs: number, input: Input): Effect[] {
    const { state, effects } = step(this.state, input, nowMs, this.rules);
    this.state = state;
    this.effects.push(...effects);
    return [...effects];
  }
  /** Ticks whenever one is due until `untilMs`, with every heartbeat answered at once unless told otherwise. */
  run(untilMs: number, answers = true): void {
    for (let turns = 0; turns < 10_000; turns++) {
      const due = dueMs(this.state, this.rules);
      if (due === null || due > untilMs) return;
      const asked = this.at(Math.max(due, this.state.seenMs), { kind: 'tick' }).some(({ kind }) => kind === 'ask');
      if (asked && answers) this.at(due, { kind: 'answer', dead: null });
    }
    throw new Error('the clock does not move');
  }
  up(nowMs = 10): this {
    this.at(nowMs, { kind: 'ready' });
    this.at(nowMs, { kind: 'answer', dead: null });
    return this;
  }
  kinds(): string[] { return this.effects.map(({ kind }) => kind); }
}
const exit = (signal = 0, status = 0): Input => ({ kind: 'exit', status, signal, said: '' });

test('a boot is up when it said ready and answered, and not before', () => {
  const bench = new Bench();
  assert.deepEqual(bench.effects, [{ kind: 'boot' }]);
  assert.deepEqual(bench.at(5, { kind: 'tick' }), []);
  assert.deepEqual(bench.at(20, { kind: 'ready' }), [{ kind: 'ask' }]);
  assert.equal(bench.state.phase.kind, 'starting');
  assert.deepEqual(bench.at(30, { kind: 'answer', dead: null }), [{ kind: 'up', tookMs: 30 }]);
  assert.equal(bench.state.phase.kind, 'up');
  assert.deepEqual(bench.at(31, { kind: 'ready' }), [], 'once');
});

test('a boot that takes too long is killed, at its limit and not before', () => {
  const bench = new Bench();
  assert.equal(dueMs(bench.state, RULES), 2_000);
  assert.deepEqual(bench.at(1_999, { kind: 'tick' }), []);
  assert.deepEqual(bench.at(2_000, { kind: 'tick' }), [{ kind: 'kill' }]);
  const [ended] = bench.at(2_001, exit(9));
  assert.deepEqual(ended, { kind: 'ended', cause: 'boot_timeout', detail: 'no `init: ready` within 2000 ms of its start', retryMs: 50 });
});

test('one that said ready and never answers has the same limit', () => {
  const bench = new Bench();
  bench.at(10, { kind: 'ready' });
  bench.run(1_999, false);
  assert.equal(bench.state.phase.kind, 'starting');
  bench.run(2_000, false);
  assert.equal(bench.state.phase.kind, 'ending');
  assert.match((bench.at(2_001, exit(9))[0] as { detail: string }).detail, /no answer on the control port/);
});

test('a hang is found at the timeout, not a ms before, and QEMU is killed', () => {
  const bench = new Bench().up(10);
  bench.run(1_009, false);
  assert.equal(bench.state.phase.kind, 'up');
  assert.ok(!bench.kinds().includes('kill'));
  bench.run(1_010, false);
  assert.equal(bench.kinds().at(-1), 'kill');
  assert.deepEqual(bench.at(1_011, exit(9)), [{ kind: 'ended', cause: 'hang', detail: 'no heartbeat for 1000 ms', retryMs: 50 }]);
  assert.equal(bench.state.restarts.hang, 1);
  assert.equal(bench.state.restarts.signal, 0, 'our own signal is not the cause');
});

test('answers keep it up: asked once an interval', () => {
  const bench = new Bench().up(0);
  bench.run(10_000);
  assert.equal(bench.state.phase.kind, 'up');
  assert.equal(bench.kinds().filter((kind) => kind === 'ask').length, 101);
});

test('time in which this process slept is not held against the guest, but only once', () => {
  const bench = new Bench().up(0);
  bench.run(500);
  assert.deepEqual(bench.at(60_000, { kind: 'tick' }), [{ kind: 'ask' }], 'it gets one interval more');
  assert.equal(bench.state.phase.kind, 'up');
  bench.run(60_099, false);
  assert.equal(bench.state.phase.kind, 'up');
  bench.run(60_101, false);
  assert.equal(bench.state.phase.kind, 'ending');
});

test('a panic has a moment to end by itself, then it is killed, and again until it is gone', () => {
  const bench = new Bench().up(0);
  assert.deepEqual(bench.at(50, { kind: 'panic', line: 'PANIC kernel: x' }), []);
  assert.deepEqual(bench.at(60, { kind: 'halt', line: 'kernel: halt 1' }), [], 'the first cause stands');
  assert.deepEqual(bench.at(89, { kind: 'tick' }), []);
  assert.deepEqual(bench.at(90, { kind: 'tick' }), [{ kind: 'kill' }]);
  assert.deepEqual(bench.at(130, { kind: 'tick' }), [{ kind: 'kill' }]);
  assert.deepEqual(bench.at(131, exit(9)), [{ kind: 'ended', cause: 'panic', detail: 'PANIC kernel: x', retryMs: 50 }]);
});

test('an end names its cause: halt, exit with QEMU\'s last words, signal, refused', () => {
  const cause = (...inputs: Input[]): [string, string] => {
    const bench = new Bench().up(0);
    const effects = inputs.flatMap((input, at) => bench.at(10 + at, input));
    const ended = effects.find((effect) => effect.kind === 'ended')!;
    return [ended.cause, ended.detail];
  };
  assert.deepEqual(cause({ kind: 'halt', line: 'kernel: halt 0' }, exit()), ['halt', 'kernel: halt 0']);
  assert.deepEqual(cause({ kind: 'exit', status: 1, signal: 0, said: 'no disk' }), ['exit', 'QEMU ended with status 1: no disk']);
  assert.deepEqual(cause(exit(9)), ['signal', 'QEMU was ended by signal 9']);
  assert.deepEqual(cause({ kind: 'refused', why: 'no pty' }), ['refused', 'no pty']);
});

test('a service that stays dead for the timeout ends the guest; one that comes back does not', () => {
  const bench = new Bench().up(0);
  assert.deepEqual(bench.at(100, { kind: 'answer', dead: 'dcgmd' }), []);
  assert.deepEqual(bench.at(200, { kind: 'answer', dead: null }), []);
  assert.deepEqual(bench.at(300, { kind: 'answer', dead: 'dcgmd' }), []);
  assert.deepEqual(bench.at(1_299, { kind: 'answer', dead: 'dcgmd' }), []);
  assert.deepEqual(bench.at(1_300, { kind: 'answer', dead: 'dcgmd' }), [{ kind: 'kill' }]);
  const [ended] = bench.at(1_301, exit(9));
  assert.deepEqual(ended, { kind: 'ended', cause: 'service', detail: 'service dcgmd is dead', retryMs: 50 });
});

test('the back-off doubles up to its greatest, and starts over after a steady time', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 1_000].map((n) => backoffMs(n, RULES)), [50, 100, 200, 300, 300, 300]);
  const bench = new Bench();
  let now = 0;
  const end = (lasted: number): number => {
    bench.up(now);
    now += lasted;
    const [ended] = bench.at(now, exit(9)) as Extract<Effect, { kind: 'ended' }>[];
    now += ended!.retryMs;
    assert.deepEqual(bench.at(now - 1, { kind: 'tick' }), [], 'not before its time');
    assert.deepEqual(bench.at(now, { kind: 'tick' }), [{ kind: 'boot' }]);
    return ended!.retryMs;
  };
  assert.deepEqual([end(1), end(1), end(1), end(1), end(4_999), end(5_000), end(1)], [50, 100, 200, 300, 300, 50, 100]);
  assert.deepEqual([bench.state.boots, bench.state.restarts.signal], [8, 7]);
});

test('there is never a second guest: while one ends, no boot; and none after stop', () => {
  const bench = new Bench().up(0);
  bench.at(10, { kind: 'panic', line: 'PANIC' });
  for (let ms = 11; ms < 500; ms += 7) assert.ok(!bench.at(ms, { kind: 'tick' }).some(({ kind }) => kind === 'boot'));
  bench.at(500, exit(9));
  bench.at(501, exit(9));
  assert.equal(bench.state.restarts.panic, 1, 'one end counts once');
  bench.at(502, { kind: 'stop' });
  assert.equal(dueMs(bench.state, RULES), null);
  for (const input of [{ kind: 'tick' }, { kind: 'ready' }, { kind: 'answer', dead: null }, exit(9), { kind: 'panic', line: '' }] as Input[]) {
    assert.deepEqual(bench.at(10_000, input), []);
  }
  assert.equal(bench.state.boots, 1);
});

test('late news of an ended guest changes nothing', () => {
  const bench = new Bench().up(0);
  bench.at(10, exit(9));
  const before = bench.state.phase;
  for (const input of [{ kind: 'answer', dead: null }, { kind: 'ready' }, { kind: 'panic', line: 'PANIC' }] as Input[]) bench.at(11, input);
  assert.deepEqual(bench.state.phase, before);
});
