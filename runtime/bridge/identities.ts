// SPDX-License-Identifier: Apache-2.0
// Owns: receivers.dcgm.identity.hash: an answerer whose entities have HMACs in place of UUIDs and bus addresses, so that neither the guest,
// its disk nor any back end sees them; and the way back, for those on the host who must know (whose pod has the GPU).
// Invariant: a listing is hashed as a whole, from one reading, before its first page leaves; the same salt gives the same names.
// Limits: the entities of the newest listing (limits.entities_max) are remembered.
import type { Answerer } from './answerer.js';
import { BridgeClient } from './client.js';
import type { Frame } from './codec.js';
import { decodeEnumerate, encodeEntities, statusReply } from './messages.js';
import { REPLY_BIT, typeCode } from './protocol.js';
import { hashed } from './record.js';
import { systemClock, type Clock } from './session.js';
import { SourceError, type Entity } from './source.js';

export interface HashedAnswerer extends Answerer {
  /** What a hashed name of the newest listing stands for; undefined for any other text. */
  rawIdentity(name: string): string | undefined;
}

/** `salt`: the secret of the HMAC (record.ts uses the same). */
export function withHashedIdentities(inner: Answerer, salt: string, clock: Clock = systemClock): HashedAnswerer {
  const hash = hashed(salt);
  let listing: readonly Entity[] = [];
  let raw = new Map<string, string>();
  const list = async (): Promise<void> => {
    const known = await new BridgeClient(inner).enumerate();
    listing = known.map(hash);
    raw = new Map(known.flatMap((entity, i) => [[listing[i]!.uuid, entity.uuid], [listing[i]!.bdf, entity.bdf]] as const));
  };
  const enumerate = async (request: Frame): Promise<Buffer> => {
    try {
      const cursor = decodeEnumerate(request.payload);
      if (cursor === 0) await list();
      return encodeEntities(inner.label, listing, cursor);
    } catch (error) {
      if (error instanceof SourceError) return statusReply(error.status);
      throw error;
    }
  };
  return {
    label: inner.label,
    state: () => inner.state(),
    rawIdentity: (name) => raw.get(name),
    answer: async (request) => {
      if (request.type !== typeCode('enumerate')) return inner.answer(request);
      const payload = await enumerate(request);
      return { type: request.type | REPLY_BIT, nonce: request.nonce, wallNs: clock.wallNs(), monoNs: clock.monoNs(), payload };
    },
    endSession: () => { inner.endSession(); },
    stop: () => inner.stop(),
  };
}
