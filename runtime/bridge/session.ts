// SPDX-License-Identifier: Apache-2.0
// Owns: one client's dialogue with a source: a request frame in, a reply frame out.
// Invariant: every request that decodes as a frame gets exactly one reply with its nonce; a source's refusal becomes a
// status; anything else that a source throws is `connection_lost` and is logged. Limits: as in messages.ts.
import type { Frame } from './codec.js';
import * as messages from './messages.js';
import { REPLY_BIT, VERSION, typeCode } from './protocol.js';
import { SourceError, type Source } from './source.js';

/** Time as the bridge stamps it into each frame. */
export interface Clock { wallNs(): bigint; monoNs(): bigint }

export const systemClock: Clock = {
  wallNs: () => BigInt(Date.now()) * 1_000_000n,
  monoNs: () => process.hrtime.bigint(),
};

let sessions = 0;

/** Answers one request. */
export function answer(source: Source, request: Frame, clock: Clock, log: (line: string) => void): Frame {
  const wallNs = clock.wallNs();
  const monoNs = clock.monoNs();
  let payload: Buffer;
  try {
    payload = dispatch(source, request, wallNs);
  } catch (error) {
    if (!(error instanceof SourceError)) log(`bridge: source ${source.label} failed: ${String(error)}`);
    payload = messages.statusReply(error instanceof SourceError ? error.status : 'connection_lost');
  }
  return { type: request.type | REPLY_BIT, nonce: request.nonce, wallNs, monoNs, payload };
}

function dispatch(source: Source, request: Frame, wallNs: bigint): Buffer {
  const { payload } = request;
  switch (request.type) {
    case typeCode('connect'): {
      const { min, max } = messages.decodeConnect(payload);
      if (min > VERSION || max < VERSION) throw new SourceError('unsupported', `protocol ${min}..${max}`);
      source.connect();
      sessions += 1;
      return messages.encodeConnectReply(source.label, VERSION, sessions);
    }
    case typeCode('start_embedded'):
      messages.decodeEmpty(payload);
      source.startEmbedded();
      return messages.statusReply('ok');
    case typeCode('enumerate'):
      return messages.encodeEntities(source.label, source.enumerate(), messages.decodeEnumerate(payload));
    case typeCode('watch'): {
      const watch = messages.decodeWatch(payload);
      return messages.encodeWatchReply(source.watch(watch), watch.fieldIds.length);
    }
    case typeCode('latest_values'): {
      const { watchId, cursor } = messages.decodeLatest(payload);
      return messages.encodeSamples(source.label, source.latestValues(watchId, wallNs), cursor);
    }
    case typeCode('version'):
      messages.decodeEmpty(payload);
      return messages.encodeVersionReply(source.label, source.version());
    case typeCode('close'):
      messages.decodeEmpty(payload);
      source.close();
      return messages.statusReply('ok');
    default:
      throw new SourceError('unsupported', `type ${request.type}`);
  }
}
