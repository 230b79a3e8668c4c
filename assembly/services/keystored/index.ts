// SPDX-License-Identifier: Apache-2.0
// keystored: keys scoped to their owner, and the device key (docs/keys.md, docs/format/wire-keystored.md).
// Invariant: the owner is the kernel's sender id, so no request can name another's key. Every operation asks policyd first; then it works
// on statefsd alone: no value is kept in memory between requests, and what statefsd, rngd or a record refuses is refused by name.
// A private key is in no answer, log or line.
// Limits: limits.keystored. A signature takes milliseconds, in which nothing else is served.
import {
  KEYSTORED_MESSAGE_BYTES_MAX, KEYSTORED_NAME_BYTES_MAX, KEYSTORED_VALUE_BYTES_MAX,
} from "../../gen/limits";
import { M_KEYSTORED_READY, M_KEYSTORED_REFUSED_STORAGE, mark } from "../../gen/markers";
import {
  MUT_KEYSTORED_EXPORTS_PRIVATE, MUT_KEYSTORED_IGNORES_OWNER, MUT_KEYSTORED_KEEPS_IN_MEMORY, MUT_KEYSTORED_READY_EVIDENCE_BROKEN,
  MUT_KEYSTORED_READY_WITHOUT_DISK, MUT_KEYSTORED_SKIPS_POLICY, MUT_KEYSTORED_VERIFIES_ALL, mutant,
} from "../../gen/mutants";
import { SVC_KEYSTORED_ID } from "../../gen/services";
import { sys_console_line } from "../../gen/syscalls";
import { Writer } from "../../lib/bounded/writer";
import { equalsSecret, wipe } from "../../lib/crypto/constant";
import {
  ED25519_PUBLIC_BYTES, ED25519_SEED_BYTES, ED25519_SIGNATURE_BYTES, ed25519Public, ed25519Sign, ed25519Verify,
} from "../../lib/crypto/ed25519";
import { KS, Reader, Request, delegateCheck, serve, serverRoute } from "../../lib/nexus-ipc/index";
import { logError, logInfo, logWarn, sinkStart } from "../../lib/nexus-log/index";
import {
  KS_BAD_SIGNATURE, KS_DENIED, KS_DEVICE_CONTEXT, KS_INTEGRITY, KS_INVALID_KEY, KS_KEY_TOO_LONG, KS_MALFORMED, KS_NOT_A_SEED,
  KS_NOT_FOUND, KS_NO_ENTROPY, KS_OK, KS_OP_DEL, KS_OP_DEVICE_KEYGEN, KS_OP_DEVICE_SIGN, KS_OP_GET, KS_OP_GET_PRIVKEY, KS_OP_GET_PUBKEY,
  KS_OP_PUT, KS_OP_RELOAD, KS_OP_SIGN, KS_OP_STATS, KS_OP_VERIFY, KS_PRIVATE, KS_STATS_BAD_SIGNATURES, KS_STATS_COUNTERS, KS_STATS_DELS,
  KS_STATS_DENIED, KS_STATS_GETS, KS_STATS_KEYGENS, KS_STATS_PRIVATE_REFUSED, KS_STATS_PUTS, KS_STATS_RELOADS, KS_STATS_SIGNS,
  KS_STATS_VERIFIES, KS_STORAGE, KS_UNSUPPORTED, KS_VALUE_TOO_LARGE,
} from "../../lib/wire/keystored";
import { SF_INTEGRITY } from "../../lib/wire/statefsd";
import { count, countersAt } from "./counters";
import { deviceClose, deviceKeygen, deviceMade, devicePublic, deviceReady, deviceSign } from "./device";
import { diskBytes, diskDel, diskGet, diskPut, diskRefusal, diskRoom, pathOf, pathOfKey } from "./disk";
import { draw } from "./entropy";
import {
  KIND_PROBE, KIND_VALUE, RECORD_BYTES_MAX, openedAt, openedBytes, recordAt, recordBytes, vaultClose, vaultForget, vaultOpen, vaultReady,
  vaultSeal,
} from "./vault";

export const vigil_abi: i32 = 1;

