// SPDX-License-Identifier: Apache-2.0
// What a soak must hold: each figure that the guest printed, beside its limit. Pure. Limits come from abi/limits.toml and from the machine
// (scripts/soak.ts); words of STATS are named here as assembly/lib/wire/{statefsd,logd,metricsd}.ts number them (a test compares).
// Invariant: a figure that was not printed is a broken row, never a passed one.

/** `most`: never above its limit. `none`: always 0. `some`: above 0 at the end, or the soak drove nothing. `steady`: the end differs from
 *  the first report by at most its limit. `is`: always this value. `same`: in each report the value of another figure. */
export type Rule =
  | { kind: 'most'; limit: number }
  | { kind: 'none' }
  | { kind: 'some' }
  | { kind: 'steady'; limit: number }
  | { kind: 'is'; value: number }
  | { kind: 'same'; as: string; says: string };

export interface Row {
  /** as the guest prints it */
  key: string;
  what: string;
  rule: Rule;
}

/** Figures of one report, by key. */
export type Report = ReadonlyMap<string, number>;

/** Limits that rows need, by name. */
export interface SoakLimits {
  logRecords: number;
  logBytes: number;
  endpoints: number;
  handles: number;
  queued: number;
  series: number;
  liveSpans: number;
  stateKeys: number;
  regionBytes: number;
  groupRequests: number;
  retentionFrames: number;
  stateKeysExpected: number;
  /** series and ended spans that may wait for logd */
  exportsWaiting: number;
  /** of the recipe: raw records in one segment of the retention log, and in all of them */
  segmentRecords: number;
  retentionRecords: number;
  /** guest time of the soak, in raw intervals: longer than all segments together, the log must have turned; else it must not */
  intervals: number;
}
/** Raw intervals that a turn of the retention log may be late by: the last record's acknowledgement and the deletion's. */
const TURN_SLACK = 10;

export const STATEFSD = {
  state: 0, liveKeys: 4, liveBytes: 5, journalBytes: 6, groupMax: 19, flushes: 20, compactions: 22, ioErrors: 23, reopens: 24,
  answersLost: 25, denied: 16, droppedBytes: 27,
} as const;
/** LogStats as u64 words: recordsMax and bytesMax share word 2, recordsUsed and bytesUsed word 3. */
export const LOGD = {
  total: 0, dropped: 1, used: 3, rejectInvalidArgs: 4, rejectOverLimit: 5, rejectRateLimited: 6, malformed: 7, denied: 8,
  senderEvictions: 9, repliesLost: 11,
} as const;
export const METRICSD = {
  series: 7, liveSpans: 8, exportFailed: 10, pending: 12, quarantines: 13, spansExpired: 14, retention: 19,
  rawWritten: 21, rollupsWritten: 22, keysDeleted: 23, writeFailures: 24, writesLost: 26, samplesDropped: 27, writesWaiting: 28,
  segmentRecords: 32, segmentsDropped: 33, recoveredBad: 35, entriesRefused: 37, unavailable: 38,
} as const;
/** Requests that metricsd refused, by status (the first words of its STATS); rate_limited has its own row. */
export const METRICSD_REJECTS = { invalid_args: 1, over_limit: 2, rate_limited: 3, not_found: 4, denied: 5, stale_handle: 6 } as const;
/** MT_RETENTION_READY. */
export const RETENTION_READY = 2;

const most = (limit: number): Rule => ({ kind: 'most', limit });
const none: Rule = { kind: 'none' };
const some: Rule = { kind: 'some' };
const steady = (limit: number): Rule => ({ kind: 'steady', limit });
const same = (as: string, says: string): Rule => ({ kind: 'same', as, says });

