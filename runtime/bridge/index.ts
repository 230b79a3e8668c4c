// SPDX-License-Identifier: Apache-2.0
// Owns: the bridge's public face for the gate, the view and the command. Invariant: what it serves is labelled by its source.
// Limits: one listening socket a call.
import { fileURLToPath } from 'node:url';
import { LocalAnswerer } from './answerer.js';
import { makeAnswerer, type SourceOptions } from './choose.js';
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
  return startServer({ socketPath: options.socketPath, answerer: new LocalAnswerer(source), ...(options.log ? { log: options.log } : {}) });
}

/**
 * Starts a bridge over the source that the options name; without one, over DCGM where it is there, then NVML, then the replay of
 * `fixture` (the gate's capture by default). `source` of what it resolves to says which. Rejects if options or socket are unusable.
 */
export async function startBridge(options: SourceOptions & { readonly socketPath: string }): Promise<BridgeServer> {
  const answerer = await makeAnswerer(withFixture(options));
  try {
    return await startServer({ socketPath: options.socketPath, answerer, ...(options.log ? { log: options.log } : {}) });
  } catch (error) {
    await answerer.stop();
    throw error;
  }
}

/** The gate's capture where neither a capture nor a scripted node was named. */
export function withFixture<T extends SourceOptions>(options: T): T {
  const named = options.fixture !== undefined || options.fleet !== undefined || options.scenario !== undefined;
  return named ? options : { ...options, fixture: defaultFixture };
}
