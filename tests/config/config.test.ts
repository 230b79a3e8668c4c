// SPDX-License-Identifier: Apache-2.0
// The configuration's error contract: each fault with its path and in full, every fault at once, the defaults as seed 000 prints them.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DurationError, formatDuration, parseDuration } from '../../runtime/config/durations.js';
import { checkFiles } from '../../runtime/config/files.js';
import { KNOBS, SERIES_MAX, SETTABLE, TABLES, type KnobPath } from '../../runtime/config/knobs.js';
import { ERRORS_MAX, FILE_BYTES_MAX, loadConfig, parseConfig, renderError } from '../../runtime/config/load.js';
import { nearest } from '../../runtime/config/nearest.js';
import { POINT_FIELDS, RECEIVER_BYTES_MAX, receiverFault, receiverLines } from '../../runtime/config/receiver.js';
import { fullExample, renderToml, rowsOf } from '../../runtime/config/show.js';
import { sourceOptions } from '../../runtime/config/source.js';
import type { Config } from '../../runtime/config/schema.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { randomBelow } from '../random.js';

const D = 'receivers.dcgm';
const dcgm = (text: string): string => `[receivers.dcgm]\n${text}\n`;
const groups = (text: string): string => `[receivers.dcgm.metric_field_groups]\n${text}\n`;

function faultsOf(text: string): string[] {
  const loaded = parseConfig(text);
  return 'errors' in loaded ? loaded.errors.map(renderError) : [];
}
function configOf(text: string): Config {
  const loaded = parseConfig(text);
  if ('errors' in loaded) throw new Error(loaded.errors.map(renderError).join('\n'));
  return loaded.config;
}

