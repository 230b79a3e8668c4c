// SPDX-License-Identifier: Apache-2.0
// Profiles that need a past: `after` in markers/profiles names the profile whose boot must have passed on the same disk.
// Invariant: both boots share one blank private image that goes when the second ended; the first runs whole, without a mutant, and when it
// does not pass its result is the answer. A boot that brings a disk of its own has its past already.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { GATE_DISK_BYTES, createImage, diskOf } from '../lib/disk.js';
import { readLadder } from './ladder.js';
import { privateFolder } from './private-image.js';
import { boot, type BootRequest, type BootResult, type SessionEvent } from './session.js';
import { runWhole } from './stop.js';

/** The first boot is held to the same host limit as a canary. */
const PAST_TIMEOUT_MS = 120_000;

/** `boot`, preceded by the boot that the profile comes after. @throws what boot throws. */
export async function bootAfterPast(request: BootRequest, say: (event: SessionEvent) => void = () => undefined): Promise<BootResult> {
  const { after } = readLadder(request.profile, request.transport, request.root);
  if (after === undefined || request.disk !== undefined) return boot(request, say);
  const dir = privateFolder();
  try {
    const path = join(dir, 'state.img');
    createImage(path, GATE_DISK_BYTES);
    const { nonce: _nonce, mutant, ...shared } = request;
    const past: BootRequest = { ...shared, profile: after, stop: () => runWhole(PAST_TIMEOUT_MS), disk: { kind: 'file', path } };
    const first = await boot(mutant === undefined ? past : { ...past, flavour: 'mutant' }, say);
    if (first.result !== 'pass') return first;
    const { readOnly, noFlush } = diskOf(request.profile) ?? {};
    return await boot({ ...request, disk: { kind: 'file', path, readOnly, noFlush } }, say);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
