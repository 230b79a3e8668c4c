// SPDX-License-Identifier: Apache-2.0
// Owns: the socket on which other commands (vigil logs, metrics, the view) ask the running guest through this process: the frames of
// docs/format/control.md, passed on one by one.
// Invariant: every question gets one reply with its type and nonce: the guest's, or `unavailable` where there was none; a question of
// another type than the control port's is `unsupported` and never reaches the guest.
// Limits: clients_max at once (more are closed and counted); each has one question under way, the rest waits in its socket.
import { createServer, type Socket } from 'node:net';
import { rmSync } from 'node:fs';
import { FrameDecoder, encodeFrame, type Frame } from '../bridge/codec.js';
import { REPLY_BIT, statusCode, typeCode } from '../bridge/protocol.js';
import type { ControlLine } from './control-line.js';

const PASSED = new Set(['logs', 'series', 'status', 'history'].map(typeCode));

export interface Relay {
  readonly socketPath: string;
  readonly counters: { clients: number; refused: number; questions: number; unanswered: number };
  close(): Promise<void>;
}

/** Listens. Rejects with the listen error. */
export async function startRelay(socketPath: string, line: ControlLine, clientsMax: number): Promise<Relay> {
  const counters = { clients: 0, refused: 0, questions: 0, unanswered: 0 };
  const open = new Set<Socket>();
  const answer = async ({ type, payload }: Frame): Promise<Buffer> => {
    counters.questions++;
    if (!PASSED.has(type)) return Buffer.from([statusCode('unsupported')]);
    try {
      return await line.ask(type, payload);
    } catch {
      counters.unanswered++;
      return Buffer.from([statusCode('unavailable')]);
    }
  };
  const reply = async (socket: Socket, frames: readonly Frame[]): Promise<void> => {
    for (const frame of frames) {
      if ((frame.type & REPLY_BIT) !== 0) continue;
      const payload = await answer(frame);
      if (socket.destroyed) return;
      const times = { wallNs: BigInt(Date.now()) * 1_000_000n, monoNs: process.hrtime.bigint() };
      socket.write(encodeFrame({ type: frame.type | REPLY_BIT, nonce: frame.nonce, payload, ...times }));
    }
  };
  const server = createServer((socket) => {
    if (open.size >= clientsMax) {
      counters.refused++;
      socket.destroy();
      return;
    }
    counters.clients++;
    open.add(socket);
    const decoder = new FrameDecoder();
    socket.on('error', () => undefined); // the close that follows says enough
    socket.on('close', () => open.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      const frames = decoder.push(chunk);
      if (frames.length === 0) return;
      socket.pause();
      void reply(socket, frames).then(() => socket.resume());
    });
  });
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => { server.off('error', reject); resolve(); });
  });
  return {
    socketPath, counters,
    close: () => new Promise((resolve) => {
      server.close(() => { resolve(); });
      for (const socket of open) socket.destroy();
    }),
  };
}
