// SPDX-License-Identifier: Apache-2.0
// metricsd's SNAPSHOT (docs/format/wire-metricsd.md) as the view's rows: one page, and all of them.
// Invariant: every length is checked against the page before it is used; a page that does not add up throws RangeError.
// A series that only came back from /state is no measurement of this boot: it counts in the total and makes no row.
// Limits: what metricsd puts into one page, PAGES_MAX pages; buckets are skipped, the view shows sum and count.
import type { ControlClient } from '../../runtime/bridge/control.js';
import type { SeriesRow } from './model.js';

const PAGES_MAX = 256;

const HEAD_BYTES = 10;
const RECORD_HEAD_BYTES = 34;
const BUCKET_BYTES = 16;
const UNIT_RESTORED = 0x80;
/** `next` of the last page. */
const END = 0xffff_ffff;
const KINDS: Readonly<Record<number, SeriesRow['kind']>> = { 1: 'counter', 2: 'gauge', 3: 'histogram' };

export interface SeriesPage {
  /** cursor of the next page, null after the last */
  next: number | null;
  /** series that metricsd has in all */
  total: number;
  rows: SeriesRow[];
}

function labelsOf(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line !== '');
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf('=');
    if (at < 1) throw new RangeError(`label "${line}" is no key=value`);
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** @param nameOf service name of a sender id @throws RangeError when the page is malformed */
export function decodeSeriesPage(page: Buffer, nameOf: (id: bigint) => string): SeriesPage {
  const next = page.readUInt32LE(0);
  const total = page.readUInt32LE(4);
  const count = page.readUInt16LE(8);
  const rows: SeriesRow[] = [];
  let at = HEAD_BYTES;
  for (let i = 0; i < count; i++) {
    if (at + RECORD_HEAD_BYTES > page.length) throw new RangeError(`record ${i} runs past the page`);
    const kind = KINDS[page.readUInt8(at + 4)];
    if (kind === undefined) throw new RangeError(`record ${i} has kind ${page.readUInt8(at + 4)}`);
    const nameAt = at + RECORD_HEAD_BYTES + page.readUInt8(at + 6) * BUCKET_BYTES;
    const labelsAt = nameAt + page.readUInt8(at + 7);
    const end = labelsAt + page.readUInt16LE(at + 8);
    if (end > page.length) throw new RangeError(`record ${i} runs past the page`);
    const restored = (page.readUInt8(at + 5) & UNIT_RESTORED) !== 0;
    if (!restored) rows.push({
      name: page.subarray(nameAt, labelsAt).toString('latin1'),
      kind,
      producer: nameOf(page.readBigUInt64LE(at + 10)),
      labels: labelsOf(page.subarray(labelsAt, end).toString('latin1')),
      value: kind === 'gauge' ? page.readBigInt64LE(at + 18) : page.readBigUInt64LE(at + 18),
      count: page.readBigUInt64LE(at + 26),
    });
    at = end;
  }
  return { next: next === END ? null : next, total, rows };
}

/** Every series that metricsd has now. @throws RangeError as decodeSeriesPage, Error past PAGES_MAX */
export async function allSeries(client: Pick<ControlClient, 'series'>, nameOf: (id: bigint) => string): Promise<SeriesRow[]> {
  const rows: SeriesRow[] = [];
  let cursor: number | null = 0;
  for (let pages = 0; cursor !== null; pages++) {
    if (pages === PAGES_MAX) throw new Error(`metricsd has more than ${PAGES_MAX} pages of series`);
    const page = decodeSeriesPage(await client.series(cursor), nameOf);
    rows.push(...page.rows);
    cursor = page.next;
  }
  return rows;
}
