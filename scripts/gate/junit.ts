// SPDX-License-Identifier: Apache-2.0
// junit.xml of one run: a suite a phase, a case a marker, the guest's time between markers as its duration.
// Invariant: a marker that was not reached is skipped, never passed; a red run has exactly one failure.
import junit from 'junit-report-builder';
import type { Ladder } from './ladder.js';
import type { Matcher } from './matcher.js';
import { printable } from './line-splitter.js';

// The package is CommonJS whose module.exports is the builder itself; its types describe the bundler's view of it.
const builder = junit as unknown as typeof junit.default;

/** What the failing case says; null for a run that is not red. */
export interface JunitFailure {
  title: string;
  body: string;
}

/** XML 1.0 text: control characters spelled. */
const clean = (text: string): string => text.split('\n').map((line) => printable(line, 2000)).join('\n');

/** Renders the report. */
export function junitXml(label: string, ladder: Ladder, matcher: Matcher, failure: JunitFailure | null): string {
  const report = builder.newBuilder();
  let beforeNs = 0;
  const failedAt = Math.min(matcher.seen.length, ladder.markers.length);
  for (const phase of ladder.phases) {
    const suite = report.testSuite().name(`${label}.${phase}`);
    for (const marker of ladder.markers.filter((row) => row.phase === phase)) {
      const test = suite.testCase().className(`${label}.${phase}`).name(marker.text).file(marker.file);
      const seen = matcher.seen[marker.index];
      if (seen !== undefined) {
        test.time((seen.guestNs - beforeNs) / 1e9);
        beforeNs = seen.guestNs;
      } else if (failure !== null && marker.index === failedAt) {
        test.failure(clean(failure.title), 'marker').stacktrace(clean(failure.body));
      } else {
        test.skipped();
      }
    }
  }
  const halt = report.testSuite().name(`${label}.halt`).testCase().className(`${label}.halt`).name('halt line');
  if (failure !== null && failedAt === ladder.markers.length) halt.failure(clean(failure.title), 'halt').stacktrace(clean(failure.body));
  else if (!matcher.halted) halt.skipped();
  return report.build();
}
