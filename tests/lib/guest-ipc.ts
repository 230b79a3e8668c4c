// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of nexus-ipc: the client half behind exports, and a small server behind main.
import { SLOT_LOGD, SLOT_POLICYD } from "../../assembly/gen/slots";
import {
  LO, RG, Request, Retry, Route, SenderId, answerLater, answerPull, beginAnswerLater, beginRequest, callRequest, callTimeouts,
  decodeDelegated, decodeReply, delegateCheck, delegateFailures, delegateReason, lookupCount, pullOffset, pullTransfer, readPull,
  reply, replyMismatches, requestNonce, sendRequest, serve, serverAnswersLost, serverFramesRefused, serverOnNotify, serverOnTick,
  serverRoute, serverRouteInit, Reader,
} from "../../assembly/lib/nexus-ipc/index";
import { sys_console_line } from "../../assembly/gen/syscalls";

export const vigil_abi: i32 = 1;
const scratch: usize = memory.data(65536, 16);
const big: usize = memory.data(65536, 16);
const subject: usize = memory.data(8, 8);
const route: Route = changetype<Route>(memory.data(8, 4));
const retry: Retry = changetype<Retry>(memory.data(24, 8));
const reader: Reader = changetype<Reader>(memory.data(16, 4));

export function address(): usize { return scratch; }
export function delegate(id: u64): bool {
  store<u64>(subject, id);
  return delegateCheck(SenderId.at(subject), "log.query", SLOT_POLICYD);
}
export function reason(): i32 { return delegateReason(); }
export function failures(): u64 { return delegateFailures(); }
export function decodeDecision(nonce: u64, length: u32): i32 { return decodeDelegated(nonce, scratch, length); }

/** One call in protocol LO, op 1, with a body of `bytes`; the outcome. */
export function callLo(bytes: u32, budget_ns: u64): i32 {
  beginRequest(LO, 1).putBytes(scratch, bytes);
  return callRequest(SLOT_LOGD, budget_ns);
}
export function sendLo(bytes: u32): i32 {
  beginRequest(LO, 1).putBytes(scratch, bytes);
  return sendRequest(SLOT_LOGD);
}
export function nonce(): u64 { return requestNonce(); }
export function replyStatus(): u32 { return reply.status; }
export function replyLeft(): u32 { return reply.body.left; }
export function replyMoved(): u32 { return reply.moved; }
export function mismatches(): u64 { return replyMismatches(); }
export function timeouts(): u64 { return callTimeouts(); }
export function decode(nonce: u64, length: u32): i32 { return decodeReply(LO, 1, nonce, scratch, length, reader); }

export function resolve(): i32 { return route.resolve("timed"); }
export function resolutions(): u32 { return route.resolutions; }
export function lookups(): u64 { return lookupCount(); }
/** A call over the route that resolves once more when the peer is dead; the outcome. */
export function callRoute(): i32 {
  for (let i = 0; i < 2; i++) {
    const handle = route.resolve("timed");
    if (handle < 0) return handle;
    beginRequest(RG, 3);
    const outcome = callRequest(<u32>handle, 1000);
    if (!route.dropIfDead(outcome)) return outcome;
  }
  return -999;
}

export function pull(capacity: u32, budget_ns: u64): i32 {
  return pullTransfer(SLOT_LOGD, RG, 7, 99, scratch, capacity, budget_ns);
}
/** Attempts that the loop allows when each takes no time. */
export function attempts(wanted: u32, budget_ns: u64): u32 {
  retry.begin(wanted, budget_ns);
  let count: u32 = 0;
  while (retry.next()) count++;
  return count;
}

let deferred: u32 = 0;
let deferredNonce: u64 = 0;
function onEcho(request: Request): void {
  const bytes = request.body.left;
  const from = request.body.takeBytes(bytes);
  request.answer(0).putU64(request.sender.value).putBytes(from, bytes);
}
function onSilent(request: Request): void {}
function onHuge(request: Request): void {
  request.answer(0).putBytes(big, 8192);
}
function onDefer(request: Request): void {
  deferredNonce = request.nonce;
  deferred = request.defer();
}
function onFinish(request: Request): void {
  const done = answerLater(deferred, beginAnswerLater(LO, 4, 0, deferredNonce).putU32(77));
  request.answer(done ? 0 : 1);
}
function onKeep(request: Request): void {
  request.answer(0).putU32(request.takeMoved());
}
function onGive(request: Request): void {
  request.answerWith(0, request.body.takeU32());
}
function onPull(request: Request): void {
  if (!readPull(request)) {
    request.answer(1);
    return;
  }
  const bytes = answerPull(request, 0, 20_000);
  // The piece is begun: its bytes follow.
  const writer = request.writer;
  for (let i: u32 = 0; i < bytes; i++) writer.putU8(<u8>(pullOffset + i));
}
function onCounters(request: Request): void {
  request.answer(0).putU64(serverFramesRefused()).putU64(serverAnswersLost());
}
function line(text: string): void {
  const bytes = <u32>text.length;
  for (let i: u32 = 0; i < bytes; i++) store<u8>(scratch + i, <u8>text.charCodeAt(i));
  sys_console_line(<u32>scratch, bytes);
}
function onGo(request: Request): void { request.answer(0); line("test: go"); }
let evidence = false;
export function main(): void {
  serverRoute(1, onEcho);
  serverRoute(2, onSilent);
  serverRoute(3, onHuge);
  serverRoute(4, onDefer);
  serverRoute(5, onFinish);
  serverRoute(6, onKeep);
  serverRoute(7, onGive);
  serverRoute(8, onPull);
  serverRoute(9, onCounters);
  serverRoute(10, (request: Request) => { evidence = true; request.answer(0); });
  serverRouteInit(3, onGo);
  serverOnNotify((bits: u64) => { line(bits == 2 ? "test: child" : "test: device"); });
  serverOnTick(() => { line("test: tick"); }, 1_000_000);
  serve(LO, 1, 2, () => evidence, () => { line("test: ready"); });
}
