// SPDX-License-Identifier: Apache-2.0
// The number tables of docs/format and the constants of assembly/lib/wire are the same, both ways: every documented op and
// status is a constant of that name and number, and every such constant is documented.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';

/** Where a page writes its statuses: a table with names, a table whose meaning begins with the name, or a `Status:` paragraph. */
type StatusForm = 'named' | 'meaning' | 'prose';
interface Protocol {
  page: string;
  module: string;
  ops: RegExp;
  /** First group: the name without its prefix. Everything else in u8 that begins with the prefix is a status. */
  statuses: RegExp;
  form: StatusForm;
  /** Ops that clients do not send: the page shows their frame instead of a row. */
  framed?: string[];
}
const usual = (service: string, prefix: string, form: StatusForm, framed?: string[]): Protocol => ({
  page: `wire-${service}`, module: service, form, framed,
  ops: new RegExp(`^${prefix}_OP_(\\w+)$`),
  statuses: new RegExp(`^${prefix}_(?!OP_|KIND_|UNIT_|SPAN_|QOS_|LEVEL_|SELECT_|POINT_)(\\w+)$`),
});
const PROTOCOLS: Protocol[] = [
  { ...usual('statefsd', 'SF', 'named'), statuses: /^SF_(?!OP_|BATCH_)(\w+)$/ },
  {
    page: 'wire-logd', module: 'logd', form: 'named',
    ops: /^LO_(APPEND|QUERY|STATS)$/, statuses: /^LO_(?!(?:APPEND|QUERY|STATS)$)(\w+)$/,
  },
  usual('metricsd', 'MT', 'named'), usual('portd', 'PD', 'named'), usual('keystored', 'KS', 'named'), usual('dsoftbusd', 'DB', 'named'),
  usual('execd', 'EX', 'meaning'), usual('samgrd', 'SM', 'meaning'),
  usual('bundlemgrd', 'BN', 'prose'), usual('dcgmd', 'DG', 'named'),
  { ...usual('exportd', 'XP', 'prose'), statuses: /^XP_(?!OP_)(\w+)$/ }, usual('policyd', 'PO', 'prose'), usual('rngd', 'RG', 'prose'),
  usual('timed', 'TM', 'prose', ['FIRED']),
];
/** init-lite's ops are nexus-ipc's, whose dispatcher answers them in every service. */
const INIT = { page: 'wire-init', files: ['lib/nexus-ipc/frame'] };

type Row = [number: number, name: string];
const sorted = (rows: Row[]): Row[] => [...rows].sort((a, b) => a[0] - b[0] || a[1].localeCompare(b[1]));
const plain = (name: string): string => name.trim().toLowerCase().replaceAll('_', ' ');

function constants(file: string, wanted: RegExp): Row[] {
  const source = readFileSync(join(ROOT, `assembly/${file}.ts`), 'utf8');
  return [...source.matchAll(/^(?:export )?const (\w+): u8 = (0x[0-9a-f]+|\d+);/gm)].flatMap(([, name, value]) => {
    const short = wanted.exec(name!)?.[1];
    return short === undefined ? [] : [[Number(value), plain(short)] as Row];
  });
}

/** The rows of the first table whose header begins with the words; the cells beyond number and name are dropped. */
function table(page: string, header: RegExp): Row[] {
  const lines = page.split('\n');
  const at = lines.findIndex((line) => header.test(line));
  const rows: Row[] = [];
  for (let i = at + 2; at >= 0 && lines[i]?.startsWith('|'); i++) {
    const [number, name] = lines[i]!.split('|').slice(1).map((cell) => cell.trim());
    assert.match(number ?? '', /^(?:\d+|0x[0-9a-f]+)$/, lines[i]!);
    rows.push([Number(number), plain(name!)]);
  }
  return rows;
}

/** `Status: 0 ok, 1 malformed (why), ...`: numbers and names outside the brackets, to the end of the sentence. One number may
 *  serve a second case (`4 malformed or unsupported`): the constant has the first name. */