/** Name, text, and the message in full (null: valid). */
const CASES: readonly (readonly [string, string, string | null])[] = [
  ['standalone with its default endpoint', dcgm('mode = "standalone"'), null],
  ['an unknown mode', dcgm('mode = "sidecar"'), `${D}.mode: "sidecar" is not standalone or embedded`],
  ['a mode that is no text', dcgm('mode = 1'), `${D}.mode: 1 is not standalone or embedded`],
  ['embedded ignores a bad endpoint', dcgm('mode = "embedded"\nendpoint = "nonsense"'), null],
  ['embedded does not ignore an endpoint that is no text', dcgm('mode = "embedded"\nendpoint = 5555'), `${D}.endpoint: 5555 is not a text in quotes`],
  ['IPv6 in brackets', dcgm('endpoint = "[::1]:5555"'), null],
  ['no port', dcgm('endpoint = "localhost"'), `${D}.endpoint: "localhost": write host:port, [ipv6]:port or unix:///path`],
  ['a port out of range', dcgm('endpoint = "localhost:70000"'), `${D}.endpoint: "localhost:70000": port 70000 is not in 1..65535`],
  ['a unix socket', dcgm('endpoint = "unix:///tmp/nv-hostengine"'), null],
  ['a relative unix socket', dcgm('endpoint = "unix://tmp/x"'), `${D}.endpoint: "unix://tmp/x": a socket needs three slashes: unix:///tmp/nv-hostengine`],
  ['an empty socket path', dcgm('endpoint = "unix:///"'), `${D}.endpoint: "unix:///": the path is empty; for example unix:///tmp/nv-hostengine`],
  ['a password', dcgm('endpoint = "unix://me:hunter2@/tmp/x"'), `${D}.endpoint: "unix://***@/tmp/x": no user or password; DCGM has none`],
  ['a password with a slash', dcgm('endpoint = "me:hunt/er2@h:5555"'), `${D}.endpoint: "***@h:5555": no user or password; DCGM has none`],
  ['a letter that is no ASCII', dcgm('endpoint = "g\u00fc:5555"'), `${D}.endpoint: "g\\u00fc:5555" is not printable ASCII`],
  ['below the shortest interval', dcgm('collection_interval = "999ms"'), `${D}.collection_interval: "999ms" is not in 1s to 10m`],
  ['above the longest interval', dcgm('collection_interval = "601s"'), `${D}.collection_interval: "601s" is not in 1s to 10m`],
  ['an interval without a unit', dcgm('collection_interval = "15"'), `${D}.collection_interval: "15": a duration needs a unit (ms, s, m, h, d), for example 15s`],
  ['an interval without quotes', dcgm('collection_interval = 15'), `${D}.collection_interval: 15 is not a duration in quotes; for example "15s"`],
  ['a delay longer than the interval', dcgm('initial_delay = "5m"'), null],
  ['a negative delay', dcgm('initial_delay = "-1s"'), `${D}.initial_delay: "-1s": a duration is not negative`],
  ['no series', dcgm('max_series_per_scrape = 0'), `${D}.max_series_per_scrape: 0 is not a whole number from 1 to ${SERIES_MAX}`],
  ['half a series', dcgm('max_series_per_scrape = 1.5'), `${D}.max_series_per_scrape: 1.5 is not a whole number from 1 to ${SERIES_MAX}`],
  ['auto for nvswitch', groups('nvswitch = "auto"'), null],
  ['auto for another group', groups('ecc = "auto"'), `${D}.metric_field_groups.ecc: "auto" is not enabled or disabled; only nvswitch takes auto`],
  ['neither on nor off', groups('nvswitch = "on"'), `${D}.metric_field_groups.nvswitch: "on" is not enabled, disabled or auto`],
  ['a group misspelled', groups('utilisation = "enabled"'), `${D}.metric_field_groups.utilisation: unknown key "utilisation"; did you mean utilization?`],
  ['a metric misspelled', `[receivers.dcgm.metrics]\ninclude = ["hw.gpu.i"]\n`,
    `${D}.metrics.include: "hw.gpu.i" is not hw.gpu.utilization, hw.gpu.memory.usage,`],
  ['a metric in and out', `[receivers.dcgm.metrics]\ninclude = ["hw.power"]\nexclude = ["hw.power"]\n`, `${D}.metrics.exclude: "hw.power" is in include as well`],
  ['hashing without a secret', `[receivers.dcgm.identity]\nhash = true\n`, `${D}.identity.salt_file: "" names no file; hash = true needs the secret that it hashes with`],
  ['a truth in quotes', `[receivers.dcgm.identity]\nhash = "yes"\n`, `${D}.identity.hash: "yes" is not true or false`],
  ['a key misspelled', dcgm('endpont = "h:1"'), `${D}.endpont: unknown key "endpont"; did you mean endpoint?`],
  ['a key in the wrong table', '[source]\nendpoint = "h:1"\n', `source.endpoint: unknown key "endpoint"; did you mean ${D}.endpoint?`],
  ['a key that nothing is like', '[guest]\nxyzzy = 1\n', 'guest.xyzzy: unknown key "xyzzy"; known here: state, heartbeat_interval,'],
  ['an unknown table', '[exporter]\n', 'exporter: unknown key "exporter"; did you mean exporters?'],
  ['a receiver that there is not', '[receivers.rocm]\n', 'receivers.rocm: unknown key "rocm"; known here: dcgm'],
  ['a value for a table', 'receivers = 3\n', 'receivers: 3 is not a table; it holds dcgm'],
  ['a value for a table of names', dcgm('group_budgets = 3'), `${D}.group_budgets: 3 is not a table; write [${D}.group_budgets] and one key a line`],
  ['a budget too large', '[receivers.dcgm.group_budgets]\nnvlink = 5000\n', `${D}.group_budgets.nvlink: 5000 is not a whole number from 0 to ${SERIES_MAX}`],
  ['a header that is none', '[exporters.otlp.headers]\n"a b" = "x"\n', 'exporters.otlp.headers."a b": "a b" is no name of an HTTP header'],
  ['a header that would split', '[exporters.otlp.headers]\ntoken = "s3cret\\r\\nx: y"\n', 'exporters.otlp.headers.token: the value is not a text in printable ASCII (it is not shown)'],
  ['a collector without a scheme', '[exporters.otlp]\nendpoint = "collector:4318"\n', 'exporters.otlp.endpoint: "collector:4318": the scheme is not http or https; for example http://localhost:4318'],
  ['a collector with a password', '[exporters.otlp]\nendpoint = "https://u:hunter2@c"\n', 'exporters.otlp.endpoint: "https://***@c": a user or password belongs into headers, not into the address'],
  ['no signal', '[exporters.otlp]\nsignals = []\n', 'exporters.otlp.signals: an empty list; at least 1'],
  ['a signal twice', '[exporters.otlp]\nsignals = ["logs", "logs"]\n', 'exporters.otlp.signals: "logs" is listed twice'],
  ['a port alone to listen on', '[exporters.prometheus]\nlisten = "9400"\n',
    'exporters.prometheus.listen: "9400": write host:port, for example 127.0.0.1:9400, [::1]:9400, or :9400 for every address'],
  ['every address', '[exporters.prometheus]\nlisten = ":9400"\n', null],
  ['an IPv6 address that is none', '[exporters.prometheus]\nlisten = "[:::]:9400"\n', 'exporters.prometheus.listen: "[:::]:9400": write host:port,'],
  ['a timeout shorter than the heartbeat', '[guest]\nheartbeat_timeout = "2s"\n', 'guest.heartbeat_timeout: "2s" is shorter than heartbeat_interval, "5s"'],
  ['a back-off that shrinks', '[guest]\nrestart_backoff_first = "2m"\n', 'guest.restart_backoff_max: "1m" is shorter than restart_backoff_first, "2m"'],
  ['a fleet for real hardware', '[source]\nkind = "dcgm"\nfleet = "h100x8"\n', 'source.fleet: "h100x8" is for a replay; source.kind is "dcgm"'],
  ['a capture and a fleet', '[source]\ncapture = "a.json"\nfleet = "h100x8"\n', 'source.capture: "a.json": a replay is a capture file or a scripted node (fleet, scenario), not both'],
  ['a library of nothing', '[source]\nlibrary = "x.so"\n', 'source.library: "x.so": which library this is, source.kind must say: dcgm or nvml; it is "auto"'],
  ['no text', 'a = \n', 'vigil.toml, line 1, column 5: no TOML: '],
  ['a key twice', '[source]\nkind = "stub"\nkind = "stub"\n', 'vigil.toml, line 3, column '],
  ['an escape sequence', dcgm('mode = "\\u001b[2J"'), `${D}.mode: "\\u001b[2J" is not standalone or embedded`],
];

