// SPDX-License-Identifier: Apache-2.0
// Brings an image up to date before it is booted, so that no verdict is about yesterday's build and the numbers of mutants agree with
// markers/. `--no-build` boots what is there, and says so: for a caller that has just built.
import type { Command } from 'commander';
import { build } from '../build.js';
import type { Flavour } from '../lib/paths.js';

/** Adds the option to a command. */
export function withBuildOption(program: Command): Command {
  return program.option('--no-build', 'boot the image as it is, without bringing it up to date');
}

/** Builds one flavour unless `wanted` is false. Prints a line a step through `print`. @throws Failure as the build does. */
export async function freshImage(flavour: Flavour, wanted: boolean, print: (line: string) => void): Promise<void> {
  if (wanted) await build({ flavour, log: (line) => print(`build: ${line}`) });
}
