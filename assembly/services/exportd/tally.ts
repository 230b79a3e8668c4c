// SPDX-License-Identifier: Apache-2.0
// Owns: exportd's counters, in the order of the STATS words (lib/wire/exportd.ts), and their copies in metricsd.
// Invariant: a frame that was made is acknowledged, refused, dropped, or still in the queue; nothing else happens to one.
// Limits: words are u64 and never wrap in a boot.
import { Counter, Gauge, counter, counterAdd, gauge, gaugeSet } from "../../lib/nexus-metrics/index";
import { XP_STATS, XP_STAT_ACKED, XP_STAT_DROPPED, XP_STAT_REFUSED, XP_STREAMS } from "../../lib/wire/exportd";
import { Writer } from "../../lib/nexus-ipc/index";

const words: usize = memory.data(40 * 8, 8);
/** Counters by outcome and stream: acked, refused, dropped. */
const counters: usize = memory.data(3 * 4 * 4, 4);
let retries: Counter = Counter.of(0);
let missed: Counter = Counter.of(0);
let lost: Counter = Counter.of(0);
let queueFrames: Gauge = Gauge.of(0);
let queueBytes: Gauge = Gauge.of(0);

export function tally(word: u32): u64 {
  return load<u64>(words + (word << 3));
}
export function setTally(word: u32, value: u64): void {
  store<u64>(words + (word << 3), value);
}
export function addTally(word: u32, count: u64): void {
  setTally(word, tally(word) + count);
}
export function putTally(writer: Writer): void {
  assert(XP_STATS * 8 == 40 * 8);
  writer.putBytes(words, XP_STATS << 3);
}

function keepCounter(outcome: u32, stream: u32, series: Counter): void {
  store<u32>(counters + ((outcome * XP_STREAMS + stream) << 2), series.index);
}
function seriesOf(outcome: u32, stream: u32): Counter {
  return Counter.of(load<u32>(counters + ((outcome * XP_STREAMS + stream) << 2)));
}

/** Makes the series; once, after metricsInit. */
export function startTally(): void {
  keepCounter(0, 0, counter("vigil.exportd.frames", "outcome=acknowledged\nstream=gpu"));
  keepCounter(0, 1, counter("vigil.exportd.frames", "outcome=acknowledged\nstream=self"));
  keepCounter(0, 2, counter("vigil.exportd.frames", "outcome=acknowledged\nstream=traces"));
  keepCounter(0, 3, counter("vigil.exportd.frames", "outcome=acknowledged\nstream=logs"));
  keepCounter(1, 0, counter("vigil.exportd.frames", "outcome=refused\nstream=gpu"));
  keepCounter(1, 1, counter("vigil.exportd.frames", "outcome=refused\nstream=self"));
  keepCounter(1, 2, counter("vigil.exportd.frames", "outcome=refused\nstream=traces"));
  keepCounter(1, 3, counter("vigil.exportd.frames", "outcome=refused\nstream=logs"));
  keepCounter(2, 0, counter("vigil.exportd.frames", "outcome=dropped\nstream=gpu"));
  keepCounter(2, 1, counter("vigil.exportd.frames", "outcome=dropped\nstream=self"));
  keepCounter(2, 2, counter("vigil.exportd.frames", "outcome=dropped\nstream=traces"));
  keepCounter(2, 3, counter("vigil.exportd.frames", "outcome=dropped\nstream=logs"));
  retries = counter("vigil.exportd.retries");
  missed = counter("vigil.exportd.scrapes.missed");
  lost = counter("vigil.exportd.records.lost");
  queueFrames = gauge("vigil.exportd.queue.frames");
  queueBytes = gauge("vigil.exportd.queue.bytes");
}

/** What became of frames of a stream: XP_STAT_ACKED, _REFUSED or _DROPPED. */
export function countFrames(what: u32, stream: u32, frames: u64): void {
  assert(what == XP_STAT_ACKED || what == XP_STAT_REFUSED || what == XP_STAT_DROPPED);
  addTally(what + stream, frames);
  counterAdd(seriesOf(what == XP_STAT_ACKED ? 0 : what == XP_STAT_REFUSED ? 1 : 2, stream), frames);
}
export function countRetry(): void {
  counterAdd(retries, 1);
}
export function countMissed(scrapes: u64): void {
  counterAdd(missed, scrapes);
}
export function countLost(records: u64): void {
  counterAdd(lost, records);
}
export function showQueue(frames: u32, bytes: u32): void {
  gaugeSet(queueFrames, frames);
  gaugeSet(queueBytes, bytes);
}
