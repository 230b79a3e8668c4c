// SPDX-License-Identifier: Apache-2.0
// Owns: the exploration of one unit: a workload, a power cut after every request of it, several outcomes of each cut, a boot on each
// outcome with its check, cuts in the middle of that recovery, and further workloads and cuts on what recovered (generations).
// Invariant checked at each cut: the store opens, and holds the state after some prefix of what was submitted that contains everything
// acknowledged as durable: commits whole or absent, nothing resurrected, no value that nobody put.
// Limits: GENERATIONS_MAX deep; everything is chosen by the unit's seed, so a crash is named by seed, unit and number.
import { SECTOR_BYTES, applyCut, CUTS, type Cut, type DiskOp } from './disk.js';
import { STATS } from './frames.js';
import { History, type State } from './history.js';
import { Session, Violation } from './session.js';
import { SimUnit, type Failure } from './unit.js';
import { Workload } from './workload.js';

export const GENERATIONS_MAX = 3;

/** Where a run started and what reached the disk: enough for every cut of it. */
interface Trace {
  image: Uint8Array;
  log: DiskOp[];
  marks: number[];
}
type Pending = { sector: number; bytes: Uint8Array }[];

export class Unit extends SimUnit {
  /** Explores; stops at the first failure. */
  run(): void {
    const { plan } = this;
    let image: Uint8Array = new Uint8Array(plan.profile.diskSectors * SECTOR_BYTES);
    let state: State = new Map();
    try {
      if (plan.agingBursts > 0) {
        const aged = this.work(image, state, plan.agingBursts, 0, false);
        [image, state] = [aged.after, aged.state];
      }
      const { trace, history } = this.work(image, state, plan.bursts, 1, true);
      this.cuts(trace, history, 1, plan.variants);
    } catch (error) {
      if (error instanceof Stop) return;
      this.failure ??= { crash: this.tally.crashes, generation: 0, cut: 'none', lines: [String((error as Error).stack)] };
    }
  }

  /** Boots on an image, works, and keeps what reached the disk. */
  private work(image: Uint8Array, base: State, bursts: number, generation: number, tallied: boolean):
  { trace: Trace; history: History; after: Uint8Array; state: State } {
    const { disk } = this.device;
    disk.load(image);
    disk.recording = true;
    const history = new History(base);
    const workload = new Workload(this.plan.profile, this.contents, history, this.random);
    try {
      const session = new Session(this.program, this.device, this.mutant);
      const before = session.run(function* (io) {
        const held = yield* io.readState(workload.contents, true);
        if (typeof held === 'number') throw new Violation([`the store answers LIST with status ${held}`]);
        yield* workload.run(io, bursts);
        return { held, stats: yield* io.stats() };
      });
      history.seal();
      if (history.match(before.held.state, 0, 0) < 0) throw new Violation(['a clean boot changed the state', ...history.explain(before.held.state, 0, 0)]);
      if (typeof before.stats !== 'number') this.tally.compactions += before.stats[STATS.compactions]!;
    } catch (error) {
      throw this.fail(error, generation, 'none');
    }
    if (tallied) {
      this.tally.operations += history.operations.length;
      this.tally.acknowledged += history.operations.filter(({ status }) => status === 0).length;
      this.tally.refused += history.operations.filter(({ status }) => status !== 0).length;
    }
    const trace = { image, log: disk.log, marks: disk.marks };
    disk.log = [];
    disk.marks = [];
    return { trace, history, after: disk.current.slice(), state: history.stateAfter(history.operations.length) };
  }

  /** A cut before the first request and after each one, with `variants` outcomes. */
  private cuts(trace: Trace, history: History, generation: number, variants: number): void {
    const flushed = trace.image.slice();
    const pending: Pending = [];
    let applied = 0;
    for (const position of [0, ...trace.marks]) {
      for (; applied < position; applied++) advance(flushed, pending, trace.log[applied]!);
      // Nothing pending: every outcome is the same.
      const outcomes = pending.length === 0 ? 1 : Math.min(variants, CUTS.length + 4 * pending.length);
      for (let variant = 0; variant < outcomes; variant++) {
        const cut = variants === 1 ? this.random.pick(CUTS) : CUTS[variant] ?? this.random.pick(['prefix', 'mixed', 'mixed', 'late', 'torn'] as const);
        const image = flushed.slice();
        applyCut(image, pending, this.random, cut);
        this.tally[pending.length === 0 ? 'clean' : 'damaged']++;
        this.crash(image, history, history.window(position), generation, cut);
      }
    }
  }

  /** Boots on what a cut left and checks it; then, by chance, cuts the recovery, and goes on to the next generation. */
  private crash(image: Uint8Array, history: History, [least, greatest]: [number, number], generation: number, cut: Cut, recovery = false): void {
    const { plan, tally, random } = this;
    tally.crashes++;
    if (generation > 1) tally.later++;
    if (recovery) tally.inRecovery++;
    const { disk } = this.device;
    disk.load(image);
    const dig = !recovery && random.chance(plan.recoveryPercent);
    const goOn = generation < GENERATIONS_MAX && random.chance(plan.nextPercent);
    disk.recording = dig;
    let state: State;
    try {
      const held = new Session(this.program, this.device, this.mutant).run((io) => io.readState(this.contents, true));
      if (typeof held === 'number') throw new Violation([`the store answers LIST with status ${held}`]);
      state = held.state;
      const found = history.match(state, least, greatest);
      if (found < 0) throw new Violation(history.explain(state, least, greatest));
      if (found < greatest) tally.rolledBack++;
    } catch (error) {
      throw this.fail(error, generation, cut);
    }
    if (tally.crashes === this.stopAt) throw new Stop();
    if (dig) {
      const trace = { image, log: disk.log, marks: disk.marks };
      disk.log = [];
      disk.marks = [];
      this.recoveryCuts(trace, history, [least, greatest], generation);
    }
    if (!goOn) return;
    const next = this.work(image, state, 1 + random.below(plan.nextBursts), generation + 1, true);
    this.cuts(next.trace, next.history, generation + 1, 1);
  }

  private recoveryCuts(trace: Trace, history: History, window: [number, number], generation: number): void {
    const flushed = trace.image.slice();
    const pending: Pending = [];
    let applied = 0;
    for (const position of trace.marks) {
      for (; applied < position; applied++) advance(flushed, pending, trace.log[applied]!);
      const cut = this.random.pick(CUTS);
      const image = flushed.slice();
      applyCut(image, pending, this.random, cut);
      this.crash(image, history, window, generation, cut, true);
    }
  }

  private fail(error: unknown, generation: number, cut: Failure['cut']): Error {
    if (error instanceof Stop) return error;
    const lines = error instanceof Violation ? error.lines : [String((error as Error).stack ?? error)];
    this.failure = { crash: this.tally.crashes, generation, cut, lines };
    return new Stop();
  }
}

/** The unit is over: found out by `run`. */
class Stop extends Error {}

/** One thing that reached the disk: flushed bytes and what is pending behind them. */
function advance(flushed: Uint8Array, pending: Pending, op: DiskOp): void {
  if (op.kind === 'write') {
    pending.push(op);
    return;
  }
  for (const { sector, bytes } of pending) flushed.set(bytes, sector * SECTOR_BYTES);
  pending.length = 0;
}
