// SPDX-License-Identifier: Apache-2.0
// Owns: the host's end of the export port (docs/format/export.md): connects to QEMU's socket, takes the guest's frames, answers each.
// Invariant: every whole request gets one reply; a frame is handed to the handler at most once with an `ok` (a repeat of a sequence
// number that was taken is answered ok and not handed on); numbers that never came are counted as gaps. Limits: one socket; frames of
// 16 KiB; reconnects by itself, limits export_backoff_first_ms doubling to export_backoff_ms_max; a handler answers at once.
import { connect, type Socket } from 'node:net';
import { FrameDecoder, encodeFrame, type DecoderCounters, type Frame } from '../bridge/codec.js';
import { REPLY_BIT, limit, sourceName, statusCode, streamName, typeCode } from '../bridge/protocol.js';
import { systemClock, type Clock } from '../bridge/session.js';

/** The version of the export dialogue that this end speaks. */
export const EXPORT_VERSION = 1;
export const HELLO_BYTES = 12;
/** What stands before the OTLP request in a metrics, traces or log_records frame. */
export const EXPORT_HEAD_BYTES = 24;

/** What becomes of a frame: taken; no room now (the guest keeps it and tries again); refused for good (the guest drops and counts it). */
export type Verdict = 'ok' | 'over_limit' | 'bad_request';

/** A part of one scrape: `request` is a whole ExportMetricsServiceRequest, and so are the parts of a scrape one after the other. */
export interface MetricsPart {
  readonly stream: 'gpu' | 'self';
  /** row of [[source]] in abi/bridge.toml; '' for the self stream */
  readonly source: string;
  /** 0 .. parts - 1 */
  readonly part: number; readonly parts: number;
  /** dcgmd's scrape number, or the number of the self snapshot */
  readonly scrape: bigint; readonly seq: bigint; readonly request: Buffer;
}
/** One ExportTraceServiceRequest or ExportLogsServiceRequest. */
export interface Batch {
  readonly seq: bigint;
  /** spans or log records in it */
  readonly items: number;
  /** records that logd dropped before the guest's exporter could read them, since that exporter started */
  readonly lost: bigint; readonly request: Buffer;
}
/** Takes what the guest exports; each method decides at once. One that throws counts as unavailable: the guest tries again. */
export interface ExportHandler {
  /** A guest's exporter began: its boot and restart (docs/format/export.md). Called again after each reconnect. */
  hello(generation: bigint): void;
  metrics(part: MetricsPart): Verdict;
  traces(batch: Batch): Verdict;
  logs(batch: Batch): Verdict;
}
/** What the link saw since it was made. `gaps`: sequence numbers that never came; `repeats`: frames that came again after an ok. */
export interface LinkCounters {
  connections: number; hellos: number; frames: number; ok: number; overLimit: number; badRequest: number; failed: number;
  notRequests: number; repeats: number; gaps: bigint; generations: number;
  /** bytes skipped and frames refused by the decoders of all connections: how often the stream had to be found again */
  resyncs: number; skippedBytes: number;
}
export interface ExportLink {
  readonly counters: Readonly<LinkCounters>;
  /** A connection is open and the guest said hello on it. */
  readonly connected: boolean;
  /** The generation of the last hello; null before the first. */
  readonly generation: bigint | null;
  close(): void;
}
export interface LinkOptions { readonly clock?: Clock; readonly log?: (line: string) => void }

const resyncsOf = (c: DecoderCounters): number => c.badHeader + c.badVersion + c.badCrc + c.oversize + c.expired;

/** Connects to the export socket and goes on connecting until `close`. */
export function connectExport(socketPath: string, handler: ExportHandler, options: LinkOptions = {}): ExportLink {
  return new Link(socketPath, handler, options.clock ?? systemClock, options.log ?? (() => undefined));
}

