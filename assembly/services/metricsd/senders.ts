// SPDX-License-Identifier: Apache-2.0
// What metricsd knows of each sender: its two buckets, how much it holds, and its quarantine.
//
// Invariant: an entry that holds series or live spans is never evicted, so a sender's caps cannot be escaped by flooding the
// table; among the others the least recently used goes, by a use counter, never by the clock. Ids are kernel-stamped.
// Limits: the recipe's max_subjects, at most limits.metricsd senders_max.
import { METRICSD_SENDERS_MAX } from "../../gen/limits";
import { MUT_METRICSD_BUCKET_NEVER_EMPTY, mutant } from "../../gen/mutants";
import { TokenBucket } from "../../lib/bounded/token_bucket";
import {
  OWN_BYTES, OWN_EVENTS, OWN_LIVE_SPANS, OWN_SERIES, OWN_SERIES_PER_METRIC, QUARANTINE_AFTER, QUARANTINE_TTL_NS,
  RATE_WINDOW_NS, SUBJECTS, limit, limit32, senderLimit,
} from "./limits";

const SECOND_NS: u64 = 1_000_000_000;

/** One sender, 112 bytes. */
@unmanaged
export class Sender {
  id: u64;
  used: u64;
  /** Two token buckets: events, bytes. */
  eventLevel: u64;
  eventLast_ns: u64;
  eventSize: u64;
  byteLevel: u64;
  byteLast_ns: u64;
  byteSize: u64;
  quarantineUntil_ns: u64;
  series: u32;
  liveSpans: u32;
  capRejects: u32;
  seriesMax: u32;
  seriesPerMetricMax: u32;
  liveSpansMax: u32;
  pad0: u64;
  pad1: u64;

  @inline get events(): TokenBucket {
    return TokenBucket.at(changetype<usize>(this) + offsetof<Sender>("eventLevel"));
  }
  @inline get bytes(): TokenBucket {
    return TokenBucket.at(changetype<usize>(this) + offsetof<Sender>("byteLevel"));
  }
}
const SENDER_BYTES: u32 = 112;

const table: usize = memory.data(METRICSD_SENDERS_MAX * 112, 8);
let count: u32 = 0;
let last: u32 = 0;
let uses: u64 = 0;
let evictions: u64 = 0;
let quarantines: u64 = 0;

@inline function at(index: u32): Sender {
  return changetype<Sender>(table + index * SENDER_BYTES);
}

export function sendersKnown(): u32 {
  return count;
}
export function senderEvictions(): u64 {
  return evictions;
}
/** How often a sender was put into quarantine. */
export function quarantineCount(): u64 {
  return quarantines;
}

/** The sender's entry, or 0 (as usize) when it is not known. */
export function findSender(id: u64): Sender {
  if (last < count && at(last).id == id) return at(last);
  for (let i: u32 = 0; i < count; i++) {
    if (at(i).id == id) {
      last = i;
      return at(i);
    }
  }
  return changetype<Sender>(0);
}

/** The sender's entry, made if there is none; 0 (as usize) when every entry holds something and none can go. */
export function claimSender(id: u64, now_ns: u64): Sender {
  let sender = findSender(id);
  if (changetype<usize>(sender) == 0) {
    sender = room();
    if (changetype<usize>(sender) == 0) return sender;
    memory.fill(changetype<usize>(sender), 0, SENDER_BYTES);
    sender.id = id;
    begin(sender.events, senderLimit(id, OWN_EVENTS), now_ns);
    begin(sender.bytes, senderLimit(id, OWN_BYTES), now_ns);
    sender.seriesMax = <u32>senderLimit(id, OWN_SERIES);
    sender.seriesPerMetricMax = <u32>senderLimit(id, OWN_SERIES_PER_METRIC);
    sender.liveSpansMax = <u32>senderLimit(id, OWN_LIVE_SPANS);
  }
  uses += 1;
  sender.used = uses;
  return sender;
}

/** `perWindow` tokens a window, rounded up to whole tokens a second. */
function begin(bucket: TokenBucket, perWindow: u64, now_ns: u64): void {
  const window_ns = limit(RATE_WINDOW_NS);
  bucket.begin(<u32>perWindow, <u32>((perWindow * SECOND_NS + window_ns - 1) / window_ns), now_ns);
}

function room(): Sender {
  if (count < limit32(SUBJECTS)) {
    last = count;
    count += 1;
    return at(last);
  }
  let oldest = u64.MAX_VALUE;
  let found: u32 = METRICSD_SENDERS_MAX;
  for (let i: u32 = 0; i < count; i++) {
    const sender = at(i);
    if ((sender.series | sender.liveSpans) == 0 && sender.used < oldest) {
      oldest = sender.used;
      found = i;
    }
  }
  if (found == METRICSD_SENDERS_MAX) return changetype<Sender>(0);
  evictions += 1;
  last = found;
  return at(found);
}

/** Takes the cost of a frame from both buckets, or from neither. */
export function charge(sender: Sender, events: u32, bytes: u32, now_ns: u64): bool {
  if (mutant(MUT_METRICSD_BUCKET_NEVER_EMPTY)) return true;
  sender.bytes.refill(now_ns);
  if (sender.bytes.level < <u64>bytes * SECOND_NS) return false;
  if (!sender.events.take(events, now_ns)) return false;
  sender.bytes.level -= <u64>bytes * SECOND_NS;
  return true;
}

/** Whether the sender may not create series now. */
export function inQuarantine(sender: Sender, now_ns: u64): bool {
  if (sender.quarantineUntil_ns == 0) return false;
  if (now_ns < sender.quarantineUntil_ns) return true;
  sender.quarantineUntil_ns = 0;
  sender.capRejects = 0;
  return false;
}

/** Notes that a cap on series refused the sender; after the recipe's after_rejects it is quarantined for ttl_ns. */
export function noteCapReject(sender: Sender, now_ns: u64): void {
  sender.capRejects += 1;
  if (<u64>sender.capRejects < limit(QUARANTINE_AFTER)) return;
  sender.capRejects = 0;
  sender.quarantineUntil_ns = now_ns + limit(QUARANTINE_TTL_NS);
  quarantines += 1;
}
