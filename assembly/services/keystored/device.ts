// SPDX-License-Identifier: Apache-2.0
// The device key: an Ed25519 seed (RFC 8032) that rngd made once, sealed like a value of keystored's own.
// Invariant: there is one, made on the first DEVICE_KEYGEN and never replaced. Its seed is in memory only while it is used; nothing here
// returns it. The public key is computed from the seed at each signature, so that a record exchanged meanwhile cannot make a
// signature with another's public key, which would give the seed away.
// Limits: none of its own; a signature costs two point multiplications.
import { MUT_KEYSTORED_KEYGEN_MAKES_NONE, MUT_KEYSTORED_NEW_DEVICE_KEY, mutant } from "../../gen/mutants";
import { SVC_KEYSTORED_ID } from "../../gen/services";
import { wipe } from "../../lib/crypto/constant";
import { ED25519_PUBLIC_BYTES, ED25519_SEED_BYTES, ed25519Public, ed25519Sign } from "../../lib/crypto/ed25519";
import { KS_INTEGRITY, KS_NOT_FOUND, KS_NO_DEVICE_KEY, KS_NO_ENTROPY, KS_OK, KS_STATS_INTEGRITY } from "../../lib/wire/keystored";
import { count } from "./counters";
import { diskBytes, diskGet, diskPut, pathOf } from "./disk";
import { draw } from "./entropy";
import { KIND_DEVICE, RECORD_BYTES_MAX, openedAt, openedBytes, recordAt, recordBytes, vaultForget, vaultOpen, vaultSeal } from "./vault";

const seed: usize = memory.data(32, 8);
const publicKey: usize = memory.data(32, 8);
const kept: usize = memory.data(32, 8);
let known: bool = false;

/** The device's public key: 32 bytes, valid after KS_OK. */
export function devicePublic(): usize {
  return kept;
}
/** Forgets the public key. */
export function deviceClose(): void {
  wipe(kept, ED25519_PUBLIC_BYTES);
  known = false;
}

// The seed, from disk into openedAt, and its public key: KS_OK, KS_NO_DEVICE_KEY, KS_STORAGE, KS_INTEGRITY.
function load(): u8 {
  pathOf("device");
  let status = diskGet(recordAt(), RECORD_BYTES_MAX);
  if (status == KS_NOT_FOUND) return KS_NO_DEVICE_KEY;
  if (status == KS_OK) status = vaultOpen(KIND_DEVICE, SVC_KEYSTORED_ID, 0, 0, diskBytes);
  if (status != KS_OK) return status;
  let holds = openedBytes() == ED25519_SEED_BYTES;
  if (holds) {
    ed25519Public(publicKey, openedAt());
    if (!known) {
      memory.copy(kept, publicKey, ED25519_PUBLIC_BYTES);
      known = true;
    }
    holds = memory.compare(kept, publicKey, ED25519_PUBLIC_BYTES) == 0;
  }
  if (holds) return KS_OK;
  vaultForget();
  count(KS_STATS_INTEGRITY);
  return KS_INTEGRITY;
}

/** Makes devicePublic valid: KS_OK, KS_NO_DEVICE_KEY, or why it cannot be read. */
export function deviceReady(): u8 {
  if (known) return KS_OK;
  const status = load();
  vaultForget();
  return status;
}

/** Whether the last deviceKeygen made the key. */
export let deviceMade: bool = false;

/** Makes the key unless there is one: KS_OK, or why not. Durable and read back when it returns. */
export function deviceKeygen(): u8 {
  deviceMade = false;
  const status = deviceReady();
  if (mutant(MUT_KEYSTORED_NEW_DEVICE_KEY)) deviceClose();
  else if (status != KS_NO_DEVICE_KEY) return status;
  if (!draw(seed, ED25519_SEED_BYTES)) return KS_NO_ENTROPY;
  let made = vaultSeal(KIND_DEVICE, SVC_KEYSTORED_ID, 0, 0, seed, ED25519_SEED_BYTES);
  wipe(seed, ED25519_SEED_BYTES);
  pathOf("device");
  if (made == KS_OK && !mutant(MUT_KEYSTORED_KEYGEN_MAKES_NONE)) made = diskPut(recordAt(), recordBytes());
  if (made == KS_OK) made = deviceReady();
  deviceMade = made == KS_OK;
  return made;
}

/** Signs with the device key: 64 bytes to `to`. KS_OK, or why not. */
export function deviceSign(to: usize, message: usize, bytes: u32): u8 {
  const status = load();
  if (status == KS_OK) ed25519Sign(to, openedAt(), publicKey, message, bytes);
  vaultForget();
  return status;
}
