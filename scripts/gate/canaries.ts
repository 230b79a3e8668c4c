// SPDX-License-Identifier: Apache-2.0
// The list of canaries: for each line of each ladder, the mutant that must turn the gate red at that line, and how.
// Invariant: one mutant turns the gate red in one place, so no two lines that one boot could reach share a mutant.
import { PROOF, profileNames, readLadder, type Canary, type Marker } from './ladder.js';
import { wrong } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import type { Transport } from '../../boot/machines.js';
import { failureTitle } from './report.js';
import { redClass, type Failure } from './matcher.js';

/** One boot of the mutant image. */
export interface CanaryCase {
  profile: string;
  transport: Transport;
  marker: Marker;
  canary: Canary;
}

/** Lines of any ladder that have no canary, as `profile: text`. */
export function uncovered(root: string = ROOT): string[] {
  const covered = new Set(canaryCases(root).map((one) => one.marker.text));
  return [PROOF, ...profileNames(root)].flatMap((profile) =>
    (['modern', 'legacy'] as const).flatMap((transport) =>
      readLadder(profile, transport, root)
        .markers.filter((marker) => (marker.again ? marker.canary === undefined : !covered.has(marker.text)))
        .map((marker) => `${profile}: ${marker.text}`),
    ),
  );
}

/** Every canary: a line that both transports have is tried on modern, a legacy line on legacy. @throws Failure 1 on a shared mutant. */
export function canaryCases(root: string = ROOT): CanaryCase[] {
  const cases: CanaryCase[] = [];
  const done = new Set<string>();
  for (const profile of [PROOF, ...profileNames(root)]) {
    for (const transport of ['modern', 'legacy'] as const) {
      for (const marker of readLadder(profile, transport, root).markers) {
        const row = `${marker.file} ${marker.text} ${marker.again}`;
        if (marker.canary === undefined || done.has(row)) continue;
        done.add(row);
        cases.push({ profile, transport, marker, canary: marker.canary });
      }
    }
  }
  const users = new Map<string, CanaryCase>();
  for (const one of cases) {
    const key = `${one.profile} ${one.transport} ${one.canary.mutant}`;
    const other = users.get(key);
    if (other !== undefined) wrong(`markers/: "${other.marker.text}" and "${one.marker.text}" share mutant ${one.canary.mutant}`);
    users.set(key, one);
  }
  return cases;
}

/** Why a boot did not go red as its canary says; null when it did. */
export function disagreement(one: CanaryCase, failure: Failure | null): string | null {
  const { marker, canary } = one;
  if (failure === null) return 'stayed green';
  if (failure.expected?.index !== marker.index) {
    return `went red at ${failure.expected === null ? 'the halt line' : `"${failure.expected.text}"`}: ${failureTitle(failure)}`;
  }
  const how = redClass(failure);
  if (how !== canary.expect) return `expected ${canary.expect}, got ${how}: ${failureTitle(failure)}`;
  const { says } = canary;
  return says === undefined || failure.line.includes(says) ? null : `the line does not say "${says}": ${failureTitle(failure)}`;
}
