// SPDX-License-Identifier: Apache-2.0
// Owns: the library process from outside: start, one request at a time, deadline, restart with backoff, end.
// Invariant: every request gets one reply: the child's, or `connection_lost` when it died over it, or `unavailable` while there is
// none; a child that owes a reply past its deadline is killed; stop() resolves within library_stop_ms_max and a little, in every
// state, and leaves no process. Limits: abi/bridge.toml library_*.
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Answerer, SourceState } from '../answerer.js';
import { FrameDecoder, encodeFrame, type Frame } from '../codec.js';
import { statusReply } from '../messages.js';
import { REPLY_BIT, limit, typeCode } from '../protocol.js';
import { systemClock } from '../session.js';
import { Backoff } from './backoff.js';
import { STATE_TYPE, readState, type ChildConfig } from './link.js';

const FROM_SOURCE = import.meta.url.endsWith('.ts');
/** A checkout's child is TypeScript and needs tsx; a distribution's is not. */
const CHILD = [
  ...(FROM_SOURCE ? ['--import', import.meta.resolve('tsx')] : []),
  fileURLToPath(new URL(FROM_SOURCE ? './child.ts' : './child.js', import.meta.url)),
];

/** What happened to library processes since the bridge began. */
export interface SupervisorCounters { starts: number; crashes: number; hangs: number; unavailable: number; strayFrames: number }

interface Waiting { readonly request: Frame; readonly resolve: (reply: Frame) => void; readonly timer: NodeJS.Timeout }

export class Supervisor implements Answerer {
  readonly label: 'dcgm' | 'nvml';
  readonly counters: SupervisorCounters = { starts: 0, crashes: 0, hangs: 0, unavailable: 0, strayFrames: 0 };
  private current: SourceState = { name: 'starting', detail: '' };
  private child: ChildProcess | null = null;
  private link: Socket | null = null;
  /** The child has said that it runs: until then no request goes to it. */
  private spoken = false;
  private waiting: Waiting | null = null;
  private turn: Promise<void> = Promise.resolve();
  private restart: NodeJS.Timeout | undefined;
  private startLimit: NodeJS.Timeout | undefined;
  private startedAtMs = 0;
  private stopped: Promise<void> | null = null;
  private up: () => void = () => undefined;
  private readonly backoff = new Backoff(limit('library_backoff_first_ms'), limit('library_backoff_ms_max'));

  constructor(private readonly config: ChildConfig, private readonly log: (line: string) => void = () => undefined) {
    this.label = config.source;
  }

  /** Process id of the child, for tests and diagnosis. */
  get pid(): number | undefined { return this.child?.pid; }
  state(): SourceState { return this.current; }

  /** Starts the child; resolves when it speaks or has ended, which library_start_ms_max sees to: requests are answered either way. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.up = resolve;
      this.spawn();
    });
  }

  answer(request: Frame): Promise<Frame> {
    const reply = this.turn.then(() => this.ask(request));
    this.turn = reply.then(() => undefined);
    return reply;
  }

  private ask(request: Frame): Promise<Frame> {
    if (this.link === null || !this.spoken || this.stopped !== null) {
      this.counters.unavailable += 1;
      return Promise.resolve(refuse(request, 'unavailable'));
    }
    const { link } = this;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.counters.hangs += 1;
        this.setState('library_hung', `no reply to request ${request.type} in ${limit('library_reply_ms_max')} ms; killed`);
        this.child?.kill('SIGKILL');
      }, limit('library_reply_ms_max'));
      this.waiting = { request, resolve, timer };
      link.write(encodeFrame({ ...request, wallNs: 0n, monoNs: 0n }));
    });
  }

  /** The guest's session ends with its connection. */
  endSession(): void {
    if (this.stopped === null) void this.answer({ type: typeCode('close'), nonce: 0, wallNs: 0n, monoNs: 0n, payload: Buffer.alloc(0) });
  }

  stop(): Promise<void> {
    this.stopped ??= this.end();
    return this.stopped;
  }

