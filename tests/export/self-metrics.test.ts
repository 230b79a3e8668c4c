// SPDX-License-Identifier: Apache-2.0
// abi/self-metrics.toml against the image: every series that a service makes is a row with its service and instrument, and every row of a
// service is made by it. (The host's rows: exporter.test.ts. What a running image exports: live.test.ts.)
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { selfMetrics } from '../../runtime/export/self-metrics.js';
import { ROOT } from '../../scripts/lib/paths.js';

const SERVICES = join(ROOT, 'assembly', 'services');
/** They measure in order to be measured, in proofs alone. */
const PROOFS = ['fixtures', 'selftest'];
const HOST = ['host', 'supervisor'];
const MAKES = /\b(counter|gauge|histogram|counterWithLabels|labelled)\(\s*"([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)"/g;
const INSTRUMENT: Readonly<Record<string, string>> = { counterWithLabels: 'counter', labelled: 'counter' };

/** `name instrument` of everything that a service's sources make. */
function madeBy(service: string): string[] {
  const folder = join(SERVICES, service);
  const files = readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith('.ts') && !name.endsWith('.spec.ts'));
  const text = files.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
  const made = [...text.matchAll(MAKES)].map(([, call, name]) => `${name} ${INSTRUMENT[call!] ?? call}`);
  // metricsd registers its own without a client, from one list of names.
  const list = (): string => /const NAMES: string =([^;]*);/.exec(readFileSync(join(folder, 'self.ts'), 'utf8'))![1]!;
  const own = service === 'metricsd' ? list().replace(/["+\s]+/g, ' ').trim().split(' ').map((name) => `${name} counter`) : [];
  return [...new Set([...made, ...own])].sort();
}

test('every series of a service is a row of the table, and every row is a series of its service', () => {
  const services = readdirSync(SERVICES, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !PROOFS.includes(entry.name)).map(({ name }) => name);
  const made = new Map(services.map((service) => [service, madeBy(service)] as const).filter(([, names]) => names.length > 0));
  assert.ok(made.size >= 8, `services that measure themselves: ${[...made.keys()].join(', ')}`);
  const rows = selfMetrics.filter(({ by }) => !HOST.includes(by));
  assert.deepEqual([...new Set(rows.map(({ by }) => by))].sort(), [...made.keys()].sort());
  for (const [service, names] of made) {
    assert.deepEqual(rows.filter(({ by }) => by === service).map(({ name, instrument }) => `${name} ${instrument}`).sort(), names, service);
  }
});

test('a row is for somebody that exists, and its Prometheus name is its own', () => {
  const services = readdirSync(SERVICES);
  for (const { name, by } of selfMetrics) assert.ok(HOST.includes(by) || services.includes(by), `${name} by ${by}`);
  for (const { name, instrument, unit } of selfMetrics) assert.ok(instrument !== 'histogram' || unit !== 'ns', `${name}: the world gets seconds (self-stream.ts)`);
});
