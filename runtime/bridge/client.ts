// SPDX-License-Identifier: Apache-2.0
// Owns: the host's own client of a source: the seven methods as frames, for probing, recording and inspection.
// Invariant: it reads what the guest would read, so what it shows is what the guest gets. Limits: one request at a time; a reply that is
// malformed throws, and pages never go back.
import { SourceError, type Entity, type Sample, type WatchRequest } from './source.js';
import type { Frame } from './codec.js';
import { limit, statusName, typeCode, valueType } from './protocol.js';

export interface Answering { answer(request: Frame): Promise<Frame> }

export class BridgeClient {
  private nonce = 0;
  constructor(private readonly answerer: Answering) {}

  /** Opens a session; the label of its source. */
  async connect(): Promise<string> {
    const body = await this.ask('connect', Buffer.from([1, 0, 1, 0]));
    return body.subarray(9, 9 + body.readUInt8(8)).toString('latin1');
  }
  async version(): Promise<string> { return (await this.ask('version')).subarray(4).toString('latin1'); }
  async close(): Promise<void> { await this.ask('close'); }

  async enumerate(): Promise<Entity[]> {
    const out: Entity[] = [];
    await this.pages('enumerate', Buffer.alloc(0), (body, count) => {
      let at = 8;
      for (let i = 0; i < count; i++) {
        const lengths = [1, 2, 3, 4].map((k) => body.readUInt8(at + k));
        const parent = { group: body.readUInt8(at + 5), id: body.readUInt16LE(at + 6) };
        const place = { group: body.readUInt8(at), id: body.readUInt32LE(at + 8) };
        at += limit('entity_fixed_bytes');
        const [uuid, model, bdf, driver] = lengths.map((length) => { at += length; return body.toString('latin1', at - length, at); });
        out.push({ ...place, uuid: uuid!, model: model!, bdf: bdf!, driver: driver!, ...(parent.group === 0 ? {} : { parent }) });
      }
    });
    return out;
  }

  /** Watches fields of all entities, or of those named; the watch's id. */
  async watch(request: WatchRequest): Promise<number> {
    const { fieldIds, entities } = request;
    const out = Buffer.alloc(16 + fieldIds.length * 2 + entities.length * 8);
    out.writeBigUInt64LE(request.updateUs, 0);
    out.writeUInt32LE(request.keepS, 8);
    out.writeUInt16LE(fieldIds.length, 12);
    out.writeUInt16LE(entities.length, 14);
    fieldIds.forEach((id, i) => out.writeUInt16LE(id, 16 + i * 2));
    entities.forEach(({ group, id }, i) => {
      out.writeUInt32LE(group, 16 + fieldIds.length * 2 + i * 8);
      out.writeUInt32LE(id, 20 + fieldIds.length * 2 + i * 8);
    });
    return (await this.ask('watch', out)).readUInt32LE(4);
  }

  async latestValues(watchId: number): Promise<Sample[]> {
    const out: Sample[] = [];
    const head = Buffer.alloc(4);
    head.writeUInt32LE(watchId, 0);
    await this.pages('latest_values', head, (body, count) => {
      for (let i = 0; i < count; i++) {
        const at = 8 + i * limit('sample_bytes');
        const type = body.readUInt8(at + 1);
        out.push({ group: body.readUInt8(at), type, fieldId: body.readUInt16LE(at + 2), entityId: body.readUInt32LE(at + 4),
          status: body.readInt32LE(at + 8), tsUs: body.readBigInt64LE(at + 16),
          value: type === valueType('double') ? body.readDoubleLE(at + 24) : body.readBigInt64LE(at + 24) });
      }
    });
    return out;
  }

  private async pages(type: string, head: Buffer, take: (body: Buffer, count: number) => void): Promise<void> {
    for (let cursor = 0; ;) {
      const at = Buffer.alloc(4);
      at.writeUInt32LE(cursor, 0);
      const body = await this.ask(type, Buffer.concat([head, at]));
      take(body, body.readUInt16LE(2));
      const next = body.readUInt32LE(4);
      if (next === 0) return;
      if (next <= cursor) throw new SourceError('bad_request', `${type}: a page goes back`);
      cursor = next;
    }
  }

  private async ask(type: string, payload: Buffer = Buffer.alloc(0)): Promise<Buffer> {
    const reply = await this.answerer.answer({ type: typeCode(type), nonce: ++this.nonce, wallNs: 0n, monoNs: 0n, payload });
    const status = statusName(reply.payload.readUInt8(0));
    if (status !== 'ok') throw new SourceError(status, `${type}: ${status}`);
    return reply.payload;
  }
}
