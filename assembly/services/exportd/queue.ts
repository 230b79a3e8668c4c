// SPDX-License-Identifier: Apache-2.0
// Owns: the frames that wait for the host, oldest first. An entry is a head of 32 bytes and the frame's payload.
// Invariant: a frame gets its sequence number when it enters, so a number that the host never sees is a frame dropped here, counted; at the
// limit the oldest scrape or batch goes whole (what of it is still here). Limits: limits.exportd queue_frames, queue_bytes.
import { EXPORTD_QUEUE_BYTES, EXPORTD_QUEUE_FRAMES } from "../../gen/limits";
import { MUT_EXPORTD_DROPS_UNCOUNTED, mutant } from "../../gen/mutants";
import { ByteRing } from "../../lib/bounded/ring";
import {
  XP_STAT_DROPPED, XP_STAT_MADE, XP_STAT_QUEUE_BYTES, XP_STAT_QUEUE_FRAMES, XP_STREAM_GPU, XP_STREAM_SELF, XP_STREAM_TRACES,
} from "../../lib/wire/exportd";
import {
  BRIDGE_STREAM_GPU, BRIDGE_STREAM_SELF, BRIDGE_TYPE_LOG_RECORDS, BRIDGE_TYPE_METRICS, BRIDGE_TYPE_TRACES,
} from "../../lib/wire/bridge";
import { addTally, countFrames, setTally, showQueue } from "./tally";

/** What stands before the OTLP request in a payload (docs/format/export.md). */
export const EXPORT_HEAD_BYTES: u32 = 24;
const ENTRY_HEAD_BYTES: u32 = 32;

@unmanaged
class EntryHead {
  /** Scrape, snapshot, or the batch's own sequence number. */
  group: u64;
  seq: u64;
  stream: u32;
  items: u32;
  type: u32;
  pad: u32;
}
const bytes: usize = memory.data(EXPORTD_QUEUE_BYTES, 8);
const ring: ByteRing = changetype<ByteRing>(memory.data(40, 8));
const head: EntryHead = changetype<EntryHead>(memory.data(32, 8));
const payloadHead: usize = memory.data(24, 8);
ring.reset(bytes, EXPORTD_QUEUE_BYTES);
let seqLast: u64 = 0;

/** Frames that wait. */
export function queued(): u32 {
  return ring.entries;
}
/** Frames of traces and logs that wait. */
let batches: u32 = 0;
export function queuedBatches(): u32 {
  return batches;
}

/** A part of a scrape (XP_STREAM_GPU, source as in abi/bridge.toml) or of a snapshot (XP_STREAM_SELF, source 0). */
export function queueMetrics(stream: u32, source: u8, part: u32, parts: u32, scrape: u64, request: usize, length: u32): void {
  assert(offsetof<EntryHead>() == ENTRY_HEAD_BYTES);
  store<u8>(payloadHead, stream == XP_STREAM_GPU ? BRIDGE_STREAM_GPU : BRIDGE_STREAM_SELF);
  store<u8>(payloadHead, source, 1);
  store<u16>(payloadHead, <u16>part, 2);
  store<u16>(payloadHead, <u16>parts, 4);
  store<u16>(payloadHead, 0, 6);
  store<u64>(payloadHead, scrape, 8);
  store<u64>(payloadHead, seqLast + 1, 16);
  put(BRIDGE_TYPE_METRICS, stream, scrape, 1, request, length);
}

/** A batch of spans (XP_STREAM_TRACES) or log records (XP_STREAM_LOGS). */
export function queueBatch(stream: u32, items: u32, lost: u64, request: usize, length: u32): void {
  store<u64>(payloadHead, seqLast + 1);
  store<u32>(payloadHead, items, 8);
  store<u32>(payloadHead, 0, 12);
  store<u64>(payloadHead, lost, 16);
  put(stream == XP_STREAM_TRACES ? BRIDGE_TYPE_TRACES : BRIDGE_TYPE_LOG_RECORDS, stream, seqLast + 1, items, request, length);
}

function put(type: u8, stream: u32, group: u64, items: u32, request: usize, length: u32): void {
  const total = ENTRY_HEAD_BYTES + EXPORT_HEAD_BYTES + length;
  // Never waits: the oldest goes. The ring counts its prefix of 4 bytes too.
  while (ring.entries == EXPORTD_QUEUE_FRAMES || ring.capacity - ring.used < total + 4) dropOldestGroup();
  seqLast++;
  addTally(XP_STAT_MADE + stream, 1);
  head.group = group;
  head.seq = seqLast;
  head.stream = stream;
  head.items = items;
  head.type = type;
  ring.begin(total);
  ring.append(changetype<usize>(head), ENTRY_HEAD_BYTES);
  ring.append(payloadHead, EXPORT_HEAD_BYTES);
  ring.append(request, length);
  if (stream > XP_STREAM_SELF) batches++;
  show();
}

function loadHead(): void {
  ring.copyEntry(ring.head, 0, ENTRY_HEAD_BYTES, changetype<usize>(head));
}

function dropOldestGroup(): void {
  loadHead();
  const group = head.group;
  const stream = head.stream;
  while (ring.entries != 0 && head.group == group && head.stream == stream) {
    if (!mutant(MUT_EXPORTD_DROPS_UNCOUNTED)) countFrames(XP_STAT_DROPPED, stream, 1);
    popHead();
    if (ring.entries != 0) loadHead();
  }
}

function popHead(): void {
  if (head.stream > XP_STREAM_SELF) batches--;
  ring.pop();
}

function show(): void {
  setTally(XP_STAT_QUEUE_FRAMES, ring.entries);
  setTally(XP_STAT_QUEUE_BYTES, ring.used);
  showQueue(ring.entries, ring.used);
}

/** The oldest frame, while queued() is not 0: its bridge type, stream, items, and payload. */
export function oldestType(): u8 {
  loadHead();
  return <u8>head.type;
}
export function oldestStream(): u32 {
  return head.stream;
}
export function oldestItems(): u32 {
  return head.items;
}
export function oldestBytes(): u32 {
  return ring.lengthAt(ring.head) - ENTRY_HEAD_BYTES;
}
export function copyOldest(to: usize): void {
  ring.copyEntry(ring.head, ENTRY_HEAD_BYTES, oldestBytes(), to);
}
/** The oldest frame leaves: the host has it, or refused it for good. */
export function popOldest(): void {
  loadHead();
  popHead();
  show();
}
