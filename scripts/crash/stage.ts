// SPDX-License-Identifier: Apache-2.0
// In what the power cut landed, told from the disk's requests alone: a compaction writes the region that the newest superblock does not
// call active, until the superblock that does is flushed. Numbers of the format: docs/format/statefs.md (assembly/lib/statefs/format.ts).
import type { DiskRequest } from '../../runtime/nbd/index.js';

/** `recovery`: before the guest could read; `idle`: after the whole workload. */
export type Stage = 'recovery' | 'compaction' | 'work' | 'idle';

const SECTOR_BYTES = 512;
const SLOT_BYTES = 8 * SECTOR_BYTES;
const REGIONS_AT_BYTES = 2 * SLOT_BYTES;
const MAGIC = 'VIGILST1';
const [AT_EPOCH, AT_REGION_SECTORS, AT_ACTIVE] = [16, 44, 48];

interface Super {
  epoch: number;
  regionBytes: number;
  active: number;
}

function superAt(bytes: Buffer): Super | null {
  if (bytes.length < SECTOR_BYTES || bytes.subarray(0, 8).toString('latin1') !== MAGIC) return null;
  const regionBytes = bytes.readUInt32LE(AT_REGION_SECTORS) * SECTOR_BYTES;
  return { epoch: bytes.readUInt32LE(AT_EPOCH), regionBytes, active: bytes.readUInt32LE(AT_ACTIVE) };
}

export class StageWatch {
  /** true while a compaction is under way */
  compacting = false;
  private newest: Super | null = null;
  private superUnflushed = false;

  /** @param image what the boot begins with */
  constructor(image: Buffer) {
    for (const slot of [0, SLOT_BYTES]) this.learn(superAt(image.subarray(slot, slot + SECTOR_BYTES)));
  }

  request({ kind, offset, data }: DiskRequest): void {
    if (kind === 'flush') {
      if (this.superUnflushed) this.compacting = false;
      this.superUnflushed = false;
    } else if (kind === 'write' && offset < REGIONS_AT_BYTES) {
      this.learn(superAt(data));
      this.superUnflushed = true;
    } else if (kind === 'write' && this.newest !== null) {
      this.compacting = Math.floor((offset - REGIONS_AT_BYTES) / this.newest.regionBytes) !== this.newest.active;
    }
  }

  private learn(found: Super | null): void {
    if (found !== null && (this.newest === null || found.epoch > this.newest.epoch)) this.newest = found;
  }
}
