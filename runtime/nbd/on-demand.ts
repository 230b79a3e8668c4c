// SPDX-License-Identifier: Apache-2.0
// A disk that fails when the guest asks it to, in band: a write whose data hold `disk-fault:ACTION:N;` arms or meets that fault, once for
// each N. So a proof in the guest decides what fails and when, whatever else is written meanwhile.
//   write-io, write-nospc   this write is answered with EIO or ENOSPC, and nothing of it lands
//   flush-io                the next flush is answered with EIO, and nothing becomes durable
//   read-io                 the next read that covers the text is answered with EIO
//   late                    this write and all that follows wait LATE_MS of host time
// Limits: FAULTS_MAX faults a disk; a text that straddles two writes is not seen.
import type { DiskRequest } from './device.js';
import { FaultyDisk, type Verdict } from './faulty-disk.js';

const FAULT = /disk-fault:(write-io|write-nospc|flush-io|read-io|late):(\d{1,4});/g;
const FAULTS_MAX = 64;
export const LATE_MS = 100;

class OnDemand {
  private readonly met = new Set<string>();
  private flushFails = false;
  /** byte offsets of texts whose next read fails */
  private readonly unreadable = new Set<number>();

  /** The answer to one request; arms what its data ask for. */
  decide({ kind, offset, length, data }: DiskRequest): Verdict {
    if (kind === 'flush') {
      const fails = this.flushFails;
      this.flushFails = false;
      return fails ? 'io' : null;
    }
    return kind === 'read' ? this.read(offset, length) : this.write(offset, data);
  }

  private read(offset: number, length: number): Verdict {
    const hit = [...this.unreadable].find((at) => at >= offset && at < offset + length);
    if (hit === undefined) return null;
    this.unreadable.delete(hit);
    return 'io';
  }

  private write(offset: number, data: Buffer): Verdict {
    let answer: Verdict = null;
    for (const match of data.toString('latin1').matchAll(FAULT)) {
      if (this.met.has(match[0]) || this.met.size >= FAULTS_MAX) continue;
      this.met.add(match[0]);
      if (match[1] === 'flush-io') this.flushFails = true;
      else if (match[1] === 'read-io') this.unreadable.add(offset + match.index);
      else if (match[1] === 'late') answer = 'hold';
      else answer = match[1] === 'write-io' ? 'io' : 'nospc';
    }
    return answer;
  }
}

/** @param medium the image, changed in place */
export function faultsOnDemand(medium: Buffer): FaultyDisk {
  const faults = new OnDemand();
  const disk: FaultyDisk = new FaultyDisk(medium, {}, {
    below: () => 0,
    decide: (request) => {
      const verdict = faults.decide(request);
      if (verdict === 'hold') setTimeout(() => disk.release(), LATE_MS);
      return verdict;
    },
  });
  return disk;
}