/** What the evidence for `ready` seals. */
const PROBE_BYTES: u32 = 32;
const signature: usize = memory.data(64, 8);
const publicKey: usize = memory.data(32, 8);
// What DEVICE_SIGN signs: context, sender, message.
const signed: usize = memory.data(4160, 8);
const signedWriter: Writer = changetype<Writer>(memory.data(16, 4));
/** What the evidence at the start ended with, until something is written. */
let refused: u8 = KS_OK;
let name: usize = 0;
let nameBytes: u32 = 0;

// A refusal by status; of a storage failure the body says which.
function refuse(request: Request, status: u8): void {
  const answer = request.answer(status);
  if (status == KS_STORAGE) answer.putU8(<u8>diskRefusal());
  if (status == KS_INTEGRITY) logError("keystored").text("a record does not open").fieldDec("op", request.op).end();
}

function allowed(request: Request, capability: string): bool {
  if (mutant(MUT_KEYSTORED_SKIPS_POLICY)) return true;
  if (delegateCheck(request.sender, capability)) return true;
  count(KS_STATS_DENIED);
  logWarn("keystored").text("denied").field("cap", capability).fieldHex("sender", request.sender.value).end();
  request.answer(KS_DENIED);
  return false;
}

function owner(request: Request): u64 {
  return mutant(MUT_KEYSTORED_IGNORES_OWNER) ? SVC_KEYSTORED_ID : request.sender.value;
}

// Letters, digits, dot, underscore, hyphen: one component of a path of statefsd, and neither `.` nor `..`.
function nameStatus(): u8 {
  if (nameBytes > KEYSTORED_NAME_BYTES_MAX) return KS_KEY_TOO_LONG;
  let dots: u32 = 0;
  for (let i: u32 = 0; i < nameBytes; i++) {
    const byte = load<u8>(name + i);
    const letter = <u8>((byte | 32) - 97) < 26;
    const digit = <u8>(byte - 48) < 10;
    if (byte == 46) dots++;
    else if (!letter && !digit && byte != 95 && byte != 45) return KS_INVALID_KEY;
  }
  return nameBytes == 0 || (dots == nameBytes && dots < 3) ? KS_INVALID_KEY : KS_OK;
}

// Takes a name of `bytes`; KS_MALFORMED when the frame is shorter.
function takeName(body: Reader, bytes: u32): u8 {
  nameBytes = bytes;
  name = body.takeBytes(bytes);
  return body.ok ? nameStatus() : KS_MALFORMED;
}

function onPut(request: Request): void {
  const body = request.body;
  const length = <u32>body.takeU8();
  const bytes = <u32>body.takeU16();
  let status = takeName(body, length);
  const value = body.takeBytes(bytes);
  if (!body.finished || (status == KS_OK && bytes == 0)) status = KS_MALFORMED;
  else if (status == KS_OK && bytes > KEYSTORED_VALUE_BYTES_MAX) status = KS_VALUE_TOO_LARGE;
  if (status != KS_OK) return refuse(request, status);
  if (!allowed(request, "keystore.use")) return;
  const own = owner(request);
  status = vaultReady();
  if (status == KS_OK) {
    pathOfKey(own, name, nameBytes);
    status = diskGet(recordAt(), RECORD_BYTES_MAX);
    // What is there is replaced, whether it opens or not.
    if (status == KS_NOT_FOUND) status = diskRoom(own);
    else if (status == KS_INTEGRITY) status = KS_OK;
  }
  if (status == KS_OK) status = vaultSeal(KIND_VALUE, own, name, nameBytes, value, bytes);
  if (status == KS_OK) {
    pathOfKey(own, name, nameBytes);
    status = diskPut(recordAt(), recordBytes());
  }
  if (status == KS_STORAGE && mutant(MUT_KEYSTORED_KEEPS_IN_MEMORY)) status = KS_OK;
  if (status != KS_OK) return refuse(request, status);
  count(KS_STATS_PUTS);
  back();
  request.answer(KS_OK);
}

// The sender's key of that name into openedAt.
function open(request: Request): u8 {
  const own = owner(request);
  pathOfKey(own, name, nameBytes);
  const status = diskGet(recordAt(), RECORD_BYTES_MAX);
  return status == KS_OK ? vaultOpen(KIND_VALUE, own, name, nameBytes, diskBytes) : status;
}

function onGet(request: Request): void {
  let status = takeName(request.body, <u32>request.body.takeU8());
  if (!request.body.finished) status = KS_MALFORMED;
  if (status != KS_OK) return refuse(request, status);
  if (!allowed(request, "keystore.use")) return;
  status = open(request);
  if (status != KS_OK) return refuse(request, status);
  count(KS_STATS_GETS);
  request.answer(KS_OK).putU16(<u16>openedBytes()).putBytes(openedAt(), openedBytes());
  vaultForget();
}

