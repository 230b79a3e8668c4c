// SPDX-License-Identifier: Apache-2.0
// The view's state, screen and keys: what is shown follows from events alone, fits any terminal, and never lies about replay.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import stringWidth from 'string-width';
import { readLadder } from '../../scripts/gate/ladder.js';
import { decodeMetrics } from '../../runtime/export/otlp/model.js';
import { CAUSES } from '../../runtime/up/lifecycle.js';
import { unitsOf } from '../../scripts/view/fleet.js';
import { actionOf } from '../../scripts/view/keys.js';
import {
  awaited, CONSOLE_ROWS_MAX, initialState, LOG_ROWS_MAX, reduce, TABS, type LogRow, type SeriesRow, type ViewEvent, type ViewState,
} from '../../scripts/view/model.js';
import { COLUMNS_MIN, render, ROWS_MIN } from '../../scripts/view/render.js';
import type { Glance } from '../../scripts/view/up-model.js';
import { GPU0, gpuRequest } from '../export/requests.js';

const glance: Glance = {
  atMs: 0, guest: { kind: 'up', sinceMs: 0, why: '', untilMs: 0 }, boots: 1, restarts: Object.fromEntries(CAUSES.map((cause) => [cause, 0])) as Glance['restarts'],
  source: { label: 'replay', name: 'ready', detail: '' }, ready: { ready: true, why: 'ok' }, url: 'http://127.0.0.1:9400/', scrapes: 1, points: 8,
  newestMs: 0, units: [], receiver: null, collector: 'not configured',
};
const ladder = readLadder('proof', 'modern');
const plain = (state: ViewState, columns = 100, rows = 30): string => render(state, { columns, rows, colour: false }).join('\n');
const after = (...events: ViewEvent[]): ViewState => events.reduce(reduce, initialState());
const starting: ViewEvent = { kind: 'starting', ladder, label: 'modern', runDir: 'build/logs/x' };

function seen(count: number): ViewEvent[] {
  return ladder.markers.slice(0, count).map((marker, index) => ({
    kind: 'marker', seen: { marker, guestNs: index * 1_000_000, uartLine: index + 1 },
  }));
}

function log(id: number, message = `message ${id}`): LogRow {
  return { id: BigInt(id), guestNs: BigInt(id), level: 'info', sender: 'timed', scope: 'scope', message, fields: '' };
}

function gauge(gpu: number, value: bigint, source: string | null): SeriesRow {
  const labels = { 'hw.gpu.index': String(gpu), 'hw.sensor_location': 'gpu', ...(source === null ? {} : { source }) };
  return { name: 'hw.temperature', kind: 'gauge', producer: 'dcgmd', labels, value, count: 1n };
}

/** Passed, control port answering, with this much in it. */
function running(...events: ViewEvent[]): ViewState {
  return after(starting, ...seen(ladder.markers.length), { kind: 'passed', wallMs: 1234 }, { kind: 'control', trouble: null }, ...events);
}

test('while proving: the newest markers, their guest time, and the one that is awaited', () => {
  const state = after(starting, ...seen(5));
  assert.equal(awaited(state), ladder.markers[5]);
  const text = plain(state);
  assert.match(text, new RegExp(`PROVING 5/${ladder.markers.length}`));
  assert.ok(text.includes(`00000.004000000 ${ladder.markers[4]?.text}`));
  assert.ok(text.includes(`… awaiting ${ladder.markers[5]?.text}`));
  assert.doesNotMatch(text, /PASS|✗/);
});

test('a whole ladder is a PASS and awaits nothing', () => {
  const text = plain(running());
  assert.match(text, new RegExp(`PASS ${ladder.markers.length}/${ladder.markers.length} in 1.23 s`));
  assert.match(text, /every marker came, once and in order/);
  assert.doesNotMatch(text, /awaiting/);
});

test('red: says why, where the evidence lies, and marks the phase', () => {
  const failure = { kind: 'unexpected', expected: ladder.markers[3] ?? null, line: 'x: boo', uartLine: 4 } as const;
  const text = plain(after(starting, ...seen(3), { kind: 'red', failure, title: 'unexpected line "x: boo"' }));
  assert.match(text, new RegExp(`RED 3/${ladder.markers.length}`));
  assert.match(text, /unexpected line "x: boo"/);
  assert.match(text, /evidence: build\/logs\/x/);
  assert.match(text, /✗ bring-up/);
  assert.doesNotMatch(text, /PASS/);
});

test('an end after red does not hide the reason', () => {
  const failure = { kind: 'fail', expected: null, line: 'SELFTEST: FAIL x', uartLine: 1 } as const;
  const state = after(starting, { kind: 'red', failure, title: 'why' }, { kind: 'ended', how: 'QEMU ended with status 1' });
  assert.equal(state.phase.kind, 'red');
});

test('tabs that need the guest say what is missing until it answers', () => {
  const state = after(starting, { kind: 'tab', tab: 'logs' }, { kind: 'control', trouble: 'control port: no answer' });
  assert.match(plain(state), /control port: no answer/);
});

test('logs keep the newest and count what went', () => {
  const rows = Array.from({ length: LOG_ROWS_MAX + 7 }, (_, id) => log(id));
  const state = running({ kind: 'tab', tab: 'logs' }, { kind: 'logs', rows, dropped: 3n });
  assert.equal(state.logs.length, LOG_ROWS_MAX);
  const text = plain(state);
  assert.match(text, /7 older ones left this view; logd dropped 3 as the oldest/);
  assert.match(text, new RegExp(`message ${LOG_ROWS_MAX + 6}`));
});

