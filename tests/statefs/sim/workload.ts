// SPDX-License-Identifier: Apache-2.0
// Owns: seeded workloads: puts, overwrites, deletes, batches, lazy batches with syncs, transactions with values of many pieces, in
// bursts so that several share a flush, with enough churn that compaction happens over and over.
// Invariant: what was asked and what was answered goes into a History in the order in which the module got it.
// Limits: one transaction is open at a time; a burst of at most 12 requests.
import type { Outcome, Step } from '../../../runtime/node/index.js';
import { Random } from '../../random.js';
import type { Contents } from './contents.js';
import { VALUE_BYTES_MAX } from './contents.js';
import {
  LAZY, OP, STATS, STATUS, bareFrame, batchFrame, delFrame, putFrame, txnDelFrame, txnEndFrame, txnPutFrame, type Change,
} from './frames.js';
import { FORGERIES, forgedValue, layoutOf } from './forge.js';
import { apply, type History, type Operation, type State } from './history.js';
import { Violation, WORKLOAD_PREFIX, type Session } from './session.js';

/** What kind of work a disk sees. */
export interface Profile {
  name: string;
  diskSectors: number;
  keys: number;
  /** percent of values above 8,000 bytes, and how large those get */
  largePercent: number;
  largeBytesMax: number;
  /** most values have at most this many bytes, and all but the large ones this many */
  usualBytesMax: number;
  bytesMax: number;
  burstMax: number;
  /** percent of operations that delete */
  deletePercent: number;
  /** percent of bursts that are one put of a value full of forged records (forge.ts) */
  forgePercent: number;
}

/** Hands one operation over: noted in the history first. */
type Submit = (
  kind: Operation['kind'], changes: Operation['changes'], frame: (nonce: number) => Uint8Array,
) => Generator<Step, void, Outcome>;

const TXN_PIECE_BYTES = 7000;

/** Keys of a profile: short ones, and one of 255 bytes. */
export function keysOf(profile: Profile): string[] {
  const keys = Array.from({ length: profile.keys }, (_, i) => `${WORKLOAD_PREFIX}${i % 3 === 0 ? 'deep/er/' : ''}key-${i}`);
  keys[0] = `${WORKLOAD_PREFIX}${'k'.repeat(255 - WORKLOAD_PREFIX.length)}`;
  return keys;
}

export class Workload {
  private readonly keys: string[];
  /** What the store holds as far as it was told: to choose keys that exist. */
  private readonly guess: State;

  constructor(
    readonly profile: Profile, readonly contents: Contents, readonly history: History, readonly random: Random,
  ) {
    this.keys = keysOf(profile);
    this.guess = new Map(history.base);
  }

  /** Script: `bursts` bursts of requests, each answered before the next begins, and a SYNC at the end. */
  *run(session: Session, bursts: number): Generator<Step, void, Outcome> {
    const disk = session.device.disk;
    for (let burst = 0; burst <= bursts; burst++) {
      const waiting: { nonce: number; index: number }[] = [];
      session.onAnswer = ({ nonce, status, position }) => {
        const one = waiting.find((other) => other.nonce === nonce);
        if (one !== undefined) this.history.answer(one.index, status, position);
      };
      const submit: Submit = function* (this: Workload, kind: Operation['kind'], changes: Operation['changes'], frame: (nonce: number) => Uint8Array) {
        const nonce = session.next();
        const index = this.history.submit(kind, changes, disk.log.length);
        waiting.push({ nonce, index });
        yield* session.submit(frame(nonce));
      }.bind(this);
      if (burst === bursts) yield* submit('sync', [], (nonce) => bareFrame(OP.sync, nonce));
      else if (this.random.chance(this.profile.forgePercent)) yield* this.forge(session, submit);
      else for (let left = 1 + this.random.below(this.profile.burstMax); left > 0; left--) yield* this.one(session, submit);
      for (const { nonce, index } of waiting) {
        const { status } = yield* session.wait(nonce);
        this.settle(this.history.operations[index]!, status);
      }
    }
    session.onAnswer = () => undefined;
  }

  private settle(operation: Operation, status: number): void {
    const { ok, noSpace, notFound } = STATUS;
    if (![ok, noSpace, notFound].includes(status as 0)) throw new Violation([`${operation.kind} was answered with status ${status}`]);
    if (status === notFound && operation.kind !== 'del') throw new Violation([`${operation.kind} was answered with not_found`]);
    apply(this.guess, operation);
  }