function onDel(request: Request): void {
  let status = takeName(request.body, <u32>request.body.takeU8());
  if (!request.body.finished) status = KS_MALFORMED;
  if (status != KS_OK) return refuse(request, status);
  if (!allowed(request, "keystore.use")) return;
  pathOfKey(owner(request), name, nameBytes);
  status = diskDel();
  if (status != KS_OK) return refuse(request, status);
  count(KS_STATS_DELS);
  request.answer(KS_OK);
}

// The rest of the frame is a message: its length, or more than the limit when it is too long.
function messageStatus(body: Reader): u8 {
  if (!body.ok) return KS_MALFORMED;
  return body.left > KEYSTORED_MESSAGE_BYTES_MAX ? KS_VALUE_TOO_LARGE : KS_OK;
}

function onVerify(request: Request): void {
  const body = request.body;
  const key = body.takeBytes(ED25519_PUBLIC_BYTES);
  const given = body.takeBytes(ED25519_SIGNATURE_BYTES);
  const status = messageStatus(body);
  if (status != KS_OK) return refuse(request, status);
  if (!allowed(request, "keystore.use")) return;
  const bytes = body.left;
  const holds = ed25519Verify(given, key, body.takeBytes(bytes), bytes);
  count(holds ? KS_STATS_VERIFIES : KS_STATS_BAD_SIGNATURES);
  request.answer(holds || mutant(MUT_KEYSTORED_VERIFIES_ALL) ? KS_OK : KS_BAD_SIGNATURE);
}

function onSign(request: Request): void {
  const body = request.body;
  let status = takeName(body, <u32>body.takeU8());
  if (status == KS_OK) status = messageStatus(body);
  if (status != KS_OK) return refuse(request, status);
  if (!allowed(request, "keystore.sign")) return;
  const bytes = body.left;
  const message = body.takeBytes(bytes);
  status = open(request);
  if (status == KS_OK && openedBytes() != ED25519_SEED_BYTES) status = KS_NOT_A_SEED;
  if (status == KS_OK) {
    ed25519Public(publicKey, openedAt());
    ed25519Sign(signature, openedAt(), publicKey, message, bytes);
  }
  vaultForget();
  if (status != KS_OK) return refuse(request, status);
  count(KS_STATS_SIGNS);
  request.answer(KS_OK).putBytes(signature, ED25519_SIGNATURE_BYTES).putBytes(publicKey, ED25519_PUBLIC_BYTES);
}

function onDeviceKeygen(request: Request): void {
  if (!request.body.finished) return refuse(request, KS_MALFORMED);
  if (!allowed(request, "keystore.keygen")) return;
  const status = deviceKeygen();
  if (status != KS_OK) return refuse(request, status);
  if (deviceMade) {
    count(KS_STATS_KEYGENS);
    back();
    logInfo("keystored").text("device key made").end();
  }
  request.answer(KS_OK).putU8(deviceMade ? 1 : 0).putBytes(devicePublic(), ED25519_PUBLIC_BYTES);
}

function onGetPubkey(request: Request): void {
  if (!request.body.finished) return refuse(request, KS_MALFORMED);
  if (!allowed(request, "keystore.pubkey")) return;
  const status = deviceReady();
  if (status != KS_OK) return refuse(request, status);
  request.answer(KS_OK).putBytes(devicePublic(), ED25519_PUBLIC_BYTES);
}

function onDeviceSign(request: Request): void {
  let status = messageStatus(request.body);
  if (status != KS_OK) return refuse(request, status);
  if (!allowed(request, "keystore.sign")) return;
  const bytes = request.body.left;
  signedWriter.reset(signed, 4160).putText(KS_DEVICE_CONTEXT).putU64(request.sender.value);
  signedWriter.putBytes(request.body.takeBytes(bytes), bytes);
  assert(signedWriter.ok);
  status = deviceSign(signature, signed, signedWriter.length);
  if (status != KS_OK) return refuse(request, status);
  count(KS_STATS_SIGNS);
  request.answer(KS_OK).putBytes(signature, ED25519_SIGNATURE_BYTES);
}

