// SPDX-License-Identifier: Apache-2.0
// Owns: the unix socket that QEMU's chardev connects to. Invariant: one client at a time (a second is closed at once and
// counted); a connection's end closes the source's session; a partial frame older than limits.partial_frame_ns_max is given
// up and the stream resynchronised. Limits: replies wait in the socket's own buffer; while it is full no more is read.
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { FrameDecoder, encodeFrame } from './codec.js';
import { REPLY_BIT, limit } from './protocol.js';
import { answer, systemClock, type Clock } from './session.js';
import type { Source } from './source.js';

export interface ServerOptions {
  readonly socketPath: string; readonly source: Source; readonly clock?: Clock; readonly log?: (line: string) => void;
}

export interface ServerCounters { connections: number; refused: number; requests: number; notRequests: number }

/** A bridge that listens. */
export interface BridgeServer { readonly counters: ServerCounters; close(): Promise<void> }

/** Listens on `socketPath` (a stale socket there is replaced). Rejects with the listen error. */
export async function startServer(options: ServerOptions): Promise<BridgeServer> {
  const { socketPath, source } = options;
  const clock = options.clock ?? systemClock;
  const log = options.log ?? (() => undefined);
  const counters: ServerCounters = { connections: 0, refused: 0, requests: 0, notRequests: 0 };
  const open = new Set<Socket>();
  mkdirSync(dirname(socketPath), { recursive: true });
  removeStaleSocket(socketPath);
  const server = createServer((socket) => {
    if (open.size > 0) { counters.refused += 1; socket.destroy(); return; }
    counters.connections += 1;
    open.add(socket);
    serve(socket, source, clock, log, counters);
    socket.on('close', () => { open.delete(socket); source.close(); });
  });
  await listen(server, socketPath);
  return {
    counters,
    close: () => new Promise((resolve) => {
      for (const socket of open) socket.destroy();
      server.close(() => { resolve(); });
    }),
  };
}

function serve(socket: Socket, source: Source, clock: Clock, log: (line: string) => void, counters: ServerCounters): void {
  const decoder = new FrameDecoder();
  let partial: NodeJS.Timeout | undefined;
  const reply = (frames: ReturnType<FrameDecoder['push']>): void => {
    for (const frame of frames) {
      if ((frame.type & REPLY_BIT) !== 0) { counters.notRequests += 1; continue; }
      counters.requests += 1;
      if (!socket.write(encodeFrame(answer(source, frame, clock, log)))) socket.pause();
    }
  };
  socket.on('drain', () => { socket.resume(); });
  socket.on('error', (error) => { log(`bridge: client: ${error.message}`); });
  socket.on('close', () => { clearTimeout(partial); });
  socket.on('data', (chunk) => {
    clearTimeout(partial);
    const skipped = decoder.counters.skippedBytes;
    reply(decoder.push(chunk as Buffer));
    if (decoder.counters.skippedBytes > skipped) log(`bridge: skipped ${decoder.counters.skippedBytes - skipped} bytes`);
    if (decoder.pendingBytes === 0) return;
    partial = setTimeout(() => { reply(decoder.expire()); }, limit('partial_frame_ns_max') / 1e6);
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
