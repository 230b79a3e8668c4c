// SPDX-License-Identifier: Apache-2.0
// Spans out of the journal: metricsd writes one record a finished span (docs/format/wire-metricsd.md, "Exported records"), or two, told
// apart by `part`, where it has many attributes. Invariant: a record that is no span is none; halves are joined by the span's id.
import type { LogRecord } from '../../runtime/bridge/control.js';

const MESSAGE = /^tracing span end name=(.*) status=(\S+)$/;

/** Ids are 16 hexadecimal digits; `parent` '' at the root of a trace. Times are guest time in ns. */
export interface Span {
  readonly name: string; readonly status: string; readonly producer: string; readonly trace: string;
  readonly span: string; readonly parent: string;
  readonly startNs: bigint; readonly endNs: bigint; readonly durationNs: bigint; readonly attributes: Readonly<Record<string, string>>;
}

export function fieldsOf(text: string): Record<string, string> {
  return Object.fromEntries(text.split('\n').filter((line) => line.includes('=')).map((line) => {
    const at = line.indexOf('=');
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

const number = (text: string | undefined): bigint => (text !== undefined && /^\d+$/.test(text) ? BigInt(text) : 0n);

/** Spans in the order in which they ended. `incomplete`: spans of which one half is not in the journal any more. */
export function spansOf(records: readonly LogRecord[]): { readonly spans: readonly Span[]; readonly incomplete: number } {
  const whole: Span[] = [];
  const halves = new Map<string, Record<string, string>>();
  for (const { message, fields: text, scope } of records) {
    const match = scope === 'metricsd' ? MESSAGE.exec(message) : null;
    if (match === null) continue;
    const own = fieldsOf(text);
    const id = own['span'] ?? '';
    const before = halves.get(id);
    if (own['part'] !== undefined && before === undefined) {
      halves.set(id, own);
      continue;
    }
    halves.delete(id);
    const fields = { ...before, ...own };
    const attributes = Object.fromEntries(Object.entries(fields).filter(([key]) => /^(attr|end)\./.test(key))
      .map(([key, value]) => [key.replace(/^(attr|end)\./, ''), value]));
    whole.push({
      name: match[1]!, status: match[2]!, producer: fields['producer'] ?? '', trace: fields['trace'] ?? '', span: id,
      parent: /^0*$/.test(fields['parent'] ?? '') ? '' : fields['parent']!,
      startNs: number(fields['start_ns']), endNs: number(fields['end_ns']), durationNs: number(fields['duration_ns']), attributes,
    });
  }
  return { spans: whole, incomplete: halves.size };
}
