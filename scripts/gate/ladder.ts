// SPDX-License-Identifier: Apache-2.0
// The ladder: markers/NN-phase.toml in file-name order, or markers/profiles/NAME.toml, as one totally ordered list of exact lines.
// Invariant: a text occurs once unless the later row says `again`; phases are contiguous and in PHASES order; no marker is itself a
// failure word.
// Limits: MARKERS_MAX lines; printable ASCII up to abi/limits.toml [kernel] line_bytes_max.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Transport } from '../../boot/machines.js';
import { limit, loadAbi } from '../lib/abi.js';
import { usage, wrong } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import { readToml } from '../lib/table.js';

/** Every phase, in the order in which the proof passes through them. */
export const PHASES = [
  'bring-up', 'mmio', 'ipc', 'policy', 'logd', 'state', 'keys', 'metrics', 'tracing', 'retention', 'traps', 'exec', 'bus', 'gpu',
  'export', 'end',
] as const;
export type Phase = (typeof PHASES)[number];

/** How the gate goes red: the class of a failure, in the words of markers/*.toml. */
export const RED_CLASSES = ['missing', 'unexpected', 'trap', 'fail', 'halt'] as const;
export type RedClass = (typeof RED_CLASSES)[number];

export const MARKERS_MAX = 512;
export const PROOF = 'proof';

/** A line that says that something broke: such a line can never be a marker. */
export const FAILURE_WORDS = /FAIL|PANIC/;

const canarySchema = z.strictObject({
  mutant: z.string().regex(/^[a-z][a-z0-9_]*$/, 'must be a lower-case name'),
  expect: z.enum(RED_CLASSES),
  /** part of the line at which the gate must go red */
  says: z.string().min(1).optional(),
});
const markerSchema = z.strictObject({
  text: z.string().regex(/^[\x20-\x7e]+$/, 'must be printable ASCII'),
  by: z.string().regex(/^[a-z][a-z0-9-]*$/, 'must be a service name'),
  canary: canarySchema.optional(),
  only: z.enum(['modern', 'legacy']).optional(),
  phase: z.enum(PHASES).optional(),
  /** the same text came earlier in the ladder, and comes here again */
  again: z.literal(true).optional(),
});
const fileSchema = z.strictObject({
  phase: z.enum(PHASES),
  from: z.array(z.string()).optional(),
  /** lines that begin so carry a measurement: they may come anywhere after the first marker, and are no markers */
  figures: z.string().min(3).optional(),
  /** whole lines of other services that may come once each, anywhere after the first marker: load decides whether they do */
  may: z.array(z.string().min(3)).default([]),
  /** the metrics recipe of this profile, when the boot names none */
  recipe: z.string().optional(),
  /** the profile that must pass first, on the same disk */
  after: z.string().optional(),
  /** lines of the included files that read otherwise in this profile, each in its place */
  instead: z.array(z.strictObject({ of: z.string(), text: markerSchema.shape.text, canary: canarySchema.optional() })).default([]),
  marker: z.array(markerSchema).default([]),
});

export type Canary = z.infer<typeof canarySchema>;

/** One line of a ladder. `index` counts from 0 in the ladder it belongs to. */
export interface Marker {
  index: number;
  text: string;
  phase: Phase;
  by: string;
  /** path below the checkout, for reports */
  file: string;
  canary: Canary | undefined;
  only: Transport | undefined;
  again: boolean;
}

export interface Ladder {
  profile: string;
  transport: Transport;
  markers: Marker[];
  /** the phases that occur, in order */
  phases: Phase[];
  /** how lines with a measurement begin; null where the profile has none */
  figures: string | null;
  /** whole lines that may come once each, and prove nothing */
  may: readonly string[];
  /** the metrics recipe of the profile, if it has one of its own */
  recipe?: string | undefined;
  /** the profile that has to leave its disk for this one */
  after?: string | undefined;
}

type Row = Omit<Marker, 'index'>;

function parseFile(root: string, file: string): z.infer<typeof fileSchema> {
  const parsed = fileSchema.safeParse(readToml(join(root, file)));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  return wrong(`${file}: ${issue.path.join('.') || 'file'}: ${issue.message}`);
}

