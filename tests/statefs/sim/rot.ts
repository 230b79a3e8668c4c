// SPDX-License-Identifier: Apache-2.0
// Owns: what happens to flushed data that rots: bit flips, noise, sectors that were zeroed, written elsewhere or never written although
// the disk said so. Nothing can be kept whole then; what is demanded is that the store never lies.
// Invariant checked: it opens (unless a superblock was hit), each value is one that was put, all values together are of one moment of
// the history (what is missing is missing, nothing newer or older is mixed in), flips and noise that cost something are reported with their
// position, a rotten value under a running store is refused and never wrong, and what is written afterwards survives a boot exactly.
// Limits: one to three damaged sectors an image; a lost last write cannot be told from one that never was, so it needs no report.
import { SECTOR_BYTES } from './disk.js';
import { STATS, STATUS } from './frames.js';
import { History, type State } from './history.js';
import { Session, Violation, type Steps } from './session.js';
import { SimUnit } from './unit.js';
import { Workload } from './workload.js';

const SUPER_SECTORS = 16;
const MIDDLE_BURSTS = 15;
const AFTER_BURSTS = 4;
const DAMAGES = ['flip', 'flips', 'noise', 'zero', 'stale', 'misdirected'] as const;
type Damage = (typeof DAMAGES)[number];
/** Damage that no checksum can miss: it is reported when it cost something. */
const REPORTED: readonly Damage[] = ['flip', 'flips', 'noise'];

export class RotUnit extends SimUnit {
  /** Ages a disk, then damages copies of it `images` times. */
  run(images: number): void {
    let what = 'none';
    try {
      const history = new History(new Map());
      const middle = this.work(history, this.plan.agingBursts - MIDDLE_BURSTS);
      const image = this.work(history, MIDDLE_BURSTS);
      const moments = Array.from({ length: history.operations.length + 1 }, (_, count) => history.stateAfter(count)).reverse();
      for (let n = 0; n < images; n++) {
        const damage = this.random.pick(DAMAGES);
        const rotten = image.slice();
        const sectors = this.damage(rotten, middle, damage);
        what = `${damage} at sector ${sectors.join(', ')}`;
        this.tally.rotten++;
        if (this.random.chance(30)) this.live(image, rotten, moments[0]!);
        else this.boot(rotten, moments, damage, sectors);
        if (this.tally.rotten === this.stopAt) return;
      }
    } catch (error) {
      const lines = error instanceof Violation ? error.lines : [String((error as Error).stack ?? error)];
      this.failure = { crash: this.tally.rotten, generation: 0, cut: 'none', lines: [what, ...lines] };
    }
  }

  /** Goes on with a history on what the disk holds, and returns the disk. */
  private work(history: History, bursts: number): Uint8Array {
    const { disk } = this.device;
    disk.forget();
    const resumed = new History(history.stateAfter(history.operations.length));
    const workload = new Workload(this.plan.profile, this.contents, resumed, this.random);
    new Session(this.program, this.device, this.mutant).run((io) => workload.run(io, bursts));
    history.operations.push(...resumed.operations);
    disk.forget();
    return disk.current.slice();
  }

  /** Damages `image`; returns the sectors. */
  private damage(image: Uint8Array, earlier: Uint8Array, how: Damage): number[] {
    const { random } = this;
    const sectors = image.length / SECTOR_BYTES;
    const used = (): number => {
      for (let attempt = 0; attempt < 64; attempt++) {
        const sector = random.below(sectors);
        if (image.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES).some((byte) => byte !== 0)) return sector;
      }
      return 0;
    };
    const hit = Array.from({ length: how === 'flips' ? 3 : 1 }, used);
    for (const sector of hit) {
      const at = sector * SECTOR_BYTES;
      if (how === 'flip' || how === 'flips') image[at + random.below(SECTOR_BYTES)]! ^= 1 << random.below(8);
      else if (how === 'noise') for (let i = 0; i < SECTOR_BYTES; i++) image[at + i] = random.below(256);
      else if (how === 'zero') image.fill(0, at, at + SECTOR_BYTES);
      else if (how === 'stale') image.set(earlier.subarray(at, at + SECTOR_BYTES), at);
      else image.copyWithin(used() * SECTOR_BYTES, at, at + SECTOR_BYTES);
    }
    return hit;
  }

  /** A boot on damaged bytes, some work, and another boot. */
  private boot(image: Uint8Array, moments: State[], damage: Damage, sectors: number[]): void {
    const { disk } = this.device;
    disk.load(image);
    const after = new History(new Map());
    const found = this.session((io) => this.look(io));
    if (typeof found === 'number') {
      const superblock = damage === 'misdirected' || sectors.some((sector) => sector < SUPER_SECTORS);
      const named = [STATUS.foreign, STATUS.integrity, STATUS.io].includes(found as 15);
      if (superblock && named) return;
      throw new Violation([`the store is refused with status ${found}`]);
    }
    const { state, stats } = found;
    const moment = moments.find((one) => [...state].every(([key, content]) => one.get(key) === content));
    if (moment === undefined) throw new Violation(['the values are of no one moment of the history']);
    const whole = state.size === moments[0]!.size && moment === moments[0];
    if (!whole) this.tally.rotLost++;
    if (!whole && found.lost === 0 && REPORTED.includes(damage) && stats[STATS.badKind] === 0) {
      throw new Violation(['something is lost, and nothing was reported']);
    }
    if (stats[STATS.badKind] !== 0 && (stats[STATS.badPosition] ?? 0) < SUPER_SECTORS) throw new Violation(['damage without its position']);
    for (const [key, content] of state) after.base.set(key, content);
    const workload = new Workload(this.plan.profile, this.contents, after, this.random);
    this.session((io) => workload.run(io, AFTER_BURSTS));
    this.expect(after.stateAfter(after.operations.length));
  }

  /** Damage under a running store: what it holds in memory stays right, what it reads is right or refused. */
  private live(image: Uint8Array, rotten: Uint8Array, state: State): void {
    const { disk } = this.device;
    disk.load(image);
    this.session(function* (this: RotUnit, io: Session) {
      const before = yield* io.readState(this.contents, true);
      if (typeof before === 'number' || before.state.size !== state.size) throw new Violation(['a clean boot changed the state']);
      disk.load(rotten);
      const now = yield* io.readState(this.contents, false);
      if (typeof now === 'number') throw new Violation([`LIST is answered with status ${now}`]);
      for (const [key, content] of now.state) if (state.get(key) !== content) throw new Violation([`${key} holds content ${content}, not ${state.get(key)}`]);
      if (now.state.size + now.lost.length !== state.size) throw new Violation(['keys are missing from a running store']);
    }.bind(this));
  }

  private *look(io: Session): Steps<number | { state: State; lost: number; stats: number[] }> {
    const held = yield* io.readState(this.contents, false);
    if (typeof held === 'number') return held;
    const stats = yield* io.stats();
    if (typeof stats === 'number') return stats;
    return { state: held.state, lost: held.lost.length, stats };
  }

  /** The next boot must hold exactly this. Keys whose value is known to be lost are not of it. */
  private expect(wanted: State): void {
    const held = this.session((io) => io.readState(this.contents, false));
    if (typeof held === 'number') throw new Violation([`the next boot answers LIST with status ${held}`]);
    const history = new History(wanted);
    history.seal();
    if (history.match(held.state, 0, 0) < 0) throw new Violation(['the next boot differs', ...history.explain(held.state, 0, 0)]);
  }

  private session<T>(script: (io: Session) => Steps<T>): T {
    return new Session(this.program, this.device, this.mutant).run(script);
  }
}
