// SPDX-License-Identifier: Apache-2.0
// Bars, sparklines and numbers as text. Pure.
// Invariant: a result is exactly as wide as asked; a gap in the values is a blank, never a low bar; every number keeps its unit.
// Limits: eight steps a character.

const STEPS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;
const PARTS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;
const SI = ['', 'k', 'M', 'G', 'T', 'P'] as const;

/** A bar of `width` columns filled to `share` (0..1); null: blanks. */
export function bar(share: number | null, width: number): string {
  if (share === null || !Number.isFinite(share)) return ' '.repeat(width);
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * width * PARTS.length);
  const full = Math.floor(eighths / PARTS.length);
  const part = PARTS[eighths % PARTS.length]!;
  return `${'█'.repeat(full)}${part}`.padEnd(width, '·');
}

/** The newest `width` values, oldest to the left, between `low` and `high`; null: a blank. */
export function spark(values: readonly (number | null)[], width: number, low: number, high: number): string {
  const shown = values.slice(-width);
  const marks = shown.map((value) => {
    if (value === null || !Number.isFinite(value)) return ' ';
    const share = high > low ? (value - low) / (high - low) : 0;
    return STEPS[Math.max(0, Math.min(STEPS.length - 1, Math.floor(share * STEPS.length)))]!;
  });
  return marks.join('').padStart(width, ' ');
}

/** `1.2G` with the unit behind; null: a dash. */
export function si(value: number | null, unit: string): string {
  if (value === null) return '-';
  let step = 0;
  let scaled = Math.abs(value);
  while (scaled >= 999.5 && step < SI.length - 1) {
    scaled /= 1000;
    step++;
  }
  const digits = scaled < 9.95 && step > 0 ? 1 : 0;
  return `${value < 0 ? '-' : ''}${scaled.toFixed(digits)}${SI[step]}${unit}`;
}

/** Bytes as GiB with one decimal; null: a dash. */
export const gib = (bytes: number | null): string => (bytes === null ? '-' : (bytes / 2 ** 30).toFixed(1));

/** A length of time for people: `42 s`, `3 min 5 s`, `2 h 7 min`, `3 d 4 h`. */
export function span(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}