/** Every row, in the order in which it is shown. */
export function rowsOf(limits: SoakLimits): Row[] {
  const statefsd = (word: keyof typeof STATEFSD, what: string, rule: Rule): Row => ({ key: `statefsd.${STATEFSD[word]}`, what, rule });
  const metricsd = (word: keyof typeof METRICSD, what: string, rule: Rule): Row => ({ key: `metricsd.${METRICSD[word]}`, what, rule });
  const turn = limits.intervals > limits.retentionRecords + TURN_SLACK ? some : none;
  return [
    { key: 'free_frames', what: 'free page frames: no leak', rule: steady(0) },
    { key: 'frames_taken', what: 'page frames taken since the start of the soak, most', rule: none },
    { key: 'endpoints', what: 'endpoints: no leak', rule: steady(0) },
    { key: 'endpoints_most', what: 'endpoints, most', rule: most(limits.endpoints) },
    { key: 'own_handles_most', what: 'handles of selftest, most', rule: most(limits.handles) },
    { key: 'queued_messages_most', what: 'queued messages, most', rule: most(limits.queued) },
    { key: 'dropped_replies', what: 'replies dropped by the kernel', rule: none },
    { key: 'log_appends', what: 'records appended', rule: some },
    { key: 'log_limited', what: 'appends over the rate: the bucket was emptied', rule: some },
    { key: 'metric_events', what: 'metric events accepted', rule: some },
    { key: 'metric_limited', what: 'metric frames over the rate', rule: some },
    { key: 'state_puts', what: 'puts acknowledged', rule: some },
    { key: 'logd.records_used', what: 'logd: records held', rule: most(limits.logRecords) },
    { key: 'logd.bytes_used', what: 'logd: journal bytes held', rule: most(limits.logBytes) },
    { key: `logd.${LOGD.dropped}`, what: 'logd: oldest records dropped', rule: same('logd.past', 'accepted - held') },
    { key: `logd.${LOGD.rejectRateLimited}`, what: 'logd: appends refused by rate', rule: same('log_limited', 'of selftest') },
    { key: `logd.${LOGD.rejectInvalidArgs}`, what: 'logd: appends refused as invalid', rule: none },
    { key: `logd.${LOGD.rejectOverLimit}`, what: 'logd: appends refused as over a limit', rule: none },
    { key: `logd.${LOGD.senderEvictions}`, what: 'logd: senders forgotten', rule: none },
    { key: `logd.${LOGD.malformed}`, what: 'logd: malformed frames', rule: none },
    { key: `logd.${LOGD.denied}`, what: 'logd: denied queries', rule: none },
    { key: `logd.${LOGD.repliesLost}`, what: 'logd: replies lost', rule: none },
    metricsd('series', 'metricsd: live series', most(limits.series)),
    metricsd('liveSpans', 'metricsd: live spans', most(limits.liveSpans)),
    metricsd('exportFailed', 'metricsd: records that logd refused', none),
    metricsd('pending', 'metricsd: records that wait for logd', most(limits.exportsWaiting)),
    ...Object.entries(METRICSD_REJECTS).map(([status, index]): Row => ({
      key: `metricsd.${index}`, what: `metricsd: refused ${status}`,
      rule: status === 'rate_limited' ? same('metric_limited', 'of selftest') : none,
    })),
    metricsd('quarantines', 'metricsd: senders in quarantine', none),
    metricsd('spansExpired', 'metricsd: spans that nobody ended', none),
    metricsd('retention', 'retention: state (2 ready)', { kind: 'is', value: RETENTION_READY }),
    metricsd('unavailable', 'retention: requests while unavailable', none),
    metricsd('segmentRecords', 'retention: records in the segment', most(limits.segmentRecords)),
    metricsd('recoveredBad', 'retention: bad records', none),
    metricsd('entriesRefused', 'retention: entries refused', none),
    metricsd('rawWritten', 'retention: raw records written', some),
    metricsd('rollupsWritten', 'retention: roll-ups written', some),
    metricsd('keysDeleted', 'retention: keys collected', turn),
    metricsd('segmentsDropped', 'retention: segments dropped', turn),
    metricsd('writesWaiting', 'retention: frames waiting', most(limits.retentionFrames)),
    metricsd('writeFailures', 'retention: frames refused or unanswered', none),
    metricsd('writesLost', 'retention: frames lost', none),
    metricsd('samplesDropped', 'retention: samples without room', none),
    statefsd('state', 'statefsd: state (0 ready)', none),
    statefsd('liveKeys', 'statefsd: live keys', most(limits.stateKeysExpected)),
    statefsd('journalBytes', 'statefsd: journal bytes', most(limits.regionBytes)),
    statefsd('groupMax', 'statefsd: largest group', most(limits.groupRequests)),
    statefsd('compactions', 'statefsd: compactions', some),
    statefsd('flushes', 'statefsd: flushes', some),
    statefsd('ioErrors', 'statefsd: device errors', none),
    statefsd('reopens', 'statefsd: reopens', none),
    statefsd('answersLost', 'statefsd: answers lost', none),
    statefsd('denied', 'statefsd: requests denied', none),
    statefsd('droppedBytes', 'statefsd: journal bytes lost at the start', none),
  ];
}

