// SPDX-License-Identifier: Apache-2.0
// Smoke: the subcommands that ask configuration and source, in processes of their own: both examples, every source, a fake libdcgm through
// koffi and a real child process, bad input of each kind, pipes that break, and what a terminal would see.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { STATUSES, cellOf } from '../../runtime/bridge/inspect.js';
import { valueType } from '../../runtime/bridge/protocol.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { FakeEngine, fakeLibrary, skip, stopAll } from '../bridge/fake-dcgm.js';
import { VIGIL, environment, folderOf, vigil, type Ran } from './run.js';

after(stopAll);

const parsed = <T>({ code, out, err }: Ran, wanted = 0): T => {
  assert.equal(code, wanted, err);
  return JSON.parse(out) as T;
};
const REPLAY = '[source]\nkind = "replay"\nfleet = "a100-mig"\n';

test('validate: both examples, and what they resolve to', async () => {
  for (const name of ['vigil.example.toml', 'vigil.full.example.toml']) {
    const { code, out, err } = await vigil(['validate', '--config', name]);
    assert.deepEqual([code, out, err], [0, `${name}: valid\n`, '']);
    const { valid, settings } = parsed<{ valid: boolean; settings: { path: string; value: unknown; set: boolean }[] }>(await vigil(['validate', '--config', name, '--show-defaults', '--json']));
    assert.equal(valid, true);
    assert.deepEqual(settings.filter(({ set }) => set), []);
    assert.equal(settings.find(({ path }) => path === 'receivers.dcgm.endpoint')?.value, 'localhost:5555');
  }
});

test('validate: what --show-defaults prints is a valid file; emissions name each metric and fleet', async (context) => {
  const folder = folderOf(context);
  const { out } = await vigil(['validate', '--show-defaults']);
  writeFileSync(join(folder, 'shown.toml'), out);
  assert.equal((await vigil(['validate', '--config', join(folder, 'shown.toml')])).code, 0);
  const { emissions } = parsed<{ emissions: { cap: number; rows: { metric: string }[]; fleets: { fleet: string; healthy: number }[] } }>(await vigil(['validate', '--show-emissions', '--json']));
  assert.equal(emissions.cap, 1024);
  assert.ok(emissions.rows.some(({ metric }) => metric === 'hw.gpu.nvlink.io'));
  assert.equal(emissions.fleets.find(({ fleet }) => fleet === 'h100x8')?.healthy, 536);
  const text = (await vigil(['validate', '--show-emissions'])).out;
  assert.match(text, /^hw\.power +1 +0 +3 +0 {2}power, nvswitch$/m);
  assert.match(text, /^h100x8 +8 +0 +4 +144 +536 +\d+ {2}nothing$/m);
});

test('validate: ten faults at once, in text and in JSON', async (context) => {
  const folder = folderOf(context);
  const path = join(folder, 'bad.toml');
  writeFileSync(path, '[source]\nkind = "x"\nflet = "y"\n[receivers.dcgm]\nmode = "x"\nendpoint = "u:hunter2@h:1"\ncollection_interval = 3\ninitial_delay = "x"\nmax_series_per_scrape = 0\n'
    + '[receivers.dcgm.metric_field_groups]\npower = "auto"\n[exporters.prometheus]\nlisten = "x"\n[exporters.otlp.headers]\ntoken = 5\n');
  const { code, out, err } = await vigil(['validate', '--config', path]);
  assert.deepEqual([code, out], [1, '']);
  assert.ok(err.startsWith(`vigil: ${path}: 10 faults\n  source.kind: "x" is not `), err);
  assert.doesNotMatch(err, /hunter2/);
  const { errors } = parsed<{ errors: { path: string; message: string }[] }>(await vigil(['validate', '--config', path, '--json']), 1);
  assert.equal(errors.length, 10);
  for (const { path: at, message } of errors) assert.ok(err.includes(`  ${at}: ${message}\n`), at);
});

