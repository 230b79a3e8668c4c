// SPDX-License-Identifier: Apache-2.0
// bundlemgrd: what the bundle holds, and the bytes of an image (docs/format/wire-bundlemgrd.md).
// Invariant: LIST, INFO and FETCH_IMAGE need bundle.list, bundle.info and bundle.fetch, asked of policyd for each
// request through the shared decoder; nothing is told without. The first piece of a fetch is decided anew like every
// other.
// Limits: pieces of nexus-ipc's transfer, limits.bundlemgrd, LIST pages of LIST_MAX records.
import { M_BUNDLEMGRD_READY, mark } from "../../gen/markers";
import { MUT_BUNDLEMGRD_FLIPS_BYTE, MUT_BUNDLEMGRD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SVC_BUNDLEMGRD_ID } from "../../gen/services";
import { sys_bundle_read } from "../../gen/syscalls";
import { fnv1a64 } from "../../lib/bounded/fnv";
import {
  BN, CHUNK_BYTES_MAX, DELEGATE_ALLOWED, DELEGATE_DENIED, PO_ROUTE, Request, answerPull, delegateCheck, delegatePair,
  delegateReason, pullObject, pullOffset, readPull, serve, serverRoute,
} from "../../lib/nexus-ipc/index";
import { MT_UNIT_BYTES, counter, counterAdd, histogram, metricsInit, observe } from "../../lib/nexus-metrics/index";
import {
  BN_DENIED, BN_MALFORMED, BN_NAME_BYTES_MAX, BN_NOT_FOUND, BN_OK, BN_OP_FETCH_IMAGE, BN_OP_INFO, BN_OP_LIST,
  BN_OP_ROUTE_STATUS, BN_UNAVAILABLE, BN_UNSUPPORTED,
} from "../../lib/wire/bundlemgrd";
import { PO_ALLOW, PO_DENY } from "../../lib/wire/policyd";
import { catalogueAt, catalogueById, catalogueCount, catalogueLoad } from "./catalogue";
import { logInfo, sinkStart } from "../../lib/nexus-log/index";

export const vigil_abi: i32 = 1;

const KIND_SERVICE: u32 = 0;
const LIST_MAX: u32 = 64;
const WASM_MAGIC: u32 = 0x6d736100;
const piece: usize = memory.data(8000, 8);
const listOk = counter("bundlemgrd.list.ok");
const routeStatusOk = counter("bundlemgrd.route_status.ok");
const routeStatusFail = counter("bundlemgrd.route_status.fail");
const fetchRequest = counter("bundlemgrd.fetch.request");
const fetchOk = counter("bundlemgrd.fetch.ok");
const imageBytes = histogram("bundlemgrd.fetch.image_bytes", MT_UNIT_BYTES);
let loaded: bool = false;
let name: usize = 0;
let nameLength: u32 = 0;

// Answers for the caller when policyd did not allow; true when it did.
function allowed(request: Request, capability: string): bool {
  if (delegateCheck(request.sender, capability)) return true;
  request.answer(delegateReason() == DELEGATE_DENIED ? BN_DENIED : BN_UNAVAILABLE);
  return false;
}

function takeName(request: Request): bool {
  nameLength = <u32>request.body.takeU8();
  name = request.body.takeBytes(nameLength);
  return request.body.finished && nameLength != 0 && nameLength <= BN_NAME_BYTES_MAX;
}

function onList(request: Request): void {
  const first = <u32>request.body.takeU16();
  if (!request.body.finished) {
    request.answer(BN_MALFORMED);
    return;
  }
  if (!allowed(request, "bundle.list")) return;
  const total = catalogueCount();
  const count = first < total ? min<u32>(total - first, LIST_MAX) : 0;
  const out = request.answer(BN_OK).putU16(<u16>total).putU16(<u16>count);
  for (let i: u32 = first; i < first + count; i++) {
    const record = catalogueAt(i);
    out.putU16(<u16>i).putU32(record.flags).putU32(record.wasmLength);
    out.putU8(<u8>record.nameLength).putBytes(record.name, record.nameLength);
  }
  counterAdd(listOk, 1);
}

