// SPDX-License-Identifier: Apache-2.0
// What a boot of profile crash or crash-check said on its console. Pure.
// Invariant: contents count only when the guest came to `kept N` and N keys were printed; a line that is malformed or repeats a key is an
// error of the guest, never skipped.

export const PREFIX = 'SELFTEST: crash ';

export interface Said {
  /** fingerprints (`LENGTH SHA`) by key; null when the guest did not come to the end of its check */
  found: Map<string, string> | null;
  /** operations acknowledged, in the order of their lines */
  acknowledged: number[];
  /** the workload came to its end before the power went */
  idle: boolean;
}

/** @throws Error naming the line. */
export function readSaid(lines: readonly string[]): Said {
  const said: Said = { found: null, acknowledged: [], idle: false };
  const found = new Map<string, string>();
  const seen = new Set<number>();
  for (const line of lines) {
    if (!line.startsWith(PREFIX)) continue;
    const text = line.slice(PREFIX.length);
    const have = /^have (\S{1,64}) (\d{1,5} [0-9a-f]{16})$/.exec(text);
    const kept = /^kept (\d{1,4})$/.exec(text);
    const ack = /^ack (\d{1,4})$/.exec(text);
    if (have !== null && said.found === null && !found.has(have[1]!)) found.set(have[1]!, have[2]!);
    else if (kept !== null && said.found === null && Number(kept[1]) === found.size) said.found = found;
    else if (ack !== null && said.found !== null && !seen.has(Number(ack[1]))) {
      seen.add(Number(ack[1]));
      said.acknowledged.push(Number(ack[1]));
    } else if (text === 'idle') said.idle = true;
    else throw new Error(`the guest printed "${line}"`);
  }
  return said;
}