test('files that are none: each command says which, with its exit code, in one line', async (context) => {
  const folder = folderOf(context);
  const file = (name: string, bytes: string | Buffer): string => { const path = join(folder, name); writeFileSync(path, bytes); return path; };
  const cases: readonly (readonly [string, number, RegExp])[] = [
    [join(folder, 'none.toml'), 3, /none\.toml: no such file$/], [folder, 3, /: a folder, not a file$/],
    [file('binary.toml', Buffer.from([0xff, 0xfe, 0])), 3, /: not a text: it is not UTF-8$/], [file('zero.toml', 'a\0'), 3, /: not a text: it holds a zero byte$/],
    [file('syntax.toml', '[source\n'), 1, /syntax\.toml, line 1, column \d+: no TOML: /],
  ];
  for (const command of [['validate'], ['inspect'], ['receivers', 'list'], ['dump'], ['logs']]) {
    for (const [path, wanted, said] of command[0] === 'validate' ? cases : cases.slice(0, 1)) {
      const { code, out, err } = await vigil([...command, '--config', path]);
      assert.deepEqual([code, out], [wanted, ''], `${command.join(' ')} ${path}`);
      assert.match(err, /^vigil: .*\n$/);
      assert.match(err.trimEnd(), said);
    }
  }
  assert.equal((await vigil(['validate', '--config', file('empty.toml', '')])).code, 0);
});

test('validate: a fields_file: its unknown names are said, an empty choice is a fault', async (context) => {
  const folder = folderOf(context);
  writeFileSync(join(folder, 'counters.csv'), 'DCGM_FI_DEV_GPU_TEMP, gauge, help\nDCGM_FI_DEV_GPU_TEMPP, gauge, help\n');
  writeFileSync(join(folder, 'none.csv'), '# nothing\n');
  const config = (csv: string): string => { const path = join(folder, `${csv}.toml`); writeFileSync(path, `[receivers.dcgm]\nfields_file = ${JSON.stringify(join(folder, csv))}\n`); return path; };
  const { code, err } = await vigil(['validate', '--config', config('counters.csv')]);
  assert.equal(code, 0);
  assert.match(err, /line 2: unknown field DCGM_FI_DEV_GPU_TEMPP; did you mean DCGM_FI_DEV_GPU_TEMP\?/);
  for (const [csv, said] of [['none.csv', /names no field/], ['missing.csv', /missing\.csv: ENOENT/]] as const) {
    const ran = await vigil(['validate', '--config', config(csv)]);
    assert.equal(ran.code, 1);
    assert.match(ran.err, /receivers\.dcgm\.fields_file: /);
    assert.match(ran.err, said);
  }
});

