// SPDX-License-Identifier: Apache-2.0
// Owns: durations as a person writes them ("15s", "1m30s", "500ms", "1.5h") and milliseconds, both ways.
// Invariant: what formatDuration prints, parseDuration reads back as the same number; a duration is a whole number of milliseconds.
// Limits: up to 2^53 - 1 ms, 64 characters; units ms, s, m, h, d, each once and the largest first.

const UNITS = [['d', 86_400_000], ['h', 3_600_000], ['m', 60_000], ['s', 1_000], ['ms', 1]] as const;
const TEXT_CHARS_MAX = 64;
const PART = /(\d+(?:\.\d+)?)(ms|d|h|m|s)/gy;

/** A refused duration: the message says what would do, without the text (who asks quotes it). */
export class DurationError extends Error {}

/** Milliseconds of a duration. @throws DurationError */
export function parseDuration(text: string): number {
  if (text === '' || text.length > TEXT_CHARS_MAX) throw new DurationError('write a number and a unit, for example 15s or 1m30s');
  if (/^[0-9.]+$/.test(text)) throw new DurationError(`a duration needs a unit (ms, s, m, h, d), for example ${text}s`);
  let at = 0;
  let previous = -1;
  let sumMs = 0;
  for (const part of text.matchAll(PART)) {
    const [whole, number, unit] = [part[0], part[1]!, part[2]!];
    const rank = UNITS.findIndex(([name]) => name === unit);
    if (rank <= previous) throw new DurationError('each unit at most once and the largest first, for example 1h30m');
    previous = rank;
    const ms = scaled(number, UNITS[rank]![1]);
    if (ms === null) throw new DurationError('a duration is a whole number of milliseconds');
    sumMs += ms;
    at = part.index + whole.length;
  }
  if (at !== text.length) throw new DurationError('write a number and a unit (ms, s, m, h, d), for example 15s or 1m30s');
  if (!Number.isSafeInteger(sumMs)) throw new DurationError('it is longer than a clock of milliseconds can count');
  return sumMs;
}

/** `number` units of `unitMs`, null when that is no whole number of milliseconds. Exact: decimals are moved, not multiplied. */
function scaled(number: string, unitMs: number): number | null {
  const [whole, decimals = ''] = number.split('.') as [string, string?];
  const over = 10n ** BigInt(decimals.length);
  const product = BigInt(whole + decimals) * BigInt(unitMs);
  return product % over === 0n ? Number(product / over) : null;
}

/** The shortest spelling: 90_000 is "1m30s", 0 is "0s". */
export function formatDuration(ms: number): string {
  let rest = ms;
  let out = '';
  for (const [unit, unitMs] of UNITS.slice(1)) {
    const count = Math.floor(rest / unitMs);
    rest -= count * unitMs;
    if (count > 0) out += `${count}${unit}`;
  }
  return out === '' ? '0s' : out;
}