test('the table has at least the 19 cases of the seed, and both kinds', () => {
  assert.ok(CASES.length >= 19);
  assert.ok(CASES.some(([, , fault]) => fault === null) && CASES.some(([, , fault]) => fault !== null));
});
for (const [name, text, fault] of CASES) {
  test(`one key: ${name}`, () => {
    const faults = faultsOf(text);
    if (fault === null) assert.deepEqual(faults, []);
    else {
      assert.equal(faults.length, 1, faults.join('\n'));
      assert.ok(faults[0] === fault || (/[,:n] ?$/.test(fault) && faults[0]!.startsWith(fault)), `${faults[0]}\nis not\n${fault}`);
    }
  });
}

test('the defaults are those of the seed, and of the contract', () => {
  assert.deepEqual(configOf('').receivers.dcgm, {
    mode: 'standalone', endpoint: 'localhost:5555', collectionIntervalMs: 15_000, initialDelayMs: 1_000, maxSeriesPerScrape: 1_024, fieldsFile: '',
    metricFieldGroups: Object.fromEntries(SETTABLE.map((group) => [group.name, group.default])), groupsSet: [], groupBudgets: {},
    metrics: { include: [], exclude: [] }, identity: { hash: false, saltFile: '' },
  });
  for (const name of ['utilization', 'memory', 'ecc', 'power', 'thermal', 'profiling', 'xid', 'nvswitch']) {
    assert.ok(SETTABLE.some((group) => group.name === name && group.default !== 'disabled'), name);
  }
  const { exporters, guest, attribution, source } = configOf('');
  assert.deepEqual(source, { kind: 'auto', library: '', capture: '', fleet: '', scenario: '' });
  assert.deepEqual(exporters.otlp, { endpoint: '', headers: {}, compression: 'gzip', timeoutMs: 10_000, signals: ['metrics', 'traces', 'logs'] });
  assert.deepEqual(exporters.prometheus, { listen: '127.0.0.1:9400', webConfigFile: '', dcgmNames: false, translation: 'UnderscoreEscapingWithSuffixes' });
  assert.deepEqual(attribution, {
    kubernetes: { enabled: false, socket: '/var/lib/kubelet/pod-resources/kubelet.sock', resourcePrefixes: ['nvidia.com/'] }, hpc: { jobMappingDir: '' },
  });
  assert.deepEqual(guest, {
    state: '.vigil/state.img', heartbeatIntervalMs: 5_000, heartbeatTimeoutMs: 15_000, restartBackoffFirstMs: 1_000, restartBackoffMaxMs: 60_000,
    exportIntervalMs: 15_000,
  });
  assert.equal(SERIES_MAX, limit(loadAbi(ROOT), 'gpu', 'series_max'), 'the guest has a table of another size');
});

