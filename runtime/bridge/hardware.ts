// SPDX-License-Identifier: Apache-2.0
// Owns: the hardware lane: on a machine with a GPU, what each real source offers there, as one JSON on stdout.
// Use: `node --import tsx runtime/bridge/hardware.ts [--rounds N]`; needs koffi, tsx, smol-toml and the driver, no network, no root.
// VIGIL_NVML_LIBRARY and VIGIL_DCGM_LIBRARY name a library that the linker does not find by its soname.
// Invariant: nothing in it is simulated: each value comes from the source that it is listed under, or its status says why there is none.
// Exit code 0 when at least one source gave a value, 3 when none could. Limits: 30 rounds of reading by default, 120 s.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { catalog, catalogField } from './catalog.js';
import { hasDriver, libraryOf } from './choose.js';
import { BridgeClient } from './client.js';
import type { ChildConfig } from './library/link.js';
import { Supervisor } from './library/supervisor.js';
import { limit } from './protocol.js';
import type { Sample } from './source.js';

const roundsAt = process.argv.indexOf('--rounds');
const rounds = roundsAt > 0 ? Number(process.argv[roundsAt + 1]) : 30;
if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000) {
  console.error('usage: hardware.ts [--rounds 1..1000]');
  process.exit(2);
}

const CONFIGS: readonly ChildConfig[] = [
  { source: 'nvml' }, { source: 'dcgm', mode: 'standalone' }, { source: 'dcgm', mode: 'embedded' },
];
let anyValue = false;

async function examine(config: ChildConfig): Promise<Record<string, unknown>> {
  const log: string[] = [];
  const supervisor = new Supervisor({ ...config, library: libraryOf(config.source) }, (line) => { log.push(line); });
  await supervisor.start();
  const client = new BridgeClient(supervisor);
  try {
    await client.connect();
    const version = await client.version();
    const began = performance.now();
    const entities = await client.enumerate();
    const enumerateMs = round(performance.now() - began);
    const watches: number[] = [];
    const ids = catalog.map(({ id }) => id);
    for (let at = 0; at < ids.length; at += limit('fields_max')) {
      const fieldIds = ids.slice(at, at + limit('fields_max'));
      watches.push(await client.watch({ updateUs: 1_000_000n, keepS: 60, fieldIds, entities: [] }));
    }
    await sleep(2500);
    const took: number[] = [];
    let samples: Sample[] = [];
    for (let i = 0; i < rounds; i++) {
      const start = performance.now();
      samples = [];
      for (const watch of watches) samples.push(...(await client.latestValues(watch)));
      took.push(performance.now() - start);
    }
    took.sort((a, b) => a - b);
    if (samples.some(({ status }) => status === 0)) anyValue = true;
    const report = {
      version, entities, enumerateMs, rounds, cells: samples.length, values: samples.filter(({ status }) => status === 0).length,
      readMs: { p50: at(took, 0.5), p99: at(took, 0.99), max: at(took, 1) },
      residentKiB: resident(supervisor.pid), state: supervisor.state(), fields: samples.map(describe),
    };
    await client.close();
    return { config, ok: true, ...report, ...(await stopped(supervisor)), log };
  } catch (error) {
    return { config, ok: false, error: (error as Error).message, state: supervisor.state(), ...(await stopped(supervisor)), log };
  }
}

async function stopped(supervisor: Supervisor): Promise<{ stopMs: number }> {
  const began = performance.now();
  await supervisor.stop();
  return { stopMs: round(performance.now() - began) };
}

/** A quantile of sorted milliseconds. */
const at = (sorted: readonly number[], part: number): number =>
  round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!);
const round = (ms: number): number => Math.round(ms * 1000) / 1000;

function describe({ group, entityId, fieldId, status, value, tsUs }: Sample): Record<string, unknown> {
  const ageMs = status === 0 ? round((Date.now() * 1000 - Number(tsUs)) / 1000) : null;
  const entity = `${group}:${entityId}`;
  return { entity, field: fieldId, name: catalogField(fieldId)?.name, status, value: status === 0 ? String(value) : null, ageMs };
}

function resident(pid: number | undefined): number | null {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return null;
  }
}

const sources: Record<string, unknown>[] = [];
for (const config of CONFIGS) sources.push(await examine(config));
process.stdout.write(`${JSON.stringify({ node: process.version, driverPresent: hasDriver(), sources }, null, 1)}\n`);
process.exitCode = anyValue ? 0 : 3;