function prose(page: string): Row[] {
  const paragraph = /^Status: ([\s\S]*?)(?:\.\s|\n\n)/m.exec(page.replaceAll(/\([^()]*\)/g, ''))?.[1] ?? '';
  return paragraph.split(',').map((part) => /^\s*(\d+)\s+([a-z_ ]+?)(?: or [a-z_ ]+)?\s*$/.exec(part))
    .filter((found) => found !== null).map(([, number, name]) => [Number(number), plain(name!)]);
}

for (const { page, module, ops, statuses, form, framed = [] } of PROTOCOLS) {
  const text = readFileSync(join(ROOT, `docs/format/${page}.md`), 'utf8');
  test(`${page}: the ops are those of the code`, () => {
    const known = constants(`lib/wire/${module}`, ops);
    assert.ok(known.length > 0, 'no constants');
    const documented = table(text, /^\| op \| name \|/).map(([number, name]): Row => [number, name.replace(/ \(v\d\)$/, '')]);
    assert.deepEqual(sorted(documented), sorted(known.filter(([, name]) => !framed.includes(name.toUpperCase()))));
    for (const name of framed) {
      const number = known.find(([, each]) => each === plain(name))?.[0];
      assert.ok(text.includes(`1 0x${number?.toString(16)}\``), `no frame of ${name}`);
    }
  });
  test(`${page}: the statuses are those of the code`, () => {
    const known = sorted(constants(`lib/wire/${module}`, statuses));
    assert.ok(known.length > 1, 'no constants');
    const documented = sorted(form === 'prose' ? prose(text) : table(text, /^\| (?:nr|number|status) \| (?:name|meaning) \|/));
    if (form !== 'meaning') return assert.deepEqual(documented, known);
    assert.deepEqual(documented.map(([number]) => number), known.map(([number]) => number));
    known.forEach(([number, name], at) => {
      assert.match(documented[at]![1], new RegExp(`^${name}\\b`), `${number} is ${name}`);
    });
  });
}

const textOf = (name: string): string => readFileSync(join(ROOT, `docs/format/${name}.md`), 'utf8');

test('wire-init: the ops are those of the code', () => {
  const known = INIT.files.flatMap((file) => constants(file, /^IN_(\w+)$/));
  assert.deepEqual(sorted(table(textOf(INIT.page), /^\| op \| name \|/)), sorted(known));
});

test('bridge, control and export: the types together, and the statuses, are those of the code', () => {
  const types = ['bridge', 'control', 'export'].flatMap((name) => table(textOf(name), /^\| type \| name \|/));
  assert.deepEqual(sorted(types), sorted(constants('lib/wire/bridge', /^BRIDGE_TYPE_(\w+)$/)));
  const lines = textOf('bridge').split('\n');
  const at = lines.findIndex((line) => line.startsWith('| status | name |'));
  const statuses = lines.slice(at + 2, lines.indexOf('', at))
    .flatMap((line) => [...line.matchAll(/(\d+) \| (\w+)/g)].map(([, number, name]): Row => [Number(number), plain(name!)]));
  const known = sorted(constants('lib/wire/bridge', /^BRIDGE_STATUS_(\w+)$/));
  assert.deepEqual(sorted(statuses), known);
  const control = [...textOf('control').matchAll(/^\| (\d+) (\w+) \|/gm)].map(([, number, name]): Row => [Number(number), plain(name!)]);
  assert.ok(control.length > 0, 'no statuses in control');
  for (const row of control) assert.ok(known.some((each) => each[0] === row[0] && each[1] === row[1]), `${row}`);
});

test('each page of a wire protocol is held to its constants here', () => {
  const pages = readdirSync(join(ROOT, 'docs/format')).filter((name) => name.startsWith('wire-')).map((name) => name.slice(0, -3));
  assert.deepEqual(pages.sort(), [...PROTOCOLS.map(({ page }) => page), INIT.page].sort());
});
