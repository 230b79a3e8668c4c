// SPDX-License-Identifier: Apache-2.0
// The one frame header of every protocol: magic (2 ASCII bytes), version u8, op u8, then the nonce; replies set bit 7 of op.
// Invariant: a request carries its nonce at offset 4. A reply carries one status byte and the nonce in the order that its
// protocol published: status first (LO, MT, TM, RG, SM, EX, BN, KS, DB) or nonce first (PO, IN).
// Limit: a frame is at most limits.kernel message_bytes_max bytes.
import { KERNEL_MESSAGE_BYTES_MAX } from "../../gen/limits";
import { MUT_DECODER_IGNORES_NONCE, mutant } from "../../gen/mutants";
import { Reader, Writer } from "../bounded/writer";
export { Reader, Writer } from "../bounded/writer";

export const FRAME_BYTES_MAX: u32 = KERNEL_MESSAGE_BYTES_MAX;
/** Set in the op of every reply. */
export const REPLY_BIT: u8 = 0x80;
/** Bytes before the nonce of a request. */
export const NONCE_OFFSET: u32 = 4;

/** What distinguishes one protocol from another: a value class (no memory), packed as magic | version | nonce size | order. */
@unmanaged
export class Protocol {
  @inline
  static of(magic0: u8, magic1: u8, version: u8, nonceBytes: u8, nonceFirst: bool): Protocol {
    return changetype<Protocol>(
      <u32>magic0 | (<u32>magic1 << 8) | (<u32>version << 16) | (<u32>nonceBytes << 24) | (<u32>nonceFirst << 31),
    );
  }
  @inline
  get bits(): u32 {
    return changetype<u32>(this);
  }
  @inline
  get magic(): u16 {
    return <u16>this.bits;
  }
  @inline
  get version(): u8 {
    return <u8>(this.bits >> 16);
  }
  /** 4 or 8. */
  @inline
  get nonceBytes(): u32 {
    return (this.bits >> 24) & 0x7f;
  }
  @inline
  get nonceFirst(): bool {
    return this.bits >> 31 != 0;
  }
  /** Bytes before the body of a request. */
  @inline
  get requestHeadBytes(): u32 {
    return NONCE_OFFSET + this.nonceBytes;
  }
  /** Bytes before the body of a reply: the request's and one status byte. */
  @inline
  get replyHeadBytes(): u32 {
    return NONCE_OFFSET + this.nonceBytes + 1;
  }
  @inline
  get replyNonceOffset(): u32 {
    return this.nonceFirst ? NONCE_OFFSET : NONCE_OFFSET + 1;
  }
  @inline
  get replyStatusOffset(): u32 {
    return this.nonceFirst ? NONCE_OFFSET + this.nonceBytes : NONCE_OFFSET;
  }
}

/** logd, version 2. */
export const LO: Protocol = Protocol.of(0x4c, 0x4f, 2, 8, false);
/** metricsd. */
export const MT: Protocol = Protocol.of(0x4d, 0x54, 1, 4, false);
/** policyd, the nonce-carrying version. */
export const PO: Protocol = Protocol.of(0x50, 0x4f, 2, 4, true);
/** policyd, the version of ROUTE and EXEC. */
export const PO3: Protocol = Protocol.of(0x50, 0x4f, 3, 4, true);
/** samgrd. */
export const SM: Protocol = Protocol.of(0x53, 0x4d, 1, 4, false);
/** timed. */
export const TM: Protocol = Protocol.of(0x54, 0x4d, 1, 4, false);
/** execd. */
export const EX: Protocol = Protocol.of(0x45, 0x58, 1, 4, false);
/** bundlemgrd. */
export const BN: Protocol = Protocol.of(0x42, 0x4e, 1, 4, false);
/** rngd. */
export const RG: Protocol = Protocol.of(0x52, 0x47, 1, 4, false);
/** portd. */
export const PD: Protocol = Protocol.of(0x50, 0x44, 1, 4, false);
/** statefsd. */
export const SF: Protocol = Protocol.of(0x53, 0x46, 2, 8, false);
/** dcgmd. */
export const DG: Protocol = Protocol.of(0x44, 0x47, 1, 4, false);
/** keystored. */
export const KS: Protocol = Protocol.of(0x4b, 0x53, 1, 4, false);
/** dsoftbusd. */
export const DB: Protocol = Protocol.of(0x44, 0x42, 1, 4, false);
/** init-lite's own ops, answered by every dispatcher. Reply to PING: nonce, then status 0 (ready) or 1 (evidence missing). */
export const IN: Protocol = Protocol.of(0x49, 0x4e, 1, 4, true);
export const IN_PING: u8 = 2;
export const IN_GO: u8 = 3;
/** name_len u8, name, to init-lite: ends a service, for a sender to which policyd allows proc.kill. No answer: its handle dies. */
export const IN_KILL: u8 = 4;
/** To policyd: moves a SEND capability to a logd that was started again. */
export const IN_LOGD: u8 = 5;
/** From execd to init-lite: the kernel's part of a child's crash record (docs/format/crash-record.md). No answer. */
export const IN_CRASH: u8 = 6;

