// SPDX-License-Identifier: Apache-2.0
// Owns: the connection to one engine: standalone over TCP or a unix socket, or embedded; every call has a deadline.
// Invariant: a session that is open was verified by the engine's version (a failed login can report success); no client newer than
// its engine; a call past its deadline is cancelled by disconnecting, and a library that does not even return then is given up with
// the whole process. A refused engine is left alone for a growing while. Limits: abi/bridge.toml engine_*.
import koffi from 'koffi';
import type { Endpoint } from '../endpoint.js';
import { Backoff } from '../library/backoff.js';
import { limit } from '../protocol.js';
import { SourceError } from '../source.js';
import {
  CONNECT_V2, EMBEDDED_HANDLE, OPERATION_AUTO, SEVERITY_NONE, START_EMBEDDED_V2, VERSION_INFO_V2, VERSION_TEXT_BYTES, structure, textAt,
} from './layout.js';
import { DcgmLibrary, type DcgmFunction } from './library.js';
import { codeText, returnOf, voidsSession } from './returns.js';

export interface EngineOptions {
  readonly mode: 'standalone' | 'embedded'; readonly endpoint: Endpoint; readonly library?: string;
}

/** Where the engine tells how it is, and how this process ends when the library is beyond recovery. */
export interface EngineHooks {
  state(name: string, detail: string): void;
  /** Must not return control to the library: ends the process. */
  abandon(state: string, detail: string): void;
}

/** The engine said no to one call; the session goes on. `code` is its return code. */
export class Refused extends SourceError {
  constructor(status: string, message: string, readonly code: number) { super(status, message); }
}

const NULL_LOG = Buffer.from('/dev/null\0');

export class Engine {
  private library: DcgmLibrary | null = null;
  private initialised = false;
  private handle: bigint | null = null;
  private embedded = false;
  private retryAtMs = 0;
  private readonly backoff = new Backoff(limit('engine_backoff_first_ms'), limit('engine_backoff_ms_max'));
  /** Versions of client and engine while connected. */
  versions: { client: string; engine: string } | null = null;

  constructor(readonly options: EngineOptions, private readonly hooks: EngineHooks) {}

  get embeddedRuns(): boolean { return this.embedded; }
  get connected(): boolean { return this.handle !== null; }
  /** Path of the library once it is loaded. */
  get libraryPath(): string | null { return this.library?.path ?? null; }
  knowsField(id: number): boolean { return this.library?.knowsField(id) ?? false; }

  /** Opens and verifies a session. Throws SourceError; `unavailable` at once while the backoff of the last failure runs. */
  async connect(): Promise<void> {
    if (this.handle !== null) throw new SourceError('already_connected', 'one session at a time');
    if (Date.now() < this.retryAtMs) throw new SourceError('unavailable', 'waiting before the next attempt');
    try {
      await this.open();
      this.backoff.reset();
      this.hooks.state('ready', `engine ${this.versions?.engine ?? 'unknown'}`);
    } catch (error) {
      this.retryAtMs = Date.now() + this.backoff.next();
      throw error;
    }
  }

  private async open(): Promise<void> {
    await this.loaded();
    if (this.options.mode === 'embedded') await this.start();
    const handle = this.embedded ? EMBEDDED_HANDLE : await this.dial();
    this.handle = handle;
    try {
      const [client, engine] = [await this.versionText('dcgmVersionInfo'), await this.versionText('dcgmHostengineVersionInfo', handle)];
      this.versions = { client: versionOf(client), engine: versionOf(engine) };
      if (isNewer(this.versions.client, this.versions.engine)) {
        throw this.failure('engine_old', 'insufficient_driver',
          `client library ${this.versions.client} is newer than engine ${this.versions.engine}; install the engine's library`);
      }
    } catch (error) {
      await this.disconnect();
      throw error;
    }
  }

  /** Starts an engine in this process; a later connect attaches to it. */
  async startEmbedded(): Promise<void> {
    if (this.embedded) throw new SourceError('already_connected', 'the embedded engine runs');
    if (this.handle !== null) throw new SourceError('already_connected', 'connected to another engine');
    await this.loaded();
    await this.start();
  }

  private async start(): Promise<void> {
    if (this.embedded) return;
    const parameters = structure(START_EMBEDDED_V2);
    parameters.writeUInt32LE(OPERATION_AUTO, START_EMBEDDED_V2.at.opMode);
    parameters.writeBigUInt64LE(BigInt(koffi.address(NULL_LOG)), START_EMBEDDED_V2.at.logFile);
    parameters.writeInt32LE(SEVERITY_NONE, START_EMBEDDED_V2.at.severity);
    const code = await this.timed('dcgmStartEmbedded_v2', limit('engine_call_ms_max'), parameters);
    if (code !== 0) throw this.failure('engine_absent', returnOf(code).status, `embedded engine: ${codeText(code)}`);
    this.embedded = true;
  }

  private async loaded(): Promise<void> {
    if (this.library === null) {
      try {
        this.library = DcgmLibrary.open(this.options.library);
      } catch (error) {
        throw this.failure('library_absent', 'unavailable', (error as Error).message);
      }
    }
    if (this.initialised) return;
    const code = await this.timed('dcgmInit', limit('engine_call_ms_max'));
    if (code !== 0) throw this.failure('no_driver', returnOf(code).status, `dcgmInit: ${codeText(code)}`);
    this.initialised = true;
  }

