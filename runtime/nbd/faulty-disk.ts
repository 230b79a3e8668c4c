// SPDX-License-Identifier: Apache-2.0
// A volatile disk that does what a plan says: cut the power at a request, answer with an error, stall, or run full.
// Invariant: a plan is data and the random numbers come from its seed, so one plan and one sequence of requests give one image; after a cut
// nothing is answered any more. Limits: STALLED_MAX requests are held back; QEMU has at most 16 in flight.
import type { Device, DiskRequest, DiskRequestKind, Respond } from './device.js';
import { ERROR } from './protocol.js';
import { VolatileDisk, type Below, type CutMode, type CutReport } from './volatile-disk.js';

export const STALLED_MAX = 64;
const FULL_BLOCK_BYTES = 4096;

/** `before`: the request never reached the disk. `during`: it reached the cache, unanswered (a flush: unfinished). `after`: answered. */
export const MOMENTS = ['before', 'during', 'after'] as const;
export type Moment = (typeof MOMENTS)[number];

export interface Plan {
  /** number of the write or flush at which the power goes, from 1; reads do not count; null: aimAt() says it later */
  cut?: { at: number | null; moment: Moment; mode: CutMode };
  /** requests of one kind, counted from 1, that are answered with an error and do nothing else */
  errors?: { kind: DiskRequestKind; from: number; count: number; error: 'io' | 'nospc' }[];
  /** from this request of one kind on nothing is answered, until release() */
  stall?: { kind: DiskRequestKind; at: number };
  /** how many blocks of 4 KiB may ever be written; a write that needs one more is answered with ENOSPC */
  fullAfterBlocks?: number;
}

export type Verdict = 'io' | 'nospc' | 'hold' | null;

/** What the disk did. */
export interface DiskCounters {
  reads: number;
  writes: number;
  flushes: number;
  errors: number;
  stalled: number;
}

export interface FaultyDiskOptions {
  readOnly?: boolean;
  /** false: FLUSH is not offered */
  flush?: boolean;
  /** called once, after the survivors are in the image */
  onCut?: (report: CutReport) => void;
  /** sees every request before the disk does anything about it */
  onRequest?: (request: DiskRequest) => void;
  /** what happens to this request besides what the plan says; `hold`: it and all that follow wait for release() */
  decide?: (request: DiskRequest) => Verdict;
  below: Below;
}

export class FaultyDisk implements Device {
  readonly counters: DiskCounters = { reads: 0, writes: 0, flushes: 0, errors: 0, stalled: 0 };
  readonly readOnly: boolean;
  readonly flush: boolean;
  readonly disk: VolatileDisk;
  cutReport: CutReport | null = null;
  private cutAt: number | null;
  private stalling = false;
  private released = false;
  private held: (() => void)[] = [];
  private readonly blocks = new Set<number>();

  /** @param medium the image, changed in place */
  constructor(medium: Buffer, private readonly plan: Plan, private readonly options: FaultyDiskOptions) {
    this.disk = new VolatileDisk(medium);
    this.cutAt = plan.cut?.at ?? null;
    this.readOnly = options.readOnly === true;
    this.flush = options.flush !== false;
  }

  get bytes(): number {
    return this.disk.bytes;
  }

  /** Writes and flushes so far. */
  get mutations(): number {
    return this.counters.writes + this.counters.flushes;
  }

  request(request: DiskRequest, respond: Respond): void {
    if (this.cutReport !== null) return;
    this.options.onRequest?.(request);
    const number = this.count(request.kind);
    const verdict = this.options.decide?.(request) ?? null;
    if (verdict === 'hold') this.stalling = true;
    const { stall } = this.plan;
    if (stall !== undefined && !this.released && request.kind === stall.kind && number >= stall.at) this.stalling = true;
    if (this.stalling) {
      this.counters.stalled++;
      if (this.held.length >= STALLED_MAX) throw new Error(`more than ${STALLED_MAX} requests in flight`);
      this.held.push(() => this.perform(request, number, verdict, respond));
      return;
    }
    this.perform(request, number, verdict, respond);
  }

  /** Ends a stall: what was held back happens now, in order. */
  release(): void {
    this.released = true;
    this.stalling = false;
    for (const go of this.held.splice(0)) go();
  }

  /** Names the write or flush of a cut that was planned without one; only the first call counts. */
  aimAt(number: number): void {
    this.cutAt ??= number;
  }

  /** The power goes now, between two requests. */
  cutNow(mode: CutMode): CutReport {
    if (this.cutReport === null) {
      this.cutReport = this.disk.cut(mode, this.options.below);
      this.held = [];
      this.options.onCut?.(this.cutReport);
    }
    return this.cutReport;
  }

  private count(kind: DiskRequestKind): number {
    if (kind === 'read') return ++this.counters.reads;
    return kind === 'write' ? ++this.counters.writes : ++this.counters.flushes;
  }

  private perform(request: DiskRequest, number: number, verdict: Verdict, respond: Respond): void {
    if (this.cutReport !== null) return;
    const decided = verdict === 'io' || verdict === 'nospc';
    const error = !decided ? this.errorFor(request, number) : verdict === 'io' ? ERROR.io : ERROR.nospc;
    if (error !== ERROR.none) {
      this.counters.errors++;
      respond(error);
      return;
    }
    const { cut } = this.plan;
    if (cut === undefined || request.kind === 'read' || this.mutations !== this.cutAt) {
      this.apply(request, respond);
      return;
    }
    if (cut.moment === 'after') this.apply(request, respond);
    // A flush in progress at the cut has covered nothing for certain: the cut itself decides what landed.
    if (cut.moment === 'during' && request.kind === 'write') this.disk.write(request.offset, request.data);
    this.cutNow(cut.mode);
  }

  private apply({ kind, offset, length, data }: DiskRequest, respond: Respond): void {
    if (kind === 'read') {
      respond(ERROR.none, this.disk.read(offset, length));
      return;
    }
    if (kind === 'write') this.disk.write(offset, data);
    else this.disk.flush();
    respond(ERROR.none);
  }

  private errorFor({ kind, offset, length }: DiskRequest, number: number): number {
    const planned = this.plan.errors?.find((one) => one.kind === kind && number >= one.from && number < one.from + one.count);
    if (planned !== undefined) return planned.error === 'io' ? ERROR.io : ERROR.nospc;
    const most = this.plan.fullAfterBlocks;
    if (most === undefined || kind !== 'write') return ERROR.none;
    const needed: number[] = [];
    for (let at = Math.floor(offset / FULL_BLOCK_BYTES); at * FULL_BLOCK_BYTES < offset + length; at++) {
      if (!this.blocks.has(at)) needed.push(at);
    }
    if (this.blocks.size + needed.length > most) return ERROR.nospc;
    for (const at of needed) this.blocks.add(at);
    return ERROR.none;
  }
}
