// SPDX-License-Identifier: Apache-2.0
// Owns: the recording of a source into a file, for `vigil record` and the bridge's own command.
// Invariant: the source is stopped whatever happens; no file is left where the recording failed. Limits: those of record.ts.
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BridgeClient } from './client.js';
import { makeAnswerer, type SourceOptions } from './choose.js';
import { recordCapture } from './record.js';
import { renderCapture } from './sources/replay.js';

export interface Recording {
  readonly output: string; readonly frames: number; readonly intervalMs: number;
  /** secret that identities are hashed with; absent: they are written as they are */
  readonly salt?: string;
}

/** Records. Throws RangeError for wrong numbers, SourceError when the source refuses, Error when it or the file cannot be had. */
export async function recordFile(source: SourceOptions, recording: Recording): Promise<{ entities: number; label: string }> {
  const { output, frames, intervalMs, salt } = recording;
  if (!Number.isInteger(frames) || !(intervalMs >= 100)) throw new RangeError('--frames is a whole number, --interval at least 0.1');
  const answerer = await makeAnswerer(source);
  try {
    const nowUs = (): bigint => BigInt(Date.now()) * 1000n;
    const capture = await recordCapture(new BridgeClient(answerer), { frames, intervalMs, sleep, salt, nowUs });
    writeFileSync(output, renderCapture(capture));
    return { entities: capture.entities.length, label: answerer.label };
  } finally {
    await answerer.stop();
  }
}
