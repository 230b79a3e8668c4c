// SPDX-License-Identifier: Apache-2.0
// Owns: the bridge's public face for the gate and the view. Invariant: what it serves is labelled by its source.
// Limits: one listening socket a call.
import { fileURLToPath } from 'node:url';
import { startServer, type BridgeServer } from './server.js';
import { ReplaySource, loadCapture } from './sources/replay.js';

/** The capture that the gate replays: one node with eight H100 (provenance in the file). */
export const defaultFixture = fileURLToPath(new URL('../../tests/fixtures/gpu/h100x8.capture.json', import.meta.url));

export interface ReplayBridgeOptions {
  /** Where QEMU's chardev will connect. Keep it under 100 bytes: the system's limit for a unix socket is 107. */
  readonly socketPath: string;
  readonly fixture?: string;
  readonly log?: (line: string) => void;
}

/** Starts a bridge that replays a capture; resolves when it listens. Rejects if the fixture or the socket is unusable. */
export async function startReplayBridge(options: ReplayBridgeOptions): Promise<BridgeServer> {
  const source = new ReplaySource(loadCapture(options.fixture ?? defaultFixture));
  return startServer({ socketPath: options.socketPath, source, ...(options.log ? { log: options.log } : {}) });
}
