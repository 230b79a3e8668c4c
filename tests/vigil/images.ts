// SPDX-License-Identifier: Apache-2.0
// Images of /state for the tests of the host tools: made by the shipping statefsd on a simulated disk, then damaged by hand.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildModule, Recycled } from '../../runtime/node/index.js';
import { BlkDevice } from '../statefs/sim/device.js';
import { SimDisk } from '../statefs/sim/disk.js';
import { OP, STATUS, bareFrame, delFrame, putFrame, txnEndFrame, txnPutFrame } from '../statefs/sim/frames.js';
import { Session } from '../statefs/sim/session.js';

const PIECE_BYTES = 7000;
export const SECTORS = 1024;

/** Bytes of an image that holds these values, put in order (null deletes), each durable. */
export async function imageOf(changes: [string, Uint8Array | null][], sectors = SECTORS): Promise<Uint8Array> {
  const device = new BlkDevice(new SimDisk(sectors));
  new Session(new Recycled(await buildModule('statefsd')), device).run(function* (io) {
    const check = (what: string, status: number): void => { if (status !== STATUS.ok) throw new Error(`${what}: status ${status}`); };
    for (const [key, value] of changes) {
      if (value === null) check('DEL', (yield* io.ask((nonce) => delFrame(nonce, key))).status);
      else if (value.length <= PIECE_BYTES) check('PUT', (yield* io.ask((nonce) => putFrame(nonce, key, value))).status);
      else {
        const begun = yield* io.ask((nonce) => bareFrame(OP.txnBegin, nonce));
        const txn = begun.body.readUInt32LE(0);
        for (let at = 0; at < value.length; at += PIECE_BYTES) {
          const piece = value.subarray(at, at + PIECE_BYTES);
          check('TXN_PUT', (yield* io.ask((nonce) => txnPutFrame(nonce, txn, key, value.length, at, piece))).status);
        }
        check('TXN_COMMIT', (yield* io.ask((nonce) => txnEndFrame(OP.txnCommit, nonce, txn))).status);
      }
    }
  });
  return device.disk.current.slice();
}

/** A folder that is removed after `work`. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-image-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function writeImage(folder: string, bytes: Uint8Array, name = 'state.img'): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}
