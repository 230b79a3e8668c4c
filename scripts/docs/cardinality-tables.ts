// SPDX-License-Identifier: Apache-2.0
// The tables of docs/operators/cardinality.md, counted from the tables of abi and the scripted nodes. Pure.
// Invariant: every figure is computed; none is written by hand. Limits: the reference nodes are those of runtime/bridge/sources/fleets.ts.
import { FLEETS, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { gpuGroups } from '../../runtime/export/gpu-metrics.js';
import { OPTIONAL, configWith, countSeries, totalOf } from './series-count.js';

/** max_series_per_scrape as it is when nobody sets it. */
export const DEFAULT_CAP = configWith([]).receivers.dcgm.maxSeriesPerScrape;
const HOSTS = [1, 100, 1_000, 10_000];

/** What each scripted node stands for. */
const TITLES: Readonly<Record<FleetName, string>> = {
  'h100x8': 'DGX H100: 8 GPUs, 18 links each, 4 switches', 'nvl72-tray': 'GB200 NVL72, one tray: 4 GPUs, 18 links each',
  'a100-mig': '8 x A100, each as 7 MIG instances', 'consumer': 'one GeForce',
};
const fleets = Object.keys(FLEETS) as FleetName[];
const number = (value: number): string => value.toLocaleString('en-US');
const share = (value: number): string => `${number(value)} (${Math.round((value / DEFAULT_CAP) * 100)}%)`;

export function seriesByGroup(): string[] {
  const counts = fleets.map((fleet) => countSeries(fleet, OPTIONAL));
  const rows = gpuGroups.filter(({ name }) => counts.some((of) => of.has(name))).map(({ name }) =>
    `| \`${name}\` | ${OPTIONAL.includes(name) ? 'off' : 'on'} | ${counts.map((of) => number(of.get(name) ?? 0)).join(' | ')} |`);
  const sum = `| **default** | | ${fleets.map((fleet) => number(totalOf(countSeries(fleet)))).join(' | ')} |`;
  const full = `| **everything** | | ${counts.map((of) => number(totalOf(of))).join(' | ')} |`;
  const head = `| group | default | ${fleets.map((fleet) => `\`${fleet}\``).join(' | ')} |`;
  return [head, `|---|---|${fleets.map(() => '---|').join('')}`, ...rows, sum, full];
}

export function seriesByFleet(): string[] {
  const rows = fleets.map((fleet) => {
    const cells = [[], ['pipes'], OPTIONAL].map((on) => totalOf(countSeries(fleet, on)));
    const verdict = cells[2]! <= DEFAULT_CAP ? 'everything fits' : cells[1]! <= DEFAULT_CAP ? 'default and pipes fit' :
      cells[0]! <= DEFAULT_CAP ? 'default fits' : 'raise the cap';
    return `| \`${fleet}\` | ${TITLES[fleet]} | ${cells.map(share).join(' | ')} | ${verdict} |`;
  });
  const head = `| fleet | node | default | and \`pipes\` | everything | with a cap of ${number(DEFAULT_CAP)} |`;
  return [head, '|---|---|---|---|---|---|', ...rows];
}

export function totalsByHosts(): string[] {
  const perHost: [string, number][] = [...fleets.map((fleet): [string, number] => [`\`${fleet}\`, default`, totalOf(countSeries(fleet))]),
    ['any node at the cap', DEFAULT_CAP]];
  const rows = perHost.map(([what, series]) => `| ${what} | ${HOSTS.map((hosts) => number(series * hosts)).join(' | ')} |`);
  return [`| series, hosts | ${HOSTS.map(number).join(' | ')} |`, `|---|${HOSTS.map(() => '---|').join('')}`, ...rows];
}
