// SPDX-License-Identifier: Apache-2.0
// Bench rows of /state, against fixtures/state-ram: the engine, the requests and policyd's decisions of statefsd over a disk in memory, so
// that no device time is in them. Keys have 18 bytes, values 256.
//
// statefs_put_256: a PUT, client to its answer, which comes after the flush.
// statefs_put_batched_256: one of the puts of LAZY BATCH frames that fill a message, FRAMES_PER_SYNC of them made durable by one SYNC, as
// many frames unanswered as nexus-state's writer allows; all of that is in it. Each put overwrites one of HOT_KEYS of LIVE_KEYS live keys,
// BATCHED_PUTS in all, less than calls for compaction. flushes_per_1k_puts_batched: of the same run.
// statefs_put_batched_fresh_256: the same for LIVE_KEYS new keys.
// statefs_put_batched_worn_256: the same for overwrites of all keys in turn, at the end, with the compactions that they cause: one in about
// LIVE_KEYS of them copies LIVE_KEYS records.
// wal_append: a BATCH with one record of 64 samples, client to its durable answer.
// recovery_per_1k_records: REOPEN of 10,000 live records with next to no garbage; recovery_churned_per_1k_records: with as much garbage
// behind them as compaction leaves.
// Invariant: every answer is checked, and the last value written is read back; a refused frame prints no figure.
import { sys_instret } from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";
import { Route } from "../../lib/nexus-ipc/index";
import {
  stateBatch, stateBatchBegin, stateBatchPut, stateCounter, stateGet, statePut, stateReopen, stateWriterFree, stateWriterSend,
  stateWriterSync, stateWriterTake, stateWriterWaiting,
} from "../../lib/nexus-state/index";
import { EX_OK } from "../../lib/wire/execd";
import {
  SF_OK, SF_STATS_COMPACTIONS, SF_STATS_FLUSHES, SF_STATS_JOURNAL_BYTES, SF_STATS_LIVE_BYTES, SF_STATS_LIVE_KEYS, SF_STATS_RECOVERED,
} from "../../lib/wire/statefsd";
import { figure } from "./bench";
import { execEndpoint, execRun } from "./children";
import { check, checkEqual, holding, proof, waitNs } from "./lib";

const KEY_BYTES: u32 = 18;
const VALUE_BYTES: u32 = 256;
const WAIT_NS: u64 = 10_000_000_000;
const WARM_UP: u32 = 8;
const ROUNDS: u32 = 64;
const LIVE_KEYS: u32 = 10_000;
const HOT_KEYS: u32 = 1000;
const BATCHED_PUTS: u32 = 5000;
const WORN_PUTS: u32 = 2 * LIVE_KEYS;
/** Frames of LAZY puts before a SYNC. */
const FRAMES_PER_SYNC: u32 = 16;
/** A rest outside of every span: logd takes limits.logd trusted_append_burst audit records at once, and as many a second. */
const REST_NS: u64 = 1_000_000_000;
/** One record of the retention journal: 64 samples of 32 bytes. */
const RECORD_BYTES: u32 = 2048;
const key: usize = memory.data(32);
const value: usize = memory.data(2048, 8);
const back: usize = memory.data(256, 8);
const ram: Route = changetype<Route>(memory.data(8, 4));

/** /state/bench/k0000 */
function setKey(number: u32): void {
  if (load<u8>(key) == 0) copyLiteral(key, "/state/bench/k");
  store<u8>(key, <u8>(48 + number / 1000), 14);
  store<u8>(key, <u8>(48 + number / 100 % 10), 15);
  store<u8>(key, <u8>(48 + number / 10 % 10), 16);
  store<u8>(key, <u8>(48 + number % 10), 17);
}
/** The key behind `number`: the same as setKey(number + 1) at a tenth of the price, because the client's own work is in the rows. */
function nextKey(): void {
  for (let digit = key + 17; digit >= key + 14; digit--) {
    const c = load<u8>(digit);
    if (c != 57) return store<u8>(digit, c + 1);
    store<u8>(digit, 48);
  }
}
/** A value that tells its key and its round. */
function setValue(number: u32, round: u32): void {
  store<u32>(value, number);
  store<u32>(value, round, 4);
}

function putOne(): void {
  let bad: i32 = 0;
  let start: u64 = 0;
  for (let i: u32 = 0; i < WARM_UP + ROUNDS; i++) {
    if (i == WARM_UP) start = <u64>sys_instret();
    setKey(i);
    setValue(i, 0);
    bad |= statePut(ram, key, KEY_BYTES, value, VALUE_BYTES, WAIT_NS);
  }
  const spent = <u64>sys_instret() - start;
  if (checkEqual(bad, 0, "put")) figure("statefs_put_256", spent / ROUNDS);
}

// Answers of the writer that were not OK.
let refusals: u32 = 0;
function onAnswer(token: u32, status: u32, sequence: u64): void {
  if (status != SF_OK) refusals++;
}
/** Sends the batch (or a SYNC) as soon as the window has room. */
function send(sync: bool): void {
  while (!stateWriterFree()) stateWriterTake(ram, onAnswer, WAIT_NS);
  if ((sync ? stateWriterSync(ram, 0, 0) : stateWriterSend(ram, true)) < 0) refusals++;
}

/** `puts` puts of keys 0 .. keys - 1 in turn, in LAZY frames with a SYNC after every few, and one at the end: everything is durable when it
 *  returns 0. */
