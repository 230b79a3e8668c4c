// SPDX-License-Identifier: Apache-2.0
// Owns: what answers a guest's request frames: a source in this process, or a supervised process that holds one.
// Invariant: every request gets exactly one reply with its type and nonce, in order. Limits: one request at a time.
import type { Frame } from './codec.js';
import { decodeEmpty, encodeConfigReply, statusReply } from './messages.js';
import { REPLY_BIT, typeCode } from './protocol.js';
import { Dialogue, systemClock, type Clock } from './session.js';
import { SourceError, type Source } from './source.js';

/** How the source is: `ready`, or a row of docs/format/bridge.md's table of degraded states, with one line of detail. */
export interface SourceState { readonly name: string; readonly detail: string }

/** Answers requests for as long as the bridge runs. */
export interface Answerer {
  /** Row of [[source]] in abi/bridge.toml. */
  readonly label: string;
  state(): SourceState;
  answer(request: Frame): Promise<Frame>;
  /** The guest's connection ended: so does its session. */
  endSession(): void;
  /** Gives everything back; resolves within limits.library_stop_ms_max, whatever the source is doing. */
  stop(): Promise<void>;
}

/** A source in this process: replay and stub, which never block. */
export class LocalAnswerer implements Answerer {
  readonly label: string;
  private readonly dialogue: Dialogue;
  constructor(private readonly source: Source, clock: Clock = systemClock, log: (line: string) => void = () => undefined) {
    this.label = source.label;
    this.dialogue = new Dialogue(source, clock, log);
  }
  state(): SourceState {
    return this.label === 'stub' ? { name: 'unavailable', detail: 'the stub has no engine' } : { name: 'ready', detail: '' };
  }
  answer(request: Frame): Promise<Frame> { return this.dialogue.answer(request); }
  endSession(): void { void this.source.close(); }
  async stop(): Promise<void> { await this.source.close(); }
}

/**
 * The same answerer, which also answers `config` with the receiver's configuration, in any state of the source: a receiver knows its
 * interval although the engine is gone. Throws RangeError when the text is not what a reply can carry.
 */
export function withReceiverConfig(inner: Answerer, text: string, clock: Clock = systemClock): Answerer {
  const reply = encodeConfigReply(text);
  const answer = (request: Frame): Frame => {
    let payload = reply;
    try {
      decodeEmpty(request.payload);
    } catch (error) {
      payload = statusReply((error as SourceError).status);
    }
    return { type: request.type | REPLY_BIT, nonce: request.nonce, wallNs: clock.wallNs(), monoNs: clock.monoNs(), payload };
  };
  return {
    label: inner.label,
    state: () => inner.state(),
    answer: (request) => (request.type === typeCode('config') ? Promise.resolve(answer(request)) : inner.answer(request)),
    endSession: () => { inner.endSession(); },
    stop: () => inner.stop(),
  };
}
