// SPDX-License-Identifier: Apache-2.0
// Chunked transfer: how anything larger than one message moves. The receiver pulls; the sender keeps no state per transfer.
// Request body: object u64, offset u32, max u16. Reply body: total u32, offset u32, length u16, bytes.
// Invariant: the pieces are contiguous and in order, the total does not change during a transfer, and the result is whole or
// an error; a piece of length 0 before the end is an error, so every round makes progress.
// Limits: limits.ipc transfer_bytes_max in all; CHUNK_BYTES_MAX a piece; one deadline for the whole transfer.
import { IPC_TRANSFER_BYTES_MAX } from "../../gen/limits";
import { beginRequest, callRequestUntil, deadlineIn, reply } from "./client";
import { Protocol, REPLY_OK, Writer } from "./frame";
import { Request } from "./server";

export const CHUNK_BYTES_MAX: u32 = 8_000;
export const TRANSFER_REFUSED: i32 = -140;
export const TRANSFER_TOO_LARGE: i32 = -141;
export const TRANSFER_BROKEN: i32 = -142;

/** Status of the peer's last refusal. */
export let transferStatus: u8 = 0;

/** Pulls object `object` whole into [to, to + capacity): its length, or a negative kernel error, REPLY_* or TRANSFER_*. */
export function pullTransfer(
  handle: u32,
  protocol: Protocol,
  op: u8,
  object: u64,
  to: usize,
  capacity: u32,
  budget_ns: u64,
): i32 {
  const deadline_ns = deadlineIn(budget_ns);
  const limit = min<u32>(capacity, IPC_TRANSFER_BYTES_MAX);
  let total: u32 = 0;
  let at: u32 = 0;
  do {
    beginRequest(protocol, op).putU64(object).putU32(at).putU16(<u16>CHUNK_BYTES_MAX);
    const outcome = callRequestUntil(handle, deadline_ns);
    if (outcome != REPLY_OK) return outcome;
    transferStatus = <u8>reply.status;
    if (reply.status != 0) return TRANSFER_REFUSED;
    const body = reply.body;
    const totalNow = body.takeU32();
    const offset = body.takeU32();
    const length = <u32>body.takeU16();
    const bytes = body.takeBytes(length);
    if (!body.finished) return TRANSFER_BROKEN;
    if (at == 0) total = totalNow;
    if (total > limit) return TRANSFER_TOO_LARGE;
    if (totalNow != total || offset != at) return TRANSFER_BROKEN;
    if (length > total - at) return TRANSFER_BROKEN;
    if (length == 0 && total != at) return TRANSFER_BROKEN;
    memory.copy(to + at, bytes, length);
    at += length;
  } while (at < total);
  return <i32>total;
}

/** Fields of the last request that readPull accepted. */
export let pullObject: u64 = 0;
export let pullOffset: u32 = 0;
export let pullMax: u32 = 0;

/** The serving half, step one: takes a pull request apart; false when it is malformed. */
export function readPull(request: Request): bool {
  pullObject = request.body.takeU64();
  pullOffset = request.body.takeU32();
  pullMax = min<u32>(<u32>request.body.takeU16(), CHUNK_BYTES_MAX);
  return request.body.finished && pullMax != 0;
}

/** Step two: begins the piece at pullOffset of an object of `total` bytes; returns how many bytes the caller must put next
 *  (0 at or past the end). */
export function answerPull(request: Request, status: u8, total: u32): u32 {
  const left = pullOffset < total ? total - pullOffset : 0;
  const length = min<u32>(left, pullMax);
  const writer: Writer = request.answer(status);
  writer.putU32(total).putU32(pullOffset).putU16(<u16>length);
  return length;
}
