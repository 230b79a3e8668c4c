// SPDX-License-Identifier: Apache-2.0
// Owns: the bridge's public face for the gate, the view and the command. Invariant: what it serves is labelled by its source.
// Limits: one listening socket a call.
import { fileURLToPath } from 'node:url';
import { LocalAnswerer, type Answerer } from './answerer.js';
import { makeAnswerer, type SourceOptions } from './choose.js';
import { withHashedIdentities } from './identities.js';
import { startServer, type BridgeServer, type ServerOptions } from './server.js';
import { ReplaySource, loadCapture } from './sources/replay.js';

/** The capture that the gate replays: one node with eight H100 (provenance in the file). */
export const defaultFixture = fileURLToPath(new URL('../../tests/fixtures/gpu/h100x8.capture.json', import.meta.url));

/** The receiver's configuration where a person looks on: a scrape a second, the first at once. */
export const VIEW_RECEIVER_CONFIG = 'collection_interval_ms=1000\ninitial_delay_ms=0\ngroup.memory_copy=enabled\n';

export interface ReplayBridgeOptions {
  /** Where QEMU's chardev will connect. Keep it under 100 bytes: the system's limit for a unix socket is 107. */
  readonly socketPath: string;
  readonly fixture?: string;
  /** Lines for the guest's receiver (docs/format/bridge.md, config); none: its defaults. */
  readonly receiverConfig?: string;
  readonly log?: (line: string) => void;
}

/** Starts a bridge that replays a capture; resolves when it listens. Rejects if the fixture or the socket is unusable. */
export async function startReplayBridge(options: ReplayBridgeOptions): Promise<BridgeServer> {
  const source = new ReplaySource(loadCapture(options.fixture ?? defaultFixture));
  return startServer(serverOptions(options, new LocalAnswerer(source)));
}

export interface BridgeOptions extends SourceOptions {
  readonly socketPath: string;
  readonly receiverConfig?: string;
  /** Secret that UUIDs and bus addresses are hashed with before the guest sees them (receivers.dcgm.identity); absent: as they are. */
  readonly identitySalt?: string;
}

/** A bridge, and what a hashed name stands for: for those on the host who must know; undefined for a text that is no hashed name. */
export type Bridge = BridgeServer & { rawIdentity(name: string): string | undefined };

/**
 * Starts a bridge over the source that the options name; without one, over DCGM where it is there, then NVML, then the replay of
 * `fixture` (the gate's capture by default). `source` of what it resolves to says which. Rejects if options or socket are unusable.
 */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const inner = await makeAnswerer(withFixture(options));
  const hashing = options.identitySalt === undefined ? null : withHashedIdentities(inner, options.identitySalt);
  const answerer = hashing ?? inner;
  try {
    const server = await startServer(serverOptions(options, answerer));
    return Object.assign(server, { rawIdentity: (name: string) => hashing?.rawIdentity(name) });
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

function serverOptions(options: Omit<ServerOptions, 'answerer'>, answerer: Answerer): ServerOptions {
  const { socketPath, log, receiverConfig } = options;
  return { socketPath, answerer, ...(log ? { log } : {}), ...(receiverConfig === undefined ? {} : { receiverConfig }) };
}
