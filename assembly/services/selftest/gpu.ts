// SPDX-License-Identifier: Apache-2.0
// Proofs of phase gpu: a port is refused to whom policy does not name; a scrape of the replayed capture left all eight
// temperatures in logd with their entities and the label `replay`, and the series in metricsd.
// Invariant: every value is read back through QUERY or SNAPSHOT. The expected values are the fixture's
// (tests/fixtures/gpu/h100x8.capture.json); tests/bridge/tables.test.ts holds the two together.
import { DCGMD_SCRAPE_WAIT_NS, LOGD_RECORDS_MAX, METRICSD_SERIES_MAX } from "../../gen/limits";
import {
  M_SELFTEST_GPU_SERIES_OK_REPLAY, M_SELFTEST_GPU_TEMPERATURES_OK_REPLAY, M_SELFTEST_PORT_DENIED_OK,
} from "../../gen/markers";
import { SVC_DCGMD_ID } from "../../gen/services";
import { SLOT_LOGD, SLOT_LOG_QUERY, SLOT_METRICSD, SLOT_PORTD } from "../../gen/slots";
import { equalsBytes, equalsLiteral } from "../../lib/bounded/text";
import { DG, MT, PD, Reader, Route, Writer, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome, readLogStats } from "../../lib/nexus-log/index";
import { BRIDGE_SOURCE_REPLAY } from "../../lib/wire/bridge";
import { DG_OK, DG_OP_SCRAPE } from "../../lib/wire/dcgmd";
import { LogRecord, LogStats } from "../../lib/wire/logd";
import { MT_CURSOR_END, MT_KIND_GAUGE, MT_OK, MT_OP_SNAPSHOT, putSnapshot } from "../../lib/wire/metricsd";
import { PD_DENIED, PD_OP_OPEN } from "../../lib/wire/portd";
import { check, checkEqual, holding, proof, proven } from "./lib";

const GPUS_MAX: u32 = 8;
const SERIES_EXPECTED: u32 = 30;
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

/** Has dcgmd scrape; checks what it says about it. */
function asksScrape(): void {
  const handle = dcgmd.resolve("dcgmd");
  if (!check(handle > 0, "no route to dcgmd")) return;
  beginRequest(DG, DG_OP_SCRAPE);
  if (!checkEqual(callRequest(<u32>handle, DCGMD_SCRAPE_WAIT_NS), 0, "scrape call")) return;
  checkEqual(reply.status, DG_OK, "scrape status");
  const body = reply.body;
  checkEqual(body.takeU32(), GPUS_MAX, "entities");
  const samples = body.takeU32();
  const series = body.takeU32();
  const blanks = body.takeU32();
  checkEqual(body.takeU32(), 0, "lost");
  checkEqual(body.takeU8(), BRIDGE_SOURCE_REPLAY, "source");
  checkEqual(samples, <i64>series + blanks, "every sample is a series or a blank");
  check(body.finished, "scrape reply length");
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
  asksScrape();
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
  if (sender != SVC_DCGMD_ID || kind != MT_KIND_GAUGE) return true;
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

function provesSeries(): void {
  proof("gpu series");
  seriesFound = 0;
  temperaturesFound = 0;
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
  checkEqual(seriesFound, SERIES_EXPECTED, "series of dcgmd");
  checkEqual(temperaturesFound, (1 << GPUS_MAX) - 1, "temperature series, one bit each");
  proven(M_SELFTEST_GPU_SERIES_OK_REPLAY);
}

/** Phase gpu of the ladder, in the order of markers/90-gpu.toml. */
export function gpu_proofs(): void {
  fillGpus();
  provesPortDenied();
  provesTemperatures();
  provesSeries();
}