test('ranges are those of abi/limits.toml, at the edge and one past it', () => {
  const abi = loadAbi(ROOT);
  const edges: readonly (readonly [KnobPath, string, string, string])[] = [
    ['receivers.dcgm.collection_interval', 'dcgmd', 'interval_ms_min', 'interval_ms_max'], ['guest.export_interval', 'exportd', 'export_interval_ms_min', 'export_interval_ms_max'],
  ];
  for (const [path, section, least, most] of edges) {
    const fits = (ms: number): boolean => KNOBS[path].type.safeParse(`${ms}ms`).success;
    const [min, max] = [limit(abi, section, least), limit(abi, section, most)];
    assert.deepEqual([fits(min - 1), fits(min), fits(max), fits(max + 1)], [false, true, true, false], path);
  }
  assert.equal(parseDuration(KNOBS['receivers.dcgm.initial_delay'].default as string), limit(abi, 'dcgmd', 'initial_delay_ms'));
});

test('every fault of the table at once: each is said, in the order of the file', () => {
  const faults = faultsOf(`
[source]
kind = "dgcm"
[receivers.dcgm]
mode = "x"
endpoint = "unix://a"
collection_interval = "1ms"
initial_delay = "soon"
max_series_per_scrape = -1
colection_interval = "15s"
[receivers.dcgm.metric_field_groups]
power = "auto"
[exporters.prometheus]
listen = "9400"
[guest]
heartbeat_timeout = "1h"
[receivers.dcgm.metrics]
exclude = ["hw.fan"]
`);
  assert.deepEqual(faults.map((line) => line.split(': ')[0]), [
    'source.kind', `${D}.mode`, `${D}.endpoint`, `${D}.collection_interval`, `${D}.initial_delay`, `${D}.max_series_per_scrape`,
    `${D}.colection_interval`, `${D}.metric_field_groups.power`, `${D}.metrics.exclude`, 'exporters.prometheus.listen', 'guest.heartbeat_timeout',
  ]);
  for (const line of faults) assert.doesNotMatch(line, /sorry|please|invalid value|oops/i);
});

test('faults are bounded, and those left out are counted', () => {
  const keys = Array.from({ length: ERRORS_MAX + 5 }, (_, i) => `key_${i} = 1`).join('\n');
  const faults = faultsOf(keys);
  assert.equal(faults.length, ERRORS_MAX + 1);
  assert.equal(faults.at(-1), '5 more faults');
  assert.equal(faultsOf(Array.from({ length: ERRORS_MAX }, (_, i) => `key_${i} = 1`).join('\n')).length, ERRORS_MAX);
});

test('durations: both ways, exact, and refused with what would do', () => {
  for (const [text, ms] of [['15s', 15_000], ['1m30s', 90_000], ['500ms', 500], ['1.5s', 1_500], ['2h', 7_200_000], ['1d', 86_400_000], ['0s', 0], ['0.001s', 1]] as const) {
    assert.equal(parseDuration(text), ms, text);
  }
  for (const text of ['', '15', 's', '1s1m', '1s1s', '1 s', '-1s', '1e3s', '0.1ms', '9007199254740992ms', '1x', `${'1'.repeat(70)}s`, '.5s', '5.s']) {
    assert.throws(() => parseDuration(text), DurationError, text);
  }
  const seed = Number(process.env.SEED ?? 1);
  const below = randomBelow(seed);
  for (let i = 0; i < 300; i++) {
    const ms = below(2 ** 31) * (i % 3 === 0 ? 1 : 997);
    assert.equal(parseDuration(formatDuration(ms)), ms, `${ms} (SEED=${seed} npx tsx --test tests/config/config.test.ts)`);
  }
});

