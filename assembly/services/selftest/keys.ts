// SPDX-License-Identifier: Apache-2.0
// Proofs of phase keys: keys belong to who put them, the device key is made once and never leaves, what lies on the disk is sealed and
// bound to its place, and all of it outlives keystored.
// Here too: what the two-boot profile checks of the device key (keysFirstBoot, keysSecondBoot), and what is left of keystored on a disk
// that statefsd refuses (keysRefused).
// Invariant: what is expected on the disk is looked for there through statefsd, not asked of keystored.
// Limits: one answer of keystored and one record of statefsd at a time, in static memory.
import {
  M_SELFTEST_KEYS_DENIED_OK, M_SELFTEST_KEYS_DEVICE_ONCE_OK, M_SELFTEST_KEYS_FRESH_NONCE_OK, M_SELFTEST_KEYS_LEFT_OK,
  M_SELFTEST_KEYS_MOVED_REFUSED_OK, M_SELFTEST_KEYS_PERSIST_OK, M_SELFTEST_KEYS_PRIVATE_REFUSED_OK, M_SELFTEST_KEYS_REFUSED_OK,
  M_SELFTEST_KEYS_RESTART_OK, M_SELFTEST_KEYS_SCOPED_OK, M_SELFTEST_KEYS_SEALED_OK,
  M_SELFTEST_KEYS_SIGN_VERIFY_OK, M_SELFTEST_KEYS_TAMPERED_REFUSED_OK,
} from "../../gen/markers";
import { SVC_SELFTEST_ID } from "../../gen/services";
import { Writer } from "../../lib/bounded/writer";
import { equalsLiteral, indexOfLiteral } from "../../lib/bounded/text";
import { KS, REPLY_OK, Route, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { stateDel, stateGet, statePut } from "../../lib/nexus-state/index";
import { EX_OK } from "../../lib/wire/execd";
import {
  KS_BAD_SIGNATURE, KS_DENIED, KS_DEVICE_CONTEXT, KS_INTEGRITY, KS_NOT_FOUND, KS_OK, KS_OP_DEL, KS_OP_DEVICE_KEYGEN, KS_OP_DEVICE_SIGN,
  KS_OP_GET, KS_OP_GET_PRIVKEY, KS_OP_GET_PUBKEY, KS_OP_PUT, KS_OP_SIGN, KS_OP_VERIFY, KS_PRIVATE, KS_STORAGE,
} from "../../lib/wire/keystored";
import { SF_READ_ONLY } from "../../lib/wire/statefsd";
import { execDrop, execRun, execWait, waitCause, waitCode } from "./children";
import { check, checkEqual, proof, proven } from "./lib";
import { RESTART_LOOKS, killed } from "./traps";

const BUDGET_NS: u64 = 5_000_000_000;
const RECORD_BYTES_MAX: u32 = 512;
const FLIPPED: u32 = 20;
const SCOPE_KEY = "proof.scope";
const SCOPE_VALUE = "the proof's own value, in plain words";
const SEED_KEY = "proof.seed";
const MESSAGE = "a message that the proof has signed";
/** Where the two-boot profile keeps the device's public key. */
const PUBKEY_PATH = "/state/test/pubkey";

const keystored: Route = changetype<Route>(memory.data(8, 4));
const state: Route = changetype<Route>(memory.data(8, 4));
const path: usize = memory.data(128);
const pathWriter: Writer = changetype<Writer>(memory.data(16, 4));
const textBuffer: usize = memory.data(128);
const textWriter: Writer = changetype<Writer>(memory.data(16, 4));
const record: usize = memory.data(512, 8);
const second: usize = memory.data(512, 8);
const publicKey: usize = memory.data(32, 8);
const again: usize = memory.data(32, 8);
const signature: usize = memory.data(64, 8);
let strangerCode: u64 = 0;
let strangerRan: bool = false;

// The route first: a lookup writes the request's buffer.
function begin(op: u8): Writer {
  keystored.resolve("keystored");
  return beginRequest(KS, op);
}
function ask(): i32 {
  if (keystored.handle == 0) return -1;
  const outcome = callRequest(keystored.handle, BUDGET_NS);
  keystored.dropIfDead(outcome);
  return outcome != REPLY_OK ? outcome : <i32>reply.status;
}
function named(op: u8, name: string): i32 {
  begin(op).putU8(<u8>name.length).putText(name);
  return ask();
}
function put(name: string, value: string): i32 {
  begin(KS_OP_PUT).putU8(<u8>name.length).putU16(<u16>value.length).putText(name).putText(value);
  return ask();
}
function checkValue(name: string, value: string, detail: string): void {
  checkEqual(named(KS_OP_GET, name), KS_OK, detail);
  const bytes = <u32>reply.body.takeU16();
  const at = reply.body.takeBytes(bytes);
  check(reply.body.finished && equalsLiteral(at, bytes, value), detail);
}

// Where keystored keeps a key of this service.
function pathOf(name: string): void {
  pathWriter.reset(path, 128).putText("/state/keystore/keys/").putHex(SVC_SELFTEST_ID).putText("/").putText(name);
}
function readRecord(to: usize): u32 {
  const bytes = stateGet(state, path, pathWriter.length, to, RECORD_BYTES_MAX, BUDGET_NS);
  return check(bytes > 0, "no record on the disk") ? <u32>bytes : 0;
}
function writeRecord(from: usize, bytes: u32): void {
  checkEqual(statePut(state, path, pathWriter.length, from, bytes, BUDGET_NS), 0, "write of a record");
}

function testPath(): void {
  pathWriter.reset(path, 128).putText(PUBKEY_PATH);
}

function provesScoped(): void {
  proof("keys scoped");
  checkEqual(put(SCOPE_KEY, SCOPE_VALUE), KS_OK, "put");
  checkValue(SCOPE_KEY, SCOPE_VALUE, "get");
  checkEqual(execRun("child-keys"), EX_OK, "exec");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, 0, "cause");
  execDrop();
  strangerCode = waitCode;
  strangerRan = true;
  checkEqual(waitCode & 15, KS_NOT_FOUND, "a stranger's get of our key");
  checkEqual(waitCode >> 4 & 15, KS_OK, "a stranger's put under the same name");
  checkEqual(waitCode >> 8 & 15, KS_OK, "a stranger's get of its own");
  checkEqual(waitCode >> 12 & 15, KS_OK, "a stranger's deletion of its own");
  checkEqual(waitCode >> 24, 0, "a stranger's steps");
  checkValue(SCOPE_KEY, SCOPE_VALUE, "our value after a stranger's");
  proven(M_SELFTEST_KEYS_SCOPED_OK);
}

