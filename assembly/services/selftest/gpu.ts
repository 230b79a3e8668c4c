// SPDX-License-Identifier: Apache-2.0
// Proofs of phase gpu: a port is refused to whom policy does not name; a scrape of the replayed capture left all eight
// temperatures in logd with their entities and the label `replay`, and the series in metricsd; a cap drops by tier and says so; a finished
// scrape is nobody's but exportd's; the receiver degrades and recovers when portd ends under it, and comes back when it ends itself.
// Invariant: every value is read back through QUERY, SNAPSHOT or STATS. The expected values are the fixture's
// (tests/fixtures/gpu/h100x8.capture.json); tests/bridge/tables.test.ts holds the two together.
import { DCGMD_SCRAPE_WAIT_NS, LOGD_RECORDS_MAX, METRICSD_SERIES_MAX } from "../../gen/limits";
import {
  M_SELFTEST_GPU_CAP_OK_REPLAY, M_SELFTEST_GPU_DEGRADED_OK_REPLAY, M_SELFTEST_GPU_EXPORT_DENIED_OK, M_SELFTEST_GPU_RESTART_OK_REPLAY,
  M_SELFTEST_GPU_SERIES_OK_REPLAY, M_SELFTEST_GPU_TEMPERATURES_OK_REPLAY, M_SELFTEST_PORT_DENIED_OK,
} from "../../gen/markers";
import { SVC_DCGMD_ID } from "../../gen/services";
import { SLOT_LOGD, SLOT_LOG_QUERY, SLOT_METRICSD, SLOT_PORTD } from "../../gen/slots";
import { equalsBytes, equalsLiteral, startsWithLiteral } from "../../lib/bounded/text";
import { DG, MT, PD, Reader, Route, Writer, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome, readLogStats } from "../../lib/nexus-log/index";
import { BRIDGE_SOURCE_REPLAY } from "../../lib/wire/bridge";
import {
  DG_DENIED, DG_KINDS, DG_KIND_CARDINALITY, DG_KIND_CONNECT, DG_KIND_NONE, DG_KIND_PANIC, DG_KIND_READ, DG_OK, DG_OP_LATEST, DG_OP_PART,
  DG_OP_SCRAPE, DG_OP_STATS, DG_PARTS_PER_SCRAPE, DG_STATS_BYTES, DG_UNAVAILABLE,
} from "../../lib/wire/dcgmd";
import { LogRecord, LogStats } from "../../lib/wire/logd";
import { MT_CURSOR_END, MT_KIND_COUNTER, MT_KIND_GAUGE, MT_OK, MT_OP_SNAPSHOT, putSnapshot } from "../../lib/wire/metricsd";
import { PD_DENIED, PD_OP_OPEN } from "../../lib/wire/portd";
import { check, checkEqual, holding, proof, proven } from "./lib";
import { RESTART_LOOKS, killed } from "./traps";

const GPUS_MAX: u32 = 8;
const SERIES_EXPECTED: u32 = 24;
const ASK_WAIT_NS: u64 = 500_000_000;
const GPU_BYTES: u32 = 16;
const gpus: usize = memory.data(128, 8);
const expected: usize = memory.data(256);
const expectedWriter: Writer = changetype<Writer>(memory.data(16, 4));
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
const stats: LogStats = changetype<LogStats>(memory.data(96, 8));
const dcgmd: Route = changetype<Route>(memory.data(8, 4));
let gpuCount: u32 = 0;

/** One GPU of the fixture: index, UUID, temperature in Cel. */
function gpu(index: u32, uuid: string, celsius: i32): void {
  assert(index == gpuCount && index < GPUS_MAX);
  store<usize>(gpus + index * GPU_BYTES, changetype<usize>(uuid));
  store<i32>(gpus + index * GPU_BYTES, celsius, 8);
  gpuCount++;
}

function fillGpus(): void {
  gpuCount = 0;
  gpu(0, "GPU-c4529c8d-69c4-b61d-e0bc-7b2460096005", 30);
  gpu(1, "GPU-bc5610b9-79c8-fedd-8899-07539c7f868a", 29);
  gpu(2, "GPU-fbc2c554-4d37-8938-0032-f923bad0f716", 26);
  gpu(3, "GPU-a65a773d-52bb-bcc1-a8ee-f78c3faa2e2d", 29);
  gpu(4, "GPU-82e45d1b-1618-559f-144c-eab51545030b", 28);
  gpu(5, "GPU-39e28159-8c62-ee71-64db-b748edd61e15", 26);
  gpu(6, "GPU-e64d69ca-b4b3-59b2-e78c-94f26c4db365", 28);
  gpu(7, "GPU-04d228d3-3b5a-3534-f5cf-969706647d56", 26);
}