@inline
export function loadNonce(at: usize, bytes: u32): u64 {
  return bytes == 8 ? load<u64>(at) : <u64>load<u32>(at);
}

@inline
function storeNonce(at: usize, bytes: u32, nonce: u64): void {
  if (bytes == 8) store<u64>(at, nonce);
  else store<u32>(at, <u32>nonce);
}

/** Begins a request in `writer` (reset by the caller): the body follows with the writer's puts. */
export function writeRequestHead(writer: Writer, protocol: Protocol, op: u8, nonce: u64): Writer {
  const at = writer.reserve(protocol.requestHeadBytes);
  if (at == 0) return writer;
  store<u32>(at, (protocol.bits & 0xffffff) | (<u32>op << 24));
  storeNonce(at + NONCE_OFFSET, protocol.nonceBytes, nonce);
  return writer;
}

/** Begins a reply in `writer`: header, status and echoed nonce. `op` is the request's. */
export function writeReplyHead(writer: Writer, protocol: Protocol, op: u8, status: u8, nonce: u64): Writer {
  const at = writer.reserve(protocol.replyHeadBytes);
  if (at == 0) return writer;
  store<u32>(at, (protocol.bits & 0xffffff) | (<u32>(op | REPLY_BIT) << 24));
  store<u8>(at + protocol.replyStatusOffset, status);
  storeNonce(at + protocol.replyNonceOffset, protocol.nonceBytes, nonce);
  return writer;
}

/** What a frame claims to be: see requestKind. */
export const KIND_SHORT: u32 = 0;
export const KIND_FOREIGN: u32 = 1;
export const KIND_VERSION: u32 = 2;
export const KIND_SHORT_NONCE: u32 = 3;
export const KIND_REQUEST: u32 = 4;

/** Classifies the head of a request: too short for a header, another magic, another version, no whole nonce, or well formed. */
export function requestKind(protocol: Protocol, frame: usize, length: u32): u32 {
  if (length < NONCE_OFFSET) return KIND_SHORT;
  if (load<u16>(frame) != protocol.magic) return KIND_FOREIGN;
  if (load<u8>(frame + 2) != protocol.version) return KIND_VERSION;
  if (length < protocol.requestHeadBytes) return KIND_SHORT_NONCE;
  return KIND_REQUEST;
}

/** Why a reply was refused (negative, apart from the kernel's -1 .. -31), or REPLY_OK. */
export const REPLY_OK: i32 = 0;
export const REPLY_SHORT: i32 = -101;
export const REPLY_MAGIC: i32 = -102;
export const REPLY_VERSION: i32 = -103;
export const REPLY_OP: i32 = -104;
export const REPLY_NONCE: i32 = -105;
export const REPLY_LATE: i32 = -106;
/** The request did not fit its buffer; nothing was sent. */
export const REQUEST_TOO_LARGE: i32 = -107;

/** The shared reply decoder: checks length, magic, version, op | 0x80 and nonce; on REPLY_OK `body` holds what follows the head. */
export function decodeReply(
  protocol: Protocol,
  op: u8,
  nonce: u64,
  frame: usize,
  length: u32,
  body: Reader,
): i32 {
  body.reset(frame, 0);
  if (length < protocol.replyHeadBytes) return REPLY_SHORT;
  if (load<u16>(frame) != protocol.magic) return REPLY_MAGIC;
  if (load<u8>(frame + 2) != protocol.version) return REPLY_VERSION;
  if (load<u8>(frame + 3) != (op | REPLY_BIT)) return REPLY_OP;
  const wanted = protocol.nonceBytes == 8 ? nonce : nonce & 0xffffffff;
  if (!mutant(MUT_DECODER_IGNORES_NONCE)) {
    if (loadNonce(frame + protocol.replyNonceOffset, protocol.nonceBytes) != wanted) return REPLY_NONCE;
  }
  body.reset(frame + protocol.replyHeadBytes, length - protocol.replyHeadBytes);
  return REPLY_OK;
}
