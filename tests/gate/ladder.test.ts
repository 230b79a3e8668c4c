// SPDX-License-Identifier: Apache-2.0
// The files of markers/: the lines that issue 2 names are there word for word, the order is total, every line has a canary, and the
// reader refuses what the invariant forbids.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { canaryCases, disagreement, uncovered } from '../../scripts/gate/canaries.js';
import { PHASES, profileNames, readLadder } from '../../scripts/gate/ladder.js';
import type { Failure } from '../../scripts/gate/matcher.js';
import { loadMarkers } from '../../scripts/lib/markers.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { consoleOf, judge } from './transcript.js';

const modern = readLadder('proof', 'modern');
const texts = modern.markers.map((marker) => marker.text);

/** Section 4 of the issue, word for word. */
const NAMED = [
  'init: start', 'init: ready', 'logd: reject invalid_args', 'logd: reject over_limit', 'logd: reject rate_limited',
  'SELFTEST: logd hardening rejects ok', 'metricsd: reject invalid_args', 'metricsd: reject over_limit', 'metricsd: reject rate_limited',
  'SELFTEST: metrics security rejects ok', 'SELFTEST: metrics counters ok', 'SELFTEST: metrics gauges ok',
  'SELFTEST: metrics histograms ok', 'SELFTEST: tracing spans ok', 'SELFTEST: log query ok', 'SELFTEST: nexus-log sink-logd ok',
  'SELFTEST: core services log ok', 'SELFTEST: end',
];
const SERVICES = ['policyd', 'logd', 'samgrd', 'metricsd', 'timed', 'rngd', 'bundlemgrd', 'execd', 'portd', 'dcgmd'];
const TRAPS = ['oob_read', 'oob_write', 'div_by_zero', 'int_overflow', 'unreachable', 'bad_indirect_call', 'stack_overflow'];

test('every line that the issue names is in the ladder of both transports', () => {
  for (const transport of ['modern', 'legacy'] as const) {
    const ladder = readLadder('proof', transport).markers.map((marker) => marker.text);
    for (const text of NAMED) assert.ok(ladder.includes(text), text);
    for (const name of SERVICES) {
      assert.ok(ladder.includes(`${name}: ready`), name);
      assert.ok(ladder.indexOf(`init: up ${name}`) < ladder.indexOf(`${name}: ready`), name);
    }
    for (const trap of TRAPS) assert.ok(ladder.some((text) => text.startsWith('kernel: trap ') && text.endsWith(` ${trap}`)), trap);
    assert.match(ladder[0]!, new RegExp(`^kernel: boot transport=${transport} `));
    assert.equal(ladder.at(-1), 'SELFTEST: end');
  }
});

test('every phase of the issue occurs, in its order', () => {
  assert.deepEqual(modern.phases, [...PHASES]);
});

test('the transports differ in nothing but the line that names the transport', () => {
  const legacy = readLadder('proof', 'legacy').markers.map((marker) => marker.text.replace('transport=legacy', 'transport=modern'));
  assert.deepEqual(legacy, texts);
});

test('the ladder and the canary list hold together: every line of every ladder has a canary, each with a mutant of its own', () => {
  assert.deepEqual(uncovered(), []);
  const { mutants } = loadMarkers();
  for (const { canary } of canaryCases()) assert.ok(mutants.has(canary.mutant), canary.mutant);
});

test('every mutant is a broken contract somewhere in the guest: no canary is a name alone', () => {
  const sources = readdirSync(join(ROOT, 'assembly'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.startsWith('gen/'))
    .map((name) => readFileSync(join(ROOT, 'assembly', name), 'utf8'))
    .join('\n');
  const used = new Set(sources.match(/\bMUT_[A-Z0-9_]+\b/g));
  const unused = [...loadMarkers().mutants.keys()].filter((name) => !used.has(`MUT_${name.toUpperCase()}`));
  assert.deepEqual(unused, []);
});

test('no metrics success line is in the invalid-only ladder', () => {
  assert.ok(profileNames().includes('invalid-only'));
  const invalid = readLadder('invalid-only', 'modern').markers.map((marker) => marker.text);
  for (const text of invalid) assert.doesNotMatch(text, /^SELFTEST: (metrics|tracing) .* ok$/);
  const success = 'SELFTEST: metrics counters ok';
  const { matcher } = judge(readLadder('invalid-only', 'modern'), consoleOf([...invalid.slice(0, -1), success, invalid.at(-1)!]));
  assert.equal(matcher.failure?.kind, 'unexpected');
});

test('a line belongs to the service that it says it is of', () => {
  for (const { text, by } of modern.markers) {
    const owner = text.slice(0, text.indexOf(':'));
    const name = by === 'init-lite' ? 'init' : by === 'selftest' ? 'SELFTEST' : by;
    if (owner !== 'child') assert.equal(owner, name, text);
  }
});

test('a canary agrees only with a red run at its own line, of its own class, with its own words', () => {
  const [one, other] = canaryCases().filter(({ canary }) => canary.expect === 'fail' && canary.says === undefined);
  const failure = { kind: 'fail', expected: one!.marker, line: 'SELFTEST: FAIL bucket 7', uartLine: 9 } as Failure;
  assert.equal(disagreement(one!, failure), null);
  assert.equal(disagreement(one!, null), 'stayed green');
  assert.match(disagreement(other!, failure)!, /went red at/);
  assert.match(disagreement(one!, { ...failure, kind: 'unexpected' } as Failure)!, /expected fail, got unexpected/);
  assert.match(disagreement({ ...one!, canary: { ...one!.canary, says: 'bucket 8' } }, failure)!, /does not say/);
  assert.equal(disagreement({ ...one!, canary: { ...one!.canary, says: 'bucket 7' } }, failure), null);
});

/** A root whose markers/ has exactly these files. */
function rootOf(context: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'vg-'));
  context.after(() => rmSync(root, { recursive: true, force: true }));
  cpSync(join(ROOT, 'abi'), join(root, 'abi'), { recursive: true });
  mkdirSync(join(root, 'markers/profiles'), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'markers', `${name}.toml`), text);
  return root;
}

