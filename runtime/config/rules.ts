// SPDX-License-Identifier: Apache-2.0
// Owns: the kinds of value that a key of vigil.toml can have, as zod types whose messages quote what was written and say what would do.
// Invariant: a message never repeats a password; a text that is shown holds no control character. Limits: SHOWN_CHARS_MAX of a quoted text.
import { isIPv6 } from 'node:net';
import { z } from 'zod';
import { parseEndpoint } from '../bridge/endpoint.js';
import { DurationError, formatDuration, parseDuration } from './durations.js';

const SHOWN_CHARS_MAX = 80;
/** The guest takes an endpoint as printable ASCII of at most this many bytes. */
export const ENDPOINT_BYTES_MAX = 255;

/** `user:password@` of an address becomes `***@`. */
export const withoutUserinfo = (text: string): string => text.replace(/^([a-z]+:\/\/)?.*@/is, '$1***@');

/** A value as the operator wrote it, in quotes when it is a text, on one line, cut. */
export function quote(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : value instanceof Date ? value.toISOString()
    : typeof value === 'bigint' ? String(value) : typeof value === 'number' ? numberText(value) : (JSON.stringify(value) ?? String(value));
  const plain = text.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return plain.length <= SHOWN_CHARS_MAX ? plain : `${plain.slice(0, SHOWN_CHARS_MAX - 4)}...${plain.startsWith('"') ? '"' : ''}`;
}
const numberText = (value: number): string =>
  (Number.isNaN(value) ? 'nan' : Number.isFinite(value) ? String(value) : value > 0 ? 'inf' : '-inf');

const listed = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;

/** A text, with a check that returns what is wrong with it, or null. */
export function text(check: (value: string) => string | null = () => null): z.ZodType<string> {
  return z.string({ error: ({ input }) => `${quote(input)} is not a text in quotes` }).superRefine((value, context) => {
    const why = value.includes('\0') ? `${quote(value)} holds a zero byte` : check(value);
    if (why !== null) context.addIssue({ code: 'custom', message: why });
  });
}

/** One of some names. `hints`: what is said about a value that somebody may well try. */
export function oneOf<const T extends readonly [string, ...string[]]>(
  names: T, hints: Readonly<Record<string, string>> = {}): z.ZodType<T[number]> {
  return z.enum(names as unknown as [string, ...string[]], { error: ({ input }) => {
    const hint = typeof input === 'string' && Object.hasOwn(hints, input) ? `; ${hints[input]}` : '';
    return `${quote(input)} is not ${listed(names.map((name) => (name === '' ? '""' : name)))}${hint}`;
  } }) as unknown as z.ZodType<T[number]>;
}

export function whole(min: number, max: number): z.ZodType<number> {
  const error = ({ input }: { input?: unknown }): string => `${quote(input)} is not a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

export const flag = (): z.ZodType<boolean> => z.boolean({ error: ({ input }) => `${quote(input)} is not true or false` });

/** A duration in quotes; the value is in ms. `maxMs` Infinity: as long as a clock counts. */
export function duration(minMs: number, maxMs: number): z.ZodType<number, string> {
  const shape = z.string({ error: ({ input }) => `${quote(input)} is not a duration in quotes; for example ${example(input)}` });
  return shape.transform((written, context) => {
    try {
      const ms = parseDuration(written);
      if (ms >= minMs && ms <= maxMs) return ms;
      const range = `${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
      context.addIssue({ code: 'custom', message: `${quote(written)} is not in ${range}` });
    } catch (error) {
      if (!(error instanceof DurationError)) throw error;
      const negative = /^-/.test(written);
      context.addIssue({ code: 'custom', message: `${quote(written)}: ${negative ? 'a duration is not negative' : error.message}` });
    }
    return z.NEVER;
  }) as unknown as z.ZodType<number, string>;
}
const example = (input: unknown): string => (typeof input === 'number' && Number.isInteger(input) && input >= 0 ? `"${input}s"` : '"15s"');

/** A list without repetitions, each value by its own type. */
export function list<T>(item: z.ZodType<T>, max: number, min = 0): z.ZodType<readonly T[]> {
  const shape = z.array(item, { error: ({ input }) => `${quote(input)} is not a list; write it in brackets` });
  return shape.superRefine((values, context) => {
    const twice = values.find((value, i) => values.indexOf(value) !== i);
    if (twice !== undefined) context.addIssue({ code: 'custom', message: `${quote(twice)} is listed twice` });
    if (values.length > max) context.addIssue({ code: 'custom', message: `${values.length} values; at most ${max}` });
    if (values.length < min) context.addIssue({ code: 'custom', message: `an empty list; at least ${min}` });
  }) as unknown as z.ZodType<readonly T[]>;
}

/** The address of a DCGM engine: what runtime/bridge/endpoint.ts takes, in printable ASCII. */
export const endpoint = (): z.ZodType<string> => text((value) => {
  if (/[^\x20-\x7e]/.test(value)) return `${quote(value)} is not printable ASCII`;
  if (value.length > ENDPOINT_BYTES_MAX) return `${quote(value)} has ${value.length} bytes; at most ${ENDPOINT_BYTES_MAX}`;
  try {
    parseEndpoint(value);
    return null;
  } catch (error) {
    // parseEndpoint says `endpoint: "TEXT": WHY`; the path says the first word already, and a password is not repeated
    return (error as Error).message.slice('endpoint: '.length).replace(value, () => withoutUserinfo(value));
  }
});

/** host:port to listen on; without a host, on every address (runtime/export/exporter.ts reads it so). */
export const listenAddress = (): z.ZodType<string> => text((value) => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|[A-Za-z0-9.-]*):(\d{1,5})$/.exec(value);
  const example = 'for example 127.0.0.1:9400, [::1]:9400, or :9400 for every address';
  if (match === null || (match[1] !== undefined && !isIPv6(match[1]))) return `${quote(value)}: write host:port, ${example}`;
  return Number(match[2]) <= 65_535 ? null : `${quote(value)}: port ${match[2]} is not in 0..65535`;
});

/** '' or where OTLP over HTTP goes. */
export const httpUrl = (): z.ZodType<string> => text((value) => {
  if (value === '') return null;
  const shown = quote(withoutUserinfo(value));
  if (!URL.canParse(value)) return `${shown} is no URL; for example http://localhost:4318`;
  const url = new URL(value);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return `${shown}: the scheme is not http or https; for example http://localhost:4318`;
  return url.username === '' && url.password === '' ? null : `${shown}: a user or password belongs into headers, not into the address`;
});

/** A path that may be empty. */
export const path = (): z.ZodType<string> => text();
/** A path that may not. */
export const needed = (sample: string): z.ZodType<string> =>
  text((value) => (value === '' ? `"" names no file; for example ${quote(sample)}` : null));
