// SPDX-License-Identifier: Apache-2.0
// A profile owns its machine: an environment variable that asks for another one is an error, never an override.
// Invariant: a variable with the value the profile has anyway is accepted; every other value is named and refused.
import { usage } from '../scripts/lib/fail.js';
import type { Mode, Transport } from './machines.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that people set to change a QEMU machine, with the values that agree with the profile. */
function owned(transport: Transport, mode: Mode): Record<string, readonly string[]> {
  const legacy = transport === 'legacy';
  const icount = mode !== 'run';
  return {
    SMP: ['1'],
    QEMU_SMP: ['1'],
    QEMU_MEMORY: ['64M'],
    QEMU_CPU: ['rv64,sstc=on,zba=on,zbb=on'],
    QEMU_TRANSPORT: [transport],
    VIGIL_TRANSPORT: [transport],
    QEMU_FORCE_LEGACY: legacy ? ['1'] : ['0', ''],
    QEMU_NO_ICOUNT: icount ? ['0', ''] : ['1'],
    QEMU_ICOUNT: icount ? ['shift=0,sleep=off'] : [''],
    QEMU_SEED: icount ? ['42'] : [''],
    QEMU_ARGS: [''],
    QEMU_OPTS: [''],
    QEMU_EXTRA_ARGS: [''],
    QEMU_EXTRA_OPTS: [''],
  };
}

/** @throws Failure 2 naming the first variable that contradicts the profile. */
export function refuseContradictions(env: Environment, transport: Transport, mode: Mode): void {
  for (const [name, agreed] of Object.entries(owned(transport, mode))) {
    const value = env[name];
    if (value === undefined || agreed.includes(value)) continue;
    const allowed = agreed.map((item) => `"${item}"`).join(' or ');
    usage(`${name}="${value}" contradicts the ${transport} ${mode} profile, which owns it (${allowed}); unset ${name}`);
  }
}