test('receivers list: each source with its label, and the legend', async () => {
  const { code, out } = await vigil(['receivers', 'list']);
  assert.equal(code, 0);
  assert.match(out, /^# /);
  for (const label of ['dcgm', 'nvml', 'replay', 'stub']) assert.match(out, new RegExp(`^dcgm \\[${label}\\] `, 'm'));
  assert.match(out, /^dcgm \[replay\] +usable: 8 GPUs/m);
  assert.match(out, /^dcgm \[stub\] +not usable: /m);
  const { receivers } = parsed<{ receivers: { receiver: string; source: string; usable: boolean }[] }>(await vigil(['receivers', 'list', '--json']));
  assert.deepEqual(receivers.map(({ source }) => source).sort(), ['dcgm', 'nvml', 'replay', 'stub']);
});

test('inspect against a replay: entities, one status a field, labelled', async (context) => {
  const path = join(folderOf(context), 'replay.toml');
  writeFileSync(path, REPLAY);
  const plain = await vigil(['inspect', '--config', path]);
  assert.equal(plain.code, 0, plain.err);
  assert.match(plain.out, /^# source \[replay\]: 216 entities; /);
  assert.match(plain.out, /^GPU instance 0 +\S+\/gi7 .* GPU 0$/m);
  assert.match(plain.out, /^GPU 7 link 11 /m);
  const probed = await vigil(['inspect', '--probe-fields', '--config', path]);
  const rows = probed.out.trimEnd().split('\n').slice(2, -1);
  for (const row of rows) assert.equal(STATUSES.filter((status) => row.includes(` ${status}`)).length >= 1, true, row);
  assert.match(probed.out, /^GPU 0 +150 {2}gpu_temp +ok +\d+ Cel$/m);
  assert.match(probed.out, /^GPU 0 +203 {2}gpu_util +no data *$/m);
  const { source, cells } = parsed<{ source: string; cells: { status: string; field: number; value: number | null; ageMs: number }[] }>(
    await vigil(['inspect', '--probe-fields', '--all-fields', '--status', 'ok', '--config', path, '--json']));
  assert.equal(source, 'replay');
  assert.ok(cells.length > 500 && cells.every(({ status, value }) => status === 'ok' && value !== null));
  assert.doesNotMatch(probed.out + plain.out, /\u001b/, 'no terminal, no colours');
});

test('inspect against a real library (the fake one): ok, not supported, no permission, blank, stale', { skip }, async (context) => {
  // statuses by field: 156 no permission, 203 not supported, 206 an error, 100 a blank of DCGM's
  const engine = new FakeEngine('gpus 2', 'status 156 -17', 'status 203 -6', 'status 206 -3', 'blank 100 i32+0');
  const path = join(folderOf(context), 'dcgm.toml');
  writeFileSync(path, `[source]\nkind = "dcgm"\nlibrary = ${JSON.stringify(fakeLibrary)}\n[receivers.dcgm]\nendpoint = ${JSON.stringify(engine.endpoint)}\n`);
  interface Probed { source: string; state: { name: string }; cells: { entity: string; field: number; status: string; detail: string; value: number | null }[] }
  const { source, state, cells } = parsed<Probed>(await vigil(['inspect', '--probe-fields', '--config', path, '--json']), 1);
  assert.deepEqual([source, state.name], ['dcgm', 'ready']);
  const of = (field: number): string => { const { status, value } = cells.find((cell) => cell.entity === 'GPU 1' && cell.field === field)!; return `${status} ${value}`; };
  assert.deepEqual([150, 156, 203, 206, 100].map(of), ['ok 150010001', 'no permission null', 'not supported null', 'error null', 'no data null']);
  assert.equal(cells.find(({ field }) => field === 206)!.detail, 'generic error (-3)');
  engine.set('gpus 2', 'ts_us 1600000000000000');
  const old = parsed<Probed>(await vigil(['inspect', '--probe-fields', '--config', path, '--json']));
  assert.ok(old.cells.every(({ status }) => status === 'stale'));
  engine.set('gpus 0');
  const none = await vigil(['inspect', '--config', path]);
  assert.deepEqual([none.code, none.err], [1, 'vigil: the source has no entity\n']);
  engine.set('gpus 2');
  const listed = await vigil(['receivers', 'list', '--config', path]);
  assert.match(listed.out, /^dcgm \[dcgm\] +usable: 2 GPUs/m);
});

test('inspect where there is no engine: exit code 3, and the state by its name', { skip }, async (context) => {
  const path = join(folderOf(context), 'dcgm.toml');
  writeFileSync(path, '[source]\nkind = "dcgm"\nlibrary = "/nowhere/libdcgm.so.4"\n');
  const { code, out, err } = await vigil(['inspect', '--config', path]);
  assert.deepEqual([code, out], [3, '']);
  assert.match(err, /source dcgm cannot be had: library_absent: .*receivers list/);
});

test('a cell in words: every status once', () => {
  const sample = (status: number, value: bigint | number, type: 'int64' | 'double' = 'int64', tsUs = 1_000_000n): Parameters<typeof cellOf>[0] =>
    ({ group: 1, entityId: 0, fieldId: 150, type: valueType(type), status, tsUs, value });
  const said = (...args: Parameters<typeof sample>): string => cellOf(sample(...args), 40_000, 2_000).status;
  assert.deepEqual([said(0, 42n), said(-14, 0n), said(-6, 0n), said(-17, 0n), said(0, 0x7ffffffffffffff0n), said(-15, 0n), said(-3, 0n)], [...STATUSES]);
  assert.equal(said(0, 0x7ffffff0n), 'blank');
  assert.equal(said(0, 2 ** 47, 'double'), 'blank');
  assert.equal(said(0, Number.NaN, 'double'), 'blank');
  assert.equal(cellOf(sample(0, 42n), 1_000, 2_000).status, 'ok', 'as old as it may be');
  assert.equal(cellOf(sample(0, 42n), 999, 2_000).status, 'stale', 'and older');
  assert.equal(cellOf(sample(-34, 0n), 1, 1).detail, 'in use by another tool (-34)');
});

test('dump: one JSON without a secret; what cannot be had says why', async (context) => {
  const folder = folderOf(context);
  writeFileSync(join(folder, 'salt'), 'pepper');
  const path = join(folder, 'dump.toml');
  const text = (name: string): string => JSON.stringify(join(folder, name));
  writeFileSync(path, `${REPLAY}[exporters.otlp.headers]\nauthorization = "Bearer s3cret"\n`
    + `[receivers.dcgm.identity]\nhash = true\nsalt_file = ${text('salt')}\n[guest]\nstate = ${text('state.img')}\n`);
  const ran = await vigil(['dump', '--config', path]);
  assert.doesNotMatch(ran.out, /s3cret|pepper|GPU-5c819ed0/);
  const { schema, source, guest, config } = parsed<Record<string, Record<string, unknown>>>(ran);
  assert.equal(schema, 'vigil-dump-1');
  assert.equal(source!.label, 'replay');
  assert.match(String((source!.entities as { uuid: string }[])[0]!.uuid), /^hashed-/);
  assert.match(String(guest!.unavailable), /no machine runs here/);
  assert.ok((config!.receiver as string[]).includes('collection_interval_ms=15000'));
  const to = join(folder, 'dump.json');
  assert.deepEqual(await vigil(['dump', '--config', path, '--output', to]), { code: 0, out: '', err: '' });
  assert.equal((JSON.parse(readFileSync(to, 'utf8')) as { schema: string }).schema, 'vigil-dump-1');
  assert.equal((await vigil(['dump', '--config', path, '--output', join(folder, 'no', 'such')])).code, 3);
});

test('record: what it writes is what a replay plays; usage and refusals', async (context) => {
  const folder = folderOf(context);
  const capture = join(folder, 'node.json');
  const recorded = await vigil(['record', '--fleet', 'consumer', '--output', capture, '--hash-identities', '--interval', '0.1'], { VIGIL_RECORD_SALT: 'pepper' });
  assert.deepEqual([recorded.code, recorded.out], [0, `${capture}: 1 entities, 1 frames of source [replay], identities hashed\n`]);
  const path = join(folder, 'replay.toml');
  writeFileSync(path, `[source]\ncapture = ${JSON.stringify(capture)}\n`);
  assert.match((await vigil(['inspect', '--config', path])).out, /^GPU 0 +hashed-/m);
  for (const [args, wanted] of [
    [['--frames', 'x'], 2], [['--frames', '0'], 2], [['--interval', '0'], 2], [['--hash-identities'], 2], [['--endpoint', 'nowhere'], 2], [['--fleet', 'none'], 2],
    [['--fixture', join(folder, 'none.json')], 3], [['--source', 'stub'], 1],
  ] as const) {
    assert.equal((await vigil(['record', '--output', join(folder, 'x.json'), ...args])).code, wanted, args.join(' '));
  }
  assert.equal((await vigil(['record'])).code, 2, 'no output');
});

test('doctor: ports in use, a wrong configuration, a socket that is none', async (context) => {
  const folder = folderOf(context);
  const taken = createServer();
  await new Promise<void>((resolve) => { taken.listen(0, '127.0.0.1', resolve); });
  const { port } = taken.address() as { port: number };
  mkdirSync(join(folder, 'kubelet'));
  const path = join(folder, 'doctor.toml');
  const state = `[guest]\nstate = ${JSON.stringify(join(folder, 'state.img'))}\n`;
  writeFileSync(path, `[exporters.prometheus]\nlisten = "127.0.0.1:${port}"\n[attribution.kubernetes]\nenabled = true\nsocket = ${JSON.stringify(join(folder, 'kubelet.sock'))}\n${state}`);
  interface Checked { ok: boolean; checks: { name: string; ok: boolean; needed: boolean; found: string; mend: string | null }[] }
  const { ok, checks } = parsed<Checked>(await vigil(['doctor', '--config', path, '--json']), 3);
  taken.close();
  const of = (name: string): Checked['checks'][number] => checks.find((one) => one.name === name)!;
  assert.equal(ok, false);
  assert.deepEqual([of('metrics port').ok, of('metrics port').needed], [false, true]);
  assert.match(of('metrics port').found, /another process has it/);
  assert.deepEqual([of('kubelet socket').ok, of('kubelet socket').needed], [false, true]);
  assert.equal(of('configuration').ok, true);
  assert.equal(of('Node').ok, true, 'the tools of a build are among the checks');
  for (const one of checks) assert.ok(one.ok || one.mend !== null || !one.needed, one.name);
  const engineNeeded = (all: Checked['checks']): boolean[] => ['nv-hostengine', 'libdcgm'].map((name) => all.find((one) => one.name === name)!.needed);
  assert.deepEqual(engineNeeded(checks), [false, false], 'auto, and nothing is said of an engine');
  writeFileSync(path, `[receivers.dcgm]\nendpoint = "localhost:5556"\n${state}`);
  const meant = JSON.parse((await vigil(['doctor', '--config', path, '--json'])).out) as Checked;
  assert.deepEqual(engineNeeded(meant.checks), [true, true], 'auto with an endpoint never replays');
  writeFileSync(path, `[source]\nkind = "x"\n${state}`);
  const bad = parsed<Checked>(await vigil(['doctor', '--config', path, '--json'], { VIGIL_STATE: join(folder, 'state.img') }), 1);
  assert.match(bad.checks.find(({ name }) => name === 'configuration')!.found, /source\.kind: "x" is not/);
});

test('in a terminal: colours, unless NO_COLOR or a dumb TERM says no', async (context) => {
  const { spawn } = await import('node-pty');
  const path = join(folderOf(context), 'one.toml');
  writeFileSync(path, '[source]\nkind = "replay"\nfleet = "consumer"\n');
  const seen = (env: Readonly<Record<string, string>>): Promise<string> => new Promise((resolve) => {
    const child = spawn(process.execPath, [...VIGIL, 'inspect', '--probe-fields', '--config', path], { cwd: ROOT, env: environment(env) as Record<string, string>, cols: 200 });
    let text = '';
    child.onData((part) => { text += part; });
    child.onExit(() => { resolve(text); });
  });
  assert.match(await seen({ TERM: 'xterm-256color' }), /\u001b\[2mGPU 0 +230 .*no data/);
  for (const env of [{ TERM: 'xterm-256color', NO_COLOR: '1' }, { TERM: 'dumb' }] as Record<string, string>[]) {
    const text = await seen(env);
    assert.match(text, /GPU 0 +150 +gpu_temp +ok/);
    assert.doesNotMatch(text, /\u001b\[\d/);
  }
});

test('a reader that leaves early ends it without a word', () => {
  const script = `"${process.execPath}" ${VIGIL.join(' ')} inspect --probe-fields --all-fields --json | head -1; exit \${PIPESTATUS[0]}`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { cwd: ROOT, env: environment(), encoding: 'utf8', timeout: 60_000 });
  assert.deepEqual([status, stdout, stderr], [0, '{\n', '']);
});

test('usage: unknown words, options and values, each with exit code 2 in one line', async () => {
  for (const args of [[], ['inspekt'], ['receivers'], ['validate', '--nope'], ['validate', 'x'], ['inspect', '--status', 'fine'], ['inspect', '--all-fields'], ['logs', '--level', 'x']]) {
    const { code, err } = await vigil(args);
    assert.equal(code, 2, args.join(' '));
    assert.match(err, /^vigil: [^\n]+\n$/, args.join(' '));
  }
  const help = await vigil(['--help']);
  assert.equal(help.code, 0);
  for (const name of ['crash', 'doctor', 'dump', 'inspect', 'logs', 'metrics', 'receivers', 'record', 'state', 'traces', 'up', 'validate']) assert.match(help.out, new RegExp(`^  ${name} `, 'm'));
});
