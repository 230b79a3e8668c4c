// SPDX-License-Identifier: Apache-2.0
// Reading command lines with commander: a wrong option is usage (exit code 2), --help and --version end with 0.
import { CommanderError, type Command } from 'commander';
import { TRANSPORTS, type Transport } from '../../boot/machines.js';
import { Failure, usage } from '../lib/fail.js';

/** Parses argv. Returns false when help was printed and the script is done. @throws Failure 2 on a wrong command line. */
export function parsed(program: Command, argv: string[] = process.argv): boolean {
  program.exitOverride().configureOutput({ writeErr: () => undefined }); // the Failure says it, once
  try {
    program.parse(argv);
    return true;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return false;
    throw new Failure(2, `${error.message.replace(/^error: /, '')} (see --help)`);
  }
}

/** @throws Failure 2. */
export function transportOf(text: string): Transport {
  return (TRANSPORTS as readonly string[]).includes(text) ? (text as Transport) : usage(`unknown transport "${text}" (modern, legacy)`);
}

/** A decimal integer in [min, max]. @throws Failure 2. */
export function integerOf(name: string, text: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  return value >= min && value <= max ? value : usage(`${name} wants a number from ${min} to ${max}, not "${text}"`);
}