function uuidOf(index: u32): string {
  return changetype<string>(load<usize>(gpus + index * GPU_BYTES));
}
function celsiusOf(index: u32): i32 {
  return load<i32>(gpus + index * GPU_BYTES, 8);
}

function provesPortDenied(): void {
  proof("port denied");
  beginRequest(PD, PD_OP_OPEN).putU8(14).putText("org.vigil.dcgm");
  if (checkEqual(callRequest(SLOT_PORTD, ASK_WAIT_NS), 0, "call")) checkEqual(reply.status, PD_DENIED, "status");
  beginRequest(PD, PD_OP_OPEN).putU8(17).putText("org.vigil.control");
  if (checkEqual(callRequest(SLOT_PORTD, ASK_WAIT_NS), 0, "call")) checkEqual(reply.status, PD_DENIED, "control status");
  proven(M_SELFTEST_PORT_DENIED_OK);
}

/** What the last SCRAPE answered. */
let samplesSaid: u32 = 0;
let seriesSaid: u32 = 0;
let blanksSaid: u32 = 0;
let lostSaid: u32 = 0;

/** Has dcgmd scrape, under a cap if one is given (it stays); checks the status and takes what it says. */
function asksScrape(status: u8 = DG_OK, cap: u32 = 0): bool {
  const handle = dcgmd.resolve("dcgmd");
  if (!check(handle > 0, "no route to dcgmd")) return false;
  const request = beginRequest(DG, DG_OP_SCRAPE);
  if (cap != 0) request.putU32(cap);
  if (!checkEqual(callRequest(<u32>handle, DCGMD_SCRAPE_WAIT_NS), 0, "scrape call")) return false;
  checkEqual(reply.status, status, "scrape status");
  const body = reply.body;
  const entities = body.takeU32();
  samplesSaid = body.takeU32();
  seriesSaid = body.takeU32();
  blanksSaid = body.takeU32();
  lostSaid = body.takeU32();
  const source = body.takeU8();
  if (!check(body.finished, "scrape reply length") || status != DG_OK) return holding();
  checkEqual(entities, GPUS_MAX, "entities");
  checkEqual(source, BRIDGE_SOURCE_REPLAY, "source");
  return holding();
}

/** Fields of STATS (docs/format/wire-dcgmd.md). */
let degradedSaid: u8 = 0;
let kindSaid: u8 = 0;
let latestSaid: u64 = 0;
const kindCounts: usize = memory.data((9 + 1) * 8, 8);
function readStatsOfDcgmd(): void {
  beginRequest(DG, DG_OP_STATS);
  if (!checkEqual(callRequest(dcgmd.handle, ASK_WAIT_NS), 0, "stats call")) return;
  const body = reply.body;
  if (!checkEqual(reply.status, DG_OK, "stats status") || !checkEqual(body.left, DG_STATS_BYTES, "stats length")) return;
  body.takeU16();
  degradedSaid = body.takeU8();
  kindSaid = body.takeU8();
  body.takeBytes(4 + 3 * 8);
  latestSaid = body.takeU64();
  body.takeBytes(8 * 8);
  for (let kind: u32 = 1; kind <= DG_KINDS; kind++) store<u64>(kindCounts + (kind << 3), body.takeU64());
}
function failuresOf(kind: u8): i64 {
  return load<i64>(kindCounts + (<usize>kind << 3));
}

/** Bit of the GPU whose temperature record this is, whole and with the right labels; 0 for any other record. */
function temperatureBit(record: LogRecord): u32 {
  if (record.sender != SVC_DCGMD_ID) return 0;
  if (!equalsLiteral(record.message, record.messageBytes, "gpu sample")) return 0;
  for (let i: u32 = 0; i < GPUS_MAX; i++) {
    expectedWriter.reset(expected, 256).fieldDecimal("hw.gpu.index", i).fieldLiteral("hw.id", uuidOf(i));
    expectedWriter.fieldLiteral("metric", "hw.temperature").fieldLiteral("source", "replay").fieldLiteral("unit", "Cel");
    expectedWriter.fieldSigned("value", celsiusOf(i));
    if (equalsBytes(record.fields, record.fieldsBytes, expected, expectedWriter.length)) return 1 << i;
  }
  check(false, "a gpu sample that the fixture does not hold");
  return 0;
}