const line = (text: string, rest = ''): string => `[[marker]]\ntext = "${text}"\nby = "selftest"\n${rest}\n`;

test('files that break the invariant are refused with file and line', (context) => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: a')}${line('SELFTEST: a')}` }, /"SELFTEST: a" appears twice/],
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: a', 'again = true')}` }, /"again" but is the first/],
    [
      { '10-a': `phase = "ipc"\n${line('SELFTEST: a')}`, '20-b': `phase = "mmio"\n${line('SELFTEST: b')}` },
      /phase mmio comes after phase ipc/,
    ],
    [{ '10-a': `phase = "warmup"\n${line('SELFTEST: a')}` }, /10-a\.toml: phase/],
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: FAIL a')}` }, /holds FAIL or PANIC/],
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: a ')}` }, /begins or ends with a blank/],
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: \u00fc')}` }, /printable ASCII/],
    [{ '10-a': `phase = "ipc"\n${line(`SELFTEST: ${'x'.repeat(200)}`)}` }, /longer than 200 bytes/],
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: a', 'often = 2')}` }, /often/],
    [{ '10-a': `phase = "ipc"\n${line('SELFTEST: a', 'canary = { mutant = "x", expect = "boom" }')}` }, /expect/],
    [{ '10-a': 'phase = "ipc"\n' }, /no markers/],
    [{ '10-a': 'phase = "ipc\n' }, /10-a\.toml:1/],
  ];
  for (const [files, message] of cases) {
    assert.throws(() => readLadder('proof', 'modern', rootOf(context, files)), { exitCode: 1, message });
  }
});

test('a line that comes again is matched at each of its places, and not once more', (context) => {
  const again = line('kernel: trap x abort', 'again = true');
  const files = { '10-a': `phase = "traps"\n${line('kernel: trap x abort')}${line('SELFTEST: a')}${again}${line('SELFTEST: b')}` };
  const ladder = readLadder('proof', 'modern', rootOf(context, files));
  const lines = ladder.markers.map((marker) => marker.text);
  assert.equal(judge(ladder, consoleOf(lines)).matcher.failure, null);
  const kind = (edited: string[]): string | undefined => judge(ladder, consoleOf(edited)).matcher.failure?.kind;
  assert.equal(kind([...lines, lines[0]!]), 'trap');
  assert.equal(kind([...lines, lines[1]!]), 'duplicate');
  assert.equal(kind([lines[0]!, ...lines]), 'out_of_order');
  assert.equal(kind(lines.toSpliced(2, 1)), 'missing');
  assert.equal(kind(lines.toSpliced(1, 1)), 'missing');
});

test('two lines may not share a mutant, and a profile may include whole phase files only once deep', (context) => {
  const canary = 'canary = { mutant = "x", expect = "fail" }';
  const root = rootOf(context, { '10-a': `phase = "ipc"\n${line('SELFTEST: a', canary)}${line('SELFTEST: b', canary)}` });
  assert.throws(() => canaryCases(root), /share mutant x/);
  const deep = rootOf(context, {
    '10-a': `phase = "ipc"\nfrom = ["20-b"]\n${line('SELFTEST: a')}`,
    '20-b': `phase = "ipc"\n${line('SELFTEST: b')}`,
    'profiles/p': `phase = "end"\nfrom = ["10-a"]\n`,
  });
  assert.throws(() => readLadder('p', 'modern', deep), /itself included/);

});