test('what a configuration resolves to reads back as the same configuration', () => {
  const text = `
[source]
kind = "replay"
fleet = "a100-mig"
[receivers.dcgm]
endpoint = "unix:///run/dcgm.sock"
collection_interval = "1m30s"
[receivers.dcgm.metric_field_groups]
pipes = "enabled"
[receivers.dcgm.group_budgets]
nvlink = 12
[exporters.prometheus]
listen = "[::1]:9401"
`;
  const config = configOf(text);
  const back = configOf(renderToml(config));
  // every group is written out, so every group is set; the lines of the guest are the same
  assert.deepEqual({ ...back, receivers: { dcgm: { ...back.receivers.dcgm, groupsSet: ['pipes'] } } }, config);
  assert.equal(receiverLines(back), receiverLines(config));
  assert.deepEqual(rowsOf(config).filter(({ set }) => set).map(({ path }) => path), [
    'source.kind', 'source.fleet', `${D}.endpoint`, `${D}.collection_interval`, `${D}.metric_field_groups.pipes`, `${D}.group_budgets.nvlink`,
    'exporters.prometheus.listen',
  ]);
  assert.deepEqual(configOf(fullExample(configOf(''))).exporters, configOf('').exporters);
});

test('no secret is shown: headers, and a password in an address that nobody judged', () => {
  const config = configOf('[receivers.dcgm]\nmode = "embedded"\nendpoint = "u:hunter2@h:1"\n[exporters.otlp.headers]\nauthorization = "Bearer s3cret"\n');
  assert.equal(config.exporters.otlp.headers.authorization, 'Bearer s3cret');
  for (const shown of [renderToml(config), JSON.stringify(rowsOf(config)), receiverLines(config)]) assert.doesNotMatch(shown, /hunter2|s3cret/);
  assert.match(renderToml(config), /# authorization = "\*\*\*" {2}# set; not shown/);
});

test('a fields_file switches the other fields off, and its own groups on where the file says nothing', () => {
  const lines = receiverLines(configOf(''), [1004, 150]).split('\n');
  assert.ok(lines.includes('group.pipes=enabled') && lines.includes('group.limits=disabled'));
  assert.ok(!lines.includes('field.1004=disabled') && !lines.includes('field.150=disabled') && lines.includes('field.155=disabled'));
  assert.equal(lines.filter((line) => line.startsWith('field.')).length, POINT_FIELDS.length - 2);
  assert.ok(receiverLines(configOf(groups('pipes = "disabled"')), [1004]).includes('group.pipes=disabled'));
});

test("the guest's text fits, at its largest and one past it", () => {
  const all = TABLES[`${D}.metric_field_groups`].keys.map((name) => `${name} = "disabled"`).join('\n');
  const budgets = TABLES[`${D}.group_budgets`].keys.map((name) => `${name} = 4096`).join('\n');
  const text = `${groups(all)}[receivers.dcgm.group_budgets]\n${budgets}\n`;
  assert.equal(receiverFault(configOf(text), []), null);
  const config = configOf(text);
  const left = RECEIVER_BYTES_MAX - receiverLines(config, []).length + config.receivers.dcgm.endpoint.length;
  const withEndpoint = (bytes: number): Config => ({ ...config, receivers: { dcgm: { ...config.receivers.dcgm, endpoint: 'h'.repeat(bytes) } } });
  assert.equal(receiverFault(withEndpoint(left), []), null);
  assert.match(receiverFault(withEndpoint(left + 1), [])!, /comes to 4097 bytes; the guest takes 4096/);
});

test('from a configuration to the bridge', () => {
  assert.deepEqual(sourceOptions(configOf('')), { source: 'auto' });
  assert.deepEqual(sourceOptions(configOf('[source]\nkind = "dcgm"\n')), { source: 'dcgm', endpoint: 'localhost:5555', mode: 'standalone' });
  assert.deepEqual(sourceOptions(configOf(dcgm('mode = "embedded"\nendpoint = "bad"'))), { source: 'auto', mode: 'embedded' });
  assert.deepEqual(sourceOptions(configOf(dcgm('endpoint = "far:5555"'))), { source: 'auto', endpoint: 'far:5555' });
  assert.deepEqual(sourceOptions(configOf('[source]\nfleet = "consumer"\nscenario = "xid"\n')), { source: 'auto', fleet: 'consumer', scenario: 'xid' });
});

test('a file: missing, a folder, empty, binary, not UTF-8, at its largest and one past it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-config-'));
  try {
    const file = (name: string, bytes: string | Buffer): string => { const path = join(folder, name); writeFileSync(path, bytes); return path; };
    const said = (path: string): string => {
      const loaded = loadConfig(path);
      return 'config' in loaded ? 'valid' : `${loaded.unreadable === true ? 'unreadable' : 'wrong'} ${loaded.errors.map(renderError).join('; ').replaceAll(folder, 'F')}`;
    };
    assert.equal(said(join(folder, 'none.toml')), 'unreadable F/none.toml: no such file');
    assert.equal(said(folder), 'unreadable F: a folder, not a file');
    assert.equal(said(file('empty.toml', '')), 'valid');
    assert.equal(said(file('zero.toml', 'a\0b')), 'unreadable F/zero.toml: not a text: it holds a zero byte');
    assert.equal(said(file('bytes.toml', Buffer.from([0x80, 0xff]))), 'unreadable F/bytes.toml: not a text: it is not UTF-8');
    assert.match(said(file('bad.toml', '[source\n')), /^wrong F\/bad.toml, line 1, column \d+: no TOML: /);
    assert.equal(said(file('large.toml', `#${' '.repeat(FILE_BYTES_MAX - 1)}`)), 'valid');
    assert.match(said(file('larger.toml', `#${' '.repeat(FILE_BYTES_MAX)}`)), /^unreadable F\/larger.toml: 1048577 bytes; /);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the files that a configuration names: every fault of them at once, under the key that names the file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-files-'));
  try {
    const text = (name: string, bytes: string): string => { writeFileSync(join(folder, name), bytes); return JSON.stringify(join(folder, name)); };
    const faults = (toml: string): string[] => checkFiles(configOf(toml)).errors.map(renderError).map((line) => line.replaceAll(folder, 'F'));
    const whole = (capture: string, csv: string, salt: string, web: string): string => `[source]\ncapture = ${capture}\n[receivers.dcgm]\nfields_file = ${csv}\n`
      + `[receivers.dcgm.identity]\nhash = true\nsalt_file = ${salt}\n[exporters.prometheus]\nweb_config_file = ${web}\n`;
    const missing = JSON.stringify(join(folder, 'none'));
    assert.deepEqual(faults(whole(missing, missing, missing, missing)).map((line) => line.split(': ')[0]), [
      'source.capture', `${D}.fields_file`, `${D}.identity.salt_file`, 'exporters.prometheus.web_config_file',
    ]);
    assert.deepEqual(faults(whole(text('a', '{}'), text('b', 'x\n'), text('c', ' \n'), text('d', 'basic_auth_users:\n  a: plain\nnope: 1\n'))), [
      'source.capture: F/a: schema is not vigil-gpu-capture-1', `${D}.fields_file: F/b names no field that a metric is made of`,
      `${D}.fields_file: F/b, line 1: x is ignored: 1 of 3 columns: name, type, help`,
      `${D}.identity.salt_file: F/c holds no secret of 1 to 4096 bytes`,
      'exporters.prometheus.web_config_file: F/d: basic_auth_users.a: is not a bcrypt hash', 'exporters.prometheus.web_config_file: F/d: file: Unrecognized key: "nope"',
    ]);
    assert.deepEqual(faults(`[source]\ncapture = ${text('e', '{"schema": "vigil-gpu-capture-1"}')}\n`), ['source.capture: the file is none of this kind: parts of it are missing']);
    assert.deepEqual(faults(`[source]\ncapture = ${JSON.stringify(join(ROOT, 'tests/fixtures/gpu/h100x8.capture.json'))}\n`), []);
    assert.equal(checkFiles(configOf(`[receivers.dcgm]\nfields_file = ${text('f', 'DCGM_FI_DEV_GPU_TEMP, gauge, x\n')}\n`)).listed?.ids.length, 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the nearest name: near ones, none, and never one that is far', () => {
  assert.equal(nearest('endpont', ['mode', 'endpoint']), 'endpoint');
  assert.equal(nearest('Metric-Field-Groups', ['metric_field_groups']), 'metric_field_groups');
  assert.equal(nearest('x', ['mode', 'endpoint']), null);
  assert.equal(nearest('anything', []), null);
});

test('every default passes its own type, and every key says its range and purpose', () => {
  for (const path of Object.keys(KNOBS) as KnobPath[]) {
    const { type, default: fallback, range, brief } = KNOBS[path];
    assert.ok(type.safeParse(fallback).success, path);
    assert.ok(range !== '' && brief !== '', path);
  }
});
