// SPDX-License-Identifier: Apache-2.0
// Owns: the proof on the real machine (profile run, real time) that a running image exports: a host that comes late gets metrics of
// the GPUs and of the image, spans and log records, all as the published OTLP definitions read them, stamped with the host's time; and
// one that comes again gets what follows, without a gap. Needs a built image and QEMU; skipped by name without them.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectExport, type Batch, type ExportHandler, type MetricsPart } from '../../runtime/export/link.js';
import { skip, start, until } from './running-image.js';

/* eslint-disable-next-line @typescript-eslint/no-explicit-any */
type Any = any;
const published = (createRequire(import.meta.url)('@opentelemetry/otlp-transformer/build/src/generated/root.js') as Any).opentelemetry.proto.collector;
const decoded = (signal: 'metrics' | 'trace' | 'logs', name: string, bytes: Uint8Array): Any => {
  const type = published[signal].v1[name];
  return type.toObject(type.decode(bytes), { longs: String, enums: Number, bytes: String });
};
const attributes = (list: Any[] | undefined): Record<string, string> =>
  Object.fromEntries((list ?? []).map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? value.doubleValue ?? value.boolValue]));

/** Keeps everything; the newest last. */
class Taken implements ExportHandler {
  readonly generations: bigint[] = [];
  readonly parts: MetricsPart[] = [];
  readonly spans: Batch[] = [];
  readonly records: Batch[] = [];
  readonly seqs: bigint[] = [];
  hello = (generation: bigint): void => { this.generations.push(generation); };
  metrics = (part: MetricsPart): 'ok' => { this.parts.push(part); this.seqs.push(part.seq); return 'ok'; };
  traces = (batch: Batch): 'ok' => { this.spans.push(batch); this.seqs.push(batch.seq); return 'ok'; };
  logs = (batch: Batch): 'ok' => { this.records.push(batch); this.seqs.push(batch.seq); return 'ok'; };
  of(stream: 'gpu' | 'self'): MetricsPart[] { return this.parts.filter((part) => part.stream === stream); }
}

/** Times of a request, in ns: they are the host's, to within the test's own length. */
const now = (): bigint => BigInt(Date.now()) * 1_000_000n;
const near = (ns: string): boolean => now() - BigInt(ns) < 120_000_000_000n && BigInt(ns) - now() < 1_000_000_000n;

test('profile run: a host that comes late gets metrics, spans and records; one that comes again gets what follows', { skip, timeout: 180_000 }, async () => {
  const image = await start(undefined, { exportMs: 1000 });
  try {
    await sleep(2000);
    const taken = new Taken();
    const link = connectExport(image.exportSocket, taken);
    await until('each signal', () => Promise.resolve(
      taken.of('gpu').length > 0 && taken.of('self').length > 1 && taken.spans.length > 0 && taken.records.length > 0 ? true : null));
    assert.deepEqual([taken.generations.length, taken.generations[0]], [1, 0x0000_0000_0000_0001n], 'the boot\'s nonce, the first start');
    assert.equal(link.counters.gaps, 0n);

    const gpu = taken.of('gpu').flatMap((part) => decoded('metrics', 'ExportMetricsServiceRequest', part.request).resourceMetrics);
    assert.ok(gpu.length > 0 && gpu.every((entry: Any) => attributes(entry.resource.attributes)['vigil.source'] === 'replay'));
    const temperatures = gpu.flatMap((entry: Any) => entry.scopeMetrics[0].metrics).filter(({ name }: Any) => name === 'hw.temperature');
    assert.ok(temperatures.length >= 8, `${temperatures.length} temperatures`);
    for (const point of temperatures.flatMap((metric: Any) => metric.gauge.dataPoints)) assert.ok(near(point.timeUnixNano));

    const self = decoded('metrics', 'ExportMetricsServiceRequest', taken.of('self').at(-1)!.request).resourceMetrics;
    const producers = new Set(self.map((entry: Any) => attributes(entry.resource.attributes)['vigil.producer']));
    assert.ok(producers.has('metricsd') && producers.has('init-lite'), [...producers].join(' '));
    for (const metric of self.flatMap((entry: Any) => entry.scopeMetrics.flatMap((scope: Any) => scope.metrics))) {
      assert.ok(metric.sum === undefined || (metric.sum.aggregationTemporality === 2 && metric.sum.isMonotonic), metric.name);
      for (const point of (metric.sum ?? metric.gauge ?? metric.histogram).dataPoints) {
        assert.ok(near(point.timeUnixNano), metric.name);
        if (metric.gauge === undefined) assert.ok(near(point.startTimeUnixNano) && BigInt(point.startTimeUnixNano) <= BigInt(point.timeUnixNano), metric.name);
      }
    }

    const spans = taken.spans.flatMap((batch) => {
      const all = decoded('trace', 'ExportTraceServiceRequest', batch.request).resourceSpans.flatMap((e: Any) => e.scopeSpans.flatMap((s: Any) => s.spans));
      assert.equal(all.length, batch.items);
      return all;
    });
    for (const span of spans) {
      const [trace, id] = [Buffer.from(span.traceId, 'base64'), Buffer.from(span.spanId, 'base64')];
      assert.ok(trace.length === 16 && id.length === 8 && trace.some((byte) => byte !== 0) && id.some((byte) => byte !== 0));
      assert.ok(span.kind === 1 && span.name.length > 0 && near(span.startTimeUnixNano) && BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano));
    }

    const logs = decoded('logs', 'ExportLogsServiceRequest', taken.records[0]!.request).resourceLogs;
    const records = logs.flatMap((e: Any) => e.scopeLogs.flatMap((s: Any) => s.logRecords.map((record: Any) => ({ service: attributes(e.resource.attributes)['service.name'], ...record }))));
    assert.equal(records.length, taken.records[0]!.items);
    assert.ok(records.every((r: Any) => [1, 5, 9, 13, 17].includes(r.severityNumber) && near(r.timeUnixNano) && near(r.observedTimeUnixNano)));
    assert.ok(records.some(({ service }: Any) => service === 'dcgmd'), 'who said it is what the kernel stamped');
    assert.ok(!records.some((r: Any) => r.body.stringValue.startsWith('metrics snapshot')));

    link.close();
    const last = taken.seqs.at(-1)!;
    await sleep(1500);
    const again = new Taken();
    const second = connectExport(image.exportSocket, again);
    await until('the second host', () => Promise.resolve(again.seqs.length > 2 ? true : null));
    assert.deepEqual(again.generations, [taken.generations[0]]);
    assert.ok(again.seqs[0] === last || again.seqs[0] === last + 1n, `${last} then ${again.seqs[0]}`);
    assert.equal(second.counters.gaps, 0n);
    second.close();
    assert.ok(!/FAIL|PANIC|trap/.test(image.console()), image.console());
  } finally {
    await image.stop();
  }
});
