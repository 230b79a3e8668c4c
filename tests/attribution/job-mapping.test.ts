// SPDX-License-Identifier: Apache-2.0
// The job mapping directory: who is attributed, what is left out and counted, and every way in which the directory can be wrong.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { combineAttributors, type RunningAttributor } from '../../runtime/attribution/attributor.js';
import { makeAttribution } from '../../runtime/attribution/index.js';
import { JOB_MAPPING_STATES, JobMappingAttributor, parseJobs, readJobMapping } from '../../runtime/attribution/job-mapping.js';
import { ATTRIBUTION_LIMITS } from '../../runtime/attribution/limits.js';

const root = mkdtempSync(join(tmpdir(), 'vigil-jobs-'));
after(() => { rmSync(root, { recursive: true, force: true }); });
let folders = 0;
function folder(files: Record<string, string>): string {
  const path = join(root, String(++folders));
  mkdirSync(path);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}
const gpu = (index: number | string, gi?: number): Map<string, string | number> =>
  new Map<string, string | number>([['hw.type', 'gpu'], ['hw.gpu.index', index], ...(gi === undefined ? [] : [['hw.gpu.mig.instance_id', gi] as const])]);
const jobs = (attributor: RunningAttributor, entity: Map<string, string | number>): (string | undefined)[] =>
  attributor.attributes(entity).map((set) => set.get('hpc.job.id'));

test('jobs at GPUs and at instances', async () => {
  const directory = folder({ 0: '1234\n', 1: '77_3\n77_4\r\n\n77_3\n', 2: 'whole\n', '2.7': 'slice\n', 3: '', '10': 'pbs[4].host.example\n' });
  const attributor = new JobMappingAttributor({ directory });
  await attributor.start();
  assert.deepEqual(jobs(attributor, gpu(0)), ['1234']);
  assert.deepEqual(jobs(attributor, gpu('1')), ['77_3', '77_4']);
  assert.deepEqual(jobs(attributor, gpu(2)), ['whole']);
  assert.deepEqual(jobs(attributor, gpu(2, 7)), ['slice']);
  assert.deepEqual(jobs(attributor, gpu(2, 8)), ['whole'], 'no file of its own: its GPU\'s');
  assert.deepEqual(jobs(attributor, gpu(3)), []);
  assert.deepEqual(jobs(attributor, gpu(10)), ['pbs[4].host.example']);
  assert.deepEqual(jobs(attributor, new Map([['hw.type', 'switch'], ['hw.switch.index', '0']])), []);
  rmSync(join(directory, '0'));
  await attributor.refresh();
  assert.deepEqual(jobs(attributor, gpu(0)), [], 'the epilog removed it');
  await attributor.close();
});

test('what is odd is left out and counted; the rest counts', async () => {
  const directory = folder({
    0: 'good\n<script>\n\u0000\n-x\nalso good?\nlast', 1: 'x\n'.padEnd(ATTRIBUTION_LIMITS.jobFileBytes, '\n'), 2: 'x\n'.padEnd(ATTRIBUTION_LIMITS.jobFileBytes + 1, '\n'),
    'README': 'x\n', '.0.swp': 'x\n', '00': 'x\n', '-1': 'x\n', '1.': 'x\n', '1.2.3': 'x\n', '1000': 'x\n', '0x1': 'x\n',
    4: Array.from({ length: ATTRIBUTION_LIMITS.jobsPerFile + 2 }, (_, i) => `j${i}`).join('\n'),
    5: `${'a'.repeat(ATTRIBUTION_LIMITS.jobIdBytes)}\n${'b'.repeat(ATTRIBUTION_LIMITS.jobIdBytes + 1)}\n`,
  });
  mkdirSync(join(directory, '6'));
  symlinkSync('/etc/passwd', join(directory, '7'));
  const made = spawnSync('mkfifo', [join(directory, '8')]).status === 0;
  const table = await readJobMapping(directory);
  assert.deepEqual(table.jobs.get('index:0'), ['good', 'last']);
  assert.deepEqual(table.jobs.get('index:1'), ['x']);
  assert.equal(table.jobs.has('index:2'), false);
  assert.equal(table.jobs.get('index:4')!.length, ATTRIBUTION_LIMITS.jobsPerFile);
  assert.deepEqual(table.jobs.get('index:5'), ['a'.repeat(ATTRIBUTION_LIMITS.jobIdBytes)]);
  const { files, skipped, unreadable, oversized, garbage, unfinished, cut } = table;
  assert.deepEqual({ files, skipped, unreadable, oversized, garbage, unfinished, cut },
    { files: 4, skipped: 8 + 1 + (made ? 1 : 0), unreadable: 1, oversized: 1, garbage: 4 + 1, unfinished: 2, cut: 2 });
});

