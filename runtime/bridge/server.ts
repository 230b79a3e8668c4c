// SPDX-License-Identifier: Apache-2.0
// Owns: the unix socket that QEMU's chardev connects to. Invariant: one client at a time (a second is closed at once and
// counted); a connection's end closes the source's session; a partial frame older than limits.partial_frame_ns_max is given
// up and the stream resynchronised; requests are answered one after another, in order. Limits: while a request is being answered,
// or the socket's buffer is full, no more is read, so what waits is at most one chunk's frames.
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { withReceiverConfig, type Answerer, type SourceState } from './answerer.js';
import { FrameDecoder, encodeFrame, type Frame } from './codec.js';
import { REPLY_BIT, limit } from './protocol.js';

export interface ServerOptions {
  readonly socketPath: string; readonly answerer: Answerer; readonly log?: (line: string) => void;
  /** What the guest's receiver gets for `config`: key=value lines (docs/format/bridge.md); none: the defaults. */
  readonly receiverConfig?: string;
}

/** `unsent`: replies whose client had gone. */
export interface ServerCounters { connections: number; refused: number; requests: number; notRequests: number; unsent: number }

/** A bridge that listens; `close` also stops its answerer. */
export interface BridgeServer {
  /** Row of [[source]] in abi/bridge.toml: what to show beside every figure. */
  readonly source: string;
  readonly counters: ServerCounters;
  state(): SourceState;
  close(): Promise<void>;
}

/** Listens on `socketPath` (a stale socket there is replaced). Rejects with the listen error, or with RangeError of receiverConfig. */
export async function startServer(options: ServerOptions): Promise<BridgeServer> {
  const { socketPath } = options;
  const answerer = withReceiverConfig(options.answerer, options.receiverConfig ?? '');
  const log = options.log ?? (() => undefined);
  const counters: ServerCounters = { connections: 0, refused: 0, requests: 0, notRequests: 0, unsent: 0 };
  const open = new Set<Socket>();
  mkdirSync(dirname(socketPath), { recursive: true });
  removeStaleSocket(socketPath);
  const server = createServer((socket) => {
    if (open.size > 0) { counters.refused += 1; socket.destroy(); return; }
    counters.connections += 1;
    open.add(socket);
    serve(socket, answerer, log, counters);
    socket.on('close', () => { open.delete(socket); answerer.endSession(); });
  });
  await listen(server, socketPath);
  return {
    source: answerer.label,
    counters,
    state: () => answerer.state(),
    close: async () => {
      const closed = new Promise<void>((resolve) => { server.close(() => { resolve(); }); });
      for (const socket of open) socket.destroy();
      await Promise.all([closed, answerer.stop()]);
    },
  };
}

function serve(socket: Socket, answerer: Answerer, log: (line: string) => void, counters: ServerCounters): void {
  const decoder = new FrameDecoder();
  let partial: NodeJS.Timeout | undefined;
  let answered: Promise<void> = Promise.resolve();
  const reply = async (frames: readonly Frame[]): Promise<void> => {
    for (const frame of frames) {
      if ((frame.type & REPLY_BIT) !== 0) { counters.notRequests += 1; continue; }
      counters.requests += 1;
      const bytes = encodeFrame(await answerer.answer(frame));
      if (socket.destroyed) { counters.unsent += 1; continue; }
      if (!socket.write(bytes)) await new Promise<void>((resolve) => { socket.once('drain', resolve).once('close', resolve); });
    }
  };
  const take = (frames: readonly Frame[]): void => {
    if (frames.length === 0) return;
    socket.pause();
    answered = answered.then(() => reply(frames)).then(() => { socket.resume(); });
  };
  socket.on('error', (error) => { log(`bridge: client: ${error.message}`); });
  socket.on('close', () => { clearTimeout(partial); });
  socket.on('data', (chunk) => {
    clearTimeout(partial);
    const skipped = decoder.counters.skippedBytes;
    take(decoder.push(chunk as Buffer));
    if (decoder.counters.skippedBytes > skipped) log(`bridge: skipped ${decoder.counters.skippedBytes - skipped} bytes`);
    if (decoder.pendingBytes === 0) return;
    partial = setTimeout(() => { take(decoder.expire()); }, limit('partial_frame_ns_max') / 1e6);
    partial.unref();
  });
}

function removeStaleSocket(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw new Error(`${path} exists and is not a socket`);
  rmSync(path);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => { server.off('error', reject); resolve(); });
  });
}