function provesDenied(): void {
  proof("keys denied");
  check(strangerRan, "the stranger did not run");
  checkEqual(strangerCode >> 16 & 15, KS_DENIED, "a device signature without keystore.sign");
  proven(M_SELFTEST_KEYS_DENIED_OK);
}

// DEVICE_KEYGEN: whether it answered well; `made` as it says, the key to `to`.
function keygen(to: usize): i32 {
  begin(KS_OP_DEVICE_KEYGEN);
  if (!checkEqual(ask(), KS_OK, "keygen")) return -1;
  const made = <i32>reply.body.takeU8();
  const key = reply.body.takeBytes(32);
  if (!check(reply.body.finished, "keygen's answer")) return -1;
  memory.copy(to, key, 32);
  return made;
}
function pubkey(to: usize): void {
  begin(KS_OP_GET_PUBKEY);
  if (!checkEqual(ask(), KS_OK, "pubkey")) return;
  const key = reply.body.takeBytes(32);
  if (check(reply.body.finished, "pubkey's answer")) memory.copy(to, key, 32);
}

function provesDeviceOnce(): void {
  proof("keys device");
  keygen(publicKey);
  checkEqual(keygen(again), 0, "a second key was made");
  check(memory.compare(publicKey, again, 32) == 0, "a second keygen gave another key");
  pubkey(again);
  check(memory.compare(publicKey, again, 32) == 0, "the public key is another");
  proven(M_SELFTEST_KEYS_DEVICE_ONCE_OK);
}

