// SPDX-License-Identifier: Apache-2.0
// Owns: the recording of a source into a capture file that replay plays: one frame or several, identities hashed on request.
// Invariant: values and statuses are recorded as they came, blanks too; with a salt no UUID and no bus address of the node is in the file,
// and the same salt gives the same names again. Limits: capture_frames_max frames; every field of the catalogue, or those named.
import { createHmac } from 'node:crypto';
import { catalog } from './catalog.js';
import type { BridgeClient } from './client.js';
import { limit, valueType } from './protocol.js';
import { cleanText } from './text.js';
import type { Entity, Sample } from './source.js';
import type { Capture, CaptureSample } from './sources/replay.js';

export interface RecordOptions {
  /** Frames to take, one every `intervalMs`. */
  readonly frames: number; readonly intervalMs: number;
  readonly fieldIds?: readonly number[];
  /** Secret that identities are hashed with; absent: they are written as they are. */
  readonly salt?: string;
  readonly sleep: (ms: number) => Promise<void>;
  readonly nowUs: () => bigint;
}

/** Records; throws SourceError when the source refuses, RangeError for a number of frames that no capture may have. */
export async function recordCapture(client: BridgeClient, options: RecordOptions): Promise<Capture> {
  const max = limit('capture_frames_max');
  if (options.frames < 1 || options.frames > max) throw new RangeError(`frames: 1 to ${max}`);
  const label = await client.connect();
  const version = await client.version();
  const entities = await client.enumerate();
  const fieldIds = options.fieldIds ?? catalog.map(({ id }) => id);
  const watches: number[] = [];
  for (let at = 0; at < fieldIds.length; at += limit('fields_max')) {
    const part = fieldIds.slice(at, at + limit('fields_max'));
    const updateUs = BigInt(Math.max(100, Math.floor(options.intervalMs))) * 1000n;
    watches.push(await client.watch({ updateUs, keepS: 60, fieldIds: part, entities: [] }));
  }
  const frames: { atUs: string; samples: CaptureSample[] }[] = [];
  for (let i = 0; i < options.frames; i++) {
    await options.sleep(options.intervalMs); // before the first too: a fresh watch has no values yet
    const samples: Sample[] = [];
    for (const watch of watches) samples.push(...(await client.latestValues(watch)));
    frames.push({ atUs: String(options.nowUs()), samples: samples.map(plain) });
  }
  await client.close();
  const hash = options.salt === undefined ? (entity: Entity) => entity : hashed(options.salt);
  const [first, ...rest] = frames as [typeof frames[0], ...typeof frames];
  return {
    schema: 'vigil-gpu-capture-1',
    provenance: `Recorded by vigil record from source ${label} (${version})${options.salt === undefined ? '' : '; identities are hashed'}.`,
    capturedUs: first.atUs, dcgmVersion: /(?:^|;)dcgm:([^;]*)/.exec(version)?.[1] ?? 'none',
    entities: entities.map(hash), samples: first.samples,
    ...(rest.length === 0 ? {} : { frames: rest }),
  };
}

function plain(sample: Sample): CaptureSample {
  const { group, entityId, fieldId, status } = sample;
  return { group, entityId, fieldId, type: sample.type === valueType('double') ? 'double' : 'int64', status, tsUs: String(sample.tsUs),
    value: String(sample.value) };
}

/** Replaces a board's identity by an HMAC of it; what names an instance or a link behind the board's (`/gi7`) stays. */
export function hashed(salt: string): (entity: Entity) => Entity {
  const of = (text: string): string => createHmac('sha256', salt).update(text).digest('hex').slice(0, 24);
  return (entity) => {
    const [board, ...part] = entity.uuid.split('/');
    const bdf = entity.bdf === '' ? '' : `hashed-${of(entity.bdf)}`;
    return { ...entity, uuid: cleanText([`hashed-${of(board!)}`, ...part].join('/')), bdf };
  };
}
