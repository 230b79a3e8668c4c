// SPDX-License-Identifier: Apache-2.0
// Sealing at rest: each owner's records under a key of its own, made from the root secret (docs/keys.md).
//
//   owner key = HKDF-SHA-256(secret: root, salt: "vigil keystore v1", info: owner u64)
//   record    = "KSR" version u8 | nonce 12 | ChaCha20-Poly1305(owner key, nonce, plaintext) | tag 16
//   bound     = "KSR" version u8 | kind u8 | owner u64 | name_len u8 | name
//
// Invariant: a nonce is 12 fresh bytes of rngd for each seal, never a counter, so a disk that was set back cannot make one repeat. What is
// bound is not stored but known to who opens: a record moved to another owner, name or kind does not open. The root secret is made
// once, on a folder that is empty; where keys are and no root is, everything is refused. Keys are wiped after each use; the root
// secret stays in memory, since every operation needs it.
// Limits: limits.keystored name_bytes_max and value_bytes_max; 2^32 seals an owner key keep the chance of a repeated nonce below 2^-32.
import { KEYSTORED_NAME_BYTES_MAX, KEYSTORED_VALUE_BYTES_MAX } from "../../gen/limits";
import {
  MUT_KEYSTORED_BINDS_NOTHING, MUT_KEYSTORED_NEW_ROOT, MUT_KEYSTORED_SEALS_NOTHING, MUT_KEYSTORED_SKIPS_TAG, mutant,
} from "../../gen/mutants";
import { Writer } from "../../lib/bounded/writer";
import { AEAD_KEY_BYTES, AEAD_NONCE_BYTES, AEAD_TAG_BYTES, aeadOpen, aeadSeal } from "../../lib/crypto/aead";
import { equalsSecret, wipe } from "../../lib/crypto/constant";
import { chacha20 } from "../../lib/crypto/chacha20";
import { hkdfSha256 } from "../../lib/crypto/hmac";
import { KS_INTEGRITY, KS_NOT_FOUND, KS_NO_ENTROPY, KS_OK, KS_STATS_INTEGRITY } from "../../lib/wire/keystored";
import { count } from "./counters";
import { diskBlank, diskBytes, diskGet, diskPut, pathOf } from "./disk";
import { draw } from "./entropy";

/** What a record holds. */
export const KIND_VALUE: u8 = 1;
export const KIND_DEVICE: u8 = 2;
export const KIND_PROBE: u8 = 3;

const VERSION: u8 = 1;
const HEAD_BYTES: u32 = 4;
const ROOT_BYTES: u32 = 32;
const SALT_BYTES: u32 = 17;
export const RECORD_BYTES_MAX: u32 = HEAD_BYTES + AEAD_NONCE_BYTES + KEYSTORED_VALUE_BYTES_MAX + AEAD_TAG_BYTES;
/** What sealing adds to a value. */
export const RECORD_OVERHEAD_BYTES: u32 = HEAD_BYTES + AEAD_NONCE_BYTES + AEAD_TAG_BYTES;

const root: usize = memory.data(32, 8);
const rootRecord: usize = memory.data(40, 8);
const salt: usize = memory.data(24, 8);
const ownerKey: usize = memory.data(32, 8);
const info: usize = memory.data(8, 8);
const bound: usize = memory.data(96, 8);
const boundWriter: Writer = changetype<Writer>(memory.data(16, 4));
const record: usize = memory.data(288, 8);
const opened: usize = memory.data(256, 8);
let haveRoot: bool = false;
let sealedLength: u32 = 0;
let openedLength: u32 = 0;

/** The record that vaultSeal made last, and the room for one that was read. */
export function recordAt(): usize {
  return record;
}
export function recordBytes(): u32 {
  return sealedLength;
}
/** The plaintext that vaultOpen found last; vaultForget clears it. */
export function openedAt(): usize {
  return opened;
}
export function openedBytes(): u32 {
  return openedLength;
}
export function vaultForget(): void {
  wipe(opened, KEYSTORED_VALUE_BYTES_MAX);
  openedLength = 0;
}

/** Forgets the root secret; the next use reads it again. */
export function vaultClose(): void {
  wipe(root, ROOT_BYTES);
  haveRoot = false;
}

function putHead(writer: Writer): Writer {
  return writer.putText("KSR").putU8(VERSION);
}

/** The root secret, from memory, disk, or, on an empty folder, made now: KS_OK, KS_STORAGE, KS_INTEGRITY or KS_NO_ENTROPY. */
export function vaultReady(): u8 {
  if (haveRoot) return KS_OK;
  assert(RECORD_BYTES_MAX <= 288 && KEYSTORED_NAME_BYTES_MAX <= 80);
  pathOf("root");
  const status = diskGet(rootRecord, HEAD_BYTES + ROOT_BYTES);
  if (status == KS_OK) return mutant(MUT_KEYSTORED_NEW_ROOT) ? makeRoot() : takeRoot();
  if (status != KS_NOT_FOUND) return status;
  // A root that is gone while keys are there is not replaced: they would never open again.
  const blank = diskBlank();
  return blank == KS_OK ? makeRoot() : blank;
}

