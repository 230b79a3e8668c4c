// SPDX-License-Identifier: Apache-2.0
// Owns: one client's dialogue with a source: a request frame in, a reply frame out.
// Invariant: every request that decodes as a frame gets exactly one reply with its nonce; a source's refusal becomes a
// status; anything else that a source throws is `connection_lost` and is logged. A listing is read once, at cursor 0, and its
// pages come from that one reading, so that a page boundary can neither lose nor repeat an item. Limits: as in messages.ts.
import type { Frame } from './codec.js';
import * as messages from './messages.js';
import { REPLY_BIT, VERSION, typeCode } from './protocol.js';
import { SourceError, type Entity, type Maybe, type Sample, type Source } from './source.js';

/** Time as the bridge stamps it into each frame. */
export interface Clock { wallNs(): bigint; monoNs(): bigint }

export const systemClock: Clock = {
  wallNs: () => BigInt(Date.now()) * 1_000_000n,
  monoNs: () => process.hrtime.bigint(),
};

let sessions = 0;

/** Answers the requests of one client, one at a time. */
export class Dialogue {
  private entities: readonly Entity[] | null = null;
  private samples: { readonly watchId: number; readonly list: readonly Sample[] } | null = null;

  constructor(private readonly source: Source, private readonly clock: Clock, private readonly log: (line: string) => void) {}

  /** The reply to one request. Never rejects. */
  async answer(request: Frame): Promise<Frame> { return this.answerMaybe(request); }

  /** The same where the source never waits (replay, stub, tests). Throws TypeError when it does. */
  answerNow(request: Frame): Frame {
    const reply = this.answerMaybe(request);
    if (reply instanceof Promise) throw new TypeError(`source ${this.source.label} waits`);
    return reply;
  }

  private answerMaybe(request: Frame): Maybe<Frame> {
    const failed = (error: unknown): Buffer => {
      if (!(error instanceof SourceError)) this.log(`bridge: source ${this.source.label} failed: ${String(error)}`);
      return messages.statusReply(error instanceof SourceError ? error.status : 'connection_lost');
    };
    try {
      const payload = this.dispatch(request);
      return payload instanceof Promise ? payload.catch(failed).then((bytes) => this.stamp(request, bytes)) : this.stamp(request, payload);
    } catch (error) {
      return this.stamp(request, failed(error));
    }
  }

  /** The times of a reply are those at which the source had answered. */
  private stamp(request: Frame, payload: Buffer): Frame {
    return { type: request.type | REPLY_BIT, nonce: request.nonce, wallNs: this.clock.wallNs(), monoNs: this.clock.monoNs(), payload };
  }

  private dispatch(request: Frame): Maybe<Buffer> {
    const { source } = this;
    const { payload } = request;
    switch (request.type) {
      case typeCode('connect'): {
        const { min, max } = messages.decodeConnect(payload);
        if (min > VERSION || max < VERSION) throw new SourceError('unsupported', `protocol ${min}..${max}`);
        return then(source.connect(), () => {
          this.forget();
          sessions += 1;
          return messages.encodeConnectReply(source.label, VERSION, sessions);
        });
      }
      case typeCode('start_embedded'):
        messages.decodeEmpty(payload);
        return then(source.startEmbedded(), () => messages.statusReply('ok'));
      case typeCode('enumerate'):
        return this.enumerate(messages.decodeEnumerate(payload));
      case typeCode('watch'): {
        const watch = messages.decodeWatch(payload);
        return then(source.watch(watch), (id) => messages.encodeWatchReply(id, watch.fieldIds.length));
      }
      case typeCode('latest_values'):
        return this.latest(messages.decodeLatest(payload));
      case typeCode('version'):
        messages.decodeEmpty(payload);
        return then(source.version(), (text) => messages.encodeVersionReply(source.label, text));
      case typeCode('close'):
        messages.decodeEmpty(payload);
        this.forget();
        return then(source.close(), () => messages.statusReply('ok'));
      default:
        throw new SourceError('unsupported', `type ${request.type}`);
    }
  }

  private enumerate(cursor: number): Maybe<Buffer> {
    const page = (): Buffer => {
      if (this.entities === null) throw new SourceError('bad_request', 'an enumeration begins at cursor 0');
      return messages.encodeEntities(this.source.label, this.entities, cursor);
    };
    return cursor !== 0 ? page() : then(this.source.enumerate(), (entities) => { this.entities = entities; return page(); });
  }

  private latest({ watchId, cursor }: { watchId: number; cursor: number }): Maybe<Buffer> {
    const page = (): Buffer => {
      if (this.samples?.watchId !== watchId) throw new SourceError('bad_request', 'a reading begins at cursor 0');
      return messages.encodeSamples(this.source.label, this.samples.list, cursor);
    };
    if (cursor !== 0) return page();
    return then(this.source.latestValues(watchId, this.clock.wallNs()), (list) => { this.samples = { watchId, list }; return page(); });
  }

  private forget(): void {
    this.entities = null;
    this.samples = null;
  }
}

/** `next` on a result that is there now or comes later. */
function then<T, U>(value: Maybe<T>, next: (value: T) => U): Maybe<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
