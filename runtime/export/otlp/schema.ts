// SPDX-License-Identifier: Apache-2.0
// The OTLP messages that Vigil reads and writes, as protobufjs reflection: names and field numbers are those of opentelemetry-proto 1.x.
// Invariant: a field that is not listed is skipped when read and kept by nobody: requests are forwarded as the bytes they came in.
// tests/export/otlp.test.ts holds every number to the published definitions.
import protobuf from 'protobufjs';

type Fields = Record<string, string>;

/** 'number type', 'number repeated type'. 64-bit integers are read as decimal strings and made bigint by model.ts. */
function message(fields: Fields, oneofs?: Record<string, string[]>): protobuf.IType {
  const rows = Object.entries(fields).map(([name, text]) => {
    const [id, ...kind] = text.split(' ');
    const repeated = kind[0] === 'repeated';
    return [name, { id: Number(id), type: repeated ? kind[1]! : kind[0]!, ...(repeated ? { rule: 'repeated' } : {}) }] as const;
  });
  const groups = Object.entries(oneofs ?? {}).map(([name, oneof]) => [name, { oneof }] as const);
  return { fields: Object.fromEntries(rows), ...(groups.length > 0 ? { oneofs: Object.fromEntries(groups) } : {}) };
}

const COMMON: Record<string, protobuf.IType> = {
  AnyValue: message(
    {
      stringValue: '1 string', boolValue: '2 bool', intValue: '3 int64', doubleValue: '4 double', arrayValue: '5 ArrayValue',
      kvlistValue: '6 KeyValueList', bytesValue: '7 bytes',
    },
    { value: ['stringValue', 'boolValue', 'intValue', 'doubleValue', 'arrayValue', 'kvlistValue', 'bytesValue'] },
  ),
  ArrayValue: message({ values: '1 repeated AnyValue' }),
  KeyValueList: message({ values: '1 repeated KeyValue' }),
  KeyValue: message({ key: '1 string', value: '2 AnyValue' }),
  InstrumentationScope: message({ name: '1 string', version: '2 string', attributes: '3 repeated KeyValue' }),
  Resource: message({ attributes: '1 repeated KeyValue' }),
};

const METRICS: Record<string, protobuf.IType> = {
  ExportMetricsServiceRequest: message({ resourceMetrics: '1 repeated ResourceMetrics' }),
  ExportMetricsServiceResponse: message({ partialSuccess: '1 ExportMetricsPartialSuccess' }),
  ExportMetricsPartialSuccess: message({ rejectedDataPoints: '1 int64', errorMessage: '2 string' }),
  ResourceMetrics: message({ resource: '1 Resource', scopeMetrics: '2 repeated ScopeMetrics', schemaUrl: '3 string' }),
  ScopeMetrics: message({ scope: '1 InstrumentationScope', metrics: '2 repeated Metric', schemaUrl: '3 string' }),
  Metric: message(
    { name: '1 string', description: '2 string', unit: '3 string', gauge: '5 Gauge', sum: '7 Sum', histogram: '9 Histogram' },
    { data: ['gauge', 'sum', 'histogram'] },
  ),
  Gauge: message({ dataPoints: '1 repeated NumberDataPoint' }),
  Sum: message({ dataPoints: '1 repeated NumberDataPoint', aggregationTemporality: '2 int32', isMonotonic: '3 bool' }),
  Histogram: message({ dataPoints: '1 repeated HistogramDataPoint', aggregationTemporality: '2 int32' }),
  NumberDataPoint: message(
    {
      startTimeUnixNano: '2 fixed64', timeUnixNano: '3 fixed64', asDouble: '4 double', asInt: '6 sfixed64',
      attributes: '7 repeated KeyValue', flags: '8 uint32',
    },
    { value: ['asDouble', 'asInt'] },
  ),
  HistogramDataPoint: message({
    startTimeUnixNano: '2 fixed64', timeUnixNano: '3 fixed64', count: '4 fixed64', sum: '5 double', bucketCounts: '6 repeated fixed64',
    explicitBounds: '7 repeated double', attributes: '9 repeated KeyValue', flags: '10 uint32', min: '11 double', max: '12 double',
  }),
};

const TRACES: Record<string, protobuf.IType> = {
  ExportTraceServiceRequest: message({ resourceSpans: '1 repeated ResourceSpans' }),
  ExportTraceServiceResponse: message({ partialSuccess: '1 ExportTracePartialSuccess' }),
  ExportTracePartialSuccess: message({ rejectedSpans: '1 int64', errorMessage: '2 string' }),
  ResourceSpans: message({ resource: '1 Resource', scopeSpans: '2 repeated ScopeSpans' }),
  ScopeSpans: message({ scope: '1 InstrumentationScope', spans: '2 repeated Span' }),
  Span: message({
    traceId: '1 bytes', spanId: '2 bytes', parentSpanId: '4 bytes', name: '5 string', kind: '6 int32', startTimeUnixNano: '7 fixed64',
    endTimeUnixNano: '8 fixed64', attributes: '9 repeated KeyValue', status: '15 Status',
  }),
  Status: message({ message: '2 string', code: '3 int32' }),
};

const LOGS: Record<string, protobuf.IType> = {
  ExportLogsServiceRequest: message({ resourceLogs: '1 repeated ResourceLogs' }),
  ExportLogsServiceResponse: message({ partialSuccess: '1 ExportLogsPartialSuccess' }),
  ExportLogsPartialSuccess: message({ rejectedLogRecords: '1 int64', errorMessage: '2 string' }),
  ResourceLogs: message({ resource: '1 Resource', scopeLogs: '2 repeated ScopeLogs' }),
  ScopeLogs: message({ scope: '1 InstrumentationScope', logRecords: '2 repeated LogRecord' }),
  LogRecord: message({
    timeUnixNano: '1 fixed64', severityNumber: '2 int32', severityText: '3 string', body: '5 AnyValue', attributes: '6 repeated KeyValue',
    traceId: '9 bytes', spanId: '10 bytes', observedTimeUnixNano: '11 fixed64',
  }),
};

const root = protobuf.Root.fromJSON({ nested: { ...COMMON, ...METRICS, ...TRACES, ...LOGS } });

/** Every message here, by its name in opentelemetry-proto. */
export const MESSAGES: readonly string[] = Object.keys({ ...COMMON, ...METRICS, ...TRACES, ...LOGS });

/** A message type. @throws Error for a name that is not in MESSAGES. */
export function messageType(name: string): protobuf.Type {
  return root.lookupType(name);
}

/** The three signals: the path below the endpoint, the response message, and the field that says how many were refused. */
export const SIGNALS = {
  metrics: { path: '/v1/metrics', response: 'ExportMetricsServiceResponse', rejected: 'rejectedDataPoints' },
  traces: { path: '/v1/traces', response: 'ExportTraceServiceResponse', rejected: 'rejectedSpans' },
  logs: { path: '/v1/logs', response: 'ExportLogsServiceResponse', rejected: 'rejectedLogRecords' },
} as const;
export type Signal = keyof typeof SIGNALS;