function verify(key: usize, at: usize, bytes: u32): i32 {
  begin(KS_OP_VERIFY).putBytes(key, 32).putBytes(signature, 64).putBytes(at, bytes);
  return ask();
}

function provesSignVerify(): void {
  proof("keys sign");
  begin(KS_OP_DEVICE_SIGN).putText(MESSAGE);
  if (!checkEqual(ask(), KS_OK, "device sign")) return;
  memory.copy(signature, reply.body.takeBytes(64), 64);
  textWriter.reset(textBuffer, 128).putText(KS_DEVICE_CONTEXT).putU64(SVC_SELFTEST_ID).putText(MESSAGE);
  const bytes = textWriter.length;
  checkEqual(verify(publicKey, textBuffer, bytes), KS_OK, "a device signature");
  checkEqual(verify(publicKey, textBuffer, bytes - 1), KS_BAD_SIGNATURE, "of another message");
  store<u8>(textBuffer + KS_DEVICE_CONTEXT.length, load<u8>(textBuffer + KS_DEVICE_CONTEXT.length) ^ 1);
  checkEqual(verify(publicKey, textBuffer, bytes), KS_BAD_SIGNATURE, "of another sender");
  checkEqual(put(SEED_KEY, "0123456789abcdef0123456789abcdef"), KS_OK, "put of a seed");
  begin(KS_OP_SIGN).putU8(<u8>SEED_KEY.length).putText(SEED_KEY).putText(MESSAGE);
  if (!checkEqual(ask(), KS_OK, "sign")) return;
  memory.copy(signature, reply.body.takeBytes(64), 64);
  memory.copy(again, reply.body.takeBytes(32), 32);
  textWriter.reset(textBuffer, 128).putText(MESSAGE);
  checkEqual(verify(again, textBuffer, textWriter.length), KS_OK, "a signature with our own key");
  checkEqual(verify(publicKey, textBuffer, textWriter.length), KS_BAD_SIGNATURE, "under another key");
  checkEqual(named(KS_OP_DEL, SEED_KEY), KS_OK, "deletion of the seed");
  checkEqual(named(KS_OP_SIGN, SEED_KEY), KS_NOT_FOUND, "sign with a deleted key");
  proven(M_SELFTEST_KEYS_SIGN_VERIFY_OK);
}

function provesPrivateRefused(): void {
  proof("keys private");
  begin(KS_OP_GET_PRIVKEY);
  checkEqual(ask(), KS_PRIVATE, "the private key");
  checkEqual(reply.body.left, 0, "bytes of the answer");
  check(strangerRan, "the stranger did not run");
  checkEqual(strangerCode >> 20 & 15, KS_PRIVATE, "a stranger's question");
  proven(M_SELFTEST_KEYS_PRIVATE_REFUSED_OK);
}

function provesSealed(): void {
  proof("keys sealed");
  pathOf(SCOPE_KEY);
  const bytes = readRecord(record);
  check(bytes > <u32>SCOPE_VALUE.length, "shorter than what it seals");
  checkEqual(indexOfLiteral(record, bytes, "in plain words"), -1, "the value lies open on the disk");
  proven(M_SELFTEST_KEYS_SEALED_OK);
  proof("keys nonce");
  checkEqual(put(SCOPE_KEY, SCOPE_VALUE), KS_OK, "put of the same value");
  checkEqual(readRecord(second), bytes, "length of the second record");
  check(memory.compare(record, second, bytes) != 0, "the same record twice");
  check(memory.compare(record + 4, second + 4, 12) != 0, "the same nonce twice");
  proven(M_SELFTEST_KEYS_FRESH_NONCE_OK);
}

