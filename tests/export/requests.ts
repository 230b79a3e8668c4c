// SPDX-License-Identifier: Apache-2.0
// Makes OTLP requests for tests with the published definitions (the root generated from opentelemetry-proto that otlp-transformer ships),
// so that what is tested is never decoded with the schema it was made with.
import { createRequire } from 'node:module';

interface PublishedType {
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
  toObject(message: object, options: object): Record<string, unknown>;
}
const root = createRequire(import.meta.url)('@opentelemetry/otlp-transformer/build/src/generated/root.js') as {
  opentelemetry: { proto: { collector: Record<string, { v1: Record<string, PublishedType> }> } };
};

/** A message of the published definitions: ('metrics', 'ExportMetricsServiceRequest'). */
export function published(signal: 'metrics' | 'trace' | 'logs', name: string): PublishedType {
  return root.opentelemetry.proto.collector[signal]!.v1[name]!;
}

const kv = (attributes: Record<string, string>): object[] => Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } }));

export interface TestPoint { attributes?: Record<string, string>; value: number; timeNs?: bigint; startNs?: bigint }
export interface TestMetric { name: string; unit?: string; kind?: 'gauge' | 'counter' | 'updown' | 'delta'; points: TestPoint[] }

/** 64-bit fields as protobufjs takes them. */
function long(value: bigint): { low: number; high: number; unsigned: boolean } {
  return { low: Number(BigInt.asIntN(32, value)), high: Number(BigInt.asIntN(32, value >> 32n)), unsigned: true };
}

export const NOW_NS = 1_800_000_000_000_000_000n;

function metric({ name, unit = '1', kind = 'gauge', points }: TestMetric): object {
  const dataPoints = points.map(({ attributes = {}, value, timeNs = NOW_NS, startNs = 0n }) => ({
    attributes: kv(attributes), asDouble: value, timeUnixNano: long(timeNs), startTimeUnixNano: long(startNs),
  }));
  if (kind === 'gauge') return { name, unit, description: `about ${name}`, gauge: { dataPoints } };
  const sum = { dataPoints, isMonotonic: kind !== 'updown', aggregationTemporality: kind === 'delta' ? 1 : 2 };
  return { name, unit, description: `about ${name}`, sum };
}

/** The resource of GPU `index` with these metrics, as request bytes. */
export function gpuRequest(gpus: { attributes: Record<string, string>; metrics: TestMetric[] }[]): Uint8Array {
  const type = published('metrics', 'ExportMetricsServiceRequest');
  return type.encode({
    resourceMetrics: gpus.map(({ attributes, metrics }) => ({
      resource: { attributes: kv(attributes) },
      scopeMetrics: [{ scope: { name: 'vigil/dcgm', version: '1' }, metrics: metrics.map(metric) }],
    })),
  }).finish();
}

export const GPU0: Record<string, string> = {
  'hw.id': 'GPU-0000', 'hw.type': 'gpu', 'hw.gpu.index': '0', 'hw.model': 'NVIDIA H100 80GB HBM3', 'hw.vendor': 'NVIDIA',
  'hw.gpu.pci.bdf': '00000000:53:00.0', 'hw.driver_version': '580.105.08', 'host.name': 'gpu-node-1', 'vigil.source': 'replay',
};
