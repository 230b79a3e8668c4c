// SPDX-License-Identifier: Apache-2.0
// The option tables of docs/operators/command.md, from commander's own list. Invariant: every subcommand with each of its options, in the
// order of --help, and no other. Limits: --help itself, which every command has, is left out.
import type { Command } from 'commander';
import { buildProgram } from '../command/program.js';

const program = await buildProgram(() => undefined);
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Every command that does something, with its whole name. */
export function leaves(command: Command = program, above = ''): { name: string; command: Command }[] {
  return command.commands.filter((one) => one.name() !== 'help').flatMap((one) => {
    const name = `${above}${one.name()}`;
    return one.commands.length > 0 ? leaves(one, `${name} `) : [{ name, command: one }];
  });
}

function optionRows(command: Command): string[] {
  return command.options.map(({ flags, description, defaultValue, argChoices, mandatory }) => {
    const choices = argChoices === undefined ? '' : `one of ${argChoices.join(', ')}`;
    const notes = [mandatory ? 'needed' : '', choices, defaultValue === undefined ? '' : `default ${String(defaultValue)}`];
    return `| \`${flags}\` | ${cell([description, ...notes.filter((note) => note !== '')].join('; '))} |`;
  });
}

/** A section a command. */
export function commandSections(): string[] {
  return leaves().flatMap(({ name, command }) => {
    const rows = optionRows(command);
    const words = command.registeredArguments.map((argument) => (argument.required ? `<${argument.name()}>` : `[${argument.name()}]`));
    const usage = [name, ...words].join(' ');
    return [`### vigil ${name}`, '', `\`vigil ${usage}\`: ${command.description()}`, '',
      ...(rows.length === 0 ? [] : ['| option | what it does |', '|---|---|', ...rows, ''])];
  }).slice(0, -1);
}
