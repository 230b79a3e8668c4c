// SPDX-License-Identifier: Apache-2.0
// Wire numbers of keystored (protocol KS; tables in docs/format/wire-keystored.md). Keys are the sender's own: its kernel-stamped id
// is part of every name, and nothing in a payload can name another's.

/** name_len u8, value_len u16, name, value (1 to KS_VALUE_BYTES_MAX bytes). No body. OK means durable. */
export const KS_OP_PUT: u8 = 1;
/** name_len u8, name. Body: value_len u16, value. */
export const KS_OP_GET: u8 = 2;
/** name_len u8, name. No body. */
export const KS_OP_DEL: u8 = 3;
/** public key 32, signature 64, message: is it an Ed25519 signature of the message? No body. */
export const KS_OP_VERIFY: u8 = 4;
/** name_len u8, name, message: signs the message with the sender's key of that name, a seed of 32 bytes. Body: signature 64, public
 *  key 32. */
export const KS_OP_SIGN: u8 = 5;
/** No payload: makes the device key unless there is one. Body: made u8 (1 when it was made now), public key 32. */
export const KS_OP_DEVICE_KEYGEN: u8 = 10;
/** No payload. Body: public key 32 of the device. */
export const KS_OP_GET_PUBKEY: u8 = 11;
/** message: signs KS_DEVICE_CONTEXT, the sender's id u64 and the message with the device key. Body: signature 64. */
export const KS_OP_DEVICE_SIGN: u8 = 12;
/** Anything: always KS_PRIVATE, whoever asks. */
export const KS_OP_GET_PRIVKEY: u8 = 13;
/** No payload: forgets what is kept in memory and reads it again from statefsd. No body. */
export const KS_OP_RELOAD: u8 = 14;
/** No payload. Body: the u64 counters below. */
export const KS_OP_STATS: u8 = 15;

export const KS_OK: u8 = 0;
export const KS_NOT_FOUND: u8 = 1;
export const KS_DENIED: u8 = 2;
export const KS_VALUE_TOO_LARGE: u8 = 3;
export const KS_KEY_TOO_LONG: u8 = 4;
export const KS_INVALID_KEY: u8 = 5;
export const KS_MALFORMED: u8 = 6;
/** statefsd refused or did not answer. Body: its status u8 (SF_*), KS_NO_ANSWER when there was none. */
export const KS_STORAGE: u8 = 7;
export const KS_UNSUPPORTED: u8 = 8;
/** A record does not open, or is none. */
export const KS_INTEGRITY: u8 = 9;
export const KS_NO_ENTROPY: u8 = 10;
export const KS_BAD_SIGNATURE: u8 = 11;
/** A private key leaves keystored on no request. */
export const KS_PRIVATE: u8 = 12;
export const KS_KEYS_LIMIT: u8 = 13;
export const KS_NO_DEVICE_KEY: u8 = 14;
/** The key's value is not a seed of 32 bytes. */
export const KS_NOT_A_SEED: u8 = 15;

/** Second byte of a KS_STORAGE answer when statefsd gave no status. */
export const KS_NO_ANSWER: u32 = 255;
/** What DEVICE_SIGN signs begins with these bytes, so that no other signature of the key can be taken for one. */
export const KS_DEVICE_CONTEXT: string = "vigil device signature v1";

// Indexes of the STATS counters: requests answered OK, by kind, and what was refused.
export const KS_STATS_PUTS: u32 = 0;
export const KS_STATS_GETS: u32 = 1;
export const KS_STATS_DELS: u32 = 2;
export const KS_STATS_VERIFIES: u32 = 3;
export const KS_STATS_SIGNS: u32 = 4;
export const KS_STATS_KEYGENS: u32 = 5;
export const KS_STATS_DENIED: u32 = 6;
export const KS_STATS_PRIVATE_REFUSED: u32 = 7;
/** Records that did not open. */
export const KS_STATS_INTEGRITY: u32 = 8;
export const KS_STATS_NO_ENTROPY: u32 = 9;
export const KS_STATS_STORAGE: u32 = 10;
/** Signatures that did not hold. */
export const KS_STATS_BAD_SIGNATURES: u32 = 11;
export const KS_STATS_RELOADS: u32 = 12;
export const KS_STATS_COUNTERS: u32 = 13;