function provesTemperatures(): void {
  proof("gpu temperatures");
  checkEqual(readLogStats(SLOT_LOGD, stats), 0, "stats");
  cursor.begin(stats.total);
  if (asksScrape()) {
    checkEqual(lostSaid, 0, "lost");
    checkEqual(samplesSaid, <i64>seriesSaid + blanksSaid, "every sample is a series or a blank");
  }
  let seen: u32 = 0;
  for (let i: u32 = 0; i <= LOGD_RECORDS_MAX && holding(); i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    const bit = temperatureBit(record);
    check((seen & bit) == 0, "a temperature twice");
    seen |= bit;
  }
  checkEqual(queryOutcome, 0, "query status");
  checkEqual(cursor.missed, 0, "records missed");
  checkEqual(seen, (1 << GPUS_MAX) - 1, "temperatures seen, one bit each");
  proven(M_SELFTEST_GPU_TEMPERATURES_OK_REPLAY);
}

/** What a pass over metricsd's series found. */
let seriesFound: u32 = 0;
let temperaturesFound: u32 = 0;
/** The receiver's own counter that the pass looks for, and its value; -1: not there. */
let ownName: string = "";
let ownLabels: string = "";
let ownValue: i64 = -1;

/** Judges one record of SNAPSHOT (docs/format/wire-metricsd.md); false when it is malformed. */
function takeSeries(body: Reader): bool {
  body.takeU32();
  const kind = body.takeU8();
  body.takeU8();
  const buckets = <u32>body.takeU8();
  const nameBytes = <u32>body.takeU8();
  const labelsBytes = <u32>body.takeU16();
  const sender = body.takeU64();
  const value = body.takeI64();
  body.takeU64();
  body.takeBytes(buckets * 16);
  const name = body.takeBytes(nameBytes);
  const labels = body.takeBytes(labelsBytes);
  if (!body.ok) return false;
  if (sender != SVC_DCGMD_ID) return true;
  if (kind == MT_KIND_COUNTER && equalsLiteral(name, nameBytes, ownName) && equalsLiteral(labels, labelsBytes, ownLabels)) ownValue = value;
  if (kind != MT_KIND_GAUGE || !startsWithLiteral(name, nameBytes, "hw.")) return true;
  seriesFound++;
  if (!equalsLiteral(name, nameBytes, "hw.temperature")) return true;
  for (let i: u32 = 0; i < GPUS_MAX; i++) {
    expectedWriter.reset(expected, 256).fieldDecimal("hw.gpu.index", i).fieldLiteral("hw.id", uuidOf(i));
    expectedWriter.fieldLiteral("hw.sensor_location", "gpu").fieldLiteral("source", "replay").fieldLiteral("unit", "Cel");
    if (!equalsBytes(labels, labelsBytes, expected, expectedWriter.length)) continue;
    checkEqual(value, celsiusOf(i), "temperature of a series");
    temperaturesFound |= 1 << i;
  }
  return true;
}

/** Passes over everything that metricsd has. */
function passOverSeries(): void {
  seriesFound = 0;
  temperaturesFound = 0;
  ownValue = -1;
  let page: u32 = 0;
  for (let turn: u32 = 0; turn < METRICSD_SERIES_MAX && page != MT_CURSOR_END; turn++) {
    putSnapshot(beginRequest(MT, MT_OP_SNAPSHOT), page, 0);
    if (!checkEqual(callRequest(SLOT_METRICSD, ASK_WAIT_NS), 0, "snapshot call")) break;
    if (!checkEqual(reply.status, MT_OK, "snapshot status")) break;
    const body = reply.body;
    const next = body.takeU32();
    body.takeU32();
    const count = <u32>body.takeU16();
    for (let i: u32 = 0; i < count && holding(); i++) check(takeSeries(body), "snapshot record");
    if (!check(body.finished && next > page, "snapshot page")) break;
    page = next;
  }
  checkEqual(page, MT_CURSOR_END, "end of the snapshot");
}

/** One of the receiver's own counters, read back from metricsd. */
function ownCounter(name: string, labels: string): i64 {
  ownName = name;
  ownLabels = labels;
  passOverSeries();
  return ownValue;
}

function provesSeries(): void {
  proof("gpu series");
  checkEqual(ownCounter("vigil.receiver.emissions", ""), 1, "emissions");
  checkEqual(seriesFound, SERIES_EXPECTED, "series of dcgmd");
  checkEqual(temperaturesFound, (1 << GPUS_MAX) - 1, "temperature series, one bit each");
  proven(M_SELFTEST_GPU_SERIES_OK_REPLAY);
}

