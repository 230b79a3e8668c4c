// SPDX-License-Identifier: Apache-2.0
// The steps of `npm test`, in order, cheap to real. One table: `npm test -- --list` prints it, docs name it.
// Invariant: every check of this project is a step here or a test file under tests/; CI runs this table and nothing else.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export interface Step {
  name: string;
  what: string;
  /** steps that must have passed before this one can mean anything */
  needs: string[];
  /** Node's arguments, given every host test file */
  argv: (testFiles: string[]) => string[];
  /** how many of the last lines to show when it passed */
  closingLines: number;
}

/** Options of Node's test runner that every run of host tests shares. */
export const SETTLED = ['--test-concurrency=2', '--test-reporter=spec', '--test-reporter-destination=stdout'];

const NODE_CLOSING_LINES = 9;

function script(name: string, what: string, needs: string[], path: string, ...args: string[]): Step {
  return { name, what, needs, argv: () => ['--import', 'tsx', path, ...args], closingLines: 1 };
}

function hasSpecs(folder: string): boolean {
  if (!existsSync(folder)) return false;
  return readdirSync(folder, { recursive: true }).some((name) => String(name).endsWith('.spec.ts'));
}

/** Every step; as-pect's only where specs exist. */
export function steps(root: string): Step[] {
  const image = ['build'];
  const mutants = ['build-mutant'];
  const specs: Step = {
    name: 'as-pect', what: 'AssemblyScript specs beside the code', needs: [],
    argv: () => ['node_modules/@as-pect/cli/bin/asp.js', '--summary'], closingLines: 3,
  };
  return [
    script('lint', 'headers, lengths and forbidden patterns', [], 'scripts/lint.ts'),
    {
      name: 'types', what: 'TypeScript, strict', needs: [],
      argv: () => ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'], closingLines: 0,
    },
    script('build', 'the image that ships', [], 'scripts/build.ts'),
    script('build-mutant', 'the image of the canaries', [], 'scripts/build.ts', '--mutant'),
    {
      name: 'host', what: 'host tests on the shipping modules', needs: image,
      argv: (files) => ['--import', 'tsx', '--test', ...SETTLED, ...files], closingLines: NODE_CLOSING_LINES,
    },
    ...(hasSpecs(join(root, 'assembly')) ? [specs] : []),
    script('crash-sim', '100,000 simulated power cuts of /state', image, 'scripts/crash-sim.ts', '--crashes', '100000', '--jobs', '2'),
    script('os-modern', 'the boot proof', image, 'scripts/test-os.ts', 'modern', '--quiet'),
    script('os-recipe-gpu', 'the same ladder, recipe of a GPU node', image, 'scripts/test-os.ts', 'modern', '--recipe', 'gpu', '--quiet'),
    script('os-invalid', 'no fake success: only invalid traffic', image, 'scripts/test-os.ts', '--profile', 'invalid-only', '--quiet'),
    ...['no-flush', 'read-only', 'foreign', 'small', 'absent'].map((disk) =>
      script(
        `os-state-${disk}`, 'a disk that statefsd cannot use, by name', image,
        'scripts/test-os.ts', '--profile', `state-refused-${disk}`, '--quiet',
      )),
    script(
      'os-disk-errors', 'EIO, ENOSPC, failed flushes, late answers', image, 'scripts/test-os.ts', '--profile', 'disk-errors', '--quiet',
    ),
    script('os-disk-ro', 'what was kept, on a read-only disk', image, 'scripts/test-os.ts', '--profile', 'disk-read-only', '--quiet'),
    script('os-persist', 'two boots on one disk', image, 'scripts/test-os.ts', '--profile', 'persist-second', '--quiet'),
    script('os-legacy', 'the same ladder in legacy (debug only)', image, 'scripts/test-os.ts', 'legacy', '--quiet'),
    script('crash-test', 'nothing acknowledged is lost over 20 power cuts', image, 'scripts/crash-test.ts'),
    script(
      'crash-canary', 'a build that acknowledges before FLUSH loses', mutants, 'scripts/crash-test.ts', '--runs', '4', '--mutant',
      'statefs_acks_before_flush',
    ),
    script('soak', 'an hour of guest time at the highest accepted rates', image, 'scripts/soak.ts', '--hours', '1'),
    script(
      'soak-canary', 'a log that never turns passes its limit', mutants, 'scripts/soak.ts', '--minutes', '5', '--mutant',
      'metricsd_wal_never_rotates', '--red', 'retention: records in the segment',
    ),
    script('canary', 'the gate goes red for each mutant', mutants, 'scripts/canary.ts'),
    script('determinism', 'two boots, one transcript', image, 'scripts/determinism.ts', '2'),
    script('bench', 'instruction counts beside their budgets', image, 'scripts/bench.ts'),
  ];
}
