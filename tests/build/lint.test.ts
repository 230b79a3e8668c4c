// SPDX-License-Identifier: Apache-2.0
// Style that matters is a test: the whole tree is clean, and each rule can fail.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FILE_LINES_MAX, LINE_CHARS_MAX, lintText, lintTree } from '../../scripts/lint.js';

const HEAD = '// SPDX-License-Identifier: Apache-2.0\n// Owns nothing.\n';

test('the tree is clean', () => {
  assert.deepEqual(lintTree(), []);
});

const REFUSED: [string, string, RegExp][] = [
  ['no licence', '// Owns nothing.\nlet a = 1;\n', /a\.ts:1: the first line must hold/],
  ['no head comment', '// SPDX-License-Identifier: Apache-2.0\nlet a = 1;\n', /a\.ts:2: a head comment/],
  ['a long line', `${HEAD}// ${'x'.repeat(LINE_CHARS_MAX)}\n`, /a\.ts:3: \d+ characters/],
  ['a long file', HEAD + '//\n'.repeat(FILE_LINES_MAX), /402 lines, at most 400/],
  ['a tab', `${HEAD}\tlet a = 1;\n`, /a tab/],
  ['trailing blanks', `${HEAD}let a = 1; \n`, /trailing blanks/],
  ['a machine path', `${HEAD}const a = '/ho${'me'}/someone/x';\n`, /a path of one machine/],
  ['no last newline', `${HEAD}let a = 1;`, /the last line must end/],
];
for (const [what, text, message] of REFUSED) {
  test(`lint refuses ${what}`, () => {
    assert.match(lintText('a.ts', text).join('\n'), message);
  });
}

test('lint accepts a good file', () => {
  assert.deepEqual(lintText('a.ts', `${HEAD}export const A = 1;\n`), []);
});
