// SPDX-License-Identifier: Apache-2.0
// Owns: how a number with a UCUM unit reads to a person.
// Invariant: the unit is always said; a value that is no finite number reads as itself. Limits: four significant digits.
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const WORDS: Readonly<Record<string, string>> = { Cel: '°C', '': '', '1': '' };

/** Four significant digits, without an exponent where a person can read it. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const text = Math.abs(value) >= 10_000 ? value.toFixed(0) : String(Number(value.toPrecision(4)));
  return text.replace(/^(-?\d{5,})$/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, '\u202f'));
}

function scaled(value: number, units: readonly string[], step: number): string {
  let at = 0;
  let rest = value;
  while (Math.abs(rest) >= step && at < units.length - 1) {
    rest /= step;
    at++;
  }
  return `${number(rest)} ${units[at]}`;
}

/** A value with its unit. `share`: the value is a fraction of one and reads as percent. */
export function quantity(value: number, unit: string, share = false): string {
  if (share) return `${number(value * 100)} %`;
  if (unit === 'By') return scaled(value, BINARY, 1024);
  if (unit === 'By/s') return `${scaled(value, BINARY, 1024)}/s`;
  if (unit === 'Hz') return scaled(value, ['Hz', 'kHz', 'MHz', 'GHz'], 1000);
  if (unit === 'J') return scaled(value, ['J', 'kJ', 'MJ', 'GJ'], 1000);
  if (unit === 'mW') return `${number(value / 1000)} W`;
  const counted = /^\{(.*[^s])\}$/.exec(unit)?.[1];
  const word = WORDS[unit] ?? (counted === undefined ? unit : counted + (value === 1 ? '' : 's'));
  return word === '' ? number(value) : `${number(value)} ${word}`;
}

/** How long, in the largest unit that says enough. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return 'unknown';
  if (seconds < 120) return `${number(Math.round(seconds * 10) / 10)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}