function takeRoot(): u8 {
  putHead(boundWriter.reset(bound, HEAD_BYTES));
  if (diskBytes != HEAD_BYTES + ROOT_BYTES || memory.compare(rootRecord, bound, HEAD_BYTES) != 0) {
    count(KS_STATS_INTEGRITY);
    return KS_INTEGRITY;
  }
  memory.copy(root, rootRecord + HEAD_BYTES, ROOT_BYTES);
  wipe(rootRecord, HEAD_BYTES + ROOT_BYTES);
  haveRoot = true;
  return KS_OK;
}

function makeRoot(): u8 {
  if (!draw(root, ROOT_BYTES)) return KS_NO_ENTROPY;
  putHead(boundWriter.reset(rootRecord, HEAD_BYTES));
  memory.copy(rootRecord + HEAD_BYTES, root, ROOT_BYTES);
  pathOf("root");
  let status = diskPut(rootRecord, HEAD_BYTES + ROOT_BYTES);
  if (status == KS_OK) status = diskGet(rootRecord, HEAD_BYTES + ROOT_BYTES);
  if (status == KS_OK && !equalsSecret(rootRecord + HEAD_BYTES, root, ROOT_BYTES)) status = KS_INTEGRITY;
  wipe(root, ROOT_BYTES);
  // What is on the disk now is the root, whoever wrote it.
  return status == KS_OK ? takeRoot() : status;
}

// The owner's key, and what is bound to the record.
function derive(kind: u8, owner: u64, name: usize, nameBytes: u32): void {
  boundWriter.reset(salt, SALT_BYTES).putText("vigil keystore v1");
  store<u64>(info, owner);
  hkdfSha256(root, ROOT_BYTES, salt, SALT_BYTES, info, 8, ownerKey, AEAD_KEY_BYTES);
  putHead(boundWriter.reset(bound, 96));
  if (mutant(MUT_KEYSTORED_BINDS_NOTHING)) return;
  boundWriter.putU8(kind).putU64(owner).putU8(<u8>nameBytes).putBytes(name, nameBytes);
}

/** Seals a value of at most value_bytes_max bytes into recordAt: KS_OK, KS_NO_ENTROPY, or why there is no root. */
export function vaultSeal(kind: u8, owner: u64, name: usize, nameBytes: u32, value: usize, bytes: u32): u8 {
  assert(bytes <= KEYSTORED_VALUE_BYTES_MAX);
  const status = vaultReady();
  if (status != KS_OK) return status;
  putHead(boundWriter.reset(record, HEAD_BYTES));
  const nonce = record + HEAD_BYTES;
  if (!draw(nonce, AEAD_NONCE_BYTES)) return KS_NO_ENTROPY;
  derive(kind, owner, name, nameBytes);
  const text = nonce + AEAD_NONCE_BYTES;
  aeadSeal(ownerKey, nonce, bound, boundWriter.length, value, bytes, text, text + bytes);
  if (mutant(MUT_KEYSTORED_SEALS_NOTHING)) memory.copy(text, value, bytes);
  wipe(ownerKey, AEAD_KEY_BYTES);
  sealedLength = bytes + RECORD_OVERHEAD_BYTES;
  return KS_OK;
}

/** Opens the `bytes` at recordAt into openedAt: KS_OK, KS_INTEGRITY (counted), or why there is no root. */
export function vaultOpen(kind: u8, owner: u64, name: usize, nameBytes: u32, bytes: u32): u8 {
  const status = vaultReady();
  if (status != KS_OK) return status;
  openedLength = 0;
  if (bytes >= RECORD_OVERHEAD_BYTES && bytes <= RECORD_BYTES_MAX) {
    derive(kind, owner, name, nameBytes);
    const length = bytes - RECORD_OVERHEAD_BYTES;
    const nonce = record + HEAD_BYTES;
    const text = nonce + AEAD_NONCE_BYTES;
    let holds = memory.compare(record, bound, HEAD_BYTES) == 0;
    holds = aeadOpen(ownerKey, nonce, bound, boundWriter.length, text, length, text + length, opened) && holds;
    if (mutant(MUT_KEYSTORED_SEALS_NOTHING)) {
      memory.copy(opened, text, length);
      holds = true;
    }
    if (mutant(MUT_KEYSTORED_SKIPS_TAG)) {
      chacha20(ownerKey, nonce, 1, text, length, opened);
      holds = true;
    }
    wipe(ownerKey, AEAD_KEY_BYTES);
    if (holds) {
      openedLength = length;
      return KS_OK;
    }
    vaultForget();
  }
  count(KS_STATS_INTEGRITY);
  return KS_INTEGRITY;
}