class Link implements ExportLink {
  readonly counters: LinkCounters = {
    connections: 0, hellos: 0, frames: 0, ok: 0, overLimit: 0, badRequest: 0, failed: 0, notRequests: 0, repeats: 0, gaps: 0n,
    generations: 0, resyncs: 0, skippedBytes: 0,
  };
  generation: bigint | null = null;
  private socket: Socket | null = null;
  private greeted = false;
  /** sequence number of the last frame taken for good; null: this generation began before we listened, any number may be its next */
  private last: bigint | null = null;
  private backoffMs = limit('export_backoff_first_ms');
  private again: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    private readonly path: string, private readonly handler: ExportHandler, private readonly clock: Clock,
    private readonly log: (line: string) => void,
  ) {
    this.open();
  }

  get connected(): boolean { return this.greeted; }

  close(): void {
    this.closed = true;
    clearTimeout(this.again);
    this.socket?.destroy();
  }

  private open(): void {
    const socket = connect(this.path);
    const decoder = new FrameDecoder();
    let partial: NodeJS.Timeout | undefined;
    let seen = { resyncs: 0, skipped: 0 };
    const count = (): void => {
      const now = { resyncs: resyncsOf(decoder.counters), skipped: decoder.counters.skippedBytes };
      this.counters.resyncs += now.resyncs - seen.resyncs;
      this.counters.skippedBytes += now.skipped - seen.skipped;
      seen = now;
    };
    const take = (frames: readonly Frame[]): void => {
      count();
      for (const frame of frames) this.take(socket, frame);
    };
    this.socket = socket;
    socket.on('connect', () => { this.counters.connections += 1; });
    socket.on('error', () => undefined);
    socket.on('drain', () => { socket.resume(); });
    socket.on('data', (chunk) => {
      clearTimeout(partial);
      take(decoder.push(chunk as Buffer));
      if (decoder.pendingBytes === 0) return;
      partial = setTimeout(() => { take(decoder.expire()); }, limit('partial_frame_ns_max') / 1e6);
      partial.unref();
    });
    socket.on('close', () => {
      clearTimeout(partial);
      this.greeted = false;
      if (this.closed) return;
      this.again = setTimeout(() => { this.open(); }, this.backoffMs);
      this.backoffMs = Math.min(this.backoffMs * 2, limit('export_backoff_ms_max'));
    });
  }

  private take(socket: Socket, frame: Frame): void {
    if ((frame.type & REPLY_BIT) !== 0) { this.counters.notRequests += 1; return; }
    this.counters.frames += 1;
    const payload = this.answer(frame);
    const reply = { type: frame.type | REPLY_BIT, nonce: frame.nonce, wallNs: this.clock.wallNs(), monoNs: this.clock.monoNs(), payload };
    // A guest that reads no replies sends no more requests; what it sent meanwhile waits in the socket.
    if (!socket.destroyed && !socket.write(encodeFrame(reply))) socket.pause();
  }

  private answer(frame: Frame): Buffer {
    const { type, payload } = frame;
    if (type === typeCode('hello')) return this.hello(payload);
    const batch = type === typeCode('traces') || type === typeCode('log_records');
    if (!batch && type !== typeCode('metrics')) return status('unsupported');
    if (!this.greeted) return status('not_connected');
    const read = batch ? readBatch(payload) : readMetrics(payload);
    if (read === null) { this.counters.badRequest += 1; return status('bad_request'); }
    if (this.last !== null && read.seq <= this.last) {
      this.counters.repeats += 1;
      return status('ok');
    }
    let verdict: Verdict;
    try {
      if ('stream' in read) verdict = this.handler.metrics(read);
      else verdict = type === typeCode('traces') ? this.handler.traces(read) : this.handler.logs(read);
    } catch (error) {
      this.counters.failed += 1;
      this.log(`export: ${String(error)}`);
      return status('unavailable');
    }
    if (verdict === 'over_limit') {
      this.counters.overLimit += 1;
      return status('over_limit');
    }
    if (this.last !== null) this.counters.gaps += read.seq - this.last - 1n;
    this.last = read.seq;
    if (verdict === 'ok') this.counters.ok += 1;
    else this.counters.badRequest += 1;
    return status(verdict);
  }

  private hello(payload: Buffer): Buffer {
    if (payload.length !== HELLO_BYTES) { this.counters.badRequest += 1; return status('bad_request'); }
    const [low, high, generation] = [payload.readUInt16LE(0), payload.readUInt16LE(2), payload.readBigUInt64LE(4)];
    if (low > EXPORT_VERSION || high < EXPORT_VERSION) return status('unsupported');
    if (generation !== this.generation) {
      // Whoever began while we listened begins at 1; of the first one that we meet we do not know how far it was.
      this.last = this.generation === null ? null : 0n;
      this.generation = generation;
      this.counters.generations += 1;
    }
    this.counters.hellos += 1;
    this.greeted = true;
    this.backoffMs = limit('export_backoff_first_ms');
    try {
      this.handler.hello(generation);
    } catch (error) {
      this.counters.failed += 1;
      this.log(`export: ${String(error)}`);
      return status('unavailable');
    }
    const out = Buffer.alloc(7);
    out.writeUInt8(statusCode('ok'), 0);
    out.writeUInt16LE(EXPORT_VERSION, 1);
    return out;
  }
}

const status = (name: string): Buffer => Buffer.from([statusCode(name)]);

function readMetrics(payload: Buffer): MetricsPart | null {
  if (payload.length <= EXPORT_HEAD_BYTES) return null;
  const [stream, source] = [streamName(payload.readUInt8(0)), payload.readUInt8(1)];
  const [part, parts, zero] = [payload.readUInt16LE(2), payload.readUInt16LE(4), payload.readUInt16LE(6)];
  const seq = payload.readBigUInt64LE(16);
  const label = source === 0 ? '' : sourceName(source);
  if ((stream !== 'gpu' && stream !== 'self') || label === null || (stream === 'gpu') !== (label !== '')) return null;
  if (part >= parts || zero !== 0 || seq === 0n) return null;
  return { stream, source: label, part, parts, scrape: payload.readBigUInt64LE(8), seq, request: payload.subarray(EXPORT_HEAD_BYTES) };
}

function readBatch(payload: Buffer): Batch | null {
  if (payload.length <= EXPORT_HEAD_BYTES) return null;
  const [seq, items, zero] = [payload.readBigUInt64LE(0), payload.readUInt32LE(8), payload.readUInt32LE(12)];
  if (seq === 0n || items === 0 || zero !== 0) return null;
  return { seq, items, lost: payload.readBigUInt64LE(16), request: payload.subarray(EXPORT_HEAD_BYTES) };
}