  private async end(): Promise<void> {
    clearTimeout(this.restart);
    const { child } = this;
    if (child === null) return;
    const gone = new Promise<void>((resolve) => { child.once('exit', () => { resolve(); }); });
    child.kill('SIGTERM');
    const watchdog = setTimeout(() => { child.kill('SIGKILL'); }, limit('library_stop_ms_max'));
    await gone;
    clearTimeout(watchdog);
  }

  private spawn(): void {
    this.counters.starts += 1;
    this.startedAtMs = Date.now();
    this.spoken = false;
    const child = spawn(process.execPath, [...CHILD, JSON.stringify(this.config)], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.child = child;
    this.startLimit = setTimeout(() => {
      this.counters.hangs += 1;
      this.setState('library_hung', `the process said nothing for ${limit('library_start_ms_max')} ms; killed`);
      child.kill('SIGKILL');
    }, limit('library_start_ms_max'));
    const link = child.stdio[3] as Socket;
    this.link = link;
    const decoder = new FrameDecoder();
    link.on('data', (chunk: Buffer) => { for (const frame of decoder.push(chunk)) this.take(frame); });
    link.on('error', () => undefined); // the exit that follows says why
    const tail = [child.stdout!, child.stderr!].map(keepTail);
    child.on('error', (error) => {
      // Without a process there is no exit to wait for.
      if (this.child === child && child.pid === undefined) this.ended(null, null, error.message);
    });
    child.once('exit', (code, signal) => {
      if (this.child === child) this.ended(code, signal, tail.map((text) => text()).join(''));
    });
  }

  private take(frame: Frame): void {
    if (frame.type === STATE_TYPE) {
      const { name, detail } = readState(frame);
      clearTimeout(this.startLimit);
      this.spoken = true;
      this.setState(name, detail);
      this.up();
      return;
    }
    const { waiting } = this;
    if (waiting === null || frame.nonce !== waiting.request.nonce || frame.type !== (waiting.request.type | REPLY_BIT)) {
      this.counters.strayFrames += 1;
      return;
    }
    this.finish(waiting, frame);
  }

  private ended(code: number | null, signal: NodeJS.Signals | null, printed: string): void {
    clearTimeout(this.startLimit);
    this.child = null;
    this.link?.destroy();
    this.link = null;
    if (this.stopped === null) {
      // A child that named its end (engine_stalled, library_hung) was not crashed by the library.
      const named = this.current.name === 'library_hung' || (signal === 'SIGKILL' && this.current.name === 'engine_stalled');
      if (!named) {
        this.counters.crashes += 1;
        this.setState('library_crashed', `${signal ?? `exit code ${code}`}${printed === '' ? '' : `: ${printed}`}`);
      }
      if (Date.now() - this.startedAtMs >= limit('library_steady_ms')) this.backoff.reset();
      this.restart = setTimeout(() => { this.spawn(); }, this.backoff.next());
    }
    if (this.waiting !== null) this.finish(this.waiting, refuse(this.waiting.request, 'connection_lost'));
    this.up();
  }

  private finish(waiting: Waiting, reply: Frame): void {
    clearTimeout(waiting.timer);
    this.waiting = null;
    waiting.resolve(reply);
  }

  private setState(name: string, detail: string): void {
    if (name === this.current.name && detail === this.current.detail) return;
    const changed = name !== this.current.name;
    this.current = { name, detail };
    if (changed && name !== 'starting') this.log(`bridge: ${this.label} ${name}${detail === '' ? '' : `: ${detail}`}`);
  }
}

function refuse(request: Frame, status: string): Frame {
  return { type: request.type | REPLY_BIT, nonce: request.nonce, wallNs: systemClock.wallNs(), monoNs: systemClock.monoNs(),
    payload: statusReply(status) };
}

/** Drains a stream and keeps its last library_log_bytes_max bytes, as one line. */
function keepTail(stream: NodeJS.ReadableStream): () => string {
  let tail = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => { tail = Buffer.concat([tail, chunk]).subarray(-limit('library_log_bytes_max')); });
  return () => tail.toString('latin1').replace(/[^\x20-\x7e]+/g, ' ').trim();
}