export interface Judged {
  row: Row;
  /** over all reports */
  highest: number;
  last: number;
  /** null: holds */
  broken: string | null;
}

/** Splits the lines of a boot into reports. @throws Error for a malformed line. */
export function readReports(lines: readonly string[], prefix: string): Map<string, number>[] {
  const reports: Map<string, number>[] = [];
  for (const line of lines) {
    if (!line.startsWith(prefix)) continue;
    const match = /^([a-z][a-z0-9_.]*)=(\d{1,20})$/.exec(line.slice(prefix.length));
    if (match === null) throw new Error(`the guest printed "${line}"`);
    if (match[1] === 'second') reports.push(new Map());
    const report = reports.at(-1);
    if (report === undefined || report.has(match[1]!)) throw new Error(`the guest printed "${line}" out of place`);
    report.set(match[1]!, Number(match[2]));
    if (match[1] === `logd.${LOGD.used}`) {
      const word = BigInt(match[2]!);
      report.set('logd.records_used', Number(word & 0xffffffffn));
      report.set('logd.bytes_used', Number(word >> 32n));
      report.set('logd.past', (report.get(`logd.${LOGD.total}`) ?? NaN) - Number(word & 0xffffffffn));
    }
    if (match[1] === 'free_frames_at_start') report.set('frames_taken', Number(match[2]) - (report.get('free_frames_least') ?? NaN));
  }
  return reports;
}

export function judgeRow(row: Row, reports: readonly Report[]): Judged {
  const values = reports.map((report) => report.get(row.key) ?? NaN);
  const [highest, first, last] = [Math.max(...values), values[0] ?? NaN, values.at(-1) ?? NaN];
  const holds = ((): boolean => {
    if (values.length === 0 || values.some(Number.isNaN)) return false;
    switch (row.rule.kind) {
      case 'most':
        return highest <= row.rule.limit;
      case 'none':
        return highest === 0;
      case 'some':
        return last > 0;
      case 'steady':
        return Math.abs(last - first) <= row.rule.limit;
      case 'is':
        return values.every((value) => value === (row.rule as { value: number }).value);
      case 'same':
        return reports.every((report) => report.get(row.key) === report.get((row.rule as { as: string }).as));
    }
  })();
  return { row, highest, last, broken: holds ? null : broken(row.rule, first, highest, last) };
}

function broken(rule: Rule, first: number, highest: number, last: number): string {
  if (Number.isNaN(highest) || Number.isNaN(last)) return 'not printed';
  if (rule.kind === 'most') return `above ${rule.limit}`;
  if (rule.kind === 'none') return 'not 0';
  if (rule.kind === 'is') return `not always ${rule.value}`;
  if (rule.kind === 'same') return `not as many as ${rule.as}`;
  return rule.kind === 'some' ? 'nothing happened' : `was ${first} at the first report`;
}

function limitOf(rule: Rule): string {
  switch (rule.kind) {
    case 'most':
      return `at most ${rule.limit}`;
    case 'none':
      return '0';
    case 'some':
      return 'above 0';
    case 'steady':
      return 'steady';
    case 'is':
      return `${rule.value}`;
    case 'same':
      return `= ${rule.says}`;
  }
}

/** Whether a canary did what it is for: the guest ran to its end, and the row named so is broken. Null: yes; else why not. */
export function canaryFault(judged: readonly Judged[], what: string): string | null {
  const one = judged.find(({ row }) => row.what === what);
  if (one === undefined) return `there is no row "${what}"`;
  return one.broken === null ? `"${what}" held` : null;
}

/** The table, one row a line. */
export function soakTable(judged: readonly Judged[]): string[] {
  const cells = judged.map(({ row, highest, last, broken: why }) => [
    row.what, String(highest), String(last), limitOf(row.rule), why === null ? 'ok' : `BROKEN: ${why}`,
  ]);
  const all = [['what', 'highest', 'at the end', 'limit', ''], ...cells];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  const pad = (cell: string, n: number): string => (n === 1 || n === 2 ? cell.padStart(widths[n]!) : cell.padEnd(widths[n]!));
  return all.map((line) => line.map(pad).join('  ').trimEnd());
}