function onInfo(request: Request): void {
  if (!takeName(request)) {
    request.answer(BN_MALFORMED);
    return;
  }
  if (!allowed(request, "bundle.info")) return;
  const index = catalogueById(fnv1a64(name, nameLength));
  if (index < 0) {
    request.answer(BN_NOT_FOUND);
    return;
  }
  const record = catalogueAt(<u32>index);
  const out = request.answer(BN_OK).putU32(<u32>index).putU32(record.flags).putU32(record.wasmLength);
  out.putU32(record.elfLength).putU32(record.memoryPagesMax).putU32(record.slots).putBytes(record.digests, 64);
}

function onFetchImage(request: Request): void {
  if (!readPull(request)) {
    request.answer(BN_MALFORMED);
    return;
  }
  if (pullOffset == 0) counterAdd(fetchRequest, 1);
  if (!allowed(request, "bundle.fetch")) return;
  const index = catalogueById(pullObject);
  if (index < 0) {
    request.answer(BN_NOT_FOUND);
    return;
  }
  const total = catalogueAt(<u32>index).wasmLength;
  if (pullOffset > total) {
    request.answer(BN_MALFORMED);
    return;
  }
  const length = answerPull(request, BN_OK, total);
  if (length != 0 && sys_bundle_read(KIND_SERVICE, <u32>index, pullOffset, <u32>piece, length) != <i64>length) {
    request.answer(BN_UNAVAILABLE);
    return;
  }
  if (mutant(MUT_BUNDLEMGRD_FLIPS_BYTE)) store<u8>(piece, ~load<u8>(piece));
  request.writer.putBytes(piece, length);
  if (pullOffset + length < total) return;
  counterAdd(fetchOk, 1);
  observe(imageBytes, total);
}

// May the sender send to that target? Only the sender's own routes are told.
function onRouteStatus(request: Request): void {
  if (!takeName(request)) {
    request.answer(BN_MALFORMED);
    return;
  }
  delegatePair(PO_ROUTE, request.sender, fnv1a64(name, nameLength));
  const reason = delegateReason();
  if (reason != DELEGATE_ALLOWED && reason != DELEGATE_DENIED) {
    counterAdd(routeStatusFail, 1);
    request.answer(BN_UNAVAILABLE);
    return;
  }
  counterAdd(routeStatusOk, 1);
  request.answer(BN_OK).putU8(reason == DELEGATE_ALLOWED ? PO_ALLOW : PO_DENY);
}

/** Ready means: the manifest was read, and the bundle yields our own image with a WebAssembly header. */
function onPing(): bool {
  if (!loaded || mutant(MUT_BUNDLEMGRD_READY_EVIDENCE_BROKEN)) return false;
  const index = catalogueById(SVC_BUNDLEMGRD_ID);
  if (index < 0) return false;
  return sys_bundle_read(KIND_SERVICE, <u32>index, 0, <u32>piece, 8) == 8 && load<u32>(piece) == WASM_MAGIC;
}

function onReady(): void {
  mark(M_BUNDLEMGRD_READY);
  logInfo("bundlemgrd").text("ready").end();
}

export function main(): void {
  sinkStart();
  assert(CHUNK_BYTES_MAX == 8000);
  loaded = catalogueLoad();
  metricsInit(SVC_BUNDLEMGRD_ID);
  serverRoute(BN_OP_LIST, onList);
  serverRoute(BN_OP_ROUTE_STATUS, onRouteStatus);
  serverRoute(BN_OP_FETCH_IMAGE, onFetchImage);
  serverRoute(BN_OP_INFO, onInfo);
  serve(BN, BN_MALFORMED, BN_UNSUPPORTED, onPing, onReady);
}
