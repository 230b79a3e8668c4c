// SPDX-License-Identifier: Apache-2.0
// Manifest records for the Node host's bundle (docs/format/bundle.md): the fields that services read.
import { createHash } from 'node:crypto';
import { fnv1a64 } from '../../scripts/lib/abi.js';

/** A file record as the packer writes it, without offsets. */
export function fileRecord(name: string, bytes: Uint8Array): Uint8Array {
  const record = Buffer.alloc(128);
  record.write(name, 0, 64, 'latin1');
  record.writeUInt32LE(bytes.length, 68);
  createHash('sha256').update(bytes).digest().copy(record, 80);
  return record;
}
/** A service record as the packer writes it: name, id, length, exec flag, digest. */
export function serviceRecord(name: string, bytes: Uint8Array): Uint8Array {
  const record = Buffer.alloc(256);
  record.write(name, 0, 32, 'latin1');
  record.writeBigUInt64LE(fnv1a64(name), 32);
  record.writeUInt32LE(bytes.length, 44);
  record.writeUInt32LE(1, 76);
  createHash('sha256').update(bytes).digest().copy(record, 96);
  return record;
}