test('a job id on both sides of what is one', () => {
  for (const id of ['1', '123_4', '123+1', '4[7].pbs', 'lsf/1', 'u@h:1', 'a-b.c']) assert.deepEqual(parseJobs(id).jobs, [id], id);
  for (const id of ['a b', '_x', 'é', '"x"', 'a=b', 'a{b}', 'a\\n', '\u001b[1m']) assert.deepEqual(parseJobs(id), { jobs: [], garbage: 1, cut: 0, unfinished: true }, id);
});

test('more entries than the limit', async () => {
  const directory = folder(Object.fromEntries(Array.from({ length: ATTRIBUTION_LIMITS.jobFiles }, (_, i) => [`f${i}`, ''])));
  assert.deepEqual([(await readJobMapping(directory)).cut, (await readJobMapping(directory)).skipped], [0, ATTRIBUTION_LIMITS.jobFiles]);
  writeFileSync(join(directory, 'one-more'), '');
  assert.deepEqual([(await readJobMapping(directory)).cut, (await readJobMapping(directory)).skipped], [1, ATTRIBUTION_LIMITS.jobFiles]);
});

test('a directory that is wrong has a name, and is found when it is made', async (context) => {
  const directory = join(root, 'later');
  const said: string[] = [];
  const attributor = new JobMappingAttributor({ directory, say: (line) => said.push(line) });
  await attributor.start();
  assert.equal(attributor.states()[0]!.name, 'directory_absent');
  mkdirSync(directory);
  writeFileSync(join(directory, '0'), 'j\n');
  await attributor.refresh();
  assert.deepEqual([attributor.states()[0]!.name, jobs(attributor, gpu(0))], ['ok', ['j']]);
  assert.deepEqual(said.map((line) => line.split(':').slice(0, 2).join(':').trim()), ['attribution: hpc directory_absent', 'attribution: hpc ok']);
  const isRoot = process.getuid?.() === 0;
  chmodSync(directory, 0);
  context.after(async () => {
    if (isRoot) process.seteuid!(0);
    chmodSync(directory, 0o700);
    await attributor.close();
  });
  if (isRoot) process.seteuid!(65_534);
  await attributor.refresh();
  assert.equal(attributor.states()[0]!.name, 'permission_denied');
  if (isRoot) process.seteuid!(0);
  await assert.rejects(readJobMapping(join(directory, '0')), { state: 'not_a_directory' });
  for (const name of Object.keys(attributor.counters).filter((one) => one.startsWith('hpc_failures_'))) assert.ok(name.slice(13) in JOB_MAPPING_STATES, name);
});

test('pods and jobs together give every combination, within the bound', () => {
  const fixed = (key: string, values: string[]): RunningAttributor => ({
    attributes: () => values.map((value) => new Map([[key, value]])),
    counters: { [key]: values.length }, seen: { [key]: 1 }, start: async () => undefined, close: async () => undefined, states: () => [],
  });
  const seen = (attributor: RunningAttributor): string[] => attributor.attributes(new Map()).map((set) => [...set.values()].join('+'));
  assert.deepEqual(seen(combineAttributors([fixed('a', ['p', 'q']), fixed('b', ['j'])])), ['p+j', 'q+j']);
  assert.deepEqual(seen(combineAttributors([fixed('a', []), fixed('b', ['j'])])), ['j']);
  assert.deepEqual(seen(combineAttributors([fixed('a', []), fixed('b', [])])), []);
  const wide = Array.from({ length: 9 }, (_, i) => String(i));
  const cut = combineAttributors([fixed('a', wide), fixed('b', wide)]);
  assert.equal(seen(cut).length, ATTRIBUTION_LIMITS.setsPerEntity);
  assert.deepEqual(cut.counters, { a: 9, b: 9, sets_cut: 81 - ATTRIBUTION_LIMITS.setsPerEntity });
  assert.deepEqual(cut.seen, { a: 1, b: 1 });
});

test('the configuration decides what is started', () => {
  const none = { kubernetes: { enabled: false, socket: '/x', resourcePrefixes: ['nvidia.com/'] }, hpc: { jobMappingDir: '' } };
  assert.equal(makeAttribution(none), null);
  assert.deepEqual(makeAttribution({ ...none, hpc: { jobMappingDir: root } })!.states().map(({ source }) => source), ['hpc']);
  const both = makeAttribution({ kubernetes: { ...none.kubernetes, enabled: true }, hpc: { jobMappingDir: root } })!;
  assert.deepEqual(both.states().map(({ source, name }) => `${source} ${name}`), ['kubernetes starting', 'hpc starting']);
});