/** Under a cap of 20 the last four thermometers go: thermal has the lowest tier of what the fixture shows. */
function provesCap(): void {
  proof("gpu cap");
  asksScrape(DG_OK, SERIES_EXPECTED - 4);
  checkEqual(seriesSaid, SERIES_EXPECTED - 4, "series under the cap");
  checkEqual(lostSaid, 4, "dropped");
  readStatsOfDcgmd();
  checkEqual(failuresOf(DG_KIND_CARDINALITY), 1, "kind cardinality, once");
  checkEqual(degradedSaid, 0, "degraded by a cap");
  checkEqual(ownCounter("vigil.receiver.series.dropped", "group=thermal"), 4, "dropped of group thermal");
  checkEqual(ownCounter("vigil.receiver.errors", "kind=cardinality"), 1, "its errors");
  asksScrape(DG_OK, METRICSD_SERIES_MAX);
  checkEqual(seriesSaid, SERIES_EXPECTED, "series without it");
  proven(M_SELFTEST_GPU_CAP_OK_REPLAY);
}

function provesExportDenied(): void {
  proof("gpu export denied");
  readStatsOfDcgmd();
  checkEqual(latestSaid, 3, "finished scrapes");
  beginRequest(DG, DG_OP_LATEST);
  if (checkEqual(callRequest(dcgmd.handle, ASK_WAIT_NS), 0, "latest")) checkEqual(reply.status, DG_DENIED, "status of latest");
  beginRequest(DG, DG_OP_PART).putU64(latestSaid * DG_PARTS_PER_SCRAPE).putU32(0).putU16(64);
  if (checkEqual(callRequest(dcgmd.handle, ASK_WAIT_NS), 0, "part")) checkEqual(reply.status, DG_DENIED, "status of part");
  checkEqual(reply.body.left, 0, "bytes of it");
  proven(M_SELFTEST_GPU_EXPORT_DENIED_OK);
}

/** portd ends under it: the scrape that finds out fails, the next has a session of its own. */
function provesDegraded(): void {
  proof("gpu degraded");
  if (killed("portd", RESTART_LOOKS)) {
    asksScrape(DG_UNAVAILABLE);
    readStatsOfDcgmd();
    checkEqual(degradedSaid, 1, "degraded");
    checkEqual(kindSaid, DG_KIND_READ, "by its kind");
    asksScrape();
    checkEqual(seriesSaid, SERIES_EXPECTED, "series again");
    readStatsOfDcgmd();
    checkEqual(degradedSaid, 0, "still degraded");
    checkEqual(kindSaid, DG_KIND_NONE, "kind after it");
    checkEqual(ownCounter("vigil.receiver.errors", "kind=read"), 1, "errors of kind read");
  }
  proven(M_SELFTEST_GPU_DEGRADED_OK_REPLAY);
}

/** dcgmd ends: what it knew is gone, its series are not, and the first scrape of the new one succeeds. */
function provesRestart(): void {
  proof("gpu restart");
  const before = ownCounter("vigil.receiver.emissions", "");
  if (killed("dcgmd", RESTART_LOOKS)) {
    dcgmd.drop();
    asksScrape();
    checkEqual(seriesSaid, SERIES_EXPECTED, "series of the new one");
    readStatsOfDcgmd();
    checkEqual(failuresOf(DG_KIND_PANIC), 1, "kind panic");
    checkEqual(failuresOf(DG_KIND_CONNECT), 0, "kind connect");
    checkEqual(latestSaid, 1, "finished scrapes");
    checkEqual(ownCounter("vigil.receiver.errors", "kind=panic"), 1, "errors of kind panic");
    checkEqual(seriesFound, SERIES_EXPECTED, "series in metricsd");
    checkEqual(ownCounter("vigil.receiver.emissions", ""), before + 1, "emissions of both");
  }
  proven(M_SELFTEST_GPU_RESTART_OK_REPLAY);
}

/** Phase gpu of the ladder, in the order of markers/90-gpu.toml. */
export function gpu_proofs(): void {
  fillGpus();
  provesPortDenied();
  provesTemperatures();
  provesSeries();
  provesCap();
  provesExportDenied();
}

/** Phase end: what the receiver depends on ends, then the receiver itself. Last, because others hold sessions with both. */
export function gpu_restart_proofs(): void {
  provesDegraded();
  provesRestart();
}
