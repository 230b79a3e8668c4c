// SPDX-License-Identifier: Apache-2.0
//
// Owns: the first thing that `npm start` and `npm test` run: the check of Node itself, then the set-up (setup/main.mjs).
// Invariant: Node built-ins alone, in syntax that a Node from 2020 parses, so that an old Node gets its one-line error.
// Limits: the oldest Node accepted is the oldest on which every pinned package runs.
var NODE_MIN = [20, 19];

var have = process.versions.node.split('.').map(Number);
if (have[0] < NODE_MIN[0] || (have[0] === NODE_MIN[0] && have[1] < NODE_MIN[1])) {
  process.stderr.write(
    'setup: Node ' + process.version + ' is too old: install Node ' + NODE_MIN.join('.') + ' or newer\n',
  );
  process.exitCode = 3;
} else {
  import('./setup/main.mjs')
    .then(function (main) {
      return main.setup(process.argv.slice(2));
    })
    .then(function (code) {
      process.exitCode = code;
    });
}