  private async dial(): Promise<bigint> {
    const { address, unixSocket } = this.options.endpoint;
    const waitMs = limit('engine_connect_ms');
    const parameters = structure(CONNECT_V2);
    parameters.writeUInt32LE(waitMs, CONNECT_V2.at.timeoutMs);
    parameters.writeUInt32LE(unixSocket ? 1 : 0, CONNECT_V2.at.unixSocket);
    const handle = Buffer.alloc(8);
    const code = await this.timed('dcgmConnect_v2', limit('engine_call_ms_max'), address, parameters, handle);
    if (code === 0) return handle.readBigUInt64LE(0);
    const { status } = returnOf(code);
    const name = status === 'insufficient_driver' ? 'engine_old' : status === 'permission_denied' ? 'no_permission' : 'engine_absent';
    throw this.failure(name, status === 'connection_lost' ? 'unavailable' : status, `${address}: ${codeText(code)}`);
  }

  private async versionText(name: 'dcgmVersionInfo' | 'dcgmHostengineVersionInfo', ...handle: bigint[]): Promise<string> {
    const info = structure(VERSION_INFO_V2);
    const code = await this.timed(name, limit('engine_connect_ms'), ...handle, info);
    if (code !== 0) {
      const { status } = returnOf(code);
      const old = status === 'insufficient_driver';
      throw this.failure(old ? 'engine_old' : 'engine_absent', old ? status : 'unavailable', `${name}: ${codeText(code)}`);
    }
    return textAt(info, VERSION_INFO_V2.at.text, VERSION_TEXT_BYTES);
  }

  /** One call of an open session: its return code. Throws when the session is void, or was cancelled for time. */
  async call(name: DcgmFunction, ...args: unknown[]): Promise<number> {
    if (this.handle === null) throw new SourceError('not_connected', 'connect first');
    const code = await this.timed(name, limit('engine_call_ms_max'), this.handle, ...args);
    if (!voidsSession(code)) return code;
    await this.disconnect();
    throw this.failure(code === -11 ? 'engine_stalled' : 'engine_lost', 'connection_lost', `${name}: ${codeText(code)}`);
  }

  /** The same, where any code but 0 is a refusal. */
  async must(name: DcgmFunction, ...args: unknown[]): Promise<void> {
    const code = await this.call(name, ...args);
    if (code !== 0) throw this.refusal(name, code);
  }

  /** A return code as the refusal that the guest gets; the session stays. */
  refusal(name: string, code: number): Refused {
    const { status } = returnOf(code);
    if (code === -56 || code === -57 || code === -44) this.hooks.state('no_driver', `${name}: ${codeText(code)}`);
    if (status === 'permission_denied') this.hooks.state('no_permission', `${name}: ${codeText(code)}`);
    return new Refused(status, `${name}: ${codeText(code)}`, code);
  }

  /** Ends the session; idempotent. An embedded engine goes on. */
  async disconnect(): Promise<void> {
    const { handle } = this;
    this.handle = null;
    this.versions = null;
    if (handle !== null && handle !== EMBEDDED_HANDLE) await this.timed('dcgmDisconnect', limit('library_cancel_ms_max'), handle);
  }

  /** Gives back everything: a call under way returns because its connection is closed under it. */
  async stop(): Promise<void> {
    const { handle, library } = this;
    if (library === null) return;
    this.handle = null;
    if (handle !== null && handle !== EMBEDDED_HANDLE) library.disconnectNow(handle);
    if (this.embedded) await library.call('dcgmStopEmbedded', EMBEDDED_HANDLE);
    if (this.initialised) await library.call('dcgmShutdown');
  }

  private async timed(name: DcgmFunction, limitMs: number, ...args: unknown[]): Promise<number> {
    const pending = this.library!.call(name, ...args);
    const code = await within(pending, limitMs);
    if (code !== null) return code;
    const { handle } = this;
    this.handle = null;
    this.versions = null;
    if (handle !== null && handle !== EMBEDDED_HANDLE && name !== 'dcgmDisconnect') this.library!.disconnectNow(handle);
    if ((await within(pending, limit('library_cancel_ms_max'))) === null) {
      // A connect that hangs has no handle yet to close: an engine that is stopped takes the connection and never answers.
      this.hooks.abandon(name === 'dcgmConnect_v2' ? 'engine_stalled' : 'library_hung', `${name} did not return in ${limitMs} ms`);
    }
    this.retryAtMs = Date.now() + this.backoff.next();
    throw this.failure('engine_stalled', 'connection_lost', `${name} took more than ${limitMs} ms and was cancelled`);
  }

  private failure(state: string, status: string, detail: string): SourceError {
    this.hooks.state(state, detail);
    return new SourceError(status, detail);
  }
}

/** The value, or null after `limitMs`. */
async function within<T>(pending: Promise<T>, limitMs: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => { timer = setTimeout(() => { resolve(null); }, limitMs); });
  try {
    return await Promise.race([pending, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The `version:` pair of an engine's version text; `unknown` without one. */
export const versionOf = (text: string): string => /(?:^|;)version:([^;]*)/.exec(text)?.[1]?.trim() || 'unknown';

/**
 * True when a client of version `client` may not talk to `engine`: the messages change between minor releases, and an engine
 * understands those of older clients alone. Patch releases are taken for equal; an unknown version is not refused.
 */
export function isNewer(client: string, engine: string): boolean {
  const [a, b] = [client, engine].map((text) => /^(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number));
  if (a === undefined || b === undefined) return false;
  return a[0]! > b[0]! || (a[0] === b[0] && a[1]! > b[1]!);
}
