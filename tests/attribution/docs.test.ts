// SPDX-License-Identifier: Apache-2.0
// docs/operators/attribution.md against the code, in both directions: the states of both attributions, and the figures it gives.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { JOB_MAPPING_STATES } from '../../runtime/attribution/job-mapping.js';
import { ATTRIBUTION_LIMITS } from '../../runtime/attribution/limits.js';
import { KUBELET_STATES } from '../../runtime/attribution/pod-resources.js';
import { REFRESHES } from '../../runtime/web/parts.js';

const page = readFileSync(new URL('../../docs/operators/attribution.md', import.meta.url), 'utf8');
const section = (heading: string): string => page.split(/^## /m).find((text) => text.startsWith(heading)) ?? '';
const states = (text: string): string[] => text.slice(text.indexOf('| state |')).split('\n').slice(2).map((line) => /^\| `(\w+)` \|/.exec(line)?.[1]).filter((name) => name !== undefined);
const ALWAYS = ['starting', 'ok', 'closed'];

test('every state has a row, and every row a state', () => {
  assert.deepEqual(states(section('Kubernetes')).sort(), [...Object.keys(KUBELET_STATES), ...ALWAYS].sort());
  assert.deepEqual(states(section('HPC jobs')).sort(), [...Object.keys(JOB_MAPPING_STATES), ...ALWAYS].sort());
});

test('the figures are the limits', () => {
  const { refreshMs, callMs, holdMs, messageBytes, jobFileBytes } = ATTRIBUTION_LIMITS;
  assert.match(section('Kubernetes'), new RegExp(`every ${refreshMs / 1000} s .*\\(gRPC, ${callMs / 1000} s at most\\)`));
  assert.match(section('Kubernetes'), new RegExp(`counts for ${holdMs / 1000} s more`));
  assert.match(section('Kubernetes'), new RegExp(`larger than ${messageBytes / 2 ** 20} MiB`));
  assert.match(section('HPC jobs'), new RegExp(`too large \\(${jobFileBytes / 1024} KiB\\)`));
  assert.ok(section('The page').includes(`?refresh=${REFRESHES.filter((every) => every > 0).join('|')}`));
});
