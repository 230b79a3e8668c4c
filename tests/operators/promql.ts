// SPDX-License-Identifier: Apache-2.0
// Owns: what a PromQL query names: metrics, labels of matchers and of by/on/group_left, range-window functions and their windows. The grammar
// is Prometheus' own (lezer-promql). Not a test by itself.
// Invariant: a query with a syntax error throws and shows where. Limits: Grafana's variables must be replaced first (plainQuery).
import { parser } from '@prometheus-io/lezer-promql';

export interface Selector { readonly metric: string; readonly labels: ReadonlyMap<string, string> }
export interface Query {
  readonly selectors: readonly Selector[];
  /** Labels that aggregations and matchings name. */
  readonly grouped: readonly string[];
  /** Functions over a range, with the range as written: `5m`. */
  readonly windows: readonly { readonly fn: string; readonly window: string }[];
}

/** Grafana's variables as what they stand for. */
export const plainQuery = (query: string): string =>
  query.replaceAll(/\$__rate_interval|\$__interval|\$__range/g, '5m').replaceAll(/\$\{?\w+\}?/g, '.+');

/** @throws Error naming the query and the place that does not parse. */
export function parseQuery(query: string): Query {
  const selectors: { metric: string; labels: Map<string, string> }[] = [];
  const grouped: string[] = [];
  const windows: { fn: string; window: string }[] = [];
  const path: string[] = [];
  const functions: string[] = [];
  let label = '';
  parser.parse(query).iterate({
    enter(node) {
      const text = query.slice(node.from, node.to);
      if (node.type.isError) throw new Error(`${query}: does not parse at ${node.from}: "${query.slice(node.from, node.from + 20)}"`);
      if (node.name === 'FunctionCall') functions.push('');
      if (node.name === 'FunctionIdentifier') functions[functions.length - 1] = text;
      if (node.name === 'VectorSelector') selectors.push({ metric: '', labels: new Map() });
      if (node.name === 'Identifier') selectors.at(-1)!.metric = text;
      if (node.name === 'LabelName' && path.at(-1) === 'GroupingLabels') grouped.push(text);
      else if (node.name === 'LabelName') label = text;
      if (node.name === 'StringLiteral' && path.at(-1)?.endsWith('LabelMatcher') === true) selectors.at(-1)!.labels.set(label, text.slice(1, -1));
      if (node.name === 'DurationExpr' && /^(MatrixSelector|SubqueryExpr)$/.test(path.at(-1) ?? '')) windows.push({ fn: functions.at(-1) ?? '', window: text });
      path.push(node.name);
    },
    leave(node) {
      path.pop();
      if (node.name === 'FunctionCall') functions.pop();
    },
  });
  return { selectors, grouped, windows };
}

const UNIT_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Seconds of a Prometheus duration such as `1h30m`. */
export function seconds(duration: string): number {
  const parts = [...duration.matchAll(/(\d+)([smhd])/g)];
  if (parts.map(([whole]) => whole).join('') !== duration) throw new Error(`"${duration}" is not a duration`);
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNIT_S[unit!]!, 0);
}