function readFile(root: string, name: string, lineBytesMax: number, depth = 0): Row[] {
  const file = `markers/${name}.toml`;
  const { phase, from = [], instead, marker } = parseFile(root, file);
  if (from.length > 0 && depth > 0) wrong(`${file}: "from" of a file that is itself included`);
  const included = from.flatMap((other) => readFile(root, other, lineBytesMax, depth + 1));
  const own = marker.map((row): Row => {
    if (row.text.length > lineBytesMax) wrong(`${file}: "${row.text}" is longer than ${lineBytesMax} bytes`);
    if (FAILURE_WORDS.test(row.text)) wrong(`${file}: "${row.text}" holds FAIL or PANIC`);
    if (row.text !== row.text.trim()) wrong(`${file}: "${row.text}" begins or ends with a blank`);
    return { text: row.text, phase: row.phase ?? phase, by: row.by, file, canary: row.canary, only: row.only, again: row.again === true };
  });
  for (const { of, text, canary } of instead) {
    const at = included.findIndex((row) => row.text === of);
    if (at < 0) wrong(`${file}: "instead" of "${of}", which no included file has`);
    included[at] = { ...included[at]!, text, canary, file };
  }
  return [...included, ...own];
}

function check(rows: Row[], where: string): void {
  if (rows.length === 0) wrong(`${where}: no markers`);
  if (rows.length > MARKERS_MAX) wrong(`${where}: more than ${MARKERS_MAX} markers`);
  const seen = new Set<string>();
  let last = 0;
  for (const row of rows) {
    if (seen.has(row.text) !== row.again) {
      wrong(`${row.file}: "${row.text}" ${row.again ? 'has "again" but is the first' : 'appears twice'} in ${where}`);
    }
    seen.add(row.text);
    const at = PHASES.indexOf(row.phase);
    if (at < last) wrong(`${row.file}: "${row.text}" of phase ${row.phase} comes after phase ${PHASES[last]}`);
    last = at;
  }
}

function phaseFiles(root: string): string[] {
  return readdirSync(join(root, 'markers'))
    .filter((name) => /^\d\d-.*\.toml$/.test(name))
    .map((name) => name.replace(/\.toml$/, ''))
    .sort();
}

/** Names of the ladders beside the proof: markers/profiles/NAME.toml. */
export function profileNames(root: string = ROOT): string[] {
  return readdirSync(join(root, 'markers', 'profiles'))
    .filter((name) => name.endsWith('.toml'))
    .map((name) => name.replace(/\.toml$/, ''))
    .sort();
}

/** Every row of a profile, of both transports. @throws Failure 1 naming file and line text, 2 for an unknown profile. */
export function readRows(profile: string, root: string = ROOT): Row[] {
  const lineBytesMax = limit(loadAbi(root), 'kernel', 'line_bytes_max');
  if (profile !== PROOF && !profileNames(root).includes(profile)) {
    usage(`unknown profile "${profile}" (known: ${[PROOF, ...profileNames(root)].join(', ')})`);
  }
  const names = profile === PROOF ? phaseFiles(root) : [`profiles/${profile}`];
  return names.flatMap((name) => readFile(root, name, lineBytesMax));
}

/** The ladder of one profile on one transport. @throws Failure 1 when the files contradict the invariant. */
export function readLadder(profile: string, transport: Transport, root: string = ROOT): Ladder {
  const rows = readRows(profile, root).filter((row) => row.only === undefined || row.only === transport);
  check(rows, `the ${profile} ladder`);
  const phases = PHASES.filter((phase) => rows.some((row) => row.phase === phase));
  const file = profile === PROOF ? null : parseFile(root, `markers/profiles/${profile}.toml`);
  const markers = rows.map((row, index) => ({ index, ...row }));
  const { figures = null, may = [], recipe, after } = file ?? {};
  return { profile, transport, phases, figures, may, recipe, after, markers };
}

/** Index of the last marker of a phase; -1 when the ladder has none. */
export function lastOfPhase(ladder: Ladder, phase: Phase): number {
  return ladder.markers.findLastIndex((marker) => marker.phase === phase);
}
