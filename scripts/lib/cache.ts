// SPDX-License-Identifier: Apache-2.0
// Remembers what a build step read and wrote, by content hash, so that a step runs only when one of them changed.
// Invariant: a step is skipped only if its key, every input and every output have the hashes they had after it last ran.
// A damaged record counts as none. Records: build/cache/FLAVOUR/NAME.json.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** SHA-256 in hex. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Content hashes of files below one root, each read at most once. null: absent. */
export class FileHashes {
  private readonly known = new Map<string, string | null>();
  constructor(readonly root: string) {}

  of(path: string): string | null {
    const known = this.known.get(path);
    if (known !== undefined) return known;
    let hash: string | null = null;
    try {
      hash = sha256(readFileSync(join(this.root, path)));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EISDIR') throw error;
    }
    this.known.set(path, hash);
    return hash;
  }

  /** Hashes of several files. Taken before a step runs, they cannot vouch for an edit made while it ran. */
  all(paths: string[]): Record<string, string | null> {
    return Object.fromEntries(paths.map((path) => [path, this.of(path)]));
  }

  /** A step wrote this file. */
  forget(path: string): void {
    this.known.delete(path);
  }
}

/** What one run of a step left behind. */
export interface StepRecord<Facts> {
  key: string;
  inputs: Record<string, string | null>;
  outputs: Record<string, string | null>;
  facts: Facts;
}

/** Loads a record, or null when there is none that can be read. */
export function loadRecord<Facts>(root: string, name: string): StepRecord<Facts> | null {
  try {
    const record = JSON.parse(readFileSync(recordPath(root, name), 'utf8')) as StepRecord<Facts>;
    const whole = [record.inputs, record.outputs, record.facts].every((part) => typeof part === 'object' && part !== null);
    return typeof record.key === 'string' && whole && Object.keys(record.outputs).length > 0 ? record : null;
  } catch {
    return null;
  }
}

/** Whether the step may be skipped. */
export function isFresh(record: StepRecord<unknown> | null, key: string, files: FileHashes): boolean {
  if (record === null || record.key !== key) return false;
  const same = (list: Record<string, string | null>): boolean =>
    Object.entries(list).every(([path, hash]) => files.of(path) === hash);
  return same(record.inputs) && same(record.outputs);
}

/** Stores a record in one rename, so that an interrupted build leaves the old one. */
export function saveRecord<Facts>(
  root: string,
  name: string,
  files: FileHashes,
  step: { key: string; inputs: Record<string, string | null>; outputs: string[]; facts: Facts },
): void {
  for (const path of step.outputs) files.forget(path);
  const record = { key: step.key, inputs: step.inputs, outputs: files.all(step.outputs), facts: step.facts };
  const target = recordPath(root, name);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(`${target}.${process.pid}`, JSON.stringify(record));
  renameSync(`${target}.${process.pid}`, target);
}

function recordPath(root: string, name: string): string {
  return join(root, 'build/cache', `${name}.json`);
}