  private *one(session: Session, submit: Submit): Generator<Step, void, Outcome> {
    const { random, profile } = this;
    const kind = random.below(100);
    if (kind < 4) yield* submit('sync', [], (nonce) => bareFrame(OP.sync, nonce));
    else if (kind < 4 + profile.deletePercent) {
      const key = this.pickKey(true);
      yield* submit('del', [{ key, content: null }], (nonce) => delFrame(nonce, key));
    } else if (kind < 70) {
      const key = this.pickKey(false);
      const content = this.value(session, profile.bytesMax);
      yield* submit('put', [{ key, content }], (nonce) => putFrame(nonce, key, this.contents.bytesOf(content)));
    } else if (kind < 90) {
      const changes = this.changes(session, 1 + random.below(6), Math.min(profile.bytesMax, 1000));
      const lazy = random.chance(30);
      const frame = (nonce: number): Uint8Array => batchFrame(nonce, changes.map((one) => this.change(one)), lazy ? LAZY : 0);
      yield* submit(lazy ? 'lazy' : 'batch', changes, frame);
    } else yield* this.transaction(session, submit);
  }

  /** One put whose value looks like groups of the journal where it will lie. */
  private *forge(session: Session, submit: Submit): Generator<Step, void, Outcome> {
    const { random } = this;
    const stats = yield* session.stats();
    if (typeof stats === 'number') throw new Violation([`STATS was answered with status ${stats}`]);
    const { regionFirst, epoch } = layoutOf(session.device.disk.current);
    const key = this.pickKey(false);
    const sector = regionFirst + stats[STATS.journalBytes]! / 512;
    const bytes = 600 + random.below(1500);
    const value = forgedValue(bytes, key.length, sector, stats[STATS.sequence]! + 1, epoch, random.pick(FORGERIES), random);
    const content = this.contents.make(bytes, random, value.subarray(4));
    yield* submit('put', [{ key, content }], (nonce) => putFrame(nonce, key, this.contents.bytesOf(content)));
  }

  private *transaction(session: Session, submit: Submit): Generator<Step, void, Outcome> {
    const { random, profile } = this;
    const begun = yield* session.ask((nonce) => bareFrame(OP.txnBegin, nonce));
    if (begun.status !== STATUS.ok) throw new Violation([`TXN_BEGIN was answered with status ${begun.status}`]);
    const txn = begun.body.readUInt32LE(0);
    const changes = this.changes(session, 1 + random.below(4), profile.bytesMax);
    if (random.chance(profile.largePercent)) {
      const bytes = random.chance(20) ? profile.largeBytesMax : 8000 + random.below(profile.largeBytesMax - 7999);
      changes[0] = { key: this.pickKey(false), content: this.contents.make(Math.min(bytes, VALUE_BYTES_MAX), random) };
    }
    for (const { key, content } of changes) {
      if (content === null) {
        this.expect('TXN_DEL', (yield* session.ask((nonce) => txnDelFrame(nonce, txn, key))).status);
        continue;
      }
      const value = this.contents.bytesOf(content);
      for (let offset = 0; offset < value.length || offset === 0; offset += TXN_PIECE_BYTES) {
        const piece = value.subarray(offset, offset + TXN_PIECE_BYTES);
        this.expect('TXN_PUT', (yield* session.ask((nonce) => txnPutFrame(nonce, txn, key, value.length, offset, piece))).status);
      }
    }
    if (random.chance(20)) {
      this.expect('TXN_ABORT', (yield* session.ask((nonce) => txnEndFrame(OP.txnAbort, nonce, txn))).status);
      return;
    }
    yield* submit('txn', changes, (nonce) => txnEndFrame(OP.txnCommit, nonce, txn));
  }
  private expect(what: string, status: number): void {
    if (status !== STATUS.ok) throw new Violation([`${what} was answered with status ${status}`]);
  }

  /** Changes of different keys. */
  private changes(session: Session, count: number, bytesMax: number): Operation['changes'] {
    const byKey = new Map<string, number | null>();
    for (let i = 0; i < count; i++) {
      const gone = this.random.chance(this.profile.deletePercent);
      byKey.set(this.pickKey(gone), gone ? null : this.value(session, Math.floor(bytesMax / count)));
    }
    return [...byKey].map(([key, content]) => ({ key, content }));
  }
  private change({ key, content }: Operation['changes'][number]): Change {
    return { key, value: content === null ? null : this.contents.bytesOf(content) };
  }
  private pickKey(existing: boolean): string {
    if (existing && this.guess.size > 0 && this.random.chance(80)) return this.random.pick([...this.guess.keys()]);
    return this.random.pick(this.keys);
  }
  /** Sizes as they come: mostly some hundred bytes, a few empty or tiny, some as large as the profile goes; and now and then what lies on
   *  the disk, so that a value looks like records. */
  private value(session: Session, bytesMax: number): number {
    const { random } = this;
    const kind = random.below(100);
    const most = Math.max(1, bytesMax);
    const bytes = kind < 4 ? 0 : kind < 14 ? random.below(9) : kind < 85 ? Math.min(most, 16 + random.below(this.profile.usualBytesMax)) : random.below(most + 1);
    if (!random.chance(8)) return this.contents.make(bytes, random);
    const { disk } = session.device;
    const from = random.below(disk.sectors) * 512;
    return this.contents.make(bytes, random, disk.current.slice(from, from + bytes));
  }
}