// No capability helps, so none is asked for.
function onGetPrivkey(request: Request): void {
  count(KS_STATS_PRIVATE_REFUSED);
  if (mutant(MUT_KEYSTORED_EXPORTS_PRIVATE)) {
    request.answer(KS_OK);
    return;
  }
  logWarn("keystored").text("private key refused").fieldHex("sender", request.sender.value).end();
  request.answer(KS_PRIVATE);
}

function onReload(request: Request): void {
  if (!request.body.finished) return refuse(request, KS_MALFORMED);
  if (!allowed(request, "keystore.admin")) return;
  vaultClose();
  deviceClose();
  const status = vaultReady();
  if (status != KS_OK) return refuse(request, status);
  count(KS_STATS_RELOADS);
  request.answer(KS_OK);
}

function onStats(request: Request): void {
  if (!request.body.finished) return refuse(request, KS_MALFORMED);
  request.answer(KS_OK).putBytes(countersAt(), KS_STATS_COUNTERS << 3);
}

// Seals fresh bytes, writes them, reads them back, opens and deletes them.
function evidence(): u8 {
  if (!draw(signed, PROBE_BYTES)) return KS_NO_ENTROPY;
  let status = vaultSeal(KIND_PROBE, SVC_KEYSTORED_ID, 0, 0, signed, PROBE_BYTES);
  pathOf("probe");
  if (status == KS_OK) status = diskPut(recordAt(), recordBytes());
  wipe(recordAt(), RECORD_BYTES_MAX);
  if (status == KS_OK) status = diskGet(recordAt(), RECORD_BYTES_MAX);
  if (status == KS_OK) status = vaultOpen(KIND_PROBE, SVC_KEYSTORED_ID, 0, 0, diskBytes);
  if (status == KS_OK) {
    if (openedBytes() != PROBE_BYTES || !equalsSecret(openedAt(), signed, PROBE_BYTES)) status = KS_INTEGRITY;
    vaultForget();
  }
  return status == KS_OK ? diskDel() : status;
}

/** Whatever statefsd or the disk's own bytes refuse leaves keystored up: each request tries again and is answered with what it found, and
 *  its line says so. Without entropy it is not up. */
function onPing(): bool {
  if (mutant(MUT_KEYSTORED_READY_EVIDENCE_BROKEN)) return false;
  refused = evidence();
  return refused == KS_OK || refused == KS_STORAGE || refused == KS_INTEGRITY;
}

function onReady(): void {
  if (refused == KS_OK || mutant(MUT_KEYSTORED_READY_WITHOUT_DISK)) {
    mark(M_KEYSTORED_READY);
    logInfo("keystored").text("ready").end();
    return;
  }
  if (refused == KS_INTEGRITY || diskRefusal() == SF_INTEGRITY) {
    // No profile has a disk that rotted in one place, so no ladder has this line.
    signedWriter.reset(signed, 64).putText("keystored: refused integrity");
    sys_console_line(<u32>signed, signedWriter.length);
  } else mark(M_KEYSTORED_REFUSED_STORAGE);
  const line = logError("keystored").text("refused").fieldDec("status", refused);
  if (refused == KS_STORAGE) line.fieldDec("storage", diskRefusal());
  line.end();
}

// Something was written: the storage that was refused at the start is back.
function back(): void {
  if (refused == KS_OK) return;
  refused = KS_OK;
  logInfo("keystored").text("storage is back").end();
}

export function main(): void {
  assert(KEYSTORED_MESSAGE_BYTES_MAX + 64 <= 4160);
  sinkStart();
  serverRoute(KS_OP_PUT, onPut);
  serverRoute(KS_OP_GET, onGet);
  serverRoute(KS_OP_DEL, onDel);
  serverRoute(KS_OP_VERIFY, onVerify);
  serverRoute(KS_OP_SIGN, onSign);
  serverRoute(KS_OP_DEVICE_KEYGEN, onDeviceKeygen);
  serverRoute(KS_OP_GET_PUBKEY, onGetPubkey);
  serverRoute(KS_OP_DEVICE_SIGN, onDeviceSign);
  serverRoute(KS_OP_GET_PRIVKEY, onGetPrivkey);
  serverRoute(KS_OP_RELOAD, onReload);
  serverRoute(KS_OP_STATS, onStats);
  serve(KS, KS_MALFORMED, KS_UNSUPPORTED, onPing, onReady);
}