function provesTampered(): void {
  proof("keys tampered");
  pathOf(SCOPE_KEY);
  const bytes = readRecord(record);
  store<u8>(record + FLIPPED, load<u8>(record + FLIPPED) ^ 1);
  writeRecord(record, bytes);
  checkEqual(named(KS_OP_GET, SCOPE_KEY), KS_INTEGRITY, "a record with one bit changed");
  checkEqual(reply.body.left, 0, "bytes of the refusal");
  writeRecord(record, bytes - 1);
  checkEqual(named(KS_OP_GET, SCOPE_KEY), KS_INTEGRITY, "a record cut short");
  store<u8>(record + FLIPPED, load<u8>(record + FLIPPED) ^ 1);
  writeRecord(record, bytes);
  checkValue(SCOPE_KEY, SCOPE_VALUE, "the record put right");
  proven(M_SELFTEST_KEYS_TAMPERED_REFUSED_OK);
  proof("keys moved");
  pathOf("proof.moved");
  writeRecord(record, bytes);
  checkEqual(named(KS_OP_GET, "proof.moved"), KS_INTEGRITY, "a record under another name");
  checkEqual(stateDel(state, path, pathWriter.length, BUDGET_NS), 0, "deletion of the moved record");
  proven(M_SELFTEST_KEYS_MOVED_REFUSED_OK);
}

function provesRestart(): void {
  proof("keys restart");
  if (!killed("keystored", RESTART_LOOKS)) return;
  keystored.drop();
  checkValue(SCOPE_KEY, SCOPE_VALUE, "a value after the restart");
  pubkey(again);
  check(memory.compare(publicKey, again, 32) == 0, "the device key after the restart is another");
  checkEqual(named(KS_OP_DEL, SCOPE_KEY), KS_OK, "deletion");
  checkEqual(named(KS_OP_GET, SCOPE_KEY), KS_NOT_FOUND, "a deleted key");
  proven(M_SELFTEST_KEYS_RESTART_OK);
}

/** Phase keys of the ladder, in the order of markers/57-keys.toml. */
export function keys_proofs(): void {
  provesScoped();
  provesDenied();
  provesDeviceOnce();
  provesSignVerify();
  provesPrivateRefused();
  provesSealed();
  provesTampered();
  provesRestart();
}

/** Profile persist-first: makes the device key and a value of our own, and notes the public key outside keystored. */
export function keysFirstBoot(): void {
  proof("keys left");
  checkEqual(keygen(publicKey), 1, "a device key on a blank disk");
  testPath();
  checkEqual(statePut(state, path, pathWriter.length, publicKey, 32, BUDGET_NS), 0, "note of the public key");
  checkEqual(put(SCOPE_KEY, SCOPE_VALUE), KS_OK, "put");
  proven(M_SELFTEST_KEYS_LEFT_OK);
}

/** Profile persist-second: the device key is the one that the first boot noted, and its value opens. */
export function keysSecondBoot(): void {
  proof("keys persist");
  testPath();
  checkEqual(stateGet(state, path, pathWriter.length, again, 32, BUDGET_NS), 32, "the noted public key");
  checkEqual(keygen(publicKey), 0, "a device key was made again");
  check(memory.compare(publicKey, again, 32) == 0, "the device key of the second boot is another");
  checkValue(SCOPE_KEY, SCOPE_VALUE, "a value of the first boot");
  proven(M_SELFTEST_KEYS_PERSIST_OK);
}

/** Profiles state-refused-*: what statefsd refuses, keystored refuses with the same status; `status`: statefsd's. Writes are refused on
 *  every such disk; what cannot even be read is told apart from what is not there. */
export function keysRefused(status: u32): void {
  proof("keys refused");
  checkEqual(put(SCOPE_KEY, SCOPE_VALUE), KS_STORAGE, "put");
  checkEqual(reply.body.takeU8(), status, "statefsd's status");
  begin(KS_OP_DEVICE_KEYGEN);
  checkEqual(ask(), KS_STORAGE, "keygen");
  const read = named(KS_OP_GET, SCOPE_KEY);
  check(read == KS_STORAGE || (read == KS_NOT_FOUND && status == SF_READ_ONLY), "a get found something");
  begin(KS_OP_GET_PRIVKEY);
  checkEqual(ask(), KS_PRIVATE, "the private key");
  proven(M_SELFTEST_KEYS_REFUSED_OK);
}
