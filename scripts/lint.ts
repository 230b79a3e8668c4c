// SPDX-License-Identifier: Apache-2.0
// The style that is a rule: licence line, head comment, file and line length, no tabs, no trailing blanks, no machine paths.
// Use: `npx tsx scripts/lint.ts`; tests/build/lint.test.ts runs the same. Exit code 1 with one `file:line: rule` a finding.
// Limits of the rules are here; what a compiler or a table check already refuses is not repeated.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runMain } from './lib/fail.js';
import { ROOT } from './lib/paths.js';

export const FILE_LINES_MAX = 400;
export const LINE_CHARS_MAX = 140;
/** C may be wider: the intrinsics read best as one line each. */
export const C_LINE_CHARS_MAX = 200;
/** Tests hold tables of cases, one case a line. */
export const TEST_LINE_CHARS_MAX = 200;
const SPDX = 'SPDX-License-Identifier: Apache-2.0';
const SOURCES = /\.(ts|mts|mjs|c|h|S|ld|toml)$/;
/** Not ours, or generated; paths from the root. */
const SKIPPED = ['node_modules', 'build', '.git', 'assembly/gen'];
/** Paths of one person's machine. */
const MACHINE_PATH = /(^|[\s'"`(=])\/(work|root|home|Users)\//;

/** All source files below a root, relative, sorted. */
export function sourceFiles(root: string): string[] {
  const files: string[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (SKIPPED.includes(relative(root, path))) continue;
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile() && SOURCES.test(entry.name)) files.push(relative(root, path));
    }
  };
  visit(root);
  return files.sort();
}

function lineCharsMax(path: string): number {
  if (path.endsWith('.toml')) return Infinity; // a table holds texts
  if (/\.(c|h|S|ld)$/.test(path)) return C_LINE_CHARS_MAX;
  return path.startsWith('tests/') ? TEST_LINE_CHARS_MAX : LINE_CHARS_MAX;
}

/** Findings of one file as `file:line: rule`. Pure. */
export function lintText(path: string, text: string): string[] {
  const findings: string[] = [];
  const lines = text.split('\n');
  const at = (line: number, rule: string): void => void findings.push(`${path}:${line}: ${rule}`);
  const toml = path.endsWith('.toml');
  const first = lines[0]?.startsWith('#!') ? 1 : 0;
  if (!toml && !lines[first]?.includes(SPDX)) at(first + 1, `the first line must hold "${SPDX}"`);
  if (!/^\s*(\/\/|\/\*|#|\*|--)/.test(lines[first + (toml ? 0 : 1)] ?? '') && !/\/\*.*[^/]$/.test(lines[first] ?? '')) {
    at(first + 2, 'a head comment must say what the file owns');
  }
  const max = lineCharsMax(path);
  if (lines.length - 1 > FILE_LINES_MAX) at(lines.length, `${lines.length - 1} lines, at most ${FILE_LINES_MAX}`);
  lines.forEach((line, index) => {
    if (line.length > max) at(index + 1, `${line.length} characters, at most ${max}`);
    if (/\t/.test(line)) at(index + 1, 'a tab');
    if (/\s$/.test(line)) at(index + 1, 'trailing blanks');
    if (MACHINE_PATH.test(line)) at(index + 1, 'a path of one machine');
  });
  if (!text.endsWith('\n')) at(lines.length, 'the last line must end');
  return findings;
}

/** Findings of the whole tree. */
export function lintTree(root: string = ROOT): string[] {
  return sourceFiles(root).flatMap((path) => lintText(path, readFileSync(join(root, path), 'utf8')));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain('lint', async () => {
    const findings = lintTree();
    process.stdout.write(findings.length === 0 ? 'lint: clean\n' : `${findings.join('\n')}\n`);
    return findings.length === 0 ? 0 : 1;
  });
}