function putAll(puts: u32, keys: u32, round: u32): u32 {
  let frames: u32 = 0;
  let number: u32 = 0;
  refusals = 0;
  stateBatchBegin();
  setKey(0);
  for (let i: u32 = 0; i < puts; i++) {
    setValue(number, round);
    if (!stateBatchPut(key, KEY_BYTES, value, VALUE_BYTES)) {
      send(false);
      if (++frames % FRAMES_PER_SYNC == 0) send(true);
      stateBatchBegin();
      if (!stateBatchPut(key, KEY_BYTES, value, VALUE_BYTES)) refusals++;
    }
    number++;
    nextKey();
    if (number != keys) continue;
    number = 0;
    setKey(0);
  }
  send(false);
  send(true);
  while (stateWriterWaiting() != 0) stateWriterTake(ram, onAnswer, WAIT_NS);
  return refusals;
}

/** Runs it as a row; `flushesRow` empty: without that one. Returns how many compactions were in it. */
function putRow(row: string, puts: u32, keys: u32, round: u32, flushesRow: string): i64 {
  waitNs(REST_NS);
  const flushes = stateCounter(ram, SF_STATS_FLUSHES, WAIT_NS);
  const compactions = stateCounter(ram, SF_STATS_COMPACTIONS, WAIT_NS);
  const start = <u64>sys_instret();
  const bad = putAll(puts, keys, round);
  const spent = <u64>sys_instret() - start;
  const flushed = stateCounter(ram, SF_STATS_FLUSHES, WAIT_NS) - flushes;
  if (!checkEqual(bad, 0, "batch") || !check(flushed > 0, "no flush was counted")) return -1;
  figure(row, spent / puts);
  if (flushesRow.length != 0) figure(flushesRow, <u64>flushed * 1000 / puts);
  return stateCounter(ram, SF_STATS_COMPACTIONS, WAIT_NS) - compactions;
}

function appendRecords(): void {
  let bad: i32 = 0;
  let start: u64 = 0;
  for (let i: u32 = 0; i < WARM_UP + ROUNDS; i++) {
    if (i == WARM_UP) start = <u64>sys_instret();
    setKey(i % 16);
    stateBatchBegin();
    if (!stateBatchPut(key, KEY_BYTES, value, RECORD_BYTES)) bad |= -1;
    bad |= stateBatch(ram, false, WAIT_NS);
  }
  const spent = <u64>sys_instret() - start;
  if (checkEqual(bad, 0, "append")) figure("wal_append", spent / ROUNDS);
}

/** The last value of a key is the one of that round. */
function holds(number: u32, round: u32): bool {
  setKey(number);
  if (stateGet(ram, key, KEY_BYTES, back, VALUE_BYTES, WAIT_NS) != <i32>VALUE_BYTES) return false;
  return load<u32>(back) == number && load<u32>(back, 4) == round;
}

function reopen(row: string, records: u64): void {
  const start = <u64>sys_instret();
  const bad = stateReopen(ram, WAIT_NS);
  const spent = <u64>sys_instret() - start;
  if (!checkEqual(bad, 0, "reopen")) return;
  checkEqual(stateCounter(ram, SF_STATS_LIVE_KEYS, WAIT_NS), LIVE_KEYS, "live keys");
  check(stateCounter(ram, SF_STATS_RECOVERED, WAIT_NS) >= <i64>records, "records read");
  if (holding()) figure(row, spent / (LIVE_KEYS / 1000));
}

/** Overwrites until the journal is as long as it gets: the next round would be compacted away. */
function churn(): void {
  checkEqual(putAll(LIVE_KEYS - BATCHED_PUTS, LIVE_KEYS, 3), 0, "overwrite");
  const live = stateCounter(ram, SF_STATS_LIVE_BYTES, WAIT_NS);
  const journal = stateCounter(ram, SF_STATS_JOURNAL_BYTES, WAIT_NS);
  check(journal > live + live / 2, "the journal has no garbage to read");
}

export function bench_state(): void {
  proof("bench state");
  if (!checkEqual(execRun("state-ram"), EX_OK, "exec")) return;
  ram.handle = execEndpoint;
  waitNs(REST_NS);
  putOne();
  putRow("statefs_put_batched_fresh_256", LIVE_KEYS, LIVE_KEYS, 1, "");
  check(holds(0, 1) && holds(LIVE_KEYS - 1, 1), "what was put");
  waitNs(REST_NS);
  appendRecords();
  waitNs(REST_NS);
  reopen("recovery_per_1k_records", LIVE_KEYS);
  check(holds(20, 1) && holds(LIVE_KEYS - 1, 1), "what was recovered");
  const compactions = putRow("statefs_put_batched_256", BATCHED_PUTS, HOT_KEYS, 2, "flushes_per_1k_puts_batched");
  checkEqual(<i32>compactions, 0, "compactions");
  check(holds(0, 2) && holds(HOT_KEYS - 1, 2) && holds(HOT_KEYS, 1), "what was overwritten");
  churn();
  waitNs(REST_NS);
  reopen("recovery_churned_per_1k_records", LIVE_KEYS);
  check(holds(0, 3) && holds(LIVE_KEYS - 1, 1), "what was recovered after the churn");
  check(putRow("statefs_put_batched_worn_256", WORN_PUTS, LIVE_KEYS, 4, "") > 0, "compactions");
  check(holds(0, 4) && holds(LIVE_KEYS - 1, 4), "what outlived compaction");
}
