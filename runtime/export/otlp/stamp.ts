// SPDX-License-Identifier: Apache-2.0
// Adds attributes to every resource of a request without decoding what is inside it: ExportMetrics-, ExportTrace- and
// ExportLogsServiceRequest all begin with `repeated Resource<Signal> = 1`, whose field 1 is the Resource, whose field 1 is its attributes.
// Invariant: every other byte stays, unknown fields included; a key that a resource has already is left as it is.
// Limits: string attributes; a request that is not well-formed protobuf at these three levels throws RangeError.
import { messageType } from './schema.js';

const LENGTH_DELIMITED = 2;
const FIRST_FIELD_TAG = 0x0a;

interface Field { readonly number: number; readonly wire: number; readonly from: number; readonly bodyFrom: number; readonly to: number }

/** A varint at `at`: its value (at most 2^53) and where it ends. */
function varint(bytes: Uint8Array, at: number): [value: number, end: number] {
  let value = 0;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) throw new RangeError('a varint runs past the end');
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return [value, at + i + 1];
  }
  throw new RangeError('a varint of more than 10 bytes');
}

function putVarint(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128);
  return [...out, rest];
}

function* fields(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length;) {
    const from = at;
    const [tag, bodyAt] = varint(bytes, at);
    const wire = tag % 8;
    let [bodyFrom, to] = [bodyAt, bodyAt];
    if (wire === 0) to = varint(bytes, bodyAt)[1];
    else if (wire === 1) to += 8;
    else if (wire === 5) to += 4;
    else if (wire === LENGTH_DELIMITED) {
      const [length, after] = varint(bytes, bodyAt);
      [bodyFrom, to] = [after, after + length];
    } else throw new RangeError(`wire type ${wire}`);
    if (to > bytes.length) throw new RangeError('a field runs past the end');
    yield { number: Math.floor(tag / 8), wire, from, bodyFrom, to };
    at = to;
  }
}

const framed = (body: Uint8Array): Uint8Array => Buffer.concat([Uint8Array.of(FIRST_FIELD_TAG, ...putVarint(body.length)), body]);

/** Replaces the body of each field 1 by what `change` makes of it; `none`: what to put where there is none. */
function mapFirst(bytes: Uint8Array, change: (body: Uint8Array) => Uint8Array, none?: Uint8Array): Uint8Array {
  const out: Uint8Array[] = [];
  let found = false;
  for (const { number, wire, from, bodyFrom, to } of fields(bytes)) {
    const ours = number === 1 && wire === LENGTH_DELIMITED;
    found ||= ours;
    out.push(ours ? framed(change(bytes.subarray(bodyFrom, to))) : bytes.subarray(from, to));
  }
  return Buffer.concat(found || none === undefined ? out : [framed(none), ...out]);
}

/** The key of an encoded KeyValue. */
function keyOf(bytes: Uint8Array): string {
  for (const { number, wire, bodyFrom, to } of fields(bytes)) {
    if (number === 1 && wire === LENGTH_DELIMITED) return Buffer.from(bytes.subarray(bodyFrom, to)).toString('utf8');
  }
  return '';
}

/** The request with these attributes on each of its resources. @throws RangeError */
export function stampResources(request: Uint8Array, attributes: ReadonlyMap<string, string>): Uint8Array {
  if (attributes.size === 0) return request;
  const type = messageType('KeyValue');
  const pairs = [...attributes].map(([key, text]) =>
    ({ key, bytes: type.encode({ key, value: { stringValue: text } } as never).finish() }));
  const add = (resource: Uint8Array): Uint8Array => {
    const have = new Set<string>();
    for (const { number, bodyFrom, to } of fields(resource)) if (number === 1) have.add(keyOf(resource.subarray(bodyFrom, to)));
    return Buffer.concat([resource, ...pairs.filter(({ key }) => !have.has(key)).map(({ bytes }) => framed(bytes))]);
  };
  return mapFirst(request, (holder) => mapFirst(holder, add, add(new Uint8Array())));
}