test('a reader who scrolled up keeps his place while records arrive', () => {
  const rows = Array.from({ length: 100 }, (_, id) => log(id));
  const before = running({ kind: 'tab', tab: 'logs' }, { kind: 'logs', rows, dropped: 0n }, { kind: 'scroll', rows: 50 });
  const text = plain(before).match(/message \d+/g)?.at(-1);
  const now = reduce(before, { kind: 'logs', rows: [log(100), log(101)], dropped: 0n });
  assert.equal(plain(now).match(/message \d+/g)?.at(-1), text);
});

test('console lines are bounded', () => {
  let state = running();
  for (let i = 0; i < CONSOLE_ROWS_MAX + 5; i++) state = reduce(state, { kind: 'console', text: `line ${i}` });
  assert.equal(state.console.length, CONSOLE_ROWS_MAX);
  assert.equal(state.consoleDropped, 5);
});

test('the GPU view says replay in its heading and in every row', () => {
  const requests = Array.from({ length: 8 }, (_, gpu) => ({
    attributes: { ...GPU0, 'hw.gpu.index': String(gpu), 'hw.id': `GPU-${gpu}` },
    metrics: [{ name: 'hw.temperature', points: [{ value: 30 + gpu, attributes: { 'hw.sensor_location': 'gpu' } }] }],
  }));
  const shown = { ...glance, units: unitsOf(decodeMetrics(gpuRequest(requests))) };
  const text = plain(running({ kind: 'tab', tab: 'gpus' }, { kind: 'up', event: { kind: 'glance', glance: shown } }));
  assert.match(text, /source: REPLAY \(recorded values, not this machine's GPUs\)/);
  assert.equal(text.match(/^\d +replay .*3\d /gm)?.length, 8, text);
  assert.match(plain(running({ kind: 'tab', tab: 'gpus' })), /no GPU yet/);
});

test('control characters from the guest never reach the terminal', () => {
  const evil = '\u001b[2J\u0007\u009b31m';
  const state = running(
    { kind: 'logs', rows: [log(1, evil)], dropped: 0n }, { kind: 'console', text: evil },
    { kind: 'series', rows: [{ ...gauge(0, 1n, evil), name: 'hw.temperature' }] },
    { kind: 'system', rows: [{ label: evil, value: evil }], guestNs: 0 },
  );
  for (const tab of TABS) {
    const text = plain(reduce(state, { kind: 'tab', tab }));
    assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/, tab);
  }
});

test('every tab fits every terminal exactly', () => {
  const [expected, cameInstead] = [ladder.markers[2]!, ladder.markers[3]!];
  const failure = { kind: 'missing', expected, line: 'y'.repeat(500), uartLine: 2, cameInstead } as const;
  const states = [
    initialState(), after(starting, ...seen(7)), after(starting, ...seen(2), { kind: 'red', failure, title: 'z'.repeat(400) }),
    running(
      { kind: 'logs', rows: Array.from({ length: 90 }, (_, id) => log(id, '漢字'.repeat(80))), dropped: 0n },
      { kind: 'series', rows: Array.from({ length: 60 }, (_, gpu) => gauge(gpu, 1n, 'replay')) },
      { kind: 'system', rows: Array.from({ length: 50 }, (_, i) => ({ label: `l${i}`, value: 'v' })), guestNs: 1 },
      { kind: 'console', text: 'c'.repeat(300) },
    ),
  ];
  for (const state of states) {
    for (const tab of TABS) {
      for (const [columns, rows] of [[COLUMNS_MIN, ROWS_MIN], [80, 24], [81, 9], [200, 60], [20, 3]] as const) {
        const lines = render(reduce(state, { kind: 'tab', tab }), { columns, rows, colour: false });
        assert.ok(lines.length <= rows, `${tab} ${columns}x${rows}: ${lines.length} lines`);
        if (columns >= COLUMNS_MIN && rows >= ROWS_MIN) assert.equal(lines.length, rows);
        for (const line of lines) assert.ok(stringWidth(line) <= columns, `${tab} ${columns}x${rows}: ${line}`);
      }
    }
  }
});

test('colour is escape sequences only when asked for', () => {
  const state = running();
  assert.doesNotMatch(render(state, { columns: 80, rows: 24, colour: false }).join(''), /\u001b/);
  assert.match(render(state, { columns: 80, rows: 24, colour: true }).join(''), /\u001b\[/);
});

test('keys', () => {
  assert.equal(actionOf({ name: 'c', ctrl: true }, 'proof'), 'quit');
  assert.equal(actionOf({ name: 'q', sequence: 'q' }, 'proof'), 'quit');
  assert.deepEqual(actionOf({ sequence: '4' }, 'proof'), { kind: 'tab', tab: 'gpus' });
  assert.deepEqual(actionOf({ name: 'tab', sequence: '\t' }, 'system'), { kind: 'tab', tab: 'proof' });
  assert.deepEqual(actionOf({ name: 'tab', shift: true }, 'proof'), { kind: 'tab', tab: 'system' });
  assert.deepEqual(actionOf({ name: 'up' }, 'logs'), { kind: 'scroll', rows: 1 });
  assert.deepEqual(actionOf({ name: 'up' }, 'series'), { kind: 'scroll', rows: -1 });
  assert.equal(actionOf({ name: 'x', sequence: 'x' }, 'logs'), null);
});

test('scrolling stops at both ends', () => {
  const state = running({ kind: 'tab', tab: 'logs' }, { kind: 'logs', rows: [log(1), log(2)], dropped: 0n });
  assert.equal(reduce(state, { kind: 'scroll', rows: 1_000_000 }).scroll, 1);
  assert.equal(reduce(state, { kind: 'scroll', rows: -5 }).scroll, 0);
});
