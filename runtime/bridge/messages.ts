// SPDX-License-Identifier: Apache-2.0
// Owns: the payloads of the seven client methods and of `config` (docs/format/bridge.md) on the host: decode requests, encode replies.
// Invariant: lengths are checked before any field is read; a short or long request is `bad_request`, never an exception
// of another kind. Limits: counts as in abi/bridge.toml; a page never exceeds PAYLOAD_BYTES_MAX.
import { PAYLOAD_BYTES_MAX } from './codec.js';
import { catalogField } from './catalog.js';
import { limit, sampleKind, sourceCode, statusCode, valueType } from './protocol.js';
import { SourceError, type Entity, type Sample, type WatchRequest } from './source.js';

/** Error reply: the status byte alone. */
export const statusReply = (status: string): Buffer => Buffer.from([statusCode(status)]);

function exact(payload: Buffer, length: number): void {
  if (payload.length !== length) throw new SourceError('bad_request', `payload of ${payload.length} bytes, not ${length}`);
}

/** connect request: the protocol versions that the guest speaks. */
export function decodeConnect(payload: Buffer): { min: number; max: number } {
  exact(payload, 4);
  return { min: payload.readUInt16LE(0), max: payload.readUInt16LE(2) };
}

export function encodeConnectReply(label: string, protocol: number, session: number): Buffer {
  const out = Buffer.alloc(9 + label.length);
  out.writeUInt8(statusCode('ok'), 0);
  out.writeUInt8(sourceCode(label), 1);
  out.writeUInt16LE(protocol, 2);
  out.writeUInt32LE(session, 4);
  out.writeUInt8(label.length, 8);
  out.write(label, 9, 'ascii');
  return out;
}

/** enumerate request: the cursor (0 first, then `next` of the page before). */
export function decodeEnumerate(payload: Buffer): number {
  exact(payload, 4);
  return payload.readUInt32LE(0);
}

/** watch request. */
export function decodeWatch(payload: Buffer): WatchRequest {
  if (payload.length < 16) throw new SourceError('bad_request', 'watch shorter than its fixed part');
  const fieldCount = payload.readUInt16LE(12);
  const entityCount = payload.readUInt16LE(14);
  if (fieldCount > limit('fields_max')) throw new SourceError('over_limit', `${fieldCount} fields`);
  if (entityCount > limit('entities_max')) throw new SourceError('over_limit', `${entityCount} entities`);
  exact(payload, 16 + fieldCount * 2 + entityCount * 8);
  const entitiesAt = 16 + fieldCount * 2;
  return {
    updateUs: payload.readBigUInt64LE(0),
    keepS: payload.readUInt32LE(8),
    fieldIds: Array.from({ length: fieldCount }, (_, i) => payload.readUInt16LE(16 + i * 2)),
    entities: Array.from({ length: entityCount }, (_, i) => ({
      group: payload.readUInt32LE(entitiesAt + i * 8), id: payload.readUInt32LE(entitiesAt + i * 8 + 4),
    })),
  };
}

export function encodeWatchReply(watchId: number, fieldCount: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt8(statusCode('ok'), 0);
  out.writeUInt16LE(fieldCount, 2);
  out.writeUInt32LE(watchId, 4);
  return out;
}

/** latest_values request. */
export function decodeLatest(payload: Buffer): { watchId: number; cursor: number } {
  exact(payload, 8);
  return { watchId: payload.readUInt32LE(0), cursor: payload.readUInt32LE(4) };
}

/** version, start_embedded and close carry nothing. */
export function decodeEmpty(payload: Buffer): void {
  exact(payload, 0);
}

export function encodeVersionReply(label: string, text: string): Buffer {
  const body = Buffer.from(text, 'ascii').subarray(0, 512);
  const out = Buffer.alloc(4 + body.length);
  out.writeUInt8(statusCode('ok'), 0);
  out.writeUInt8(sourceCode(label), 1);
  out.writeUInt16LE(body.length, 2);
  body.copy(out, 4);
  return out;
}

/** The receiver's configuration as the guest gets it. Throws RangeError when it is not ASCII lines of at most limits.config_bytes_max. */
export function encodeConfigReply(text: string): Buffer {
  const most = limit('config_bytes_max');
  if (text.length > most) throw new RangeError(`receiver configuration: ${text.length} bytes, at most ${most}`);
  const bad = /[^\x20-\x7e\n]/.exec(text);
  if (bad !== null) throw new RangeError(`receiver configuration: character ${JSON.stringify(bad[0])} at ${bad.index} is no ASCII text`);
  const out = Buffer.alloc(3 + text.length);
  out.writeUInt8(statusCode('ok'), 0);
  out.writeUInt16LE(text.length, 1);
  out.write(text, 3, 'ascii');
  return out;
}

/** A page: status, source, count u16, next u32 (0: the end), then as many items from `cursor` on as fit. */
function encodePage<T>(label: string, items: readonly T[], cursor: number, encode: (item: T) => Buffer): Buffer {
  if (cursor > items.length) throw new SourceError('bad_request', `cursor ${cursor} is behind the end`);
  const parts: Buffer[] = [];
  let bytes = 8;
  let at = cursor;
  for (; at < items.length; at++) {
    const part = encode(items[at]!);
    if (bytes + part.length > PAYLOAD_BYTES_MAX) break;
    parts.push(part);
    bytes += part.length;
  }
  const head = Buffer.alloc(8);
  head.writeUInt8(statusCode('ok'), 0);
  head.writeUInt8(sourceCode(label), 1);
  head.writeUInt16LE(parts.length, 2);
  head.writeUInt32LE(at < items.length ? at : 0, 4);
  return Buffer.concat([head, ...parts]);
}

export const encodeEntities = (label: string, entities: readonly Entity[], cursor: number): Buffer =>
  encodePage(label, entities, cursor, encodeEntity);

export const encodeSamples = (label: string, samples: readonly Sample[], cursor: number): Buffer =>
  encodePage(label, samples, cursor, encodeSample);

function encodeEntity(entity: Entity): Buffer {
  const texts = [entity.uuid, entity.model, entity.bdf, entity.driver].map((text) => Buffer.from(text, 'ascii'));
  const head = Buffer.alloc(limit('entity_fixed_bytes'));
  head.writeUInt8(entity.group, 0);
  texts.forEach((text, i) => head.writeUInt8(text.length, 1 + i));
  head.writeUInt8(entity.parent?.group ?? 0, 5);
  head.writeUInt16LE(entity.parent?.id ?? 0, 6);
  head.writeUInt32LE(entity.id, 8);
  return Buffer.concat([head, ...texts]);
}

function encodeSample(sample: Sample): Buffer {
  const out = Buffer.alloc(limit('sample_bytes'));
  out.writeUInt8(sample.group, 0);
  out.writeUInt8(sample.type, 1);
  out.writeUInt16LE(sample.fieldId, 2);
  out.writeUInt32LE(sample.entityId, 4);
  out.writeInt32LE(sample.status, 8);
  out.writeUInt32LE(sampleKind(catalogField(sample.fieldId)?.kind ?? 'gauge'), 12);
  out.writeBigInt64LE(sample.tsUs, 16);
  if (sample.type === valueType('double')) out.writeDoubleLE(Number(sample.value), 24);
  else out.writeBigInt64LE(BigInt(sample.value), 24);
  return out;
}
