// SPDX-License-Identifier: Apache-2.0
// Admission of APPEND: decode and bounds, identity claims, rate, then redaction; in this order, and only then the journal.
// Invariant: a refused record changes nothing but its sender's last use and one counter of its class; the counters are exact,
// and a class's console line is printed once, before the reply that first names it.
// Limits: limits.logd senders_max token buckets (least recently used goes first), trusted_* for policyd's audits and metricsd's
// exports, append_* for everyone else. Who is trusted is decided by kernel-stamped id, never by a payload.
import {
  LOGD_APPEND_BURST, LOGD_APPEND_PER_SECOND, LOGD_SENDERS_MAX, LOGD_TRUSTED_APPEND_BURST, LOGD_TRUSTED_APPEND_PER_SECOND,
} from "../../gen/limits";
import { M_LOGD_REJECT_INVALID_ARGS, M_LOGD_REJECT_OVER_LIMIT, M_LOGD_REJECT_RATE_LIMITED, mark } from "../../gen/markers";
import {
  MUT_LOGD_ACCEPTS_BAD_LEVEL, MUT_LOGD_ACCEPTS_OVER_LIMIT, MUT_LOGD_BUCKET_NEVER_EMPTY, MUT_LOGD_REJECT_COUNTERS_FROZEN,
  mutant,
} from "../../gen/mutants";
import { SVC_METRICSD_ID, SVC_POLICYD_ID } from "../../gen/services";
import { sys_time_ns } from "../../gen/syscalls";
import { SenderTable } from "../../lib/bounded/senders";
import { TokenBucket } from "../../lib/bounded/token_bucket";
import { Reader } from "../../lib/bounded/writer";
import { SenderId } from "../../lib/nexus-ipc/types";
import { redactFields, redactLooked } from "../../lib/redact/redact";
import { TEXT_CONTROL, TEXT_PLAIN, holdsControl, scanText } from "../../lib/redact/scan";
import {
  LEVEL_TRACE, LO_INVALID_ARGS, LO_OK, LO_OVER_LIMIT, LO_RATE_LIMITED, LogRecord, readAppend,
} from "../../lib/wire/logd";
import { claimsIdentity } from "../../lib/redact/identity";

const ENTRY_BYTES: u32 = 16 + TokenBucket.BYTES;
const entries: usize = memory.data(LOGD_SENDERS_MAX * 40, 8);
const senders: SenderTable = changetype<SenderTable>(memory.data(40, 8));
assert(ENTRY_BYTES == 40);
senders.reset(entries, LOGD_SENDERS_MAX, TokenBucket.BYTES);

/** What the record's texts hold, as judge saw it: TEXT_* of lib/redact/scan.ts. */
let scopeFound: u32 = TEXT_PLAIN;
let messageFound: u32 = TEXT_PLAIN;

export let rejectedInvalidArgs: u64 = 0;
export let rejectedOverLimit: u64 = 0;
export let rejectedRateLimited: u64 = 0;

export function senderEvictions(): u64 {
  return senders.evictions;
}

/** Decides on one APPEND body: LO_OK (the record is redacted and may be stored) or the refusal's status, already counted. */
export function admit(body: Reader, sender: SenderId, record: LogRecord): u8 {
  const status = judge(body, sender, record);
  if (status != LO_OK) {
    count(status);
    return status;
  }
  record.sender = sender.value;
  if (scopeFound != TEXT_PLAIN) record.scopeBytes = redactLooked(record.scope, record.scopeBytes);
  if (messageFound != TEXT_PLAIN) record.messageBytes = redactLooked(record.message, record.messageBytes);
  if (record.fieldsBytes != 0) record.fieldsBytes = redactFields(record.fields, record.fieldsBytes);
  return LO_OK;
}

function judge(body: Reader, sender: SenderId, record: LogRecord): u8 {
  let decoded = readAppend(body, record);
  if (mutant(MUT_LOGD_ACCEPTS_BAD_LEVEL) && decoded == LO_INVALID_ARGS && record.level > LEVEL_TRACE) decoded = LO_OK;
  if (mutant(MUT_LOGD_ACCEPTS_OVER_LIMIT) && decoded == LO_OVER_LIMIT) {
    record.scopeBytes = 0;
    record.messageBytes = 0;
    record.fieldsBytes = 0;
    decoded = LO_OK;
  }
  if (decoded != LO_OK) return decoded;
  // Control characters would let a record drive the terminal that shows it; newlines separate lines of message and fields.
  scopeFound = scanText(record.scope, record.scopeBytes, false);
  if (scopeFound == TEXT_CONTROL) return LO_INVALID_ARGS;
  messageFound = scanText(record.message, record.messageBytes, true);
  if (messageFound == TEXT_CONTROL) return LO_INVALID_ARGS;
  if (record.fieldsBytes != 0) {
    if (holdsControl(record.fields, record.fieldsBytes, true)) return LO_INVALID_ARGS;
    if (claimsIdentity(record.fields, record.fieldsBytes)) return LO_INVALID_ARGS;
  }
  return takeToken(sender) ? LO_OK : LO_RATE_LIMITED;
}

function takeToken(sender: SenderId): bool {
  const now_ns = <u64>sys_time_ns();
  const bucket = TokenBucket.at(senders.claim(sender.value));
  if (senders.fresh) {
    const id = sender.value;
    if (id == SVC_METRICSD_ID || id == SVC_POLICYD_ID) {
      bucket.begin(LOGD_TRUSTED_APPEND_BURST, LOGD_TRUSTED_APPEND_PER_SECOND, now_ns);
    } else {
      bucket.begin(LOGD_APPEND_BURST, LOGD_APPEND_PER_SECOND, now_ns);
    }
  }
  if (mutant(MUT_LOGD_BUCKET_NEVER_EMPTY)) return true;
  return bucket.take(1, now_ns);
}

function count(status: u8): void {
  const frozen = mutant(MUT_LOGD_REJECT_COUNTERS_FROZEN);
  if (status == LO_INVALID_ARGS) {
    if (rejectedInvalidArgs == 0) mark(M_LOGD_REJECT_INVALID_ARGS);
    if (!frozen || rejectedInvalidArgs == 0) rejectedInvalidArgs++;
  } else if (status == LO_OVER_LIMIT) {
    if (rejectedOverLimit == 0) mark(M_LOGD_REJECT_OVER_LIMIT);
    if (!frozen || rejectedOverLimit == 0) rejectedOverLimit++;
  } else {
    if (rejectedRateLimited == 0) mark(M_LOGD_REJECT_RATE_LIMITED);
    if (!frozen || rejectedRateLimited == 0) rejectedRateLimited++;
  }
}
