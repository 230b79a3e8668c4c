// SPDX-License-Identifier: Apache-2.0
// The private unix socket on which QEMU finds its disk. Invariant: one client at a time (a second is closed at once and counted); the
// socket file lies in a folder of the caller, who removes it. Limits: a reply waits in the socket's own buffer; a client that does not
// read is not read from either.
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { Connection, type ConnectionCounters } from './connection.js';
import type { Device } from './device.js';

export interface NbdServer {
  /** of every client so far, added up */
  readonly counters: ConnectionCounters & { clients: number; refusedClients: number };
  /** why a client was closed by the server, in order; at most BROKEN_MAX are kept */
  readonly broken: string[];
  close(): Promise<void>;
}

const BROKEN_MAX = 16;

/** Serves `device` at `socketPath`. Rejects with the listen error. */
export async function startNbd(socketPath: string, device: Device): Promise<NbdServer> {
  const counters = { clients: 0, refusedClients: 0, options: 0, refusedOptions: 0, requests: 0, refusedRequests: 0 };
  const broken: string[] = [];
  let current: Socket | null = null;
  const server = createServer((socket) => {
    if (current !== null) {
      counters.refusedClients++;
      socket.destroy();
      return;
    }
    current = socket;
    counters.clients++;
    const connection = new Connection(device, (bytes) => { if (!socket.write(bytes)) socket.pause(); }, () => socket.end());
    socket.on('drain', () => socket.resume());
    socket.on('error', () => undefined); // a client that is killed resets its socket; `close` follows
    socket.on('data', (chunk) => connection.push(chunk as Buffer));
    socket.on('close', () => {
      for (const key of ['options', 'refusedOptions', 'requests', 'refusedRequests'] as const) counters[key] += connection.counters[key];
      if (connection.broken !== null && broken.length < BROKEN_MAX) broken.push(connection.broken);
      current = null;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => resolve());
  });
  return {
    counters,
    broken,
    close: () =>
      new Promise((resolve) => {
        current?.destroy();
        server.close(() => {
          rmSync(socketPath, { force: true });
          resolve();
        });
      }),
  };
}
